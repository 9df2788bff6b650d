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
use bowline_stream::{
    directory::{Common, Notice},
    resources::{Kind, ResourceSet, is_same},
};
use tokio::sync::watch;

use super::{Core, harm, revocations::PublishedRevocation};
use crate::{
    publish::{
        self, Callable, PublishOptions,
        scope::{self, Likeness, Reach, Scope},
    },
    registry::{Registry, TaskRecord},
};

/// Most places that are known one by one. What is at others is known together with everybody's.
const SCOPES_MAX: usize = 4_096;
/// Sets and places are looked through for those that nobody has any more when there are twice as many as were left the
/// last time, and more than this.
const SETS_MIN: usize = 256;

/// Which generation is where, and what everybody is told.
///
/// What everybody is told stands here from its generation on: who reads both at once never has something new by an earlier
/// number. Of that number it would not be asked again, and who waits for the new one would wait for ever.
pub(super) struct Published {
    /// The latest of all.
    generation: u64,
    /// The latest that reached everybody.
    everybody: u64,
    /// The latest in which revocations differed: of that everybody is told, but nothing else is made anew.
    revocations: u64,
    revocation: Arc<PublishedRevocation>,
    roots: Roots,
    /// What is told to those who are there.
    scopes: BTreeMap<Scope, Place>,
}

/// A place.
#[derive(Debug)]
struct Place {
    /// The latest generation that reached those who are there in particular.
    own: u64,
    told: watch::Sender<Notice>,
}

impl Place {
    fn tell(&self, generation: u64, has_moved: bool) {
        self.told.send_modify(|told| {
            told.generation = generation;
            if has_moved {
                told.moved = generation;
            }
        });
    }
}

/// The roots that the mesh trusts.
#[derive(Clone)]
struct Roots {
    pem: Arc<str>,
    /// The generation since which they are published.
    since: u64,
}

/// What is published at a place at one moment.
struct Here {
    /// What streams go by.
    generation: u64,
    /// The latest in which anything but revocations differed.
    base: u64,
    /// The latest that reached everybody.
    everybody: u64,
    revocation: Arc<PublishedRevocation>,
    roots_pem: Arc<str>,
}

impl Published {
    pub(super) fn new(registry: &Registry, roots_pem: &str) -> Self {
        Self {
            generation: 1,
            everybody: 1,
            revocations: 1,
            revocation: Arc::new(PublishedRevocation::of(registry)),
            roots: Roots { pem: roots_pem.into(), since: 1 },
            scopes: BTreeMap::new(),
        }
    }

    fn here(&self, scope: &Scope) -> Here {
        let own = self.scopes.get(scope).map_or(0, |place| place.own);
        let base = own.max(self.everybody);
        Here {
            generation: base.max(self.revocations),
            base,
            everybody: self.everybody,
            revocation: Arc::clone(&self.revocation),
            roots_pem: Arc::clone(&self.roots.pem),
        }
    }

    /// A generation that reaches these; what differs in it of revocations or of roots reaches everybody.
    fn reach(&mut self, reach: &Reach, revocation: Option<PublishedRevocation>, roots_pem: Option<&str>) {
        self.generation += 1;
        if let Some(revocation) = revocation {
            self.revocation = Arc::new(revocation);
            self.revocations = self.generation;
            self.tell_all(false);
        }
        if let Some(pem) = roots_pem {
            self.roots = Roots { pem: pem.into(), since: self.generation };
        }
        match reach {
            Reach::Everybody => {
                self.everybody = self.generation;
                self.tell_all(true);
            }
            Reach::Scopes { changed, left } => {
                for scope in changed {
                    if let Some(place) = self.scopes.get_mut(scope) {
                        place.own = self.generation;
                        place.tell(self.generation, left.contains(scope));
                    } else {
                        self.know(scope, self.generation);
                    }
                }
            }
        }
    }

    /// The generation since which the mesh's roots are what they are.
    pub(super) fn roots_since(&self) -> u64 {
        self.roots.since
    }

    fn tell_all(&self, has_moved: bool) {
        for place in self.scopes.values() {
            place.tell(self.generation, has_moved);
        }
    }

    fn know(&mut self, scope: &Scope, own: u64) -> &Place {
        if self.scopes.len() >= SCOPES_MAX {
            self.scopes.retain(|_, place| place.told.receiver_count() > 0);
            // Whoever asks about those that went makes anew what may have changed.
            self.everybody = self.generation;
            self.tell_all(true);
        }
        let generation = own.max(self.everybody).max(self.revocations);
        let told = Notice { generation, moved: generation };
        self.scopes.entry(scope.clone()).or_insert_with(|| Place { own, told: watch::Sender::new(told) })
    }

    /// What is told to those who are there.
    pub(super) fn follow(&mut self, scope: &Scope) -> watch::Receiver<Notice> {
        match self.scopes.get(scope) {
            Some(place) => place.told.subscribe(),
            None => self.know(scope, 0).told.subscribe(),
        }
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
    /// Whether members of a namespace can call the same, as of the latest generation that reached everybody.
    alike: Option<(u64, bool)>,
    /// How many there may be before they are looked through.
    room: usize,
}

/// A set, and what it was made from.
struct Made {
    /// The set, for all that are alike.
    common: Arc<Common>,
    /// What of it does not follow from tasks, and of which generation that is.
    own: (u64, ResourceSet),
    /// What of it all members of the namespace can call, where that is alike.
    callable: Option<ResourceSet>,
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
    pub(super) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the streams of those whom a change reaches that is none of the registry.
    pub(super) fn publish(&self, reach: &Reach) {
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell_streams(reach, false);
    }

    /// Tells the streams of those whom the registry's changes reach, and everybody where revocations differ. Whatever
    /// is in the registry when this is called is published when it returns, whoever changed it: a change is seen there
    /// a moment before it is published.
    pub(super) fn publish_changes(&self) {
        let mut before = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let after = self.registry();
        if Arc::ptr_eq(&before, &after) {
            return;
        }
        if !before.authorities.is_same(&after.authorities)
            && let Err(error) = self.open_authorities()
        {
            tracing::error!(%error, "a certificate authority cannot be used");
        }
        let revocations = !before.revocations.is_same(&after.revocations);
        self.tell_streams(&scope::reach(&before, &after), revocations);
        *before = after;
    }

    /// Of this change, whoever publishes it; of revocations only where they may differ. The caller holds the lock.
    fn tell_streams(&self, reach: &Reach, revocations: bool) {
        let (past_revocation, past_roots) = {
            let published = self.published();
            (Arc::clone(&published.revocation), Arc::clone(&published.roots.pem))
        };
        let roots_pem = Some(self.authorities.mesh_roots_pem()).filter(|present| **present != *past_roots);
        let reach = if roots_pem.is_none() { reach } else { &Reach::Everybody };
        // Of two changes at a time each may see what the other one did, and the first that is published has it.
        let revocation = (revocations || matches!(reach, Reach::Everybody))
            .then(|| PublishedRevocation::of(&self.registry()))
            .filter(|present| !present.is_same(&past_revocation));
        if matches!(reach, Reach::Scopes { changed, .. } if changed.is_empty()) && revocation.is_none() {
            return;
        }
        self.published().reach(reach, revocation, roots_pem.as_deref());
    }

    /// The latest generation in which revocations differed.
    pub(crate) fn revocations_generation(&self) -> u64 {
        self.published().revocations
    }

    /// Since which generation a task's endpoints are what they are in the registry now.
    pub(crate) fn endpoints_since(&self, task: &TaskId) -> Option<u64> {
        self.publish_changes();
        self.made(task).map(|(_, since)| since)
    }

    /// What a task has as all that are like it, made anew where it may have changed; and since when its endpoints are
    /// what they are.
    pub(super) fn made(&self, id: &TaskId) -> Option<(Arc<Common>, u64)> {
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
        let (common, since) = match sets.by_likeness.get_mut(&likeness) {
            Some(made) if made.generation() >= here.base => {
                let latest = made.common.latest();
                if latest.generation < here.generation {
                    let mut newer = ResourceSet::clone(&latest.set);
                    here.revocation.put_into(&mut newer);
                    made.common.publish(here.generation, Arc::new(newer));
                }
                (Arc::clone(&made.common), made.endpoints_since)
            }
            _ => {
                self.make_room(&mut sets, &registry);
                let options = self.all_options(options, &here.roots_pem);
                let made = sets.make(&registry, &options, task, likeness, &here)?;
                (Arc::clone(&made.common), made.endpoints_since)
            }
        };
        let since = sets.seen_by(id, &common.latest().set, here.generation).unwrap_or(since);
        Some((common, since))
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
        let roots_pem = Arc::clone(&self.published().roots.pem);
        self.all_options(self.own_options(task), &roots_pem)
    }

    /// With what everybody is told.
    fn all_options(&self, own: PublishOptions, roots_pem: &str) -> PublishOptions {
        PublishOptions {
            roots_pem: roots_pem.to_owned(),
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

impl Made {
    fn generation(&self) -> u64 {
        self.common.latest().generation
    }
}

impl Sets {
    /// From now on a task's endpoints are looked at by themselves: what it had so far is those of all that are alike.
    fn remember(&mut self, task: &TaskRecord) {
        if !self.own.contains_key(&task.id)
            && let Some(made) = self.by_likeness.get(&Likeness::of(task))
        {
            let endpoints = Arc::clone(made.common.latest().set.of(ResourceType::Endpoints));
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
        here: &Here,
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
        let mut callable = None;
        if let Scope::Namespace(namespace) = Scope::of(registry, task) {
            if has_own || !self.is_called_alike(registry, here) {
                set.add(&publish::callable(registry, options, task, &namespace));
            } else {
                let present = self.callable(registry, options, task, &namespace, here).clone();
                match before.as_ref().and_then(|made| Some((made, made.callable.as_ref()?))) {
                    Some((made, past)) => {
                        set.add_as_before(&present, &made.common.latest().set, &made.own.1, past);
                    }
                    None => set.add(&present),
                }
                callable = Some(present);
            }
        }
        // What follows from nothing but that may be of an earlier generation.
        here.revocation.put_into(&mut set);
        if options.faults.garbage {
            set = harm::spoiled(&set);
        }
        let made = match before {
            None => {
                let common = Arc::new(Common::new(here.generation, Arc::new(set)));
                Made { common, own, callable, endpoints_since: here.generation }
            }
            Some(Made { common, endpoints_since, .. }) => {
                let past = Arc::clone(&common.latest().set);
                set.share_with(&past);
                let kind = ResourceType::Endpoints;
                let since =
                    if Arc::ptr_eq(set.of(kind), past.of(kind)) { endpoints_since } else { here.generation };
                // Streams see by the pointer that nothing of theirs has changed.
                let set = if set.is_shared_with(&past) { past } else { Arc::new(set) };
                common.publish(here.generation, set);
                Made { common, own, callable, endpoints_since: since }
            }
        };
        Some(self.by_likeness.entry(likeness).or_insert(made))
    }

    fn is_called_alike(&mut self, registry: &Registry, here: &Here) -> bool {
        match self.alike {
            Some((everybody, alike)) if everybody == here.everybody => alike,
            _ => {
                let alike = scope::is_called_alike(registry);
                self.alike = Some((here.everybody, alike));
                alike
            }
        }
    }

    /// What members of a namespace can call, all of them alike.
    fn callable(
        &mut self,
        registry: &Registry,
        options: &PublishOptions,
        task: &TaskRecord,
        namespace: &str,
        here: &Here,
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
