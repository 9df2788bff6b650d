//! `GET /metrics`: what all proxies have told, and the control plane's own counters, for Prometheus.
//!
//! Who scrapes has no AWS credentials: it is served to this machine alone, and under a name that is this machine's,
//! so that no page in a browser reads along by a name of its own (DNS rebinding).

use std::net::IpAddr;

use bowline_plumbing::exposition::Format;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;

use super::connection::Peer;
use crate::core::Core;

/// Where they are.
pub(super) const PATH: &str = "/metrics";

/// Answers a request for [`PATH`].
pub(super) fn answer(core: &Core, peer: Peer, parts: &Parts) -> Response<Full<Bytes>> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    if !is_for_this_machine(peer, parts) {
        return plain(StatusCode::FORBIDDEN, "only for this machine, under its own name or address\n");
    }
    let format = Format::accepted(parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    let body = match parts.method {
        Method::HEAD => Bytes::new(),
        _ => core.exposed_metrics(format).into(),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

/// Whether it comes from this machine, and asks for this machine by a name that nobody else can give it.
pub(crate) fn is_for_this_machine(peer: Peer, parts: &Parts) -> bool {
    peer.address.ip().to_canonical().is_loopback() && host_of(parts).is_some_and(is_local)
}

/// What is asked for: HTTP/2 has it in `:authority`.
pub(crate) fn host_of(parts: &Parts) -> Option<&str> {
    let host = parts.uri.authority().map(|authority| authority.as_str());
    host.or_else(|| parts.headers.get(header::HOST)?.to_str().ok())
}

/// Whether it is `localhost`, a name below it, or a loopback address; with or without a port.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::api::{authorization::AuthorizationMode, testing::TestApi};

    fn get(fixture: &TestApi, peer: [u8; 4], host: &str) -> Response<Full<Bytes>> {
        let (parts, ()) = http::Request::builder()
            .uri(PATH)
            .header(header::HOST, host)
            .body(())
            .expect("a request")
            .into_parts();
        let address = SocketAddr::from((peer, 40_000));
        answer(&fixture.api.core, Peer { address, tls: false }, &parts)
    }

    #[tokio::test]
    async fn metrics_are_for_this_machine_alone() {
        let fixture = TestApi::new(AuthorizationMode::Enforce);
        for host in ["127.0.0.1:4566", "localhost", "x.localhost:80", "[::1]:4566"] {
            let response = get(&fixture, [127, 0, 0, 1], host);
            assert_eq!(response.status(), StatusCode::OK, "{host}");
        }
        for (peer, host) in [
            ([192, 0, 2, 1], "localhost"),
            ([127, 0, 0, 1], "evil.example"),
            ([127, 0, 0, 1], "localhost.evil"),
        ] {
            assert_eq!(get(&fixture, peer, host).status(), StatusCode::FORBIDDEN, "{host}");
        }
    }
}
