//! How finely values are kept, and for how long.

use std::time::Duration;

use bowline_model::clock::Timestamp;

/// How many tiers there are.
pub(super) const TIERS: usize = 4;

/// Seconds of a period of each tier. Source: `CloudWatch` concepts, "Metrics retention".
pub(super) const SECONDS: [u64; TIERS] = [1, 60, 300, 3600];

/// How long each tier is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Periods of one second, of high-resolution metrics alone: 3 hours by default.
    pub seconds: Duration,
    /// Of one minute: 15 days by default.
    pub minutes: Duration,
    /// Of five minutes: 63 days by default.
    pub five_minutes: Duration,
    /// Of one hour: 455 days by default.
    pub hours: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self {
            seconds: Duration::from_secs(3 * 3600),
            minutes: days(15),
            five_minutes: days(63),
            hours: days(455),
        }
    }
}

impl Retention {
    /// By tier.
    pub(super) fn of(&self, tier: usize) -> Duration {
        match tier {
            0 => self.seconds,
            1 => self.minutes,
            2 => self.five_minutes,
            _ => self.hours,
        }
    }

    /// The second before which a tier has nothing.
    pub(super) fn horizon(&self, tier: usize, now: Timestamp) -> u64 {
        (now - self.of(tier)).as_secs()
    }

    /// The second before which nothing is kept at all.
    pub(super) fn last_horizon(&self, now: Timestamp) -> u64 {
        (0..TIERS).map(|tier| self.horizon(tier, now)).min().unwrap_or(0)
    }
}

/// The coarsest tier that periods of `period` seconds which begin `offset` seconds after multiples of `period` can be
/// told from: it is kept longest, and has the fewest values to put together.
pub(super) fn for_periods(period: u64, offset: u64) -> usize {
    let divides = |seconds: &u64| period % seconds == 0 && offset % seconds == 0;
    SECONDS.iter().rposition(divides).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarsest_that_divides_is_taken() {
        let seconds = |period, offset| SECONDS[for_periods(period, offset)];
        assert_eq!([seconds(1, 0), seconds(30, 0), seconds(90, 0)], [1, 1, 1]);
        assert_eq!([seconds(60, 0), seconds(120, 0), seconds(300, 120)], [60, 60, 60]);
        assert_eq!([seconds(300, 0), seconds(900, 600)], [300, 300]);
        assert_eq!([seconds(3600, 0), seconds(86_400, 3600), seconds(86_400, 60)], [3600, 3600, 60]);
    }
}
