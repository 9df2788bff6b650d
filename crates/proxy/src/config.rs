//! What the proxy acts on: validated, resolved, immutable.
//!
//! [`store::ResourceStore`] turns the stream's messages into these types (each
//! message by itself, so that a bad one is refused by itself) and links them
//! into one [`Snapshot`], which is swapped whole.

pub(crate) mod balancing;
pub(crate) mod convert;
mod endpoints;
pub(crate) mod external;
mod handshakes;
pub(crate) mod origins;
pub(crate) mod refusals;
pub(crate) mod series;
pub(crate) mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use bowline_discovery::v1;
use bowline_model::{
    authorization::Rules,
    identity::SpiffeId,
    retry::{BackOff, RetryBudget},
    sampling::Sampler,
    wildcard::Wildcard,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;

use self::{
    balancing::{Balancing, HashKey},
    external::ExternalUpstream,
    series::ClusterSeries,
};
use crate::{
    fault::FaultRule,
    health::ClusterHealth,
    limit::Limiter,
    load::{Breakers, ClusterLoad},
    metrics::ClusterMetrics,
    names::ByName,
    tls::{trust::TrustStore, verify::ExpectedServers},
};

/// Everything that decides what happens to a connection or a request.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Grows with each snapshot of this process.
    pub(crate) generation: u64,
    /// Grows when what callers may do can have changed.
    pub(crate) rules_generation: u64,
    pub(crate) listeners: ByName<Arc<Listener>>,
    pub(crate) clusters: ByName<Arc<Cluster>>,
    /// The proxy's own id, once it has a certificate.
    pub(crate) own_id: Option<SpiffeId>,
    /// Who is believed, and which certificates are refused although they have not expired.
    pub(crate) trust: Arc<TrustStore>,
    /// Host names (lower case) of the outbound listeners.
    pub(crate) names: BTreeMap<String, Ipv4Addr>,
    /// Whom to ask for names of private DNS namespaces.
    pub(crate) private_dns: Option<Arc<PrivateDns>>,
    /// Which requests are traced; `None`: none are.
    pub(crate) tracing: Option<Arc<Sampler>>,
}

/// A server of private DNS namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrivateDns {
    pub(crate) server: SocketAddr,
    /// Names of the namespaces, in lower case and without a last dot.
    pub(crate) zones: BTreeSet<String>,
}

impl PrivateDns {
    /// Whether a name (lower case, without a last dot) is in one of the namespaces.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let mut above = std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1));
        above.any(|name| self.zones.contains(name))
    }
}

/// A socket that connections are accepted on.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) bind: Bind,
    pub(crate) protocol: v1::Protocol,
    /// `None`: the stream has not named one that exists (404 or closed).
    pub(crate) route: Option<Arc<Route>>,
    /// Where TCP connections go.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Inbound only.
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_connections: usize,
}

/// Where a listener's socket is, and who connects to it.
#[derive(Debug)]
pub(crate) enum Bind {
    Outbound(OutboundBind),
    Inbound(InboundBind),
    Public(PublicBind),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboundBind {
    pub(crate) address: SocketAddr,
    pub(crate) hostnames: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct InboundBind {
    pub(crate) port_name: String,
    /// Where to bind without a shim.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls: v1::TlsMode,
    /// `None` until there is a certificate: connections are refused.
    pub(crate) server: Option<Arc<ServerConfig>>,
    /// `None`: nobody may call.
    pub(crate) authorization: Option<Arc<Rules>>,
}

#[derive(Debug)]
pub(crate) struct PublicBind {
    pub(crate) address: SocketAddr,
    pub(crate) tls: PublicTls,
}

#[derive(Debug)]
pub(crate) enum PublicTls {
    /// Plain HTTP.
    Off,
    /// The certificate is not there yet: connections are refused.
    Waiting,
    On(Arc<ServerConfig>),
}

/// What happens to each request of a listener.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) matches: Match,
    pub(crate) action: Action,
}

/// All conditions of a rule; empty lists match everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match {
    pub(crate) hosts: Vec<Wildcard>,
    pub(crate) paths: Vec<Wildcard>,
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<(HeaderName, ValueMatch)>,
    pub(crate) query: Vec<(String, ValueMatch)>,
    /// All of these must hold too.
    pub(crate) also: Vec<Match>,
}

/// What a header's or a query parameter's value must be, or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueMatch {
    pub(crate) kind: ValueKind,
    pub(crate) invert: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Present,
    /// From the first up to, and without, the second.
    Range(i64, i64),
}

impl ValueMatch {
    /// Whether one of the values does, or none of them where that is asked for. As in Envoy, what is not
    /// there at all is only matched by an inverted [`ValueKind::Present`].
    pub(crate) fn matches(&self, values: impl Iterator<Item: AsRef<[u8]>>) -> bool {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return self.invert && self.kind == ValueKind::Present;
        }
        values.any(|value| self.kind.matches(value.as_ref())) != self.invert
    }
}

impl ValueKind {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
            Self::Present => true,
            Self::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse::<i64>().ok())
                .is_some_and(|value| (*start..*end).contains(&value)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Fixed(Fixed),
}

#[derive(Debug)]
pub(crate) struct Forward {
    /// Clusters that exist, with their weights; the weights' sum beside them.
    pub(crate) clusters: Vec<(Arc<Cluster>, u32)>,
    pub(crate) weight_total: u64,
    /// Grows with each request of the route; outlives snapshots.
    pub(crate) turns: Arc<AtomicU64>,
    /// What keeps a client with one of the clusters.
    pub(crate) sticky: Vec<HashKey>,
    /// Put in on purpose.
    pub(crate) faults: Arc<[FaultRule]>,
    pub(crate) policy: ForwardPolicy,
}

/// Time limits and retries of a rule.
#[derive(Clone, Debug)]
pub(crate) struct ForwardPolicy {
    pub(crate) timeout: Option<Duration>,
    pub(crate) per_try_timeout: Option<Duration>,
    pub(crate) max_retries: u32,
    pub(crate) retry_on: RetryOn,
    pub(crate) budget: RetryBudget,
    pub(crate) back_off: BackOff,
    /// Longest `Retry-After` that is waited for.
    pub(crate) retry_after_max: Duration,
}

/// How often connecting is tried where TCP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectRetry {
    /// Tries beyond the first.
    pub(crate) max_retries: u32,
    /// For one try, the other proxy's verdict included.
    pub(crate) per_try_timeout: Option<Duration>,
    /// A share of the cluster's connections.
    pub(crate) budget: RetryBudget,
    pub(crate) back_off: BackOff,
}

/// Envoy's retry conditions, as far as the stream names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetryOn {
    pub(crate) connect_failure: bool,
    pub(crate) refused_stream: bool,
    pub(crate) reset: bool,
    pub(crate) gateway_error: bool,
    pub(crate) server_error: bool,
    pub(crate) unavailable: bool,
    /// 409, Envoy's `retriable-4xx`.
    pub(crate) conflict: bool,
    /// gRPC statuses, a bit each.
    pub(crate) grpc: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub(crate) protocol: String,
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) status: StatusCode,
}

#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) status: StatusCode,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: bytes::Bytes,
}

/// A set of endpoints that are equal in what they serve.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) discovery_name: Arc<str>,
    pub(crate) protocol: v1::Protocol,
    pub(crate) upstream: Upstream,
    pub(crate) connect_timeout: Duration,
    /// Most connections to one endpoint and worker; 0: the pool's default.
    pub(crate) max_connections: usize,
    pub(crate) breakers: Breakers,
    /// Of TCP connections.
    pub(crate) connect_retry: ConnectRetry,
    pub(crate) balancing: Balancing,
    pub(crate) health_check: Option<HealthCheck>,
    /// The snapshot's, whose endpoints these are.
    pub(crate) generation: u64,
    /// Ejections and check results; outlives snapshots.
    pub(crate) health: Arc<ClusterHealth>,
    /// What is under way; outlives snapshots.
    pub(crate) load: Arc<ClusterLoad>,
    pub(crate) metrics: Arc<ClusterMetrics>,
    /// The row of what crosses to its upstream; outlives snapshots.
    pub(crate) series: ClusterSeries,
}

/// What is behind a cluster.
#[derive(Debug)]
pub(crate) enum Upstream {
    Mesh(MeshUpstream),
    /// Servers outside the mesh.
    External(ExternalUpstream),
    /// The task's own application; the host is the task's default if `None`.
    Application {
        address: Option<std::net::IpAddr>,
        port: u16,
    },
}

impl Upstream {
    /// Who another proxy must prove to be; `None` where there is none, or the hop is plaintext.
    pub(crate) fn expected(&self) -> Option<&ExpectedServers> {
        match self {
            Self::Mesh(MeshUpstream { tls: UpstreamTls::On(configs), .. }) => configs.expected.as_ref(),
            _ => None,
        }
    }

    /// What can be picked from; the application is no endpoint.
    pub(crate) fn endpoints(&self) -> &[Arc<Endpoint>] {
        match self {
            Self::Mesh(mesh) => &mesh.endpoints,
            Self::External(external) => &external.endpoints,
            Self::Application { .. } => &[],
        }
    }
}

#[derive(Debug)]
pub(crate) struct MeshUpstream {
    pub(crate) tls: UpstreamTls,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
}

/// How the hop to another proxy is protected.
#[derive(Clone, Debug)]
pub(crate) enum UpstreamTls {
    Plaintext,
    /// No certificate or no roots yet: the hop cannot be made.
    Waiting,
    On(Arc<HopConfigs>),
}

/// The client's configuration, one for each protocol offered by ALPN.
#[derive(Debug)]
pub(crate) struct HopConfigs {
    /// By the cluster's protocol: `h2` or `bowline-tcp` in the mesh; `h2`, `http/1.1` or nothing
    /// outside.
    pub(crate) main: Arc<ClientConfig>,
    /// `http/1.1`, for upgrades.
    pub(crate) upgrade: Arc<ClientConfig>,
    /// In the mesh: who the server may be.
    pub(crate) expected: Option<ExpectedServers>,
    /// Connections differ in what they show: none serves who comes after it was made.
    pub(crate) for_one: bool,
}

/// One sidecar's inbound socket, or a server's outside the mesh.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) task_id: String,
    pub(crate) weight: u32,
    pub(crate) draining: bool,
    /// 0 is used first.
    pub(crate) priority: u8,
    /// The availability zone; empty where it is not known.
    pub(crate) zone: Arc<str>,
    /// Outside the mesh: what it is called, where it was given by name.
    pub(crate) hostname: Option<Arc<str>>,
    /// Outside the mesh: in place of the cluster's.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// On purpose, in place of `address`.
    pub(crate) diverted: Option<Diverted>,
    pub(crate) health: Arc<crate::health::EndpointHealth>,
}

/// Where connections to an endpoint are led on purpose, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Diverted {
    pub(crate) to: SocketAddr,
    pub(crate) until: Instant,
}

impl Endpoint {
    /// The address that is connected to at this moment. All else about an endpoint goes by its own.
    pub(crate) fn way(&self) -> SocketAddr {
        match &self.diverted {
            Some(diverted) if Instant::now() < diverted.until => diverted.to,
            _ => self.address,
        }
    }
}

/// An active check of a cluster's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) protocol: CheckProtocol,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) healthy_threshold: u32,
    pub(crate) unhealthy_threshold: u32,
    /// Inclusive ranges of accepted status codes.
    pub(crate) matcher: Vec<(u16, u16)>,
}

/// How an endpoint is asked whether it is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckProtocol {
    /// A (TLS) connection is enough.
    Tcp,
    Http(http::uri::PathAndQuery),
    /// `grpc.health.v1.Health`, for a service or, where that is empty, the server.
    Grpc(String),
}

impl Listener {
    /// The key of the socket: two listeners with the same key share a socket
    /// across a change of everything else.
    pub(crate) fn socket_key(&self) -> SocketKey {
        match &self.bind {
            Bind::Outbound(bind) => SocketKey::Outbound(bind.address),
            Bind::Inbound(bind) => SocketKey::Inbound(bind.port_name.clone(), bind.address),
            Bind::Public(bind) => SocketKey::Public(bind.address),
        }
    }
}

/// Names a listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SocketKey {
    Outbound(SocketAddr),
    Inbound(String, Option<SocketAddr>),
    Public(SocketAddr),
}
