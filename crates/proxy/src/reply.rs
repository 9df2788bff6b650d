//! Answers that the proxy makes itself, in Envoy's words.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    body::ResponseBody,
    exchange::Exchange,
    metrics::{Direction, Flag},
    refusal::{REFUSAL, Refusal, RefusedParty},
};

/// With what an HTTP/2 stream of another proxy is reset where the time that it told is over.
pub(crate) const TIME_IS_OVER: h2::Reason = h2::Reason::CANCEL;

/// Why there is no response from upstream.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) flag: Flag,
    pub(crate) text: std::borrow::Cow<'static, str>,
    /// What to reset an HTTP/2 stream with instead of an answer, where the
    /// client is another proxy that can tell what is safe to repeat.
    pub(crate) reset: Option<h2::Reason>,
    /// Whose identity was refused; `text` is the detail then.
    pub(crate) refusal: Option<Refusal>,
}

impl Failure {
    pub(crate) const fn new(status: StatusCode, flag: Flag, text: &'static str) -> Self {
        Self { status, flag, text: std::borrow::Cow::Borrowed(text), reset: None, refusal: None }
    }

    /// The caller's identity is answered 403, the server's 503.
    pub(crate) fn refused(refusal: Refusal, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        let (status, flag) = match refusal.party {
            RefusedParty::Caller => (StatusCode::FORBIDDEN, Flag::UnauthorizedExternalService),
            RefusedParty::Server => (StatusCode::SERVICE_UNAVAILABLE, Flag::UpstreamConnectionFailure),
        };
        Self { status, flag, text: detail.into(), reset: None, refusal: Some(refusal) }
    }

    pub(crate) const NO_ROUTE: Self = Self::new(StatusCode::NOT_FOUND, Flag::NoRouteFound, "");
    pub(crate) const NO_CLUSTER: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Flag::NoClusterFound, "no such cluster");
    pub(crate) const NO_UPSTREAM: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Flag::NoHealthyUpstream, "no healthy upstream");
    pub(crate) const TIMEOUT: Self = Self {
        status: StatusCode::GATEWAY_TIMEOUT,
        flag: Flag::UpstreamRequestTimeout,
        text: std::borrow::Cow::Borrowed("upstream request timeout"),
        // The calling proxy is about to end the call itself, by the same time.
        reset: Some(TIME_IS_OVER),
        refusal: None,
    };
    pub(crate) const BAD_REQUEST: Self =
        Self::new(StatusCode::BAD_REQUEST, Flag::DownstreamProtocolError, "bad request");
    /// Nothing has been done for the request: another proxy may try elsewhere.
    pub(crate) const OVERLOADED: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: Flag::OverloadManager,
        text: std::borrow::Cow::Borrowed("overloaded"),
        reset: Some(h2::Reason::REFUSED_STREAM),
        refusal: None,
    };
    pub(crate) const LIMITED: Self =
        Self::new(StatusCode::TOO_MANY_REQUESTS, Flag::RateLimited, "local_rate_limited");
    pub(crate) const OVERFLOW: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Flag::UpstreamOverflow,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    );
}

/// The answer for a failure. A gRPC client gets it as a gRPC status.
pub(crate) fn failure(failure: &Failure, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    exchange.flag = failure.flag;
    if let Some(refusal) = failure.refusal {
        exchange.refusal = Some(refusal);
        return refused(refusal, failure, exchange);
    }
    if exchange.is_grpc {
        exchange.status = 200;
        let status = HeaderValue::from(grpc_status(failure));
        exchange.answers_grpc(&status);
        let mut response = Response::new(ResponseBody::own(Bytes::new(), Some(exchange)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", status);
        if let Ok(message) = HeaderValue::from_str(&failure.text) {
            headers.insert("grpc-message", message);
        }
        return response;
    }
    let body = Bytes::copy_from_slice(failure.text.as_bytes());
    own(failure.status, HeaderValue::from_static("text/plain"), body, exchange)
}

/// The answer for a refused identity: JSON that names the cause.
fn refused(refusal: Refusal, failure: &Failure, exchange: Box<Exchange>) -> Response<ResponseBody> {
    if exchange.direction() == Direction::Public {
        // Who trusts whom within the mesh is no matter of clients outside.
        let text =
            "upstream connect error or disconnect/reset before headers. reset reason: connection failure";
        let outside = Failure::new(StatusCode::SERVICE_UNAVAILABLE, Flag::UpstreamConnectionFailure, text);
        return self::failure(&outside, exchange);
    }
    let service = exchange.discovery_name.clone();
    let service = service.as_deref().unwrap_or("the service");
    let mut response = if exchange.is_grpc {
        let text = refusal.message(service).into();
        self::failure(&Failure { text, refusal: None, ..failure.clone() }, exchange)
    } else {
        let detail = Some(&*failure.text).filter(|text| !text.is_empty());
        let body = Bytes::from(refusal.body(service, detail).to_string());
        own(failure.status, HeaderValue::from_static("application/json"), body, exchange)
    };
    response.headers_mut().insert(REFUSAL.clone(), HeaderValue::from_static(refusal.cause.as_str()));
    response
}

/// The answer to a request that was under way when its caller lost the permission; its exchange
/// has ended already.
pub(crate) fn cut_off(refusal: Refusal, service: Option<&str>) -> Response<ResponseBody> {
    let body = refusal.body(service.unwrap_or("the service"), None).to_string();
    let mut response = Response::new(ResponseBody::own(Bytes::from(body), None));
    *response.status_mut() = StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REFUSAL.clone(), HeaderValue::from_static(refusal.cause.as_str()));
    response
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

/// gRPC's mapping of HTTP statuses (grpc/doc/http-grpc-status-mapping.md); a call whose time is over
/// is DEADLINE_EXCEEDED, as its client would have it.
fn grpc_status(failure: &Failure) -> u16 {
    match failure.status.as_u16() {
        _ if failure.flag == Flag::UpstreamRequestTimeout => 4,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
