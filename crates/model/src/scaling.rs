//! How many tasks a service should have, by what is measured: Application Auto Scaling's decisions.
//!
//! Source: Application Auto Scaling user guide, "How target tracking scaling works", "How step scaling works",
//! "Scheduled scaling"; API reference, `PutScalingPolicy`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub mod schedule;
mod step;
mod target_tracking;

pub use step::{Adjustment, Aggregation, InvalidSteps, STEPS_MAX, Step, StepScaling, check as check_steps};
pub use target_tracking::{LowMargin, TargetTracking};

/// Cooldown of a service's target tracking where none is given (AWS's for ECS), either way.
pub const COOLDOWN_DEFAULT: Duration = Duration::from_secs(300);

/// What may be scaled, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityBounds {
    /// Least tasks that scaling leaves.
    pub min: u32,
    /// Most tasks that scaling makes.
    pub max: u32,
}

/// What of scaling is off: `SuspendedState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Policies take no tasks away.
    #[serde(rename = "in")]
    pub in_: bool,
    /// Policies add no tasks.
    pub out: bool,
    /// Scheduled actions do nothing.
    pub scheduled: bool,
}

/// The way that a service was scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// Tasks were taken away.
    In,
    /// Tasks were added.
    Out,
}

/// What scaling did last, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// Which way.
    pub direction: Direction,
    /// When it is over.
    pub until: Timestamp,
    /// How many tasks there were before: what an addition is counted from until then.
    pub from: u32,
}

impl Cooldown {
    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

/// What one policy wants at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// So many tasks, and the cooldown after that.
    Capacity {
        /// How many.
        tasks: u32,
        /// How long it rests after that.
        cooldown: Duration,
    },
    /// As many as there are: tasks are not to be taken away by others.
    Hold,
    /// It has no say: what it watches is out of order for neither way, or it is not asked.
    Nothing,
}

/// A change of a service's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// So many tasks.
    pub tasks: u32,
    /// Which of the demands it follows.
    pub demand: usize,
    /// What is to be remembered of it.
    pub cooldown: Cooldown,
}

/// Why demands changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotScaled {
    /// Nobody wants another number.
    AlreadyAtDesired,
    /// There are as many as there may be.
    AlreadyAtMax,
    /// There are as few as there may be.
    AlreadyAtMin,
    /// The last change is too fresh.
    Cooldown,
    /// It is off.
    Suspended,
    /// Another policy still needs them.
    Held,
}

/// The number of tasks that additions are counted from: that before the addition whose cooldown lasts.
pub fn base(current: u32, cooldown: Option<&Cooldown>, now: Timestamp) -> u32 {
    match cooldown {
        Some(last) if last.direction == Direction::Out && !last.is_over(now) => last.from.min(current),
        _ => current,
    }
}

/// Decides, given what each policy wants: for more, whoever wants most; for fewer, only where all agree, and then
/// whoever wants most. `current` are the tasks wanted now.
///
/// # Errors
/// Why nothing is changed.
pub fn decide(
    bounds: CapacityBounds,
    suspended: Suspended,
    current: u32,
    demands: &[Demand],
    last: Option<&Cooldown>,
    now: Timestamp,
) -> Result<Scaling, NotScaled> {
    let wanted = demands.iter().enumerate().filter_map(|(index, demand)| match demand {
        Demand::Capacity { tasks, cooldown } => Some((*tasks, *cooldown, index)),
        Demand::Hold | Demand::Nothing => None,
    });
    // Of those that want as many the first is followed.
    let Some((most, rest, demand)) =
        wanted.max_by_key(|(tasks, _, index)| (*tasks, std::cmp::Reverse(*index)))
    else {
        return Err(NotScaled::AlreadyAtDesired);
    };
    let tasks = most.clamp(bounds.min, bounds.max.max(bounds.min));
    let change = |direction| Scaling {
        tasks,
        demand,
        cooldown: Cooldown { direction, until: now + rest, from: base(current, last, now) },
    };
    let cools = last.filter(|last| !last.is_over(now));
    if tasks > current {
        return match suspended.out {
            true => Err(NotScaled::Suspended),
            // A larger addition than the last is made at once; the cooldown begins anew, its base stays.
            false => Ok(change(Direction::Out)),
        };
    }
    if tasks == current {
        return Err(if most > current {
            NotScaled::AlreadyAtMax
        } else if most < current {
            NotScaled::AlreadyAtMin
        } else {
            NotScaled::AlreadyAtDesired
        });
    }
    if demands.contains(&Demand::Hold) {
        return Err(NotScaled::Held);
    }
    // While an addition cools nobody knows yet what it did; while a removal cools, neither.
    if cools.is_some() {
        return Err(NotScaled::Cooldown);
    }
    // More than may be is taken away, but never by a policy that wanted more than there are.
    if most > current {
        return Err(NotScaled::AlreadyAtMax);
    }
    if suspended.in_ {
        return Err(NotScaled::Suspended);
    }
    Ok(Scaling {
        cooldown: Cooldown { from: current, ..change(Direction::In).cooldown },
        ..change(Direction::In)
    })
}

#[cfg(test)]
mod tests;
