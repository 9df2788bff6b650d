//! Segments and traces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutTraceSegmentsRequest {
    pub trace_segment_documents: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnprocessedTraceSegment {
    pub id: Option<String>,
    pub error_code: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutTraceSegmentsResponse {
    pub unprocessed_trace_segments: Vec<UnprocessedTraceSegment>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SamplingStrategy {
    pub name: Option<String>,
    pub value: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTraceSummariesRequest {
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    pub time_range_type: Option<String>,
    pub sampling: Option<bool>,
    pub sampling_strategy: Option<SamplingStrategy>,
    pub filter_expression: Option<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Http {
    #[serde(rename = "HttpURL")]
    pub http_url: Option<String>,
    #[serde(rename = "HttpStatus")]
    pub http_status: Option<i64>,
    #[serde(rename = "HttpMethod")]
    pub http_method: Option<String>,
    #[serde(rename = "UserAgent")]
    pub user_agent: Option<String>,
    #[serde(rename = "ClientIp")]
    pub client_ip: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceId {
    pub name: String,
    pub names: Vec<String>,
    pub account_id: Option<String>,
    pub r#type: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AnnotationValue {
    pub number_value: Option<f64>,
    pub boolean_value: Option<bool>,
    pub string_value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ValueWithServiceIds {
    pub annotation_value: AnnotationValue,
    pub service_ids: Vec<ServiceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TraceUser {
    pub user_name: String,
    pub service_ids: Vec<ServiceId>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TraceSummary {
    pub id: String,
    pub start_time: Timestamp,
    pub duration: f64,
    pub response_time: Option<f64>,
    pub has_fault: bool,
    pub has_error: bool,
    pub has_throttle: bool,
    pub is_partial: bool,
    pub http: Http,
    pub annotations: BTreeMap<String, Vec<ValueWithServiceIds>>,
    pub users: Vec<TraceUser>,
    pub service_ids: Vec<ServiceId>,
    pub entry_point: Option<ServiceId>,
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetTraceSummariesResponse {
    pub trace_summaries: Vec<TraceSummary>,
    pub approximate_time: Timestamp,
    pub traces_processed_count: i64,
    pub next_token: Option<String>,
}

/// A request that names traces.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TraceIdsRequest {
    pub trace_ids: Vec<String>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Segment {
    pub id: String,
    pub document: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trace {
    pub id: String,
    pub duration: Option<f64>,
    pub limit_exceeded: bool,
    pub segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchGetTracesResponse {
    pub traces: Vec<Trace>,
    pub unprocessed_trace_ids: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct BackendConnectionErrors {
    #[serde(rename = "TimeoutCount")]
    pub timeout_count: Option<i64>,
    #[serde(rename = "ConnectionRefusedCount")]
    pub connection_refused_count: Option<i64>,
    #[serde(rename = "HTTPCode4XXCount")]
    pub http_code_4xx_count: Option<i64>,
    #[serde(rename = "HTTPCode5XXCount")]
    pub http_code_5xx_count: Option<i64>,
    #[serde(rename = "UnknownHostCount")]
    pub unknown_host_count: Option<i64>,
    #[serde(rename = "OtherCount")]
    pub other_count: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TelemetryRecord {
    pub timestamp: Timestamp,
    pub segments_received_count: Option<i64>,
    pub segments_sent_count: Option<i64>,
    pub segments_spillover_count: Option<i64>,
    pub segments_rejected_count: Option<i64>,
    pub backend_connection_errors: Option<BackendConnectionErrors>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PutTelemetryRecordsRequest {
    #[serde(rename = "TelemetryRecords")]
    pub telemetry_records: Vec<TelemetryRecord>,
    #[serde(rename = "EC2InstanceId")]
    pub ec2_instance_id: Option<String>,
    #[serde(rename = "Hostname")]
    pub hostname: Option<String>,
    #[serde(rename = "ResourceARN")]
    pub resource_arn: Option<String>,
}
