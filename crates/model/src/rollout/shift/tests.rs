//! The stages one by one, and a seeded simulation of whole deployments.

use proptest::prelude::*;

use super::*;
use crate::arn::Scope;

const MINUTE: Duration = Duration::from_secs(60);

fn revision(number: u64) -> Revision {
    Revision {
        deployment: DeploymentId::from_random(number),
        task_definition: Scope::default().arn("ecs", format_args!("task-definition/web:{number}")),
    }
}

fn plan(steps: Steps) -> ShiftPlan {
    ShiftPlan { steps, bake: MINUTE, pauses: Vec::new() }
}

fn begin(plan: &ShiftPlan, now: Timestamp) -> Shift {
    Shift::begin(revision(1), revision(2), false, plan, now)
}

fn whole(desired: u32) -> Observed {
    Observed {
        desired,
        blue_healthy: desired,
        blue_left: desired,
        green_healthy: desired,
        green_left: desired,
        others_left: 0,
    }
}

fn go(shift: &mut Shift, plan: &ShiftPlan, seen: &Observed, now: Timestamp) -> Verdict {
    shift.advance(plan, RollingBounds::default(), seen, now)
}

const START: Timestamp = Timestamp::from_secs(1_000);

/// The shares of green, with the time since the beginning at which each was given.
fn shares(plan: &ShiftPlan) -> Vec<(u64, u32)> {
    let (mut shift, mut now) = (begin(plan, START), START);
    let mut seen = vec![(0, 0)];
    loop {
        let verdict = go(&mut shift, plan, &whole(2), now);
        if seen.last().is_none_or(|(_, share)| *share != shift.production.tenths()) {
            seen.push((now.since(START).as_secs(), shift.production.tenths()));
        }
        match verdict {
            Verdict::Wait(Some(rest)) => now = now + rest,
            Verdict::Wait(None) if shift.stage == Stage::CleanUp => return seen,
            other => panic!("{other:?} in {shift:?}"),
        }
    }
}

#[test]
fn traffic_shifts_as_each_strategy_says() {
    assert_eq!(shares(&plan(Steps::AtOnce)), [(0, 0), (1, 1_000)]);
    let canary = Steps::Canary { first: Share::from_tenths(50), bake: 10 * MINUTE };
    assert_eq!(shares(&plan(canary)), [(0, 0), (1, 50), (601, 1_000)]);
    let linear = Steps::Linear { step: Share::from_tenths(300), every: MINUTE };
    assert_eq!(shares(&plan(linear)), [(0, 0), (1, 300), (61, 600), (121, 900), (181, 1_000)]);
}

#[test]
fn each_stage_waits_for_what_it_says() {
    let plan = plan(Steps::AtOnce);
    let mut shift = begin(&plan, START);
    let mut seen = Observed { green_healthy: 1, ..whole(2) };
    assert_eq!((go(&mut shift, &plan, &seen, START), shift.stage), (Verdict::Wait(None), Stage::ScaleUp));
    assert!(!shift.test);
    seen.green_healthy = 2;
    assert_eq!(go(&mut shift, &plan, &seen, START), Verdict::Wait(Some(SETTLE)));
    assert_eq!((shift.stage, shift.test, shift.production), (Stage::TestTrafficShift, true, Share::NONE));
    // Green is not whole any more: production traffic does not follow.
    seen.green_healthy = 1;
    let later = START + SETTLE;
    assert_eq!(go(&mut shift, &plan, &seen, later), Verdict::Wait(None));
    assert_eq!((shift.stage, shift.production), (Stage::PreProductionTrafficShift, Share::NONE));
    seen.green_healthy = 2;
    go(&mut shift, &plan, &seen, later);
    assert_eq!(shift.production, Share::ALL);
    let later = later + SETTLE;
    assert_eq!(go(&mut shift, &plan, &seen, later), Verdict::Wait(Some(MINUTE)));
    assert_eq!(shift.stage, Stage::BakeTime);
    seen.green_healthy = 1;
    assert_eq!(go(&mut shift, &plan, &seen, later + MINUTE), Verdict::Wait(None));
    assert_eq!(shift.stage, Stage::BakeTime, "blue stays while green is not whole");
    seen.green_healthy = 2;
    go(&mut shift, &plan, &seen, later + MINUTE);
    assert_eq!(shift.stage, Stage::CleanUp);
    seen.blue_left = 0;
    assert_eq!(go(&mut shift, &plan, &seen, later + MINUTE), Verdict::Complete);
}

#[test]
fn what_an_earlier_deployment_left_goes_first() {
    let plan = plan(Steps::AtOnce);
    let mut shift = Shift::begin(revision(1), revision(3), true, &plan, START);
    let mut seen = Observed { others_left: 1, green_healthy: 0, ..whole(2) };
    assert_eq!(go(&mut shift, &plan, &seen, START), Verdict::Wait(None));
    assert_eq!(shift.stage, Stage::ReconcileService);
    seen.others_left = 0;
    go(&mut shift, &plan, &seen, START);
    assert_eq!(shift.stage, Stage::ScaleUp);
}

fn paused(stage: Stage, at_timeout: HookAction) -> ShiftPlan {
    let pause = Pause { stages: vec![stage], timeout: 5 * MINUTE, at_timeout };
    ShiftPlan { pauses: vec![pause], ..plan(Steps::AtOnce) }
}

#[test]
fn a_pause_waits_until_it_is_told_to_go_on() {
    let plan = paused(Stage::PostScaleUp, HookAction::Rollback);
    let mut shift = begin(&plan, START);
    assert_eq!(go(&mut shift, &plan, &whole(1), START), Verdict::Wait(Some(5 * MINUTE)));
    assert_eq!((shift.stage, shift.test), (Stage::PostScaleUp, false));
    let id = shift.hooks[0].id.clone();
    assert_eq!(shift.resolve("other", HookAction::Continue), Err(HookError::Unknown));
    assert_eq!(shift.resolve(&id, HookAction::Continue), Ok(()));
    assert_eq!(shift.resolve(&id, HookAction::Continue), Err(HookError::Resolved));
    assert_eq!(go(&mut shift, &plan, &whole(1), START + MINUTE), Verdict::Wait(Some(SETTLE)));
    assert_eq!(shift.stage, Stage::TestTrafficShift);
}

#[test]
fn a_pause_that_nobody_ends_does_what_it_says() {
    for (action, verdict) in
        [(HookAction::Rollback, Verdict::RollBack), (HookAction::Continue, Verdict::Wait(Some(SETTLE)))]
    {
        let plan = paused(Stage::PostScaleUp, action);
        let mut shift = begin(&plan, START);
        go(&mut shift, &plan, &whole(1), START);
        assert_eq!(go(&mut shift, &plan, &whole(1), START + 5 * MINUTE), verdict);
        assert_eq!(shift.hooks[0].status, HookStatus::TimedOut);
    }
}

#[test]
fn a_canary_pauses_before_each_step() {
    let canary = Steps::Canary { first: Share::from_tenths(50), bake: MINUTE };
    let plan = ShiftPlan { steps: canary, ..paused(Stage::PreProductionTrafficShift, HookAction::Rollback) };
    let (mut shift, mut now) = (begin(&plan, START), START);
    for (before, number) in [(Share::NONE, 1), (Share::from_tenths(50), 2)] {
        while shift.hooks.len() < number {
            let Verdict::Wait(Some(rest)) = go(&mut shift, &plan, &whole(1), now) else {
                panic!("{shift:?}")
            };
            now = now + rest.min(MINUTE);
        }
        assert_eq!(shift.production, before);
        let id = shift.hooks[number - 1].id.clone();
        assert_eq!(shift.resolve(&id, HookAction::Continue), Ok(()));
        go(&mut shift, &plan, &whole(1), now);
    }
    assert_eq!(shift.production, Share::ALL);
    assert_ne!(shift.hooks[0].id, shift.hooks[1].id);
}

#[test]
fn the_way_back_waits_for_blue_only_while_green_is_better() {
    let plan = plan(Steps::AtOnce);
    let mut shift = begin(&plan, START);
    (shift.stage, shift.production) = (Stage::CleanUp, Share::ALL);
    shift.go_back(START);
    // Blue is gone already, green serves: traffic stays until blue is there again.
    let mut seen = Observed { blue_healthy: 0, blue_left: 0, ..whole(2) };
    assert_eq!((go(&mut shift, &plan, &seen, START), shift.production), (Verdict::Wait(None), Share::ALL));
    seen.blue_healthy = 1;
    assert_eq!((go(&mut shift, &plan, &seen, START), shift.production), (Verdict::Wait(None), Share::ALL));
    // Green is no better.
    seen.green_healthy = 1;
    assert_eq!(go(&mut shift, &plan, &seen, START), Verdict::Wait(Some(SETTLE)));
    assert_eq!(shift.production, Share::NONE);
}

#[test]
fn a_bounded_number_of_hooks_is_remembered() {
    let plan = paused(Stage::PreScaleUp, HookAction::Continue);
    let mut shift = begin(&plan, START);
    for _ in 0..300 {
        shift.enter(Stage::PreScaleUp, &plan, START);
        let id = shift.hooks.last().expect("one more").id.clone();
        shift.resolve(&id, HookAction::Continue).expect("it waits");
    }
    assert_eq!(shift.hooks.len(), HOOKS_MAX);
}

/// A service whose tasks fail, start and end as a seed says.
struct Simulation {
    shift: Shift,
    plan: ShiftPlan,
    desired: u32,
    tasks: Vec<(Set, RolloutTask)>,
    now: Timestamp,
    next: u32,
}

impl Simulation {
    fn task(&mut self, set: Set, healthy: bool) {
        self.next += 1;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.next.to_be_bytes());
        let id = TaskId::from_random(bytes);
        self.tasks.push((set, RolloutTask { id, current: true, healthy, protected: false }));
    }

    fn count(&self, wanted: Set, healthy: bool) -> u32 {
        let of_set = self.tasks.iter().filter(|(set, task)| *set == wanted && (task.healthy || !healthy));
        u32::try_from(of_set.count()).expect("few")
    }

    fn seen(&self) -> Observed {
        Observed {
            desired: self.desired,
            blue_healthy: self.count(Set::Blue, true),
            blue_left: self.count(Set::Blue, false),
            green_healthy: self.count(Set::Green, true),
            green_left: self.count(Set::Green, false),
            others_left: self.count(Set::Neither, false),
        }
    }

    /// A pass, and what must hold of it.
    fn pass(&mut self) -> Result<bool, TestCaseError> {
        let before = self.shift.clone();
        let seen = self.seen();
        let verdict = self.shift.advance(&self.plan, RollingBounds::default(), &seen, self.now);
        let shift = &self.shift;
        prop_assert_eq!(shift.production.tenths() + shift.production.rest().tenths(), 1_000);
        if shift.returning {
            prop_assert!(shift.production <= before.production, "traffic goes to what is being left");
        } else {
            prop_assert!(shift.production >= before.production, "weights do not go back");
            prop_assert!(shift.stage >= before.stage || shift.production < Share::ALL);
        }
        if shift.production > before.production {
            prop_assert!(seen.green_healthy >= seen.desired, "traffic to a set that is not whole");
        }
        let decision = decide_shift(shift, self.desired, &self.tasks, |_| true, self.now);
        for id in &decision.stop {
            let (set, task) = self.tasks.iter().find(|(_, task)| task.id == *id).expect("it is there");
            match set {
                Set::Green if shift.returning => {
                    prop_assert_eq!(shift.production, Share::NONE, "green loses a task with traffic");
                    prop_assert!(self.now.since(shift.shifted_at) >= SETTLE);
                }
                Set::Blue if !shift.returning && shift.stage == Stage::CleanUp => {
                    prop_assert_eq!(shift.production, Share::ALL);
                    prop_assert!(seen.green_healthy >= seen.desired);
                }
                Set::Neither => {}
                // Scaling in.
                _ => prop_assert!(!task.healthy || self.count(*set, true) > self.desired),
            }
        }
        self.tasks.retain(|(_, task)| !decision.stop.contains(&task.id));
        // What has traffic keeps what it had, as far as this decided.
        if shift.production < Share::ALL && !decision.stop.is_empty() {
            prop_assert!(self.count(Set::Blue, true) >= seen.blue_healthy.min(self.desired));
        }
        if shift.production > Share::NONE && !decision.stop.is_empty() {
            prop_assert!(self.count(Set::Green, true) >= seen.green_healthy.min(self.desired));
        }
        for _ in 0..decision.start_blue {
            self.task(Set::Blue, false);
        }
        for _ in 0..decision.start_green {
            self.task(Set::Green, false);
        }
        prop_assert!(self.tasks.len() <= 4 * self.desired.max(1) as usize);
        Ok(verdict == Verdict::Complete)
    }
}

fn strategies() -> impl Strategy<Value = Steps> {
    prop_oneof![
        Just(Steps::AtOnce),
        (30u16..=1_000, 0u64..3).prop_map(|(step, minutes)| Steps::Linear {
            step: Share::from_tenths(step),
            every: Duration::from_secs(minutes * 60),
        }),
        (1u16..=1_000, 0u64..3).prop_map(|(first, minutes)| Steps::Canary {
            first: Share::from_tenths(first),
            bake: Duration::from_secs(minutes * 60),
        }),
    ]
}

proptest! {
    /// Whatever fails, starts late or is called back when: traffic goes only to a whole set, a set
    /// keeps its tasks while it has traffic, and in the end one set is left with all of it.
    #[test]
    fn a_shift_loses_no_traffic_and_ends(
        steps in strategies(),
        desired in 0u32..6,
        leftovers in 0u32..3,
        back_at in proptest::option::of(0usize..400),
        order in proptest::collection::vec(any::<(u8, u8)>(), 64),
    ) {
        let plan = ShiftPlan { steps, bake: Duration::from_secs(30), pauses: Vec::new() };
        let shift = Shift::begin(revision(1), revision(2), leftovers > 0, &plan, START);
        let mut service = Simulation { shift, plan, desired, tasks: Vec::new(), now: START, next: 0 };
        (0..desired).for_each(|_| service.task(Set::Blue, true));
        (0..leftovers).for_each(|_| service.task(Set::Neither, true));
        for (step, (pick, kind)) in order.iter().cycle().take(4_000).enumerate() {
            if Some(step) == back_at {
                service.shift.go_back(service.now);
            }
            if service.pass()? {
                let gone = match service.shift.returning {
                    true => Set::Green,
                    false => Set::Blue,
                };
                prop_assert_eq!(service.count(gone, false) + service.count(Set::Neither, false), 0);
                let all = if service.shift.returning { Share::NONE } else { Share::ALL };
                prop_assert_eq!(service.shift.production, all);
                return Ok(());
            }
            service.now = service.now + Duration::from_millis(u64::from(*kind) * 10);
            let index = usize::from(*pick) % service.tasks.len().max(1);
            // Failures end at some time.
            if kind % 8 == 0 && step < 500 && !service.tasks.is_empty() {
                service.tasks.remove(index);
            } else if let Some((_, task)) = service.tasks.get_mut(index) {
                task.healthy = true;
            }
            // Others start as well: not only what the seed picks.
            if let Some((_, task)) = service.tasks.iter_mut().find(|(_, task)| !task.healthy) {
                task.healthy = kind % 3 == 0 || task.healthy;
            }
        }
        prop_assert!(false, "it did not end: {:?} {:?}", service.shift, service.tasks);
    }
}
