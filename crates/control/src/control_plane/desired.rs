//! What agents are told to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_model::task::{TaskDesire, TaskId, TaskSpec, TaskStatus};
use tokio::{sync::watch, time::Instant};

use super::{pace::Pace, task_secrets};
use crate::{
    core::Core,
    registry::{Registry, Table, TaskRecord},
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
            task_secrets::refuse(core, task, reason);
            return None;
        }
    }
    task_spec::build(registry, options, task)
}
