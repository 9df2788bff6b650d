//! Rotation of keys.

use bowline_aws::{
    kms::{
        Empty, EnableKeyRotationRequest, GetKeyRotationStatusResponse, KeyIdRequest, KeyIdResponse,
        ListKeyRotationsRequest, ListKeyRotationsResponse, RotationsListEntry,
    },
    protocol::Fault,
};

use super::{check_key_id, invalid, keys, master, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    kms::{
        AutomaticRotation, RotationType, find,
        rotation::{self, PERIOD_DAYS, PERIOD_DAYS_DEFAULT, days},
    },
};

/// Rotations of a page, where nothing is said. Source: KMS API reference.
const PAGE: i64 = 100;

pub(super) fn enable(call: &Call<'_>, request: EnableKeyRotationRequest) -> Result<Empty, Fault> {
    if let Some(period) = request.rotation_period_in_days {
        constraint::range("rotationPeriodInDays", period, PERIOD_DAYS).map_err(invalid)?;
    }
    keys::change(call, &request.key_id, |key| {
        key.usable()?;
        let given = request.rotation_period_in_days.and_then(|period| u16::try_from(period).ok());
        let present = key.rotation.map(|rotation| rotation.period_days);
        let default = u16::try_from(PERIOD_DAYS_DEFAULT).unwrap_or(u16::MAX);
        let period_days = given.or(present).unwrap_or(default);
        // Asked for again as it is, it keeps its date.
        if present != Some(period_days) {
            key.rotation = Some(AutomaticRotation { period_days, next: call.now + days(period_days) });
        }
        Ok(Empty {})
    })
}

pub(super) fn disable(call: &Call<'_>, request: KeyIdRequest) -> Result<Empty, Fault> {
    keys::change(call, &request.key_id, |key| {
        key.usable()?;
        key.rotation = None;
        Ok(Empty {})
    })
}

pub(super) fn status(call: &Call<'_>, request: KeyIdRequest) -> Result<GetKeyRotationStatusResponse, Fault> {
    check_key_id(&request.key_id)?;
    let registry = call.registry();
    let key = find(&registry, &request.key_id, call.now)?;
    key.not_pending()?;
    Ok(GetKeyRotationStatusResponse {
        key_rotation_enabled: key.rotation.is_some(),
        key_id: key.arn.to_string(),
        rotation_period_in_days: key.rotation.map(|rotation| i64::from(rotation.period_days)),
        next_rotation_date: key.rotation.map(|rotation| wire(rotation.next)),
    })
}

pub(super) fn on_demand(call: &Call<'_>, request: KeyIdRequest) -> Result<KeyIdResponse, Fault> {
    keys::change(call, &request.key_id, |key| {
        rotation::rotate_on_demand(master(call), key, call.now)?;
        Ok(KeyIdResponse { key_id: key.arn.to_string() })
    })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListKeyRotationsRequest,
) -> Result<ListKeyRotationsResponse, Fault> {
    check_key_id(&request.key_id)?;
    let all = match request.include_key_material.as_deref() {
        None | Some("ROTATIONS_ONLY") => false,
        Some("ALL_KEY_MATERIAL") => true,
        Some(given) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{given}' at 'includeKeyMaterial' failed to satisfy constraint: \
                 Member must satisfy enum value set: [ALL_KEY_MATERIAL, ROTATIONS_ONLY]"
            )));
        }
    };
    let registry = call.registry();
    let key = find(&registry, &request.key_id, call.now)?;
    key.not_pending()?;
    let last = key.versions.len() - 1;
    let page = page_of(
        "ListKeyRotations",
        key.versions.iter().enumerate().filter(|(_, version)| all || version.rotated.is_some()),
        |(number, _)| format!("{number:010}"),
        request.marker.as_deref(),
        request.limit,
        PAGE,
    )?;
    let rotations = page.items.into_iter().map(|(number, version)| RotationsListEntry {
        key_id: key.arn.to_string(),
        key_material_id: version.material_id.clone(),
        key_material_state: if number == last { "CURRENT" } else { "NON_CURRENT" }.into(),
        rotation_date: version.rotated.map(|_| wire(version.created_at)),
        rotation_type: version.rotated.map(|rotated| {
            match rotated {
                RotationType::Automatic => "AUTOMATIC",
                RotationType::OnDemand => "ON_DEMAND",
            }
            .into()
        }),
    });
    Ok(ListKeyRotationsResponse {
        rotations: rotations.collect(),
        truncated: page.next_token.is_some(),
        next_marker: page.next_token,
    })
}
