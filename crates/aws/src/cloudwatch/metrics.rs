//! Metrics: listed, put and read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Dimension, Metric};
use crate::protocol::{Entries, Timestamp};

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

/// `cloudwatch:PutMetricData`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutMetricDataRequest {
    pub namespace: Option<String>,
    #[serde(default)]
    pub metric_data: Vec<MetricDatum>,
    #[serde(default)]
    pub entity_metric_data: Vec<EntityMetricData>,
    pub strict_entity_validation: Option<bool>,
}

/// Values, and what they are of beside their metric.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EntityMetricData {
    #[serde(default)]
    pub metric_data: Vec<MetricDatum>,
}

/// Values of a metric.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricDatum {
    pub metric_name: Option<String>,
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
    pub timestamp: Option<Timestamp>,
    pub value: Option<f64>,
    pub statistic_values: Option<StatisticSet>,
    #[serde(default)]
    pub values: Vec<f64>,
    #[serde(default)]
    pub counts: Vec<f64>,
    pub unit: Option<String>,
    /// 1 or 60.
    pub storage_resolution: Option<i64>,
}

/// What is known of values that were counted elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatisticSet {
    pub sample_count: Option<f64>,
    pub sum: Option<f64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
}

/// `cloudwatch:GetMetricStatistics`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetMetricStatisticsRequest {
    pub namespace: Option<String>,
    pub metric_name: Option<String>,
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    /// In seconds.
    pub period: Option<i64>,
    #[serde(default)]
    pub statistics: Vec<String>,
    /// `p99.9`.
    #[serde(default)]
    pub extended_statistics: Vec<String>,
    pub unit: Option<String>,
}

/// The answer of `cloudwatch:GetMetricStatistics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetMetricStatisticsResponse {
    pub label: String,
    pub datapoints: Vec<Datapoint>,
}

/// What a period's values come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Datapoint {
    pub timestamp: Timestamp,
    pub sample_count: Option<f64>,
    pub average: Option<f64>,
    pub sum: Option<f64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub unit: String,
    pub extended_statistics: Option<Entries<BTreeMap<String, f64>>>,
}

/// `cloudwatch:GetMetricData`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetMetricDataRequest {
    #[serde(default)]
    pub metric_data_queries: Vec<MetricDataQuery>,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub next_token: Option<String>,
    /// `TimestampDescending` or `TimestampAscending`.
    pub scan_by: Option<String>,
    pub max_datapoints: Option<i64>,
    pub label_options: Option<LabelOptions>,
}

/// A metric's statistic, or an expression; of `GetMetricData` and of alarms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricDataQuery {
    pub id: Option<String>,
    pub metric_stat: Option<MetricStat>,
    pub expression: Option<String>,
    pub label: Option<String>,
    pub return_data: Option<bool>,
    /// In seconds.
    pub period: Option<i64>,
    pub account_id: Option<String>,
}

/// A statistic of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricStat {
    pub metric: Option<Metric>,
    /// In seconds.
    pub period: Option<i64>,
    pub stat: Option<String>,
    pub unit: Option<String>,
}

/// How labels are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LabelOptions {
    /// `+0130`.
    pub timezone: Option<String>,
}

/// The answer of `cloudwatch:GetMetricData`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetMetricDataResponse {
    pub metric_data_results: Vec<MetricDataResult>,
    pub next_token: Option<String>,
    pub messages: Vec<MessageData>,
}

/// What a query comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricDataResult {
    pub id: String,
    pub label: String,
    pub timestamps: Vec<Timestamp>,
    pub values: Vec<f64>,
    /// `Complete` or `PartialData`.
    pub status_code: String,
}

/// Something to know of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageData {
    pub code: String,
    pub value: String,
}
