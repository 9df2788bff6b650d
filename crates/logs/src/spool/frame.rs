//! How a record stands in a segment: its length, a checksum (CRC-32), and then time, kind, tag and body.

use bowline_model::clock::Timestamp;
use flate2::Crc;

use super::{Record, RecordKind};

/// First bytes of a segment.
pub(super) const MAGIC: [u8; 8] = *b"BWLSPL01";

/// Longest body of a record; what is longer is cut.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Longest tag; what is longer is cut.
const TAG_BYTES_MAX: usize = 1024;

const HEAD: usize = 8;
/// Time, kind, and the tag's length.
const FIXED: usize = 11;

/// Appends a record to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let tag = cut(record.tag.as_bytes(), TAG_BYTES_MAX);
    let body = cut(&record.body, RECORD_BYTES_MAX);
    let begin = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out.extend_from_slice(&record.at.as_millis().to_le_bytes());
    out.push(match record.kind {
        RecordKind::Stdout => 0,
        RecordKind::Stderr => 1,
        RecordKind::Object => 2,
    });
    out.extend_from_slice(&(tag.len() as u16).to_le_bytes());
    out.extend_from_slice(tag);
    out.extend_from_slice(body);
    let payload = begin + HEAD;
    let length = (out.len() - payload) as u32;
    let checksum = checksum(&out[payload..]);
    out[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
    out[begin + 4..payload].copy_from_slice(&checksum.to_le_bytes());
}

/// The record at the beginning of `bytes`, and how many bytes it takes; `None` where there is no whole one.
pub fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    if !(FIXED..=FIXED + TAG_BYTES_MAX + RECORD_BYTES_MAX).contains(&length) {
        return None;
    }
    let payload = rest.get(..length)?;
    if checksum(payload) != u32::from_le_bytes(head[4..].try_into().ok()?) {
        return None;
    }
    let at = Timestamp::from_millis(u64::from_le_bytes(payload[..8].try_into().ok()?));
    let kind = match payload[8] {
        0 => RecordKind::Stdout,
        1 => RecordKind::Stderr,
        2 => RecordKind::Object,
        _ => return None,
    };
    let tag_length = usize::from(u16::from_le_bytes(payload[9..FIXED].try_into().ok()?));
    let (tag, body) = payload[FIXED..].split_at_checked(tag_length)?;
    let tag = String::from_utf8_lossy(tag).into_owned();
    Some((Record { at, kind, tag, body: body.to_vec() }, HEAD + length))
}

fn cut(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
