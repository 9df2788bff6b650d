//! Frames (RFC 9113, sections 4 and 6): their heads are read and written here, and what they carry
//! beside header blocks and data.

use bytes::BufMut;

use crate::{ConnectionError, Reason};

/// Bytes of a frame's head.
pub const HEAD_LEN: usize = 9;
/// The longest payload that nobody has to ask for.
pub const PAYLOAD_DEFAULT: usize = 16_384;
/// The longest payload that can be.
pub const PAYLOAD_MAX: usize = (1 << 24) - 1;
/// The highest stream, and the largest window.
pub const MAX_31: u32 = (1 << 31) - 1;
/// What a client begins with.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Flags of frames; which ones a frame can have depends on its kind.
pub mod flags {
    /// DATA, HEADERS: the last of its stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x1;
    /// HEADERS, CONTINUATION: the block ends here.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: padding follows.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: a priority comes first.
    pub const PRIORITY: u8 = 0x20;
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message's content.
    Data,
    /// A message's head, or its trailers.
    Headers,
    /// Without a meaning any more.
    Priority,
    /// The end of a stream, at once.
    Reset,
    /// What the sender can take.
    Settings,
    /// A stream that the server begins.
    PushPromise,
    /// To be sent back.
    Ping,
    /// The end of the connection.
    GoAway,
    /// More may be sent.
    WindowUpdate,
    /// More of a header block.
    Continuation,
    /// Any other, to be ignored.
    Unknown,
}

impl Kind {
    /// The kind of that number on the wire.
    pub fn of(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }

    /// The number on the wire.
    fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::Reset => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown => u8::MAX,
        }
    }
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload.
    pub len: usize,
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// Reads a head; `None` if there are not enough bytes for it.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_LEN] = bytes.first_chunk()?;
        Some(Self {
            len: u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize,
            kind: Kind::of(bytes[3]),
            flags: bytes[4],
            stream: u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & MAX_31,
        })
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let len = (self.len as u32).to_be_bytes();
        let stream = self.stream.to_be_bytes();
        out.extend_from_slice(&[
            len[1],
            len[2],
            len[3],
            self.kind.code(),
            self.flags,
            stream[0],
            stream[1],
            stream[2],
            stream[3],
        ]);
    }

    /// Whether it has `flag`.
    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What is left of a payload without its padding.
pub fn without_padding(head: &Head, payload: &[u8]) -> Result<std::ops::Range<usize>, ConnectionError> {
    if !head.has(flags::PADDED) {
        return Ok(0..payload.len());
    }
    let Some(padding) = payload.first() else {
        return Err(ConnectionError::new(
            Reason::FRAME_SIZE_ERROR,
            "a padded frame without a length of padding",
        ));
    };
    match payload.len().checked_sub(1 + usize::from(*padding)) {
        Some(len) => Ok(1..1 + len),
        None => Err(ConnectionError::protocol("padding longer than its frame")),
    }
}

/// The header block in a HEADERS frame, and the stream that it is said to depend on.
pub fn block_of(
    head: &Head,
    payload: &[u8],
) -> Result<(std::ops::Range<usize>, Option<u32>), ConnectionError> {
    let mut range = without_padding(head, payload)?;
    if !head.has(flags::PRIORITY) {
        return Ok((range, None));
    }
    let dependency = payload[range.clone()].first_chunk::<5>().and_then(|bytes| bytes.first_chunk());
    let Some(dependency) = dependency else {
        return Err(ConnectionError::new(Reason::FRAME_SIZE_ERROR, "HEADERS too short for their priority"));
    };
    range.start += 5;
    Ok((range, Some(u32::from_be_bytes(*dependency) & MAX_31)))
}

/// Writes RST_STREAM.
pub fn write_reset(stream: u32, reason: Reason, out: &mut Vec<u8>) {
    Head { len: 4, kind: Kind::Reset, flags: 0, stream }.write(out);
    out.put_u32(reason.code());
}

/// Writes WINDOW_UPDATE.
pub fn write_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    Head { len: 4, kind: Kind::WindowUpdate, flags: 0, stream }.write(out);
    out.put_u32(increment);
}

/// Writes PING.
pub fn write_ping(payload: [u8; 8], ack: bool, out: &mut Vec<u8>) {
    let flags = if ack { flags::ACK } else { 0 };
    Head { len: 8, kind: Kind::Ping, flags, stream: 0 }.write(out);
    out.put_slice(&payload);
}

/// Writes GOAWAY.
pub fn write_go_away(last: u32, reason: Reason, out: &mut Vec<u8>) {
    Head { len: 8, kind: Kind::GoAway, flags: 0, stream: 0 }.write(out);
    out.put_u32(last);
    out.put_u32(reason.code());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            len in 0..=PAYLOAD_MAX, code in 0_u8..=9, flags: u8, stream in 0..=MAX_31,
        ) {
            let head = Head { len, kind: Kind::of(code), flags, stream };
            let mut out = Vec::new();
            head.write(&mut out);
            prop_assert_eq!(out.len(), HEAD_LEN);
            prop_assert_eq!(Head::parse(&out), Some(head));
            prop_assert_eq!(Head::parse(&out[..HEAD_LEN - 1]), None);
        }

        #[test]
        fn padding_and_priority_never_leave_the_payload(flags: u8, payload: Vec<u8>) {
            let head = Head { len: payload.len(), kind: Kind::Headers, flags, stream: 1 };
            if let Ok((range, _)) = block_of(&head, &payload) {
                prop_assert!(payload.get(range).is_some());
            }
        }
    }

    #[test]
    fn the_reserved_bit_of_a_stream_is_ignored() {
        let head = Head::parse(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]).unwrap();
        assert_eq!(head.stream, 1);
    }
}
