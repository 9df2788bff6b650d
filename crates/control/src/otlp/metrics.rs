//! Metrics as OTLP has them: what each proxy has counted since it was first heard of, and its durations as exponential
//! histograms, whose buckets are those that they are kept in.

use bowline_discovery::opentelemetry::proto::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exponential_histogram_data_point::Buckets,
        metric::Data, number_data_point::Value,
    },
};
use bowline_model::{
    arn::Scope,
    clock::Timestamp,
    metric::{Distribution, SCALE, Statistic},
};

use super::{Owner, instrumentation, resource, text};
use crate::telemetry::{Counts, ProxyTotals, RowKey};

/// Most rows of a message: one takes some 4 KiB of the 4 MiB that receivers take by default.
const ROWS_MAX: usize = 500;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Classes of a status, by its hundreds.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What kind of number a metric is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It only grows.
    Counter,
    /// It grows and falls, and can be added up.
    UpDown,
    /// It is as it is.
    Gauge,
}

/// Name, unit, kind, description and value.
type Number = (&'static str, &'static str, Kind, &'static str, fn(&Counts) -> u64);

const NUMBERS: [Number; 11] = [
    ("bowline.grpc.requests", "{request}", Kind::Counter, "gRPC requests that ended.", |c| c.grpc_requests),
    (
        "bowline.failures",
        "{request}",
        Kind::Counter,
        "Requests answered 5xx or cut short, and TCP connections that failed.",
        |c| c.failures,
    ),
    ("bowline.bytes.received", "By", Kind::Counter, "Bytes of requests' bodies and of TCP clients.", |c| {
        c.bytes_received
    }),
    ("bowline.bytes.sent", "By", Kind::Counter, "Bytes of responses' bodies and towards TCP clients.", |c| {
        c.bytes_sent
    }),
    ("bowline.connections", "{connection}", Kind::Counter, "Connections to or from the peer.", |c| {
        c.connections
    }),
    (
        "bowline.connections.active",
        "{connection}",
        Kind::UpDown,
        "Connections to or from the peer that are open.",
        |c| c.connections_active,
    ),
    ("bowline.tcp.connections", "{connection}", Kind::Counter, "TCP connections carried, or refused.", |c| {
        c.tcp_connections
    }),
    (
        "bowline.connection.errors",
        "{connection}",
        Kind::Counter,
        "Connections that could not be made.",
        |c| c.connection_errors,
    ),
    (
        "bowline.tls.handshakes",
        "{handshake}",
        Kind::Counter,
        "TLS handshakes with the peer that succeeded.",
        |c| c.handshakes,
    ),
    (
        "bowline.tls.handshake.failures",
        "{handshake}",
        Kind::Counter,
        "TLS handshakes with the peer that failed.",
        |c| c.handshake_failures,
    ),
    ("bowline.targets", "{endpoint}", Kind::Gauge, "Endpoints of what is called.", |c| c.targets.into()),
];

/// Name, description and values, in milliseconds.
type Timed = (&'static str, &'static str, fn(&Counts) -> &Distribution);

const DURATIONS: [Timed; 3] = [
    ("bowline.response.time", "From a request to its response's beginning.", |c| &c.response_time),
    ("bowline.tls.handshake.time", "TLS handshakes with the peer.", |c| &c.handshake_time),
    ("bowline.connection.duration", "How long connections were open.", |c| &c.connection_time),
];

/// The messages of what all proxies have counted until now.
pub(super) fn requests(
    proxies: &[ProxyTotals],
    scope: &Scope,
    now: Timestamp,
) -> Vec<ExportMetricsServiceRequest> {
    let mut requests: Vec<ExportMetricsServiceRequest> = Vec::new();
    let mut rows = 0;
    for proxy in proxies {
        let owner = Owner {
            cluster: proxy.workload.cluster.clone(),
            service: proxy.workload.name.clone(),
            task: proxy.task.to_string(),
            is_gateway: proxy.workload.is_gateway,
        };
        for part in proxy.rows.chunks(ROWS_MAX) {
            let message = ResourceMetrics {
                resource: Some(resource(&owner, scope)),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(instrumentation()),
                    metrics: metrics(part, Times { since: proxy.since, now }),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            };
            rows += part.len();
            match requests.last_mut().filter(|_| rows <= ROWS_MAX) {
                Some(last) => last.resource_metrics.push(message),
                None => {
                    requests.push(ExportMetricsServiceRequest { resource_metrics: vec![message] });
                    rows = part.len();
                }
            }
        }
    }
    requests
}

/// What points are of.
#[derive(Clone, Copy)]
struct Times {
    since: Timestamp,
    now: Timestamp,
}

impl Times {
    fn nanoseconds(self) -> (u64, u64) {
        let of = |at: Timestamp| at.as_millis().saturating_mul(1_000_000);
        (of(self.since), of(self.now))
    }
}

fn metrics(rows: &[(RowKey, Counts)], times: Times) -> Vec<Metric> {
    let mut metrics = Vec::with_capacity(NUMBERS.len() + DURATIONS.len() + 1);
    let responses = rows.iter().flat_map(|(key, counts)| {
        CLASSES.iter().zip(counts.responses).filter(|(_, count)| *count > 0).map(move |(class, count)| {
            let mut attributes = attributes(key);
            attributes.push(text("http.response.status_class", *class));
            point(attributes, count, times)
        })
    });
    let data = sum(responses.collect(), true);
    metrics.push(metric("bowline.requests", "{request}", "Requests that ended, by class of status.", data));
    for (name, unit, kind, description, read) in NUMBERS {
        let points = rows.iter().map(|(key, counts)| point(attributes(key), read(counts), times)).collect();
        let data = match kind {
            Kind::Gauge => Data::Gauge(Gauge { data_points: points }),
            Kind::Counter | Kind::UpDown => sum(points, kind == Kind::Counter),
        };
        metrics.push(metric(name, unit, description, data));
    }
    for (name, description, read) in DURATIONS {
        let points = rows
            .iter()
            .filter(|(_, counts)| !read(counts).is_empty())
            .map(|(key, counts)| histogram(attributes(key), read(counts), times))
            .collect();
        let data = Data::ExponentialHistogram(ExponentialHistogram {
            data_points: points,
            aggregation_temporality: CUMULATIVE,
        });
        metrics.push(metric(name, "ms", description, data));
    }
    metrics.retain(|metric| match &metric.data {
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::ExponentialHistogram(histogram)) => !histogram.data_points.is_empty(),
        None => false,
    });
    metrics
}

fn metric(name: &str, unit: &str, description: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
    }
}

fn sum(data_points: Vec<NumberDataPoint>, is_monotonic: bool) -> Data {
    Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic })
}

fn attributes(key: &RowKey) -> Vec<KeyValue> {
    let all = [
        ("bowline.side", key.side.as_str()),
        ("bowline.discovery_name", &key.discovery_name),
        ("bowline.target", &key.cluster),
        ("bowline.peer", &key.peer),
        ("bowline.security", key.security.as_str()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| text(name, value)).collect()
}

fn point(attributes: Vec<KeyValue>, value: u64, times: Times) -> NumberDataPoint {
    let (start_time_unix_nano, time_unix_nano) = times.nanoseconds();
    let value = Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX));
    NumberDataPoint { attributes, start_time_unix_nano, time_unix_nano, value: Some(value) }
}

fn histogram(
    attributes: Vec<KeyValue>,
    values: &Distribution,
    times: Times,
) -> ExponentialHistogramDataPoint {
    let (start_time_unix_nano, time_unix_nano) = times.nanoseconds();
    // No row has more buckets than what a report may have: `report::BUCKETS`.
    let offset = values.positive().next().map_or(0, |(index, _)| index);
    let mut bucket_counts = Vec::new();
    for (index, count) in values.positive() {
        bucket_counts.resize((index - offset) as usize, 0);
        bucket_counts.push(count as u64);
    }
    let zero_count = values.zeros() as u64;
    ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano,
        // As many as are in the buckets, as the protocol wants it.
        count: zero_count + bucket_counts.iter().sum::<u64>(),
        sum: Some(values.sum()),
        scale: SCALE,
        zero_count,
        positive: Some(Buckets { offset, bucket_counts }),
        negative: None,
        min: values.statistic(Statistic::Minimum),
        max: values.statistic(Statistic::Maximum),
    }
}
