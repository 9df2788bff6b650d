//! The queue between the calls and the disk, and the one thread that empties it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bowline_plumbing::disk;
use serde_json::json;
use thiserror::Error;
use tokio::sync::oneshot;

use super::error::AuditError;
use super::record::{RECORD_BYTES_MAX, RecordText};
use super::trail::{AuditOptions, SharedIndex, Trail};

/// Records are durable this long after they were recorded, if nobody asks
/// sooner and the disk does not fail.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Between two attempts at a disk that fails.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Records taken from the queue at a time.
const BATCH: usize = 256;

/// The record was not taken: the disk is slower than the calls, or fails. A
/// caller that must not act unrecorded refuses its call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the audit trail is full: {records} records ({bytes} bytes) wait for the disk{}", reason(.failure))]
pub struct AuditFull {
    /// Records that wait.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Why the disk did not take them, where it failed.
    pub failure: Option<String>,
    /// It failed as it has no room left.
    pub is_disk_full: bool,
}

fn reason(failure: &Option<String>) -> String {
    failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default()
}

/// How a trail does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditStatus {
    /// Records that wait for the disk.
    pub queued: usize,
    /// Records that were not taken since the start.
    pub refused: u64,
    /// Why the disk takes nothing at the moment.
    pub failure: Option<String>,
}

type Flushed = oneshot::Sender<Result<(), AuditError>>;

#[derive(Default)]
struct Queue {
    records: VecDeque<RecordText>,
    bytes: usize,
    /// So many records more have their place, of calls that are being carried out.
    admitted: usize,
    /// So many records were ever taken.
    accepted: u64,
    /// Who waits until so many are durable.
    flushes: Vec<(u64, Flushed)>,
    refused: u64,
    /// Of those, how many the trail tells of.
    refused_told: u64,
    failure: Option<String>,
    is_disk_full: bool,
    closing: bool,
    /// There is no writer any more.
    ended: bool,
}

impl Queue {
    fn push(&mut self, record: RecordText) {
        self.bytes += record.json.len();
        self.accepted += 1;
        self.records.push_back(record);
    }

    fn full(&self) -> AuditFull {
        let is_disk_full = self.failure.is_some() && self.is_disk_full;
        let (records, bytes, failure) = (self.records.len(), self.bytes, self.failure.clone());
        AuditFull { records, bytes, failure, is_disk_full }
    }
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trail's writer. When it goes, it writes what waits and closes the trail.
pub(super) struct Writer {
    shared: Arc<Shared>,
    records_max: usize,
    bytes_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(trail: Trail, options: &AuditOptions) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || Worker::new(of_thread, trail).run())?;
        let (records_max, bytes_max) = (options.queue_records_max, options.queue_bytes_max);
        Ok(Self { shared, records_max, bytes_max, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn record(&self, record: RecordText) -> Result<(), AuditFull> {
        let mut queue = self.shared.lock();
        if queue.closing || queue.ended || !self.has_room(&queue, record.json.len()) {
            queue.refused += 1;
            return Err(queue.full());
        }
        queue.push(record);
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Keeps a place for a record that is made later.
    pub(super) fn admit(&self) -> Result<(), AuditFull> {
        let mut queue = self.shared.lock();
        let fails = queue.closing || queue.ended || queue.failure.is_some();
        if fails || !self.has_room(&queue, RECORD_BYTES_MAX) {
            return Err(queue.full());
        }
        queue.admitted += 1;
        Ok(())
    }

    /// Gives back a place that [`Writer::admit`] kept, to this record if there is one.
    pub(super) fn leave(&self, record: Option<RecordText>) -> Result<(), AuditFull> {
        let mut queue = self.shared.lock();
        queue.admitted -= 1;
        let taken = match record {
            None => Ok(()),
            Some(_) if queue.ended => {
                queue.refused += 1;
                Err(queue.full())
            }
            // Also while closing: the call was carried out.
            Some(record) => {
                queue.push(record);
                Ok(())
            }
        };
        drop(queue);
        self.shared.wake.notify_one();
        taken
    }

    fn has_room(&self, queue: &Queue, bytes: usize) -> bool {
        queue.records.len() + queue.admitted < self.records_max
            && queue.bytes + queue.admitted * RECORD_BYTES_MAX + bytes <= self.bytes_max
    }

    /// Waits until what is queued is written, and the records of admitted calls, and the trail is
    /// closed; nothing more is taken.
    pub(super) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit trail's writer panicked; its last records may be lost");
        }
    }

    pub(super) async fn flush(&self) -> Result<(), AuditError> {
        let (flushed, done) = oneshot::channel();
        {
            let mut queue = self.shared.lock();
            if queue.ended {
                return Err(AuditError::Ended);
            }
            if queue.flushes.len() >= self.records_max {
                return Err(AuditError::Failing { reason: "too many wait for the disk".to_owned() });
            }
            let accepted = queue.accepted;
            queue.flushes.push((accepted, flushed));
        }
        self.shared.wake.notify_one();
        done.await.unwrap_or(Err(AuditError::Ended))
    }

    pub(super) fn status(&self) -> AuditStatus {
        let queue = self.shared.lock();
        AuditStatus { queued: queue.records.len(), refused: queue.refused, failure: queue.failure.clone() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread's side.
struct Worker {
    shared: Arc<Shared>,
    trail: Trail,
    /// Taken from the queue and not appended yet.
    batch: VecDeque<RecordText>,
    /// So many records were appended.
    appended: u64,
    /// When what was appended must be durable.
    sync_due: Option<Instant>,
}

impl Worker {
    fn new(shared: Arc<Shared>, trail: Trail) -> Self {
        Self { shared, trail, batch: VecDeque::new(), appended: 0, sync_due: None }
    }

    fn run(mut self) {
        loop {
            let (closing, flush, untold) = self.wait();
            let result = self.step(flush, untold);
            let failed = result.is_err();
            self.answer(result);
            if closing && self.is_over(failed) {
                break;
            }
            if failed {
                // Tried again even if nobody records or flushes.
                self.sync_due = Some(Instant::now());
                let queue = self.shared.lock();
                let still = |queue: &mut Queue| !queue.closing && queue.flushes.is_empty();
                drop(self.shared.wake.wait_timeout_while(queue, RETRY_INTERVAL, still));
            }
        }
        let left = self.batch.len() + self.shared.lock().records.len();
        if let Err(error) = self.trail.close() {
            tracing::error!(error = error.chain(), "the audit trail could not be closed");
        }
        if left > 0 {
            tracing::error!(
                records = left,
                "the audit trail lost its last records: the disk did not take them"
            );
        }
    }

    /// Whether nothing is left to write, or cannot be written; then nothing more is taken.
    fn is_over(&mut self, failed: bool) -> bool {
        let mut queue = self.shared.lock();
        queue.ended = failed || self.batch.is_empty() && queue.records.is_empty() && queue.admitted == 0;
        queue.ended
    }

    /// Waits for something to do; then whether to end, whether somebody waits
    /// for the disk, and how many refused records are to be told.
    fn wait(&mut self) -> (bool, bool, u64) {
        let idle = |queue: &mut Queue| {
            let over = queue.closing && queue.admitted == 0;
            queue.records.is_empty() && queue.flushes.is_empty() && !over && self.batch.is_empty()
        };
        let queue = self.shared.lock();
        let mut queue = match self.sync_due {
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now());
                let waited = self.shared.wake.wait_timeout_while(queue, left, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.shared.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner),
        };
        while self.batch.len() < BATCH
            && let Some(record) = queue.records.pop_front()
        {
            queue.bytes -= record.json.len();
            self.batch.push_back(record);
        }
        let soon = self.appended + self.batch.len() as u64;
        let flush = queue.flushes.iter().any(|(until, _)| *until <= soon);
        (queue.closing, flush, queue.refused - queue.refused_told)
    }

    fn step(&mut self, flush: bool, untold: u64) -> Result<(), AuditError> {
        if untold > 0 {
            self.trail.append_own("RefuseAuditRecords", &json!({"refused": untold}))?;
            self.shared.lock().refused_told += untold;
        }
        while let Some(record) = self.batch.front() {
            self.trail.append(record)?;
            self.batch.pop_front();
            self.appended += 1;
        }
        self.trail.write()?;
        if flush || self.sync_due.is_some_and(|due| due <= Instant::now()) {
            self.trail.sync()?;
        }
        self.sync_due = match self.sync_due {
            _ if !self.trail.is_behind() => None,
            None => Some(Instant::now() + SYNC_INTERVAL),
            due => due,
        };
        Ok(())
    }

    fn answer(&mut self, result: Result<(), AuditError>) {
        let mut queue = self.shared.lock();
        match result {
            Ok(()) => {
                if queue.failure.take().is_some() {
                    tracing::info!("the audit trail is written again");
                }
                let durable = if self.trail.is_behind() { 0 } else { self.appended };
                let (done, wait) =
                    std::mem::take(&mut queue.flushes).into_iter().partition(|(until, _)| *until <= durable);
                queue.flushes = wait;
                let done: Vec<(u64, Flushed)> = done;
                done.into_iter().for_each(|(_, flushed)| drop(flushed.send(Ok(()))));
            }
            Err(error) => {
                let reason = error.chain();
                if queue.failure.as_ref() != Some(&reason) {
                    tracing::error!(error = reason, "the audit trail cannot be written");
                }
                for (_, flushed) in queue.flushes.drain(..) {
                    let _ = flushed.send(Err(AuditError::Failing { reason: reason.clone() }));
                }
                queue.failure = Some(reason);
                queue.is_disk_full = disk::is_full(&error);
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.ended = true;
        queue.failure.get_or_insert_with(|| AuditError::Ended.to_string());
        // Whoever waits is told by the loss of the channel.
        queue.flushes.clear();
    }
}

/// Opens the trail and starts its writer; the index is what readers share.
pub(super) fn open(
    dir: &std::path::Path,
    key: &[u8; 32],
    options: AuditOptions,
) -> Result<(Writer, SharedIndex), AuditError> {
    let index = SharedIndex::default();
    let trail = Trail::open(dir, key, options.clone(), index.clone())?;
    let writer = Writer::start(trail, &options).map_err(AuditError::io("start the writer of", dir))?;
    Ok((writer, index))
}
