//! Alarms as CloudWatch has them: what is watched, when it is too much, and what becomes of it.
//!
//! Source: Amazon CloudWatch User Guide, "Using Amazon CloudWatch alarms"; API reference, `MetricAlarm`.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    arn::Arn,
    clock::Timestamp,
    metric::{MetricId, Statistic, Unit},
};

mod evaluate;
mod history;

pub use evaluate::{EXTRA_PERIODS, Judgement, Transition, evaluate, judge, range};
pub use history::{HISTORY_ITEMS_MAX, HISTORY_KEPT, History, HistoryItem, HistoryItemType};

/// Most actions of one state (CloudWatch's bound).
pub const ACTIONS_MAX: usize = 5;

/// Most metric queries of one alarm (CloudWatch's bound).
pub const QUERIES_MAX: usize = 20;

/// Longest time that evaluation periods cover together: a week, and a day where they are shorter than an hour.
pub const fn covered_max(period: Duration) -> Duration {
    if period.as_secs() >= 3_600 { Duration::from_secs(7 * 86_400) } else { Duration::from_secs(86_400) }
}

/// An alarm, and the state that it is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// `…:alarm:NAME`.
    pub arn: Arn,
    /// The name, unique in the account.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// What is watched.
    pub source: AlarmSource,
    /// When it is too much.
    pub rule: AlarmRule,
    /// Whether actions are taken; AWS's default: they are.
    pub actions_enabled: bool,
    /// What is done when it comes to each state: ARNs, or here also URLs.
    pub actions: AlarmActions,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was last put.
    pub configured_at: Timestamp,
    /// What it is in.
    pub state: StateRecord,
}

/// What is done when an alarm comes to each state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmActions {
    /// `OKActions`.
    pub ok: Vec<String>,
    /// `AlarmActions`.
    pub alarm: Vec<String>,
    /// `InsufficientDataActions`.
    pub insufficient_data: Vec<String>,
}

impl AlarmActions {
    /// Those of a state.
    pub fn of(&self, state: AlarmState) -> &[String] {
        match state {
            AlarmState::Ok => &self.ok,
            AlarmState::Alarm => &self.alarm,
            AlarmState::InsufficientData => &self.insufficient_data,
        }
    }
}

/// What an alarm watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlarmSource {
    /// One metric.
    Metric(MetricStat),
    /// `Metrics`: several, of which an expression makes the values that are judged.
    Queries(Vec<MetricQuery>),
}

/// A statistic of a metric, by periods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricStat {
    /// Which metric.
    pub metric: MetricId,
    /// What of its values.
    #[serde(with = "statistic_text")]
    pub statistic: Statistic,
    /// Of how long: 10 s, 30 s, or minutes.
    pub period: Duration,
    /// Values in this unit alone; `None`: whatever they are in.
    pub unit: Option<Unit>,
}

/// An entry of `Metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricQuery {
    /// What expressions call it.
    pub id: String,
    /// Where its values come from.
    pub source: QuerySource,
    /// For people.
    pub label: Option<String>,
    /// Its values are those that are judged: true for exactly one.
    pub return_data: bool,
}

/// Where the values of a metric query come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QuerySource {
    /// A metric.
    Stat(MetricStat),
    /// Metric math over other queries.
    Expression {
        /// As it was given.
        text: String,
        /// `Period`, where it was given.
        period: Option<Duration>,
    },
}

impl AlarmSource {
    /// The period that judgements are made by: the metric's, or the longest of the queries'. A minute where none
    /// is told.
    pub fn period(&self) -> Duration {
        let minute = Duration::from_secs(60);
        let of = |query: &MetricQuery| match &query.source {
            QuerySource::Stat(stat) => Some(stat.period),
            QuerySource::Expression { period, .. } => *period,
        };
        let period = match self {
            Self::Metric(stat) => Some(stat.period),
            Self::Queries(queries) => queries.iter().filter_map(of).max(),
        };
        period.filter(|period| !period.is_zero()).unwrap_or(minute)
    }
}

/// When what is watched is too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmRule {
    /// Over how many periods it looks: N, at least 1.
    pub evaluation_periods: u32,
    /// How many of them must be breaching: M; `None`: all.
    pub datapoints_to_alarm: Option<u32>,
    /// What values are compared with.
    pub threshold: f64,
    /// How they are compared.
    pub comparison: Comparison,
    /// What is made of periods without values.
    pub missing_data: MissingData,
    /// `EvaluateLowSampleCountPercentile: ignore`: percentiles of few samples change nothing.
    pub ignores_few_samples: bool,
}

impl AlarmRule {
    /// M of `M out of N`.
    pub fn needed(&self) -> u32 {
        self.datapoints_to_alarm.unwrap_or(self.evaluation_periods).clamp(1, self.evaluation_periods.max(1))
    }
}

macro_rules! texts {
    ($(#[$doc:meta])* $name:ident, $error:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every one there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As CloudWatch writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        #[doc = concat!("No ", $what, " is called so.")]
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[error("{0} is no {what}", what = $what)]
        pub struct $error(String);

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let found = Self::ALL.iter().copied().find(|one| one.as_str() == text);
                found.ok_or_else(|| $error(text.chars().take(64).collect()))
            }
        }
    };
}

texts! {
    /// How a value is compared with the threshold. Those of CloudWatch that need a band of anomaly detection are not
    /// among them.
    Comparison, UnknownComparison, "comparison operator" {
        /// At least the threshold.
        GreaterThanOrEqualToThreshold => "GreaterThanOrEqualToThreshold",
        /// More than the threshold.
        GreaterThanThreshold => "GreaterThanThreshold",
        /// Less than the threshold.
        LessThanThreshold => "LessThanThreshold",
        /// At most the threshold.
        LessThanOrEqualToThreshold => "LessThanOrEqualToThreshold",
    }
}

impl Comparison {
    /// Whether `value` is on the wrong side of `threshold`. What is no number is not.
    pub fn is_breaching(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThanOrEqualToThreshold => value >= threshold,
            Self::GreaterThanThreshold => value > threshold,
            Self::LessThanThreshold => value < threshold,
            Self::LessThanOrEqualToThreshold => value <= threshold,
        }
    }
}

texts! {
    /// What is made of periods without values: `TreatMissingData`.
    MissingData, UnknownMissingData, "treatment of missing data" {
        /// They are on the wrong side.
        Breaching => "breaching",
        /// They are on the right side.
        NotBreaching => "notBreaching",
        /// The state stays as it is.
        Ignore => "ignore",
        /// AWS's default: nothing is known of them.
        Missing => "missing",
    }
}

texts! {
    /// What an alarm is in.
    AlarmState, UnknownAlarmState, "state of an alarm" {
        /// All is well.
        Ok => "OK",
        /// It is too much.
        Alarm => "ALARM",
        /// Too little is known.
        InsufficientData => "INSUFFICIENT_DATA",
    }
}

/// What an alarm is in, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateRecord {
    /// What it is in.
    pub state: AlarmState,
    /// For people.
    pub reason: String,
    /// JSON, for programs.
    pub reason_data: Option<String>,
    /// When the state or its reason was last written.
    pub updated_at: Timestamp,
    /// When it was last another state.
    pub transitioned_at: Timestamp,
    /// The actions of this state were not taken yet. Kept, so that a restart takes them.
    #[serde(default)]
    pub is_pending: bool,
}

impl StateRecord {
    /// Of an alarm that was made just now.
    pub fn initial(now: Timestamp) -> Self {
        Self {
            state: AlarmState::InsufficientData,
            reason: "Unchecked: Initial alarm creation".into(),
            reason_data: None,
            updated_at: now,
            transitioned_at: now,
            is_pending: false,
        }
    }
}

/// A statistic by the name that CloudWatch has for it.
pub(crate) mod statistic_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::metric::Statistic;

    pub(crate) fn serialize<S: Serializer>(statistic: &Statistic, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(statistic)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Statistic, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
