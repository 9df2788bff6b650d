//! Keys and their states.

use std::collections::BTreeMap;

use bowline_aws::{
    kms::{
        CreateKeyRequest, DescribeKeyRequest, Empty, KeyIdRequest, KeyIdResponse, KeyListEntry, KeyMetadata,
        KeyMetadataResponse, ListKeysRequest, ListKeysResponse, ScheduleKeyDeletionRequest,
        ScheduleKeyDeletionResponse, UpdateKeyDescriptionRequest,
    },
    protocol::Fault,
};

use super::{check_key_id, invalid, master, page_of, policies, tags};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    kms::{
        KeyRecord, KeyState, KmsError, SYMMETRIC,
        commands::{self, NewKey, WINDOW_DAYS, WINDOW_DAYS_DEFAULT},
        find_by_any, managed_alias,
    },
    random,
};

/// Keys of a page, where nothing is said. Source: KMS API reference.
const PAGE: i64 = 100;
const SPECS: &[&str] = &[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    SYMMETRIC,
];
const USAGES: &[&str] =
    &["SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"];
const ORIGINS: &[&str] = &["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];

/// A key as `DescribeKey` tells it.
fn metadata(call: &Call<'_>, key: &KeyRecord) -> KeyMetadataResponse {
    let (state, deletion) = match key.state {
        KeyState::Enabled => ("Enabled", None),
        KeyState::Disabled => ("Disabled", None),
        KeyState::PendingDeletion { at } => ("PendingDeletion", Some(wire(at))),
    };
    KeyMetadataResponse {
        key_metadata: KeyMetadata {
            aws_account_id: call.scope.account_id.clone(),
            key_id: key.id.clone(),
            arn: key.arn.to_string(),
            creation_date: wire(key.created_at),
            enabled: key.state == KeyState::Enabled,
            description: key.description.clone(),
            key_usage: "ENCRYPT_DECRYPT".into(),
            key_state: state.into(),
            deletion_date: deletion,
            origin: "AWS_KMS".into(),
            key_manager: if key.managed_for.is_some() { "AWS" } else { "CUSTOMER" }.into(),
            customer_master_key_spec: SYMMETRIC.into(),
            key_spec: SYMMETRIC.into(),
            encryption_algorithms: vec![SYMMETRIC.into()],
            multi_region: false,
            current_key_material_id: key.current().1.material_id.clone(),
        },
    }
}

/// One of AWS's words, of which `served` alone is served here.
fn only(member: &str, given: Option<&str>, known: &[&str], served: &str) -> Result<(), Fault> {
    match given {
        None => Ok(()),
        Some(given) if given == served => Ok(()),
        Some(given) if known.contains(&given) => {
            Err(KmsError::Unsupported(format!("{member} {given} is not served here: {served} is.")).into())
        }
        Some(given) => Err(invalid(format!(
            "1 validation error detected: Value '{given}' at '{member}' failed to satisfy constraint: Member must \
             satisfy enum value set: [{}]",
            known.join(", ")
        ))),
    }
}

fn check_description(description: &str) -> Result<(), Fault> {
    constraint::length("description", description, 0..=8_192).map_err(invalid)
}

pub(super) fn create(call: &Call<'_>, request: CreateKeyRequest) -> Result<KeyMetadataResponse, Fault> {
    let description = request.description.unwrap_or_default();
    check_description(&description)?;
    if request.key_spec.is_some() && request.customer_master_key_spec.is_some() {
        return Err(invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request."));
    }
    if let Some(store) = request.custom_key_store_id {
        let message = format!("There is no custom key store {store}.");
        return Err(Fault::new("CustomKeyStoreNotFoundException", message));
    }
    if request.xks_key_id.is_some() {
        return Err(invalid("XksKeyId is only for keys of an external key store."));
    }
    let spec = request.key_spec.or(request.customer_master_key_spec);
    only("keySpec", spec.as_deref(), SPECS, SYMMETRIC)?;
    only("keyUsage", request.key_usage.as_deref(), USAGES, "ENCRYPT_DECRYPT")?;
    only("origin", request.origin.as_deref(), ORIGINS, "AWS_KMS")?;
    if request.multi_region == Some(true) {
        return Err(KmsError::Unsupported("There is one region here: no key is of several.".into()).into());
    }
    let id = random::uuid();
    if let Some(policy) = &request.policy {
        let arn = commands::key_arn(&call.scope, &id);
        policies::check(call, policy, &arn, request.bypass_policy_lockout_safety_check)?;
    }
    let new = NewKey {
        id: Some(id),
        description,
        policy: request.policy,
        tags: tags::of(request.tags, BTreeMap::new())?,
        managed_for: None,
    };
    call.change(|registry| {
        let key = commands::create(registry, master(call), &call.scope, new, call.now)?;
        Ok(metadata(call, &key))
    })
}

pub(super) fn describe(call: &Call<'_>, request: DescribeKeyRequest) -> Result<KeyMetadataResponse, Fault> {
    check_key_id(&request.key_id)?;
    let registry = call.registry();
    // Whoever asks for a service's key first makes it.
    if let Some(alias) = managed_alias(&call.scope, &request.key_id)
        && registry.kms_aliases.get(alias).is_none()
    {
        let make = |registry: &mut _| Ok(commands::managed_key(registry, master(call), alias, call.now)?);
        return Ok(metadata(call, &call.change(make)?));
    }
    Ok(metadata(call, find_by_any(&registry, &request.key_id, call.now)?))
}

pub(super) fn list(call: &Call<'_>, request: ListKeysRequest) -> Result<ListKeysResponse, Fault> {
    let registry = call.registry();
    let page = page_of(
        "ListKeys",
        registry.kms_keys.values().filter(|key| !key.is_gone(call.now)),
        |key| key.id.clone(),
        request.marker.as_deref(),
        request.limit,
        PAGE,
    )?;
    Ok(ListKeysResponse {
        keys: page
            .items
            .into_iter()
            .map(|key| KeyListEntry { key_id: key.id.clone(), key_arn: key.arn.to_string() })
            .collect(),
        truncated: page.next_token.is_some(),
        next_marker: page.next_token,
    })
}

/// A change of a customer's key that is not on its way out.
pub(super) fn change<R>(
    call: &Call<'_>,
    key_id: &str,
    change: impl FnOnce(&mut KeyRecord) -> Result<R, KmsError>,
) -> Result<R, Fault> {
    check_key_id(key_id)?;
    call.change(|registry| {
        Ok(commands::change(registry, key_id, call.now, |key| {
            key.customers()?;
            key.not_pending()?;
            change(key)
        })?)
    })
}

pub(super) fn enable(call: &Call<'_>, request: KeyIdRequest) -> Result<Empty, Fault> {
    change(call, &request.key_id, |key| {
        key.state = KeyState::Enabled;
        Ok(Empty {})
    })
}

pub(super) fn disable(call: &Call<'_>, request: KeyIdRequest) -> Result<Empty, Fault> {
    change(call, &request.key_id, |key| {
        key.state = KeyState::Disabled;
        Ok(Empty {})
    })
}

pub(super) fn describe_anew(call: &Call<'_>, request: UpdateKeyDescriptionRequest) -> Result<Empty, Fault> {
    check_description(&request.description)?;
    change(call, &request.key_id, |key| {
        key.description = request.description;
        Ok(Empty {})
    })
}

pub(super) fn schedule_deletion(
    call: &Call<'_>,
    request: ScheduleKeyDeletionRequest,
) -> Result<ScheduleKeyDeletionResponse, Fault> {
    let window = request.pending_window_in_days.unwrap_or(WINDOW_DAYS_DEFAULT);
    constraint::range("pendingWindowInDays", window, WINDOW_DAYS).map_err(invalid)?;
    change(call, &request.key_id, |key| {
        let at = commands::schedule_deletion(key, window, call.now)?;
        Ok(ScheduleKeyDeletionResponse {
            key_id: key.arn.to_string(),
            deletion_date: wire(at),
            key_state: "PendingDeletion".into(),
            pending_window_in_days: window,
        })
    })
}

pub(super) fn cancel_deletion(call: &Call<'_>, request: KeyIdRequest) -> Result<KeyIdResponse, Fault> {
    check_key_id(&request.key_id)?;
    call.change(|registry| {
        Ok(commands::change(registry, &request.key_id, call.now, |key| {
            match key.state {
                KeyState::PendingDeletion { .. } => key.state = KeyState::Disabled,
                KeyState::Enabled | KeyState::Disabled => {
                    return Err(KmsError::State(format!("{} is not pending deletion.", key.arn)));
                }
            }
            Ok(KeyIdResponse { key_id: key.arn.to_string() })
        })?)
    })
}
