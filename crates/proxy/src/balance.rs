//! Which endpoint gets the next request: round robin by weight over those
//! that are available.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use bowline_model::{clock::Timestamp, retry};
use tokio::sync::Notify;

use crate::config::{Cluster, Endpoint};

/// What a worker remembers of a cluster between requests.
#[derive(Debug, Default)]
pub(crate) struct ClusterState {
    next: Cell<usize>,
    requests: Cell<usize>,
    retries: Cell<usize>,
    retry_ended: Notify,
}

/// A worker's cluster states.
#[derive(Debug, Default)]
pub(crate) struct ClusterStates {
    by_name: RefCell<HashMap<Arc<str>, Rc<ClusterState>>>,
}

impl ClusterStates {
    pub(crate) fn of(&self, cluster: &Cluster) -> Rc<ClusterState> {
        let mut states = self.by_name.borrow_mut();
        if let Some(state) = states.get(&cluster.name) {
            return Rc::clone(state);
        }
        Rc::clone(states.entry(Arc::clone(&cluster.name)).or_default())
    }

    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.by_name.borrow_mut().retain(|name, _| keep(name));
    }
}

/// Counts a request, or a retry, for as long as it is held.
#[derive(Debug)]
pub(crate) struct InFlight {
    state: Rc<ClusterState>,
    retry: bool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let counter = if self.retry { &self.state.retries } else { &self.state.requests };
        counter.set(counter.get() - 1);
        if self.retry {
            self.state.retry_ended.notify_one();
        }
    }
}

impl ClusterState {
    pub(crate) fn begin_request(self: &Rc<Self>) -> InFlight {
        self.requests.set(self.requests.get() + 1);
        InFlight { state: Rc::clone(self), retry: false }
    }

    /// A place among the retries in flight, when there is one.
    pub(crate) async fn begin_retry(self: &Rc<Self>, budget_percent: u32) -> InFlight {
        while !retry::within_budget(self.retries.get(), self.requests.get(), budget_percent) {
            self.retry_ended.notified().await;
        }
        self.retries.set(self.retries.get() + 1);
        InFlight { state: Rc::clone(self), retry: true }
    }

    /// The next endpoint; those in `tried` only if there is no other.
    ///
    /// When none is healthy all are used, as an ALB does: a health check that
    /// is wrong must not stop everything. Draining ones are never used.
    pub(crate) fn pick(
        &self,
        cluster: &Cluster,
        tried: &[SocketAddr],
        now: Timestamp,
    ) -> Option<Arc<Endpoint>> {
        let all = cluster.upstream.endpoints();
        let usable = |endpoint: &&Arc<Endpoint>| !endpoint.draining;
        let healthy = |endpoint: &&Arc<Endpoint>| !endpoint.draining && endpoint.health.is_available(now);
        let fresh = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.address);
        self.among(all.iter().filter(healthy).filter(fresh))
            .or_else(|| self.among(all.iter().filter(usable).filter(fresh)))
            .or_else(|| self.among(all.iter().filter(healthy)))
            .or_else(|| self.among(all.iter().filter(usable)))
    }

    fn among<'a>(
        &self,
        candidates: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
    ) -> Option<Arc<Endpoint>> {
        let total: usize = candidates.clone().map(|endpoint| endpoint.weight as usize).sum();
        if total == 0 {
            return None;
        }
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        let mut place = next % total;
        for endpoint in candidates {
            match place.checked_sub(endpoint.weight as usize) {
                None => return Some(Arc::clone(endpoint)),
                Some(rest) => place = rest,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{MeshUpstream, Upstream, UpstreamTls},
        health::ClusterHealth,
        metrics::ClusterMetrics,
    };
    use bowline_discovery::v1::Protocol;
    use bowline_model::outlier::OutlierPolicy;
    use std::time::Duration;

    fn cluster(weights: &[(u16, u32, bool)]) -> Cluster {
        let health = ClusterHealth::default();
        health.set_policy(Some(OutlierPolicy { consecutive_failures: 1, ..OutlierPolicy::default() }));
        let addresses: Vec<SocketAddr> =
            weights.iter().map(|(port, ..)| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let healths = health.of(addresses.iter().map(|address| (*address, "t")));
        let endpoints = weights
            .iter()
            .zip(addresses)
            .zip(healths)
            .map(|(((_, weight, draining), address), health)| {
                let (weight, draining) = (*weight, *draining);
                let (hostname, server_name) = (None, None);
                Arc::new(Endpoint {
                    address,
                    task_id: "t".to_owned(),
                    weight,
                    draining,
                    hostname,
                    server_name,
                    health,
                })
            })
            .collect();
        Cluster {
            name: "c".into(),
            discovery_name: "c".into(),
            protocol: Protocol::Http,
            upstream: Upstream::Mesh(MeshUpstream { tls: UpstreamTls::Plaintext, endpoints }),
            connect_timeout: Duration::from_secs(1),
            max_connections: 0,
            max_pending: 1,
            health_check: None,
            health: Arc::new(health),
            metrics: Arc::new(ClusterMetrics::default()),
        }
    }

    fn picks(state: &ClusterState, cluster: &Cluster, count: usize, tried: &[u16]) -> Vec<u16> {
        let tried: Vec<_> = tried.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        (0..count)
            .filter_map(|_| state.pick(cluster, &tried, Timestamp::from_secs(1)))
            .map(|endpoint| endpoint.address.port())
            .collect()
    }

    #[test]
    fn goes_round_by_weight_and_spares_the_draining() {
        let cluster = cluster(&[(1, 1, false), (2, 2, false), (3, 5, true)]);
        let state = ClusterState::default();
        assert_eq!(picks(&state, &cluster, 6, &[]), [1, 2, 2, 1, 2, 2]);
        assert_eq!(picks(&state, &cluster, 2, &[2]), [1, 1]);
        assert_eq!(picks(&state, &cluster, 1, &[1, 2]).len(), 1, "a tried one is better than none");
    }

    #[test]
    fn an_ejected_endpoint_gets_nothing_unless_all_are_bad() {
        let cluster = cluster(&[(1, 1, false), (2, 1, false)]);
        let Upstream::Mesh(mesh) = &cluster.upstream else { unreachable!() };
        assert!(cluster.health.failed(&mesh.endpoints[0].health, Timestamp::from_secs(1)));
        let state = ClusterState::default();
        assert_eq!(picks(&state, &cluster, 3, &[]), [2, 2, 2]);
        mesh.endpoints[1].health.set_checked(false);
        assert_eq!(picks(&state, &cluster, 4, &[]).len(), 4);
    }
}
