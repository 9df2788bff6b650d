//! Experiment templates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TagMap;
use crate::protocol::Timestamp;

/// What an experiment is done to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub resource_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_arns: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_tags: TagMap,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<TargetFilter>,
    pub selection_mode: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFilter {
    pub path: String,
    pub values: Vec<String>,
}

/// An action of a template. `UpdateExperimentTemplate`'s model does not demand `actionId`, but there
/// is no action without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateAction {
    pub action_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_after: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopCondition {
    pub source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_watch_logs_configuration: Option<CloudWatchLogsConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_configuration: Option<S3LogConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_schema_version: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchLogsConfiguration {
    pub log_group_arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3LogConfiguration {
    pub bucket_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountTargeting {
    #[default]
    #[serde(rename = "single-account")]
    SingleAccount,
    #[serde(rename = "multi-account")]
    MultiAccount,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmptyTargetResolutionMode {
    #[default]
    #[serde(rename = "fail")]
    Fail,
    #[serde(rename = "skip")]
    Skip,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_targeting: Option<AccountTargeting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_target_resolution_mode: Option<EmptyTargetResolutionMode>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<ReportOutputs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_sources: Option<ReportDataSources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_experiment_duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_experiment_duration: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportOutputs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_configuration: Option<ReportS3Output>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportS3Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportDataSources {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cloud_watch_dashboards: Vec<ReportDashboard>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportDashboard {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard_identifier: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateExperimentTemplateRequest {
    pub client_token: String,
    pub description: String,
    pub stop_conditions: Vec<StopCondition>,
    #[serde(default)]
    pub targets: BTreeMap<String, Target>,
    pub actions: BTreeMap<String, TemplateAction>,
    pub role_arn: String,
    #[serde(default)]
    pub tags: TagMap,
    pub log_configuration: Option<LogConfiguration>,
    pub experiment_options: Option<ExperimentOptions>,
    pub experiment_report_configuration: Option<ReportConfiguration>,
}

/// Each member that is there replaces the template's whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateExperimentTemplateRequest {
    pub id: String,
    pub description: Option<String>,
    pub stop_conditions: Option<Vec<StopCondition>>,
    pub targets: Option<BTreeMap<String, Target>>,
    pub actions: Option<BTreeMap<String, TemplateAction>>,
    pub role_arn: Option<String>,
    pub log_configuration: Option<LogConfiguration>,
    pub experiment_options: Option<ExperimentOptions>,
    pub experiment_report_configuration: Option<ReportConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTemplate {
    pub id: String,
    pub arn: String,
    pub description: String,
    pub targets: BTreeMap<String, Target>,
    pub actions: BTreeMap<String, TemplateAction>,
    pub stop_conditions: Vec<StopCondition>,
    pub creation_time: Timestamp,
    pub last_update_time: Timestamp,
    pub role_arn: String,
    pub tags: TagMap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<LogConfiguration>,
    pub experiment_options: ExperimentOptions,
    pub target_account_configurations_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment_report_configuration: Option<ReportConfiguration>,
}

/// What creating, telling, changing and deleting one answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTemplateResponse {
    pub experiment_template: ExperimentTemplate,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTemplateSummary {
    pub id: String,
    pub arn: String,
    pub description: String,
    pub creation_time: Timestamp,
    pub last_update_time: Timestamp,
    pub tags: TagMap,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListExperimentTemplatesResponse {
    pub experiment_templates: Vec<ExperimentTemplateSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}
