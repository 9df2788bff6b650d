//! What agents are told to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_model::task::{DesiredStatus, TaskDesire, TaskId, TaskReport, TaskSpec, TaskStatus};
use bowline_plumbing::wall_clock;
use tokio::{sync::watch, time::Instant};

use super::{pace::Pace, task_secrets};
use crate::{
    core::Core,
    registry::{Registry, RegistryError, Table, TaskRecord},
    task_spec::{self, SpecOptions},
};

/// Keeps the agent's list in step.
pub(super) async fn publish(
    core: Arc<Core>,
    mut options: SpecOptions,
    desired: watch::Sender<Arc<Vec<TaskDesire>>>,
) {
    let mut generation = core.registry_generation();
    let (mut list, mut pace) = (List::default(), Pace::default());
    loop {
        generation.mark_unchanged();
        let began = Instant::now();
        options.roots_pem = core.roots_pem();
        if list.follow(&core, &core.registry(), &mut options) {
            desired.send_replace(Arc::new(list.told()));
        }
        pace.looked(began, Instant::now());
        if generation.changed().await.is_err() {
            return;
        }
        pace.turn().await;
    }
}

/// The tasks that there are, with what agents need to know of them.
#[derive(Default)]
struct List {
    /// What it follows from.
    of: Table<TaskRecord>,
    tasks: BTreeMap<TaskId, TaskDesire>,
    /// Those whose specs could not be made yet.
    waiting: BTreeSet<TaskId>,
}

impl List {
    /// Takes up what has changed; whether anything has. A task's spec is made once: it does not change while the task
    /// lives.
    fn follow(&mut self, core: &Arc<Core>, registry: &Registry, options: &mut SpecOptions) -> bool {
        let before = std::mem::replace(&mut self.of, registry.tasks.clone());
        let (put, removed) = registry.tasks.changes_since(&before);
        let mut changed = false;
        for id in removed {
            let Ok(id) = id.parse::<TaskId>() else { continue };
            self.waiting.remove(&id);
            changed |= self.tasks.remove(&id).is_some();
        }
        for (_, task) in put {
            match self.tasks.get_mut(&task.id) {
                Some(told) => {
                    changed |= told.status != task.desired;
                    told.status = task.desired;
                }
                None => {
                    self.waiting.insert(task.id.clone());
                }
            }
        }
        for id in std::mem::take(&mut self.waiting) {
            let Some(task) = registry.tasks.get(id.as_str()) else { continue };
            if task.status() == TaskStatus::Stopped {
                continue;
            }
            match spec_of(core, registry, options, task) {
                Some(spec) => {
                    changed = true;
                    self.tasks.insert(id, TaskDesire { spec: Arc::new(spec), status: task.desired });
                }
                // What it is made of went before any agent heard of it: none would say that it is over.
                None if task.desired == DesiredStatus::Stopped && task.report.is_none() => {
                    end_untold(core, task, None);
                }
                None => {
                    self.waiting.insert(id);
                }
            }
        }
        changed
    }

    fn told(&self) -> Vec<TaskDesire> {
        self.tasks.values().cloned().collect()
    }
}

/// What is run for a task; `None` where it cannot be told now.
fn spec_of(
    core: &Arc<Core>,
    registry: &Registry,
    options: &mut SpecOptions,
    task: &TaskRecord,
) -> Option<TaskSpec> {
    match task_secrets::of_task(core, registry, task) {
        Ok(secrets) => options.secrets = secrets,
        Err(reason) => {
            end_untold(core, task, Some(reason));
            return None;
        }
    }
    task_spec::build(registry, options, task)
}

/// Ends a task that no agent was told of, with the reason where that is a failure.
pub(crate) fn end_untold(core: &Core, task: &TaskRecord, failure: Option<String>) {
    let report = TaskReport::unseen(task.id.clone(), wall_clock::now(), failure);
    let ended = core.change::<_, RegistryError>(|registry| {
        registry.tasks.update(task.id.as_str(), |task| task.report = Some(Arc::new(report)));
        Ok(())
    });
    if let Err(error) = ended {
        tracing::error!(%error, task = %task.id, "a task that was never started could not be ended");
    }
}

#[cfg(test)]
mod tests;
