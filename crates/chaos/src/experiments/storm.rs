//! A service that is down, and callers that try again.

use std::time::Duration;

use bowline_model::{
    experiment::{Expectation, Finding, Want},
    fault::{FaultId, FaultKind, SidecarHarm},
};
use tokio::time::Instant;

use super::described::{Described, measures};
use crate::{
    experiment::{ExperimentError, Stage, StepFuture, Timing, Trial},
    probe::Load,
    scope::Edge,
};

/// Retries do not keep a service down that fails.
pub const RETRY_STORM: Described = Described {
    name: "retry-storm",
    title: "Retry storm",
    hypothesis: "Retries stay within their budget, so that a service that fails is not kept down by its callers",
    how: "100 requests a second, all of which all tasks of the called service answer with 503, each try after 300 ms: their \
          sidecars do so in place of the application, and count",
    expected: "the caller's application gets 503; the called tasks get at most 1.8 tries for each request, where three \
               would be allowed; two seconds after the end all is as before",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        let rate = scope.rate.unwrap_or(measures::HIGH_RATE);
        Ok(Box::new(Storm { edge, rate, fault: None, began: None, lasted: None }))
    },
};

struct Storm {
    edge: Edge,
    rate: u32,
    fault: Option<FaultId>,
    began: Option<Instant>,
    lasted: Option<Duration>,
}

impl Trial for Storm {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn load(&self) -> Load {
        Load { rate: self.rate, timeout: Duration::from_secs(5), ..Load::default() }
    }

    fn timing(&self) -> Timing {
        Timing { during: measures::STORM, ..Timing::default() }
    }

    fn expectation(&self) -> Expectation {
        Expectation { recover_within: measures::STORM_OVER, ..Expectation::refused(Want::Status(503)) }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let (tasks, after) = (self.edge.called.healthy_ids(), measures::STORM_ANSWER);
            let harm = SidecarHarm::Answers { status: 503, after };
            self.fault = Some(stage.begin(FaultKind::Sidecar { tasks, harm }).await?.id);
            self.began = Some(Instant::now());
            Ok(())
        })
    }

    fn restore<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        let _ = stage;
        Box::pin(async {
            let began = self.began;
            self.lasted = self.lasted.or_else(|| began.map(|began| began.elapsed()));
            Ok(())
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let (Some(id), Some(lasted)) = (self.fault.clone(), self.lasted) else { return Ok(Vec::new()) };
            let arrived = stage.system().evidence(id).await?.arrived as f64;
            let sent = f64::from(self.rate) * lasted.as_secs_f64();
            let seen = format!("{arrived:.0} tries of {sent:.0} requests: {:.2} each", arrived / sent);
            let most = measures::TRIES_MAX;
            let what = format!("the called tasks get at most {most} tries for each request");
            Ok(vec![
                Finding::new("the load comes", arrived >= sent * measures::TRIES_MIN, seen.clone()),
                Finding::new(what, arrived <= sent * most, seen),
            ])
        })
    }
}
