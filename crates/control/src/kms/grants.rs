//! What grants allow.

use super::{GrantRecord, KeyRecord, cipher::Context};

/// What can be granted. Source: KMS API reference, `CreateGrant`.
pub(crate) const OPERATIONS: &[&str] = &[
    "CreateGrant",
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
    "Sign",
    "Verify",
    "VerifyMac",
];

/// Those that a symmetric key can do nothing with.
pub(crate) const OPERATIONS_OF_OTHER_KEYS: &[&str] =
    &["DeriveSharedSecret", "GenerateMac", "GetPublicKey", "Sign", "Verify", "VerifyMac"];

/// Whether a grant of the key allows one of `principals` (a session, and the role that it is of) this.
pub(crate) fn allow(
    key: &KeyRecord,
    principals: &[String],
    operation: &str,
    context: Option<&Context>,
) -> bool {
    key.grants.values().any(|grant| {
        principals.contains(&grant.grantee)
            && grant.operations.contains(operation)
            && fits(grant, operation, context)
    })
}

/// Whether the grant's constraints hold. They say nothing of operations without an encryption context.
fn fits(grant: &GrantRecord, operation: &str, context: Option<&Context>) -> bool {
    let Some(constraints) = &grant.constraints else { return true };
    if matches!(operation, "DescribeKey" | "RetireGrant" | "CreateGrant") {
        return true;
    }
    let empty = Context::new();
    let context = context.unwrap_or(&empty);
    let equals = constraints.encryption_context_equals.as_ref().is_none_or(|wanted| wanted == context);
    let subset = constraints
        .encryption_context_subset
        .as_ref()
        .is_none_or(|wanted| wanted.iter().all(|(name, value)| context.get(name) == Some(value)));
    equals && subset
}
