//! What becomes of traffic when the control plane is gone, or says what nobody can use.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{ControlPlaneHarm, FaultId, FaultKind},
    task::TaskId,
};
use tokio::time::{self, Instant};

use super::{
    described::{Described, measures, seconds, steal},
    renewal::lossless,
};
use crate::{
    attack::{self, Credentials, TlsVersion},
    experiment::{Experiment, ExperimentError, Stage, StepFuture, Trial},
    revival::RESPITE,
    scope::{Edge, Scope},
    system::Mesh,
};

/// How long the control plane may take to be gone, once it was told of.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to answer when it was started again, and to know its tasks.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Everything goes on while the control plane is gone.
#[derive(Clone, Copy, Debug)]
pub struct ControlPlaneKilled;

impl Experiment for ControlPlaneKilled {
    fn name(&self) -> &'static str {
        "control-plane-killed"
    }

    fn title(&self) -> &'static str {
        "Control plane killed"
    }

    fn hypothesis(&self) -> &'static str {
        "Traffic does not need the control plane, and who comes after it takes up where it was killed"
    }

    fn how(&self) -> &'static str {
        "SIGKILL to the process of `bowline up` or `bowline server`; one that it left behind starts it again, four seconds later"
    }

    fn expected(&self) -> &'static str {
        "no request is lost; new connections are served meanwhile; the same tasks go on, and their sidecars hear of the new one"
    }

    fn prepare(&self, mesh: &Mesh, scope: &Scope) -> Result<Box<dyn Trial>, ExperimentError> {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Killed { edge, stolen: None, before: Tasks::new() }))
    }

    fn interrupts_others(&self) -> bool {
        true
    }
}

/// Tasks that run, with their shims.
type Tasks = BTreeMap<TaskId, Option<u32>>;

fn tasks_of(mesh: &Mesh) -> Tasks {
    let tasks = mesh.services.iter().flat_map(|service| service.healthy());
    tasks.map(|task| (task.id.clone(), task.shim_pid)).collect()
}

/// Whose sidecars carry the edge's requests.
pub(super) fn both_sides(edge: &Edge) -> Vec<TaskId> {
    edge.caller.healthy_ids().into_iter().chain(edge.called.healthy_ids()).collect()
}

/// Somebody who is on the network as the caller, and makes a new connection for each request.
pub(super) struct Newcomer {
    credentials: Credentials,
    turn: usize,
    made: usize,
    served: usize,
    /// What was met first that was no answer.
    other: Option<String>,
}

impl Newcomer {
    pub(super) async fn of(stage: &Stage, edge: &Edge) -> Result<Self, ExperimentError> {
        let none = || ExperimentError::failed("the caller has no healthy task");
        let (_, credentials) = steal(stage, &edge.calling_task().ok_or_else(none)?.id).await?;
        Ok(Self { credentials, turn: 0, made: 0, served: 0, other: None })
    }

    /// Makes a connection to the next of the called sidecars, and a request on it.
    pub(super) async fn call(&mut self, edge: &Edge) -> Result<(), ExperimentError> {
        let addresses = edge.called.healthy().filter_map(|task| task.address(&edge.alias.port_name));
        let addresses: Vec<_> = addresses.collect();
        let none = || ExperimentError::failed("the called service has no inbound port");
        let address = *addresses.get(self.turn % addresses.len().max(1)).ok_or_else(none)?;
        self.turn += 1;
        let credentials = Some(&self.credentials);
        let met = attack::request(address, TlsVersion::Tls13, credentials, &edge.path).await?;
        self.made += 1;
        match met.is_served() {
            true => self.served += 1,
            false => drop(self.other.get_or_insert(met.to_string())),
        }
        Ok(())
    }

    /// That every one was served, and that there were some.
    pub(super) fn finding(&self, when: &str) -> Finding {
        let what = format!("every new connection to a called sidecar is served {when}");
        let mut seen = format!("{} of {}", self.served, self.made);
        if let Some(other) = &self.other {
            seen = format!("{seen}; {other}");
        }
        Finding::new(what, self.made > 0 && self.served == self.made, seen)
    }
}

struct Killed {
    edge: Edge,
    stolen: Option<Newcomer>,
    before: Tasks,
}

impl Trial for Killed {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        lossless()
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            self.stolen = Some(Newcomer::of(stage, &self.edge).await?);
            self.before = tasks_of(&stage.system().mesh().await?);
            let harm = FaultKind::ControlPlane(ControlPlaneHarm::Killed);
            stage.begin_for(harm, stage.lasting() + RESPITE).await?;
            let begin = Instant::now();
            while stage.system().mesh().await.is_ok() {
                if begin.elapsed() >= GONE_WITHIN {
                    return Err(ExperimentError::failed(
                        "the control plane was to be killed, and answers yet",
                    ));
                }
                time::sleep(measures::BEAT).await;
            }
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(newcomer) = &mut self.stolen else { return Ok(Vec::new()) };
            let (begin, limit) = (Instant::now(), stage.lasting() + BACK_WITHIN);
            let is_back = loop {
                if begin.elapsed() >= limit {
                    break false;
                }
                if stage.system().mesh().await.is_ok() {
                    break true;
                }
                newcomer.call(&self.edge).await?;
                time::sleep(measures::BEAT).await;
            };
            let mut findings = vec![newcomer.finding("while there is no control plane")];
            let seen = format!("{:.1} s", seconds(begin.elapsed()));
            let what = format!("it answers again within {} s of its start", BACK_WITHIN.as_secs());
            findings.push(Finding::new(what, is_back, seen));
            if !is_back {
                return Ok(findings);
            }
            let begin = Instant::now();
            let now = loop {
                let now = tasks_of(&stage.system().mesh().await?);
                if now == self.before || begin.elapsed() >= BACK_WITHIN {
                    break now;
                }
                time::sleep(measures::LOOK).await;
            };
            let same = now.iter().filter(|(task, shim)| self.before.get(*task) == Some(*shim)).count();
            let what =
                format!("it has taken up the {} tasks that ran, each with its shim", self.before.len());
            findings.push(Finding::new(what, now == self.before, format!("{same} of {}", now.len())));
            // To be asked, and to ask, they have to be on its stream.
            let tasks = both_sides(&self.edge);
            let wanted = tasks.len();
            let renewed = stage.system().renew(tasks).await;
            let what = format!("the {wanted} sidecars do what it asks of them: they show new certificates");
            let (held, seen) = match renewed {
                Ok(count) => (count == wanted, format!("{count} do")),
                Err(error) => (false, error.to_string()),
            };
            findings.push(Finding::new(what, held, seen));
            Ok(findings)
        })
    }
}

/// Resources that cannot be used spoil nothing.
pub const GARBAGE_ON_STREAM: Described = Described {
    name: "garbage-on-stream",
    title: "Garbage on the configuration stream",
    hypothesis: "A sidecar refuses by its name what it cannot use, and goes on with the last good one",
    how: "the configuration stream of the callers' and the called sidecars sends, in place of every resource, the half of \
          it, it under another name, or noise",
    expected: "no request is lost, new connections are served; every sidecar says what it refuses, and is in step again after",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Spoiled { edge, fault: None, newcomer: None }))
    },
};

struct Spoiled {
    edge: Edge,
    fault: Option<FaultId>,
    newcomer: Option<Newcomer>,
}

impl Trial for Spoiled {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        lossless()
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            self.newcomer = Some(Newcomer::of(stage, &self.edge).await?);
            let harm = ControlPlaneHarm::Garbage { tasks: both_sides(&self.edge) };
            self.fault = Some(stage.begin(FaultKind::ControlPlane(harm)).await?.id);
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some((newcomer, fault)) = self.newcomer.as_mut().zip(self.fault.clone()) else {
                return Ok(Vec::new());
            };
            let begin = Instant::now();
            while begin.elapsed() < stage.lasting() {
                newcomer.call(&self.edge).await?;
                time::sleep(measures::BEAT).await;
            }
            let refused = stage.system().evidence(fault).await?.refused;
            let sidecars = both_sides(&self.edge).len() as u64;
            // Each has its own identity and the mesh's roots at least.
            let what = format!("the {sidecars} sidecars refuse what they are sent, and say which");
            let named = Finding::new(what, refused >= sidecars * 2, format!("{refused} resources by name"));
            Ok(vec![newcomer.finding("while nothing on the stream can be used"), named])
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let tasks = both_sides(&self.edge);
            let wanted = tasks.len();
            // Had one not taken what came since, it would not hear of this.
            let renewed = stage.system().renew(tasks).await?;
            let what = format!("after: {wanted} sidecars do what the stream asks of them");
            Ok(vec![Finding::new(what, renewed == wanted, format!("{renewed} do"))])
        })
    }
}
