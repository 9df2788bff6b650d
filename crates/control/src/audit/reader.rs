//! A trail that is only read, with or without a writer at work.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::chain::{AuditKeys, LINE_BYTES_MAX};
use super::error::{AuditError, TamperingKind};
use super::head::{self, Head, HeadFile};
use super::lookup::{self, LookupError, LookupPage, LookupQuery};
use super::segment;
use super::trail::{Index, IndexSegment};
use super::verify::{segment_path, tampered};

/// Reads a trail. Nothing is written and no lock is needed: it may be used beside the trail's
/// writer, in another process.
pub struct AuditReader {
    dir: PathBuf,
    keys: Box<AuditKeys>,
}

impl AuditReader {
    /// For the trail in a directory, with the trail's key.
    pub fn new(dir: impl AsRef<Path>, hmac_key: &[u8; 32]) -> Self {
        Self { dir: dir.as_ref().to_owned(), keys: Box::new(AuditKeys::derive(hmac_key)) }
    }

    /// As [`AuditLog::lookup`](super::AuditLog::lookup): the tokens of one are good for the other.
    ///
    /// # Errors
    /// As there; there is no trail, or its HEAD was tampered with.
    pub fn lookup(&self, query: &LookupQuery) -> Result<LookupPage, LookupError> {
        lookup::in_files(&self.dir, &self.keys, &self.index()?, query)
    }

    /// The files as they are now.
    fn index(&self) -> Result<Index, AuditError> {
        let about_head = |what| tampered(&self.dir, head::FILE.to_owned(), 0, 0, what);
        let head = match Head::read(&self.dir, &self.keys.head)? {
            HeadFile::Genuine(head) => head,
            HeadFile::Altered => return Err(about_head(TamperingKind::HeadAltered)),
            HeadFile::Absent if segment::list(&self.dir)?.is_empty() => {
                return Err(AuditError::Absent { dir: self.dir.clone() });
            }
            HeadFile::Absent => return Err(about_head(TamperingKind::HeadMissing)),
        };
        let active = head.active().first;
        let mut segments = Vec::with_capacity(head.segments.len());
        for mark in &head.segments {
            let path = segment_path(&self.dir, mark.first);
            let file = match File::open(&path) {
                Ok(file) => file,
                // HEAD names a segment before it is made, and another process lets segments expire.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => return Err(AuditError::io("open", &path)(source)),
            };
            let bytes = whole_bytes(&file).map_err(AuditError::io("read", &path))?;
            // What is written now may be later than what HEAD knows of the segment.
            let times = mark.times.clone().filter(|_| mark.first != active);
            segments.push(IndexSegment { first: mark.first, bytes, times });
        }
        Ok(Index { segments, anchor: None })
    }
}

impl std::fmt::Debug for AuditReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditReader").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Up to the last newline: what follows is being written, or was left by a kill.
fn whole_bytes(file: &File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut left = LINE_BYTES_MAX as u64;
    let mut buffer = vec![0; 64 * 1024];
    while end > 0 && left > 0 {
        let length = end.min(left).min(buffer.len() as u64);
        let chunk = &mut buffer[..length as usize];
        file.read_exact_at(chunk, end - length)?;
        if let Some(newline) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(end - length + newline as u64 + 1);
        }
        (end, left) = (end - length, left - length);
    }
    // No line at all, unless the file is not the trail's.
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::audit::{AuditLog, tests as trail_tests};

    #[tokio::test]
    async fn reads_whole_lines_beside_a_writer_and_refuses_a_head_that_was_altered() {
        let dir = tempfile::tempdir().expect("a directory");
        let reader = AuditReader::new(dir.path(), &trail_tests::KEY);
        let query = LookupQuery { max_results: 2, ..LookupQuery::default() };
        assert!(matches!(reader.lookup(&query), Err(LookupError::Trail(AuditError::Absent { .. }))));

        let log = AuditLog::open(dir.path(), &trail_tests::KEY, trail_tests::options()).expect("opens");
        (0..3).for_each(|number| log.record(trail_tests::event(number)).expect("is taken"));
        log.flush().await.expect("is durable");
        // As if the writer were in the middle of a line.
        let segment = segment_path(dir.path(), 1);
        let mut file = File::options().append(true).open(segment).expect("opens");
        file.write_all(&vec![b'x'; 100_000]).expect("writes");
        let first = reader.lookup(&query).expect("is found");
        let names: Vec<_> = first.events.iter().map(|event| event.event_name.as_str()).collect();
        assert_eq!(names, ["Call2", "Call1"]);
        // A page's token is good for the trail's writer too.
        let next = LookupQuery { next_token: first.next_token, ..query.clone() };
        assert_eq!(reader.lookup(&next).expect("is found"), log.lookup(&next).expect("is found"));

        std::fs::write(dir.path().join(head::FILE), "{}\n").expect("writes");
        assert!(matches!(reader.lookup(&query), Err(LookupError::Trail(AuditError::Tampered { .. }))));
    }
}
