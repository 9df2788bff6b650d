//! Makes experiments go: a driver for each that is not over, which takes the steps that `run` gives, and tells it what
//! became of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bowline_model::clock::Timestamp;
use bowline_plumbing::wall_clock;
use tokio::task::{Id, JoinError, JoinSet};

use super::{
    experiments::{self, ExperimentRecord},
    run::{Begun, ErrorCode, Held, RunError, Step, Stop},
};
use crate::{
    core::Core,
    reconcile::Event,
    registry::{Registry, RegistryError},
};

mod actions;
mod journal;
mod targets;

use journal::Journal;
use targets::Resolution;

/// How long to wait after the registry could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest time between two looks: the machine may have slept, or its clock been set.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// The service in whose name all is done.
pub(crate) const SERVICE: &str = "fis.amazonaws.com";

/// Drives experiments for as long as the control plane runs. Those that another process began have failed.
pub(crate) async fn run(core: Arc<Core>) {
    let begun_before: Vec<_> = experiments::active(&core.registry()).map(|one| one.id.clone()).collect();
    for id in begun_before {
        abandon(&core, &id).await;
    }
    let mut generation = core.registry_generation();
    let mut drivers = JoinSet::new();
    let mut driven: HashMap<Id, String> = HashMap::new();
    loop {
        generation.mark_unchanged();
        for experiment in experiments::active(&core.registry()) {
            if !driven.values().any(|id| *id == experiment.id) {
                let driver = drivers.spawn(drive(Arc::clone(&core), experiment.id.clone()));
                driven.insert(driver.id(), experiment.id.clone());
            }
        }
        tokio::select! {
            changed = generation.changed() => if changed.is_err() { return },
            Some(ended) = drivers.join_next_with_id() => match ended {
                Ok((id, ())) => {
                    driven.remove(&id);
                }
                Err(error) => {
                    let id = driven.remove(&error.id());
                    tracing::error!(%error, experiment = ?id, "the driver of an experiment ended by itself");
                    if let Some(id) = id {
                        abandon(&core, &id).await;
                    }
                }
            },
        }
    }
}

/// Ends an experiment that nobody drives any more, and gives back what it held.
async fn abandon(core: &Arc<Core>, id: &str) {
    let now = wall_clock::now();
    let abandoned = core.change::<_, RegistryError>(|registry| {
        let mut held = Vec::new();
        registry.experiments.update(id, |experiment| held = experiment.run.abandon(now));
        for drained in held.iter().flat_map(|held| &held.drained) {
            actions::undrain(registry, drained);
        }
        Ok(held)
    });
    match abandoned {
        Ok(held) => {
            for held in held {
                // Of another process's faults none is known here; they have deadlines.
                if let Err(error) = actions::end(core, Held { drained: Vec::new(), ..held }).await {
                    tracing::warn!(
                        experiment = id,
                        reason = error.reason,
                        "a fault was left to its deadline"
                    );
                }
            }
        }
        Err(error) => tracing::error!(%error, experiment = id, "an experiment could not be ended"),
    }
}

/// What became of a step.
enum Done {
    Resolved(Result<Resolution, RunError>),
    Begun(String, Result<Begun, RunError>),
    Ended(String, Result<(), RunError>),
}

/// Takes an experiment to its end.
async fn drive(core: Arc<Core>, id: String) {
    let mut generation = core.registry_generation();
    let mut work: JoinSet<Done> = JoinSet::new();
    let mut steps_of: HashMap<Id, Step> = HashMap::new();
    let mut journal = Journal::default();
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    loop {
        generation.mark_unchanged();
        let (experiment, steps) = match advance(&core, &id, wall_clock::now()) {
            Ok(Some(advanced)) => advanced,
            // Everything was forgotten, as a test suite does.
            Ok(None) => return let_go(&core, held, work).await,
            Err(error) => {
                tracing::error!(%error, experiment = id, "an experiment could not be written down");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        for step in steps {
            let task = carry_out(&core, &experiment, step.clone(), &mut work);
            steps_of.insert(task, step);
        }
        let holding = experiment.run.actions.iter().filter(|(_, action)| action.held != Held::default());
        held = holding.map(|(name, action)| (name.clone(), action.held.clone())).collect();
        tell(&core, &mut journal, &experiment).await;
        if experiment.run.status.is_over() && work.is_empty() {
            return;
        }
        let wait = experiment.run.next_at().map_or(LOOK_MAX, |at| at.since(wall_clock::now()).min(LOOK_MAX));
        tokio::select! {
            Some(done) = work.join_next_with_id() => {
                if let Some(done) = outcome(done, &mut steps_of) {
                    // Noted here as well: everything may be forgotten before it is looked at again.
                    held.extend(settle(&core, &id, done).await);
                }
            }
            changed = generation.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What a step became; one that ended by itself has failed.
fn outcome(done: Result<(Id, Done), JoinError>, steps_of: &mut HashMap<Id, Step>) -> Option<Done> {
    let error = match done {
        Ok((id, done)) => {
            steps_of.remove(&id);
            return Some(done);
        }
        Err(error) => error,
    };
    tracing::error!(%error, "a step of an experiment ended by itself");
    let failure = RunError::new(ErrorCode::InternalFailure, "An internal error occurred.");
    Some(match steps_of.remove(&error.id())? {
        Step::Resolve => Done::Resolved(Err(failure)),
        Step::Begin(name) => Done::Begun(name, Err(failure)),
        Step::End(name) => Done::Ended(name, Err(failure)),
    })
}

/// An experiment, and what is to be done now.
type Advance = (Arc<ExperimentRecord>, Vec<Step>);

/// The experiment and what is to be done now; `None` of one that is not there. What changes nothing is not written.
fn advance(core: &Core, id: &str, now: Timestamp) -> Result<Option<Advance>, RegistryError> {
    let look = |registry: &Registry| {
        let mut next = ExperimentRecord::clone(registry.experiments.get(id)?);
        if let Some(alarm) = experiments::halting_alarm(registry, &next) {
            next.run.stop(Stop::Alarm(&alarm));
        }
        let steps = next.run.next(now);
        Some((next, steps))
    };
    let registry = core.registry();
    let (Some(present), Some((next, steps))) = (registry.experiments.get(id), look(&registry)) else {
        return Ok(None);
    };
    if steps.is_empty() && next == **present {
        return Ok(Some((Arc::clone(present), steps)));
    }
    core.change(|registry| {
        let Some((next, steps)) = look(registry) else { return Ok(None) };
        registry.experiments.put(id, next.clone());
        Ok(Some((Arc::new(next), steps)))
    })
}

/// Begins a step beside the others.
fn carry_out(
    core: &Arc<Core>,
    experiment: &Arc<ExperimentRecord>,
    step: Step,
    work: &mut JoinSet<Done>,
) -> Id {
    let (core, experiment) = (Arc::clone(core), Arc::clone(experiment));
    let task = match step {
        Step::Resolve => work.spawn_blocking(move || Done::Resolved(targets::resolve(&core, &experiment))),
        Step::Begin(name) => work.spawn(async move {
            let begun = actions::begin(&core, &experiment, &name).await;
            Done::Begun(name, begun)
        }),
        Step::End(name) => work.spawn(async move {
            let held = experiment.run.actions.get(&name).map(|action| action.held.clone());
            let ended = actions::end(&core, held.unwrap_or_default()).await;
            Done::Ended(name, ended)
        }),
    };
    task.id()
}

/// Writes down what became of a step, for as long as it takes: what is in force must not be forgotten. Which action holds
/// what since then.
async fn settle(core: &Arc<Core>, id: &str, done: Done) -> Option<(String, Held)> {
    loop {
        let now = wall_clock::now();
        let written = core.change::<_, RegistryError>(|registry| {
            let is_there = registry.experiments.get(id).is_some();
            registry.experiments.update(id, |experiment| match &done {
                Done::Resolved(Ok(resolution)) => {
                    experiment.resolved.clone_from(&resolution.targets);
                    experiment.run.resolved(Ok(resolution.skipped.clone()), now);
                }
                Done::Resolved(Err(error)) => experiment.run.resolved(Err(error.clone()), now),
                Done::Begun(name, begun) => experiment.run.begun(name, begun.clone(), now),
                Done::Ended(name, ended) => experiment.run.ended(name, ended.clone(), now),
            });
            Ok(is_there)
        });
        match (written, &done) {
            (Ok(false), Done::Begun(_, Ok(begun))) => {
                give_back(core, begun.held.clone()).await;
                return None;
            }
            (Ok(true), Done::Begun(name, Ok(begun))) => return Some((name.clone(), begun.held.clone())),
            (Ok(_), _) => return None,
            (Err(error), _) => {
                tracing::error!(%error, experiment = id, "a step of an experiment could not be written down");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Gives back all that an experiment held that is not there any more.
async fn let_go(core: &Arc<Core>, held: BTreeMap<String, Held>, mut work: JoinSet<Done>) {
    while let Some(done) = work.join_next().await {
        if let Ok(Done::Begun(_, Ok(begun))) = done {
            give_back(core, begun.held).await;
        }
    }
    for held in held.into_values() {
        give_back(core, held).await;
    }
}

async fn give_back(core: &Arc<Core>, held: Held) {
    if let Err(error) = actions::end(core, held).await {
        tracing::warn!(reason = error.reason, "what an experiment held was not given back");
    }
}

/// Tells people and logs what has changed.
async fn tell(core: &Arc<Core>, journal: &mut Journal, experiment: &Arc<ExperimentRecord>) {
    let now = wall_clock::now();
    if journal.is_news(experiment) {
        core.tell(vec![Event {
            at: now,
            resource: experiment.arn.to_string(),
            subject: format!("experiment {}", experiment.id),
            message: format!("is {}: {}", experiment.run.status.as_str(), experiment.run.reason),
        }]);
    }
    let events = journal.follow(experiment, now);
    let Some(group) = journal::group(experiment).filter(|_| !events.is_empty()) else { return };
    let (store, stream) = (Arc::clone(core.logs()), journal::stream(experiment));
    let written = tokio::task::spawn_blocking(move || {
        bowline_model::log::LogWriter::put(&*store, &group, &stream, events, false)
    });
    if let Ok(Err(error)) = written.await {
        tracing::warn!(%error, experiment = experiment.id, "an experiment was not logged");
    }
}
