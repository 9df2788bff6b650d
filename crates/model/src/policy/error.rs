//! What is wrong with a document.

use thiserror::Error;

/// Why a text is no policy document: where, and what is allowed there. AWS's error code is
/// `MalformedPolicyDocument` (HTTP 400).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{reason}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct MalformedPolicyDocument {
    /// The element, `Statement[0].Condition.StringEquals`; empty for the document itself.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl MalformedPolicyDocument {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}
