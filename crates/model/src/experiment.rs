//! What an experiment measures and what is judged by it: requests sent through a fault, what became of each, and
//! whether that is what was expected.
//!
//! Times are offsets from the measurement's beginning, by a clock that only goes forward. As JSON, times are
//! numbers of milliseconds.

mod judge;
pub mod millis;

pub use judge::{Finding, Judgement, Latencies, Marks, PhaseFigures, Second, is_steady, judge, steadiness};

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Why a sidecar refused it, by its answer's body: `expired`, `unknown_ca`, …; `None` for an application's answer.
        cause: Option<String>,
    },
    /// It was not answered, and why, in a word: `connect`, `timeout`, `closed`, `resolve`, `overrun`.
    Unanswered(String),
}

impl Outcome {
    /// An application's answer.
    #[must_use]
    pub fn answered(status: u16) -> Self {
        Self::Answered { status, cause: None }
    }

    /// A sidecar's refusal.
    #[must_use]
    pub fn refused(status: u16, cause: &str) -> Self {
        Self::Answered { status, cause: Some(cause.to_owned()) }
    }

    /// Whether the called application answered, and not that it could not: a status of 200 to 499 but 429, which is a
    /// limit's, and no sidecar's refusal. A path that the application does not know (404) is its answer.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=499, cause: None } if !matches!(self, Self::Answered { status: 429, .. }))
    }
}

/// `200`, `403 expired`, `timeout`
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, cause: None } => write!(f, "{status}"),
            Self::Answered { status, cause: Some(cause) } => write!(f, "{status} {cause}"),
            Self::Unanswered(why) => f.write_str(why),
        }
    }
}

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When it was due to be sent, from the measurement's beginning.
    #[serde(with = "millis")]
    pub at: Duration,
    /// From when it was due until it was answered or given up: a load that is open-loop does not hide its waiting.
    #[serde(with = "millis")]
    pub latency: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// Which outcomes are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Want {
    /// The application's answer: [`Outcome::is_success`].
    Success,
    /// A sidecar's refusal with this status, and one of these causes; of any cause where none is named.
    Refused {
        /// The HTTP status: 403 where an identity is refused.
        status: u16,
        /// Causes; any where there is none.
        causes: Vec<String>,
    },
    /// An answer of this status, whoever gives it.
    Status(u16),
    /// Anything but the application's answer.
    Failure,
    /// One of several.
    AnyOf(Vec<Want>),
}

impl Want {
    /// A sidecar's 403 with that cause.
    #[must_use]
    pub fn forbidden(cause: &str) -> Self {
        Self::Refused { status: 403, causes: vec![cause.to_owned()] }
    }

    /// Whether this outcome is wanted.
    #[must_use]
    pub fn takes(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Success => outcome.is_success(),
            Self::Failure => !outcome.is_success(),
            Self::Status(wanted) => matches!(outcome, Outcome::Answered { status, .. } if status == wanted),
            Self::Refused { status: wanted, causes } => match outcome {
                Outcome::Answered { status, cause: Some(cause) } => {
                    status == wanted && (causes.is_empty() || causes.contains(cause))
                }
                _ => false,
            },
            Self::AnyOf(several) => several.iter().any(|want| want.takes(outcome)),
        }
    }
}

/// `the application's answer`, `403 expired`
impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("the application's answer"),
            Self::Failure => f.write_str("no answer of the application"),
            Self::Status(status) => write!(f, "{status}"),
            Self::Refused { status, causes } if causes.is_empty() => write!(f, "a refusal with {status}"),
            Self::Refused { status, causes } => write!(f, "{status} {}", causes.join(" or ")),
            Self::AnyOf(several) => {
                for (index, want) in several.iter().enumerate() {
                    let before = if index == 0 { "" } else { " or " };
                    write!(f, "{before}{want}")?;
                }
                Ok(())
            }
        }
    }
}

/// What has to be there before a fault, and again after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SteadyState {
    /// What requests have to get.
    pub want: Want,
    /// The smallest share of them, 0 to 1.
    pub share: f64,
}

impl Default for SteadyState {
    /// 99 of 100 requests are answered by the application.
    fn default() -> Self {
        Self { want: Want::Success, share: 0.99 }
    }
}

/// What is expected of requests that are sent through a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// Before the fault and after it.
    pub steady: SteadyState,
    /// What requests have to get while the fault lasts.
    pub during: Want,
    /// The smallest share of them that has to, from when the fault is felt: 0 to 1.
    pub share: f64,
    /// How soon after the injection the share has to be there, and to stay.
    #[serde(with = "millis")]
    pub detect_within: Duration,
    /// How soon after the fault's end the steady state has to be back.
    #[serde(with = "millis")]
    pub recover_within: Duration,
    /// How many requests may be lost: those that got neither what was expected of their phase nor an answer of the
    /// application. `None`: that is not judged beside the share.
    pub lost_max: Option<u64>,
    /// How long 99 of 100 requests may take at most while the fault lasts. `None`: that is not judged.
    #[serde(with = "millis::option")]
    pub p99_max: Option<Duration>,
    /// How many requests the application may answer while the fault lasts, from when it is felt, where it is expected to
    /// answer none. `None`: what the share says.
    pub leaked_max: Option<u64>,
    /// What at least one request has to get while the fault lasts: where none does, the fault was not met, and nothing was
    /// shown. `None`: that is not judged.
    #[serde(default)]
    pub met: Option<Want>,
}

impl Expectation {
    /// Requests are refused in this way, all of them, from two seconds after the injection at the latest, and none
    /// reaches the application; five seconds after the end all is as before.
    #[must_use]
    pub fn refused(during: Want) -> Self {
        Self {
            steady: SteadyState::default(),
            during,
            share: 1.0,
            detect_within: Duration::from_secs(2),
            recover_within: Duration::from_secs(5),
            lost_max: None,
            p99_max: None,
            leaked_max: Some(0),
            met: None,
        }
    }

    /// Of all requests, from the injection on, this share is answered by the application.
    #[must_use]
    pub fn served(share: f64) -> Self {
        Self {
            steady: SteadyState::default(),
            during: Want::Success,
            share,
            detect_within: Duration::ZERO,
            recover_within: Duration::from_secs(5),
            lost_max: None,
            p99_max: None,
            leaked_max: None,
            met: None,
        }
    }
}

impl Expectation {
    /// What is expected where the fault is of a share of new connections only: a request gets either what is expected of
    /// the fault, or the application's answer, and at least one gets the former. Of how many connections a load makes use,
    /// and so how many requests the share is of, is the sidecars' affair.
    #[must_use]
    pub fn of_some_connections(self) -> Self {
        match self.during {
            Want::Success => self,
            during => Self {
                met: Some(during.clone()),
                during: Want::AnyOf(vec![during, Want::Success]),
                leaked_max: None,
                ..self
            },
        }
    }
}

/// What an experiment came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// The hypothesis held.
    Held,
    /// It did not; the findings say why.
    Fell,
    /// It says nothing about this system, and why: there is, for example, no second task.
    NotApplicable(String),
    /// The steady state was not there before: nothing was injected.
    Refused(String),
    /// It could not be carried out, and why.
    Failed(String),
    /// It was broken off; the fault was ended.
    Aborted,
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Fell => "fell",
            Self::NotApplicable(_) => "not applicable",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// Why, where it says so by itself.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotApplicable(reason) | Self::Refused(reason) | Self::Failed(reason) => Some(reason),
            Self::Held | Self::Fell | Self::Aborted => None,
        }
    }
}
