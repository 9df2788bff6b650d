//! How often what follows the registry looks at it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Changes that come within so long after a look are looked at together.
const GATHER: Duration = Duration::from_millis(1);
/// Longest time that they wait for it.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// A look that takes less leaves as much time to others. Of a small system nothing waits longer than it has to.
const SHORT: Duration = Duration::from_millis(100);
/// Longer ones take one part of the time in so many: the more there is to look at, the less often it is.
const SHARE: u32 = 10;

/// The pace of one follower: the first change is looked at once, those that follow gather.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// Returns when it is time for a look.
    pub(crate) async fn turn(&self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }

    /// A look that `began` then has ended at `now`.
    pub(crate) fn looked(&mut self, began: Instant, now: Instant) {
        let took = now - began;
        let share = if took < SHORT { 2 } else { SHARE };
        self.next = Some(began + took.saturating_mul(share).clamp(GATHER, GATHER_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_is_looked_at_at_once_and_others_gather() {
        let mut pace = Pace::default();
        assert_eq!(pace.next, None);
        let began = Instant::now();
        pace.looked(began, began);
        assert_eq!(pace.next, Some(began + GATHER));
    }

    #[test]
    fn looks_that_take_long_are_fewer_but_not_without_end() {
        for (took, expected) in [(20, 40), (99, 198), (100, 1_000), (1_000, 1_000)] {
            let mut pace = Pace::default();
            let began = Instant::now();
            pace.looked(began, began + Duration::from_millis(took));
            assert_eq!(pace.next, Some(began + Duration::from_millis(expected)));
        }
    }

    #[tokio::test]
    async fn who_has_waited_does_not_wait_again() {
        let mut pace = Pace::default();
        let began = Instant::now();
        pace.looked(began, began);
        pace.turn().await;
        assert!(began.elapsed() >= GATHER);
        let again = Instant::now();
        pace.turn().await;
        assert!(again.elapsed() < GATHER);
    }
}
