//! Actions, and what they may be done to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TagMap;

/// A parameter of an action or of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    pub description: String,
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionTarget {
    pub resource_type: String,
}

/// `Action`, and, without parameters, `ActionSummary`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    pub id: String,
    pub arn: String,
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, Parameter>>,
    pub targets: BTreeMap<String, ActionTarget>,
    pub tags: TagMap,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GetActionResponse {
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListActionsResponse {
    pub actions: Vec<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTargetResourceTypeRequest {
    pub resource_type: String,
}

/// `TargetResourceType`, and, without parameters, `TargetResourceTypeSummary`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetResourceType {
    pub resource_type: String,
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, Parameter>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTargetResourceTypeResponse {
    pub target_resource_type: TargetResourceType,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTargetResourceTypesResponse {
    pub target_resource_types: Vec<TargetResourceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}
