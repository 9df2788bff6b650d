//! Traces, kept: spans of proxies, and documents of applications beside them, for a day or as long as there is room.
//!
//! What is put is encoded, appended to the memory's end of the newest segment and indexed, all at once: it can be read
//! from then on. The keeper's thread writes it to the segment's file. A restart reads the segments and makes the index
//! anew; half a record at a segment's end, of a process that was killed, is cut off. Where there are more bytes, records
//! or days than are kept, the oldest segment goes as a whole.
//!
//! - `record` is how a span or a document stands in a file.
//! - `segment` is one file, `index` knows where each trace's records are, `state` is both together.
//! - `keeper` is the thread that writes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use bowline_model::trace::{Span, SpanOrigin, SpanWriter, TraceId};

use crate::metrics::Clock;

mod index;
mod keeper;
mod record;
mod segment;
mod state;
#[cfg(test)]
mod tests;

use keeper::{Bell, Keeper};
use record::Batch;
use state::State;

/// Longest document. Source: X-Ray's quotas, 64 KB.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Most records of one trace; further ones are dropped, and counted.
pub const RECORDS_OF_TRACE_MAX: usize = 10_000;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// For how long after it came in: 24 hours by default.
    pub retention: Duration,
    /// Most bytes on the disk, 256 MiB by default: some million spans. The oldest are given up for newer ones, a
    /// sixteenth at a time.
    pub bytes_max: u64,
    /// Most spans and documents, a million by default: the index takes some 50 bytes of memory for each.
    pub records_max: usize,
    /// Most bytes that wait to be written, 32 MiB by default: for a disk that is slow or full.
    pub unwritten_max: usize,
}

impl Default for TraceLimits {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(24 * 3600),
            bytes_max: 256 * 1024 * 1024,
            records_max: 1_000_000,
            unwritten_max: 32 * 1024 * 1024,
        }
    }
}

/// Traces cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum TraceStoreError {
    /// Their directory or a file in it cannot be used.
    #[error("traces cannot be kept: {} cannot be used", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that keeps them cannot be started.
    #[error("traces cannot be kept: no thread can be started")]
    Thread(#[source] io::Error),
}

/// How many there are, and how many there are no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Traces that are kept.
    pub traces: u64,
    /// Spans of proxies that are kept.
    pub spans: u64,
    /// Documents of applications that are kept.
    pub documents: u64,
    /// Bytes that these take.
    pub bytes: u64,
    /// Spans and documents that came in since the store was opened.
    pub taken: u64,
    /// Of what came in since then, what there was no room for.
    pub dropped: u64,
    /// Spans and documents that were given up since then, by age or for newer ones.
    pub given_up: u64,
}

/// What an application tells of its part of a trace: bytes that the reader of the trace understands, here X-Ray's JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceDocument {
    /// Of which trace.
    pub trace: TraceId,
    /// Microseconds since 1970.
    pub start_us: u64,
    /// How long, in microseconds; 0 where it goes on.
    pub duration_us: u64,
    /// Whether what it tells of failed.
    pub is_fault: bool,
    /// At most [`DOCUMENT_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// A span, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSpan {
    /// Whose.
    pub origin: SpanOrigin,
    /// The span.
    pub span: Span,
}

/// Everything of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Which.
    pub id: TraceId,
    /// By their beginning. A span that was told twice is here once.
    pub spans: Vec<KeptSpan>,
    /// In the order in which they came.
    pub documents: Vec<Vec<u8>>,
}

/// One trace of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSummary {
    /// Which.
    pub id: TraceId,
    /// When the first of it began, in microseconds since 1970.
    pub start_us: u64,
    /// How long from then until the end of the last, in microseconds.
    pub duration_us: u64,
    /// Whether a part of it failed.
    pub is_fault: bool,
    /// How many spans and documents it has.
    pub records: usize,
}

/// Which traces are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceQuery {
    /// Those that began then or later, in microseconds since 1970.
    pub from_us: u64,
    /// And before.
    pub until_us: u64,
    /// Whether the newest are told first.
    pub newest_first: bool,
    /// Those that follow this one: beginning and id of the last of the page before.
    pub after: Option<(u64, TraceId)>,
    /// Those alone of which a part failed.
    pub failed: bool,
    /// Those alone that took so long, in microseconds.
    pub slower_us: u64,
    /// At most so many.
    pub limit: usize,
}

impl Default for TraceQuery {
    /// The newest hundred.
    fn default() -> Self {
        Self {
            from_us: 0,
            until_us: u64::MAX,
            newest_first: true,
            after: None,
            failed: false,
            slower_us: 0,
            limit: 100,
        }
    }
}

/// Keeps traces.
pub struct TraceStore {
    shared: Arc<Shared>,
    follower: OnceLock<Arc<dyn SpanWriter>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What the store and its keeper's thread share.
struct Shared {
    state: Mutex<State>,
    bell: Bell,
    clock: Clock,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TraceStore {
    /// Opens what is kept in `directory`, which is made where it is not there.
    ///
    /// # Errors
    /// The directory, or a file in it, cannot be used.
    pub fn open(directory: &Path, limits: TraceLimits, clock: Clock) -> Result<Self, TraceStoreError> {
        let state = keeper::open(directory, limits, clock())?;
        let shared = Arc::new(Shared { state: Mutex::new(state), bell: Bell::default(), clock });
        let keeper = Keeper::new(directory.to_owned(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || keeper.run())
            .map_err(TraceStoreError::Thread)?;
        Ok(Self { shared, follower: OnceLock::new(), keeper: Mutex::new(Some(thread)) })
    }

    /// Hands every span that comes in from now on to `follower` too. The first one that is set is the one.
    pub fn follow(&self, follower: Arc<dyn SpanWriter>) {
        let _ = self.follower.set(follower);
    }

    /// Keeps documents. What there is no room for is dropped and counted.
    pub fn put_documents(&self, documents: &[TraceDocument]) {
        let mut batch = Batch::default();
        documents.iter().for_each(|document| batch.document(document));
        self.take_in(batch);
    }

    fn take_in(&self, batch: Batch) {
        let now = (self.shared.clock)();
        let wakes = self.shared.state().take_in(batch, now);
        if wakes {
            self.shared.bell.ring();
        }
    }

    /// Everything of a trace; `None` where nothing is kept of it. Reads from the disk.
    pub fn trace(&self, id: TraceId) -> Option<Trace> {
        let pieces = self.shared.state().pieces(id);
        let mut trace = Trace { id, spans: Vec::new(), documents: Vec::new() };
        for piece in pieces {
            match piece.read() {
                Some(record::Record::Span(span)) => trace.spans.push(*span),
                Some(record::Record::Document(bytes)) => trace.documents.push(bytes),
                None => {}
            }
        }
        // A proxy that does not know whether its spans arrived tells them again: the same id, and the same beginning.
        trace.spans.sort_by_key(|kept| (kept.span.start_us, kept.span.id));
        trace.spans.dedup_by(|a, b| a.span.id == b.span.id && a.span.kind == b.span.kind);
        (!trace.spans.is_empty() || !trace.documents.is_empty()).then_some(trace)
    }

    /// Traces by their beginning. Reads from memory alone.
    pub fn list(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        self.shared.state().list(query)
    }

    /// How many are kept, and how many were dropped.
    pub fn counts(&self) -> TraceCounts {
        self.shared.state().counts()
    }

    /// Forgets every trace.
    pub fn clear(&self) {
        self.shared.state().clear();
        self.shared.bell.ring();
    }

    /// Writes what was taken in, and ends the thread; what is put later is dropped. Dropping the store does the same.
    pub fn close(&self) {
        self.shared.bell.close();
        let thread = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread is in the log.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for TraceStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl SpanWriter for TraceStore {
    fn put(&self, origin: &SpanOrigin, spans: Vec<Span>) {
        let mut batch = Batch::default();
        spans.iter().for_each(|span| batch.span(origin, span));
        self.take_in(batch);
        if let Some(follower) = self.follower.get() {
            follower.put(origin, spans);
        }
    }
}
