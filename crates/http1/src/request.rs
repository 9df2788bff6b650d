//! A request's head, and how its body is framed (RFC 9112, sections 3, 5 and 6).

use std::{fmt::Write as _, str};

use http::{HeaderMap, HeaderName, Method, Request, Uri, header, uri::PathAndQuery};
use http_body::{Body, SizeHint};

use crate::{error::LengthError, response::says_close};

/// How a request's body is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// So many bytes are left.
    Length(u64),
    /// In chunks; then these trailers, which the head has announced.
    Chunked(Vec<HeaderName>),
}

/// What a request's head says.
pub(crate) struct Said {
    /// `None`: nothing of the body is sent.
    pub(crate) coding: Option<Coding>,
    /// No other request follows.
    pub(crate) closes: bool,
}

/// Writes a request's head.
///
/// A `content-length` that is there is kept to. What else says how the body is framed is this end's own.
pub(crate) fn write_head<B: Body>(
    request: &Request<()>,
    body: &B,
    out: &mut Vec<u8>,
) -> Result<Said, LengthError> {
    let headers = request.headers();
    let said = length_of(headers);
    let hint = if body.is_end_stream() { None } else { Some(body.size_hint()) };
    let coding = match (&hint, said) {
        // A server would wait for it, and take the next request's bytes for it.
        (None, Some(1..)) => return Err(LengthError::Short),
        (None, _) => None,
        (Some(_), Some(length)) => Some(Coding::Length(length)),
        (Some(hint), None) => coding_of(request, hint),
    };
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    write_target(request.uri(), out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut closes = false;
    for (name, value) in headers {
        closes |= name == header::CONNECTION && says_close(value.as_bytes());
        if name == header::TRANSFER_ENCODING || (name == header::CONTENT_LENGTH && said.is_none()) {
            continue;
        }
        write_field(name, value.as_bytes(), out);
    }
    match &coding {
        Some(Coding::Length(length)) if said.is_none() => {
            let _ = write!(Text(out), "content-length: {length}\r\n");
        }
        Some(Coding::Chunked(_)) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(Said { coding, closes })
}

/// Of a body whose length the head does not say.
fn coding_of(request: &Request<()>, hint: &SizeHint) -> Option<Coding> {
    if let Some(length) = hint.exact() {
        return Some(Coding::Length(length));
    }
    // Hardly any of those has a body, and hardly any server reads one.
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::CONNECT) {
        return None;
    }
    let announced = request.headers().get_all(header::TRAILER).iter();
    let names = announced.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    Some(Coding::Chunked(names.filter_map(|name| name.trim().parse().ok()).filter(may_be_trailer).collect()))
}

/// What frames, routes or authenticates a message has to stand in its head (RFC 9110, section 6.5.1).
fn may_be_trailer(name: &HeaderName) -> bool {
    use header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
        MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    };
    !matches!(
        *name,
        AUTHORIZATION
            | CACHE_CONTROL
            | CONTENT_ENCODING
            | CONTENT_LENGTH
            | CONTENT_RANGE
            | CONTENT_TYPE
            | HOST
            | MAX_FORWARDS
            | SET_COOKIE
            | TE
            | TRAILER
            | TRANSFER_ENCODING
    )
}

fn write_target(uri: &Uri, out: &mut Vec<u8>) {
    if uri.authority().is_some() {
        let _ = write!(Text(out), "{uri}");
        return;
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if !path.starts_with(['/', '*']) {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
}

#[inline]
fn write_field(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    let name = name.as_str().as_bytes();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body, with those of the trailers that were announced.
pub(crate) fn write_end(announced: &[HeaderName], trailers: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if announced.contains(name) {
            write_field(name, value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A chunk's size, with the end of its line.
pub(crate) fn write_chunk_size(size: usize, out: &mut Vec<u8>) {
    let _ = write!(Text(out), "{size:X}\r\n");
}

/// What `content-length` says, however often and in however many lists, if it says one thing.
fn length_of(headers: &HeaderMap) -> Option<u64> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        length = Some(one_length(length, value.as_bytes())?);
    }
    length
}

/// What a `content-length` says, if that is one thing, and the same as those before it.
pub(crate) fn one_length(before: Option<u64>, value: &[u8]) -> Option<u64> {
    let mut length = before;
    for text in value.split(|byte| *byte == b',') {
        let said = decimal(text.trim_ascii())?;
        if length.replace(said).is_some_and(|before| before != said) {
            return None;
        }
    }
    length
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` would take a plus.
    let is_number = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// Writes text; there is always room.
struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
