//! How often what follows the registry looks at it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Changes that come within so long after a look are looked at together.
const GATHER: Duration = Duration::from_millis(1);
/// A follower's looks take one part of the time in so many: the more there is to look at, the less often it is.
const SHARE: u32 = 10;

/// The pace of one follower: the first change is looked at once, those that follow gather.
#[derive(Debug)]
pub(crate) struct Pace {
    gather_max: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// Of a follower that lets changes wait so long for a look, however long looks take; longer only where they would take
    /// more than half of the time.
    pub(crate) fn new(gather_max: Duration) -> Self {
        Self { gather_max, next: None }
    }

    /// Returns when it is time for a look.
    pub(crate) async fn turn(&self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }

    /// A look that `began` then has ended at `now`.
    pub(crate) fn looked(&mut self, began: Instant, now: Instant) {
        let took = now - began;
        let pause = took.saturating_mul(SHARE).max(GATHER).min(self.gather_max);
        self.next = Some(began + pause.max(took.saturating_mul(2)));
    }
}

impl Default for Pace {
    /// Of a follower that nobody waits for: changes wait for a second at most.
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
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
        let long = Duration::from_secs(1);
        for (gather_max, took, expected) in [
            (long, 3, 30),
            (long, 99, 990),
            (long, 200, 1_000),
            (long, 900, 1_800),
            (long / 20, 3, 30),
            (long / 20, 30, 60),
        ] {
            let mut pace = Pace::new(gather_max);
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
