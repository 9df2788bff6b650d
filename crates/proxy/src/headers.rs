//! Headers between two hops: what belongs to a connection stays behind
//! (RFC 9110 §7.6.1), what the mesh vouches for is set by the mesh alone.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Envoy's header that names the caller's certificate.
pub(crate) static CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Whether a header may be meant for one hop only. What else is, `connection` names.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// Removes what is meant for the last hop only. `te: trailers` stays: gRPC
/// needs it, and it is true of every hop here.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // One look in place of six: most messages have none.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            if name != header::TE {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(header::UPGRADE);
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        // RFC 9112 §6.3: the length is not to be believed then.
        headers.remove(header::CONTENT_LENGTH);
    }
    if headers.contains_key(header::TE) {
        let trailers = headers
            .get_all(header::TE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, TRAILERS.clone());
        }
    }
}

/// What HTTP/2 splits, HTTP/1.1 needs in one piece (RFC 9113 §8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let joined = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

/// Adds the client's address to `x-forwarded-for`, as an ALB does (append).
pub(crate) fn append_forwarded_for(headers: &mut HeaderMap, name: &HeaderName, client: std::net::IpAddr) {
    let before: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let address = client.to_string();
    let value = match before.is_empty() {
        true => HeaderValue::from_str(&address),
        false => {
            HeaderValue::from_bytes(&[&before.join(&b", "[..])[..], address.as_bytes()].join(&b", "[..]))
        }
    };
    if let Ok(value) = value {
        headers.insert(name.clone(), value);
    }
}

/// Whether a request asks to leave HTTP (WebSocket and others). HTTP/2 is no other protocol: in such
/// a tunnel, requests would pass that nobody looks at (RFC 9113 has given it up, too).
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && !headers
            .get_all(header::UPGRADE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c"))
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Which bytes may stand in an authority.
static IN_AUTHORITY: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut at) = (b"-._~!$&'()*+,;=:[]%", 0);
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether a text can be a request's authority, without a user (RFC 3986 §3.2.2 and §3.2.3, RFC 9110
/// §4.2.4).
pub(crate) fn is_authority(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| IN_AUTHORITY[usize::from(*byte)])
}

/// Whether a request's transfer coding is one that there is: `chunked`, once, or none.
pub(crate) fn is_known_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn what_the_connection_names_stays_behind() {
        let mut headers = map(&[
            ("connection", "close, X-Internal"),
            ("connection", "te"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn cookies_are_joined_and_addresses_appended() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-for", "10.0.0.1")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        let name = HeaderName::from_static("x-forwarded-for");
        append_forwarded_for(&mut headers, &name, [192, 0, 2, 1].into());
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 192.0.2.1");
    }

    #[test]
    fn an_authority_has_the_bytes_that_it_may_have() {
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte);
        for byte in 0..=255 {
            assert_eq!(is_authority(&[b'a', byte]), may(byte), "{byte}");
        }
        assert!(!is_authority(b""));
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        assert!(is_upgrade(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&map(&[("upgrade", "websocket")])));
        assert!(!is_upgrade(&map(&[("connection", "upgrade"), ("upgrade", "websocket, H2C")])));
    }
}
