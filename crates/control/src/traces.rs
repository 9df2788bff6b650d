//! Traces as people look at them: a list, and one as a tree of its parts along its time.

use std::collections::{BTreeSet, HashMap, HashSet};

use bowline_model::{
    clock::Timestamp,
    trace::{Span, SpanKind, SpanProtocol},
};
use bowline_observe::traces::{KeptSpan, Trace, TraceCounts, TraceQuery, TraceStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::xray::{
    render,
    segment::{Segment, microseconds, trace_id},
};

/// Most traces that are looked at for a list.
const SCAN_MAX: usize = 20_000;
/// How many of these at a time.
const SCAN: usize = 500;

/// Where a part of a trace comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartKind {
    /// The called side's sidecar.
    Server,
    /// The caller's sidecar, or a gateway.
    Client,
    /// The application itself, by X-Ray.
    Application,
}

/// Something that happened within a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartEvent {
    /// Microseconds since the part's beginning.
    pub after_us: u64,
    /// What.
    pub name: String,
    /// What is known of it.
    pub attributes: Vec<(String, String)>,
}

/// A span, segment or subsegment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its id, 16 hex digits.
    pub id: String,
    /// What it is part of; none where that is not known here.
    pub parent: Option<String>,
    /// How many parts it is within.
    pub depth: usize,
    /// Where it comes from.
    pub kind: PartKind,
    /// Whose it is.
    pub service: String,
    /// The task's id; empty of what an application tells.
    pub task: String,
    /// What was called: the discovery name, or what the application calls it.
    pub called: String,
    /// `GET /items`; empty for TCP.
    pub request: String,
    /// `200`, `grpc 14`, or empty.
    pub status: String,
    /// The access log's response flags; `-` for none.
    pub flags: String,
    /// Microseconds since the trace's beginning.
    pub after_us: u64,
    /// How long, in microseconds.
    pub duration_us: u64,
    /// It failed.
    pub is_fault: bool,
    /// It was the caller's fault.
    pub is_error: bool,
    /// It has not ended yet.
    pub is_in_progress: bool,
    /// In the order in which they happened.
    pub events: Vec<PartEvent>,
}

/// A trace as a tree: each part stands behind what it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waterfall {
    /// 32 hex digits.
    pub id: String,
    /// As X-Ray writes it.
    pub x_ray_id: String,
    /// When it began.
    pub at: Timestamp,
    /// How long, in microseconds.
    pub duration_us: u64,
    /// A part of it failed.
    pub is_fault: bool,
    /// The parts.
    pub parts: Vec<Part>,
}

/// A trace of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceRow {
    /// 32 hex digits.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// How long, in microseconds.
    pub duration_us: u64,
    /// A part of it failed.
    pub is_fault: bool,
    /// Spans and segments.
    pub parts: usize,
    /// The service where it began.
    pub service: String,
    /// What it began with: `cart GET /items`.
    pub request: String,
    /// The status of that.
    pub status: String,
    /// All services that take part.
    pub services: Vec<String>,
}

/// Which traces are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceQuestion {
    /// Those that this service takes part in, or that call this discovery name.
    pub service: Option<String>,
    /// Those of which a part failed.
    pub failed: bool,
    /// Those that took so long, in microseconds.
    pub slower_us: u64,
    /// At most so many.
    pub limit: usize,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceNumbers {
    /// Traces that are kept.
    pub traces: u64,
    /// Spans of proxies that are kept.
    pub spans: u64,
    /// Documents of applications that are kept.
    pub documents: u64,
    /// Bytes that these take.
    pub bytes: u64,
    /// What came in since the start.
    pub taken: u64,
    /// What there was no room for.
    pub dropped: u64,
    /// What was given up, by age or for newer ones.
    pub given_up: u64,
}

impl From<TraceCounts> for TraceNumbers {
    fn from(counts: TraceCounts) -> Self {
        let TraceCounts { traces, spans, documents, bytes, taken, dropped, given_up } = counts;
        Self { traces, spans, documents, bytes, taken, dropped, given_up }
    }
}

/// The trace with this id, in either way of writing it; `None` where nothing is kept of it.
pub fn waterfall(store: &TraceStore, id: &str) -> Option<Waterfall> {
    store.trace(trace_id(id.trim())?).map(|trace| waterfall_of(&trace))
}

/// The newest traces that are asked for.
pub fn list(store: &TraceStore, question: &TraceQuestion) -> Vec<TraceRow> {
    let mut query = TraceQuery {
        failed: question.failed,
        slower_us: question.slower_us,
        limit: SCAN.min(question.limit.max(1)),
        ..TraceQuery::default()
    };
    let (mut rows, mut scanned) = (Vec::new(), 0);
    while rows.len() < question.limit && scanned < SCAN_MAX {
        let found = store.list(&query);
        let Some(last) = found.last() else { break };
        query.after = Some((last.start_us, last.id));
        scanned += found.len();
        let wanted = found.into_iter().filter_map(|found| {
            let row = row(&waterfall_of(&store.trace(found.id)?));
            let takes_part = |name: &String| row.services.contains(name);
            question.service.as_ref().is_none_or(takes_part).then_some(row)
        });
        let room = question.limit - rows.len();
        rows.extend(wanted.take(room));
    }
    rows
}

fn row(trace: &Waterfall) -> TraceRow {
    let first = trace.parts.first();
    let services: BTreeSet<&String> = trace
        .parts
        .iter()
        .flat_map(|part| [&part.service, &part.called])
        .filter(|name| !name.is_empty())
        .collect();
    TraceRow {
        id: trace.id.clone(),
        at: trace.at,
        duration_us: trace.duration_us,
        is_fault: trace.is_fault,
        parts: trace.parts.len(),
        service: first.map(|part| part.service.clone()).unwrap_or_default(),
        request: first.map(Part::what).unwrap_or_default(),
        status: first.map(|part| part.status.clone()).unwrap_or_default(),
        services: services.into_iter().cloned().collect(),
    }
}

impl Part {
    /// What it is about: `cart GET /items`.
    pub fn what(&self) -> String {
        let parts = [&*self.called, &*self.request];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// A part with its beginning since 1970 in place of since the trace's.
fn of_span(kept: &KeptSpan) -> Part {
    let KeptSpan { origin, span } = kept;
    let events = span.events.iter().map(|event| PartEvent {
        after_us: event.after_us,
        name: event.name.clone(),
        attributes: event.attributes.clone(),
    });
    let is_grpc_error = span.grpc_status.is_some_and(|status| status != 0);
    Part {
        id: span.id.to_string(),
        parent: span.parent.map(|parent| parent.to_string()),
        depth: 0,
        kind: match span.kind {
            SpanKind::Server => PartKind::Server,
            SpanKind::Client => PartKind::Client,
        },
        service: origin.service.clone(),
        task: origin.task.clone(),
        called: render::called(span),
        request: request(span),
        status: status(span),
        flags: span.flags.clone(),
        after_us: span.start_us,
        duration_us: span.duration_us,
        is_fault: span.is_fault(),
        is_error: !span.is_fault() && ((400..500).contains(&span.status) || is_grpc_error),
        is_in_progress: false,
        events: events.collect(),
    }
}

fn request(span: &Span) -> String {
    match span.protocol {
        SpanProtocol::Tcp => String::new(),
        _ => format!("{} {}", span.method, span.path),
    }
}

fn status(span: &Span) -> String {
    match (span.grpc_status, span.status) {
        (Some(status), _) => format!("grpc {status}"),
        (None, 0) => String::new(),
        (None, status) => status.to_string(),
    }
}

/// A segment and its subsegments.
fn of_segment(segment: &Segment, service: &str, parent: Option<&str>, parts: &mut Vec<Part>) {
    let http = segment.http.as_ref();
    let request = http.map(|http| {
        let told = [&http.request.method, &http.request.url];
        told.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
    });
    let status = http.and_then(|http| http.response.status).map(|status| status.to_string());
    let exceptions = segment.rest.get("cause").and_then(|cause| cause.get("exceptions")?.as_array());
    let events = exceptions.into_iter().flatten().map(|exception| {
        let told = |member: &str| {
            Some((member.to_owned(), exception.get(member).and_then(Value::as_str)?.to_owned()))
        };
        let attributes = ["type", "message"].into_iter().filter_map(told).collect();
        PartEvent { after_us: 0, name: "exception".to_owned(), attributes }
    });
    parts.push(Part {
        id: segment.id.clone(),
        parent: segment.parent_id.clone().or_else(|| parent.map(str::to_owned)),
        depth: 0,
        kind: PartKind::Application,
        service: service.to_owned(),
        task: String::new(),
        called: if parent.is_some() || segment.kind.is_some() { segment.name.clone() } else { String::new() },
        request: request.unwrap_or_default(),
        status: status.unwrap_or_default(),
        flags: "-".to_owned(),
        after_us: microseconds(segment.start_time),
        duration_us: microseconds(segment.duration()),
        is_fault: segment.fault,
        is_error: segment.error || segment.throttle,
        is_in_progress: segment.in_progress,
        events: events.collect(),
    });
    for subsegment in &segment.subsegments {
        of_segment(subsegment, service, Some(&segment.id), parts);
    }
}

fn waterfall_of(trace: &Trace) -> Waterfall {
    let mut parts: Vec<Part> = trace.spans.iter().map(of_span).collect();
    for document in &trace.documents {
        if let Ok(segment) = serde_json::from_slice::<Segment>(document) {
            of_segment(&segment, &segment.name, None, &mut parts);
        }
    }
    // Of what was told twice, what has ended counts.
    parts.sort_by(|a, b| {
        (&a.id, a.kind as u8, a.is_in_progress).cmp(&(&b.id, b.kind as u8, b.is_in_progress))
    });
    parts.dedup_by(|a, b| a.id == b.id && a.kind == b.kind);
    let start = parts.iter().map(|part| part.after_us).min().unwrap_or(0);
    let end = parts.iter().map(|part| part.after_us.saturating_add(part.duration_us)).max().unwrap_or(0);
    let is_fault = parts.iter().any(|part| part.is_fault);
    for part in &mut parts {
        part.after_us -= start;
    }
    Waterfall {
        id: trace.id.to_string(),
        x_ray_id: trace.id.x_ray(),
        at: Timestamp::from_millis(start / 1_000),
        duration_us: end.saturating_sub(start),
        is_fault,
        parts: in_order(parts),
    }
}

/// Each part behind what it is part of, those of one by their beginning. Ids are whatever others have said: parts that
/// are each other's parents stand at the end.
fn in_order(parts: Vec<Part>) -> Vec<Part> {
    let known: HashSet<&str> = parts.iter().map(|part| &*part.id).collect();
    let mut children: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    for (at, part) in parts.iter().enumerate() {
        let parent = part.parent.as_deref().filter(|parent| known.contains(parent) && *parent != part.id);
        children.entry(parent).or_default().push(at);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|at| (parts[*at].after_us, std::cmp::Reverse(parts[*at].duration_us)));
    }
    let mut order = Vec::with_capacity(parts.len());
    let mut seen = vec![false; parts.len()];
    let mut waiting: Vec<(usize, usize)> =
        children.get(&None).into_iter().flatten().rev().map(|at| (*at, 0)).collect();
    let mut rest = 0..parts.len();
    loop {
        while let Some((at, depth)) = waiting.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            order.push((at, depth));
            let within = children.get(&Some(&*parts[at].id)).into_iter().flatten();
            waiting.extend(within.rev().map(|at| (*at, depth + 1)));
        }
        match rest.find(|at| !seen[*at]) {
            Some(at) => waiting.push((at, 0)),
            None => break,
        }
    }
    order.into_iter().map(|(at, depth)| Part { depth, ..parts[at].clone() }).collect()
}

#[cfg(test)]
mod tests {
    use bowline_model::trace::{SpanEvent, SpanId, SpanOrigin, TraceId};
    use serde_json::json;

    use super::*;

    fn span(id: u8, parent: Option<u8>, kind: SpanKind, after_us: u64, service: &str) -> KeptSpan {
        let id_of = |id: u8| SpanId::new([id; 8]).expect("an id");
        let origin = SpanOrigin {
            cluster: "c".into(),
            service: service.into(),
            task: format!("{service}-1"),
            is_gateway: false,
        };
        let span = Span {
            trace: TraceId::new([7; 16]).expect("an id"),
            id: id_of(id),
            parent: parent.map(id_of),
            kind,
            start_us: 1_000_000 + after_us,
            duration_us: 10_000,
            protocol: SpanProtocol::Http1,
            discovery_name: "cart".into(),
            peer: String::new(),
            method: "GET".into(),
            path: "/items".into(),
            authority: String::new(),
            status: 503,
            grpc_status: None,
            flags: "UF".into(),
            bytes_received: 0,
            bytes_sent: 0,
            upstream: None,
            events: vec![SpanEvent { after_us: 5, name: "retry".into(), attributes: Vec::new() }],
            events_dropped: 0,
        };
        KeptSpan { origin, span }
    }

    #[test]
    fn parts_stand_behind_what_they_are_part_of() {
        let app = json!({
            "id": "aaaaaaaaaaaaaaaa", "name": "cart-app", "parent_id": "0202020202020202", "start_time": 1.003,
            "end_time": 1.004, "subsegments": [{"id": "bbbbbbbbbbbbbbbb", "name": "db", "start_time": 1.003, "end_time": 1.0035}],
        });
        let trace = Trace {
            id: TraceId::new([7; 16]).expect("an id"),
            spans: vec![
                span(2, Some(1), SpanKind::Server, 2_000, "cart"),
                span(1, None, SpanKind::Client, 0, "web"),
                span(3, Some(9), SpanKind::Client, 1_000, "other"),
            ],
            documents: vec![app.to_string().into_bytes()],
        };
        let told = waterfall_of(&trace);
        let tree: Vec<_> =
            told.parts.iter().map(|part| (part.depth, &*part.service, part.after_us)).collect();
        assert_eq!(
            tree,
            [
                (0, "web", 0),
                (1, "cart", 2_000),
                (2, "cart-app", 3_000),
                (3, "cart-app", 3_000),
                (0, "other", 1_000)
            ]
        );
        assert_eq!((told.duration_us, told.is_fault, told.at), (12_000, true, Timestamp::from_secs(1)));
        let row = row(&told);
        assert_eq!((&*row.service, &*row.request, &*row.status), ("web", "cart GET /items", "503"));
    }

    #[test]
    fn parents_of_each_other_are_told_once() {
        let spans = vec![
            span(1, Some(2), SpanKind::Server, 0, "a"),
            span(2, Some(1), SpanKind::Server, 1, "b"),
            span(3, Some(3), SpanKind::Server, 2, "c"),
        ];
        let trace = Trace { id: TraceId::new([7; 16]).expect("an id"), spans, documents: Vec::new() };
        let told = waterfall_of(&trace);
        assert_eq!(told.parts.len(), 3);
    }
}
