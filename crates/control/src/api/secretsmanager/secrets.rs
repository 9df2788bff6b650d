//! Secrets without their values.

use bowline_aws::{
    protocol::Fault,
    secretsmanager::{
        CreateSecretRequest, DeleteSecretRequest, DeleteSecretResponse, Empty, GetRandomPasswordRequest,
        GetRandomPasswordResponse, ListSecretsRequest, ListSecretsResponse, SecretIdRequest, SecretListEntry,
        SecretReference, SortBy, SortOrder, Tag, TagResourceRequest, UntagResourceRequest,
        UpdateSecretRequest,
    },
};

use super::{filters, invalid, page_of, tags_of, value_of, vault};
use crate::{
    api::{
        call::{Call, wire},
        constraint, pages,
    },
    kms::commands as kms,
    secrets::{
        CURRENT, RECOVERY_DAYS_DEFAULT, SecretError, SecretRecord,
        commands::{self, Deletion, NewSecret},
        find, password, rotation,
    },
};

/// The KMS key of secrets for which none is named.
const SECRETS_KEY: &str = "alias/aws/secretsmanager";
/// Most secrets of a page, and AWS's default.
const PAGE_MAX: i64 = 100;

/// Which secret an answer is about.
pub(super) fn reference(secret: &SecretRecord, version: Option<String>) -> SecretReference {
    SecretReference {
        arn: Some(secret.arn.to_string()),
        name: Some(secret.name.clone()),
        version_id: version,
    }
}

fn check_texts(description: Option<&str>, kms_key_id: Option<&str>, kind: Option<&str>) -> Result<(), Fault> {
    constraint::length("description", description.unwrap_or_default(), 0..=2_048).map_err(invalid)?;
    constraint::length("kmsKeyId", kms_key_id.unwrap_or_default(), 0..=2_048).map_err(invalid)?;
    constraint::length("type", kind.unwrap_or_default(), 0..=256).map_err(invalid)
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

pub(super) fn create(call: &Call<'_>, request: CreateSecretRequest) -> Result<SecretReference, Fault> {
    check_texts(request.description.as_deref(), request.kms_key_id.as_deref(), request.r#type.as_deref())?;
    if !request.add_replica_regions.is_empty() {
        return Err(invalid("AddReplicaRegions: secrets are not replicated here, there is one region."));
    }
    let new = NewSecret {
        name: request.name,
        arn: None,
        description: given(request.description),
        kms_key_id: given(request.kms_key_id),
        kind: given(request.r#type),
        tags: tags_of(request.tags)?,
        value: value_of(request.secret_string, request.secret_binary)?,
        token: request.client_request_token,
    };
    call.change(|registry| {
        // The first secret without a key of its own makes the account's key for secrets, as on AWS.
        if new.kms_key_id.is_none() {
            kms::managed_key(registry, vault(call).master_key(), SECRETS_KEY, call.now)?;
        }
        let (secret, version) = commands::create(registry, vault(call), &call.scope, new, call.now)?;
        Ok(reference(&secret, version))
    })
}

pub(super) fn update(call: &Call<'_>, request: UpdateSecretRequest) -> Result<SecretReference, Fault> {
    check_texts(request.description.as_deref(), request.kms_key_id.as_deref(), request.r#type.as_deref())?;
    let value = value_of(request.secret_string, request.secret_binary)?;
    let UpdateSecretRequest { secret_id, client_request_token, description, kms_key_id, r#type, .. } =
        request;
    call.change(|registry| {
        let mut version = None;
        commands::check_key(registry, kms_key_id.as_deref().filter(|key| !key.is_empty()), call.now)?;
        if let Some(value) = &value {
            let token = client_request_token.as_deref();
            let labels = [CURRENT.to_owned()];
            let put =
                commands::put_value(registry, vault(call), &secret_id, value, token, &labels, call.now)?;
            version = Some(put.1);
        }
        let secret = commands::change(registry, &secret_id, call.now, |secret| {
            if let Some(description) = description {
                secret.description = given(Some(description));
            }
            if let Some(key) = kms_key_id {
                // Its key was looked at above.
                secret.kms_key_id = given(Some(key));
            }
            if let Some(kind) = r#type {
                secret.kind = given(Some(kind));
            }
            Ok(())
        })?;
        Ok(reference(&secret, version))
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteSecretRequest) -> Result<DeleteSecretResponse, Fault> {
    let forced = request.force_delete_without_recovery.unwrap_or(false);
    let deletion = match (forced, request.recovery_window_in_days) {
        (true, Some(_)) => {
            return Err(invalid(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        (true, None) => Deletion::Forced,
        (false, days) => Deletion::InDays(days.unwrap_or(RECOVERY_DAYS_DEFAULT)),
    };
    let given = request.secret_id;
    call.change(|registry| match commands::delete(registry, &given, deletion, call.now) {
        Ok((secret, from)) => Ok(DeleteSecretResponse {
            arn: Some(secret.arn.to_string()),
            name: secret.name,
            deletion_date: wire(from),
        }),
        // AWS forgives what is gone already.
        Err(SecretError::NotFound) if forced => Ok(DeleteSecretResponse {
            arn: given.starts_with("arn:").then(|| given.clone()),
            name: given.clone(),
            deletion_date: wire(call.now),
        }),
        Err(error) => Err(error.into()),
    })
}

pub(super) fn restore(call: &Call<'_>, request: SecretIdRequest) -> Result<SecretReference, Fault> {
    call.change(|registry| Ok(reference(&commands::restore(registry, &request.secret_id, call.now)?, None)))
}

/// What is told of a secret, without its versions.
fn told(secret: &SecretRecord) -> SecretListEntry {
    let rotation = secret.rotation.as_ref();
    SecretListEntry {
        arn: secret.arn.to_string(),
        name: secret.name.clone(),
        r#type: secret.kind.clone(),
        description: secret.description.clone(),
        kms_key_id: secret.kms_key_id.clone(),
        rotation_enabled: rotation.map(|rotation| rotation.enabled),
        rotation_lambda_arn: rotation.and_then(|rotation| rotation.function.clone()),
        rotation_rules: rotation.map(|rotation| rotation.rules.clone()),
        last_changed_date: Some(wire(secret.changed_at)),
        last_accessed_date: secret.accessed_on.map(wire),
        deleted_date: secret.deleted_from.map(wire),
        next_rotation_date: rotation::next(secret).map(wire),
        tags: secret
            .tags
            .iter()
            .map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) })
            .collect(),
        created_date: wire(secret.created_at),
        ..SecretListEntry::default()
    }
}

/// Versions that have labels, with those.
fn labelled(secret: &SecretRecord) -> std::collections::BTreeMap<String, Vec<String>> {
    let labelled = secret.versions.iter().filter(|(_, version)| !version.stages.is_empty());
    labelled.map(|(id, version)| (id.clone(), version.stages.iter().cloned().collect())).collect()
}

pub(super) fn describe(call: &Call<'_>, request: SecretIdRequest) -> Result<SecretListEntry, Fault> {
    let registry = call.registry();
    let secret = find(&registry, &request.secret_id, call.now)?;
    Ok(SecretListEntry { version_ids_to_stages: labelled(secret), ..told(secret) })
}

pub(super) fn list(call: &Call<'_>, request: ListSecretsRequest) -> Result<ListSecretsResponse, Fault> {
    filters::check(&request.filters)?;
    let registry = call.registry();
    let planned = request.include_planned_deletion.unwrap_or(false);
    let secrets = registry
        .secrets
        .values()
        .filter(|secret| !secret.is_gone(call.now) && (planned || secret.deleted_from.is_none()))
        .filter(|secret| filters::all_match(&request.filters, secret, &call.scope.region));
    // The newest first, unless something else is asked for.
    let by = request.sort_by.unwrap_or(SortBy::CreatedDate);
    let order = request.sort_order.unwrap_or(SortOrder::Descending);
    let key = |secret: &&std::sync::Arc<SecretRecord>| {
        let moment = |at: bowline_model::clock::Timestamp| format!("{:020} {}", at.as_millis(), secret.name);
        let key = match by {
            SortBy::CreatedDate => moment(secret.created_at),
            SortBy::LastChangedDate => moment(secret.changed_at),
            SortBy::LastAccessedDate => moment(secret.accessed_on.unwrap_or_default()),
            SortBy::Name => secret.name.clone(),
        };
        match order {
            SortOrder::Ascending => key,
            SortOrder::Descending => pages::reversed(&key),
        }
    };
    let page =
        page_of("ListSecrets", secrets, key, request.next_token.as_deref(), request.max_results, PAGE_MAX)?;
    let entry = |secret: &std::sync::Arc<SecretRecord>| SecretListEntry {
        secret_versions_to_stages: labelled(secret),
        ..told(secret)
    };
    Ok(ListSecretsResponse {
        secret_list: page.items.into_iter().map(entry).collect(),
        next_token: page.next_token,
    })
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    let tags = tags_of(request.tags)?;
    call.change(|registry| {
        commands::change(registry, &request.secret_id, call.now, |secret| {
            secret.tags.extend(tags);
            commands::check_tags(&secret.tags)
        })?;
        Ok(Empty {})
    })
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        commands::change(registry, &request.secret_id, call.now, |secret| {
            secret.tags.retain(|key, _| !request.tag_keys.contains(key));
            Ok(())
        })?;
        Ok(Empty {})
    })
}

pub(super) fn random_password(
    _: &Call<'_>,
    request: GetRandomPasswordRequest,
) -> Result<GetRandomPasswordResponse, Fault> {
    Ok(GetRandomPasswordResponse { random_password: (*password::generate(&request)?).clone() })
}
