//! Spans as OTLP has them.
//!
//! Source: semantic conventions, "HTTP spans", "gRPC", "RPC".

use std::collections::BTreeMap;

use bowline_discovery::opentelemetry::proto::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::KeyValue,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as WireSpan, Status,
        span::{Event, SpanKind as WireKind},
        status::StatusCode,
    },
};
use bowline_model::{
    arn::Scope,
    trace::{Span, SpanKind, SpanOrigin, SpanProtocol},
};

use super::{Owner, instrumentation, number, resource, text};

/// Methods that are told as they are; another is `_OTHER`. Source: "HTTP spans", `http.request.method`.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// One message of these spans, those of one task together.
pub(super) fn request<'a>(
    spans: impl IntoIterator<Item = &'a (SpanOrigin, Span)>,
    scope: &Scope,
) -> ExportTraceServiceRequest {
    let mut by_owner: BTreeMap<Owner, Vec<WireSpan>> = BTreeMap::new();
    for (origin, told) in spans {
        let owner = Owner {
            cluster: origin.cluster.clone(),
            service: origin.service.clone(),
            task: origin.task.clone(),
            is_gateway: origin.is_gateway,
        };
        by_owner.entry(owner).or_default().push(span(told));
    }
    let resource_spans = by_owner.into_iter().map(|(owner, spans)| ResourceSpans {
        resource: Some(resource(&owner, scope)),
        scope_spans: vec![ScopeSpans { scope: Some(instrumentation()), spans, schema_url: String::new() }],
        schema_url: String::new(),
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn span(span: &Span) -> WireSpan {
    let nanoseconds = |us: u64| us.saturating_mul(1_000);
    let start = nanoseconds(span.start_us);
    let is_error = is_error(span);
    let event = |event: &bowline_model::trace::SpanEvent| Event {
        time_unix_nano: start.saturating_add(nanoseconds(event.after_us)),
        name: event.name.clone(),
        attributes: event.attributes.iter().map(|(key, value)| event_attribute(key, value)).collect(),
        dropped_attributes_count: 0,
    };
    WireSpan {
        trace_id: span.trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        trace_state: String::new(),
        parent_span_id: span.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: name(span),
        kind: match span.kind {
            SpanKind::Server => WireKind::Server,
            SpanKind::Client => WireKind::Client,
        }
        .into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(nanoseconds(span.duration_us)),
        attributes: attributes(span, is_error),
        dropped_attributes_count: 0,
        events: span.events.iter().map(event).collect(),
        dropped_events_count: span.events_dropped,
        status: Some(Status {
            message: String::new(),
            // Who instruments leaves what went well unset.
            code: if is_error { StatusCode::Error } else { StatusCode::Unset }.into(),
        }),
        flags: 0,
    }
}

/// Numbers are told as numbers: durations are summed up by whoever reads them.
fn event_attribute(key: &str, value: &str) -> KeyValue {
    match value.parse() {
        Ok(whole) if key.ends_with("_us") => number(key, whole),
        _ => text(key, value),
    }
}

/// A client's 4xx is an error, a server's is not.
fn is_error(span: &Span) -> bool {
    let is_client = span.kind == SpanKind::Client;
    match (span.protocol, span.grpc_status) {
        (SpanProtocol::Grpc, Some(status)) if is_client => status != 0,
        _ => span.is_fault() || (is_client && (400..500).contains(&span.status)),
    }
}

/// Few different ones: a path is none, for it may have anything in it.
fn name(span: &Span) -> String {
    match span.protocol {
        SpanProtocol::Tcp => "tcp".to_owned(),
        SpanProtocol::Grpc => match span.path.trim_start_matches('/') {
            "" => "grpc".to_owned(),
            path => path.to_owned(),
        },
        SpanProtocol::Http1 | SpanProtocol::Http2 => match METHODS.contains(&&*span.method) {
            true => span.method.clone(),
            false => "HTTP".to_owned(),
        },
    }
}

fn attributes(span: &Span, is_error: bool) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(20);
    let mut add = |attribute| attributes.push(attribute);
    match span.protocol {
        SpanProtocol::Tcp => add(text("network.transport", "tcp")),
        SpanProtocol::Grpc => {
            add(text("rpc.system", "grpc"));
            if let Some((service, method)) = span.path.trim_start_matches('/').rsplit_once('/') {
                add(text("rpc.service", service));
                add(text("rpc.method", method));
            }
            if let Some(status) = span.grpc_status {
                add(number("rpc.grpc.status_code", status.into()));
            }
        }
        SpanProtocol::Http1 | SpanProtocol::Http2 => {}
    }
    if span.protocol != SpanProtocol::Tcp {
        match METHODS.contains(&&*span.method) {
            true => add(text("http.request.method", &*span.method)),
            false => {
                add(text("http.request.method", "_OTHER"));
                add(text("http.request.method_original", &*span.method));
            }
        }
        let is_http1 = span.protocol == SpanProtocol::Http1;
        add(text("network.protocol.name", "http"));
        add(text("network.protocol.version", if is_http1 { "1.1" } else { "2" }));
        // What applications speak with their proxies; between these there is TLS.
        add(text("url.scheme", "http"));
        match span.kind {
            SpanKind::Server => add(text("url.path", &*span.path)),
            SpanKind::Client => add(text("url.full", format!("http://{}{}", span.authority, span.path))),
        }
        if span.status > 0 {
            add(number("http.response.status_code", span.status.into()));
        }
        add(number("http.request.body.size", span.bytes_received));
        add(number("http.response.body.size", span.bytes_sent));
    } else {
        add(number("bowline.bytes_received", span.bytes_received));
        add(number("bowline.bytes_sent", span.bytes_sent));
    }
    let (host, port) = host_and_port(&span.authority);
    if !host.is_empty() {
        add(text("server.address", host));
    }
    if let Some(port) = port {
        add(number("server.port", port.into()));
    }
    if let Some(upstream) = span.upstream {
        add(text("network.peer.address", upstream.ip().to_string()));
        add(number("network.peer.port", upstream.port().into()));
    }
    if is_error {
        add(text("error.type", error_type(span)));
    }
    for (key, value) in [
        ("bowline.discovery_name", &*span.discovery_name),
        ("bowline.peer", &*span.peer),
        ("bowline.response_flags", if span.flags == "-" { "" } else { &*span.flags }),
    ] {
        if !value.is_empty() {
            add(text(key, value));
        }
    }
    attributes
}

/// The status that says so, else the response flags.
fn error_type(span: &Span) -> String {
    match (span.grpc_status, span.status) {
        (Some(status), _) if status != 0 => status.to_string(),
        (_, status) if status >= 400 => status.to_string(),
        _ if span.flags != "-" => span.flags.clone(),
        _ => "_OTHER".to_owned(),
    }
}

fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        // The last colon of an IPv6 address without a port is one of its own.
        Some((host, port)) if !authority.ends_with(']') => match port.parse() {
            Ok(port) => (host.trim_start_matches('[').trim_end_matches(']'), Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority.trim_start_matches('[').trim_end_matches(']'), None),
    }
}
