//! A source's queue on disk. Whoever has lines appends records to it; whoever delivers them reads, from another process,
//! and says how far it has come only when they were delivered.
//!
//! A spool is a directory of segments. A segment's file is named by the number of its first record, so that what is
//! missing between two segments (oldest ones dropped to make room, lines that a full disk had no room for, a torn tail)
//! is counted by whoever reads, exactly.

mod frame;
mod queue;
mod reader;
mod writer;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bowline_model::clock::Timestamp;

pub use frame::{RECORD_BYTES_MAX, decode, encode};
pub use queue::{Source, Spools};
pub use reader::{Batch, SpoolReader};
pub use writer::{SpoolLimits, SpoolWriter, SyncPolicy};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A line of standard output.
    Stdout,
    /// A line of standard error.
    Stderr,
    /// A JSON object, as a log router's input took it.
    Object,
}

/// One line, or one object, of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub at: Timestamp,
    /// What it is.
    pub kind: RecordKind,
    /// The tag that an input gave it; empty for lines.
    pub tag: String,
    /// The line without its end, or the object's JSON.
    pub body: Vec<u8>,
}

impl Record {
    /// What it takes in memory, roughly.
    pub fn cost(&self) -> u64 {
        (self.body.len() + self.tag.len() + 64) as u64
    }
}

/// Marks a spool that nothing is appended to any more.
const ENDED: &str = "ended";

const SUFFIX: &str = ".seg";

fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// Numbers of the segments' first records, and the segments' bytes; the oldest first.
fn segments(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        // One that was removed just now is none.
        if let (Some(first), Ok(metadata)) = (first, entry.metadata()) {
            found.push((first, metadata.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests;
