//! Who calls whom, how often, how fast and how well, over the last seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use bowline_model::{clock::Timestamp, metric::Distribution, task::TaskId};

use super::{
    Recent, Telemetry,
    metric_data::Origin,
    report::{Counts, RowKey, Security, Side},
};

/// How old a proxy's last report may be and still be told where `window` has none: proxies report every ten seconds
/// while nobody looks, and a report takes a moment.
const LAST_REPORT_FOR: Duration = Duration::from_secs(12);

/// A workload that calls or is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// The cluster's name; empty of a load balancer.
    pub cluster: String,
    /// The service's name, a standalone task's group, or the load balancer's name.
    pub name: String,
    /// It is a load balancer's gateway.
    pub is_gateway: bool,
}

impl From<&Origin> for Workload {
    fn from(origin: &Origin) -> Self {
        let (cluster, name, is_gateway) = match origin {
            Origin::Service { cluster, service } => (cluster.clone(), service.clone(), false),
            Origin::Standalone { cluster, group } => (cluster.clone(), group.clone(), false),
            Origin::Gateway { name, .. } => (String::new(), name.clone(), true),
        };
        Self { cluster, name, is_gateway }
    }
}

/// What tells edges apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Whose proxies tell of it.
    pub workload: Workload,
    /// [`Side::Outbound`]: the workload calls; [`Side::Inbound`]: it is called.
    pub side: Side,
    /// The called service's discovery name.
    pub discovery_name: String,
    /// The stream's name of what is called.
    pub cluster: String,
    /// SPIFFE id of the other side; empty where it proves none.
    pub peer: String,
    /// How the hop is protected.
    pub security: Security,
}

/// An edge over some time.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeView {
    /// Between whom.
    pub edge: Edge,
    /// How many proxies tell of it.
    pub proxies: usize,
    /// Requests that ended, in a second.
    pub requests_per_second: f64,
    /// Requests that ended in that time, by hundreds of their status.
    pub responses: [u64; 6],
    /// TCP connections begun in that time.
    pub tcp_connections: u64,
    /// Requests and TCP connections of that time that failed.
    pub failures: u64,
    /// The share of requests (and TCP connections) that did not fail; `None` where there were none.
    pub success_rate: Option<f64>,
    /// From requests to their responses' beginnings, in milliseconds.
    pub response_time: Distribution,
    /// TCP connections begun, in a second.
    pub tcp_connections_per_second: f64,
    /// Connections that are open now.
    pub connections_active: u64,
    /// Connections that could not be made, in that time.
    pub connection_errors: u64,
    /// Bytes of bodies and of TCP, in a second, both ways.
    pub bytes_per_second: f64,
}

/// What is known of a proxy's reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportState {
    /// Until when the last one of the last minute tells; `None`: there was none.
    pub last: Option<Timestamp>,
    /// Lines that its access log had no room for.
    pub access_log_dropped: u64,
}

/// All edges over some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelemetryView {
    /// Sorted by whom they are between.
    pub edges: Vec<EdgeView>,
}

impl Telemetry {
    /// What was told in the last `window`, at most 60 s. Somebody looks: for a while proxies report every second.
    pub fn view(&self, window: Duration, now: Timestamp) -> TelemetryView {
        let mut edges: BTreeMap<Edge, Gathered> = BTreeMap::new();
        self.gather(window, now, |task, edge, gained, told| {
            edges.entry(edge).or_default().add(task, gained, told);
        });
        finish(edges)
    }

    /// The same, of each task's proxy apart.
    pub fn view_by_task(&self, window: Duration, now: Timestamp) -> BTreeMap<TaskId, TelemetryView> {
        let mut tasks: BTreeMap<TaskId, BTreeMap<Edge, Gathered>> = BTreeMap::new();
        self.gather(window, now, |task, edge, gained, told| {
            let edges = tasks.entry(task.clone()).or_default();
            edges.entry(edge).or_default().add(task, gained, told);
        });
        tasks.into_iter().map(|(task, edges)| (task, finish(edges))).collect()
    }

    /// What is known of each proxy's reports.
    pub fn reports(&self) -> BTreeMap<TaskId, ReportState> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let state = |proxy: &super::Proxy| ReportState {
            last: proxy.recent.back().map(|recent| recent.until),
            access_log_dropped: proxy.access_log_dropped,
        };
        proxies.iter().map(|(task, proxy)| (task.clone(), state(proxy))).collect()
    }

    /// Gives each proxy's rows, with what they have gained and how long that took.
    fn gather(
        &self,
        window: Duration,
        now: Timestamp,
        mut each: impl FnMut(&TaskId, Edge, &Counts, Duration),
    ) {
        self.looked_at.store(now.as_millis(), Relaxed);
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        for (task, proxy) in proxies.iter() {
            let workload = Workload::from(&proxy.origin);
            let within = |window: Duration| {
                let since = move |recent: &&Recent| now.since(recent.until) < window;
                proxy.recent.iter().filter(since)
            };
            let mut recent: Vec<_> = within(window).collect();
            if recent.is_empty() {
                recent.extend(within(LAST_REPORT_FOR).next_back());
            }
            // A proxy that reports every ten seconds tells of all ten: rates are over what is told of.
            let told = recent.first().zip(recent.last()).map(|(first, last)| last.until.since(first.from));
            let told = told.unwrap_or_default().max(Duration::from_millis(1));
            for (key, total) in proxy.totals.iter().filter(|(key, _)| key.side != Side::Application) {
                let mut gained = Counts::default();
                for recent in &recent {
                    let rows = recent.rows.iter().filter(|(row, _)| row == key);
                    rows.for_each(|(_, counts)| gained.add(counts));
                }
                gained.connections_active = total.connections_active;
                each(task, edge(&workload, key), &gained, told);
            }
        }
    }
}

fn finish(edges: BTreeMap<Edge, Gathered>) -> TelemetryView {
    TelemetryView { edges: edges.into_iter().map(|(edge, gathered)| gathered.finish(edge)).collect() }
}

fn edge(workload: &Workload, key: &RowKey) -> Edge {
    Edge {
        workload: workload.clone(),
        side: key.side,
        discovery_name: key.discovery_name.clone(),
        cluster: key.cluster.clone(),
        peer: key.peer.clone(),
        security: key.security,
    }
}

/// An edge in the making.
#[derive(Default)]
struct Gathered {
    tasks: BTreeSet<TaskId>,
    counts: Counts,
    requests_per_second: f64,
    tcp_connections_per_second: f64,
    bytes_per_second: f64,
    connections_active: u64,
}

impl Gathered {
    fn add(&mut self, task: &TaskId, gained: &Counts, told: Duration) {
        let seconds = told.as_secs_f64();
        self.tasks.insert(task.clone());
        self.requests_per_second += gained.requests() as f64 / seconds;
        self.tcp_connections_per_second += gained.tcp_connections as f64 / seconds;
        self.bytes_per_second += gained.bytes_received.saturating_add(gained.bytes_sent) as f64 / seconds;
        self.connections_active = self.connections_active.saturating_add(gained.connections_active);
        self.counts.add(gained);
    }

    fn finish(self, edge: Edge) -> EdgeView {
        let tried = self.counts.requests().saturating_add(self.counts.tcp_connections);
        let failed = self.counts.failures.min(tried);
        EdgeView {
            edge,
            proxies: self.tasks.len(),
            requests_per_second: self.requests_per_second,
            responses: self.counts.responses,
            tcp_connections: self.counts.tcp_connections,
            failures: failed,
            success_rate: (tried > 0).then(|| 1.0 - failed as f64 / tried as f64),
            response_time: self.counts.response_time,
            tcp_connections_per_second: self.tcp_connections_per_second,
            connections_active: self.connections_active,
            connection_errors: self.counts.connection_errors,
            bytes_per_second: self.bytes_per_second,
        }
    }
}
