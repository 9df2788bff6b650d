//! Which tasks are whose: an index beside the table of tasks, so that a service's tasks are found without a look at
//! everybody's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Table, TaskOwner, TaskRecord};

/// The index that all copies of a registry share. It follows the table that it is asked about: of that, only what
/// differs from the one before is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(Arc<Mutex<Index>>);

#[derive(Debug, Default)]
struct Index {
    /// What it is an index of.
    of: Table<TaskRecord>,
    /// Ids by the ARN of the service or load balancer.
    tasks: HashMap<String, BTreeSet<String>>,
}

impl Owners {
    /// The tasks of a service or load balancer, by id.
    pub(super) fn tasks_of<'t>(&self, owner: &str, tasks: &'t Table<TaskRecord>) -> Vec<&'t Arc<TaskRecord>> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !index.of.is_same(tasks) {
            index.follow(tasks);
        }
        let ids = index.tasks.get(owner).into_iter().flatten();
        ids.filter_map(|id| tasks.get(id)).collect()
    }
}

impl Index {
    fn follow(&mut self, tasks: &Table<TaskRecord>) {
        let before = std::mem::replace(&mut self.of, tasks.clone());
        let (put, removed) = tasks.changes_since(&before);
        for (id, task) in put {
            let past = before.get(id).and_then(|task| owner_of(&task.owner));
            let present = owner_of(&task.owner);
            if past != present {
                self.forget(past, id);
                if let Some(owner) = present {
                    self.tasks.entry(owner.to_owned()).or_default().insert(id.to_owned());
                }
            }
        }
        for id in removed {
            self.forget(before.get(id).and_then(|task| owner_of(&task.owner)), id);
        }
    }

    fn forget(&mut self, owner: Option<&str>, id: &str) {
        let Some(owner) = owner else { return };
        if let Some(ids) = self.tasks.get_mut(owner) {
            ids.remove(id);
            if ids.is_empty() {
                self.tasks.remove(owner);
            }
        }
    }
}

/// Whose a task is, where it is somebody's.
fn owner_of(owner: &TaskOwner) -> Option<&str> {
    match owner {
        TaskOwner::Service { service, .. } => Some(service.as_str()),
        TaskOwner::Gateway { load_balancer } => Some(load_balancer.as_str()),
        TaskOwner::Standalone(_) => None,
    }
}

#[cfg(test)]
mod tests;
