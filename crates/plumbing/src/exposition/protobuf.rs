//! Prometheus' protobuf format: messages of `io.prometheus.client` (prometheus/client_model, `metrics.proto`), each
//! after its length.
//!
//! Only the fields that are told are here. What is absent is zero, to readers of `metrics.proto` (proto2) and of
//! Prometheus' own copy (proto3) alike, so that none needs to be optional.

use prost::Message;
use prost_types::Timestamp;

use super::{
    Exemplar, Kind, Label,
    durations::{NativeBuckets, SCHEMA, ZERO_THRESHOLD},
};

/// A message in the making.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    /// What metrics are added to.
    family: Option<MetricFamily>,
}

/// A histogram with both kinds of buckets.
#[derive(Debug)]
pub(super) struct BothBuckets<'a> {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// Upper bounds (ascending, infinity last), how many are at most that, and one of those that are above the
    /// bound before.
    pub(super) classic: Vec<(f64, u64, Option<&'a Exemplar>)>,
    pub(super) native: NativeBuckets,
}

impl Writer {
    /// Begins a family, by its whole name.
    pub(super) fn family(&mut self, name: String, kind: Kind, help: &str) {
        self.end_family();
        let kind = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let family = MetricFamily { name, help: help.to_owned(), r#type: kind.into(), metric: Vec::new() };
        self.family = Some(family);
    }

    /// One number of the family.
    pub(super) fn number(&mut self, labels: &[Label<'_>], value: f64) {
        let Some(family) = &mut self.family else { return };
        let mut metric = Metric { label: pairs(labels), ..Metric::default() };
        match family.r#type() {
            MetricType::Counter => metric.counter = Some(Number { value }),
            _ => metric.gauge = Some(Number { value }),
        }
        family.metric.push(metric);
    }

    /// One histogram of the family.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], told: BothBuckets<'_>) {
        let Some(family) = &mut self.family else { return };
        let classic = told.classic.iter().map(|(upper_bound, cumulative_count, exemplar)| Bucket {
            cumulative_count: *cumulative_count,
            upper_bound: *upper_bound,
            exemplar: exemplar.map(Into::into),
        });
        let bucket: Vec<Bucket> = classic.collect();
        let span = |(offset, length)| BucketSpan { offset, length };
        let histogram = Histogram {
            sample_count: told.count,
            sample_sum: told.sum,
            schema: SCHEMA,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: told.native.zeros,
            positive_span: told.native.spans.into_iter().map(span).collect(),
            positive_delta: told.native.deltas,
            // Some versions of Prometheus read a native histogram's exemplars here, others in the classic buckets.
            exemplars: bucket.iter().filter_map(|one| one.exemplar.clone()).collect(),
            bucket,
        };
        let label = pairs(labels);
        family.metric.push(Metric { label, histogram: Some(histogram), ..Metric::default() });
    }

    /// All that was written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_family();
        self.out
    }

    fn end_family(&mut self) {
        // A family must have metrics.
        if let Some(family) = self.family.take().filter(|family| !family.metric.is_empty()) {
            self.out.extend(family.encode_length_delimited_to_vec());
        }
    }
}

fn pairs(labels: &[Label<'_>]) -> Vec<LabelPair> {
    let pair = |(name, value): &Label<'_>| LabelPair { name: (*name).to_owned(), value: (*value).to_owned() };
    labels.iter().map(pair).collect()
}

impl From<&Exemplar> for ExemplarMessage {
    fn from(exemplar: &Exemplar) -> Self {
        let nanos = (exemplar.at.fract() * 1e9) as i32;
        Self {
            label: pairs(&[("trace_id", &exemplar.trace_id)]),
            value: exemplar.value,
            timestamp: Some(Timestamp { seconds: exemplar.at as i64, nanos }),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    pub(super) r#type: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `Gauge` and `Counter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Number {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    pub(super) schema: i32,
    #[prost(double, tag = "6")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(message, repeated, tag = "16")]
    pub(super) exemplars: Vec<ExemplarMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(super) cumulative_count: u64,
    #[prost(double, tag = "2")]
    pub(super) upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) exemplar: Option<ExemplarMessage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// `Exemplar`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) timestamp: Option<Timestamp>,
}
