//! Tasks.

use serde::{Deserialize, Serialize};

use super::{Attachment, Attribute, Failure, TagsField};
use crate::{
    ecs::{
        CapacityProviderStrategyItem, EnvironmentFile, KeyValuePair, LaunchType, NetworkConfiguration,
        PlacementConstraint, PlacementStrategy, PropagateTags, ResourceRequirement, Tag,
    },
    protocol::Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub task_arn: String,
    pub task_definition_arn: String,
    pub cluster_arn: String,
    pub container_instance_arn: Option<String>,
    pub attachments: Vec<Attachment>,
    pub attributes: Vec<Attribute>,
    pub availability_zone: String,
    pub capacity_provider_name: Option<String>,
    pub connectivity: &'static str,
    pub connectivity_at: Option<Timestamp>,
    pub containers: Vec<Container>,
    pub cpu: Option<String>,
    pub created_at: Timestamp,
    pub desired_status: &'static str,
    pub enable_execute_command: bool,
    pub group: String,
    pub health_status: &'static str,
    pub last_status: &'static str,
    pub launch_type: Option<LaunchType>,
    pub memory: Option<String>,
    pub overrides: TaskOverride,
    pub platform_version: Option<String>,
    pub started_at: Option<Timestamp>,
    pub started_by: Option<String>,
    pub stop_code: Option<String>,
    pub stopped_at: Option<Timestamp>,
    pub stopped_reason: Option<String>,
    pub tags: Vec<Tag>,
    pub version: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub container_arn: String,
    pub task_arn: String,
    pub name: String,
    pub image: String,
    pub runtime_id: Option<String>,
    pub last_status: &'static str,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub network_bindings: Vec<NetworkBinding>,
    pub network_interfaces: Vec<NetworkInterface>,
    pub health_status: &'static str,
    pub cpu: Option<String>,
    pub memory: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkBinding {
    #[serde(rename = "bindIP")]
    pub bind_ip: String,
    pub container_port: u16,
    pub host_port: u16,
    pub protocol: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    pub attachment_id: String,
    pub private_ipv4_address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskOverride {
    #[serde(default)]
    pub container_overrides: Vec<ContainerOverride>,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub execution_role_arn: Option<String>,
    pub task_role_arn: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerOverride {
    pub name: Option<String>,
    pub command: Option<Vec<String>>,
    #[serde(default)]
    pub environment: Vec<KeyValuePair>,
    #[serde(default)]
    pub environment_files: Vec<EnvironmentFile>,
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub memory_reservation: Option<i64>,
    #[serde(default)]
    pub resource_requirements: Vec<ResourceRequirement>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTaskRequest {
    #[serde(default)]
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub cluster: Option<String>,
    pub count: Option<i64>,
    pub enable_execute_command: Option<bool>,
    pub group: Option<String>,
    pub launch_type: Option<LaunchType>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub overrides: Option<TaskOverride>,
    #[serde(default)]
    pub placement_constraints: Vec<PlacementConstraint>,
    #[serde(default)]
    pub placement_strategy: Vec<PlacementStrategy>,
    pub platform_version: Option<String>,
    pub propagate_tags: Option<PropagateTags>,
    pub started_by: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub task_definition: String,
    pub client_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartTaskRequest {
    pub cluster: Option<String>,
    pub container_instances: Vec<String>,
    pub enable_execute_command: Option<bool>,
    pub group: Option<String>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub overrides: Option<TaskOverride>,
    pub propagate_tags: Option<PropagateTags>,
    pub started_by: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub task_definition: String,
}

/// The response of `RunTask`, `StartTask` and `DescribeTasks`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TasksResponse {
    pub tasks: Vec<Task>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StopTaskRequest {
    pub cluster: Option<String>,
    pub task: String,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StopTaskResponse {
    pub task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredTaskStatus {
    Running,
    Pending,
    Stopped,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksRequest {
    pub cluster: Option<String>,
    pub container_instance: Option<String>,
    pub family: Option<String>,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
    pub started_by: Option<String>,
    pub service_name: Option<String>,
    pub desired_status: Option<DesiredTaskStatus>,
    pub launch_type: Option<LaunchType>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksResponse {
    pub task_arns: Vec<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DescribeTasksRequest {
    pub cluster: Option<String>,
    pub tasks: Vec<String>,
    #[serde(default)]
    pub include: Vec<TagsField>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ExecuteCommandRequest {
    pub cluster: Option<String>,
    pub container: Option<String>,
    pub command: String,
    pub interactive: bool,
    pub task: String,
}
