//! Answers that lead elsewhere on purpose, each until its deadline: a fault.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use bowline_model::clock::Timestamp;
use bowline_plumbing::wall_clock;
use thiserror::Error;

use super::zone::{DnsName, Instance, Name, RecordSet, RoutingPolicy, Zone, Zones};

/// Most names at a time.
const SPOOFS_MAX: usize = 256;

/// As many names lead elsewhere as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{SPOOFS_MAX} names lead elsewhere, which is as many as may")]
pub(crate) struct SpoofError;

#[derive(Clone, Debug)]
struct Spoof {
    name: DnsName,
    address: IpAddr,
    until: Timestamp,
}

/// What is answered wrongly at present.
#[derive(Debug, Default)]
pub(crate) struct Spoofs {
    /// The last number, and all by number: a name's last one counts.
    all: RwLock<(u64, BTreeMap<u64, Spoof>)>,
}

impl Spoofs {
    /// Answers with `address` for `name` until then.
    pub(crate) fn begin(&self, name: DnsName, address: IpAddr, until: Timestamp) -> Result<u64, SpoofError> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let (next, all) = &mut *all;
        let now = wall_clock::now();
        all.retain(|_, spoof| spoof.until > now);
        if all.len() >= SPOOFS_MAX {
            return Err(SpoofError);
        }
        *next += 1;
        all.insert(*next, Spoof { name, address, until });
        Ok(*next)
    }

    /// Answers as it should again.
    pub(crate) fn end(&self, number: u64) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
    }

    fn find(&self, name: &str) -> Option<Spoof> {
        let (_, all) = &*self.all.read().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        let now = wall_clock::now();
        all.values().rev().find(|spoof| spoof.until > now && spoof.name.as_str() == name).cloned()
    }
}

/// Zones with what is answered wrongly in front of them.
pub(crate) struct SpoofedZones {
    pub(crate) spoofs: Arc<Spoofs>,
    pub(crate) zones: Arc<dyn Zones>,
}

impl Zones for SpoofedZones {
    fn zone_of(&self, name: &str) -> Option<Zone> {
        // A name of nobody's zone is one of its own.
        let of_spoof = |spoof: Spoof| Zone { apex: spoof.name, serial: 1, negative_ttl: 0 };
        self.zones.zone_of(name).or_else(|| self.spoofs.find(name).map(of_spoof))
    }

    fn lookup(&self, name: &str) -> Option<Arc<Name>> {
        let Some(spoof) = self.spoofs.find(name) else { return self.zones.lookup(name) };
        let mut answer = Name::default();
        match spoof.address {
            IpAddr::V4(address) => answer.a = Some(only(address)),
            IpAddr::V6(address) => answer.aaaa = Some(only(address)),
        }
        Some(Arc::new(answer))
    }
}

/// Nobody may keep it: it is over at its deadline.
fn only<T>(value: T) -> RecordSet<T> {
    let instances = vec![Instance { value, healthy: true }];
    RecordSet { ttl: 0, routing: RoutingPolicy::Multivalue, instances }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dns::zone::ZoneTable;

    fn name(text: &str) -> DnsName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_spoofed_name_is_answered_until_its_end_and_nothing_else_differs() {
        let spoofs = Arc::new(Spoofs::default());
        let zones = SpoofedZones { spoofs: Arc::clone(&spoofs), zones: Arc::new(ZoneTable::default()) };
        let later = wall_clock::now() + Duration::from_secs(60);
        let first = spoofs.begin(name("a.example"), IpAddr::from([192, 0, 2, 1]), later).expect("room");
        let second = spoofs.begin(name("a.example"), IpAddr::from([192, 0, 2, 2]), later).expect("room");
        let answer = |name: &str| {
            let found = zones.lookup(name)?.a.clone()?;
            Some((found.ttl, found.choose().first().map(|address| address.to_string())?))
        };
        assert_eq!(answer("a.example"), Some((0, "192.0.2.2".to_owned())));
        assert_eq!(zones.zone_of("a.example").map(|zone| zone.apex), Some(name("a.example")));
        assert!(zones.zone_of("b.example").is_none() && answer("b.example").is_none());
        spoofs.end(second);
        assert_eq!(answer("a.example"), Some((0, "192.0.2.1".to_owned())));
        spoofs.end(first);
        assert!(zones.zone_of("a.example").is_none() && answer("a.example").is_none());
        // By itself, where nobody ends it.
        let over = wall_clock::now();
        spoofs.begin(name("a.example"), IpAddr::from([192, 0, 2, 3]), over).expect("room");
        assert!(zones.zone_of("a.example").is_none() && answer("a.example").is_none());
    }

    #[test]
    fn there_is_an_end_to_them() {
        let spoofs = Spoofs::default();
        let later = wall_clock::now() + Duration::from_secs(60);
        for _ in 0..SPOOFS_MAX {
            spoofs.begin(name("a.example"), IpAddr::from([192, 0, 2, 1]), later).expect("room");
        }
        assert_eq!(spoofs.begin(name("b.example"), IpAddr::from([192, 0, 2, 1]), later), Err(SpoofError));
    }
}
