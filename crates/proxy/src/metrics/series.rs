//! Who talks with whom, as rows of counters: one for each side, discovery name, cluster and peer.
//!
//! A row is found once for a connection or a cluster; whoever has it adds to it with relaxed atomics alone. Workers
//! add to shards of their own, so that they do not fight for a cache line; who reads adds the shards up.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bowline_model::trace::TraceId;
use bowline_plumbing::exposition::Exemplar;

use super::{
    Counter, Flag, Gauge,
    exemplars::Exemplars,
    histogram::{Bounds, Durations, Histogram},
};

/// Most rows of a proxy; what is beyond is counted in one row for each side, called [`OTHER`].
pub(crate) const SERIES_MAX: usize = 512;
/// The discovery name of what has no row of its own for want of room.
pub(crate) const OTHER: &str = "other";
/// The discovery name of what reached no service.
pub(crate) const NOWHERE: &str = "-";

/// Shards of a row, which come to be when a worker first needs them.
const SHARDS: usize = 4;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Says which worker this thread is.
pub(crate) fn use_shard(worker: usize) {
    SHARD.set(worker % SHARDS);
}

/// Which hop it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Others call the task's application.
    Inbound,
    /// The proxy's own connections to the task's application.
    Application,
    /// The task's application (or a gateway's client) calls others.
    Outbound,
}

impl Side {
    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Application => "application",
            Self::Outbound => "outbound",
        }
    }
}

/// How a hop is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Security {
    /// In no way.
    Plaintext,
    /// The server alone proves who it is.
    Tls,
    /// Both sides prove who they are.
    MutualTls,
}

impl Security {
    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::MutualTls => "mutual_tls",
        }
    }
}

/// What tells rows apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    /// Which end of the hop this proxy is.
    pub(crate) side: Side,
    /// ECS's discovery name of the called service.
    pub(crate) discovery_name: Arc<str>,
    /// The stream's name of what is called.
    pub(crate) cluster: Arc<str>,
    /// SPIFFE id of the other side; empty where it proves none.
    pub(crate) peer: Arc<str>,
    /// How the hop is protected.
    pub(crate) security: Security,
}

/// What the workers add to with every request.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    responses: [Counter; 6],
    /// Of `responses` those that the called side did not give.
    local_responses: [Counter; 6],
    grpc_requests: Counter,
    failures: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    response_time: Histogram,
}

/// A row.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) key: SeriesKey,
    shards: [OnceLock<Box<Shard>>; SHARDS],
    connections: Counter,
    connections_active: Gauge,
    /// TCP connections, carried or not.
    streams: Counter,
    pub(crate) connection_errors: Counter,
    pub(crate) handshakes: Counter,
    pub(crate) handshake_failures: Counter,
    handshake_time: OnceLock<Box<Histogram>>,
    connection_time: OnceLock<Box<Histogram>>,
    /// Of response times.
    exemplars: OnceLock<Box<Exemplars>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) flag: Flag,
    pub(crate) is_grpc: bool,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// Until the response began, where the called side gave one.
    pub(crate) response_time: Option<Duration>,
    /// Its trace, if that is sampled.
    pub(crate) trace: Option<TraceId>,
}

impl Series {
    fn new(key: SeriesKey) -> Self {
        Self {
            key,
            shards: [const { OnceLock::new() }; SHARDS],
            connections: Counter::default(),
            connections_active: Gauge::default(),
            streams: Counter::default(),
            connection_errors: Counter::default(),
            handshakes: Counter::default(),
            handshake_failures: Counter::default(),
            handshake_time: OnceLock::new(),
            connection_time: OnceLock::new(),
            exemplars: OnceLock::new(),
        }
    }

    fn shard(&self) -> &Shard {
        self.shards[SHARD.get()].get_or_init(Box::default)
    }

    /// A request is over.
    pub(crate) fn ended(&self, ended: &Ended) {
        let shard = self.shard();
        shard.responses[usize::from(ended.status / 100).min(5)].increment();
        if ended.is_grpc {
            shard.grpc_requests.increment();
        }
        if ended.status >= 500 || ended.flag != Flag::None {
            shard.failures.increment();
        }
        if ended.bytes_received > 0 {
            shard.bytes_received.add(ended.bytes_received);
        }
        if ended.bytes_sent > 0 {
            shard.bytes_sent.add(ended.bytes_sent);
        }
        match ended.response_time {
            Some(response_time) => {
                shard.response_time.record(response_time);
                if let Some(trace) = ended.trace {
                    self.exemplars.get_or_init(Box::default).put(trace, response_time);
                }
            }
            None => shard.local_responses[usize::from(ended.status / 100).min(5)].increment(),
        }
    }

    /// Response times of sampled traces, the shortest first.
    pub(super) fn exemplars(&self) -> Vec<Exemplar> {
        self.exemplars.get().map_or_else(Vec::new, |exemplars| exemplars.all())
    }

    /// A TCP connection is carried, or is not to be.
    pub(crate) fn stream_began(&self) {
        self.streams.increment();
    }

    /// A TCP connection was not carried to its end.
    pub(crate) fn stream_failed(&self) {
        self.shard().failures.increment();
    }

    /// Bytes of a TCP connection.
    pub(crate) fn crossed(&self, received: u64, sent: u64) {
        let shard = self.shard();
        shard.bytes_received.add(received);
        shard.bytes_sent.add(sent);
    }

    /// A handshake has succeeded.
    pub(crate) fn shook_hands(&self, took: Duration) {
        self.handshakes.increment();
        self.handshake_time.get_or_init(Box::default).record(took);
    }

    /// What there is at this moment.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            connections: self.connections.get(),
            connections_active: u64::try_from(self.connections_active.get()).unwrap_or(0),
            streams: self.streams.get(),
            connection_errors: self.connection_errors.get(),
            handshakes: self.handshakes.get(),
            handshake_failures: self.handshake_failures.get(),
            ..Totals::default()
        };
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (total, counter) in totals.responses.iter_mut().zip(&shard.responses) {
                *total += counter.get();
            }
            for (total, counter) in totals.local_responses.iter_mut().zip(&shard.local_responses) {
                *total += counter.get();
            }
            totals.grpc_requests += shard.grpc_requests.get();
            totals.failures += shard.failures.get();
            totals.bytes_received += shard.bytes_received.get();
            totals.bytes_sent += shard.bytes_sent.get();
            shard.response_time.add_to(&mut totals.response_time);
        }
        if let Some(histogram) = self.handshake_time.get() {
            histogram.add_to(&mut totals.handshake_time);
        }
        if let Some(histogram) = self.connection_time.get() {
            histogram.add_to(&mut totals.connection_time);
        }
        totals
    }

    /// Least and greatest durations since the last call, for the one who reports.
    pub(crate) fn take_bounds(&self) -> SeriesBounds {
        let shards = self.shards.iter().filter_map(OnceLock::get);
        let response_time =
            shards.map(|shard| shard.response_time.take_bounds()).fold(Bounds::default(), Bounds::join);
        let of = |histogram: &OnceLock<Box<Histogram>>| {
            histogram.get().map_or_else(Bounds::default, |histogram| histogram.take_bounds())
        };
        SeriesBounds {
            response_time,
            handshake_time: of(&self.handshake_time),
            connection_time: of(&self.connection_time),
        }
    }
}

/// What a row's histograms saw at the extremes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeriesBounds {
    pub(crate) response_time: Bounds,
    pub(crate) handshake_time: Bounds,
    pub(crate) connection_time: Bounds,
}

/// A row at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// By hundreds of the status; 0: none was sent.
    pub(crate) responses: [u64; 6],
    /// Of `responses` those that the called side did not give.
    pub(crate) local_responses: [u64; 6],
    pub(crate) grpc_requests: u64,
    /// Requests answered with 5xx or cut short, and TCP connections that failed.
    pub(crate) failures: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) connections: u64,
    pub(crate) connections_active: u64,
    pub(crate) streams: u64,
    pub(crate) connection_errors: u64,
    pub(crate) handshakes: u64,
    pub(crate) handshake_failures: u64,
    pub(crate) response_time: Durations,
    pub(crate) handshake_time: Durations,
    pub(crate) connection_time: Durations,
}

impl Totals {
    /// How many requests there were.
    #[cfg(test)]
    pub(crate) fn requests(&self) -> u64 {
        self.responses.iter().sum()
    }

    /// What has come since `before`; what goes up and down is as it is now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let more = |now: &[u64; 6], before: &[u64; 6]| {
            std::array::from_fn(|class| now[class].saturating_sub(before[class]))
        };
        let responses = more(&self.responses, &before.responses);
        let local_responses = more(&self.local_responses, &before.local_responses);
        let less = |now: u64, before: u64| now.saturating_sub(before);
        Self {
            responses,
            local_responses,
            grpc_requests: less(self.grpc_requests, before.grpc_requests),
            failures: less(self.failures, before.failures),
            bytes_received: less(self.bytes_received, before.bytes_received),
            bytes_sent: less(self.bytes_sent, before.bytes_sent),
            connections: less(self.connections, before.connections),
            connections_active: self.connections_active,
            streams: less(self.streams, before.streams),
            connection_errors: less(self.connection_errors, before.connection_errors),
            handshakes: less(self.handshakes, before.handshakes),
            handshake_failures: less(self.handshake_failures, before.handshake_failures),
            response_time: self.response_time.since(&before.response_time),
            handshake_time: self.handshake_time.since(&before.handshake_time),
            connection_time: self.connection_time.since(&before.connection_time),
        }
    }
}

/// A connection that a row counts for as long as this is held.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    series: Arc<Series>,
    since: Instant,
}

impl OpenConnection {
    pub(crate) fn new(series: Arc<Series>) -> Self {
        series.connections.increment();
        series.connections_active.increment();
        Self { series, since: Instant::now() }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.series.connections_active.decrement();
        self.series.connection_time.get_or_init(Box::default).record(self.since.elapsed());
    }
}

/// All rows of a proxy.
#[derive(Debug, Default)]
pub(crate) struct SeriesTable {
    rows: Mutex<BTreeMap<SeriesKey, Arc<Series>>>,
}

impl SeriesTable {
    /// The row of that key; where there are too many, the one for others. Not for a request's path.
    pub(crate) fn of(&self, key: SeriesKey) -> Arc<Series> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match rows.len() < SERIES_MAX || rows.contains_key(&key) {
            true => key,
            false => {
                let (name, none) = (Arc::from(OTHER), Arc::from(""));
                let (side, security) = (key.side, Security::Plaintext);
                SeriesKey { side, discovery_name: name, cluster: Arc::clone(&none), peer: none, security }
            }
        };
        Arc::clone(rows.entry(key.clone()).or_insert_with(|| Arc::new(Series::new(key))))
    }

    /// The row of requests of the task's application that reach no service.
    pub(crate) fn nowhere(&self) -> Arc<Series> {
        let none = Arc::from("");
        self.of(SeriesKey {
            side: Side::Outbound,
            discovery_name: Arc::from(NOWHERE),
            cluster: Arc::clone(&none),
            peer: none,
            security: Security::Plaintext,
        })
    }

    /// All rows there are.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SeriesKey {
        let cluster = Arc::from(format!("{name}.n"));
        SeriesKey {
            side: Side::Outbound,
            discovery_name: Arc::from(name),
            cluster,
            peer: Arc::from("spiffe://d/x"),
            security: Security::MutualTls,
        }
    }

    const ANSWERED: Ended = Ended {
        status: 200,
        flag: Flag::None,
        is_grpc: true,
        bytes_received: 10,
        bytes_sent: 20,
        response_time: Some(Duration::from_millis(3)),
        trace: None,
    };

    #[test]
    fn workers_add_to_one_row_without_a_loss() {
        let table = SeriesTable::default();
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let series = table.of(key("a"));
                scope.spawn(move || {
                    use_shard(worker);
                    for _ in 0..1_000 {
                        series.ended(&ANSWERED);
                        series.ended(&Ended { status: 503, response_time: None, ..ANSWERED });
                    }
                });
            }
        });
        let totals = table.of(key("a")).totals();
        assert_eq!(totals.responses, [0, 0, 6_000, 0, 0, 6_000]);
        assert_eq!((totals.requests(), totals.failures, totals.grpc_requests), (12_000, 6_000, 12_000));
        assert_eq!((totals.bytes_received, totals.bytes_sent), (120_000, 240_000));
        assert_eq!((totals.response_time.count(), totals.response_time.sum), (6_000, 6_000 * 3_000_000));
        let more = table.of(key("a"));
        more.ended(&ANSWERED);
        let since = more.totals().since(&totals);
        assert_eq!((since.requests(), since.failures, since.response_time.count()), (1, 0, 1));
    }

    #[test]
    fn rows_are_bounded_and_nothing_is_uncounted() {
        let table = SeriesTable::default();
        for number in 0..2 * SERIES_MAX {
            table.of(key(&format!("s{number}"))).ended(&ANSWERED);
        }
        let all = table.all();
        assert_eq!(all.len(), SERIES_MAX + 1);
        let requests: u64 = all.iter().map(|series| series.totals().requests()).sum();
        assert_eq!(requests, 2 * SERIES_MAX as u64);
        // Those that came first keep their own.
        table.of(key("s0")).ended(&ANSWERED);
        assert_eq!(table.of(key("s0")).totals().requests(), 2);
    }

    #[test]
    fn a_connection_is_counted_while_it_is_open() {
        let table = SeriesTable::default();
        let open = OpenConnection::new(table.of(key("a")));
        let totals = table.of(key("a")).totals();
        assert_eq!((totals.connections, totals.connections_active), (1, 1));
        drop(open);
        let totals = table.of(key("a")).totals();
        assert_eq!((totals.connections, totals.connections_active), (1, 0));
        assert_eq!(totals.connection_time.count(), 1);
    }
}
