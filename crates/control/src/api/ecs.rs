//! ECS (`AmazonEC2ContainerServiceV20141113`).
//!
//! Source of names, shapes and errors: AWS's ECS API reference.

mod account;
mod attachments;
mod attributes;
mod capacity_providers;
mod clusters;
mod container_instances;
mod deployment_configuration;
mod deployments;
mod exec;
mod protection;
mod services;
mod tags;
mod task_definitions;
mod tasks;
mod tls;

use std::sync::Arc;

use bowline_aws::protocol::Fault;
use bowline_model::arn::Arn;

use super::{
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::{
    ecs::service::cluster_name,
    registry::{Cluster, Registry},
};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "ContinueServiceDeployment", deployments::continue_paused),
    operation!(Write, Recorded, "CreateCapacityProvider", capacity_providers::create),
    operation!(Write, Effective, "CreateCluster", clusters::create),
    operation!(Write, Effective, "CreateService", services::create),
    operation!(Write, Recorded, "DeleteAccountSetting", account::delete),
    operation!(Write, Recorded, "DeleteAttributes", attributes::delete),
    operation!(Write, Recorded, "DeleteCapacityProvider", capacity_providers::delete),
    operation!(Write, Effective, "DeleteCluster", clusters::delete),
    operation!(Write, Effective, "DeleteService", services::delete),
    operation!(Write, Effective, "DeleteTaskDefinitions", task_definitions::delete),
    operation!(Write, Effective, "DeregisterContainerInstance", container_instances::deregister),
    operation!(Write, Effective, "DeregisterTaskDefinition", task_definitions::deregister),
    operation!(Read, Effective, "DescribeCapacityProviders", capacity_providers::describe),
    operation!(Read, Effective, "DescribeClusters", clusters::describe),
    operation!(Read, Effective, "DescribeContainerInstances", container_instances::describe),
    operation!(Read, Effective, "DescribeServiceDeployments", deployments::describe),
    operation!(Read, Effective, "DescribeServiceRevisions", deployments::describe_revisions),
    operation!(Read, Effective, "DescribeServices", services::describe),
    operation!(Read, Effective, "DescribeTaskDefinition", task_definitions::describe),
    operation!(Read, Effective, "DescribeTasks", tasks::describe),
    operation!(Write, Refused, "ExecuteCommand", exec::execute),
    operation!(Read, Effective, "GetTaskProtection", protection::get),
    operation!(Read, Recorded, "ListAccountSettings", account::list),
    operation!(Read, Recorded, "ListAttributes", attributes::list),
    operation!(Read, Effective, "ListClusters", clusters::list),
    operation!(Read, Effective, "ListContainerInstances", container_instances::list),
    operation!(Read, Effective, "ListServiceDeployments", deployments::list),
    operation!(Read, Effective, "ListServices", services::list),
    operation!(Read, Effective, "ListServicesByNamespace", services::list_by_namespace),
    operation!(Read, Effective, "ListTagsForResource", tags::list),
    operation!(Read, Effective, "ListTaskDefinitionFamilies", task_definitions::list_families),
    operation!(Read, Effective, "ListTaskDefinitions", task_definitions::list),
    operation!(Read, Effective, "ListTasks", tasks::list),
    operation!(Write, Recorded, "PutAccountSetting", account::put),
    operation!(Write, Recorded, "PutAccountSettingDefault", account::put),
    operation!(Write, Recorded, "PutAttributes", attributes::put),
    operation!(Write, Effective, "PutClusterCapacityProviders", capacity_providers::put_of_cluster),
    operation!(Write, Effective, "RegisterContainerInstance", container_instances::register),
    operation!(Write, Effective, "RegisterTaskDefinition", task_definitions::register),
    operation!(Write, Effective, "RunTask", tasks::run),
    operation!(Write, Effective, "StartTask", tasks::start),
    operation!(Write, Effective, "StopServiceDeployment", deployments::stop),
    operation!(Write, Effective, "StopTask", tasks::stop),
    operation!(Write, Effective, "TagResource", tags::tag),
    operation!(Write, Effective, "UntagResource", tags::untag),
    operation!(Write, Recorded, "UpdateCapacityProvider", capacity_providers::update),
    operation!(Write, Effective, "UpdateCluster", clusters::update),
    operation!(Write, Effective, "UpdateClusterSettings", clusters::update_settings),
    operation!(Write, Effective, "UpdateContainerInstancesState", container_instances::update_state),
    operation!(Write, Effective, "UpdateService", services::update),
    operation!(Write, Effective, "UpdateTaskProtection", protection::update),
];

/// `InvalidParameterException`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}

/// `ClientException`.
fn client(message: impl Into<String>) -> Fault {
    Fault::new("ClientException", message)
}

fn cluster_not_found() -> Fault {
    Fault::new("ClusterNotFoundException", "Cluster not found.")
}

/// The cluster of a request, by name or ARN; `default` where it names none.
fn find_cluster(registry: &Registry, given: Option<&str>) -> Result<Arc<Cluster>, Fault> {
    registry.clusters.get(&cluster_name(given)).cloned().ok_or_else(cluster_not_found)
}

/// `maxResults` and `nextToken` of a list of ARNs.
fn page_of<T>(
    operation: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i64>,
    most: i64,
) -> Result<Page<T>, Fault> {
    let default = if most == 100 { 100 } else { 10 };
    let size = max_results.unwrap_or(default);
    super::constraint::range("maxResults", size, 1..=most).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, token, size).map_err(|_| invalid("Invalid token: nextToken"))
}

/// A service or task by its ARN, or by its name in a cluster.
fn arn_in_cluster(kind: &str, given: &str, cluster: &Cluster) -> Option<Arn> {
    if given.starts_with("arn:") {
        return given.parse().ok();
    }
    let prefix = cluster.arn.as_str().rsplit_once(":cluster/")?.0;
    format!("{prefix}:{kind}/{}/{given}", cluster.name).parse().ok()
}
