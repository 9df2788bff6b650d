//! Graphs of services.

use serde::{Deserialize, Serialize};

use crate::protocol::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GetServiceGraphRequest {
    #[serde(rename = "StartTime")]
    pub start_time: Timestamp,
    #[serde(rename = "EndTime")]
    pub end_time: Timestamp,
    #[serde(rename = "GroupName")]
    pub group_name: Option<String>,
    #[serde(rename = "GroupARN")]
    pub group_arn: Option<String>,
    #[serde(rename = "NextToken")]
    pub next_token: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorStatistics {
    pub throttle_count: i64,
    pub other_count: i64,
    pub total_count: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FaultStatistics {
    pub other_count: i64,
    pub total_count: i64,
}

/// `ServiceStatistics` and `EdgeStatistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statistics {
    pub ok_count: i64,
    pub error_statistics: ErrorStatistics,
    pub fault_statistics: FaultStatistics,
    pub total_count: i64,
    pub total_response_time: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistogramEntry {
    pub value: f64,
    pub count: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Edge {
    pub reference_id: i64,
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    pub summary_statistics: Statistics,
    pub response_time_histogram: Vec<HistogramEntry>,
    pub aliases: Vec<Alias>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Alias {
    pub name: String,
    pub names: Vec<String>,
    pub r#type: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    pub reference_id: i64,
    pub name: String,
    pub names: Vec<String>,
    pub root: Option<bool>,
    pub account_id: Option<String>,
    pub r#type: Option<String>,
    pub state: &'static str,
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    pub edges: Vec<Edge>,
    pub summary_statistics: Option<Statistics>,
    pub duration_histogram: Vec<HistogramEntry>,
    pub response_time_histogram: Vec<HistogramEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetServiceGraphResponse {
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    pub services: Vec<Service>,
    pub contains_old_group_versions: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTraceGraphResponse {
    pub services: Vec<Service>,
}
