//! A proxy's report, read: what it says is checked before it is believed, who says it never comes from it.

use bowline_discovery::telemetry::{self as wire, MetricReport};
use bowline_model::metric::Distribution;
use bowline_stream::directory::InvalidReport;

/// Most rows of a report: a proxy has at most 512, and a few for what is beyond.
const ROWS_MAX: usize = 1_024;
/// Longest name in a row, in bytes: a SPIFFE id's.
const TEXT_BYTES_MAX: usize = 2_048;
/// What names a proxy's process, at most, in bytes.
const PROCESS_BYTES_MAX: usize = 64;
/// Buckets that a duration can be in, ends included: 0.001 ms to 2^17 ms and beyond.
const BUCKETS: std::ops::RangeInclusive<i32> = -160..=272;

/// Longer than anything lasts: sums of these stay finite, whatever proxies tell.
const MILLISECONDS_MAX: f64 = 1e15;

/// Which hop a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Others call the proxy's application.
    Inbound,
    /// The proxy's own connections to its application.
    Application,
    /// The proxy's application, or a gateway's client, calls others.
    Outbound,
}

impl Side {
    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Application => "application",
            Self::Outbound => "outbound",
        }
    }
}

/// How a hop is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// In no way.
    Plaintext,
    /// The server alone proves who it is.
    Tls,
    /// Both sides prove who they are.
    MutualTls,
}

impl Security {
    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::MutualTls => "mutual_tls",
        }
    }
}

/// What tells a proxy's rows apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowKey {
    pub(crate) side: Side,
    pub(crate) discovery_name: String,
    /// The stream's name of what is called.
    pub(crate) cluster: String,
    /// SPIFFE id of the other side; empty where it proves none.
    pub(crate) peer: String,
    pub(crate) security: Security,
}

/// What a row has, or has gained. Sums do not overflow: they stay at their greatest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// By hundreds of the status; 0: none was sent.
    pub(crate) responses: [u64; 6],
    /// Of `responses` those that the called side did not give.
    pub(crate) local_responses: [u64; 6],
    pub(crate) grpc_requests: u64,
    pub(crate) failures: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) connections: u64,
    /// How many are open; not a sum.
    pub(crate) connections_active: u64,
    pub(crate) tcp_connections: u64,
    pub(crate) connection_errors: u64,
    pub(crate) handshakes: u64,
    pub(crate) handshake_failures: u64,
    /// In milliseconds, as all durations here.
    pub(crate) response_time: Distribution,
    pub(crate) handshake_time: Distribution,
    pub(crate) connection_time: Distribution,
    /// Endpoints of the called cluster; not a sum.
    pub(crate) targets: u32,
}

impl Counts {
    /// All requests that ended.
    pub(crate) fn requests(&self) -> u64 {
        self.responses.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Responses of a class (2: 2xx) that the called side gave.
    pub(crate) fn target_responses(&self, class: usize) -> u64 {
        self.responses[class].saturating_sub(self.local_responses[class])
    }

    /// Adds what was gained; what is no sum is as it is now.
    pub(crate) fn add(&mut self, gained: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        let pairs = self.responses.iter_mut().zip(gained.responses);
        pairs.for_each(|(sum, more)| add(sum, more));
        let pairs = self.local_responses.iter_mut().zip(gained.local_responses);
        pairs.for_each(|(sum, more)| add(sum, more));
        add(&mut self.grpc_requests, gained.grpc_requests);
        add(&mut self.failures, gained.failures);
        add(&mut self.bytes_received, gained.bytes_received);
        add(&mut self.bytes_sent, gained.bytes_sent);
        add(&mut self.connections, gained.connections);
        add(&mut self.tcp_connections, gained.tcp_connections);
        add(&mut self.connection_errors, gained.connection_errors);
        add(&mut self.handshakes, gained.handshakes);
        add(&mut self.handshake_failures, gained.handshake_failures);
        self.response_time.merge(&gained.response_time);
        self.handshake_time.merge(&gained.handshake_time);
        self.connection_time.merge(&gained.connection_time);
        (self.connections_active, self.targets) = (gained.connections_active, gained.targets);
    }
}

/// A report that can be believed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) process: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) rows: Vec<(RowKey, Counts)>,
    pub(crate) access_log_dropped: u64,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// See [`InvalidReport`].
    pub(crate) fn read(report: MetricReport) -> Result<Self, InvalidReport> {
        let MetricReport { process, sequence, from_ms, until_ms, series, access_log_dropped } = report;
        if process.is_empty() || process.len() > PROCESS_BYTES_MAX || sequence == 0 {
            return Err(InvalidReport::Unnumbered);
        }
        if series.len() > ROWS_MAX {
            return Err(InvalidReport::TooManyRows(series.len()));
        }
        let rows = series
            .into_iter()
            .enumerate()
            .map(|(row, series)| read_row(series).map_err(|what| InvalidReport::Row { row, what }))
            .collect::<Result<_, _>>()?;
        Ok(Self { process, sequence, from_ms: from_ms.min(until_ms), until_ms, rows, access_log_dropped })
    }
}

fn read_row(row: wire::SeriesIncrement) -> Result<(RowKey, Counts), &'static str> {
    let side = match wire::Side::try_from(row.side) {
        Ok(wire::Side::Inbound) => Side::Inbound,
        Ok(wire::Side::Application) => Side::Application,
        Ok(wire::Side::Outbound) => Side::Outbound,
        _ => return Err("its side is unknown"),
    };
    let security = match wire::Security::try_from(row.security) {
        Ok(wire::Security::Plaintext) => Security::Plaintext,
        Ok(wire::Security::Tls) => Security::Tls,
        Ok(wire::Security::MutualTls) => Security::MutualTls,
        _ => return Err("its security is unknown"),
    };
    let texts = [&row.discovery_name, &row.cluster, &row.peer];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err("a name is too long");
    }
    // They are shown on terminals.
    if texts.iter().any(|text| text.chars().any(char::is_control)) {
        return Err("a name has control characters");
    }
    let classes = |counts: Vec<u64>| match counts.is_empty() {
        true => Ok([0; 6]),
        false => counts.try_into().map_err(|_| "it has not six classes of responses"),
    };
    let counts = Counts {
        responses: classes(row.responses)?,
        local_responses: classes(row.local_responses)?,
        grpc_requests: row.grpc_requests,
        failures: row.failures,
        bytes_received: row.bytes_received,
        bytes_sent: row.bytes_sent,
        connections: row.connections,
        connections_active: row.connections_active,
        tcp_connections: row.tcp_connections,
        connection_errors: row.connection_errors,
        handshakes: row.handshakes,
        handshake_failures: row.handshake_failures,
        response_time: read_durations(row.response_time)?,
        handshake_time: read_durations(row.handshake_time)?,
        connection_time: read_durations(row.connection_time)?,
        targets: row.targets,
    };
    let (discovery_name, cluster, peer) = (row.discovery_name, row.cluster, row.peer);
    Ok((RowKey { side, discovery_name, cluster, peer, security }, counts))
}

fn read_durations(durations: Option<wire::Durations>) -> Result<Distribution, &'static str> {
    let mut read = Distribution::default();
    let Some(durations) = durations else { return Ok(read) };
    let wire::Durations { index_deltas, counts, sum, minimum, maximum } = durations;
    if index_deltas.len() != counts.len() {
        return Err("a histogram has not as many counts as buckets");
    }
    let bounds = [sum, minimum, maximum];
    if bounds.iter().any(|bound| !(0.0..=MILLISECONDS_MAX).contains(bound)) || minimum > maximum {
        return Err("a histogram's sum, least and greatest cannot be");
    }
    let mut index = 0_i32;
    let mut buckets = Vec::with_capacity(counts.len().min(BUCKETS.count()));
    for (place, (delta, count)) in index_deltas.into_iter().zip(counts).enumerate() {
        let ascends = place == 0 || delta > 0;
        index = index
            .checked_add(delta)
            .filter(|index| ascends && BUCKETS.contains(index))
            .ok_or("a bucket is out of bounds")?;
        buckets.push((index, count));
    }
    read.record_buckets(buckets, 0, sum, minimum, maximum);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use bowline_model::metric::Statistic;
    use proptest::prelude::*;

    use super::*;

    fn row() -> wire::SeriesIncrement {
        wire::SeriesIncrement {
            side: wire::Side::Outbound.into(),
            security: wire::Security::MutualTls.into(),
            discovery_name: "a".into(),
            responses: vec![0, 0, 5, 0, 1, 2],
            local_responses: vec![0, 0, 0, 0, 0, 2],
            response_time: Some(wire::Durations {
                index_deltas: vec![-1, 17],
                counts: vec![5, 1],
                sum: 7.0,
                minimum: 0.99,
                maximum: 2.05,
            }),
            ..wire::SeriesIncrement::default()
        }
    }

    fn report(row: wire::SeriesIncrement) -> MetricReport {
        MetricReport { process: vec![1], sequence: 1, series: vec![row], ..MetricReport::default() }
    }

    #[test]
    fn a_row_is_read_as_it_was_told() {
        let read = Report::read(report(row())).expect("it is a report");
        let (key, counts) = &read.rows[0];
        assert_eq!(
            (key.side, key.security, key.discovery_name.as_str()),
            (Side::Outbound, Security::MutualTls, "a")
        );
        assert_eq!((counts.requests(), counts.target_responses(2), counts.target_responses(5)), (8, 5, 0));
        assert_eq!((counts.response_time.count(), counts.response_time.sum()), (6.0, 7.0));
        assert_eq!(counts.response_time.statistic(Statistic::Maximum), Some(2.05));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Spoil = fn(&mut wire::SeriesIncrement);
        let spoilt: [(Spoil, &str); 10] = [
            (|row| row.side = 9, "side"),
            (|row| row.security = 0, "security"),
            (|row| row.responses = vec![1], "six classes"),
            (|row| row.peer = "x".repeat(TEXT_BYTES_MAX + 1), "too long"),
            (|row| row.response_time.as_mut().expect("some").counts.push(1), "as many counts"),
            (|row| row.response_time.as_mut().expect("some").index_deltas[1] = 0, "out of bounds"),
            (|row| row.response_time.as_mut().expect("some").index_deltas[1] = i32::MAX, "out of bounds"),
            (|row| row.response_time.as_mut().expect("some").sum = f64::NAN, "cannot be"),
            (|row| row.response_time.as_mut().expect("some").sum = 1e308, "cannot be"),
            (|row| row.peer = "\u{1b}[2J".into(), "control characters"),
        ];
        for (spoil, expected) in spoilt {
            let mut row = row();
            spoil(&mut row);
            let error = Report::read(report(row)).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let unnumbered = MetricReport { sequence: 0, ..report(row()) };
        assert_eq!(Report::read(unnumbered), Err(InvalidReport::Unnumbered));
        let many = MetricReport { series: vec![row(); ROWS_MAX + 1], ..report(row()) };
        assert_eq!(Report::read(many), Err(InvalidReport::TooManyRows(ROWS_MAX + 1)));
    }

    #[test]
    fn sums_stay_at_their_greatest() {
        let mut sum = Counts { failures: u64::MAX, ..Counts::default() };
        sum.add(&Counts { failures: 1, responses: [u64::MAX; 6], ..Counts::default() });
        assert_eq!((sum.failures, sum.requests()), (u64::MAX, u64::MAX));
    }

    proptest! {
        #[test]
        fn whatever_is_told_never_panics(
            deltas in prop::collection::vec(any::<i32>(), 0..8),
            counts in prop::collection::vec(any::<u64>(), 0..8),
            numbers in any::<(f64, f64, f64, i32, i32)>(),
        ) {
            let (sum, minimum, maximum, side, security) = numbers;
            let response_time = Some(wire::Durations { index_deltas: deltas, counts: counts.clone(), sum, minimum, maximum });
            let told = wire::SeriesIncrement { side, security, responses: counts, response_time, ..row() };
            let _ = Report::read(report(told));
        }
    }
}
