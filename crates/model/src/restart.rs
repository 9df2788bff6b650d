//! When a task that ended is replaced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Failures within this time count together.
const WINDOW: Duration = Duration::from_secs(10);

/// So many failures in the window begin the back-off.
const THRESHOLD: u32 = 3;

/// The first delay; it doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// How a service's tasks have been failing. A task that was healthy is replaced
/// at once; back-off starts at the third failure in 10 s and ends when a task
/// has become healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartHistory {
    recent: Vec<Timestamp>,
    throttled: u32,
    not_before: Option<Timestamp>,
}

impl RestartHistory {
    /// A task ended that was not told to.
    pub fn failed(&mut self, was_healthy: bool, now: Timestamp) {
        if was_healthy {
            self.recovered();
            return;
        }
        self.recent.retain(|earlier| now.since(*earlier) < WINDOW);
        self.recent.push(now);
        let count = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if count >= THRESHOLD || self.throttled > 0 {
            let delay = FIRST_DELAY.saturating_mul(1 << self.throttled.min(20)).min(LONGEST_DELAY);
            self.throttled = self.throttled.saturating_add(1);
            self.not_before = Some(now + delay);
        }
    }

    /// A task has become healthy.
    pub fn recovered(&mut self) {
        *self = Self::default();
    }

    /// Whether a replacement may start.
    pub fn may_start(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    #[test]
    fn back_off_starts_at_the_third_failure_in_ten_seconds() {
        let mut history = RestartHistory::default();
        history.failed(false, at(0));
        history.failed(false, at(1));
        assert!(history.may_start(at(1)));
        history.failed(false, at(2));
        assert!(!history.may_start(at(2)));
        assert!(history.may_start(at(3)));
        history.failed(false, at(3));
        assert!(!history.may_start(at(4)));
        assert!(history.may_start(at(5)));
    }

    #[test]
    fn a_task_that_was_healthy_is_replaced_at_once() {
        let mut history = RestartHistory::default();
        for second in 0..10 {
            history.failed(true, at(second));
            assert!(history.may_start(at(second)));
        }
    }

    #[test]
    fn slow_failures_do_not_throttle() {
        let mut history = RestartHistory::default();
        for failure in 0..10 {
            history.failed(false, at(failure * 11));
            assert!(history.may_start(at(failure * 11)));
        }
    }

    proptest! {
        #[test]
        fn the_delay_never_exceeds_its_bound(failures in 1u64..200) {
            let mut history = RestartHistory::default();
            for failure in 0..failures {
                history.failed(false, at(failure));
            }
            prop_assert!(history.may_start(at(failures) + LONGEST_DELAY));
        }
    }
}
