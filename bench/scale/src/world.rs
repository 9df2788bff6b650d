//! What all proxies share: who has which change, and when the last of them had it.
//!
//! The changes of a cluster are numbered, and a change's number is in the port of the endpoint that it
//! moves. The control plane takes reports in their order, so the highest port of a version of a
//! cluster's Endpoints tells which changes it holds.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bowline_discovery::{prost::Message as _, v1};

/// Services that a proxy is subscribed to: those of its namespace.
pub(crate) const SERVICES_PER_NAMESPACE: usize = 20;
/// The port of endpoints that nobody has moved.
pub(crate) const FIRST_PORT: u16 = 10_000;

/// A change, until all that are subscribed have it.
struct Change {
    at: Instant,
    /// How many proxies do not have it yet.
    waiting: usize,
}

/// See the module.
pub(crate) struct World {
    /// By the names of clusters on the stream.
    clusters: HashMap<String, usize>,
    changes: Vec<Mutex<Vec<Change>>>,
    /// The highest change that each version of an Endpoints resource holds.
    versions: Mutex<HashMap<String, u16>>,
    /// Until each change was in all that are subscribed; and until it was in each of them.
    applied: Mutex<(Vec<Duration>, Vec<Duration>)>,
    /// Changes that somebody does not have yet.
    pub(crate) pending: AtomicUsize,
    /// Proxies whose stream has answered for every type since it was opened.
    pub(crate) in_step: AtomicUsize,
    /// Streams opened so far.
    pub(crate) opened: AtomicUsize,
    /// Certificates got so far.
    pub(crate) certificates: AtomicUsize,
    /// Attempts that failed: of certificates, and of streams.
    pub(crate) failures: AtomicUsize,
    /// Responses answered so far, and resources in them.
    pub(crate) responses: AtomicUsize,
    pub(crate) resources: AtomicUsize,
    /// Why the latest attempt failed.
    last_failure: Mutex<String>,
}

impl World {
    /// With these clusters, those of a namespace one after another.
    pub(crate) fn new(clusters: Vec<String>) -> Self {
        let changes = clusters.iter().map(|_| Mutex::default()).collect();
        Self {
            clusters: clusters.into_iter().enumerate().map(|(place, name)| (name, place)).collect(),
            changes,
            versions: Mutex::default(),
            applied: Mutex::default(),
            pending: AtomicUsize::new(0),
            in_step: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            certificates: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            responses: AtomicUsize::new(0),
            resources: AtomicUsize::new(0),
            last_failure: Mutex::default(),
        }
    }

    /// One more change of a cluster, which so many proxies are to have: its number.
    pub(crate) fn change(&self, cluster: usize, subscribed: usize) -> u16 {
        let mut changes = locked(&self.changes[cluster]);
        changes.push(Change { at: Instant::now(), waiting: subscribed });
        self.pending.fetch_add(usize::from(subscribed > 0), Ordering::Relaxed);
        u16::try_from(changes.len()).unwrap_or(u16::MAX)
    }

    /// A proxy has this version of Endpoints now; `had` is the highest change of each cluster of its
    /// namespace that it had before.
    pub(crate) fn took(
        &self,
        name: &str,
        version: &str,
        encoded: &[u8],
        had: &mut [u16; SERVICES_PER_NAMESPACE],
    ) -> Result<(), String> {
        let Some(cluster) = self.clusters.get(name) else { return Ok(()) };
        let known = locked(&self.versions).get(version).copied();
        let holds = match known {
            Some(holds) => holds,
            None => {
                let message = v1::Endpoints::decode(encoded).map_err(|error| error.to_string())?;
                let ports = message.endpoints.iter().map(|endpoint| endpoint.port);
                let highest = ports.max().unwrap_or_default().saturating_sub(u32::from(FIRST_PORT));
                let holds = u16::try_from(highest).unwrap_or(u16::MAX);
                locked(&self.versions).insert(version.to_owned(), holds);
                holds
            }
        };
        let had = &mut had[cluster % SERVICES_PER_NAMESPACE];
        if holds <= *had {
            return Ok(());
        }
        let now = Instant::now();
        let mut changes = locked(&self.changes[*cluster]);
        let mut applied = locked(&self.applied);
        for change in changes.iter_mut().take(usize::from(holds)).skip(usize::from(*had)) {
            let took = now.saturating_duration_since(change.at);
            applied.1.push(took);
            change.waiting = change.waiting.saturating_sub(1);
            if change.waiting == 0 {
                applied.0.push(took);
                self.pending.fetch_sub(1, Ordering::Relaxed);
            }
        }
        *had = holds;
        Ok(())
    }

    /// Takes what was noted of changes: until all had each, and until each had it.
    pub(crate) fn take_applied(&self) -> (Vec<Duration>, Vec<Duration>) {
        std::mem::take(&mut *locked(&self.applied))
    }

    /// How far all are.
    pub(crate) fn describe(&self) -> String {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        format!(
            "{} certificates, {} streams opened, {} in step, {} changes pending, {} failures, the last: {}",
            of(&self.certificates),
            of(&self.opened),
            of(&self.in_step),
            of(&self.pending),
            of(&self.failures),
            locked(&self.last_failure)
        )
    }

    /// An attempt has failed.
    pub(crate) fn failed(&self, why: impl ToString) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *locked(&self.last_failure) = why.to_string();
    }
}

/// Nothing under these locks is left half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The p-th percentile of what is there, milliseconds.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_applied_when_the_last_has_it() {
        let world = World::new(vec!["a.ns".into(), "b.ns".into()]);
        assert_eq!((world.change(1, 2), world.change(1, 2)), (1, 2));
        locked(&world.versions).extend([("v1".into(), 1), ("v2".into(), 2)]);
        let (mut first, mut second) = ([0; SERVICES_PER_NAMESPACE], [0; SERVICES_PER_NAMESPACE]);
        world.took("b.ns", "v1", &[], &mut first).unwrap();
        world.took("b.ns", "v2", &[], &mut first).unwrap();
        assert_eq!(world.pending.load(Ordering::Relaxed), 2);
        world.took("b.ns", "v2", &[], &mut second).unwrap();
        world.took("b.ns", "v1", &[], &mut second).unwrap();
        world.took("c.ns", "v9", &[], &mut second).unwrap();
        assert_eq!(world.pending.load(Ordering::Relaxed), 0);
        let (all, each) = world.take_applied();
        assert_eq!((all.len(), each.len()), (2, 4));
    }

    #[test]
    fn percentiles_are_of_what_is_there() {
        let mut times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert!((percentile(&mut times, 99) - 99.0).abs() < 1e-9);
        assert!((percentile(&mut times, 50) - 50.0).abs() < 1e-9);
        assert!((percentile(&mut times[..1], 99) - 1.0).abs() < 1e-9);
        assert!(percentile(&mut [], 50).is_nan());
    }
}
