//! Queries of CloudWatch Logs Insights.

use serde::{Deserialize, Serialize};

/// `logs:StartQuery`; times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartQueryRequest {
    pub query_language: Option<String>,
    pub log_group_name: Option<String>,
    pub log_group_names: Option<Vec<String>>,
    pub log_group_identifiers: Option<Vec<String>>,
    pub start_time: i64,
    pub end_time: i64,
    pub query_string: String,
    pub limit: Option<i64>,
}

/// The answer of `logs:StartQuery`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartQueryResponse {
    pub query_id: String,
}

/// A request that names a query and says nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryRequest {
    pub query_id: String,
}

/// The answer of `logs:GetQueryResults`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GetQueryResultsResponse {
    pub query_language: String,
    pub results: Vec<Vec<ResultField>>,
    pub statistics: QueryStatistics,
    pub status: String,
}

/// A field of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResultField {
    pub field: String,
    pub value: String,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryStatistics {
    pub records_matched: f64,
    pub records_scanned: f64,
    pub bytes_scanned: f64,
    pub log_groups_scanned: f64,
}

/// The answer of `logs:StopQuery`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StopQueryResponse {
    pub success: bool,
}

/// `logs:DescribeQueries`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeQueriesRequest {
    pub log_group_name: Option<String>,
    pub status: Option<String>,
    pub max_results: Option<i64>,
    pub next_token: Option<String>,
    pub query_language: Option<String>,
}

/// The answer of `logs:DescribeQueries`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeQueriesResponse {
    pub queries: Vec<QueryInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// A query.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryInfo {
    pub query_language: String,
    pub query_id: String,
    pub query_string: String,
    pub status: String,
    pub create_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_group_name: Option<String>,
}
