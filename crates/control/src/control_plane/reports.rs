//! What agents report of tasks.

use std::{sync::Arc, time::Duration};

use bowline_model::task::TaskReport;
use tokio::sync::mpsc;

use super::measurements;
use crate::{
    core::Core,
    registry::{Registry, RegistryError},
};

/// How soon reports that could not be taken are taken again.
const REPORTS_AGAIN: Duration = Duration::from_millis(500);

/// Takes reports up, until nobody can send any.
pub(super) async fn take_up(core: Arc<Core>, mut reports: mpsc::Receiver<TaskReport>) {
    let mut batch = Vec::new();
    while reports.recv_many(&mut batch, 256).await > 0 {
        measurements::count_stopped(&core, &batch);
        // What a task has said once it does not say again: a disk without room may have room later.
        while let Err(error) = core.change(|registry| take(registry, &batch)) {
            tracing::error!(%error, "reports of tasks could not be taken");
            if reports.is_closed() {
                return;
            }
            tokio::time::sleep(REPORTS_AGAIN).await;
        }
        batch.clear();
    }
}

fn take(registry: &mut Registry, batch: &[TaskReport]) -> Result<(), RegistryError> {
    for report in batch {
        registry.tasks.update(report.id.as_str(), |task| task.take_up(report));
    }
    Ok(())
}
