//! A group: its settings, its streams, and the segments that their events are in.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_model::{clock::Timestamp, log::LogEvent, metric::Datum};
use serde::{Deserialize, Serialize};

use super::{
    LogStoreError, MetricFilter, failed,
    journal::{Entry, Journal},
    metric_filter::{METRIC_FILTERS_MAX, Measuring},
    segment::{self, Segment, Summary},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a group's class is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupClass {
    /// All that there is.
    #[default]
    Standard,
    /// On AWS cheaper and with less: here the same.
    InfrequentAccess,
    /// On AWS for what is handed on: here the same.
    Delivery,
}

/// What is set of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSettings {
    /// How many days events are kept; for ever where it is `None`, as far as there is room.
    pub retention_days: Option<u32>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The key that it was said to be encrypted with; what is here is as protected as its file.
    pub kms_key_id: Option<String>,
    /// Its class.
    pub class: GroupClass,
    /// It cannot be deleted.
    #[serde(default)]
    pub deletion_protected: bool,
    /// A template declares it: it goes with the template's stack.
    #[serde(default)]
    pub declared: bool,
    /// What the template declares, to tell when that changes.
    #[serde(default)]
    pub declaration: Option<String>,
}

/// A group as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What is set of it.
    pub settings: GroupSettings,
    /// Bytes of its events on the disk.
    pub stored_bytes: u64,
    /// How many metric filters it has.
    pub metric_filters: usize,
    /// The number of the last event that came in; 0 where none did since the store was opened and none is kept.
    pub last_sequence: u64,
}

/// A stream as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The time of its first event that is kept.
    pub first_event_at: Option<Timestamp>,
    /// The time of its last event that is kept.
    pub last_event_at: Option<Timestamp>,
    /// When it was last written to.
    pub last_ingested_at: Option<Timestamp>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) is_new_segment: bool,
}

/// What was given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) bytes: u64,
    pub(super) events: u64,
}

#[derive(Clone, Debug)]
struct Stream {
    name: Arc<str>,
    created_at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Group {
    name: String,
    created_at: Timestamp,
    directory: PathBuf,
    state: Mutex<State>,
    measuring: Mutex<Measuring>,
}

#[derive(Debug)]
struct State {
    settings: GroupSettings,
    journal: Journal,
    streams: BTreeMap<u32, Stream>,
    ids: HashMap<Arc<str>, u32>,
    next_stream: u32,
    /// Oldest first. The last one is written to, where it is not sealed.
    segments: Vec<Arc<Segment>>,
    is_sealed: bool,
    next_segment: u64,
    next_sequence: u64,
    /// The group was deleted while somebody held it.
    is_gone: bool,
}

/// What a reading needs of a group, as it was at one moment.
pub(super) struct Snapshot {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) streams: HashMap<u32, Arc<str>>,
    /// Older events are not told.
    pub(super) horizon: Timestamp,
}

/// The number of a group's directory.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix("group-")?.parse().ok()
}

fn sync_directory(path: &Path) -> Result<(), LogStoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed(path))
}

/// The number of the next event: it grows over restarts, even where nothing is left of those before.
fn next_sequence(last: u64, now: Timestamp) -> u64 {
    now.as_millis().saturating_mul(1_000).max(last.saturating_add(1))
}

impl Group {
    /// Makes a group in a directory of its own.
    pub(super) fn create(
        parent: &Path,
        number: u64,
        name: &str,
        settings: GroupSettings,
        now: Timestamp,
    ) -> Result<Self, LogStoreError> {
        let directory = parent.join(format!("group-{number:08}"));
        let new = directory.with_extension("new");
        std::fs::create_dir_all(&new).map_err(failed(&new))?;
        let entry = Entry::Group { name: name.to_owned(), created_at: now, settings: settings.clone() };
        Journal::create(&new, &entry).map_err(failed(&new))?;
        sync_directory(&new)?;
        std::fs::rename(&new, &directory).map_err(failed(&directory))?;
        sync_directory(parent)?;
        Self::open(&directory, number, now)
    }

    pub(super) fn open(directory: &Path, _number: u64, now: Timestamp) -> Result<Self, LogStoreError> {
        let (journal, entries) = Journal::open(directory).map_err(failed(directory))?;
        let mut known = None;
        let (mut streams, mut filters) = (BTreeMap::new(), BTreeMap::new());
        let mut next_stream = 1;
        for entry in entries {
            match entry {
                Entry::Group { name, created_at, settings } => known = Some((name, created_at, settings)),
                Entry::Stream { id, name, created_at } => {
                    next_stream = next_stream.max(id.saturating_add(1));
                    streams.insert(id, Stream { name: name.into(), created_at });
                }
                Entry::StreamGone { id } => drop(streams.remove(&id)),
                Entry::MetricFilter(filter) => drop(filters.insert(filter.name.clone(), *filter)),
                Entry::MetricFilterGone { name } => drop(filters.remove(&name)),
            }
        }
        let nameless = || failed(directory)(std::io::Error::other("the journal names no group"));
        let (name, created_at, settings) = known.ok_or_else(nameless)?;
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
            let entry = entry.map_err(failed(directory))?;
            numbers.extend(entry.file_name().to_str().and_then(segment::number));
        }
        numbers.sort_unstable();
        let (mut segments, mut is_sealed) = (Vec::new(), true);
        for number in &numbers {
            match Segment::open(directory, *number) {
                Ok((segment, sealed)) => {
                    is_sealed = sealed;
                    segments.push(Arc::new(segment));
                }
                Err(error) => {
                    is_sealed = true;
                    tracing::error!(group = name, segment = number, %error, "a log segment cannot be read");
                }
            }
        }
        let last = segments.iter().map(|segment| segment.summary.last_sequence).max().unwrap_or(0);
        let state = State {
            settings,
            journal,
            ids: streams.iter().map(|(id, stream)| (Arc::clone(&stream.name), *id)).collect(),
            streams,
            next_stream,
            segments,
            is_sealed,
            next_segment: numbers.last().map_or(1, |last| last + 1),
            next_sequence: next_sequence(last, now),
            is_gone: false,
        };
        let measuring = Measuring::new(filters.into_values());
        let group = Self {
            name,
            created_at,
            directory: directory.to_owned(),
            state: Mutex::new(state),
            measuring: Mutex::new(measuring),
        };
        group.compact(&mut group.lock()).map_err(failed(directory))?;
        Ok(group)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measuring(&self) -> MutexGuard<'_, Measuring> {
        self.measuring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the journal anew where that is worth it.
    fn compact(&self, state: &mut State) -> std::io::Result<()> {
        let group = Entry::Group {
            name: self.name.clone(),
            created_at: self.created_at,
            settings: state.settings.clone(),
        };
        let stream = |(id, stream): (&u32, &Stream)| Entry::Stream {
            id: *id,
            name: stream.name.to_string(),
            created_at: stream.created_at,
        };
        let measuring = self.measuring();
        let filters = measuring.filters().map(|filter| Entry::MetricFilter(Box::new(filter.clone())));
        let entries: Vec<Entry> =
            [group].into_iter().chain(state.streams.iter().map(stream)).chain(filters).collect();
        state.journal.compact(&entries)
    }

    fn write(&self, state: &mut State, entry: &Entry) -> Result<(), LogStoreError> {
        if state.is_gone {
            return Err(LogStoreError::NoGroup);
        }
        state.journal.append(entry).map_err(failed(&self.directory))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().segments.iter().map(|segment| segment.length).sum()
    }

    pub(super) fn info(&self) -> GroupInfo {
        let metric_filters = self.measuring().filters().count();
        let state = self.lock();
        GroupInfo {
            name: self.name.clone(),
            created_at: self.created_at,
            settings: state.settings.clone(),
            stored_bytes: state.segments.iter().map(|segment| segment.length).sum(),
            metric_filters,
            last_sequence: state
                .segments
                .iter()
                .map(|segment| segment.summary.last_sequence)
                .max()
                .unwrap_or(0),
        }
    }

    pub(super) fn change<E: From<LogStoreError>>(
        &self,
        change: impl FnOnce(&mut GroupSettings) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        let mut settings = state.settings.clone();
        change(&mut settings)?;
        if settings != state.settings {
            let entry = Entry::Group {
                name: self.name.clone(),
                created_at: self.created_at,
                settings: settings.clone(),
            };
            self.write(&mut state, &entry)?;
            state.settings = settings;
        }
        Ok(())
    }

    /// Removes its directory. How many bytes of events were in it.
    pub(super) fn remove(&self, parent: &Path) -> Result<u64, LogStoreError> {
        let mut state = self.lock();
        let gone = self.directory.with_extension("gone");
        std::fs::rename(&self.directory, &gone).map_err(failed(&self.directory))?;
        state.is_gone = true;
        let bytes = state.segments.drain(..).map(|segment| segment.length).sum();
        sync_directory(parent)?;
        if let Err(error) = std::fs::remove_dir_all(&gone) {
            tracing::error!(directory = %gone.display(), %error, "a deleted log group's files stay until the next start");
        }
        Ok(bytes)
    }

    pub(super) fn create_stream(&self, name: &str, now: Timestamp, most: usize) -> Result<(), LogStoreError> {
        let mut state = self.lock();
        if state.ids.contains_key(name) {
            return Err(LogStoreError::StreamExists);
        }
        self.add_stream(&mut state, name, now, most).map(|_| ())
    }

    fn add_stream(
        &self,
        state: &mut State,
        name: &str,
        now: Timestamp,
        most: usize,
    ) -> Result<u32, LogStoreError> {
        if state.streams.len() >= most {
            let spans = spans(&state.segments);
            // One without events, or else the one that was written to the longest time ago.
            let oldest = state
                .streams
                .keys()
                .copied()
                .min_by_key(|id| spans.get(id).map(|span| span.last_ingested_at));
            self.forget_stream(state, oldest.ok_or(LogStoreError::Limit)?)?;
        }
        let id = state.next_stream;
        self.write(state, &Entry::Stream { id, name: name.to_owned(), created_at: now })?;
        state.next_stream += 1;
        let name: Arc<str> = name.into();
        state.ids.insert(Arc::clone(&name), id);
        state.streams.insert(id, Stream { name, created_at: now });
        Ok(id)
    }

    fn forget_stream(&self, state: &mut State, id: u32) -> Result<(), LogStoreError> {
        self.write(state, &Entry::StreamGone { id })?;
        if let Some(stream) = state.streams.remove(&id) {
            state.ids.remove(&stream.name);
        }
        self.compact(state).map_err(failed(&self.directory))
    }

    pub(super) fn delete_stream(&self, name: &str) -> Result<(), LogStoreError> {
        let mut state = self.lock();
        let id = state.ids.get(name).copied().ok_or(LogStoreError::NoStream)?;
        self.forget_stream(&mut state, id)
    }

    pub(super) fn streams(&self) -> Vec<StreamInfo> {
        let state = self.lock();
        let spans = spans(&state.segments);
        let mut streams: Vec<StreamInfo> = state
            .streams
            .iter()
            .map(|(id, stream)| {
                let span = spans.get(id);
                StreamInfo {
                    name: stream.name.to_string(),
                    created_at: stream.created_at,
                    first_event_at: span.map(|span| span.first_at),
                    last_event_at: span.map(|span| span.last_at),
                    last_ingested_at: span.map(|span| span.last_ingested_at),
                }
            })
            .collect();
        drop(state);
        streams.sort_by(|one, other| one.name.cmp(&other.name));
        streams
    }

    /// Writes events of a stream, which is made where it is not there and `streams_max` is given.
    pub(super) fn append(
        &self,
        stream: &str,
        events: &[LogEvent],
        now: Timestamp,
        segment_bytes: u64,
        streams_max: Option<usize>,
        total: &AtomicU64,
    ) -> Result<Written, LogStoreError> {
        let mut state = self.lock();
        if state.is_gone {
            return Err(LogStoreError::NoGroup);
        }
        let id = match (state.ids.get(stream), streams_max) {
            (Some(id), _) => *id,
            (None, Some(most)) => self.add_stream(&mut state, stream, now, most)?,
            (None, None) => return Err(LogStoreError::NoStream),
        };
        if events.is_empty() {
            return Ok(Written::default());
        }
        let is_full = state.segments.last().is_some_and(|segment| segment.length >= segment_bytes);
        if is_full && !state.is_sealed {
            if let Some(Err(error)) = state.segments.last().map(|full| full.seal()) {
                tracing::warn!(group = self.name, %error, "a log segment could not be summed up");
            }
            state.is_sealed = true;
        }
        let is_new_segment = state.is_sealed || state.segments.is_empty();
        if is_new_segment {
            let segment = Segment::new(&self.directory, state.next_segment);
            state.next_segment += 1;
            state.segments.push(Arc::new(segment));
            state.is_sealed = false;
        }
        let first_sequence = next_sequence(state.next_sequence.saturating_sub(1), now);
        let Some(last) = state.segments.last_mut() else { return Err(LogStoreError::NoGroup) };
        let before = last.length;
        let segment = Arc::make_mut(last);
        let path = segment.path.clone();
        let file = segment.append(id, events, first_sequence, now).map_err(failed(&path))?;
        let bytes = segment.length - before;
        state.next_sequence = first_sequence + events.len() as u64;
        drop(state);
        // Counted whether or not the disk takes it: it is in the segment.
        total.fetch_add(bytes, Ordering::Relaxed);
        // Others write meanwhile; the disk takes what all of them wrote at once.
        file.sync_data().map_err(failed(&path))?;
        if is_new_segment {
            sync_directory(&self.directory)?;
        }
        Ok(Written { is_new_segment })
    }

    /// From when on the oldest segment ages.
    pub(super) fn oldest_segment(&self) -> Option<Timestamp> {
        Some(self.lock().segments.first()?.summary.ages_from())
    }

    pub(super) fn drop_oldest(&self) -> Option<Gone> {
        let mut state = self.lock();
        if state.segments.is_empty() {
            return None;
        }
        let segment = state.segments.remove(0);
        remove_file(&segment.path);
        state.is_sealed |= state.segments.is_empty();
        Some(Gone { bytes: segment.length, events: segment.summary.events })
    }

    /// Removes the segments that are too old. How many bytes they had.
    pub(super) fn expire(&self, now: Timestamp) -> u64 {
        let mut state = self.lock();
        let horizon = state.horizon(now);
        let mut gone = 0;
        let last = state.segments.last().map(|segment| segment.number);
        let mut is_last_gone = false;
        state.segments.retain(|segment| {
            let stays = segment.summary.ages_from() >= horizon;
            if !stays {
                gone += segment.length;
                is_last_gone |= Some(segment.number) == last;
                remove_file(&segment.path);
            }
            stays
        });
        state.is_sealed |= is_last_gone;
        gone
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let state = self.lock();
        Snapshot {
            segments: state.segments.clone(),
            streams: state.streams.iter().map(|(id, stream)| (*id, Arc::clone(&stream.name))).collect(),
            horizon: state.horizon(now),
        }
    }

    pub(super) fn metric_filters(&self) -> Vec<MetricFilter> {
        self.measuring().filters().cloned().collect()
    }

    pub(super) fn put_metric_filter(&self, filter: MetricFilter) -> Result<(), LogStoreError> {
        let mut state = self.lock();
        let mut measuring = self.measuring();
        let others = measuring.filters().filter(|present| present.name != filter.name).count();
        if others >= METRIC_FILTERS_MAX {
            return Err(LogStoreError::Limit);
        }
        self.write(&mut state, &Entry::MetricFilter(Box::new(filter.clone())))?;
        measuring.put(filter);
        Ok(())
    }

    pub(super) fn delete_metric_filter(&self, name: &str) -> Result<bool, LogStoreError> {
        let mut state = self.lock();
        let mut measuring = self.measuring();
        if !measuring.filters().any(|present| present.name == name) {
            return Ok(false);
        }
        self.write(&mut state, &Entry::MetricFilterGone { name: name.to_owned() })?;
        measuring.remove(name);
        Ok(true)
    }

    /// What the metric filters make of events.
    pub(super) fn measure(&self, events: &[LogEvent]) -> Vec<Datum> {
        self.measuring().measure(events)
    }
}

impl State {
    fn horizon(&self, now: Timestamp) -> Timestamp {
        self.settings.retention_days.map_or(Timestamp::default(), |days| now - DAY * days)
    }
}

fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::error!(file = %path.display(), %error, "a log segment could not be removed");
    }
}

/// What is kept of each stream.
fn spans(segments: &[Arc<Segment>]) -> BTreeMap<u32, segment::Span> {
    let mut all: BTreeMap<u32, segment::Span> = BTreeMap::new();
    for segment in segments {
        let Summary { streams, .. } = &segment.summary;
        for (id, span) in streams {
            let known = all.entry(*id).or_insert(*span);
            known.first_at = known.first_at.min(span.first_at);
            known.last_at = known.last_at.max(span.last_at);
            known.last_ingested_at = known.last_ingested_at.max(span.last_ingested_at);
        }
    }
    all
}
