//! Following a store's changes.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use super::Entry;
use super::change_log::SharedLog;

/// After how many events a batch ends; it ends at a revision's last event.
const BATCH: usize = 256;

/// A change that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key has this value since [`Entry::revision`].
    Put(Entry),
    /// The key is gone.
    Deleted {
        /// The key.
        key: String,
        /// Since this revision.
        revision: u64,
    },
}

/// Why a watch could not start, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WatchError {
    /// The changes in between are no longer kept: list again, and watch from
    /// the listing's revision.
    #[error(
        "the changes after the revision watched from are no longer kept: {oldest} is the oldest to watch from"
    )]
    Compacted {
        /// The oldest revision a watch can start from.
        oldest: u64,
    },
    /// The store has not had that revision: it was replaced by an older one.
    /// List again.
    #[error("the store is at revision {latest}, it has not had revision {from}")]
    Future {
        /// The revision asked for.
        from: u64,
        /// The store's.
        latest: u64,
    },
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
}

/// The changes of the keys of a prefix, in the order of their commits.
///
/// A watch has no queue of its own: it reads the store's one bounded change
/// log, and a watch that falls too far behind ends with
/// [`WatchError::Compacted`].
pub struct Watch {
    log: SharedLog,
    latest: watch::Receiver<u64>,
    prefix: String,
    cursor: u64,
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }

    /// The revision of the commit that changed it.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

impl Watch {
    pub(super) fn new(
        log: SharedLog,
        latest: watch::Receiver<u64>,
        prefix: &str,
        from_revision: u64,
    ) -> Self {
        Self { log, latest, prefix: prefix.to_owned(), cursor: from_revision }
    }

    /// Waits for changes and returns the next ones, never none. The events of
    /// one commit come together. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The watch fell too far behind, or the store was closed. It stays so.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            // Marked as seen before the log is read: a commit in between wakes us again.
            self.latest.borrow_and_update();
            let events = self.poll()?;
            if !events.is_empty() {
                return Ok(events);
            }
            self.latest.changed().await.map_err(|_| WatchError::Closed)?;
        }
    }

    /// The next changes at hand, without waiting; none if there are none.
    ///
    /// # Errors
    /// The watch fell too far behind. It stays so.
    pub fn poll(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        let (events, cursor) = self.log.after(self.cursor, &self.prefix, BATCH)?;
        self.cursor = cursor;
        Ok(events)
    }

    /// The revision up to which this watch has delivered everything.
    pub fn revision(&self) -> u64 {
        self.cursor
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("prefix", &self.prefix)
            .field("revision", &self.cursor)
            .finish_non_exhaustive()
    }
}
