//! The thread that writes: the journal, blocks, the file of series.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_model::clock::Timestamp;

use super::{
    MetricLimits, MetricStoreError, Shared,
    block::BlockName,
    codec::{Appender, frames},
    disk::{self, SERIES_FILE, failed},
    head::Head,
    journal,
    series::SeriesTable,
    state::State,
    tier::TIERS,
};

/// How often what came in is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// After how many turns the journal is brought to the disk, for when the machine loses its power.
const TURNS_A_SYNC: u32 = 5;

/// Of how many bytes there may be, how many a journal may have until the head is cut, however young it is.
const JOURNAL_SHARE: u64 = 8;

/// How often it is looked for what is too old, where nothing else gives reason to.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Writes what a store has taken in.
pub(super) struct Keeper {
    directory: PathBuf,
    limits: MetricLimits,
    series: Appender,
    journal: Appender,
    /// The journals that hold what the head holds: the last one is being written.
    journals: (u64, u64),
    /// Those that hold what is being cut.
    cutting: Option<(u64, u64)>,
    /// Since when the head is what it is.
    since: Timestamp,
    /// Since the journal was brought to the disk.
    turns: u32,
    /// Something was written since.
    is_dirty: bool,
    tidied: Timestamp,
    /// How many series were forgotten that the file still tells of.
    forgotten: usize,
    /// What failed last, which is not told again and again.
    failure: Option<String>,
}

impl Keeper {
    pub(super) fn open(
        directory: &Path,
        limits: MetricLimits,
        now: Timestamp,
    ) -> Result<(State, Self), MetricStoreError> {
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        let found = disk::scan(directory)?;
        let mut table = SeriesTable::default();
        let path = directory.join(SERIES_FILE);
        let kept = match std::fs::read(&path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path)(error)),
        };
        let mut whole = frames(&kept);
        for payload in whole.by_ref() {
            if table.restore(payload).is_none() {
                tracing::error!("a series of metrics cannot be read");
            }
        }
        let series = Appender::open(&path, whole.whole as u64).map_err(failed(&path))?;
        for block in found.shelves.iter().flatten() {
            for (id, latest) in block.series() {
                table.reserve(id);
                table.saw(id, latest);
            }
        }
        let mut head = Head::default();
        let horizons = State::horizons(&limits, now);
        for number in &found.journals {
            let path = journal::path(directory, *number);
            journal::replay(directory, *number, |id, second, finest, values| {
                table.reserve(id);
                if table.contains(id) {
                    table.saw(id, second);
                    head.add(id, second, finest, &horizons, values);
                }
            })
            .map_err(failed(&path))?;
        }
        let next = found.next_journal;
        let path = journal::path(directory, next);
        let journal = journal::create(directory, next).map_err(failed(&path))?;
        let first = found.journals.first().copied().unwrap_or(next);
        let state = State::new(limits, table, head, found.shelves);
        let keeper = Self {
            directory: directory.to_owned(),
            limits,
            series,
            journal,
            journals: (first, next),
            cutting: None,
            since: now,
            turns: 0,
            is_dirty: false,
            // Soon: what is too old was not given up while nothing ran.
            tidied: Timestamp::default(),
            forgotten: 0,
            failure: None,
        };
        Ok((state, keeper))
    }

    /// Writes until the store is closed.
    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            let is_closed = shared.queue.wait(WRITE_EVERY);
            let now = (shared.clock)();
            let done = self.turn(shared, now);
            match done {
                Ok(()) => self.failure = None,
                Err(error) => {
                    let error = error.to_string();
                    if self.failure.as_ref() != Some(&error) {
                        tracing::error!(error, directory = %self.directory.display(), "metrics cannot be written");
                        self.failure = Some(error);
                    }
                }
            }
            if is_closed {
                if let Err(error) = self.journal.sync() {
                    tracing::error!(%error, "metrics could not be brought to the disk");
                }
                return;
            }
        }
    }

    fn turn(&mut self, shared: &Shared, now: Timestamp) -> io::Result<()> {
        let cleared = std::mem::take(&mut shared.state().is_cleared);
        if cleared && let Err(error) = self.clear(now) {
            // What was to be forgotten must not come back.
            shared.state().is_cleared = true;
            return Err(error);
        }
        self.write(shared)?;
        if shared.state().is_cleared {
            // What came after belongs to the next turn's new files.
            return Ok(());
        }
        let points = shared.state().head.points();
        if points == 0 {
            self.since = now;
        }
        let is_full = points >= self.limits.head_max
            || self.journal.length() >= self.limits.bytes_max / JOURNAL_SHARE
            || now.since(self.since) >= self.limits.cut_every;
        if is_full || self.cutting.is_some() {
            self.cut(shared, now)?;
            self.tidy(shared, now)?;
        } else if now.since(self.tidied) >= TIDY_EVERY {
            self.tidy(shared, now)?;
        }
        Ok(())
    }

    /// Writes what was taken in: series first, then the entries that name them.
    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        let (definitions, entries, count) = {
            let mut state = shared.state();
            if state.is_cleared {
                return Ok(());
            }
            let count = std::mem::take(&mut state.entry_count);
            (std::mem::take(&mut state.definitions), std::mem::take(&mut state.entries), count)
        };
        if !definitions.is_empty()
            && let Err(error) = self.series.append(&definitions)
        {
            let mut state = shared.state();
            // Before those that came since.
            let later = std::mem::replace(&mut state.definitions, definitions);
            state.definitions.extend(later);
            state.dropped.unwritten += count;
            return Err(error);
        }
        if !entries.is_empty()
            && let Err(error) = self.journal.append(&entries)
        {
            shared.state().dropped.unwritten += count;
            return Err(error);
        }
        self.is_dirty |= !entries.is_empty() || !definitions.is_empty();
        self.turns += 1;
        if self.is_dirty && self.turns >= TURNS_A_SYNC {
            self.series.sync()?;
            self.journal.sync()?;
            (self.turns, self.is_dirty) = (0, false);
        }
        Ok(())
    }

    /// Cuts the head into blocks. Where that fails it is tried again at the next turn: the head, and its journal,
    /// stay until then.
    fn cut(&mut self, shared: &Shared, now: Timestamp) -> io::Result<()> {
        let (first, last) = match self.cutting {
            Some(cutting) => cutting,
            None => self.freeze(shared, now)?,
        };
        let frozen = shared.state().frozen.clone();
        if let Some(frozen) = frozen {
            // Blocks are for good: whose values they have must be so too.
            self.series.sync()?;
            let blocks = disk::cut(&self.directory, &frozen, first, last)?;
            let mut state = shared.state();
            // Where all was forgotten meanwhile, the files go too.
            if state.frozen.as_ref().is_some_and(|present| Arc::ptr_eq(present, &frozen)) {
                state.frozen = None;
                for (shelf, block) in state.shelves.iter_mut().zip(blocks) {
                    shelf.push(block);
                }
            }
        }
        self.cutting = None;
        for number in first..=last {
            remove(&journal::path(&self.directory, number))?;
        }
        Ok(())
    }

    /// Puts the head aside, and begins another journal. Tells which journals hold what was put aside.
    fn freeze(&mut self, shared: &Shared, now: Timestamp) -> io::Result<(u64, u64)> {
        let next = self.journals.1 + 1;
        let journal = journal::create(&self.directory, next)?;
        let (definitions, entries) = {
            let mut state = shared.state();
            state.frozen = Some(Arc::new(std::mem::take(&mut state.head)));
            state.entry_count = 0;
            (std::mem::take(&mut state.definitions), std::mem::take(&mut state.entries))
        };
        // Those whose values are cut must be on the disk by the time that their journal goes.
        if !definitions.is_empty()
            && let Err(error) = self.series.append(&definitions)
        {
            let mut state = shared.state();
            let later = std::mem::replace(&mut state.definitions, definitions);
            state.definitions.extend(later);
            tracing::warn!(%error, "series are told of later");
        }
        let before = std::mem::replace(&mut self.journal, journal);
        let cutting = std::mem::replace(&mut self.journals, (next, next));
        self.cutting = Some(cutting);
        self.since = now;
        self.append_last(before, &entries)?;
        Ok(cutting)
    }

    /// What was taken in between the last write and the freezing belongs to the journal of before.
    fn append_last(&self, mut journal: Appender, entries: &[u8]) -> io::Result<()> {
        match entries.is_empty() {
            true => Ok(()),
            false => journal.append(entries),
        }
    }

    /// Puts blocks together, gives up what is too old or too much, and forgets series without values.
    fn tidy(&mut self, shared: &Shared, now: Timestamp) -> io::Result<()> {
        self.tidied = now;
        for tier in 0..TIERS {
            while self.put_together(shared, tier, now)? {}
        }
        let (given_up, forgotten) = {
            let mut state = shared.state();
            let MetricLimits { retention, bytes_max, .. } = &self.limits;
            let (given_up, bytes) = disk::give_up(&mut state.shelves, retention, now, *bytes_max);
            state.dropped.bytes += bytes;
            (given_up, state.table.forget_before(retention.last_horizon(now)))
        };
        given_up.iter().try_for_each(|path| remove(path))?;
        self.forgotten += forgotten;
        // The file tells of series that are no more, until it is worth writing anew.
        if self.forgotten > 0 && self.forgotten >= shared.state().table.len() / 4 {
            self.rewrite_series(shared)?;
        }
        Ok(())
    }

    /// Puts some blocks of a tier together, if there are such. Whether there were.
    fn put_together(&self, shared: &Shared, tier: usize, now: Timestamp) -> io::Result<bool> {
        let (blocks, live) = {
            let state = shared.state();
            let shelf = &state.shelves[tier];
            let Some(range) = disk::together(shelf, &self.limits.retention, self.limits.bytes_max) else {
                return Ok(false);
            };
            (shelf[range].to_vec(), state.table.ids().collect::<HashSet<u32>>())
        };
        let horizon = self.limits.retention.horizon(tier, now);
        let whole = disk::put_together(&self.directory, &blocks, horizon, &|id| live.contains(&id))?;
        let mut state = shared.state();
        let shelf = &mut state.shelves[tier];
        // Where all was forgotten meanwhile, the files go too.
        let at = shelf
            .windows(blocks.len())
            .position(|there| there.iter().zip(&blocks).all(|(there, block)| Arc::ptr_eq(there, block)));
        if let Some(at) = at {
            shelf.splice(at..at + blocks.len(), [whole]);
        }
        drop(state);
        blocks.iter().try_for_each(|block| remove(&block.path))?;
        Ok(at.is_some())
    }

    /// Writes the file of series anew.
    fn rewrite_series(&mut self, shared: &Shared) -> io::Result<()> {
        let (path, half) =
            (self.directory.join(SERIES_FILE), self.directory.join(format!("{SERIES_FILE}.new")));
        let all = {
            let mut state = shared.state();
            state.definitions.clear();
            state.table.definitions()
        };
        let mut series = Appender::open(&half, 0)?;
        series.append(&all)?;
        series.sync()?;
        std::fs::rename(&half, &path)?;
        File::open(&self.directory)?.sync_all()?;
        (self.series, self.forgotten) = (series, 0);
        Ok(())
    }

    /// Removes every file but those that are being written.
    fn clear(&mut self, now: Timestamp) -> io::Result<()> {
        let next = self.journals.1 + 1;
        self.journal = journal::create(&self.directory, next)?;
        (self.journals, self.cutting, self.since) = ((next, next), None, now);
        self.series = Appender::open(&self.directory.join(SERIES_FILE), 0)?;
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_old = journal::number(name).is_some_and(|number| number < next);
            if is_old || BlockName::parse(name).is_some() || name.ends_with(".new") {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
