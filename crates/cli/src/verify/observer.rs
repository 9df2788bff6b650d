//! Who watches what crosses between two sidecars: the kernel, or a relay in the path.

use std::{io, net::SocketAddr};

use super::{
    capture::{self, Capture},
    relay::{Captured, Relay},
    segment,
};

/// How bytes are captured (`--capture`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CaptureMethod {
    /// Packets where that is permitted, else a relay.
    #[default]
    Auto,
    /// A packet capture (needs `CAP_NET_RAW`).
    Packets,
    /// A relay between the two sidecars (needs nothing).
    Relay,
}

impl CaptureMethod {
    /// [`CaptureMethod::Packets`] or [`CaptureMethod::Relay`]: what is used where the first is, or is not, permitted.
    pub(crate) fn settle(self) -> io::Result<Self> {
        match self {
            Self::Relay => Ok(Self::Relay),
            Self::Packets => Capture::start(0)?.end().map(|_| Self::Packets),
            Self::Auto => match Self::Packets.settle() {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::Relay),
                settled => settled,
            },
        }
    }

    /// For the evidence.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Relay => {
                "For each pair the calling sidecar was led through a relay, which kept every byte between the two \
                 sidecars, while the caller's task sent a request with a random mark."
            }
            Self::Auto | Self::Packets => {
                "For each pair every packet from and to the called sidecar's inbound port was captured by the kernel, \
                 while the caller's task sent a request with a random mark over a new connection."
            }
        }
    }
}

/// A capture under way at one inbound port.
#[derive(Debug)]
pub(crate) enum Observer {
    /// By the kernel.
    Packets {
        /// The capture.
        capture: Capture,
        /// What is captured.
        inbound: SocketAddr,
    },
    /// By a relay.
    Relay(Relay),
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Connections to the inbound port.
    pub(crate) connections: Vec<Captured>,
    /// The packets, where those were captured.
    pub(crate) packets: Vec<Vec<u8>>,
    /// Not all that crossed was captured.
    pub(crate) incomplete: bool,
}

impl Observer {
    /// Begins to watch what reaches `inbound`.
    pub(crate) async fn start(method: CaptureMethod, inbound: SocketAddr) -> io::Result<Self> {
        match method {
            CaptureMethod::Relay => Ok(Self::Relay(Relay::start(inbound).await?)),
            CaptureMethod::Auto | CaptureMethod::Packets => {
                Ok(Self::Packets { capture: Capture::start(inbound.port())?, inbound })
            }
        }
    }

    /// Where the calling sidecar is to connect to, so that it makes a new connection which is seen whole.
    pub(crate) fn meeting_point(&self) -> SocketAddr {
        match self {
            Self::Packets { inbound, .. } => capture::other_notation(*inbound),
            Self::Relay(relay) => relay.address(),
        }
    }

    /// Ends the watch.
    pub(crate) async fn end(self) -> io::Result<Observation> {
        match self {
            Self::Relay(relay) => {
                Ok(Observation { connections: relay.end().await, packets: Vec::new(), incomplete: false })
            }
            Self::Packets { capture, inbound } => {
                let captured =
                    tokio::task::spawn_blocking(|| capture.end()).await.map_err(io::Error::other)??;
                let streams = segment::streams(&captured.packets, inbound.port());
                // Connections from before the capture have no beginning in it; the new one has to be whole.
                let incomplete = captured.lost > 0 || !streams.iter().any(|stream| stream.whole);
                let connections = streams.into_iter().map(|stream| stream.bytes).collect();
                Ok(Observation { connections, packets: captured.packets, incomplete })
            }
        }
    }
}
