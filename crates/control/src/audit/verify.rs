//! Whether a trail is as it was written.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bowline_model::clock::Timestamp;

use super::chain::{AuditKeys, Line, LineHash};
use super::error::{AuditError, Tampering, TamperingKind};
use super::head::{Head, HeadFile, SegmentMark};
use super::segment::{self, ForwardLines, RawLine};
use super::time;

/// HEAD is never more records behind the lines: the writer sees to it.
pub(super) const BEHIND_MAX: u64 = 1024;
/// So often verifying starts again when the trail's writer moved HEAD meanwhile.
const ATTEMPTS: usize = 5;

/// A trail that is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// Sequence number of the oldest; what came before expired. 0 if none.
    pub first: u64,
    /// `eventTime` of the earliest record.
    pub from: Option<Timestamp>,
    /// `eventTime` of the latest record.
    pub to: Option<Timestamp>,
    /// The last record. Keep it elsewhere: [`verify_includes`] notices with it
    /// that the whole trail was put back to an earlier state.
    pub anchor: AuditAnchor,
    /// Bytes after the last whole line, left by a kill; the next start removes
    /// them and says so in a record.
    pub torn_bytes: u64,
}

/// A record that a trail has: its number, and the hash of its line, which
/// stands for all lines before it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditAnchor {
    /// Sequence number; 0 before the first record.
    pub sequence: u64,
    /// SHA-256 of the line, as hex.
    pub hash: String,
}

/// Reads a whole trail and checks every line, the chain, and the end against
/// HEAD. May run beside the trail's writer.
///
/// # Errors
/// [`AuditError::Tampered`] with the first place that is not as it was written;
/// there is no trail, or the file system fails.
pub fn verify(dir: &Path, hmac_key: &[u8; 32]) -> Result<Verified, AuditError> {
    verify_against(dir, hmac_key, None)
}

/// [`verify`], and the trail must still hold the record of an anchor taken
/// earlier, or have let it expire.
///
/// # Errors
/// As [`verify`]; [`TamperingKind::RolledBack`] if the trail is older than the
/// anchor, [`TamperingKind::ChainBroken`] if it holds another record instead.
pub fn verify_includes(
    dir: &Path,
    hmac_key: &[u8; 32],
    anchor: &AuditAnchor,
) -> Result<Verified, AuditError> {
    verify_against(dir, hmac_key, Some(anchor))
}

fn verify_against(dir: &Path, key: &[u8; 32], anchor: Option<&AuditAnchor>) -> Result<Verified, AuditError> {
    let keys = AuditKeys::derive(key);
    let mut attempt = 1;
    loop {
        let before = Head::read(dir, &keys.head)?;
        let result = verify_once(dir, &keys, &before, anchor);
        if result.is_ok() || attempt == ATTEMPTS {
            return result;
        }
        // A live trail's files may have been read between two of its steps.
        let moved = match (&before, &Head::read(dir, &keys.head)?) {
            (HeadFile::Genuine(before), HeadFile::Genuine(after)) => before != after,
            _ => false,
        };
        if !moved {
            return result;
        }
        attempt += 1;
    }
}

fn verify_once(
    dir: &Path,
    keys: &AuditKeys,
    head: &HeadFile,
    anchor: Option<&AuditAnchor>,
) -> Result<Verified, AuditError> {
    let files = segment::list(dir)?;
    let head = match head {
        HeadFile::Genuine(head) => head,
        HeadFile::Altered => return Err(about_head(dir, TamperingKind::HeadAltered)),
        HeadFile::Absent if files.is_empty() => return Err(AuditError::Absent { dir: dir.to_owned() }),
        HeadFile::Absent => return Err(about_head(dir, TamperingKind::HeadMissing)),
    };
    check_files(dir, head, &files)?;
    let first = head.segments.first().map_or(1, |mark| mark.first);
    let mut walk = Walk::new(dir, keys, head);
    walk.anchor = anchor;
    for index in 0..head.segments.len() {
        walk.segment(index)?;
    }
    let end = walk.finish()?;
    if let Some(anchor) = anchor.filter(|anchor| anchor.sequence > end.last) {
        return Err(about_head(dir, TamperingKind::RolledBack { last: anchor.sequence }));
    }
    let records = end.last + 1 - first;
    Ok(Verified {
        records,
        first: if records == 0 { 0 } else { first },
        from: end.times.as_ref().and_then(|(from, _)| time::parse(from)),
        to: end.times.as_ref().and_then(|(_, to)| time::parse(to)),
        anchor: AuditAnchor { sequence: end.last, hash: end.hash.to_string() },
        torn_bytes: end.torn.map_or(0, |torn| torn.bytes),
    })
}

/// The files are those of HEAD, and perhaps expired ones of an interrupted
/// removal.
pub(super) fn check_files(dir: &Path, head: &Head, files: &[u64]) -> Result<(), AuditError> {
    let oldest = head.segments.first().map_or(1, |mark| mark.first);
    let unknown = |file: &&u64| **file >= oldest && !head.segments.iter().any(|mark| mark.first == **file);
    match files.iter().find(unknown) {
        None => Ok(()),
        Some(&file) => Err(tampered(dir, segment::file_name(file), 0, file, TamperingKind::SegmentUnknown)),
    }
}

fn about_head(dir: &Path, what: TamperingKind) -> AuditError {
    tampered(dir, super::head::FILE.to_owned(), 0, 0, what)
}

pub(super) fn tampered(
    dir: &Path,
    segment: String,
    line: u64,
    sequence: u64,
    what: TamperingKind,
) -> AuditError {
    AuditError::Tampered { dir: dir.to_owned(), tampering: Tampering { segment, line, sequence, what } }
}

/// Goes through segments line by line.
pub(super) struct Walk<'a> {
    dir: &'a Path,
    keys: &'a AuditKeys,
    head: &'a Head,
    anchor: Option<&'a AuditAnchor>,
    /// The last record seen, and its line's hash.
    last: u64,
    hash: LineHash,
    times: SegmentMark,
    torn: Option<Torn>,
    /// Of the file and line that were read last.
    segment: String,
    line: u64,
    /// Bytes of whole lines in the segment read last.
    whole_bytes: u64,
}

/// What a kill left after the last whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    /// Of the first of them, up to a line's limit.
    pub(super) hash: LineHash,
}

/// Where a walk ended.
pub(super) struct End {
    pub(super) last: u64,
    pub(super) hash: LineHash,
    /// Earliest and latest `eventTime` of what was walked.
    pub(super) times: Option<(String, String)>,
    pub(super) torn: Option<Torn>,
    /// Bytes of whole lines in the active segment.
    pub(super) whole_bytes: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(dir: &'a Path, keys: &'a AuditKeys, head: &'a Head) -> Self {
        let hash = LineHash::genesis();
        Self {
            dir,
            keys,
            head,
            anchor: None,
            last: 0,
            hash,
            times: SegmentMark::new(0, hash, Timestamp::default()),
            torn: None,
            segment: String::new(),
            line: 0,
            whole_bytes: 0,
        }
    }

    /// Walks through one segment of HEAD, all of it.
    pub(super) fn segment(&mut self, index: usize) -> Result<(), AuditError> {
        let mark = &self.head.segments[index];
        let active = index + 1 == self.head.segments.len();
        if !self.segment.is_empty() {
            if self.last + 1 < mark.first {
                return Err(self.tampered(TamperingKind::EndCut { last: mark.first - 1 }));
            }
            if self.last + 1 != mark.first || self.hash != mark.previous {
                return Err(self.tampered(TamperingKind::ChainBroken));
            }
        }
        self.segment = segment::file_name(mark.first);
        (self.line, self.whole_bytes) = (0, 0);
        (self.last, self.hash) = (mark.first - 1, mark.previous);
        let path = self.dir.join(&self.segment);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // HEAD names a segment before its file is made.
                return if active && self.head.last < mark.first {
                    Ok(())
                } else {
                    Err(self.tampered(TamperingKind::SegmentMissing))
                };
            }
            Err(source) => return Err(AuditError::io("open", &path)(source)),
        };
        let mut lines = ForwardLines::new(file, &path);
        while let Some(line) = lines.next_line()? {
            self.line += 1;
            match line {
                RawLine::Whole(line) if !self.is_unwritten(active, &line) => self.line(&line)?,
                RawLine::Whole(bytes) | RawLine::Torn(bytes) => return self.torn(&path, active, &bytes),
            }
        }
        Ok(())
    }

    /// After a power failure a file may have its length and not its contents.
    fn is_unwritten(&self, active: bool, line: &[u8]) -> bool {
        active && self.last >= self.head.last && line.contains(&0)
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        let Some(line) = Line::open(&self.keys.line, bytes) else {
            return Err(self.tampered(TamperingKind::LineAltered));
        };
        if line.sequence != self.last + 1 {
            return Err(self.tampered(TamperingKind::LineMisplaced { found: line.sequence }));
        }
        let hash = LineHash::of(bytes);
        let of_head = line.sequence != self.head.last || hash == self.head.hash;
        let of_anchor = self
            .anchor
            .is_none_or(|anchor| line.sequence != anchor.sequence || hash.to_string() == anchor.hash);
        if line.previous != self.hash || !of_head || !of_anchor {
            return Err(self.tampered(TamperingKind::ChainBroken));
        }
        if let Some(time) = event_time(line.record) {
            self.times.widen(&time);
        }
        (self.last, self.hash) = (line.sequence, hash);
        self.whole_bytes += bytes.len() as u64 + 1;
        Ok(())
    }

    fn torn(&mut self, path: &Path, active: bool, first: &[u8]) -> Result<(), AuditError> {
        if !active || self.last < self.head.last {
            // What HEAD knows of was whole once.
            let next = self.head.segments.iter().find(|mark| mark.first > self.last + 1);
            let last = next.map_or(self.head.last, |next| next.first - 1);
            return Err(self.tampered(TamperingKind::EndCut { last }));
        }
        let length = std::fs::metadata(path).map_err(AuditError::io("examine", path))?.len();
        self.torn = Some(Torn { bytes: length.saturating_sub(self.whole_bytes), hash: LineHash::of(first) });
        Ok(())
    }

    /// Compares the end with HEAD.
    pub(super) fn finish(mut self) -> Result<End, AuditError> {
        if self.last < self.head.last {
            return Err(self.tampered(TamperingKind::EndCut { last: self.head.last }));
        }
        let behind = self.last - self.head.last;
        let in_use = self.head.open && behind <= BEHIND_MAX;
        if !in_use && (behind > 0 || self.torn.is_some()) {
            return Err(self.tampered(TamperingKind::HeadOutdated { last: self.head.last }));
        }
        Ok(End {
            last: self.last,
            hash: self.hash,
            times: self.times.times.take(),
            torn: self.torn,
            whole_bytes: self.whole_bytes,
        })
    }

    fn tampered(&self, what: TamperingKind) -> AuditError {
        tampered(self.dir, self.segment.clone(), self.line, self.last + 1, what)
    }
}

/// `eventTime` of a record.
fn event_time(record: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Times {
        #[serde(rename = "eventTime")]
        event_time: String,
    }
    serde_json::from_slice::<Times>(record).ok().map(|times| times.event_time)
}

/// The path of a segment's file.
pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(segment::file_name(first))
}
