//! Discovery: the data plane of Cloud Map.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::HealthStatus;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiscoverInstancesRequest {
    pub namespace_name: String,
    pub service_name: String,
    pub max_results: Option<i64>,
    #[serde(default)]
    pub query_parameters: BTreeMap<String, String>,
    #[serde(default)]
    pub optional_parameters: BTreeMap<String, String>,
    pub health_status: Option<HealthStatusFilter>,
    pub owner_account: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum HealthStatusFilter {
    #[serde(rename = "HEALTHY")]
    Healthy,
    #[serde(rename = "UNHEALTHY")]
    Unhealthy,
    #[serde(rename = "ALL")]
    All,
    #[default]
    #[serde(rename = "HEALTHY_OR_ELSE_ALL")]
    HealthyOrElseAll,
}

/// Instances are shared: they are made once for many responses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiscoverInstancesResponse {
    pub instances: Vec<Arc<HttpInstanceSummary>>,
    pub instances_revision: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpInstanceSummary {
    pub instance_id: String,
    pub namespace_name: String,
    pub service_name: String,
    pub health_status: HealthStatus,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiscoverInstancesRevisionRequest {
    pub namespace_name: String,
    pub service_name: String,
    pub owner_account: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiscoverInstancesRevisionResponse {
    pub instances_revision: u64,
}
