//! Pages of a group's events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    str::FromStr,
    sync::Arc,
};

use bowline_model::clock::Timestamp;

use super::{
    LogStoreError, failed,
    group::{Group, Snapshot},
    segment::{Batch, BatchEvent, Segment, batches},
};

/// Most bytes of segments that a page is looked for in, beyond the first that there is.
const SCANNED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What an event takes beside its message. Source: `PutLogEvents`.
pub(super) const EVENT_OVERHEAD: usize = 26;

/// Digits of a position: of the time, and of the number.
const AT_DIGITS: usize = 20;
const SEQUENCE_DIGITS: usize = 36;

/// A place among a group's events, which are ordered by their time, and those of one time as they came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The time.
    pub at: Timestamp,
    /// The number that the event got when it came in.
    pub sequence: u64,
}

impl Position {
    /// The place right behind this one.
    pub fn next(self) -> Self {
        Self { sequence: self.sequence.saturating_add(1), ..self }
    }
}

/// 56 digits, as an event's id and tokens have on AWS.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0AT_DIGITS$}{:0SEQUENCE_DIGITS$}", self.at.as_millis(), self.sequence)
    }
}

/// A text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let is_such =
            text.len() == AT_DIGITS + SEQUENCE_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        let (at, sequence) = if is_such { text.split_at(AT_DIGITS) } else { return Err(NoPosition) };
        Ok(Self {
            at: Timestamp::from_millis(at.parse().map_err(|_| NoPosition)?),
            sequence: sequence.parse().map_err(|_| NoPosition)?,
        })
    }
}

/// Of which streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// Of all.
    #[default]
    All,
    /// Of those whose names begin so.
    Prefixed(String),
    /// Of those of these names.
    Named(BTreeSet<String>),
}

impl Streams {
    fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefixed(prefix) => name.starts_with(prefix.as_str()),
            Self::Named(names) => names.contains(name),
        }
    }
}

/// What is asked for.
pub struct Reading<'a> {
    /// Of which streams.
    pub streams: Streams,
    /// Events of this time, or later ones.
    pub from: Timestamp,
    /// Events before this time.
    pub until: Timestamp,
    /// Those that are at this place, or behind it.
    pub after: Option<Position>,
    /// Those that are before this place.
    pub before: Option<Position>,
    /// Whether the first are told, or the last, where there are more than fit.
    pub is_forward: bool,
    /// Most events.
    pub limit: usize,
    /// Most bytes, an event's overhead of 26 among them; one event is told at the least.
    pub bytes: usize,
    /// Whether an event of this message is told.
    pub takes: &'a dyn Fn(&str) -> bool,
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its stream.
    pub stream: Arc<str>,
    /// Where it is among the group's events.
    pub position: Position,
    /// When it came in.
    pub ingested_at: Timestamp,
    /// What was written.
    pub message: String,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Events.
    pub events: u64,
    /// Bytes of their messages.
    pub bytes: u64,
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In their order.
    pub events: Vec<StoredEvent>,
    /// Where it goes on: what is told next is at this place or behind it, or, backward, before it. `None` where nothing
    /// is left.
    pub rest: Option<Position>,
    /// How much was looked at.
    pub scanned: Scanned,
}

/// The events of a page while it is looked for: those nearest to where it begins.
struct Collected {
    events: BTreeMap<Position, StoredEvent>,
    bytes: usize,
    is_forward: bool,
    limit: usize,
    bytes_max: usize,
    /// The place from which on, or up to which, nothing is taken any more.
    bound: Option<Position>,
}

impl Collected {
    fn is_wanted(&self, position: Position) -> bool {
        self.bound.is_none_or(|bound| match self.is_forward {
            true => position < bound,
            false => position >= bound,
        })
    }

    fn add(&mut self, event: StoredEvent) {
        self.bytes += event.message.len() + EVENT_OVERHEAD;
        self.events.insert(event.position, event);
        while self.events.len() > self.limit || (self.bytes > self.bytes_max && self.events.len() > 1) {
            let last = if self.is_forward { self.events.pop_last() } else { self.events.pop_first() };
            let Some((position, event)) = last else { return };
            self.bytes -= event.message.len() + EVENT_OVERHEAD;
            // Forward it is the first that is not told; backward what is told is behind it.
            self.bound = Some(if self.is_forward { position } else { position.next() });
        }
    }

    /// Gives up what is at a time or, backward, up to a time: it was not looked through whole.
    fn ends_at(&mut self, at: Timestamp) {
        let bound = match self.is_forward {
            true => Position { at, sequence: 0 },
            false => Position { at, sequence: u64::MAX },
        };
        if self.is_wanted(bound) {
            self.bound = Some(bound);
            let events = std::mem::take(&mut self.events);
            self.events = events.into_iter().filter(|(position, _)| self.is_wanted(*position)).collect();
        }
    }
}

/// The streams of a snapshot that are asked for.
fn chosen(snapshot: &Snapshot, streams: &Streams) -> Result<HashMap<u32, Arc<str>>, LogStoreError> {
    let chosen: HashMap<u32, Arc<str>> = snapshot
        .streams
        .iter()
        .filter(|(_, name)| streams.takes(name))
        .map(|(id, name)| (*id, Arc::clone(name)))
        .collect();
    match streams {
        Streams::Named(names) if chosen.len() < names.len() => Err(LogStoreError::NoStream),
        _ => Ok(chosen),
    }
}

/// Shows every event of a segment that is within a time.
fn each(
    segment: &Segment,
    chosen: &HashMap<u32, Arc<str>>,
    [from, until]: [Timestamp; 2],
    see: &mut dyn FnMut(&Batch<'_>, &Arc<str>, BatchEvent<'_>) -> bool,
) -> Result<(), LogStoreError> {
    let bytes = segment.bytes().map_err(failed(&segment.path))?;
    for batch in batches(&bytes) {
        let Some(stream) = chosen.get(&batch.head.stream) else { continue };
        if batch.head.last_at < from || batch.head.first_at >= until {
            continue;
        }
        for event in batch.events().filter(|event| (from..until).contains(&event.at)) {
            if !see(&batch, stream, event) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether a segment may have events of these streams within a time.
fn meets(segment: &Segment, chosen: &HashMap<u32, Arc<str>>, [from, until]: [Timestamp; 2]) -> bool {
    segment
        .summary
        .streams
        .iter()
        .any(|(id, span)| span.last_at >= from && span.first_at < until && chosen.contains_key(id))
}

pub(super) fn read(group: &Group, reading: &Reading<'_>, now: Timestamp) -> Result<Page, LogStoreError> {
    let snapshot = group.snapshot(now);
    let chosen = chosen(&snapshot, &reading.streams)?;
    let from = reading.from.max(snapshot.horizon).max(reading.after.map_or(Timestamp::default(), |it| it.at));
    let until = reading.before.map_or(reading.until, |it| {
        reading.until.min(Timestamp::from_millis(it.at.as_millis().saturating_add(1)))
    });
    let mut segments: Vec<&Arc<Segment>> =
        snapshot.segments.iter().filter(|segment| meets(segment, &chosen, [from, until])).collect();
    match reading.is_forward {
        true => segments.sort_by_key(|segment| segment.summary.first_at()),
        false => segments.sort_by_key(|segment| std::cmp::Reverse(segment.summary.last_at())),
    }
    let mut collected = Collected {
        events: BTreeMap::new(),
        bytes: 0,
        is_forward: reading.is_forward,
        limit: reading.limit.max(1),
        bytes_max: reading.bytes,
        bound: None,
    };
    let mut scanned = Scanned::default();
    let mut read = 0;
    for segment in segments {
        let near = if reading.is_forward { segment.summary.first_at() } else { segment.summary.last_at() };
        // Nothing in this one, or any after it, is nearer than what there is.
        let is_beyond = collected.bound.is_some_and(|bound| match reading.is_forward {
            true => near > bound.at,
            false => near < bound.at,
        });
        if is_beyond {
            break;
        }
        // It has been much: what is complete is told, if that is anything.
        let goes_on = if reading.is_forward { near > from } else { near.as_millis() + 1 < until.as_millis() };
        if read > SCANNED_BYTES_MAX && goes_on {
            collected.ends_at(near);
            break;
        }
        read += segment.length;
        each(segment, &chosen, [from, until], &mut |batch, stream, event| {
            let position = Position { at: event.at, sequence: event.sequence };
            scanned.events += 1;
            scanned.bytes += event.message.len() as u64;
            let is_asked = reading.after.is_none_or(|after| position >= after)
                && reading.before.is_none_or(|before| position < before);
            if is_asked && collected.is_wanted(position) && (reading.takes)(event.message) {
                collected.add(StoredEvent {
                    stream: Arc::clone(stream),
                    position,
                    ingested_at: batch.head.ingested_at,
                    message: event.message.to_owned(),
                });
            }
            true
        })?;
    }
    Ok(Page { events: collected.events.into_values().collect(), rest: collected.bound, scanned })
}

pub(super) fn scan(
    group: &Group,
    from: Timestamp,
    until: Timestamp,
    now: Timestamp,
    see: &mut dyn FnMut(&StoredEvent) -> bool,
) -> Result<Scanned, LogStoreError> {
    let snapshot = group.snapshot(now);
    let from = from.max(snapshot.horizon);
    let mut scanned = Scanned::default();
    let mut goes_on = true;
    for segment in snapshot.segments.iter().filter(|it| meets(it, &snapshot.streams, [from, until])) {
        each(segment, &snapshot.streams, [from, until], &mut |batch, stream, event| {
            scanned.events += 1;
            scanned.bytes += event.message.len() as u64;
            goes_on = see(&StoredEvent {
                stream: Arc::clone(stream),
                position: Position { at: event.at, sequence: event.sequence },
                ingested_at: batch.head.ingested_at,
                message: event.message.to_owned(),
            });
            goes_on
        })?;
        if !goes_on {
            break;
        }
    }
    Ok(scanned)
}

pub(super) fn tail(
    group: &Group,
    after: u64,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<StoredEvent>, LogStoreError> {
    let snapshot = group.snapshot(now);
    let mut events = Vec::new();
    let span = [snapshot.horizon, Timestamp::from_millis(u64::MAX)];
    for segment in snapshot.segments.iter().filter(|segment| segment.summary.last_sequence > after) {
        each(segment, &snapshot.streams, span, &mut |batch, stream, event| {
            if event.sequence > after {
                events.push(StoredEvent {
                    stream: Arc::clone(stream),
                    position: Position { at: event.at, sequence: event.sequence },
                    ingested_at: batch.head.ingested_at,
                    message: event.message.to_owned(),
                });
            }
            events.len() < limit
        })?;
        if events.len() >= limit {
            break;
        }
    }
    Ok(events)
}
