//! `Bowline::ServiceConnect::TrafficPolicy`: App Mesh's names and shapes, as
//! `AWS::AppMesh::Route` and `AWS::AppMesh::VirtualNode` have them, on a discovery name.

use serde::{Deserialize, Serialize};

/// How traffic to a discovery name is carried: every proxy that calls it goes by this at once.
/// `Ref` yields its physical id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TrafficPolicy {
    /// Told in messages; the default is the logical id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace: its name, ARN or id. Without it whichever has the discovery name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The discovery name.
    pub discovery_name: String,
    /// App Mesh's `Timeout`, above the service's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeouts>,
    /// App Mesh's `RetryPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// App Mesh's `OutlierDetection`, and more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// App Mesh's `ConnectionPool`, and more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<ConnectionPool>,
    /// App Mesh's `HealthCheck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Bowline's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// App Mesh's routes, asked by `Priority`, then in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Bowline's own: token buckets of each task's proxy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub local_rate_limit: Vec<RateLimit>,
    /// Bowline's own: faults that callers' proxies put in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fault: Vec<Fault>,
}

/// App Mesh's `Duration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Duration {
    /// `s` or `ms`.
    pub unit: String,
    /// How many.
    pub value: u64,
}

impl Duration {
    /// As the standard library has it.
    pub fn to_std(&self) -> std::time::Duration {
        match self.unit.as_str() {
            "s" => std::time::Duration::from_secs(self.value),
            _ => std::time::Duration::from_millis(self.value),
        }
    }
}

/// App Mesh's `ListenerTimeout`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
pub struct Timeouts {
    /// HTTP/1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Timeout>,
    /// HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<Timeout>,
    /// gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Timeout>,
    /// TCP: [`Timeout::idle`] alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Timeout>,
}

/// App Mesh's `HttpTimeout`. Zero disables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Timeout {
    /// From a request's arrival to its response's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_request: Option<Duration>,
    /// Of a connection without traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}

/// App Mesh's `HttpRetryPolicy` and `GrpcRetryPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RetryPolicy {
    /// Tries beyond the first.
    pub max_retries: u32,
    /// For one try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_retry_timeout: Option<Duration>,
    /// `server-error`, `gateway-error`, `client-error`, `stream-error`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_retry_events: Vec<String>,
    /// `connection-error`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp_retry_events: Vec<String>,
    /// `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grpc_retry_events: Vec<String>,
    /// Bowline's own: how many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Bowline's own: how long between tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off: Option<BackOff>,
}

/// Envoy's retry budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RetryBudget {
    /// Of the requests in flight. Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Always allowed. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_concurrency: Option<u32>,
}

/// Envoy's retry back-off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BackOff {
    /// Default 25 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_interval: Option<Duration>,
    /// Default ten times the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<Duration>,
}

/// App Mesh's `OutlierDetection`; the first four are required there, here what is missing is AWS's
/// default for Service Connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OutlierDetection {
    /// Consecutive failures that eject. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_server_errors: Option<u32>,
    /// Default 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Default 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ejection_duration: Option<Duration>,
    /// Default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
    /// Bowline's own: the longest ejection. Default 300 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_duration: Option<Duration>,
    /// Bowline's own: consecutive 502, 503, 504 that eject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_gateway_errors: Option<u32>,
    /// Bowline's own: consecutive connection failures, timeouts and resets that eject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_local_origin_errors: Option<u32>,
    /// Bowline's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// Bowline's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// Envoy's success rate ejection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SuccessRate {
    /// Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// In thousandths. Default 1,900.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdev_factor: Option<u32>,
}

/// Ejection of the slow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Latency {
    /// Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// Of the median. Default 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor_percent: Option<u32>,
    /// Never below that. Default 50 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Duration>,
}

/// App Mesh's `VirtualNodeConnectionPool`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
pub struct ConnectionPool {
    /// `MaxConnections`, `MaxPendingRequests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<PoolLimits>,
    /// `MaxRequests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<PoolLimits>,
    /// `MaxRequests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<PoolLimits>,
    /// `MaxConnections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<PoolLimits>,
    /// Bowline's own: most retries in flight, beside the budget.
    #[serde(rename = "MaxRetries", skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}

/// Limits of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PoolLimits {
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

/// App Mesh's `HealthCheck`; its `Port` is the discovery name's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// `http`, `http2`, `grpc` or `tcp`.
    pub protocol: String,
    /// `http` and `http2`. Default `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Between two checks.
    pub interval_millis: u64,
    /// For one check.
    pub timeout_millis: u64,
    /// Checks in a row that make it healthy.
    pub healthy_threshold: u32,
    /// Checks in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
}

/// How endpoints are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LoadBalancing {
    /// `ROUND_ROBIN` (the default), `LEAST_REQUEST`, `PEAK_EWMA`, `RANDOM`, `RING_HASH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `RING_HASH`: what is hashed, the first that a request has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash_on: Vec<HashKey>,
    /// How long a new endpoint takes to get its full share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// Percent of healthy endpoints below which all are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<u32>,
    /// The caller's own zone first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_aware: Option<bool>,
    /// Discovery names that take over, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failover: Vec<String>,
}

/// Exactly one of its members is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HashKey {
    /// A header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<bool>,
}

/// A cookie that is set where it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Without it: the client's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Default `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// App Mesh's `HttpRoute`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Route {
    /// Lower numbers are asked first. Default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Which requests; without it all.
    #[serde(rename = "Match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<RouteMatch>,
    /// Where they go.
    pub action: RouteAction,
    /// In place of the policy's own; `PerRequest` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// In place of the policy's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// Bowline's own: what keeps a client with one of the targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sticky: Vec<HashKey>,
}

/// App Mesh's `HttpRouteAction`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteAction {
    /// Where requests go.
    pub weighted_targets: Vec<WeightedTarget>,
}

/// App Mesh's `WeightedTarget`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightedTarget {
    /// A discovery name of the namespace: what a virtual node is here.
    pub virtual_node: String,
    /// Its share.
    pub weight: u32,
}

/// App Mesh's `HttpRouteMatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteMatch {
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<ExactMatch>,
    /// How the path begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Headers, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Parameters of the query, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query_parameters: Vec<QueryMatch>,
}

/// All of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExactMatch {
    /// The text.
    pub exact: String,
}

/// App Mesh's `HttpRouteHeader`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    /// It must not hold; a value that is not there at all does not match either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invert: Option<bool>,
    /// What its value is; without it the header is there.
    #[serde(rename = "Match", skip_serializing_if = "Option::is_none")]
    pub value: Option<ValueMatch>,
}

/// App Mesh's `HeaderMatchMethod`: exactly one member is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ValueMatch {
    /// All of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// How it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// A whole number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// From `start` up to, and without, `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Range {
    /// The first number.
    pub start: i64,
    /// The one after the last.
    pub end: i64,
}

/// App Mesh's `QueryParameter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    /// Its value; without it the parameter is there.
    #[serde(rename = "Match", skip_serializing_if = "Option::is_none")]
    pub value: Option<ExactMatch>,
}

/// A token bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RateLimit {
    /// Told to clients in `RateLimit`.
    pub name: String,
    /// Which requests; without it all.
    #[serde(rename = "Match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<RouteMatch>,
    /// Tokens a second.
    pub requests_per_second: f64,
    /// Most tokens.
    pub burst: u32,
    /// A bucket for each calling identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_caller: Option<bool>,
    /// A bucket for each value of this header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_header: Option<String>,
}

/// A fault that is put in on purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Fault {
    /// Which requests; without it all.
    #[serde(rename = "Match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<RouteMatch>,
    /// Holds requests up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultDelay>,
    /// Answers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultAbort>,
}

/// How many requests are held up, and how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FaultDelay {
    /// Of the requests.
    pub percent: f64,
    /// How long.
    pub duration: Duration,
}

/// How many requests are answered, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FaultAbort {
    /// Of the requests.
    pub percent: f64,
    /// 200 to 599.
    pub http_status: u16,
}
