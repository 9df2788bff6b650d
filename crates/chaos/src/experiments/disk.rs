//! A disk without room.

use std::time::Duration;

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{ControlPlaneHarm, FaultId, FaultKind},
};
use bowline_plumbing::wall_clock;
use serde_json::json;
use tokio::time::{self, Instant};

use super::{
    control_plane::both_sides,
    described::{Described, measures},
    renewal::lossless,
};
use crate::{
    experiment::{ExperimentError, Stage, StepFuture, Trial},
    scope::Edge,
    system::{AwsCall, SystemError},
};

/// So many calls that change something are made while there is no room.
const ATTEMPTS: usize = 5;
/// How soon after the fault's end what was left of it can be deleted.
const WRITES_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// What cannot be written is refused, and nothing else.
pub const DISK_FULL: Described = Described {
    name: "disk-full",
    title: "Control plane's disk full",
    hypothesis: "What cannot be written is refused whole; all else goes on, and writing does too as soon as there is room",
    how: "every write of the control plane's store and of its audit trail fails as on a disk without room (ENOSPC)",
    expected: "no request is lost; ecs:CreateCluster is refused and has made nothing, ecs:DescribeClusters is answered; \
               after, what has to be written is written",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        let wanted = format!("chaos-{:x}", wall_clock::now().as_millis());
        Ok(Box::new(Full { edge, wanted, fault: None }))
    },
};

struct Full {
    edge: Edge,
    /// Name of the cluster that is wanted while there is no room. None is made before: of a run that is killed nothing is
    /// left.
    wanted: String,
    fault: Option<FaultId>,
}

async fn create(stage: &Stage, name: &str) -> Result<(), SystemError> {
    stage.system().aws(AwsCall::ecs("CreateCluster", json!({ "clusterName": name }))).await.map(drop)
}

/// Whether there is such a cluster.
async fn exists(stage: &Stage, name: &str) -> Result<bool, SystemError> {
    let described =
        stage.system().aws(AwsCall::ecs("DescribeClusters", json!({ "clusters": [name] }))).await?;
    Ok(described["clusters"][0]["clusterName"] == name)
}

async fn delete(stage: &Stage, name: &str) -> Result<(), SystemError> {
    match exists(stage, name).await? {
        true => stage.system().aws(AwsCall::ecs("DeleteCluster", json!({ "cluster": name }))).await.map(drop),
        false => Ok(()),
    }
}

/// That there is such a cluster, or that there is none.
async fn presence(stage: &Stage, what: &str, name: &str, wanted: bool) -> Finding {
    match exists(stage, name).await {
        Ok(found) => Finding::new(what, found == wanted, if found { "it is there" } else { "there is none" }),
        Err(error) => Finding::new(what, false, error.to_string()),
    }
}

impl Trial for Full {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        lossless()
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let fault = stage.begin(FaultKind::ControlPlane(ControlPlaneHarm::DiskFull)).await?;
            self.fault = Some(fault.id);
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(fault) = self.fault.clone() else { return Ok(Vec::new()) };
            let mut refusals = Vec::new();
            for _ in 0..ATTEMPTS {
                if let Err(error) = create(stage, &self.wanted).await {
                    refusals.push(error.to_string());
                }
                time::sleep(measures::LOOK * 3).await;
            }
            let what = format!("{ATTEMPTS} calls that change something are refused, and say why");
            let clear = refusals.iter().filter(|text| text.contains("no space left")).count();
            let seen = format!(
                "{} refused, {clear} for want of space: {}",
                refusals.len(),
                refusals.last().map_or("-", |text| text)
            );
            let mut findings = vec![Finding::new(what, clear == ATTEMPTS, seen)];
            let what = "what was there before is read as ever";
            findings.push(presence(stage, what, &self.edge.caller.cluster, true).await);
            let what = "nothing of what was refused is there";
            findings.push(presence(stage, what, &self.wanted, false).await);
            let writes = stage.system().evidence(fault).await?.refused;
            findings.push(Finding::new("writes have met a full disk", writes > 0, writes.to_string()));
            Ok(findings)
        })
    }

    fn restore<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            // What was refused is not there, or it was found by now that it is.
            let begin = Instant::now();
            while let Err(error) = delete(stage, &self.wanted).await {
                // That there is room again is noticed at the next attempt to write.
                if begin.elapsed() >= WRITES_AGAIN_WITHIN {
                    tracing::warn!(%error, name = self.wanted, "a cluster could not be deleted");
                    break;
                }
                time::sleep(measures::LOOK).await;
            }
            Ok(())
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            // Each of their certificates is written down before they have it.
            let tasks = both_sides(&self.edge);
            let (wanted, renewed) = (tasks.len(), stage.system().renew(tasks).await);
            let (held, seen) = match renewed {
                Ok(count) => (count == wanted, format!("{count} do")),
                Err(error) => (false, error.to_string()),
            };
            let what = format!("after: {wanted} sidecars get certificates, which have to be written down");
            let written = Finding::new(what, held, seen);
            // Were it not carried out for want of room, that would be what is said.
            let deletion = AwsCall::ecs("DeleteCluster", json!({ "cluster": self.wanted }));
            let seen = match stage.system().aws(deletion).await {
                Ok(_) => "it was there".to_owned(),
                Err(error) => error.to_string(),
            };
            let what = "after: a call that changes something is carried out again";
            let called = Finding::new(what, seen.contains("ClusterNotFoundException"), seen);
            Ok(vec![written, called])
        })
    }
}
