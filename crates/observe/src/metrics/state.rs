//! Head, blocks and series together.

use std::sync::Arc;

use bowline_model::{
    clock::Timestamp,
    metric::{Datum, MetricId, Unit},
};

use super::{
    Dropped, FUTURE_MAX, MetricLimits,
    block::Block,
    codec::put_frame,
    disk::Shelves,
    head::{Head, Periods},
    journal,
    series::{self, SeriesTable},
    tier::TIERS,
};

/// Most bytes that wait to be written to the journal; what comes in beyond can be read, and is not written.
const UNWRITTEN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What there is at a moment.
#[derive(Debug)]
pub(super) struct State {
    limits: MetricLimits,
    pub(super) table: SeriesTable,
    /// What came in since the last cut.
    pub(super) head: Head,
    /// The head before, while it is being cut.
    pub(super) frozen: Option<Arc<Head>>,
    pub(super) shelves: Shelves,
    /// Frames for the journal.
    pub(super) entries: Vec<u8>,
    /// How many values are in them.
    pub(super) entry_count: u64,
    /// Frames for the file of series; those are written before the entries that name them.
    pub(super) definitions: Vec<u8>,
    pub(super) dropped: Dropped,
    /// All was forgotten, but on the disk not yet.
    pub(super) is_cleared: bool,
}

impl State {
    pub(super) fn new(limits: MetricLimits, table: SeriesTable, head: Head, shelves: Shelves) -> Self {
        Self {
            limits,
            table,
            head,
            frozen: None,
            shelves,
            entries: Vec::new(),
            entry_count: 0,
            definitions: Vec::new(),
            dropped: Dropped::default(),
            is_cleared: false,
        }
    }

    /// The second before which each tier has nothing.
    pub(super) fn horizons(limits: &MetricLimits, now: Timestamp) -> [u64; TIERS] {
        std::array::from_fn(|tier| limits.retention.horizon(tier, now))
    }

    pub(super) fn take_in(&mut self, batches: Vec<Vec<Datum>>, now: Timestamp) {
        let horizons = Self::horizons(&self.limits, now);
        let oldest = self.limits.retention.last_horizon(now);
        let mut payload = Vec::new();
        let mut count = 0;
        for datum in batches.into_iter().flatten() {
            let second = datum.at.as_secs();
            if second < oldest || datum.at > now + FUTURE_MAX || !series::fits(&datum.metric) {
                self.dropped.out_of_range += 1;
                continue;
            }
            if datum.values.is_empty() {
                continue;
            }
            // While a block is cut there may be twice as much in memory, and not more.
            if self.head.points() >= self.limits.head_max && self.frozen.is_some() {
                self.dropped.overflowing += 1;
                continue;
            }
            let Some(id) = self.id_of(datum.metric, datum.unit, now) else {
                self.dropped.beyond_series += 1;
                continue;
            };
            self.table.saw(id, second);
            let finest = if datum.is_high_resolution { 0 } else { 1 };
            self.head.add(id, second, finest, &horizons, &datum.values);
            journal::put_entry(&mut payload, id, second, finest, &datum.values);
            count += 1;
        }
        if count == 0 {
            return;
        }
        if self.entries.len() + payload.len() > UNWRITTEN_BYTES_MAX {
            self.dropped.unwritten += count;
            return;
        }
        self.entry_count += count;
        put_frame(&mut self.entries, &payload);
    }

    fn id_of(&mut self, metric: MetricId, unit: Unit, now: Timestamp) -> Option<u32> {
        if let Some(id) = self.table.find(&metric, unit) {
            return Some(id);
        }
        let mut given_up = Vec::new();
        let id = self.table.add(metric, unit, self.limits.series_max, now, &mut given_up);
        for id in given_up {
            self.head.forget(id);
        }
        let id = id?;
        self.table.put_definition(&mut self.definitions, id);
        Some(id)
    }

    /// The values of a metric in a tier whose periods begin in `from..until`, as far as they are in memory.
    pub(super) fn reading(
        &self,
        metric: &MetricId,
        unit: Option<Unit>,
        tier: usize,
        from: u64,
        until: u64,
    ) -> Reading {
        let asked = self.table.all_of(metric).iter().filter(|(of, _)| unit.is_none_or(|unit| unit == *of));
        let ids: Vec<u32> = asked.map(|(_, id)| *id).collect();
        let mut periods = Periods::new();
        for head in [Some(&self.head), self.frozen.as_deref()].into_iter().flatten() {
            for there in ids.iter().filter_map(|id| head.periods(*id, tier)) {
                for (begins, values) in there.range(from..until) {
                    periods.entry(*begins).or_default().merge(values);
                }
            }
        }
        let overlaps = |block: &&Arc<Block>| block.oldest < until && block.newest >= from;
        let blocks = match ids.is_empty() {
            true => Vec::new(),
            false => self.shelves[tier].iter().filter(overlaps).cloned().collect(),
        };
        Reading { ids, periods, blocks, from, until }
    }

    pub(super) fn clear(&mut self) {
        self.table = SeriesTable::after(&self.table);
        self.head = Head::default();
        self.frozen = None;
        self.shelves = Shelves::default();
        (self.entries, self.definitions, self.entry_count) = (Vec::new(), Vec::new(), 0);
        self.is_cleared = true;
    }
}

/// A reading that is half done: the files are read without holding anybody up.
pub(super) struct Reading {
    ids: Vec<u32>,
    periods: Periods,
    blocks: Vec<Arc<Block>>,
    from: u64,
    until: u64,
}

impl Reading {
    pub(super) fn finish(mut self) -> Periods {
        for block in &self.blocks {
            for id in &self.ids {
                if let Err(error) = block.read(*id, self.from, self.until, &mut self.periods) {
                    tracing::error!(block = block.name.file_name(), %error, "metrics could not be read");
                }
            }
        }
        self.periods
    }
}
