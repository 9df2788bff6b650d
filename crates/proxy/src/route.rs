//! Which rule of a route a request falls under, and the answers that need no
//! upstream.

use std::sync::Arc;

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

fn matches(rule: &Match, request: &Parts, host: &str) -> bool {
    (rule.hosts.is_empty() || rule.hosts.iter().any(|pattern| pattern.matches(host)))
        && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.matches(request.uri.path())))
        && (rule.methods.is_empty() || rule.methods.contains(&request.method))
        && rule.headers.iter().all(|(name, value)| {
            let mut given = request.headers.get_all(name).iter();
            given.any(|given| value.as_ref().is_none_or(|value| given == value))
        })
        && rule
            .query
            .iter()
            .all(|(name, value)| has_query(request.uri.query().unwrap_or_default(), name, value))
}

fn has_query(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|pair| {
        let (given_name, given_value) = pair.split_once('=').unwrap_or((pair, ""));
        percent_decoded_eq(given_name, name) && percent_decoded_eq(given_value, value)
    })
}

/// Whether `encoded`, percent-decoded, is `plain`. Allocates nothing.
fn percent_decoded_eq(encoded: &str, plain: &str) -> bool {
    let mut encoded = encoded.bytes();
    let mut plain = plain.bytes();
    loop {
        let byte = match encoded.next() {
            None => return plain.next().is_none(),
            Some(b'+') => b' ',
            Some(b'%') => {
                let mut rest = encoded.clone();
                match (rest.next().and_then(hex_digit), rest.next().and_then(hex_digit)) {
                    (Some(high), Some(low)) => {
                        encoded = rest;
                        high << 4 | low
                    }
                    _ => b'%',
                }
            }
            Some(byte) => byte,
        };
        if plain.next() != Some(byte) {
            return false;
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The cluster that a forwarded request goes to, by the rule's weights.
/// `random` is any number.
pub(crate) fn choose(forward: &Forward, random: u64) -> Option<&Arc<Cluster>> {
    if let [(only, _)] = &forward.clusters[..] {
        return Some(only);
    }
    if forward.weight_total == 0 {
        return None;
    }
    let mut place = random % forward.weight_total;
    for (cluster, weight) in &forward.clusters {
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
    use bowline_model::wildcard::Wildcard;
    use http::Request;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn every_kind_of_condition_must_hold() {
        let rule = Match {
            hosts: vec![Wildcard::new("*.Example.com", true).expect("a pattern")],
            paths: vec![Wildcard::new("/a/*", false).expect("a pattern")],
            methods: vec![http::Method::GET],
            headers: vec![(header::HeaderName::from_static("x-test"), Some(HeaderValue::from_static("1")))],
            query: vec![("k".to_owned(), "a b".to_owned())],
        };
        let good = request("/a/x?z=1&k=a%20b", &[("host", "api.example.COM:8443"), ("x-test", "1")]);
        assert!(matches(&rule, &good, host(&good)));
        for bad in [
            request("/b?k=a+b", &[("host", "api.example.com"), ("x-test", "1")]),
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
