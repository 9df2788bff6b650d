//! What a relay is told, and what it tells: JSON, a line each, over a Unix socket that is its standard input. It is told
//! everything there, secrets too, so that nothing shows in its arguments.

use std::{net::SocketAddr, time::Duration};

use bowline_model::{clock::Timestamp, fault::PathHarm};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

/// Longest line, bytes: 256 endpoints with a certificate chain each.
pub const LINE_BYTES_MAX: u64 = 8 << 20;
/// Most endpoints that a relay stands before.
pub const ENDPOINTS_MAX: usize = 256;
/// After its deadline a relay takes connections for so long, and passes them on: whoever was led to it may not have
/// noticed yet that it is over.
pub const AFTERWARDS: Duration = Duration::from_secs(3);
/// It ends so long after its deadline, or after it was told to, whatever is still open.
pub const LINGERS: Duration = Duration::from_secs(60);

/// The first line to a relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayOrder {
    /// Whom it stands before, one listener each. At most [`ENDPOINTS_MAX`].
    pub endpoints: Vec<RelayEndpoint>,
    /// What it does.
    pub harm: PathHarm,
    /// To so many of a million connections.
    pub per_million: u32,
    /// When it stops doing it.
    pub until: Timestamp,
}

/// Whom a relay stands before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayEndpoint {
    /// The true address.
    pub address: SocketAddr,
    /// What a rogue server with TLS shows in its place.
    pub shows: Option<Shown>,
}

/// A certificate with its key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// DER, leaf first.
    pub chain_der: Vec<Vec<u8>>,
    /// PKCS#8, DER.
    pub key_der: Vec<u8>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("certificates", &self.chain_der.len()).finish_non_exhaustive()
    }
}

/// Later lines to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToRelay {
    /// The fault is over: pass on what comes, take no more connections, and end when none is left.
    Finish,
    /// What was counted?
    Count,
}

/// Lines from a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FromRelay {
    /// It listens: an address for each endpoint, in their order.
    Ready {
        /// Where.
        listeners: Vec<SocketAddr>,
    },
    /// It could not begin, and ends.
    Failed {
        /// Why.
        reason: String,
    },
    /// To [`ToRelay::Count`], and the last before it ends.
    Counted(Evidence),
}
