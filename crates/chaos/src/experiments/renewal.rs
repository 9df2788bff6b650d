//! Certificates that are replaced while everything goes on.

use std::{collections::BTreeMap, net::SocketAddr};

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{FaultKind, TaskHarm, Victims},
    task::TaskId,
};
use tokio::time::{self, Instant};

use super::{
    described::{Described, measures, serial_of, steal},
    faulty_certificates::called_address,
};
use crate::{
    attack::{self, Credentials, LongLived, Reception, TlsVersion},
    experiment::{ExperimentError, Stage, StepFuture, Trial},
    scope::Edge,
    system::Mesh,
};

const SIGKILL: i32 = 9;

/// Every certificate is replaced, and no request is lost.
pub const CERTIFICATE_ROTATION: Described = Described {
    name: "certificate-rotation",
    title: "Service certificate rotation",
    hypothesis: "New certificates come into use without downtime",
    how: "all sidecars of caller and called ask for new certificates, with new keys, twice while requests are sent",
    expected: "no request is lost; each called sidecar shows the certificate that was issued to it last",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Rotation { edge, before: BTreeMap::new() }))
    },
};

/// A connection outlives the certificates that it was made with.
pub const HOT_RELOAD: Described = Described {
    name: "hot-reload",
    title: "Task certificate hot reload",
    hypothesis: "Sidecars reload certificates without downtime, for what is open and for what is new",
    how: "the called sidecars ask for new certificates while a connection is open that makes a request every 50 ms, \
          and new connections are made as often; then one of them is killed (SIGKILL) while it gets another",
    expected: "the open connection goes on, every new one is served, the killed one comes back with \
               the certificate that was issued last, and no request of the caller's application is lost",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Reload { edge }))
    },
};

pub(super) fn lossless() -> Expectation {
    Expectation { lost_max: Some(0), recover_within: measures::RECOVERY, ..Expectation::served(1.0) }
}

/// Serial numbers of a service's healthy tasks, as they are told.
fn serials(mesh: &Mesh, service: &str) -> BTreeMap<TaskId, String> {
    let tasks = mesh.service(service).into_iter().flat_map(|service| service.healthy());
    tasks.filter_map(|task| Some((task.id.clone(), task.serial.clone()?))).collect()
}

struct Rotation {
    edge: Edge,
    before: BTreeMap<TaskId, String>,
}

impl Rotation {
    fn tasks(&self) -> Vec<TaskId> {
        self.edge.caller.healthy_ids().into_iter().chain(self.edge.called.healthy_ids()).collect()
    }
}

impl Trial for Rotation {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        lossless()
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let mesh = stage.system().mesh().await?;
            self.before = serials(&mesh, &self.edge.caller.name);
            self.before.extend(serials(&mesh, &self.edge.called.name));
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let tasks = self.tasks();
            let mut findings = Vec::new();
            for _ in 0..2 {
                let count = stage.system().renew(tasks.clone()).await?;
                let what = format!("{} sidecars show a new certificate", tasks.len());
                findings.push(Finding::new(what, count == tasks.len(), format!("{count} do")));
                time::sleep(measures::LOOK * 5).await;
            }
            let mesh = stage.system().mesh().await?;
            let mut now = serials(&mesh, &self.edge.caller.name);
            now.extend(serials(&mesh, &self.edge.called.name));
            let same = now.iter().filter(|(task, serial)| self.before.get(*task) == Some(*serial)).count();
            let what = "every sidecar has another serial number than before";
            let held = same == 0 && !now.is_empty();
            findings.push(Finding::new(what, held, format!("{} of {} have", now.len() - same, now.len())));
            for task in self.edge.called.healthy() {
                let Some(address) = task.address(&self.edge.alias.port_name) else { continue };
                let (seen, told) = (shown_serial(address).await?, now.get(&task.id).cloned());
                let what = format!("{address} shows the certificate that was issued last");
                let held = seen.is_some() && seen == told;
                findings.push(Finding::new(what, held, seen.unwrap_or_else(|| "none".to_owned())));
            }
            Ok(findings)
        })
    }
}

async fn shown_serial(address: SocketAddr) -> Result<Option<String>, ExperimentError> {
    let shown = attack::shown_certificate(address, None).await?;
    Ok(shown.and_then(|chain| serial_of(chain.first()?)))
}

struct Reload {
    edge: Edge,
}

impl Reload {
    /// Waits until the control plane has issued another certificate than `shown` to `task`: killed before, a sidecar
    /// has nothing to come back with. Where that does not happen in time, what the sidecar shows afterwards tells so.
    async fn issued_anew(
        &self,
        stage: &Stage,
        task: &TaskId,
        shown: &Option<String>,
    ) -> Result<(), ExperimentError> {
        let end = Instant::now() + measures::ISSUED;
        while Instant::now() < end {
            let mesh = stage.system().mesh().await?;
            if serials(&mesh, &self.edge.called.name).get(task) != shown.as_ref() {
                break;
            }
            time::sleep(measures::INTO_RENEWAL).await;
        }
        Ok(())
    }

    /// Kills a called sidecar while it gets another certificate. Whether it comes back with one that is new, is the one
    /// that was issued to it last, and is served with.
    async fn kill_while_reloading(
        &self,
        stage: &Stage,
        credentials: &Credentials,
    ) -> Result<Finding, ExperimentError> {
        let (task, address) = called_address(&self.edge)?;
        let before = shown_serial(address).await?;
        let (system, tasks) = (stage.shared_system(), vec![task.clone()]);
        let renewing = tokio::spawn(async move { system.renew(tasks).await });
        self.issued_anew(stage, &task, &before).await?;
        let harm = TaskHarm::Kill { victims: Victims::Sidecar, signal: SIGKILL };
        stage.begin(FaultKind::Task { tasks: vec![task.clone()], harm }).await?;
        // Who was killed may not say in time that it is done: what it shows says so.
        let _ = renewing.await;
        let begin = Instant::now();
        loop {
            let mesh = stage.system().mesh().await?;
            let told = serials(&mesh, &self.edge.called.name).remove(&task);
            let (seen, met) = tokio::join!(
                shown_serial(address),
                attack::request(address, TlsVersion::Tls13, Some(credentials), &self.edge.path)
            );
            let (seen, met) = (seen?, met?);
            let is_back = seen.is_some() && seen != before && seen == told && met.is_served();
            if is_back || begin.elapsed() >= measures::SIDECAR_BACK {
                let what = "a sidecar that is killed while it reloads comes back with the certificate that was issued last";
                let seen = format!("{} before, {} after: {met}", text(&before), text(&seen));
                return Ok(Finding::new(what, is_back, seen));
            }
            time::sleep(measures::LOOK).await;
        }
    }
}

impl Trial for Reload {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        lossless()
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        // Nothing goes wrong: what is looked at is what goes on.
        let _ = stage;
        Box::pin(async { Ok(()) })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let none = || ExperimentError::failed("the caller has no healthy task");
            let caller = self.edge.calling_task().ok_or_else(none)?;
            let (_, credentials) = steal(stage, &caller.id).await?;
            let (_, address) = called_address(&self.edge)?;
            let path = self.edge.path.clone();
            let mut open = match LongLived::open(address, &credentials).await? {
                Ok(open) => open,
                Err(met) => {
                    let what = format!("a connection to {address} with a genuine certificate is served");
                    return Ok(vec![Finding::new(what, false, met.to_string())]);
                }
            };
            let before = shown_serial(address).await?;
            let system = stage.shared_system();
            let tasks = self.edge.called.healthy_ids();
            let renewing = tokio::spawn(async move { system.renew(tasks).await });
            let (begin, mut beats, mut broken, mut refused) = (Instant::now(), 0_u32, None, None);
            while !renewing.is_finished() || begin.elapsed() < measures::BEAT * 40 {
                beats += 1;
                let (on_open, on_new) = tokio::join!(
                    open.request(&path),
                    attack::request(address, TlsVersion::Tls13, Some(&credentials), &path)
                );
                let fails = |met: &Reception| !met.is_served();
                broken = broken.or(Some(on_open).filter(fails));
                refused = refused.or(Some(on_new?).filter(fails));
                time::sleep(measures::BEAT).await;
            }
            let ended = renewing.await.map_err(|error| ExperimentError::failed(error.to_string()))?;
            ended?;
            let after = shown_serial(address).await?;
            let seen = |failed: Option<Reception>| match failed {
                None => format!("{beats} requests were answered"),
                Some(met) => met.to_string(),
            };
            let shown = format!("{} before, {} after", text(&before), text(&after));
            let killed = self.kill_while_reloading(stage, &credentials).await?;
            Ok(vec![
                killed,
                Finding::new("an open connection outlives the renewal", broken.is_none(), seen(broken)),
                Finding::new("every new connection is served meanwhile", refused.is_none(), seen(refused)),
                Finding::new(
                    format!("{address} shows another certificate afterwards"),
                    after.is_some() && before != after,
                    shown,
                ),
            ])
        })
    }
}

fn text(serial: &Option<String>) -> &str {
    serial.as_deref().unwrap_or("none")
}
