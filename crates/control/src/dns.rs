//! The control plane's DNS server: answers for Cloud Map's private namespaces,
//! and forwards or refuses all else.
//!
//! - [`zone`]: what it answers from, and how instances are chosen.
//! - `feed`: how that is made of Cloud Map's rows.
//! - `answer`: what an authority says. `message`: reading and writing, EDNS.
//! - `forward`: upstream servers; `upstream_answer`: what of theirs is believed;
//!   `cache`: for how long.
//! - `server`: sockets. `limit`: who may ask, and how often. `counters`.

mod answer;
mod cache;
mod counters;
pub(crate) mod feed;
mod forward;
mod limit;
pub(crate) mod message;
mod random;
mod server;
pub(crate) mod spoof;
pub(crate) mod upstream_answer;
pub mod zone;

use std::{net::SocketAddr, time::Duration};

pub use self::{
    counters::DnsCounters,
    limit::{Network, NetworkError},
    server::DnsServer,
    zone::Zones,
};

/// How the DNS server is set up.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Where it listens, by UDP and TCP with one port. Port 0 is a free one.
    /// Addresses of the machine rather than wildcards: a reply to a query that
    /// came in by a wildcard may leave from another of the machine's addresses,
    /// and clients drop it. No default.
    pub listen: Vec<SocketAddr>,
    /// What becomes of names outside the zones. Refused by default.
    pub upstream: Upstream,
    /// The clients for whom such names are forwarded; others are refused.
    /// By default loopback and the alias network (198.18.0.0/15).
    pub allow: Vec<Network>,
    /// Whether the zones, too, are answered to those clients only. False by
    /// default.
    pub zones_for_allowed_only: bool,
    /// Queries a second of one client address (of one IPv6 /64). What is over
    /// it is dropped. 1,000 by default.
    pub rate: u32,
    /// Queries at once of one client address. 2,000 by default.
    pub burst: u32,
    /// How long an upstream server has to answer, over UDP and again over TCP,
    /// before the next is asked. 2 seconds by default.
    pub upstream_timeout: Duration,
    /// How long a TCP connection may bring no whole query, or take no reply.
    /// 10 seconds by default.
    pub tcp_idle: Duration,
}

impl DnsConfig {
    /// The defaults, listening at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            listen: vec![address],
            upstream: Upstream::Refuse,
            allow: vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6, Network::ALIASES],
            zones_for_allowed_only: false,
            rate: 1_000,
            burst: 2_000,
            upstream_timeout: Duration::from_secs(2),
            tcp_idle: Duration::from_secs(10),
        }
    }
}

/// What becomes of names outside the zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upstream {
    /// REFUSED.
    #[default]
    Refuse,
    /// They are asked of these servers, in this order, and recursion is theirs.
    Forward(Vec<SocketAddr>),
}
