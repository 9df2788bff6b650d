//! A request's head apart from the buffer that it was read into.
//!
//! hyper's heads are slices of a connection's read buffer, and a buffer that a slice is left of is not read into
//! again: with every request under way a connection would have two of them, 8 KiB each, for some hundred bytes.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri,
    uri::{Authority, PathAndQuery},
};

/// Longest head that is copied, in bytes: what is longer is worth its buffer.
const COPIED_MAX: usize = 4 * 1024;

/// The request, of which nothing is in the buffer that it was read into, unless it is large.
pub(crate) fn apart<B>(mut request: Request<B>) -> Request<B> {
    let length = uri_length(request.uri()) + request.headers().values().map(HeaderValue::len).sum::<usize>();
    if length > COPIED_MAX {
        return request;
    }
    let mut copy = Vec::with_capacity(length);
    copy_uri(request.uri(), &mut copy);
    for value in request.headers().values() {
        copy.extend_from_slice(value.as_bytes());
    }
    let mut left = Bytes::from(copy);
    refer_uri(request.uri_mut(), &mut left);
    refer_headers(request.headers_mut(), &mut left);
    request
}

fn authority_of(uri: &Uri) -> &[u8] {
    uri.authority().map(|authority| authority.as_str().as_bytes()).unwrap_or_default()
}

fn path_of(uri: &Uri) -> &[u8] {
    uri.path_and_query().map(|path| path.as_str().as_bytes()).unwrap_or_default()
}

fn uri_length(uri: &Uri) -> usize {
    authority_of(uri).len() + path_of(uri).len()
}

fn copy_uri(uri: &Uri, copy: &mut Vec<u8>) {
    copy.extend_from_slice(authority_of(uri));
    copy.extend_from_slice(path_of(uri));
}

/// Puts the beginning of `left`, to which [`copy_uri`] has copied it, in the place of what the URI refers to.
fn refer_uri(uri: &mut Uri, left: &mut Bytes) {
    let authority = left.split_to(authority_of(uri).len());
    let path = left.split_to(path_of(uri).len());
    let mut parts = uri.clone().into_parts();
    // What was a part of a URI is one, and they are one together; were they not, what is there would stay.
    if let Some(part) = &mut parts.authority
        && let Ok(copied) = Authority::from_maybe_shared(authority)
    {
        *part = copied;
    }
    if let Some(part) = &mut parts.path_and_query
        && let Ok(copied) = PathAndQuery::from_maybe_shared(path)
    {
        *part = copied;
    }
    if let Ok(copied) = Uri::from_parts(parts) {
        *uri = copied;
    }
}

/// The same of the headers' values, in their order.
fn refer_headers(headers: &mut HeaderMap, left: &mut Bytes) {
    for value in headers.values_mut() {
        let is_sensitive = value.is_sensitive();
        if let Ok(mut copied) = HeaderValue::from_maybe_shared(left.split_to(value.len())) {
            copied.set_sensitive(is_sensitive);
            *value = copied;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::header;

    use super::*;

    /// A request whose path and values are slices of one buffer, and that buffer's rest.
    fn read(uri: &str, values: &[&str]) -> (Request<()>, BytesMut) {
        let mut buffer = BytesMut::with_capacity(8 * 1024);
        buffer.extend_from_slice(uri.as_bytes());
        let uri = Uri::from_maybe_shared(buffer.split().freeze()).expect("a URI");
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        for value in values {
            buffer.extend_from_slice(value.as_bytes());
            let value = HeaderValue::from_maybe_shared(buffer.split().freeze()).expect("a value");
            request.headers_mut().append(header::COOKIE, value);
        }
        (request, buffer)
    }

    #[test]
    fn a_head_is_the_same_and_its_buffer_free() {
        for uri in
            ["/", "/a/b?c=d&e", "*", "http://service-b-sc:8202/path?x", "http://service-b-sc", "service:443"]
        {
            let (request, mut buffer) = read(uri, &["first=1", "", "second=\u{e4}", "third"]);
            let before = (request.uri().clone().to_string(), request.headers().clone());
            let whole: Vec<Vec<u8>> = before.1.values().map(|value| value.as_bytes().to_vec()).collect();
            drop(before.1);
            let request = apart(request);
            assert_eq!(request.uri().to_string(), before.0);
            let values: Vec<&[u8]> = request.headers().values().map(HeaderValue::as_bytes).collect();
            assert_eq!(values, whole, "{uri}");
            assert!(buffer.try_reclaim(8 * 1024), "nothing is left of {uri} in the buffer");
        }
    }

    #[test]
    fn a_value_stays_sensitive() {
        let (mut request, _) = read("/", &["secret", "open"]);
        request.headers_mut().values_mut().next().expect("the first").set_sensitive(true);
        let request = apart(request);
        let sensitive: Vec<bool> = request.headers().values().map(HeaderValue::is_sensitive).collect();
        assert_eq!(sensitive, [true, false]);
    }

    #[test]
    fn a_large_head_keeps_its_buffer() {
        let long = "x".repeat(COPIED_MAX);
        let (request, mut buffer) = read("/", &[&long]);
        let request = apart(request);
        assert_eq!(request.headers()[header::COOKIE].as_bytes(), long.as_bytes());
        assert!(!buffer.try_reclaim(8 * 1024));
    }
}
