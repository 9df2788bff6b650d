//! Metrics as Prometheus reads them: its text format (0.0.4) and OpenMetrics (1.0.0).
//!
//! The caller writes one family after another; this keeps to the formats' rules: a counter's `_total`, escaped
//! labels, `_bucket`, `_sum` and `_count` of a histogram, `# EOF`.

use std::fmt::{Display, Write};

/// Which of the formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, 0.0.4.
    #[default]
    Text,
    /// OpenMetrics, 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client wants, by its `Accept` header: OpenMetrics where it is named and not refused (`q=0`), and at
    /// least as welcome as plain text.
    pub fn accepted(accept: Option<&str>) -> Self {
        let quality = |wanted: &str| {
            let mut found = None;
            for range in accept.unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                if parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted)) {
                    let quality = parts.find_map(|part| part.strip_prefix("q="));
                    let quality = quality.and_then(|text| text.parse::<f32>().ok()).unwrap_or(1.0);
                    found = found.map_or(Some(quality), |before: f32| Some(before.max(quality)));
                }
            }
            found.unwrap_or(0.0)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// For `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
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

/// A text in the making.
#[derive(Debug)]
pub struct Exposition {
    out: String,
    format: Format,
}

impl Exposition {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 * 1024), format }
    }

    /// Begins the family `name`, of a counter without its `_total`. `help` is one sentence.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        let told = match self.format {
            Format::Text => suffix,
            Format::OpenMetrics => "",
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.out, "# HELP {name}{told} {help}\n# TYPE {name}{told} {kind}");
        Family { name: format!("{name}{suffix}"), exposition: self }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
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
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        write_sample(&mut self.exposition.out, &self.name, "", labels, None, value);
        self.exposition.out.push('\n');
    }

    /// A histogram: how many values are at most each bound (ascending, cumulative), how many there are in all,
    /// and their sum. Exemplars (ascending) are told with the first bucket that they fit in, one each, where the format has
    /// them.
    pub fn histogram(
        &mut self,
        labels: &[Label<'_>],
        buckets: &[(f64, u64)],
        count: u64,
        sum: f64,
        exemplars: &[Exemplar],
    ) {
        let mut exemplars = match self.exposition.format {
            Format::OpenMetrics => exemplars,
            Format::Text => &[],
        };
        let out = &mut self.exposition.out;
        // A value counted meanwhile is in the sum of buckets, and may not be in the count.
        let count = buckets.last().map_or(count, |(_, last)| count.max(*last));
        let bounded = buckets.iter().map(|(bound, count)| (*bound, *count));
        for (bound, count) in bounded.chain([(f64::INFINITY, count)]) {
            let text = if bound.is_finite() { format!("{bound}") } else { "+Inf".to_owned() };
            // OpenMetrics has bounds as canonical floats.
            let whole =
                self.exposition.format == Format::OpenMetrics && bound.is_finite() && bound.fract() == 0.0;
            let text = if whole { format!("{bound:.1}") } else { text };
            write_sample(out, &self.name, "_bucket", labels, Some(("le", &text)), count);
            let (fitting, others) = exemplars.split_at(exemplars.partition_point(|one| one.value <= bound));
            exemplars = others;
            if let Some(fits) = fitting.last() {
                let _ =
                    write!(out, " # {{trace_id=\"{}\"}} {} {}", escape(&fits.trace_id), fits.value, fits.at);
            }
            out.push('\n');
        }
        write_sample(out, &self.name, "_sum", labels, None, sum);
        out.push('\n');
        write_sample(out, &self.name, "_count", labels, None, count);
        out.push('\n');
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
    use super::*;

    fn written(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family("a_things", Kind::Counter, "Things.").sample(&[], 3);
        let mut gauge = exposition.family("a_open", Kind::Gauge, "What is \\ open\nnow.");
        gauge.sample(&[("of", "a\"b\\c\nd"), ("and", "x")], 1.5);
        let exemplar = |id: &str, value| Exemplar { trace_id: id.into(), value, at: 12.5 };
        let exemplars = [exemplar("ab11", 0.6), exemplar("ab12", 0.7), exemplar("ab13", 70.0)];
        let buckets = [(0.5, 1), (1.0, 2)];
        let mut seconds = exposition.family("a_seconds", Kind::Histogram, "Time.");
        seconds.histogram(&[("of", "x")], &buckets, 3, 9.25, &exemplars);
        exposition.finish()
    }

    #[test]
    fn text_is_as_prometheus_wants_it() {
        let expected = "# HELP a_things_total Things.\n# TYPE a_things_total counter\na_things_total 3\n\
            # HELP a_open What is \\\\ open\\nnow.\n# TYPE a_open gauge\n\
            a_open{of=\"a\\\"b\\\\c\\nd\",and=\"x\"} 1.5\n\
            # HELP a_seconds Time.\n# TYPE a_seconds histogram\n\
            a_seconds_bucket{of=\"x\",le=\"0.5\"} 1\na_seconds_bucket{of=\"x\",le=\"1\"} 2\n\
            a_seconds_bucket{of=\"x\",le=\"+Inf\"} 3\na_seconds_sum{of=\"x\"} 9.25\na_seconds_count{of=\"x\"} 3\n";
        assert_eq!(written(Format::Text), expected);
    }

    #[test]
    fn openmetrics_has_families_without_total_an_exemplar_and_an_end() {
        let text = written(Format::OpenMetrics);
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
    }
}
