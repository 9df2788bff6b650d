//! A proxy's spans, read: what they say is checked before it is believed, who says it never comes from them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_discovery::telemetry::{self as wire, SpanBatch};
use bowline_model::{
    task::TaskId,
    trace::{
        ATTRIBUTES_MAX, BATCH_MAX, EVENTS_MAX, Span, SpanEvent, SpanId, SpanKind, SpanOrigin, SpanProtocol,
        SpanWriter, TEXT_MAX, TraceId,
    },
};
use bowline_stream::directory::InvalidSpans;

/// What names a proxy's process, at most, in bytes.
const PROCESS_BYTES_MAX: usize = 64;

/// The last batch that was taken of a proxy.
#[derive(Debug, Default)]
struct Told {
    process: Vec<u8>,
    sequence: u64,
}

/// Takes spans in, each once.
pub(super) struct Spans {
    writer: Arc<dyn SpanWriter>,
    told: Mutex<BTreeMap<TaskId, Told>>,
}

impl Spans {
    pub(super) fn new(writer: Arc<dyn SpanWriter>) -> Self {
        Self { writer, told: Mutex::default() }
    }

    /// Takes a batch of the proxy of `task`; one that was taken before is not taken again.
    pub(super) fn take(
        &self,
        task: &TaskId,
        origin: &SpanOrigin,
        batch: SpanBatch,
    ) -> Result<(), InvalidSpans> {
        let Batch { process, sequence, spans, dropped } = Batch::read(batch)?;
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let told = told.entry(task.clone()).or_default();
            if told.process != process {
                *told = Told { process, sequence: 0 };
            }
            if sequence <= told.sequence {
                return Ok(());
            }
            told.sequence = sequence;
        }
        if dropped > 0 {
            tracing::info!(%task, dropped, "a proxy had no room for spans");
        }
        if !spans.is_empty() {
            self.writer.put(origin, spans);
        }
        Ok(())
    }

    /// Forgets tasks that are no more.
    pub(super) fn retain(&self, lives: impl Fn(&TaskId) -> bool) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|task, _| lives(task));
    }
}

struct Batch {
    process: Vec<u8>,
    sequence: u64,
    spans: Vec<Span>,
    dropped: u64,
}

impl Batch {
    fn read(batch: SpanBatch) -> Result<Self, InvalidSpans> {
        let SpanBatch { process, sequence, spans, dropped } = batch;
        if process.is_empty() || process.len() > PROCESS_BYTES_MAX || sequence == 0 {
            return Err(InvalidSpans::Unnumbered);
        }
        if spans.len() > BATCH_MAX {
            return Err(InvalidSpans::TooMany(spans.len()));
        }
        let read = |(place, span)| self::read(span).map_err(|what| InvalidSpans::Span { span: place, what });
        let spans = spans.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { process, sequence, spans, dropped })
    }
}

/// A span's text, if it is none that harms who reads it.
fn text(text: String) -> Result<String, &'static str> {
    match text.len() {
        0..=TEXT_MAX if !text.chars().any(char::is_control) => Ok(text),
        0..=TEXT_MAX => Err("a text has control characters"),
        _ => Err("a text is too long"),
    }
}

fn read(span: wire::Span) -> Result<Span, &'static str> {
    let trace = span.trace_id.try_into().ok().and_then(TraceId::new).ok_or("its trace's id is none")?;
    let of_span = |bytes: Vec<u8>| bytes.try_into().ok().and_then(SpanId::new);
    let kind = match wire::SpanKind::try_from(span.kind) {
        Ok(wire::SpanKind::Server) => SpanKind::Server,
        Ok(wire::SpanKind::Client) => SpanKind::Client,
        _ => return Err("its kind is unknown"),
    };
    let protocol = match wire::SpanProtocol::try_from(span.protocol) {
        Ok(wire::SpanProtocol::Http1) => SpanProtocol::Http1,
        Ok(wire::SpanProtocol::Http2) => SpanProtocol::Http2,
        Ok(wire::SpanProtocol::Grpc) => SpanProtocol::Grpc,
        Ok(wire::SpanProtocol::Tcp) => SpanProtocol::Tcp,
        _ => return Err("its protocol is unknown"),
    };
    if span.events.len() > EVENTS_MAX {
        return Err("it has too many events");
    }
    Ok(Span {
        trace,
        id: of_span(span.span_id).ok_or("its id is none")?,
        parent: match span.parent_id.is_empty() {
            true => None,
            false => Some(of_span(span.parent_id).ok_or("its parent's id is none")?),
        },
        kind,
        start_us: span.start_us,
        duration_us: span.duration_us,
        protocol,
        discovery_name: text(span.discovery_name)?,
        peer: text(span.peer)?,
        method: text(span.method)?,
        path: text(span.path)?,
        authority: text(span.authority)?,
        status: match u16::try_from(span.status) {
            Ok(status @ (0 | 100..=999)) => status,
            _ => return Err("its status is none"),
        },
        grpc_status: span.grpc_status,
        flags: text(span.flags)?,
        bytes_received: span.bytes_received,
        bytes_sent: span.bytes_sent,
        upstream: match span.upstream.is_empty() {
            true => None,
            false => Some(span.upstream.parse().map_err(|_| "its upstream is no address")?),
        },
        events: span.events.into_iter().map(event).collect::<Result<_, _>>()?,
        events_dropped: span.events_dropped,
    })
}

fn event(event: wire::SpanEvent) -> Result<SpanEvent, &'static str> {
    if event.attributes.len() > ATTRIBUTES_MAX {
        return Err("an event has too many attributes");
    }
    let attributes = event.attributes.into_iter();
    Ok(SpanEvent {
        after_us: event.after_us,
        name: text(event.name)?,
        attributes: attributes
            .map(|attribute| Ok::<_, &'static str>((text(attribute.key)?, text(attribute.value)?)))
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::recent_spans::RecentSpans, *};

    fn span() -> wire::Span {
        wire::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            kind: wire::SpanKind::Server.into(),
            protocol: wire::SpanProtocol::Http2.into(),
            path: "/x".into(),
            status: 200,
            upstream: "127.0.0.1:80".into(),
            events: vec![wire::SpanEvent {
                after_us: 5,
                name: "connect".into(),
                attributes: vec![wire::Attribute { key: "duration_us".into(), value: "17".into() }],
            }],
            ..wire::Span::default()
        }
    }

    fn batch(process: u8, sequence: u64, spans: Vec<wire::Span>) -> SpanBatch {
        SpanBatch { process: vec![process], sequence, spans, dropped: 0 }
    }

    fn origin() -> SpanOrigin {
        SpanOrigin { cluster: "c".into(), service: "s".into(), task: "t".into(), is_gateway: false }
    }

    #[test]
    fn a_batch_is_taken_once_for_each_process_and_task() {
        let kept = Arc::new(RecentSpans::default());
        let spans = Spans::new(Arc::clone(&kept) as _);
        let (one, other) = (TaskId::from_random([1; 16]), TaskId::from_random([2; 16]));
        let take = |task: &TaskId, process, sequence| {
            spans.take(task, &origin(), batch(process, sequence, vec![span()])).expect("it is taken");
            kept.all().len()
        };
        assert_eq!(take(&one, 1, 1), 1);
        assert_eq!(take(&one, 1, 1), 1, "told again");
        assert_eq!(take(&one, 1, 2), 2);
        assert_eq!(take(&other, 1, 1), 3, "another proxy");
        assert_eq!(take(&one, 2, 1), 4, "another process");
        spans.retain(|task| *task == one);
        assert_eq!(spans.told.lock().expect("nothing panicked").len(), 1);
        let (of, first) = kept.all().swap_remove(0);
        assert_eq!((of, first.path.as_str(), first.status), (origin(), "/x", 200));
        assert_eq!(first.events[0].attributes, [("duration_us".to_owned(), "17".to_owned())]);
        assert_eq!(first.upstream, "127.0.0.1:80".parse().ok());
    }

    #[test]
    fn what_is_no_span_is_refused_with_its_batch() {
        let kept = Arc::new(RecentSpans::default());
        let spans = Spans::new(Arc::clone(&kept) as _);
        let task = TaskId::from_random([1; 16]);
        let refused = |spoil: fn(&mut wire::Span)| {
            let mut bad = span();
            spoil(&mut bad);
            let told = spans.take(&task, &origin(), batch(1, 1, vec![span(), bad]));
            assert!(matches!(told, Err(InvalidSpans::Span { span: 1, .. })), "{told:?}");
        };
        refused(|span| span.trace_id = vec![0; 16]);
        refused(|span| span.trace_id = vec![1; 15]);
        refused(|span| span.span_id.clear());
        refused(|span| span.parent_id = vec![1]);
        refused(|span| span.kind = 0);
        refused(|span| span.protocol = 9);
        refused(|span| span.path = "x".repeat(TEXT_MAX + 1));
        refused(|span| span.authority = "a\nb".into());
        refused(|span| span.status = 70_000);
        refused(|span| span.upstream = "nowhere".into());
        refused(|span| span.events = vec![wire::SpanEvent::default(); EVENTS_MAX + 1]);
        refused(|span| span.events[0].attributes = vec![wire::Attribute::default(); ATTRIBUTES_MAX + 1]);
        let take = |batch| spans.take(&task, &origin(), batch);
        assert_eq!(take(batch(1, 0, vec![])), Err(InvalidSpans::Unnumbered));
        assert_eq!(take(SpanBatch { process: vec![], ..batch(1, 1, vec![]) }), Err(InvalidSpans::Unnumbered));
        assert_eq!(take(batch(1, 1, vec![span(); BATCH_MAX + 1])), Err(InvalidSpans::TooMany(BATCH_MAX + 1)));
        assert!(kept.all().is_empty());
        take(batch(1, 1, vec![span()])).expect("a number that was refused is not used up");
        assert_eq!(kept.all().len(), 1);
    }
}
