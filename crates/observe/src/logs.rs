//! Logs, kept: on the disk when [`put`](LogWriter::put) returns, for as long as their group says, within a bound.
//!
//! A group is a directory: a journal of its settings and streams, and segments, files that only grow, in which the
//! batches of all its streams follow each other as they came. A segment that is full is sealed with a summary of what
//! is in it. A reading goes through the segments that its time meets, and gives up what it has no room for from the
//! far end; where it stopped is a [`Position`] that goes on to mean the same place.
//!
//! - `group` is a group and its streams; `journal` its settings on the disk.
//! - `segment` is a file of batches.
//! - `reading` is a page of events.
//! - `metric_filter` makes metrics of what events say.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    log::{LogEvent, LogWriteError, LogWriter, MESSAGE_BYTES_MAX},
    metric::MetricWriter,
};

mod group;
mod journal;
mod metric_filter;
mod reading;
mod segment;
#[cfg(test)]
mod tests;

pub use group::{GroupClass, GroupInfo, GroupSettings, StreamInfo};
pub use metric_filter::{DIMENSIONS_MAX, MetricFilter, MetricFilterError, MetricTransformation, Value};
pub use reading::{Page, Position, Reading, Scanned, StoredEvent, Streams};

use group::Group;

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the names of the groups begin with that Bowline makes for services that name none.
pub const OWN_PREFIX: &str = "/bowline/";

/// How long such groups keep events where nobody says otherwise.
pub const OWN_RETENTION_DAYS: u32 = 3;

/// Longest name of a group or a stream, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// How long a writer is told to wait where the disk takes nothing.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Most bytes of events on the disk, 1 GiB by default; the oldest are given up for later ones.
    pub bytes_max: u64,
    /// Bytes from which on a segment is full, 4 MiB by default. Segments are given up as wholes.
    pub segment_bytes: u64,
    /// Most groups, 5,000 by default.
    pub groups_max: usize,
    /// Most streams of a group, 10,000 by default. For a further one that which has no events is given up that was
    /// made first; where all have some, the further one is refused.
    pub streams_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            bytes_max: 1024 * 1024 * 1024,
            segment_bytes: 4 * 1024 * 1024,
            groups_max: 5_000,
            streams_max: 10_000,
        }
    }
}

/// Logs cannot be kept, or were not told or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogStoreError {
    /// A directory or a file cannot be used.
    #[error("the logs cannot be kept: {} cannot be used", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such group.
    #[error("The specified log group does not exist.")]
    NoGroup,
    /// There is no such stream.
    #[error("The specified log stream does not exist.")]
    NoStream,
    /// There is such a group.
    #[error("The specified log group already exists")]
    GroupExists,
    /// There is such a stream.
    #[error("The specified log stream already exists")]
    StreamExists,
    /// There are as many as there may be.
    #[error("Resource limit exceeded.")]
    Limit,
    /// It is protected against being deleted.
    #[error("The log group is protected from deletion")]
    Protected,
    /// The name is none.
    #[error("{0}")]
    Name(String),
}

pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> LogStoreError {
    let path = path.to_owned();
    move |source| LogStoreError::Io { path, source }
}

/// What was given up before its time since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedLogs {
    /// Events, for want of room.
    pub events: u64,
    /// Their bytes on the disk.
    pub bytes: u64,
}

/// Keeps logs.
pub struct LogStore {
    directory: PathBuf,
    limits: LogLimits,
    clock: Clock,
    /// Where what metric filters find is put.
    metrics: Option<Arc<dyn MetricWriter>>,
    groups: RwLock<BTreeMap<String, Arc<Group>>>,
    next_group: AtomicU64,
    /// Bytes of all segments.
    bytes: AtomicU64,
    dropped_events: AtomicU64,
    dropped_bytes: AtomicU64,
}

impl LogStore {
    /// Opens what is kept in `directory`, which is made where it is not there. What metric filters find goes to
    /// `metrics`. Blocks, as all methods of the store may.
    ///
    /// # Errors
    /// The directory, or a file in it, cannot be used.
    pub fn open(
        directory: &Path,
        limits: LogLimits,
        clock: Clock,
        metrics: Option<Arc<dyn MetricWriter>>,
    ) -> Result<Self, LogStoreError> {
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        let mut groups = BTreeMap::new();
        let (mut bytes, mut last) = (0, 0);
        for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".new") || name.ends_with(".gone") {
                std::fs::remove_dir_all(&path).map_err(failed(&path))?;
                continue;
            }
            let Some(number) = group::number(name) else { continue };
            last = last.max(number);
            match Group::open(&path, number, clock()) {
                Ok(group) => {
                    bytes += group.bytes();
                    groups.insert(group.name().to_owned(), Arc::new(group));
                }
                // One that cannot be read is no reason to lose the others.
                Err(error) => {
                    tracing::error!(directory = %path.display(), %error, "a log group cannot be read");
                }
            }
        }
        let store = Self {
            directory: directory.to_owned(),
            limits,
            clock,
            metrics,
            groups: RwLock::new(groups),
            next_group: AtomicU64::new(last + 1),
            bytes: AtomicU64::new(bytes),
            dropped_events: AtomicU64::new(0),
            dropped_bytes: AtomicU64::new(0),
        };
        store.tend();
        Ok(store)
    }

    fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn known(&self, name: &str) -> Result<Arc<Group>, LogStoreError> {
        self.group(name).ok_or(LogStoreError::NoGroup)
    }

    fn all(&self) -> Vec<Arc<Group>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Every group, by name.
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.all().iter().map(|group| group.info()).collect()
    }

    /// A group.
    pub fn describe(&self, name: &str) -> Option<GroupInfo> {
        Some(self.group(name)?.info())
    }

    /// Makes a group. Those of [`OWN_PREFIX`] without a retention get [`OWN_RETENTION_DAYS`].
    ///
    /// # Errors
    /// There is one of this name, or there are too many, or the disk cannot be written.
    pub fn create_group(&self, name: &str, mut settings: GroupSettings) -> Result<(), LogStoreError> {
        check_group_name(name)?;
        if name.starts_with(OWN_PREFIX) && settings.retention_days.is_none() {
            settings.retention_days = Some(OWN_RETENTION_DAYS);
        }
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if groups.contains_key(name) {
            return Err(LogStoreError::GroupExists);
        }
        if groups.len() >= self.limits.groups_max {
            return Err(LogStoreError::Limit);
        }
        let number = self.next_group.fetch_add(1, Ordering::Relaxed);
        let group = Group::create(&self.directory, number, name, settings, (self.clock)())?;
        groups.insert(name.to_owned(), Arc::new(group));
        Ok(())
    }

    /// Deletes a group with all that is in it.
    ///
    /// # Errors
    /// There is none, it is protected, or the disk cannot be written.
    pub fn delete_group(&self, name: &str) -> Result<(), LogStoreError> {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let group = groups.get(name).ok_or(LogStoreError::NoGroup)?;
        if group.info().settings.deletion_protected {
            return Err(LogStoreError::Protected);
        }
        let gone = group.remove(&self.directory)?;
        self.bytes.fetch_sub(gone, Ordering::Relaxed);
        groups.remove(name);
        Ok(())
    }

    /// Changes a group's settings.
    ///
    /// # Errors
    /// There is none, `change` refuses, or the disk cannot be written.
    pub fn change_group<E: From<LogStoreError>>(
        &self,
        name: &str,
        change: impl FnOnce(&mut GroupSettings) -> Result<(), E>,
    ) -> Result<(), E> {
        let group = self.known(name)?;
        group.change(change)?;
        self.tend_group(&group);
        Ok(())
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// There is no such group, or there is one of this name, or there are too many, or the disk cannot be written.
    pub fn create_stream(&self, group: &str, stream: &str) -> Result<(), LogStoreError> {
        check_stream_name(stream)?;
        self.known(group)?.create_stream(stream, (self.clock)(), self.limits.streams_max)
    }

    /// Deletes a stream; its events are not told any more.
    ///
    /// # Errors
    /// There is none, or the disk cannot be written.
    pub fn delete_stream(&self, group: &str, stream: &str) -> Result<(), LogStoreError> {
        self.known(group)?.delete_stream(stream)
    }

    /// The streams of a group, by name.
    ///
    /// # Errors
    /// There is no such group.
    pub fn streams(&self, group: &str) -> Result<Vec<StreamInfo>, LogStoreError> {
        Ok(self.known(group)?.streams())
    }

    /// Keeps events of a stream that is there, in this order.
    ///
    /// # Errors
    /// There is no such group or stream, or the disk cannot be written: nothing was kept then.
    pub fn append(&self, group: &str, stream: &str, events: &[LogEvent]) -> Result<(), LogStoreError> {
        let group = self.known(group)?;
        self.append_to(&group, stream, events, false)
    }

    fn append_to(
        &self,
        group: &Group,
        stream: &str,
        events: &[LogEvent],
        create_stream: bool,
    ) -> Result<(), LogStoreError> {
        let now = (self.clock)();
        let streams_max = create_stream.then_some(self.limits.streams_max);
        let written =
            group.append(stream, events, now, self.limits.segment_bytes, streams_max, &self.bytes)?;
        if self.bytes.load(Ordering::Relaxed) > self.limits.bytes_max {
            self.make_room();
        }
        if written.is_new_segment {
            self.tend_group(group);
        }
        if let Some(metrics) = &self.metrics {
            let data = group.measure(events);
            if !data.is_empty() {
                metrics.put(data);
            }
        }
        Ok(())
    }

    /// Gives up the oldest segments until what is left fits.
    fn make_room(&self) {
        while self.bytes.load(Ordering::Relaxed) > self.limits.bytes_max {
            let groups = self.all();
            let oldest = groups
                .iter()
                .filter_map(|group| Some((group.oldest_segment()?, group)))
                .min_by_key(|it| it.0);
            let Some((_, group)) = oldest else { return };
            let Some(gone) = group.drop_oldest() else { continue };
            self.bytes.fetch_sub(gone.bytes, Ordering::Relaxed);
            self.dropped_events.fetch_add(gone.events, Ordering::Relaxed);
            self.dropped_bytes.fetch_add(gone.bytes, Ordering::Relaxed);
            tracing::warn!(
                group = group.name(),
                events = gone.events,
                bytes = gone.bytes,
                "the oldest logs were dropped: there is no room for them"
            );
        }
    }

    /// Removes what is older than its group keeps it. Groups are also tended when they are written to: call this from
    /// time to time for those that are not.
    pub fn tend(&self) {
        self.all().iter().for_each(|group| self.tend_group(group));
        self.make_room();
    }

    fn tend_group(&self, group: &Group) {
        let gone = group.expire((self.clock)());
        self.bytes.fetch_sub(gone, Ordering::Relaxed);
    }

    /// A page of a group's events.
    ///
    /// # Errors
    /// There is no such group, or none of the streams that are named, or a file cannot be read.
    pub fn read(&self, group: &str, reading: &Reading<'_>) -> Result<Page, LogStoreError> {
        let group = self.known(group)?;
        reading::read(&group, reading, (self.clock)())
    }

    /// Shows `see` every event of a group within a time, in no order of time; it ends where `see` returns false.
    ///
    /// # Errors
    /// There is no such group, or a file cannot be read.
    pub fn scan(
        &self,
        group: &str,
        from: Timestamp,
        until: Timestamp,
        see: &mut dyn FnMut(&StoredEvent) -> bool,
    ) -> Result<Scanned, LogStoreError> {
        let group = self.known(group)?;
        reading::scan(&group, from, until, (self.clock)(), see)
    }

    /// At most `limit` events that came in after that of number `after`, in the order in which they came; where there
    /// are more, the first of them.
    ///
    /// # Errors
    /// There is no such group, or a file cannot be read.
    pub fn tail(&self, group: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, LogStoreError> {
        let group = self.known(group)?;
        reading::tail(&group, after, limit, (self.clock)())
    }

    /// Puts a metric filter, in place of that of its name.
    ///
    /// # Errors
    /// There is no such group, too many filters, or the disk cannot be written.
    pub fn put_metric_filter(&self, group: &str, filter: MetricFilter) -> Result<(), LogStoreError> {
        self.known(group)?.put_metric_filter(filter)
    }

    /// Removes a metric filter. Whether there was one.
    ///
    /// # Errors
    /// There is no such group, or the disk cannot be written.
    pub fn delete_metric_filter(&self, group: &str, name: &str) -> Result<bool, LogStoreError> {
        self.known(group)?.delete_metric_filter(name)
    }

    /// The metric filters of every group, or of one, by the group's name and their own.
    pub fn metric_filters(&self, of: Option<&str>) -> Vec<(String, MetricFilter)> {
        let groups = match of {
            Some(name) => self.group(name).into_iter().collect(),
            None => self.all(),
        };
        let filters = groups.iter().flat_map(|group| {
            let filters = group.metric_filters();
            filters.into_iter().map(|filter| (group.name().to_owned(), filter))
        });
        filters.collect()
    }

    /// Makes groups and their metric filters what is declared: by templates, say. A group that was declared and is no
    /// more is deleted, unless it is to stay; one that is there already becomes what is declared of it.
    ///
    /// # Errors
    /// The first that there was; the others are done all the same.
    pub fn declare(&self, declared: &BTreeMap<String, DeclaredGroup>) -> Result<(), LogStoreError> {
        let mut result = Ok(());
        let mut note = |done: Result<(), LogStoreError>| {
            if result.is_ok() {
                result = done;
            }
        };
        for group in self.groups() {
            if group.settings.declared && !declared.contains_key(&group.name) {
                note(self.delete_group(&group.name));
            }
        }
        for (name, wanted) in declared {
            note(self.declare_one(name, wanted));
        }
        result
    }

    fn declare_one(&self, name: &str, wanted: &DeclaredGroup) -> Result<(), LogStoreError> {
        if let Some(settings) = &wanted.settings {
            let settings = GroupSettings { declared: true, ..settings.clone() };
            match self.group(name) {
                None => self.create_group(name, settings)?,
                Some(group) => {
                    // What is set through the API since stays until what is declared changes.
                    let before = group.info().settings;
                    if before.declaration != settings.declaration || !before.declared {
                        self.change_group::<LogStoreError>(name, |present| {
                            *present = settings;
                            Ok(())
                        })?;
                    }
                }
            }
        }
        if self.group(name).is_none() && !wanted.metric_filters.is_empty() {
            return Err(LogStoreError::NoGroup);
        }
        let Some(group) = self.group(name) else { return Ok(()) };
        let present = group.metric_filters();
        for filter in present.iter().filter(|filter| filter.declared) {
            if !wanted.metric_filters.iter().any(|wanted| wanted.name == filter.name) {
                group.delete_metric_filter(&filter.name)?;
            }
        }
        for filter in &wanted.metric_filters {
            if !present.contains(filter) {
                group.put_metric_filter(filter.clone())?;
            }
        }
        Ok(())
    }

    /// What was given up before its time since it was opened.
    pub fn dropped(&self) -> DroppedLogs {
        DroppedLogs {
            events: self.dropped_events.load(Ordering::Relaxed),
            bytes: self.dropped_bytes.load(Ordering::Relaxed),
        }
    }

    /// Bytes of events on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Forgets every group.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn clear(&self) -> Result<(), LogStoreError> {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, group)) = groups.first_key_value() {
            let gone = group.remove(&self.directory)?;
            self.bytes.fetch_sub(gone, Ordering::Relaxed);
            groups.pop_first();
        }
        Ok(())
    }
}

/// What is declared of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeclaredGroup {
    /// The group itself, where it is declared, and not a metric filter of it alone.
    pub settings: Option<GroupSettings>,
    /// Its metric filters.
    pub metric_filters: Vec<MetricFilter>,
}

impl LogWriter for LogStore {
    fn put(
        &self,
        group: &str,
        stream: &str,
        events: Vec<LogEvent>,
        create_group: bool,
    ) -> Result<(), LogWriteError> {
        let write_error = |error: LogStoreError| match error {
            LogStoreError::NoGroup => LogWriteError::NoGroup(group.to_owned()),
            LogStoreError::Io { source, .. } => {
                LogWriteError::Unavailable { reason: source.to_string(), retry_after: RETRY_AFTER }
            }
            LogStoreError::Limit => LogWriteError::Unavailable {
                reason: LogStoreError::Limit.to_string(),
                retry_after: RETRY_AFTER,
            },
            other => LogWriteError::Refused(other.to_string()),
        };
        check_stream_name(stream).map_err(write_error)?;
        if events.iter().any(|event| event.message.len() > MESSAGE_BYTES_MAX) {
            return Err(LogWriteError::Refused(format!("a message has {MESSAGE_BYTES_MAX} bytes at most")));
        }
        let known = match self.group(group) {
            None if create_group => match self.create_group(group, GroupSettings::default()) {
                // Another made it just now.
                Ok(()) | Err(LogStoreError::GroupExists) => self.known(group),
                Err(error) => Err(error),
            },
            known => known.ok_or(LogStoreError::NoGroup),
        };
        known.and_then(|group| self.append_to(&group, stream, &events, true)).map_err(write_error)
    }
}

/// What a group's name is made of. Source: `CreateLogGroup`.
fn check_group_name(name: &str) -> Result<(), LogStoreError> {
    let is_such = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '#');
    match !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_such) {
        true => Ok(()),
        false => Err(LogStoreError::Name(format!(
            "a log group's name has 1 to {NAME_BYTES_MAX} of the characters a-z, A-Z, 0-9, '_', '-', '/', '.' and '#'"
        ))),
    }
}

/// What a stream's name is made of. Source: `CreateLogStream`.
fn check_stream_name(name: &str) -> Result<(), LogStoreError> {
    let is_bad = |c: char| c.is_control() || matches!(c, ':' | '*');
    match !name.is_empty() && name.chars().count() <= NAME_BYTES_MAX && !name.contains(is_bad) {
        true => Ok(()),
        false => Err(LogStoreError::Name(format!(
            "a log stream's name has 1 to {NAME_BYTES_MAX} characters, without ':', '*' and control characters"
        ))),
    }
}

/// The streams of a choice that a set of names is.
impl From<BTreeSet<String>> for Streams {
    fn from(names: BTreeSet<String>) -> Self {
        Self::Named(names)
    }
}
