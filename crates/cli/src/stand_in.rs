//! Who stands in for sidecars of tasks that are only recorded (`--launcher record`): a simulator of many
//! proxies. It is told what a sidecar is told, and says where they accept calls, as an agent would.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use bowline_control::control_plane::ControlPlane;
use bowline_model::task::{ControlPlaneAddress, InboundSocket, Secret, TaskId, TaskReport};
use bowline_plumbing::wall_clock;
use serde::{Deserialize, Serialize};

/// Most tasks of one request.
const TASKS_MAX: usize = 10_000;

/// What who stands in asks or says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StandIn {
    /// What sidecars of these tasks are told when they start. Answered by `SidecarStarts`.
    Start {
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// Where sidecars accept calls from now on. Answered by `Done`.
    Listen {
        /// All sockets of each task's.
        sockets: BTreeMap<TaskId, Vec<InboundSocket>>,
    },
}

/// What a sidecar is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SidecarStart {
    /// Whose sidecar it is.
    pub(crate) task: TaskId,
    /// Where it finds the control plane.
    pub(crate) control_plane: ControlPlaneAddress,
    /// For its first certificate; good once, for a minute.
    pub(crate) token: Secret,
}

/// What sidecars of `tasks` are told.
///
/// # Errors
/// One of them is not to run, or has no sidecar.
pub(crate) fn start(control: &ControlPlane, tasks: &[TaskId]) -> anyhow::Result<Vec<SidecarStart>> {
    if tasks.len() > TASKS_MAX {
        bail!("more than {TASKS_MAX} tasks");
    }
    let port = control.agent_port();
    let desired = port.desired.borrow().clone();
    let specs: BTreeMap<_, _> = desired.iter().map(|desire| (&desire.spec.id, &desire.spec)).collect();
    let start = |task: &TaskId| {
        let spec = specs.get(task).with_context(|| format!("no task {task} is to run"))?;
        let proxy = spec.proxy.as_ref().with_context(|| format!("the task {task} has no sidecar"))?;
        let token = port.tokens.issue(task).with_context(|| format!("the task {task} is over"))?;
        Ok(SidecarStart { task: task.clone(), control_plane: proxy.control_plane.clone(), token })
    };
    tasks.iter().map(start).collect()
}

/// Reports that sidecars listen on these sockets.
///
/// # Errors
/// One of the tasks does not run, or the control plane ends.
pub(crate) async fn listen(
    control: &ControlPlane,
    sockets: BTreeMap<TaskId, Vec<InboundSocket>>,
) -> anyhow::Result<()> {
    if sockets.len() > TASKS_MAX {
        bail!("more than {TASKS_MAX} tasks");
    }
    let registry = control.snapshot();
    let reports = control.agent_port().reports;
    for (task, inbound) in sockets {
        let record = registry.tasks.get(task.as_str());
        let report = record.and_then(|record| record.report.as_deref());
        let report = report.with_context(|| format!("the task {task} does not run"))?;
        let report = TaskReport { inbound, at: wall_clock::now(), ..report.clone() };
        reports.send(report).await.context("the control plane ends")?;
    }
    Ok(())
}
