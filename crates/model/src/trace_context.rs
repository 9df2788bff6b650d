//! How a trace is told from hop to hop: in HTTP headers, of four formats.
//!
//! - W3C Trace Context, level 1 (and level 2's random flag): `traceparent`, beside which `tracestate` stands.
//! - AWS X-Ray's `X-Amzn-Trace-Id`: `Root`, `Parent` and `Sampled`; whatever else it has, as `Self`, is kept.
//! - Zipkin's B3 in one header, `b3`.
//! - B3 in several: `x-b3-traceid`, `x-b3-spanid`, `x-b3-parentspanid`, `x-b3-sampled`, `x-b3-flags`.
//!
//! Where several came, the ids are the first's that has any, in this order; so is the decision whether the trace is
//! sampled, by the first that has one. A header that came twice is as one that nobody can read: W3C demands that of
//! `traceparent`, and of the others nobody could say which counts.
//!
//! Nothing here allocates.

use crate::trace::{SpanId, TraceId};

/// Longest header that is read, in bytes.
const VALUE_MAX: usize = 1_024;
/// Most fields of an `X-Amzn-Trace-Id`.
const FIELDS_MAX: usize = 16;

/// Names of the headers, in lower case.
pub mod header {
    /// W3C's ids and flags.
    pub const TRACEPARENT: &str = "traceparent";
    /// W3C's, of vendors; it belongs to `traceparent`.
    pub const TRACESTATE: &str = "tracestate";
    /// X-Ray's.
    pub const X_AMZN_TRACE_ID: &str = "x-amzn-trace-id";
    /// B3 in one header.
    pub const B3: &str = "b3";
    /// B3's trace.
    pub const B3_TRACE_ID: &str = "x-b3-traceid";
    /// B3's span: of who calls.
    pub const B3_SPAN_ID: &str = "x-b3-spanid";
    /// B3's span above that.
    pub const B3_PARENT_SPAN_ID: &str = "x-b3-parentspanid";
    /// B3's decision, `0` or `1`.
    pub const B3_SAMPLED: &str = "x-b3-sampled";
    /// B3's `1`: sampled, whatever anybody says.
    pub const B3_FLAGS: &str = "x-b3-flags";
}

/// A header's value, if it came once.
#[derive(Clone, Copy, Debug, Default)]
enum Value<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    Unreadable,
}

impl<'a> Value<'a> {
    fn put(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent if value.len() <= VALUE_MAX => Self::Once(value.trim_ascii()),
            _ => Self::Unreadable,
        };
    }

    fn came(self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn get(self) -> Option<&'a [u8]> {
        match self {
            Self::Once(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// Takes a request's headers in, one after another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader<'a> {
    traceparent: Value<'a>,
    x_amzn: Value<'a>,
    b3: Value<'a>,
    b3_trace: Value<'a>,
    b3_span: Value<'a>,
    b3_sampled: Value<'a>,
    b3_flags: Value<'a>,
}

/// What one format says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    trace: Option<TraceId>,
    span: Option<SpanId>,
    sampled: Option<bool>,
}

/// What came with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The trace; none came, or none that can be read.
    pub trace: Option<TraceId>,
    /// The caller's span of that trace.
    pub span: Option<SpanId>,
    /// Whether the trace is sampled, where somebody has decided.
    pub sampled: Option<bool>,
    /// Which formats came, readable or not: a context is carried on in these.
    pub formats: Formats,
}

/// Formats that came, and what is to be kept of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// `traceparent`.
    pub w3c: bool,
    /// The ids are W3C's: its `tracestate` belongs to them.
    pub of_w3c: bool,
    /// W3C level 2: the trace's last seven bytes are random.
    pub random: bool,
    /// `X-Amzn-Trace-Id`.
    pub x_amzn: bool,
    /// `b3`.
    pub b3: bool,
    /// B3 in several headers.
    pub b3_multiple: bool,
    /// B3's demand to be sampled.
    pub b3_debug: bool,
    /// B3's ids of traces had 8 bytes.
    pub b3_short: bool,
}

impl<'a> Reader<'a> {
    /// Takes in a header, if it is one of a trace. `name` is in lower case.
    pub fn header(&mut self, name: &str, value: &'a [u8]) {
        // By length and first letter: most headers are none of these.
        match (name.len(), name.as_bytes().first()) {
            (2, Some(b'b')) if name == header::B3 => self.b3.put(value),
            (11, Some(b't')) if name == header::TRACEPARENT => self.traceparent.put(value),
            (10..=15, Some(b'x')) => match name {
                header::X_AMZN_TRACE_ID => self.x_amzn.put(value),
                header::B3_TRACE_ID => self.b3_trace.put(value),
                header::B3_SPAN_ID => self.b3_span.put(value),
                header::B3_SAMPLED => self.b3_sampled.put(value),
                header::B3_FLAGS => self.b3_flags.put(value),
                _ => {}
            },
            _ => {}
        }
    }

    /// What they say together.
    pub fn read(&self) -> Incoming {
        let (w3c, random) = self.traceparent.get().and_then(w3c).unwrap_or_default();
        let x_amzn = self.x_amzn.get().map(x_amzn).unwrap_or_default();
        let (single, mut b3_debug, mut b3_short) = self.b3.get().and_then(b3_single).unwrap_or_default();
        let multiple = self.b3_multiple();
        if self.b3_flags.get() == Some(b"1") {
            b3_debug = true;
        }
        let b3_multiple = [self.b3_trace, self.b3_span, self.b3_sampled, self.b3_flags];
        let told = [w3c, x_amzn, single, multiple];
        let with_ids = told.iter().find(|told| told.trace.is_some()).copied().unwrap_or_default();
        b3_short |= self.b3_trace.get().is_some_and(|digits| digits.len() == 16);
        Incoming {
            trace: with_ids.trace,
            span: with_ids.span,
            sampled: told.iter().find_map(|told| told.sampled),
            formats: Formats {
                w3c: self.traceparent.came(),
                of_w3c: w3c.trace.is_some(),
                random,
                x_amzn: self.x_amzn.came(),
                b3: self.b3.came(),
                b3_multiple: b3_multiple.iter().any(|value| value.came()),
                b3_debug,
                b3_short,
            },
        }
    }

    fn b3_multiple(&self) -> Told {
        let ids = (self.b3_trace.get().and_then(b3_trace), self.b3_span.get().and_then(SpanId::parse));
        let debug = (self.b3_flags.get() == Some(b"1")).then_some(true);
        let sampled = debug.or_else(|| match self.b3_sampled.get()? {
            b"1" | b"true" => Some(true),
            b"0" | b"false" => Some(false),
            _ => None,
        });
        match ids {
            (Some(trace), Some(span)) => Told { trace: Some(trace), span: Some(span), sampled },
            _ => Told { sampled, ..Told::default() },
        }
    }
}

/// `00-<32 digits>-<16 digits>-<2 digits>`, in lower case; later versions may have more behind that.
fn w3c(value: &[u8]) -> Option<(Told, bool)> {
    const LENGTH: usize = 55;
    let version = value.get(..2)?;
    let is_known = match version {
        b"00" => value.len() == LENGTH,
        b"ff" => false,
        _ => value.len() == LENGTH || value.get(LENGTH) == Some(&b'-'),
    };
    let is_lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let stands = |from: usize, until: usize| value.get(from..until).filter(|it| it.iter().all(is_lower));
    if !is_known || [2, 35, 52].iter().any(|dash| value.get(*dash) != Some(&b'-')) || stands(0, 2).is_none() {
        return None;
    }
    let trace = TraceId::parse(stands(3, 35)?)?;
    let span = SpanId::parse(stands(36, 52)?)?;
    let low = char::from(stands(53, 55)?[1]).to_digit(16)?;
    let told = Told { trace: Some(trace), span: Some(span), sampled: Some(low & 1 == 1) };
    Some((told, low & 2 == 2))
}

/// `Root=1-<8 digits>-<24 digits>;Parent=<16 digits>;Sampled=1`, in any order and not all of it.
fn x_amzn(value: &[u8]) -> Told {
    let mut told = Told::default();
    for (name, value) in fields(value) {
        match name {
            b"Root" if told.trace.is_none() => told.trace = x_amzn_root(value),
            b"Parent" if told.span.is_none() => told.span = SpanId::parse(value),
            b"Sampled" if told.sampled.is_none() => {
                told.sampled = match value {
                    b"1" => Some(true),
                    b"0" => Some(false),
                    // `?`: whoever is called may decide.
                    _ => None,
                };
            }
            _ => {}
        }
    }
    if told.trace.is_none() {
        told.span = None;
    }
    told
}

fn fields(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').take(FIELDS_MAX).filter_map(|field| {
        let equals = field.iter().position(|byte| *byte == b'=')?;
        Some((field[..equals].trim_ascii(), field[equals + 1..].trim_ascii()))
    })
}

fn x_amzn_root(value: &[u8]) -> Option<TraceId> {
    let (time, rest) = (value.strip_prefix(b"1-")?.get(..8)?, value.get(11..)?);
    let mut digits = [0; 32];
    digits[..8].copy_from_slice(time);
    (value[10] == b'-' && rest.len() == 24).then(|| digits[8..].copy_from_slice(rest))?;
    TraceId::parse(&digits)
}

/// `<trace>-<span>-<decision>-<parent>`, without the last or the last two; or the decision alone.
fn b3_single(value: &[u8]) -> Option<(Told, bool, bool)> {
    let decided = |text: &[u8]| match text {
        b"1" => Some((Some(true), false)),
        b"0" => Some((Some(false), false)),
        b"d" => Some((Some(true), true)),
        _ => None,
    };
    if let Some((sampled, debug)) = decided(value) {
        return Some((Told { sampled, ..Told::default() }, debug, false));
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let digits = parts.next()?;
    let (trace, span) = (b3_trace(digits)?, SpanId::parse(parts.next()?)?);
    let (sampled, debug) = match parts.next() {
        None => (None, false),
        Some(text) => decided(text)?,
    };
    if let Some(parent) = parts.next() {
        SpanId::parse(parent)?;
    }
    if parts.next().is_some() {
        return None;
    }
    Some((Told { trace: Some(trace), span: Some(span), sampled }, debug, digits.len() == 16))
}

/// 32 digits, or 16: the id's last half.
fn b3_trace(digits: &[u8]) -> Option<TraceId> {
    if digits.len() != 16 {
        return TraceId::parse(digits);
    }
    let mut whole = [b'0'; 32];
    whole[16..].copy_from_slice(digits);
    TraceId::parse(&whole)
}

/// A context as it goes on: the span is of who tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Of which trace.
    pub trace: TraceId,
    /// The span of who calls.
    pub span: SpanId,
    /// The span above it.
    pub parent: Option<SpanId>,
    /// Whether the trace is sampled.
    pub sampled: bool,
    /// What came.
    pub formats: Formats,
}

impl Outgoing {
    /// For `traceparent`.
    pub fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace.bytes(), &mut text[3..35]);
        write_hex(&self.span.bytes(), &mut text[36..52]);
        let random = self.formats.of_w3c && self.formats.random;
        text[54] = b'0' + u8::from(self.sampled) + 2 * u8::from(random);
        text
    }

    /// For `X-Amzn-Trace-Id`, piece by piece; `came` is the header's value as it came, whose other fields are kept.
    pub fn x_amzn(&self, came: Option<&[u8]>, mut put: impl FnMut(&[u8])) {
        let mut text = *b"Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0";
        let bytes = self.trace.bytes();
        write_hex(&bytes[..4], &mut text[7..15]);
        write_hex(&bytes[4..], &mut text[16..40]);
        write_hex(&self.span.bytes(), &mut text[48..64]);
        text[73] = b'0' + u8::from(self.sampled);
        put(&text);
        let came = came.filter(|came| came.len() <= VALUE_MAX).unwrap_or_default();
        for (name, value) in fields(came) {
            if !matches!(name, b"Root" | b"Parent" | b"Sampled") {
                put(b";");
                put(name);
                put(b"=");
                put(value);
            }
        }
    }

    /// For `b3`, piece by piece.
    pub fn b3(&self, mut put: impl FnMut(&[u8])) {
        let digits = self.b3_trace_id();
        put(&digits[self.b3_begins()..]);
        put(b"-");
        put(&self.b3_span_id());
        put(match (self.sampled, self.formats.b3_debug) {
            (true, true) => b"-d",
            (true, false) => b"-1",
            (false, _) => b"-0",
        });
        if let Some(parent) = self.parent {
            put(b"-");
            put(&hex(parent));
        }
    }

    /// For `x-b3-traceid`: what stands from [`b3_begins`](Self::b3_begins) on.
    pub fn b3_trace_id(&self) -> [u8; 32] {
        let mut text = [b'0'; 32];
        write_hex(&self.trace.bytes(), &mut text);
        text
    }

    /// Where an id for B3 begins: those of 8 bytes stay so.
    pub fn b3_begins(&self) -> usize {
        if self.formats.b3_short && self.trace.bytes()[..8] == [0; 8] { 16 } else { 0 }
    }

    /// For `x-b3-spanid`.
    pub fn b3_span_id(&self) -> [u8; 16] {
        hex(self.span)
    }

    /// For `x-b3-parentspanid`.
    pub fn b3_parent_id(&self) -> Option<[u8; 16]> {
        self.parent.map(hex)
    }
}

fn hex(span: SpanId) -> [u8; 16] {
    let mut text = [0; 16];
    write_hex(&span.bytes(), &mut text);
    text
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(headers: &[(&str, &str)]) -> Incoming {
        let mut reader = Reader::default();
        headers.iter().for_each(|(name, value)| reader.header(name, value.as_bytes()));
        reader.read()
    }

    fn told(incoming: &Incoming) -> (Option<String>, Option<String>, Option<bool>) {
        (incoming.trace.map(|id| id.to_string()), incoming.span.map(|id| id.to_string()), incoming.sampled)
    }

    fn of(trace: &str, span: &str, sampled: Option<bool>) -> (Option<String>, Option<String>, Option<bool>) {
        (Some(trace.to_owned()), Some(span.to_owned()), sampled)
    }

    const NOTHING: (Option<String>, Option<String>, Option<bool>) = (None, None, None);

    #[test]
    fn traceparent_is_read_as_w3c_has_it() {
        let whole = |version: &str, flags: &str| format!("{version}-{TRACE}-{SPAN}-{flags}");
        let parent = |text: &str| read(&[("traceparent", text)]);
        assert_eq!(told(&parent(&whole("00", "01"))), of(TRACE, SPAN, Some(true)));
        assert_eq!(told(&parent(&whole("00", "00"))), of(TRACE, SPAN, Some(false)));
        let random = parent(&whole("00", "03"));
        assert!(random.formats.random && random.sampled == Some(true));
        // A later version: what is known is read, whatever is behind it.
        assert_eq!(told(&parent(&whole("cc", "09"))), of(TRACE, SPAN, Some(true)));
        assert_eq!(told(&parent(&whole("cc", "01-what-else"))), of(TRACE, SPAN, Some(true)));
        for bad in [
            String::new(),
            whole("ff", "01"),
            whole("00", "01-more"),
            whole("cc", "01.more"),
            whole("00", "0g"),
            whole("0x", "01"),
            whole("00", "01").to_uppercase(),
            whole("00", "01").replace('-', "_"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}-1"),
        ] {
            let incoming = parent(&bad);
            assert_eq!(told(&incoming), NOTHING, "{bad}");
            assert!(incoming.formats.w3c && !incoming.formats.of_w3c, "{bad}");
        }
        let twice = whole("00", "01");
        assert_eq!(told(&read(&[("traceparent", &twice), ("traceparent", &twice)])), NOTHING);
    }

    #[test]
    fn x_amzn_is_read_and_its_other_fields_are_kept() {
        let text = "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1";
        let incoming = read(&[("x-amzn-trace-id", text)]);
        assert_eq!(told(&incoming), of("67891233abcdef012345678912345678", "53995c3f42cd8ad8", Some(true)));
        let outgoing = Outgoing {
            trace: incoming.trace.expect("a trace"),
            span: SpanId::parse(SPAN.as_bytes()).expect("a span"),
            parent: incoming.span,
            sampled: false,
            formats: incoming.formats,
        };
        let mut written = Vec::new();
        outgoing.x_amzn(Some(text.as_bytes()), |bytes| written.extend_from_slice(bytes));
        assert_eq!(
            String::from_utf8(written).expect("text"),
            "Root=1-67891233-abcdef012345678912345678;Parent=00f067aa0ba902b7;Sampled=0;\
             Self=1-67891234-12456789abcdef012345678;Lineage=a:1"
        );
        let root = "Root=1-67891233-abcdef012345678912345678";
        assert_eq!(
            told(&read(&[("x-amzn-trace-id", root)])),
            (Some("67891233abcdef012345678912345678".into()), None, None)
        );
        let asks = format!("{root}; Sampled=?");
        assert_eq!(read(&[("x-amzn-trace-id", &asks)]).sampled, None);
        assert_eq!(told(&read(&[("x-amzn-trace-id", "Root=1-6789-ab;Parent=53995c3f42cd8ad8")])), NOTHING);
    }

    #[test]
    fn b3_is_read_in_one_header_and_in_several() {
        let single = |text: &str| read(&[("b3", text)]);
        assert_eq!(told(&single(&format!("{TRACE}-{SPAN}"))), of(TRACE, SPAN, None));
        assert_eq!(told(&single(&format!("{TRACE}-{SPAN}-0-{SPAN}"))), of(TRACE, SPAN, Some(false)));
        let debug = single(&format!("{SPAN}-{SPAN}-d"));
        assert_eq!(told(&debug), of(&format!("0000000000000000{SPAN}"), SPAN, Some(true)));
        assert!(debug.formats.b3_debug && debug.formats.b3_short);
        assert_eq!(told(&single("0")), (None, None, Some(false)));
        for bad in ["", "2", "x-y", &format!("{TRACE}-{SPAN}-1-{SPAN}-1"), &format!("{TRACE}-{SPAN}-x")] {
            assert_eq!(told(&single(bad)), NOTHING, "{bad}");
        }
        let several = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "true")];
        let incoming = read(&several);
        assert_eq!(told(&incoming), of(TRACE, SPAN, Some(true)));
        assert!(incoming.formats.b3_multiple && !incoming.formats.b3);
        assert_eq!(told(&read(&[("x-b3-sampled", "0")])), (None, None, Some(false)));
        assert_eq!(read(&[("x-b3-flags", "1")]).sampled, Some(true));
        assert_eq!(told(&read(&several[..1])), NOTHING, "a trace without a span is none");
    }

    #[test]
    fn w3c_goes_before_x_amzn_and_that_before_b3() {
        let of_w3c = format!("00-{TRACE}-{SPAN}-00");
        let all = [
            ("b3", "1"),
            ("x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678;Sampled=1"),
            ("traceparent", of_w3c.as_str()),
        ];
        assert_eq!(told(&read(&all)), of(TRACE, SPAN, Some(false)));
        let amzn = read(&all[..2]);
        assert_eq!(amzn.trace.map(|id| id.to_string()).as_deref(), Some("67891233abcdef012345678912345678"));
        let formats = read(&all).formats;
        assert!(formats.w3c && formats.of_w3c && formats.x_amzn && formats.b3 && !formats.b3_multiple);
        // Ids of the first that has some, a decision of the first that has one.
        let undecided = [("x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678"), ("b3", "0")];
        assert_eq!(read(&undecided).sampled, Some(false));
        // One that cannot be read does not count.
        let unreadable = [("traceparent", "00-x"), all[1]];
        assert_eq!(read(&unreadable).trace, amzn.trace);
    }

    /// What is written in each format, as headers.
    fn written(outgoing: &Outgoing) -> [Vec<(&'static str, Vec<u8>)>; 4] {
        let (mut x_amzn, mut b3) = (Vec::new(), Vec::new());
        outgoing.x_amzn(None, |bytes| x_amzn.extend_from_slice(bytes));
        outgoing.b3(|bytes| b3.extend_from_slice(bytes));
        [
            vec![(header::TRACEPARENT, outgoing.traceparent().to_vec())],
            vec![(header::X_AMZN_TRACE_ID, x_amzn)],
            vec![(header::B3, b3)],
            vec![
                (header::B3_TRACE_ID, outgoing.b3_trace_id()[outgoing.b3_begins()..].to_vec()),
                (header::B3_SPAN_ID, outgoing.b3_span_id().to_vec()),
                (header::B3_SAMPLED, vec![b'0' + u8::from(outgoing.sampled)]),
            ],
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), parent in any::<[u8; 8]>(),
            sampled: bool, short: bool,
        ) {
            let (Some(trace), Some(span)) = (TraceId::new(trace), SpanId::new(span)) else { return Ok(()) };
            let formats = Formats { b3_short: short, ..Formats::default() };
            let outgoing = Outgoing { trace, span, parent: SpanId::new(parent), sampled, formats };
            for headers in written(&outgoing) {
                let mut reader = Reader::default();
                headers.iter().for_each(|(name, value)| reader.header(name, value));
                let read = reader.read();
                prop_assert_eq!((read.trace, read.span, read.sampled), (Some(trace), Some(span), Some(sampled)));
            }
        }

        #[test]
        fn bytes_of_any_kind_are_survived(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 7)) {
            let names = [
                header::TRACEPARENT, header::X_AMZN_TRACE_ID, header::B3, header::B3_TRACE_ID,
                header::B3_SPAN_ID, header::B3_SAMPLED, header::B3_FLAGS,
            ];
            let mut reader = Reader::default();
            names.iter().zip(&values).for_each(|(name, value)| reader.header(name, value));
            let read = reader.read();
            prop_assert!(read.span.is_none() || read.trace.is_some());
        }
    }
}
