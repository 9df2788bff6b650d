//! AWS X-Ray: the shapes of its API, and where its operations are in HTTP.
//!
//! Source of names, shapes and limits: AWS's X-Ray API reference, 2016-04-12. Insights, indexing rules, the Transaction
//! Search destinations and resource policies are not among them.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

use crate::protocol::rest::{Rest, Route};

mod graph;
mod sampling;
mod traces;

pub use graph::*;
pub use sampling::*;
pub use traces::*;

/// Its operations that are served. All members are in bodies.
pub static REST: Rest = Rest {
    routes: &[
        Route::new("BatchGetTraces", "POST", "/Traces"),
        Route::new("CreateSamplingRule", "POST", "/CreateSamplingRule"),
        Route::new("DeleteSamplingRule", "POST", "/DeleteSamplingRule"),
        Route::new("GetEncryptionConfig", "POST", "/EncryptionConfig"),
        Route::new("GetGroups", "POST", "/Groups"),
        Route::new("GetSamplingRules", "POST", "/GetSamplingRules"),
        Route::new("GetSamplingStatisticSummaries", "POST", "/SamplingStatisticSummaries"),
        Route::new("GetSamplingTargets", "POST", "/SamplingTargets"),
        Route::new("GetServiceGraph", "POST", "/ServiceGraph"),
        Route::new("GetTraceGraph", "POST", "/TraceGraph"),
        Route::new("GetTraceSummaries", "POST", "/TraceSummaries"),
        Route::new("ListTagsForResource", "POST", "/ListTagsForResource"),
        Route::new("PutTelemetryRecords", "POST", "/TelemetryRecords"),
        Route::new("PutTraceSegments", "POST", "/TraceSegments"),
        Route::new("TagResource", "POST", "/TagResource"),
        Route::new("UntagResource", "POST", "/UntagResource"),
        Route::new("UpdateSamplingRule", "POST", "/UpdateSamplingRule"),
    ],
    message_member: "Message",
    ..Rest::EMPTY
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TagResourceRequest {
    #[serde(rename = "ResourceARN")]
    pub resource_arn: String,
    #[serde(rename = "Tags")]
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UntagResourceRequest {
    #[serde(rename = "ResourceARN")]
    pub resource_arn: String,
    #[serde(rename = "TagKeys")]
    pub tag_keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListTagsForResourceRequest {
    #[serde(rename = "ResourceARN")]
    pub resource_arn: String,
    #[serde(rename = "NextToken")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceResponse {
    pub tags: Vec<Tag>,
}

/// A request that asks for a page, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PageRequest {
    pub next_token: Option<String>,
}

/// A request or an answer without members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EncryptionConfig {
    pub status: &'static str,
    pub r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetEncryptionConfigResponse {
    pub encryption_config: EncryptionConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupSummary {
    #[serde(rename = "GroupName")]
    pub group_name: String,
    #[serde(rename = "GroupARN")]
    pub group_arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetGroupsResponse {
    pub groups: Vec<GroupSummary>,
}
