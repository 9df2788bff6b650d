//! What is attached to a task.

use bowline_aws::ecs::{KeyValuePair, api::Attachment};
use bowline_model::{
    network::TASK_ADDRESS,
    task::{TaskReport, TaskStatus},
};

use crate::{
    registry::{Registry, TaskRecord},
    zone,
};

/// The task's network interface as ECS tells it, with the address that it has in its own network.
pub(super) fn interface(registry: &Registry, task: &TaskRecord, report: Option<&TaskReport>) -> Attachment {
    let pair = |name: &str, value: String| KeyValuePair { name: Some(name.to_owned()), value: Some(value) };
    let id = task.id.as_str();
    let status = match report.map(|report| report.status) {
        None | Some(TaskStatus::Provisioning) => "PRECREATED",
        Some(TaskStatus::Pending) => "ATTACHING",
        Some(TaskStatus::Running | TaskStatus::Stopping) => "ATTACHED",
        Some(TaskStatus::Stopped) => "DELETED",
    };
    let subnet = zone::subnet_of(registry, task, zone::subnets_of(registry, &task.owner));
    let subnet = subnet.map(|id| pair("subnetId", id.to_owned()));
    let details = [
        pair("networkInterfaceId", format!("eni-{}", &id[..17])),
        pair("privateIPv4Address", TASK_ADDRESS.to_string()),
    ];
    Attachment {
        id: format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..32]),
        r#type: "ElasticNetworkInterface".into(),
        status: status.into(),
        details: subnet.into_iter().chain(details).collect(),
    }
}
