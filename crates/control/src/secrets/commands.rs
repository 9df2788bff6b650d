//! What changes secrets: each checks, then changes the registry it is given, or refuses.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::secretsmanager::RotationRules;
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
    policy::{POLICY_BYTES_MAX, Policy, PolicyKind},
};

use super::{
    CURRENT, POLICY_CHARACTERS_MAX, Rotation, SECRETS_MAX, SealedValue, SecretError, SecretRecord,
    SecretValue, SecretVersion, TAGS_MAX, VALUE_BYTES_MAX, Vault, find, stages, value_key,
};
use crate::{kms, random, registry::Registry};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A new secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewSecret {
    pub(crate) name: String,
    /// Its ARN, where that is decided already (a template's `Ref`).
    pub(crate) arn: Option<Arn>,
    pub(crate) description: Option<String>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) value: Option<SecretValue>,
    /// `ClientRequestToken`: the version's id.
    pub(crate) token: Option<String>,
}

/// A new ARN for a secret of this name: AWS's six random characters at its end tell it from an
/// earlier one of the same name.
pub(crate) fn new_arn(scope: &Scope, name: &str) -> Arn {
    scope.arn("secretsmanager", format_args!("secret:{name}-{}", random::alphanumeric(6)))
}

/// Refuses a name that AWS does not take.
pub(crate) fn check_name(name: &str) -> Result<(), SecretError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@!-".contains(c);
    match (1..=512).contains(&name.len()) && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(SecretError::Parameter(
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: \
             -/_+=.@!"
                .into(),
        )),
    }
}

fn check_value(value: &SecretValue) -> Result<(), SecretError> {
    match value.len() {
        1..=VALUE_BYTES_MAX => Ok(()),
        0 => Err(SecretError::Parameter("The secret's value must not be empty.".into())),
        _ => Err(SecretError::Parameter(format!(
            "The secret's value must have at most {VALUE_BYTES_MAX} bytes."
        ))),
    }
}

/// The id of a new version: what the caller gave, or a random one.
fn version_id(token: Option<&str>) -> Result<String, SecretError> {
    match token {
        None => Ok(random::uuid()),
        Some(token) if (32..=64).contains(&token.chars().count()) && !token.contains(char::is_control) => {
            Ok(token.to_owned())
        }
        Some(_) => Err(SecretError::Parameter("ClientRequestToken must be 32-64 characters long.".into())),
    }
}

/// Makes a secret. The same again with the same token and value is no error. Returns the version,
/// if a value was given.
pub(crate) fn create(
    registry: &mut Registry,
    vault: Vault<'_>,
    scope: &Scope,
    new: NewSecret,
    now: Timestamp,
) -> Result<(SecretRecord, Option<String>), SecretError> {
    check_name(&new.name)?;
    check_tags(&new.tags)?;
    new.value.as_ref().map_or(Ok(()), check_value)?;
    let version = new.value.as_ref().map(|_| version_id(new.token.as_deref())).transpose()?;
    if registry.secrets.get(&new.name).is_some_and(|present| present.is_gone(now)) {
        remove(registry, &new.name);
    }
    if let Some(present) = registry.secrets.get(&new.name).map(|present| (**present).clone()) {
        if present.deleted_from.is_some() {
            return Err(SecretError::State(
                "You can't create this secret because a secret with this name is already scheduled for deletion."
                    .into(),
            ));
        }
        if let (Some(value), Some(version)) = (&new.value, &version)
            && present.versions.contains_key(version)
        {
            same_value(registry, vault, &present, version, value)?;
            return Ok((present, Some(version.clone())));
        }
        return Err(SecretError::Exists(format!(
            "The operation failed because the secret {} already exists.",
            new.name
        )));
    }
    check_key(registry, new.kms_key_id.as_deref(), now)?;
    if registry.secrets.len() >= SECRETS_MAX {
        return Err(SecretError::Limit(format!("There can be at most {SECRETS_MAX} secrets.")));
    }
    let mut record = SecretRecord {
        arn: new.arn.unwrap_or_else(|| new_arn(scope, &new.name)),
        name: new.name,
        description: new.description,
        kms_key_id: new.kms_key_id,
        kind: new.kind,
        created_at: now,
        changed_at: now,
        accessed_on: None,
        deleted_from: None,
        tags: new.tags,
        policy: None,
        rotation: None,
        versions: BTreeMap::new(),
    };
    if let (Some(value), Some(version)) = (&new.value, &version) {
        add_version(registry, vault, &mut record, version, value, &[CURRENT.to_owned()], now)?;
    }
    registry.secrets.put(record.name.clone(), record.clone());
    Ok((record, version))
}

/// Refuses a version that is there already with another value.
fn same_value(
    registry: &Registry,
    vault: Vault<'_>,
    secret: &SecretRecord,
    version: &str,
    value: &SecretValue,
) -> Result<(), SecretError> {
    match open_value(registry, vault, secret, version)? == *value {
        true => Ok(()),
        false => Err(SecretError::Exists(format!(
            "You can't use ClientRequestToken {version} because that value is already in use for a version of \
             secret {}.",
            secret.arn
        ))),
    }
}

/// Opens a version's value.
pub(crate) fn open_value(
    registry: &Registry,
    vault: Vault<'_>,
    secret: &SecretRecord,
    version: &str,
) -> Result<SecretValue, SecretError> {
    let row = registry.secret_values.get(&value_key(&secret.name, version));
    let row = row.ok_or_else(|| SecretError::NoVersion(format!("VersionId: {version}")))?;
    vault.open(secret.arn.as_str(), version, &row.sealed)
}

/// Refuses a KMS key that cannot be used: values of the secret could not be read under it.
pub(crate) fn check_key(registry: &Registry, given: Option<&str>, now: Timestamp) -> Result<(), SecretError> {
    match given {
        None => Ok(()),
        Some(given) => kms::check_usable(registry, given, now).map_err(|_| SecretError::Seal),
    }
}

/// Adds a version with its labels to a record that the caller puts.
fn add_version(
    registry: &mut Registry,
    vault: Vault<'_>,
    secret: &mut SecretRecord,
    version: &str,
    value: &SecretValue,
    labels: &[String],
    now: Timestamp,
) -> Result<(), SecretError> {
    let sealed = vault.seal(secret.arn.as_str(), version, value)?;
    let first = secret.version_with(CURRENT).is_none();
    let added = SecretVersion { created_at: now, accessed_on: None, stages: Default::default() };
    secret.versions.insert(version.to_owned(), added);
    for label in labels {
        stages::attach(&mut secret.versions, label, version)?;
    }
    if first {
        stages::attach(&mut secret.versions, CURRENT, version)?;
    }
    for dropped in stages::drop_deprecated(&mut secret.versions, now)? {
        registry.secret_values.remove(&value_key(&secret.name, &dropped));
    }
    registry.secret_values.put(value_key(&secret.name, version), SealedValue { sealed });
    secret.changed_at = now;
    Ok(())
}

/// Puts a new version (`PutSecretValue`, and `UpdateSecret` with a value). The same again with the
/// same token and value is no error. Returns the secret and the version.
pub(crate) fn put_value(
    registry: &mut Registry,
    vault: Vault<'_>,
    given: &str,
    value: &SecretValue,
    token: Option<&str>,
    labels: &[String],
    now: Timestamp,
) -> Result<(SecretRecord, String), SecretError> {
    check_value(value)?;
    check_labels(labels)?;
    let version = version_id(token)?;
    let mut secret = live(registry, given, now)?;
    check_key(registry, secret.kms_key_id.as_deref(), now)?;
    if secret.versions.contains_key(&version) {
        same_value(registry, vault, &secret, &version, value)?;
        return Ok((secret, version));
    }
    add_version(registry, vault, &mut secret, &version, value, labels, now)?;
    registry.secrets.put(secret.name.clone(), secret.clone());
    Ok((secret, version))
}

fn check_labels(labels: &[String]) -> Result<(), SecretError> {
    let fits = |label: &String| (1..=256).contains(&label.chars().count());
    match (1..=super::STAGES_PER_VERSION_MAX).contains(&labels.len()) && labels.iter().all(fits) {
        true => Ok(()),
        false => {
            Err(SecretError::Parameter("VersionStages must be 1 to 20 labels of 1 to 256 characters.".into()))
        }
    }
}

/// A secret that is there and not deleted, to be changed and put.
fn live(registry: &Registry, given: &str, now: Timestamp) -> Result<SecretRecord, SecretError> {
    let secret = find(registry, given, now)?;
    match secret.deleted_from {
        None => Ok(secret.clone()),
        Some(_) => Err(SecretError::deleted()),
    }
}

/// Changes a secret that is there and not deleted.
pub(crate) fn change(
    registry: &mut Registry,
    given: &str,
    now: Timestamp,
    change: impl FnOnce(&mut SecretRecord) -> Result<(), SecretError>,
) -> Result<SecretRecord, SecretError> {
    let mut secret = live(registry, given, now)?;
    change(&mut secret)?;
    if registry.secrets.get(&secret.name).is_none_or(|present| **present != secret) {
        secret.changed_at = now;
        registry.secrets.put(secret.name.clone(), secret.clone());
    }
    Ok(secret)
}

/// `UpdateSecretVersionStage`.
pub(crate) fn move_label(
    registry: &mut Registry,
    given: &str,
    stage: &str,
    remove_from: Option<&str>,
    move_to: Option<&str>,
    now: Timestamp,
) -> Result<SecretRecord, SecretError> {
    check_labels(&[stage.to_owned()])?;
    change(registry, given, now, |secret| {
        stages::move_label(&mut secret.versions, stage, remove_from, move_to)
    })
}

/// When a deleted secret goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// Now.
    Forced,
    /// After so many days.
    InDays(i64),
}

/// Deletes a secret. Returns it and the moment that it goes.
pub(crate) fn delete(
    registry: &mut Registry,
    given: &str,
    deletion: Deletion,
    now: Timestamp,
) -> Result<(SecretRecord, Timestamp), SecretError> {
    let mut secret = find(registry, given, now)?.clone();
    let Deletion::InDays(days) = deletion else {
        remove(registry, &secret.name);
        return Ok((secret, now));
    };
    let days = u32::try_from(days).ok().filter(|days| (7..=30).contains(days)).ok_or_else(|| {
        SecretError::Parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).".into(),
        )
    })?;
    if secret.deleted_from.is_some() {
        return Err(SecretError::State(
            "You can't perform this operation on the secret because it was already scheduled for deletion."
                .into(),
        ));
    }
    let from = now + DAY * days;
    secret.deleted_from = Some(from);
    registry.secrets.put(secret.name.clone(), secret.clone());
    Ok((secret, from))
}

/// Takes a deletion back.
pub(crate) fn restore(
    registry: &mut Registry,
    given: &str,
    now: Timestamp,
) -> Result<SecretRecord, SecretError> {
    let mut secret = find(registry, given, now)?.clone();
    secret.deleted_from = None;
    registry.secrets.put(secret.name.clone(), secret.clone());
    Ok(secret)
}

/// Removes a secret and its values.
pub(crate) fn remove(registry: &mut Registry, name: &str) {
    if let Some(secret) = registry.secrets.get(name).cloned() {
        for version in secret.versions.keys() {
            registry.secret_values.remove(&value_key(name, version));
        }
        registry.secrets.remove(name);
    }
}

/// Removes the secrets whose recovery window is over.
pub(crate) fn sweep(registry: &mut Registry, now: Timestamp) {
    let gone: Vec<_> = registry
        .secrets
        .values()
        .filter(|secret| secret.is_gone(now))
        .map(|secret| secret.name.clone())
        .collect();
    for name in gone {
        tracing::info!(secret = name, "a deleted secret's recovery window is over: it is removed");
        remove(registry, &name);
    }
}

/// Which version a reader asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) version: Option<&'a str>,
    pub(crate) stage: Option<&'a str>,
}

/// The version that a reader asks for: by id, by label, by both if they are of one version, or the
/// current one.
pub(crate) fn select<'a>(
    secret: &'a SecretRecord,
    wanted: Wanted<'_>,
) -> Result<(&'a str, &'a SecretVersion), SecretError> {
    if secret.deleted_from.is_some() {
        return Err(SecretError::deleted());
    }
    if let Some(id) = wanted.version {
        let found = secret.versions.get_key_value(id);
        let (id, version) = found.ok_or_else(|| SecretError::NoVersion(format!("VersionId: {id}")))?;
        return match wanted.stage {
            Some(stage) if !version.stages.contains(stage) => Err(SecretError::State(
                "You provided a VersionStage that is not associated to the provided VersionId.".into(),
            )),
            _ => Ok((id, version)),
        };
    }
    let stage = wanted.stage.unwrap_or(CURRENT);
    secret.version_with(stage).ok_or_else(|| SecretError::NoVersion(format!("staging label: {stage}")))
}

/// Notes that a version was read today.
pub(crate) fn touch(registry: &mut Registry, name: &str, version: &str, now: Timestamp) {
    let day = Some(super::day_of(now));
    registry.secrets.update(name, |secret| {
        secret.accessed_on = day;
        if let Some(version) = secret.versions.get_mut(version) {
            version.accessed_on = day;
        }
    });
}

/// Refuses tags that AWS does not take.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), SecretError> {
    if tags.len() > TAGS_MAX {
        return Err(SecretError::Parameter(format!("A secret can have at most {TAGS_MAX} tags.")));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(SecretError::Parameter(
                "A tag's key has 1 to 128 characters, its value at most 256.".into(),
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(SecretError::Parameter(
                "The tag keys that begin with aws: are reserved for AWS.".into(),
            ));
        }
    }
    Ok(())
}

/// Refuses what is no resource policy, or one that lets everybody in where that is not wanted.
pub(crate) fn check_policy(document: &str, block_public: bool) -> Result<(), SecretError> {
    if document.chars().count() > POLICY_CHARACTERS_MAX {
        return Err(SecretError::MalformedPolicy(format!(
            "it has more than {POLICY_CHARACTERS_MAX} characters"
        )));
    }
    Policy::parse(PolicyKind::Resource, document, POLICY_BYTES_MAX)
        .map_err(|error| SecretError::MalformedPolicy(error.to_string()))?;
    match block_public && is_public(document) {
        true => Err(SecretError::PublicPolicy),
        false => Ok(()),
    }
}

/// Condition keys that name who or where the caller is: with one of these, a statement for
/// everybody is not for everybody. Source: Amazon S3 user guide, "The meaning of public", whose
/// rules Secrets Manager's check shares.
const NARROWING_KEYS: &[&str] = &[
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
];

/// Whether a policy, one that parses, allows something to everybody.
pub(crate) fn is_public(document: &str) -> bool {
    use serde_json::Value;

    fn is_everybody(principal: &Value) -> bool {
        match principal {
            Value::String(text) => text == "*",
            Value::Array(all) => all.iter().any(is_everybody),
            Value::Object(kinds) => kinds.get("AWS").is_some_and(is_everybody),
            _ => false,
        }
    }

    /// One operator that admits only what is named, for a key that narrows, with values that do.
    fn narrows(operator: &str, keys: &Value) -> bool {
        let operator = operator.to_ascii_lowercase();
        let admits = ["stringequals", "stringlike", "arnequals", "arnlike", "ipaddress"];
        let fixed = |value: &Value| match value {
            Value::String(text) => !text.contains('*') && !text.ends_with("/0"),
            _ => false,
        };
        let all_fixed = |values: &Value| match values {
            Value::Array(all) => !all.is_empty() && all.iter().all(fixed),
            one => fixed(one),
        };
        // `…IfExists` and `ForAllValues:` are true where the key is missing.
        admits.iter().any(|name| operator == *name || operator == format!("{name}ignorecase"))
            && keys.as_object().is_some_and(|keys| {
                keys.iter().any(|(key, values)| {
                    NARROWING_KEYS.contains(&key.to_ascii_lowercase().as_str()) && all_fixed(values)
                })
            })
    }

    let Ok(policy) = serde_json::from_str::<Value>(document) else { return true };
    let statements = match policy.get("Statement") {
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    statements.iter().any(|statement| {
        statement.get("Effect").and_then(Value::as_str) == Some("Allow")
            && (statement.get("NotPrincipal").is_some()
                || statement.get("Principal").is_some_and(is_everybody))
            && !statement
                .get("Condition")
                .and_then(Value::as_object)
                .is_some_and(|all| all.iter().any(|(operator, keys)| narrows(operator, keys)))
    })
}

/// Records when and by what a secret is to be rotated. Nothing here runs functions, so a rotation
/// that is to begin at once is refused.
pub(crate) fn set_rotation(
    secret: &mut SecretRecord,
    function: Option<String>,
    rules: Option<RotationRules>,
    at_once: bool,
    now: Timestamp,
) -> Result<(), SecretError> {
    let present = secret.rotation.take();
    let function = function
        .filter(|function| !function.is_empty())
        .or_else(|| present.as_ref().and_then(|present| present.function.clone()));
    let rules = rules.or_else(|| present.map(|present| present.rules)).unwrap_or_default();
    super::rotation::check(&rules).map_err(SecretError::Parameter)?;
    if function.is_none() {
        return Err(SecretError::State(
            "No Lambda rotation function ARN is associated with this secret.".into(),
        ));
    }
    if at_once {
        return Err(SecretError::State(
            "Rotation functions cannot be run here: set RotateImmediately to false to record the schedule, and rotate \
             by PutSecretValue and UpdateSecretVersionStage."
                .into(),
        ));
    }
    secret.rotation = Some(Rotation { enabled: true, function, rules, since: now });
    Ok(())
}
