//! Access keys, for whoever owns the state directory.

use bowline_model::{clock::Timestamp, task::Secret};
use bowline_plumbing::wall_clock;
use thiserror::Error;

use super::ControlPlane;
use crate::{
    iam::{ACCESS_KEYS_MAX, AccessKeyRecord, KeyOwner},
    registry::RegistryError,
};

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKeyView {
    /// `AKIA` and 16 more.
    pub id: String,
    /// Whose it is.
    pub owner: KeyOwner,
    /// Whether it can be used.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why an access key was not made or removed.
#[derive(Debug, Error)]
pub enum AccessKeyError {
    /// There is no such user.
    #[error("there is no user {0:?}: make one with `aws iam create-user --user-name {0}`")]
    NoUser(String),
    /// There is no such key.
    #[error("there is no access key {0:?}")]
    NoKey(String),
    /// As many as there may be are there already.
    #[error("there are {ACCESS_KEYS_MAX} access keys already, and there may be no more: delete one")]
    TooMany,
    /// The secret could not be sealed.
    #[error("the secret could not be sealed")]
    Seal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl ControlPlane {
    /// Makes an access key of a user, or of the root user, who may do everything. The secret is
    /// told this once.
    ///
    /// # Errors
    /// See [`AccessKeyError`].
    pub fn create_access_key(&self, user: Option<&str>) -> Result<(AccessKeyView, Secret), AccessKeyError> {
        let owner = user.map_or(KeyOwner::Root, |name| KeyOwner::User(name.to_owned()));
        self.core.change(|registry| {
            if let KeyOwner::User(name) = &owner
                && registry.iam_users.get(name).is_none()
            {
                return Err(AccessKeyError::NoUser(name.clone()));
            }
            if registry.access_keys.values().filter(|key| key.owner == owner).count() >= ACCESS_KEYS_MAX {
                return Err(AccessKeyError::TooMany);
            }
            let new = self
                .core
                .credentials()
                .make(owner, wall_clock::now())
                .map_err(|error| AccessKeyError::Seal(Box::new(error)))?;
            let view = view(&new.record);
            registry.access_keys.put(new.record.id.clone(), new.record);
            Ok((view, Secret::new((*new.secret).clone())))
        })
    }

    /// All access keys, by id.
    pub fn access_keys(&self) -> Vec<AccessKeyView> {
        self.snapshot().access_keys.values().map(|key| view(key)).collect()
    }

    /// Removes an access key: requests that are signed with it are refused from now on.
    ///
    /// # Errors
    /// There is none of this id, or the registry failed.
    pub fn delete_access_key(&self, id: &str) -> Result<(), AccessKeyError> {
        self.core.change(|registry| {
            if registry.access_keys.get(id).is_none() {
                return Err(AccessKeyError::NoKey(id.to_owned()));
            }
            registry.access_keys.remove(id);
            Ok(())
        })
    }
}

fn view(key: &AccessKeyRecord) -> AccessKeyView {
    AccessKeyView {
        id: key.id.clone(),
        owner: key.owner.clone(),
        active: key.active,
        created_at: key.created_at,
    }
}
