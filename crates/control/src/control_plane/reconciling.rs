//! The reconciler's passes: whenever something has changed, and whenever it has asked for one.

use std::{sync::Arc, time::Duration};

use bowline_plumbing::wall_clock;
use tokio::{sync::watch, time::Instant};

use super::pace::Pace;
use crate::{core::Core, reconcile::Histories};

/// Longest time between two passes of the reconciler.
const PASS_EVERY: Duration = Duration::from_secs(10);

/// Reconciles until the registry is gone; once `stopping`, only until the last task is.
pub(super) async fn run(core: Arc<Core>, stopping: watch::Receiver<bool>) {
    let mut histories = Histories::default();
    let mut generation = core.registry_generation();
    let mut pace = Pace::default();
    loop {
        generation.mark_unchanged();
        core.end_old_diversions();
        let faults_end = core.end_old_faults().into_iter().chain(core.end_old_harms()).min();
        let began = Instant::now();
        let passed = core.reconcile(&mut histories, *stopping.borrow());
        core.telemetry().own.passed(began.elapsed(), passed.is_err());
        pace.looked(began, Instant::now());
        let again_in = match passed {
            Ok(pass) => {
                for stack in &pass.failed_updates {
                    core.roll_back(stack);
                }
                pass.again_in
            }
            Err(error) => {
                tracing::error!(%error, "a pass of the reconciler failed");
                Some(Duration::from_secs(1))
            }
        };
        let faults_end = faults_end.map(|end| end.since(wall_clock::now()) + Duration::from_millis(1));
        let again_in = again_in.into_iter().chain(faults_end).min();
        let timer = tokio::time::sleep(again_in.unwrap_or(PASS_EVERY).min(PASS_EVERY));
        tokio::select! {
            changed = generation.changed() => if changed.is_err() { return },
            () = timer => {}
        }
        pace.turn().await;
    }
}
