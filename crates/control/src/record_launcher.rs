//! The launcher that launches nothing: tasks are records. For test suites that only test an API.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_model::task::{
    ContainerReport, DesiredStatus, HealthStatus, InboundSocket, StopCode, TaskDesire, TaskId, TaskReport,
    TaskSpec, TaskStatus,
};
use bowline_plumbing::wall_clock;
use tokio::sync::mpsc;

use crate::{control_plane::AgentPort, registry::Registry};

/// What every recorded task says of itself.
pub const WARNING: &str = "recorded only: with --launcher record nothing runs";

/// Reports each task as running as soon as it is wanted, and as stopped as soon as it is not.
/// Ends with the control plane.
pub async fn run(port: AgentPort) {
    resume(port, &Registry::default()).await;
}

/// The same, of tasks that were recorded `before` the control plane started: what was said of where they accept
/// calls stays said. The registry is read when this is called, not when it is polled.
pub fn resume(port: AgentPort, before: &Registry) -> impl Future<Output = ()> + Send + use<> {
    let listening = before.tasks.values().filter_map(|task| {
        let inbound = &task.report.as_ref()?.inbound;
        (!inbound.is_empty()).then(|| (task.id.clone(), inbound.clone()))
    });
    follow(port, listening.collect())
}

async fn follow(port: AgentPort, mut listening: BTreeMap<TaskId, Vec<InboundSocket>>) {
    let AgentPort { mut desired, reports, .. } = port;
    let mut running: BTreeMap<TaskId, Arc<TaskSpec>> = BTreeMap::new();
    let mut stopped: BTreeSet<TaskId> = BTreeSet::new();
    loop {
        let wanted = Arc::clone(&desired.borrow_and_update());
        if take_up(&wanted, &mut listening, &mut running, &mut stopped, &reports).await.is_err()
            || desired.changed().await.is_err()
        {
            return;
        }
    }
}

async fn take_up(
    wanted: &[TaskDesire],
    listening: &mut BTreeMap<TaskId, Vec<InboundSocket>>,
    running: &mut BTreeMap<TaskId, Arc<TaskSpec>>,
    stopped: &mut BTreeSet<TaskId>,
    reports: &mpsc::Sender<TaskReport>,
) -> Result<(), mpsc::error::SendError<TaskReport>> {
    for desire in wanted {
        let id = &desire.spec.id;
        match desire.status {
            DesiredStatus::Running if !running.contains_key(id) && !stopped.contains(id) => {
                let mut report = report(&desire.spec, TaskStatus::Running);
                report.inbound = listening.remove(id).unwrap_or_default();
                reports.send(report).await?;
                running.insert(id.clone(), Arc::clone(&desire.spec));
            }
            DesiredStatus::Stopped if !stopped.contains(id) => {
                reports.send(report(&desire.spec, TaskStatus::Stopped)).await?;
                running.remove(id);
                stopped.insert(id.clone());
            }
            _ => {}
        }
    }
    // What the control plane has forgotten needs no memory here.
    let known: BTreeSet<_> = wanted.iter().map(|desire| &desire.spec.id).collect();
    stopped.retain(|id| known.contains(id));
    running.retain(|id, _| known.contains(id));
    Ok(())
}

fn report(spec: &TaskSpec, status: TaskStatus) -> TaskReport {
    let over = status == TaskStatus::Stopped;
    let is_checked =
        spec.containers.iter().any(|container| container.essential && container.health_check.is_some());
    let health_of = |checked: bool| match checked && !over {
        true => HealthStatus::Healthy,
        false => HealthStatus::Unknown,
    };
    TaskReport {
        id: spec.id.clone(),
        at: wall_clock::now(),
        status,
        health: health_of(is_checked),
        containers: spec
            .containers
            .iter()
            .map(|container| ContainerReport {
                name: container.name.clone(),
                status,
                health: health_of(container.health_check.is_some()),
                exit_code: over.then_some(0),
                reason: None,
                pid: None,
            })
            .collect(),
        inbound: Vec::new(),
        published: Vec::new(),
        proxy_ready: !over,
        stopped_reason: over.then(|| "Task stopped by user".to_owned()),
        stop_code: over.then_some(StopCode::UserInitiated),
        shim_pid: None,
        warnings: vec![WARNING.to_owned()],
    }
}
