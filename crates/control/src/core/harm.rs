//! What is done to the control plane itself on purpose: certificates that it does not issue, and a stream of which
//! nothing can be used. In memory alone: a control plane that was killed knows none of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_discovery::resource::{Resource, ResourceType};
use bowline_model::{clock::Timestamp, task::TaskId};
use bowline_plumbing::wall_clock;
use bowline_stream::directory::{Directory, ResourceSet, VersionedResource};

use super::Core;
use crate::publish::scope::Reach;

/// What is in force.
#[derive(Default)]
pub(super) struct Harms {
    all: BTreeMap<u64, Harm>,
    next: u64,
}

struct Harm {
    tasks: BTreeSet<TaskId>,
    until: Timestamp,
    what: HarmKind,
    /// How often it was met: by requests that were refused, or resources that were.
    met: Arc<AtomicU64>,
}

/// What is done.
pub(crate) enum HarmKind {
    /// Certificates live for so long.
    ShortLives(Duration),
    /// No certificates are issued.
    NoIssuance,
    /// What the stream has cannot be used. Which of it sidecars have refused by name is kept.
    Garbage(BTreeSet<(TaskId, ResourceType, String)>),
}

impl HarmKind {
    fn is_garbage(&self) -> bool {
        matches!(self, Self::Garbage(_))
    }
}

impl Core {
    fn harms(&self) -> MutexGuard<'_, Harms> {
        self.harms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it in force. Its number, and how often it is met; or the task to which the same is done already.
    pub(crate) fn begin_harm(
        &self,
        tasks: &[TaskId],
        what: HarmKind,
        until: Timestamp,
    ) -> Result<(u64, Arc<AtomicU64>), TaskId> {
        let is_garbage = what.is_garbage();
        let met = Arc::new(AtomicU64::new(0));
        let number = {
            let (mut harms, now) = (self.harms(), wall_clock::now());
            let kind = std::mem::discriminant(&what);
            let taken = |task: &&TaskId| {
                let mut same = harms.all.values().filter(|it| std::mem::discriminant(&it.what) == kind);
                same.any(|it| it.until > now && it.tasks.contains(*task))
            };
            if let Some(task) = tasks.iter().find(taken) {
                return Err(task.clone());
            }
            harms.next += 1;
            let number = harms.next;
            let tasks = tasks.iter().cloned().collect();
            harms.all.insert(number, Harm { tasks, until, what, met: Arc::clone(&met) });
            number
        };
        if is_garbage {
            self.publish(&Reach::Everybody);
        }
        Ok((number, met))
    }

    /// Ends it. Whom it was done to; `None` if it is over.
    pub(crate) fn end_harm(&self, number: u64) -> Option<BTreeSet<TaskId>> {
        let harm = self.harms().all.remove(&number)?;
        if harm.what.is_garbage() {
            self.publish(&Reach::Everybody);
        }
        Some(harm.tasks)
    }

    /// Ends what is past its deadline. When the next one is.
    pub(crate) fn end_old_harms(&self) -> Option<Timestamp> {
        let (ended, next) = {
            let (mut harms, now) = (self.harms(), wall_clock::now());
            let ended = harms.all.values().any(|harm| harm.until <= now && harm.what.is_garbage());
            harms.all.retain(|_, harm| harm.until > now);
            (ended, harms.all.values().map(|harm| harm.until).min())
        };
        if ended {
            self.publish(&Reach::Everybody);
        }
        next
    }

    /// How long a certificate of the task's own identity lives.
    pub(super) fn lifetime_for(&self, task: &TaskId) -> Duration {
        let (harms, now) = (self.harms(), wall_clock::now());
        let short = harms.all.values().find_map(|harm| match harm.what {
            HarmKind::ShortLives(lifetime) if harm.until > now && harm.tasks.contains(task) => Some(lifetime),
            _ => None,
        });
        short.unwrap_or(self.certificate_ttl)
    }

    /// Whether the task gets no certificate. Counts the question.
    pub(super) fn withholds(&self, task: &TaskId) -> bool {
        let (harms, now) = (self.harms(), wall_clock::now());
        let withheld = harms.all.values().find(|harm| {
            matches!(harm.what, HarmKind::NoIssuance) && harm.until > now && harm.tasks.contains(task)
        });
        if let Some(harm) = withheld {
            harm.met.fetch_add(1, Ordering::Relaxed);
        }
        withheld.is_some()
    }

    /// Whether what the task's sidecar is sent is unusable on purpose.
    pub(super) fn is_spoiled(&self, task: &TaskId) -> bool {
        let (harms, now) = (self.harms(), wall_clock::now());
        let spoils = |harm: &Harm| harm.what.is_garbage() && harm.until > now && harm.tasks.contains(task);
        harms.all.values().any(spoils)
    }

    /// A sidecar has refused resources of this kind, and says which.
    pub(super) fn note_refusal(&self, task: &TaskId, kind: ResourceType, refusal: &str) {
        if !self.harms().all.values().any(|harm| harm.what.is_garbage()) {
            return;
        }
        let Some(set) = self.resources(task) else { return };
        let refused_names = set.of(kind).keys().filter(|name| refusal.contains(&format!("{name:?}")));
        let mut harms = self.harms();
        for name in refused_names {
            for harm in harms.all.values_mut().filter(|harm| harm.tasks.contains(task)) {
                if let HarmKind::Garbage(refused) = &mut harm.what
                    && refused.insert((task.clone(), kind, name.to_string()))
                {
                    harm.met.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Returns when the sidecars of `tasks` refuse something of every kind that they are sent (`refused`), or refuse
    /// nothing any more, or are not connected; else, after `limit`, those of which that is not so.
    pub(crate) async fn garbage_answered(
        &self,
        tasks: &[TaskId],
        refused: bool,
        limit: Duration,
    ) -> Result<(), Vec<TaskId>> {
        let mut answered = self.answered.subscribe();
        let is_done = |task: &TaskId| {
            let Some(set) = self.resources(task) else { return !refused };
            let kinds: BTreeSet<_> = set.iter().map(|(kind, ..)| kind).collect();
            let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
            match proxies.get(task) {
                None => !refused,
                Some(state) if refused => kinds.iter().all(|kind| state.refused.contains_key(kind)),
                Some(state) => state.refused.is_empty(),
            }
        };
        let missing = || tasks.iter().filter(|task| !is_done(task)).cloned().collect::<Vec<_>>();
        let all = async {
            loop {
                answered.mark_unchanged();
                if missing().is_empty() || answered.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
        match missing() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    }
}

/// A sidecar's resources, all of them unusable.
pub(super) fn spoiled(set: &ResourceSet) -> ResourceSet {
    let spoil = |(place, (kind, name, held)): (usize, (ResourceType, &Arc<str>, &VersionedResource))| {
        let encoded = Arc::new(garbage(place, kind, name, &held.encoded));
        let version = format!("garbage-{}", held.version).into();
        (
            (kind, Arc::clone(name)),
            VersionedResource { version, encoded, resource: Arc::clone(&held.resource) },
        )
    };
    set.iter().enumerate().map(spoil).collect()
}

/// Longest noise, bytes: as varints they are too long from the eleventh on.
const NOISE_BYTES: usize = 32;

/// What is sent in place of a resource: the half of it, it under another name, or noise. Never what could be applied.
fn garbage(place: usize, kind: ResourceType, name: &str, genuine: &[u8]) -> Vec<u8> {
    let made = match place % 3 {
        0 => genuine[..genuine.len() / 2].to_vec(),
        1 => {
            let mut misnamed = genuine.to_vec();
            // The name's first letter: it is the first field of every type, after its tag and length.
            if let Some(letter) = misnamed.get_mut(2).filter(|letter| letter.is_ascii_alphanumeric()) {
                *letter = if *letter == b'x' { b'y' } else { b'x' };
            }
            misnamed
        }
        _ => vec![0xff; NOISE_BYTES],
    };
    let is_usable = |bytes: &[u8]| Resource::decode(kind, bytes).is_ok_and(|read| read.name() == name);
    if is_usable(&made) { vec![0xff; NOISE_BYTES] } else { made }
}

#[cfg(test)]
mod tests {
    use bowline_discovery::v1;

    use super::*;

    #[test]
    fn nothing_of_garbage_can_be_applied_and_it_is_not_all_alike() {
        let cluster = v1::Cluster { name: "service-b.demo".to_owned(), ..v1::Cluster::default() };
        let route = v1::Route { name: "r".to_owned(), ..v1::Route::default() };
        let mut all = BTreeSet::new();
        for resource in [Resource::Cluster(cluster), Resource::Route(route)] {
            let (kind, name, genuine) = (resource.kind(), resource.name().to_owned(), resource.encode());
            for place in 0..3 {
                let spoiled = garbage(place, kind, &name, &genuine);
                assert!(!Resource::decode(kind, &spoiled).is_ok_and(|read| read.name() == name));
                all.insert(spoiled);
            }
        }
        assert!(all.len() > 3, "{all:?}");
    }
}
