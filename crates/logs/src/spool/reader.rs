//! Reads a spool, and remembers on disk how far each output has come.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    ENDED, Record,
    frame::{MAGIC, decode},
    segment_path, segments,
};

const CURSORS: &str = "cursors.json";

/// Most bytes of a segment that are read at once: a batch, and a record that begins in it.
const READ_BYTES: u64 = 2 * 1024 * 1024 + 4096;

/// Records read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The records, with their numbers; the oldest first.
    pub records: Vec<(u64, Record)>,
    /// Where the next batch begins, once this one was delivered.
    pub next: u64,
    /// Records before `next` that are not there any more.
    pub lost: u64,
}

/// The one that reads a spool, for all outputs.
#[derive(Debug)]
pub struct SpoolReader {
    directory: PathBuf,
    cursors: BTreeMap<String, u64>,
    /// Where a record stands that was the end of a batch: number, segment and offset.
    known: BTreeMap<u64, (u64, u64)>,
}

impl SpoolReader {
    /// Opens the spool in `directory` for these outputs. An output that is new begins with the oldest record.
    pub fn open(directory: &Path, outputs: &[String]) -> Self {
        // A file that a power failure has torn is no file: what was delivered before is delivered again.
        let text = fs::read(directory.join(CURSORS)).unwrap_or_default();
        let before: BTreeMap<String, u64> = serde_json::from_slice(&text).unwrap_or_default();
        let cursors = outputs
            .iter()
            .map(|output| (output.clone(), before.get(output).copied().unwrap_or_default()))
            .collect();
        Self { directory: directory.to_owned(), cursors, known: BTreeMap::new() }
    }

    /// Where an output goes on.
    pub fn cursor(&self, output: &str) -> u64 {
        self.cursors.get(output).copied().unwrap_or_default()
    }

    /// Whether nothing is appended any more. What was appended before can be read.
    pub fn is_ended(&self) -> bool {
        self.directory.join(ENDED).exists()
    }

    /// Bytes that an output has yet to be given, roughly.
    pub fn queued_bytes(&self, output: &str) -> u64 {
        let cursor = self.cursor(output);
        let Ok(segments) = segments(&self.directory) else { return 0 };
        let total =
            |from: u64| segments.iter().filter(|(first, _)| *first >= from).map(|(_, b)| b).sum::<u64>();
        match self.known.get(&cursor) {
            Some((segment, offset)) => total(*segment).saturating_sub(*offset),
            None => total(cursor),
        }
    }

    /// Reads on from record `from`: at most so many records and bytes, but one record if there is any.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub fn read(&mut self, from: u64, records_max: usize, bytes_max: u64) -> io::Result<Batch> {
        let mut batch = Batch { next: from, ..Batch::default() };
        // Listed before it is read: a segment that has a successor gets no more records.
        let segments = match segments(&self.directory) {
            Ok(segments) => segments,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(batch),
            Err(error) => return Err(error),
        };
        let begin = segments.partition_point(|(first, _)| *first <= from).saturating_sub(1);
        let mut bytes = 0;
        for (index, (first, _)) in segments.iter().enumerate().skip(begin) {
            if *first > batch.next {
                batch.lost += first - batch.next;
                batch.next = *first;
            }
            let is_last = index + 1 == segments.len();
            let successor = segments.get(index + 1).map(|(first, _)| *first);
            if successor.is_some_and(|successor| successor <= batch.next) {
                continue;
            }
            match self.read_segment(*first, &mut batch, records_max, &mut bytes, bytes_max) {
                // It had to make room just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(Ended::Full) => break,
                Ok(Ended::End) => {}
            }
            if is_last {
                break;
            }
        }
        Ok(batch)
    }

    fn read_segment(
        &mut self,
        first: u64,
        batch: &mut Batch,
        records_max: usize,
        bytes: &mut u64,
        bytes_max: u64,
    ) -> io::Result<Ended> {
        let mut file = File::open(segment_path(&self.directory, first))?;
        let (mut number, mut offset) = match self.known.get(&batch.next) {
            Some((segment, offset)) if *segment == first => (batch.next, *offset),
            _ => (first, 0),
        };
        loop {
            let mut chunk = Vec::new();
            file.seek(SeekFrom::Start(offset))?;
            file.by_ref().take(READ_BYTES).read_to_end(&mut chunk)?;
            let mut at = 0;
            if offset == 0 {
                if !chunk.starts_with(&MAGIC) {
                    return Ok(Ended::End);
                }
                at = MAGIC.len();
            }
            let begun = at;
            while let Some((record, length)) = decode(&chunk[at..]) {
                if number >= batch.next {
                    if batch.records.len() >= records_max
                        || (*bytes >= bytes_max && !batch.records.is_empty())
                    {
                        self.remember(number, first, offset + at as u64);
                        return Ok(Ended::Full);
                    }
                    *bytes += record.cost();
                    batch.records.push((number, record));
                    batch.next = number + 1;
                }
                number += 1;
                at += length;
            }
            offset += at as u64;
            if (chunk.len() as u64) < READ_BYTES || at == begun {
                self.remember(number, first, offset);
                return Ok(Ended::End);
            }
        }
    }

    /// Few positions are of use: those that outputs are at.
    fn remember(&mut self, number: u64, segment: u64, offset: u64) {
        let oldest = self.cursors.values().copied().min().unwrap_or_default();
        self.known.retain(|known, _| *known >= oldest);
        if self.known.len() >= 64 {
            self.known.pop_last();
        }
        self.known.insert(number, (segment, offset));
    }

    /// Keeps that an output was given all before record `next`, and removes what every output was given.
    ///
    /// # Errors
    /// It could not be kept: after a crash, records are delivered a second time.
    pub fn commit(&mut self, output: &str, next: u64) -> io::Result<()> {
        if let Some(cursor) = self.cursors.get_mut(output) {
            *cursor = next.max(*cursor);
        }
        let temporary = self.directory.join("cursors.json.new");
        fs::write(&temporary, serde_json::to_vec(&self.cursors)?)?;
        fs::rename(temporary, self.directory.join(CURSORS))?;
        self.trim()
    }

    /// The last segment stays: it may be written to.
    fn trim(&self) -> io::Result<()> {
        let delivered = self.cursors.values().copied().min().unwrap_or_default();
        for pair in segments(&self.directory)?.windows(2) {
            let [(first, _), (successor, _)] = pair else { continue };
            if *successor > delivered {
                break;
            }
            match fs::remove_file(segment_path(&self.directory, *first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// How the reading of a segment ended.
enum Ended {
    /// The batch is full.
    Full,
    /// There is no whole record more.
    End,
}
