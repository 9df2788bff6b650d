//! What proxies tell of what they counted: taken in once each, made into metrics, and kept for those who look now.
//!
//! - `report`: a proxy's report, read.
//! - `spans`: its spans, read.
//! - [`metric_data`]: as CloudWatch has it.
//! - [`view`]: who calls whom, how often, how fast and how well, at this moment.
//! - [`tasks`]: what tasks use of the machine, and how many there are.
//! - `exposition`: all proxies' counters as Prometheus reads them.
//!
//! Whose a report is goes by the certificate's record. What is kept here is of this process: after its start the
//! counters begin anew, as Prometheus is used to.

pub(crate) mod exposition;
pub mod metric_data;
mod own;
mod owner;
#[cfg(test)]
mod recent_spans;
mod report;
mod spans;
pub mod tasks;
pub mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_discovery::telemetry::{MetricReport, SpanBatch};
use bowline_model::{
    clock::Timestamp,
    log_driver::LogFigures,
    metric::MetricWriter,
    task::{TaskId, TaskUsage},
    trace::SpanWriter,
};
use bowline_plumbing::machine::Machine;
use bowline_stream::directory::{InvalidReport, InvalidSpans, Taken};

pub(crate) use self::report::{Counts, RowKey};
use self::{
    metric_data::{Data, Origin},
    own::OwnCounters,
    owner::{origin_of, owner_of, span_origin_of},
    report::Report,
    spans::Spans,
};
pub use self::{
    report::{Security, Side},
    view::{Edge, EdgeView, ReportState, TelemetryView, Workload},
};
use crate::registry::{Registry, TaskRecord};

/// Most rows that are kept of one proxy: it has no more itself. What is beyond is in metrics only.
const ROWS_MAX: usize = 1_024;
/// How far back reports are kept, for [`TelemetryView`].
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Most reports that are kept of one proxy: one a second, and some.
const RECENT_MAX: usize = 72;
/// How often proxies report while somebody looks.
const LIVE_INTERVAL: Duration = Duration::from_secs(1);
/// So long after the last look somebody is still looking.
const LOOKS_FOR: Duration = Duration::from_secs(15);
/// A report of longer ago is told as of now: its clock is another one, or it has waited too long to matter when.
const LATE_MAX: Duration = Duration::from_secs(2 * 3600);

/// One report's increments.
#[derive(Debug)]
struct Recent {
    from: Timestamp,
    until: Timestamp,
    rows: Vec<(RowKey, Counts)>,
}

/// What is known of one proxy.
#[derive(Debug)]
struct Proxy {
    origin: Origin,
    /// Since when its totals are counted.
    since: Timestamp,
    process: Vec<u8>,
    /// The last report that was taken of this process.
    sequence: u64,
    totals: BTreeMap<RowKey, Counts>,
    recent: VecDeque<Recent>,
    /// Requests since the minute's last end, by row.
    minute: BTreeMap<RowKey, u64>,
    access_log_dropped: u64,
}

impl Proxy {
    fn new(origin: Origin, since: Timestamp) -> Self {
        Self {
            origin,
            since,
            process: Vec::new(),
            sequence: 0,
            totals: BTreeMap::new(),
            recent: VecDeque::new(),
            minute: BTreeMap::new(),
            access_log_dropped: 0,
        }
    }

    /// Whether it is new; if so, it is counted.
    fn take(&mut self, report: Report, at: Timestamp) -> bool {
        if report.process != self.process {
            // Another process: nothing of the one before is open any more.
            self.totals.values_mut().for_each(|counts| counts.connections_active = 0);
            (self.process, self.sequence) = (report.process, 0);
        }
        if report.sequence <= self.sequence {
            return false;
        }
        self.sequence = report.sequence;
        self.access_log_dropped = self.access_log_dropped.saturating_add(report.access_log_dropped);
        for (key, gained) in &report.rows {
            if self.totals.len() < ROWS_MAX || self.totals.contains_key(key) {
                self.totals.entry(key.clone()).or_default().add(gained);
                let requests = self.minute.entry(key.clone()).or_default();
                *requests = requests.saturating_add(gained.requests());
            }
        }
        let lasted = Duration::from_millis(report.until_ms - report.from_ms);
        self.recent.push_back(Recent { from: at - lasted, until: at, rows: report.rows });
        self.forget(at);
        true
    }

    /// Drops reports that nobody asks for any more. The one before the last is kept: it may be all there is.
    fn forget(&mut self, now: Timestamp) {
        while self.recent.len() > RECENT_MAX
            || self.recent.front().is_some_and(|oldest| now.since(oldest.until) > KEPT_FOR)
        {
            self.recent.pop_front();
        }
    }
}

/// See the module.
pub struct Telemetry {
    proxies: Mutex<BTreeMap<TaskId, Proxy>>,
    writer: Arc<dyn MetricWriter>,
    spans: Spans,
    /// When somebody last looked, in milliseconds since 1970.
    looked_at: AtomicU64,
    reports: AtomicU64,
    repeated: AtomicU64,
    /// Tasks that have stopped since the minute's last end, by cluster and service.
    stopped: Mutex<BTreeMap<(String, String), u64>>,
    /// What each task has used lately.
    usage: Mutex<BTreeMap<TaskId, tasks::Utilization>>,
    machine: Machine,
    /// The control plane's own.
    pub(crate) own: OwnCounters,
    /// What the agent counts of lines.
    pub(crate) logs: Arc<LogFigures>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("reports", &self.reports).finish_non_exhaustive()
    }
}

/// What a proxy has counted since it was first heard of.
#[derive(Clone, Debug)]
pub(crate) struct ProxyTotals {
    /// Whose it is.
    pub(crate) workload: Workload,
    /// Its task.
    pub(crate) task: TaskId,
    /// When counting began.
    pub(crate) since: Timestamp,
    /// By side, called name, peer and protection.
    pub(crate) rows: Vec<(RowKey, Counts)>,
}

impl Telemetry {
    /// One that knows nothing yet, and puts metrics into `writer`, spans into `spans`.
    pub fn new(writer: Arc<dyn MetricWriter>, spans: Arc<dyn SpanWriter>) -> Self {
        Self {
            proxies: Mutex::default(),
            writer,
            spans: Spans::new(spans),
            looked_at: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            stopped: Mutex::default(),
            usage: Mutex::default(),
            own: OwnCounters::default(),
            logs: Arc::default(),
            // Where the kernel does not tell, utilization is of what definitions reserve alone.
            machine: Machine::this().unwrap_or(Machine { processors: 1, memory_mib: 1_024 }),
        }
    }

    /// Takes a report of the proxy of `task`, once.
    ///
    /// # Errors
    /// It is not as reports are.
    pub fn take(
        &self,
        registry: &Registry,
        task: &TaskRecord,
        report: MetricReport,
        now: Timestamp,
    ) -> Result<Taken, InvalidReport> {
        let sequence = report.sequence;
        match origin_of(registry, task) {
            Some(origin) => self.take_of(&task.id, origin, report, now),
            None => Ok(self.taken(sequence, now)),
        }
    }

    /// Takes spans of the proxy of `task`, each batch once.
    ///
    /// # Errors
    /// They are not as spans are.
    pub fn take_spans(
        &self,
        registry: &Registry,
        task: &TaskRecord,
        batch: SpanBatch,
    ) -> Result<(), InvalidSpans> {
        match span_origin_of(registry, task) {
            Some(origin) => self.spans.take(&task.id, &origin, batch),
            None => Ok(()),
        }
    }

    fn take_of(
        &self,
        task: &TaskId,
        origin: Origin,
        report: MetricReport,
        now: Timestamp,
    ) -> Result<Taken, InvalidReport> {
        let report = Report::read(report)?;
        let sequence = report.sequence;
        let until = Timestamp::from_millis(report.until_ms);
        let at = if until > now || now.since(until) > LATE_MAX { now } else { until };
        let mut data = Data::new(&origin, at);
        report.rows.iter().for_each(|(key, gained)| data.row(key, gained));
        let data = data.data;
        let since = Timestamp::from_millis(report.from_ms).min(at);
        let is_new = {
            let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
            let proxy = proxies.entry(task.clone()).or_insert_with(|| Proxy::new(origin, since));
            proxy.take(report, at)
        };
        self.reports.fetch_add(1, Relaxed);
        if is_new {
            self.writer.put(data);
        } else {
            self.repeated.fetch_add(1, Relaxed);
        }
        Ok(self.taken(sequence, now))
    }

    fn taken(&self, sequence: u64, now: Timestamp) -> Taken {
        let looked_at = Timestamp::from_millis(self.looked_at.load(Relaxed));
        let interval = (now.since(looked_at) < LOOKS_FOR).then_some(LIVE_INTERVAL);
        Taken { sequence, interval }
    }

    /// What is told once a minute; and tasks that are no more are forgotten.
    pub fn minute(&self, registry: &Registry, now: Timestamp) {
        self.spans.retain(|task| registry.tasks.get(task.as_str()).is_some());
        self.end_minute(|task| registry.tasks.get(task.as_str()).is_some(), now);
        let stopped = std::mem::take(&mut *self.stopped.lock().unwrap_or_else(PoisonError::into_inner));
        self.writer.put(tasks::counts(registry, &stopped, now));
    }

    fn end_minute(&self, lives: impl Fn(&TaskId) -> bool, now: Timestamp) {
        let mut all = Vec::new();
        {
            let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
            for proxy in proxies.values_mut() {
                let mut data = Data::new(&proxy.origin, now);
                for (key, counts) in &proxy.totals {
                    let requests = proxy.minute.get(key).copied().unwrap_or_default();
                    data.minute(key, requests, counts);
                }
                all.append(&mut data.data);
                proxy.minute.clear();
                proxy.forget(now);
            }
            proxies.retain(|task, _| lives(task));
        }
        self.writer.put(join(all));
    }

    /// A task has stopped, whyever.
    pub fn task_stopped(&self, registry: &Registry, task: &TaskRecord) {
        if let Some((cluster, Some(service))) =
            owner_of(registry, task).map(|owner| (owner.cluster, owner.service))
        {
            let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            *stopped.entry((cluster.to_owned(), service.to_owned())).or_default() += 1;
        }
    }

    /// What tasks have used of this machine.
    pub fn used(&self, registry: &Registry, usage: &[TaskUsage], now: Timestamp) {
        let mut latest = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        latest.extend(tasks::utilization(registry, self.machine, usage));
        latest.retain(|task, _| registry.tasks.get(task.as_str()).is_some());
        drop(latest);
        self.writer.put(tasks::usage(registry, self.machine, usage, now));
    }

    /// What each task has used lately, of what it may.
    pub fn utilization(&self) -> BTreeMap<TaskId, tasks::Utilization> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What every proxy has counted.
    pub(crate) fn totals(&self) -> Vec<ProxyTotals> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let of_proxy = |(task, proxy): (&TaskId, &Proxy)| ProxyTotals {
            workload: Workload::from(&proxy.origin),
            task: task.clone(),
            since: proxy.since,
            rows: proxy.totals.iter().map(|(key, counts)| (key.clone(), counts.clone())).collect(),
        };
        proxies.iter().map(of_proxy).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What proxies of one service have of a gauge is one value together: its mean is not that of one proxy.
fn join(data: Vec<bowline_model::metric::Datum>) -> Vec<bowline_model::metric::Datum> {
    use bowline_model::metric::{Datum, Distribution};
    let mut joined: BTreeMap<bowline_model::metric::MetricId, Datum> = BTreeMap::new();
    for datum in data {
        match joined.get_mut(&datum.metric) {
            None => {
                joined.insert(datum.metric.clone(), datum);
            }
            // As many targets as there are, each called by all of them.
            Some(present) => {
                let targets = present.values.count().max(datum.values.count());
                let mut values = Distribution::default();
                values.record((present.values.sum() + datum.values.sum()) / targets, targets);
                present.values = values;
            }
        }
    }
    joined.into_values().collect()
}

#[cfg(test)]
mod tests;
