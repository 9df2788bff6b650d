use std::sync::Arc;

use bowline_discovery::{resource::Resource, v1};
use proptest::prelude::*;

use super::*;

const KINDS: [ResourceType; 3] = [ResourceType::Cluster, ResourceType::Route, ResourceType::Listener];

fn versioned(kind: ResourceType, name: &str, version: u8) -> VersionedResource {
    let name = name.to_owned();
    let resource = match kind {
        ResourceType::Cluster => Resource::Cluster(v1::Cluster { name, ..Default::default() }),
        ResourceType::Route => Resource::Route(v1::Route { name, ..Default::default() }),
        _ => Resource::Listener(v1::Listener { name, ..Default::default() }),
    };
    let encoded = Arc::new(resource.encode());
    VersionedResource { version: version.to_string().into(), resource: Arc::new(resource), encoded }
}

fn set(resources: &[(ResourceType, &str, u8)]) -> ResourceSet {
    resources
        .iter()
        .map(|(kind, name, version)| ((*kind, (*name).to_owned()), versioned(*kind, name, *version)))
        .collect()
}

fn all() -> Demand {
    Demand::default()
}

fn named(names: &[&str]) -> Demand {
    Demand { subscribe: names.iter().map(|name| (*name).to_owned()).collect(), ..Demand::default() }
}

fn ack(response: &Response) -> Demand {
    Demand { nonce: response.nonce.clone(), ..Demand::default() }
}

fn nack(response: &Response) -> Demand {
    Demand { refusal: Some("no".to_owned()), ..ack(response) }
}

fn names(response: &Response) -> Vec<&str> {
    response.changed.iter().map(|(name, _)| &**name).collect()
}

#[test]
fn a_subscription_to_nothing_is_answered_once() {
    let mut stream = Subscriptions::default();
    stream.demand(ResourceType::Route, &all()).expect("within limits");
    let response = stream.next(&set(&[]), 7).expect("an empty answer");
    assert_eq!((response.generation, names(&response), response.removed.len()), (7, vec![], 0));
    let answered = stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    assert_eq!(answered.map(|answered| answered.generation), Some(7));
    assert_eq!(stream.next(&set(&[]), 8), None);
}

#[test]
fn one_response_of_a_type_is_in_flight() {
    let mut stream = Subscriptions::default();
    stream.demand(ResourceType::Route, &all()).expect("within limits");
    let first = stream.next(&set(&[(ResourceType::Route, "a", 1)]), 1).expect("the route");
    let changed = set(&[(ResourceType::Route, "a", 2)]);
    assert_eq!(stream.next(&changed, 2), None);
    stream.demand(ResourceType::Route, &Demand { nonce: "0".into(), ..all() }).expect("within limits");
    assert_eq!(stream.next(&changed, 2), None, "a stale nonce answers nothing");
    stream.demand(ResourceType::Route, &ack(&first)).expect("within limits");
    assert_eq!(names(&stream.next(&changed, 2).expect("the change")), ["a"]);
}

#[test]
fn what_was_refused_waits_for_a_change() {
    let mut stream = Subscriptions::default();
    stream.demand(ResourceType::Route, &all()).expect("within limits");
    let bad = set(&[(ResourceType::Route, "a", 1)]);
    let response = stream.next(&bad, 1).expect("the route");
    let answered = stream.demand(ResourceType::Route, &nack(&response)).expect("within limits");
    assert_eq!(answered.and_then(|answered| answered.refusal).as_deref(), Some("no"));
    assert_eq!(stream.next(&bad, 2), None);
    assert_eq!(names(&stream.next(&set(&[(ResourceType::Route, "a", 2)]), 3).expect("a change")), ["a"]);
}

#[test]
fn what_is_referred_to_comes_first_and_goes_last() {
    let mut stream = Subscriptions::default();
    for kind in KINDS {
        stream.demand(kind, &all()).expect("within limits");
    }
    let old = set(&KINDS.map(|kind| (kind, "old", 1)));
    let mut order = Vec::new();
    while let Some(response) = stream.next(&old, 1) {
        order.push(response.kind);
        stream.demand(response.kind, &ack(&response)).expect("within limits");
    }
    assert_eq!(order, KINDS);

    let new = set(&KINDS.map(|kind| (kind, "new", 1)));
    let mut steps = Vec::new();
    let mut unanswered = Vec::new();
    loop {
        while let Some(response) = stream.next(&new, 2) {
            steps.push((response.kind, !response.changed.is_empty(), !response.removed.is_empty()));
            unanswered.push(response);
        }
        if unanswered.is_empty() {
            break;
        }
        let response = unanswered.remove(0);
        stream.demand(response.kind, &ack(&response)).expect("within limits");
    }
    assert_eq!(
        steps,
        [
            (ResourceType::Cluster, true, false),
            (ResourceType::Route, true, false),
            (ResourceType::Listener, true, true),
            (ResourceType::Route, false, true),
            (ResourceType::Cluster, false, true),
        ]
    );
}

#[test]
fn a_name_that_does_not_exist_is_answered_as_removed() {
    let mut stream = Subscriptions::default();
    stream.demand(ResourceType::Route, &named(&["a", "b"])).expect("within limits");
    let world = set(&[(ResourceType::Route, "a", 1), (ResourceType::Route, "c", 1)]);
    let response = stream.next(&world, 1).expect("an answer");
    assert_eq!((names(&response), response.removed.clone()), (vec!["a"], vec!["b".into()]));
    stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    assert_eq!(stream.next(&world, 1), None);
    stream.demand(ResourceType::Route, &named(&["a"])).expect("within limits");
    assert_eq!(names(&stream.next(&world, 1).expect("asked for again, sent again")), ["a"]);
}

#[test]
fn what_a_proxy_has_all_of_is_not_looked_through_again() {
    let is_settled = |stream: &Subscriptions, world: &ResourceSet| {
        stream.is_settled(ResourceType::Route, world.of(ResourceType::Route))
    };
    let mut stream = Subscriptions::default();
    let world = set(&[(ResourceType::Route, "a", 1), (ResourceType::Route, "b", 1)]);
    stream.demand(ResourceType::Route, &all()).expect("within limits");
    let response = stream.next(&world, 1).expect("both");
    assert!(!is_settled(&stream, &world));
    stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    assert!(is_settled(&stream, &world));

    // What it would still be told of, it is looked through for.
    let mut changed = world.clone();
    changed.insert(ResourceType::Route, "a", versioned(ResourceType::Route, "a", 2));
    changed.remove(ResourceType::Route, "b");
    let response = stream.next(&changed, 2).expect("the change");
    stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    assert!(!is_settled(&stream, &changed));
    let response = stream.next(&changed, 2).expect("the removal");
    assert_eq!(response.removed, ["b".into()]);
    stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    assert!(is_settled(&stream, &changed));

    // And for what it refuses, or asks for while a response is under way.
    let response = stream.next(&world, 3).expect("both again");
    stream.demand(ResourceType::Route, &nack(&response)).expect("within limits");
    assert!(!is_settled(&stream, &world));
    assert_eq!(stream.next(&world, 3), None);
    let response = stream.next(&changed, 4).expect("the change");
    stream.demand(ResourceType::Route, &named(&["a", "z"])).expect("within limits");
    stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    assert!(!is_settled(&stream, &changed));
    assert_eq!(names(&stream.next(&changed, 4).expect("it asked again")), ["a"]);
}

#[test]
fn a_large_set_comes_in_parts() {
    let large = |name: &str| {
        let mut resource = versioned(ResourceType::Route, name, 1);
        resource.encoded = Arc::new(vec![0; RESPONSE_BYTES_TARGET - 1024]);
        ((ResourceType::Route, name.to_owned()), resource)
    };
    let mut world: ResourceSet = ["a", "b", "c"].into_iter().map(large).collect();
    let mut oversized = versioned(ResourceType::Route, "d", 1);
    oversized.encoded = Arc::new(vec![0; RESOURCE_BYTES_MAX + 1]);
    world.insert(ResourceType::Route, "d", oversized);
    let mut stream = Subscriptions::default();
    stream.demand(ResourceType::Route, &all()).expect("within limits");
    let mut parts = Vec::new();
    while let Some(response) = stream.next(&world, 1) {
        parts.push(names(&response).join(","));
        stream.demand(ResourceType::Route, &ack(&response)).expect("within limits");
    }
    assert_eq!(parts, ["a", "b", "c"]);
}

#[test]
fn a_subscription_has_a_limit() {
    let mut stream = Subscriptions::default();
    let many = Demand { subscribe: (0..=NAMES_MAX).map(|i| i.to_string()).collect(), ..all() };
    assert!(stream.demand(ResourceType::Route, &many).is_err());
    let long = Demand { subscribe: vec!["x".repeat(NAME_BYTES_MAX + 1)], ..all() };
    assert!(stream.demand(ResourceType::Route, &long).is_err());
    assert_eq!(stream.next(&set(&[]), 1), None, "what was refused left nothing behind");
}

/// A proxy as the protocol wants it.
#[derive(Default)]
struct Proxy {
    wildcard: bool,
    wanted: BTreeMap<ResourceType, BTreeSet<String>>,
    has: BTreeMap<(ResourceType, String), String>,
    /// The version of a name that it last refused.
    refused: BTreeMap<(ResourceType, String), String>,
    unread: Vec<Response>,
}

impl Proxy {
    fn covers(&self, kind: ResourceType, name: &str) -> bool {
        self.wildcard || self.wanted.get(&kind).is_some_and(|names| names.contains(name))
    }

    fn connect(&mut self) -> Subscriptions {
        self.unread.clear();
        self.refused.clear();
        let mut stream = Subscriptions::default();
        for kind in KINDS {
            let subscribe = if self.wildcard {
                let names = self.wanted.get(&kind).into_iter().flatten().cloned();
                std::iter::once("*".to_owned()).chain(names).collect()
            } else {
                // A first demand for no name would be one for all.
                self.wanted.entry(kind).or_default().insert("0".to_owned());
                self.wanted[&kind].iter().cloned().collect()
            };
            let has = self.has.iter().filter(|((other, _), _)| *other == kind);
            let has = has.map(|((_, name), version)| (name.clone(), version.clone())).collect();
            let demand = Demand { subscribe, has, ..Demand::default() };
            stream.demand(kind, &demand).expect("within limits");
        }
        stream
    }

    fn read(&mut self, stream: &mut Subscriptions, accept: bool) {
        if self.unread.is_empty() {
            return;
        }
        let response = self.unread.remove(0);
        let kind = response.kind;
        // Nothing is left to say to a proxy that refuses mere removals.
        if accept || response.changed.is_empty() {
            for name in &response.removed {
                self.has.remove(&(kind, name.to_string()));
            }
        }
        for (name, resource) in &response.changed {
            let key = (kind, name.to_string());
            if !self.covers(kind, name) {
                continue;
            }
            if accept {
                self.has.insert(key.clone(), resource.version.to_string());
                self.refused.remove(&key);
            } else {
                self.refused.insert(key, resource.version.to_string());
            }
        }
        let answer = if accept { ack(&response) } else { nack(&response) };
        stream.demand(kind, &answer).expect("within limits");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, u8),
    Remove(usize, u8),
    Push,
    Accept,
    Refuse,
    Reconnect,
    Subscribe(usize, u8),
    Unsubscribe(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = 0..KINDS.len();
    prop_oneof![
        4 => (kind.clone(), 0..5u8, 0..4u8).prop_map(|(kind, name, version)| Step::Put(kind, name, version)),
        3 => (kind.clone(), 0..5u8).prop_map(|(kind, name)| Step::Remove(kind, name)),
        5 => Just(Step::Push),
        5 => Just(Step::Accept),
        2 => Just(Step::Refuse),
        1 => Just(Step::Reconnect),
        1 => (kind.clone(), 0..5u8).prop_map(|(kind, name)| Step::Subscribe(kind, name)),
        1 => (kind, 0..5u8).prop_map(|(kind, name)| Step::Unsubscribe(kind, name)),
    ]
}

proptest! {
    /// Whatever happens, a proxy that then answers all ends up with exactly
    /// what it should have, except for what it refused in just that version.
    #[test]
    fn a_proxy_converges(wildcard: bool, steps in proptest::collection::vec(step(), 0..80)) {
        let mut world = ResourceSet::new();
        let mut proxy = Proxy { wildcard, ..Proxy::default() };
        let mut stream = proxy.connect();
        for step in steps {
            match step {
                Step::Put(kind, name, version) => {
                    let (kind, name) = (KINDS[kind], name.to_string());
                    let resource = versioned(kind, &name, version);
                    world.insert(kind, name, resource);
                }
                Step::Remove(kind, name) => {
                    world.remove(KINDS[kind], &name.to_string());
                }
                Step::Push => {
                    while let Some(response) = stream.next(&world, 1) {
                        prop_assert!(proxy.unread.iter().all(|unread| unread.kind != response.kind));
                        proxy.unread.push(response);
                    }
                }
                Step::Accept => proxy.read(&mut stream, true),
                Step::Refuse => proxy.read(&mut stream, false),
                Step::Reconnect => stream = proxy.connect(),
                Step::Subscribe(kind, name) => {
                    let (kind, name) = (KINDS[kind], name.to_string());
                    stream.demand(kind, &named(&[&name])).expect("within limits");
                    proxy.wanted.entry(kind).or_default().insert(name);
                }
                Step::Unsubscribe(kind, name) => {
                    let (kind, name) = (KINDS[kind], name.to_string());
                    let known = proxy.wanted.entry(kind).or_default().remove(&name);
                    let demand = Demand { unsubscribe: vec![name.clone()], ..Demand::default() };
                    stream.demand(kind, &demand).expect("within limits");
                    if known || !proxy.wildcard {
                        proxy.has.remove(&(kind, name.clone()));
                        proxy.refused.remove(&(kind, name));
                    }
                }
            }
            prop_assert_eq!(stream.awaits_answer(), !proxy.unread.is_empty());
        }
        for round in 0.. {
            prop_assert!(round < 100, "responses without end");
            while let Some(response) = stream.next(&world, 2) {
                proxy.unread.push(response);
            }
            if proxy.unread.is_empty() {
                break;
            }
            proxy.read(&mut stream, true);
        }
        let refused = |key: &(ResourceType, String), version: &str| proxy.refused.get(key).is_some_and(|r| r == version);
        for (kind, name, resource) in world.iter().filter(|(kind, name, _)| proxy.covers(*kind, name)) {
            let key = &(kind, name.to_string());
            let has = proxy.has.get(key);
            let right = has.map(String::as_str) == Some(&*resource.version) || refused(key, &resource.version);
            prop_assert!(right, "{key:?} should be at {}, is at {has:?}", resource.version);
        }
        for key in proxy.has.keys() {
            prop_assert!(world.contains(key.0, &key.1), "{key:?} should be gone");
        }
    }
}
