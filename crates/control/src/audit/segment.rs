//! The files of a trail, and reading them in either direction.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::chain::LINE_BYTES_MAX;
use super::error::AuditError;

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// What is read of a file at a time, from its end on.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Name of the file that begins with this record; names sort as the records do.
pub(super) fn file_name(first: u64) -> String {
    format!("{PREFIX}{first:020}{SUFFIX}")
}

fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    // One spelling a number.
    (file_name(first) == name).then_some(first)
}

/// The first records of all segments' files of the directory, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(AuditError::io("list", dir)(source)),
    };
    let mut firsts = Vec::new();
    for entry in entries {
        let name = entry.map_err(AuditError::io("list", dir))?.file_name();
        firsts.extend(name.to_str().and_then(first_of));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// A line as it stands in a file.
pub(super) enum RawLine {
    /// Without its newline.
    Whole(Vec<u8>),
    /// The rest of the file has no newline, or none within a line's limit.
    Torn(Vec<u8>),
}

/// The lines of a file, from its beginning on. Memory is bounded by the longest
/// line allowed.
pub(super) struct ForwardLines<'a> {
    reader: BufReader<File>,
    path: &'a Path,
}

impl<'a> ForwardLines<'a> {
    pub(super) fn new(file: File, path: &'a Path) -> Self {
        Self { reader: BufReader::with_capacity(256 * 1024, file), path }
    }

    pub(super) fn next_line(&mut self) -> Result<Option<RawLine>, AuditError> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64;
        (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(AuditError::io("read", self.path))?;
        Ok(match line.last() {
            None => None,
            Some(b'\n') => {
                line.pop();
                Some(RawLine::Whole(line))
            }
            Some(_) => Some(RawLine::Torn(line)),
        })
    }
}

/// The lines of a file's beginning, last first.
pub(super) struct BackwardLines<'a> {
    file: File,
    path: &'a Path,
    /// Where in the file `buffer` begins.
    start: u64,
    /// What was read and not given out yet; ends with the newline of the next
    /// line to give.
    buffer: Vec<u8>,
}

impl<'a> BackwardLines<'a> {
    /// Of the first `end` bytes, which end with a newline.
    pub(super) fn new(file: File, path: &'a Path, end: u64) -> Self {
        Self { file, path, start: end, buffer: Vec::new() }
    }

    /// Where the line given last begins: the `end` to go on from.
    pub(super) fn position(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// The next line up, without its newline. `None` at the file's beginning,
    /// `Torn` where there is no line.
    pub(super) fn next_line(&mut self) -> Result<Option<RawLine>, AuditError> {
        let mut searched = 0;
        loop {
            // The newline that ends the line itself is not looked at.
            let unsearched = self.buffer.len().saturating_sub(searched.max(1));
            if let Some(newline) = self.buffer[..unsearched].iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.take(newline + 1)));
            }
            if self.start == 0 {
                return Ok((!self.buffer.is_empty()).then(|| self.take(0)));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Ok(Some(RawLine::Torn(std::mem::take(&mut self.buffer))));
            }
            searched = self.buffer.len();
            self.read_chunk()?;
        }
    }

    fn take(&mut self, from: usize) -> RawLine {
        let mut line = self.buffer.split_off(from);
        match line.pop() {
            Some(b'\n') => RawLine::Whole(line),
            last => {
                line.extend(last);
                RawLine::Torn(line)
            }
        }
    }

    fn read_chunk(&mut self) -> Result<(), AuditError> {
        let length = self.start.min(CHUNK_BYTES);
        let start = self.start - length;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, start).map_err(AuditError::io("read", self.path))?;
        bytes.append(&mut self.buffer);
        (self.buffer, self.start) = (bytes, start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(first_of(&file_name(42)), Some(42));
        for name in ["audit-42.jsonl", "audit-+0000000000000000042.jsonl", "HEAD", "audit-.jsonl"] {
            assert_eq!(first_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn both_directions_read_the_same(lengths in prop::collection::vec(0_usize..100_000, 0..6)) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("f");
            let lines: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(index, length)| vec![b'a' + index as u8; *length]).collect();
            let bytes: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            std::fs::write(&path, &bytes).expect("writes");
            let open = || File::open(&path).expect("opens");

            let mut forward = ForwardLines::new(open(), &path);
            for line in &lines {
                let read = forward.next_line().expect("reads");
                prop_assert!(matches!(read, Some(RawLine::Whole(read)) if read == *line));
            }
            prop_assert!(forward.next_line().expect("reads").is_none());

            let mut end = bytes.len() as u64;
            for line in lines.iter().rev() {
                // Anew each time, as the pages of a lookup do.
                let mut backward = BackwardLines::new(open(), &path, end);
                let read = backward.next_line().expect("reads");
                prop_assert!(matches!(read, Some(RawLine::Whole(read)) if read == *line));
                end = backward.position();
            }
            prop_assert_eq!(end, 0);
            let mut backward = BackwardLines::new(open(), &path, bytes.len() as u64);
            for line in lines.iter().rev() {
                let read = backward.next_line().expect("reads");
                prop_assert!(matches!(read, Some(RawLine::Whole(read)) if read == *line));
            }
            prop_assert!(backward.next_line().expect("reads").is_none());
        }
    }
}
