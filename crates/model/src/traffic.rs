//! What `Bowline::ServiceConnect::TrafficPolicy` says of the traffic to one
//! discovery name. What it does not say stays as AWS has it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    balance::Balancer,
    outlier::OutlierPolicy,
    retry::{BackOff, RetryBudget},
    task_definition::AppProtocol,
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficPolicy {
    /// Told in messages.
    pub name: String,
    /// The namespace's name; `None`: whichever has the discovery name.
    pub namespace: Option<String>,
    /// The discovery name whose traffic this is.
    pub discovery_name: String,
    /// Timeouts by what is spoken.
    #[serde(default)]
    pub timeouts: PerProtocol<Timeouts>,
    /// `None`: AWS's two tries more.
    pub retry: Option<RetryPolicy>,
    /// `None`: AWS's.
    pub outlier: Option<OutlierPolicy>,
    /// Limits by what is spoken.
    #[serde(default)]
    pub pool: PerProtocol<PoolLimits>,
    /// Most retries in flight of one proxy, beside the budget.
    #[serde(default)]
    pub max_retries_in_flight: Option<u32>,
    /// `None`: no active checks.
    pub health_check: Option<HealthCheck>,
    /// `None`: in turn.
    pub balancing: Option<LoadBalancing>,
    /// Asked one after the other; what none matches goes to the discovery name itself.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Token buckets of each task's proxy.
    #[serde(default)]
    pub limits: Vec<RateLimit>,
    /// Put in on purpose by callers' proxies.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

impl TrafficPolicy {
    /// Whether it speaks of a discovery name of a namespace.
    pub fn is_of(&self, namespace: &str, discovery_name: &str) -> bool {
        self.discovery_name == discovery_name && self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether it sends requests, by its routes or where its own tasks fail, to a discovery name.
    pub fn leads_to(&self, discovery_name: &str) -> bool {
        let routed = self.routes.iter().flat_map(|route| &route.targets).map(|(name, _)| name);
        let failover = self.balancing.iter().flat_map(|balancing| &balancing.failover);
        routed.chain(failover).any(|name| name == discovery_name)
    }

    /// Whether another one may speak of the same.
    pub fn collides_with(&self, other: &Self) -> bool {
        self.discovery_name == other.discovery_name
            && match (&self.namespace, &other.namespace) {
                (Some(own), Some(other)) => own == other,
                _ => true,
            }
    }
}

/// One thing for each protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerProtocol<T> {
    /// HTTP/1.1.
    pub http: T,
    /// HTTP/2.
    pub http2: T,
    /// gRPC.
    pub grpc: T,
    /// TCP.
    pub tcp: T,
}

impl<T> PerProtocol<T> {
    /// What is said of a protocol.
    pub fn of(&self, protocol: AppProtocol) -> &T {
        match protocol {
            AppProtocol::Http => &self.http,
            AppProtocol::Http2 => &self.http2,
            AppProtocol::Grpc => &self.grpc,
            AppProtocol::Tcp => &self.tcp,
        }
    }
}

/// App Mesh's `timeout`; zero disables, `None` leaves what the service says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the request's arrival to the response's end.
    pub per_request: Option<Duration>,
    /// A connection without traffic.
    pub idle: Option<Duration>,
}

/// App Mesh's `connectionPool`; `None` sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolLimits {
    /// Connections.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests in flight.
    pub max_requests: Option<u32>,
}

/// App Mesh's `retryPolicy`, with a budget and a back-off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Tries beyond the first.
    pub max_retries: u32,
    /// `None`: the request's time is all there is.
    pub per_try_timeout: Option<Duration>,
    /// What is tried again; empty: what AWS does.
    pub on: Vec<RetryEvent>,
    /// How many at once.
    pub budget: RetryBudget,
    /// How long between tries.
    pub back_off: BackOff,
}

/// App Mesh's retry events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryEvent {
    /// `server-error`: any 5xx.
    ServerError,
    /// `gateway-error`: 502, 503, 504.
    GatewayError,
    /// `client-error`: 409.
    ClientError,
    /// `stream-error`: a refused stream.
    StreamError,
    /// `connection-error`: no connection.
    ConnectionError,
    /// A gRPC status, of [`GRPC_RETRIABLE`](crate::retry::GRPC_RETRIABLE).
    Grpc(u8),
}

impl RetryEvent {
    /// App Mesh's name of an event of HTTP or TCP.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "server-error" => Self::ServerError,
            "gateway-error" => Self::GatewayError,
            "client-error" => Self::ClientError,
            "stream-error" => Self::StreamError,
            "connection-error" => Self::ConnectionError,
            _ => return None,
        })
    }

    /// App Mesh's name of an event of gRPC.
    pub fn named_grpc(name: &str) -> Option<Self> {
        let known = crate::retry::GRPC_RETRIABLE.iter().find(|(_, known)| *known == name);
        known.map(|(status, _)| Self::Grpc(*status))
    }
}

/// App Mesh's `healthCheck`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// How it is asked.
    pub protocol: CheckProtocol,
    /// Between two checks. 5 s to 300 s in App Mesh; here from 100 ms.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Checks in a row that make it healthy.
    pub healthy_threshold: u32,
    /// Checks in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
}

/// How a check is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckProtocol {
    /// A GET of this path, answered 200 to 399 as App Mesh has it.
    Http(String),
    /// `grpc.health.v1.Health`.
    Grpc,
    /// A connection.
    Tcp,
}

/// How endpoints are chosen. Bowline's own: App Mesh and AWS have no field for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancing {
    /// One of several that are equal.
    pub balancer: Balancer,
    /// [`Balancer::RingHash`]: what is hashed, the first that a request has.
    pub hash_on: Vec<HashKey>,
    /// Zero: none.
    pub slow_start: Duration,
    /// Fewer healthy endpoints than so many percent: all are used. 0: only
    /// where none is healthy.
    pub panic_percent: u32,
    /// The caller's own zone first.
    pub zone_aware: bool,
    /// Discovery names of the namespace that take over, in this order, as far
    /// as those before are not healthy.
    pub failover: Vec<String>,
}

/// What makes requests go to the same endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashKey {
    /// A header's value.
    Header(String),
    /// A cookie, which is set where it is not there.
    Cookie {
        /// Its name.
        name: String,
        /// Zero: the client's session.
        ttl: Duration,
        /// `/` by default.
        path: String,
    },
    /// The client's address.
    Source,
}

/// App Mesh's route: requests that match go to targets by weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Which requests.
    pub matches: RouteMatch,
    /// Discovery names of the namespace, with their weights.
    pub targets: Vec<(String, u32)>,
    /// In place of the policy's own.
    pub request_timeout: Option<Duration>,
    /// In place of the policy's own.
    pub retry: Option<RetryPolicy>,
    /// What keeps a client with one of the targets.
    pub sticky: Vec<HashKey>,
}

/// App Mesh's `HttpRouteMatch`: all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// A pattern of the path with `*` at its end, or all of it.
    pub path: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// Headers.
    pub headers: Vec<ValueMatch>,
    /// Parameters of the query.
    pub query: Vec<ValueMatch>,
}

/// What a header's or a parameter's value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueMatch {
    /// The name.
    pub name: String,
    /// What of the value.
    pub kind: ValueKind,
    /// It must not hold; what is not there at all is only matched with [`ValueKind::Present`].
    pub invert: bool,
}

/// What of a value is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueKind {
    /// All of it.
    Exact(String),
    /// How it begins.
    Prefix(String),
    /// How it ends.
    Suffix(String),
    /// That it is there.
    Present,
    /// A whole number from the first up to, and without, the second.
    Range(i64, i64),
}

/// A token bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Told to clients.
    pub name: String,
    /// Which requests.
    pub matches: RouteMatch,
    /// Tokens a second.
    pub per_second: f64,
    /// Most tokens.
    pub burst: u32,
    /// A bucket for each of these.
    pub per: LimitKey,
}

/// What has a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKey {
    /// All requests share one.
    All,
    /// Each calling identity.
    Caller,
    /// Each value of a header.
    Header(String),
}

/// A fault that is put in on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which requests.
    pub matches: RouteMatch,
    /// Of a million requests, and how long.
    pub delay: Option<(u32, Duration)>,
    /// Of a million requests, and with which status.
    pub abort: Option<(u32, u16)>,
}
