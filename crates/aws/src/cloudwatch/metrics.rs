//! Metrics: listed, put and read.

use serde::{Deserialize, Serialize};

use super::Metric;

/// `cloudwatch:ListMetrics`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListMetricsRequest {
    pub namespace: Option<String>,
    pub metric_name: Option<String>,
    #[serde(default)]
    pub dimensions: Vec<DimensionFilter>,
    pub next_token: Option<String>,
    /// `PT3H`.
    pub recently_active: Option<String>,
    pub include_linked_accounts: Option<bool>,
    pub owning_account: Option<String>,
}

/// A dimension that metrics must have; any value of it will do where none is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DimensionFilter {
    pub name: Option<String>,
    pub value: Option<String>,
}

/// The answer of `cloudwatch:ListMetrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListMetricsResponse {
    pub metrics: Vec<Metric>,
    pub next_token: Option<String>,
    /// Whose each metric is, where other accounts' are asked for too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owning_accounts: Vec<String>,
}
