//! Metrics as Prometheus reads them: its text format (0.0.4), OpenMetrics (1.0.0), and its protobuf format, which
//! alone has native histograms.
//!
//! The caller writes one family after another; this keeps to the formats' rules: a counter's `_total`, escaped
//! labels, `_bucket`, `_sum` and `_count` of a histogram, `# EOF`.

mod durations;
mod protobuf;

use std::fmt::{Display, Write};

use durations::NativeBuckets;
pub use durations::{DurationBuckets, POWERS};

/// Which of the formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, 0.0.4.
    #[default]
    Text,
    /// OpenMetrics, 1.0.0.
    OpenMetrics,
    /// Messages `io.prometheus.client.MetricFamily`, each after its length.
    Protobuf,
}

impl Format {
    /// What a client wants, by its `Accept` header: the most welcome one that is named and not refused (`q=0`), of
    /// equals protobuf, then OpenMetrics. Who names none gets plain text.
    pub fn accepted(accept: Option<&str>) -> Self {
        // Without these, or with others, it is another format.
        let parameters = ["proto=io.prometheus.client.MetricFamily", "encoding=delimited"];
        let protobuf = quality(accept, "application/vnd.google.protobuf", &parameters);
        let open = quality(accept, "application/openmetrics-text", &[]);
        let text = quality(accept, "text/plain", &[]);
        if protobuf > 0.0 && protobuf >= open && protobuf >= text {
            Self::Protobuf
        } else if open > 0.0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// For `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// How welcome the type `wanted` with all these parameters is, by an `Accept` header; 0 where it is not named.
fn quality(accept: Option<&str>, wanted: &str, parameters: &[&str]) -> f32 {
    let mut found = None;
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let is_wanted = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
        let has = |parameter: &&str| parts.clone().any(|part| part.eq_ignore_ascii_case(parameter));
        if is_wanted && parameters.iter().all(has) {
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.and_then(|text| text.parse::<f32>().ok()).unwrap_or(1.0);
            found = found.map_or(Some(quality), |before: f32| Some(before.max(quality)));
        }
    }
    found.unwrap_or(0.0)
}

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// They are counted by size.
    Histogram,
}

/// One label's name and value.
pub type Label<'a> = (&'a str, &'a str);

/// One value that stands for others of its size, and where to read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace that it is of, in hexadecimal.
    pub trace_id: String,
    /// The value.
    pub value: f64,
    /// Seconds since 1970.
    pub at: f64,
}

/// A value of a counter or a gauge. The text formats have it as it is written, protobuf as a floating number.
pub trait Number: Display {
    /// The nearest floating number.
    fn to_f64(&self) -> f64;
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Number for $number {
            fn to_f64(&self) -> f64 {
                *self as f64
            }
        })*
    };
}

numbers!(i32 u32 i64 u64 i128 usize f64);

impl<T: Number> Number for &T {
    fn to_f64(&self) -> f64 {
        (**self).to_f64()
    }
}

/// What is exposed, in the making.
#[derive(Debug)]
pub struct Exposition(Output);

#[derive(Debug)]
enum Output {
    Text { out: String, is_open: bool },
    Protobuf(protobuf::Writer),
}

impl Exposition {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        let text = |is_open| Output::Text { out: String::with_capacity(16 * 1024), is_open };
        Self(match format {
            Format::Text => text(false),
            Format::OpenMetrics => text(true),
            Format::Protobuf => Output::Protobuf(protobuf::Writer::default()),
        })
    }

    /// Begins the family `name`, of a counter without its `_total`. `help` is one sentence.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        let whole = format!("{name}{suffix}");
        match &mut self.0 {
            Output::Text { out, is_open } => {
                let told = if *is_open { name } else { whole.as_str() };
                let kind = match kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Histogram => "histogram",
                };
                let help = help.replace('\\', "\\\\").replace('\n', "\\n");
                // Writing to a String cannot fail, here and below.
                let _ = writeln!(out, "# HELP {told} {help}\n# TYPE {told} {kind}");
            }
            Output::Protobuf(writer) => writer.family(whole.clone(), kind, help),
        }
        Family { name: whole, exposition: self }
    }

    /// The whole of it; of the text formats it is UTF-8.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            Output::Text { mut out, is_open } => {
                if is_open {
                    out.push_str("# EOF\n");
                }
                out.into_bytes()
            }
            Output::Protobuf(writer) => writer.finish(),
        }
    }
}

/// A family that samples are written to.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    name: String,
}

impl Family<'_> {
    /// One value.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Number) {
        match &mut self.exposition.0 {
            Output::Text { out, .. } => {
                write_sample(out, &self.name, "", labels, None, value);
                out.push('\n');
            }
            Output::Protobuf(writer) => writer.number(labels, value.to_f64()),
        }
    }

    /// A histogram of durations: classic, and in the protobuf format native too. Exemplars (ascending) are told with
    /// the first classic bucket that they fit in, one each, where the format has them.
    pub fn durations(&mut self, labels: &[Label<'_>], durations: &DurationBuckets, exemplars: &[Exemplar]) {
        let classic = durations.classic();
        self.histogram(labels, &classic, durations.count(), durations.seconds(), exemplars, || {
            durations.native()
        });
    }

    /// A histogram: how many values are at most each bound (ascending, cumulative), how many there are in all,
    /// and their sum.
    fn histogram(
        &mut self,
        labels: &[Label<'_>],
        buckets: &[(f64, u64)],
        count: u64,
        sum: f64,
        mut exemplars: &[Exemplar],
        native: impl FnOnce() -> NativeBuckets,
    ) {
        let mut classic = Vec::with_capacity(buckets.len() + 1);
        for (bound, count) in buckets.iter().copied().chain([(f64::INFINITY, count)]) {
            let (fitting, others) = exemplars.split_at(exemplars.partition_point(|one| one.value <= bound));
            exemplars = others;
            classic.push((bound, count, fitting.last()));
        }
        match &mut self.exposition.0 {
            Output::Text { out, is_open } => {
                for (bound, count, exemplar) in classic {
                    // OpenMetrics has bounds as canonical floats.
                    let text = match bound {
                        bound if !bound.is_finite() => "+Inf".to_owned(),
                        bound if *is_open && bound.fract() == 0.0 => format!("{bound:.1}"),
                        bound => format!("{bound}"),
                    };
                    write_sample(out, &self.name, "_bucket", labels, Some(("le", &text)), count);
                    if let (true, Some(Exemplar { trace_id, value, at })) = (*is_open, exemplar) {
                        let _ = write!(out, " # {{trace_id=\"{}\"}} {value} {at}", escape(trace_id));
                    }
                    out.push('\n');
                }
                write_sample(out, &self.name, "_sum", labels, None, sum);
                out.push('\n');
                write_sample(out, &self.name, "_count", labels, None, count);
                out.push('\n');
            }
            Output::Protobuf(writer) => {
                let both = protobuf::BothBuckets { count, sum, classic, native: native() };
                writer.histogram(labels, both);
            }
        }
    }
}

fn write_sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[Label<'_>],
    more: Option<Label<'_>>,
    value: impl Display,
) {
    let _ = write!(out, "{name}{suffix}");
    let mut before = '{';
    for (name, value) in labels.iter().copied().chain(more) {
        let _ = write!(out, "{before}{name}=\"{}\"", escape(value));
        before = ',';
    }
    if before == ',' {
        out.push('}');
    }
    let _ = write!(out, " {value}");
}

fn escape(label: &str) -> std::borrow::Cow<'_, str> {
    if label.contains(['\\', '"', '\n']) {
        label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        label.into()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{
        protobuf::{MetricFamily, MetricType},
        *,
    };

    fn text(exposition: Exposition) -> String {
        String::from_utf8(exposition.finish()).expect("it is text")
    }

    fn written(format: Format) -> Exposition {
        let mut exposition = Exposition::new(format);
        exposition.family("a_things", Kind::Counter, "Things.").sample(&[], 3);
        let mut gauge = exposition.family("a_open", Kind::Gauge, "What is \\ open\nnow.");
        gauge.sample(&[("of", "a\"b\\c\nd"), ("and", "x")], 1.5);
        let exemplar = |id: &str, value| Exemplar { trace_id: id.into(), value, at: 12.5 };
        let exemplars = [exemplar("ab11", 0.6), exemplar("ab12", 0.7), exemplar("ab13", 70.0)];
        let buckets = [(0.5, 1), (1.0, 2)];
        let mut seconds = exposition.family("a_seconds", Kind::Histogram, "Time.");
        let native = || DurationBuckets::new(1, [(158, 2)], 9.25).native();
        seconds.histogram(&[("of", "x")], &buckets, 3, 9.25, &exemplars, native);
        exposition
    }

    #[test]
    fn text_is_as_prometheus_wants_it() {
        let expected = "# HELP a_things_total Things.\n# TYPE a_things_total counter\na_things_total 3\n\
            # HELP a_open What is \\\\ open\\nnow.\n# TYPE a_open gauge\n\
            a_open{of=\"a\\\"b\\\\c\\nd\",and=\"x\"} 1.5\n\
            # HELP a_seconds Time.\n# TYPE a_seconds histogram\n\
            a_seconds_bucket{of=\"x\",le=\"0.5\"} 1\na_seconds_bucket{of=\"x\",le=\"1\"} 2\n\
            a_seconds_bucket{of=\"x\",le=\"+Inf\"} 3\na_seconds_sum{of=\"x\"} 9.25\na_seconds_count{of=\"x\"} 3\n";
        assert_eq!(text(written(Format::Text)), expected);
    }

    #[test]
    fn openmetrics_has_families_without_total_an_exemplar_and_an_end() {
        let text = text(written(Format::OpenMetrics));
        assert!(
            text.starts_with("# HELP a_things Things.\n# TYPE a_things counter\na_things_total 3\n"),
            "{text}"
        );
        let with = "a_seconds_bucket{of=\"x\",le=\"1.0\"} 2 # {trace_id=\"ab12\"} 0.7 12.5\n";
        assert!(text.contains(with) && text.matches("ab12").count() == 1, "{text}");
        assert!(text.contains("le=\"+Inf\"} 3 # {trace_id=\"ab13\"} 70 12.5\n"), "{text}");
        assert!(!text.contains("ab11"), "one for each bucket: {text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn protobuf_has_the_same_and_native_buckets() {
        let written = written(Format::Protobuf).finish();
        let mut rest = written.as_slice();
        let mut families = Vec::new();
        while !rest.is_empty() {
            families.push(MetricFamily::decode_length_delimited(&mut rest).expect("a family"));
        }
        let [things, open, seconds] = families.as_slice() else { panic!("{families:?}") };
        assert_eq!((things.name.as_str(), things.r#type()), ("a_things_total", MetricType::Counter));
        assert_eq!(things.metric[0].counter, Some(protobuf::Number { value: 3.0 }));
        assert_eq!((open.help.as_str(), open.r#type()), ("What is \\ open\nnow.", MetricType::Gauge));
        assert_eq!(open.metric[0].gauge, Some(protobuf::Number { value: 1.5 }));
        let label = &open.metric[0].label[0];
        assert_eq!((label.name.as_str(), label.value.as_str()), ("of", "a\"b\\c\nd"));

        assert_eq!((seconds.name.as_str(), seconds.r#type()), ("a_seconds", MetricType::Histogram));
        let histogram = seconds.metric[0].histogram.as_ref().expect("a histogram");
        assert_eq!((histogram.sample_count, histogram.sample_sum), (3, 9.25));
        let buckets: Vec<_> =
            histogram.bucket.iter().map(|one| (one.upper_bound, one.cumulative_count)).collect();
        assert_eq!(buckets, [(0.5, 1), (1.0, 2), (f64::INFINITY, 3)]);
        let traces: Vec<_> =
            histogram.exemplars.iter().map(|one| (one.label[0].value.as_str(), one.value)).collect();
        assert_eq!(traces, [("ab12", 0.7), ("ab13", 70.0)]);
        let at = histogram.bucket[1].exemplar.as_ref().and_then(|one| one.timestamp).expect("a time");
        assert_eq!((at.seconds, at.nanos), (12, 500_000_000));
        assert_eq!((histogram.schema, histogram.zero_count), (4, 1));
        assert!(histogram.zero_threshold > 0.0);
        let span = protobuf::BucketSpan { offset: 0, length: 1 };
        assert_eq!((histogram.positive_span.as_slice(), &*histogram.positive_delta), (&[span][..], &[2][..]));
    }

    /// Against `metrics.proto`, by hand.
    #[test]
    fn protobuf_has_the_fields_of_prometheus() {
        let mut exposition = Exposition::new(Format::Protobuf);
        exposition.family("none", Kind::Counter, "A family must not be empty.");
        exposition.family("g", Kind::Gauge, "H.").sample(&[("l", "v")], 1.0);
        let mut seconds = exposition.family("h", Kind::Histogram, "");
        seconds.histogram(&[], &[], 3, 1.0, &[], || DurationBuckets::new(0, [(157, 3)], 1.0).native());
        let one = 1.0_f64.to_le_bytes();
        let number = [&[0x09], one.as_slice()].concat();
        let pair = [0x0a, 1, b'l', 0x12, 1, b'v'];
        let metric = [&[0x0a, 6], pair.as_slice(), &[0x12, 9], &number].concat();
        let gauge = [&[0x0a, 1, b'g', 0x12, 2, b'H', b'.', 0x18, 1, 0x22, 19], metric.as_slice()].concat();
        let histogram = [
            &[0x08, 3, 0x11],
            one.as_slice(),
            &[0x1a, 11, 0x08, 3, 0x11],
            &f64::INFINITY.to_le_bytes(),
            // The schema (4), zigzag.
            &[0x28, 8, 0x31],
            &(-128_f64).exp2().to_le_bytes(),
            // A span of one at -1, and its count of three.
            &[0x62, 4, 0x08, 1, 0x10, 1, 0x6a, 1, 6],
        ];
        let histogram = histogram.concat();
        let length = histogram.len() as u8;
        let seconds =
            [&[0x0a, 1, b'h', 0x18, 4, 0x22, length + 2, 0x3a, length], histogram.as_slice()].concat();
        let expected =
            [&[gauge.len() as u8], gauge.as_slice(), &[seconds.len() as u8], seconds.as_slice()].concat();
        assert_eq!(exposition.finish(), expected);
    }

    #[test]
    fn the_format_goes_by_what_is_accepted() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(of_prometheus)), Format::OpenMetrics);
        for text in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.3",
        ] {
            assert_eq!(Format::accepted(Some(text)), Format::Text, "{text}");
        }
        assert_eq!(Format::accepted(None), Format::Text);
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (others, expected) in [
            (format!(",application/openmetrics-text;version=1.0.0;q=0.8,{of_prometheus}"), Format::Protobuf),
            (";q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1".to_owned(), Format::Protobuf),
            (";q=0.4,application/openmetrics-text;q=0.6".to_owned(), Format::OpenMetrics),
            (";q=0.3,text/plain;q=0.5".to_owned(), Format::Text),
            (";q=0".to_owned(), Format::Text),
        ] {
            assert_eq!(Format::accepted(Some(&format!("{protobuf}{others}"))), expected, "{others}");
        }
        for other in [
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
        ] {
            assert_eq!(Format::accepted(Some(other)), Format::Text, "{other}");
        }
    }
}
