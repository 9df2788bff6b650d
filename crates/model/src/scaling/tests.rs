use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const REST: Duration = Duration::from_secs(60);
const BOUNDS: CapacityBounds = CapacityBounds { min: 1, max: 10 };

fn tracking(target: f64) -> TargetTracking {
    TargetTracking { target, out_cooldown: Some(REST), in_cooldown: Some(REST), never_in: false }
}

fn capacity(tasks: u32) -> Demand {
    Demand::Capacity { tasks, cooldown: REST }
}

fn decided(current: u32, demands: &[Demand], last: Option<&Cooldown>) -> Result<u32, NotScaled> {
    decide(BOUNDS, Suspended::default(), current, demands, last, NOW).map(|scaling| scaling.tasks)
}

#[test]
fn target_tracking_is_proportional() {
    let policy = tracking(50.0);
    assert_eq!(policy.demand_out(4, 4, 75.0), capacity(6));
    assert_eq!(policy.demand_out(4, 4, 50.1), capacity(5));
    assert_eq!(policy.demand_out(0, 0, 200.0), capacity(4));
    assert_eq!(policy.demand_in(6, [20.0, 30.0, f64::NAN]), capacity(4));
    assert_eq!(policy.demand_in(2, [44.0]), capacity(2));
    assert_eq!(policy.demand_in(3, [0.0]), capacity(0));
    assert_eq!(policy.demand_in(3, []), Demand::Hold);
    let out_only = TargetTracking { never_in: true, ..policy };
    assert_eq!((out_only.demand_in(6, [1.0]), out_only.demand_between()), (Demand::Nothing, Demand::Nothing));
    // What floating point adds is no task.
    assert_eq!(tracking(0.3).demand_out(10, 10, 0.1 * 3.0), capacity(10));
}

fn steps(adjustment: Adjustment, steps: &[(Option<f64>, Option<f64>, i32)]) -> StepScaling {
    let steps = steps.iter().map(|(lower, upper, adjustment)| Step {
        lower: *lower,
        upper: *upper,
        adjustment: *adjustment,
    });
    StepScaling {
        adjustment,
        steps: steps.collect(),
        min_magnitude: None,
        cooldown: Some(REST),
        aggregation: Aggregation::Average,
    }
}

#[test]
fn a_step_is_found_by_the_difference_to_the_threshold() {
    let policy = steps(
        Adjustment::ChangeInCapacity,
        &[(Some(0.0), Some(15.0), 1), (Some(15.0), Some(25.0), 2), (Some(25.0), None, 3)],
    );
    for (difference, tasks) in [(0.0, 3), (14.9, 3), (15.0, 4), (24.9, 4), (25.0, 5), (1e9, 5)] {
        assert_eq!(policy.demand(2, 2, difference), capacity(tasks), "{difference}");
    }
    assert_eq!(policy.demand(2, 2, -1.0), Demand::Nothing);
    let down = steps(Adjustment::ChangeInCapacity, &[(None, Some(-10.0), -2), (Some(-10.0), Some(0.0), -1)]);
    for (difference, tasks) in [(0.0, 4), (-9.9, 4), (-10.0, 3), (-99.0, 3)] {
        assert_eq!(down.demand(5, 5, difference), capacity(tasks), "{difference}");
    }
}

/// The roundings that AWS's guide lists.
#[test]
fn percent_is_rounded_towards_zero_but_not_to_zero() {
    let change = |current, percent, least| {
        let mut policy = steps(Adjustment::PercentChangeInCapacity, &[(None, None, percent)]);
        policy.min_magnitude = least;
        match policy.demand(current, current, 1.0) {
            Demand::Capacity { tasks, .. } => i64::from(tasks) - i64::from(current),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(change(127, 10, None), 12);
    assert_eq!(change(67, 1, None), 1);
    assert_eq!(change(58, -1, None), -1);
    assert_eq!(change(667, -1, None), -6);
    assert_eq!(change(4, 25, Some(2)), 2);
    assert_eq!(change(10, -10, Some(3)), -3);
    assert_eq!(steps(Adjustment::ExactCapacity, &[(None, None, 7)]).demand(3, 3, 1.0), capacity(7));
}

#[test]
fn steps_must_be_in_a_row() {
    let check =
        |given: &[(Option<f64>, Option<f64>, i32)]| check_steps(&steps(Adjustment::ChangeInCapacity, given));
    assert_eq!(check(&[]), Err(InvalidSteps::None));
    assert_eq!(check(&[(Some(0.0), Some(0.0), 1)]), Err(InvalidSteps::Empty));
    assert_eq!(check(&[(Some(0.0), Some(2.0), 1), (Some(1.0), None, 1)]), Err(InvalidSteps::Overlap));
    assert_eq!(check(&[(Some(0.0), Some(2.0), 1), (Some(3.0), None, 1)]), Err(InvalidSteps::Gap));
    assert_eq!(check(&[(Some(2.0), None, 1), (Some(0.0), Some(2.0), 1)]), Ok(()));
    assert_eq!(
        check_steps(&steps(Adjustment::ExactCapacity, &[(None, None, -1)])),
        Err(InvalidSteps::Negative)
    );
}

#[test]
fn whoever_wants_most_is_followed_and_all_must_agree_to_fewer() {
    assert_eq!(decided(2, &[capacity(4), capacity(7), Demand::Hold, Demand::Nothing], None), Ok(7));
    assert_eq!(decided(5, &[capacity(2), capacity(3)], None), Ok(3));
    assert_eq!(decided(5, &[capacity(2), Demand::Hold], None), Err(NotScaled::Held));
    assert_eq!(decided(5, &[capacity(2), Demand::Nothing], None), Ok(2));
    assert_eq!(decided(5, &[Demand::Hold], None), Err(NotScaled::AlreadyAtDesired));
    assert_eq!(decided(10, &[capacity(40)], None), Err(NotScaled::AlreadyAtMax));
    assert_eq!(decided(1, &[capacity(0)], None), Err(NotScaled::AlreadyAtMin));
    // There may be more than scaling may make: whoever wants yet more is no reason to take them away.
    assert_eq!(decided(12, &[capacity(15)], None), Err(NotScaled::AlreadyAtMax));
}

#[test]
fn a_cooldown_holds_back_fewer_and_not_more() {
    let out = Cooldown { direction: Direction::Out, until: NOW + REST, from: 2 };
    assert_eq!(decided(4, &[capacity(2)], Some(&out)), Err(NotScaled::Cooldown));
    assert_eq!(decided(4, &[capacity(6)], Some(&out)), Ok(6));
    // What was added is part of what is added now: AWS's example, 2 and then 3 more of the first number.
    let policy = steps(Adjustment::ChangeInCapacity, &[(None, None, 3)]);
    let from = base(4, Some(&out), NOW);
    assert_eq!((from, policy.demand(from, 4, 1.0)), (2, capacity(5)));
    let again = decide(BOUNDS, Suspended::default(), 4, &[capacity(5)], Some(&out), NOW).expect("more");
    assert_eq!(again.cooldown.from, 2);
    let over = Cooldown { until: NOW, ..out };
    assert_eq!((base(4, Some(&over), NOW), decided(4, &[capacity(2)], Some(&over))), (4, Ok(2)));
    let down = Cooldown { direction: Direction::In, until: NOW + REST, from: 6 };
    assert_eq!(decided(4, &[capacity(3)], Some(&down)), Err(NotScaled::Cooldown));
    assert_eq!(decided(4, &[capacity(9)], Some(&down)), Ok(9));
}

#[test]
fn what_is_suspended_is_not_done() {
    let decide =
        |suspended, tasks| decide(BOUNDS, suspended, 5, &[capacity(tasks)], None, NOW).map(|done| done.tasks);
    let out = Suspended { out: true, ..Suspended::default() };
    let in_ = Suspended { in_: true, ..Suspended::default() };
    assert_eq!((decide(out, 7), decide(out, 3)), (Err(NotScaled::Suspended), Ok(3)));
    assert_eq!((decide(in_, 7), decide(in_, 3)), (Ok(7), Err(NotScaled::Suspended)));
}

/// A service whose load is divided among its tasks, its alarms and its policy; a minute a step.
struct Simulation {
    policy: TargetTracking,
    bounds: CapacityBounds,
    tasks: u32,
    last: Option<Cooldown>,
    metrics: Vec<f64>,
    now: Timestamp,
    changes: Vec<(Timestamp, u32, u32)>,
}

impl Simulation {
    fn new(target: f64, bounds: CapacityBounds, tasks: u32) -> Self {
        let policy = TargetTracking { out_cooldown: None, in_cooldown: None, ..tracking(target) };
        Self { policy, bounds, tasks, last: None, metrics: Vec::new(), now: NOW, changes: Vec::new() }
    }

    fn minute(&mut self, load: f64) {
        self.now = self.now + Duration::from_secs(60);
        self.metrics.push(load / f64::from(self.tasks.max(1)));
        let latest = |count: u32| {
            let count = usize::try_from(count).expect("few");
            (self.metrics.len() >= count).then(|| self.metrics[self.metrics.len() - count..].to_vec())
        };
        let (high, low) = TargetTracking::PERIODS;
        let target = self.policy.target;
        let is_high = latest(high).is_some_and(|values| values.iter().all(|value| *value > target));
        let is_low = latest(low).filter(|values| values.iter().all(|value| *value < LowMargin::of(target)));
        let demand = if is_high {
            let metric = *self.metrics.last().expect("one");
            self.policy.demand_out(base(self.tasks, self.last.as_ref(), self.now), self.tasks, metric)
        } else if let Some(values) = is_low {
            self.policy.demand_in(self.tasks, values)
        } else {
            self.policy.demand_between()
        };
        let decided =
            decide(self.bounds, Suspended::default(), self.tasks, &[demand], self.last.as_ref(), self.now);
        if let Ok(scaling) = decided {
            self.changes.push((self.now, self.tasks, scaling.tasks));
            (self.tasks, self.last) = (scaling.tasks, Some(scaling.cooldown));
        }
    }
}

proptest! {
    /// Never outside the bounds once there; never fewer while a change cools; and with a load that stays, the metric
    /// comes to its target or the bounds, and nothing changes any more.
    #[test]
    fn a_constant_load_is_converged_to(
        target in 1.0f64..100.0,
        loads in prop::collection::vec(0.0f64..2_000.0, 0..60),
        load in 0.0f64..2_000.0,
        min in 1u32..5,
        more in 0u32..40,
        tasks in 1u32..40,
    ) {
        let bounds = CapacityBounds { min, max: min + more };
        let mut simulation = Simulation::new(target, bounds, tasks.clamp(bounds.min, bounds.max));
        for load in loads {
            simulation.minute(load);
            prop_assert!((bounds.min..=bounds.max).contains(&simulation.tasks));
        }
        for _ in 0..400 {
            simulation.minute(load);
            prop_assert!((bounds.min..=bounds.max).contains(&simulation.tasks));
        }
        for pair in simulation.changes.windows(2) {
            let ((before, ..), (after, from, to)) = (pair[0], pair[1]);
            prop_assert!(to > from || after.since(before) >= COOLDOWN_DEFAULT, "it went in too soon");
        }
        let settled = simulation.tasks;
        let count = simulation.changes.len();
        for _ in 0..100 {
            simulation.minute(load);
        }
        prop_assert_eq!((simulation.tasks, simulation.changes.len()), (settled, count), "it is not at rest");
        let metric = load / f64::from(settled);
        prop_assert!(metric <= target * 1.000_001 || settled == bounds.max, "{metric} over {target}");
        let one_fewer = load / f64::from(settled.saturating_sub(1).max(1));
        prop_assert!(
            settled == bounds.min || one_fewer > target * 0.899 || metric >= LowMargin::of(target) * 0.999,
            "{settled} tasks are too many for {load} at {target}"
        );
    }

    /// Whatever policies want, what is decided is within the bounds, and is what one of them wants.
    #[test]
    fn what_is_decided_is_within_the_bounds(
        min in 0u32..50, more in 0u32..50, current in 0u32..120,
        wanted in prop::collection::vec(prop::option::of(0u32..200), 0..6),
        cooling in prop::option::of((any::<bool>(), 0u64..120, 0u32..120)),
    ) {
        let bounds = CapacityBounds { min, max: min + more };
        let demands: Vec<_> = wanted.iter().map(|tasks| tasks.map_or(Demand::Hold, capacity)).collect();
        let last = cooling.map(|(is_out, seconds, from)| Cooldown {
            direction: if is_out { Direction::Out } else { Direction::In },
            until: NOW + Duration::from_secs(seconds),
            from,
        });
        if let Ok(scaling) = decide(bounds, Suspended::default(), current, &demands, last.as_ref(), NOW) {
            prop_assert!((bounds.min..=bounds.max).contains(&scaling.tasks));
            prop_assert_ne!(scaling.tasks, current);
            if scaling.tasks < current {
                prop_assert!(!demands.contains(&Demand::Hold));
                prop_assert!(last.is_none_or(|last| last.is_over(NOW)));
            }
            let most = wanted.iter().flatten().max().copied().expect("somebody wants it");
            prop_assert_eq!(scaling.tasks, most.clamp(bounds.min, bounds.max));
        }
    }
}
