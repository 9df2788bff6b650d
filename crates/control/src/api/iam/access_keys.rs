//! Access keys.

use bowline_aws::{
    iam::{
        AccessKey, AccessKeyLastUsed, AccessKeyMetadata, CreateAccessKeyRequest, CreateAccessKeyResponse,
        DeleteAccessKeyRequest, Empty, GetAccessKeyLastUsedRequest, GetAccessKeyLastUsedResponse, KeyStatus,
        ListAccessKeysRequest, ListAccessKeysResponse, UpdateAccessKeyRequest,
    },
    protocol::Fault,
};

use super::{invalid, limit, no_entity, not_found, page_of};
use crate::{
    api::call::{Call, CallerPrincipal, wire},
    iam::{ACCESS_KEYS_MAX, AccessKeyRecord, KeyOwner},
    registry::Registry,
};

/// Whose keys are meant: a user's, or the caller's own.
fn owner(call: &Call<'_>, registry: &Registry, given: Option<String>) -> Result<KeyOwner, Fault> {
    match (given, &call.caller.principal) {
        (Some(name), _) => match registry.iam_users.get(&name) {
            Some(_) => Ok(KeyOwner::User(name)),
            None => Err(not_found("user", &name)),
        },
        (None, CallerPrincipal::User(name)) => Ok(KeyOwner::User(name.clone())),
        (None, CallerPrincipal::Root) => Ok(KeyOwner::Root),
        (None, CallerPrincipal::AssumedRole { .. }) => {
            Err(invalid("Must specify userName when calling with non-User credentials"))
        }
    }
}

pub(super) fn create(
    call: &Call<'_>,
    request: CreateAccessKeyRequest,
) -> Result<CreateAccessKeyResponse, Fault> {
    call.change(|registry| {
        let owner = owner(call, registry, request.user_name)?;
        if registry.access_keys.values().filter(|key| key.owner == owner).count() >= ACCESS_KEYS_MAX {
            return Err(limit("AccessKeysPerUser", ACCESS_KEYS_MAX));
        }
        let new = call.core.credentials().make(owner, call.now).map_err(|error| {
            tracing::error!(%error, "an access key could not be made");
            Fault::new("ServiceFailure", "The access key could not be made.").with_status(500)
        })?;
        let access_key = AccessKey {
            user_name: new.record.owner.user_name().to_owned(),
            access_key_id: new.record.id.clone(),
            status: KeyStatus::Active,
            secret_access_key: (*new.secret).clone(),
            create_date: wire(call.now),
        };
        registry.access_keys.put(new.record.id.clone(), new.record);
        Ok(CreateAccessKeyResponse { access_key })
    })
}

pub(super) fn list(call: &Call<'_>, request: ListAccessKeysRequest) -> Result<ListAccessKeysResponse, Fault> {
    let registry = call.registry();
    let owner = owner(call, &registry, request.user_name)?;
    let keys = registry.access_keys.values().filter(|key| key.owner == owner).map(|key| AccessKeyMetadata {
        user_name: key.owner.user_name().to_owned(),
        access_key_id: key.id.clone(),
        status: if key.active { KeyStatus::Active } else { KeyStatus::Inactive },
        create_date: wire(key.created_at),
    });
    let key = |key: &AccessKeyMetadata| key.access_key_id.clone();
    let page = page_of("ListAccessKeys", keys.collect(), key, request.marker.as_deref(), request.max_items)?;
    Ok(ListAccessKeysResponse {
        access_key_metadata: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

/// Refuses a key that is not there, or another's.
fn check_owned(registry: &Registry, id: &str, owner: &KeyOwner) -> Result<(), Fault> {
    match registry.access_keys.get(id) {
        Some(key) if key.owner == *owner => Ok(()),
        _ => Err(no_entity(format!("The Access Key with id {id} cannot be found."))),
    }
}

pub(super) fn update(call: &Call<'_>, request: UpdateAccessKeyRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let owner = owner(call, registry, request.user_name)?;
        check_owned(registry, &request.access_key_id, &owner)?;
        let active = request.status == KeyStatus::Active;
        registry.access_keys.update(&request.access_key_id, |key: &mut AccessKeyRecord| key.active = active);
        Ok(Empty {})
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteAccessKeyRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let owner = owner(call, registry, request.user_name)?;
        check_owned(registry, &request.access_key_id, &owner)?;
        registry.access_keys.remove(&request.access_key_id);
        Ok(Empty {})
    })
}

pub(super) fn last_used(
    call: &Call<'_>,
    request: GetAccessKeyLastUsedRequest,
) -> Result<GetAccessKeyLastUsedResponse, Fault> {
    let registry = call.registry();
    let id = &request.access_key_id;
    let key = registry
        .access_keys
        .get(id)
        .ok_or_else(|| no_entity(format!("The Access Key with id {id} cannot be found.")))?;
    let access_key_last_used = match call.core.credentials().last_use(id) {
        Some(last) => AccessKeyLastUsed {
            last_used_date: Some(wire(last.at)),
            service_name: last.service,
            region: last.region,
        },
        None => AccessKeyLastUsed { last_used_date: None, service_name: "N/A".into(), region: "N/A".into() },
    };
    Ok(GetAccessKeyLastUsedResponse { user_name: key.owner.user_name().to_owned(), access_key_last_used })
}
