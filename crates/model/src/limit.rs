//! Rate limits: a token bucket that fits one atomic (the generic cell rate
//! algorithm, ITU-T I.371): the moment at which the bucket is full again.

use std::time::Duration;

/// How fast tokens come, and how many there can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Nanoseconds for a token.
    per_token: u64,
    burst: u64,
}

/// What taking a token came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was one.
    pub allowed: bool,
    /// Tokens that are left.
    pub remaining: u64,
    /// Until there is one; zero where one was taken.
    pub retry_after: Duration,
    /// Until all are there again.
    pub reset_after: Duration,
}

impl Rate {
    /// So many tokens a second, and at most `burst` at once. `None`: the rate is
    /// not above zero, or slower than one a day, or the burst is zero.
    pub fn new(per_second: f64, burst: u32) -> Option<Self> {
        let per_token = 1e9 / per_second;
        let day = 86_400e9;
        (per_second > 0.0 && per_token <= day && burst > 0)
            .then(|| Self { per_token: (per_token as u64).max(1), burst: u64::from(burst) })
    }

    /// How long an empty bucket takes to be full.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.per_token.saturating_mul(self.burst))
    }

    /// Most tokens.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Takes a token at `now` out of a bucket that is full again at `full_at`,
    /// both nanoseconds of one clock. Returns the bucket's new `full_at`, and
    /// what came of it. A bucket that was never used is full at 0.
    pub fn take(&self, full_at: u64, now: u64) -> (u64, Taken) {
        let window = self.per_token.saturating_mul(self.burst);
        let missing = full_at.saturating_sub(now);
        // Of what is missing the next token must fit into the window.
        let after = missing.saturating_add(self.per_token);
        let allowed = after <= window;
        let missing_then = if allowed { after } else { missing };
        let taken = Taken {
            allowed,
            remaining: window.saturating_sub(missing_then) / self.per_token,
            retry_after: Duration::from_nanos(if allowed { 0 } else { after - window }),
            reset_after: Duration::from_nanos(missing_then),
        };
        (now.saturating_add(missing_then), taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10.0, 5).expect("a rate");
        let (mut full_at, now) = (0, SECOND);
        for left in (0..5).rev() {
            let (then, taken) = rate.take(full_at, now);
            assert_eq!((taken.allowed, taken.remaining), (true, left));
            full_at = then;
        }
        let (same, denied) = rate.take(full_at, now);
        assert_eq!((same, denied.allowed, denied.retry_after), (full_at, false, Duration::from_millis(100)));
        assert_eq!(denied.reset_after, rate.window());
        assert!(rate.take(full_at, now + SECOND / 10).1.allowed);
        assert!(
            Rate::new(0.0, 5).is_none() && Rate::new(f64::NAN, 5).is_none() && Rate::new(1.0, 0).is_none()
        );
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            per_second in 0.1f64..10_000.0, burst in 1u32..100,
            waits in prop::collection::vec(0u64..SECOND / 10, 1..300),
        ) {
            let rate = Rate::new(per_second, burst).expect("a rate");
            let (mut now, mut full_at, mut taken) = (SECOND, 0, 0u64);
            for wait in waits {
                now += wait;
                let (then, result) = rate.take(full_at, now);
                full_at = then;
                taken += u64::from(result.allowed);
                let most = f64::from(burst) + (now - SECOND) as f64 / rate.per_token as f64;
                prop_assert!(taken as f64 <= most + 1e-6, "{taken} of {most}");
                prop_assert!(result.remaining < u64::from(burst));
                if !result.allowed {
                    let later = now + u64::try_from(result.retry_after.as_nanos()).expect("small");
                    prop_assert!(rate.take(full_at, later).1.allowed, "the wait is long enough");
                    prop_assert!(!rate.take(full_at, later - 1).1.allowed, "and not too long");
                }
            }
        }
    }
}
