//! Who would be hurt if an authority began to sign, or were trusted no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use bowline_discovery::resource::ResourceType;
use bowline_model::{
    clock::Timestamp,
    succession::{Leaf, Peer},
    task::{TaskId, TaskStatus},
};
use tokio::sync::watch;

use super::Core;
use crate::{
    publish::MESH_IDENTITY,
    registry::{AuthorityPurpose, CertificateRecord, Registry},
    revocation,
};

impl Core {
    /// Every holder of certificates for a purpose, as far as the control plane knows them.
    ///
    /// Of the mesh, a certificate counts until its proxy has opened its stream with a later one: that an
    /// answer was sent does not say that it arrived. Of gateways, a certificate counts until its proxy has said
    /// that it shows a later one of that name: first it has that on its disk. Nobody tells whether clients outside
    /// trust what gateways show, so all count as informed.
    pub(crate) fn certificate_holders(
        &self,
        registry: &Registry,
        purpose: AuthorityPurpose,
        now: Timestamp,
    ) -> Vec<Peer> {
        let public = purpose == AuthorityPurpose::Public;
        let living: BTreeSet<&TaskId> = registry
            .tasks
            .values()
            .filter(|task| task.status() != TaskStatus::Stopped)
            .map(|task| &task.id)
            .collect();
        let mut held: BTreeMap<&TaskId, Vec<&CertificateRecord>> = BTreeMap::new();
        for record in registry.certificates.values() {
            let counts = (record.name != MESH_IDENTITY) == public
                && record.not_after >= now
                && living.contains(&record.task)
                && !revocation::is_revoked(registry, &record.serial);
            if counts {
                held.entry(&record.task).or_default().push(record);
            }
        }
        let since = self.published().roots_since();
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = |(task, mut records): (&TaskId, Vec<&CertificateRecord>)| {
            let proxy = proxies.get(task);
            if public {
                let mut shown = BTreeMap::new();
                for record in
                    records.iter().filter(|record| proxy.is_some_and(|proxy| proxy.shows_outside(record)))
                {
                    let of = shown.entry(record.name.as_str()).or_insert_with(|| record.age());
                    *of = (*of).max(record.age());
                }
                records.retain(|record| shown.get(record.name.as_str()).is_none_or(|of| record.age() >= *of));
            } else if let Some(shown) = proxy.and_then(|proxy| registry.certificates.get(&proxy.shown)) {
                records.retain(|record| record.age() >= shown.age());
            }
            let informed = proxy.is_some_and(|proxy| {
                let acknowledged = proxy.acknowledged.get(&ResourceType::Trust);
                acknowledged.is_some_and(|at| *at >= since)
                    && !proxy.refused.contains_key(&ResourceType::Trust)
            });
            let leaf = |record: &&CertificateRecord| Leaf {
                authority: registry.authority_of(record),
                not_after: record.not_after,
            };
            Peer {
                name: task.as_str().to_owned(),
                informed: informed || public,
                leaves: records.iter().map(leaf).collect(),
            }
        };
        held.into_iter().map(peer).collect()
    }

    /// Told whenever a proxy connects, leaves or answers.
    pub(crate) fn proxies_answered(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }
}
