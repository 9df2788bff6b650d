//! Which tasks of a service to start and which to stop: a rolling replacement
//! within its bounds, scaling, and the replacement of what failed, in one
//! decision that is made anew at each change.

use crate::{service::RollingBounds, task::TaskId};

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

/// A replacement by a whole new set (`BLUE_GREEN` and its kin): the old tasks stay until `release`
/// is true, which is for who asks to know: as many new tasks as are wanted serve, for as long as
/// they must have. `tasks` and `may_start` are as in [`decide`], which decides where there are no
/// old tasks.
pub fn decide_whole_set(
    desired: u32,
    tasks: &[RolloutTask],
    may_start: bool,
    release: bool,
) -> RolloutDecision {
    if tasks.iter().all(|task| task.current) {
        return decide(desired, RollingBounds::default(), tasks, may_start);
    }
    let (current, old): (Vec<_>, Vec<_>) = tasks.iter().cloned().partition(|task| task.current);
    // The new set is scaled as if it were alone.
    let mut decision = decide(desired, RollingBounds::default(), &current, may_start);
    if release && whole_set_serves(desired, tasks) {
        decision.stop.extend(old.into_iter().filter(|task| !task.protected).map(|task| task.id));
    }
    decision
}

/// Whether as many tasks of the present task definition serve as are wanted.
pub fn whole_set_serves(desired: u32, tasks: &[RolloutTask]) -> bool {
    let serving = tasks.iter().filter(|task| task.current && task.healthy).count();
    u32::try_from(serving).unwrap_or(u32::MAX) >= desired
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

    #[test]
    fn a_whole_new_set_serves_before_any_old_task_leaves() {
        let old = [task(1, false, true), task(2, false, true)];
        assert_eq!(decide_whole_set(2, &old, true, false), RolloutDecision { start: 2, stop: vec![] });
        let half = [task(1, false, true), task(2, false, true), task(3, true, true), task(4, true, false)];
        assert_eq!(decide_whole_set(2, &half, true, true), RolloutDecision::default());
        let whole = [task(1, false, true), task(2, false, true), task(3, true, true), task(4, true, true)];
        assert_eq!(decide_whole_set(2, &whole, true, false), RolloutDecision::default());
        assert_eq!(
            decide_whole_set(2, &whole, true, true).stop,
            [task(1, false, true).id, task(2, false, true).id]
        );
    }

    proptest! {
        /// Whatever becomes healthy or fails when: no old task leaves before a whole new set
        /// serves, and in the end there is only that.
        #[test]
        fn a_whole_set_replacement_keeps_the_old_one_until_the_new_one_serves(
            desired in 1u32..8,
            baking in 0usize..6,
            order in proptest::collection::vec(any::<(u8, bool)>(), 64),
        ) {
            let mut tasks: Vec<_> = (0..desired)
                .map(|number| task(u8::try_from(number).expect("small"), false, true))
                .collect();
            let (mut next, mut baked) = (100u8, 0);
            for (step, (pick, fails)) in order.iter().cycle().take(2_000).enumerate() {
                let serves = whole_set_serves(desired, &tasks);
                baked += usize::from(serves);
                let before = tasks.iter().filter(|task| !task.current).count();
                let decision = decide_whole_set(desired, &tasks, true, baked > baking);
                tasks.retain(|task| !decision.stop.contains(&task.id));
                let after = tasks.iter().filter(|task| !task.current).count();
                prop_assert!(after == before || (serves && baked > baking));
                for _ in 0..decision.start {
                    tasks.push(task(next, true, false));
                    next = next.wrapping_add(1).max(100);
                }
                prop_assert!(tasks.len() <= 2 * desired as usize);
                let mut new: Vec<_> = tasks.iter_mut().filter(|task| task.current && !task.healthy).collect();
                let index = usize::from(*pick) % new.len().max(1);
                let failed = match new.get_mut(index) {
                    // Failures end at some time.
                    Some(task) if *fails && step < 500 => Some(task.id.clone()),
                    Some(task) => {
                        task.healthy = true;
                        None
                    }
                    None => None,
                };
                tasks.retain(|task| Some(&task.id) != failed.as_ref());
                if tasks.len() == desired as usize && tasks.iter().all(|task| task.current && task.healthy) {
                    return Ok(());
                }
            }
            prop_assert!(false, "it did not end: {:?}", tasks);
        }
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
