//! The segments and their index together.

use std::{collections::VecDeque, sync::Arc};

use bowline_model::{clock::Timestamp, trace::TraceId};

use super::{
    TraceCounts, TraceLimits, TraceQuery, TraceSummary,
    index::{Added, Index, Place},
    record::{Batch, Head},
    segment::{Piece, Segment},
};

/// How many segments what may be kept is divided into: one goes at a time.
const SEGMENTS: u64 = 16;

/// Largest segment.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How many bytes wait before the keeper is woken before its time.
const WAITING_MAX: usize = 256 * 1024;

/// Everything that is kept.
#[derive(Debug)]
pub(super) struct State {
    limits: TraceLimits,
    index: Index,
    /// The oldest first; the last is written to.
    pub(super) segments: VecDeque<Segment>,
    next: u32,
    /// Segments whose files are to go.
    pub(super) gone: Vec<u32>,
    taken: u64,
    dropped: u64,
    given_up: u64,
}

impl State {
    pub(super) fn new(limits: TraceLimits) -> Self {
        Self {
            limits,
            index: Index::default(),
            segments: VecDeque::new(),
            next: 1,
            gone: Vec::new(),
            taken: 0,
            dropped: 0,
            given_up: 0,
        }
    }

    /// A segment that was found on the disk, with its records. They come in order.
    pub(super) fn found(&mut self, mut segment: Segment, records: &[(Head, Place)]) {
        for (head, place) in records {
            let _ = self.add(&mut segment, *head, *place);
        }
        self.next = self.next.max(segment.number + 1);
        self.segments.push_back(segment);
    }

    fn segment_bytes(&self) -> u64 {
        (self.limits.bytes_max / SEGMENTS).clamp(1, SEGMENT_BYTES_MAX)
    }

    fn add(&mut self, segment: &mut Segment, head: Head, place: Place) -> bool {
        match self.index.add(head, place) {
            Added::First => segment.traces.push(head.trace),
            Added::More => {}
            Added::TooMany => return false,
        }
        match head.is_span {
            true => segment.spans += 1,
            false => segment.documents += 1,
        }
        true
    }

    /// Takes records in; whether the keeper has reason to come at once.
    pub(super) fn take_in(&mut self, batch: Batch, now: Timestamp) -> bool {
        let count = batch.heads.len() as u64;
        self.taken += count + batch.too_large;
        self.dropped += batch.too_large;
        let unwritten: usize = self.segments.iter().map(Segment::unwritten).sum();
        let has_room = batch.bytes.len() as u64 <= self.segment_bytes()
            && unwritten + batch.bytes.len() <= self.limits.unwritten_max;
        if !has_room || count == 0 {
            self.dropped += count;
            return unwritten > 0;
        }
        let mut segment = self.segment_for(batch.bytes.len(), now);
        let mut offset = segment.length() as u32;
        segment.waiting.extend_from_slice(&batch.bytes);
        segment.newest = now;
        for (head, length) in batch.heads {
            let place = Place { segment: segment.number, offset, length };
            if !self.add(&mut segment, head, place) {
                self.dropped += 1;
            }
            offset += length;
        }
        self.segments.push_back(segment);
        self.give_up(now);
        unwritten + batch.bytes.len() > WAITING_MAX
    }

    /// The segment that so many bytes go into, taken out of the list.
    fn segment_for(&mut self, bytes: usize, now: Timestamp) -> Segment {
        let longest = self.limits.retention / SEGMENTS as u32;
        let (bytes_max, records_max) =
            (self.segment_bytes(), (self.limits.records_max / SEGMENTS as usize).max(1));
        let is_full = |last: &Segment| {
            (last.length() + bytes) as u64 > bytes_max
                || last.records() >= records_max
                || now.since(last.begun) > longest
        };
        match self.segments.pop_back() {
            Some(last) if !is_full(&last) => last,
            last => {
                self.segments.extend(last);
                let number = self.next;
                self.next = self.next.wrapping_add(1);
                Segment::new(number, now)
            }
        }
    }

    /// Gives up what is too old or too much.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        loop {
            let bytes: u64 = self.segments.iter().map(|segment| segment.length() as u64).sum();
            let records: usize = self.segments.iter().map(Segment::records).sum();
            let is_too_much = self.segments.len() > 1
                && (bytes > self.limits.bytes_max || records > self.limits.records_max);
            let is_too_old = |segment: &Segment| now.since(segment.newest) > self.limits.retention;
            if !is_too_much && !self.segments.front().is_some_and(is_too_old) {
                return;
            }
            let Some(oldest) = self.segments.pop_front() else { return };
            self.index.forget(oldest.number, &oldest.traces);
            self.given_up += oldest.records() as u64;
            self.gone.push(oldest.number);
        }
    }

    /// The records of a trace.
    pub(super) fn pieces(&self, trace: TraceId) -> Vec<Piece> {
        let piece = |place: &Place| {
            let at = self.segments.binary_search_by_key(&place.segment, |segment| segment.number).ok()?;
            self.segments[at].piece(*place)
        };
        self.index.places(trace).iter().filter_map(piece).collect()
    }

    pub(super) fn list(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        self.index.list(query)
    }

    pub(super) fn counts(&self) -> TraceCounts {
        let sum = |of: fn(&Segment) -> u64| self.segments.iter().map(of).sum();
        TraceCounts {
            traces: self.index.len() as u64,
            spans: sum(|segment| u64::from(segment.spans)),
            documents: sum(|segment| u64::from(segment.documents)),
            bytes: sum(|segment| segment.length() as u64),
            taken: self.taken,
            dropped: self.dropped,
            given_up: self.given_up,
        }
    }

    pub(super) fn clear(&mut self) {
        self.gone.extend(self.segments.drain(..).map(|segment| segment.number));
        self.index = Index::default();
    }

    /// What is to be written next, of the oldest segment that has something.
    pub(super) fn next_to_write(&mut self) -> Option<ToWrite> {
        let segment = self.segments.iter_mut().find(|segment| segment.unwritten() > 0)?;
        if segment.writing.is_none() {
            segment.writing = Some(Arc::new(std::mem::take(&mut segment.waiting)));
        }
        let bytes = Arc::clone(segment.writing.as_ref()?);
        Some(ToWrite {
            segment: segment.number,
            file: segment.file.clone(),
            offset: u64::from(segment.written),
            bytes,
        })
    }

    /// It is written.
    pub(super) fn wrote(&mut self, number: u32, file: Arc<std::fs::File>) {
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == number) else {
            // Given up meanwhile: its file, which may have been made since, goes too.
            self.gone.push(number);
            return;
        };
        let length = segment.writing.take().map_or(0, |bytes| bytes.len());
        segment.written += length as u32;
        segment.file = Some(file);
    }
}

/// Bytes to be written to a segment's file.
#[derive(Debug)]
pub(super) struct ToWrite {
    pub(super) segment: u32,
    pub(super) file: Option<Arc<std::fs::File>>,
    pub(super) offset: u64,
    pub(super) bytes: Arc<Vec<u8>>,
}
