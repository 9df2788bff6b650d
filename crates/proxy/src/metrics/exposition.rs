//! The counters as Prometheus reads them.

use std::sync::PoisonError;

use bowline_plumbing::exposition::{DurationBuckets, Exposition, Format, Kind, Label};

use super::{
    ClusterMetrics, Direction, DirectionMetrics, Flag, HandshakeFailure, Metrics,
    histogram::{Durations, LOWEST},
    series::{Series, Totals},
};
use crate::refusal::{RefusalCause, RefusedParty};

/// Classes of a status, by its hundreds.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Name, kind, help and value of a metric that is one number.
type Simple<T, N> = (&'static str, Kind, &'static str, fn(&T) -> N);

const OF_DIRECTIONS: [Simple<DirectionMetrics, i128>; 10] = [
    ("bowline_connections", Kind::Counter, "Connections accepted.", |m| m.connections.get().into()),
    ("bowline_connections_active", Kind::Gauge, "Connections that are open.", |m| {
        m.connections_active.get().into()
    }),
    ("bowline_connections_refused", Kind::Counter, "Connections over a listener's limit.", |m| {
        m.connections_refused.get().into()
    }),
    ("bowline_requests", Kind::Counter, "Requests begun.", |m| m.requests.get().into()),
    ("bowline_requests_active", Kind::Gauge, "Requests under way.", |m| m.requests_active.get().into()),
    ("bowline_received_bytes", Kind::Counter, "Bytes received from clients, headers included.", |m| {
        m.bytes_received.get().into()
    }),
    ("bowline_sent_bytes", Kind::Counter, "Bytes sent to clients, headers included.", |m| {
        m.bytes_sent.get().into()
    }),
    ("bowline_handshakes", Kind::Counter, "TLS handshakes with clients that succeeded.", |m| {
        m.handshakes.get().into()
    }),
    ("bowline_authorization_audited", Kind::Counter, "Calls that a rule of effect AUDIT matched.", |m| {
        m.audited.get().into()
    }),
    ("bowline_ambiguous_requests", Kind::Counter, "Requests that could be read in two ways.", |m| {
        m.ambiguous.get().into()
    }),
];

const OF_CLUSTERS: [Simple<ClusterMetrics, u64>; 7] = [
    ("bowline_upstream_requests", Kind::Counter, "Requests for a cluster.", |m| m.requests.get()),
    ("bowline_upstream_retries", Kind::Counter, "Tries beyond the first.", |m| m.retries.get()),
    ("bowline_upstream_retries_denied", Kind::Counter, "Retries not made: there were enough.", |m| {
        m.retries_denied.get()
    }),
    ("bowline_upstream_overflows", Kind::Counter, "Requests and connections over a cluster's limit.", |m| {
        m.overflows.get()
    }),
    ("bowline_upstream_connections", Kind::Counter, "Connections tried.", |m| m.connections.get()),
    ("bowline_upstream_connect_failures", Kind::Counter, "Connections that failed.", |m| {
        m.connect_failures.get()
    }),
    ("bowline_upstream_ejections", Kind::Counter, "Endpoints ejected by outlier detection.", |m| {
        m.ejections.get()
    }),
];

const OF_SERIES: [Simple<Totals, u64>; 10] = [
    ("bowline_service_grpc_requests", Kind::Counter, "gRPC requests that ended.", |t| t.grpc_requests),
    (
        "bowline_service_failures",
        Kind::Counter,
        "Requests answered 5xx or cut short, and TCP connections that failed.",
        |t| t.failures,
    ),
    ("bowline_service_received_bytes", Kind::Counter, "Bytes of requests' bodies and of TCP clients.", |t| {
        t.bytes_received
    }),
    (
        "bowline_service_sent_bytes",
        Kind::Counter,
        "Bytes of responses' bodies and towards TCP clients.",
        |t| t.bytes_sent,
    ),
    ("bowline_service_connections", Kind::Counter, "Connections to or from the peer.", |t| t.connections),
    (
        "bowline_service_connections_active",
        Kind::Gauge,
        "Connections to or from the peer that are open.",
        |t| t.connections_active,
    ),
    ("bowline_service_tcp_connections", Kind::Counter, "TCP connections carried, or refused.", |t| t.streams),
    ("bowline_service_connection_errors", Kind::Counter, "Connections that could not be made.", |t| {
        t.connection_errors
    }),
    ("bowline_service_handshakes", Kind::Counter, "TLS handshakes with the peer that succeeded.", |t| {
        t.handshakes
    }),
    ("bowline_service_handshake_failures", Kind::Counter, "TLS handshakes with the peer that failed.", |t| {
        t.handshake_failures
    }),
];

/// Name, help and value of a metric that is many durations, and whether it is requests' (these have exemplars).
type Timed = (&'static str, &'static str, fn(&Totals) -> &Durations, bool);

const DURATIONS: [Timed; 3] = [
    (
        "bowline_service_response_time_seconds",
        "From a request to its response's beginning.",
        |t| &t.response_time,
        true,
    ),
    ("bowline_service_handshake_time_seconds", "TLS handshakes with the peer.", |t| &t.handshake_time, false),
    (
        "bowline_service_connection_duration_seconds",
        "How long connections were open.",
        |t| &t.connection_time,
        false,
    ),
];

impl Metrics {
    /// All counters, in Prometheus' text format.
    pub fn render(&self) -> String {
        String::from_utf8_lossy(&self.render_as(Format::Text)).into_owned()
    }

    /// All counters, in one of Prometheus' formats.
    pub fn render_as(&self, format: Format) -> Vec<u8> {
        let mut out = Exposition::new(format);
        self.write_directions(&mut out);
        self.write_clusters(&mut out);
        self.write_series(&mut out);
        for (name, help, counter) in [
            (
                "bowline_access_log_dropped",
                "Lines that the access log had no room for.",
                &self.access_log_dropped,
            ),
            ("bowline_configuration_rejected", "Resources that were refused.", &self.configuration_rejected),
            ("bowline_stream_connects", "Streams opened to the control plane.", &self.stream_connects),
            (
                "bowline_certificates_issued",
                "Certificates that the control plane issued.",
                &self.certificates_issued,
            ),
            ("bowline_hops_cut", "Connections ended by a revocation.", &self.hops_cut),
            ("bowline_spans", "Spans to be told to the control plane.", &self.spans),
            ("bowline_spans_dropped", "Spans that there was no room for.", &self.spans_dropped),
        ] {
            out.family(name, Kind::Counter, help).sample(&[], counter.get());
        }
        out.finish()
    }

    fn write_directions(&self, out: &mut Exposition) {
        for (name, kind, help, read) in OF_DIRECTIONS {
            let mut family = out.family(name, kind, help);
            for direction in Direction::ALL {
                family.sample(&[("direction", direction.as_str())], read(self.of(*direction)));
            }
        }
        let help = "TLS handshakes with clients that failed, by cause.";
        let mut family = out.family("bowline_handshake_failures", Kind::Counter, help);
        for direction in Direction::ALL {
            for cause in HandshakeFailure::ALL {
                let labels = [("direction", direction.as_str()), ("cause", cause.as_str())];
                family.sample(&labels, self.handshake_failures(*direction, *cause));
            }
        }
        let mut family =
            out.family("bowline_responses", Kind::Counter, "Requests ended, by class of status.");
        for direction in Direction::ALL {
            for (class, counter) in CLASSES.iter().zip(&self.of(*direction).responses).skip(1) {
                family.sample(&[("direction", direction.as_str()), ("code", class)], counter.get());
            }
        }
        let help = "Requests and connections that ended with one of Envoy's response flags.";
        let mut family = out.family("bowline_response_flags", Kind::Counter, help);
        for direction in Direction::ALL {
            for flag in &Flag::ALL[1..] {
                let labels = [("direction", direction.as_str()), ("flag", flag.as_str())];
                family.sample(&labels, self.flagged(*direction, *flag));
            }
        }
        let mut family =
            out.family("bowline_identity_refusals", Kind::Counter, "Identities refused, by whose and why.");
        for direction in Direction::ALL {
            for party in RefusedParty::ALL {
                for cause in RefusalCause::ALL {
                    let (party_text, cause_text) = (party.as_str(), cause.as_str());
                    let labels =
                        [("direction", direction.as_str()), ("party", party_text), ("cause", cause_text)];
                    family.sample(&labels, self.refusals(*direction, *party, *cause));
                }
            }
        }
    }

    fn write_clusters(&self, out: &mut Exposition) {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, kind, help, read) in OF_CLUSTERS {
            let mut family = out.family(name, kind, help);
            for (cluster, metrics) in &clusters {
                family.sample(&[("cluster", cluster)], read(metrics));
            }
        }
        let help = "Responses of a cluster, by class of status.";
        let mut family = out.family("bowline_upstream_responses", Kind::Counter, help);
        for (cluster, metrics) in &clusters {
            for (class, counter) in CLASSES.iter().zip(&metrics.responses).skip(1) {
                family.sample(&[("cluster", cluster), ("code", class)], counter.get());
            }
        }
        let help = "TLS handshakes with a cluster's endpoints that failed, by cause.";
        let mut family = out.family("bowline_upstream_handshake_failures", Kind::Counter, help);
        for (cluster, metrics) in &clusters {
            for cause in HandshakeFailure::ALL {
                let value = metrics.handshake_failures(*cause);
                if value > 0 {
                    family.sample(&[("cluster", cluster), ("cause", cause.as_str())], value);
                }
            }
        }
    }

    fn write_series(&self, out: &mut Exposition) {
        let rows: Vec<_> = self.series.all().into_iter().map(|series| (series.totals(), series)).collect();
        let help = "Requests ended, by class of status.";
        let mut family = out.family("bowline_service_requests", Kind::Counter, help);
        for (totals, series) in &rows {
            for (class, count) in CLASSES.iter().zip(totals.responses).filter(|(_, count)| *count > 0) {
                let [side, name, cluster, peer, security] = labels(series);
                family.sample(&[side, name, cluster, peer, security, ("code", class)], count);
            }
        }
        for (name, kind, help, read) in OF_SERIES {
            let mut family = out.family(name, kind, help);
            for (totals, series) in &rows {
                family.sample(&labels(series), read(totals));
            }
        }
        for (name, help, read, is_of_requests) in DURATIONS {
            let mut family = out.family(name, Kind::Histogram, help);
            for (totals, series) in &rows {
                let durations = read(totals);
                if durations.count() == 0 {
                    continue;
                }
                let exemplars = if is_of_requests { series.exemplars() } else { Vec::new() };
                family.durations(&labels(series), &told(durations), &exemplars);
            }
        }
    }
}

fn told(durations: &Durations) -> DurationBuckets {
    let buckets = (LOWEST..).zip(durations.buckets.iter().copied());
    DurationBuckets::new(0, buckets, durations.sum as f64 / 1e9)
}

fn labels(series: &Series) -> [Label<'_>; 5] {
    let key = &series.key;
    [
        ("side", key.side.as_str()),
        ("discovery_name", &key.discovery_name),
        ("cluster", &key.cluster),
        ("peer", &key.peer),
        ("security", key.security.as_str()),
    ]
}
