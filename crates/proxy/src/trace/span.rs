//! A span that has ended: as its exchange leaves it, and as it is told.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bowline_discovery::telemetry;
use bowline_model::trace::TEXT_MAX;
use http::{HeaderValue, Method, Uri};

use super::{
    EventKind, Traced,
    timeline::{Event, Timeline},
};
use crate::metrics::{Direction, Flag, series::Series};

/// A span that has ended. What it holds is shared with the request that it was of; texts are made where it is told.
#[derive(Debug)]
pub(crate) struct EndedSpan {
    pub(crate) traced: Traced,
    pub(crate) direction: Direction,
    pub(crate) started: Instant,
    pub(crate) carried: Carried,
    pub(crate) discovery_name: Option<Arc<str>>,
    /// The row that it was counted in, if the other side has proved to be the one that it names.
    pub(crate) peer: Option<Arc<Series>>,
    pub(crate) flag: Flag,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) timeline: Timeline,
    /// When it ended, by both clocks.
    pub(crate) ended: (Instant, SystemTime),
}

/// What a span was of.
#[derive(Debug)]
pub(crate) enum Carried {
    Request(Box<Request>),
    Connection,
}

/// A request, and how it ended.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) is_http2: bool,
    pub(crate) is_grpc: bool,
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<HeaderValue>,
}

/// Whether a call failed, as [`bowline_model::trace::Span::is_fault`] has it.
pub(crate) fn is_fault(is_grpc: bool, status: u16, grpc_status: Option<&HeaderValue>) -> bool {
    match (is_grpc, number(grpc_status)) {
        (true, Some(status)) => matches!(status, 2 | 4 | 12..=15),
        _ => status == 0 || status >= 500,
    }
}

/// gRPC's status of a header.
fn number(value: Option<&HeaderValue>) -> Option<u32> {
    value?.to_str().ok()?.parse().ok()
}

/// So much of a text as is told: what is too long, or would trouble a terminal, is refused with its whole batch.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(char::is_control, " ")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl EndedSpan {
    /// As it is told.
    pub(super) fn told(self) -> telemetry::Span {
        let Self { traced, started, ended, .. } = self;
        let duration = ended.0.saturating_duration_since(started);
        let until = ended.1.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (events, events_dropped) = self.timeline.into_events();
        let mut span = telemetry::Span {
            trace_id: traced.trace.bytes().to_vec(),
            span_id: traced.span.bytes().to_vec(),
            parent_id: traced.parent.map(|id| id.bytes().to_vec()).unwrap_or_default(),
            kind: match self.direction {
                Direction::Inbound => telemetry::SpanKind::Server,
                Direction::Outbound | Direction::Public | Direction::Egress => telemetry::SpanKind::Client,
            }
            .into(),
            start_us: micros(until.saturating_sub(duration)),
            duration_us: micros(duration),
            protocol: telemetry::SpanProtocol::Tcp.into(),
            discovery_name: cut(self.discovery_name.as_deref().unwrap_or_default()),
            peer: self.peer.map(|series| cut(&series.key.peer)).unwrap_or_default(),
            flags: self.flag.as_str().to_owned(),
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            upstream: self.upstream.map(|address| address.to_string()).unwrap_or_default(),
            events: events.into_iter().map(|event| told(event, started)).collect(),
            events_dropped,
            ..telemetry::Span::default()
        };
        if let Carried::Request(request) = self.carried {
            let host = request.host.as_ref().and_then(|host| host.to_str().ok());
            let authority = request.uri.authority().map(|authority| authority.as_str()).or(host);
            span.protocol = match (request.is_grpc, request.is_http2) {
                (true, _) => telemetry::SpanProtocol::Grpc,
                (false, true) => telemetry::SpanProtocol::Http2,
                (false, false) => telemetry::SpanProtocol::Http1,
            }
            .into();
            span.method = cut(request.method.as_str());
            span.path = cut(request.uri.path());
            span.authority = cut(authority.unwrap_or_default());
            span.status = request.status.into();
            span.grpc_status = number(request.grpc_status.as_ref());
        }
        span
    }
}

fn told(event: Event, started: Instant) -> telemetry::SpanEvent {
    let mut attributes = Vec::new();
    let mut put = |key: &str, value: String| attributes.push(telemetry::Attribute { key: key.into(), value });
    let name = match event.kind {
        EventKind::Queue { took, of } => {
            put("duration_us", micros(took).to_string());
            put("of", of.to_owned());
            "queue"
        }
        EventKind::Connect { took, endpoint, failed } => {
            put("duration_us", micros(took).to_string());
            put("endpoint", endpoint.to_string());
            put("failed", failed.to_string());
            "connect"
        }
        EventKind::Handshake { took, endpoint, failed } => {
            put("duration_us", micros(took).to_string());
            put("endpoint", endpoint.to_string());
            put("failed", failed.to_string());
            "tls.handshake"
        }
        EventKind::Retry { number, cause, endpoint, wait } => {
            put("number", number.to_string());
            put("cause", cut(&cause));
            put("endpoint", endpoint.to_string());
            put("wait_us", micros(wait).to_string());
            "retry"
        }
        EventKind::Ejection { endpoint } => {
            put("endpoint", endpoint.to_string());
            "ejection"
        }
        EventKind::Fault { delay, abort } => {
            if let Some(delay) = delay {
                put("duration_us", micros(delay).to_string());
            }
            if let Some(status) = abort {
                put("status", status.to_string());
            }
            "fault"
        }
        EventKind::Timeout { of, limit } => {
            put("of", of.to_owned());
            if let Some(limit) = limit {
                put("limit_us", micros(limit).to_string());
            }
            "timeout"
        }
    };
    let after_us = micros(event.at.saturating_duration_since(started));
    telemetry::SpanEvent { after_us, name: name.to_owned(), attributes }
}
