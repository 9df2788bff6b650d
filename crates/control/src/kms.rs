//! AWS KMS's rows: keys with their material, aliases and grants.
//!
//! - [`commands`] changes a registry, or refuses with a [`KmsError`].
//! - [`cipher`] encrypts and decrypts under a key. Material is never in the registry in the clear: each
//!   version is sealed under the master key, bound to its key and number.
//!
//! Source of rules and limits: AWS KMS developer guide and API reference.

use std::collections::{BTreeMap, BTreeSet};

use bowline_aws::kms::GrantConstraints;
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::Registry;

pub(crate) mod cipher;
pub(crate) mod commands;
pub(crate) mod grants;
pub(crate) mod rotation;

/// Most keys. AWS has 100,000; here each stands in memory.
pub const KEYS_MAX: usize = 10_000;
/// Most aliases of a key. Source: KMS's quotas.
pub const ALIASES_PER_KEY_MAX: usize = 50;
/// Most grants of a key. AWS has 50,000; here each stands in memory with its key.
pub const GRANTS_PER_KEY_MAX: usize = 1_000;
/// Most characters of a key policy. Source: KMS's quotas.
pub const POLICY_CHARACTERS_MAX: usize = 32_768;
/// Most tags of a key.
pub const TAGS_MAX: usize = 50;
/// Most rotations of a key on demand. Source: KMS API reference, `RotateKeyOnDemand`.
pub const ROTATIONS_ON_DEMAND_MAX: usize = 25;
/// The only policy that a key has.
pub const POLICY_NAME: &str = "default";
/// The only algorithm of a symmetric key.
pub const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";
/// Keys that AWS manages, one a service, made when they are first asked for: their aliases.
pub const MANAGED_ALIASES: &[&str] = &["alias/aws/acm-pca", "alias/aws/secretsmanager"];

/// A key. All are symmetric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The ARN.
    pub arn: Arn,
    /// The id: a UUID.
    pub id: String,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it can be used, and until when it is there.
    pub state: KeyState,
    /// The alias of the service whose key it is, if AWS manages it.
    pub managed_for: Option<String>,
    /// Its policy.
    pub policy: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Its material, the oldest first; the last encrypts. Never empty.
    pub versions: Vec<KeyVersion>,
    /// Automatic rotation, where it is on.
    pub rotation: Option<AutomaticRotation>,
    /// `PendingWindowInDays` of the template that it is of, for the day that its stack goes.
    #[serde(default)]
    pub template_window_days: Option<u16>,
    /// Grants by id.
    pub grants: BTreeMap<String, GrantRecord>,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// It can.
    Enabled,
    /// Somebody disabled it.
    Disabled,
    /// It cannot, and goes for good.
    PendingDeletion {
        /// When.
        at: Timestamp,
    },
}

/// Material of a key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// `KeyMaterialId`: 64 hex digits, at random.
    pub material_id: String,
    /// Since when it encrypts.
    pub created_at: Timestamp,
    /// Why it was made; `None` for the first.
    pub rotated: Option<RotationType>,
    /// 32 bytes, sealed under the master key, bound to the key's ARN and this version's number.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for KeyVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyVersion").field("material_id", &self.material_id).finish_non_exhaustive()
    }
}

/// Why material was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationType {
    /// Its time had come.
    Automatic,
    /// Somebody asked.
    OnDemand,
}

/// Automatic rotation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutomaticRotation {
    /// Days from one to the next.
    pub period_days: u16,
    /// When the next is due.
    pub next: Timestamp,
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// The id: 64 hex digits.
    pub id: String,
    /// `Name`, where one was given.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who may, by it.
    pub grantee: String,
    /// Who may retire it besides the grantee of `RetireGrant`.
    pub retiring: Option<String>,
    /// What: names of operations.
    pub operations: BTreeSet<String>,
    /// With which encryption context.
    pub constraints: Option<GrantConstraints>,
}

/// Another name of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// `alias/…`.
    pub name: String,
    /// The key's id.
    pub key_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was given to this key.
    pub updated_at: Timestamp,
}

/// Why something was not done with a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KmsError {
    /// There is no such key, alias or grant.
    #[error("{0}")]
    NotFound(String),
    /// What was given is no ARN of a key.
    #[error("{0}")]
    InvalidArn(String),
    /// The key is disabled.
    #[error("{0} is disabled.")]
    Disabled(Arn),
    /// The key's state does not allow it.
    #[error("{0}")]
    State(String),
    /// There is one of this name.
    #[error("{0}")]
    Exists(String),
    /// The alias's name is none, or AWS's.
    #[error("{0}")]
    AliasName(String),
    /// A parameter is wrong.
    #[error("{0}")]
    Parameter(String),
    /// A tag is wrong.
    #[error("{0}")]
    Tag(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Limit(String),
    /// The policy is none, or would lock everybody out.
    #[error("{0}")]
    Policy(String),
    /// It is not served here, or not for this key.
    #[error("{0}")]
    Unsupported(String),
    /// The key is not for this.
    #[error("{0}")]
    Usage(String),
    /// The ciphertext is none of this key, this context, or none at all.
    #[error("the ciphertext is none of this key and encryption context, or was changed")]
    Ciphertext,
    /// The ciphertext is of another key.
    #[error(
        "The key ID in the request does not identify a CMK that can perform this operation: the ciphertext is of another key."
    )]
    IncorrectKey,
    /// There is no such grant.
    #[error("{0}")]
    GrantId(String),
    /// The grant token is none.
    #[error("The grant token is not valid.")]
    GrantToken,
    /// The key is AWS's: only the service whose it is uses it.
    #[error("{0} is an AWS managed key: only its service uses it, and nobody changes it.")]
    Managed(Arn),
    /// It would have been done.
    #[error("The request would have succeeded, but the DryRun option is set.")]
    DryRun,
    /// Material could not be sealed or opened.
    #[error("the key's material cannot be used")]
    Internal,
}

impl KeyRecord {
    /// Whether its waiting period is over.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        matches!(self.state, KeyState::PendingDeletion { at } if at <= now)
    }

    /// Refuses a key that is pending deletion.
    pub(crate) fn not_pending(&self) -> Result<(), KmsError> {
        match self.state {
            KeyState::PendingDeletion { .. } => {
                Err(KmsError::State(format!("{} is pending deletion.", self.arn)))
            }
            KeyState::Enabled | KeyState::Disabled => Ok(()),
        }
    }

    /// Refuses a key that cannot be used now.
    pub(crate) fn usable(&self) -> Result<(), KmsError> {
        self.not_pending()?;
        match self.state {
            KeyState::Disabled => Err(KmsError::Disabled(self.arn.clone())),
            _ => Ok(()),
        }
    }

    /// Refuses a key that is AWS's.
    pub(crate) fn customers(&self) -> Result<(), KmsError> {
        match self.managed_for {
            Some(_) => Err(KmsError::Managed(self.arn.clone())),
            None => Ok(()),
        }
    }

    /// The version that encrypts, and its number.
    pub(crate) fn current(&self) -> (u32, &KeyVersion) {
        let last = self.versions.len() - 1;
        (u32::try_from(last).unwrap_or(u32::MAX), &self.versions[last])
    }
}

/// The ARN of an alias.
pub(crate) fn alias_arn(scope: &Scope, name: &str) -> Arn {
    scope.arn("kms", name)
}

/// A key by its id or ARN.
pub(crate) fn find<'a>(
    registry: &'a Registry,
    given: &str,
    now: Timestamp,
) -> Result<&'a KeyRecord, KmsError> {
    let scope = &registry.settings().scope;
    let id = match given.strip_prefix("arn:") {
        Some(_) => {
            let prefix = scope.arn("kms", "key/").to_string();
            let other = || KmsError::InvalidArn(format!("Invalid arn {given}"));
            let id = given.splitn(6, ':').nth(5).and_then(|resource| resource.strip_prefix("key/"));
            match given.strip_prefix(&prefix) {
                Some(id) => id,
                None if id.is_some() => return Err(not_found(format!("Key '{given}' does not exist"))),
                None => return Err(other()),
            }
        }
        None if given.starts_with("alias/") => return Err(not_found(format!("Invalid keyId {given}"))),
        None => given,
    };
    let found = registry.kms_keys.get(id).filter(|key| !key.is_gone(now));
    found.map(|key| &**key).ok_or_else(|| {
        not_found(format!("Key '{}' does not exist", scope.arn("kms", format_args!("key/{id}"))))
    })
}

/// A key by its id or ARN, or by an alias's name or ARN.
pub(crate) fn find_by_any<'a>(
    registry: &'a Registry,
    given: &str,
    now: Timestamp,
) -> Result<&'a KeyRecord, KmsError> {
    let scope = &registry.settings().scope;
    let prefix = alias_arn(scope, "").to_string();
    let name = given.strip_prefix(&prefix).unwrap_or(given);
    if !name.starts_with("alias/") {
        return find(registry, given, now);
    }
    let absent = || not_found(format!("Alias {} is not found.", alias_arn(scope, name)));
    let alias = registry.kms_aliases.get(name).ok_or_else(absent)?;
    registry.kms_keys.get(&alias.key_id).filter(|key| !key.is_gone(now)).map(|key| &**key).ok_or_else(absent)
}

/// The managed alias that `given` names, if it does.
pub(crate) fn managed_alias(scope: &Scope, given: &str) -> Option<&'static str> {
    let prefix = alias_arn(scope, "").to_string();
    let name = given.strip_prefix(&prefix).unwrap_or(given);
    MANAGED_ALIASES.iter().copied().find(|alias| *alias == name)
}

/// Whether a key that another service was given can be used by it: it is there, and enabled.
pub(crate) fn check_usable(registry: &Registry, given: &str, now: Timestamp) -> Result<(), KmsError> {
    // Made by whoever needs it first.
    if managed_alias(&registry.settings().scope, given).is_some() {
        return Ok(());
    }
    find_by_any(registry, given, now)?.usable()
}

fn not_found(message: String) -> KmsError {
    KmsError::NotFound(message)
}

#[cfg(test)]
mod tests;
