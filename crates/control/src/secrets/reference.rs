//! What a container's `valueFrom` says of a secret.
//!
//! Source: ECS developer guide, "Pass Secrets Manager secrets through Amazon ECS environment
//! variables": `ARN`, or `ARN:json-key:version-stage:version-id` with empty parts at will.

use bowline_model::{clock::Timestamp, task::Secret};
use bowline_plumbing::wall_clock;

use super::{
    SecretError, SecretRecord, SecretValue, Vault,
    commands::{self, Wanted},
    find,
};
use crate::registry::Registry;

/// A secret, or one key of it, of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretReference {
    /// ARN, with or without its random characters, or name.
    pub(crate) secret: String,
    pub(crate) json_key: Option<String>,
    pub(crate) stage: Option<String>,
    pub(crate) version: Option<String>,
}

/// Why a secret was not taken; the text is for people, without the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("invalid character or no JSON: the secret has no keys, and {0:?} is wanted of it")]
    NoJson(String),
    #[error("retrieved secret from Secrets Manager did not contain json key {0}")]
    NoKey(String),
    #[error("the secret is binary: an environment variable holds text")]
    Binary,
}

impl SecretReference {
    /// Whether a `valueFrom` is about Secrets Manager: its ARN says so.
    pub(crate) fn is_meant(value_from: &str) -> bool {
        value_from.starts_with("arn:") && value_from.split(':').nth(2) == Some("secretsmanager")
    }

    /// Reads a `valueFrom`. What is no ARN is a name.
    pub(crate) fn parse(value_from: &str) -> Self {
        if !Self::is_meant(value_from) {
            return Self { secret: value_from.to_owned(), json_key: None, stage: None, version: None };
        }
        let mut parts = value_from.split(':');
        let secret: Vec<_> = parts.by_ref().take(7).collect();
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        Self { secret: secret.join(":"), json_key: part(), stage: part(), version: part() }
    }

    /// The secret that is meant.
    pub(crate) fn find<'a>(
        &self,
        registry: &'a Registry,
        now: Timestamp,
    ) -> Result<&'a SecretRecord, SecretError> {
        find(registry, &self.secret, now)
    }

    /// The value, and the version that it is of.
    pub(crate) fn value(
        &self,
        registry: &Registry,
        vault: Vault<'_>,
        secret: &SecretRecord,
    ) -> Result<(Secret, String), ReferenceError> {
        let wanted = Wanted { version: self.version.as_deref(), stage: self.stage.as_deref() };
        let (version, _) = commands::select(secret, wanted)?;
        commands::check_key(registry, secret.kms_key_id.as_deref(), wall_clock::now())
            .map_err(|_| SecretError::Open)?;
        let SecretValue::Text(text) = commands::open_value(registry, vault, secret, version)? else {
            return Err(ReferenceError::Binary);
        };
        let value = match &self.json_key {
            None => Secret::new((*text).clone()),
            Some(key) => json_member(&text, key)?,
        };
        Ok((value, version.to_owned()))
    }
}

fn json_member(text: &str, key: &str) -> Result<Secret, ReferenceError> {
    let whole: serde_json::Value =
        serde_json::from_str(text).map_err(|_| ReferenceError::NoJson(key.to_owned()))?;
    match whole.get(key) {
        Some(serde_json::Value::String(text)) => Ok(Secret::new(text.clone())),
        Some(other) => Ok(Secret::new(other.to_string())),
        None => Err(ReferenceError::NoKey(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_from_is_taken_apart() {
        let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:a/db-AbCdEf";
        let whole = SecretReference::parse(arn);
        assert_eq!((whole.secret.as_str(), whole.json_key), (arn, None));
        let part = SecretReference::parse(&format!("{arn}:user:AWSPREVIOUS:"));
        assert_eq!(part.secret, arn);
        assert_eq!((part.json_key.as_deref(), part.stage.as_deref()), (Some("user"), Some("AWSPREVIOUS")));
        let version = SecretReference::parse(&format!("{arn}:::v1"));
        assert_eq!((version.json_key, version.stage, version.version.as_deref()), (None, None, Some("v1")));
        assert_eq!(SecretReference::parse("db").secret, "db");
        assert!(!SecretReference::is_meant("arn:aws:ssm:us-east-1:1:parameter/x"));
    }
}
