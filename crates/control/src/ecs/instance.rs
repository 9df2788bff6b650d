//! This machine as the container instance of every cluster.
//!
//! It joins a cluster with the cluster, and leaves it with `DeregisterContainerInstance`. Tasks
//! of launch type `FARGATE` are not on it, though they run on the same machine: AWS tells nothing
//! of what they run on.

use std::collections::BTreeMap;

use bowline_aws::ecs::{LaunchType, Tag};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    task::{DesiredStatus, TaskStatus},
};
use serde::{Deserialize, Serialize};

use super::capacity;
use crate::{
    random,
    registry::{Cluster, Registry, TaskOwner, TaskRecord},
};

/// Most attributes of a container instance that were given with `PutAttributes` (AWS's quota).
pub const ATTRIBUTES_MAX: usize = 10;

/// A container instance: this machine, in one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerInstanceRecord {
    /// `…:container-instance/CLUSTER/ID`
    pub arn: Arn,
    /// The cluster's name.
    pub cluster: String,
    /// Whether tasks are placed on it.
    pub status: InstanceStatus,
    /// Since when it is in the cluster.
    pub registered_at: Timestamp,
    /// Attributes that were given; those of the machine itself are not among them.
    pub attributes: BTreeMap<String, Option<String>>,
    /// ECS's tags of it.
    pub tags: Vec<Tag>,
    /// Grows with every change that is made to it.
    pub version: u64,
}

/// ECS's status of a container instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceStatus {
    /// Tasks are placed on it.
    Active,
    /// No task is placed on it, and services take theirs away as far as they may.
    Draining,
    /// It was deregistered.
    Inactive,
}

impl InstanceStatus {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// The machine joins the cluster; where it is in it already, nothing changes.
pub fn join(registry: &mut Registry, cluster: &Cluster, now: Timestamp) {
    let present = registry.container_instances.get(&cluster.name);
    if present.is_none() {
        registry.container_instances.put(cluster.name.clone(), new(cluster, now));
    }
}

/// The machine as a new container instance of the cluster.
pub fn new(cluster: &Cluster, now: Timestamp) -> ContainerInstanceRecord {
    let prefix = cluster.arn.as_str().rsplit_once(":cluster/").map_or("", |(prefix, _)| prefix);
    let arn = format!("{prefix}:container-instance/{}/{}", cluster.name, random::task_id());
    ContainerInstanceRecord {
        arn: arn.parse().expect("a cluster's ARN with another resource is an ARN"),
        cluster: cluster.name.clone(),
        status: InstanceStatus::Active,
        registered_at: now,
        attributes: BTreeMap::new(),
        tags: Vec::new(),
        version: 1,
    }
}

/// The machine is in every cluster, and in none that is gone.
pub fn follow_clusters(registry: &mut Registry, now: Timestamp) {
    let clusters: Vec<_> = registry.clusters.values().cloned().collect();
    for cluster in &clusters {
        join(registry, cluster, now);
    }
    if registry.container_instances.len() > clusters.len() {
        registry.container_instances.retain(|name, _| clusters.iter().any(|cluster| cluster.name == name));
    }
}

/// Whether what has this launch type may be placed in the cluster now.
pub fn may_place(registry: &Registry, cluster: &str, launch_type: LaunchType) -> bool {
    launch_type == LaunchType::Fargate
        || registry
            .container_instances
            .get(cluster)
            .is_none_or(|instance| instance.status == InstanceStatus::Active)
}

/// The launch type of a task; `None` for a gateway's.
pub fn launch_type(registry: &Registry, task: &TaskRecord) -> Option<LaunchType> {
    if let Some(provider) = &task.capacity_provider {
        return Some(capacity::launch_type_of(provider));
    }
    match &task.owner {
        TaskOwner::Standalone(standalone) => Some(standalone.launch_type.unwrap_or(LaunchType::Ec2)),
        TaskOwner::Service { service, .. } => {
            let record = registry.service_records.get(service.as_str());
            Some(record.map_or(LaunchType::Ec2, |record| capacity::service_launch_type(&record.request)))
        }
        TaskOwner::Gateway { .. } => None,
    }
}

/// The cluster of a task; `None` for a gateway's.
pub fn cluster_of(task: &TaskRecord) -> Option<&str> {
    match &task.owner {
        TaskOwner::Gateway { .. } => None,
        _ => task.arn.resource().split('/').nth(1),
    }
}

/// The container instance that a task is on.
pub fn of_task<'a>(registry: &'a Registry, task: &TaskRecord) -> Option<&'a ContainerInstanceRecord> {
    let launch_type = launch_type(registry, task)?;
    let instance = registry.container_instances.get(cluster_of(task)?)?;
    (launch_type != LaunchType::Fargate).then_some(&**instance)
}

/// The tasks that are on a container instance and not over.
pub fn tasks_on<'a>(
    registry: &'a Registry,
    instance: &'a ContainerInstanceRecord,
) -> impl Iterator<Item = &'a TaskRecord> {
    registry.tasks.values().map(|task| &**task).filter(move |task| {
        task.status() != TaskStatus::Stopped
            && of_task(registry, task).is_some_and(|of| of.arn == instance.arn)
    })
}

/// Tells every task on the instance to stop.
pub fn stop_tasks_on(registry: &mut Registry, instance: &ContainerInstanceRecord) {
    let ids: Vec<_> = tasks_on(registry, instance).map(|task| task.id.clone()).collect();
    for id in ids {
        registry.tasks.update(id.as_str(), |task| task.desired = DesiredStatus::Stopped);
    }
}
