//! How spans and documents stand in a file.
//!
//! A record is a frame whose payload begins with what the index needs: the kind, the trace, beginning and duration, and
//! whether it failed. What follows is read only when the trace is.

use std::net::SocketAddr;

use bowline_model::trace::{
    EVENTS_MAX, Span, SpanEvent, SpanId, SpanKind, SpanOrigin, SpanProtocol, TraceId,
};

use super::{DOCUMENT_BYTES_MAX, KeptSpan, TraceDocument};
use crate::metrics::codec::{self, Bytes, put_text, put_whole};

/// Most bytes of one record.
const RECORD_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 64;

const KIND_SPAN: u8 = 0;
const KIND_DOCUMENT: u8 = 1;

/// What the index keeps of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_span: bool,
    pub(super) trace: TraceId,
    pub(super) start_us: u64,
    pub(super) duration_us: u64,
    pub(super) is_fault: bool,
}

/// A record that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Span(Box<KeptSpan>),
    Document(Vec<u8>),
}

/// Records that are put together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Frames, one after the other.
    pub(super) bytes: Vec<u8>,
    /// Of each its head and how many bytes it takes.
    pub(super) heads: Vec<(Head, u32)>,
    /// Those that are larger than any may be.
    pub(super) too_large: u64,
}

impl Batch {
    pub(super) fn span(&mut self, origin: &SpanOrigin, span: &Span) {
        let head = Head {
            is_span: true,
            trace: span.trace,
            start_us: span.start_us,
            duration_us: span.duration_us,
            is_fault: span.is_fault(),
        };
        let mut payload = Vec::with_capacity(320);
        put_head(&mut payload, head);
        put_span(&mut payload, origin, span);
        self.add(head, &payload);
    }

    pub(super) fn document(&mut self, document: &TraceDocument) {
        let head = Head {
            is_span: false,
            trace: document.trace,
            start_us: document.start_us,
            duration_us: document.duration_us,
            is_fault: document.is_fault,
        };
        let mut payload = Vec::with_capacity(64 + document.bytes.len());
        put_head(&mut payload, head);
        payload.extend_from_slice(&document.bytes);
        self.add(head, &payload);
    }

    fn add(&mut self, head: Head, payload: &[u8]) {
        if payload.len() > RECORD_BYTES_MAX {
            self.too_large += 1;
            return;
        }
        let before = self.bytes.len();
        codec::put_frame(&mut self.bytes, payload);
        self.heads.push((head, (self.bytes.len() - before) as u32));
    }
}

fn put_head(out: &mut Vec<u8>, head: Head) {
    out.push(if head.is_span { KIND_SPAN } else { KIND_DOCUMENT });
    out.extend_from_slice(&head.trace.bytes());
    out.extend_from_slice(&head.start_us.to_le_bytes());
    out.extend_from_slice(&head.duration_us.to_le_bytes());
    out.push(u8::from(head.is_fault));
}

/// Reads the head, and leaves what follows it.
pub(super) fn head(bytes: &mut Bytes<'_>) -> Option<Head> {
    let is_span = match bytes.byte()? {
        KIND_SPAN => true,
        KIND_DOCUMENT => false,
        _ => return None,
    };
    let trace = TraceId::new(bytes.take(16)?.try_into().ok()?)?;
    let start_us = u64::from_le_bytes(bytes.take(8)?.try_into().ok()?);
    let duration_us = u64::from_le_bytes(bytes.take(8)?.try_into().ok()?);
    Some(Head { is_span, trace, start_us, duration_us, is_fault: bytes.byte()? != 0 })
}

/// Reads the record that a frame holds.
pub(super) fn read(frame: &[u8]) -> Option<Record> {
    let payload = codec::frames(frame).next()?;
    let mut bytes = Bytes(payload);
    let head = head(&mut bytes)?;
    match head.is_span {
        true => Some(Record::Span(Box::new(span(&mut bytes, head)?))),
        false => Some(Record::Document(bytes.0.to_vec())),
    }
}

fn put_span(out: &mut Vec<u8>, origin: &SpanOrigin, span: &Span) {
    out.extend_from_slice(&span.id.bytes());
    out.extend_from_slice(&span.parent.map_or([0; 8], |parent| parent.bytes()));
    let kind = match span.kind {
        SpanKind::Server => 0,
        SpanKind::Client => 1,
    };
    let protocol = match span.protocol {
        SpanProtocol::Http1 => 0,
        SpanProtocol::Http2 => 1,
        SpanProtocol::Grpc => 2,
        SpanProtocol::Tcp => 3,
    };
    out.push(kind | protocol << 1 | u8::from(origin.is_gateway) << 3);
    for text in [&origin.cluster, &origin.service, &origin.task] {
        put_text(out, text);
    }
    for text in [&span.discovery_name, &span.peer, &span.method, &span.path, &span.authority, &span.flags] {
        put_text(out, text);
    }
    put_text(out, &span.upstream.map_or_else(String::new, |address| address.to_string()));
    put_whole(out, u64::from(span.status));
    // 0 stands for none.
    put_whole(out, span.grpc_status.map_or(0, |status| u64::from(status) + 1));
    put_whole(out, span.bytes_received);
    put_whole(out, span.bytes_sent);
    put_whole(out, u64::from(span.events_dropped));
    put_whole(out, span.events.len() as u64);
    for event in &span.events {
        put_whole(out, event.after_us);
        put_text(out, &event.name);
        put_whole(out, event.attributes.len() as u64);
        for (key, value) in &event.attributes {
            put_text(out, key);
            put_text(out, value);
        }
    }
}

fn span(bytes: &mut Bytes<'_>, head: Head) -> Option<KeptSpan> {
    let id = SpanId::new(bytes.take(8)?.try_into().ok()?)?;
    let parent = SpanId::new(bytes.take(8)?.try_into().ok()?);
    let bits = bytes.byte()?;
    let kind = if bits & 1 == 0 { SpanKind::Server } else { SpanKind::Client };
    let protocol = match bits >> 1 & 3 {
        0 => SpanProtocol::Http1,
        1 => SpanProtocol::Http2,
        2 => SpanProtocol::Grpc,
        _ => SpanProtocol::Tcp,
    };
    let mut text = || bytes.text().map(str::to_owned);
    let (cluster, service, task) = (text()?, text()?, text()?);
    let (discovery_name, peer, method) = (text()?, text()?, text()?);
    let (path, authority, flags) = (text()?, text()?, text()?);
    let upstream: Option<SocketAddr> = text()?.parse().ok();
    let status = u16::try_from(bytes.whole()?).ok()?;
    let grpc_status = match bytes.whole()? {
        0 => None,
        more => Some(u32::try_from(more - 1).ok()?),
    };
    let (bytes_received, bytes_sent) = (bytes.whole()?, bytes.whole()?);
    let events_dropped = u32::try_from(bytes.whole()?).ok()?;
    let count = bytes.whole()?;
    // What is written is bounded by who writes it; what is read back takes no more than this at once.
    let mut events = Vec::with_capacity(usize::try_from(count).ok()?.min(EVENTS_MAX));
    for _ in 0..count {
        let after_us = bytes.whole()?;
        let name = bytes.text()?.to_owned();
        let mut attributes = Vec::new();
        for _ in 0..bytes.whole()? {
            attributes.push((bytes.text()?.to_owned(), bytes.text()?.to_owned()));
        }
        events.push(SpanEvent { after_us, name, attributes });
    }
    let origin = SpanOrigin { cluster, service, task, is_gateway: bits & 8 != 0 };
    let span = Span {
        trace: head.trace,
        id,
        parent,
        kind,
        start_us: head.start_us,
        duration_us: head.duration_us,
        protocol,
        discovery_name,
        peer,
        method,
        path,
        authority,
        status,
        grpc_status,
        flags,
        bytes_received,
        bytes_sent,
        upstream,
        events,
        events_dropped,
    };
    Some(KeptSpan { origin, span })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::traces::tests::{origin, span_of};

    #[test]
    fn what_is_written_is_read() {
        let mut span = span_of(7, 3);
        span.parent = SpanId::new([1; 8]);
        span.grpc_status = Some(0);
        span.upstream = "[::1]:80".parse().ok();
        span.events = vec![SpanEvent {
            after_us: 12,
            name: "retry".into(),
            attributes: vec![("endpoint".into(), "10.0.0.1:80".into())],
        }];
        let mut batch = Batch::default();
        batch.span(&origin("web"), &span);
        let (head, length) = batch.heads[0];
        assert_eq!(
            (head.trace, head.start_us, length as usize),
            (span.trace, span.start_us, batch.bytes.len())
        );
        assert_eq!(
            read(&batch.bytes),
            Some(Record::Span(Box::new(KeptSpan { origin: origin("web"), span })))
        );
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let document = |length| TraceDocument {
            trace: span_of(1, 1).trace,
            start_us: 0,
            duration_us: 0,
            is_fault: false,
            bytes: vec![b' '; length],
        };
        let mut batch = Batch::default();
        batch.document(&document(DOCUMENT_BYTES_MAX));
        batch.document(&document(DOCUMENT_BYTES_MAX + 100));
        assert_eq!((batch.heads.len(), batch.too_large), (1, 1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(payload in prop::collection::vec(any::<u8>(), 0..300), as_span in any::<bool>()) {
            let mut payload = payload;
            if as_span && payload.len() > 40 {
                payload[0] = KIND_SPAN;
                payload[1] |= 1;
                payload[35] |= 1;
            }
            let mut frame = Vec::new();
            codec::put_frame(&mut frame, &payload);
            let _ = (read(&frame), read(&payload));
        }
    }
}
