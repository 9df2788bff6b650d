//! AWS Secrets Manager's rows: secrets, their versions, and the rules by which labels move.
//!
//! - [`commands`] changes a registry, or refuses with a [`SecretError`].
//! - [`stages`] moves labels between versions; pure.
//! - [`Vault`] seals and opens values. They are never in the registry in the clear.
//! - [`reference`](self::reference) is what a container's `valueFrom` says.
//!
//! Source of rules and limits: AWS's Secrets Manager user guide and API reference.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_aws::secretsmanager::RotationRules;
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::Registry;

pub(crate) mod commands;
pub(crate) mod password;
pub(crate) mod reference;
pub(crate) mod rotation;
pub(crate) mod stages;
mod vault;

pub(crate) use vault::{SecretValue, Vault};

/// The label of the version that is used.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was used before.
pub const PREVIOUS: &str = "AWSPREVIOUS";
/// The label of the version that a rotation is making.
pub const PENDING: &str = "AWSPENDING";

/// Most bytes of a value. Source: Secrets Manager's quotas.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Most characters of a resource policy. Source: Secrets Manager's quotas.
pub const POLICY_CHARACTERS_MAX: usize = 20_480;
/// Most versions of a secret; of more, the oldest without labels are dropped. Source: Secrets
/// Manager's quotas.
pub const VERSIONS_MAX: usize = 100;
/// Most labels of a version. Source: Secrets Manager's quotas.
pub const STAGES_PER_VERSION_MAX: usize = 20;
/// Most characters of a secret's name or ARN in a request. Source: Secrets Manager API reference.
pub const SECRET_ID_CHARACTERS_MAX: usize = 2_048;
/// Most tags of a secret.
pub const TAGS_MAX: usize = 50;
/// Most secrets. AWS has 500,000; here each stands in memory.
pub const SECRETS_MAX: usize = 10_000;
/// A version without labels is kept so long at least. Source: Secrets Manager user guide, "What's
/// in a secret".
pub const DEPRECATED_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The days that a deleted secret can be restored for, where nothing else is said.
pub const RECOVERY_DAYS_DEFAULT: i64 = 30;

/// A secret without its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// The ARN, with the six random characters.
    pub arn: Arn,
    /// The name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// `KmsKeyId`, as it was given. Values are sealed under the master key whatever it says, and told
    /// only while this key can be used.
    pub kms_key_id: Option<String>,
    /// `Type`, as it was given.
    #[serde(default)]
    pub kind: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last, its value or anything else.
    pub changed_at: Timestamp,
    /// The day that a value was read last, as its first moment: AWS tells no more than the day.
    pub accessed_on: Option<Timestamp>,
    /// When it goes, if it was deleted.
    pub deleted_from: Option<Timestamp>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Its resource policy.
    pub policy: Option<String>,
    /// Rotation, once it was asked for.
    pub rotation: Option<Rotation>,
    /// Versions by id.
    pub versions: BTreeMap<String, SecretVersion>,
}

/// When and by what a secret is to be rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// `RotationEnabled`.
    pub enabled: bool,
    /// `RotationLambdaARN`: recorded. Nothing here runs functions.
    pub function: Option<String>,
    /// When.
    pub rules: RotationRules,
    /// Since when these rules hold.
    pub since: Timestamp,
}

/// A version of a secret without its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// When it was made.
    pub created_at: Timestamp,
    /// The day that it was read last, as its first moment.
    pub accessed_on: Option<Timestamp>,
    /// Its labels. One without is deprecated.
    pub stages: BTreeSet<String>,
}

/// A version's value, sealed under the master key and bound to the secret's ARN and the version.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedValue {
    /// What [`Vault::seal`](crate::secrets) made.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedValue").finish_non_exhaustive()
    }
}

/// Why a secret was not told or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    /// There is no such secret.
    #[error("Secrets Manager can't find the specified secret.")]
    NotFound,
    /// It has no such version.
    #[error("Secrets Manager can't find the specified secret value for {0}")]
    NoVersion(String),
    /// There is one of this name, or a version of this token with another value.
    #[error("{0}")]
    Exists(String),
    /// The request does not fit the secret's present state.
    #[error("{0}")]
    State(String),
    /// A parameter is wrong.
    #[error("{0}")]
    Parameter(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Limit(String),
    /// The policy is none.
    #[error("This resource policy contains invalid Json or is not a policy: {0}")]
    MalformedPolicy(String),
    /// The policy gives everybody access.
    #[error("You can't attach a resource policy that allows broad access to the secret.")]
    PublicPolicy,
    /// A value could not be sealed.
    #[error(
        "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is \
         available, enabled, and not in an invalid state."
    )]
    Seal,
    /// A value could not be opened: it was changed, or sealed under another key.
    #[error("Secrets Manager can't decrypt the protected secret text using the provided KMS key.")]
    Open,
}

impl SecretError {
    pub(crate) fn deleted() -> Self {
        Self::State(
            "You can't perform this operation on the secret because it was marked for deletion.".into(),
        )
    }
}

impl SecretRecord {
    /// The version with this label.
    pub fn version_with(&self, stage: &str) -> Option<(&str, &SecretVersion)> {
        let mut versions = self.versions.iter();
        versions
            .find(|(_, version)| version.stages.contains(stage))
            .map(|(id, version)| (id.as_str(), version))
    }

    /// Whether its recovery window is over.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.deleted_from.is_some_and(|from| from <= now)
    }
}

/// The key of a version's value.
pub(crate) fn value_key(name: &str, version: &str) -> String {
    // No name holds a space.
    format!("{name} {version}")
}

/// A secret by name, ARN, or ARN without the six random characters. One whose recovery window is
/// over is not found.
pub(crate) fn find<'a>(
    registry: &'a Registry,
    given: &str,
    now: Timestamp,
) -> Result<&'a SecretRecord, SecretError> {
    if !(1..=SECRET_ID_CHARACTERS_MAX).contains(&given.chars().count()) {
        return Err(SecretError::Parameter(format!(
            "SecretId must have 1 to {SECRET_ID_CHARACTERS_MAX} characters."
        )));
    }
    let found = match given.starts_with("arn:") {
        true => by_arn(registry, given),
        false => registry.secrets.get(given),
    };
    found.map(|secret| &**secret).filter(|secret| !secret.is_gone(now)).ok_or(SecretError::NotFound)
}

fn by_arn<'a>(registry: &'a Registry, given: &str) -> Option<&'a std::sync::Arc<SecretRecord>> {
    let name = given.splitn(7, ':').nth(6)?;
    let whole = name.rsplit_once('-').and_then(|(name, _)| registry.secrets.get(name));
    let whole = whole.filter(|secret| secret.arn.as_str() == given);
    whole.or_else(|| {
        registry.secrets.get(name).filter(|secret| {
            secret
                .arn
                .as_str()
                .strip_prefix(given)
                .is_some_and(|rest| rest.len() == 7 && rest.starts_with('-'))
        })
    })
}

/// The first moment of a day.
pub(crate) fn day_of(now: Timestamp) -> Timestamp {
    Timestamp::from_secs(now.as_secs() / 86_400 * 86_400)
}

#[cfg(test)]
mod tests;
