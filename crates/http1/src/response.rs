//! An answer's head, and how its body is framed (RFC 9112, sections 4 to 6).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};

use crate::{
    HEAD_BYTES_MAX, HEADERS_MAX, buffers::COPIED_MAX, error::Fault, framing::Framing, request::one_length,
};

/// What stands at the beginning of what was read.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Not yet all of a head.
    Partial,
    /// An informational answer, of so many bytes: another one follows.
    Informational(usize),
    Head(Head),
}

/// An answer's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) response: Response<()>,
    pub(crate) framing: Framing,
    /// Whether the server keeps the connection.
    pub(crate) is_kept: bool,
    /// In bytes.
    pub(crate) len: usize,
    /// All of the body, where that is short and was read with the head, or there is none.
    pub(crate) whole: Option<Bytes>,
}

/// Reads the head of an answer to a request of that method. `headers` is an empty map whose room is used.
pub(crate) fn parse(bytes: &[u8], method: &Method, headers: &mut HeaderMap) -> Result<Parsed, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let len = match parser.parse_response_with_uninit_headers(&mut head, bytes, &mut fields) {
        Ok(httparse::Status::Complete(len)) if len <= HEAD_BYTES_MAX => len,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(Parsed::Partial),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadTooLarge),
        Err(_) => return Err(Fault::Head),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Fault::Head)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::Switch);
    }
    if status.is_informational() {
        return Ok(Parsed::Informational(len));
    }
    let is_1_1 = head.version == Some(1);
    let mut traits = Traits::default();
    for field in head.headers.iter() {
        traits.see(field.name.as_bytes(), field.value);
    }
    let framing = framing(method, status, is_1_1, &traits)?;
    let end = match framing {
        Framing::Length(length) => usize::try_from(length).ok().and_then(|length| len.checked_add(length)),
        Framing::Chunked(_) | Framing::UntilClose(_) => None,
    };
    let end = end.filter(|end| *end <= bytes.len() && *end - len <= COPIED_MAX);
    // The buffer is for the next read. The values are slices of a copy, and so is the body if it is there and short.
    let copy = Bytes::copy_from_slice(&bytes[..end.unwrap_or(len)]);
    headers.reserve(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Fault::Head)?;
        let start = field.value.as_ptr() as usize - bytes.as_ptr() as usize;
        let value = copy.slice(start..start + field.value.len());
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Fault::Head)?);
    }
    // RFC 9112, section 6.3: who sends both may mean to have them read in two ways.
    let is_ambiguous = traits.has_length && traits.has_coding;
    if is_ambiguous {
        headers.remove(header::CONTENT_LENGTH);
    }
    // A proxy does not keep connections of HTTP/1.0 (section 9.3).
    let is_kept = is_1_1 && !traits.closes && !is_ambiguous && !matches!(framing, Framing::UntilClose(_));
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if is_1_1 { Version::HTTP_11 } else { Version::HTTP_10 };
    *response.headers_mut() = std::mem::take(headers);
    let whole = end.map(|end| copy.slice(len..end));
    Ok(Parsed::Head(Head { response, framing, is_kept, len, whole }))
}

/// What the fields of a head say of the connection and of the body.
#[derive(Debug, Default)]
struct Traits {
    closes: bool,
    has_length: bool,
    /// `None` though there is one: it is malformed.
    length: Option<u64>,
    has_coding: bool,
    is_chunked: bool,
}

impl Traits {
    #[inline]
    fn see(&mut self, name: &[u8], value: &[u8]) {
        let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
        match name.len() {
            10 if is(b"connection") => self.closes |= says_close(value),
            14 if is(b"content-length") => {
                let is_sound = !self.has_length || self.length.is_some();
                self.length = if is_sound { one_length(self.length, value) } else { None };
                self.has_length = true;
            }
            17 if is(b"transfer-encoding") => {
                // No other was offered, and none is told on.
                self.is_chunked = !self.has_coding && value.eq_ignore_ascii_case(b"chunked");
                self.has_coding = true;
            }
            _ => {}
        }
    }
}

/// Whether a `connection` says that it ends.
pub(crate) fn says_close(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

fn framing(method: &Method, status: StatusCode, is_1_1: bool, traits: &Traits) -> Result<Framing, Fault> {
    if *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Length(0));
    }
    if *method == Method::CONNECT && status.is_success() {
        return Err(Fault::Switch);
    }
    match traits {
        Traits { has_coding: true, is_chunked: true, .. } if is_1_1 => Ok(Framing::chunked()),
        Traits { has_coding: true, .. } => Err(Fault::TransferEncoding),
        Traits { has_length: true, length, .. } => length.map(Framing::Length).ok_or(Fault::ContentLength),
        _ => Ok(Framing::UntilClose(false)),
    }
}
