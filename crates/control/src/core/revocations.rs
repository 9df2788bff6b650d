//! What proxies and issuance are told of revocations.

use std::{sync::PoisonError, time::Duration};

use bowline_discovery::resource::ResourceType;
use bowline_model::{arn::Arn, clock::Timestamp, task::TaskId};
use bowline_plumbing::wall_clock;
use bowline_stream::directory::{IssueError, ResourceSet, VersionedResource};

use super::{Core, proxies::ProxyState};
use crate::{
    authorities::AuthoritiesError,
    publish,
    registry::{CrlRecord, Registry, RegistryError},
    revocation::{self, CRL_VALIDITY},
};

/// The resource that every proxy has of revocations.
pub(super) struct PublishedRevocation {
    key: (ResourceType, String),
    resource: VersionedResource,
}

impl PublishedRevocation {
    pub(super) fn of(registry: &Registry) -> Self {
        let (key, resource) = publish::of_revocations(registry);
        Self { key, resource }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key == other.key && self.resource.version == other.resource.version
    }

    /// Puts it in the place of an earlier one. Where that is the same, nothing is changed.
    pub(super) fn put_into(&self, set: &mut ResourceSet) {
        let (kind, name) = &self.key;
        if set.get(*kind, name).is_none_or(|present| present.version != self.resource.version) {
            set.insert(*kind, name.as_str(), self.resource.clone());
        }
    }
}

impl Core {
    /// How many of the connected proxies have taken the revocations of `generation`, and how many
    /// are connected; returns when all have, or after `limit`.
    pub(crate) async fn revocations_taken(&self, generation: u64, limit: Duration) -> (usize, usize) {
        let mut answered = self.answered.subscribe();
        let count = || {
            let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
            let kind = ResourceType::Revocation;
            let took = |proxy: &ProxyState| {
                let has = proxy.acknowledged.get(&kind).is_some_and(|at| *at >= generation);
                has && !proxy.refused.contains_key(&kind)
            };
            (proxies.values().filter(|proxy| took(proxy)).count(), proxies.len())
        };
        let all = async {
            loop {
                answered.mark_unchanged();
                let (taken, connected) = count();
                if taken == connected || answered.changed().await.is_err() {
                    return;
                }
            }
        };
        // Who has not answered by then is told to the caller.
        let _ = tokio::time::timeout(limit, all).await;
        count()
    }

    /// Whether the task's proxy follows the stream.
    pub(crate) fn is_connected(&self, task: &TaskId) -> bool {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).contains_key(task)
    }

    /// The CRL of an authority: the latest, or another one where something else is revoked now, or
    /// the latest is past half of its time. Blocks for the store's write then.
    pub(crate) fn crl(&self, authority: &Arn) -> Result<CrlRecord, AuthoritiesError> {
        if let Some(latest) = latest_crl(&self.registry(), authority, wall_clock::now()) {
            return Ok(latest);
        }
        self.writer.change(|registry| {
            let now = wall_clock::now();
            // Somebody else may have made it meanwhile.
            if let Some(latest) = latest_crl(registry, authority, now) {
                return Ok(latest);
            }
            let revoked = revocation::revoked_of(registry, authority);
            let number = registry.crls.get(authority.as_str()).map_or(1, |latest| latest.number + 1);
            let next_update = now + CRL_VALIDITY;
            let made = CrlRecord {
                authority: authority.clone(),
                number,
                this_update: now,
                next_update,
                pem: self.authorities.sign_crl(authority, &revoked, number, now, next_update)?,
                serials: revoked.into_iter().map(|entry| entry.serial).collect(),
            };
            registry.crls.put(authority.as_str(), made.clone());
            Ok(made)
        })
    }
}

/// The CRL that was made last, if it is still as it should be.
fn latest_crl(registry: &Registry, authority: &Arn, now: Timestamp) -> Option<CrlRecord> {
    let latest = registry.crls.get(authority.as_str())?;
    let fresh = now >= latest.this_update && now < latest.this_update + CRL_VALIDITY / 2;
    let revoked = revocation::revoked_of(registry, authority);
    let same = latest.serials.iter().eq(revoked.iter().map(|entry| &entry.serial));
    (fresh && same).then(|| CrlRecord::clone(latest))
}

/// Why an issued certificate was not recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Barred(#[from] IssueError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Authority(#[from] AuthoritiesError),
    #[error("the authorities change faster than one can sign")]
    Unsteady,
}

/// Whether a task may have certificates.
pub(super) fn refuse_barred(registry: &Registry, task: &TaskId) -> Result<(), IssueError> {
    let Some(record) = registry.tasks.get(task.as_str()) else { return Err(IssueError::Unknown) };
    match revocation::bar_on(registry, record) {
        None => Ok(()),
        Some(bar) => {
            tracing::info!(%task, barred = %bar.subject, reason = %bar.reason, "no certificate for who was revoked");
            Err(IssueError::Revoked)
        }
    }
}
