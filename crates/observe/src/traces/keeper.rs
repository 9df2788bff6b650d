//! The thread that writes segments and removes those that are given up.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::clock::Timestamp;

use super::{
    Shared, TraceLimits, TraceStoreError,
    index::Place,
    record,
    segment::{self, Segment},
    state::{State, ToWrite},
};
use crate::metrics::codec::{self, Bytes};

/// How long what came in waits to be written, at the most, and how long a disk that cannot be written is left alone.
const INTERVAL: Duration = Duration::from_millis(500);

/// Wakes the keeper.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Whether there is something to do, and whether it is the end.
    rung: Mutex<(bool, bool)>,
    woken: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).0 = true;
        self.woken.notify_one();
    }

    pub(super) fn close(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.woken.notify_one();
    }

    /// Waits for a ring, or for so long; whether it is the end.
    fn wait(&self, limit: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .woken
            .wait_timeout_while(rung, limit, |(is_rung, is_over)| !*is_rung && !*is_over)
            .unwrap_or_else(PoisonError::into_inner);
        rung.0 = false;
        rung.1
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TraceStoreError {
    let path = path.to_owned();
    move |source| TraceStoreError::Io { path, source }
}

/// Reads what is in a directory.
pub(super) fn open(directory: &Path, limits: TraceLimits, now: Timestamp) -> Result<State, TraceStoreError> {
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let name = entry.map_err(failed(directory))?.file_name();
        numbers.extend(name.to_str().and_then(segment::number));
    }
    numbers.sort_unstable();
    let mut state = State::new(limits);
    for number in numbers {
        let path = segment::path(directory, number);
        read_segment(&mut state, number, &path, now).map_err(failed(&path))?;
    }
    state.give_up(now);
    Ok(state)
}

fn read_segment(state: &mut State, number: u32, path: &Path, now: Timestamp) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    let mut frames = codec::frames(&bytes);
    let (mut records, mut offset) = (Vec::new(), 0);
    while let Some(payload) = frames.next() {
        let length = frames.whole - offset;
        if let Some(head) = record::head(&mut Bytes(payload)) {
            records.push((head, Place { segment: number, offset: offset as u32, length: length as u32 }));
        }
        offset = frames.whole;
    }
    let file = File::options().read(true).write(true).open(path)?;
    let changed = file.metadata()?.modified().ok();
    // Half a record is left of a process that was killed. Cutting makes a file new, even where nothing is cut.
    if offset != bytes.len() {
        file.set_len(offset as u64)?;
    }
    let since = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let newest = since.map_or(now, |since| Timestamp::from_millis(since.as_millis() as u64)).min(now);
    let mut segment = Segment::new(number, newest);
    segment.file = Some(Arc::new(file));
    segment.written = offset as u32;
    state.found(segment, &records);
    Ok(())
}

/// The thread.
pub(super) struct Keeper {
    directory: PathBuf,
    shared: Arc<Shared>,
    is_failing: bool,
}

impl Keeper {
    pub(super) fn new(directory: PathBuf, shared: Arc<Shared>) -> Self {
        Self { directory, shared, is_failing: false }
    }

    pub(super) fn run(mut self) {
        loop {
            let is_over = self.shared.bell.wait(INTERVAL);
            let now = (self.shared.clock)();
            self.shared.state().give_up(now);
            match self.work() {
                Ok(()) if self.is_failing => {
                    self.is_failing = false;
                    tracing::info!("traces are written again");
                }
                Err(error) if !self.is_failing => {
                    self.is_failing = true;
                    tracing::warn!(%error, directory = %self.directory.display(), "traces cannot be written; they are kept in memory while there is room");
                }
                _ => {}
            }
            if is_over {
                return;
            }
        }
    }

    fn work(&self) -> io::Result<()> {
        // First: it makes room where the disk is full.
        let removed = self.remove_gone();
        while let Some(next) = { self.shared.state().next_to_write() } {
            let file = self.write(&next)?;
            self.shared.state().wrote(next.segment, file);
        }
        removed
    }

    fn remove_gone(&self) -> io::Result<()> {
        let mut gone = std::mem::take(&mut self.shared.state().gone);
        while let Some(number) = gone.pop() {
            match std::fs::remove_file(segment::path(&self.directory, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    gone.push(number);
                    self.shared.state().gone.append(&mut gone);
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// At its place: what an attempt that failed has left there is written over.
    fn write(&self, next: &ToWrite) -> io::Result<Arc<File>> {
        let file = match &next.file {
            Some(file) => Arc::clone(file),
            None => {
                let path = segment::path(&self.directory, next.segment);
                Arc::new(File::options().read(true).write(true).create(true).truncate(true).open(path)?)
            }
        };
        file.write_all_at(&next.bytes, next.offset)?;
        Ok(file)
    }
}
