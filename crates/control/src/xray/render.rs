//! Proxies' spans as segments.
//!
//! A server span is a segment of the service that it was served for. A client span is a subsegment of the server span
//! that it belongs to, where the application carried the trace on without a span of its own; else it is a segment of its
//! service that holds nothing but the call, as X-Ray's own SDKs show an application that only calls.

use bowline_model::trace::{Span, SpanId, SpanKind, SpanProtocol};
use bowline_observe::traces::KeptSpan;
use serde_json::{Map, Value, json};

use super::segment::{HttpRequest, HttpResponse, Segment, SegmentHttp};

/// The segments of a trace's spans.
pub(crate) fn segments(spans: &[KeptSpan]) -> Vec<Segment> {
    let is_server = |kept: &&KeptSpan| kept.span.kind == SpanKind::Server;
    let mut servers: Vec<(&KeptSpan, Segment)> =
        spans.iter().filter(is_server).map(|kept| (kept, server(kept))).collect();
    let mut alone = Vec::new();
    for kept in spans.iter().filter(|kept| kept.span.kind == SpanKind::Client) {
        let owner = kept.span.parent.and_then(|parent| {
            servers
                .iter_mut()
                .find(|(server, _)| server.span.id == parent && server.origin.task == kept.origin.task)
        });
        match owner {
            Some((_, segment)) => segment.subsegments.push(client(kept)),
            None => alone.push(caller(kept)),
        }
    }
    let mut all: Vec<Segment> = servers.into_iter().map(|(_, segment)| segment).chain(alone).collect();
    all.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
    all
}

/// What every segment of a span has.
fn common(kept: &KeptSpan) -> Segment {
    let span = &kept.span;
    let is_throttle = span.status == 429;
    let is_grpc_error = span.grpc_status.is_some_and(|status| status != 0) && !span.is_fault();
    Segment {
        id: span.id.to_string(),
        start_time: seconds(span.start_us),
        end_time: Some(seconds(span.start_us.saturating_add(span.duration_us))),
        error: (400..500).contains(&span.status) || is_grpc_error,
        throttle: is_throttle,
        fault: span.is_fault(),
        http: http(span),
        ..Segment::default()
    }
}

fn server(kept: &KeptSpan) -> Segment {
    let span = &kept.span;
    Segment {
        name: kept.origin.service.clone(),
        trace_id: Some(span.trace.x_ray()),
        parent_id: span.parent.map(|parent| parent.to_string()),
        origin: Some(origin(kept)),
        rest: details(kept),
        ..common(kept)
    }
}

fn client(kept: &KeptSpan) -> Segment {
    Segment {
        name: called(&kept.span),
        namespace: Some("remote".to_owned()),
        rest: details(kept),
        ..common(kept)
    }
}

/// The segment around a call that nothing else is known of.
fn caller(kept: &KeptSpan) -> Segment {
    let span = &kept.span;
    let call = client(kept);
    Segment {
        id: around(span.id).to_string(),
        name: kept.origin.service.clone(),
        trace_id: Some(span.trace.x_ray()),
        parent_id: span.parent.map(|parent| parent.to_string()),
        origin: Some(origin(kept)),
        // The subsegment has them.
        rest: Map::new(),
        subsegments: vec![call],
        ..common(kept)
    }
}

/// An id that goes with another: each call gets the same one.
fn around(id: SpanId) -> SpanId {
    SpanId::new(id.bytes().map(|byte| !byte)).unwrap_or(id)
}

/// What was called: the discovery name, else the authority, else the address.
pub(crate) fn called(span: &Span) -> String {
    match (&*span.discovery_name, &*span.authority, span.upstream) {
        ("", "", Some(address)) => address.to_string(),
        ("", "", None) => "unknown".to_owned(),
        ("", authority, _) => authority.to_owned(),
        (name, _, _) => name.to_owned(),
    }
}

fn origin(kept: &KeptSpan) -> String {
    match kept.origin.is_gateway {
        true => "AWS::ElasticLoadBalancing::LoadBalancer",
        false => "AWS::ECS::Container",
    }
    .to_owned()
}

fn http(span: &Span) -> Option<SegmentHttp> {
    if span.protocol == SpanProtocol::Tcp {
        return None;
    }
    let mut rest = Map::new();
    rest.insert("content_length".to_owned(), span.bytes_sent.into());
    Some(SegmentHttp {
        request: HttpRequest {
            method: Some(span.method.clone()),
            url: Some(format!("http://{}{}", span.authority, span.path)),
            ..HttpRequest::default()
        },
        response: HttpResponse { status: (span.status > 0).then(|| span.status.into()), rest },
    })
}

/// What X-Ray has no members for: `metadata`, under the name that is ours.
fn details(kept: &KeptSpan) -> Map<String, Value> {
    let span = &kept.span;
    let protocol = match span.protocol {
        SpanProtocol::Http1 => "http/1.1",
        SpanProtocol::Http2 => "http/2",
        SpanProtocol::Grpc => "grpc",
        SpanProtocol::Tcp => "tcp",
    };
    let events = span.events.iter().map(|event| {
        let attributes =
            event.attributes.iter().map(|(key, value)| (key.clone(), Value::from(value.clone())));
        json!({
            "name": event.name,
            "after_ms": event.after_us as f64 / 1000.0,
            "attributes": attributes.collect::<Map<_, _>>(),
        })
    });
    let mut members = json!({
        "cluster": kept.origin.cluster,
        "task": kept.origin.task,
        "protocol": protocol,
        "discovery_name": span.discovery_name,
        "response_flags": span.flags,
        "bytes_received": span.bytes_received,
        "bytes_sent": span.bytes_sent,
        "events": events.collect::<Vec<_>>(),
    });
    let more = [
        ("peer", (!span.peer.is_empty()).then(|| span.peer.clone().into())),
        ("upstream", span.upstream.map(|address| address.to_string().into())),
        ("grpc_status", span.grpc_status.map(Value::from)),
        ("events_dropped", (span.events_dropped > 0).then(|| span.events_dropped.into())),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            members[name] = value;
        }
    }
    let mut rest = Map::new();
    rest.insert("metadata".to_owned(), json!({ "bowline": members }));
    rest
}

/// Microseconds as seconds.
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}
