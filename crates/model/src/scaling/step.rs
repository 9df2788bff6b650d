//! Step scaling: so many more or fewer, by how far a metric is beyond an alarm's threshold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{COOLDOWN_DEFAULT, Demand};

/// Most steps of a policy (AWS's quota).
pub const STEPS_MAX: usize = 20;

/// What a step's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adjustment {
    /// So many more or fewer.
    ChangeInCapacity,
    /// So many of a hundred more or fewer.
    PercentChangeInCapacity,
    /// So many.
    ExactCapacity,
}

/// What is made of the values of several periods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregation {
    /// AWS's default.
    #[default]
    Average,
    /// The least.
    Minimum,
    /// The greatest.
    Maximum,
}

impl Aggregation {
    /// Of these values; `None` where there are none.
    pub fn of(self, values: impl IntoIterator<Item = f64>) -> Option<f64> {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        match self {
            Self::Average if values.is_empty() => None,
            Self::Average => Some(values.iter().sum::<f64>() / values.len() as f64),
            Self::Minimum => values.into_iter().reduce(f64::min),
            Self::Maximum => values.into_iter().reduce(f64::max),
        }
    }
}

/// What to do where the metric is so far beyond the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From here, as a difference to the threshold; `None`: without end.
    pub lower: Option<f64>,
    /// To here; `None`: without end.
    pub upper: Option<f64>,
    /// By or to how many.
    pub adjustment: i32,
}

impl Step {
    /// Over the threshold its lower bound is within it, under it its upper one.
    fn contains(&self, difference: f64) -> bool {
        let lower = self.lower.unwrap_or(f64::NEG_INFINITY);
        let upper = self.upper.unwrap_or(f64::INFINITY);
        if difference >= 0.0 && lower >= 0.0 {
            lower <= difference && difference < upper
        } else {
            lower < difference && difference <= upper
        }
    }
}

/// A policy of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepScaling {
    /// What the steps' numbers mean.
    pub adjustment: Adjustment,
    /// The steps.
    pub steps: Vec<Step>,
    /// Fewest tasks that a change of percent adds or takes.
    pub min_magnitude: Option<u32>,
    /// Rest after a change; `None`: [`COOLDOWN_DEFAULT`].
    pub cooldown: Option<Duration>,
    /// What is made of several values.
    pub aggregation: Aggregation,
}

/// Why steps cannot be a policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSteps {
    /// There is none.
    #[error("At least one step adjustment must be specified")]
    None,
    /// There are too many.
    #[error("There can be {STEPS_MAX} step adjustments at most")]
    TooMany,
    /// It ends before it begins.
    #[error("The lower bound must be less than the upper bound")]
    Empty,
    /// A value is in two of them.
    #[error("StepAdjustment intervals can't overlap")]
    Overlap,
    /// A value is between two of them.
    #[error("StepAdjustment intervals can't have gaps between them")]
    Gap,
    /// A step goes from below the threshold to above it.
    #[error(
        "At most one StepAdjustment can have an unspecified bound in each direction, and none can cross the threshold"
    )]
    Unbounded,
    /// A number of tasks is under zero.
    #[error("The scaling adjustment must not be negative for ExactCapacity")]
    Negative,
}

/// Whether steps can be a policy's.
///
/// # Errors
/// Why not.
pub fn check(policy: &StepScaling) -> Result<(), InvalidSteps> {
    if policy.steps.is_empty() {
        return Err(InvalidSteps::None);
    }
    if policy.steps.len() > STEPS_MAX {
        return Err(InvalidSteps::TooMany);
    }
    if policy.adjustment == Adjustment::ExactCapacity && policy.steps.iter().any(|step| step.adjustment < 0) {
        return Err(InvalidSteps::Negative);
    }
    let mut bounds: Vec<(f64, f64)> = policy
        .steps
        .iter()
        .map(|step| (step.lower.unwrap_or(f64::NEG_INFINITY), step.upper.unwrap_or(f64::INFINITY)))
        .collect();
    if bounds.iter().any(|(lower, upper)| lower.is_nan() || upper.is_nan() || lower >= upper) {
        return Err(InvalidSteps::Empty);
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    for pair in bounds.windows(2) {
        let ((_, end), (begin, _)) = (pair[0], pair[1]);
        if begin < end {
            return Err(InvalidSteps::Overlap);
        }
        if begin > end {
            return Err(InvalidSteps::Gap);
        }
    }
    Ok(())
}

impl StepScaling {
    /// What it wants, `difference` beyond the alarm's threshold. Additions are counted from `base`
    /// ([`super::base`]), what is taken away from `current`.
    pub fn demand(&self, base: u32, current: u32, difference: f64) -> Demand {
        let Some(step) = self.steps.iter().find(|step| step.contains(difference)) else {
            return Demand::Nothing;
        };
        let is_more = match self.adjustment {
            Adjustment::ExactCapacity => false,
            Adjustment::ChangeInCapacity | Adjustment::PercentChangeInCapacity => step.adjustment > 0,
        };
        let from = if is_more { base } else { current };
        let tasks = self.apply(from, step.adjustment);
        let tasks = if is_more { tasks.max(current) } else { tasks };
        Demand::Capacity { tasks, cooldown: self.cooldown.unwrap_or(COOLDOWN_DEFAULT) }
    }

    fn apply(&self, from: u32, adjustment: i32) -> u32 {
        let by = match self.adjustment {
            Adjustment::ExactCapacity => return u32::try_from(adjustment).unwrap_or(0),
            Adjustment::ChangeInCapacity => i64::from(adjustment),
            Adjustment::PercentChangeInCapacity => {
                // Towards zero, but never to zero.
                let hundredths = i64::from(from) * i64::from(adjustment);
                let by = match hundredths / 100 {
                    0 => hundredths.signum(),
                    whole => whole,
                };
                let least = i64::from(self.min_magnitude.unwrap_or(0));
                if by.abs() < least { least * i64::from(adjustment.signum()) } else { by }
            }
        };
        u32::try_from(i64::from(from).saturating_add(by).max(0)).unwrap_or(u32::MAX)
    }
}
