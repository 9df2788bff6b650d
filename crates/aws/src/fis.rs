//! AWS Fault Injection Service: the shapes of its API, and where their members are in HTTP.
//!
//! Source of names, shapes and limits: AWS's FIS API reference, 2020-12-01.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::rest::{Binding, Kind, Rest, Route, Scalar};

mod catalogue;
mod experiment;
mod template;

pub use catalogue::*;
pub use experiment::*;
pub use template::*;

const PAGE: &[Binding] = &[
    Binding::query("maxResults", "maxResults", Kind::One(Scalar::Integer)),
    Binding::query("nextToken", "nextToken", Kind::One(Scalar::Text)),
];
const BY_ID: &[Binding] = &[Binding::label("id")];
const BY_ARN: &[Binding] = &[Binding::label("resourceArn")];

/// Its operations that are served.
pub static REST: Rest = Rest {
    routes: &[
        Route::new("CreateExperimentTemplate", "POST", "/experimentTemplates"),
        Route::new("DeleteExperimentTemplate", "DELETE", "/experimentTemplates/{id}").request(BY_ID),
        Route::new("GetAction", "GET", "/actions/{id}").request(BY_ID),
        Route::new("GetExperiment", "GET", "/experiments/{id}").request(BY_ID),
        Route::new("GetExperimentTemplate", "GET", "/experimentTemplates/{id}").request(BY_ID),
        Route::new("GetSafetyLever", "GET", "/safetyLevers/{id}").request(BY_ID),
        Route::new("GetTargetResourceType", "GET", "/targetResourceTypes/{resourceType}")
            .request(&[Binding::label("resourceType")]),
        Route::new("ListActions", "GET", "/actions").request(PAGE),
        Route::new("ListExperimentResolvedTargets", "GET", "/experiments/{experimentId}/resolvedTargets")
            .request(&[
                Binding::label("experimentId"),
                Binding::query("maxResults", "maxResults", Kind::One(Scalar::Integer)),
                Binding::query("nextToken", "nextToken", Kind::One(Scalar::Text)),
                Binding::query("targetName", "targetName", Kind::One(Scalar::Text)),
            ]),
        Route::new("ListExperimentTemplates", "GET", "/experimentTemplates").request(PAGE),
        Route::new("ListExperiments", "GET", "/experiments").request(&[
            Binding::query("maxResults", "maxResults", Kind::One(Scalar::Integer)),
            Binding::query("nextToken", "nextToken", Kind::One(Scalar::Text)),
            Binding::query("experimentTemplateId", "experimentTemplateId", Kind::One(Scalar::Text)),
        ]),
        Route::new("ListTagsForResource", "GET", "/tags/{resourceArn}").request(BY_ARN),
        Route::new("ListTargetResourceTypes", "GET", "/targetResourceTypes").request(PAGE),
        Route::new("StartExperiment", "POST", "/experiments"),
        Route::new("StopExperiment", "DELETE", "/experiments/{id}").request(BY_ID),
        Route::new("TagResource", "POST", "/tags/{resourceArn}").request(BY_ARN),
        Route::new("UntagResource", "DELETE", "/tags/{resourceArn}").request(&[
            Binding::label("resourceArn"),
            Binding::query("tagKeys", "tagKeys", Kind::Many(Scalar::Text)),
        ]),
        Route::new("UpdateExperimentTemplate", "PATCH", "/experimentTemplates/{id}").request(BY_ID),
        Route::new("UpdateSafetyLeverState", "PATCH", "/safetyLevers/{id}/state").request(BY_ID),
    ],
    ..Rest::EMPTY
};

/// Tags: FIS has a map of them, not a list.
pub type TagMap = BTreeMap<String, String>;

/// What lists take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageRequest {
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

/// A request that names an action or a template, and says nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IdRequest {
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagResourceRequest {
    pub resource_arn: String,
    pub tags: TagMap,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UntagResourceRequest {
    pub resource_arn: String,
    #[serde(default)]
    pub tag_keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTagsForResourceRequest {
    pub resource_arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListTagsForResourceResponse {
    pub tags: TagMap,
}

/// An answer without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Empty {}
