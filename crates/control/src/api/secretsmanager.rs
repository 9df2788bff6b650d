//! AWS Secrets Manager (`secretsmanager`).
//!
//! Source of names, shapes and errors: AWS's Secrets Manager API reference. Replication to other
//! regions is not served: there is one region here.

mod filters;
mod policies;
mod rotation;
mod secrets;
mod values;

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::{Blob, Fault},
    secretsmanager::Tag,
};
use zeroize::Zeroizing;

use super::{
    call::Call,
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::secrets::{SecretError, SecretValue, Vault};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Read, Effective, "BatchGetSecretValue", values::batch, waits),
    operation!(Write, Effective, "CancelRotateSecret", rotation::cancel),
    operation!(Write, Effective, "CreateSecret", secrets::create),
    operation!(Write, Effective, "DeleteResourcePolicy", policies::delete),
    operation!(Write, Effective, "DeleteSecret", secrets::delete),
    operation!(Read, Effective, "DescribeSecret", secrets::describe),
    operation!(Read, Effective, "GetRandomPassword", secrets::random_password),
    operation!(Read, Effective, "GetResourcePolicy", policies::get),
    operation!(Read, Effective, "GetSecretValue", values::get, waits),
    operation!(Read, Effective, "ListSecretVersionIds", values::list_versions),
    operation!(Read, Effective, "ListSecrets", secrets::list),
    operation!(Write, Effective, "PutResourcePolicy", policies::put),
    operation!(Write, Effective, "PutSecretValue", values::put),
    operation!(Write, Effective, "RestoreSecret", secrets::restore),
    operation!(Write, Recorded, "RotateSecret", rotation::rotate),
    operation!(Write, Effective, "TagResource", secrets::tag),
    operation!(Write, Effective, "UntagResource", secrets::untag),
    operation!(Write, Effective, "UpdateSecret", secrets::update),
    operation!(Write, Effective, "UpdateSecretVersionStage", values::move_label),
    operation!(Read, Effective, "ValidateResourcePolicy", policies::validate),
];

impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        let code = match &error {
            SecretError::NotFound | SecretError::NoVersion(_) => "ResourceNotFoundException",
            SecretError::Exists(_) => "ResourceExistsException",
            SecretError::State(_) => "InvalidRequestException",
            SecretError::Parameter(_) => "InvalidParameterException",
            SecretError::Limit(_) => "LimitExceededException",
            SecretError::MalformedPolicy(_) => "MalformedPolicyDocumentException",
            SecretError::PublicPolicy => "PublicPolicyException",
            SecretError::Seal => "EncryptionFailure",
            SecretError::Open => "DecryptionFailure",
        };
        Self::new(code, error.to_string())
    }
}

/// `InvalidParameterException`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}

fn vault<'a>(call: &'a Call<'_>) -> Vault<'a> {
    Vault::new(call.core.authorities().master_key())
}

/// `SecretString` or `SecretBinary`: not both.
fn value_of(text: Option<String>, bytes: Option<Blob>) -> Result<Option<SecretValue>, Fault> {
    match (text, bytes) {
        (Some(_), Some(_)) => Err(invalid(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
        (Some(text), None) => Ok(Some(SecretValue::text(text))),
        (None, Some(Blob(bytes))) => Ok(Some(SecretValue::Bytes(Zeroizing::new(bytes)))),
        (None, None) => Ok(None),
    }
}

fn tags_of(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, Fault> {
    let mut all = BTreeMap::new();
    for Tag { key, value } in tags {
        let key = key.unwrap_or_default();
        if all.insert(key.clone(), value.unwrap_or_default()).is_some() {
            return Err(invalid(format!("The tag key {key} is given more than once.")));
        }
    }
    Ok(all)
}

/// `MaxResults` and `NextToken` of a list of at most `most` a page.
fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    max_results: Option<i64>,
    most: i64,
) -> Result<Page<T>, Fault> {
    let size = max_results.unwrap_or(most);
    constraint::range("maxResults", size, 1..=most).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, token, size)
        .map_err(|_| Fault::new("InvalidNextTokenException", "The NextToken value is invalid."))
}
