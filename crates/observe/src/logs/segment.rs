//! A file of batches, one after the other as they came.
//!
//! A batch is a frame: stream, when it came in, the number of its first event, the times that its events are between,
//! and the events. A segment that is full ends with a frame that sums it up, and where that frame begins; one without
//! that is read through when the store is opened, and cut off behind its last whole frame.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bowline_model::{clock::Timestamp, log::LogEvent};
use serde::{Deserialize, Serialize};

use crate::metrics::codec::{Bytes, frames, put_frame, put_text, put_whole, unzigzag, zigzag};

/// Ends a sealed segment, after the place of its summary.
const SEAL: &[u8; 8] = b"bwlnlogs";
/// The place of the summary, and the seal.
const TRAILER_BYTES: u64 = 16;
/// Of batches and summaries.
const KIND_BATCH: u8 = 0;
const KIND_SUMMARY: u8 = 1;
/// Most bytes of messages that are written as one frame.
const FRAME_MESSAGES_BYTES: usize = 4 * 1024 * 1024;

/// What of a stream is in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) last_ingested_at: Timestamp,
}

/// What is in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) events: u64,
    pub(super) last_sequence: u64,
    pub(super) streams: BTreeMap<u32, Span>,
}

impl Summary {
    pub(super) fn first_at(&self) -> Timestamp {
        self.streams.values().map(|span| span.first_at).min().unwrap_or_default()
    }

    pub(super) fn last_at(&self) -> Timestamp {
        self.streams.values().map(|span| span.last_at).max().unwrap_or_default()
    }

    /// From when on it is too old to keep: a time that a client made up does not keep it for longer than it is here.
    pub(super) fn ages_from(&self) -> Timestamp {
        let ages_from = |span: &Span| span.last_at.min(span.last_ingested_at);
        self.streams.values().map(ages_from).max().unwrap_or_default()
    }

    fn add(&mut self, head: &BatchHead) {
        self.events += head.count;
        self.last_sequence = self.last_sequence.max(head.first_sequence + head.count.saturating_sub(1));
        let new = Span { first_at: head.first_at, last_at: head.last_at, last_ingested_at: head.ingested_at };
        let span = self.streams.entry(head.stream).or_insert(new);
        span.first_at = span.first_at.min(new.first_at);
        span.last_at = span.last_at.max(new.last_at);
        span.last_ingested_at = span.last_ingested_at.max(new.last_ingested_at);
    }
}

/// A segment as it is known in memory.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Bytes of whole batches.
    pub(super) length: u64,
    pub(super) summary: Summary,
}

/// What precedes the events of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) stream: u32,
    pub(super) ingested_at: Timestamp,
    pub(super) first_sequence: u64,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    count: u64,
}

/// An event within a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchEvent<'a> {
    pub(super) at: Timestamp,
    pub(super) sequence: u64,
    pub(super) message: &'a str,
}

/// A batch as it stands in a file.
pub(super) struct Batch<'a> {
    pub(super) head: BatchHead,
    events: &'a [u8],
}

impl<'a> Batch<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(frame);
        if bytes.byte()? != KIND_BATCH {
            return None;
        }
        let moment = |bytes: &mut Bytes<'a>| bytes.whole().map(Timestamp::from_millis);
        let head = BatchHead {
            stream: u32::try_from(bytes.whole()?).ok()?,
            ingested_at: moment(&mut bytes)?,
            first_sequence: bytes.whole()?,
            first_at: moment(&mut bytes)?,
            last_at: moment(&mut bytes)?,
            count: bytes.whole()?,
        };
        Some(Self { head, events: bytes.0 })
    }

    /// Its events in the order in which they came.
    pub(super) fn events(&self) -> impl Iterator<Item = BatchEvent<'a>> + use<'a> {
        let mut bytes = Bytes(self.events);
        let head = self.head;
        let mut at = head.first_at.as_millis();
        (0..head.count).map_while(move |number| {
            at = at.checked_add_signed(unzigzag(bytes.whole()?))?;
            Some(BatchEvent {
                at: Timestamp::from_millis(at),
                sequence: head.first_sequence.checked_add(number)?,
                message: bytes.text()?,
            })
        })
    }
}

/// The batches at the front of a segment's bytes, up to what is not whole.
pub(super) fn batches(bytes: &[u8]) -> impl Iterator<Item = Batch<'_>> {
    frames(bytes).map_while(Batch::read)
}

impl Segment {
    pub(super) fn new(directory: &Path, number: u64) -> Self {
        Self { number, path: directory.join(file_name(number)), length: 0, summary: Summary::default() }
    }

    /// Opens a segment; whether it is sealed. What a process that was killed left half written is cut off.
    pub(super) fn open(directory: &Path, number: u64) -> io::Result<(Self, bool)> {
        let mut segment = Self::new(directory, number);
        let mut file = File::options().read(true).write(true).open(&segment.path)?;
        let bytes = file.metadata()?.len();
        if let Some(summary) = sealed_summary(&mut file, bytes)? {
            (segment.length, segment.summary) = summary;
            return Ok((segment, true));
        }
        let mut all = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut all)?;
        let mut frames = frames(&all);
        loop {
            let whole = frames.whole;
            match frames.next().and_then(Batch::read) {
                Some(batch) => segment.summary.add(&batch.head),
                None => {
                    segment.length = whole as u64;
                    break;
                }
            }
        }
        if segment.length < bytes {
            tracing::warn!(
                segment = %segment.path.display(), bytes = bytes - segment.length,
                "the end of a log segment was half written, and is cut off"
            );
            file.set_len(segment.length)?;
        }
        Ok((segment, false))
    }

    /// Writes events at its end. Nothing of them is there on an error. The file is given back for the caller to wait
    /// for the disk.
    pub(super) fn append(
        &mut self,
        stream: u32,
        events: &[LogEvent],
        first_sequence: u64,
        ingested_at: Timestamp,
    ) -> io::Result<File> {
        let mut out = Vec::new();
        let mut heads = Vec::new();
        let (mut sequence, mut rest) = (first_sequence, events);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |event: &&LogEvent| {
                bytes += event.message.len();
                bytes <= FRAME_MESSAGES_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(count);
            heads.push(put_batch(&mut out, stream, batch, sequence, ingested_at));
            sequence += count as u64;
            rest = after;
        }
        let file = self.write(&out)?;
        self.length += out.len() as u64;
        heads.iter().for_each(|head| self.summary.add(head));
        Ok(file)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<File> {
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        // What an earlier failure may have left behind.
        if file.metadata()?.len() != self.length {
            file.set_len(self.length)?;
        }
        if let Err(error) = file.write_all(bytes) {
            let _ = file.set_len(self.length);
            return Err(error);
        }
        Ok(file)
    }

    /// Ends it with its summary. What is not sealed is read through when it is opened: an error costs that only.
    pub(super) fn seal(&self) -> io::Result<()> {
        let mut out = Vec::new();
        let mut payload = vec![KIND_SUMMARY];
        serde_json::to_writer(&mut payload, &self.summary)?;
        put_frame(&mut out, &payload);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(SEAL);
        self.write(&out)?.sync_data()
    }

    /// Its batches' bytes; none where it was removed meanwhile.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(self.length).unwrap_or(0));
        file.take(self.length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The length of a sealed segment's batches, and its summary; `None` where it is not sealed.
fn sealed_summary(file: &mut File, bytes: u64) -> io::Result<Option<(u64, Summary)>> {
    let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES) else { return Ok(None) };
    file.seek(SeekFrom::Start(trailer_at))?;
    let (mut place, mut seal) = ([0; 8], [0; 8]);
    file.read_exact(&mut place)?;
    file.read_exact(&mut seal)?;
    let place = u64::from_le_bytes(place);
    if seal != *SEAL || place > trailer_at {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(place))?;
    let mut frame = Vec::new();
    file.take(trailer_at - place).read_to_end(&mut frame)?;
    let payload = frames(&frame).next().and_then(|payload| payload.strip_prefix(&[KIND_SUMMARY]));
    Ok(payload.and_then(|payload| serde_json::from_slice(payload).ok()).map(|summary| (place, summary)))
}

fn put_batch(
    out: &mut Vec<u8>,
    stream: u32,
    events: &[LogEvent],
    first_sequence: u64,
    ingested_at: Timestamp,
) -> BatchHead {
    let times = events.iter().map(|event| event.at);
    let head = BatchHead {
        stream,
        ingested_at,
        first_sequence,
        first_at: times.clone().min().unwrap_or_default(),
        last_at: times.max().unwrap_or_default(),
        count: events.len() as u64,
    };
    let mut payload = vec![KIND_BATCH];
    let BatchHead { first_at, last_at, count, .. } = head;
    for number in [
        u64::from(stream),
        ingested_at.as_millis(),
        first_sequence,
        first_at.as_millis(),
        last_at.as_millis(),
        count,
    ] {
        put_whole(&mut payload, number);
    }
    let mut before = first_at.as_millis();
    for event in events {
        let at = event.at.as_millis();
        put_whole(&mut payload, zigzag(at.wrapping_sub(before) as i64));
        put_text(&mut payload, &event.message);
        before = at;
    }
    put_frame(out, &payload);
    head
}

fn file_name(number: u64) -> String {
    format!("{number:012}.segment")
}

/// The number of a segment's file.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".segment")?.parse().ok()
}
