//! Contexts in requests' headers.

use bowline_model::trace_context::{Incoming, Outgoing, Reader, header};
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Tracer;

static TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);
static TRACESTATE: HeaderName = HeaderName::from_static(header::TRACESTATE);
static X_AMZN: HeaderName = HeaderName::from_static(header::X_AMZN_TRACE_ID);
static B3: HeaderName = HeaderName::from_static(header::B3);
static B3_TRACE: HeaderName = HeaderName::from_static(header::B3_TRACE_ID);
static B3_SPAN: HeaderName = HeaderName::from_static(header::B3_SPAN_ID);
static B3_PARENT: HeaderName = HeaderName::from_static(header::B3_PARENT_SPAN_ID);
static B3_SAMPLED: HeaderName = HeaderName::from_static(header::B3_SAMPLED);
static B3_FLAGS: HeaderName = HeaderName::from_static(header::B3_FLAGS);

/// What of the headers' buffer must be left for a value; kept fields of X-Ray's header may need more.
const VALUE_ROOM: usize = 128;
/// How much is allocated at once.
const TEXT_CHUNK: usize = 4_096;

/// The context that came. One pass: looking each name up would cost more.
pub(super) fn read(headers: &HeaderMap) -> Incoming {
    let mut reader = Reader::default();
    for (name, value) in headers {
        reader.header(name.as_str(), value.as_bytes());
    }
    reader.read()
}

/// Writes a context: W3C's always, the others where they came.
pub(super) fn write(tracer: &Tracer, outgoing: &Outgoing, headers: &mut HeaderMap) {
    let formats = outgoing.formats;
    put(headers, &TRACEPARENT, tracer.value(|text| text.extend_from_slice(&outgoing.traceparent())));
    if !formats.of_w3c {
        // It is of another trace, or of none.
        headers.remove(&TRACESTATE);
    }
    if formats.x_amzn {
        let value = tracer.value(|text| {
            outgoing.x_amzn(headers.get(&X_AMZN).map(HeaderValue::as_bytes), |piece| {
                text.extend_from_slice(piece);
            });
        });
        put(headers, &X_AMZN, value);
    }
    if formats.b3 {
        put(headers, &B3, tracer.value(|text| outgoing.b3(|piece| text.extend_from_slice(piece))));
    }
    if formats.b3_multiple {
        let id = outgoing.b3_trace_id();
        put(headers, &B3_TRACE, tracer.value(|text| text.extend_from_slice(&id[outgoing.b3_begins()..])));
        put(headers, &B3_SPAN, tracer.value(|text| text.extend_from_slice(&outgoing.b3_span_id())));
        match outgoing.b3_parent_id() {
            Some(parent) => put(headers, &B3_PARENT, tracer.value(|text| text.extend_from_slice(&parent))),
            None => drop(headers.remove(&B3_PARENT)),
        }
        if formats.b3_debug && outgoing.sampled {
            headers.insert(B3_FLAGS.clone(), HeaderValue::from_static("1"));
            headers.remove(&B3_SAMPLED);
        } else {
            let sampled = if outgoing.sampled { "1" } else { "0" };
            headers.insert(B3_SAMPLED.clone(), HeaderValue::from_static(sampled));
            headers.remove(&B3_FLAGS);
        }
    }
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name.clone(), value);
    }
}

impl Tracer {
    /// A value, as `write` writes it. `None`: no header can have it.
    pub(super) fn value(&self, write: impl FnOnce(&mut BytesMut)) -> Option<HeaderValue> {
        let mut text = self.text.borrow_mut();
        if text.capacity() < VALUE_ROOM {
            text.reserve(TEXT_CHUNK);
        }
        write(&mut text);
        HeaderValue::from_maybe_shared(text.split().freeze()).ok()
    }
}
