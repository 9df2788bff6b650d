//! Messages (RFC 9113, section 8): from the fields of a header block, and to one.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::{self, Authority, PathAndQuery, Scheme},
};

use crate::hpack::{Encoder, Field};

/// Header fields that a usual message has: room for so many is made at once.
const FIELDS_USUAL: usize = 12;

/// The fields of one header block.
#[derive(Debug)]
pub(crate) struct Fields {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    length: Option<u64>,
    /// A field that is not a pseudo-header has come.
    is_past_pseudo: bool,
    malformed: Option<&'static str>,
}

/// A message's head, or what is wrong with it.
pub(crate) type Parsed<T> = Result<T, &'static str>;

/// Whether a field of that name belongs to one connection of HTTP/1.1 only (RFC 9113, section 8.2.2).
#[inline]
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection"
    )
}

/// A `content-length` (RFC 9110, section 8.6).
fn length_of(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn put<T>(slot: &mut Option<T>, value: T, malformed: &mut Option<&'static str>) {
    if slot.replace(value).is_some() {
        *malformed = Some("a pseudo-header that comes twice");
    }
}

impl Fields {
    pub(crate) fn new() -> Self {
        Self {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            status: None,
            headers: HeaderMap::with_capacity(FIELDS_USUAL),
            length: None,
            is_past_pseudo: false,
            malformed: None,
        }
    }

    pub(crate) fn add(&mut self, field: Field) {
        let malformed = &mut self.malformed;
        let (name, value) = match field {
            Field::Header(name, value) => (name, value),
            Field::Malformed(wrong) => {
                *malformed = Some(wrong.reason());
                return;
            }
            pseudo => {
                if self.is_past_pseudo {
                    *malformed = Some("a pseudo-header after others");
                }
                match pseudo {
                    Field::Method(method) => put(&mut self.method, method, malformed),
                    Field::Scheme(scheme) => put(&mut self.scheme, scheme, malformed),
                    Field::Authority(authority) => put(&mut self.authority, authority, malformed),
                    Field::Path(path) => put(&mut self.path, path, malformed),
                    Field::Status(status) => put(&mut self.status, status, malformed),
                    // It was not offered (RFC 8441, section 3).
                    _ => *malformed = Some(":protocol, which was not offered"),
                }
                return;
            }
        };
        self.is_past_pseudo = true;
        if is_of_connection(&name) {
            *malformed = Some("a header of one connection only");
        } else if name == header::TE && value != "trailers" {
            *malformed = Some("a te of more than trailers");
        } else if name == header::CONTENT_LENGTH {
            let length = length_of(&value);
            if length.is_none() || self.length.is_some_and(|before| Some(before) != length) {
                *malformed = Some("a content-length that is none, or that another contradicts");
            }
            self.length = length;
        }
        if self.headers.try_append(name, value).is_err() {
            *malformed = Some("too many headers");
        }
    }

    /// What `content-length` says.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The status, if it is a response's head.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.status
    }

    pub(crate) fn into_request(self) -> Parsed<Request<()>> {
        if let Some(wrong) = self.malformed {
            return Err(wrong);
        }
        if self.status.is_some() {
            return Err("a request with :status");
        }
        let method = self.method.ok_or("a request without :method")?;
        let mut uri = uri::Parts::default();
        if method == Method::CONNECT {
            if self.scheme.is_some() || self.path.is_some() || self.authority.is_none() {
                return Err("a CONNECT with :scheme or :path, or without :authority");
            }
        } else {
            let scheme = self.scheme.ok_or("a request without :scheme")?;
            uri.path_and_query = Some(self.path.ok_or("a request without :path")?);
            // A URI with a scheme has an authority.
            uri.scheme = self.authority.is_some().then_some(scheme);
        }
        uri.authority = self.authority;
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| "a request whose parts are no URI")?;
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Ok(request)
    }

    pub(crate) fn into_response(self) -> Parsed<Response<()>> {
        if let Some(wrong) = self.malformed {
            return Err(wrong);
        }
        if self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some() {
            return Err("a response with a request's pseudo-header");
        }
        let mut response = Response::new(());
        *response.status_mut() = self.status.ok_or("a response without :status")?;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.headers;
        Ok(response)
    }

    pub(crate) fn into_trailers(self) -> Parsed<HeaderMap> {
        if let Some(wrong) = self.malformed {
            return Err(wrong);
        }
        let is_head = self.method.is_some()
            || self.scheme.is_some()
            || self.authority.is_some()
            || self.path.is_some()
            || self.status.is_some();
        if is_head { Err("trailers with a pseudo-header") } else { Ok(self.headers) }
    }
}

/// Writes a request's header block. `length`: what `content-length` is to say if it is not there.
pub(crate) fn write_request(
    encoder: &mut Encoder,
    request: &Request<()>,
    length: Option<u64>,
    out: &mut Vec<u8>,
) {
    let uri = request.uri();
    encoder.begin(out);
    encoder.method(request.method(), out);
    if request.method() != Method::CONNECT {
        encoder.scheme(uri.scheme().unwrap_or(&Scheme::HTTP), out);
    }
    if let Some(authority) = uri.authority() {
        encoder.authority(authority.as_str(), out);
    }
    if request.method() != Method::CONNECT {
        match uri.path_and_query().map(PathAndQuery::as_str) {
            Some(path) if path.starts_with(['/', '*']) => encoder.path(path, out),
            // A query alone.
            Some(path) => encoder.path(&format!("/{path}"), out),
            None if request.method() == Method::OPTIONS => encoder.path("*", out),
            None => encoder.path("/", out),
        }
    }
    write_headers(encoder, request.headers(), length, out);
}

/// Writes a response's header block.
pub(crate) fn write_response(
    encoder: &mut Encoder,
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    encoder.status(status, out);
    write_headers(encoder, headers, length, out);
}

/// Writes trailers' header block.
pub(crate) fn write_trailers(encoder: &mut Encoder, trailers: &HeaderMap, out: &mut Vec<u8>) {
    encoder.begin(out);
    write_headers(encoder, trailers, None, out);
}

fn write_headers(encoder: &mut Encoder, headers: &HeaderMap, length: Option<u64>, out: &mut Vec<u8>) {
    let named = headers.get(header::CONNECTION).is_some();
    let mut has_length = false;
    for (name, value) in headers {
        has_length |= name == header::CONTENT_LENGTH;
        let stays_here = is_of_connection(name)
            || (name == header::TE && value != "trailers")
            || (named && is_named_by_connection(headers, name));
        if !stays_here {
            encoder.header(name, value, out);
        }
    }
    if let Some(length) = length.filter(|_| !has_length) {
        encoder.header(&header::CONTENT_LENGTH, &HeaderValue::from(length), out);
    }
}

/// Whether `connection` says that the field is for this connection only.
fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
}
