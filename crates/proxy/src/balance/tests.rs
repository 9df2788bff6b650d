use std::time::Duration;

use bowline_discovery::v1::Protocol;
use bowline_model::{
    outlier::{Failure, OutlierPolicy},
    retry::{BackOff, RetryBudget},
};

use super::*;
use crate::{
    config::{
        ConnectRetry, MeshUpstream, Upstream, UpstreamTls, balancing::Balancing, series::ClusterSeries,
    },
    health::{Busy, ClusterHealth},
    load::{Breakers, ClusterLoad},
    metrics::ClusterMetrics,
};

const NOW: Timestamp = Timestamp::from_secs(1);

fn cluster(weights: &[(u16, u32, bool)], balancing: Balancing) -> Cluster {
    let health = ClusterHealth::default();
    health.set_policy(Some(OutlierPolicy { consecutive_failures: 1, ..OutlierPolicy::default() }));
    cluster_at(Arc::new(health), weights, balancing, Timestamp::default())
}

/// A cluster whose endpoints are known to `health`, or come at `now`.
fn cluster_at(
    health: Arc<ClusterHealth>,
    weights: &[(u16, u32, bool)],
    balancing: Balancing,
    now: Timestamp,
) -> Cluster {
    let addresses: Vec<SocketAddr> =
        weights.iter().map(|(port, ..)| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    let healths = health.of(addresses.iter().map(|address| (*address, "t")), now);
    let endpoints = weights
        .iter()
        .zip(addresses)
        .zip(healths)
        .map(|(((_, weight, draining), address), health)| {
            Arc::new(Endpoint {
                address,
                task_id: "t".to_owned(),
                weight: *weight,
                draining: *draining,
                priority: 0,
                zone: Arc::from(""),
                hostname: None,
                server_name: None,
                diverted: None,
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
        connect_retry: ConnectRetry {
            max_retries: 0,
            per_try_timeout: None,
            budget: RetryBudget::default(),
            back_off: BackOff::default(),
        },
        breakers: Breakers { connections: 1, pending: 1, requests: 1, retries: 1 },
        balancing,
        health_check: None,
        generation: 1,
        health,
        load: Arc::new(ClusterLoad::default()),
        metrics: Arc::new(ClusterMetrics::default()),
        series: ClusterSeries::of_test("c"),
    }
}

fn balanced(balancer: Balancer, hash_on: Vec<HashKey>) -> Balancing {
    let mut balancing = Balancing { hash_on, ..Balancing::default() };
    balancing.terms.balancer = balancer;
    balancing
}

fn picks_at(state: &ClusterState, cluster: &Cluster, count: u64, tried: &[u16], now: Timestamp) -> Vec<u16> {
    let tried: Vec<_> = tried.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    (0..count)
        .filter_map(|turn| state.pick(cluster, &tried, None, turn.wrapping_mul(0xBF58_476D_1CE4_E5B9), now))
        .map(|endpoint| endpoint.address.port())
        .collect()
}

fn picks(state: &ClusterState, cluster: &Cluster, count: u64, tried: &[u16]) -> Vec<u16> {
    picks_at(state, cluster, count, tried, NOW)
}

#[test]
fn goes_round_by_weight_and_spares_the_draining() {
    let cluster = cluster(&[(1, 1, false), (2, 2, false), (3, 5, true)], Balancing::default());
    let state = ClusterState::default();
    let picked = picks(&state, &cluster, 600, &[]);
    assert!(picked.iter().filter(|port| **port == 1).count().abs_diff(200) <= 2, "{picked:?}");
    assert!(!picked.contains(&3));
    assert_eq!(picks(&state, &cluster, 2, &[2]), [1, 1]);
    assert_eq!(picks(&state, &cluster, 1, &[1, 2]).len(), 1, "a tried one is better than none");
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_it_is_back_or_all_are_bad() {
    let cluster = cluster(&[(1, 1, false), (2, 1, false)], Balancing::default());
    let Upstream::Mesh(mesh) = &cluster.upstream else { unreachable!() };
    let state = ClusterState::default();
    assert_eq!(picks(&state, &cluster, 2, &[]), [1, 2]);
    assert!(cluster.health.failed(&mesh.endpoints[0].health, Failure::Server, Duration::ZERO, NOW));
    assert_eq!(picks(&state, &cluster, 3, &[]), [2, 2, 2]);
    let back = NOW + Duration::from_secs(30);
    assert_eq!(picks_at(&state, &cluster, 4, &[], back).iter().filter(|port| **port == 1).count(), 2);
    assert_eq!(picks(&state, &cluster, 1, &[]), [2], "a clock that was set back");
    cluster.health.set_checked(&mesh.endpoints[1].health, false, NOW);
    assert_eq!(picks(&state, &cluster, 4, &[]).len(), 4);
}

#[test]
fn who_comes_later_begins_with_a_tenth() {
    let mut balancing = Balancing::default();
    balancing.terms.slow_start = Duration::from_secs(3);
    let endpoints: Vec<_> = (1..=6).map(|port| (port, 1, false)).collect();
    let (health, state) = (Arc::new(ClusterHealth::default()), ClusterState::default());
    let first = cluster_at(Arc::clone(&health), &endpoints[..5], balancing.clone(), Timestamp::default());
    let of = |picked: &[u16], port| picked.iter().filter(|picked| **picked == port).count();
    let picked = picks_at(&state, &first, 50, &[], Timestamp::default());
    assert!((1..=5).all(|port| of(&picked, port) == 10), "all are new: {picked:?}");
    let later = NOW + Duration::from_secs(3);
    let mut more = cluster_at(health, &endpoints, balancing, later);
    more.generation += 1;
    let picked = picks_at(&state, &more, 60, &[], later);
    assert!((1..=2).contains(&of(&picked, 6)), "a sixth would be 10: {picked:?}");
    let picked = picks_at(&state, &more, 60, &[], later + Duration::from_secs(3));
    assert_eq!(of(&picked, 6), 10, "it is as the others are");
}

#[test]
fn the_busy_and_the_slow_are_avoided() {
    let mut least = cluster(&[(1, 1, false), (2, 1, false)], balanced(Balancer::LeastRequest, Vec::new()));
    let Upstream::Mesh(mesh) = &least.upstream else { unreachable!() };
    let health = mesh.endpoints.iter().map(|endpoint| Arc::clone(&endpoint.health)).collect::<Vec<_>>();
    let state = ClusterState::default();
    let busy = Busy::with(&health[0]);
    assert_eq!(picks(&state, &least, 20, &[]), [2; 20]);
    drop(busy);
    assert!(picks(&state, &least, 20, &[]).contains(&1));
    least.balancing.terms.balancer = Balancer::PeakEwma;
    least.generation += 1;
    health[0].succeeded(Duration::from_millis(1), NOW);
    health[1].succeeded(Duration::from_millis(100), NOW);
    assert_eq!(picks(&state, &least, 20, &[]), [1; 20]);
    least.health.failed(&health[0], Failure::Server, Duration::from_millis(1), NOW);
    assert_eq!(picks(&state, &least, 20, &[]), [2; 20], "failing fast is not fast");
}

#[test]
fn a_client_is_known_by_header_cookie_or_address() {
    let sticky = StickyCookie { name: "sid".into(), ttl: Some(Duration::from_secs(60)), path: "/".into() };
    let keys =
        vec![HashKey::Header(header::HeaderName::from_static("x-user")), HashKey::Cookie(sticky.clone())];
    let cluster = cluster(&[(1, 1, false)], balanced(Balancer::RingHash, keys));
    let of = |pairs: &[(&'static str, &'static str)]| {
        let headers = pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        stickiness(&cluster.balancing.hash_on, &headers.collect(), None, 7)
    };
    let by_header = of(&[("x-user", "ann"), ("cookie", "sid=1")]);
    assert_eq!((by_header.hash, by_header.cookie), (of(&[("x-user", "ann")]).hash, None));
    assert_eq!(of(&[("cookie", "a=b; sid=1")]).hash, of(&[("cookie", "sid=1; z=9")]).hash);
    let new = of(&[("cookie", "other=1")]);
    let set = new.cookie.expect("a cookie is set");
    assert_eq!(set, "sid=0000000000000007; Path=/; Max-Age=60; HttpOnly");
    assert_eq!(new.hash, of(&[("cookie", "sid=0000000000000007")]).hash);
    let by_source = balanced(Balancer::RingHash, vec![HashKey::Source]);
    let cluster = super::tests::cluster(&[(1, 1, false)], by_source);
    let from = |address: [u8; 4]| {
        stickiness(&cluster.balancing.hash_on, &HeaderMap::new(), Some(address.into()), 7).hash
    };
    assert!(from([1, 2, 3, 4]).is_some() && from([1, 2, 3, 4]) != from([1, 2, 3, 5]));
}
