//! The level of the proxy's log, changed for a time while it runs. It returns by itself, whatever has become of the
//! control plane meanwhile.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_model::{clock::Timestamp, diagnostics::LogState};
use bowline_plumbing::{
    telemetry::{LogFilter, LogFilterError},
    wall_clock,
};
use tokio::task::AbortHandle;

/// Longest time for another level.
const LASTING_MAX: Duration = Duration::from_secs(24 * 3600);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct LogLevel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` where the program that the proxy runs in logs on its own.
    filter: Option<LogFilter>,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    until: Option<Timestamp>,
    /// Grows with each change: the timer of an earlier one does nothing.
    turn: u64,
    timer: Option<AbortHandle>,
}

impl LogLevel {
    pub(crate) fn new(filter: Option<LogFilter>) -> Self {
        Self(Arc::new(Inner { filter, present: Mutex::default() }))
    }

    /// Logs by `filter` for so long, a day at most; by the proxy's own again if that is no time at all. To be called
    /// within a runtime.
    pub(crate) fn set(&self, filter: &str, lasting: Duration) -> Result<LogState, LogFilterError> {
        let own = self.0.filter.as_ref().ok_or(LogFilterError::Gone)?;
        let lasting = lasting.min(LASTING_MAX);
        let mut present = self.lock();
        let until = if lasting.is_zero() {
            own.reset()?;
            None
        } else {
            own.set(filter)?;
            Some(wall_clock::now() + lasting)
        };
        present.turn += 1;
        present.until = until;
        if let Some(earlier) = present.timer.take() {
            earlier.abort();
        }
        if until.is_some() {
            let (later, turn) = (self.clone(), present.turn);
            let timer = tokio::spawn(async move {
                tokio::time::sleep(lasting).await;
                later.reset(turn);
            });
            present.timer = Some(timer.abort_handle());
        }
        drop(present);
        let state = self.state();
        tracing::warn!(filter = state.filter, ?lasting, "the level of the log was changed");
        Ok(state)
    }

    fn reset(&self, turn: u64) {
        let mut present = self.lock();
        if present.turn != turn {
            return;
        }
        present.until = None;
        drop(present);
        if let Some(filter) = &self.0.filter {
            // An error means that nothing is logged any more.
            let _ = filter.reset();
        }
        tracing::warn!("the level of the log is the proxy's own again");
    }

    /// What is logged now.
    pub(crate) fn state(&self) -> LogState {
        let filter = self.0.filter.as_ref().map(LogFilter::present).unwrap_or_default();
        LogState { filter, until: self.lock().until }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until it logs so.
    async fn until(level: &LogLevel, is: impl Fn(&LogState) -> bool) {
        let waited = async {
            while !is(&level.state()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited).await.expect("in time");
    }

    #[tokio::test]
    async fn another_level_returns_by_itself_and_the_latest_decides_when() {
        let (_layer, filter) = LogFilter::new("warn".parse().expect("a filter"));
        let level = LogLevel::new(Some(filter));
        let own = level.state();
        let first = level.set("debug", Duration::from_millis(40)).expect("set");
        assert!(first.filter.contains("bowline=debug") && first.until.is_some(), "{first:?}");
        let second = level.set("trace", Duration::from_millis(400)).expect("set");
        // The first one's time is over before the second's, which is nothing to that one.
        until(&level, |_| wall_clock::now() > first.until.expect("a time") + Duration::from_millis(100))
            .await;
        assert_eq!(level.state(), second);
        until(&level, |state| *state == own).await;
    }

    #[tokio::test]
    async fn it_can_be_taken_back_and_what_is_no_level_changes_nothing() {
        let (_layer, filter) = LogFilter::new("warn".parse().expect("a filter"));
        let level = LogLevel::new(Some(filter));
        let own = level.state();
        let set = level.set("debug", Duration::from_secs(60)).expect("set");
        assert!(level.set("loud", Duration::from_millis(1)).is_err());
        assert_eq!(level.state(), set, "the refused one's time is nobody's");
        assert_eq!(level.set("", Duration::ZERO).expect("taken back"), own);
        assert!(LogLevel::new(None).set("debug", Duration::from_secs(1)).is_err());
    }
}
