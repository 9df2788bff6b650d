//! Metrics as CloudWatch has them: a name with dimensions, and values that are kept as distributions, so that
//! whatever statistic is asked for later can be told.
//!
//! Source: Amazon CloudWatch concepts (namespaces, dimensions, statistics, percentiles).

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

mod distribution;
pub mod math;
mod unit;

pub use distribution::{Distribution, SCALE};
pub use unit::Unit;

/// Most dimensions that a metric has (CloudWatch's bound).
pub const DIMENSIONS_MAX: usize = 30;

/// Which metric: two with other dimensions are other metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MetricId {
    /// Whose metrics these are: `AWS/ECS`, `ServiceConnect`, or an application's own.
    pub namespace: String,
    /// What is measured.
    pub name: String,
    /// By name of the dimension; the order in which they were given does not matter.
    pub dimensions: BTreeMap<String, String>,
}

impl MetricId {
    /// A metric with the dimensions given.
    pub fn new<'a>(
        namespace: &str,
        name: &str,
        dimensions: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let dimensions = dimensions.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { namespace: namespace.to_owned(), name: name.to_owned(), dimensions: dimensions.collect() }
    }
}

/// Values of one metric that were seen at about one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Datum {
    /// Of which metric.
    pub metric: MetricId,
    /// When: the end of the time in which they were collected.
    pub at: Timestamp,
    /// What they are measured in.
    pub unit: Unit,
    /// The values themselves.
    pub values: Distribution,
    /// Whether seconds are kept for a while (CloudWatch's `StorageResolution` 1), not minutes alone.
    pub is_high_resolution: bool,
}

/// What is asked of the values of a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// How many there were.
    SampleCount,
    /// Their mean.
    Average,
    /// All together.
    Sum,
    /// The least.
    Minimum,
    /// The greatest.
    Maximum,
    /// That below which this share of them lies, in percent: over 0, at most 100.
    Percentile(f64),
}

/// No statistic is called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no statistic: SampleCount, Average, Sum, Minimum, Maximum, or a percentile as p99.9")]
pub struct UnknownStatistic(String);

impl FromStr for Statistic {
    type Err = UnknownStatistic;

    fn from_str(text: &str) -> Result<Self, UnknownStatistic> {
        let unknown = || UnknownStatistic(text.chars().take(64).collect());
        Ok(match text {
            "SampleCount" => Self::SampleCount,
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            _ => {
                let digits = text.strip_prefix('p').ok_or_else(unknown)?;
                let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let percent: f64 = digits.parse().map_err(|_| unknown())?;
                // Not more digits than the bucket of a distribution could mean anything by.
                if !is_decimal || digits.len() > 13 || percent <= 0.0 || percent > 100.0 {
                    return Err(unknown());
                }
                Self::Percentile(percent)
            }
        })
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SampleCount => formatter.write_str("SampleCount"),
            Self::Average => formatter.write_str("Average"),
            Self::Sum => formatter.write_str("Sum"),
            Self::Minimum => formatter.write_str("Minimum"),
            Self::Maximum => formatter.write_str("Maximum"),
            Self::Percentile(percent) => write!(formatter, "p{percent}"),
        }
    }
}

/// Reads metrics that are kept.
pub trait MetricReader: Send + Sync {
    /// The values of a metric, one for each period that has any, oldest first. Periods begin at multiples of
    /// `period` since the epoch, and those are told that begin in `from..until`.
    fn values(
        &self,
        metric: &MetricId,
        statistic: Statistic,
        period: Duration,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, f64)>;
}

/// Takes metrics in.
pub trait MetricWriter: Send + Sync {
    /// Keeps these values. What there is no room for is dropped and counted: this neither fails nor waits.
    fn put(&self, data: Vec<Datum>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_as_they_are_written() {
        for text in ["SampleCount", "Average", "Sum", "Minimum", "Maximum", "p50", "p99.9", "p100"] {
            assert_eq!(text.parse::<Statistic>().map(|statistic| statistic.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "p", "p0", "p101", "p-1", "pNaN", "p1e1", "average", "p99.99999999999999", "tm99"] {
            assert!(text.parse::<Statistic>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_of_dimensions_does_not_matter() {
        let one = MetricId::new("AWS/ECS", "CPUUtilization", [("ClusterName", "c"), ("ServiceName", "s")]);
        let other = MetricId::new("AWS/ECS", "CPUUtilization", [("ServiceName", "s"), ("ClusterName", "c")]);
        assert_eq!(one, other);
    }
}
