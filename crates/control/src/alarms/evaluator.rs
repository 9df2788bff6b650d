//! The loop that judges alarms, and has their actions taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bowline_model::{
    alarm::{Alarm, AlarmState, Judgement, Transition, evaluate, judge},
    arn::Arn,
    clock::Timestamp,
    metric::MetricReader,
};
use bowline_plumbing::wall_clock;
use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use super::{commands, event, is_in_alarm, values, webhook, webhook::Webhooks};
use crate::{
    control_plane::pace::Pace,
    core::Core,
    registry::{Registry, RegistryError},
    scaling::engine,
};

/// How often alarms of periods under a minute are judged.
const TICK: Duration = Duration::from_secs(1);

/// How often the others are: each minute's end is among these moments, and what was late is seen soon.
const MINUTES_TICK: u64 = 10;

/// How long after a period's end the others are judged, so that its values have come in.
const MINUTES_DELAY: u64 = 2;

/// How often an alarm that stays in `ALARM` has scaling policies look again, where its period is longer (AWS's).
const SUSTAINED: Duration = Duration::from_secs(60);

/// Most events that wait for their delivery or are being delivered; what is over is dropped, and history says so.
const WAITING_MAX: usize = 256;

/// Most deliveries at one moment.
const DELIVERIES_MAX: usize = 16;

/// How often histories are swept.
const SWEEP: Duration = Duration::from_secs(3_600);

/// A scaling policy is asked by an alarm's state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Invocation {
    /// The alarm, in the state it is in.
    pub(crate) alarm: Arc<Alarm>,
    /// The policy.
    pub(crate) policy: Arn,
    /// The values that the alarm is judged by.
    pub(crate) by: Judgement,
}

/// Judges alarms until it is dropped.
pub(crate) async fn run(core: Arc<Core>, reader: Arc<dyn MetricReader>) {
    let mut evaluator = Evaluator::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut generation = core.registry_generation();
    let mut pace = Pace::default();
    loop {
        pace.turn().await;
        let is_tick = tokio::select! {
            _ = ticks.tick() => true,
            changed = generation.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
        };
        let began = Instant::now();
        let (core, reader) = (Arc::clone(&core), Arc::clone(&reader));
        // Values may have to be read from the disk.
        let turn = tokio::task::spawn_blocking(move || {
            evaluator.turn(&core, &*reader, is_tick);
            evaluator
        });
        evaluator = match turn.await {
            Ok(evaluator) => evaluator,
            // What was under way is lost with it; states are in the registry.
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "the judging of alarms ended by itself");
                Evaluator::new()
            }
            Err(_) => return,
        };
        pace.looked(began, Instant::now());
    }
}

/// An event and where it is to go.
struct Delivery {
    alarm: String,
    action: String,
    failure: Option<String>,
}

struct Evaluator {
    webhooks: Webhooks,
    permits: Arc<Semaphore>,
    deliveries: JoinSet<Delivery>,
    /// When scaling policies were last asked by an alarm that is in `ALARM` still.
    invoked: BTreeMap<String, Timestamp>,
    /// When alarms of minutes were last judged, in [`MINUTES_TICK`].
    minutes: u64,
    /// When histories were last swept.
    swept: Timestamp,
}

impl Evaluator {
    fn new() -> Self {
        Self {
            webhooks: Webhooks::new(),
            permits: Arc::new(Semaphore::new(DELIVERIES_MAX)),
            deliveries: JoinSet::new(),
            invoked: BTreeMap::new(),
            minutes: 0,
            swept: wall_clock::now(),
        }
    }

    /// Does what is due: at a tick by the clock, and else by what has changed.
    fn turn(&mut self, core: &Arc<Core>, reader: &dyn MetricReader, is_tick: bool) {
        let now = wall_clock::now();
        if let Err(error) = self.advance(core, reader, is_tick, now) {
            tracing::error!(%error, "the states of alarms could not be written");
        }
        self.take_delivered(core, now);
        if is_tick && engine::is_due(&core.registry(), now) {
            match core.change::<_, RegistryError>(|registry| Ok(engine::advance(registry, now))) {
                Ok(events) => core.tell(events),
                Err(error) => tracing::error!(%error, "scheduled actions could not be taken"),
            }
        }
        if is_tick && now.since(self.swept) >= SWEEP {
            self.swept = now;
            let done = core.change::<_, RegistryError>(|registry| {
                commands::sweep(registry, now);
                Ok(())
            });
            if let Err(error) = done {
                tracing::error!(%error, "the histories of alarms could not be swept");
            }
        }
    }

    /// Takes the actions that are pending, and judges on a tick.
    fn advance(
        &mut self,
        core: &Arc<Core>,
        reader: &dyn MetricReader,
        is_tick: bool,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        // What was set by hand is acted on before it is judged anew: its values may say something else.
        self.step(core, reader, &[], now)?;
        if !is_tick {
            return Ok(());
        }
        let transitions = self.judge_due(&core.registry(), reader, now);
        self.step(core, reader, &transitions, now)
    }

    /// Alarms whose values make another state of them.
    fn judge_due(
        &mut self,
        registry: &Registry,
        reader: &dyn MetricReader,
        now: Timestamp,
    ) -> Vec<(Arc<Alarm>, Transition)> {
        let minutes = now.as_secs().saturating_sub(MINUTES_DELAY) / MINUTES_TICK;
        let are_minutes_due = minutes != self.minutes;
        self.minutes = minutes;
        let is_due = |alarm: &Alarm| are_minutes_due || alarm.source.period() < Duration::from_secs(60);
        let due = registry.alarms.values().filter(|alarm| is_due(alarm));
        due.filter_map(|alarm| {
            let values = values::of(reader, alarm, now)?;
            Some((Arc::clone(alarm), evaluate(alarm, &values, now)?))
        })
        .collect()
    }

    /// Writes the transitions, and takes the actions that are pending.
    fn step(
        &mut self,
        core: &Arc<Core>,
        reader: &dyn MetricReader,
        transitions: &[(Arc<Alarm>, Transition)],
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        let registry = core.registry();
        let is_pending = registry.alarms.values().any(|alarm| alarm.state.is_pending);
        let sustained = self.sustained(&registry, now);
        if transitions.is_empty() && !is_pending && sustained.is_empty() {
            return Ok(());
        }
        let mut full = WAITING_MAX.saturating_sub(self.deliveries.len());
        let (urls, changed) = core.change::<_, RegistryError>(|registry| {
            let mut changed: BTreeSet<String> = sustained.clone();
            for (alarm, transition) in transitions {
                commands::transit(registry, alarm, transition);
            }
            let pending: Vec<Arc<Alarm>> =
                registry.alarms.values().filter(|alarm| alarm.state.is_pending).cloned().collect();
            let mut urls = Vec::new();
            for alarm in pending {
                commands::mark_acted(registry, &alarm.name);
                tracing::info!(alarm = alarm.name, state = %alarm.state.state, "{}", alarm.state.reason);
                changed.insert(alarm.name.clone());
                let actions = alarm.actions.of(alarm.state.state).iter().filter(|_| alarm.actions_enabled);
                for action in actions {
                    let failure = if scaling_policy(action).is_some() {
                        None
                    } else if !webhook::is_url(action) {
                        Some("there is nothing here that this action could be taken by")
                    } else if full == 0 {
                        Some("too many events wait to be delivered")
                    } else {
                        full -= 1;
                        urls.push((Arc::clone(&alarm), action.clone()));
                        continue;
                    };
                    commands::acted(registry, &alarm.name, action, failure, now);
                }
            }
            Ok((urls, changed))
        })?;
        for (alarm, action) in urls {
            self.deliver(core, &alarm, action);
        }
        let registry = core.registry();
        let mut invocations = Vec::new();
        for name in changed {
            let Some(alarm) = registry.alarms.get(&name).filter(|alarm| alarm.actions_enabled) else {
                continue;
            };
            self.invoked.insert(name, now);
            let asked =
                alarm.actions.of(alarm.state.state).iter().filter_map(|action| scaling_policy(action));
            let by = judged(reader, alarm, now);
            invocations.extend(asked.map(|policy| Invocation {
                alarm: Arc::clone(alarm),
                policy,
                by: by.clone(),
            }));
        }
        if invocations.is_empty() {
            return Ok(());
        }
        // Read before the change: nobody else's command waits for the disk.
        let judgements: BTreeMap<String, Judgement> = engine::watched(&registry, &invocations)
            .into_iter()
            .map(|alarm| (alarm.name.clone(), judged(reader, alarm, now)))
            .collect();
        let events = core.change::<_, RegistryError>(|registry| {
            Ok(engine::scale(registry, &invocations, &judgements, now))
        })?;
        core.tell(events);
        Ok(())
    }

    /// Alarms in `ALARM` whose scaling policies are to look again.
    fn sustained(&mut self, registry: &Registry, now: Timestamp) -> BTreeSet<String> {
        self.invoked.retain(|name, _| registry.alarms.get(name).is_some_and(|alarm| is_in_alarm(alarm)));
        let is_due = |alarm: &Alarm| {
            let every = alarm.source.period().min(SUSTAINED);
            self.invoked.get(&alarm.name).is_none_or(|at| now.since(*at) >= every)
        };
        let asks = |alarm: &Alarm| {
            let actions = alarm.actions.of(AlarmState::Alarm);
            alarm.actions_enabled && actions.iter().any(|action| scaling_policy(action).is_some())
        };
        let due = registry.alarms.values().filter(|alarm| is_in_alarm(alarm) && asks(alarm) && is_due(alarm));
        due.map(|alarm| alarm.name.clone()).collect()
    }

    fn deliver(&mut self, core: &Core, alarm: &Alarm, action: String) {
        let body = event::state_change(&core.registry().settings().scope, alarm).to_string();
        let (webhooks, permits, alarm) =
            (self.webhooks.clone(), Arc::clone(&self.permits), alarm.name.clone());
        self.deliveries.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            let failure =
                webhooks.deliver(&action, Bytes::from(body)).await.err().map(|error| error.to_string());
            Delivery { alarm, action, failure }
        });
    }

    /// Notes what became of deliveries.
    fn take_delivered(&mut self, core: &Core, now: Timestamp) {
        let mut over = Vec::new();
        while let Some(delivered) = self.deliveries.try_join_next() {
            match delivered {
                Ok(delivery) => over.push(delivery),
                Err(error) => tracing::error!(%error, "a delivery of an alarm ended by itself"),
            }
        }
        if over.is_empty() {
            return;
        }
        let noted = core.change::<_, RegistryError>(|registry| {
            for Delivery { alarm, action, failure } in &over {
                commands::acted(registry, alarm, action, failure.as_deref(), now);
            }
            Ok(())
        });
        if let Err(error) = noted {
            tracing::error!(%error, "what became of an alarm's actions could not be written");
        }
    }
}

/// What an alarm's values are now.
fn judged(reader: &dyn MetricReader, alarm: &Alarm, now: Timestamp) -> Judgement {
    let values = values::of(reader, alarm, now).unwrap_or_default();
    judge(&alarm.rule, alarm.source.period(), &values, now)
}

/// The scaling policy that an action is, if it is one.
fn scaling_policy(action: &str) -> Option<Arn> {
    let arn: Arn = action.parse().ok()?;
    (arn.service() == "autoscaling" && arn.resource().starts_with("scalingPolicy:")).then_some(arn)
}

#[cfg(test)]
mod tests;
