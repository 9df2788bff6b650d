//! KMS's resources of a template: keys and aliases.

use std::collections::BTreeMap;

use bowline_aws::cfn::{ResourceBody, StackResource};
use bowline_model::{
    clock::Timestamp,
    policy::{POLICY_BYTES_MAX, Policy, PolicyKind},
};
use serde_json::Value;

use super::{ApplyContext, Applying};
use crate::{
    kms::{
        AutomaticRotation, KeyRecord, KeyState, KmsError, SYMMETRIC,
        commands::{self, NewKey, WINDOW_DAYS_DEFAULT},
        rotation::{PERIOD_DAYS_DEFAULT, days},
    },
    registry::Registry,
};

const KEY: &str = "AWS::KMS::Key";
const ALIAS: &str = "AWS::KMS::Alias";
const KEYS: &str = "kms-keys";
const ALIASES: &str = "kms-aliases";

/// Removes what a stack made, as CloudFormation does: a key is scheduled to go. Whether the table is one of
/// KMS's.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str, now: Timestamp) -> bool {
    match table {
        KEYS => {
            // On an error somebody scheduled it already, or it is gone.
            let _ = commands::change(registry, key, now, |key| {
                let window = key.template_window_days.map_or(WINDOW_DAYS_DEFAULT, i64::from);
                commands::schedule_deletion(key, window, now)
            });
        }
        ALIASES => registry.kms_aliases.remove(key),
        _ => return false,
    }
    true
}

fn text<'a>(body: &'a Value, property: &str) -> Option<&'a str> {
    body.get(property)?.as_str().filter(|text| !text.is_empty())
}

fn flag(body: &Value, property: &str) -> Option<bool> {
    match body.get(property)? {
        Value::String(text) => text.parse().ok(),
        value => value.as_bool(),
    }
}

fn number(body: &Value, property: &str) -> Option<u16> {
    match body.get(property)? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64().and_then(|number| u16::try_from(number).ok()),
    }
}

fn tags(body: &Value) -> BTreeMap<String, String> {
    let items = body.get("Tags").and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|tag| {
            Some((text(tag, "Key")?.to_owned(), text(tag, "Value").unwrap_or_default().to_owned()))
        })
        .collect()
}

/// `KeyPolicy`, which must be one.
fn policy(body: &Value) -> Result<Option<String>, KmsError> {
    let document = match body.get("KeyPolicy") {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(document) => document.to_string(),
    };
    commands::check_policy_length(&document)?;
    match Policy::parse(PolicyKind::Resource, &document, POLICY_BYTES_MAX) {
        Ok(_) => Ok(Some(document)),
        Err(error) => Err(KmsError::Policy(format!("KeyPolicy is not valid: {error}"))),
    }
}

impl Applying<'_> {
    /// Takes up every key and alias of the template: before everything else, which may name them.
    pub(super) fn all_keys(&mut self, registry: &mut Registry, context: &ApplyContext<'_>) {
        let stack = self.stack;
        for kind in [KEY, ALIAS] {
            for resource in stack.resources.iter().filter(|resource| resource.resource_type == kind) {
                let ResourceBody::Record(body) = &resource.body else { continue };
                let done = match kind {
                    KEY => self.key(registry, resource, body, context),
                    _ => self.alias(registry, body),
                };
                if let Err(error) = done {
                    self.fault(resource, error.to_string());
                }
            }
        }
    }

    fn is_own(&self, registry: &Registry, table: &str, key: &str) -> bool {
        let entry = (table.to_owned(), key.to_owned());
        registry.stacks.get(&self.stack.name).is_some_and(|stack| stack.resources.contains(&entry))
    }

    fn key(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &Value,
        context: &ApplyContext<'_>,
    ) -> Result<(), KmsError> {
        let symmetric = text(body, "KeySpec").is_none_or(|spec| spec == SYMMETRIC)
            && text(body, "KeyUsage").is_none_or(|usage| usage == "ENCRYPT_DECRYPT")
            && text(body, "Origin").is_none_or(|origin| origin == "AWS_KMS");
        if !symmetric {
            self.note(
                resource,
                "the key is recorded: keys that are not symmetric, of KMS's own, are not served",
            );
            return Ok(());
        }
        let id = resource.physical_id.as_str();
        let (policy, tags) = (policy(body)?, tags(body));
        let present = registry.kms_keys.get(id).is_some_and(|key| !key.is_gone(self.now));
        if !present {
            let new = NewKey { id: Some(id.to_owned()), ..NewKey::default() };
            let scope = registry.settings().scope.clone();
            commands::create(registry, context.vault.master_key(), &scope, new, self.now)?;
        } else if !self.is_own(registry, KEYS, id) {
            return Err(KmsError::Exists(format!("there is a key {id} already, which is not of this stack")));
        }
        let default = commands::default_policy(&registry.settings().scope);
        let now = self.now;
        commands::change(registry, id, now, |key| {
            commands::check_tags(&tags)?;
            let period = number(body, "RotationPeriodInDays");
            key.description = text(body, "Description").unwrap_or_default().to_owned();
            key.policy = policy.unwrap_or(default);
            key.tags = tags;
            key.template_window_days = number(body, "PendingWindowInDays");
            // A key that a stack takes up again is not on its way out any more.
            key.state = match flag(body, "Enabled") {
                Some(false) => KeyState::Disabled,
                _ => KeyState::Enabled,
            };
            rotate(key, flag(body, "EnableKeyRotation").unwrap_or(false), period, now);
            Ok(())
        })?;
        self.made(KEYS, id);
        Ok(())
    }

    fn alias(&mut self, registry: &mut Registry, body: &Value) -> Result<(), KmsError> {
        let name = text(body, "AliasName").unwrap_or_default();
        let target = text(body, "TargetKeyId").unwrap_or_default();
        if registry.kms_aliases.get(name).is_none() {
            commands::create_alias(registry, name, target, self.now)?;
        } else if self.is_own(registry, ALIASES, name) {
            commands::update_alias(registry, name, target, self.now)?;
        } else {
            return Err(KmsError::Exists(format!(
                "there is an alias {name} already, which is not of this stack"
            )));
        }
        self.made(ALIASES, name);
        Ok(())
    }
}

/// Sets automatic rotation; as it is, it keeps its date.
fn rotate(key: &mut KeyRecord, on: bool, period: Option<u16>, now: Timestamp) {
    let default = u16::try_from(PERIOD_DAYS_DEFAULT).unwrap_or(u16::MAX);
    let period_days = period.unwrap_or(default);
    match (on, key.rotation) {
        (false, _) => key.rotation = None,
        (true, Some(present)) if present.period_days == period_days => {}
        (true, _) => key.rotation = Some(AutomaticRotation { period_days, next: now + days(period_days) }),
    }
}
