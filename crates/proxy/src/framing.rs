//! Where HTTP/1.1 messages begin and end, read strictly (RFC 9112), before any other parser sees the
//! bytes: what two parsers could read in two ways is refused.
//!
//! No I/O. It follows heads, lengths and chunks and keeps no more of them than a line's beginning;
//! what else is wrong with a request is for the parser behind it.

use memchr::{memchr, memchr2};
use thiserror::Error;

/// Bytes of a line that are kept. No line that is looked at is longer and right.
const KEPT_BYTES: usize = 128;
/// Longest chunk-size line, extensions included, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// Longest trailer section, in bytes.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;
/// Hexadecimal digits of a chunk's size.
const CHUNK_DIGITS_MAX: usize = 16;

/// What could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Ambiguity {
    #[error("a line ends without a carriage return, or has one within it")]
    LineEnd,
    #[error("a header is continued on a second line")]
    Folded,
    #[error("both Content-Length and Transfer-Encoding")]
    BothFramings,
    #[error("a Content-Length that is no number, or several that differ")]
    ContentLength,
    #[error("a Transfer-Encoding other than chunked, once")]
    TransferEncoding,
    #[error("a malformed chunk")]
    Chunk,
    #[error("a trailer section that is too long, or has a header of the framing")]
    Trailers,
}

impl Ambiguity {
    /// For metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LineEnd => "line_end",
            Self::Folded => "folded",
            Self::BothFramings => "both_framings",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::Chunk => "chunk",
            Self::Trailers => "trailers",
        }
    }
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers,
}

/// Follows one direction of a connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    line: Line,
    head: Head,
    trailer_bytes: usize,
}

/// What a head has said so far.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// A line that came in pieces.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT_BYTES],
    bytes: usize,
    ends_in_cr: bool,
}

impl Line {
    const EMPTY: Self = Self { kept: [0; KEPT_BYTES], bytes: 0, ends_in_cr: false };

    /// Takes a part without line feeds.
    fn take(&mut self, part: &[u8]) -> Result<(), Ambiguity> {
        let Some((last, before)) = part.split_last() else { return Ok(()) };
        if self.ends_in_cr || before.contains(&b'\r') {
            return Err(Ambiguity::LineEnd);
        }
        if let Some(room) = self.kept.get_mut(self.bytes..) {
            let count = room.len().min(part.len());
            room[..count].copy_from_slice(&part[..count]);
        }
        self.bytes += part.len();
        self.ends_in_cr = *last == b'\r';
        Ok(())
    }
}

/// A line that is there: of one that is longer than what is kept, its beginning.
#[derive(Clone, Copy, Debug)]
struct Whole<'a> {
    kept: &'a [u8],
    /// With the carriage return at its end.
    bytes: usize,
}

impl<'a> Whole<'a> {
    fn of(line: &'a [u8], bytes: usize) -> Self {
        Self { kept: &line[..bytes.min(KEPT_BYTES)], bytes }
    }

    /// The line, without its end; `None` where it is longer than what is kept.
    fn text(&self) -> Option<&'a [u8]> {
        self.kept.get(..self.bytes.checked_sub(1)?)
    }

    fn is_empty(&self) -> bool {
        self.bytes == 1
    }

    /// Whether the line is a header of this name, whatever its case. A name that something else
    /// stands behind is for the parser to refuse.
    fn is(&self, name: &[u8]) -> bool {
        self.kept.get(name.len()) == Some(&b':') && self.kept[..name.len()].eq_ignore_ascii_case(name)
    }

    /// What stands behind a header's name of this length, without the white space around.
    fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        Some(self.text()?.get(name.len() + 1..)?.trim_ascii())
    }

    fn is_continuation(&self) -> bool {
        matches!(self.kept.first(), Some(b' ' | b'\t'))
    }
}

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const UPGRADE: &[u8] = b"upgrade";
const HOST: &[u8] = b"host";

impl Framing {
    /// At the begin of a connection.
    pub(crate) fn new() -> Self {
        Self { state: State::Head, line: Line::EMPTY, head: Head::default(), trailer_bytes: 0 }
    }

    /// Whether the last head asked to leave HTTP, and nothing came after it.
    pub(crate) fn may_be_upgraded(&self) -> bool {
        self.head.upgrade
    }

    /// Follows what came. On a fault, how many bytes before it were right.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), (usize, Ambiguity)> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let taken = match &mut self.state {
                State::Body { left } | State::ChunkData { left } => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = match self.state {
                            State::ChunkData { .. } => State::ChunkEnd,
                            _ => State::Head,
                        };
                    }
                    count
                }
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    self.follow_line(rest).map_err(|fault| (at, fault))?
                }
            };
            at += taken;
        }
        Ok(())
    }

    /// Follows a line, or what of it has come. How many bytes that is.
    fn follow_line(&mut self, bytes: &[u8]) -> Result<usize, Ambiguity> {
        // Mostly a line comes as a whole: then nothing of it has to be kept.
        if self.line.bytes == 0
            && let Some(end) = memchr2(b'\r', b'\n', bytes)
            && bytes[end..].starts_with(b"\r\n")
        {
            self.bounded(end + 1)?;
            self.line_ended(Whole::of(bytes, end + 1))?;
            return Ok(end + 2);
        }
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        self.line.take(part)?;
        self.bounded(self.line.bytes)?;
        if end.is_none() {
            return Ok(part.len());
        }
        if !self.line.ends_in_cr {
            return Err(Ambiguity::LineEnd);
        }
        let Line { kept, bytes, .. } = std::mem::replace(&mut self.line, Line::EMPTY);
        self.line_ended(Whole::of(&kept, bytes))?;
        Ok(part.len() + 1)
    }

    /// Heads have the parser's limit.
    fn bounded(&self, line_bytes: usize) -> Result<(), Ambiguity> {
        match self.state {
            State::ChunkSize if line_bytes > CHUNK_LINE_BYTES_MAX => Err(Ambiguity::Chunk),
            State::ChunkEnd if line_bytes > 1 => Err(Ambiguity::Chunk),
            State::Trailers if self.trailer_bytes + line_bytes > TRAILERS_BYTES_MAX => {
                Err(Ambiguity::Trailers)
            }
            _ => Ok(()),
        }
    }

    fn line_ended(&mut self, line: Whole<'_>) -> Result<(), Ambiguity> {
        match self.state {
            State::Head => self.head_line(line),
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailers,
                    left => State::ChunkData { left },
                };
                self.trailer_bytes = 0;
                Ok(())
            }
            State::ChunkEnd => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::Trailers => {
                self.trailer_bytes += line.bytes + 1;
                if line.is_empty() {
                    self.state = State::Head;
                    self.head = Head::default();
                    return Ok(());
                }
                let framing = [CONTENT_LENGTH, TRANSFER_ENCODING, HOST];
                match framing.iter().any(|name| line.is(name)) || line.is_continuation() {
                    true => Err(Ambiguity::Trailers),
                    false => Ok(()),
                }
            }
            State::Body { .. } | State::ChunkData { .. } => Ok(()),
        }
    }

    fn head_line(&mut self, line: Whole<'_>) -> Result<(), Ambiguity> {
        if !self.head.begun {
            // RFC 9112 §2.2: an empty line before a request is passed over.
            if !line.is_empty() {
                self.head = Head { begun: true, ..Head::default() };
            }
            return Ok(());
        }
        if line.is_empty() {
            return self.head_ended();
        }
        if line.is_continuation() {
            return Err(Ambiguity::Folded);
        }
        if line.is(CONTENT_LENGTH) {
            let value = line.value(CONTENT_LENGTH).and_then(decimal).ok_or(Ambiguity::ContentLength)?;
            if self.head.length.replace(value).is_some_and(|before| before != value) {
                return Err(Ambiguity::ContentLength);
            }
        } else if line.is(TRANSFER_ENCODING) {
            let value = line.value(TRANSFER_ENCODING);
            let chunked = value.is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
            if !chunked || std::mem::replace(&mut self.head.chunked, true) {
                return Err(Ambiguity::TransferEncoding);
            }
        } else if line.is(UPGRADE) {
            self.head.upgrade = true;
        }
        Ok(())
    }

    fn head_ended(&mut self) -> Result<(), Ambiguity> {
        self.state = match (self.head.length, self.head.chunked) {
            (Some(_), true) => return Err(Ambiguity::BothFramings),
            (None, true) => State::ChunkSize,
            (Some(left @ 1..), false) => State::Body { left },
            (None | Some(0), false) => State::Head,
        };
        self.head = Head { upgrade: self.head.upgrade, ..Head::default() };
        Ok(())
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    // `parse` would take a plus.
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// RFC 9112 §7.1, without white space; extensions are passed over.
fn chunk_size(line: Whole<'_>) -> Result<u64, Ambiguity> {
    let kept = &line.kept[..(line.bytes - 1).min(KEPT_BYTES)];
    let digits = kept.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.len() > CHUNK_DIGITS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Ambiguity::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Ambiguity::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Ambiguity::Chunk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn follow(text: &str) -> Result<State, Ambiguity> {
        let mut framing = Framing::new();
        framing.follow(text.as_bytes()).map_err(|(_, fault)| fault)?;
        Ok(framing.state)
    }

    fn request(headers: &str, body: &str) -> Result<State, Ambiguity> {
        follow(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}"))
    }

    #[test]
    fn follows_requests_one_after_the_other() {
        let text = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nCONTENT-length:  5 \r\n\r\n01234\
                    POST / HTTP/1.1\r\ntransfer-Encoding: Chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET /";
        let mut framing = Framing::new();
        // However it is cut.
        for byte in text.as_bytes() {
            framing.follow(&[*byte]).expect("right");
        }
        assert_eq!((framing.state, framing.line.bytes), (State::Head, 5));
        assert_eq!(follow(text), Ok(State::Head));
        assert_eq!(request("Content-Length: 9", "01234"), Ok(State::Body { left: 4 }));
        assert_eq!(request("Content-Length: 0", ""), Ok(State::Head));
        assert_eq!(request("Transfer-Encoding: chunked", "9\r\n01234"), Ok(State::ChunkData { left: 4 }));
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        use Ambiguity::*;
        let cases = [
            ("X: y\nZ: z", LineEnd),
            ("X: y\rz", LineEnd),
            ("X: y\r\r", LineEnd),
            ("X: y\r\n z", Folded),
            ("X: y\r\n\tz", Folded),
            ("Content-Length: 4\r\nTransfer-Encoding: chunked", BothFramings),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0", BothFramings),
            ("Content-Length: 4\r\nContent-Length: 5", ContentLength),
            ("Content-Length: +4", ContentLength),
            ("Content-Length: 4, 4", ContentLength),
            ("Content-Length:", ContentLength),
            ("Content-Length: 18446744073709551616", ContentLength),
            ("Transfer-Encoding: gzip, chunked", TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", TransferEncoding),
            ("Transfer-Encoding: \x0bchunked", TransferEncoding),
        ];
        for (headers, fault) in cases {
            assert_eq!(request(headers, ""), Err(fault), "{headers:?}");
        }
        let long = format!("Content-Length: {}5", "0".repeat(KEPT_BYTES));
        assert_eq!(request(&long, ""), Err(ContentLength));
        for body in
            ["5\n", "0x5\r\n", "+5\r\n", "\r\n", " 5\r\n", "5 \r\n", "00000000000000005\r\n", "2\r\n0123"]
        {
            assert!(request("Transfer-Encoding: chunked", body).is_err(), "{body:?}");
        }
        let endless = format!("5;{}", "a".repeat(CHUNK_LINE_BYTES_MAX));
        assert_eq!(request("Transfer-Encoding: chunked", &endless), Err(Chunk));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILERS_BYTES_MAX / 6 + 1));
        assert_eq!(request("Transfer-Encoding: chunked", &trailers), Err(Trailers));
        assert_eq!(request("Transfer-Encoding: chunked", "0\r\nContent-Length: 5\r\n"), Err(Trailers));
    }

    #[test]
    fn the_place_of_a_fault_is_the_line_that_has_it() {
        let text = b"GET / HTTP/1.1\r\nX: y\nZ: z\r\n";
        assert_eq!(Framing::new().follow(text), Err((16, Ambiguity::LineEnd)));
    }

    proptest! {
        #[test]
        fn how_it_is_cut_makes_no_difference(
            text in "(GET / HTTP/1.1\r\n|Content-Length: [0-9]\r\n|Transfer-Encoding: chunked\r\n|\r\n|\n|[0-9]\r\n|[a-z\r]{0,9}){0,9}",
            size in 1_usize..9,
        ) {
            let (mut whole, mut cut) = (Framing::new(), Framing::new());
            let expected = whole.follow(text.as_bytes()).map_err(|(_, fault)| fault);
            let found = text.as_bytes().chunks(size).try_for_each(|part| cut.follow(part)).map_err(|(_, fault)| fault);
            prop_assert_eq!(expected, found);
            if expected.is_ok() {
                prop_assert_eq!(whole.state, cut.state);
            }
        }
    }
}
