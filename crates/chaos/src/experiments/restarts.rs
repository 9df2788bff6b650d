//! Tasks that have to be started anew.

use bowline_model::{
    experiment::{Expectation, Finding, SteadyState, Want},
    fault::{FaultKind, FaultyCertificate, TaskHarm, Victims},
    task::TaskId,
};
use serde_json::json;
use tokio::time;

use super::{
    described::{Described, measures, replaced, serial_of, steal},
    faulty_certificates::called_address,
};
use crate::{
    attack::{self, TlsVersion},
    experiment::{ExperimentError, Stage, StepFuture, Timing, Trial},
    scope::Edge,
    system::AwsCall,
};

const SIGKILL: i32 = 9;
/// Longest time that a task's replacement is waited for, and looked at.
const REPLACING_MAX: time::Duration = time::Duration::from_secs(60);

/// A task with a certificate that nobody believes is replaced by one whose certificate is right.
pub const TASK_RESTART: Described = Described {
    name: "task-restart-on-certificate-failure",
    title: "ECS task restart on certificate failure",
    hypothesis: "A task whose certificate fails recovers by being restarted, and uses the right certificate",
    how: "one called task's sidecar shows an expired certificate; the task is stopped through the AWS API while it does",
    expected: "calls that meet the bad certificate get 503 with the cause expired, and no other failure; another task takes \
               its place, shows the certificate that was issued to it, and is served by it",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Restarted { edge, bad: None }))
    },
};

/// All of the called service is lost at once, and comes back.
pub const CLUSTER_FAILURE: Described = Described {
    name: "cluster-failure",
    title: "ECS cluster failure with TLS",
    hypothesis: "The service recovers by itself when all its tasks are lost, and callers connect to the new ones",
    how: "SIGKILL to everything of all of the called service's tasks at once: applications, sidecars and shims",
    expected: "other tasks take their places, and the caller's requests are answered again, without anybody's doing",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, |edge| edge.require_called_tasks(1));
        let edge = edge.map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Lost { edge, old: Vec::new() }))
    },
};

struct Restarted {
    edge: Edge,
    bad: Option<TaskId>,
}

impl Trial for Restarted {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        let refused = Want::Refused { status: 503, causes: vec!["expired".to_owned()] };
        let met = Some(refused.clone());
        // Where there was one task, nobody is there to answer while another starts.
        let during = match self.edge.called.healthy().count() {
            0 | 1 => Want::AnyOf(vec![Want::Success, refused, Want::Status(503)]),
            _ => Want::AnyOf(vec![Want::Success, refused]),
        };
        Expectation {
            steady: SteadyState::default(),
            during,
            share: 0.98,
            recover_within: measures::RECOVERY,
            met,
            ..Expectation::served(0.98)
        }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let (task, _) = called_address(&self.edge)?;
            self.bad = Some(task.clone());
            let (tasks, shows) = (vec![task], FaultyCertificate::Expired);
            // Where nobody takes the task's place, that is waited for longer than the fault was to last.
            stage.begin_for(FaultKind::Certificate { tasks, shows }, REPLACING_MAX).await?;
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(bad) = self.bad.clone() else { return Ok(Vec::new()) };
            let (_, address) = called_address(&self.edge)?;
            let shown = attack::shown_certificate(address, None).await?;
            let bad_serial = shown.and_then(|chain| serial_of(chain.first()?));
            // Requests meet it for a while.
            time::sleep(measures::LOOK * 5).await;
            let input = json!({
                "cluster": self.edge.called.cluster,
                "task": bad.to_string(),
                "reason": "its certificate has failed",
            });
            stage.system().aws(AwsCall::ecs("StopTask", input)).await?;
            let wanted = self.edge.called.healthy().count();
            let mut findings = vec![replaced(stage, &self.edge.called.name, wanted, &[bad]).await?];
            let mesh = stage.system().mesh().await?;
            let old = self.edge.called.healthy_ids();
            let mut now = mesh.service(&self.edge.called.name).into_iter().flat_map(|it| it.healthy());
            let Some(new) = now.find(|task| !old.contains(&task.id)) else { return Ok(findings) };
            let Some(address) = new.address(&self.edge.alias.port_name) else { return Ok(findings) };
            let shown = attack::shown_certificate(address, None).await?;
            let serial = shown.and_then(|chain| serial_of(chain.first()?));
            let what = "the new task shows the certificate that was issued to it";
            let held = serial.is_some() && serial == new.serial && serial != bad_serial;
            findings.push(Finding::new(what, held, serial.unwrap_or_else(|| "none".to_owned())));
            let none = || ExperimentError::failed("the caller has no healthy task");
            let (_, credentials) = steal(stage, &self.edge.calling_task().ok_or_else(none)?.id).await?;
            let met =
                attack::request(address, TlsVersion::Tls13, Some(&credentials), &self.edge.path).await?;
            let what = "the new task serves a caller by mutual TLS";
            findings.push(Finding::new(what, met.is_served(), met.to_string()));
            Ok(findings)
        })
    }
}

struct Lost {
    edge: Edge,
    old: Vec<TaskId>,
}

impl Trial for Lost {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn timing(&self) -> Timing {
        // The failure is of a moment; what lasts is the recovery, which is waited for.
        Timing { during: measures::LOOK, ..Timing::default() }
    }

    fn expectation(&self) -> Expectation {
        Expectation {
            steady: SteadyState::default(),
            during: Want::AnyOf(vec![Want::Success, Want::Failure]),
            recover_within: measures::RECOVERY,
            ..Expectation::served(0.0)
        }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            self.old = self.edge.called.healthy_ids();
            let harm = TaskHarm::Kill { victims: Victims::Task, signal: SIGKILL };
            stage.begin(FaultKind::Task { tasks: self.old.clone(), harm }).await?;
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            Ok(vec![replaced(stage, &self.edge.called.name, self.old.len(), &self.old).await?])
        })
    }
}
