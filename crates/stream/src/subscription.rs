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

use self::told::{Entry, Told};
use crate::{
    directory::Acknowledgement,
    resources::{Kind, ResourceSet, VersionedResource},
};

mod told;

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
    /// With what the proxy has then, there is nothing more to be sent of this.
    settles: Option<Arc<Kind>>,
}

/// What an answer says.
struct Answered {
    acknowledgement: Acknowledgement,
    /// There is nothing more to be sent of this.
    settles: Option<Arc<Kind>>,
}

/// One type on one stream.
#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// Name to the version that the proxy last answered for, be it with an ACK
    /// or a NACK: neither is to be sent again before it changes.
    told: Told,
    /// Names whose absence must be told as well.
    owed: BTreeSet<Arc<str>>,
    /// The proxy waits for a first response, though there be nothing in it.
    answer_due: bool,
    in_flight: Option<InFlight>,
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
        subscription.owed.retain(|name| !subscription.told.contains(name));
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
        if self.wildcard {
            return;
        }
        let names = &self.names;
        let covered = |name: &Arc<str>| names.contains(name);
        self.told.some().retain(|name, _| covered(name));
        self.owed.retain(covered);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.changed.retain(|name, _| covered(name));
            in_flight.removed.retain(covered);
        }
    }

    fn answer(&mut self, kind: ResourceType, demand: &Demand) -> Option<Answered> {
        if demand.nonce.is_empty() {
            return None;
        }
        // Any other nonce is a stale one: xDS says to ignore it.
        let answered = self.in_flight.take_if(|in_flight| in_flight.nonce == demand.nonce)?;
        let refusal = demand.refusal.as_deref().map(bounded);
        let settles = answered.settles.filter(|_| refusal.is_none());
        if let Some(all) = settles.as_ref().filter(|_| self.wildcard) {
            self.told = Told::All(Arc::clone(all));
        } else {
            // A refusal of changes does not say what became of the removals beside
            // them. They go out once more, alone; what is refused then is dropped.
            let again = refusal.is_some() && answered.mixed;
            for name in answered.removed {
                if !again {
                    self.told.remove(&name);
                } else if !self.told.contains(&name) {
                    self.owed.insert(name);
                }
            }
            self.told.some().extend(answered.changed);
        }
        let acknowledgement = Acknowledgement { kind, generation: answered.generation, refusal };
        Some(Answered { acknowledgement, settles })
    }

    /// How what the proxy has differs from what there is.
    fn differences(&self, all: &Kind) -> Differences {
        let mut differences = Differences::default();
        for Pair { told, present } in side_by_side(&self.told, all) {
            let Some((name, resource)) = present else {
                differences.gone.extend(told.map(|(name, _)| Arc::clone(name)));
                continue;
            };
            let sent = self.in_flight.as_ref().and_then(|in_flight| in_flight.changed.get(name));
            let has = sent.or(told.map(|(_, version)| version));
            if !has.is_some_and(|version| is_same(version, &resource.version)) {
                if self.covers(name) {
                    differences.changed.push((Arc::clone(name), resource.clone()));
                }
            } else if let Some((own, version)) = told {
                differences.copies |= !Arc::ptr_eq(own, name) || !Arc::ptr_eq(version, &resource.version);
            }
        }
        differences
    }

    /// What was asked for by name and does not exist.
    fn absences<'a>(&'a self, all: &'a Kind) -> impl Iterator<Item = &'a Arc<str>> {
        self.owed.iter().filter(move |name| !self.told.contains(name) && !all.contains_key(*name))
    }

    /// There is nothing to be sent. What a proxy said that it has is kept once, however many proxies have it.
    fn share(&mut self, all: &Arc<Kind>, copies: bool) {
        if self.told.len() == all.len() {
            self.told = Told::All(Arc::clone(all));
        } else if copies {
            let kept = side_by_side(&self.told, all).filter_map(|Pair { told, present }| {
                let (own, version) = told?;
                let shared = present.filter(|(_, resource)| resource.version == *version);
                let (name, version) =
                    shared.map_or((own, version), |(name, resource)| (name, &resource.version));
                Some((Arc::clone(name), Arc::clone(version)))
            });
            self.told = kept.collect();
        }
    }

    /// Notes what is too large to be sent as if it had been refused.
    fn withhold_oversized(&mut self, kind: ResourceType, differences: &mut Differences) {
        let fits = |resource: &VersionedResource| resource.encoded.len() <= RESOURCE_BYTES_MAX;
        for (name, resource) in differences.changed.extract_if(.., |(_, resource)| !fits(resource)) {
            tracing::error!(
                kind = kind.name(),
                name = &*name,
                "the resource is above the stream's size limit; not sent"
            );
            self.told.some().insert(name, resource.version);
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

/// How what a proxy has differs from what there is, in order of names.
#[derive(Default)]
struct Differences {
    /// What is new to it, and not under way.
    changed: Vec<(Arc<str>, VersionedResource)>,
    /// What it has and should not have.
    gone: Vec<Arc<str>>,
    /// Whether names or versions of it are kept for this proxy that are the same as everybody's.
    copies: bool,
}

/// A name that a proxy was told of, or that is there now, or both.
struct Pair<'a> {
    told: Option<Entry<'a>>,
    present: Option<(&'a Arc<str>, &'a VersionedResource)>,
}

/// What a proxy was told, name by name, beside what is there now. Most names and versions are the very same ones, which
/// takes no comparison.
fn side_by_side<'a>(told: &'a Told, all: &'a Kind) -> impl Iterator<Item = Pair<'a>> {
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
    /// By type, in the order of the enum's declaration.
    by_kind: [Option<Box<Subscription>>; ResourceType::ALL.len()],
    /// Of each type what was last seen to ask for nothing to be sent: as long as the proxy asks for nothing, neither will it
    /// the next time. Of thousands of proxies that are woken most have most types as they were, of which nothing else is
    /// looked at.
    settled: [Option<Arc<Kind>>; ResourceType::ALL.len()],
    /// Responses that wait for their answers.
    unanswered: usize,
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
        if let Some(subscription) = &mut self.by_kind[kind as usize] {
            subscription.check(kind, demand)?;
            let answered = subscription.answer(kind, demand);
            self.unanswered -= usize::from(answered.is_some());
            let (acknowledgement, mut settles) = answered.map(|it| (it.acknowledgement, it.settles)).unzip();
            if !demand.subscribe.is_empty() || !demand.unsubscribe.is_empty() {
                subscription.subscribe(&demand.subscribe);
                subscription.unsubscribe(&demand.unsubscribe);
                // It has to be looked through again, and so it has when what is under way is answered.
                settles = None;
                if let Some(in_flight) = &mut subscription.in_flight {
                    in_flight.settles = None;
                }
            }
            self.settled[kind as usize] = settles.flatten();
            return Ok(acknowledgement);
        }
        Subscription::default().check(kind, demand)?;
        let mut subscription = Subscription::first(demand);
        subscription.unsubscribe(&demand.unsubscribe);
        self.by_kind[kind as usize] = Some(Box::new(subscription));
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
        let mut looked_through = Vec::new();
        for kind in ResourceType::ALL {
            let all = set.of(kind);
            if self.is_settled(kind, all) {
                continue;
            }
            let Some(subscription) = &mut self.by_kind[kind as usize] else { continue };
            let mut differences = subscription.differences(all);
            subscription.withhold_oversized(kind, &mut differences);
            let changed = !differences.changed.is_empty();
            if subscription.in_flight.is_some() {
                if changed {
                    return None; // what comes later may refer to it
                }
            } else if changed || subscription.answer_due || subscription.absences(all).next().is_some() {
                let with_removals = kind == ResourceType::Listener;
                return Some(self.send(kind, all, generation, differences, with_removals));
            }
            looked_through.push((kind, differences));
        }
        for (kind, differences) in looked_through.into_iter().rev() {
            let Some(subscription) = &mut self.by_kind[kind as usize] else { continue };
            if subscription.in_flight.is_some() {
                return None;
            }
            let all = set.of(kind);
            if !differences.gone.is_empty() {
                return Some(self.send(kind, all, generation, differences, true));
            }
            subscription.share(all, differences.copies);
            self.settled[kind as usize] = Some(Arc::clone(all));
        }
        None
    }

    fn is_settled(&self, kind: ResourceType, all: &Arc<Kind>) -> bool {
        self.settled[kind as usize].as_ref().is_some_and(|settled| Arc::ptr_eq(settled, all))
    }

    /// Whether a response waits for its answer.
    pub fn awaits_answer(&self) -> bool {
        self.unanswered > 0
    }

    /// Sends what differs, as far as it fits, and what was asked for and is not there.
    fn send(
        &mut self,
        kind: ResourceType,
        all: &Arc<Kind>,
        generation: u64,
        differences: Differences,
        with_removals: bool,
    ) -> Response {
        self.nonce += 1;
        self.unanswered += 1;
        let nonce = self.nonce.to_string();
        let subscription = self.by_kind[kind as usize].get_or_insert_default();
        let mut room = RESPONSE_BYTES_TARGET;
        let mut fits = |bytes: usize| {
            let first = room == RESPONSE_BYTES_TARGET;
            let fits = first || bytes <= room;
            room = if fits { room.saturating_sub(bytes.max(1)) } else { 0 };
            fits
        };
        let Differences { mut changed, gone, .. } = differences;
        let absent: Vec<_> = subscription.absences(all).cloned().collect();
        let to_be_told = changed.len() + absent.len() + gone.len();
        let count = changed
            .iter()
            .take_while(|(name, resource)| fits(resource.encoded.len() + name.len() + resource.version.len()))
            .count();
        changed.truncate(count);
        let gone = gone.into_iter().filter(|_| with_removals);
        let removed: BTreeSet<_> =
            absent.into_iter().chain(gone).take_while(|name| fits(name.len())).collect();
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
            settles: (changed.len() + removed.len() == to_be_told).then(|| Arc::clone(all)),
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
