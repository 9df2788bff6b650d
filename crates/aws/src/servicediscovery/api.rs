//! Requests and responses of Cloud Map's API that templates have no part in. A member that is
//! never filled here is left out.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

mod discover;
mod instance;
mod namespace;
mod operation;
mod service;
mod tags;

pub use discover::*;
pub use instance::*;
pub use namespace::*;
pub use operation::*;
pub use service::*;
pub use tags::*;

use serde::{Deserialize, Serialize};

/// The response of every operation that works on after it is answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperationIdResponse {
    pub operation_id: String,
}

/// One filter of a list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filter<N> {
    pub name: N,
    pub values: Vec<String>,
    pub condition: Option<FilterCondition>,
}

/// How a filter's values select.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum FilterCondition {
    #[default]
    #[serde(rename = "EQ")]
    Eq,
    #[serde(rename = "IN")]
    In,
    #[serde(rename = "BETWEEN")]
    Between,
    #[serde(rename = "BEGINS_WITH")]
    BeginsWith,
}

/// The request of every operation that lists.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", bound = "N: Deserialize<'de>")]
pub struct ListRequest<N> {
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
    #[serde(default = "Vec::new")]
    pub filters: Vec<Filter<N>>,
}

/// The request of every operation on one namespace or service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdRequest {
    pub id: String,
}
