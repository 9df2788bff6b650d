//! Which rule of a route a request falls under, and the answers that need no
//! upstream.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bowline_model::balance::{GOLDEN, spread};

use http::{HeaderMap, HeaderValue, Response, header, request::Parts};

use crate::{
    body::ResponseBody,
    config::{Action, Cluster, Forward, Match, Redirect, Route},
    exchange::Exchange,
    reply,
};

/// The action of the first rule that matches.
pub(crate) fn action<'r>(route: &'r Route, request: &Parts) -> Option<&'r Action> {
    let host = host(request);
    route.rules.iter().find(|rule| matches(&rule.matches, request, host)).map(|rule| &rule.action)
}

/// The request's host, without port.
pub(crate) fn host(request: &Parts) -> &str {
    let authority = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => header_text(&request.headers, &header::HOST),
    };
    // IPv6 addresses stand in brackets and have colons of their own.
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

fn header_text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether all conditions hold for a request.
pub(crate) fn falls_under(conditions: &Match, request: &Parts) -> bool {
    matches(conditions, request, host(request))
}

fn matches(rule: &Match, request: &Parts, host: &str) -> bool {
    (rule.hosts.is_empty() || rule.hosts.iter().any(|pattern| pattern.matches(host)))
        && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.matches(request.uri.path())))
        && (rule.methods.is_empty() || rule.methods.contains(&request.method))
        && rule.headers.iter().all(|(name, value)| value.matches(request.headers.get_all(name).iter()))
        && rule
            .query
            .iter()
            .all(|(name, value)| value.matches(query_values(request.uri.query().unwrap_or_default(), name)))
        && rule.also.iter().all(|rule| matches(rule, request, host))
}

/// The decoded values of a parameter.
fn query_values<'q>(query: &'q str, name: &'q str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    query.split('&').filter_map(move |pair| {
        let (given, value) = pair.split_once('=').unwrap_or((pair, ""));
        percent_decoded_eq(given, name).then(|| percent_decoded(value))
    })
}

/// What is not encoded is not copied.
fn percent_decoded(encoded: &str) -> Cow<'_, [u8]> {
    if !encoded.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(encoded.as_bytes());
    }
    Cow::Owned(decoded_bytes(encoded).collect())
}

/// Whether `encoded`, percent-decoded, is `plain`. Allocates nothing.
fn percent_decoded_eq(encoded: &str, plain: &str) -> bool {
    decoded_bytes(encoded).eq(plain.bytes())
}

fn decoded_bytes(encoded: &str) -> impl Iterator<Item = u8> {
    let mut encoded = encoded.bytes();
    std::iter::from_fn(move || {
        Some(match encoded.next()? {
            b'+' => b' ',
            b'%' => {
                let mut rest = encoded.clone();
                match (rest.next().and_then(hex_digit), rest.next().and_then(hex_digit)) {
                    (Some(high), Some(low)) => {
                        encoded = rest;
                        high << 4 | low
                    }
                    _ => b'%',
                }
            }
            byte => byte,
        })
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The cluster that a forwarded request goes to, by the rule's weights: as exactly as can be, over
/// all workers together. A hash decides in place of the request's turn.
pub(crate) fn choose(forward: &Forward, hash: Option<u64>) -> Option<&Arc<Cluster>> {
    if let [(only, _)] = &forward.clusters[..] {
        return Some(only);
    }
    if forward.weight_total == 0 {
        return None;
    }
    let mut place = match hash {
        // Of other bits than those by which an endpoint is found.
        Some(hash) => spread(hash.rotate_left(32), 1, forward.weight_total),
        None => spread(forward.turns.fetch_add(1, Relaxed), GOLDEN, forward.weight_total),
    };
    for (cluster, weight) in &forward.clusters {
        match place.checked_sub(u64::from(*weight)) {
            None => return Some(cluster),
            Some(rest) => place = rest,
        }
    }
    None
}

/// A target of the rule that has weight and is not `failed`, by the weights.
pub(crate) fn another<'r>(forward: &'r Forward, failed: &Cluster, random: u64) -> Option<&'r Arc<Cluster>> {
    let others = || forward.clusters.iter().filter(|(cluster, _)| cluster.name != failed.name);
    let total: u64 = others().map(|(_, weight)| u64::from(*weight)).sum();
    let mut place = random.checked_rem(total)?;
    for (cluster, weight) in others() {
        match place.checked_sub(u64::from(*weight)) {
            None => return Some(cluster),
            Some(rest) => place = rest,
        }
    }
    None
}

/// An ALB's redirect: `#{…}` stand for the request's own.
pub(crate) fn redirect(
    redirect: &Redirect,
    request: &Parts,
    https: bool,
    port: u16,
    exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let own_port = match request.uri.authority() {
        Some(authority) => authority.port_u16(),
        None => header_text(&request.headers, &header::HOST)
            .parse::<http::uri::Authority>()
            .ok()
            .and_then(|a| a.port_u16()),
    };
    let fill = |template: &str| {
        template
            .replace("#{protocol}", if https { "https" } else { "http" })
            .replace("#{host}", host(request))
            .replace("#{port}", &own_port.unwrap_or(port).to_string())
            .replace("#{path}", request.uri.path().trim_start_matches('/'))
            .replace("#{query}", request.uri.query().unwrap_or_default())
    };
    let protocol = fill(&redirect.protocol).to_ascii_lowercase();
    let port = fill(&redirect.port);
    let mut location = format!("{protocol}://{}", fill(&redirect.host));
    let default_port = matches!((protocol.as_str(), port.as_str()), ("http", "80") | ("https", "443"));
    if !default_port && !port.is_empty() {
        location.push(':');
        location.push_str(&port);
    }
    let path = fill(&redirect.path);
    if !path.starts_with('/') {
        location.push('/');
    }
    location.push_str(&path);
    let query = fill(&redirect.query);
    if !query.is_empty() {
        location.push('?');
        location.push_str(&query);
    }
    let mut response =
        reply::own(redirect.status, HeaderValue::from_static("text/html"), bytes::Bytes::new(), exchange);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ValueKind, ValueMatch};
    use bowline_model::wildcard::Wildcard;
    use http::Request;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    fn exactly(value: &str) -> ValueMatch {
        ValueMatch { kind: ValueKind::Exact(value.to_owned()), invert: false }
    }

    #[test]
    fn a_value_is_matched_in_every_way_and_its_reverse() {
        let (text, range) = (|text: &str| text.to_owned(), ValueKind::Range(5, 10));
        for (kind, good, bad) in [
            (ValueKind::Exact(text("v1")), "v1", "v10"),
            (ValueKind::Prefix(text("v1")), "v10", "av1"),
            (ValueKind::Suffix(text("v1")), "av1", "v10"),
            (range.clone(), "5", "10"),
            (range, "9", "x"),
        ] {
            for invert in [false, true] {
                let rule = ValueMatch { kind: kind.clone(), invert };
                assert_eq!(rule.matches([good].into_iter()), !invert, "{rule:?}");
                assert_eq!(rule.matches([bad].into_iter()), invert, "{rule:?}");
                assert_eq!(rule.matches([bad, good].into_iter()), !invert, "any of them: {rule:?}");
                assert!(!rule.matches(std::iter::empty::<&str>()), "nothing is there: {rule:?}");
            }
        }
        for invert in [false, true] {
            let present = ValueMatch { kind: ValueKind::Present, invert };
            assert_eq!(present.matches([""].into_iter()), !invert);
            assert_eq!(present.matches(std::iter::empty::<&str>()), invert);
        }
    }

    #[test]
    fn every_kind_of_condition_must_hold() {
        let rule = Match {
            hosts: vec![Wildcard::new("*.Example.com", true).expect("a pattern")],
            paths: vec![Wildcard::new("/a/*", false).expect("a pattern")],
            methods: vec![http::Method::GET],
            headers: vec![(header::HeaderName::from_static("x-test"), exactly("1"))],
            query: vec![("k".to_owned(), exactly("a b"))],
            also: vec![Match {
                paths: vec![Wildcard::new("*x", false).expect("a pattern")],
                ..Match::default()
            }],
        };
        let good = request("/a/x?z=1&k=a%20b", &[("host", "api.example.COM:8443"), ("x-test", "1")]);
        assert!(matches(&rule, &good, host(&good)));
        for bad in [
            request("/bx?k=a+b", &[("host", "api.example.com"), ("x-test", "1")]),
            request("/a/y?k=a+b", &[("host", "api.example.com"), ("x-test", "1")]),
            request("/a/x?k=a+b", &[("host", "example.com"), ("x-test", "1")]),
            request("/a/x?k=a+b", &[("host", "api.example.com"), ("x-test", "2")]),
            request("/a/x?k=ab", &[("host", "api.example.com"), ("x-test", "1")]),
        ] {
            assert!(!matches(&rule, &bad, host(&bad)), "{bad:?}");
        }
    }

    #[test]
    fn the_host_loses_its_port_only() {
        assert_eq!(host(&request("/", &[("host", "a:80")])), "a");
        assert_eq!(host(&request("/", &[("host", "[::1]:80")])), "[::1]");
        assert_eq!(host(&request("/", &[("host", "[::1]")])), "[::1]");
        assert_eq!(host(&request("http://b:1/", &[])), "b");
    }
}
