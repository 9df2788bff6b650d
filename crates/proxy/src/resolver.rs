//! Host names of servers outside the mesh, resolved by the machine's resolver again and again: the
//! endpoints of a cluster follow what its names stand for (Envoy's strict DNS).

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{config::external, run::Control};

/// The addresses that names stand for, lower case.
pub(crate) type HostAddresses = HashMap<Arc<str>, Vec<IpAddr>>;

/// How long an answer is used. The machine's resolver tells no TTL, and has a cache of its own.
const TTL: Duration = Duration::from_secs(30);
/// Until the next try after a failure; doubled with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// How long addresses outlive a resolver that does not answer.
const STALE_MAX: Duration = Duration::from_secs(300);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most questions at once: each takes a thread.
const QUESTIONS_MAX: usize = 8;
/// Most addresses used of one name.
const ADDRESSES_MAX: usize = 32;
/// Most names of one proxy.
const NAMES_MAX: usize = 1_000;

/// What is known of a name.
#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    /// When it was resolved last.
    fresh_at: Option<Instant>,
    next: Instant,
    retry: Duration,
    asking: bool,
}

impl Known {
    fn new(now: Instant) -> Self {
        Self { addresses: Vec::new(), fresh_at: None, next: now, retry: RETRY_FIRST, asking: false }
    }

    /// Takes an answer in; true if other addresses are to be used now.
    fn answered(&mut self, name: &str, answer: io::Result<Vec<IpAddr>>, now: Instant) -> bool {
        self.asking = false;
        let addresses = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                (self.next, self.fresh_at, self.retry) = (now + TTL, Some(now), RETRY_FIRST);
                addresses
            }
            answer => {
                self.next = now + self.retry;
                self.retry = (self.retry * 2).min(TTL);
                if self.fresh_at.is_some_and(|at| now < at + STALE_MAX) {
                    return false;
                }
                let reason = match answer {
                    Err(error) => error.to_string(),
                    Ok(_) => "it stands for no address that may be connected to".to_owned(),
                };
                tracing::warn!(name, reason, "a name outside the mesh leads nowhere");
                Vec::new()
            }
        };
        let changed = self.addresses != addresses;
        self.addresses = addresses;
        changed
    }
}

/// Keeps the addresses of all names that the configuration holds.
pub(crate) async fn resolve_forever(control: Control) {
    let shared = Arc::clone(&control.lock().shared);
    let mut known: HashMap<Arc<str>, Known> = HashMap::new();
    let mut questions = JoinSet::new();
    loop {
        let now = Instant::now();
        let wanted = control.lock().store.host_names();
        follow(&mut known, &wanted, now);
        for (name, entry) in &mut known {
            if questions.len() >= QUESTIONS_MAX {
                break;
            }
            if !entry.asking && entry.next <= now {
                entry.asking = true;
                questions.spawn(ask(Arc::clone(name)));
            }
        }
        let next = known.values().filter(|entry| !entry.asking).map(|entry| entry.next).min();
        // With all questions under way an answer comes first.
        let next = next.filter(|_| questions.len() < QUESTIONS_MAX).unwrap_or(now + TTL);
        tokio::select! {
            () = shared.names_changed.notified() => {}
            () = sleep_until(next) => {}
            Some(answered) = questions.join_next() => {
                // A question that panicked is asked again as one that failed would be.
                let Ok((name, answer)) = answered else { continue };
                let Some(entry) = known.get_mut(&name) else { continue };
                if entry.answered(&name, answer, Instant::now()) {
                    let addresses =
                        known.iter().map(|(name, entry)| (Arc::clone(name), entry.addresses.clone()));
                    let mut data_plane = control.lock();
                    data_plane.store.set_host_addresses(addresses.collect());
                    for rejection in data_plane.publish() {
                        tracing::debug!(reason = %rejection.reason, "still not applied");
                    }
                }
            }
        }
    }
}

/// Forgets names that are gone, and begins with new ones.
fn follow(known: &mut HashMap<Arc<str>, Known>, wanted: &BTreeSet<Arc<str>>, now: Instant) {
    known.retain(|name, _| wanted.contains(name));
    for name in wanted {
        if known.len() >= NAMES_MAX && !known.contains_key(name) {
            tracing::warn!(NAMES_MAX, "there are more names outside the mesh than one proxy resolves");
            return;
        }
        known.entry(Arc::clone(name)).or_insert_with(|| Known::new(now));
    }
}

async fn ask(name: Arc<str>) -> (Arc<str>, io::Result<Vec<IpAddr>>) {
    let answer = match timeout(ANSWER_TIMEOUT, tokio::net::lookup_host((&*name, 0))).await {
        Ok(answer) => answer.map(|found| {
            let mut usable = external::usable(&name, found.map(|address| address.ip()));
            usable.truncate(ADDRESSES_MAX);
            usable
        }),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    (name, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_outlive_a_silent_resolver_for_a_while() {
        let now = Instant::now();
        let mut known = Known::new(now);
        let address: IpAddr = "192.0.2.1".parse().expect("an address");
        assert!(known.answered("a", Ok(vec![address]), now), "there were none before");
        assert_eq!(known.next, now + TTL);
        assert!(!known.answered("a", Ok(vec![address]), now), "the same again");
        let failure = || Err(io::ErrorKind::TimedOut.into());
        assert!(!known.answered("a", failure(), now + TTL));
        assert_eq!(known.next, now + TTL + RETRY_FIRST);
        assert_eq!(known.addresses, [address]);
        assert!(known.answered("a", failure(), now + STALE_MAX), "too old to be used");
        assert!(known.addresses.is_empty());
    }

    #[tokio::test]
    async fn the_machine_knows_its_own_name() {
        let (_, answer) = ask("localhost".into()).await;
        assert!(answer.expect("resolved").iter().all(IpAddr::is_loopback));
        assert!(ask("no-such-name.invalid".into()).await.1.is_err());
    }
}
