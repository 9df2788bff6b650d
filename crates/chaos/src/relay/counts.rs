//! What a relay counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::evidence::Evidence;

/// Counters that every connection adds to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: AtomicU64,
    pub(super) harmed: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) handshakes: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) plaintext_bytes: AtomicU64,
    pub(super) bytes_to_called: AtomicU64,
    pub(super) bytes_to_caller: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Relaxed);
}

impl Counts {
    /// All of them, with what the kernel has counted.
    pub(super) fn evidence(&self, packets_dropped: u64) -> Evidence {
        Evidence {
            connections: self.connections.load(Relaxed),
            harmed: self.harmed.load(Relaxed),
            turned_away: self.turned_away.load(Relaxed),
            handshakes: self.handshakes.load(Relaxed),
            requests: self.requests.load(Relaxed),
            plaintext_bytes: self.plaintext_bytes.load(Relaxed),
            bytes_to_called: self.bytes_to_called.load(Relaxed),
            bytes_to_caller: self.bytes_to_caller.load(Relaxed),
            packets_dropped,
            refused: 0,
            arrived: 0,
        }
    }
}
