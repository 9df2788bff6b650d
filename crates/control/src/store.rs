//! Where the control plane keeps what must survive it.
//!
//! A store is an ordered map from keys to bytes with one revision that every
//! commit raises. It is small on purpose, so that it maps one to one onto both
//! an embedded database and etcd: read a key, list a prefix, commit a
//! compare-and-set transaction, watch a prefix from a revision.
//!
//! All calls but [`Watch::next`] block, those that write for a disk's flush:
//! from async code, call them on a blocking thread.

mod change_log;
#[cfg(test)]
pub(crate) mod conformance;
mod embedded;
mod watch;

use std::collections::HashSet;
use std::error::Error as StdError;

use thiserror::Error;

pub use change_log::LogLimits;
pub use embedded::EmbeddedStore;
pub use watch::{Event, Watch, WatchError};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest value, in bytes. etcd takes requests of 1.5 MiB by default, so
/// this fits there too.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most conditions, and the most changes, of one transaction.
pub const MAX_TRANSACTION_ITEMS: usize = 10_000;
/// The most bytes of keys and values of one transaction.
pub const MAX_TRANSACTION_BYTES: usize = 64 * 1024 * 1024;

/// A key with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Revision of the commit that last put it.
    pub revision: u64,
}

/// What a prefix held at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision when it was read: watch from here to miss nothing.
    pub revision: u64,
    /// The entries, by key.
    pub entries: Vec<Entry>,
}

/// What must hold for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: String,
    /// The [`Entry::revision`] it must have; 0: the key must not exist.
    pub revision: u64,
}

/// One change of a transaction.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets the key, whether it exists or not.
    Put {
        /// The key: 1 to [`MAX_KEY_BYTES`] bytes.
        key: String,
        /// Up to [`MAX_VALUE_BYTES`].
        value: Vec<u8>,
    },
    /// Removes the key. That it does not exist is no error.
    Delete {
        /// The key.
        key: String,
    },
}

/// Changes that are applied together, or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold, or nothing is changed.
    pub conditions: Vec<Condition>,
    /// Made at one revision. A key is named once at most.
    pub changes: Vec<Change>,
}

/// Why the store could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {store} is in use by another process")]
    InUse {
        /// Which store: a path or an address.
        store: String,
    },
    /// It is not a store of this version.
    #[error(
        "the store {store} has format {found}, this version reads {expected}: use the version that wrote it"
    )]
    Format {
        /// Which store.
        store: String,
        /// The format found.
        found: u64,
        /// The format this version reads.
        expected: u64,
    },
    /// Its contents are damaged; a backup must be restored.
    #[error("the store {store} is damaged: restore it from a backup")]
    Damaged {
        /// Which store.
        store: String,
        /// What was found.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The disk or the server below failed.
    #[error("the store {store} failed to {action}")]
    Backend {
        /// Which store.
        store: String,
        /// What it was asked to do.
        action: &'static str,
        /// Why it did not.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Why a transaction was not committed.
#[derive(Debug, Error)]
pub enum CommitError {
    /// A condition did not hold; nothing was changed. Read again, then retry.
    #[error("{key} is at revision {actual}, not at {expected} (0: it does not exist)")]
    Conflict {
        /// The key of the first condition that failed.
        key: String,
        /// The revision asked for.
        expected: u64,
        /// The revision it has; 0: it does not exist.
        actual: u64,
    },
    /// A key is empty or longer than [`MAX_KEY_BYTES`]; nothing was changed.
    #[error("a key has {bytes} bytes: 1 to {MAX_KEY_BYTES} are allowed")]
    KeySize {
        /// Its length.
        bytes: usize,
    },
    /// A value is longer than [`MAX_VALUE_BYTES`]; nothing was changed.
    #[error("the value of {key} has {bytes} bytes: {MAX_VALUE_BYTES} are the most")]
    ValueSize {
        /// Its key.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// More than [`MAX_TRANSACTION_ITEMS`] or [`MAX_TRANSACTION_BYTES`];
    /// nothing was changed.
    #[error(
        "the transaction is too large ({items} items, {bytes} bytes): \
         {MAX_TRANSACTION_ITEMS} items and {MAX_TRANSACTION_BYTES} bytes are the most"
    )]
    TransactionSize {
        /// The larger of the numbers of conditions and of changes.
        items: usize,
        /// Bytes of all keys and values to be changed.
        bytes: usize,
    },
    /// Two changes name the same key; nothing was changed.
    #[error("the transaction changes {key} twice")]
    ChangedTwice {
        /// The key.
        key: String,
    },
    /// The store failed. Whether the transaction was applied is unknown until
    /// the store is read again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An ordered map of keys to bytes, with a revision. Every implementation
/// passes `store::conformance`.
pub trait Store: Send + Sync {
    /// Reads one key; none if it does not exist.
    ///
    /// # Errors
    /// The store fails.
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads all keys that start with `prefix` (empty: all), as they were at
    /// one revision.
    ///
    /// # Errors
    /// The store fails.
    fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Applies a transaction if its conditions hold. Returns once it is
    /// durable, with the store's revision: one more than before, or the same if
    /// nothing was to change (no changes, or deletes of what does not exist).
    ///
    /// # Errors
    /// A condition does not hold, a limit is exceeded, or the store fails.
    fn commit(&self, transaction: Transaction) -> Result<u64, CommitError>;

    /// Follows the changes of the keys that start with `prefix`, made after
    /// `from_revision` ([`Listing::revision`]; 0: from the beginning).
    ///
    /// # Errors
    /// The changes after `from_revision` are no longer kept, or the store has
    /// not had that revision: list again, and watch from there.
    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, WatchError>;
}

impl Change {
    /// The key that is changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl Transaction {
    /// Checks everything but the conditions; each store does before it starts.
    ///
    /// # Errors
    /// A limit is exceeded, or a key is changed twice.
    pub fn check(&self) -> Result<(), CommitError> {
        let mut seen = HashSet::with_capacity(self.changes.len().min(MAX_TRANSACTION_ITEMS));
        let items = self.changes.len().max(self.conditions.len());
        let mut total = 0_usize;
        for change in &self.changes {
            let key = change.key();
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                return Err(CommitError::KeySize { bytes: key.len() });
            }
            total = total.saturating_add(key.len());
            if let Change::Put { key, value } = change {
                if value.len() > MAX_VALUE_BYTES {
                    return Err(CommitError::ValueSize { key: key.clone(), bytes: value.len() });
                }
                total = total.saturating_add(value.len());
            }
            if !seen.insert(key) {
                return Err(CommitError::ChangedTwice { key: key.to_owned() });
            }
        }
        if items > MAX_TRANSACTION_ITEMS || total > MAX_TRANSACTION_BYTES {
            return Err(CommitError::TransactionSize { items, bytes: total });
        }
        Ok(())
    }
}

// Values may be secret: only their length is shown.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}@{} ({} bytes)", self.key, self.revision, self.value.len())
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "Put({key:?}, {} bytes)", value.len()),
            Self::Delete { key } => write!(f, "Delete({key:?})"),
        }
    }
}
