//! The audit trail: every API call, with who, from where, what, and how it
//! ended, as `CloudTrail` records in files that show whether anybody changed them.
//!
//! - [`event`]: what the API layer tells of a call. Secrets are hidden and sizes
//!   bounded before anything is kept.
//! - [`AuditLog`] records without waiting for the disk: a bounded queue, one
//!   writer.
//! - [`lookup`] finds records again, as `CloudTrail`'s `LookupEvents` does.
//! - [`verify`] reads a trail and tells the first place that is not as written.
//!
//! What is noticed: a line altered, removed, swapped, repeated or made up, the
//! end cut off, a segment or HEAD removed or altered. What is not: that all of
//! the directory was put back to an earlier state, or removed; for the first,
//! keep an [`AuditAnchor`] elsewhere and use [`verify::verify_includes`]. Nor what
//! a holder of the key writes, and the last second before a power failure. Line
//! format: `chain`; order of writes: `trail`.

mod chain;
pub mod error;
pub mod event;
mod head;
pub mod lookup;
mod memory;
mod record;
mod redact;
mod segment;
mod time;
mod trail;
pub mod verify;
mod writer;

use std::path::{Path, PathBuf};

use chain::AuditKeys;
use record::RecordText;
use trail::SharedIndex;
use writer::Writer;

pub use error::{AuditError, Tampering, TamperingKind};
pub use event::AuditEvent;
pub use lookup::{LookupError, LookupPage, LookupQuery};
pub use trail::AuditOptions;
pub use verify::{AuditAnchor, Verified};
pub use writer::{AuditFull, AuditStatus};

/// An audit trail that is written to. Dropping it waits for the disk: it writes
/// what is queued and closes the trail.
pub struct AuditLog(Backend);

enum Backend {
    Files { dir: PathBuf, keys: Box<AuditKeys>, index: SharedIndex, writer: Writer },
    Memory(Box<memory::MemoryTrail>),
}

impl AuditLog {
    /// Opens the trail of a directory, or begins one. The caller holds the state
    /// directory's lock: there is one writer. A line that a kill tore is removed,
    /// and a record tells of it.
    ///
    /// HEAD and the segment written last are checked; the rest is
    /// [`verify::verify`]'s.
    ///
    /// # Errors
    /// [`AuditError::Tampered`]: the trail is left as it is, for whoever looks
    /// into it; move the directory away to begin another. An option is out of
    /// range, or the file system fails.
    pub fn open(
        dir: impl AsRef<Path>,
        hmac_key: &[u8; 32],
        options: AuditOptions,
    ) -> Result<Self, AuditError> {
        let dir = dir.as_ref();
        let (writer, index) = writer::open(dir, hmac_key, options)?;
        let keys = Box::new(AuditKeys::derive(hmac_key));
        Ok(Self(Backend::Files { dir: dir.to_owned(), keys, index, writer }))
    }

    /// A trail that keeps the last `capacity` records, at most 64 MiB of them,
    /// for as long as it lives.
    pub fn in_memory(capacity: usize) -> Self {
        Self(Backend::Memory(Box::new(memory::MemoryTrail::new(capacity))))
    }

    /// Records a call. Does not wait for the disk; the record is durable within
    /// about a second, or after [`AuditLog::flush`].
    ///
    /// # Errors
    /// Too many records wait for the disk; this one is not kept. Once the disk
    /// takes records again, one of them tells how many were not.
    pub fn record(&self, event: AuditEvent) -> Result<(), AuditFull> {
        let record = RecordText::of(event);
        match &self.0 {
            Backend::Files { writer, .. } => writer.record(record),
            Backend::Memory(memory) => {
                memory.record(record);
                Ok(())
            }
        }
    }

    /// Waits until all that was recorded before is durable and HEAD vouches
    /// for it.
    ///
    /// # Errors
    /// The disk fails; it is tried again without another call.
    pub async fn flush(&self) -> Result<(), AuditError> {
        match &self.0 {
            Backend::Files { writer, .. } => writer.flush().await,
            Backend::Memory(_) => Ok(()),
        }
    }

    /// A page of the records that match, the one recorded last first. Reads
    /// files, at most 64 MiB: call it where blocking is allowed. Records that are
    /// queued are not found yet.
    ///
    /// # Errors
    /// The query is not valid, a record read was tampered with, or the file
    /// system fails.
    pub fn lookup(&self, query: &LookupQuery) -> Result<LookupPage, LookupError> {
        match &self.0 {
            Backend::Files { dir, keys, index, .. } => {
                let index = index.lock().clone();
                lookup::in_files(dir, keys, &index, query)
            }
            Backend::Memory(memory) => memory.lookup(query),
        }
    }

    /// How the trail does.
    pub fn status(&self) -> AuditStatus {
        match &self.0 {
            Backend::Files { writer, .. } => writer.status(),
            Backend::Memory(_) => AuditStatus::default(),
        }
    }

    /// The last record that is durable, to be kept elsewhere; `None` in memory.
    pub fn anchor(&self) -> Option<AuditAnchor> {
        match &self.0 {
            Backend::Files { index, .. } => index.lock().anchor.clone(),
            Backend::Memory(_) => None,
        }
    }

    /// [`verify::verify`].
    ///
    /// # Errors
    /// As there.
    pub fn verify(dir: impl AsRef<Path>, hmac_key: &[u8; 32]) -> Result<Verified, AuditError> {
        verify::verify(dir.as_ref(), hmac_key)
    }
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dir = match &self.0 {
            Backend::Files { dir, .. } => Some(dir),
            Backend::Memory(_) => None,
        };
        f.debug_struct("AuditLog").field("dir", &dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
