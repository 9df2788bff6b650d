//! HEAD: which segments there are and how the trail ends, authenticated.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::hmac;
use bowline_model::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::{LineHash, checked_body, close_with_mac};
use super::error::AuditError;

pub(super) const FILE: &str = "HEAD";
const DRAFT: &str = "HEAD.new";
const VERSION: u32 = 1;
/// 1,024 segments take about 200 KiB.
const BYTES_MAX: u64 = 1024 * 1024;

/// What HEAD says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) version: u32,
    /// Whether a writer is at work, or died: then lines may stand after `last`.
    pub(super) open: bool,
    /// Oldest first; never empty. The last is written to.
    pub(super) segments: Vec<SegmentMark>,
    /// Sequence number of the last record; 0 if there is none yet.
    pub(super) last: u64,
    /// Hash of its line.
    #[serde(with = "hash_text")]
    pub(super) hash: LineHash,
}

/// A segment in HEAD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentMark {
    /// Sequence number of its first line, and its file's name.
    pub(super) first: u64,
    /// Hash of the line before that.
    #[serde(with = "hash_text")]
    pub(super) previous: LineHash,
    /// When it was begun, by the writer's clock: of that, not of what records
    /// say, depends when it goes.
    pub(super) begun: Timestamp,
    /// Earliest and latest `eventTime` within.
    pub(super) times: Option<(String, String)>,
}

impl SegmentMark {
    pub(super) fn new(first: u64, previous: LineHash, begun: Timestamp) -> Self {
        Self { first, previous, begun, times: None }
    }

    /// Takes a record's time into account.
    pub(super) fn widen(&mut self, time: &str) {
        match &mut self.times {
            None => self.times = Some((time.to_owned(), time.to_owned())),
            Some((from, to)) => {
                if time < from.as_str() {
                    time.clone_into(from);
                } else if time > to.as_str() {
                    time.clone_into(to);
                }
            }
        }
    }
}

mod hash_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::LineHash;

    pub(super) fn serialize<S: Serializer>(hash: &LineHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LineHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        LineHash::from_hex(text.as_bytes()).ok_or_else(|| de::Error::custom("not a SHA-256"))
    }
}

/// What is in HEAD's place.
#[derive(Debug)]
pub(super) enum HeadFile {
    Absent,
    /// Not authentic, or not a HEAD.
    Altered,
    Genuine(Head),
}

impl Head {
    /// Of a trail without records.
    pub(super) fn genesis(now: Timestamp) -> Self {
        let hash = LineHash::genesis();
        Self { version: VERSION, open: true, segments: vec![SegmentMark::new(1, hash, now)], last: 0, hash }
    }

    /// The segment that is written to.
    pub(super) fn active(&self) -> &SegmentMark {
        self.segments.last().expect("checked when read, and never removed")
    }

    pub(super) fn active_mut(&mut self) -> &mut SegmentMark {
        self.segments.last_mut().expect("checked when read, and never removed")
    }

    pub(super) fn read(dir: &Path, key: &hmac::Key) -> Result<HeadFile, AuditError> {
        let file = dir.join(FILE);
        let opened = match File::open(&file) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HeadFile::Absent),
            Err(source) => return Err(AuditError::io("open", &file)(source)),
        };
        let mut bytes = Vec::new();
        opened.take(BYTES_MAX).read_to_end(&mut bytes).map_err(AuditError::io("read", &file))?;
        Ok(Self::decode(key, &bytes).map_or(HeadFile::Altered, HeadFile::Genuine))
    }

    fn decode(key: &hmac::Key, bytes: &[u8]) -> Option<Self> {
        let mut body = checked_body(key, bytes.strip_suffix(b"\n")?)?.to_vec();
        body.push(b'}');
        let head: Self = serde_json::from_slice(&body).ok()?;
        let active = head.segments.last()?;
        let sorted = head.segments.is_sorted_by(|one, next| one.first < next.first);
        let follows = active.first > 0 && active.first <= head.last.saturating_add(1);
        (head.version == VERSION && sorted && follows).then_some(head)
    }

    fn encode(&self, key: &hmac::Key) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("keys are strings, and the writer is memory");
        bytes.pop();
        close_with_mac(key, &mut bytes);
        bytes.push(b'\n');
        bytes
    }

    /// Puts this HEAD in the place of the one before, durably and at once.
    pub(super) fn write(&self, dir: &Path, key: &hmac::Key) -> Result<(), AuditError> {
        let draft = dir.join(DRAFT);
        let mut opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(AuditError::io("create", &draft))?;
        opened.write_all(&self.encode(key)).map_err(AuditError::io("write", &draft))?;
        opened.sync_all().map_err(AuditError::io("sync", &draft))?;
        let file = dir.join(FILE);
        std::fs::rename(&draft, &file).map_err(AuditError::io("replace", &file))?;
        sync_dir(dir)
    }
}

/// Makes created, renamed and removed names durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    File::open(dir).and_then(|opened| opened.sync_all()).map_err(AuditError::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::AuditKeys;

    #[test]
    fn is_read_as_written_and_only_unchanged() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = AuditKeys::derive(&[7; 32]);
        assert!(matches!(Head::read(dir.path(), &keys.head).expect("reads"), HeadFile::Absent));
        let mut head = Head::genesis(Timestamp::default());
        head.last = 9;
        head.active_mut().widen("2026-11-21T07:12:23Z");
        head.active_mut().widen("2026-11-20T07:12:23Z");
        head.segments.push(SegmentMark::new(5, LineHash::of(b"x"), Timestamp::default()));
        head.write(dir.path(), &keys.head).expect("writes");
        let HeadFile::Genuine(read) = Head::read(dir.path(), &keys.head).expect("reads") else {
            panic!("altered")
        };
        assert_eq!(read, head);
        let file = dir.path().join(FILE);
        let bytes = std::fs::read(&file).expect("is there");
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(Head::decode(&keys.head, &changed).is_none(), "a change of byte {index} went unnoticed");
        }
        assert!(Head::decode(&keys.line, &bytes).is_none());
    }
}
