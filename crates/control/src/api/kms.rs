//! AWS Key Management Service (`kms`).
//!
//! Source of names, shapes and errors: AWS's KMS API reference. Keys are symmetric; asymmetric and HMAC
//! keys, imported material, custom key stores and other regions' replicas are not served.

mod aliases;
mod crypto;
mod grants;
mod keys;
mod policies;
mod rotation;
mod tags;

use bowline_aws::protocol::Fault;

use super::{
    call::Call,
    constraint,
    operation::{Operation, operation},
    pages::{self, Page},
};
use crate::kms::KmsError;

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "CancelKeyDeletion", keys::cancel_deletion),
    operation!(Write, Effective, "CreateAlias", aliases::create),
    operation!(Write, Effective, "CreateGrant", grants::create),
    operation!(Write, Effective, "CreateKey", keys::create),
    operation!(Read, Effective, "Decrypt", crypto::decrypt, waits),
    operation!(Write, Effective, "DeleteAlias", aliases::delete),
    operation!(Read, Effective, "DescribeKey", keys::describe, waits),
    operation!(Write, Effective, "DisableKey", keys::disable),
    operation!(Write, Effective, "DisableKeyRotation", rotation::disable),
    operation!(Write, Effective, "EnableKey", keys::enable),
    operation!(Write, Effective, "EnableKeyRotation", rotation::enable),
    operation!(Read, Effective, "Encrypt", crypto::encrypt, waits),
    operation!(Read, Effective, "GenerateDataKey", crypto::data_key, waits),
    operation!(Read, Effective, "GenerateDataKeyWithoutPlaintext", crypto::data_key_without_plaintext, waits),
    operation!(Read, Effective, "GenerateRandom", crypto::random),
    operation!(Read, Effective, "GetKeyPolicy", policies::get),
    operation!(Read, Effective, "GetKeyRotationStatus", rotation::status),
    operation!(Read, Effective, "ListAliases", aliases::list),
    operation!(Read, Effective, "ListGrants", grants::list),
    operation!(Read, Effective, "ListKeyPolicies", policies::list),
    operation!(Read, Effective, "ListKeyRotations", rotation::list),
    operation!(Read, Effective, "ListKeys", keys::list),
    operation!(Read, Effective, "ListResourceTags", tags::list),
    operation!(Read, Effective, "ListRetirableGrants", grants::list_retirable),
    operation!(Write, Effective, "PutKeyPolicy", policies::put),
    operation!(Read, Effective, "ReEncrypt", crypto::re_encrypt, waits),
    operation!(Write, Effective, "RetireGrant", grants::retire),
    operation!(Write, Effective, "RevokeGrant", grants::revoke),
    operation!(Write, Effective, "RotateKeyOnDemand", rotation::on_demand),
    operation!(Write, Effective, "ScheduleKeyDeletion", keys::schedule_deletion),
    operation!(Write, Effective, "TagResource", tags::tag),
    operation!(Write, Effective, "UntagResource", tags::untag),
    operation!(Write, Effective, "UpdateAlias", aliases::update),
    operation!(Write, Effective, "UpdateKeyDescription", keys::describe_anew),
];

impl From<KmsError> for Fault {
    fn from(error: KmsError) -> Self {
        let code = match &error {
            KmsError::NotFound(_) => "NotFoundException",
            KmsError::InvalidArn(_) => "InvalidArnException",
            KmsError::Disabled(_) => "DisabledException",
            KmsError::State(_) => "KMSInvalidStateException",
            KmsError::Exists(_) => "AlreadyExistsException",
            KmsError::AliasName(_) => "InvalidAliasNameException",
            KmsError::Parameter(_) => "ValidationException",
            KmsError::Tag(_) => "TagException",
            KmsError::Limit(_) => "LimitExceededException",
            KmsError::Policy(_) => "MalformedPolicyDocumentException",
            KmsError::Unsupported(_) => "UnsupportedOperationException",
            KmsError::Usage(_) => "InvalidKeyUsageException",
            KmsError::Ciphertext => "InvalidCiphertextException",
            KmsError::IncorrectKey => "IncorrectKeyException",
            KmsError::GrantId(_) => "InvalidGrantIdException",
            KmsError::GrantToken => "InvalidGrantTokenException",
            KmsError::Managed(_) => "AccessDeniedException",
            KmsError::DryRun => "DryRunOperationException",
            KmsError::Internal => {
                return Self::new("KMSInternalException", error.to_string()).with_status(500);
            }
        };
        Self::new(code, error.to_string())
    }
}

/// Of operations whose model has no `InvalidArnException`: what is no ARN is not found, as AWS says it.
fn not_found(error: KmsError) -> KmsError {
    match error {
        KmsError::InvalidArn(message) => KmsError::NotFound(message),
        other => other,
    }
}

/// `ValidationException`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("ValidationException", message)
}

fn check_key_id(given: &str) -> Result<(), Fault> {
    constraint::length("keyId", given, 1..=2_048).map_err(invalid)
}

/// Refuses what was asked for only to see whether it would be done.
fn dry(dry_run: Option<bool>) -> Result<(), KmsError> {
    if dry_run == Some(true) { Err(KmsError::DryRun) } else { Ok(()) }
}

/// `Limit` and `Marker` of a list whose pages have `default` items where nothing is said.
fn page_of<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    marker: Option<&str>,
    limit: Option<i64>,
    default: i64,
) -> Result<Page<T>, Fault> {
    let size = limit.unwrap_or(default);
    constraint::range("limit", size, 1..=1_000).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    pages::page(operation, items, key, marker, size)
        .map_err(|_| Fault::new("InvalidMarkerException", "Could not deserialize marker."))
}

fn master<'a>(call: &'a Call<'_>) -> &'a crate::master_key::MasterKey {
    call.core.authorities().master_key()
}
