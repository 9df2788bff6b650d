//! What is known of an endpoint's health: ejections by outlier detection and
//! results of active checks. Shared by all workers; the request path touches
//! atomics only. A lock is taken where a row of failures has become too long.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bowline_model::{
    balance::ewma::{self, Ewma},
    clock::Timestamp,
    outlier::{self, Ejections, Failure, Observed, OutlierPolicy, Run},
};

pub(crate) mod check;

/// One endpoint's health, and how busy and fast it is.
#[derive(Debug, Default)]
pub(crate) struct EndpointHealth {
    /// Milliseconds since 1970; 0: never ejected.
    ejected_until: AtomicU64,
    /// An active check says so.
    unhealthy: AtomicBool,
    /// Since when it is there or its checks pass. Milliseconds since 1970.
    since: AtomicU64,
    /// Failures of any kind, of gateways, and local ones: each a [`Run`].
    rows: [AtomicU64; 3],
    /// What was seen in the present interval.
    requests: AtomicU32,
    successes: AtomicU32,
    latency_micros: AtomicU64,
    /// Requests under way.
    active: AtomicU32,
    /// An [`Ewma`].
    ewma: AtomicU64,
}

impl EndpointHealth {
    /// Whether requests may go there.
    pub(crate) fn is_available(&self, now: Timestamp) -> bool {
        !self.is_ejected(now) && !self.unhealthy.load(Relaxed)
    }

    fn is_ejected(&self, now: Timestamp) -> bool {
        now.as_millis() < self.ejected_until.load(Relaxed)
    }

    /// Until when it is ejected, if it is.
    pub(crate) fn ejected_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp::from_millis(self.ejected_until.load(Relaxed));
        (now < until).then_some(until)
    }

    /// Whether an active check says that it does not answer.
    pub(crate) fn is_checked_unhealthy(&self) -> bool {
        self.unhealthy.load(Relaxed)
    }

    /// Since when it is there, or back.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        let (since, returned) = (self.since.load(Relaxed), self.ejected_until.load(Relaxed));
        Timestamp::from_millis(if returned <= now.as_millis() { since.max(returned) } else { since })
    }

    /// Requests under way.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// What another request costs, by how long others took.
    pub(crate) fn cost(&self, now: Timestamp) -> u64 {
        Ewma::unpack(self.ewma.load(Relaxed)).cost(self.active(), now)
    }

    /// A request or connection succeeded; `took` is the time to the response's head.
    pub(crate) fn succeeded(&self, took: Duration, now: Timestamp) {
        for row in &self.rows {
            if row.load(Relaxed) != 0 {
                row.store(0, Relaxed);
            }
        }
        self.requests.fetch_add(1, Relaxed);
        self.successes.fetch_add(1, Relaxed);
        self.latency_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.observe(took, now);
    }

    fn observe(&self, took: Duration, now: Timestamp) {
        let observed = |packed| Some(Ewma::unpack(packed).observe(took, now).pack());
        // The function always gives a value.
        let _ = self.ewma.fetch_update(Relaxed, Relaxed, observed);
    }

    /// What was seen since the last call.
    fn take_observed(&self) -> Observed {
        Observed {
            requests: self.requests.swap(0, Relaxed),
            successes: self.successes.swap(0, Relaxed),
            latency: Duration::from_micros(self.latency_micros.swap(0, Relaxed)),
        }
    }
}

/// A request under way to an endpoint, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Busy(Arc<EndpointHealth>);

impl Busy {
    pub(crate) fn with(endpoint: &Arc<EndpointHealth>) -> Self {
        endpoint.active.fetch_add(1, Relaxed);
        Self(Arc::clone(endpoint))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// An endpoint with what only ejections need.
#[derive(Debug)]
struct Member {
    health: Arc<EndpointHealth>,
    ejections: Ejections,
}

#[derive(Debug, Default)]
struct Members {
    by_key: HashMap<(SocketAddr, String), Member>,
    /// When endpoints are compared with each other next.
    next_sweep: Timestamp,
}

/// The health of a cluster's endpoints; lives as long as the cluster's name.
#[derive(Debug, Default)]
pub(crate) struct ClusterHealth {
    members: Mutex<Members>,
    policy: ArcSwapOption<OutlierPolicy>,
    /// Grows when an endpoint's availability changes other than by the end of an ejection.
    epoch: AtomicU64,
}

impl ClusterHealth {
    /// Takes a policy up. Without one nobody is ejected, nor stays so.
    pub(crate) fn set_policy(&self, policy: Option<OutlierPolicy>) {
        if self.policy.load().as_deref() == policy.as_ref() {
            return;
        }
        if policy.is_none() {
            for member in self.lock().by_key.values() {
                member.health.ejected_until.store(0, Relaxed);
            }
        }
        self.policy.store(policy.map(Arc::new));
        self.changed();
    }

    /// Tells when endpoints are to be chosen by another plan.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    fn changed(&self) {
        // Who sees the new number sees what has changed.
        self.epoch.fetch_add(1, Release);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The health of exactly these endpoints; what is known of others is dropped.
    pub(crate) fn of<'a>(
        &self,
        endpoints: impl Iterator<Item = (SocketAddr, &'a str)>,
        now: Timestamp,
    ) -> Vec<Arc<EndpointHealth>> {
        let mut members = self.lock();
        let mut kept = HashMap::new();
        let healths = endpoints
            .map(|(address, task)| {
                let key = (address, task.to_owned());
                let member = members.by_key.remove(&key).unwrap_or_else(|| {
                    let health = EndpointHealth::default();
                    health.since.store(now.as_millis(), Relaxed);
                    Member { health: Arc::new(health), ejections: Ejections::default() }
                });
                let health = Arc::clone(&member.health);
                kept.entry(key).or_insert(member);
                health
            })
            .collect();
        members.by_key = kept;
        if let Some(policy) = self.policy.load().as_deref() {
            members.let_return(now, policy);
        }
        healths
    }

    /// The result of an active check, after its threshold.
    pub(crate) fn set_checked(&self, endpoint: &EndpointHealth, healthy: bool, now: Timestamp) {
        if endpoint.unhealthy.swap(!healthy, Relaxed) && healthy {
            endpoint.since.store(now.as_millis(), Relaxed);
        }
        self.changed();
    }

    /// A request or connection to `endpoint` failed after so long; true if that ejects it.
    pub(crate) fn failed(
        &self,
        endpoint: &EndpointHealth,
        failure: Failure,
        took: Duration,
        now: Timestamp,
    ) -> bool {
        endpoint.requests.fetch_add(1, Relaxed);
        endpoint.observe(took.max(ewma::FAILURE), now);
        let policy = self.policy.load();
        let Some(policy) = policy.as_ref() else { return false };
        let counts = policy.counts(failure);
        let thresholds = [
            (counts.failures, Some(policy.consecutive_failures)),
            (counts.gateway, policy.consecutive_gateway_failures),
            (counts.local, policy.consecutive_local_failures),
        ];
        let mut too_many = false;
        for (row, (counted, threshold)) in endpoint.rows.iter().zip(thresholds) {
            match threshold.filter(|_| counted) {
                Some(threshold) => {
                    let one_more = |packed| Some(Run::unpack(packed).failed(now, policy.interval));
                    // The function always gives a value.
                    let before = row.fetch_update(Relaxed, Relaxed, |p| one_more(p).map(Run::pack));
                    let run = before.ok().and_then(one_more);
                    too_many |= run.is_some_and(|run| run.reaches(threshold));
                }
                // An answer ends a row of failures that gave none.
                None if failure != Failure::Local && row.load(Relaxed) != 0 => row.store(0, Relaxed),
                None => {}
            }
        }
        if !too_many || endpoint.is_ejected(now) {
            return false;
        }
        let ejected = self.lock().eject(endpoint, now, policy);
        if ejected {
            self.changed();
        }
        for row in &endpoint.rows {
            row.store(0, Relaxed);
        }
        ejected
    }

    /// Whether its endpoints are compared with each other.
    pub(crate) fn is_swept(&self) -> bool {
        let policy = self.policy.load();
        policy.as_ref().is_some_and(|policy| policy.success_rate.is_some() || policy.latency.is_some())
    }

    /// Compares endpoints with each other, once an interval; returns who was ejected.
    pub(crate) fn sweep(&self, now: Timestamp) -> Vec<SocketAddr> {
        let policy = self.policy.load();
        let Some(policy) = policy.as_ref() else { return Vec::new() };
        if policy.success_rate.is_none() && policy.latency.is_none() {
            return Vec::new();
        }
        let mut members = self.lock();
        if now < members.next_sweep {
            return Vec::new();
        }
        let first = members.next_sweep == Timestamp::default();
        members.next_sweep = now + policy.interval;
        let keyed: Vec<(SocketAddr, Arc<EndpointHealth>)> = members
            .by_key
            .iter()
            .map(|((address, _), member)| (*address, Arc::clone(&member.health)))
            .collect();
        let observed: Vec<Observed> = keyed.iter().map(|(_, health)| health.take_observed()).collect();
        if first {
            // What was seen until now is of no one interval.
            return Vec::new();
        }
        let by_rate = policy.success_rate.map(|policy| outlier::success_rate_outliers(&observed, &policy));
        let by_latency = policy.latency.map(|policy| outlier::latency_outliers(&observed, &policy));
        let mut ejected = Vec::new();
        for place in by_rate.into_iter().chain(by_latency).flatten() {
            let (address, health) = &keyed[place];
            if !health.is_ejected(now) && members.eject(health, now, policy) {
                ejected.push(*address);
            }
        }
        if !ejected.is_empty() {
            self.changed();
        }
        ejected
    }
}

impl Members {
    fn ejected(&self, now: Timestamp) -> usize {
        self.by_key.values().filter(|member| member.health.is_ejected(now)).count()
    }

    /// Ejects where that is allowed.
    fn eject(&mut self, endpoint: &EndpointHealth, now: Timestamp, policy: &OutlierPolicy) -> bool {
        if !policy.allows_ejection(self.ejected(now), self.by_key.len()) {
            return false;
        }
        let found = self.by_key.values_mut().find(|member| std::ptr::eq(&*member.health, endpoint));
        let Some(member) = found.filter(|member| !member.health.is_ejected(now)) else { return false };
        member.health.ejected_until.store(member.ejections.eject(now, policy).as_millis(), Relaxed);
        true
    }

    /// Lets some return where fewer endpoints, or another policy, allow fewer ejections.
    fn let_return(&mut self, now: Timestamp, policy: &OutlierPolicy) {
        let mut ejected: Vec<&Arc<EndpointHealth>> = self
            .by_key
            .values()
            .map(|member| &member.health)
            .filter(|health| health.is_ejected(now))
            .collect();
        ejected.sort_by_key(|health| health.ejected_until.load(Relaxed));
        let mut count = ejected.len();
        for health in ejected {
            if policy.allows_ejection(count - 1, self.by_key.len()) {
                return;
            }
            health.ejected_until.store(now.as_millis(), Relaxed);
            count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const FAST: Duration = Duration::from_millis(1);

    fn cluster(policy: OutlierPolicy, count: u16) -> (ClusterHealth, Vec<Arc<EndpointHealth>>) {
        let health = ClusterHealth::default();
        health.set_policy(Some(policy));
        let endpoints = of(&health, count);
        (health, endpoints)
    }

    fn of(health: &ClusterHealth, count: u16) -> Vec<Arc<EndpointHealth>> {
        let addresses = (0..count).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        health.of(addresses.map(|address| (address, "t")), NOW)
    }

    #[test]
    fn five_failures_eject_and_no_more_than_half() {
        let (health, endpoints) = cluster(OutlierPolicy::default(), 4);
        for endpoint in &endpoints {
            for failure in [Failure::Server, Failure::Gateway, Failure::Local, Failure::Server] {
                assert!(!health.failed(endpoint, failure, FAST, NOW));
            }
        }
        let epoch = health.epoch();
        let ejected: Vec<_> =
            endpoints.iter().map(|endpoint| health.failed(endpoint, Failure::Server, FAST, NOW)).collect();
        assert_eq!(ejected, [true, true, false, false]);
        assert!(health.epoch() > epoch && !endpoints[0].is_available(NOW));
        assert!(endpoints[0].is_available(NOW + Duration::from_secs(30)));
        // Where there are fewer endpoints, fewer stay ejected.
        let left = of(&health, 3);
        assert_eq!(left.iter().filter(|endpoint| !endpoint.is_available(NOW)).count(), 1);
        health.set_policy(None);
        assert!(left.iter().all(|endpoint| endpoint.is_available(NOW)));
    }

    #[test]
    fn a_success_ends_a_row_and_local_failures_can_have_their_own() {
        let policy = OutlierPolicy { consecutive_local_failures: Some(2), ..OutlierPolicy::default() };
        let (health, endpoints) = cluster(policy, 2);
        let endpoint = &endpoints[0];
        for _ in 0..20 {
            assert!(!health.failed(endpoint, Failure::Local, FAST, NOW));
            assert!(!health.failed(endpoint, Failure::Server, FAST, NOW), "an answer ends the row");
            endpoint.succeeded(FAST, NOW);
        }
        assert!(!health.failed(endpoint, Failure::Local, FAST, NOW));
        assert!(health.failed(endpoint, Failure::Local, FAST, NOW));
    }

    #[test]
    fn what_stands_out_is_ejected_at_the_intervals_end() {
        let policy = OutlierPolicy {
            success_rate: Some(outlier::SuccessRatePolicy::default()),
            latency: Some(outlier::LatencyPolicy::default()),
            max_ejection_percent: 20,
            ..OutlierPolicy::default()
        };
        let (health, endpoints) = cluster(policy, 10);
        let run = |slow: Duration| {
            for (place, endpoint) in endpoints.iter().enumerate() {
                for turn in 0..100 {
                    if place == 3 && turn % 2 == 0 {
                        health.failed(endpoint, Failure::Server, FAST, NOW);
                    } else {
                        endpoint.succeeded(if place == 4 { slow } else { FAST }, NOW);
                    }
                }
            }
        };
        run(FAST);
        assert!(health.sweep(NOW).is_empty(), "an interval begins");
        run(Duration::from_millis(200));
        assert!(health.sweep(NOW + Duration::from_secs(29)).is_empty(), "it is not over");
        let mut ejected = health.sweep(NOW + Duration::from_secs(30));
        ejected.sort();
        assert_eq!(ejected.iter().map(SocketAddr::port).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn workers_together_count_exactly() {
        let policy = OutlierPolicy { consecutive_failures: 4_000, ..OutlierPolicy::default() };
        let (health, endpoints) = cluster(policy, 2);
        let ejections: usize = std::thread::scope(|scope| {
            let worker =
                || (0..1_000).filter(|_| health.failed(&endpoints[0], Failure::Server, FAST, NOW)).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(ejections, 1, "the 4,000th, and no other");
    }
}
