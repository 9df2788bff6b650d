//! What is published: of which generation it is at each place, and the sets of resources that were made for it.
//!
//! A generation is a number of the whole control plane. Each place (see [`Scope`]) has the latest one that reached it,
//! and its streams are woken by that alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard, PoisonError},
};

use bowline_discovery::resource::ResourceType;
use bowline_model::task::TaskId;
use tokio::sync::watch;

use super::{Bundle, Core, harm, revocations::PublishedRevocation};
use crate::{
    publish::{
        self, Callable, PublishOptions,
        scope::{self, Likeness, Reach, Scope},
    },
    registry::{Registry, TaskRecord},
    stream::resources::{Kind, ResourceSet, is_same},
};

/// Most places that are known one by one. What is at others is known together with everybody's.
const SCOPES_MAX: usize = 4_096;
/// Sets and places are looked through for those that nobody has any more when there are twice as many as were left the
/// last time, and more than this.
const SETS_MIN: usize = 256;

/// Which generation is where.
#[derive(Debug)]
pub(super) struct Published {
    /// The latest of all.
    generation: u64,
    /// The latest that reached everybody.
    everybody: u64,
    /// The latest in which revocations differed: of that everybody is told, but nothing else is made anew.
    revocations: u64,
    /// The latest that reached those who are there.
    scopes: BTreeMap<Scope, (u64, watch::Sender<u64>)>,
}

/// The generations of a place at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    /// What streams go by.
    generation: u64,
    /// The latest in which anything but revocations differed.
    base: u64,
    /// The latest that reached everybody.
    everybody: u64,
    /// The latest that reached everybody, be it by revocations alone.
    for_all: u64,
}

impl Default for Published {
    fn default() -> Self {
        Self { generation: 1, everybody: 1, revocations: 1, scopes: BTreeMap::new() }
    }
}

impl Published {
    fn here(&self, scope: &Scope) -> Here {
        let own = self.scopes.get(scope).map_or(0, |(own, _)| *own);
        let base = own.max(self.everybody);
        let for_all = self.for_all();
        Here { generation: base.max(for_all), base, everybody: self.everybody, for_all }
    }

    /// A generation that reaches these, and everybody where `revocations` differ in it; its number.
    fn reach(&mut self, reach: &Reach, revocations: bool) -> u64 {
        self.generation += 1;
        if revocations {
            self.revocations = self.generation;
            self.tell_all();
        }
        match reach {
            Reach::Everybody => {
                self.everybody = self.generation;
                self.tell_all();
            }
            Reach::Scopes(scopes) => {
                for scope in scopes {
                    let present = self.scopes.get_mut(scope);
                    if let Some((own, told)) = present {
                        *own = self.generation;
                        told.send_replace(self.generation);
                    } else {
                        self.know(scope, self.generation);
                    }
                }
            }
        }
        self.generation
    }

    fn tell_all(&self) {
        for (_, told) in self.scopes.values() {
            told.send_replace(self.generation);
        }
    }

    fn know(&mut self, scope: &Scope, own: u64) -> &watch::Sender<u64> {
        if self.scopes.len() >= SCOPES_MAX {
            self.scopes.retain(|_, (_, told)| told.receiver_count() > 0);
            // Whoever asks about those that went makes anew what may have changed.
            self.everybody = self.generation;
            self.tell_all();
        }
        let generation = own.max(self.everybody).max(self.revocations);
        let (_, told) =
            self.scopes.entry(scope.clone()).or_insert_with(|| (own, watch::Sender::new(generation)));
        told
    }

    fn follow(&mut self, scope: &Scope) -> watch::Receiver<u64> {
        match self.scopes.get(scope) {
            Some((_, told)) => told.subscribe(),
            None => self.know(scope, 0).subscribe(),
        }
    }

    /// The latest generation that reached everybody, be it by revocations alone.
    fn for_all(&self) -> u64 {
        self.everybody.max(self.revocations)
    }
}

/// Sets of resources that were made, each for all tasks that are alike.
#[derive(Default)]
pub(super) struct Sets {
    by_likeness: BTreeMap<Likeness, Made>,
    /// What members of a namespace can call.
    by_namespace: BTreeMap<String, MadeCallable>,
    /// Of tasks that had, or have, something of their own: their endpoints, and since when they are so.
    own: BTreeMap<TaskId, (Arc<Kind>, u64)>,
    /// How many there may be before they are looked through.
    room: usize,
}

/// A set, and what it was made from.
struct Made {
    /// At least as new as that.
    generation: u64,
    set: Arc<ResourceSet>,
    /// What of it does not follow from tasks, and of which generation that is.
    own: (u64, ResourceSet),
    /// Since when its endpoints are what they are.
    endpoints_since: u64,
}

/// What members of a namespace can call, all of them alike.
#[derive(Default)]
struct MadeCallable {
    /// At least as new as that.
    generation: u64,
    /// What of it does not follow from tasks is.
    everybody: u64,
    callable: Callable,
}

impl Core {
    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the streams of those whom a change reaches that is none of revocations.
    pub(super) fn publish(&self, reach: &Reach) {
        self.publish_with(reach, false);
    }

    /// Tells the streams of those whom a change reaches, and everybody where revocations differ.
    pub(super) fn publish_with(&self, reach: &Reach, revocations: bool) {
        let roots_pem = self.authorities.mesh_roots_pem();
        let mut bundle = self.bundle.lock().unwrap_or_else(PoisonError::into_inner);
        let reach = if bundle.roots_pem == roots_pem { reach } else { &Reach::Everybody };
        if *reach == Reach::Scopes(BTreeSet::new()) && !revocations {
            return;
        }
        let generation = self.published().reach(reach, revocations);
        if bundle.roots_pem != roots_pem {
            *bundle = Bundle { roots_pem, since: generation };
        }
    }

    /// The latest generation in which revocations differed.
    pub(crate) fn revocations_generation(&self) -> u64 {
        self.published().revocations
    }

    /// The generation of where a task is; of a task that is over, that of those who are nowhere.
    pub(super) fn generation_of(&self, task: &TaskId) -> watch::Receiver<u64> {
        let registry = self.registry();
        let scope = registry.tasks.get(task.as_str()).map(|task| Scope::of(&registry, task));
        self.published().follow(&scope.unwrap_or(Scope::Nowhere))
    }

    /// What a task's proxy should have.
    pub(super) fn set_of(&self, task: &TaskId) -> Option<Arc<ResourceSet>> {
        self.made(task).map(|(set, _)| set)
    }

    /// Since which generation a task's endpoints are what they are now.
    pub(crate) fn endpoints_since(&self, task: &TaskId) -> Option<u64> {
        self.made(task).map(|(_, since)| since)
    }

    fn made(&self, id: &TaskId) -> Option<(Arc<ResourceSet>, u64)> {
        let scope = {
            let registry = self.registry();
            Scope::of(&registry, registry.tasks.get(id.as_str())?)
        };
        // In this order: what is made may be newer than its generation, never older.
        let here = self.published().here(&scope);
        let registry = self.registry();
        let task = registry.tasks.get(id.as_str())?;
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let options = self.own_options(id);
        let has_own = options.has_own(id);
        if has_own {
            sets.remember(task);
        }
        let likeness = if has_own { Likeness::Alone(id.clone()) } else { Likeness::of(task) };
        let revocation = self.present_revocation(here.for_all);
        let (set, since) = match sets.by_likeness.get_mut(&likeness) {
            Some(made) if made.generation >= here.base => {
                if made.generation < here.generation {
                    let mut newer = ResourceSet::clone(&made.set);
                    revocation.put_into(&mut newer);
                    (made.generation, made.set) = (here.generation, Arc::new(newer));
                }
                (Arc::clone(&made.set), made.endpoints_since)
            }
            _ => {
                self.make_room(&mut sets, &registry);
                let options = self.all_options(options);
                let made = sets.make(&registry, &options, task, likeness, here, &revocation)?;
                (Arc::clone(&made.set), made.endpoints_since)
            }
        };
        let since = sets.seen_by(id, &set, here.generation).unwrap_or(since);
        Some((set, since))
    }

    /// What this task's proxy alone is told.
    fn own_options(&self, task: &TaskId) -> PublishOptions {
        let diversions = self.diversions.lock().unwrap_or_else(PoisonError::into_inner);
        let of_task = diversions.iter().filter(|((of, _), _)| of == task);
        PublishOptions {
            diversions: of_task.map(|(key, (to, _))| (key.clone(), *to)).collect(),
            faults: self.published_faults(task),
            ..PublishOptions::default()
        }
    }

    /// What is told to a task's proxy besides what follows from the registry.
    #[cfg(test)]
    pub(crate) fn options_of(&self, task: &TaskId) -> PublishOptions {
        self.all_options(self.own_options(task))
    }

    /// With what everybody is told.
    fn all_options(&self, own: PublishOptions) -> PublishOptions {
        PublishOptions {
            roots_pem: self.authorities.mesh_roots_pem(),
            signing_keys: self.authorities.opened().signing_keys(),
            diversions: own.diversions,
            faults: own.faults,
            ..self.options.clone()
        }
    }

    /// Forgets sets of tasks that are gone.
    fn make_room(&self, sets: &mut Sets, registry: &Registry) {
        if sets.by_likeness.len() + sets.by_namespace.len() + sets.own.len() < sets.room.max(SETS_MIN) {
            return;
        }
        let alike: BTreeSet<_> = registry.tasks.values().map(|task| Likeness::of(task)).collect();
        let is_there = |task: &TaskId| registry.tasks.get(task.as_str()).is_some();
        sets.own.retain(|task, _| is_there(task));
        sets.by_likeness.retain(|likeness, _| match likeness {
            Likeness::Alone(task) => is_there(task),
            Likeness::Deployment { .. } => alike.contains(likeness),
        });
        sets.by_namespace.retain(|namespace, _| registry.namespaces.get(namespace).is_some());
        sets.room = 2 * (sets.by_likeness.len() + sets.by_namespace.len() + sets.own.len());
    }
}

impl Sets {
    /// From now on a task's endpoints are looked at by themselves: what it had so far is those of all that are alike.
    fn remember(&mut self, task: &TaskRecord) {
        if !self.own.contains_key(&task.id)
            && let Some(made) = self.by_likeness.get(&Likeness::of(task))
        {
            let endpoints = Arc::clone(made.set.of(ResourceType::Endpoints));
            self.own.insert(task.id.clone(), (endpoints, made.endpoints_since));
        }
    }

    /// Since when the endpoints of such a task are what they are, which are these at `generation`.
    fn seen_by(&mut self, task: &TaskId, set: &ResourceSet, generation: u64) -> Option<u64> {
        let (seen, since) = self.own.get_mut(task)?;
        let present = set.of(ResourceType::Endpoints);
        if !Arc::ptr_eq(seen, present) {
            if !is_same(seen, present) {
                *since = generation;
            }
            *seen = Arc::clone(present);
        }
        Some(*since)
    }

    fn make(
        &mut self,
        registry: &Registry,
        options: &PublishOptions,
        task: &TaskRecord,
        likeness: Likeness,
        here: Here,
        revocation: &PublishedRevocation,
    ) -> Option<&Made> {
        let has_own = options.has_own(&task.id);
        let before = self.by_likeness.remove(&likeness);
        // What gateways have follows from tasks, all of it; and faults come and go.
        let follows_tasks = has_own || matches!(Scope::of(registry, task), Scope::Gateways);
        let own = match &before {
            Some(made) if made.own.0 >= here.everybody && !follows_tasks => made.own.clone(),
            _ => (here.everybody, publish::own(registry, options, task)?),
        };
        let mut set = own.1.clone();
        if let Scope::Namespace(namespace) = Scope::of(registry, task) {
            if has_own || !scope::is_called_alike(registry) {
                set.add(&publish::callable(registry, options, task, &namespace));
            } else {
                set.add(self.callable(registry, options, task, &namespace, here));
            }
        }
        // What follows from nothing but that may be of an earlier generation.
        revocation.put_into(&mut set);
        if options.faults.garbage {
            set = harm::spoiled(&set);
        }
        let mut endpoints_since = here.generation;
        if let Some(before) = &before {
            set.share_with(&before.set);
            let kind = ResourceType::Endpoints;
            if Arc::ptr_eq(set.of(kind), before.set.of(kind)) {
                endpoints_since = before.endpoints_since;
            }
        }
        // Streams see by the pointer that nothing of theirs has changed.
        let set = match before {
            Some(before) if set.is_shared_with(&before.set) => before.set,
            _ => Arc::new(set),
        };
        let made = Made { generation: here.generation, set, own, endpoints_since };
        Some(self.by_likeness.entry(likeness).or_insert(made))
    }

    /// What members of a namespace can call, all of them alike.
    fn callable(
        &mut self,
        registry: &Registry,
        options: &PublishOptions,
        task: &TaskRecord,
        namespace: &str,
        here: Here,
    ) -> &ResourceSet {
        let made = self.by_namespace.entry(namespace.to_owned()).or_default();
        if made.everybody < here.everybody {
            made.callable.make(registry, options, task, namespace);
        } else if made.generation < here.base {
            made.callable.follow_tasks(registry, options, task, namespace);
        }
        made.generation = made.generation.max(here.base);
        made.everybody = made.everybody.max(here.everybody);
        made.callable.set()
    }
}
