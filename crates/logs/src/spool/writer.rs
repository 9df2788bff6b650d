//! Appends to a spool. Nothing here waits for readers; what there is no room for is given up, the oldest first.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    ENDED, Record,
    frame::{MAGIC, decode, encode},
    segment_path, segments,
};

/// When what is written is also on the disk itself, so that it outlives the machine's power. It outlives the process
/// in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Each second, and when a segment ends.
    #[default]
    EachSecond,
    /// Before it counts as written.
    Always,
}

/// How much a spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Bytes of all segments; the oldest segment goes for a new one.
    pub bytes_max: u64,
    /// Bytes after which a segment ends.
    pub segment_bytes: u64,
}

impl SpoolLimits {
    /// At most `bytes_max` bytes, in about 32 segments of at least 64 KiB.
    pub fn of_total(bytes_max: u64) -> Self {
        Self { bytes_max, segment_bytes: (bytes_max / 32).clamp(64 * 1024, 1024 * 1024) }
    }
}

impl Default for SpoolLimits {
    /// 64 MiB.
    fn default() -> Self {
        Self::of_total(64 * 1024 * 1024)
    }
}

/// The one that appends to a spool.
#[derive(Debug)]
pub struct SpoolWriter {
    directory: PathBuf,
    limits: SpoolLimits,
    segment: Option<Segment>,
    /// The next record's number, buffered ones included.
    next: u64,
    buffer: Vec<u8>,
    buffered: u64,
    /// Something could not be written that nobody was told of.
    has_failed: bool,
}

#[derive(Debug)]
struct Segment {
    file: File,
    bytes: u64,
    unsynced: bool,
}

impl SpoolWriter {
    /// Opens the spool in `directory`, which is made if there is none. A torn tail, as a crash leaves it, is cut.
    ///
    /// # Errors
    /// The directory or its last segment cannot be used.
    pub fn open(directory: &Path, limits: SpoolLimits) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let _ = fs::remove_file(directory.join(ENDED));
        let mut writer = Self {
            directory: directory.to_owned(),
            limits,
            segment: None,
            next: 0,
            buffer: Vec::new(),
            buffered: 0,
            has_failed: false,
        };
        if let Some((first, _)) = segments(directory)?.last().copied() {
            let path = segment_path(directory, first);
            let bytes = fs::read(&path)?;
            let (records, good) = whole(&bytes);
            writer.next = first + records;
            let file = OpenOptions::new().append(true).open(&path)?;
            if good == 0 {
                file.set_len(0)?;
                (&file).write_all(&MAGIC)?;
            } else {
                file.set_len(good)?;
            }
            let bytes = good.max(MAGIC.len() as u64);
            writer.segment = Some(Segment { file, bytes, unsynced: true });
        }
        Ok(writer)
    }

    /// Takes a record; [`flush`](Self::flush) writes it.
    pub fn append(&mut self, record: &Record) {
        encode(record, &mut self.buffer);
        self.buffered += 1;
        self.next += 1;
        if self.buffer.len() as u64 >= self.limits.segment_bytes {
            // What cannot be written is counted by whoever reads; the next `flush` tells.
            self.has_failed |= self.flush().is_err();
        }
    }

    /// Says that `records` were not taken: whoever reads counts them as lost.
    pub fn skip(&mut self, records: u64) {
        if records == 0 {
            return;
        }
        let _ = self.flush();
        self.next += records;
        self.end_segment();
    }

    /// Writes what was appended.
    ///
    /// # Errors
    /// It could not be written, as when the disk is full: those records are lost, and counted by whoever reads.
    pub fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.has_failed) {
            let _ = self.flush();
            return Err(io::Error::new(io::ErrorKind::StorageFull, "some records could not be written"));
        }
        if self.buffered == 0 {
            return Ok(());
        }
        let written = self.write_buffer();
        self.buffer.clear();
        self.buffered = 0;
        if written.is_err() {
            self.end_segment();
        }
        written
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        if self.segment.as_ref().is_some_and(|segment| segment.bytes >= self.limits.segment_bytes) {
            self.end_segment();
        }
        if self.segment.is_none() {
            self.make_room(self.buffer.len() as u64)?;
            self.segment = Some(Segment::create(&self.directory, self.next - self.buffered)?);
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        match segment.file.write_all(&self.buffer) {
            Ok(()) => {
                segment.bytes += self.buffer.len() as u64;
                segment.unsynced = true;
                Ok(())
            }
            Err(error) => {
                // Half a record must not stand before whole ones; and no record goes after it: the segment ends.
                let _ = segment.file.set_len(segment.bytes);
                Err(error)
            }
        }
    }

    /// Puts what was written on the disk itself.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&mut self) -> io::Result<()> {
        match &mut self.segment {
            Some(segment) if segment.unsynced => {
                segment.unsynced = false;
                segment.file.sync_data()
            }
            _ => Ok(()),
        }
    }

    /// Writes the rest and marks the spool as complete.
    ///
    /// # Errors
    /// See [`flush`](Self::flush).
    pub fn close(mut self) -> io::Result<()> {
        let flushed = self.flush();
        let _ = self.sync();
        File::create(self.directory.join(ENDED))?;
        flushed
    }

    fn end_segment(&mut self) {
        let _ = self.sync();
        self.segment = None;
    }

    /// Removes the oldest segments where another one would be too much.
    fn make_room(&self, wanted: u64) -> io::Result<()> {
        let segments = segments(&self.directory)?;
        let mut total: u64 = segments.iter().map(|(_, bytes)| bytes).sum();
        let limit = self.limits.bytes_max.saturating_sub(self.limits.segment_bytes.max(wanted));
        for (first, bytes) in segments {
            if total <= limit {
                break;
            }
            match fs::remove_file(segment_path(&self.directory, first)) {
                // Whoever reads was done with it just now.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total -= bytes,
            }
        }
        Ok(())
    }
}

impl Segment {
    fn create(directory: &Path, first: u64) -> io::Result<Self> {
        let path = segment_path(directory, first);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let begun = file.set_len(0).and_then(|()| file.write_all(&MAGIC));
        if let Err(error) = begun {
            // A full disk must not be filled with names, too.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Self { file, bytes: MAGIC.len() as u64, unsynced: true })
    }
}

/// How many whole records a segment begins with, and where they end; 0 where not even its head is whole.
fn whole(bytes: &[u8]) -> (u64, u64) {
    if !bytes.starts_with(&MAGIC) {
        return (0, 0);
    }
    let (mut records, mut at) = (0, MAGIC.len());
    while let Some((_, length)) = decode(&bytes[at..]) {
        records += 1;
        at += length;
    }
    (records, at as u64)
}
