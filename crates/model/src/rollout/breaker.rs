//! When a deployment counts as failed: AWS's deployment circuit breaker.

/// Fewest failed tasks of AWS's bounded threshold.
const FEWEST: u32 = 3;

/// Most failed tasks of AWS's bounded threshold.
const MOST: u32 = 200;

/// `thresholdConfiguration`: how many failed tasks make a deployment fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// `COUNT`: so many.
    Count(u32),
    /// `BOUNDED_PERCENT`: so many of a hundred wanted, at least 3 and at most 200.
    BoundedPercent(u32),
    /// `UNBOUNDED_PERCENT`: so many of a hundred wanted, at least one.
    UnboundedPercent(u32),
}

impl Default for Threshold {
    /// AWS's: half of what is wanted, within its bounds.
    fn default() -> Self {
        Self::BoundedPercent(50)
    }
}

impl Threshold {
    /// Failed tasks that make a deployment of `desired` tasks fail.
    pub fn tasks(self, desired: u32) -> u32 {
        match self {
            Self::Count(count) => count.max(1),
            Self::BoundedPercent(percent) => super::percent_ceil(desired, percent).clamp(FEWEST, MOST),
            Self::UnboundedPercent(percent) => super::percent_ceil(desired, percent).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_awss() {
        for (desired, tasks) in [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (5_000, 200)] {
            assert_eq!(Threshold::default().tasks(desired), tasks, "{desired}");
        }
        assert_eq!(Threshold::Count(0).tasks(100), 1);
        assert_eq!(Threshold::Count(7).tasks(1), 7);
        assert_eq!(Threshold::UnboundedPercent(10).tasks(5), 1);
        assert_eq!(Threshold::UnboundedPercent(50).tasks(5_000), 2_500);
    }
}
