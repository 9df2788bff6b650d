//! Metrics, kept: taken in without waiting, told at once, and on the disk for as long as they are worth.
//!
//! What is put waits in a bounded queue. Whoever comes first, the keeper's thread or a reader, takes it into the
//! head: in memory, by series and period, in four tiers (seconds, minutes, five minutes, hours). The keeper writes it
//! to a journal, which a process that was killed replays; from time to time it cuts the head into a block for each
//! tier, and puts blocks together to larger ones. Reading merges head and blocks. Because distributions can be merged
//! in any order, late values are taken like others.
//!
//! - `series` are the metrics, each with its unit.
//! - `head` is what came in lately, `journal` its copy on the disk.
//! - `block` is a file of older values, `disk` the directory of them.
//! - `state` is head, blocks and series together; `keeper` the thread that writes.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, MetricReader, MetricWriter, Statistic, Unit},
};

mod block;
pub(crate) mod codec;
mod disk;
mod head;
mod journal;
mod keeper;
mod queue;
mod series;
mod state;
#[cfg(test)]
mod tests;
mod tier;

pub use tier::Retention;

use keeper::Keeper;
use queue::Queue;
use state::State;

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How far in the future a value may lie. Source: `PutMetricData`.
pub const FUTURE_MAX: Duration = Duration::from_secs(2 * 3600);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricLimits {
    /// For how long.
    pub retention: Retention,
    /// Most bytes of blocks on the disk, 512 MiB by default; where they do not do, the oldest values are given up. The
    /// journal takes an eighth more at the most, and so does putting blocks together while it goes on.
    pub bytes_max: u64,
    /// Most series (metrics, each with its unit), 20,000 by default. For a further one that which has been silent
    /// the longest is given up, if it has been so for three hours; else the further one is dropped.
    pub series_max: usize,
    /// Most values that wait to be taken in, 65,536 by default.
    pub queue_max: usize,
    /// Most periods in memory until they are cut into blocks, 250,000 by default: some 60 MiB.
    pub head_max: usize,
    /// How old what is in memory alone, and in the journal, becomes until it is cut into blocks: 2 hours by default.
    pub cut_every: Duration,
}

impl Default for MetricLimits {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            bytes_max: 512 * 1024 * 1024,
            series_max: 20_000,
            queue_max: 65_536,
            head_max: 250_000,
            cut_every: Duration::from_secs(2 * 3600),
        }
    }
}

/// The metrics cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum MetricStoreError {
    /// Their directory or a file in it cannot be used.
    #[error("the metrics cannot be kept: {} cannot be used", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that keeps them cannot be started.
    #[error("the metrics cannot be kept: no thread can be started")]
    Thread(#[source] io::Error),
}

/// What was dropped since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Values for which the queue, or the memory while the disk could not be written, had no room.
    pub overflowing: u64,
    /// Values of series beyond the bound.
    pub beyond_series: u64,
    /// Values older than anything that is kept, or too far in the future, or of an id that is too long.
    pub out_of_range: u64,
    /// Bytes of blocks that were given up, before their time, for want of room on the disk.
    pub bytes: u64,
    /// Values that can be read until the process ends, but could not be written.
    pub unwritten: u64,
}

/// Which metrics are asked for; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricFilter {
    /// Those of this namespace.
    pub namespace: Option<String>,
    /// Those of this name.
    pub name: Option<String>,
    /// Those that have these dimensions, among others; with this value where one is given.
    pub dimensions: Vec<(String, Option<String>)>,
    /// Those that have a value since then.
    pub since: Option<Timestamp>,
}

impl MetricFilter {
    fn takes(&self, metric: &MetricId) -> bool {
        let is =
            |wanted: &Option<String>, there: &str| wanted.as_deref().is_none_or(|wanted| wanted == there);
        is(&self.namespace, &metric.namespace)
            && is(&self.name, &metric.name)
            && self
                .dimensions
                .iter()
                .all(|(name, value)| metric.dimensions.get(name).is_some_and(|there| is(value, there)))
    }
}

/// Which periods are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// How long each is: whole seconds, at least one.
    pub length: Duration,
    /// How long after multiples of `length` since the epoch they begin: whole seconds.
    pub offset: Duration,
    /// The first that is asked for begins then, or later.
    pub from: Timestamp,
    /// The last one begins before.
    pub until: Timestamp,
}

/// Values by the period that they fall into, oldest first, none of them empty.
pub type Distributions = Vec<(Timestamp, Distribution)>;

/// Keeps metrics.
pub struct MetricStore {
    shared: Arc<Shared>,
    retention: Retention,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What the store and its keeper's thread share.
struct Shared {
    queue: Queue,
    state: Mutex<State>,
    clock: Clock,
}

impl Shared {
    /// The state, with all that was put until now taken in.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (data, overflowing) = self.queue.take();
        state.dropped.overflowing += overflowing;
        if !data.is_empty() {
            state.take_in(data, (self.clock)());
        }
        state
    }
}

impl MetricStore {
    /// Opens what is kept in `directory`, which is made where it is not there. Blocks, as all of the store's
    /// methods but [`MetricWriter::put`] may for a moment.
    ///
    /// # Errors
    /// The directory, or a file in it, cannot be used.
    pub fn open(directory: &Path, limits: MetricLimits, clock: Clock) -> Result<Self, MetricStoreError> {
        let (state, keeper) = Keeper::open(directory, limits, clock())?;
        let shared =
            Arc::new(Shared { queue: Queue::new(limits.queue_max), state: Mutex::new(state), clock });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || keeper.run(&of_thread))
            .map_err(MetricStoreError::Thread)?;
        Ok(Self { shared, retention: limits.retention, keeper: Mutex::new(Some(thread)) })
    }

    /// The metrics that a filter takes, in the order of their ids.
    pub fn list(&self, filter: &MetricFilter) -> Vec<MetricId> {
        self.shared.state().table.list(filter)
    }

    /// The units that values of a metric are in: one, as a rule.
    pub fn units(&self, metric: &MetricId) -> Vec<Unit> {
        self.shared.state().table.all_of(metric).iter().map(|(unit, _)| *unit).collect()
    }

    /// The values of a metric by period; of one unit, or of all together. Nothing is told where a period is not
    /// kept as finely as is asked for.
    pub fn distributions(&self, metric: &MetricId, unit: Option<Unit>, periods: &Periods) -> Distributions {
        let length = periods.length.as_secs().max(1);
        let offset = periods.offset.as_secs() % length;
        // Up to the end of a period that has begun before `until`; no period has begun before the first second.
        let from = periods.from.as_millis().div_ceil(1000);
        let until = periods.until.as_millis().div_ceil(1000);
        let begins_before = |second: u64| second.saturating_sub(offset) / length * length + offset;
        let first = match begins_before(from) {
            begins if begins < from => begins + length,
            begins => begins,
        };
        if first >= until {
            return Vec::new();
        }
        let last = begins_before(until - 1);
        let tier = tier::for_periods(length, offset);
        let reading = self.shared.state().reading(metric, unit, tier, first, last.saturating_add(length));
        let mut told: BTreeMap<u64, Distribution> = BTreeMap::new();
        for (second, values) in reading.finish() {
            told.entry(begins_before(second)).or_default().merge(&values);
        }
        told.into_iter().map(|(second, values)| (Timestamp::from_secs(second), values)).collect()
    }

    /// How long values are kept that periods of this length can be told from.
    pub fn kept_for(&self, period: Duration) -> Duration {
        self.retention.of(tier::for_periods(period.as_secs(), 0))
    }

    /// What was dropped since it was opened.
    pub fn dropped(&self) -> Dropped {
        self.shared.state().dropped
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.shared.state().table.len()
    }

    /// Bytes of the blocks on the disk.
    pub fn bytes(&self) -> u64 {
        self.shared.state().shelves.iter().flatten().map(|block| block.bytes).sum()
    }

    /// Forgets every value and every series.
    pub fn clear(&self) {
        self.shared.state().clear();
        self.shared.queue.wake();
    }

    /// Writes what was taken in, and ends the thread; what is put later is dropped. Dropping the store does the
    /// same.
    pub fn close(&self) {
        self.shared.queue.close();
        let thread = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread is in the log.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for MetricStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl MetricReader for MetricStore {
    fn values(
        &self,
        metric: &MetricId,
        statistic: Statistic,
        period: Duration,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, f64)> {
        let periods = Periods { length: period, offset: Duration::ZERO, from, until };
        let told = self.distributions(metric, None, &periods);
        told.into_iter().filter_map(|(at, values)| Some((at, values.statistic(statistic)?))).collect()
    }
}

impl MetricWriter for MetricStore {
    fn put(&self, data: Vec<Datum>) {
        self.shared.queue.put(data);
    }
}
