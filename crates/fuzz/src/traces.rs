//! Contexts of traces, in headers of whoever sends requests.

use bowline_model::trace_context::{Outgoing, Reader, header};

/// Headers, one a line: the first byte says which, the rest is the value.
///
/// What is read is the same after it went on to the next hop, in each format that it goes on in.
pub fn trace_context(input: &[u8]) {
    const NAMES: [&str; 7] = [
        header::TRACEPARENT,
        header::X_AMZN_TRACE_ID,
        header::B3,
        header::B3_TRACE_ID,
        header::B3_SPAN_ID,
        header::B3_SAMPLED,
        header::B3_FLAGS,
    ];
    let mut reader = Reader::default();
    let mut amzn = None;
    for line in input.split(|byte| *byte == b'\n') {
        let Some((which, value)) = line.split_first() else { continue };
        let name = NAMES[usize::from(*which) % NAMES.len()];
        if name == header::X_AMZN_TRACE_ID {
            amzn = Some(value);
        }
        reader.header(name, value);
    }
    let came = reader.read();
    let (Some(trace), Some(span)) = (came.trace, came.span) else { return };
    let sampled = came.sampled.unwrap_or_default();
    let outgoing = Outgoing { trace, span, parent: came.span, sampled, formats: came.formats };
    let (mut x_amzn, mut b3) = (Vec::new(), Vec::new());
    outgoing.x_amzn(amzn, |bytes| x_amzn.extend_from_slice(bytes));
    outgoing.b3(|bytes| b3.extend_from_slice(bytes));
    let traceparent = outgoing.traceparent();
    for (name, value) in
        [(header::TRACEPARENT, &traceparent[..]), (header::X_AMZN_TRACE_ID, &x_amzn), (header::B3, &b3)]
    {
        let mut reader = Reader::default();
        reader.header(name, value);
        let read = reader.read();
        // Kept fields can make it longer than what is read.
        if value.len() <= 1_024 {
            assert_eq!(
                (read.trace, read.span, read.sampled),
                (Some(trace), Some(span), Some(sampled)),
                "{name}"
            );
        }
    }
}
