//! One file of records, of which the end may still be in memory.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_model::{clock::Timestamp, trace::TraceId};

use super::{
    index::Place,
    record::{self, Record},
};

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    /// `None` before anything of it was written.
    pub(super) file: Option<Arc<File>>,
    /// Bytes in the file.
    pub(super) written: u32,
    /// What is being written.
    pub(super) writing: Option<Arc<Vec<u8>>>,
    /// What is to be written after that.
    pub(super) waiting: Vec<u8>,
    /// Spans in it.
    pub(super) spans: u32,
    /// Documents in it.
    pub(super) documents: u32,
    /// Traces with records in it.
    pub(super) traces: Vec<TraceId>,
    /// When it was begun.
    pub(super) begun: Timestamp,
    /// When something was taken into it last.
    pub(super) newest: Timestamp,
}

impl Segment {
    pub(super) fn new(number: u32, now: Timestamp) -> Self {
        Self {
            number,
            file: None,
            written: 0,
            writing: None,
            waiting: Vec::new(),
            spans: 0,
            documents: 0,
            traces: Vec::new(),
            begun: now,
            newest: now,
        }
    }

    pub(super) fn length(&self) -> usize {
        self.written as usize + self.unwritten()
    }

    pub(super) fn unwritten(&self) -> usize {
        self.writing.as_ref().map_or(0, |bytes| bytes.len()) + self.waiting.len()
    }

    pub(super) fn records(&self) -> usize {
        self.spans as usize + self.documents as usize
    }

    /// What stands at a place: where it is in the file, or a copy.
    pub(super) fn piece(&self, place: Place) -> Option<Piece> {
        let (offset, length) = (place.offset as usize, place.length as usize);
        let Some(beyond) = offset.checked_sub(self.written as usize) else {
            return Some(Piece::Written { file: Arc::clone(self.file.as_ref()?), place });
        };
        let writing = self.writing.as_ref().map_or(&[][..], |bytes| bytes);
        let bytes = match beyond.checked_sub(writing.len()) {
            None => writing.get(beyond..beyond + length)?,
            Some(beyond) => self.waiting.get(beyond..beyond + length)?,
        };
        Some(Piece::Unwritten(bytes.to_vec()))
    }
}

/// A record to be read without the store's lock.
#[derive(Debug)]
pub(super) enum Piece {
    Written { file: Arc<File>, place: Place },
    Unwritten(Vec<u8>),
}

impl Piece {
    /// `None` where the disk does not return what was written.
    pub(super) fn read(self) -> Option<Record> {
        match self {
            Self::Unwritten(frame) => record::read(&frame),
            Self::Written { file, place } => {
                let mut frame = vec![0; place.length as usize];
                file.read_exact_at(&mut frame, u64::from(place.offset)).ok()?;
                record::read(&frame)
            }
        }
    }
}

/// Where a segment's file is.
pub(super) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:010}.traces"))
}

/// The number of the segment that a file is.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".traces")?;
    (digits.len() == 10).then(|| digits.parse().ok())?
}
