//! Which tasks of a service to start and which to stop: a rolling replacement
//! within its bounds, scaling, and the replacement of what failed, in one
//! decision that is made anew at each change.

use crate::{service::RollingBounds, task::TaskId};

pub mod breaker;
pub mod shift;

/// A task of the service, as the decision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutTask {
    /// The task.
    pub id: TaskId,
    /// It runs the service's present task definition.
    pub current: bool,
    /// It serves.
    pub healthy: bool,
    /// It must not be stopped now: `UpdateTaskProtection`.
    pub protected: bool,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutDecision {
    /// Tasks of the present task definition to start.
    pub start: u32,
    /// Tasks to stop, in order.
    pub stop: Vec<TaskId>,
}

/// Decides for a service. `tasks` are those that have not been told to stop, the
/// oldest first; `may_start` is false while failures hold replacements back.
pub fn decide(
    desired: u32,
    bounds: RollingBounds,
    tasks: &[RolloutTask],
    may_start: bool,
) -> RolloutDecision {
    let count = |test: fn(&&RolloutTask) -> bool| {
        u32::try_from(tasks.iter().filter(test).count()).unwrap_or(u32::MAX)
    };
    let floor = percent_ceil(desired, bounds.minimum_healthy_percent).min(desired);
    let ceiling = percent_floor(desired, bounds.maximum_percent).max(desired);
    let current = count(|task| task.current);
    let total = count(|_| true);

    let mut decision = RolloutDecision::default();
    if may_start {
        let missing = desired.saturating_sub(current);
        // Where no surplus is allowed and none may be missing, one more is the only way forward.
        let room = ceiling.max(if floor == desired { desired.saturating_add(1) } else { desired });
        decision.start = missing.min(room.saturating_sub(total));
    }

    let mut healthy = count(|task| task.healthy);
    let mut surplus = current.saturating_sub(desired);
    let tasks = || tasks.iter().filter(|task| !task.protected);
    let old_first = tasks().filter(|task| !task.current);
    let unhealthy_current = tasks().rev().filter(|task| task.current && !task.healthy);
    let healthy_current = tasks().rev().filter(|task| task.current && task.healthy);
    for task in old_first.chain(unhealthy_current).chain(healthy_current) {
        if task.current {
            if surplus == 0 {
                continue;
            }
            surplus -= 1;
        }
        if task.healthy {
            if healthy <= floor {
                continue;
            }
            healthy -= 1;
        }
        decision.stop.push(task.id.clone());
    }
    decision
}

fn percent_ceil(count: u32, percent: u32) -> u32 {
    u32::try_from((u64::from(count) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
}

fn percent_floor(count: u32, percent: u32) -> u32 {
    u32::try_from(u64::from(count) * u64::from(percent) / 100).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(number: u8, current: bool, healthy: bool) -> RolloutTask {
        RolloutTask { id: TaskId::from_random([number; 16]), current, healthy, protected: false }
    }

    #[test]
    fn an_empty_service_starts_all() {
        assert_eq!(decide(2, RollingBounds::default(), &[], true).start, 2);
        assert_eq!(decide(2, RollingBounds::default(), &[], false).start, 0);
    }

    #[test]
    fn old_tasks_stay_until_new_ones_are_healthy() {
        let bounds = RollingBounds::default();
        let old = [task(1, false, true), task(2, false, true)];
        assert_eq!(decide(2, bounds, &old, true), RolloutDecision { start: 2, stop: vec![] });
        let one_up = [task(1, false, true), task(2, false, true), task(3, true, true), task(4, true, false)];
        assert_eq!(decide(2, bounds, &one_up, true).stop, [task(1, false, true).id]);
    }

    #[test]
    fn scaling_in_stops_the_newest() {
        let tasks = [task(1, true, true), task(2, true, true), task(3, true, true)];
        assert_eq!(decide(1, RollingBounds::default(), &tasks, true).stop.len(), 2);
        assert!(decide(1, RollingBounds::default(), &tasks, true).stop.contains(&tasks[2].id));
        assert_eq!(decide(0, RollingBounds::default(), &tasks, true).stop.len(), 3);
    }

    #[test]
    fn others_leave_in_the_place_of_protected_tasks() {
        let mut tasks = [task(1, true, true), task(2, true, true), task(3, true, true)];
        tasks[2].protected = true;
        assert_eq!(decide(2, RollingBounds::default(), &tasks, true).stop, [tasks[1].id.clone()]);
        tasks[0].protected = true;
        tasks[1].protected = true;
        assert_eq!(decide(0, RollingBounds::default(), &tasks, true).stop, []);
    }

    proptest! {
        #[test]
        fn a_protected_task_is_never_stopped(
            desired in 0u32..6,
            minimum in 0u32..=100,
            kinds in proptest::collection::vec(any::<(bool, bool, bool)>(), 0..12),
        ) {
            let bounds = RollingBounds { minimum_healthy_percent: minimum, maximum_percent: 200 };
            let tasks: Vec<_> = kinds
                .iter()
                .enumerate()
                .map(|(number, (current, healthy, protected))| RolloutTask {
                    protected: *protected,
                    ..task(u8::try_from(number).expect("small"), *current, *healthy)
                })
                .collect();
            let stop = decide(desired, bounds, &tasks, true).stop;
            prop_assert!(tasks.iter().filter(|task| task.protected).all(|task| !stop.contains(&task.id)));
        }

        /// Simulates a replacement: whatever becomes healthy when, never fewer
        /// than the floor serve once that many did, and it ends.
        #[test]
        fn a_replacement_never_goes_below_the_floor_and_ends(
            desired in 1u32..12,
            minimum in 0u32..=100,
            surplus in 0u32..=100,
            order in proptest::collection::vec(any::<u8>(), 64),
        ) {
            let bounds = RollingBounds { minimum_healthy_percent: minimum, maximum_percent: 100 + surplus };
            let floor = percent_ceil(desired, minimum).min(desired);
            let mut tasks: Vec<RolloutTask> = (0..desired)
                .map(|number| task(u8::try_from(number).expect("small"), false, true))
                .collect();
            let mut next = 100u8;
            for pick in order.iter().cycle().take(2_000) {
                let decision = decide(desired, bounds, &tasks, true);
                tasks.retain(|task| !decision.stop.contains(&task.id));
                let healthy = tasks.iter().filter(|task| task.healthy).count();
                prop_assert!(healthy >= floor as usize, "{healthy} serve, {floor} must");
                for _ in 0..decision.start {
                    tasks.push(task(next, true, false));
                    next = next.wrapping_add(1).max(100);
                }
                prop_assert!(tasks.len() <= (percent_floor(desired, 100 + surplus).max(desired) + 1) as usize);
                let mut unhealthy: Vec<_> = tasks.iter_mut().filter(|task| !task.healthy).collect();
                let index = usize::from(*pick) % unhealthy.len().max(1);
                if let Some(task) = unhealthy.get_mut(index) {
                    task.healthy = true;
                }
                if tasks.len() == desired as usize && tasks.iter().all(|task| task.current && task.healthy) {
                    return Ok(());
                }
            }
            prop_assert!(false, "it did not end: {:?}", tasks);
        }
    }
}
