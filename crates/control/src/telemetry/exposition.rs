//! All proxies' counters, and the control plane's own, as Prometheus reads them.

use std::sync::{PoisonError, atomic::Ordering::Relaxed};

use bowline_model::{log_driver::LogFigures, metric::Distribution};
use bowline_observe::{metrics::MetricStore, traces::TraceCounts};
use bowline_plumbing::exposition::{DurationBuckets, Exposition, Family, Format, Kind, Label};

use super::{
    Telemetry,
    report::{Counts, RowKey},
    view::Workload,
};
use crate::{api::xray::daemon::DaemonCounters, otlp::OtlpCounts};

/// Classes of a status, by its hundreds.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Name, kind, help and value of a metric that is one number.
type Simple = (&'static str, Kind, &'static str, fn(&Counts) -> u64);

const NUMBERS: [Simple; 11] = [
    ("bowline_service_grpc_requests", Kind::Counter, "gRPC requests that ended.", |c| c.grpc_requests),
    (
        "bowline_service_failures",
        Kind::Counter,
        "Requests answered 5xx or cut short, and TCP connections that failed.",
        |c| c.failures,
    ),
    ("bowline_service_received_bytes", Kind::Counter, "Bytes of requests' bodies and of TCP clients.", |c| {
        c.bytes_received
    }),
    (
        "bowline_service_sent_bytes",
        Kind::Counter,
        "Bytes of responses' bodies and towards TCP clients.",
        |c| c.bytes_sent,
    ),
    ("bowline_service_connections", Kind::Counter, "Connections to or from the peer.", |c| c.connections),
    (
        "bowline_service_connections_active",
        Kind::Gauge,
        "Connections to or from the peer that are open.",
        |c| c.connections_active,
    ),
    ("bowline_service_tcp_connections", Kind::Counter, "TCP connections carried, or refused.", |c| {
        c.tcp_connections
    }),
    ("bowline_service_connection_errors", Kind::Counter, "Connections that could not be made.", |c| {
        c.connection_errors
    }),
    ("bowline_service_handshakes", Kind::Counter, "TLS handshakes with the peer that succeeded.", |c| {
        c.handshakes
    }),
    ("bowline_service_handshake_failures", Kind::Counter, "TLS handshakes with the peer that failed.", |c| {
        c.handshake_failures
    }),
    ("bowline_service_targets", Kind::Gauge, "Endpoints of what is called.", |c| c.targets.into()),
];

/// Name, help and value of a metric that is many durations.
type Timed = (&'static str, &'static str, fn(&Counts) -> &Distribution);

const DURATIONS: [Timed; 3] = [
    ("bowline_service_response_time_seconds", "From a request to its response's beginning.", |c| {
        &c.response_time
    }),
    ("bowline_service_handshake_time_seconds", "TLS handshakes with the peer.", |c| &c.handshake_time),
    ("bowline_service_connection_duration_seconds", "How long connections were open.", |c| {
        &c.connection_time
    }),
];

/// What the store of metrics holds, and what it had no room for.
fn write_store(out: &mut Exposition, store: &MetricStore) {
    let help = "Series of metrics that are kept.";
    out.family("bowline_metrics_series", Kind::Gauge, help).sample(&[], store.series());
    let help = "Bytes that metrics take on the disk, without the journal.";
    out.family("bowline_metrics_stored_bytes", Kind::Gauge, help).sample(&[], store.bytes());
    let dropped = store.dropped();
    let help =
        "Values of metrics that were dropped, by reason; those unwritten are told until the process ends.";
    let mut family = out.family("bowline_metrics_dropped_values", Kind::Counter, help);
    for (reason, count) in [
        ("overflowing", dropped.overflowing),
        ("beyond_series", dropped.beyond_series),
        ("out_of_range", dropped.out_of_range),
        ("unwritten", dropped.unwritten),
    ] {
        family.sample(&[("reason", reason)], count);
    }
    let help = "Bytes of older metrics that were given up for newer ones, before their time.";
    out.family("bowline_metrics_dropped_bytes", Kind::Counter, help).sample(&[], dropped.bytes);
}

/// What became of the lines of containers and sidecars.
fn write_logs(out: &mut Exposition, figures: &LogFigures) {
    let all = figures.all();
    let help = "Lines and records taken from spools, for each place that they go to.";
    let mut family = out.family("bowline_logs_lines", Kind::Counter, help);
    for (driver, figures) in &all {
        family.sample(&[("driver", driver)], figures.taken);
    }
    let help = "Lines and records that receivers have taken.";
    let mut family = out.family("bowline_logs_delivered_lines", Kind::Counter, help);
    for (driver, figures) in &all {
        family.sample(&[("driver", driver)], figures.delivered);
    }
    let help = "Lines and records that were given up, by reason.";
    let mut family = out.family("bowline_logs_dropped_lines", Kind::Counter, help);
    for (driver, figures) in &all {
        for (reason, count) in &figures.dropped {
            family.sample(&[("driver", driver), ("reason", reason)], *count);
        }
    }
    let help = "Deliveries that failed, and were tried again.";
    let mut family = out.family("bowline_logs_retries", Kind::Counter, help);
    for (driver, figures) in &all {
        family.sample(&[("driver", driver)], figures.retries);
    }
    let help = "Bytes that wait to be delivered.";
    let mut family = out.family("bowline_logs_queued_bytes", Kind::Gauge, help);
    for (driver, figures) in &all {
        family.sample(&[("driver", driver)], figures.queued_bytes());
    }
}

/// What the store of traces holds, and what it had no room for.
pub(crate) fn write_traces(out: &mut Exposition, counts: TraceCounts) {
    let help = "Traces that are kept.";
    out.family("bowline_traces_kept", Kind::Gauge, help).sample(&[], counts.traces);
    let help = "Spans of proxies, and documents of applications, that are kept.";
    let mut family = out.family("bowline_traces_records", Kind::Gauge, help);
    family.sample(&[("kind", "span")], counts.spans);
    family.sample(&[("kind", "document")], counts.documents);
    let help = "Bytes that traces take.";
    out.family("bowline_traces_stored_bytes", Kind::Gauge, help).sample(&[], counts.bytes);
    let help = "Spans and documents that came in.";
    out.family("bowline_traces_taken", Kind::Counter, help).sample(&[], counts.taken);
    let help = "Spans and documents that there was no room for.";
    out.family("bowline_traces_dropped", Kind::Counter, help).sample(&[], counts.dropped);
    let help = "Spans and documents that were given up for newer ones, or for their age.";
    out.family("bowline_traces_given_up", Kind::Counter, help).sample(&[], counts.given_up);
}

/// What came by X-Ray's daemon protocol.
pub(crate) fn write_daemon(out: &mut Exposition, counters: &DaemonCounters) {
    let help = "Datagrams to X-Ray's daemon, by outcome.";
    let mut family = out.family("bowline_xray_daemon_datagrams", Kind::Counter, help);
    family.sample(&[("outcome", "taken")], counters.taken.load(Relaxed));
    family.sample(&[("outcome", "refused")], counters.refused.load(Relaxed));
}

/// What was sent on by OTLP, and what was not.
pub(crate) fn write_otlp(out: &mut Exposition, counts: OtlpCounts) {
    let mut family = out.family("bowline_otlp_spans", Kind::Counter, "Spans sent on by OTLP, by outcome.");
    family.sample(&[("outcome", "sent")], counts.spans_sent);
    family.sample(&[("outcome", "dropped")], counts.spans_dropped);
    let help = "Messages of metrics sent on by OTLP, by outcome.";
    let mut family = out.family("bowline_otlp_metric_messages", Kind::Counter, help);
    family.sample(&[("outcome", "sent")], counts.metrics_sent);
    family.sample(&[("outcome", "dropped")], counts.metrics_dropped);
}

impl Telemetry {
    /// What proxies have told, and the control plane's own, and what `more` writes; `streams` are open now.
    pub(crate) fn render(
        &self,
        format: Format,
        streams: usize,
        store: &MetricStore,
        more: impl FnOnce(&mut Exposition),
    ) -> Vec<u8> {
        let mut out = Exposition::new(format);
        self.write(&mut out);
        self.own.write(&mut out, streams);
        write_store(&mut out, store);
        write_logs(&mut out, &self.logs);
        more(&mut out);
        out.finish()
    }

    /// Writes what proxies have told.
    pub(super) fn write(&self, out: &mut Exposition) {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<(Workload, &str, &RowKey, &Counts)> = proxies
            .iter()
            .flat_map(|(task, proxy)| {
                let workload = Workload::from(&proxy.origin);
                proxy.totals.iter().map(move |(key, counts)| (workload.clone(), task.as_str(), key, counts))
            })
            .collect();
        let help = "Requests ended, by class of status.";
        let mut family = out.family("bowline_service_requests", Kind::Counter, help);
        for (workload, task, key, counts) in &rows {
            for (class, count) in CLASSES.iter().zip(counts.responses).filter(|(_, count)| *count > 0) {
                let labels = [labels(workload, task, key).as_slice(), &[("code", *class)]].concat();
                family.sample(&labels, count);
            }
        }
        for (name, kind, help, read) in NUMBERS {
            let mut family = out.family(name, kind, help);
            for (workload, task, key, counts) in &rows {
                family.sample(&labels(workload, task, key), read(counts));
            }
        }
        for (name, help, read) in DURATIONS {
            let mut family = out.family(name, Kind::Histogram, help);
            for (workload, task, key, counts) in &rows {
                write_durations(&mut family, &labels(workload, task, key), read(counts));
            }
        }
        let help = "Lines that a proxy's access log had no room for.";
        let mut family = out.family("bowline_access_log_dropped", Kind::Counter, help);
        for (task, proxy) in proxies.iter() {
            let Workload { cluster, name, .. } = Workload::from(&proxy.origin);
            let labels = [("cluster", cluster.as_str()), ("service", &name), ("task", task.as_str())];
            family.sample(&labels, proxy.access_log_dropped);
        }
        let help = "Reports of proxies that were taken, repeated ones included.";
        let mut family = out.family("bowline_telemetry_reports", Kind::Counter, help);
        family.sample(&[], self.reports.load(Relaxed));
        let help = "Reports of proxies that had been taken before, and count once.";
        let mut family = out.family("bowline_telemetry_reports_repeated", Kind::Counter, help);
        family.sample(&[], self.repeated.load(Relaxed));
    }
}

/// Milliseconds as a histogram of seconds, unless there are none.
pub(super) fn write_durations(family: &mut Family<'_>, labels: &[Label<'_>], durations: &Distribution) {
    if durations.is_empty() {
        return;
    }
    let buckets = durations.positive().map(|(index, times)| (index, times as u64));
    let told = DurationBuckets::new(durations.zeros() as u64, buckets, durations.sum() / 1e3);
    family.durations(labels, &told, &[]);
}

fn labels<'a>(workload: &'a Workload, task: &'a str, key: &'a RowKey) -> [Label<'a>; 8] {
    [
        ("cluster", &workload.cluster),
        ("service", &workload.name),
        ("task", task),
        ("side", key.side.as_str()),
        ("discovery_name", &key.discovery_name),
        ("target", &key.cluster),
        ("peer", &key.peer),
        ("security", key.security.as_str()),
    ]
}
