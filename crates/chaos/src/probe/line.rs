//! What a probe writes: a line of JSON a request.

use std::time::Duration;

use bowline_model::experiment::{Outcome, Sample};
use serde::{Deserialize, Serialize};

/// A line of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A request.
    Sample(SampleLine),
    /// It has ended; the last line.
    Ended {
        /// Requests of which no line could be written, for nobody read.
        dropped: u64,
    },
}

/// A request, in short. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleLine {
    /// When it was due, by `super::clock`.
    t: u64,
    /// How long it took.
    l: u64,
    /// The status it was answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u16>,
    /// The cause of a sidecar's refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<String>,
    /// Why it was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

impl SampleLine {
    /// The line of a request that was due at `at` by `super::clock`.
    #[must_use]
    pub fn new(at: Duration, latency: Duration, outcome: Outcome) -> Self {
        let (s, c, e) = match outcome {
            Outcome::Answered { status, cause } => (Some(status), cause, None),
            Outcome::Unanswered(why) => (None, None, Some(why)),
        };
        Self { t: micros(at), l: micros(latency), s, c, e }
    }

    /// The sample, from `origin` by `super::clock`.
    #[must_use]
    pub fn sample(self, origin: Duration) -> Sample {
        let outcome = match self.s {
            Some(status) => Outcome::Answered { status, cause: self.c },
            None => Outcome::Unanswered(self.e.unwrap_or_else(|| "unknown".to_owned())),
        };
        Sample {
            at: Duration::from_micros(self.t).saturating_sub(origin),
            latency: Duration::from_micros(self.l),
            outcome,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_written() {
        let origin = Duration::from_secs(5);
        for outcome in [
            Outcome::answered(200),
            Outcome::refused(403, "expired"),
            Outcome::Unanswered("timeout".to_owned()),
        ] {
            let (at, latency) = (Duration::from_millis(5_250), Duration::from_micros(1_234));
            let line = Line::Sample(SampleLine::new(at, latency, outcome.clone()));
            let text = serde_json::to_string(&line).expect("it can be written");
            let Ok(Line::Sample(read)) = serde_json::from_str(&text) else { panic!("{text}") };
            assert_eq!(read.sample(origin), Sample { at: Duration::from_millis(250), latency, outcome });
        }
        let ended = serde_json::to_string(&Line::Ended { dropped: 3 }).expect("it can be written");
        assert_eq!(serde_json::from_str::<Line>(&ended).ok(), Some(Line::Ended { dropped: 3 }), "{ended}");
    }
}
