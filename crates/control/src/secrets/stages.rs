//! How labels move between a secret's versions.
//!
//! Each label is on one version at most, and `AWSCURRENT`, once there, is on exactly one. Where
//! `AWSCURRENT` moves, `AWSPREVIOUS` moves to the version that it leaves.

use std::collections::BTreeMap;

use bowline_model::clock::Timestamp;

use super::{
    CURRENT, DEPRECATED_KEPT, PREVIOUS, STAGES_PER_VERSION_MAX, SecretError, SecretVersion, VERSIONS_MAX,
};

type Versions = BTreeMap<String, SecretVersion>;

/// The version with a label.
fn holder(versions: &Versions, stage: &str) -> Option<String> {
    let mut all = versions.iter();
    all.find(|(_, version)| version.stages.contains(stage)).map(|(id, _)| id.clone())
}

/// Puts a label on a version that is there, and takes it from the one that has it.
pub(crate) fn attach(versions: &mut Versions, stage: &str, to: &str) -> Result<(), SecretError> {
    let from = holder(versions, stage);
    if from.as_deref() == Some(to) {
        return Ok(());
    }
    let target = versions.get(to).ok_or_else(|| SecretError::NoVersion(format!("VersionId: {to}")))?;
    if target.stages.len() >= STAGES_PER_VERSION_MAX {
        return Err(SecretError::Limit(format!(
            "A secret version can have at most {STAGES_PER_VERSION_MAX} staging labels attached to it."
        )));
    }
    for version in versions.values_mut() {
        version.stages.remove(stage);
    }
    if let Some(target) = versions.get_mut(to) {
        target.stages.insert(stage.to_owned());
        if stage == CURRENT {
            // What is current is not what was before.
            target.stages.remove(PREVIOUS);
        }
    }
    if stage == CURRENT
        && let Some(from) = from
    {
        for version in versions.values_mut() {
            version.stages.remove(PREVIOUS);
        }
        if let Some(left) = versions.get_mut(&from) {
            left.stages.insert(PREVIOUS.to_owned());
        }
    }
    Ok(())
}

/// `UpdateSecretVersionStage`.
pub(crate) fn move_label(
    versions: &mut Versions,
    stage: &str,
    remove_from: Option<&str>,
    move_to: Option<&str>,
) -> Result<(), SecretError> {
    for id in [remove_from, move_to].into_iter().flatten() {
        if !versions.contains_key(id) {
            return Err(SecretError::NoVersion(format!("VersionId: {id}")));
        }
    }
    let present = holder(versions, stage);
    match (remove_from, move_to) {
        (None, None) => Err(SecretError::Parameter(
            "You must specify at least one of the parameters RemoveFromVersionId and MoveToVersionId.".into(),
        )),
        (Some(from), None) => {
            if present.as_deref() != Some(from) {
                return Err(SecretError::Parameter(format!(
                    "Staging label {stage} is not attached to version {from}."
                )));
            }
            if stage == CURRENT {
                return Err(SecretError::Parameter(format!(
                    "You can only move staging label {CURRENT} to a different secret version. It can't be \
                     completely removed."
                )));
            }
            if let Some(version) = versions.get_mut(from) {
                version.stages.remove(stage);
            }
            Ok(())
        }
        (from, Some(to)) => {
            match &present {
                Some(present) if present == to => {}
                Some(present) if from != Some(present.as_str()) => {
                    return Err(SecretError::Parameter(format!(
                        "The parameter RemoveFromVersionId can't be empty or another version. Staging label {stage} \
                         is currently attached to version {present}, so you must explicitly reference that version \
                         in RemoveFromVersionId."
                    )));
                }
                None if from.is_some() => {
                    return Err(SecretError::Parameter(format!(
                        "Staging label {stage} is not attached to the version in RemoveFromVersionId."
                    )));
                }
                _ => {}
            }
            attach(versions, stage, to)
        }
    }
}

/// Drops the oldest versions without labels while there are more than there may be. Returns their
/// ids.
pub(crate) fn drop_deprecated(versions: &mut Versions, now: Timestamp) -> Result<Vec<String>, SecretError> {
    let mut dropped = Vec::new();
    while versions.len() > VERSIONS_MAX {
        let oldest = versions
            .iter()
            .filter(|(_, version)| version.stages.is_empty())
            .filter(|(_, version)| now.since(version.created_at) >= DEPRECATED_KEPT)
            .min_by_key(|(id, version)| (version.created_at, (*id).clone()))
            .map(|(id, _)| id.clone());
        let Some(id) = oldest else {
            return Err(SecretError::Limit(format!(
                "You have reached the limit of {VERSIONS_MAX} versions of this secret: versions of the last 24 hours \
                 are not removed."
            )));
        };
        versions.remove(&id);
        dropped.push(id);
    }
    Ok(dropped)
}
