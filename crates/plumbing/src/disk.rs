//! Room on a disk, as those ask who are about to write: an experiment can take it away for a time, in this process alone.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bowline_model::clock::Timestamp;

use crate::wall_clock;

/// The disk that a process keeps its state on. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    inner: Arc<Inner>,
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Disk {}

#[derive(Debug, Default)]
struct Inner {
    /// Until when it is full, milliseconds since 1970; 0: it is not.
    full_until: AtomicU64,
    refused: AtomicU64,
}

impl Disk {
    /// Asked before each write.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`]: what `write(2)` says by `ENOSPC`.
    pub fn room(&self) -> io::Result<()> {
        let until = self.inner.full_until.load(Ordering::Acquire);
        if until == 0 || wall_clock::now() >= Timestamp::from_millis(until) {
            return Ok(());
        }
        self.inner.refused.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
    }

    /// It is full from now on, until `until` at the latest: by itself it has room then. False: it is full already.
    #[must_use]
    pub fn fill(&self, until: Timestamp) -> bool {
        let now = wall_clock::now().as_millis();
        let is_over = |before: u64| (before <= now).then(|| until.as_millis());
        let filled = self.inner.full_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_over).is_ok();
        if filled {
            self.inner.refused.store(0, Ordering::Relaxed);
        }
        filled
    }

    /// It has room again.
    pub fn empty(&self) {
        self.inner.full_until.store(0, Ordering::Release);
    }

    /// How many writes had no room since it was filled last.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::Relaxed)
    }
}

/// Whether that is what went wrong: there is no room on a disk, or none that this user may have.
#[must_use]
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let is =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|error| error.downcast_ref::<io::Error>()).any(is)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_full_until_it_is_emptied_or_its_time_is_over() {
        let disk = Disk::default();
        assert!(disk.room().is_ok());
        let hour = Duration::from_secs(3600);
        assert!(disk.fill(wall_clock::now() + hour));
        assert!(!disk.fill(wall_clock::now() + hour), "who filled it first empties it");
        let refused = disk.clone().room().expect_err("it is full");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!(is_full(&refused) && !is_full(&io::Error::from(io::ErrorKind::NotFound)));
        assert_eq!(disk.refused(), 1);
        disk.empty();
        assert!(disk.room().is_ok());
        assert!(disk.fill(wall_clock::now() - hour), "and is over at once");
        assert!(disk.room().is_ok());
        assert_eq!(disk.refused(), 0);
    }
}
