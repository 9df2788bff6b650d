//! Where each trace's records are, and which traces there are by their beginning.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

use bowline_model::trace::TraceId;

use super::{RECORDS_OF_TRACE_MAX, TraceQuery, TraceSummary, record::Head};

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's number.
    pub(super) segment: u32,
    /// Where its frame begins there.
    pub(super) offset: u32,
    /// How many bytes the frame takes.
    pub(super) length: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    start_us: u64,
    end_us: u64,
    is_fault: bool,
    /// In the order in which they came, which is that of the segments.
    places: Vec<Place>,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    traces: HashMap<TraceId, Entry>,
    by_start: BTreeSet<(u64, TraceId)>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is the trace's first in its segment.
    First,
    /// The trace has others there.
    More,
    /// The trace has as many as it may have.
    TooMany,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.traces.len()
    }

    pub(super) fn add(&mut self, head: Head, place: Place) -> Added {
        let end_us = head.start_us.saturating_add(head.duration_us);
        let Some(entry) = self.traces.get_mut(&head.trace) else {
            let entry =
                Entry { start_us: head.start_us, end_us, is_fault: head.is_fault, places: vec![place] };
            self.traces.insert(head.trace, entry);
            self.by_start.insert((head.start_us, head.trace));
            return Added::First;
        };
        if entry.places.len() >= RECORDS_OF_TRACE_MAX {
            return Added::TooMany;
        }
        let added = match entry.places.last() {
            Some(last) if last.segment == place.segment => Added::More,
            _ => Added::First,
        };
        entry.places.push(place);
        entry.end_us = entry.end_us.max(end_us);
        entry.is_fault |= head.is_fault;
        if head.start_us < entry.start_us {
            self.by_start.remove(&(entry.start_us, head.trace));
            entry.start_us = head.start_us;
            self.by_start.insert((head.start_us, head.trace));
        }
        added
    }

    pub(super) fn places(&self, trace: TraceId) -> &[Place] {
        self.traces.get(&trace).map_or(&[], |entry| &entry.places)
    }

    /// Forgets what these traces have in the oldest segment. Whatever else they have tells of the same beginning and end
    /// as before: a trace that is half gone is not known to be shorter.
    pub(super) fn forget(&mut self, segment: u32, traces: &[TraceId]) {
        for trace in traces {
            let Some(entry) = self.traces.get_mut(trace) else { continue };
            entry.places.retain(|place| place.segment != segment);
            if entry.places.is_empty() {
                self.by_start.remove(&(entry.start_us, *trace));
                self.traces.remove(trace);
            }
        }
    }

    pub(super) fn list(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        let lowest = TraceId::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let at = |start_us: u64| lowest.map(|lowest| (start_us, lowest));
        let first = at(query.from_us).map_or(Bound::Unbounded, Bound::Included);
        let last = at(query.until_us).map_or(Bound::Unbounded, Bound::Excluded);
        let (first, last) = match (query.after, query.newest_first) {
            (Some(after), true) if after.0 < query.until_us => (first, Bound::Excluded(after)),
            (Some(after), false) if after.0 >= query.from_us => (Bound::Excluded(after), last),
            _ => (first, last),
        };
        // A set's ranges must be in order.
        let is_empty = match (&first, &last) {
            (Bound::Included(first), Bound::Excluded(last)) => first >= last,
            (Bound::Excluded(first), Bound::Excluded(last)) => first >= last,
            _ => false,
        };
        if is_empty {
            return Vec::new();
        }
        let range = self.by_start.range((first, last));
        let told = |key: &(u64, TraceId)| self.told(key.1, query);
        match query.newest_first {
            true => range.rev().filter_map(told).take(query.limit).collect(),
            false => range.filter_map(told).take(query.limit).collect(),
        }
    }

    fn told(&self, id: TraceId, query: &TraceQuery) -> Option<TraceSummary> {
        let entry = self.traces.get(&id)?;
        let duration_us = entry.end_us.saturating_sub(entry.start_us);
        let is_asked_for = (!query.failed || entry.is_fault) && duration_us >= query.slower_us;
        is_asked_for.then_some(TraceSummary {
            id,
            start_us: entry.start_us,
            duration_us,
            is_fault: entry.is_fault,
            records: entry.places.len(),
        })
    }
}
