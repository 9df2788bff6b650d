//! How much one client, and one access key, may ask of the endpoint.
//!
//! Token buckets, as AWS's own throttling is described: a bucket holds so many calls, and is
//! refilled at a steady rate. On loopback only what is refused is limited, for the sake of the
//! audit trail: who can call there can take the machine's time in easier ways.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Calls of one address, and of one access key: twice what AWS allows an account for
/// `DiscoverInstances`, the most frequent of all (Cloud Map quotas: 1,000 a second).
const CALLS: Allowance = Allowance { per_second: 2_000.0, burst: 4_000.0 };

/// Calls by nobody known, of one address: each takes about a kibibyte of the audit trail.
const REFUSED_OF_ADDRESS: Allowance = Allowance { per_second: 1.0, burst: 4_000.0 };

/// Calls by nobody known, of all addresses: at most half a gibibyte of trail a day.
const REFUSED_OF_ALL: Allowance = Allowance { per_second: 5.0, burst: 8_000.0 };

/// Most addresses, and most keys, that are told apart.
const KEPT_MAX: usize = 16_384;

/// How often full buckets are looked for when there is no room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What is answered too much for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    /// In how many whole seconds there is room for another call, at least one.
    pub(crate) retry_after: u64,
}

/// A bucket's size and how fast it is refilled.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    per_second: f64,
    burst: f64,
}

/// The limits of an endpoint.
pub(crate) struct Limits {
    /// Whether the calls of those who are known are limited too.
    all: bool,
    addresses: Buckets<IpAddr>,
    keys: Buckets<String>,
    refused_of_address: Buckets<IpAddr>,
    refused_of_all: Mutex<Bucket>,
}

impl Limits {
    /// Of an endpoint on loopback (`local`), or of one that others can reach.
    pub(crate) fn new(local: bool, now: Instant) -> Self {
        Self {
            all: !local,
            addresses: Buckets::new(CALLS, now),
            keys: Buckets::new(CALLS, now),
            refused_of_address: Buckets::new(REFUSED_OF_ADDRESS, now),
            refused_of_all: Mutex::new(Bucket::full(REFUSED_OF_ALL, now)),
        }
    }

    /// One more call of an address, before anything of it is read.
    pub(crate) fn call_of(&self, address: IpAddr, now: Instant) -> Result<(), Throttled> {
        match self.all {
            true => self.addresses.take(client_of(address), now),
            false => Ok(()),
        }
    }

    /// One more call that an access key has signed, once that is proven: nobody else can use up
    /// what it may.
    pub(crate) fn call_by(&self, access_key_id: &str, now: Instant) -> Result<(), Throttled> {
        match self.all {
            true => self.keys.take(access_key_id.to_owned(), now),
            false => Ok(()),
        }
    }

    /// One more call that was refused because nobody known made it.
    pub(crate) fn refused(&self, address: IpAddr, now: Instant) -> Result<(), Throttled> {
        self.refused_of_address.take(client_of(address), now)?;
        let mut all = self.refused_of_all.lock().unwrap_or_else(PoisonError::into_inner);
        all.take(REFUSED_OF_ALL, now)
    }
}

/// Whose bucket pays: whoever has one IPv6 address has the /64 around it.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// A bucket for each of many.
struct Buckets<K> {
    allowance: Allowance,
    table: Mutex<Table<K>>,
}

struct Table<K> {
    buckets: HashMap<K, Bucket>,
    /// Shared by those for whom there is no room: a flood of new names cannot push out the bucket
    /// of one who asks too much.
    rest: Bucket,
    swept: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(allowance: Allowance, now: Instant) -> Self {
        Self { tokens: allowance.burst, at: now }
    }

    fn tokens(&self, allowance: Allowance, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + passed * allowance.per_second).min(allowance.burst)
    }

    fn take(&mut self, allowance: Allowance, now: Instant) -> Result<(), Throttled> {
        self.tokens = self.tokens(allowance, now);
        self.at = self.at.max(now);
        if self.tokens < 1.0 {
            let wait = ((1.0 - self.tokens) / allowance.per_second).ceil().max(1.0);
            return Err(Throttled { retry_after: wait as u64 });
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(allowance: Allowance, now: Instant) -> Self {
        let table = Table { buckets: HashMap::new(), rest: Bucket::full(allowance, now), swept: now };
        Self { allowance, table: Mutex::new(table) }
    }

    fn take(&self, key: K, now: Instant) -> Result<(), Throttled> {
        let allowance = self.allowance;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = table.buckets.get_mut(&key) {
            return bucket.take(allowance, now);
        }
        if table.buckets.len() >= KEPT_MAX && now.saturating_duration_since(table.swept) >= SWEEP_INTERVAL {
            table.swept = now;
            // A full bucket says no more than none.
            table.buckets.retain(|_, bucket| bucket.tokens(allowance, now) < allowance.burst);
        }
        if table.buckets.len() >= KEPT_MAX {
            return table.rest.take(allowance, now);
        }
        table.buckets.entry(key).or_insert_with(|| Bucket::full(allowance, now)).take(allowance, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Allowance = Allowance { per_second: 2.0, burst: 3.0 };

    fn taken(buckets: &Buckets<u32>, key: u32, now: Instant) -> usize {
        (0..10).take_while(|_| buckets.take(key, now).is_ok()).count()
    }

    #[test]
    fn a_bucket_is_emptied_and_refilled() {
        let now = Instant::now();
        let buckets = Buckets::new(FEW, now);
        assert_eq!((taken(&buckets, 1, now), taken(&buckets, 2, now)), (3, 3), "each has its own");
        assert_eq!(buckets.take(1, now), Err(Throttled { retry_after: 1 }));
        assert_eq!(taken(&buckets, 1, now + Duration::from_secs(1)), 2);
        assert_eq!(taken(&buckets, 1, now + Duration::from_secs(100)), 3, "never more than it holds");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_who_ask_too_much() {
        let now = Instant::now();
        let buckets = Buckets::new(FEW, now);
        assert_eq!(taken(&buckets, 0, now), 3);
        for key in 1..=u32::try_from(KEPT_MAX).expect("fits") + 10 {
            let _ = buckets.take(key, now);
        }
        assert_eq!(buckets.table.lock().expect("whole").buckets.len(), KEPT_MAX);
        assert!(buckets.take(0, now).is_err(), "it was not pushed out");
        // Two seconds later all are full again, and make room.
        let later = now + Duration::from_secs(2);
        assert!(buckets.take(u32::MAX, later).is_ok());
        assert_eq!(buckets.table.lock().expect("whole").buckets.len(), 1);
    }

    #[test]
    fn on_loopback_only_refusals_are_limited() {
        let now = Instant::now();
        let address: IpAddr = "127.0.0.1".parse().expect("an address");
        let (local, open) = (Limits::new(true, now), Limits::new(false, now));
        let calls = |limits: &Limits| (0..5_000).filter(|_| limits.call_of(address, now).is_ok()).count();
        assert_eq!((calls(&local), calls(&open)), (5_000, 4_000));
        let keys = |limits: &Limits| (0..5_000).filter(|_| limits.call_by("A", now).is_ok()).count();
        assert_eq!((keys(&local), keys(&open)), (5_000, 4_000));
        let refused = |limits: &Limits| (0..9_000).filter(|_| limits.refused(address, now).is_ok()).count();
        assert_eq!((refused(&local), refused(&open)), (4_000, 4_000));
    }

    #[test]
    fn refusals_of_many_addresses_are_limited_together() {
        let now = Instant::now();
        let limits = Limits::new(false, now);
        let from = |number: u32| IpAddr::from(number.to_be_bytes());
        let through = (0..9_000).filter(|number| limits.refused(from(*number), now).is_ok()).count();
        assert_eq!(through, 8_000);
        let of_a_network = |last: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) | last));
        assert_eq!(client_of(of_a_network(1)), client_of(of_a_network(2)));
    }
}
