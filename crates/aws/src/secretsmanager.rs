//! AWS Secrets Manager: the shapes of its API.
//!
//! Source of names, shapes and limits: AWS's Secrets Manager API reference, 2017-10-17.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

mod password;
mod policy;
mod rotation;
mod secret;
mod value;

pub use password::*;
pub use policy::*;
pub use rotation::*;
pub use secret::*;
pub use value::*;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: Option<String>,
    pub value: Option<String>,
}

/// What operations answer that only say which secret they changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SecretReference {
    #[serde(rename = "ARN", skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    #[serde(rename = "Name", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "VersionId", skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// A request that names a secret and says nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecretIdRequest {
    pub secret_id: String,
}

/// An answer without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Empty {}
