//! Tells the control plane what has been counted: increments, at least once, numbered so that what is told twice
//! counts once.
//!
//! While the control plane is away nothing is kept but the counters themselves and the one report that was not
//! acknowledged; the next report has all that came since.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_discovery::{
    telemetry::{self, MetricReport, ReportAck, SeriesIncrement, telemetry_client::TelemetryClient},
    tonic::{self, Streaming},
};
use bowline_plumbing::{backoff::Backoff, wall_clock};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    certificates::chain_text,
    config::Snapshot,
    control_plane::{ControlPlane, ControlPlaneError},
    metrics::{
        Metrics,
        histogram::{Bounds, Durations, LOWEST},
        series::{Security, Series, SeriesBounds, SeriesKey, Side, Totals},
    },
    shared::Shared,
};

/// Time between reports, where the control plane asks for no other.
const INTERVAL: Duration = Duration::from_secs(10);
/// What the control plane may ask for.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// Time for an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last report of a proxy that ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What has been told, and what is to be.
pub(crate) struct Increments {
    /// Of this process, so that the control plane tells its numbers from those of the one before.
    process: [u8; 16],
    /// The last report's.
    sequence: u64,
    /// What the rows had when they were last told of.
    told: BTreeMap<SeriesKey, Totals>,
    access_log_dropped: u64,
    /// Until when reports have told.
    until_ms: u64,
    /// Told, and not acknowledged.
    pending: Option<MetricReport>,
}

impl Increments {
    pub(crate) fn new() -> Self {
        let mut process = [0; 16];
        // Without randomness the moment has to do.
        if aws_lc_rs::rand::fill(&mut process).is_err() {
            process[..8].copy_from_slice(&wall_clock::now().as_millis().to_le_bytes());
        }
        Self {
            process,
            sequence: 0,
            told: BTreeMap::new(),
            access_log_dropped: 0,
            until_ms: wall_clock::now().as_millis(),
            pending: None,
        }
    }

    /// The report that was not acknowledged, or else a new one.
    pub(crate) fn next(&mut self, metrics: &Metrics, snapshot: &Snapshot) -> MetricReport {
        if let Some(pending) = &self.pending {
            return pending.clone();
        }
        let series = metrics.series.all();
        let series = series.iter().filter_map(|series| self.increment(series, snapshot)).collect();
        let dropped = metrics.access_log_dropped.get();
        let now = wall_clock::now().as_millis().max(self.until_ms);
        self.sequence += 1;
        let report = MetricReport {
            process: self.process.to_vec(),
            sequence: self.sequence,
            from_ms: std::mem::replace(&mut self.until_ms, now),
            until_ms: now,
            series,
            access_log_dropped: dropped - std::mem::replace(&mut self.access_log_dropped, dropped),
        };
        self.pending = Some(report.clone());
        report
    }

    /// A report has been taken.
    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        self.pending.take_if(|pending| pending.sequence <= sequence);
    }

    /// What a row has gained; `None` where nothing has changed.
    fn increment(&mut self, series: &Arc<Series>, snapshot: &Snapshot) -> Option<SeriesIncrement> {
        let totals = series.totals();
        let told = self.told.get(&series.key);
        if told == Some(&totals) || (told.is_none() && totals == Totals::default()) {
            return None;
        }
        let gained = told.map_or_else(|| totals.clone(), |told| totals.since(told));
        let bounds = series.take_bounds();
        self.told.insert(series.key.clone(), totals);
        let cluster = snapshot.clusters.get(&series.key.cluster);
        let targets = cluster.map_or(0, |cluster| cluster.upstream.endpoints().len());
        Some(wire(&series.key, &gained, bounds, u32::try_from(targets).unwrap_or(u32::MAX)))
    }
}

fn wire(key: &SeriesKey, gained: &Totals, bounds: SeriesBounds, targets: u32) -> SeriesIncrement {
    let side = match key.side {
        Side::Inbound => telemetry::Side::Inbound,
        Side::Application => telemetry::Side::Application,
        Side::Outbound => telemetry::Side::Outbound,
    };
    let security = match key.security {
        Security::Plaintext => telemetry::Security::Plaintext,
        Security::Tls => telemetry::Security::Tls,
        Security::MutualTls => telemetry::Security::MutualTls,
    };
    SeriesIncrement {
        side: side.into(),
        discovery_name: key.discovery_name.to_string(),
        cluster: key.cluster.to_string(),
        peer: key.peer.to_string(),
        security: security.into(),
        responses: gained.responses.to_vec(),
        local_responses: gained.local_responses.to_vec(),
        grpc_requests: gained.grpc_requests,
        failures: gained.failures,
        bytes_received: gained.bytes_received,
        bytes_sent: gained.bytes_sent,
        connections: gained.connections,
        connections_active: gained.connections_active,
        tcp_connections: gained.streams,
        connection_errors: gained.connection_errors,
        handshakes: gained.handshakes,
        handshake_failures: gained.handshake_failures,
        response_time: wire_durations(&gained.response_time, bounds.response_time),
        handshake_time: wire_durations(&gained.handshake_time, bounds.handshake_time),
        connection_time: wire_durations(&gained.connection_time, bounds.connection_time),
        targets,
    }
}

/// The buckets that are not empty; `None` where all are.
fn wire_durations(gained: &Durations, bounds: Bounds) -> Option<telemetry::Durations> {
    const PER_MILLISECOND: f64 = 1e6;
    let mut told = telemetry::Durations { sum: gained.sum as f64 / PER_MILLISECOND, ..Default::default() };
    let mut ends = None;
    let mut before = 0;
    for (place, count) in gained.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        let index = place as i32 + LOWEST;
        told.index_deltas.push(index - before);
        told.counts.push(*count);
        before = index;
        ends = Some((ends.map_or(index, |(first, _)| first), index));
    }
    let (first, last) = ends?;
    let bound = |index: i32| (f64::from(index) / 16.0).exp2();
    // What was counted before the extremes were taken, and told of only now, has left none.
    (told.minimum, told.maximum) = match bounds.minimum <= bounds.maximum {
        true => (bounds.minimum as f64 / PER_MILLISECOND, bounds.maximum as f64 / PER_MILLISECOND),
        false => (bound(first), bound(last + 1)),
    };
    Some(told)
}

/// Reports for as long as the process lives.
pub(crate) struct Reporter {
    pub(crate) control_plane: ControlPlane,
    pub(crate) shared: Arc<Shared>,
}

impl Reporter {
    /// Until `ending` is told, and the last report has been taken or has had its time.
    pub(crate) async fn run(self, mut certified: watch::Receiver<bool>, mut ending: watch::Receiver<bool>) {
        let mut increments = Increments::new();
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        let reporting = async {
            while certified.wait_for(|certified| *certified).await.is_ok() {
                match self.follow(&mut increments, &mut backoff, None).await {
                    Ok(()) => tracing::debug!("the control plane closed the stream of reports"),
                    // The stream of resources has said as much, louder.
                    Err(error) => tracing::debug!(error = %chain_text(&error), "reports wait"),
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        };
        tokio::select! {
            () = reporting => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        // One that was under way may have been taken: it keeps its number. What came since needs another one.
        let last = 1 + usize::from(increments.pending.is_some());
        let last_words = self.follow(&mut increments, &mut backoff, Some(last));
        match timeout(LAST_WORDS, last_words).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(error = %chain_text(&error), "the last counts were not told"),
            Err(_) => tracing::info!("the last counts were not told in time"),
        }
    }

    /// One stream: so many reports, or until it ends.
    async fn follow(
        &self,
        increments: &mut Increments,
        backoff: &mut Backoff,
        most: Option<usize>,
    ) -> Result<(), ControlPlaneError> {
        let mut client = TelemetryClient::new(self.control_plane.channel(true)?);
        let (reports, outgoing) = mpsc::channel(1);
        let opened = timeout(ACK_TIMEOUT, client.report(ReceiverStream::new(outgoing)));
        let opened =
            opened.await.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no stream of reports")));
        let mut acks = opened?.into_inner();
        let mut told = 0;
        // What was not acknowledged is told at once, and so is the first one.
        let mut due = Instant::now();
        while most.is_none_or(|most| told < most) {
            tokio::select! {
                () = tokio::time::sleep_until(due.into()), if most.is_none() => {}
                () = std::future::ready(()), if most.is_some() => {}
                // Nobody has asked for that: the stream has ended.
                ended = acks.message() => return ended.map(drop).map_err(Into::into),
            }
            let report = increments.next(&self.shared.metrics, &self.shared.snapshot.load());
            let sequence = report.sequence;
            if reports.send(report).await.is_err() {
                return Ok(());
            }
            let ack = acknowledgement(&mut acks, sequence).await.inspect_err(|status| {
                // Told again it would be refused again, and all that come after it never told.
                if matches!(status.code(), tonic::Code::InvalidArgument | tonic::Code::OutOfRange) {
                    tracing::warn!(%status, "the control plane refuses a report: its counts are lost");
                    increments.pending = None;
                }
            })?;
            increments.acknowledged(ack.sequence);
            backoff.reset();
            told += 1;
            let interval = match ack.interval_ms {
                0 => INTERVAL,
                asked => Duration::from_millis(asked.into()).clamp(*INTERVALS.start(), *INTERVALS.end()),
            };
            due = Instant::now() + interval;
        }
        Ok(())
    }
}

async fn acknowledgement(acks: &mut Streaming<ReportAck>, sequence: u64) -> Result<ReportAck, tonic::Status> {
    let waiting = async {
        loop {
            match acks.message().await? {
                Some(ack) if ack.sequence >= sequence => return Ok(ack),
                Some(_) => {}
                None => return Err(tonic::Status::unavailable("the stream of reports ended")),
            }
        }
    };
    timeout(ACK_TIMEOUT, waiting)
        .await
        .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("a report was not acknowledged in time")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Flag, series::Ended};

    fn key() -> SeriesKey {
        SeriesKey {
            side: Side::Outbound,
            discovery_name: "a".into(),
            cluster: "a.n".into(),
            peer: "spiffe://d/a".into(),
            security: Security::MutualTls,
        }
    }

    fn answer(milliseconds: u64) -> Ended {
        Ended {
            status: 200,
            flag: Flag::None,
            is_grpc: false,
            bytes_received: 1,
            bytes_sent: 2,
            response_time: Some(Duration::from_millis(milliseconds)),
            trace: None,
        }
    }

    fn requests(report: &MetricReport) -> u64 {
        report.series.iter().flat_map(|series| &series.responses).sum()
    }

    #[test]
    fn what_was_not_acknowledged_is_told_again_as_it_was() {
        let (metrics, snapshot, mut increments) =
            (Metrics::default(), Snapshot::default(), Increments::new());
        let series = metrics.series.of(key());
        series.ended(&answer(3));
        let first = increments.next(&metrics, &snapshot);
        series.ended(&answer(5));
        series.ended(&answer(7));
        assert_eq!(increments.next(&metrics, &snapshot), first);
        increments.acknowledged(first.sequence);
        let second = increments.next(&metrics, &snapshot);
        assert_eq!((requests(&first), requests(&second)), (1, 2));
        assert_eq!((first.sequence, second.sequence), (1, 2));
        assert_eq!(first.until_ms, second.from_ms);
        increments.acknowledged(second.sequence);
        // Nothing new: no rows.
        assert!(increments.next(&metrics, &snapshot).series.is_empty());
    }

    #[test]
    fn durations_are_told_sparsely_with_their_extremes() {
        let (metrics, snapshot, mut increments) =
            (Metrics::default(), Snapshot::default(), Increments::new());
        let series = metrics.series.of(key());
        for milliseconds in [1, 1, 1_000] {
            series.ended(&answer(milliseconds));
        }
        let report = increments.next(&metrics, &snapshot);
        let told = report.series[0].response_time.clone().expect("there were some");
        // 1 ms is the upper bound of bucket -1; 1000 ms is 2^(159.45/16).
        assert_eq!((told.index_deltas, told.counts), (vec![-1, 160], vec![2, 1]));
        assert_eq!((told.sum, told.minimum, told.maximum), (1_002.0, 1.0, 1_000.0));
        assert_eq!(report.series[0].handshake_time, None);
    }
}
