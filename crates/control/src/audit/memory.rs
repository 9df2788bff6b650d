//! A trail in memory, for a server that keeps nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use super::lookup::{self, LookupError, LookupPage, LookupQuery};
use super::record::RecordText;

/// The most bytes that the records take.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The last records; the oldest goes first.
pub(super) struct MemoryTrail {
    capacity: usize,
    token_key: hmac::Key,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    kept: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    last: u64,
}

impl MemoryTrail {
    /// Keeps so many, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let token_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("AWS-LC aborts rather than go without randomness");
        Self { capacity: capacity.max(1), token_key, records: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, record: RecordText) {
        let mut records = self.lock();
        records.last += 1;
        records.bytes += record.json.len();
        let last = records.last;
        records.kept.push_back((last, record.json));
        while records.kept.len() > self.capacity || records.bytes > BYTES_MAX {
            let Some((_, gone)) = records.kept.pop_front() else { break };
            records.bytes -= gone.len();
        }
    }

    pub(super) fn lookup(&self, query: &LookupQuery) -> Result<LookupPage, LookupError> {
        let records = self.lock();
        let newest_first = records.kept.iter().rev().map(|(sequence, json)| (*sequence, json.as_slice()));
        lookup::in_memory(&self.token_key, newest_first, query)
    }
}
