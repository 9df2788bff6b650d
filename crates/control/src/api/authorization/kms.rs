//! What KMS's requests demand.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS Key Management
//! Service". A key's policy must allow, to the caller or to the account; grants allow besides.

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_aws::protocol::Document;
use bowline_plumbing::wall_clock;

use bowline_model::arn::Scope;

use super::demand::{Asked, Demand};
use crate::{
    api::call::{Caller, CallerPrincipal},
    kms::{KeyRecord, KmsError, alias_arn, cipher, find, find_by_any, grants},
    registry::Registry,
};

/// Operations without a key, asked for `*`.
const WITHOUT_KEY: &[&str] =
    &["CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"];

pub(super) fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let action = format!("kms:{}", asked.operation);
    match asked.operation {
        operation if WITHOUT_KEY.contains(&operation) => {
            let mut demands = vec![Demand::new(action, "*")];
            if operation == "CreateKey" && asked.request.get("Tags").is_some() {
                demands.push(Demand::new("kms:TagResource", "*"));
            }
            for demand in &mut demands {
                demand.keys.extend(request_tags(asked));
            }
            demands
        }
        "CreateAlias" | "UpdateAlias" | "DeleteAlias" => {
            let name = asked.text("AliasName").unwrap_or_default();
            let held = asked.registry.kms_aliases.get(name).map(|alias| alias.key_id.clone());
            let given = asked.text("TargetKeyId").map(str::to_owned);
            let keys = match asked.operation {
                "CreateAlias" => vec![given],
                "DeleteAlias" => vec![held],
                _ => vec![held, given],
            };
            let mut demands = vec![Demand::new(action.clone(), alias_arn(asked.scope, name).to_string())];
            demands.extend(keys.into_iter().flatten().map(|given| of_key(asked, &action, "", &given)));
            demands
        }
        "ReEncrypt" => {
            let source = of_blob(asked, "SourceKeyId");
            let destination = asked.text("DestinationKeyId").unwrap_or_default();
            let mut from = of_key(asked, "kms:ReEncryptFrom", "ReEncryptFrom", &source);
            add_context(asked, &mut from, "SourceEncryptionContext");
            let mut to = of_key(asked, "kms:ReEncryptTo", "ReEncryptTo", destination);
            add_context(asked, &mut to, "DestinationEncryptionContext");
            vec![from, to]
        }
        // The operation opens the token, and then asks for what `of_retiring` says.
        "RetireGrant" if asked.text("GrantToken").is_some() => Vec::new(),
        operation => {
            let given = match operation {
                "Decrypt" => of_blob(asked, "KeyId"),
                _ => asked.text("KeyId").unwrap_or_default().to_owned(),
            };
            let mut demand = of_key(asked, &action, operation, &given);
            add_context(asked, &mut demand, "EncryptionContext");
            demand.keys.extend(request_tags(asked));
            for (member, key) in [
                ("GranteePrincipal", "kms:GranteePrincipal"),
                ("RetiringPrincipal", "kms:RetiringPrincipal"),
                ("EncryptionAlgorithm", "kms:EncryptionAlgorithm"),
            ] {
                if let Some(value) = asked.text(member) {
                    demand = demand.with(key, value);
                }
            }
            if operation == "CreateGrant" {
                let operations = asked.texts("Operations").into_iter().map(str::to_owned).collect();
                demand.keys.push(("kms:GrantOperations".into(), operations));
            }
            vec![demand]
        }
    }
}

/// The key that a ciphertext names; where it names none, the one that is given.
fn of_blob(asked: &Asked<'_>, member: &str) -> String {
    let blob = asked.request.get("CiphertextBlob").and_then(|blob| match blob {
        Document::Blob(bytes) => Some(bytes.clone()),
        other => STANDARD.decode(other.as_text()?).ok(),
    });
    let head = blob.and_then(|blob| cipher::head(&blob).ok());
    match (head, asked.text(member)) {
        (Some(head), _) => head.key_id,
        (None, given) => given.unwrap_or_default().to_owned(),
    }
}

/// An action on a key, with what is known of it.
fn of_key(asked: &Asked<'_>, action: &str, granted_as: &str, given: &str) -> Demand {
    let now = wall_clock::now();
    let found: Result<&KeyRecord, KmsError> = match asked.operation {
        "Decrypt" | "ReEncrypt" | "Encrypt" | "DescribeKey" => find_by_any(asked.registry, given, now),
        operation if operation.starts_with("GenerateDataKey") => find_by_any(asked.registry, given, now),
        _ => find(asked.registry, given, now),
    };
    let Ok(key) = found else {
        // Of a key that is not there, only identity policies can speak.
        let resource = match given.strip_prefix("arn:") {
            Some(_) => given.to_owned(),
            None => asked.arn("kms", format_args!("key/{given}")),
        };
        return Demand::new(action, resource);
    };
    let aliases = asked.registry.kms_aliases.values().filter(|alias| alias.key_id == key.id);
    let mut demand = Demand::new(action, key.arn.to_string())
        .with("kms:CallerAccount", asked.scope.account_id.as_str())
        .with("kms:KeySpec", crate::kms::SYMMETRIC)
        .with("kms:KeyUsage", "ENCRYPT_DECRYPT")
        .with("kms:KeyOrigin", "AWS_KMS")
        .with("kms:MultiRegion", "false");
    demand.keys.push(("kms:ResourceAliases".into(), aliases.map(|alias| alias.name.clone()).collect()));
    if let Some((_, name)) = given.find("alias/").map(|at| given.split_at(at)) {
        demand = demand.with("kms:RequestAlias", name);
    }
    for (name, value) in &key.tags {
        demand = demand.with(format!("aws:ResourceTag/{name}"), value);
    }
    demand.resource_policy = Some(key.policy.clone());
    demand.resource_must_allow = true;
    let principals = principals(asked);
    let context = context(
        asked,
        if granted_as == "ReEncryptTo" {
            "DestinationEncryptionContext"
        } else if granted_as == "ReEncryptFrom" {
            "SourceEncryptionContext"
        } else {
            "EncryptionContext"
        },
    );
    let retires = asked.operation == "RetireGrant"
        && asked.text("GrantId").and_then(|id| key.grants.get(id)).is_some_and(|grant| {
            grant.retiring.as_ref().is_some_and(|retiring| principals.contains(retiring))
        });
    demand.granted = retires || grants::allow(key, &principals, granted_as, context.as_ref());
    demand
}

/// What the use of a key by a role on another service's behalf demands.
pub(crate) fn of_key_use(
    registry: &Registry,
    scope: &Scope,
    caller: &Caller,
    operation: &str,
    key: &str,
) -> Demand {
    let request = Document::Null;
    let asked = Asked { registry, scope, caller, operation, request: &request };
    of_key(&asked, &format!("kms:{operation}"), operation, key)
}

/// What retiring a grant by its token demands.
pub(crate) fn of_retiring(
    registry: &Registry,
    scope: &Scope,
    caller: &Caller,
    key_id: &str,
    grant_id: &str,
) -> Demand {
    let text = |value: &str| Document::Text(value.to_owned());
    let request = Document::Map(vec![("KeyId".into(), text(key_id)), ("GrantId".into(), text(grant_id))]);
    let asked = Asked { registry, scope, caller, operation: "RetireGrant", request: &request };
    of_key(&asked, "kms:RetireGrant", "RetireGrant", key_id)
}

/// Who asks, as a grant may name him: himself, and the role that his session is of.
fn principals(asked: &Asked<'_>) -> Vec<String> {
    let mut all = vec![asked.caller.arn.clone()];
    if let CallerPrincipal::AssumedRole { role, .. } = &asked.caller.principal
        && let Some(role) = asked.registry.iam_roles.get(role)
    {
        all.push(role.arn.to_string());
    }
    all
}

fn context(asked: &Asked<'_>, member: &str) -> Option<cipher::Context> {
    let Some(Document::Map(members)) = asked.request.get(member) else { return None };
    let pair = |(name, value): &(String, Document)| Some((name.clone(), value.as_text()?.to_owned()));
    Some(members.iter().filter_map(pair).collect())
}

/// `kms:EncryptionContext:…` and `kms:EncryptionContextKeys`.
fn add_context(asked: &Asked<'_>, demand: &mut Demand, member: &str) {
    let Some(context) = context(asked, member) else { return };
    for (name, value) in &context {
        demand.keys.push((format!("kms:EncryptionContext:{name}"), vec![value.clone()]));
    }
    demand.keys.push(("kms:EncryptionContextKeys".into(), context.into_keys().collect()));
}

/// `aws:RequestTag/…` and `aws:TagKeys`: KMS's tags have names of their own.
fn request_tags(asked: &Asked<'_>) -> Vec<(String, Vec<String>)> {
    let Some(Document::List(tags)) = asked.request.get("Tags") else { return Vec::new() };
    let text = |tag: &Document, name: &str| tag.get(name).and_then(Document::as_text).map(str::to_owned);
    let pairs: Vec<_> = tags
        .iter()
        .filter_map(|tag| Some((text(tag, "TagKey")?, text(tag, "TagValue").unwrap_or_default())))
        .collect();
    let mut keys: Vec<_> =
        pairs.iter().map(|(name, value)| (format!("aws:RequestTag/{name}"), vec![value.clone()])).collect();
    keys.push(("aws:TagKeys".into(), pairs.into_iter().map(|(name, _)| name).collect()));
    keys
}
