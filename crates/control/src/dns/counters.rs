//! What the DNS server has done, in numbers.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use hickory_proto::op::ResponseCode;

/// Response codes counted on their own; higher ones are never sent.
const CODES: usize = 24;

/// The counters, each growing since the server's start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) queries: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) cached: AtomicU64,
    pub(crate) mismatched: AtomicU64,
    codes: [AtomicU64; CODES],
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsCounters {
    /// Messages received, whatever became of them.
    pub queries: u64,
    /// Replies sent, by response code (RFC 6895 section 2.3).
    pub by_code: BTreeMap<u16, u64>,
    /// Messages without a reply: over the rate, themselves replies, too short,
    /// or from a port that answers whatever it gets.
    pub dropped: u64,
    /// Questions sent to an upstream server, retries included.
    pub forwarded: u64,
    /// Questions answered from the cache of upstream answers.
    pub cached: u64,
    /// Messages at a forwarder's socket that did not answer its question:
    /// strays, or somebody guessing.
    pub mismatched: u64,
}

impl Counters {
    pub(crate) fn count(&self, which: impl FnOnce(&Self) -> &AtomicU64) {
        which(self).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn replied(&self, code: ResponseCode) {
        if let Some(counter) = self.codes.get(usize::from(u16::from(code))) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> DnsCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let by_code = (0_u16..).zip(&self.codes).map(|(code, counter)| (code, read(counter)));
        DnsCounters {
            queries: read(&self.queries),
            by_code: by_code.filter(|(_, count)| *count > 0).collect(),
            dropped: read(&self.dropped),
            forwarded: read(&self.forwarded),
            cached: read(&self.cached),
            mismatched: read(&self.mismatched),
        }
    }
}
