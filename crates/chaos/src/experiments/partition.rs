//! A network that is broken in one direction.

use std::time::Duration;

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{FaultId, FaultKind, PathHarm},
};

use super::{
    described::{Described, measures},
    faulty_certificates::called_address,
};
use crate::{
    experiment::{ExperimentError, Stage, StepFuture, Timing, Trial},
    probe::Load,
    scope::Edge,
};

/// Connections that have gone silent are found.
pub const ONE_WAY_PARTITION: Described = Described {
    name: "one-way-partition",
    title: "One-way network partition",
    hypothesis: "A called task whose answers are lost on their way is found, and the others take over",
    how: "the caller's sidecars reach one called task through a relay; after a second nothing that it sends arrives any \
          longer, on connections that are open and on new ones, while all that it is sent does",
    expected: "80 of 100 requests are answered, those that were under way by another task, and nobody waits for longer than \
               8 s",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, |edge| {
            edge.require_mutual_tls()?;
            edge.require_called_tasks(2)
        });
        let edge = edge.map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Partitioned { edge, fault: None }))
    },
};

struct Partitioned {
    edge: Edge,
    fault: Option<FaultId>,
}

impl Trial for Partitioned {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn load(&self) -> Load {
        Load { timeout: measures::SILENCE_FOUND + Duration::from_secs(1), ..Load::default() }
    }

    fn timing(&self) -> Timing {
        let during = measures::BEFORE_SILENCE + measures::SILENCE_FOUND + Duration::from_secs(2);
        Timing { during, ..Timing::default() }
    }

    fn expectation(&self) -> Expectation {
        Expectation {
            p99_max: Some(measures::SILENCE_FOUND),
            recover_within: measures::RECOVERY,
            // Those that wait when it is found are all tried again at once: more than their budget may be refused.
            ..Expectation::served(0.8)
        }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let (task, _) = called_address(&self.edge)?;
            let path = FaultKind::Path {
                callers: self.edge.caller.healthy_ids(),
                cluster: self.edge.alias.cluster.clone(),
                called: vec![task],
                harm: PathHarm::OneWay { after: measures::BEFORE_SILENCE },
            };
            self.fault = Some(stage.begin(path).await?.id);
            Ok(())
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(id) = self.fault.clone() else { return Ok(Vec::new()) };
            let seen = stage.system().evidence(id).await?;
            let text = format!(
                "{} connections, {} bytes to the called task, {} from it",
                seen.harmed, seen.bytes_to_called, seen.bytes_to_caller
            );
            let held = seen.harmed > 0 && seen.bytes_to_called > 0;
            Ok(vec![Finding::new("connections of the caller's sidecars go silent", held, text)])
        })
    }
}
