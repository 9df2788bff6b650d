//! An agent for tests: no processes, and every task does at once what it is told.

use std::{collections::BTreeMap, sync::Arc};

use bowline_control::control_plane::AgentPort;
use bowline_model::task::{
    DesiredStatus, HealthStatus, InboundSocket, TaskDesire, TaskReport, TaskSpec, TaskStatus,
};
use bowline_plumbing::wall_clock;

/// Does at once, and without a process, what it is told.
pub(crate) fn fake_agent(port: AgentPort) -> tokio::task::JoinHandle<()> {
    let AgentPort { mut desired, reports, .. } = port;
    tokio::spawn(async move {
        let mut told: BTreeMap<String, DesiredStatus> = BTreeMap::new();
        loop {
            let list: Arc<Vec<TaskDesire>> = Arc::clone(&desired.borrow_and_update());
            for desire in list.iter() {
                let id = desire.spec.id.as_str().to_owned();
                if told.insert(id, desire.status) != Some(desire.status)
                    && reports.send(report(&desire.spec, desire.status)).await.is_err()
                {
                    return;
                }
            }
            if desired.changed().await.is_err() {
                return;
            }
        }
    })
}

fn report(spec: &TaskSpec, status: DesiredStatus) -> TaskReport {
    let running = status == DesiredStatus::Running;
    let inbound = spec.proxy.iter().flat_map(|proxy| &proxy.inbound).map(|port| InboundSocket {
        port_name: port.port_name.clone(),
        container_port: port.container_port,
        address: ([127, 0, 0, 1], port.container_port).into(),
    });
    TaskReport {
        id: spec.id.clone(),
        at: wall_clock::now(),
        status: if running { TaskStatus::Running } else { TaskStatus::Stopped },
        health: HealthStatus::Healthy,
        containers: Vec::new(),
        inbound: inbound.collect(),
        published: Vec::new(),
        proxy_ready: running,
        stopped_reason: None,
        stop_code: None,
        shim_pid: None,
        warnings: Vec::new(),
    }
}
