//! The last changes of a store, in memory, for its watches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Event, Watch, WatchError};

/// What one event takes besides its key and value, about.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// How much a change log keeps; the oldest changes go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The most changes. Default 10,000.
    pub changes: usize,
    /// The most bytes of memory, about. Default 64 MiB.
    pub bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { changes: 10_000, bytes: 64 * 1024 * 1024 }
    }
}

/// The log's end that the store writes. When it goes, the watches end.
#[derive(Debug)]
pub(super) struct ChangeLog {
    shared: SharedLog,
    latest: watch::Sender<u64>,
}

/// The log as watches read it.
#[derive(Debug, Clone)]
pub(super) struct SharedLog(Arc<Mutex<Log>>);

#[derive(Debug)]
struct Log {
    limits: LogLimits,
    /// By revision; of a revision, all or none.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every change after this revision is in `events`.
    oldest: u64,
    /// Revision of the last commit.
    latest: u64,
}

impl ChangeLog {
    /// An empty log of a store that is at this revision.
    pub(super) fn new(revision: u64, limits: LogLimits) -> Self {
        let log = Log { limits, events: VecDeque::new(), bytes: 0, oldest: revision, latest: revision };
        let (latest, _) = watch::channel(revision);
        Self { shared: SharedLog(Arc::new(Mutex::new(log))), latest }
    }

    /// Records the changes of the commit of this revision.
    pub(super) fn append(&self, revision: u64, events: Vec<Event>) {
        self.shared.lock().append(revision, events);
        self.latest.send_replace(revision);
    }

    /// Revision of the last commit recorded.
    pub(super) fn revision(&self) -> u64 {
        self.shared.lock().latest
    }

    /// Starts a watch.
    pub(super) fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, WatchError> {
        let log = self.shared.lock();
        if from_revision > log.latest {
            return Err(WatchError::Future { from: from_revision, latest: log.latest });
        }
        if from_revision < log.oldest {
            return Err(WatchError::Compacted { oldest: log.oldest });
        }
        Ok(Watch::new(self.shared.clone(), self.latest.subscribe(), prefix, from_revision))
    }
}

impl SharedLog {
    /// The changes after a revision of the keys with a prefix: at least `batch`
    /// of them or else all, and the revision up to which that is everything.
    pub(super) fn after(
        &self,
        revision: u64,
        prefix: &str,
        batch: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), WatchError> {
        let log = self.lock();
        if revision < log.oldest {
            return Err(WatchError::Compacted { oldest: log.oldest });
        }
        let start = log.events.partition_point(|event| event.revision() <= revision);
        let mut taken: Vec<Arc<Event>> = Vec::new();
        let mut complete = revision;
        for event in log.events.range(start..) {
            if event.revision() > complete {
                if taken.len() >= batch {
                    return Ok((taken, complete));
                }
                complete = event.revision();
            }
            if event.key().starts_with(prefix) {
                taken.push(Arc::clone(event));
            }
        }
        Ok((taken, log.latest.max(revision)))
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // No code between two states of the log that belong together panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn append(&mut self, revision: u64, events: Vec<Event>) {
        if revision != self.latest + 1 {
            // A commit was missed: what is kept no longer says everything.
            self.events.clear();
            self.bytes = 0;
            self.oldest = revision.saturating_sub(1);
        }
        self.latest = revision;
        for event in events {
            self.bytes += size(&event);
            self.events.push_back(Arc::new(event));
        }
        while self.events.len() > self.limits.changes || self.bytes > self.limits.bytes {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= size(&event);
            self.oldest = event.revision();
        }
        // A revision goes as a whole, or a watch would see half a commit.
        while let Some(event) = self.events.pop_front_if(|event| event.revision() <= self.oldest) {
            self.bytes -= size(&event);
        }
    }
}

fn size(event: &Event) -> usize {
    let value = match event {
        Event::Put(entry) => entry.value.len(),
        Event::Deleted { .. } => 0,
    };
    EVENT_OVERHEAD_BYTES + event.key().len() + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    fn put(key: &str, revision: u64) -> Event {
        Event::Put(Entry { key: key.into(), value: vec![0; 100], revision })
    }

    fn keys(events: &[Arc<Event>]) -> Vec<&str> {
        events.iter().map(|event| event.key()).collect()
    }

    #[test]
    fn forgets_whole_revisions_when_full() {
        let log = ChangeLog::new(5, LogLimits { changes: 3, bytes: usize::MAX });
        log.append(6, vec![put("a", 6), put("b", 6)]);
        let mut slow = log.watch("", 5).expect("still kept");
        log.append(7, vec![put("c", 7), put("d", 7)]);
        assert_eq!(slow.poll(), Err(WatchError::Compacted { oldest: 6 }));
        assert_eq!(log.watch("", 5).err(), Some(WatchError::Compacted { oldest: 6 }));
        let mut watch = log.watch("", 6).expect("kept");
        assert_eq!(keys(&watch.poll().expect("kept")), ["c", "d"]);
        assert_eq!(log.watch("", 8).err(), Some(WatchError::Future { from: 8, latest: 7 }));
    }

    #[test]
    fn forgets_by_bytes_and_even_a_commit_larger_than_itself() {
        let log = ChangeLog::new(0, LogLimits { changes: 100, bytes: 1000 });
        for revision in 1..=10 {
            log.append(revision, vec![put("k", revision)]);
        }
        assert!(log.shared.lock().bytes <= 1000);
        assert_eq!(log.shared.lock().oldest, 6);
        log.append(11, (0..20).map(|_| put("k", 11)).collect());
        assert_eq!(log.watch("", 10).err(), Some(WatchError::Compacted { oldest: 11 }));
        assert_eq!(log.watch("", 11).expect("the present").poll(), Ok(Vec::new()));
        assert_eq!(log.shared.lock().bytes, 0);
    }

    #[test]
    fn a_batch_ends_with_a_revision() {
        let log = ChangeLog::new(0, LogLimits::default());
        log.append(1, vec![put("a/1", 1), put("b/1", 1), put("a/2", 1)]);
        log.append(2, vec![put("a/3", 2)]);
        let (events, revision) = log.shared.after(0, "a/", 1).expect("kept");
        assert_eq!((keys(&events), revision), (vec!["a/1", "a/2"], 1));
        let (events, revision) = log.shared.after(1, "a/", 1).expect("kept");
        assert_eq!((keys(&events), revision), (vec!["a/3"], 2));
        let (events, revision) = log.shared.after(0, "c/", 1).expect("kept");
        assert_eq!((keys(&events), revision), (vec![], 2));
    }

    #[test]
    fn a_gap_compacts() {
        let log = ChangeLog::new(0, LogLimits::default());
        log.append(1, vec![put("a", 1)]);
        log.append(3, vec![put("a", 3)]);
        assert_eq!(log.watch("", 0).err(), Some(WatchError::Compacted { oldest: 2 }));
    }

    #[tokio::test]
    async fn ends_when_the_store_goes_but_not_before_its_events() {
        let log = ChangeLog::new(0, LogLimits::default());
        let mut watch = log.watch("", 0).expect("the present");
        log.append(1, vec![put("a", 1)]);
        drop(log);
        assert_eq!(keys(&watch.next().await.expect("kept")), ["a"]);
        assert_eq!(watch.next().await, Err(WatchError::Closed));
    }
}
