//! AWS IAM's API: requests and responses.
//!
//! Source of names and shapes: the IAM API reference. Policy documents are text here; what they
//! mean is not this crate's.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

mod access_key;
mod account;
mod holder;
mod instance_profile;
mod policy;
mod role;
mod user;

pub use access_key::*;
pub use account::*;
pub use holder::*;
pub use instance_profile::*;
pub use policy::*;
pub use role::*;
pub use user::*;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

/// A response without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// `PathPrefix`, `Marker` and `MaxItems` of operations that list and take nothing else.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListRequest {
    pub path_prefix: Option<String>,
    pub marker: Option<String>,
    pub max_items: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedPermissionsBoundary {
    pub permissions_boundary_type: &'static str,
    pub permissions_boundary_arn: String,
}

/// Tags of a user, a role or a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsResponse {
    pub tags: Vec<Tag>,
    pub is_truncated: bool,
    pub marker: Option<String>,
}
