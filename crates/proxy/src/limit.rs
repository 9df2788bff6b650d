//! Rate limits of an inbound listener: token buckets for all requests, for those of a route, for
//! each caller or each value of a header. Exact over all workers: a bucket is one atomic.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, SeqCst},
        },
    },
    time::Instant,
};

use bowline_model::{
    identity::SpiffeId,
    limit::{Rate, Taken},
};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{config::Match, route};

/// Buckets of a rule that has one for each caller or value: 64 KiB.
const SLOTS: usize = 4_096;
/// Places in which a key's bucket can be.
const WAYS: usize = 8;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a rule counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    All,
    /// A calling identity; those that prove none share one.
    Caller,
    /// A header's value. Requests without the header are not limited.
    Header(HeaderName),
}

/// A rule as a message has it.
#[derive(Clone, Debug)]
pub(crate) struct LimitDraft {
    pub(crate) name: String,
    pub(crate) matches: Option<Match>,
    pub(crate) per: Per,
    pub(crate) rate: Rate,
}

#[derive(Debug)]
struct Rule {
    draft: LimitDraft,
    /// `RateLimit-Policy`'s item.
    policy: String,
    buckets: Arc<Buckets>,
}

/// The rules of a listener.
#[derive(Debug)]
pub(crate) struct Limiter {
    rules: Vec<Rule>,
}

/// What to say of a request's limits, and whether it may go on.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) denied: bool,
    /// The scarcest limit: its rule's place and what is left.
    scarcest: Option<(usize, Taken)>,
}

impl Limiter {
    /// Rules whose buckets go on from those of `before` that have the same name.
    pub(crate) fn new(drafts: Vec<LimitDraft>, before: Option<&Limiter>) -> Self {
        let rules = drafts.into_iter().map(|draft| {
            let of_same = before
                .into_iter()
                .flat_map(|before| &before.rules)
                .find(|rule| rule.draft.name == draft.name && rule.draft.per == draft.per);
            let buckets = match of_same {
                Some(rule) => Arc::clone(&rule.buckets),
                None => Arc::new(Buckets::new(draft.per != Per::All)),
            };
            let window = draft.rate.window().as_secs_f64().ceil();
            let policy = format!("\"{}\";q={};w={window}", draft.name, draft.rate.burst());
            Rule { draft, policy, buckets }
        });
        Self { rules: rules.collect() }
    }

    /// Takes a token of each rule that a request falls under. One that has none denies, and those
    /// after it are not asked.
    pub(crate) fn judge(&self, request: &Parts, caller: Option<&SpiffeId>) -> Judgement {
        self.take(Some(request), caller)
    }

    /// Takes a token of each rule that speaks of no requests, for a new connection; whether it may be.
    pub(crate) fn admits(&self, caller: Option<&SpiffeId>) -> bool {
        !self.take(None, caller).denied
    }

    fn take(&self, request: Option<&Parts>, caller: Option<&SpiffeId>) -> Judgement {
        let now = now();
        let mut judgement = Judgement::default();
        for (place, rule) in self.rules.iter().enumerate() {
            let falls_under = |matches: &Match| request.is_some_and(|one| route::falls_under(matches, one));
            if !rule.draft.matches.as_ref().is_none_or(falls_under) {
                continue;
            }
            let key = match &rule.draft.per {
                Per::All => None,
                Per::Caller => Some(caller.map_or("", SpiffeId::as_str).as_bytes()),
                Per::Header(name) => match request.and_then(|request| request.headers.get(name)) {
                    Some(value) => Some(value.as_bytes()),
                    None => continue,
                },
            };
            let taken = rule.buckets.take(key, rule.draft.rate, now);
            let scarcer = judgement.scarcest.is_none_or(|(_, other)| taken.remaining < other.remaining);
            if scarcer || !taken.allowed {
                judgement.scarcest = Some((place, taken));
            }
            if !taken.allowed {
                judgement.denied = true;
                break;
            }
        }
        judgement
    }

    /// The fields of draft-ietf-httpapi-ratelimit-headers, and `Retry-After` where one was denied.
    pub(crate) fn tell(&self, judgement: &Judgement, headers: &mut HeaderMap) {
        let Some((rule, taken)) =
            judgement.scarcest.and_then(|(place, taken)| Some((self.rules.get(place)?, taken)))
        else {
            return;
        };
        let left = format!(
            "\"{}\";r={};t={}",
            rule.draft.name,
            taken.remaining,
            taken.reset_after.as_secs_f64().ceil()
        );
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(RATE_LIMIT_POLICY.clone(), &rule.policy);
        set(RATE_LIMIT.clone(), &left);
        if judgement.denied {
            let seconds = taken.retry_after.as_secs_f64().ceil().max(1.0);
            set(header::RETRY_AFTER, &seconds.to_string());
        }
    }
}

/// Nanoseconds since the first use in this process.
fn now() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = BEGIN.get_or_init(Instant::now);
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A bucket for everything, or one for each key in a table that does not grow.
#[derive(Debug)]
struct Buckets {
    /// For all; of a table's, for keys that find no place: together, so that none gets more than
    /// its rate by crowding.
    shared: AtomicU64,
    slots: Box<[Slot]>,
    /// Nobody outside can choose keys that share a place.
    seed: RandomState,
}

#[derive(Debug, Default)]
struct Slot {
    /// A key's hash; 0: nobody's.
    key: AtomicU64,
    full_at: AtomicU64,
}

impl Buckets {
    fn new(keyed: bool) -> Self {
        let count = if keyed { SLOTS } else { 0 };
        let slots = (0..count).map(|_| Slot::default()).collect();
        Self { shared: AtomicU64::new(0), slots, seed: RandomState::new() }
    }

    fn take(&self, key: Option<&[u8]>, rate: Rate, now: u64) -> Taken {
        let bucket = match key {
            Some(key) if !self.slots.is_empty() => {
                self.bucket_of(self.seed.hash_one(key).max(1), now).unwrap_or(&self.shared)
            }
            _ => &self.shared,
        };
        let mut full_at = bucket.load(Acquire);
        loop {
            let (then, taken) = rate.take(full_at, now);
            if !taken.allowed {
                return taken;
            }
            match bucket.compare_exchange_weak(full_at, then, AcqRel, Acquire) {
                Ok(_) => return taken,
                Err(newer) => full_at = newer,
            }
        }
    }

    /// A key's bucket, or the place of one that is full: that its key was there means nothing.
    fn bucket_of(&self, key: u64, now: u64) -> Option<&AtomicU64> {
        let set = (key as usize / WAYS * WAYS) % self.slots.len();
        let ways = &self.slots[set..set + WAYS];
        let own = || ways.iter().find(|slot| slot.key.load(SeqCst) == key);
        loop {
            if let Some(slot) = own() {
                return Some(&slot.full_at);
            }
            let (slot, before) = ways.iter().find_map(|slot| {
                let before = slot.key.load(SeqCst);
                (before == 0 || slot.full_at.load(SeqCst) <= now).then_some((slot, before))
            })?;
            if slot.key.compare_exchange(before, key, SeqCst, SeqCst).is_ok() {
                // Another worker may have made a place for the same key: the first one counts.
                return match own() {
                    Some(first) if std::ptr::eq(first, slot) => Some(&slot.full_at),
                    Some(first) => {
                        let _ = slot.key.compare_exchange(key, 0, SeqCst, SeqCst);
                        Some(&first.full_at)
                    }
                    None => continue,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per: Per, per_second: f64, burst: u32) -> Limiter {
        let rate = Rate::new(per_second, burst).expect("a rate");
        Limiter::new(vec![LimitDraft { name: "l".into(), matches: None, per, rate }], None)
    }

    fn request(tenant: &str) -> Parts {
        let request = http::Request::get("/").header("x-tenant", tenant).body(()).expect("a request");
        request.into_parts().0
    }

    #[test]
    fn workers_together_take_exactly_the_burst() {
        let limiter = limiter(Per::All, 0.001, 1_000);
        let keyed = self::limiter(Per::Header(HeaderName::from_static("x-tenant")), 0.001, 50);
        let allowed: (usize, usize) = std::thread::scope(|scope| {
            let worker = || {
                let of = |tenant: usize| request(&format!("t{tenant}"));
                let plain = (0..2_500).filter(|_| !limiter.judge(&of(0), None).denied).count();
                let by_key = (0..2_500).filter(|turn| !keyed.judge(&of(turn % 10), None).denied).count();
                (plain, by_key)
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            let counts = workers.into_iter().map(|worker| worker.join().expect("no panic"));
            counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        });
        assert_eq!(allowed, (1_000, 500), "of 10,000 each");
    }

    #[test]
    fn connections_take_tokens_of_rules_that_speak_of_no_requests() {
        let all = limiter(Per::All, 0.001, 2);
        assert_eq!([all.admits(None), all.admits(None), all.admits(None)], [true, true, false]);
        let by_caller = limiter(Per::Caller, 0.001, 1);
        let ids = ["a", "b"].map(|name| SpiffeId::of_gateway("d", name));
        assert!(by_caller.admits(Some(&ids[0])) && by_caller.admits(Some(&ids[1])));
        assert!(!by_caller.admits(Some(&ids[0])) && !by_caller.admits(Some(&ids[1])));
        let mut of_requests = vec![limiter(Per::Header(header::HOST), 0.001, 1)];
        let rate = Rate::new(0.001, 1).expect("a rate");
        let matches = Some(Match::default());
        let draft = LimitDraft { name: "l".into(), matches, per: Per::All, rate };
        of_requests.push(Limiter::new(vec![draft], None));
        assert!(of_requests.iter().all(|limiter| limiter.admits(None) && limiter.admits(None)));
    }

    #[test]
    fn a_crowd_of_keys_takes_no_more_room_and_no_key_gets_more() {
        let limiter = limiter(Per::Header(HeaderName::from_static("x-tenant")), 0.001, 1);
        let crowd =
            (0..100_000).filter(|key| !limiter.judge(&request(&key.to_string()), None).denied).count();
        assert!((SLOTS / 2..=SLOTS + 1).contains(&crowd), "{crowd}");
        for key in 0..1_000 {
            let key = request(&format!("again-{key}"));
            assert!(limiter.judge(&key, None).denied || limiter.judge(&key, None).denied);
        }
    }

    #[test]
    fn buckets_go_on_under_their_name_and_answers_tell() {
        let first = limiter(Per::All, 0.5, 2);
        let mut headers = HeaderMap::new();
        assert!(!first.judge(&request("a"), None).denied);
        let draft = first.rules[0].draft.clone();
        let second = Limiter::new(vec![draft], Some(&first));
        let judgement = second.judge(&request("a"), None);
        second.tell(&judgement, &mut headers);
        assert_eq!(
            (judgement.denied, &headers["ratelimit"]),
            (false, &HeaderValue::from_static("\"l\";r=0;t=4"))
        );
        assert_eq!(headers["ratelimit-policy"], "\"l\";q=2;w=4");
        let judgement = second.judge(&request("a"), None);
        second.tell(&judgement, &mut headers);
        assert!(judgement.denied && headers["retry-after"] == "2");
    }
}
