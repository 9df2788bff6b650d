//! A line of the trail: what makes changes of it noticeable.
//!
//! ```text
//! {"sequence":7,"previous":"<SHA-256>","record":{…},"mac":"<HMAC-SHA-256>"}
//! ```
//! `previous` is the SHA-256 of the line before, without its newline; of the
//! very first, of [`GENESIS_TEXT`]. `mac` is over the line up to `,"mac":`, with
//! a key that the trail's key gives: nobody without it can write a line, not
//! even after the last one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use super::record::RECORD_BYTES_MAX;

/// What the first line's `previous` is the hash of.
const GENESIS_TEXT: &[u8] = b"bowline audit trail 1";
/// The most bytes of a line, its newline included.
pub(super) const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX + 512;
/// `,"mac":"`, 64 hex digits, `"}`.
const MAC_START: &[u8] = b",\"mac\":\"";
const MAC_END: &[u8] = b"\"}";
const TAIL_BYTES: usize = MAC_START.len() + 64 + MAC_END.len();

/// SHA-256 of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct LineHash(pub(super) [u8; 32]);

impl LineHash {
    /// What comes before the first line.
    pub(super) fn genesis() -> Self {
        Self::of(GENESIS_TEXT)
    }

    pub(super) fn of(line: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, line).as_ref());
        Self(bytes)
    }

    pub(super) fn from_hex(text: &[u8]) -> Option<Self> {
        hex_bytes(text).map(Self)
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex_bytes(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    // Lower case only: a text has one spelling.
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The keys of a trail: one each for lines, for HEAD and for tokens, so that
/// none can stand in for another.
#[derive(Clone)]
pub(super) struct AuditKeys {
    pub(super) line: hmac::Key,
    pub(super) head: hmac::Key,
    pub(super) token: hmac::Key,
}

impl AuditKeys {
    /// Of the trail's key; whatever else that is used for does not matter.
    pub(super) fn derive(key: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derive = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, label).as_ref());
        Self {
            line: derive(b"bowline audit 1 line"),
            head: derive(b"bowline audit 1 head"),
            token: derive(b"bowline audit 1 token"),
        }
    }
}

/// Appends `,"mac":"…"}` to an object that lacks only its last brace.
pub(super) fn close_with_mac(key: &hmac::Key, body: &mut Vec<u8>) {
    let mac = LineHashText(hmac::sign(key, body));
    body.extend_from_slice(MAC_START);
    body.extend_from_slice(mac.to_string().as_bytes());
    body.extend_from_slice(MAC_END);
}

struct LineHashText(hmac::Tag);

impl fmt::Display for LineHashText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What [`close_with_mac`] was given, if nobody changed it.
pub(super) fn checked_body<'a>(key: &hmac::Key, line: &'a [u8]) -> Option<&'a [u8]> {
    let (body, tail) = line.split_at_checked(line.len().checked_sub(TAIL_BYTES)?)?;
    let mac = tail.strip_prefix(MAC_START)?.strip_suffix(MAC_END)?;
    hmac::verify(key, body, &hex_bytes(mac)?).ok()?;
    Some(body)
}

/// A line that was read and has the mac that it should.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) sequence: u64,
    pub(super) previous: LineHash,
    /// The record's JSON.
    pub(super) record: &'a [u8],
}

impl<'a> Line<'a> {
    /// The line's bytes, without a newline.
    pub(super) fn encode(key: &hmac::Key, sequence: u64, previous: LineHash, record: &[u8]) -> Vec<u8> {
        let mut line = Vec::with_capacity(record.len() + 256);
        line.extend_from_slice(
            format!("{{\"sequence\":{sequence},\"previous\":\"{previous}\",\"record\":").as_bytes(),
        );
        line.extend_from_slice(record);
        close_with_mac(key, &mut line);
        line
    }

    /// Of bytes without a newline; `None` if they are not as they were written.
    pub(super) fn open(key: &hmac::Key, line: &'a [u8]) -> Option<Self> {
        Self::split(checked_body(key, line)?)
    }

    fn split(body: &'a [u8]) -> Option<Self> {
        let rest = body.strip_prefix(b"{\"sequence\":")?;
        let digits = rest.iter().position(|byte| *byte == b',').filter(|digits| (1..=20).contains(digits))?;
        let (sequence, rest) = rest.split_at(digits);
        let sequence = std::str::from_utf8(sequence).ok()?.parse().ok()?;
        let (previous, rest) = rest.strip_prefix(b",\"previous\":\"")?.split_at_checked(64)?;
        let record = rest.strip_prefix(b"\",\"record\":")?;
        Some(Self { sequence, previous: LineHash::from_hex(previous)?, record })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_opens_only_unchanged_and_with_its_key() {
        let keys = AuditKeys::derive(&[7; 32]);
        let line = Line::encode(&keys.line, 42, LineHash::genesis(), b"{\"a\":1}");
        let opened = Line::open(&keys.line, &line).expect("is as written");
        assert_eq!(
            (opened.sequence, opened.previous, opened.record),
            (42, LineHash::genesis(), &b"{\"a\":1}"[..])
        );
        let _: serde_json::Value = serde_json::from_slice(&line).expect("is JSON");
        for index in 0..line.len() {
            let mut changed = line.clone();
            changed[index] ^= 0x20;
            assert!(Line::open(&keys.line, &changed).is_none(), "a change of byte {index} went unnoticed");
            assert!(Line::open(&keys.line, &line[..index]).is_none());
        }
        assert!(Line::open(&keys.head, &line).is_none());
        assert!(Line::open(&AuditKeys::derive(&[8; 32]).line, &line).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let keys = AuditKeys::derive(&[7; 32]);
            prop_assert!(Line::open(&keys.line, &bytes).is_none());
            let _ = Line::split(&bytes);
        }
    }
}
