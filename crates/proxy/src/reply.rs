//! Answers that the proxy makes itself, in Envoy's words.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{body::ResponseBody, exchange::Exchange, metrics::Flag};

/// Why there is no response from upstream.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) flag: Flag,
    pub(crate) text: std::borrow::Cow<'static, str>,
    /// What to reset an HTTP/2 stream with instead of an answer, where the
    /// client is another proxy that can tell what is safe to repeat.
    pub(crate) reset: Option<h2::Reason>,
}

impl Failure {
    pub(crate) const fn new(status: StatusCode, flag: Flag, text: &'static str) -> Self {
        Self { status, flag, text: std::borrow::Cow::Borrowed(text), reset: None }
    }

    pub(crate) const NO_ROUTE: Self = Self::new(StatusCode::NOT_FOUND, Flag::NoRouteFound, "");
    pub(crate) const NO_CLUSTER: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Flag::NoClusterFound, "no such cluster");
    pub(crate) const NO_UPSTREAM: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Flag::NoHealthyUpstream, "no healthy upstream");
    pub(crate) const TIMEOUT: Self =
        Self::new(StatusCode::GATEWAY_TIMEOUT, Flag::UpstreamRequestTimeout, "upstream request timeout");
    pub(crate) const DENIED: Self =
        Self::new(StatusCode::FORBIDDEN, Flag::UnauthorizedExternalService, "RBAC: access denied");
    pub(crate) const BAD_REQUEST: Self =
        Self::new(StatusCode::BAD_REQUEST, Flag::DownstreamProtocolError, "bad request");
    pub(crate) const OVERFLOW: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Flag::UpstreamOverflow,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    );
}

/// The answer for a failure. A gRPC client gets it as a gRPC status.
pub(crate) fn failure(failure: &Failure, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    exchange.flag = failure.flag;
    if exchange.is_grpc {
        exchange.status = 200;
        let mut response = Response::new(ResponseBody::own(Bytes::new(), Some(exchange)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(grpc_status(failure.status)));
        if let Ok(message) = HeaderValue::from_str(&failure.text) {
            headers.insert("grpc-message", message);
        }
        return response;
    }
    let body = Bytes::copy_from_slice(failure.text.as_bytes());
    own(failure.status, HeaderValue::from_static("text/plain"), body, exchange)
}

/// An answer with a body of our own.
pub(crate) fn own(
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    exchange.status = status.as_u16();
    let has_body = !body.is_empty();
    let mut response = Response::new(ResponseBody::own(body, Some(exchange)));
    *response.status_mut() = status;
    if has_body {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

/// gRPC's mapping of HTTP statuses (grpc/doc/http-grpc-status-mapping.md).
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
