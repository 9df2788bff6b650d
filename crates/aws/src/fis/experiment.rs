//! Experiments, what they were done to, and the safety lever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    AccountTargeting, EmptyTargetResolutionMode, LogConfiguration, ReportConfiguration, StopCondition,
    TagMap, Target,
};
use crate::protocol::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionsMode {
    #[default]
    #[serde(rename = "run-all")]
    RunAll,
    #[serde(rename = "skip-all")]
    SkipAll,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartExperimentOptions {
    pub actions_mode: Option<ActionsMode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartExperimentRequest {
    pub client_token: String,
    pub experiment_template_id: String,
    pub experiment_options: Option<StartExperimentOptions>,
    #[serde(default)]
    pub tags: TagMap,
}

/// What starting, stopping and telling one answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExperimentResponse {
    pub experiment: Experiment,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentError {
    pub account_id: String,
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExperimentState {
    pub status: &'static str,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ExperimentError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExperimentActionState {
    pub status: &'static str,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentAction {
    pub action_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_after: Vec<String>,
    pub state: ExperimentActionState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
}

/// `experimentOptions` of an experiment: its template's, and how it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunOptions {
    pub account_targeting: AccountTargeting,
    pub empty_target_resolution_mode: EmptyTargetResolutionMode,
    pub actions_mode: ActionsMode,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Experiment {
    pub id: String,
    pub arn: String,
    pub experiment_template_id: String,
    pub role_arn: String,
    pub state: ExperimentState,
    pub targets: BTreeMap<String, Target>,
    pub actions: BTreeMap<String, ExperimentAction>,
    pub stop_conditions: Vec<StopCondition>,
    pub creation_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    pub tags: TagMap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<LogConfiguration>,
    pub experiment_options: RunOptions,
    pub target_account_configurations_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment_report_configuration: Option<ReportConfiguration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListExperimentsRequest {
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
    pub experiment_template_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentSummary {
    pub id: String,
    pub arn: String,
    pub experiment_template_id: String,
    pub state: ExperimentState,
    pub creation_time: Timestamp,
    pub tags: TagMap,
    pub experiment_options: RunOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListExperimentsResponse {
    pub experiments: Vec<ExperimentSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListExperimentResolvedTargetsRequest {
    pub experiment_id: String,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
    pub target_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedTarget {
    pub resource_type: String,
    pub target_name: String,
    pub target_information: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListExperimentResolvedTargetsResponse {
    pub resolved_targets: Vec<ResolvedTarget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SafetyLeverStatusInput {
    Disengaged,
    Engaged,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SafetyLeverStateInput {
    pub status: SafetyLeverStatusInput,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpdateSafetyLeverStateRequest {
    pub id: String,
    pub state: SafetyLeverStateInput,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SafetyLeverState {
    pub status: &'static str,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SafetyLever {
    pub id: String,
    pub arn: String,
    pub state: SafetyLeverState,
}

/// What telling and moving the lever answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SafetyLeverResponse {
    pub safety_lever: SafetyLever,
}
