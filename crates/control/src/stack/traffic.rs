//! Traffic policies of a template: `Bowline::ServiceConnect::TrafficPolicy`.

use std::time::Duration;

use bowline_aws::{bowline::traffic as asked, cfn::StackResource};
use bowline_model::{
    balance::Balancer,
    outlier::{LatencyPolicy, OutlierPolicy, SuccessRatePolicy},
    retry::{BackOff, RetryBudget},
    traffic::{
        CheckProtocol, Fault, HashKey, HealthCheck, LimitKey, LoadBalancing, PerProtocol, PoolLimits,
        RateLimit, RetryEvent, RetryPolicy, Route, RouteMatch, Timeouts, TrafficPolicy, ValueKind,
        ValueMatch,
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
        let routes = self.routes(resource, &body.routes);
        let limits = body.local_rate_limit.iter().map(|limit| self.rate_limit(resource, limit)).collect();
        let faults = body.fault.iter().map(|fault| self.traffic_fault(resource, fault)).collect();
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
            routes,
            limits,
            faults,
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

    /// In the order in which they are asked.
    fn routes(&mut self, resource: &StackResource, asked: &[asked::Route]) -> Vec<Route> {
        let mut routes: Vec<(u32, Route)> = Vec::with_capacity(asked.len());
        for route in asked {
            let targets = &route.action.weighted_targets;
            if targets.iter().all(|target| target.weight == 0) {
                self.fault(resource, "Routes.Action.WeightedTargets: at least one Weight must be above 0");
            }
            let made = Route {
                matches: self.route_match(resource, route.matches.as_ref()),
                targets: targets.iter().map(|target| (target.virtual_node.clone(), target.weight)).collect(),
                request_timeout: route.timeout.as_ref().and_then(|timeout| std_of(&timeout.per_request)),
                retry: route.retry_policy.as_ref().map(retry),
                sticky: route.sticky.iter().filter_map(|key| self.hash_key(resource, key)).collect(),
            };
            routes.push((route.priority.unwrap_or(1_000), made));
        }
        // Stable: those of one priority stay in order.
        routes.sort_by_key(|(priority, _)| *priority);
        routes.into_iter().map(|(_, route)| route).collect()
    }

    fn route_match(&mut self, resource: &StackResource, asked: Option<&asked::RouteMatch>) -> RouteMatch {
        let Some(asked) = asked else { return RouteMatch::default() };
        let path = match (&asked.path, &asked.prefix) {
            (Some(path), None) => Some(path.exact.clone()),
            (None, Some(prefix)) => Some(format!("{prefix}*")),
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.fault(resource, "Match: give Path or Prefix, not both");
                None
            }
        };
        let mut headers = Vec::with_capacity(asked.headers.len());
        for header in &asked.headers {
            if http::HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                self.fault(resource, format!("Match.Headers: {:?} is no header's name", header.name));
            }
            let value = header.value.clone().unwrap_or_default();
            let mut given = [
                value.exact.map(ValueKind::Exact),
                value.prefix.map(ValueKind::Prefix),
                value.suffix.map(ValueKind::Suffix),
                value.range.map(|range| ValueKind::Range(range.start, range.end)),
            ]
            .into_iter()
            .flatten();
            let kind = given.next().unwrap_or(ValueKind::Present);
            if given.next().is_some() || (kind == ValueKind::Present && header.value.is_some()) {
                self.fault(resource, "Match.Headers.Match: give one of Exact, Prefix, Suffix and Range");
            }
            let invert = header.invert.unwrap_or_default();
            headers.push(ValueMatch { name: header.name.to_ascii_lowercase(), kind, invert });
        }
        let query = asked.query_parameters.iter().map(|query| ValueMatch {
            name: query.name.clone(),
            kind: query
                .value
                .as_ref()
                .map_or(ValueKind::Present, |value| ValueKind::Exact(value.exact.clone())),
            invert: false,
        });
        RouteMatch { path, method: asked.method.clone(), headers, query: query.collect() }
    }

    fn rate_limit(&mut self, resource: &StackResource, asked: &asked::RateLimit) -> RateLimit {
        let per = match (asked.per_caller.unwrap_or_default(), &asked.per_header) {
            (false, None) => LimitKey::All,
            (true, None) => LimitKey::Caller,
            (false, Some(header)) if http::HeaderName::from_bytes(header.as_bytes()).is_ok() => {
                LimitKey::Header(header.to_ascii_lowercase())
            }
            _ => {
                let message = "LocalRateLimit: give PerCaller or PerHeader (a header's name), not both";
                self.fault(resource, message);
                LimitKey::All
            }
        };
        RateLimit {
            name: asked.name.clone(),
            matches: self.route_match(resource, asked.matches.as_ref()),
            per_second: asked.requests_per_second,
            burst: asked.burst,
            per,
        }
    }

    fn traffic_fault(&mut self, resource: &StackResource, asked: &asked::Fault) -> Fault {
        if asked.delay.is_none() && asked.abort.is_none() {
            self.fault(resource, "Fault: give Delay, Abort, or both");
        }
        // The template's reader has seen to the range.
        let per_million = |percent: f64| (percent * 10_000.0).round() as u32;
        Fault {
            matches: self.route_match(resource, asked.matches.as_ref()),
            delay: asked.delay.as_ref().map(|delay| (per_million(delay.percent), delay.duration.to_std())),
            abort: asked.abort.as_ref().map(|abort| (per_million(abort.percent), abort.http_status)),
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
