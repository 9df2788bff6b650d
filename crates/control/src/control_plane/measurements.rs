//! What is measured goes where metrics are kept.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_discovery::telemetry::MetricReport;
use bowline_model::task::{TaskId, TaskReport, TaskStatus, TaskUsage};
use bowline_plumbing::wall_clock;
use bowline_stream::directory::InvalidReport;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    core::Core,
    telemetry::{Telemetry, TelemetryView},
};

use super::ControlPlane;

/// How often what is told by the minute is told.
const MINUTE: Duration = Duration::from_secs(60);

impl ControlPlane {
    /// Who calls whom, how often, how fast and how well, over the last `window` (60 s at most). While somebody asks,
    /// proxies report every second.
    pub fn telemetry_view(&self, window: Duration) -> TelemetryView {
        self.core.telemetry().view(window, wall_clock::now())
    }

    /// Takes what the proxy of a task would tell over the stream, and tells whether there is such a task: for
    /// simulations, where no proxy runs.
    ///
    /// # Errors
    /// The report is not as reports are.
    pub fn take_report(&self, task: &TaskId, report: MetricReport) -> Result<bool, InvalidReport> {
        let registry = self.core.registry();
        let Some(task) = registry.tasks.get(task.as_str()) else { return Ok(false) };
        self.core.telemetry().take(&registry, task, report, wall_clock::now())?;
        Ok(true)
    }

    /// What [`ControlPlane::telemetry_view`] tells, as each task's proxy tells it.
    pub fn telemetry_view_by_task(&self, window: Duration) -> BTreeMap<TaskId, TelemetryView> {
        self.core.telemetry().view_by_task(window, wall_clock::now())
    }
}

/// Takes what agents measure, and ends the minutes.
pub(super) async fn run(core: Arc<Core>, mut usage: mpsc::Receiver<Vec<TaskUsage>>) {
    let mut minutes = tokio::time::interval_at(tokio::time::Instant::now() + MINUTE, MINUTE);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            usage = usage.recv() => match usage {
                Some(usage) => telemetry(&core).used(&core.registry(), &usage, wall_clock::now()),
                None => return,
            },
            _ = minutes.tick() => telemetry(&core).minute(&core.registry(), wall_clock::now()),
        }
    }
}

fn telemetry(core: &Core) -> &Telemetry {
    core.telemetry()
}

/// Counts tasks that these reports end.
pub(super) fn count_stopped(core: &Core, reports: &[TaskReport]) {
    if reports.iter().all(|report| report.status != TaskStatus::Stopped) {
        return;
    }
    let registry = core.registry();
    for report in reports.iter().filter(|report| report.status == TaskStatus::Stopped) {
        // What is stopped already only says so again.
        if let Some(task) = registry.tasks.get(report.id.as_str())
            && task.status() != TaskStatus::Stopped
        {
            core.telemetry().task_stopped(&registry, task);
        }
    }
}
