//! A deployment whose new tasks take the old ones' place as a whole set: `BLUE_GREEN`, `LINEAR` and
//! `CANARY`. Which stage it is in, what share of the traffic each set gets, and which set may lose
//! tasks. The clock is an argument; nothing here publishes or starts anything.
//!
//! Stages, hooks and defaults: AWS's ECS API reference (`ServiceDeployment.lifecycleStage`,
//! `DeploymentLifecycleHook`, `LinearConfiguration`, `CanaryConfiguration`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RolloutTask, decide, percent_ceil};
use crate::{
    arn::Arn,
    clock::Timestamp,
    service::{DeploymentId, RollingBounds},
    task::TaskId,
};

/// From the moment that other weights are published until a set that got none of the traffic may
/// lose tasks: time for every proxy to have heard of it.
pub const SETTLE: Duration = Duration::from_secs(1);

/// AWS's default of `DeploymentLifecycleHookTimeoutConfiguration.timeoutInMinutes`: a day.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Most hooks that a deployment remembers; those that are resolved go first.
const HOOKS_MAX: usize = 100;

/// A share of the traffic, in tenths of a percent, as finely as AWS's `canaryPercent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u16);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1_000);

    /// From so many tenths of a percent; all at most.
    pub fn from_tenths(tenths: u16) -> Self {
        Self(tenths.min(Self::ALL.0))
    }

    /// In tenths of a percent, at most 1,000.
    pub fn tenths(self) -> u32 {
        u32::from(self.0)
    }

    /// In percent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// What is left beside it.
    pub fn rest(self) -> Self {
        Self(Self::ALL.0 - self.0)
    }

    fn plus(self, step: Self) -> Self {
        Self::from_tenths(self.0.saturating_add(step.0.max(1)))
    }
}

/// How production traffic gets from the old set to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// `BLUE_GREEN`.
    AtOnce,
    /// `LINEAR`.
    Linear {
        /// `stepPercent`; AWS's default: 10.
        step: Share,
        /// `stepBakeTimeInMinutes`; AWS's default: 6 minutes. Not after the last step.
        every: Duration,
    },
    /// `CANARY`.
    Canary {
        /// `canaryPercent`; AWS's default: 5.
        first: Share,
        /// `canaryBakeTimeInMinutes`; AWS's default: 10 minutes.
        bake: Duration,
    },
}

impl Steps {
    fn next(self, present: Share) -> Share {
        match self {
            Self::AtOnce => Share::ALL,
            Self::Linear { step, .. } => present.plus(step),
            Self::Canary { first, .. } if present == Share::NONE => present.plus(first),
            Self::Canary { .. } => Share::ALL,
        }
    }

    /// How long a share short of all is kept.
    fn wait(self) -> Duration {
        match self {
            Self::AtOnce => Duration::ZERO,
            Self::Linear { every, .. } => every,
            Self::Canary { bake, .. } => bake,
        }
    }
}

/// What a deployment does, of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShiftPlan {
    /// How traffic shifts.
    pub steps: Steps,
    /// `bakeTimeInMinutes`: how long the old set stays when all traffic has shifted.
    pub bake: Duration,
    /// Lifecycle hooks of type `PAUSE`.
    pub pauses: Vec<Pause>,
}

/// A lifecycle hook of type `PAUSE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Where it waits.
    pub stages: Vec<Stage>,
    /// How long.
    pub timeout: Duration,
    /// What happens then; AWS's default: [`HookAction::Rollback`].
    pub at_timeout: HookAction,
}

/// AWS's lifecycle stages of a deployment, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// What an earlier deployment left behind goes.
    ReconcileService,
    /// Nothing of the new set was started.
    PreScaleUp,
    /// The new set starts.
    ScaleUp,
    /// All of the new set serves; it gets no traffic.
    PostScaleUp,
    /// Test traffic goes to the new set.
    TestTrafficShift,
    /// It has.
    PostTestTrafficShift,
    /// Before each step of the production traffic.
    PreProductionTrafficShift,
    /// A step of the production traffic.
    ProductionTrafficShift,
    /// All production traffic goes to the new set.
    PostProductionTrafficShift,
    /// The old set stays for a while.
    BakeTime,
    /// The old set goes.
    CleanUp,
}

impl Stage {
    /// AWS's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::PreProductionTrafficShift => "PRE_PRODUCTION_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }
}

/// What becomes of a deployment that waits at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookAction {
    /// It goes on.
    Continue,
    /// It is rolled back.
    Rollback,
}

/// How a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookStatus {
    /// The deployment waits there.
    AwaitingAction,
    /// It was told to go on.
    Succeeded,
    /// It was told to roll back.
    Failed,
    /// Nobody told it anything.
    TimedOut,
}

/// A hook that a deployment has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookState {
    /// Unique in its deployment.
    pub id: String,
    /// Where.
    pub stage: Stage,
    /// How it stands.
    pub status: HookStatus,
    /// Until when it waits.
    pub expires_at: Timestamp,
    /// What happens then.
    pub at_timeout: HookAction,
}

/// The tasks of one deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Their task definition.
    pub task_definition: Arn,
}

/// Which set a task belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// The old one.
    Blue,
    /// The new one.
    Green,
    /// What an earlier deployment left behind.
    Neither,
}

/// A replacement of one whole set of tasks by another, under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// The old set: it had all the traffic in the beginning.
    pub blue: Revision,
    /// The new set.
    pub green: Revision,
    /// Where it stands.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// Green's share of the production traffic; blue has the rest.
    pub production: Share,
    /// Test traffic goes to green.
    pub test: bool,
    /// When either changed last.
    pub shifted_at: Timestamp,
    /// It goes back: blue takes all traffic, then green goes.
    pub returning: bool,
    /// The hooks that it came to, the oldest first.
    pub hooks: Vec<HookState>,
}

/// What of the service is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Tasks wanted.
    pub desired: u32,
    /// Blue tasks that serve.
    pub blue_healthy: u32,
    /// Blue tasks of any kind, those on their way out included.
    pub blue_left: u32,
    /// Green tasks that serve.
    pub green_healthy: u32,
    /// Green tasks of any kind.
    pub green_left: u32,
    /// Tasks of neither set.
    pub others_left: u32,
}

/// What is to become of a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing before something changes, or so much time is over.
    Wait(Option<Duration>),
    /// A hook wants it rolled back.
    RollBack,
    /// One set is left, and has all the traffic.
    Complete,
}

/// Why a hook was not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// There is none of that id.
    #[error("the deployment has no such lifecycle hook")]
    Unknown,
    /// It was resolved already.
    #[error("the lifecycle hook is not awaiting an action")]
    Resolved,
}

impl Shift {
    /// Begins one. `leftovers`: tasks of neither set are still there.
    pub fn begin(blue: Revision, green: Revision, leftovers: bool, plan: &ShiftPlan, now: Timestamp) -> Self {
        let mut shift = Self {
            blue,
            green,
            stage: Stage::PreScaleUp,
            since: now,
            production: Share::NONE,
            test: false,
            shifted_at: now,
            returning: false,
            hooks: Vec::new(),
        };
        shift.enter(if leftovers { Stage::ReconcileService } else { Stage::PreScaleUp }, plan, now);
        shift
    }

    /// Which set the tasks of a deployment are in.
    pub fn set_of(&self, deployment: &DeploymentId) -> Set {
        match deployment {
            of if *of == self.green.deployment => Set::Green,
            of if *of == self.blue.deployment => Set::Blue,
            _ => Set::Neither,
        }
    }

    /// The set that a deployment that takes this one's place begins with: where the traffic is and
    /// stays.
    pub fn successor_blue(&self) -> &Revision {
        let blue_is_going = self.stage == Stage::CleanUp && self.production == Share::ALL;
        if blue_is_going { &self.green } else { &self.blue }
    }

    /// Takes the way back. Traffic follows in [`Shift::advance`], as soon as blue can carry it.
    pub fn go_back(&mut self, now: Timestamp) {
        if !self.returning {
            self.returning = true;
            self.test = false;
            self.shifted_at = now;
        }
    }

    /// Goes as far as it can.
    pub fn advance(
        &mut self,
        plan: &ShiftPlan,
        bounds: RollingBounds,
        seen: &Observed,
        now: Timestamp,
    ) -> Verdict {
        if self.returning {
            return self.advance_back(bounds, seen, now);
        }
        // Each turn goes one stage on; a linear shift without waits has two for each step.
        loop {
            let stage = self.stage;
            match self.waits_at_hook(now) {
                Hold::None => {}
                Hold::For(rest) => return Verdict::Wait(Some(rest)),
                Hold::RollBack => return Verdict::RollBack,
            }
            let green_is_whole = seen.green_healthy >= seen.desired;
            match stage {
                Stage::ReconcileService if seen.others_left > 0 => return Verdict::Wait(None),
                Stage::ReconcileService => self.enter(Stage::PreScaleUp, plan, now),
                Stage::PreScaleUp => self.enter(Stage::ScaleUp, plan, now),
                Stage::ScaleUp if green_is_whole => self.enter(Stage::PostScaleUp, plan, now),
                Stage::PostScaleUp if green_is_whole => {
                    self.test = true;
                    self.shifted_at = now;
                    self.enter(Stage::TestTrafficShift, plan, now);
                }
                Stage::TestTrafficShift => match self.rest(SETTLE, now) {
                    Some(rest) => return Verdict::Wait(Some(rest)),
                    None => self.enter(Stage::PostTestTrafficShift, plan, now),
                },
                Stage::PostTestTrafficShift => self.enter(Stage::PreProductionTrafficShift, plan, now),
                Stage::PreProductionTrafficShift if green_is_whole => {
                    self.production = plan.steps.next(self.production);
                    self.shifted_at = now;
                    self.enter(Stage::ProductionTrafficShift, plan, now);
                }
                Stage::ProductionTrafficShift => {
                    let all = self.production == Share::ALL;
                    let wait = if all { SETTLE } else { plan.steps.wait().max(SETTLE) };
                    match self.rest(wait, now) {
                        Some(rest) => return Verdict::Wait(Some(rest)),
                        None if all => self.enter(Stage::PostProductionTrafficShift, plan, now),
                        None => self.enter(Stage::PreProductionTrafficShift, plan, now),
                    }
                }
                Stage::PostProductionTrafficShift => self.enter(Stage::BakeTime, plan, now),
                Stage::BakeTime => match self.rest(plan.bake, now) {
                    Some(rest) => return Verdict::Wait(Some(rest)),
                    None if green_is_whole => self.enter(Stage::CleanUp, plan, now),
                    None => return Verdict::Wait(None),
                },
                Stage::CleanUp if seen.blue_left == 0 && seen.others_left == 0 => return Verdict::Complete,
                _ => return Verdict::Wait(None),
            }
        }
    }

    fn advance_back(&mut self, bounds: RollingBounds, seen: &Observed, now: Timestamp) -> Verdict {
        if self.production != Share::NONE {
            let floor = percent_ceil(seen.desired, bounds.minimum_healthy_percent).min(seen.desired);
            // What fails carries less than what is left of blue.
            if seen.blue_healthy < floor && seen.blue_healthy < seen.green_healthy.max(1) {
                return Verdict::Wait(None);
            }
            self.production = Share::NONE;
            self.shifted_at = now;
        }
        match now.since(self.shifted_at) {
            waited if waited < SETTLE => Verdict::Wait(Some(SETTLE - waited)),
            _ if seen.green_left == 0 && seen.others_left == 0 => Verdict::Complete,
            _ => Verdict::Wait(None),
        }
    }

    /// Whether the set that loses has no traffic any more, and every proxy knows.
    fn loser_may_leave(&self, green_is_whole: bool, now: Timestamp) -> bool {
        if self.returning {
            self.production == Share::NONE && now.since(self.shifted_at) >= SETTLE
        } else {
            self.stage == Stage::CleanUp && green_is_whole
        }
    }

    /// Nothing is left to be done for the set that loses but to take it down.
    fn loser_is_going(&self) -> bool {
        self.returning || self.stage == Stage::CleanUp
    }

    /// What is left of a wait that began with the stage.
    fn rest(&self, wait: Duration, now: Timestamp) -> Option<Duration> {
        wait.checked_sub(now.since(self.since)).filter(|rest| !rest.is_zero())
    }

    fn enter(&mut self, stage: Stage, plan: &ShiftPlan, now: Timestamp) {
        (self.stage, self.since) = (stage, now);
        for pause in plan.pauses.iter().filter(|pause| pause.stages.contains(&stage)) {
            // Counted on from the last: those that are forgotten have had theirs.
            let last = self.hooks.last().and_then(|hook| hook.id.rsplit('-').next()?.parse::<u32>().ok());
            let number = last.unwrap_or(0).saturating_add(1);
            self.hooks.push(HookState {
                id: format!("{}-{number}", self.green.deployment.digits()),
                stage,
                status: HookStatus::AwaitingAction,
                expires_at: now + pause.timeout,
                at_timeout: pause.at_timeout,
            });
        }
        while self.hooks.len() > HOOKS_MAX {
            let resolved = self.hooks.iter().position(|hook| hook.status != HookStatus::AwaitingAction);
            self.hooks.remove(resolved.unwrap_or(0));
        }
    }

    fn waits_at_hook(&mut self, now: Timestamp) -> Hold {
        let mut hold = Hold::None;
        for hook in self.hooks.iter_mut().filter(|hook| hook.status == HookStatus::AwaitingAction) {
            let rest = hook.expires_at.since(now);
            if !rest.is_zero() {
                hold = match hold {
                    Hold::For(present) => Hold::For(present.min(rest)),
                    _ => Hold::For(rest),
                };
                continue;
            }
            hook.status = HookStatus::TimedOut;
            if hook.at_timeout == HookAction::Rollback {
                return Hold::RollBack;
            }
        }
        hold
    }

    /// Resolves a hook that the deployment waits at.
    ///
    /// # Errors
    /// There is none that waits.
    pub fn resolve(&mut self, hook: &str, action: HookAction) -> Result<(), HookError> {
        let hook = self.hooks.iter_mut().find(|candidate| candidate.id == hook).ok_or(HookError::Unknown)?;
        if hook.status != HookStatus::AwaitingAction {
            return Err(HookError::Resolved);
        }
        hook.status = match action {
            HookAction::Continue => HookStatus::Succeeded,
            HookAction::Rollback => HookStatus::Failed,
        };
        Ok(())
    }
}

/// What a deployment's hooks make it do.
enum Hold {
    None,
    For(Duration),
    RollBack,
}

/// Which tasks to start and stop while one set takes another's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShiftDecision {
    /// Tasks of the old set to start: what of it failed, or more of it are wanted.
    pub start_blue: u32,
    /// Tasks of the new set to start.
    pub start_green: u32,
    /// Tasks to stop, in order.
    pub stop: Vec<TaskId>,
}

/// Decides for a service in a shift. `tasks` are those that have not been told to stop, the oldest
/// first, each with its set; `current` is not looked at. `may_start` is false for a set while
/// failures hold its replacements back.
pub fn decide_shift(
    shift: &Shift,
    desired: u32,
    tasks: &[(Set, RolloutTask)],
    may_start: impl Fn(Set) -> bool,
    now: Timestamp,
) -> ShiftDecision {
    let of = |wanted: Set| -> Vec<RolloutTask> {
        let of_set = tasks.iter().filter(|(set, _)| *set == wanted);
        of_set.map(|(_, task)| RolloutTask { current: true, ..task.clone() }).collect()
    };
    let (blue, green) = (of(Set::Blue), of(Set::Green));
    let healthy = |set: &[RolloutTask]| set.iter().filter(|task| task.healthy).count();
    let green_is_whole = u32::try_from(healthy(&green)).unwrap_or(u32::MAX) >= desired;
    let leaves = shift.loser_may_leave(green_is_whole, now);
    // Each set is scaled as if it were alone; one that is on its way out is not filled up again.
    let alone = |set: Set, tasks: &[RolloutTask], loses: bool| match (loses, leaves) {
        (true, true) => decide(0, RollingBounds::default(), tasks, false),
        _ => decide(
            desired,
            RollingBounds::default(),
            tasks,
            may_start(set) && !(loses && shift.loser_is_going()),
        ),
    };
    let blue = alone(Set::Blue, &blue, !shift.returning);
    let mut green = match !shift.returning && shift.stage < Stage::ScaleUp {
        // It is not its time yet.
        true => decide(0, RollingBounds::default(), &green, false),
        false => alone(Set::Green, &green, shift.returning),
    };
    let mut stop: Vec<TaskId> =
        of(Set::Neither).into_iter().filter(|task| !task.protected).map(|task| task.id).collect();
    stop.extend(blue.stop);
    stop.append(&mut green.stop);
    ShiftDecision { start_blue: blue.start, start_green: green.start, stop }
}

#[cfg(test)]
mod tests;
