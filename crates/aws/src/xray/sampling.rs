//! Sampling rules, and what they leave to each client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Tag;
use crate::protocol::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingRule {
    #[serde(rename = "RuleName")]
    pub rule_name: Option<String>,
    #[serde(rename = "RuleARN")]
    pub rule_arn: Option<String>,
    #[serde(rename = "ResourceARN")]
    pub resource_arn: String,
    #[serde(rename = "Priority")]
    pub priority: i64,
    #[serde(rename = "FixedRate")]
    pub fixed_rate: f64,
    #[serde(rename = "ReservoirSize")]
    pub reservoir_size: i64,
    #[serde(rename = "ServiceName")]
    pub service_name: String,
    #[serde(rename = "ServiceType")]
    pub service_type: String,
    #[serde(rename = "Host")]
    pub host: String,
    #[serde(rename = "HTTPMethod")]
    pub http_method: String,
    #[serde(rename = "URLPath")]
    pub url_path: String,
    #[serde(rename = "Version")]
    pub version: i64,
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

/// What a change says; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct SamplingRuleUpdate {
    #[serde(rename = "RuleName")]
    pub rule_name: Option<String>,
    #[serde(rename = "RuleARN")]
    pub rule_arn: Option<String>,
    #[serde(rename = "ResourceARN")]
    pub resource_arn: Option<String>,
    #[serde(rename = "Priority")]
    pub priority: Option<i64>,
    #[serde(rename = "FixedRate")]
    pub fixed_rate: Option<f64>,
    #[serde(rename = "ReservoirSize")]
    pub reservoir_size: Option<i64>,
    #[serde(rename = "ServiceName")]
    pub service_name: Option<String>,
    #[serde(rename = "ServiceType")]
    pub service_type: Option<String>,
    #[serde(rename = "Host")]
    pub host: Option<String>,
    #[serde(rename = "HTTPMethod")]
    pub http_method: Option<String>,
    #[serde(rename = "URLPath")]
    pub url_path: Option<String>,
    #[serde(rename = "Attributes")]
    pub attributes: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SamplingRuleRecord {
    pub sampling_rule: SamplingRule,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
}

/// The answer to what makes, changes or deletes a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SamplingRuleResponse {
    pub sampling_rule_record: SamplingRuleRecord,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateSamplingRuleRequest {
    pub sampling_rule: SamplingRule,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateSamplingRuleRequest {
    pub sampling_rule_update: SamplingRuleUpdate,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DeleteSamplingRuleRequest {
    #[serde(rename = "RuleName")]
    pub rule_name: Option<String>,
    #[serde(rename = "RuleARN")]
    pub rule_arn: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSamplingRulesResponse {
    pub sampling_rule_records: Vec<SamplingRuleRecord>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SamplingStatisticsDocument {
    #[serde(rename = "RuleName")]
    pub rule_name: String,
    #[serde(rename = "ClientID")]
    pub client_id: String,
    #[serde(rename = "Timestamp")]
    pub timestamp: Timestamp,
    #[serde(rename = "RequestCount")]
    pub request_count: i64,
    #[serde(rename = "SampledCount")]
    pub sampled_count: i64,
    #[serde(rename = "BorrowCount")]
    pub borrow_count: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSamplingTargetsRequest {
    pub sampling_statistics_documents: Vec<SamplingStatisticsDocument>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SamplingTargetDocument {
    #[serde(rename = "RuleName")]
    pub rule_name: String,
    #[serde(rename = "FixedRate")]
    pub fixed_rate: f64,
    #[serde(rename = "ReservoirQuota")]
    pub reservoir_quota: i64,
    #[serde(rename = "ReservoirQuotaTTL")]
    pub reservoir_quota_ttl: Timestamp,
    #[serde(rename = "Interval")]
    pub interval: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnprocessedStatistics {
    pub rule_name: String,
    pub error_code: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSamplingTargetsResponse {
    pub sampling_target_documents: Vec<SamplingTargetDocument>,
    pub last_rule_modification: Timestamp,
    pub unprocessed_statistics: Vec<UnprocessedStatistics>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SamplingStatisticSummary {
    pub rule_name: String,
    pub timestamp: Timestamp,
    pub request_count: i64,
    pub borrow_count: i64,
    pub sampled_count: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSamplingStatisticSummariesResponse {
    pub sampling_statistic_summaries: Vec<SamplingStatisticSummary>,
    pub next_token: Option<String>,
}
