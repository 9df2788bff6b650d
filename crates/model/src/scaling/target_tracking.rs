//! Target tracking: as many tasks as keep a metric at its target.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{COOLDOWN_DEFAULT, Demand};

/// Below which share of the target, in percent, tasks are taken away (AWS's: 90).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowMargin;

impl LowMargin {
    /// In percent.
    pub const PERCENT: u32 = 90;

    /// The low alarm's threshold.
    pub fn of(target: f64) -> f64 {
        target * f64::from(Self::PERCENT) / 100.0
    }
}

/// A policy that keeps a metric at its target. The metric goes down as tasks are added.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetTracking {
    /// The value to keep, over 0.
    pub target: f64,
    /// Rest after tasks were added; `None`: [`COOLDOWN_DEFAULT`].
    pub out_cooldown: Option<Duration>,
    /// Rest after tasks were taken away; `None`: [`COOLDOWN_DEFAULT`].
    pub in_cooldown: Option<Duration>,
    /// `DisableScaleIn`: it never takes tasks away.
    pub never_in: bool,
}

/// Periods that must be over the target before tasks are added (AWS's).
const HIGH_PERIODS: u32 = 3;

/// Periods that must be under the low margin before tasks are taken away (AWS's).
const LOW_PERIODS: u32 = 15;

impl TargetTracking {
    /// Evaluation periods of its high and of its low alarm.
    pub const PERIODS: (u32, u32) = (HIGH_PERIODS, LOW_PERIODS);

    /// The metric was over the target: as many tasks as bring it there, if it is divided among them. `base` is
    /// [`super::base`], `current` how many there are, `metric` the latest value.
    pub fn demand_out(&self, base: u32, current: u32, metric: f64) -> Demand {
        // A service without tasks that something is waiting for gets its first one.
        let tasks = self.proportional(base.max(1), metric).max(current);
        Demand::Capacity { tasks, cooldown: self.out_cooldown.unwrap_or(COOLDOWN_DEFAULT) }
    }

    /// The metric was under the low margin in all of `metrics`: as few tasks as keep the greatest of them at the
    /// target.
    pub fn demand_in(&self, current: u32, metrics: impl IntoIterator<Item = f64>) -> Demand {
        if self.never_in {
            return Demand::Nothing;
        }
        let greatest = metrics.into_iter().filter(|metric| metric.is_finite()).reduce(f64::max);
        match greatest {
            Some(metric) => Demand::Capacity {
                tasks: self.proportional(current, metric).min(current),
                cooldown: self.in_cooldown.unwrap_or(COOLDOWN_DEFAULT),
            },
            None => Demand::Hold,
        }
    }

    /// What it says while neither alarm is in `ALARM`: others take no tasks away, unless it has no part in that.
    pub fn demand_between(&self) -> Demand {
        if self.never_in { Demand::Nothing } else { Demand::Hold }
    }

    fn proportional(&self, tasks: u32, metric: f64) -> u32 {
        let wanted = f64::from(tasks) * metric.max(0.0) / self.target;
        // What floating point adds to a whole number is no task.
        let wanted = (wanted - 1e-9).ceil();
        if wanted.is_finite() { wanted.clamp(0.0, f64::from(u32::MAX)) as u32 } else { tasks }
    }
}
