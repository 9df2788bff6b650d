//! Traffic policies of a template: `Bowline::ServiceConnect::TrafficPolicy`.

use std::time::Duration;

use bowline_aws::{bowline::traffic as asked, cfn::StackResource};
use bowline_model::{
    balance::Balancer,
    outlier::{LatencyPolicy, OutlierPolicy, SuccessRatePolicy},
    retry::{BackOff, RetryBudget},
    traffic::{
        CheckProtocol, HashKey, HealthCheck, LoadBalancing, PerProtocol, PoolLimits, RetryEvent, RetryPolicy,
        Timeouts, TrafficPolicy,
    },
};

use super::Applying;
use crate::registry::Registry;

/// The table's name in a stack's record.
pub(super) const POLICIES: &str = "traffic-policies";

impl Applying<'_> {
    /// Takes up a traffic policy.
    pub(super) fn traffic_policy(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &asked::TrafficPolicy,
    ) {
        let namespace = body.namespace.as_ref().map(|given| self.namespace_name(registry, resource, given));
        let hash_on = body.load_balancing.iter().flat_map(|balancing| &balancing.hash_on);
        let hash_on = hash_on.filter_map(|key| self.hash_key(resource, key)).collect();
        let policy = TrafficPolicy {
            name: body.name.clone().unwrap_or_else(|| resource.logical_id.clone()),
            namespace,
            discovery_name: body.discovery_name.clone(),
            timeouts: body.timeout.as_ref().map(timeouts).unwrap_or_default(),
            retry: body.retry_policy.as_ref().map(retry),
            outlier: body.outlier_detection.as_ref().map(outlier),
            pool: body.connection_pool.as_ref().map(pool).unwrap_or_default(),
            max_retries_in_flight: body.connection_pool.as_ref().and_then(|pool| pool.max_retries),
            health_check: body.health_check.as_ref().map(health_check),
            balancing: body.load_balancing.as_ref().map(|asked| balancing(asked, hash_on)),
        };
        self.check_traffic_policy(resource, &policy);
        let key = format!("{}/{}", self.stack.name, resource.logical_id);
        // One of this stack's that the template no longer has is about to go.
        let stays = |other: &str| match other.strip_prefix(&format!("{}/", self.stack.name)) {
            Some(id) => {
                id != resource.logical_id && self.stack.resources.iter().any(|one| one.logical_id == id)
            }
            None => true,
        };
        let other = registry
            .traffic_policies
            .iter()
            .find(|(other, row)| stays(other) && row.collides_with(&policy))
            .map(|(other, _)| other.to_owned());
        if let Some(other) = other {
            let name = &policy.discovery_name;
            self.fault(resource, format!("DiscoveryName: {name} has a policy already, {other}"));
        }
        self.made(POLICIES, &key);
        registry.traffic_policies.put(key, policy);
    }

    /// What its members say together.
    fn check_traffic_policy(&mut self, resource: &StackResource, policy: &TrafficPolicy) {
        if let Some(retry) = &policy.retry
            && retry.back_off.max < retry.back_off.base
        {
            self.fault(resource, "RetryPolicy.BackOff: MaxInterval is shorter than BaseInterval");
        }
        if let Some(check) = &policy.health_check
            && check.timeout > check.interval
        {
            self.fault(resource, "HealthCheck: TimeoutMillis is longer than IntervalMillis");
        }
        if let Some(balancing) = &policy.balancing {
            let hashes = balancing.balancer == Balancer::RingHash;
            if hashes == balancing.hash_on.is_empty() {
                self.fault(
                    resource,
                    "LoadBalancing: HashOn goes with Policy RING_HASH, and that with HashOn",
                );
            }
            if balancing.failover.contains(&policy.discovery_name) {
                self.fault(resource, "LoadBalancing.Failover: names the DiscoveryName itself");
            }
        }
    }

    fn hash_key(&mut self, resource: &StackResource, key: &asked::HashKey) -> Option<HashKey> {
        match (&key.header, &key.cookie, key.source) {
            (Some(header), None, None) if http::HeaderName::from_bytes(header.as_bytes()).is_ok() => {
                Some(HashKey::Header(header.to_ascii_lowercase()))
            }
            (None, Some(cookie), None) => Some(HashKey::Cookie {
                name: cookie.name.clone(),
                ttl: cookie.ttl.as_ref().map(asked::Duration::to_std).unwrap_or_default(),
                path: cookie.path.clone().unwrap_or_else(|| "/".to_owned()),
            }),
            (None, None, Some(true)) => Some(HashKey::Source),
            _ => {
                let message = "LoadBalancing.HashOn: give one of Header (a header's name), Cookie and Source";
                self.fault(resource, message);
                None
            }
        }
    }
}

fn std_of(duration: &Option<asked::Duration>) -> Option<Duration> {
    duration.as_ref().map(asked::Duration::to_std)
}

fn timeouts(asked: &asked::Timeouts) -> PerProtocol<Timeouts> {
    let of = |timeout: &Option<asked::Timeout>| match timeout {
        Some(timeout) => Timeouts { per_request: std_of(&timeout.per_request), idle: std_of(&timeout.idle) },
        None => Timeouts::default(),
    };
    PerProtocol { http: of(&asked.http), http2: of(&asked.http2), grpc: of(&asked.grpc), tcp: of(&asked.tcp) }
}

fn pool(asked: &asked::ConnectionPool) -> PerProtocol<PoolLimits> {
    let of = |limits: &Option<asked::PoolLimits>| match limits {
        Some(limits) => PoolLimits {
            max_connections: limits.max_connections,
            max_pending_requests: limits.max_pending_requests,
            max_requests: limits.max_requests,
        },
        None => PoolLimits::default(),
    };
    PerProtocol { http: of(&asked.http), http2: of(&asked.http2), grpc: of(&asked.grpc), tcp: of(&asked.tcp) }
}

fn retry(asked: &asked::RetryPolicy) -> RetryPolicy {
    let plain = asked.http_retry_events.iter().chain(&asked.tcp_retry_events);
    let of_grpc = asked.grpc_retry_events.iter().filter_map(|name| RetryEvent::named_grpc(name));
    let (budget, back_off) = (RetryBudget::default(), BackOff::default());
    let base =
        asked.back_off.as_ref().and_then(|asked| std_of(&asked.base_interval)).unwrap_or(back_off.base);
    RetryPolicy {
        max_retries: asked.max_retries,
        per_try_timeout: std_of(&asked.per_retry_timeout),
        // The template's reader has seen to their names.
        on: plain.filter_map(|name| RetryEvent::named(name)).chain(of_grpc).collect(),
        budget: RetryBudget {
            percent: asked.retry_budget.as_ref().and_then(|asked| asked.percent).unwrap_or(budget.percent),
            min_concurrency: asked
                .retry_budget
                .as_ref()
                .and_then(|asked| asked.min_concurrency)
                .unwrap_or(budget.min_concurrency),
        },
        back_off: BackOff {
            base,
            max: asked
                .back_off
                .as_ref()
                .and_then(|asked| std_of(&asked.max_interval))
                .unwrap_or_else(|| base.saturating_mul(10)),
        },
    }
}

fn outlier(asked: &asked::OutlierDetection) -> OutlierPolicy {
    let defaults = OutlierPolicy::default();
    OutlierPolicy {
        consecutive_failures: asked.max_server_errors.unwrap_or(defaults.consecutive_failures),
        consecutive_gateway_failures: asked.max_gateway_errors,
        consecutive_local_failures: asked.max_local_origin_errors,
        interval: std_of(&asked.interval).unwrap_or(defaults.interval),
        base_ejection: std_of(&asked.base_ejection_duration).unwrap_or(defaults.base_ejection),
        max_ejection: std_of(&asked.max_ejection_duration).unwrap_or(defaults.max_ejection),
        max_ejection_percent: asked.max_ejection_percent.unwrap_or(defaults.max_ejection_percent),
        success_rate: asked.success_rate.as_ref().map(|asked| {
            let defaults = SuccessRatePolicy::default();
            SuccessRatePolicy {
                minimum_hosts: asked.minimum_hosts.unwrap_or(defaults.minimum_hosts),
                request_volume: asked.request_volume.unwrap_or(defaults.request_volume),
                stdev_factor: asked.stdev_factor.unwrap_or(defaults.stdev_factor),
            }
        }),
        latency: asked.latency.as_ref().map(|asked| {
            let defaults = LatencyPolicy::default();
            LatencyPolicy {
                minimum_hosts: asked.minimum_hosts.unwrap_or(defaults.minimum_hosts),
                request_volume: asked.request_volume.unwrap_or(defaults.request_volume),
                factor_percent: asked.factor_percent.unwrap_or(defaults.factor_percent),
                minimum: std_of(&asked.minimum).unwrap_or(defaults.minimum),
            }
        }),
    }
}

fn health_check(asked: &asked::HealthCheck) -> HealthCheck {
    HealthCheck {
        protocol: match asked.protocol.as_str() {
            "grpc" => CheckProtocol::Grpc,
            "tcp" => CheckProtocol::Tcp,
            _ => CheckProtocol::Http(asked.path.clone().unwrap_or_else(|| "/".to_owned())),
        },
        interval: Duration::from_millis(asked.interval_millis),
        timeout: Duration::from_millis(asked.timeout_millis),
        healthy_threshold: asked.healthy_threshold,
        unhealthy_threshold: asked.unhealthy_threshold,
    }
}

fn balancing(asked: &asked::LoadBalancing, hash_on: Vec<HashKey>) -> LoadBalancing {
    let named =
        |name: &str| Balancer::NAMES.iter().find(|(_, known)| *known == name).map(|(known, _)| *known);
    LoadBalancing {
        balancer: asked.policy.as_deref().and_then(named).unwrap_or_default(),
        hash_on,
        slow_start: std_of(&asked.slow_start).unwrap_or_default(),
        panic_percent: asked.panic_threshold.unwrap_or_default(),
        zone_aware: asked.zone_aware.unwrap_or_default(),
        failover: asked.failover.clone(),
    }
}
