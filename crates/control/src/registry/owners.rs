//! Which tasks are whose: an index beside the table of tasks, so that a service's tasks are found without a look at
//! everybody's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    /// Rows, by the ARN of the service or load balancer, and by id: to look each up in the table takes longer than all
    /// that is done with it.
    tasks: HashMap<String, BTreeMap<String, Arc<TaskRecord>>>,
}

impl Owners {
    /// The tasks of a service or load balancer, by id.
    pub(super) fn tasks_of(&self, owner: &str, tasks: &Table<TaskRecord>) -> Vec<Arc<TaskRecord>> {
        self.index_of(tasks).tasks.get(owner).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The tasks of services and load balancers that are not there.
    pub(super) fn tasks_of_absent(
        &self,
        tasks: &Table<TaskRecord>,
        is_there: impl Fn(&str) -> bool,
    ) -> Vec<Arc<TaskRecord>> {
        let index = self.index_of(tasks);
        let absent = index.tasks.iter().filter(|(owner, _)| !is_there(owner));
        absent.flat_map(|(_, tasks)| tasks.values()).cloned().collect()
    }

    fn index_of(&self, tasks: &Table<TaskRecord>) -> MutexGuard<'_, Index> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !index.of.is_same(tasks) {
            index.follow(tasks);
        }
        index
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
            }
            let Some(owner) = present else { continue };
            match self.tasks.get_mut(owner).and_then(|tasks| tasks.get_mut(id)) {
                Some(row) => *row = Arc::clone(task),
                None => {
                    self.tasks.entry(owner.to_owned()).or_default().insert(id.to_owned(), Arc::clone(task));
                }
            }
        }
        for id in removed {
            self.forget(before.get(id).and_then(|task| owner_of(&task.owner)), id);
        }
    }

    fn forget(&mut self, owner: Option<&str>, id: &str) {
        let Some(owner) = owner else { return };
        if let Some(tasks) = self.tasks.get_mut(owner) {
            tasks.remove(id);
            if tasks.is_empty() {
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
