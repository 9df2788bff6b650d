//! A certificate authority that cannot be reached when certificates are due to be renewed.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{
    clock::Timestamp,
    experiment::{Expectation, Finding},
    fault::{ControlPlaneHarm, FaultId, FaultKind, LIFETIME_MAX},
    task::TaskId,
};
use bowline_plumbing::wall_clock;
use tokio::time::{self, Instant};

use super::{
    control_plane::{Newcomer, both_sides},
    described::{Described, measures},
    renewal::lossless,
};
use crate::{
    experiment::{ExperimentError, Stage, StepFuture, Timing, Trial},
    scope::Edge,
    system::Mesh,
};

/// How long certificates live meanwhile. They are renewed from when about two thirds are over.
const LIFETIME: Duration = Duration::from_secs(12);
/// Shorter lives leave no time for an outage that is past the time of renewal, and for what comes after it.
const LIFETIME_LEAST: Duration = Duration::from_secs(10);
/// When the authority is back: so much of their life is over.
const BACK_AT: f64 = 0.8;
/// How long is looked beyond the end of the last one.
const BEYOND: Duration = Duration::from_millis(700);
/// How often each sidecar has to have asked in vain: the first time, and again.
const ATTEMPTS: u64 = 2;

/// Certificates are renewed early, and again and again.
pub const CA_UNREACHABLE: Described = Described {
    name: "ca-unreachable",
    title: "Certificate authority unreachable past the time of renewal",
    hypothesis: "Certificates are renewed so early, and so persistently, that an authority that is away then does no harm",
    how: "caller's and called sidecars get certificates that live for 12 s, and none from then on, until 9.6 s of them are \
          over: past the time of their renewal",
    expected: "no request is lost, new connections are served; every sidecar has asked again and again, and has another \
               certificate before its own ends",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Unreachable {
            edge,
            fault: None,
            newcomer: None,
            before: Shown::new(),
            began: Instant::now(),
        }))
    },
};

/// Serial number and end of what each sidecar shows.
type Shown = BTreeMap<TaskId, (String, Timestamp)>;

fn shown(mesh: &Mesh, tasks: &[TaskId]) -> Shown {
    let all = mesh.services.iter().flat_map(|service| &service.tasks);
    let wanted = all.filter(|task| tasks.contains(&task.id));
    wanted
        .filter_map(|task| Some((task.id.clone(), (task.serial.clone()?, task.certificate_ends?))))
        .collect()
}

struct Unreachable {
    edge: Edge,
    fault: Option<FaultId>,
    newcomer: Option<Newcomer>,
    before: Shown,
    began: Instant,
}

impl Trial for Unreachable {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn timing(&self) -> Timing {
        Timing { during: LIFETIME, ..Timing::default() }
    }

    fn expectation(&self) -> Expectation {
        lossless()
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            self.newcomer = Some(Newcomer::of(stage, &self.edge).await?);
            let tasks = both_sides(&self.edge);
            let lifetime = stage.lasting().clamp(LIFETIME_LEAST, LIFETIME_MAX);
            let harm = ControlPlaneHarm::NoIssuance { tasks: tasks.clone(), lifetime };
            self.began = Instant::now();
            self.fault = Some(stage.begin_for(FaultKind::ControlPlane(harm), lifetime).await?.id);
            self.before = shown(&stage.system().mesh().await?, &tasks);
            match self.before.len() == tasks.len() {
                true => Ok(()),
                false => Err(ExperimentError::failed("not every sidecar shows a certificate")),
            }
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some((newcomer, fault)) = self.newcomer.as_mut().zip(self.fault.clone()) else {
                return Ok(Vec::new());
            };
            let tasks = both_sides(&self.edge);
            let lifetime = stage.lasting().clamp(LIFETIME_LEAST, LIFETIME_MAX);
            let back_at = self.began + lifetime.mul_f64(BACK_AT);
            while Instant::now() < back_at {
                newcomer.call(&self.edge).await?;
                time::sleep(measures::BEAT).await;
            }
            let present = shown(&stage.system().mesh().await?, &tasks);
            let early = present.iter().filter(|(task, now)| self.before.get(*task) != Some(*now)).count();
            stage.end(&fault).await?;
            let refused = stage.system().evidence(fault).await?.refused;
            let last = self.before.values().map(|(_, ends)| *ends).max().unwrap_or_default() + BEYOND;
            let mut renewed = Shown::new();
            while wall_clock::now() < last {
                let (present, now) = (shown(&stage.system().mesh().await?, &tasks), wall_clock::now());
                for (task, shows) in present {
                    let in_time = self.before.get(&task).is_some_and(|old| *old != shows && now < old.1);
                    if in_time {
                        renewed.insert(task, shows);
                    }
                }
                newcomer.call(&self.edge).await?;
                time::sleep(measures::BEAT).await;
            }
            let wanted = tasks.len();
            let none =
                Finding::new("none gets a certificate meanwhile", early == 0, format!("{early} of {wanted}"));
            let what = format!("each of the {wanted} sidecars asks for another in time, and again");
            let asked =
                Finding::new(what, refused >= ATTEMPTS * wanted as u64, format!("{refused} times in all"));
            let what = "each has another before its own ends";
            let seen = format!("{} of {wanted}", renewed.len());
            let in_time = Finding::new(what, renewed.len() == wanted, seen);
            Ok(vec![none, asked, in_time, newcomer.finding("until the last one has ended")])
        })
    }
}
