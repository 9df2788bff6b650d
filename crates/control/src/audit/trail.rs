//! The trail on disk, as its one writer has it: append, make durable, rotate,
//! let expire. Whatever fails can be tried again; nothing appended is lost as
//! long as the process lives.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_model::clock::Timestamp;
use bowline_plumbing::{disk::Disk, wall_clock};
use serde_json::json;

use super::chain::{AuditKeys, Line, LineHash};
use super::error::{AuditError, TamperingKind};
use super::event::{AuditEvent, EventType, UserIdentity, UserIdentityType};
use super::head::{Head, HeadFile, SegmentMark, sync_dir};
use super::record::RecordText;
use super::verify::{BEHIND_MAX, End, Walk, check_files, segment_path, tampered};
use super::{AuditAnchor, segment};

/// `eventSource` of what the trail says of itself.
pub(super) const SOURCE: &str = "audit.bowline";

/// How large a trail gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOptions {
    /// A file is followed by the next before it exceeds this. Default 64 MiB,
    /// at least 512 KiB.
    pub segment_bytes_max: u64,
    /// So many files are kept; the oldest goes first. Default 16, 2 to 1,024.
    pub segments_max: usize,
    /// A file goes when its latest record was recorded so long ago. `None`: only by the limits
    /// above. Default 90 days, as of CloudTrail's event history. To hold it with
    /// little traffic, files are also followed by the next as they age, so a
    /// record may stay longer by `retention / (segments_max - 1)`.
    pub retention: Option<Duration>,
    /// Records waiting for the disk. Default 8,192.
    pub queue_records_max: usize,
    /// Bytes waiting for the disk. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// The disk, which may be without room on purpose.
    pub disk: Disk,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * 1024 * 1024,
            segments_max: 16,
            retention: Some(Duration::from_secs(90 * 24 * 3600)),
            queue_records_max: 8192,
            queue_bytes_max: 64 * 1024 * 1024,
            disk: Disk::default(),
        }
    }
}

impl AuditOptions {
    fn check(&self) -> Result<(), AuditError> {
        let refuse = |option, value: u64, allowed| Err(AuditError::Option { option, value, allowed });
        if self.segment_bytes_max < 512 * 1024 {
            return refuse("segment_bytes_max", self.segment_bytes_max, "at least 524288");
        }
        if !(2..=1024).contains(&self.segments_max) {
            return refuse("segments_max", self.segments_max as u64, "2 to 1024");
        }
        if self.queue_records_max == 0 {
            return refuse("queue_records_max", 0, "at least 1");
        }
        if self.queue_bytes_max < 512 * 1024 {
            return refuse("queue_bytes_max", self.queue_bytes_max as u64, "at least 524288");
        }
        Ok(())
    }
}

/// What readers know of the files: all up to these lengths is whole lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Oldest first.
    pub(super) segments: Vec<IndexSegment>,
    /// The last record that is durable.
    pub(super) anchor: Option<AuditAnchor>,
}

#[derive(Debug, Clone)]
pub(super) struct IndexSegment {
    pub(super) first: u64,
    pub(super) bytes: u64,
    /// Earliest and latest `eventTime`.
    pub(super) times: Option<(String, String)>,
}

/// The index as it is shared.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open trail.
pub(super) struct Trail {
    dir: PathBuf,
    keys: AuditKeys,
    options: AuditOptions,
    index: SharedIndex,
    file: File,
    path: PathBuf,
    /// As it is on disk, but for the active segment's times.
    head: Head,
    /// The last line appended, durable or not.
    last: u64,
    hash: LineHash,
    /// Bytes of the active segment that HEAD vouches for.
    synced_bytes: u64,
    /// Lines after those; the first `written` bytes are in the file.
    pending: Vec<u8>,
    written: usize,
    /// Something failed: what follows `synced_bytes` in the file is unknown.
    doubtful: bool,
}

impl Trail {
    /// Opens or begins a trail. What a kill left is put right, and told in a
    /// record.
    pub(super) fn open(
        dir: &Path,
        key: &[u8; 32],
        options: AuditOptions,
        index: SharedIndex,
    ) -> Result<Self, AuditError> {
        options.check()?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(AuditError::io("create", dir))?;
        let keys = AuditKeys::derive(key);
        let files = segment::list(dir)?;
        let about_head = |what| Err(tampered(dir, super::head::FILE.to_owned(), 0, 0, what));
        let (mut head, begun) = match Head::read(dir, &keys.head)? {
            HeadFile::Genuine(head) => (head, false),
            HeadFile::Altered => return about_head(TamperingKind::HeadAltered),
            HeadFile::Absent if files.is_empty() => (Head::genesis(wall_clock::now()), true),
            HeadFile::Absent => return about_head(TamperingKind::HeadMissing),
        };
        check_files(dir, &head, &files)?;
        let end = Self::examine(dir, &keys, &head, &files)?;
        let killed = head.open && !begun;
        let behind = end.last - head.last;
        (head.open, head.last, head.hash) = (true, end.last, end.hash);
        head.active_mut().times.clone_from(&end.times);

        let path = segment_path(dir, head.active().first);
        if begun {
            // HEAD first: segments without one are a trail that lost it.
            head.write(dir, &keys.head)?;
        }
        let file = open_segment(&path)?;
        file.set_len(end.whole_bytes).map_err(AuditError::io("cut", &path))?;
        file.sync_all().map_err(AuditError::io("sync", &path))?;
        head.write(dir, &keys.head)?;
        let mut trail = Self {
            dir: dir.to_owned(),
            keys,
            options,
            index,
            file,
            path,
            last: end.last,
            hash: end.hash,
            head,
            synced_bytes: end.whole_bytes,
            pending: Vec::new(),
            written: 0,
            doubtful: false,
        };
        trail.remove_expired_files(&files)?;
        trail.fill_index()?;
        if begun {
            trail.append_own("BeginAuditTrail", &json!({}))?;
        } else if killed {
            let torn = end.torn.map(|torn| json!({"bytes": torn.bytes, "sha256": torn.hash.to_string()}));
            trail.append_own(
                "RecoverAuditTrail",
                &json!({"reason": "the process that wrote it was killed", "removedTornLine": torn,
                    "recordsAfterHead": behind}),
            )?;
        }
        trail.sync()?;
        trail.expire(wall_clock::now())?;
        Ok(trail)
    }

    /// Walks through the active segment and sees that the others are there.
    fn examine(dir: &Path, keys: &AuditKeys, head: &Head, files: &[u64]) -> Result<End, AuditError> {
        let active = head.segments.len() - 1;
        for mark in &head.segments[..active] {
            if files.binary_search(&mark.first).is_err() {
                let name = segment::file_name(mark.first);
                return Err(tampered(dir, name, 0, mark.first, TamperingKind::SegmentMissing));
            }
        }
        let mut walk = Walk::new(dir, keys, head);
        walk.segment(active)?;
        walk.finish()
    }

    fn remove_expired_files(&self, files: &[u64]) -> Result<(), AuditError> {
        let oldest = self.head.segments.first().map_or(0, |mark| mark.first);
        files.iter().filter(|file| **file < oldest).try_for_each(|file| self.remove(*file))
    }

    fn fill_index(&self) -> Result<(), AuditError> {
        let mut segments = Vec::with_capacity(self.head.segments.len());
        for mark in &self.head.segments {
            let path = segment_path(&self.dir, mark.first);
            let bytes = std::fs::metadata(&path).map_err(AuditError::io("examine", &path))?.len();
            segments.push(IndexSegment { first: mark.first, bytes, times: mark.times.clone() });
        }
        let anchor = AuditAnchor { sequence: self.last, hash: self.hash.to_string() };
        *self.index.lock() = Index { segments, anchor: Some(anchor) };
        Ok(())
    }

    /// Adds a record that the trail makes itself.
    pub(super) fn append_own(&mut self, name: &str, data: &serde_json::Value) -> Result<(), AuditError> {
        let mut event = AuditEvent::new(wall_clock::now(), SOURCE, name);
        event.event_type = EventType::AwsServiceEvent;
        event.source_ip_address = SOURCE.to_owned();
        event.user_identity = UserIdentity {
            kind: UserIdentityType::AwsService,
            invoked_by: Some(SOURCE.to_owned()),
            ..UserIdentity::default()
        };
        event.additional_event_data = Some(data.clone());
        self.append(&RecordText::of(event))
    }

    /// Adds a record. If this fails, nothing was added.
    pub(super) fn append(&mut self, record: &RecordText) -> Result<(), AuditError> {
        if self.last - self.head.last >= BEHIND_MAX || self.pending.len() > 4 * 1024 * 1024 {
            self.sync()?;
        }
        let line = Line::encode(&self.keys.line, self.last + 1, self.hash, &record.json);
        let bytes = self.synced_bytes + self.pending.len() as u64;
        if bytes > 0 && (bytes + line.len() as u64 >= self.options.segment_bytes_max || self.is_aged()) {
            self.rotate()?;
        }
        self.hash = LineHash::of(&line);
        self.last += 1;
        self.pending.extend_from_slice(&line);
        self.pending.push(b'\n');
        self.head.active_mut().widen(&record.time);
        Ok(())
    }

    /// The active segment is so old that it should be followed by the next, for
    /// its records to expire in time.
    fn is_aged(&self) -> bool {
        let Some(retention) = self.options.retention else { return false };
        let share = retention / u32::try_from(self.options.segments_max - 1).unwrap_or(u32::MAX);
        wall_clock::now().since(self.head.active().begun) > share
    }

    /// Hands what was appended to the operating system: it outlives this process.
    pub(super) fn write(&mut self) -> Result<(), AuditError> {
        let result = self.try_write();
        self.doubtful |= result.is_err();
        result
    }

    fn try_write(&mut self) -> Result<(), AuditError> {
        if self.doubtful {
            // After a failed sync the kernel may have dropped what was written:
            // all since the last good one is written again.
            self.file.set_len(self.synced_bytes).map_err(AuditError::io("cut", &self.path))?;
            (self.written, self.doubtful) = (0, false);
        }
        let room = self.options.disk.room();
        room.and_then(|()| self.file.write_all(&self.pending[self.written..]))
            .map_err(AuditError::io("write", &self.path))?;
        self.written = self.pending.len();
        let (bytes, times) = (self.synced_bytes + self.written as u64, self.head.active().times.clone());
        if let Some(active) = self.index.lock().segments.last_mut() {
            (active.bytes, active.times) = (bytes, times);
        }
        Ok(())
    }

    /// Makes all that was appended durable, HEAD included.
    pub(super) fn sync(&mut self) -> Result<(), AuditError> {
        if self.last == self.head.last && !self.doubtful {
            return Ok(());
        }
        self.write()?;
        let (open, last, hash) = (true, self.last, self.hash);
        let result = self.sync_as(Head { open, last, hash, ..self.head.clone() });
        self.doubtful |= result.is_err();
        result
    }

    fn sync_as(&mut self, head: Head) -> Result<(), AuditError> {
        self.file.sync_data().map_err(AuditError::io("sync", &self.path))?;
        self.check_in_place()?;
        head.write(&self.dir, &self.keys.head)?;
        self.head = head;
        self.synced_bytes += self.pending.len() as u64;
        self.pending.clear();
        self.written = 0;
        self.index.lock().anchor = Some(AuditAnchor { sequence: self.last, hash: self.hash.to_string() });
        Ok(())
    }

    /// HEAD must not vouch for lines in a file that nobody will find.
    fn check_in_place(&self) -> Result<(), AuditError> {
        let ours = self.file.metadata().map_err(AuditError::io("examine", &self.path))?;
        let expected = self.synced_bytes + self.written as u64;
        let in_place = std::fs::metadata(&self.path)
            .is_ok_and(|named| (named.dev(), named.ino(), named.len()) == (ours.dev(), ours.ino(), expected));
        if in_place { Ok(()) } else { Err(AuditError::Replaced { file: self.path.clone() }) }
    }

    fn rotate(&mut self) -> Result<(), AuditError> {
        self.sync()?;
        let mut head = self.head.clone();
        let mark = SegmentMark::new(self.last + 1, self.hash, wall_clock::now());
        let path = segment_path(&self.dir, mark.first);
        head.segments.push(mark);
        // HEAD first: a segment that it does not name is a stranger's.
        head.write(&self.dir, &self.keys.head)?;
        let file = match open_segment(&path).and_then(|file| sync_dir(&self.dir).map(|()| file)) {
            Ok(file) => file,
            Err(error) => {
                // Try again from the start, with the segment before.
                self.head.write(&self.dir, &self.keys.head)?;
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        };
        (self.head, self.file, self.path, self.synced_bytes) = (head, file, path, 0);
        let first = self.head.active().first;
        self.index.lock().segments.push(IndexSegment { first, bytes: 0, times: None });
        self.expire(wall_clock::now())
    }

    /// Removes segments that are too many or too old.
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<(), AuditError> {
        let surplus = self.head.segments.len().saturating_sub(self.options.segments_max);
        let aged = self.head.segments.windows(2).take_while(|pair| {
            // Nothing was added to a segment after the next was begun.
            self.options.retention.is_some_and(|retention| now.since(pair[1].begun) > retention)
        });
        let expired = surplus.max(aged.count());
        if expired == 0 {
            return Ok(());
        }
        let mut head = self.head.clone();
        let gone: Vec<SegmentMark> = head.segments.drain(..expired).collect();
        // HEAD keeps what is durable only; its times of the rest may run ahead.
        head.write(&self.dir, &self.keys.head)?;
        self.head = head;
        self.index.lock().segments.drain(..expired);
        gone.iter().try_for_each(|mark| self.remove(mark.first))
    }

    fn remove(&self, first: u64) -> Result<(), AuditError> {
        let path = segment_path(&self.dir, first);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(AuditError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Ends the trail: from now on no line may follow HEAD.
    pub(super) fn close(&mut self) -> Result<(), AuditError> {
        self.sync()?;
        Head { open: false, ..self.head.clone() }.write(&self.dir, &self.keys.head)
    }

    /// Whether something appended is not durable.
    pub(super) fn is_behind(&self) -> bool {
        self.last > self.head.last || self.doubtful
    }
}

fn open_segment(path: &Path) -> Result<File, AuditError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(AuditError::io("open", path))
}

#[cfg(test)]
mod tests;
