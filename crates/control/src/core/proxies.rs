//! What is known of connected proxies, and where a test stands between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::PoisonError,
    time::{Duration, Instant},
};

use bowline_discovery::resource::ResourceType;
use bowline_model::task::TaskId;

use super::Core;
use crate::{publish::scope::Reach, registry::CertificateRecord};

/// Endpoints that stand in for a cluster's at one task's proxy, each with its end.
pub(super) type Diversions = BTreeMap<(TaskId, String), (SocketAddr, Instant)>;

/// What is known of a connected proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyState {
    pub(super) streams: u32,
    /// Serial number of the certificate that its latest stream was opened with.
    pub(super) shown: String,
    /// Serial numbers of the certificates that it has said it shows to clients outside, since that stream was opened;
    /// without zeros before them.
    pub(super) shown_outside: BTreeSet<String>,
    /// The generation that each type was last acknowledged at.
    pub(super) acknowledged: BTreeMap<ResourceType, u64>,
    /// What it refuses, by type.
    pub(super) refused: BTreeMap<ResourceType, String>,
}

impl ProxyState {
    /// Whether it has said that it shows clients outside this certificate.
    pub(super) fn shows_outside(&self, record: &CertificateRecord) -> bool {
        self.shown_outside.contains(record.serial.trim_start_matches('0'))
    }
}

/// What is known of a task's proxy without asking it.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownProxy {
    /// Its stream of resources is open.
    pub(crate) connected: bool,
    /// It has acknowledged the endpoints that are published now.
    pub(crate) has_latest: bool,
    /// What it refuses, by type.
    pub(crate) refused: BTreeMap<ResourceType, String>,
}

impl Core {
    pub(crate) fn divert(&self, task: &TaskId, cluster: &str, to: Option<(SocketAddr, Instant)>) {
        {
            let mut diversions = self.diversions.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            diversions.retain(|_, (_, until)| *until > now);
            let key = (task.clone(), cluster.to_owned());
            match to {
                Some(to) => diversions.insert(key, to),
                None => diversions.remove(&key),
            };
        }
        self.publish(&Reach::Everybody);
    }

    /// Ends diversions whose time is over.
    pub(crate) fn end_old_diversions(&self) {
        let ended = {
            let mut diversions = self.diversions.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, now) = (diversions.len(), Instant::now());
            diversions.retain(|_, (_, until)| *until > now);
            diversions.len() != before
        };
        if ended {
            self.publish(&Reach::Everybody);
        }
    }

    /// Returns when the task's proxy has acknowledged the endpoints that are
    /// published now; `None` after `limit`, or when the task is over.
    pub(crate) async fn in_step(&self, task: &TaskId, limit: Duration) -> Option<()> {
        let wanted = self.endpoints_since(task)?;
        let mut answered = self.answered.subscribe();
        tokio::time::timeout(limit, async {
            loop {
                answered.mark_unchanged();
                let reached = {
                    let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
                    proxies.get(task).is_some_and(|proxy| {
                        let endpoints = ResourceType::Endpoints;
                        proxy.acknowledged.get(&endpoints).is_some_and(|generation| *generation >= wanted)
                    })
                };
                if reached || answered.changed().await.is_err() {
                    return;
                }
            }
        })
        .await
        .ok()
    }

    /// What is known of a task's proxy.
    pub(crate) fn proxy_link(&self, task: &TaskId) -> KnownProxy {
        let wanted = self.endpoints_since(task);
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = proxies.get(task) else { return KnownProxy::default() };
        let reached = state.acknowledged.get(&ResourceType::Endpoints);
        KnownProxy {
            connected: state.streams > 0,
            has_latest: wanted.zip(reached).is_some_and(|(wanted, reached)| *reached >= wanted),
            refused: state.refused.clone(),
        }
    }

    /// What connected proxies refuse of their configuration.
    pub(crate) fn refusals(&self) -> Vec<(TaskId, String)> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = proxies
            .iter()
            .filter_map(|(task, state)| Some((task.clone(), state.refused.values().next()?.clone())));
        let mut refused: Vec<_> = refused.collect();
        refused.sort_unstable();
        refused
    }
}
