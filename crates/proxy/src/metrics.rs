//! What a proxy counts.
//!
//! - Here: what is counted for each direction and cluster, for whoever looks at one proxy.
//! - `series`: who talks with whom, which is what the control plane is told.
//! - `histogram`: durations.
//! - `exemplars`: durations that lead to a trace.
//! - `exposition`: all of it as Prometheus reads it.

mod exemplars;
mod exposition;
pub(crate) mod histogram;
pub(crate) mod series;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

pub(crate) use causes;

use self::series::{Series, SeriesTable};
use crate::refusal::{Refusal, RefusalCause, RefusedParty};

causes! {
    /// Why a TLS handshake failed, as one side saw it.
    HandshakeFailure {
        /// The client did not speak TLS.
        Plaintext => "plaintext",
        /// No common TLS version: the client offers 1.2 at most.
        TlsVersion => "tls_version",
        /// No certificate was shown.
        NoClientCertificate => "no_client_certificate",
        /// The chain ends in no root that is believed here.
        UnknownCa => "unknown_ca",
        /// The certificate is over, or not yet valid.
        Expired => "expired",
        /// The certificate has been revoked.
        Revoked => "revoked",
        /// Not exactly one SPIFFE id, or one that is not expected.
        WrongIdentity => "wrong_identity",
        /// The certificate is not for this use, or its signature is wrong.
        BadCertificate => "bad_certificate",
        /// The other side offers none of our protocols (ALPN).
        Protocol => "protocol",
        /// The client wants a host (SNI) that nobody here answers for.
        UnknownName => "unknown_name",
        /// The other side refused us with an alert.
        RefusedByPeer => "refused_by_peer",
        /// It took too long.
        Timeout => "timeout",
        /// This side has no certificate yet.
        NotReady => "not_ready",
        /// The connection broke.
        Io => "io",
    }
}

causes! {
    /// Envoy's response flags, as far as this proxy sets them.
    Flag {
        /// Nothing to tell.
        None => "-",
        /// No connection to the upstream.
        UpstreamConnectionFailure => "UF",
        /// No healthy upstream.
        NoHealthyUpstream => "UH",
        /// The upstream took too long.
        UpstreamRequestTimeout => "UT",
        /// The upstream broke off before its response.
        UpstreamConnectionTermination => "UC",
        /// The upstream's connection broke after tries were used up.
        UpstreamRetryLimitExceeded => "URX",
        /// A limit of connections or waiting requests was reached.
        UpstreamOverflow => "UO",
        /// The downstream went away.
        DownstreamConnectionTermination => "DC",
        /// No route.
        NoRouteFound => "NR",
        /// The route's cluster does not exist.
        NoClusterFound => "NC",
        /// The authorization said no.
        UnauthorizedExternalService => "UAEX",
        /// The request is malformed.
        DownstreamProtocolError => "DPE",
        /// The proxy's memory runs out.
        OverloadManager => "OM",
        /// A rate limit was reached.
        RateLimited => "RL",
        /// A fault that was put in on purpose.
        FaultInjected => "FI",
    }
}

/// Which way a listener's traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the task's application.
    Outbound,
    /// From other proxies.
    Inbound,
    /// From clients outside the mesh.
    Public,
    /// From the task's application to destinations outside the mesh.
    Egress,
}

impl Direction {
    /// Every value.
    pub const ALL: &'static [Direction] = &[Self::Outbound, Self::Inbound, Self::Public, Self::Egress];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Public => "public",
            Self::Egress => "egress",
        }
    }
}

const HANDSHAKE_FAILURES: usize = HandshakeFailure::ALL.len();
const DIRECTIONS: usize = Direction::ALL.len();
const FLAGS: usize = Flag::ALL.len();
const PARTIES: usize = RefusedParty::ALL.len();
const REFUSALS: usize = RefusalCause::ALL.len();

/// What is counted for one direction.
#[derive(Debug, Default)]
pub(crate) struct DirectionMetrics {
    pub(crate) connections: Counter,
    pub(crate) connections_active: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) requests: Counter,
    pub(crate) requests_active: Gauge,
    /// Responses by hundreds of the status.
    pub(crate) responses: [Counter; 6],
    pub(crate) flags: [Counter; FLAGS],
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) handshakes: Counter,
    handshake_failures: [Counter; HANDSHAKE_FAILURES],
    /// Refused identities, by whose and why.
    refusals: [[Counter; REFUSALS]; PARTIES],
    /// Calls that a rule of effect AUDIT matched.
    pub(crate) audited: Counter,
    /// Requests that could be read in two ways.
    pub(crate) ambiguous: Counter,
}

impl DirectionMetrics {
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refusals[refusal.party as usize][refusal.cause as usize].increment();
    }

    pub(crate) fn handshake_failed(&self, cause: HandshakeFailure) {
        self.handshake_failures[cause as usize].increment();
    }

    pub(crate) fn handshake_failures(&self, cause: HandshakeFailure) -> u64 {
        self.handshake_failures[cause as usize].get()
    }

    pub(crate) fn responded(&self, status: u16, flag: Flag) {
        self.responses[usize::from(status / 100).min(5)].increment();
        if flag != Flag::None {
            self.flags[flag as usize].increment();
        }
    }
}

/// What is counted for one cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterMetrics {
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    /// Retries that were not made, because there were enough.
    pub(crate) retries_denied: Counter,
    /// Requests and connections over a limit of the cluster's.
    pub(crate) overflows: Counter,
    pub(crate) connections: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) responses: [Counter; 6],
    pub(crate) ejections: Counter,
    handshake_failures: [Counter; HANDSHAKE_FAILURES],
}

impl ClusterMetrics {
    pub(crate) fn handshake_failed(&self, cause: HandshakeFailure) {
        self.handshake_failures[cause as usize].increment();
    }

    pub(crate) fn handshake_failures(&self, cause: HandshakeFailure) -> u64 {
        self.handshake_failures[cause as usize].get()
    }

    pub(crate) fn responded(&self, status: u16) {
        self.responses[usize::from(status / 100).min(5)].increment();
    }
}

/// All counters of a proxy.
#[derive(Debug, Default)]
pub struct Metrics {
    directions: [DirectionMetrics; DIRECTIONS],
    clusters: Mutex<BTreeMap<String, Arc<ClusterMetrics>>>,
    pub(crate) access_log_dropped: Counter,
    pub(crate) configuration_rejected: Counter,
    pub(crate) stream_connects: Counter,
    pub(crate) certificates_issued: Counter,
    /// Connections to other proxies that a revocation has ended.
    pub(crate) hops_cut: Counter,
    /// Spans to be told.
    pub(crate) spans: Counter,
    /// Spans that there was no room for, or that the control plane has refused.
    pub(crate) spans_dropped: Counter,
    /// Who talks with whom.
    pub(crate) series: Arc<SeriesTable>,
    nowhere: OnceLock<Arc<Series>>,
}

impl Metrics {
    /// The row of requests that reach no service.
    pub(crate) fn nowhere(&self) -> &Arc<Series> {
        self.nowhere.get_or_init(|| self.series.nowhere())
    }

    pub(crate) fn of(&self, direction: Direction) -> &DirectionMetrics {
        &self.directions[direction as usize]
    }

    /// The counters of a cluster, kept across its comings and goings.
    pub(crate) fn cluster(&self, name: &str) -> Arc<ClusterMetrics> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(clusters.entry(name.to_owned()).or_default())
    }

    /// Handshakes that other proxies, or clients, made with this one.
    pub fn handshakes(&self, direction: Direction) -> u64 {
        self.of(direction).handshakes.get()
    }

    /// Failed handshakes with clients, by cause.
    pub fn handshake_failures(&self, direction: Direction, cause: HandshakeFailure) -> u64 {
        self.of(direction).handshake_failures(cause)
    }

    /// Failed handshakes with a cluster's endpoints, by cause.
    pub fn upstream_handshake_failures(&self, cluster: &str, cause: HandshakeFailure) -> u64 {
        self.cluster(cluster).handshake_failures(cause)
    }

    /// Responses sent with a flag.
    pub fn flagged(&self, direction: Direction, flag: Flag) -> u64 {
        self.of(direction).flags[flag as usize].get()
    }

    /// Refused identities of callers or servers.
    pub fn refusals(&self, direction: Direction, party: RefusedParty, cause: RefusalCause) -> u64 {
        self.of(direction).refusals[party as usize][cause as usize].get()
    }

    /// Calls that a rule of effect AUDIT matched.
    pub fn audited(&self, direction: Direction) -> u64 {
        self.of(direction).audited.get()
    }

    /// Connections of a direction that are open.
    pub fn connections_active(&self, direction: Direction) -> i64 {
        self.of(direction).connections_active.get()
    }

    /// Endpoints of a cluster that outlier detection has ejected so far.
    pub fn ejections(&self, cluster: &str) -> u64 {
        self.cluster(cluster).ejections.get()
    }

    /// Tries beyond the first, of a cluster.
    pub fn retries(&self, cluster: &str) -> u64 {
        self.cluster(cluster).retries.get()
    }

    /// Tries that were not made because the retry budget or a limit did not allow them.
    pub fn retries_denied(&self, cluster: &str) -> u64 {
        self.cluster(cluster).retries_denied.get()
    }

    /// Requests and connections over a limit of a cluster's.
    pub fn overflows(&self, cluster: &str) -> u64 {
        self.cluster(cluster).overflows.get()
    }

    /// Requests sent to a cluster.
    pub fn upstream_requests(&self, cluster: &str) -> u64 {
        self.cluster(cluster).requests.get()
    }
}
