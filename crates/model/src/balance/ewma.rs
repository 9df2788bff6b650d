//! Peak EWMA: a moving average of how long an endpoint takes that rises at once
//! and falls slowly, so that one bad answer is remembered and a hundred good
//! ones forgive it (as Finagle and Linkerd have it).

use std::time::Duration;

use crate::clock::Timestamp;

/// How long it takes until a measurement counts for about a third.
pub const DECAY: Duration = Duration::from_secs(10);
/// What a failure counts for at least: an endpoint that fails fast is not fast.
pub const FAILURE: Duration = Duration::from_secs(1);

/// The average at a moment. Packs into 64 bits, 0 being no measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ewma {
    micros: u32,
    /// The moment's lowest 32 bits of milliseconds: 49 days.
    at: u32,
}

impl Ewma {
    /// From [`Ewma::pack`].
    pub fn unpack(packed: u64) -> Self {
        Self { micros: (packed >> 32) as u32, at: packed as u32 }
    }

    /// For an atomic.
    pub fn pack(self) -> u64 {
        (u64::from(self.micros) << 32) | u64::from(self.at)
    }

    /// One more measurement.
    #[must_use]
    pub fn observe(self, took: Duration, now: Timestamp) -> Self {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let at = now.as_millis() as u32;
        let before = self.at_time(at);
        let micros = match took >= before {
            true => took,
            false => {
                // What was measured since counts by how long it was.
                let kept = self.kept(at);
                (f64::from(self.micros) * kept + f64::from(took) * (1.0 - kept)).round() as u32
            }
        };
        Self { micros: micros.max(1), at }
    }

    /// How much a request costs that joins `active` others.
    pub fn cost(self, active: u32, now: Timestamp) -> u64 {
        match (self.micros, active) {
            // Nothing is known of it: one request finds out.
            (0, 0) => 0,
            (0, _) => u64::MAX,
            _ => u64::from(self.at_time(now.as_millis() as u32).max(1)) * (u64::from(active) + 1),
        }
    }

    /// The average, fallen since it was measured: who was slow is tried again.
    fn at_time(self, at: u32) -> u32 {
        (f64::from(self.micros) * self.kept(at)) as u32
    }

    fn kept(self, at: u32) -> f64 {
        let passed = at.wrapping_sub(self.at);
        // A clock that was set back.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
        (-f64::from(passed) / DECAY.as_millis() as f64).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(u64::from(u32::MAX) * 400 + millis)
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let millis = Duration::from_millis;
        let mut ewma = Ewma::default().observe(millis(10), at(0));
        let calm = ewma.cost(0, at(1));
        ewma = Ewma::unpack(ewma.pack()).observe(millis(500), at(10));
        let peak = ewma.cost(0, at(10));
        assert!(peak >= 499_000 && calm <= 10_000, "{peak} {calm}");
        for step in 1..=100 {
            ewma = ewma.observe(millis(10), at(10 + step * 10));
        }
        let later = ewma.cost(0, at(1_020));
        assert!(later > 400_000, "one second is soon: {later}");
        assert!(ewma.cost(0, at(60_000)) < 5_000, "a minute forgives");
        assert!(ewma.cost(3, at(1_020)) == later * 4);
    }

    #[test]
    fn the_unknown_is_tried_once() {
        assert_eq!(Ewma::default().cost(0, at(0)), 0);
        assert_eq!(Ewma::default().cost(1, at(0)), u64::MAX);
        let back = Ewma::default().observe(Duration::from_millis(5), at(1_000));
        assert_eq!(back.cost(0, at(0)), 5_000, "a clock that was set back");
    }
}
