//! AWS CloudFormation's API. What templates say is in [`crate::cfn`].

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

use crate::protocol::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parameter {
    pub parameter_key: String,
    pub parameter_value: Option<String>,
    #[serde(skip_serializing)]
    pub use_previous_value: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    #[serde(rename = "CAPABILITY_IAM")]
    Iam,
    #[serde(rename = "CAPABILITY_NAMED_IAM")]
    NamedIam,
    #[serde(rename = "CAPABILITY_AUTO_EXPAND")]
    AutoExpand,
}

impl Capability {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iam => "CAPABILITY_IAM",
            Self::NamedIam => "CAPABILITY_NAMED_IAM",
            Self::AutoExpand => "CAPABILITY_AUTO_EXPAND",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OnFailure {
    #[serde(rename = "DO_NOTHING")]
    DoNothing,
    #[serde(rename = "ROLLBACK")]
    Rollback,
    #[serde(rename = "DELETE")]
    Delete,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateStackInput {
    pub stack_name: String,
    pub template_body: Option<String>,
    #[serde(rename = "TemplateURL")]
    pub template_url: Option<String>,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    pub disable_rollback: Option<bool>,
    pub timeout_in_minutes: Option<u32>,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    pub on_failure: Option<OnFailure>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub enable_termination_protection: Option<bool>,
    pub client_request_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateStackInput {
    pub stack_name: String,
    pub template_body: Option<String>,
    #[serde(rename = "TemplateURL")]
    pub template_url: Option<String>,
    pub use_previous_template: Option<bool>,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    pub tags: Option<Vec<Tag>>,
    pub disable_rollback: Option<bool>,
    pub client_request_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackIdOutput {
    pub stack_id: String,
}

/// A request that names one stack, by name or ARN.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackInput {
    pub stack_name: String,
    /// Of `DeleteStack` alone.
    pub client_request_token: Option<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStacksInput {
    pub stack_name: Option<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStacksOutput {
    pub stacks: Vec<Stack>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Stack {
    pub stack_id: String,
    pub stack_name: String,
    pub description: Option<String>,
    pub parameters: Vec<Parameter>,
    pub creation_time: Timestamp,
    pub deletion_time: Option<Timestamp>,
    pub last_updated_time: Option<Timestamp>,
    pub stack_status: &'static str,
    pub stack_status_reason: Option<String>,
    pub disable_rollback: bool,
    #[serde(rename = "NotificationARNs")]
    pub notification_arns: Vec<String>,
    pub timeout_in_minutes: Option<u32>,
    pub capabilities: Vec<String>,
    pub outputs: Vec<Output>,
    pub tags: Vec<Tag>,
    pub enable_termination_protection: bool,
    pub drift_information: DriftInformation,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DriftInformation {
    pub stack_drift_status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Output {
    pub output_key: String,
    pub output_value: String,
    pub description: Option<String>,
    pub export_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStacksInput {
    #[serde(default)]
    pub stack_status_filter: Vec<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStacksOutput {
    pub stack_summaries: Vec<StackSummary>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackSummary {
    pub stack_id: String,
    pub stack_name: String,
    pub template_description: Option<String>,
    pub creation_time: Timestamp,
    pub last_updated_time: Option<Timestamp>,
    pub deletion_time: Option<Timestamp>,
    pub stack_status: &'static str,
    pub stack_status_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStackEventsOutput {
    pub stack_events: Vec<StackEvent>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackEvent {
    pub stack_id: String,
    pub event_id: String,
    pub stack_name: String,
    pub logical_resource_id: String,
    pub physical_resource_id: String,
    pub resource_type: String,
    pub timestamp: Timestamp,
    pub resource_status: String,
    pub resource_status_reason: Option<String>,
    pub client_request_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStackResourcesInput {
    pub stack_name: Option<String>,
    pub logical_resource_id: Option<String>,
    pub physical_resource_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStackResourcesOutput {
    pub stack_resources: Vec<StackResource>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackResource {
    pub stack_name: String,
    pub stack_id: String,
    pub logical_resource_id: String,
    pub physical_resource_id: String,
    pub resource_type: String,
    pub timestamp: Timestamp,
    pub resource_status: &'static str,
    pub resource_status_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStackResourceInput {
    pub stack_name: String,
    pub logical_resource_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStackResourceOutput {
    pub stack_resource_detail: StackResourceDetail,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackResourceDetail {
    pub stack_name: String,
    pub stack_id: String,
    pub logical_resource_id: String,
    pub physical_resource_id: String,
    pub resource_type: String,
    pub last_updated_timestamp: Timestamp,
    pub resource_status: &'static str,
    pub resource_status_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStackResourcesOutput {
    pub stack_resource_summaries: Vec<StackResourceSummary>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackResourceSummary {
    pub logical_resource_id: String,
    pub physical_resource_id: String,
    pub resource_type: String,
    pub last_updated_timestamp: Timestamp,
    pub resource_status: &'static str,
    pub resource_status_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTemplateInput {
    pub stack_name: Option<String>,
    pub change_set_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTemplateOutput {
    pub template_body: String,
    pub stages_available: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TemplateInput {
    pub template_body: Option<String>,
    #[serde(rename = "TemplateURL")]
    pub template_url: Option<String>,
    pub stack_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ValidateTemplateOutput {
    pub parameters: Vec<TemplateParameter>,
    pub description: Option<String>,
    pub capabilities: Vec<&'static str>,
    pub capabilities_reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TemplateParameter {
    pub parameter_key: String,
    pub default_value: Option<String>,
    pub no_echo: bool,
    pub description: Option<String>,
}

/// The response of `GetTemplateSummary`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TemplateSummary {
    pub parameters: Vec<ParameterDeclaration>,
    pub description: Option<String>,
    pub capabilities: Vec<&'static str>,
    pub capabilities_reason: Option<String>,
    pub resource_types: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParameterDeclaration {
    pub parameter_key: String,
    pub default_value: Option<String>,
    pub parameter_type: String,
    pub no_echo: bool,
    pub description: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeSetType {
    Create,
    Update,
    Import,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateChangeSetInput {
    pub stack_name: String,
    pub change_set_name: String,
    pub template_body: Option<String>,
    #[serde(rename = "TemplateURL")]
    pub template_url: Option<String>,
    pub use_previous_template: Option<bool>,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    pub tags: Option<Vec<Tag>>,
    pub description: Option<String>,
    pub change_set_type: Option<ChangeSetType>,
    pub on_stack_failure: Option<OnFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateChangeSetOutput {
    pub id: String,
    pub stack_id: String,
}

/// A request that names one change set, by ARN or by its name and its stack's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeSetInput {
    pub change_set_name: String,
    pub stack_name: Option<String>,
    /// Of `ExecuteChangeSet` alone.
    pub disable_rollback: Option<bool>,
    /// Of `ExecuteChangeSet` alone.
    pub client_request_token: Option<String>,
    /// Of `DescribeChangeSet` alone.
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeChangeSetOutput {
    pub change_set_name: String,
    pub change_set_id: String,
    pub stack_id: String,
    pub stack_name: String,
    pub description: Option<String>,
    pub parameters: Vec<Parameter>,
    pub creation_time: Timestamp,
    pub execution_status: &'static str,
    pub status: &'static str,
    pub status_reason: Option<String>,
    pub capabilities: Vec<String>,
    pub tags: Vec<Tag>,
    pub changes: Vec<Change>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Change {
    pub r#type: &'static str,
    pub resource_change: ResourceChange,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceChange {
    pub action: String,
    pub logical_resource_id: String,
    pub physical_resource_id: Option<String>,
    pub resource_type: String,
    pub replacement: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListChangeSetsOutput {
    pub summaries: Vec<ChangeSetSummary>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeSetSummary {
    pub stack_id: String,
    pub stack_name: String,
    pub change_set_id: String,
    pub change_set_name: String,
    pub execution_status: &'static str,
    pub status: &'static str,
    pub status_reason: Option<String>,
    pub creation_time: Timestamp,
    pub description: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListExportsInput {
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListExportsOutput {
    pub exports: Vec<Export>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Export {
    pub exporting_stack_id: String,
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateTerminationProtectionInput {
    pub stack_name: String,
    pub enable_termination_protection: bool,
}
