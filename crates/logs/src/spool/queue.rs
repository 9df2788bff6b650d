//! Spools of a process that must not wait for a disk: lines go into bounded queues in memory, and one thread writes them.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

use super::{Record, SpoolLimits, SpoolWriter, SyncPolicy};

const SYNC_EACH: Duration = Duration::from_secs(1);

/// Spools that one thread writes.
#[derive(Debug)]
pub struct Spools {
    shared: Arc<Shared>,
    directory: PathBuf,
    thread: Option<JoinHandle<()>>,
}

/// A source's queue.
#[derive(Clone, Debug)]
pub struct Source {
    shared: Arc<Shared>,
    index: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something is queued, or the end has come.
    queued: Condvar,
    /// There is room again.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    sources: Vec<Queue>,
    barriers: Vec<oneshot::Sender<()>>,
    closed: bool,
}

#[derive(Debug)]
struct Queue {
    directory: PathBuf,
    limits: SpoolLimits,
    waiting: VecDeque<Record>,
    bytes: u64,
    bytes_max: u64,
    lost: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spools {
    /// Starts the thread; spools are directories of `directory`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(directory: &Path, policy: SyncPolicy) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("spool".into())
            .spawn(move || Writing { shared: of_thread, policy, writers: Vec::new() }.run())?;
        Ok(Self { shared, directory: directory.to_owned(), thread: Some(thread) })
    }

    /// A source with a spool of this name, of which at most `bytes_max` bytes may wait in memory.
    pub fn source(&self, name: &str, limits: SpoolLimits, bytes_max: u64) -> Source {
        let mut state = self.shared.lock();
        state.sources.push(Queue {
            directory: self.directory.join(name),
            limits,
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_max,
            lost: 0,
        });
        Source { shared: Arc::clone(&self.shared), index: state.sources.len() - 1 }
    }

    /// Writes what is queued, marks the spools as complete, and ends the thread.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.lock().closed = true;
        self.shared.queued.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Spools {
    fn drop(&mut self) {
        self.end();
    }
}

impl Source {
    /// Queues a record, or gives it back where there is no room.
    ///
    /// # Errors
    /// The record.
    pub fn try_push(&self, record: Record) -> Result<(), Record> {
        let mut state = self.shared.lock();
        let queue = &mut state.sources[self.index];
        if queue.bytes > 0 && queue.bytes + record.cost() > queue.bytes_max {
            return Err(record);
        }
        queue.bytes += record.cost();
        queue.waiting.push_back(record);
        self.shared.queued.notify_one();
        Ok(())
    }

    /// Queues a record, or counts it as lost where there is no room.
    pub fn push_or_lose(&self, record: Record) {
        if self.try_push(record).is_err() {
            self.shared.lock().sources[self.index].lost += 1;
        }
    }

    /// Queues a record once there is room.
    pub async fn push(&self, mut record: Record) {
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Registered before it is looked: room that is made in between wakes this.
            room.as_mut().enable();
            match self.try_push(record) {
                Ok(()) => return,
                Err(back) => record = back,
            }
            room.await;
        }
    }

    /// Returns once all that was queued before is written.
    ///
    /// # Errors
    /// Some of it could not be: it is lost.
    pub async fn written(&self) -> io::Result<()> {
        let (done, waiting) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            if state.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.barriers.push(done);
            self.shared.queued.notify_one();
        }
        waiting.await.map_err(|_| io::Error::new(io::ErrorKind::StorageFull, "the spool takes nothing"))
    }
}

/// The thread's own.
struct Writing {
    shared: Arc<Shared>,
    policy: SyncPolicy,
    /// By the source's index; `None` where the spool could not be opened.
    writers: Vec<Option<SpoolWriter>>,
}

impl Writing {
    fn run(mut self) {
        let mut synced = Instant::now();
        let mut dirty = false;
        loop {
            let (batches, mut barriers, closed) = self.take(dirty);
            for (index, (records, lost, directory, limits)) in batches.into_iter().enumerate() {
                dirty |= !records.is_empty();
                if !self.write(index, &records, lost, &directory, limits) {
                    // Who waits must not say that it is kept.
                    barriers.clear();
                }
            }
            if dirty && (self.policy == SyncPolicy::Always || synced.elapsed() >= SYNC_EACH) {
                for writer in self.writers.iter_mut().flatten() {
                    // What the disk does not keep is there until the power goes.
                    let _ = writer.sync();
                }
                (dirty, synced) = (false, Instant::now());
            }
            for barrier in barriers {
                let _ = barrier.send(());
            }
            self.shared.room.notify_waiters();
            if closed {
                break;
            }
        }
        for writer in self.writers.into_iter().flatten() {
            let _ = writer.close();
        }
    }

    /// What is queued, once there is something, or it is time to sync.
    #[allow(clippy::type_complexity)] // Its parts go to one place each.
    fn take(
        &self,
        dirty: bool,
    ) -> (Vec<(VecDeque<Record>, u64, PathBuf, SpoolLimits)>, Vec<oneshot::Sender<()>>, bool) {
        let mut state = self.shared.lock();
        loop {
            let queued = state.sources.iter().any(|queue| !queue.waiting.is_empty() || queue.lost > 0);
            if queued || state.closed || !state.barriers.is_empty() {
                break;
            }
            if dirty {
                let (again, timed_out) = self
                    .shared
                    .queued
                    .wait_timeout(state, SYNC_EACH)
                    .map(|(state, timeout)| (state, timeout.timed_out()))
                    .unwrap_or_else(|poisoned| (poisoned.into_inner().0, true));
                state = again;
                if timed_out {
                    break;
                }
            } else {
                state = self.shared.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let batches = state
            .sources
            .iter_mut()
            .map(|queue| {
                queue.bytes = 0;
                let lost = std::mem::take(&mut queue.lost);
                (std::mem::take(&mut queue.waiting), lost, queue.directory.clone(), queue.limits)
            })
            .collect();
        (batches, std::mem::take(&mut state.barriers), state.closed)
    }

    /// Whether all of it is written.
    fn write(
        &mut self,
        index: usize,
        records: &VecDeque<Record>,
        lost: u64,
        directory: &Path,
        limits: SpoolLimits,
    ) -> bool {
        if self.writers.len() <= index {
            self.writers.resize_with(index + 1, || None);
        }
        let writer = &mut self.writers[index];
        if writer.is_none() && (!records.is_empty() || lost > 0) {
            // A disk that is full now may have room for the next ones.
            *writer = SpoolWriter::open(directory, limits).ok();
        }
        let Some(writer) = writer else { return records.is_empty() };
        for record in records {
            writer.append(record);
        }
        let written = writer.flush();
        writer.skip(lost);
        written.is_ok()
    }
}
