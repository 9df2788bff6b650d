//! AWS `CloudTrail`: finding events, and telling of trails.
//!
//! A member that is never filled here is left out.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

use crate::protocol::Timestamp;

/// `cloudtrail:LookupEvents`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LookupEventsRequest {
    #[serde(default)]
    pub lookup_attributes: Vec<LookupAttribute>,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub event_category: Option<String>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
}

/// An attribute and the value that events must have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LookupAttribute {
    pub attribute_key: Option<String>,
    pub attribute_value: Option<String>,
}

/// The answer of `cloudtrail:LookupEvents`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LookupEventsResponse {
    pub events: Vec<Event>,
    pub next_token: Option<String>,
}

/// An event that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    pub event_id: String,
    pub event_name: String,
    /// `true` or `false`.
    pub read_only: String,
    pub access_key_id: Option<String>,
    pub event_time: Timestamp,
    pub event_source: String,
    pub username: Option<String>,
    pub resources: Vec<Resource>,
    /// The whole record, as JSON.
    pub cloud_trail_event: String,
}

/// What an event was about.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resource {
    pub resource_type: String,
    pub resource_name: String,
}

/// `cloudtrail:DescribeTrails`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeTrailsRequest {
    /// Names or ARNs; all trails where there are none.
    #[serde(default)]
    pub trail_name_list: Vec<String>,
}

/// The answer of `cloudtrail:DescribeTrails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeTrailsResponse {
    pub trail_list: Vec<Trail>,
}

/// The settings of a trail.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trail {
    pub name: String,
    pub include_global_service_events: bool,
    pub is_multi_region_trail: bool,
    pub home_region: String,
    #[serde(rename = "TrailARN")]
    pub trail_arn: String,
    pub log_file_validation_enabled: bool,
    pub has_custom_event_selectors: bool,
    pub has_insight_selectors: bool,
    pub is_organization_trail: bool,
}

/// `cloudtrail:GetTrailStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTrailStatusRequest {
    /// Name or ARN.
    pub name: String,
}

/// The answer of `cloudtrail:GetTrailStatus`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTrailStatusResponse {
    pub is_logging: bool,
    pub latest_delivery_error: Option<String>,
    pub start_logging_time: Option<Timestamp>,
}

/// `cloudtrail:ListTrails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ListTrailsRequest {}

/// The answer of `cloudtrail:ListTrails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTrailsResponse {
    pub trails: Vec<TrailInfo>,
}

/// A trail of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrailInfo {
    #[serde(rename = "TrailARN")]
    pub trail_arn: String,
    pub name: String,
    pub home_region: String,
}
