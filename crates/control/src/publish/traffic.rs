//! What traffic policies make of a discovery name's listeners, routes and clusters.

use std::time::Duration;

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    balance::Balancer,
    outlier::OutlierPolicy,
    task_definition::AppProtocol,
    traffic::{
        CheckProtocol, Fault, HashKey, HealthCheck, LimitKey, LoadBalancing, RateLimit, RetryEvent,
        RetryPolicy, Route, RouteMatch, TrafficPolicy, ValueKind, ValueMatch,
    },
};

use crate::registry::Registry;

/// The policy of a discovery name.
pub(crate) fn policy_of<'r>(
    registry: &'r Registry,
    namespace: &str,
    discovery_name: &str,
) -> Option<&'r TrafficPolicy> {
    let mut policies = registry.traffic_policies.values().map(|policy| &**policy);
    policies.find(|policy| policy.is_of(namespace, discovery_name))
}

/// Whether a policy leads to other discovery names than its own.
pub(super) fn names_others(policy: &TrafficPolicy) -> bool {
    policy.routes.iter().any(|route| !route.targets.is_empty())
        || policy.balancing.as_ref().is_some_and(|balancing| !balancing.failover.is_empty())
}

/// A policy where it meets what is spoken. Without one everything stays as AWS has it.
#[derive(Clone, Copy)]
pub(super) struct Traffic<'r> {
    pub(super) policy: Option<&'r TrafficPolicy>,
    pub(super) protocol: AppProtocol,
}

impl<'r> Traffic<'r> {
    pub(super) fn of(
        registry: &'r Registry,
        namespace: &str,
        discovery_name: &str,
        protocol: AppProtocol,
    ) -> Self {
        Self { policy: policy_of(registry, namespace, discovery_name), protocol }
    }

    /// A connection's time without traffic.
    pub(super) fn listener(self, listener: &mut v1::Listener) {
        let Some(policy) = self.policy else { return };
        if let Some(idle) = policy.timeouts.of(self.protocol).idle {
            listener.idle_timeout_ms = millis_of(idle);
        }
    }

    /// A caller's rule: its time and its retries.
    pub(super) fn rule(self, rule: &mut v1::RouteRule) {
        let Some(policy) = self.policy else { return };
        let Some(v1::route_rule::Action::Forward(forward)) = &mut rule.action else { return };
        if let Some(limit) = policy.timeouts.of(self.protocol).per_request {
            forward.request_timeout_ms = millis_of(limit);
        }
        if let Some(policy) = &policy.retry {
            forward.retry = Some(retry(policy));
        }
    }

    /// A caller's cluster.
    pub(super) fn cluster(self, cluster: &mut v1::Cluster) {
        let Some(policy) = self.policy else { return };
        self.limits(cluster);
        if let Some(policy) = &policy.outlier {
            cluster.outlier_detection = Some(outlier_detection(policy));
        }
        if let Some(check) = &policy.health_check {
            cluster.health_check = Some(health_check(check));
        }
        if let Some(balancing) = &policy.balancing {
            cluster.load_balancing = Some(load_balancing(balancing));
        }
        if self.protocol == AppProtocol::Tcp {
            cluster.connect_retry = policy.retry.as_ref().map(retry);
        }
    }

    /// The limits of a pool: they hold for each caller's proxy, and for each task's towards its
    /// application.
    pub(super) fn limits(self, cluster: &mut v1::Cluster) {
        let Some(policy) = self.policy else { return };
        let pool = policy.pool.of(self.protocol);
        let breakers = v1::CircuitBreakers {
            max_connections: pool.max_connections.unwrap_or_default(),
            max_pending: pool.max_pending_requests.unwrap_or_default(),
            max_requests: pool.max_requests.unwrap_or_default(),
            max_retries: policy.max_retries_in_flight.unwrap_or_default(),
        };
        if breakers != v1::CircuitBreakers::default() {
            cluster.breakers = Some(breakers);
        }
    }

    /// The policy's routes, each like `plain` where it says nothing itself; what `plain` asks of a
    /// request, they ask too.
    pub(super) fn routes(self, namespace: &str, plain: &v1::RouteRule) -> Vec<v1::RouteRule> {
        let rule = |route: &Route| {
            let mut rule = plain.clone();
            let own = route_match(&route.matches);
            rule.r#match = Some(match rule.r#match.take() {
                None => own,
                Some(plain) => v1::RouteMatch { also: vec![own], ..plain },
            });
            if let Some(v1::route_rule::Action::Forward(forward)) = &mut rule.action {
                let target = |(name, weight): &(String, u32)| v1::WeightedCluster {
                    cluster: format!("{name}.{namespace}"),
                    weight: *weight,
                };
                forward.clusters = route.targets.iter().map(target).collect();
                if let Some(limit) = route.request_timeout {
                    forward.request_timeout_ms = millis_of(limit);
                }
                if let Some(policy) = &route.retry {
                    forward.retry = Some(retry(policy));
                }
                forward.sticky = route.sticky.iter().map(hash_key).collect();
            }
            rule
        };
        self.policy.into_iter().flat_map(|policy| &policy.routes).map(rule).collect()
    }

    /// The discovery names that routes lead to.
    pub(super) fn targets(self) -> impl Iterator<Item = &'r String> {
        let routes = self.policy.into_iter().flat_map(|policy| &policy.routes);
        routes.flat_map(|route| route.targets.iter().map(|(name, _)| name))
    }

    /// What callers put in on purpose, for the route of that name.
    pub(super) fn faults(self, route: &str) -> Option<Resource> {
        let policy = self.policy.filter(|policy| !policy.faults.is_empty())?;
        let rule = |fault: &Fault| v1::FaultRule {
            r#match: Some(route_match(&fault.matches)),
            delay_per_million: fault.delay.map(|(share, _)| share).unwrap_or_default(),
            delay_ms: fault.delay.map(|(_, delay)| millis_of(delay)).unwrap_or_default(),
            abort_per_million: fault.abort.map(|(share, _)| share).unwrap_or_default(),
            abort_status: fault.abort.map(|(_, status)| u32::from(status)).unwrap_or_default(),
        };
        let rules = policy.faults.iter().map(rule).collect();
        Some(Resource::Fault(v1::Fault { name: route.to_owned(), rules, ..v1::Fault::default() }))
    }

    /// The buckets of a called port, for the listener of that name.
    pub(super) fn limits_of_requests(self, listener: &str) -> Option<Resource> {
        let policy = self.policy.filter(|policy| !policy.limits.is_empty())?;
        let rule = |limit: &RateLimit| v1::LimitRule {
            name: limit.name.clone(),
            r#match: (limit.matches != RouteMatch::default()).then(|| route_match(&limit.matches)),
            requests_per_second: limit.per_second,
            burst: limit.burst,
            per_caller: limit.per == LimitKey::Caller,
            per_header: match &limit.per {
                LimitKey::Header(name) => name.clone(),
                LimitKey::All | LimitKey::Caller => String::new(),
            },
        };
        let rules = policy.limits.iter().map(rule).collect();
        Some(Resource::Limit(v1::Limit { name: listener.to_owned(), rules, ..v1::Limit::default() }))
    }

    /// Discovery names that take over, in order.
    pub(super) fn failover(self) -> &'r [String] {
        let balancing = self.policy.and_then(|policy| policy.balancing.as_ref());
        balancing.map_or(&[], |balancing| &balancing.failover)
    }

    /// Whether endpoints and callers are to be told where they are.
    pub(super) fn is_zone_aware(self) -> bool {
        let balancing = self.policy.and_then(|policy| policy.balancing.as_ref());
        balancing.is_some_and(|balancing| balancing.zone_aware)
    }
}

fn retry(policy: &RetryPolicy) -> v1::RetryPolicy {
    let mut wire = v1::RetryPolicy {
        max_retries: policy.max_retries,
        per_try_timeout_ms: policy.per_try_timeout.map(millis_of).unwrap_or_default(),
        budget_percent: policy.budget.percent,
        min_concurrency: policy.budget.min_concurrency,
        back_off_base_ms: millis_of(policy.back_off.base),
        back_off_max_ms: millis_of(policy.back_off.max),
        ..v1::RetryPolicy::default()
    };
    if policy.on.is_empty() {
        wire.retry_on = super::retry_policy().retry_on;
    }
    for event in &policy.on {
        // Envoy's names, as App Mesh has its events described.
        let conditions: &[&str] = match event {
            RetryEvent::ServerError => &["5xx"],
            RetryEvent::GatewayError => &["gateway-error"],
            RetryEvent::ClientError => &["retriable-4xx"],
            RetryEvent::StreamError => &["refused-stream"],
            RetryEvent::ConnectionError => &["connect-failure"],
            RetryEvent::Grpc(status) => {
                let known = bowline_model::retry::GRPC_RETRIABLE;
                let name =
                    known.iter().find(|(known, _)| known == status).map(|(_, name)| (*name).to_owned());
                wire.grpc_retry_on.extend(name);
                continue;
            }
        };
        wire.retry_on.extend(conditions.iter().map(|name| (*name).to_owned()));
    }
    wire
}

/// A policy of outlier detection on the stream.
pub(super) fn outlier_detection(policy: &OutlierPolicy) -> v1::OutlierDetection {
    v1::OutlierDetection {
        consecutive_failures: policy.consecutive_failures,
        interval_ms: millis_of(policy.interval),
        base_ejection_ms: millis_of(policy.base_ejection),
        max_ejection_ms: millis_of(policy.max_ejection),
        max_ejection_percent: policy.max_ejection_percent,
        consecutive_gateway_failures: policy.consecutive_gateway_failures.unwrap_or_default(),
        consecutive_local_failures: policy.consecutive_local_failures.unwrap_or_default(),
        success_rate: policy.success_rate.map(|policy| v1::SuccessRate {
            minimum_hosts: policy.minimum_hosts,
            request_volume: policy.request_volume,
            stdev_factor: policy.stdev_factor,
        }),
        latency: policy.latency.map(|policy| v1::Latency {
            minimum_hosts: policy.minimum_hosts,
            request_volume: policy.request_volume,
            factor_percent: policy.factor_percent,
            minimum_ms: millis_of(policy.minimum),
        }),
    }
}

fn health_check(check: &HealthCheck) -> v1::HealthCheck {
    let (protocol, path) = match &check.protocol {
        CheckProtocol::Http(path) => ("http", path.clone()),
        CheckProtocol::Grpc => ("grpc", String::new()),
        CheckProtocol::Tcp => ("tcp", String::new()),
    };
    v1::HealthCheck {
        path,
        interval_ms: millis_of(check.interval),
        timeout_ms: millis_of(check.timeout),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        // As App Mesh's Envoy is told.
        matcher: "200-399".into(),
        protocol: protocol.into(),
        grpc_service: String::new(),
    }
}

fn hash_key(key: &HashKey) -> v1::HashKey {
    match key {
        HashKey::Header(name) => v1::HashKey { header: name.clone(), ..v1::HashKey::default() },
        HashKey::Cookie { name, ttl, path } => v1::HashKey {
            cookie: Some(v1::HashCookie {
                name: name.clone(),
                ttl_seconds: ttl.as_secs(),
                path: path.clone(),
            }),
            ..v1::HashKey::default()
        },
        HashKey::Source => v1::HashKey { source: true, ..v1::HashKey::default() },
    }
}

fn route_match(matches: &RouteMatch) -> v1::RouteMatch {
    let value = |value: &ValueMatch| {
        let mut wire =
            v1::HeaderMatch { name: value.name.clone(), invert: value.invert, ..v1::HeaderMatch::default() };
        match &value.kind {
            ValueKind::Exact(text) => wire.exact.clone_from(text),
            ValueKind::Prefix(text) => wire.prefix.clone_from(text),
            ValueKind::Suffix(text) => wire.suffix.clone_from(text),
            ValueKind::Present => wire.present = true,
            ValueKind::Range(start, end) => {
                wire.range = Some(v1::IntegerRange { start: *start, end: *end });
            }
        }
        wire
    };
    v1::RouteMatch {
        hosts: Vec::new(),
        paths: matches.path.iter().cloned().collect(),
        methods: matches.method.iter().cloned().collect(),
        headers: matches.headers.iter().map(value).collect(),
        query: matches.query.iter().map(value).collect(),
        also: Vec::new(),
    }
}

fn load_balancing(balancing: &LoadBalancing) -> v1::LoadBalancing {
    let balancer = match balancing.balancer {
        Balancer::RoundRobin => v1::Balancer::RoundRobin,
        Balancer::LeastRequest => v1::Balancer::LeastRequest,
        Balancer::PeakEwma => v1::Balancer::PeakEwma,
        Balancer::Random => v1::Balancer::Random,
        Balancer::RingHash => v1::Balancer::RingHash,
    };
    v1::LoadBalancing {
        balancer: balancer.into(),
        hash_on: balancing.hash_on.iter().map(hash_key).collect(),
        slow_start_ms: millis_of(balancing.slow_start),
        panic_percent: balancing.panic_percent,
        ..v1::LoadBalancing::default()
    }
}

/// Never so long that it could not be written.
pub(super) fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bowline_model::{
        retry::{BackOff, RetryBudget},
        traffic::{PerProtocol, PoolLimits, Timeouts},
    };

    use super::*;

    fn policy() -> TrafficPolicy {
        let second = Duration::from_secs(1);
        TrafficPolicy {
            name: "p".into(),
            namespace: Some("shop".into()),
            discovery_name: "cart".into(),
            timeouts: PerProtocol {
                http: Timeouts { per_request: Some(second), idle: Some(Duration::ZERO) },
                ..PerProtocol::default()
            },
            retry: Some(RetryPolicy {
                max_retries: 1,
                per_try_timeout: Some(second / 4),
                on: vec![RetryEvent::ServerError, RetryEvent::Grpc(14)],
                budget: RetryBudget::default(),
                back_off: BackOff::default(),
            }),
            outlier: Some(OutlierPolicy { consecutive_failures: 2, ..OutlierPolicy::default() }),
            pool: PerProtocol {
                http: PoolLimits { max_connections: Some(5), ..PoolLimits::default() },
                ..PerProtocol::default()
            },
            max_retries_in_flight: None,
            health_check: None,
            balancing: Some(LoadBalancing { hash_on: vec![HashKey::Source], ..LoadBalancing::default() }),
            routes: vec![Route {
                matches: RouteMatch { path: Some("/v2/*".into()), ..RouteMatch::default() },
                targets: vec![("cart".into(), 90), ("cart-v2".into(), 10)],
                request_timeout: None,
                retry: None,
                sticky: vec![HashKey::Header("x-user".into())],
            }],
            limits: vec![RateLimit {
                name: "l".into(),
                matches: RouteMatch::default(),
                per_second: 5.0,
                burst: 9,
                per: LimitKey::Caller,
            }],
            faults: vec![Fault { matches: RouteMatch::default(), delay: None, abort: Some((500_000, 503)) }],
        }
    }

    fn published(traffic: Traffic<'_>) -> (v1::RouteRule, v1::Cluster, v1::Listener) {
        let mut rule = super::super::forward("c", 15_000, Some(super::super::retry_policy()));
        let mut cluster = v1::Cluster {
            outlier_detection: Some(super::super::outlier_detection()),
            ..v1::Cluster::default()
        };
        let mut listener = v1::Listener { idle_timeout_ms: 300_000, ..v1::Listener::default() };
        traffic.rule(&mut rule);
        traffic.cluster(&mut cluster);
        traffic.listener(&mut listener);
        (rule, cluster, listener)
    }

    fn forward(rule: &v1::RouteRule) -> &v1::Forward {
        let Some(v1::route_rule::Action::Forward(forward)) = &rule.action else { panic!("{rule:?}") };
        forward
    }

    #[test]
    fn a_policy_changes_what_it_speaks_of_and_nothing_else() {
        let (rule, cluster, listener) = published(Traffic { policy: None, protocol: AppProtocol::Http });
        let retry = forward(&rule).retry.as_ref().expect("AWS's retries");
        assert_eq!((forward(&rule).request_timeout_ms, retry.max_retries), (15_000, 2));
        assert_eq!(cluster.outlier_detection.map(|outlier| outlier.consecutive_failures), Some(5));
        assert_eq!(
            (cluster.breakers, cluster.load_balancing, listener.idle_timeout_ms),
            (None, None, 300_000)
        );

        let policy = policy();
        assert!(policy.is_of("shop", "cart") && !policy.is_of("other", "cart") && !policy.is_of("shop", "x"));
        let (rule, cluster, listener) =
            published(Traffic { policy: Some(&policy), protocol: AppProtocol::Http });
        let retry = forward(&rule).retry.as_ref().expect("retries");
        assert_eq!((forward(&rule).request_timeout_ms, retry.per_try_timeout_ms), (1_000, 250));
        assert_eq!(
            (&retry.retry_on[..], &retry.grpc_retry_on[..]),
            (&["5xx".into()][..], &["unavailable".into()][..])
        );
        assert_eq!(cluster.outlier_detection.map(|outlier| outlier.consecutive_failures), Some(2));
        assert_eq!(cluster.breakers.map(|breakers| breakers.max_connections), Some(5));
        assert!(cluster.load_balancing.is_some_and(|balancing| balancing.hash_on[0].source));
        assert_eq!(listener.idle_timeout_ms, 0, "zero disables");
        let traffic = Traffic { policy: Some(&policy), protocol: AppProtocol::Http };
        let routes = traffic.routes("shop", &rule);
        let first = forward(&routes[0]);
        let clusters: Vec<_> = first.clusters.iter().map(|to| (to.cluster.as_str(), to.weight)).collect();
        assert_eq!(clusters, [("cart.shop", 90), ("cart-v2.shop", 10)]);
        assert_eq!((first.request_timeout_ms, first.sticky.len(), routes.len()), (1_000, 1, 1));
        let Some(Resource::Limit(limit)) = traffic.limits_of_requests("in") else { panic!("a limit") };
        assert!(limit.name == "in" && limit.rules[0].per_caller && limit.rules[0].burst == 9);
        let Some(Resource::Fault(fault)) = traffic.faults("out") else { panic!("a fault") };
        assert_eq!((fault.name.as_str(), fault.rules[0].abort_per_million), ("out", 500_000));
        // Of TCP a policy's retries are those of connecting, its limits those of connections.
        let traffic = Traffic { policy: Some(&policy), protocol: AppProtocol::Tcp };
        let (_, cluster, _) = published(traffic);
        assert_eq!(
            cluster.connect_retry.map(|retry| (retry.max_retries, retry.per_try_timeout_ms)),
            Some((1, 250))
        );
        let Some(Resource::Limit(limit)) = traffic.limits_of_requests("in") else { panic!("a limit") };
        assert_eq!(limit.rules[0].r#match, None, "of everything");
        // What is said of HTTP is not said of gRPC.
        let (rule, cluster, _) = published(Traffic { policy: Some(&policy), protocol: AppProtocol::Grpc });
        assert_eq!((forward(&rule).request_timeout_ms, cluster.breakers), (15_000, None));
    }
}
