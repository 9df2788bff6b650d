//! The current time, for code at the edges; decisions take it as an argument.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bowline_model::clock::Timestamp;

/// Milliseconds by which this process's clock is ahead on purpose; 0 most of the time.
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);
/// When that ends, in milliseconds from [`BEGIN`]: whatever has become of who set it.
static WRONG_UNTIL: AtomicU64 = AtomicU64::new(0);
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, by the system's clock. A clock before 1970 reads as 1970. Wrong for as long as [`set_wrong`] says.
pub fn now() -> Timestamp {
    let (now, ahead_ms) = (machine(), AHEAD_MS.load(Relaxed));
    if ahead_ms == 0 || millis(BEGIN.elapsed()) >= WRONG_UNTIL.load(Relaxed) {
        return now;
    }
    Timestamp::from_millis(now.as_millis().saturating_add_signed(ahead_ms))
}

/// As [`now`], never wrong on purpose: for the deadlines of faults.
pub fn machine() -> Timestamp {
    Timestamp::from_millis(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// Has this process's clock be wrong until then, or no longer (0): a fault on purpose. Only a sidecar does so, which is
/// a process of its own.
pub fn set_wrong(ahead_ms: i64, until: Instant) {
    WRONG_UNTIL.store(millis(until.saturating_duration_since(*BEGIN)), Relaxed);
    AHEAD_MS.store(ahead_ms, Relaxed);
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
