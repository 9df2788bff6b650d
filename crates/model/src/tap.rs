//! Requests that are looked at while they pass: which, and what is told of them.
//!
//! A proxy filters and redacts by this before anything leaves it; whoever asks sees the same types.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, wildcard::Wildcard};

/// Most values of one condition of a filter.
pub const VALUES_MAX: usize = 64;
/// Longest value of a condition, in bytes: a SPIFFE id's.
pub const VALUE_BYTES_MAX: usize = 2_048;

/// Which requests are told of: all conditions must hold; one without values asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TapFilter {
    /// Methods, as they stand in requests.
    pub methods: Vec<String>,
    /// Paths without queries.
    pub paths: Vec<Wildcard>,
    /// Statuses, from the first to the last. 0 is that of a request without a response.
    pub statuses: Vec<(u16, u16)>,
    /// SPIFFE ids of who calls.
    pub callers: Vec<String>,
    /// SPIFFE ids of who is called.
    pub called: Vec<String>,
}

impl TapFilter {
    /// Whether it is no longer than filters may be.
    pub fn is_bounded(&self) -> bool {
        let texts = [&self.methods, &self.callers, &self.called];
        let short = |text: &String| text.len() <= VALUE_BYTES_MAX;
        texts.iter().all(|texts| texts.len() <= VALUES_MAX && texts.iter().all(short))
            && self.paths.len() <= VALUES_MAX
            && self.statuses.len() <= VALUES_MAX
    }

    /// Whether a request with this head may be one. A TCP connection has no head.
    pub fn takes_head(&self, head: Option<(&str, &str)>) -> bool {
        match head {
            Some((method, path)) => {
                (self.methods.is_empty() || self.methods.iter().any(|wanted| wanted == method))
                    && (self.paths.is_empty() || self.paths.iter().any(|wanted| wanted.matches(path)))
            }
            None => self.methods.is_empty() && self.paths.is_empty() && self.statuses.is_empty(),
        }
    }

    /// Whether a request that ended so is one; for a TCP connection the status does not matter.
    pub fn takes_end(&self, caller: &str, called: &str, status: u16) -> bool {
        let is_in = |wanted: &[String], id: &str| wanted.is_empty() || wanted.iter().any(|one| one == id);
        is_in(&self.callers, caller)
            && is_in(&self.called, called)
            && (self.statuses.is_empty()
                || self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)))
    }
}

/// `503`, `5xx`, `400-499` or `none` (without a response) as a range.
pub fn parse_status(text: &str) -> Option<(u16, u16)> {
    if text == "none" {
        return Some((0, 0));
    }
    if let Some(hundreds) = text.strip_suffix("xx") {
        let hundreds: u16 = hundreds.parse().ok().filter(|hundreds| (1..=5).contains(hundreds))?;
        return Some((hundreds * 100, hundreds * 100 + 99));
    }
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=999).contains(status));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (status(first)?, status(last)?),
        None => (status(text)?, status(text)?),
    };
    (first <= last).then_some((first, last))
}

/// Lets so many through in each second.
#[derive(Clone, Copy, Debug)]
pub struct PerSecond {
    most: u32,
    second: u64,
    count: u32,
}

impl PerSecond {
    /// At most `most` in a second.
    pub fn new(most: u32) -> Self {
        Self { most, second: 0, count: 0 }
    }

    /// Whether one more goes through.
    pub fn takes(&mut self, now: Timestamp) -> bool {
        let second = now.as_secs();
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        let takes = self.count < self.most;
        self.count += u32::from(takes);
        takes
    }
}

/// Where a proxy saw a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TapSide {
    /// Others call the task.
    Inbound,
    /// The task calls others.
    Outbound,
    /// Clients outside the mesh call by way of a load balancer.
    Public,
    /// The task calls what is outside the mesh.
    Egress,
}

/// How a hop is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TapSecurity {
    /// In no way.
    Plaintext,
    /// The called side alone proves who it is.
    Tls,
    /// Both sides prove who they are.
    MutualTls,
}

/// What carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TapProtocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2 without gRPC.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes: what is told of is a connection.
    Tcp,
}

/// A header; without its value where that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapHeader {
    /// In lower case.
    pub name: String,
    /// `None`: not told.
    pub value: Option<String>,
}

/// A request or TCP connection that has ended. There is never anything of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tapped {
    /// When it began.
    pub start: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Microseconds until the response began, where one did.
    pub response_us: Option<u64>,
    /// Where it was seen.
    pub side: TapSide,
    /// What carried it.
    pub protocol: TapProtocol,
    /// How the hop within the mesh is protected.
    pub security: TapSecurity,
    /// SPIFFE id of who calls; empty where it proves none.
    pub caller: String,
    /// SPIFFE id of who is called; empty where it proves none.
    pub called: String,
    /// The called service's discovery name; empty where none was reached.
    pub discovery_name: String,
    /// Empty for TCP.
    pub method: String,
    /// Empty for TCP.
    pub path: String,
    /// The request's authority; empty where it has none.
    pub authority: String,
    /// 0 where there was no response, and for TCP.
    pub status: u16,
    /// gRPC's, where it ended with one.
    pub grpc_status: Option<u32>,
    /// The access log's response flags; `-` for none.
    pub flags: String,
    /// Whose identity was refused and why; empty where none was.
    pub refusal: String,
    /// Bytes of the request's body, or what came from who connected.
    pub bytes_received: u64,
    /// Bytes of the response's body, or what went to who connected.
    pub bytes_sent: u64,
    /// Where it was sent to.
    pub endpoint: Option<SocketAddr>,
    /// Where headers were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<TapHeader>,
    /// Where headers were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<TapHeader>,
}

/// Headers whose values are never told unless they are asked for by name, beside those that [`is_secret`] finds by
/// their names' parts.
const SECRET_NAMES: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-forwarded-client-cert",
    "www-authenticate",
    "proxy-authenticate",
];

/// Parts of names that stand for secrets.
const SECRET_PARTS: [&str; 16] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "apikey",
    "api-key",
    "api_key",
    "private-key",
    "session",
    "signature",
    "csrf",
    "xsrf",
    "jwt",
];

/// Headers whose values are URLs.
const URL_NAMES: [&str; 5] = ["location", "content-location", "referer", "link", "refresh"];

/// Names that are secrets only as a whole: their parts stand in others, too.
const SECRET_WORDS: [&str; 8] = ["auth", "key", "sig", "code", "pwd", "otp", "pin", "assertion"];

/// Whether a header or a query parameter may hold a secret, by its name or by what its value looks like.
pub fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = || name.split(['-', '_', '.']);
    // Where one is sent on to may have secrets in its query.
    if URL_NAMES.contains(&name.as_str()) && value.contains('?') {
        return true;
    }
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_PARTS.iter().any(|part| name.contains(part))
        || words().any(|word| word == "auth")
        || words().next_back() == Some("key")
        || SECRET_WORDS.contains(&name.as_str())
        || looks_like_a_secret(value)
}

/// Credentials of the schemes of HTTP, JSON web tokens, access keys of AWS, private keys.
fn looks_like_a_secret(value: &str) -> bool {
    let value = value.trim();
    let scheme = value.split_once(' ').map(|(scheme, _)| scheme);
    let is_scheme = |known: &&str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(known));
    if ["basic", "bearer", "digest", "negotiate", "aws4-hmac-sha256"].iter().any(is_scheme) {
        return true;
    }
    value.contains("-----BEGIN ") || value.split(|c: char| !is_of_token(c)).any(is_key)
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '~')
}

/// A JSON web token, or one of AWS's access key ids (`AKIA…`, `ASIA…`).
fn is_key(token: &str) -> bool {
    let is_access_key = || {
        token.len() == 20
            && (token.starts_with("AKIA") || token.starts_with("ASIA"))
            && token.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let is_web_token = || token.starts_with("eyJ") && token.matches('.').count() >= 2;
    is_access_key() || is_web_token()
}

/// A query whose parameters are without what may be secrets: `a=1&token=…`.
pub fn redact_query(query: &str) -> String {
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, value)) if is_secret(name, value) => format!("{name}=REDACTED"),
        None if looks_like_a_secret(parameter) => "REDACTED".to_owned(),
        _ => parameter.to_owned(),
    });
    parameters.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_asks_for_head_parties_and_end() {
        let any = TapFilter::default();
        assert!(any.takes_head(Some(("GET", "/"))) && any.takes_head(None) && any.takes_end("", "", 0));
        let filter = TapFilter {
            methods: vec!["GET".into(), "PUT".into()],
            paths: vec![Wildcard::new("/cart/*", false).expect("a pattern")],
            statuses: vec![(500, 599), (0, 0)],
            callers: vec!["spiffe://d/a".into()],
            called: vec![],
        };
        assert!(filter.takes_head(Some(("PUT", "/cart/1"))));
        for head in [Some(("POST", "/cart/1")), Some(("PUT", "/other")), None] {
            assert!(!filter.takes_head(head), "{head:?}");
        }
        assert!(filter.takes_end("spiffe://d/a", "x", 503) && filter.takes_end("spiffe://d/a", "", 0));
        assert!(!filter.takes_end("spiffe://d/a", "x", 200) && !filter.takes_end("", "x", 503));
    }

    #[test]
    fn filters_are_bounded() {
        assert!(TapFilter::default().is_bounded());
        let many = TapFilter { methods: vec!["A".into(); VALUES_MAX + 1], ..TapFilter::default() };
        let long = TapFilter { callers: vec!["a".repeat(VALUE_BYTES_MAX + 1)], ..TapFilter::default() };
        assert!(!many.is_bounded() && !long.is_bounded());
    }

    #[test]
    fn statuses_are_read_alone_by_hundreds_and_as_ranges() {
        for (text, range) in
            [("503", (503, 503)), ("5xx", (500, 599)), ("400-404", (400, 404)), ("none", (0, 0))]
        {
            assert_eq!(parse_status(text), Some(range), "{text}");
        }
        for text in ["", "6xx", "0xx", "xx", "99", "404-400", "1000", "5xx-6xx", "-", "ok"] {
            assert_eq!(parse_status(text), None, "{text}");
        }
    }

    #[test]
    fn so_many_go_through_in_a_second_and_no_more() {
        let mut limit = PerSecond::new(2);
        let at = |millis: u64| Timestamp::from_millis(10_000 + millis);
        let taken: Vec<_> = [0, 1, 999, 1_000, 1_001, 1_002].map(|millis| limit.takes(at(millis))).into();
        assert_eq!(taken, [true, true, false, true, true, false]);
    }

    #[test]
    fn what_may_be_a_secret_is_found_by_name_and_by_value() {
        for (name, value) in [
            ("Authorization", "anything"),
            ("Cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("X-Api-Key", "1"),
            ("x-amz-security-token", "1"),
            ("X-Amz-Signature", "1"),
            ("x-goog-auth-user", "1"),
            ("my-password", "1"),
            ("x-custom", "Bearer abc"),
            ("x-custom", "basic YTpi"),
            ("x-custom", "id=AKIAIOSFODNN7EXAMPLE"),
            ("x-custom", "eyJhbGciOi.eyJzdWIi.c2ln"),
            ("x-custom", "-----BEGIN PRIVATE KEY-----"),
            ("key", "1"),
        ] {
            assert!(is_secret(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("accept", "*/*"),
            ("x-request-id", "6a09e667-f3bc-4c90-8c2e-000000000000"),
            ("content-type", "application/json"),
            ("user-agent", "curl/8.5.0"),
            ("x-author", "somebody"),
            ("x-monkey", "1"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ] {
            assert!(!is_secret(name, value), "{name}: {value}");
        }
    }

    #[test]
    fn a_query_is_told_without_its_secrets() {
        assert_eq!(redact_query("page=2&access_token=abc&q=x"), "page=2&access_token=REDACTED&q=x");
        assert_eq!(redact_query("X-Amz-Signature=00&a"), "X-Amz-Signature=REDACTED&a");
        assert_eq!(redact_query("eyJhbGciOi.eyJzdWIi.c2ln"), "REDACTED");
        assert_eq!(redact_query(""), "");
    }

    proptest::proptest! {
        /// A value of a secret's parameter is never in what is told, wherever it stands.
        #[test]
        fn no_secret_is_in_a_redacted_query(before in "[a-z=&]{0,20}", value in "[A-Z0-9]{12,20}") {
            let told = redact_query(&format!("{before}&token={value}&b=1"));
            proptest::prop_assert!(!told.contains(&value), "{told}");
        }
    }
}
