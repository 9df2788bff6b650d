//! A group's settings, streams and metric filters on the disk: a file of what changed, the latest last.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use bowline_model::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::{GroupSettings, MetricFilter};
use crate::metrics::codec::{Appender, frames, put_frame};

/// Its name in a group's directory.
const FILE: &str = "journal";

/// Superseded entries from which on it is written anew.
const SUPERSEDED_MAX: usize = 1_000;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// The group was made, or set.
    Group {
        name: String,
        created_at: Timestamp,
        settings: GroupSettings,
    },
    /// A stream was made.
    Stream {
        id: u32,
        name: String,
        created_at: Timestamp,
    },
    /// A stream was deleted, or given up.
    StreamGone {
        id: u32,
    },
    MetricFilter(Box<MetricFilter>),
    MetricFilterGone {
        name: String,
    },
}

/// The journal of a group.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    length: u64,
    entries: usize,
}

impl Journal {
    /// Makes one in a directory.
    pub(super) fn create(directory: &Path, first: &Entry) -> io::Result<Self> {
        let mut journal = Self { path: directory.join(FILE), length: 0, entries: 0 };
        journal.append(first)?;
        Ok(journal)
    }

    /// Opens that of a directory, with all that is in it.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let path = directory.join(FILE);
        let bytes = std::fs::read(&path)?;
        let mut entries = Vec::new();
        let mut frames = frames(&bytes);
        let mut length = 0;
        while let Some(entry) = frames.next().and_then(|payload| serde_json::from_slice(payload).ok()) {
            entries.push(entry);
            length = frames.whole as u64;
        }
        Ok((Self { path, length, entries: entries.len() }, entries))
    }

    /// Writes what changed, and waits for the disk.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut out = Vec::new();
        put_frame(&mut out, &serde_json::to_vec(entry)?);
        let mut appender = Appender::open(&self.path, self.length)?;
        appender.append(&out)?;
        appender.sync()?;
        self.length = appender.length();
        self.entries += 1;
        Ok(())
    }

    /// Writes it anew with what is true now, where most of it is not true any more.
    pub(super) fn compact(&mut self, entries: &[Entry]) -> io::Result<()> {
        if self.entries < entries.len() * 2 + SUPERSEDED_MAX {
            return Ok(());
        }
        let mut out = Vec::new();
        for entry in entries {
            put_frame(&mut out, &serde_json::to_vec(entry)?);
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, &out)?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.length = out.len() as u64;
        self.entries = entries.len();
        Ok(())
    }
}
