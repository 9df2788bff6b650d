//! TCP through the mesh: one connection in, one connection out.
//!
//! On the hop (ALPN `bowline-tcp`) the server speaks first, one byte: whether
//! the client's certificate is accepted and the application answers. Until it
//! has come, nothing of the client's has been sent, and another endpoint can
//! be tried.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use bowline_model::{outlier::Failure, sampling::SampledCall};
use bowline_plumbing::wall_clock;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use crate::{
    access_log::{LogLine, TcpEntry},
    config::{Cluster, Endpoint},
    dial::{DialError, HopKind, Target, dial, verdict},
    io::{ClientTransport, Traffic},
    load::{Counted, Live},
    metrics::{Direction, Flag, series::Series},
    refusal::Refusal,
    tap::End,
    trace::{EndedSpan, EventKind, Timeline, Timings, Traced, span::Carried},
    worker::{Connection, Worker},
};

/// First byte of the server: go ahead.
pub(crate) const ACCEPTED: u8 = 0;
/// First byte of the server: the authorization says no.
pub(crate) const DENIED: u8 = 1;
/// First byte of the server: the application does not answer.
pub(crate) const UNREACHABLE: u8 = 2;
/// First byte of the server: it has as many connections as it may; another endpoint may take one.
pub(crate) const FULL: u8 = 3;
/// First byte of the server: too many new connections in too short a time.
pub(crate) const LIMITED: u8 = 4;

/// How often the bytes of an open connection are counted.
const COUNTS_EVERY: Duration = Duration::from_secs(5);
const BUFFER_SMALL: usize = 16 * 1024;
/// Read ahead that much before writing: fewer, larger TLS records and calls.
const BUFFER_LARGE: usize = 256 * 1024;

/// A connection, counted for as long as this is held.
pub(crate) struct Connected {
    pub(crate) stream: ClientTransport,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) counted: Counted,
}

/// Connects to an endpoint of the cluster that accepts, with as many retries as its policy, its budget
/// and its breakers let it.
pub(crate) async fn connect(
    worker: &Rc<Worker>,
    cluster: &Arc<Cluster>,
    timeline: &mut Timeline,
) -> Result<Connected, DialError> {
    let Some(mut counted) = cluster.load.connection(&cluster.breakers, false) else {
        cluster.metrics.overflows.increment();
        return Err(DialError::Overflow);
    };
    let policy = cluster.connect_retry;
    let mut tried = Vec::new();
    let mut retrying: Option<Counted> = None;
    let mut retries = 0;
    loop {
        // The newest endpoints: while tries fail the stream may have brought others.
        let newest = if retries == 0 { None } else { worker.cluster(&cluster.name) };
        let cluster = newest.as_ref().unwrap_or(cluster);
        let Some(endpoint) = worker.pick(cluster, &tried, None) else {
            return Err(DialError::Connect(io::ErrorKind::NotConnected));
        };
        let target = Target::Endpoint(Arc::clone(&endpoint));
        let began = Instant::now();
        let mut timings = Timings::default();
        let connecting = async {
            let stream = dial(&worker.shared, cluster, &target, HopKind::Main, &mut timings).await?;
            verdict(cluster, &target, stream).await
        };
        let connected = match policy.per_try_timeout {
            Some(limit) => timeout(limit, connecting).await.unwrap_or_else(|_| {
                timeline.note(|| EventKind::Timeout { of: "try", limit: Some(limit) });
                Err(DialError::Timeout)
            }),
            None => connecting.await,
        };
        timeline.dialled(endpoint.address, &timings);
        let error = match connected {
            Ok(stream) => {
                endpoint.health.succeeded(began.elapsed(), wall_clock::now());
                counted.opened(cluster.series.row());
                return Ok(Connected { stream, endpoint, counted });
            }
            Err(error) => error,
        };
        if error.blames_endpoint() && failed(cluster, &endpoint, Failure::Local, began.elapsed()) {
            timeline.note(|| EventKind::Ejection { endpoint: endpoint.address });
        }
        let is_final = error.refusal().is_some() || matches!(error, DialError::Limited);
        if is_final || retries >= policy.max_retries {
            return Err(error);
        }
        drop(retrying.take());
        let (budget, patience) = (policy.budget, policy.back_off.max);
        retrying = cluster.load.retry(Live::Connections, budget, &cluster.breakers, patience).await;
        if retrying.is_none() {
            cluster.metrics.retries_denied.increment();
            return Err(error);
        }
        retries += 1;
        cluster.metrics.retries.increment();
        tried.push(endpoint.address);
        let wait = policy.back_off.wait(retries, worker.random());
        timeline.retries(retries, || error.to_string(), endpoint.address, wait);
        tokio::time::sleep(wait).await;
    }
}

/// Holds a failure against an endpoint. Whether it is ejected by that.
pub(crate) fn failed(cluster: &Cluster, endpoint: &Endpoint, failure: Failure, took: Duration) -> bool {
    let is_ejected = cluster.health.failed(&endpoint.health, failure, took, wall_clock::now());
    if is_ejected {
        cluster.metrics.ejections.increment();
        tracing::warn!(cluster = &*cluster.name, endpoint = %endpoint.address, task = endpoint.task_id, "ejected an endpoint that kept failing");
    }
    is_ejected
}

/// Copies both ways until both sides have ended; half-closes are carried.
pub(crate) async fn relay<A, B>(a: &mut A, b: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut a_read, mut a_write) = tokio::io::split(a);
    let (mut b_read, mut b_write) = tokio::io::split(b);
    tokio::try_join!(pump(&mut a_read, &mut b_write), pump(&mut b_read, &mut a_write))?;
    Ok(())
}

/// One direction: read until nothing more is there or the buffer is full,
/// then write. The buffer is small while little comes.
async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(reader: &mut R, writer: &mut W) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_SMALL];
    loop {
        let (filled, ended) = poll_fn(|cx| {
            let mut filled = 0;
            loop {
                let mut space = ReadBuf::new(&mut buffer[filled..]);
                match Pin::new(&mut *reader).poll_read(cx, &mut space) {
                    Poll::Ready(Ok(())) if space.filled().is_empty() => {
                        return Poll::Ready(Ok((filled, true)));
                    }
                    Poll::Ready(Ok(())) => {
                        filled += space.filled().len();
                        if filled == buffer.len() {
                            return Poll::Ready(Ok((filled, false)));
                        }
                    }
                    // What was read before an error is still delivered.
                    Poll::Ready(Err(error)) if filled == 0 => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Ok((filled, false))),
                    Poll::Pending if filled > 0 => return Poll::Ready(Ok((filled, false))),
                    Poll::Pending => {
                        if buffer.len() > BUFFER_SMALL {
                            buffer = vec![0; BUFFER_SMALL];
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
        .await?;
        if filled > 0 {
            writer.write_all(&buffer[..filled]).await?;
            writer.flush().await?;
        }
        if ended {
            return writer.shutdown().await;
        }
        if filled == buffer.len() && filled < BUFFER_LARGE {
            buffer.resize(BUFFER_LARGE, 0);
        }
    }
}

/// A TCP connection as counters and the access log see it.
pub(crate) struct TcpRecord {
    pub(crate) direction: Direction,
    start: bowline_model::clock::Timestamp,
    started: Instant,
    pub(crate) upstream: Option<std::net::SocketAddr>,
    pub(crate) discovery_name: Option<Arc<str>>,
    pub(crate) termination: &'static str,
    pub(crate) flag: Flag,
    pub(crate) refusal: Option<Refusal>,
    /// Who called, as the hop proved it.
    pub(crate) downstream_identity: Option<http::HeaderValue>,
    /// Who the other proxy had to be.
    pub(crate) upstream_identity: Option<crate::tls::verify::ExpectedServers>,
    /// The row that it is counted in, where it is of the mesh.
    series: Option<Arc<Series>>,
    /// Bytes that the row has been told of: received and sent.
    told: (u64, u64),
    /// A trace of its own: bytes carry no context.
    traced: Option<Traced>,
    pub(crate) timeline: Timeline,
}

impl TcpRecord {
    /// Counts it in a row, too, from now on.
    pub(crate) fn counts_in(&mut self, series: &Arc<Series>) {
        series.stream_began();
        self.series = Some(Arc::clone(series));
    }

    /// Tells the row now and then what has crossed: a connection may live for days.
    pub(crate) async fn keep_counting(&mut self, traffic: &Traffic) {
        loop {
            tokio::time::sleep(COUNTS_EVERY).await;
            self.count(traffic);
        }
    }

    fn count(&mut self, traffic: &Traffic) {
        let (received, sent) = (traffic.received(), traffic.sent());
        if let Some(series) = &self.series
            && (received, sent) != self.told
        {
            series.crossed(received - self.told.0, sent - self.told.1);
        }
        self.told = (received, sent);
    }

    pub(crate) fn begin(worker: &Worker, direction: Direction) -> Self {
        let traced = Traced::of_connection(worker);
        Self {
            timeline: Timeline::new(traced.is_some()),
            traced,
            series: None,
            told: (0, 0),
            direction,
            start: wall_clock::now(),
            started: Instant::now(),
            upstream: None,
            discovery_name: None,
            termination: "-",
            flag: Flag::None,
            refusal: None,
            downstream_identity: None,
            upstream_identity: None,
        }
    }

    /// Hands its span over, if it is sampled, or failed where failures are told of.
    fn tell_span(&mut self, worker: &Worker, traffic: &Traffic) {
        let Some(mut traced) = self.traced.filter(|_| worker.shared.spans.is_open()) else { return };
        let snapshot = worker.shared.snapshot.load();
        let Some(sampler) = snapshot.tracing.as_deref() else { return };
        let discovery_name = self.discovery_name.as_deref().unwrap_or_default();
        let is_sampled = traced.decide(sampler, &SampledCall { discovery_name, ..SampledCall::default() });
        let is_told = is_sampled || (sampler.failures && self.flag != Flag::None);
        if !is_told {
            return;
        }
        let is_proved = self.direction == Direction::Inbound || self.flag == Flag::None;
        let span = EndedSpan {
            traced,
            direction: self.direction,
            started: self.started,
            carried: Carried::Connection,
            discovery_name: self.discovery_name.clone(),
            peer: self.series.clone().filter(|_| is_proved),
            flag: self.flag,
            bytes_received: traffic.received(),
            bytes_sent: traffic.sent(),
            upstream: self.upstream,
            timeline: std::mem::take(&mut self.timeline),
            ended: (Instant::now(), SystemTime::now()),
        };
        worker.shared.spans.put(&worker.shared.metrics, span);
    }

    pub(crate) fn end(mut self, worker: &Worker, connection: &Connection, traffic: &Traffic) {
        self.count(traffic);
        if let Some(series) = self.series.as_ref().filter(|_| self.flag != Flag::None) {
            series.stream_failed();
        }
        let metrics = worker.shared.metrics.of(self.direction);
        if self.flag != Flag::None {
            metrics.flags[self.flag as usize].increment();
        }
        if let Some(refusal) = self.refusal {
            metrics.refused(refusal);
        }
        self.tell_span(worker, traffic);
        if let Some(watched) = worker.shared.taps.watch_connection(self.start) {
            watched.end(
                &worker.shared,
                &End {
                    direction: self.direction,
                    series: self.series.as_deref(),
                    status: 0,
                    flag: self.flag,
                    refusal: self.refusal,
                    is_grpc: false,
                    grpc_status: None,
                    bytes_received: traffic.received(),
                    bytes_sent: traffic.sent(),
                    duration: self.started.elapsed(),
                    response: None,
                    endpoint: self.upstream,
                    discovery_name: self.discovery_name.as_deref(),
                },
            );
        }
        let Some(log) = &worker.shared.access_log else { return };
        log.write(LogLine::Tcp(&TcpEntry {
            start: self.start,
            direction: self.direction,
            peer: connection.peer,
            bytes_received: traffic.received(),
            bytes_sent: traffic.sent(),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            upstream: self.upstream,
            discovery_name: self.discovery_name,
            termination: self.termination,
            flag: self.flag,
            refusal: self.refusal,
            connection_id: worker.random(),
            downstream_identity: self.downstream_identity,
            upstream_identity: self.upstream_identity,
        }));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn carries_much_both_ways_and_half_closes() {
        let (mut left, mut left_far) = tokio::io::duplex(1_000);
        let (mut right, mut right_far) = tokio::io::duplex(70_000);
        let sent: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let (relayed, (), received) = tokio::join!(
            relay(&mut left, &mut right),
            async {
                left_far.write_all(&sent).await.expect("written");
                left_far.shutdown().await.expect("shut down");
                let mut answer = String::new();
                left_far.read_to_string(&mut answer).await.expect("read");
                assert_eq!(answer, "after the half-close");
            },
            async {
                let mut received = Vec::new();
                right_far.read_to_end(&mut received).await.expect("read");
                right_far.write_all(b"after the half-close").await.expect("written");
                right_far.shutdown().await.expect("shut down");
                received
            }
        );
        relayed.expect("relayed");
        assert!(received == expected);
    }
}
