//! Of each size of durations the last one whose trace was sampled: what leads from a number to a trace.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bowline_model::trace::TraceId;
use bowline_plumbing::{
    exposition::{Exemplar, POWERS},
    wall_clock,
};

/// One for each bucket that is exposed, and one for what is beyond.
const PLACES: usize = (*POWERS.end() - *POWERS.start()) as usize + 2;

#[derive(Clone, Copy, Debug)]
struct Seen {
    trace: TraceId,
    seconds: f64,
    at: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<[Option<Seen>; PLACES]>);

/// The first exposed bucket that a duration fits in.
fn place(duration: Duration) -> usize {
    let power = (duration.as_secs_f64() * 1e3).log2().ceil();
    let place = power - f64::from(*POWERS.start());
    // What is no time at all is in the first.
    place.clamp(0.0, (PLACES - 1) as f64) as usize
}

impl Exemplars {
    /// A request of a sampled trace took so long. Where somebody reads them at this moment it is not kept.
    pub(super) fn put(&self, trace: TraceId, duration: Duration) {
        if let Ok(mut places) = self.0.try_lock() {
            let at = wall_clock::now().as_secs_f64();
            places[place(duration)] = Some(Seen { trace, seconds: duration.as_secs_f64(), at });
        }
    }

    /// What there is, the shortest first.
    pub(super) fn all(&self) -> Vec<Exemplar> {
        let places = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told =
            |seen: Seen| Exemplar { trace_id: seen.trace.to_string(), value: seen.seconds, at: seen.at };
        places.into_iter().flatten().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_the_last_one() {
        for (microseconds, expected) in [(0, 0), (250, 0), (251, 1), (1_000, 2), (1_001, 3), (65_536_000, 18)]
        {
            assert_eq!(place(Duration::from_micros(microseconds)), expected, "{microseconds} us");
        }
        assert_eq!(place(Duration::from_secs(1_000_000)), PLACES - 1);
        let exemplars = Exemplars::default();
        let trace = |byte| TraceId::new([byte; 16]).expect("an id");
        for (byte, milliseconds) in [(1, 900), (2, 3), (3, 4)] {
            exemplars.put(trace(byte), Duration::from_millis(milliseconds));
        }
        let all: Vec<_> = exemplars.all().into_iter().map(|one| (one.trace_id, one.value)).collect();
        assert_eq!(all, [(trace(3).to_string(), 0.004), (trace(1).to_string(), 0.9)]);
    }
}
