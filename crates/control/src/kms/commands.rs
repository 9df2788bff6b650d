//! What changes keys: each checks, then changes the registry it is given, or refuses.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
};

use super::{
    ALIASES_PER_KEY_MAX, AliasRecord, KEYS_MAX, KeyRecord, KeyState, KmsError, POLICY_CHARACTERS_MAX,
    TAGS_MAX, find, rotation,
};
use crate::{master_key::MasterKey, random, registry::Registry};

/// Days until a key goes that is deleted, where nothing else is said, and what may be said. Source: KMS API
/// reference, `ScheduleKeyDeletion`.
pub(crate) const WINDOW_DAYS_DEFAULT: i64 = 30;
pub(crate) const WINDOW_DAYS: std::ops::RangeInclusive<i64> = 7..=30;

/// A new key.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewKey {
    /// Its id, where that is decided already (a template's `Ref`).
    pub(crate) id: Option<String>,
    pub(crate) description: String,
    /// `None`: the policy that leaves the key to IAM's policies.
    pub(crate) policy: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) managed_for: Option<String>,
}

/// The policy of a key for which none is given: the account's root, and so IAM's policies. Source: KMS
/// developer guide, "Default key policy".
pub(crate) fn default_policy(scope: &Scope) -> String {
    let statement = serde_json::json!({"Sid": "Enable IAM User Permissions", "Effect": "Allow",
        "Principal": {"AWS": scope.root_arn()}, "Action": "kms:*", "Resource": "*"});
    serde_json::json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}).to_string()
}

/// The policy of a managed key: the account sees it, the service alone uses it.
fn managed_policy(scope: &Scope) -> String {
    let statement = serde_json::json!({"Sid": "Allow direct access to key metadata to the account",
        "Effect": "Allow", "Principal": {"AWS": scope.root_arn()},
        "Action": ["kms:Describe*", "kms:Get*", "kms:List*"], "Resource": "*"});
    serde_json::json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

/// The ARN of a key.
pub(crate) fn key_arn(scope: &Scope, id: &str) -> Arn {
    scope.arn("kms", format_args!("key/{id}"))
}

/// Makes a key.
pub(crate) fn create(
    registry: &mut Registry,
    master: &MasterKey,
    scope: &Scope,
    new: NewKey,
    now: Timestamp,
) -> Result<KeyRecord, KmsError> {
    purge(registry, now);
    check_tags(&new.tags)?;
    if let Some(policy) = &new.policy {
        check_policy_length(policy)?;
    }
    if registry.kms_keys.len() >= KEYS_MAX {
        return Err(KmsError::Limit(format!("There can be at most {KEYS_MAX} keys.")));
    }
    let id = new.id.unwrap_or_else(random::uuid);
    let arn = key_arn(scope, &id);
    let policy = match (&new.managed_for, new.policy) {
        (Some(_), _) => managed_policy(scope),
        (None, Some(policy)) => policy,
        (None, None) => default_policy(scope),
    };
    let key = KeyRecord {
        versions: vec![rotation::version(master, arn.as_str(), 0, None, now)?],
        // AWS rotates its own keys every year, and nobody can change that.
        rotation: new
            .managed_for
            .is_some()
            .then(|| super::AutomaticRotation { period_days: 365, next: now + rotation::days(365) }),
        arn,
        id: id.clone(),
        description: new.description,
        created_at: now,
        state: KeyState::Enabled,
        managed_for: new.managed_for,
        policy,
        tags: new.tags,
        template_window_days: None,
        grants: BTreeMap::new(),
    };
    registry.kms_keys.put(id, key.clone());
    Ok(key)
}

/// The managed key of an alias of [`super::MANAGED_ALIASES`], made where it is not there.
pub(crate) fn managed_key(
    registry: &mut Registry,
    master: &MasterKey,
    alias: &str,
    now: Timestamp,
) -> Result<KeyRecord, KmsError> {
    if let Some(present) = registry.kms_aliases.get(alias) {
        return find(registry, &present.key_id, now).cloned();
    }
    let scope = registry.settings().scope.clone();
    let service = alias.trim_start_matches("alias/aws/");
    let new = NewKey {
        description: format!("Default key that protects my {service} data when no other key is defined"),
        managed_for: Some(alias.to_owned()),
        ..NewKey::default()
    };
    let key = create(registry, master, &scope, new, now)?;
    put_alias(registry, alias, &key.id, now);
    Ok(key)
}

/// Forgets keys whose waiting period is over, with their material and aliases.
pub(crate) fn purge(registry: &mut Registry, now: Timestamp) {
    let gone: Vec<_> =
        registry.kms_keys.values().filter(|key| key.is_gone(now)).map(|key| key.id.clone()).collect();
    for id in gone {
        remove(registry, &id);
    }
}

/// Forgets a key with its material and aliases.
pub(crate) fn remove(registry: &mut Registry, id: &str) {
    registry.kms_keys.remove(id);
    let aliases: Vec<_> = registry
        .kms_aliases
        .values()
        .filter(|alias| alias.key_id == id)
        .map(|alias| alias.name.clone())
        .collect();
    for name in aliases {
        registry.kms_aliases.remove(&name);
    }
}

/// Changes a key that is there. Those whose time is over are forgotten on the way.
pub(crate) fn change<R>(
    registry: &mut Registry,
    given: &str,
    now: Timestamp,
    change: impl FnOnce(&mut KeyRecord) -> Result<R, KmsError>,
) -> Result<R, KmsError> {
    purge(registry, now);
    let mut key = find(registry, given, now)?.clone();
    let result = change(&mut key)?;
    registry.kms_keys.put(key.id.clone(), key);
    Ok(result)
}

/// Sets when a key goes.
pub(crate) fn schedule_deletion(
    key: &mut KeyRecord,
    window_days: i64,
    now: Timestamp,
) -> Result<Timestamp, KmsError> {
    key.customers()?;
    key.not_pending()?;
    let seconds = u64::try_from(window_days).unwrap_or(0) * 86_400;
    let at = now + Duration::from_secs(seconds);
    key.state = KeyState::PendingDeletion { at };
    Ok(at)
}

/// Refuses a name that no alias can have.
pub(crate) fn check_alias_name(name: &str) -> Result<(), KmsError> {
    let Some(rest) = name.strip_prefix("alias/") else {
        return Err(KmsError::Parameter("Alias must start with the prefix \"alias/\".".into()));
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    if rest.is_empty() || name.len() > 256 || !rest.chars().all(allowed) {
        return Err(KmsError::AliasName(format!(
            "{name} is no name of an alias: [a-zA-Z0-9/_-]+ follows alias/"
        )));
    }
    if rest.starts_with("aws/") {
        return Err(KmsError::AliasName("Alias names that begin with alias/aws/ are AWS's.".into()));
    }
    Ok(())
}

/// The key that an alias is to be given to: not AWS's, not on its way out, and with room for one.
fn target<'a>(registry: &'a Registry, given: &str, now: Timestamp) -> Result<&'a KeyRecord, KmsError> {
    let key = find(registry, given, now)?;
    key.customers()?;
    key.not_pending()?;
    let held = registry.kms_aliases.values().filter(|alias| alias.key_id == key.id).count();
    if held >= ALIASES_PER_KEY_MAX {
        return Err(KmsError::Limit(format!("A key can have at most {ALIASES_PER_KEY_MAX} aliases.")));
    }
    Ok(key)
}

/// Makes an alias.
pub(crate) fn create_alias(
    registry: &mut Registry,
    name: &str,
    given: &str,
    now: Timestamp,
) -> Result<(), KmsError> {
    purge(registry, now);
    check_alias_name(name)?;
    let id = target(registry, given, now)?.id.clone();
    if registry.kms_aliases.get(name).is_some() {
        let arn = super::alias_arn(&registry.settings().scope, name);
        return Err(KmsError::Exists(format!("An alias with the name {arn} already exists")));
    }
    put_alias(registry, name, &id, now);
    Ok(())
}

/// Gives an alias to another key.
pub(crate) fn update_alias(
    registry: &mut Registry,
    name: &str,
    given: &str,
    now: Timestamp,
) -> Result<(), KmsError> {
    purge(registry, now);
    let present = alias(registry, name)?.clone();
    if find(registry, given, now)?.id == present.key_id {
        find(registry, given, now)?.not_pending()?;
    } else {
        target(registry, given, now)?;
    }
    find(registry, &present.key_id, now)?.not_pending()?;
    let id = find(registry, given, now)?.id.clone();
    registry.kms_aliases.put(name, AliasRecord { key_id: id, updated_at: now, ..present });
    Ok(())
}

/// Removes an alias.
pub(crate) fn delete_alias(registry: &mut Registry, name: &str) -> Result<(), KmsError> {
    alias(registry, name)?;
    registry.kms_aliases.remove(name);
    Ok(())
}

/// An alias that is there and not AWS's.
fn alias<'a>(registry: &'a Registry, name: &str) -> Result<&'a AliasRecord, KmsError> {
    let absent = || {
        let arn = super::alias_arn(&registry.settings().scope, name);
        KmsError::NotFound(format!("Alias {arn} is not found."))
    };
    let found = registry.kms_aliases.get(name).ok_or_else(absent)?;
    if let Some(key) = registry.kms_keys.get(&found.key_id) {
        key.customers()?;
    }
    Ok(found)
}

fn put_alias(registry: &mut Registry, name: &str, key_id: &str, now: Timestamp) {
    let alias =
        AliasRecord { name: name.to_owned(), key_id: key_id.to_owned(), created_at: now, updated_at: now };
    registry.kms_aliases.put(name, alias);
}

/// Refuses tags that AWS does not take.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), KmsError> {
    if tags.len() > TAGS_MAX {
        return Err(KmsError::Limit(format!("A key can have at most {TAGS_MAX} tags.")));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(KmsError::Tag(format!("The tag {key} is too long, or has no key.")));
        }
        if key.starts_with("aws:") {
            return Err(KmsError::Tag("Tag keys that begin with aws: are AWS's.".into()));
        }
    }
    Ok(())
}

/// Refuses a policy that is too long.
pub(crate) fn check_policy_length(policy: &str) -> Result<(), KmsError> {
    match policy.chars().count() {
        0..=POLICY_CHARACTERS_MAX => Ok(()),
        _ => {
            Err(KmsError::Limit(format!("A key policy can have at most {POLICY_CHARACTERS_MAX} characters.")))
        }
    }
}
