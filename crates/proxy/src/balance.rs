//! Which endpoint gets the next request. The decision is
//! [`bowline_model::balance`]'s; a worker keeps its plan of each cluster.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use bowline_model::{
    balance::{Balancer, Candidate, Draw, Plan, hash},
    clock::Timestamp,
};
use http::{HeaderMap, HeaderValue, header};

use crate::{
    config::{
        Cluster, Endpoint,
        balancing::{HashKey, StickyCookie},
    },
    names::ByName,
};

/// What a worker remembers of a cluster between requests.
#[derive(Debug, Default)]
pub(crate) struct ClusterState {
    turn: Cell<u64>,
    planned: RefCell<Option<Planned>>,
}

/// A plan and what it was made of.
#[derive(Debug)]
struct Planned {
    generation: u64,
    epoch: u64,
    valid_until: Option<Timestamp>,
    made: Timestamp,
    plan: Plan,
}

impl Planned {
    fn new(cluster: &Cluster, now: Timestamp) -> Self {
        // Before the endpoints: what changes meanwhile is seen the next time.
        let epoch = cluster.health.epoch();
        let endpoints = cluster.upstream.endpoints();
        let mut zones: Vec<&str> = Vec::new();
        let mut returns: Option<Timestamp> = None;
        let candidates: Vec<Candidate> = endpoints
            .iter()
            .map(|endpoint| {
                let zone = zones.iter().position(|zone| *zone == &*endpoint.zone).unwrap_or_else(|| {
                    zones.push(&endpoint.zone);
                    zones.len() - 1
                });
                if let Some(until) = endpoint.health.ejected_until(now) {
                    returns = Some(returns.map_or(until, |first| first.min(until)));
                }
                Candidate {
                    healthy: endpoint.health.is_available(now),
                    draining: endpoint.draining,
                    weight: endpoint.weight,
                    priority: endpoint.priority,
                    zone: u16::try_from(zone).unwrap_or(u16::MAX),
                    local: cluster.balancing.zone.as_deref() == Some(&*endpoint.zone),
                    since: endpoint.health.since(now),
                    key: ring_key(endpoint),
                }
            })
            .collect();
        let plan = Plan::new(&candidates, &cluster.balancing.terms, now);
        let valid_until = [returns, plan.valid_until()].into_iter().flatten().min();
        Self { generation: cluster.generation, epoch, valid_until, made: now, plan }
    }

    fn holds(&self, cluster: &Cluster, now: Timestamp) -> bool {
        self.generation == cluster.generation
            && self.epoch == cluster.health.epoch()
            && self.valid_until.is_none_or(|until| now < until)
            // A clock that was set back.
            && self.made <= now
    }
}

/// The address may be used by another task later; the task's id is its own.
fn ring_key(endpoint: &Endpoint) -> u64 {
    match endpoint.task_id.as_str() {
        "" => hash(endpoint.address.to_string().as_bytes()),
        task => hash(task.as_bytes()) ^ hash(&endpoint.address.port().to_be_bytes()),
    }
}

/// A worker's cluster states.
#[derive(Debug, Default)]
pub(crate) struct ClusterStates {
    by_name: RefCell<ByName<Rc<ClusterState>>>,
}

impl ClusterStates {
    /// What is remembered of a cluster. `random` says where a new one begins: workers do not all
    /// begin at the same endpoint.
    pub(crate) fn of(&self, cluster: &Cluster, random: u64) -> Rc<ClusterState> {
        let mut states = self.by_name.borrow_mut();
        if let Some(state) = states.get(&cluster.name) {
            return Rc::clone(state);
        }
        let state = Rc::new(ClusterState { turn: Cell::new(random), planned: RefCell::default() });
        Rc::clone(states.entry(Arc::clone(&cluster.name)).or_insert(state))
    }

    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.by_name.borrow_mut().retain(|name, _| keep(name));
    }
}

impl ClusterState {
    /// The next endpoint; those in `tried` only if there is no other.
    pub(crate) fn pick(
        &self,
        cluster: &Cluster,
        tried: &[SocketAddr],
        hash: Option<u64>,
        random: u64,
        now: Timestamp,
    ) -> Option<Arc<Endpoint>> {
        let turn = self.turn.get();
        // A retry takes no turn: else who fails would get each first try of a few.
        if tried.is_empty() {
            self.turn.set(turn.wrapping_add(1));
        }
        let mut planned = self.planned.borrow_mut();
        if !planned.as_ref().is_some_and(|planned| planned.holds(cluster, now)) {
            *planned = None;
        }
        let plan = &planned.get_or_insert_with(|| Planned::new(cluster, now)).plan;
        let endpoints = cluster.upstream.endpoints();
        let draw = Draw { turn, random, hash };
        let cost = |place: usize| match (cluster.balancing.terms.balancer, endpoints.get(place)) {
            (Balancer::LeastRequest, Some(endpoint)) => u64::from(endpoint.health.active()),
            (Balancer::PeakEwma, Some(endpoint)) => endpoint.health.cost(now),
            _ => 0,
        };
        let was_tried =
            |place: usize| endpoints.get(place).is_none_or(|endpoint| tried.contains(&endpoint.address));
        let place = plan.pick(draw, cost, was_tried).or_else(|| match tried {
            [] => None,
            _ => plan.pick(draw, cost, |_| false),
        })?;
        endpoints.get(place).cloned()
    }
}

/// What makes requests of one client go to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Stickiness {
    pub(crate) hash: Option<u64>,
    /// To be set with the response.
    pub(crate) cookie: Option<HeaderValue>,
}

/// The hash of a request, by the first of the keys that it has.
pub(crate) fn stickiness(
    keys: &[HashKey],
    headers: &HeaderMap,
    client: Option<IpAddr>,
    random: u64,
) -> Stickiness {
    for key in keys {
        let found = match key {
            HashKey::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
            HashKey::Cookie(cookie) => match cookie_value(headers, &cookie.name) {
                Some(value) => Some(hash(value.as_bytes())),
                None => {
                    let value = format!("{random:016x}");
                    let hash = Some(hash(value.as_bytes()));
                    return Stickiness { hash, cookie: set_cookie(cookie, &value) };
                }
            },
            HashKey::Source => client.map(|client| match client {
                IpAddr::V4(address) => hash(&address.octets()),
                IpAddr::V6(address) => hash(&address.octets()),
            }),
        };
        if found.is_some() {
            return Stickiness { hash: found, cookie: None };
        }
    }
    Stickiness::default()
}

/// The first cookie of that name.
fn cookie_value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(given, value)| (given == name).then_some(value))
}

fn set_cookie(cookie: &StickyCookie, value: &str) -> Option<HeaderValue> {
    let StickyCookie { name, path, ttl } = cookie;
    let age = ttl.map(|ttl| format!("; Max-Age={}", ttl.as_secs())).unwrap_or_default();
    HeaderValue::from_str(&format!("{name}={value}; Path={path}{age}; HttpOnly")).ok()
}

#[cfg(test)]
mod tests;
