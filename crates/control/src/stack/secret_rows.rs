//! Secrets Manager's resources of a template: secrets, their policies and their schedules.
//!
//! A secret's value is put when the secret is made, and again when the template's own words for it
//! change: what was put by other means in between stays.

use std::collections::BTreeMap;

use bowline_aws::{
    cfn::{ResourceBody, Stack, StackResource},
    secretsmanager::{GetRandomPasswordRequest, RotationRules},
};
use serde_json::Value;

use super::{ApplyContext, Applying};
use crate::{
    registry::Registry,
    secrets::{
        CURRENT, Rotation, SecretError, SecretValue, Vault,
        commands::{self, NewSecret},
        find, password, rotation,
    },
};

pub(super) const SECRET: &str = "AWS::SecretsManager::Secret";
const SECRETS: &str = "secrets";
const POLICIES: &str = "secret-policies";
const ROTATIONS: &str = "secret-rotations";

/// Removes what a stack made. Whether the table is one of Secrets Manager's.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str) -> bool {
    match table {
        // As CloudFormation does: without a recovery window.
        SECRETS => commands::remove(registry, key),
        POLICIES => registry.secrets.update(key, |secret| secret.policy = None),
        ROTATIONS => registry.secrets.update(key, |secret| secret.rotation = None),
        _ => return false,
    }
    true
}

fn text(body: &Value, property: &str) -> Option<String> {
    body.get(property)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What of a template decides a secret's value.
fn recipe(body: &Value) -> [Option<&Value>; 2] {
    [body.get("SecretString"), body.get("GenerateSecretString")]
}

/// The value that a template gives a secret, if it gives one.
fn value(body: &Value) -> Result<Option<SecretValue>, String> {
    match recipe(body) {
        [Some(_), Some(_)] => Err("give SecretString or GenerateSecretString, not both".into()),
        [Some(text), None] => Ok(Some(SecretValue::text(text.as_str().unwrap_or_default()))),
        [None, Some(order)] => generated(order).map(Some),
        [None, None] => Ok(None),
    }
}

/// `GenerateSecretString`: a password, alone or as a member of a JSON template.
fn generated(order: &Value) -> Result<SecretValue, String> {
    let number = |name: &str| match order.get(name) {
        Some(Value::String(text)) => text.parse().ok(),
        other => other.and_then(Value::as_i64),
    };
    let flag = |name: &str| match order.get(name) {
        Some(Value::String(text)) => text.parse().ok(),
        other => other.and_then(Value::as_bool),
    };
    let request = GetRandomPasswordRequest {
        password_length: number("PasswordLength"),
        exclude_characters: text(order, "ExcludeCharacters"),
        exclude_numbers: flag("ExcludeNumbers"),
        exclude_punctuation: flag("ExcludePunctuation"),
        exclude_uppercase: flag("ExcludeUppercase"),
        exclude_lowercase: flag("ExcludeLowercase"),
        include_space: flag("IncludeSpace"),
        require_each_included_type: flag("RequireEachIncludedType"),
    };
    let password = password::generate(&request).map_err(|error| error.to_string())?;
    match (text(order, "SecretStringTemplate"), text(order, "GenerateStringKey")) {
        (None, None) => Ok(SecretValue::Text(password)),
        (Some(template), Some(key)) => {
            let mut whole: serde_json::Map<String, Value> = serde_json::from_str(&template)
                .map_err(|error| format!("SecretStringTemplate is no JSON object: {error}"))?;
            whole.insert(key, Value::String((*password).clone()));
            Ok(SecretValue::text(Value::Object(whole).to_string()))
        }
        _ => Err("SecretStringTemplate and GenerateStringKey go together".into()),
    }
}

fn tags(body: &Value) -> BTreeMap<String, String> {
    let items = body.get("Tags").and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|tag| Some((text(tag, "Key")?, text(tag, "Value").unwrap_or_default()))).collect()
}

impl Applying<'_> {
    /// Takes up every secret of the template: before everything else, which may want them.
    pub(super) fn all_secrets(
        &mut self,
        registry: &mut Registry,
        before: Option<&Stack>,
        context: &ApplyContext<'_>,
    ) {
        let stack = self.stack;
        for resource in stack.resources.iter().filter(|resource| resource.resource_type == SECRET) {
            let ResourceBody::Record(body) = &resource.body else { continue };
            let before = before.and_then(|before| before.resource(&resource.logical_id));
            let before = before.and_then(|before| match &before.body {
                ResourceBody::Record(body) => Some(body),
                _ => None,
            });
            self.secret(registry, resource, body, before, context.vault);
        }
    }

    fn secret(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &Value,
        before: Option<&Value>,
        vault: Vault<'_>,
    ) {
        let Ok(arn) = resource.physical_id.parse() else {
            return self.fault(resource, "it has no ARN");
        };
        let Some(name) = text(body, "Name") else { return self.fault(resource, "it has no name") };
        let value = match value(body) {
            Ok(value) => value,
            Err(message) => return self.fault(resource, message),
        };
        let entry = (SECRETS.to_owned(), name.clone());
        let own = registry.stacks.get(&self.stack.name).is_some_and(|stack| stack.resources.contains(&entry));
        let scope = registry.settings().scope.clone();
        let present = registry.secrets.get(&name).is_some_and(|present| !present.is_gone(self.now));
        let new = NewSecret {
            name: name.clone(),
            arn: Some(arn),
            description: text(body, "Description"),
            kms_key_id: text(body, "KmsKeyId"),
            kind: text(body, "Type"),
            tags: tags(body),
            value,
            token: None,
        };
        let done = match (present, own) {
            (true, false) => Err(SecretError::Exists(format!(
                "there is a secret {name} already, which is not of this stack"
            ))),
            (false, _) => commands::create(registry, vault, &scope, new, self.now).map(|_| ()),
            (true, true) => {
                self.update_secret(registry, vault, new, before.map(recipe) != Some(recipe(body)))
            }
        };
        match done {
            Ok(()) => self.made(SECRETS, &name),
            Err(error) => self.fault(resource, error.to_string()),
        }
    }

    fn update_secret(
        &self,
        registry: &mut Registry,
        vault: Vault<'_>,
        new: NewSecret,
        another_value: bool,
    ) -> Result<(), SecretError> {
        commands::check_tags(&new.tags)?;
        if let Some(value) = new.value.as_ref().filter(|_| another_value) {
            let labels = [CURRENT.to_owned()];
            commands::put_value(registry, vault, &new.name, value, None, &labels, self.now)?;
        }
        commands::change(registry, &new.name, self.now, |secret| {
            secret.description = new.description;
            secret.kms_key_id = new.kms_key_id;
            secret.kind = new.kind;
            secret.tags = new.tags;
            Ok(())
        })?;
        Ok(())
    }

    /// Takes up what hangs on a secret.
    pub(super) fn of_secret(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let given = text(body, "SecretId").unwrap_or_default();
        let name = match find(registry, &given, self.now) {
            Ok(secret) => secret.name.clone(),
            Err(_) => {
                if resource.resource_type != SECRET {
                    self.fault(resource, format!("there is no secret {given}"));
                }
                return;
            }
        };
        // Whoever may make stacks could otherwise open another's secret to themselves.
        let own = (SECRETS.to_owned(), name.clone());
        if resource.resource_type != SECRET && !self.record.resources.contains(&own) {
            return self.fault(resource, format!("the secret {name} is not of this stack"));
        }
        match resource.resource_type.as_str() {
            "AWS::SecretsManager::ResourcePolicy" => {
                let document = match body.get("ResourcePolicy") {
                    Some(Value::String(text)) => text.clone(),
                    Some(document) => document.to_string(),
                    None => String::new(),
                };
                let block = body.get("BlockPublicPolicy").and_then(Value::as_bool).unwrap_or(false);
                if let Err(error) = commands::check_policy(&document, block) {
                    return self.fault(resource, error.to_string());
                }
                registry.secrets.update(&name, |secret| secret.policy = Some(document));
                self.made(POLICIES, &name);
            }
            "AWS::SecretsManager::RotationSchedule" => {
                let rules = body.get("RotationRules").cloned().unwrap_or(Value::Object(Default::default()));
                let rules = serde_json::from_value::<RotationRules>(rules)
                    .map_err(|error| error.to_string())
                    .and_then(|rules| rotation::check(&rules).map(|()| rules));
                let rules = match rules {
                    Ok(rules) => rules,
                    Err(message) => return self.fault(resource, message),
                };
                let function = text(body, "RotationLambdaARN");
                let now = self.now;
                registry.secrets.update(&name, |secret| {
                    let same = secret
                        .rotation
                        .as_ref()
                        .is_some_and(|present| present.function == function && present.rules == rules);
                    if !same {
                        secret.rotation = Some(Rotation { enabled: true, function, rules, since: now });
                    }
                });
                self.made(ROTATIONS, &name);
                self.note(
                    resource,
                    "the schedule is recorded: nothing here runs rotation functions, rotate with put-secret-value",
                );
            }
            _ => {}
        }
    }
}
