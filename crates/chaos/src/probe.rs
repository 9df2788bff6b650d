//! Load: requests from within a caller's task at a steady pace, and what became of each.
//!
//! The runner starts `bowline chaos-probe` in the task ([`run`]), says on its standard input what to do ([`Order`]), and
//! reads a line a request from its standard output. The probe ends at its deadline, or when its standard input is closed:
//! when the runner is gone, so is the probe.

mod client;
mod generator;
mod line;
mod names;

pub use client::{LoadError, LoadRun};
pub use generator::run;
pub use line::{Line, SampleLine};
pub use names::{addresses, print_addresses};

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Most requests per second that a probe can be asked for.
pub const RATE_MAX: u32 = 10_000;
/// Longest time that a probe runs.
pub const LASTING_MAX: Duration = Duration::from_secs(3600);

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Requests per second, whether or not those before were answered.
    pub rate: u32,
    /// On which connections.
    pub connections: Connections,
    /// After how long a request is given up.
    pub timeout: Duration,
}

impl Default for Load {
    /// 50 requests per second on connections that are kept, each given up after 2 s.
    fn default() -> Self {
        Self { rate: 50, connections: Connections::Kept, timeout: Duration::from_secs(2) }
    }
}

/// Connections between the probe and its sidecar. The sidecars' own connections are the sidecars' affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Connections {
    /// One is used again when its request is answered.
    Kept,
    /// Each request has a new one, and asks for the name's address anew.
    New,
}

/// What a probe is to do: a line of JSON on its standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The alias's name.
    pub host: String,
    /// The alias's port.
    pub port: u16,
    /// The path, with its query.
    pub path: String,
    /// HTTP/2 without TLS, as `HTTP2` and `GRPC` aliases take it, rather than HTTP/1.1.
    pub http2: bool,
    /// How requests are sent.
    pub load: Load,
    /// It ends after so long, whatever happens: [`LASTING_MAX`] at most.
    pub lasting: Duration,
}

/// Now, by the machine's clock that only goes forward and that its processes share: from some moment before.
#[must_use]
pub fn clock() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}
