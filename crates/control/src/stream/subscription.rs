//! What one proxy asked for, what it has, and what to send it next: the state
//! of a delta discovery stream, without the stream.
//!
//! Source: the xDS protocol's incremental variant ("How the client specifies
//! what resources to return", "ACK and NACK semantics for resource types").

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bowline_discovery::resource::ResourceType;

use super::{
    directory::Acknowledgement,
    resources::{Kind, ResourceSet, VersionedResource},
};

/// Most names that a stream may subscribe to, or say that it has, per type.
pub const NAMES_MAX: usize = 16_384;
/// Longest resource name, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// A response stops growing here, in encoded bytes; the rest follows when it
/// is answered.
pub const RESPONSE_BYTES_TARGET: usize = 2 * 1024 * 1024;
/// A resource larger than this, in bytes, cannot be sent: gRPC clients refuse
/// messages above 4 MiB, and the rest of the message needs some room.
pub const RESOURCE_BYTES_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;
/// How much is kept of a proxy's reason for a refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 4096;
/// The name that subscribes to all.
const WILDCARD: &str = "*";

/// A subscription that is larger than the server carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {NAMES_MAX} {} resources, or a name above {NAME_BYTES_MAX} bytes", .kind.name())]
pub struct LimitExceeded {
    /// The type subscribed to.
    pub kind: ResourceType,
}

/// What a proxy says about one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Names to add; `*`, or nothing at all in the first demand, means all.
    pub subscribe: Vec<String>,
    /// Names to drop.
    pub unsubscribe: Vec<String>,
    /// Name to version of what it has from an earlier stream. Read in the
    /// first demand only.
    pub has: HashMap<String, String>,
    /// The nonce of the response that it answers; empty for none.
    pub nonce: String,
    /// Why it refused that response, if it did.
    pub refusal: Option<String>,
}

/// What to send next.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The type.
    pub kind: ResourceType,
    /// The snapshot's generation.
    pub generation: u64,
    /// To be repeated in the answer; unique on the stream.
    pub nonce: String,
    /// New and changed resources, by name.
    pub changed: Vec<(Arc<str>, VersionedResource)>,
    /// Names of what is gone, or never was.
    pub removed: Vec<Arc<str>>,
}

/// A response that was not answered yet.
#[derive(Debug)]
struct InFlight {
    nonce: String,
    generation: u64,
    changed: BTreeMap<Arc<str>, Arc<str>>,
    removed: BTreeSet<Arc<str>>,
    /// Both were in it when it was sent.
    mixed: bool,
}

/// One type on one stream.
#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// Name to the version that the proxy last answered for, be it with an ACK
    /// or a NACK: neither is to be sent again before it changes.
    told: BTreeMap<Arc<str>, Arc<str>>,
    /// Names whose absence must be told as well.
    owed: BTreeSet<Arc<str>>,
    /// The proxy waits for a first response, though there be nothing in it.
    answer_due: bool,
    in_flight: Option<InFlight>,
    /// What was last seen to ask for nothing to be sent: as long as the proxy says nothing, neither will it the next
    /// time. Of thousands of proxies that are woken most have most types as they were.
    settled: Option<Arc<Kind>>,
}

impl Subscription {
    fn first(demand: &Demand) -> Self {
        let wildcard = demand.subscribe.is_empty();
        let mut subscription = Self { wildcard, answer_due: true, ..Self::default() };
        subscription.subscribe(&demand.subscribe);
        subscription.told = demand
            .has
            .iter()
            .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
            .collect();
        subscription.forget_uncovered();
        subscription.owed.retain(|name| !subscription.told.contains_key(name));
        subscription
    }

    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn subscribe(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD {
                self.wildcard = true;
            } else {
                self.names.insert(name.as_str().into());
                self.owe(name);
            }
        }
    }

    fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            if name == WILDCARD {
                self.wildcard = false;
            } else if self.names.remove(name.as_str()) && self.wildcard {
                // The proxy drops it; the wildcard still wants it.
                self.owe(name);
            }
        }
        self.forget_uncovered();
    }

    /// The proxy shall hear about `name` afresh, whatever it was told.
    fn owe(&mut self, name: &str) {
        self.told.remove(name);
        self.owed.insert(name.into());
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.changed.remove(name);
            in_flight.removed.remove(name);
        }
    }

    /// A proxy drops what it unsubscribes from without being told.
    fn forget_uncovered(&mut self) {
        let (wildcard, names) = (self.wildcard, &self.names);
        let covered = |name: &Arc<str>| wildcard || names.contains(name);
        self.told.retain(|name, _| covered(name));
        self.owed.retain(covered);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.changed.retain(|name, _| covered(name));
            in_flight.removed.retain(covered);
        }
    }

    fn answer(&mut self, kind: ResourceType, demand: &Demand) -> Option<Acknowledgement> {
        if demand.nonce.is_empty() {
            return None;
        }
        // Any other nonce is a stale one: xDS says to ignore it.
        let answered = self.in_flight.take_if(|in_flight| in_flight.nonce == demand.nonce)?;
        let refusal = demand.refusal.as_deref().map(bounded);
        // A refusal of changes does not say what became of the removals beside
        // them. They go out once more, alone; what is refused then is dropped.
        let again = refusal.is_some() && answered.mixed;
        for name in answered.removed {
            if !again {
                self.told.remove(&name);
            } else if !self.told.contains_key(&name) {
                self.owed.insert(name);
            }
        }
        self.told.extend(answered.changed);
        Some(Acknowledgement { kind, generation: answered.generation, refusal })
    }

    /// What differs from what was sent, in order of names.
    fn changes<'a>(&'a self, all: &'a Kind) -> impl Iterator<Item = (&'a Arc<str>, &'a VersionedResource)> {
        let present = side_by_side(&self.told, all).filter_map(|pair| Some((pair.told, pair.present?)));
        let differing = present.filter(|(told, (name, resource))| {
            let sent = self.in_flight.as_ref().and_then(|in_flight| in_flight.changed.get(*name));
            let has = sent.or(told.map(|(_, version)| version));
            !has.is_some_and(|version| is_same(version, &resource.version)) && self.covers(name)
        });
        differing.map(|(_, present)| present)
    }

    /// What the proxy has and should not have; while nothing is in flight.
    fn removals<'a>(&'a self, all: &'a Kind) -> impl Iterator<Item = &'a Arc<str>> {
        let absent = side_by_side(&self.told, all).filter(|pair| pair.present.is_none());
        absent.filter_map(|pair| pair.told.map(|(name, _)| name))
    }

    /// What was asked for by name and does not exist.
    fn absences<'a>(&'a self, all: &'a Kind) -> impl Iterator<Item = &'a Arc<str>> {
        self.owed.iter().filter(move |name| !self.told.contains_key(*name) && !all.contains_key(*name))
    }

    fn is_settled(&self, all: &Arc<Kind>) -> bool {
        self.settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, all))
    }

    /// There is nothing to be sent. What a proxy said that it has is kept once, however many proxies have it.
    fn settle(&mut self, all: &Arc<Kind>) {
        let is_own_copy = |pair: &Pair<'_>| {
            let (Some((name, version)), Some((shared, resource))) = (pair.told, pair.present) else {
                return false;
            };
            let is_other = !Arc::ptr_eq(shared, name) || !Arc::ptr_eq(&resource.version, version);
            is_other && resource.version == *version
        };
        if side_by_side(&self.told, all).any(|pair| is_own_copy(&pair)) {
            let kept = side_by_side(&self.told, all).filter_map(|pair| match pair {
                Pair { told: Some(_), present: Some((name, resource)) } if is_own_copy(&pair) => {
                    Some((Arc::clone(name), Arc::clone(&resource.version)))
                }
                Pair { told, .. } => told.map(|(name, version)| (Arc::clone(name), Arc::clone(version))),
            });
            self.told = kept.collect();
        }
        self.settled = Some(Arc::clone(all));
    }

    /// Notes what is too large to be sent as if it had been refused.
    fn withhold_oversized(&mut self, kind: ResourceType, all: &Kind) {
        let oversized: Vec<_> = self
            .changes(all)
            .filter(|(_, resource)| resource.encoded.len() > RESOURCE_BYTES_MAX)
            .map(|(name, resource)| (name.clone(), resource.version.clone()))
            .collect();
        for (name, version) in oversized {
            tracing::error!(
                kind = kind.name(),
                name = &*name,
                "the resource is above the stream's size limit; not sent"
            );
            self.told.insert(name, version);
        }
    }

    fn check(&self, kind: ResourceType, demand: &Demand) -> Result<(), LimitExceeded> {
        let names = demand.subscribe.iter().chain(demand.has.keys());
        let too_long = names.chain(demand.has.values()).any(|name| name.len() > NAME_BYTES_MAX);
        let names_held = self.names.len().max(self.owed.len());
        let too_many = names_held + demand.subscribe.len() > NAMES_MAX || demand.has.len() > NAMES_MAX;
        if too_long || too_many { Err(LimitExceeded { kind }) } else { Ok(()) }
    }
}

/// A name that a proxy was told of, or that is there now, or both.
struct Pair<'a> {
    told: Option<(&'a Arc<str>, &'a Arc<str>)>,
    present: Option<(&'a Arc<str>, &'a VersionedResource)>,
}

/// What a proxy was told, name by name, beside what is there now. Most names and versions are the very same ones, which
/// takes no comparison.
fn side_by_side<'a>(told: &'a BTreeMap<Arc<str>, Arc<str>>, all: &'a Kind) -> impl Iterator<Item = Pair<'a>> {
    let (mut told, mut all) = (told.iter().peekable(), all.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (told.peek(), all.peek()) {
            (Some((own, _)), Some((name, _))) if is_same(own, name) => Ordering::Equal,
            (Some((own, _)), Some((name, _))) => own.cmp(name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let told = if order == Ordering::Greater { None } else { told.next() };
        let present = if order == Ordering::Less { None } else { all.next() };
        Some(Pair { told, present })
    })
}

fn is_same(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// All types on one stream.
#[derive(Debug, Default)]
pub struct Subscriptions {
    by_kind: BTreeMap<ResourceType, Subscription>,
    nonce: u64,
}

impl Subscriptions {
    /// Takes a request in; the result tells how an earlier response was taken,
    /// if the request answers one.
    ///
    /// # Errors
    /// The proxy asks for more than the stream carries; its state is unchanged.
    pub fn demand(
        &mut self,
        kind: ResourceType,
        demand: &Demand,
    ) -> Result<Option<Acknowledgement>, LimitExceeded> {
        if let Some(subscription) = self.by_kind.get_mut(&kind) {
            subscription.check(kind, demand)?;
            subscription.settled = None;
            let acknowledgement = subscription.answer(kind, demand);
            subscription.subscribe(&demand.subscribe);
            subscription.unsubscribe(&demand.unsubscribe);
            return Ok(acknowledgement);
        }
        Subscription::default().check(kind, demand)?;
        let mut subscription = Subscription::first(demand);
        subscription.unsubscribe(&demand.unsubscribe);
        self.by_kind.insert(kind, subscription);
        Ok(None)
    }

    /// The next response, if one may be sent now. To be called until it has none.
    ///
    /// Make before break: changes go out in the order of
    /// [`ResourceType::ALL`], so that nothing arrives before what it refers to.
    /// Removals go out in the opposite order, each type's when all that could
    /// refer to it was answered. Listeners, to which nothing refers, go with
    /// their changes: a listener may take over the port of one that is removed.
    pub fn next(&mut self, set: &ResourceSet, generation: u64) -> Option<Response> {
        for kind in ResourceType::ALL {
            let Some(subscription) = self.by_kind.get_mut(&kind) else { continue };
            let all = set.of(kind);
            if subscription.is_settled(all) {
                continue;
            }
            subscription.withhold_oversized(kind, all);
            let changed = subscription.changes(all).next().is_some();
            if subscription.in_flight.is_some() {
                if changed {
                    return None; // what comes later may refer to it
                }
                continue;
            }
            let absent = subscription.absences(all).next().is_some();
            if changed || absent || subscription.answer_due {
                return Some(self.send(kind, all, generation, kind == ResourceType::Listener));
            }
        }
        for kind in ResourceType::ALL.into_iter().rev() {
            let Some(subscription) = self.by_kind.get_mut(&kind) else { continue };
            let all = set.of(kind);
            if subscription.is_settled(all) {
                continue;
            }
            if subscription.in_flight.is_some() {
                return None;
            }
            if subscription.removals(all).next().is_some() {
                return Some(self.send(kind, all, generation, true));
            }
            subscription.settle(all);
        }
        None
    }

    /// Whether a response waits for its answer.
    pub fn awaits_answer(&self) -> bool {
        self.by_kind.values().any(|subscription| subscription.in_flight.is_some())
    }

    fn send(&mut self, kind: ResourceType, all: &Kind, generation: u64, with_removals: bool) -> Response {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let subscription = self.by_kind.entry(kind).or_default();
        let mut room = RESPONSE_BYTES_TARGET;
        let mut fits = |bytes: usize| {
            let first = room == RESPONSE_BYTES_TARGET;
            let fits = first || bytes <= room;
            room = if fits { room.saturating_sub(bytes.max(1)) } else { 0 };
            fits
        };
        let changed: Vec<(Arc<str>, VersionedResource)> = subscription
            .changes(all)
            .take_while(|(name, resource)| fits(resource.encoded.len() + name.len() + resource.version.len()))
            .map(|(name, resource)| (Arc::clone(name), resource.clone()))
            .collect();
        let mut removed: BTreeSet<Arc<str>> =
            subscription.absences(all).take_while(|name| fits(name.len())).cloned().collect();
        if with_removals {
            removed.extend(subscription.removals(all).take_while(|name| fits(name.len())).cloned());
        }
        for name in changed.iter().map(|(name, _)| name).chain(&removed) {
            subscription.owed.remove(name);
        }
        subscription.answer_due = false;
        subscription.in_flight = Some(InFlight {
            nonce: nonce.clone(),
            generation,
            changed: changed
                .iter()
                .map(|(name, resource)| (name.clone(), resource.version.clone()))
                .collect(),
            removed: removed.clone(),
            mixed: !changed.is_empty() && !removed.is_empty(),
        });
        Response { kind, generation, nonce, changed, removed: removed.into_iter().collect() }
    }
}

fn bounded(reason: &str) -> String {
    let end = reason.floor_char_boundary(REFUSAL_BYTES_MAX);
    reason[..end].to_owned()
}

#[cfg(test)]
mod tests;
