//! Capacity providers.

use serde::{Deserialize, Serialize};

use super::{Failure, TagsField};
use crate::ecs::Tag;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityProvider {
    pub capacity_provider_arn: String,
    pub name: String,
    pub status: &'static str,
    pub auto_scaling_group_provider: Option<AutoScalingGroupProvider>,
    pub update_status: Option<&'static str>,
    pub tags: Vec<Tag>,
    pub r#type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoScalingGroupProvider {
    pub auto_scaling_group_arn: String,
    pub managed_scaling: Option<ManagedScaling>,
    pub managed_termination_protection: Option<Switch>,
    pub managed_draining: Option<Switch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedScaling {
    pub status: Option<Switch>,
    pub target_capacity: Option<i64>,
    pub minimum_scaling_step_size: Option<i64>,
    pub maximum_scaling_step_size: Option<i64>,
    pub instance_warmup_period: Option<i64>,
}

/// `ENABLED` or `DISABLED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Switch {
    Enabled,
    Disabled,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateCapacityProviderRequest {
    pub name: String,
    pub cluster: Option<String>,
    pub auto_scaling_group_provider: Option<AutoScalingGroupProvider>,
    pub managed_instances_provider: Option<serde_json::Value>,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoScalingGroupProviderUpdate {
    pub managed_scaling: Option<ManagedScaling>,
    pub managed_termination_protection: Option<Switch>,
    pub managed_draining: Option<Switch>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateCapacityProviderRequest {
    pub name: String,
    pub cluster: Option<String>,
    pub auto_scaling_group_provider: Option<AutoScalingGroupProviderUpdate>,
    pub managed_instances_provider: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteCapacityProviderRequest {
    pub capacity_provider: String,
    pub cluster: Option<String>,
}

/// The response of every operation on one capacity provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityProviderResponse {
    pub capacity_provider: CapacityProvider,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeCapacityProvidersRequest {
    #[serde(default)]
    pub capacity_providers: Vec<String>,
    pub cluster: Option<String>,
    #[serde(default)]
    pub include: Vec<TagsField>,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeCapacityProvidersResponse {
    pub capacity_providers: Vec<CapacityProvider>,
    pub failures: Vec<Failure>,
    pub next_token: Option<String>,
}
