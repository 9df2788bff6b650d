//! A called task that dies.

use std::time::Duration;

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{FaultKind, TaskHarm, Victims},
    task::TaskId,
};
use tokio::time::{self, Instant};

use crate::{
    experiment::{Experiment, ExperimentError, Stage, StepFuture, Trial},
    scope::{Edge, Scope},
    system::Mesh,
};

const SIGKILL: i32 = 9;
/// How long the service may take to have as many healthy tasks as before.
const REPLACED_WITHIN: Duration = Duration::from_secs(45);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// One of the called service's tasks is killed.
#[derive(Clone, Copy, Debug)]
pub struct BackendUnavailable;

impl Experiment for BackendUnavailable {
    fn name(&self) -> &'static str {
        "backend-unavailable"
    }

    fn title(&self) -> &'static str {
        "Backend service unavailable"
    }

    fn hypothesis(&self) -> &'static str {
        "Requests are routed to healthy targets when a task of the called service is gone"
    }

    fn how(&self) -> &'static str {
        "SIGKILL to everything of one of the called service's tasks at once: application, sidecar and shim"
    }

    fn expected(&self) -> &'static str {
        "99 of 100 requests are answered from the kill on; another task takes the killed one's place"
    }

    fn prepare(&self, mesh: &Mesh, scope: &Scope) -> Result<Box<dyn Trial>, ExperimentError> {
        let edge = scope
            .choose(mesh, |edge| edge.require_called_tasks(2))
            .map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Run { edge, killed: None }))
    }
}

struct Run {
    edge: Edge,
    killed: Option<TaskId>,
}

impl Trial for Run {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        Expectation::served(0.99)
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let gone = || ExperimentError::failed("the called service has no healthy task left");
            let task = self.edge.called.healthy_ids().pop().ok_or_else(gone)?;
            self.killed = Some(task.clone());
            let harm = TaskHarm::Kill { victims: Victims::Task, signal: SIGKILL };
            stage.begin(FaultKind::Task { tasks: vec![task], harm }).await?;
            Ok(())
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let wanted = self.edge.called.healthy().count();
            let begin = Instant::now();
            let healthy = loop {
                let mesh = stage.system().mesh().await?;
                let tasks = mesh.service(&self.edge.called.name).map(|it| it.healthy_ids());
                let tasks = tasks.unwrap_or_default();
                let is_back =
                    tasks.len() >= wanted && self.killed.as_ref().is_none_or(|it| !tasks.contains(it));
                if is_back || begin.elapsed() >= REPLACED_WITHIN {
                    break (tasks.len(), is_back);
                }
                time::sleep(LOOK).await;
            };
            let what = format!(
                "after: {} has {wanted} healthy tasks again, without the killed one",
                self.edge.called.name
            );
            let seen = format!("{} after {:.1} s", healthy.0, begin.elapsed().as_secs_f64());
            Ok(vec![Finding::new(what, healthy.1, seen)])
        })
    }
}
