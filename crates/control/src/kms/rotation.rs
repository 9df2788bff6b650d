//! New material for a key.

use std::time::Duration;

use bowline_model::clock::Timestamp;

use super::{
    AutomaticRotation, KeyRecord, KeyVersion, KmsError, ROTATIONS_ON_DEMAND_MAX, RotationType, cipher,
};
use crate::{master_key::MasterKey, random};

/// Days from one rotation to the next, where nothing else is said. Source: KMS API reference.
pub(crate) const PERIOD_DAYS_DEFAULT: i64 = 365;
/// What may be said.
pub(crate) const PERIOD_DAYS: std::ops::RangeInclusive<i64> = 90..=2_560;

/// A period of so many days.
pub(crate) fn days(days: u16) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

/// The version of this number of a key with this ARN.
pub(crate) fn version(
    master: &MasterKey,
    arn: &str,
    number: usize,
    rotated: Option<RotationType>,
    now: Timestamp,
) -> Result<KeyVersion, KmsError> {
    let number = u32::try_from(number).map_err(|_| KmsError::Internal)?;
    let id: [u8; 32] = random::bytes();
    Ok(KeyVersion {
        material_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        created_at: now,
        rotated,
        sealed: cipher::make_material(master, arn, number)?,
    })
}

/// Whether the key's automatic rotation is due.
pub(crate) fn is_due(key: &KeyRecord, now: Timestamp) -> bool {
    key.usable().is_ok() && key.rotation.is_some_and(|rotation| rotation.next <= now)
}

/// Rotates a key whose time has come.
pub(crate) fn rotate_if_due(master: &MasterKey, key: &mut KeyRecord, now: Timestamp) -> Result<(), KmsError> {
    if let Some(AutomaticRotation { period_days, .. }) = key.rotation.filter(|_| is_due(key, now)) {
        let new = version(master, key.arn.as_str(), key.versions.len(), Some(RotationType::Automatic), now)?;
        key.versions.push(new);
        key.rotation = Some(AutomaticRotation { period_days, next: now + days(period_days) });
    }
    Ok(())
}

/// Rotates a key now. Its automatic rotation keeps its own time.
pub(crate) fn rotate_on_demand(
    master: &MasterKey,
    key: &mut KeyRecord,
    now: Timestamp,
) -> Result<(), KmsError> {
    key.customers()?;
    key.usable()?;
    let on_demand = |version: &&KeyVersion| version.rotated == Some(RotationType::OnDemand);
    if key.versions.iter().filter(on_demand).count() >= ROTATIONS_ON_DEMAND_MAX {
        return Err(KmsError::Limit(format!(
            "{} was rotated on demand {ROTATIONS_ON_DEMAND_MAX} times, and can be no more.",
            key.arn
        )));
    }
    let new = version(master, key.arn.as_str(), key.versions.len(), Some(RotationType::OnDemand), now)?;
    key.versions.push(new);
    Ok(())
}
