//! Where an answer's body ends (RFC 9112, sections 6 and 7), whatever bytes come by one read.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    HEADERS_MAX, buffers,
    error::{Error, Fault},
};

/// Most bytes of all chunks' extensions, which nobody reads.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// How a body's end is found.
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunked),
    /// The connection's end is the body's. Whether that has come.
    UntilClose(bool),
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// A body in chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of the chunk that are left, or its size as far as it has been read.
    left: u64,
    extension_bytes: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a size's first digit.
    Start,
    Size,
    /// Space behind a size, as some servers fill it up.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    /// Nothing is left but to hand the trailers out.
    Ended,
    Faulty(Fault),
}

impl Framing {
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunked { state: State::Start, left: 0, extension_bytes: 0, trailers: Vec::new() })
    }

    /// Whether nothing more comes, and everything was handed out.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.state == State::Ended && chunked.trailers.is_empty(),
            Self::UntilClose(has_closed) => *has_closed,
        }
    }

    /// Takes the next piece of the body. Where there is none, all of `input` was taken, or the body is complete.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Fault> {
        match self {
            Self::Length(left) => {
                let count = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                Ok((count > 0).then(|| Piece::Data(buffers::take(input, count))))
            }
            Self::Chunked(chunked) => chunked.take(input),
            Self::UntilClose(_) => {
                let count = input.len();
                Ok((count > 0).then(|| Piece::Data(buffers::take(input, count))))
            }
        }
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        match self {
            Self::UntilClose(has_closed) => {
                *has_closed = true;
                Ok(())
            }
            framing if framing.is_complete() => Ok(()),
            _ => Err(Error::Incomplete),
        }
    }
}

impl Chunked {
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Fault> {
        self.follow(input);
        match self.state {
            State::Data if !input.is_empty() => {
                let count = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let data = buffers::take(input, count);
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                    // So that whoever gets the last piece knows that it is.
                    self.follow(input);
                }
                Ok(Some(Piece::Data(data)))
            }
            State::Ended if !self.trailers.is_empty() => {
                let trailers = parse_trailers(&std::mem::take(&mut self.trailers));
                trailers.map(|trailers| Some(Piece::Trailers(trailers)))
            }
            State::Faulty(fault) => Err(fault),
            _ => Ok(None),
        }
    }

    /// Takes what stands before the next data, or before the end.
    fn follow(&mut self, input: &mut BytesMut) {
        let mut taken = 0;
        for byte in input.iter() {
            if matches!(self.state, State::Data | State::Ended | State::Faulty(_)) {
                break;
            }
            self.state = self.step(*byte).unwrap_or_else(State::Faulty);
            taken += 1;
        }
        input.advance(taken);
    }

    fn step(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Start | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(Fault::Chunk)?;
                let more = self.left.checked_mul(16).ok_or(Fault::Chunk)?;
                self.left = more + u64::from(digit);
                Ok(State::Size)
            }
            (State::Size | State::Space, b' ' | b'\t') => Ok(State::Space),
            (State::Size | State::Space, b';') => Ok(State::Extension),
            (State::Size | State::Space | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, byte) if byte != b'\n' => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    Err(Fault::Chunk)
                } else {
                    Ok(State::Extension)
                }
            }
            (State::SizeLf, b'\n') => Ok(if self.left == 0 { State::Trailers } else { State::Data }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Start),
            (State::Trailers, byte) => self.trailer_byte(byte),
            _ => Err(Fault::Chunk),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, Fault> {
        if self.trailers.len() >= TRAILER_BYTES_MAX {
            return Err(Fault::Trailers);
        }
        let follows_cr = self.trailers.last() == Some(&b'\r');
        if follows_cr != (byte == b'\n') {
            return Err(Fault::Trailers);
        }
        self.trailers.push(byte);
        if self.trailers == b"\r\n" {
            self.trailers = Vec::new();
            return Ok(State::Ended);
        }
        Ok(if self.trailers.ends_with(b"\r\n\r\n") { State::Ended } else { State::Trailers })
    }
}

fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let parsed = httparse::parse_headers(bytes, &mut fields);
    let Ok(httparse::Status::Complete((_, fields))) = parsed else { return Err(Fault::Trailers) };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Fault::Trailers)?;
        trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Fault::Trailers)?);
    }
    Ok(trailers)
}
