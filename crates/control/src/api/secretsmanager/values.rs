//! Versions and their values.

use bowline_aws::{
    protocol::{Blob, Fault},
    secretsmanager::{
        ApiError, BatchGetSecretValueRequest, BatchGetSecretValueResponse, GetSecretValueRequest,
        ListSecretVersionIdsRequest, ListSecretVersionIdsResponse, PutSecretValueRequest,
        PutSecretValueResponse, SecretReference, SecretValueEntry, SecretVersionsListEntry,
        UpdateSecretVersionStageRequest,
    },
};

use super::{filters, invalid, page_of, secrets::reference, value_of, vault};
use crate::{
    api::{
        authorization::demand,
        call::{Call, wire},
        constraint,
    },
    registry::Registry,
    secrets::{
        CURRENT, SecretError, SecretRecord, SecretValue,
        commands::{self, Wanted},
        day_of, find,
    },
};

/// Most secrets of a batch, and AWS's default. Source: Secrets Manager API reference.
const BATCH_MAX: i64 = 20;
/// Most versions of a page, and AWS's default.
const PAGE_MAX: i64 = 100;
/// The key that a version is sealed with, as AWS tells it where none was given.
const DEFAULT_KEY: &str = "DefaultEncryptionKey";

fn entry(
    call: &Call<'_>,
    registry: &Registry,
    secret: &SecretRecord,
    wanted: Wanted<'_>,
) -> Result<SecretValueEntry, Fault> {
    let (id, version) = commands::select(secret, wanted)?;
    commands::check_key(registry, secret.kms_key_id.as_deref(), call.now).map_err(|_| SecretError::Open)?;
    let value = commands::open_value(registry, vault(call), secret, id)?;
    let (secret_string, secret_binary) = match &value {
        SecretValue::Text(text) => (Some((**text).clone()), None),
        SecretValue::Bytes(bytes) => (None, Some(Blob((**bytes).clone()))),
    };
    Ok(SecretValueEntry {
        arn: secret.arn.to_string(),
        name: secret.name.clone(),
        version_id: id.to_owned(),
        secret_binary,
        secret_string,
        version_stages: version.stages.iter().cloned().collect(),
        created_date: wire(version.created_at),
    })
}

/// Notes that values were read, once a day for each version.
fn touch(call: &Call<'_>, registry: &Registry, read: &[SecretValueEntry]) -> Result<(), Fault> {
    let today = Some(day_of(call.now));
    let is_new = |entry: &&SecretValueEntry| {
        let version =
            registry.secrets.get(&entry.name).and_then(|secret| secret.versions.get(&entry.version_id));
        version.is_some_and(|version| version.accessed_on != today)
    };
    let new: Vec<_> = read.iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    call.change(|registry| {
        for entry in new {
            commands::touch(registry, &entry.name, &entry.version_id, call.now);
        }
        Ok(())
    })
}

pub(super) fn get(call: &Call<'_>, request: GetSecretValueRequest) -> Result<SecretValueEntry, Fault> {
    let registry = call.registry();
    let secret = find(&registry, &request.secret_id, call.now)?;
    let wanted = Wanted { version: request.version_id.as_deref(), stage: request.version_stage.as_deref() };
    let entry = entry(call, &registry, secret, wanted)?;
    touch(call, &registry, std::slice::from_ref(&entry))?;
    Ok(entry)
}

pub(super) fn batch(
    call: &Call<'_>,
    request: BatchGetSecretValueRequest,
) -> Result<BatchGetSecretValueResponse, Fault> {
    let registry = call.registry();
    let mut errors = Vec::new();
    let mut next_token = None;
    let given: Vec<String> = match (request.secret_id_list.is_empty(), request.filters.is_empty()) {
        (true, true) => return Err(invalid("You must specify either SecretIdList or Filters.")),
        (false, false) => {
            return Err(invalid("Either 'SecretIdList' or 'Filters' must be provided, but not both."));
        }
        (false, true) => {
            constraint::items("secretIdList", request.secret_id_list.len(), 1..=20).map_err(invalid)?;
            if request.max_results.is_some() || request.next_token.is_some() {
                return Err(invalid("MaxResults and NextToken are for Filters, not for SecretIdList."));
            }
            request.secret_id_list
        }
        (true, false) => {
            filters::check(&request.filters)?;
            let found = registry
                .secrets
                .values()
                .filter(|secret| secret.deleted_from.is_none())
                .filter(|secret| filters::all_match(&request.filters, secret, &call.scope.region));
            let page = page_of(
                "BatchGetSecretValue",
                found,
                |secret| secret.name.clone(),
                request.next_token.as_deref(),
                request.max_results,
                BATCH_MAX,
            )?;
            next_token = page.next_token;
            page.items.into_iter().map(|secret| secret.arn.to_string()).collect()
        }
    };
    let mut secret_values = Vec::new();
    for secret_id in given {
        // Each is allowed or denied by itself, as AWS does.
        let demand = demand::of_secret(&registry, &call.scope, "GetSecretValue", &secret_id, call.now);
        let allowed = call.core.authorizer().authorize(&registry, call.caller, &[demand], call.origin);
        let value = match allowed {
            Err(denied) => Err(Fault::new("AccessDeniedException", denied.0)),
            Ok(()) => find(&registry, &secret_id, call.now)
                .map_err(Fault::from)
                .and_then(|secret| entry(call, &registry, secret, Wanted::default())),
        };
        match value {
            Ok(value) => secret_values.push(value),
            Err(fault) => {
                errors.push(ApiError { secret_id, error_code: fault.code, message: fault.message });
            }
        }
    }
    touch(call, &registry, &secret_values)?;
    Ok(BatchGetSecretValueResponse { secret_values, next_token, errors })
}

pub(super) fn put(call: &Call<'_>, request: PutSecretValueRequest) -> Result<PutSecretValueResponse, Fault> {
    let value = value_of(request.secret_string, request.secret_binary)?
        .ok_or_else(|| invalid("You must provide either SecretString or SecretBinary."))?;
    let labels = request.version_stages.unwrap_or_else(|| vec![CURRENT.to_owned()]);
    let token = request.client_request_token.as_deref();
    call.change(|registry| {
        let (secret, version_id) =
            commands::put_value(registry, vault(call), &request.secret_id, &value, token, &labels, call.now)?;
        let stages = secret.versions.get(&version_id).map(|version| version.stages.iter().cloned());
        Ok(PutSecretValueResponse {
            arn: secret.arn.to_string(),
            name: secret.name.clone(),
            version_stages: stages.into_iter().flatten().collect(),
            version_id,
        })
    })
}

pub(super) fn move_label(
    call: &Call<'_>,
    request: UpdateSecretVersionStageRequest,
) -> Result<SecretReference, Fault> {
    call.change(|registry| {
        let secret = commands::move_label(
            registry,
            &request.secret_id,
            &request.version_stage,
            request.remove_from_version_id.as_deref(),
            request.move_to_version_id.as_deref(),
            call.now,
        )?;
        Ok(reference(&secret, None))
    })
}

pub(super) fn list_versions(
    call: &Call<'_>,
    request: ListSecretVersionIdsRequest,
) -> Result<ListSecretVersionIdsResponse, Fault> {
    let registry = call.registry();
    let secret = find(&registry, &request.secret_id, call.now)?;
    let deprecated = request.include_deprecated.unwrap_or(false);
    let versions = secret.versions.iter().filter(|(_, version)| deprecated || !version.stages.is_empty());
    let page = page_of(
        "ListSecretVersionIds",
        versions,
        |(id, version)| format!("{:020} {id}", version.created_at.as_millis()),
        request.next_token.as_deref(),
        request.max_results,
        PAGE_MAX,
    )?;
    let entry = |(id, version): (&String, &crate::secrets::SecretVersion)| SecretVersionsListEntry {
        version_id: id.clone(),
        version_stages: version.stages.iter().cloned().collect(),
        last_accessed_date: version.accessed_on.map(wire),
        created_date: wire(version.created_at),
        kms_key_ids: vec![secret.kms_key_id.clone().unwrap_or_else(|| DEFAULT_KEY.to_owned())],
    };
    Ok(ListSecretVersionIdsResponse {
        versions: page.items.into_iter().map(entry).collect(),
        next_token: page.next_token,
        arn: secret.arn.to_string(),
        name: secret.name.clone(),
    })
}
