//! Services, their deployments and revisions.

use serde::{Deserialize, Serialize};

use super::{Failure, TagsField};
use crate::{
    ecs::{
        AvailabilityZoneRebalancing, CapacityProviderStrategyItem, DeploymentConfiguration,
        DeploymentController, LaunchType, LoadBalancer, NetworkConfiguration, PlacementConstraint,
        PlacementStrategy, PropagateTags, SchedulingStrategy, ServiceConnectConfiguration, ServiceRegistry,
        ServiceVolumeConfiguration, Tag, VpcLatticeConfiguration,
    },
    protocol::Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub service_arn: String,
    pub service_name: String,
    pub cluster_arn: String,
    pub load_balancers: Vec<LoadBalancer>,
    pub service_registries: Vec<ServiceRegistry>,
    pub status: &'static str,
    pub desired_count: u32,
    pub running_count: usize,
    pub pending_count: usize,
    pub launch_type: Option<LaunchType>,
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub platform_version: Option<String>,
    pub platform_family: Option<String>,
    pub task_definition: String,
    pub deployment_configuration: DeploymentConfiguration,
    pub deployments: Vec<Deployment>,
    pub role_arn: Option<String>,
    pub events: Vec<ServiceEvent>,
    pub created_at: Timestamp,
    pub current_service_deployment: Option<String>,
    pub current_service_revisions: Vec<CurrentServiceRevision>,
    pub placement_constraints: Vec<PlacementConstraint>,
    pub placement_strategy: Vec<PlacementStrategy>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub health_check_grace_period_seconds: Option<i64>,
    pub scheduling_strategy: Option<SchedulingStrategy>,
    pub deployment_controller: Option<DeploymentController>,
    pub tags: Vec<Tag>,
    pub created_by: String,
    #[serde(rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: bool,
    pub propagate_tags: Option<PropagateTags>,
    pub enable_execute_command: bool,
    pub availability_zone_rebalancing: Option<AvailabilityZoneRebalancing>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    pub id: String,
    pub status: &'static str,
    pub task_definition: String,
    pub desired_count: u32,
    pub pending_count: usize,
    pub running_count: usize,
    pub failed_tasks: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub launch_type: Option<LaunchType>,
    pub platform_version: Option<String>,
    pub platform_family: Option<String>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub rollout_state: &'static str,
    pub rollout_state_reason: String,
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
    pub service_connect_resources: Vec<ServiceConnectServiceResource>,
    pub volume_configurations: Vec<ServiceVolumeConfiguration>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectServiceResource {
    pub discovery_name: String,
    pub discovery_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEvent {
    pub id: String,
    pub created_at: Timestamp,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentServiceRevision {
    pub arn: String,
    pub requested_task_count: u32,
    pub running_task_count: usize,
    pub pending_task_count: usize,
    /// Percent; only of a service deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_production_traffic_weight: Option<f64>,
    /// Percent; only of a service deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_test_traffic_weight: Option<f64>,
}

/// The response of every operation on one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceResponse {
    pub service: Service,
}

/// What is given replaces what the service has; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateServiceRequest {
    pub cluster: Option<String>,
    pub service: String,
    pub desired_count: Option<i64>,
    pub task_definition: Option<String>,
    pub capacity_provider_strategy: Option<Vec<CapacityProviderStrategyItem>>,
    pub deployment_configuration: Option<DeploymentConfiguration>,
    pub availability_zone_rebalancing: Option<AvailabilityZoneRebalancing>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub placement_constraints: Option<Vec<PlacementConstraint>>,
    pub placement_strategy: Option<Vec<PlacementStrategy>>,
    pub platform_version: Option<String>,
    pub force_new_deployment: Option<bool>,
    pub health_check_grace_period_seconds: Option<i64>,
    pub deployment_controller: Option<DeploymentController>,
    pub enable_execute_command: Option<bool>,
    #[serde(rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: Option<bool>,
    pub load_balancers: Option<Vec<LoadBalancer>>,
    pub propagate_tags: Option<PropagateTags>,
    pub service_registries: Option<Vec<ServiceRegistry>>,
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
    pub volume_configurations: Option<Vec<ServiceVolumeConfiguration>>,
    pub vpc_lattice_configurations: Option<Vec<VpcLatticeConfiguration>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DescribeServicesRequest {
    pub cluster: Option<String>,
    pub services: Vec<String>,
    #[serde(default)]
    pub include: Vec<TagsField>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DescribeServicesResponse {
    pub services: Vec<Service>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServicesRequest {
    pub cluster: Option<String>,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
    pub launch_type: Option<LaunchType>,
    pub scheduling_strategy: Option<SchedulingStrategy>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServicesResponse {
    pub service_arns: Vec<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServicesByNamespaceRequest {
    pub namespace: String,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DeleteServiceRequest {
    pub cluster: Option<String>,
    pub service: String,
    #[serde(default)]
    pub force: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServiceDeploymentsRequest {
    pub service: String,
    pub cluster: Option<String>,
    #[serde(default)]
    pub status: Vec<ServiceDeploymentStatus>,
    pub created_at: Option<CreatedAt>,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CreatedAt {
    pub before: Option<Timestamp>,
    pub after: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceDeploymentStatus {
    Pending,
    Successful,
    Stopped,
    StopRequested,
    InProgress,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServiceDeploymentsResponse {
    pub service_deployments: Vec<ServiceDeploymentBrief>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentBrief {
    pub service_deployment_arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    pub started_at: Timestamp,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub target_service_revision_arn: String,
    pub status: ServiceDeploymentStatus,
    pub status_reason: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceDeploymentsRequest {
    pub service_deployment_arns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceDeploymentsResponse {
    pub service_deployments: Vec<ServiceDeployment>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeployment {
    pub service_deployment_arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub status: ServiceDeploymentStatus,
    pub status_reason: String,
    pub source_service_revisions: Vec<CurrentServiceRevision>,
    pub target_service_revision: CurrentServiceRevision,
    pub deployment_configuration: DeploymentConfiguration,
    pub rollback: Option<Rollback>,
    pub stopped_at: Option<Timestamp>,
    pub lifecycle_stage: Option<&'static str>,
    pub lifecycle_hook_details: Vec<LifecycleHookDetail>,
    pub deployment_circuit_breaker: ServiceDeploymentCircuitBreaker,
    pub alarms: ServiceDeploymentAlarms,
}

/// A lifecycle hook that a service deployment came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleHookDetail {
    pub hook_id: String,
    pub target_type: &'static str,
    pub status: &'static str,
    pub expires_at: Timestamp,
    pub timeout_action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentCircuitBreaker {
    pub status: &'static str,
    pub failure_count: u32,
    pub threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentAlarms {
    pub status: &'static str,
    pub alarm_names: Vec<String>,
    pub triggered_alarm_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContinueServiceDeploymentRequest {
    pub service_deployment_arn: String,
    pub hook_id: String,
    pub action: Option<LifecycleHookAction>,
}

/// What becomes of a service deployment that waits at a lifecycle hook; AWS's default is `CONTINUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LifecycleHookAction {
    Rollback,
    Continue,
}

/// A service deployment's way back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    pub reason: String,
    pub started_at: Timestamp,
    pub service_revision_arn: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopServiceDeploymentRequest {
    pub service_deployment_arn: String,
    pub stop_type: Option<StopServiceDeploymentStopType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StopServiceDeploymentStopType {
    Abort,
    Rollback,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StopServiceDeploymentResponse {
    pub service_deployment_arn: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceRevisionsRequest {
    pub service_revision_arns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceRevisionsResponse {
    pub service_revisions: Vec<ServiceRevision>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRevision {
    pub service_revision_arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    pub task_definition: String,
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    pub launch_type: Option<LaunchType>,
    pub platform_version: Option<String>,
    pub load_balancers: Vec<LoadBalancer>,
    pub service_registries: Vec<ServiceRegistry>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub container_images: Vec<ContainerImage>,
    pub guard_duty_enabled: bool,
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
    pub volume_configurations: Vec<ServiceVolumeConfiguration>,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerImage {
    pub container_name: String,
    pub image: String,
}
