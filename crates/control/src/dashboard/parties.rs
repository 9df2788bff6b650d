//! Who there is, and who calls whom: what proxies tell by identity and by the stream's names, as services.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bowline_model::{
    identity::SpiffeId,
    metric::{Distribution, Statistic},
};
use serde::Serialize;

use crate::{
    publish::gateway,
    registry::{Registry, TaskOwner},
    telemetry::{EdgeView, Security, Side, TelemetryView, Workload},
    view,
};

/// What something of the graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// A service of ECS.
    Service,
    /// Standalone tasks of one group.
    TaskGroup,
    /// A load balancer's gateway.
    LoadBalancer,
    /// Something that services call beyond the mesh.
    External,
    /// Who calls and proves no identity.
    Client,
}

/// Something of the graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Party {
    pub(super) kind: Kind,
    /// Empty of what is in no cluster.
    pub(super) cluster: String,
    pub(super) name: String,
}

impl Party {
    pub(super) fn new(kind: Kind, cluster: &str, name: &str) -> Self {
        Self { kind, cluster: cluster.to_owned(), name: name.to_owned() }
    }

    /// What pages call it: unique, and the same for as long as it is there.
    pub(super) fn id(&self) -> String {
        match self.kind {
            Kind::Service => format!("service/{}/{}", self.cluster, self.name),
            Kind::TaskGroup => format!("tasks/{}/{}", self.cluster, self.name),
            Kind::LoadBalancer => format!("gateway/{}", self.name),
            Kind::External => format!("external/{}", self.name),
            Kind::Client => "client/outside".to_owned(),
        }
    }
}

/// Everybody there is.
#[derive(Debug, Default)]
pub(super) struct Who {
    by_identity: HashMap<String, Party>,
    /// By the stream's name of what they offer.
    by_offer: HashMap<String, Party>,
}

impl Who {
    pub(super) fn of(registry: &Registry) -> Self {
        let mut who = Self::default();
        let trust_domain = &registry.settings().trust_domain;
        for service in registry.services.values() {
            let party = Party::new(Kind::Service, &service.cluster, &service.name);
            who.by_identity.insert(registry.identity_of_service(service).as_str().to_owned(), party);
        }
        for balancer in registry.load_balancers.values() {
            let identity = SpiffeId::of_gateway(trust_domain, &balancer.name);
            let party = Party::new(Kind::LoadBalancer, "", &balancer.name);
            who.by_identity.insert(identity.as_str().to_owned(), party);
        }
        for task in registry.tasks.values() {
            if let (TaskOwner::Standalone(standalone), Some(identity)) =
                (&task.owner, registry.identity_of(task))
            {
                let party = Party::new(Kind::TaskGroup, &standalone.cluster, &standalone.group);
                who.by_identity.insert(identity.as_str().to_owned(), party);
            }
        }
        for (offer, service) in view::services_behind(registry) {
            who.by_offer.insert(offer, Party::new(Kind::Service, &service.cluster, &service.name));
        }
        who
    }

    fn teller(&self, workload: &Workload) -> Party {
        let Workload { cluster, name, is_gateway } = workload;
        let service = || Party::new(Kind::Service, cluster, name);
        match is_gateway {
            true => Party::new(Kind::LoadBalancer, "", name),
            // A group's name without its prefix is the user's own choice, and rare.
            false if name.starts_with("family:") => Party::new(Kind::TaskGroup, cluster, name),
            false => service(),
        }
    }

    fn called(&self, edge: &EdgeView) -> Party {
        let edge = &edge.edge;
        // The cluster of a new set of tasks is called after the deployment besides.
        let of_set = || self.by_offer.get(edge.cluster.rsplit_once('@')?.0);
        let found = self.by_identity.get(&edge.peer);
        let found = found.or_else(|| self.by_offer.get(&edge.cluster)).or_else(of_set);
        found.cloned().unwrap_or_else(|| {
            let name = if edge.discovery_name.is_empty() { &edge.cluster } else { &edge.discovery_name };
            Party::new(Kind::External, "", name)
        })
    }
}

/// How calls go, of any number of edges together.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) requests_per_second: f64,
    pub(super) tcp_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) connections: u64,
    tried: u64,
    failed: u64,
    times: Distribution,
}

impl Sum {
    pub(super) fn add(&mut self, view: &EdgeView) {
        self.requests_per_second += view.requests_per_second;
        self.tcp_per_second += view.tcp_connections_per_second;
        self.bytes_per_second += view.bytes_per_second;
        self.connections = self.connections.saturating_add(view.connections_active);
        let requests = view.responses.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        self.tried = self.tried.saturating_add(requests).saturating_add(view.tcp_connections);
        self.failed = self.failed.saturating_add(view.failures);
        self.times.merge(&view.response_time);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.requests_per_second += other.requests_per_second;
        self.tcp_per_second += other.tcp_per_second;
        self.bytes_per_second += other.bytes_per_second;
        self.connections = self.connections.saturating_add(other.connections);
        self.tried = self.tried.saturating_add(other.tried);
        self.failed = self.failed.saturating_add(other.failed);
        self.times.merge(&other.times);
    }

    /// The share of what did not fail; `None` where there was nothing.
    fn success(&self) -> Option<f64> {
        (self.tried > 0).then(|| 1.0 - self.failed.min(self.tried) as f64 / self.tried as f64)
    }

    pub(super) fn rates(&self) -> Rates {
        let percentile = |percent| self.times.statistic(Statistic::Percentile(percent)).map(rounded);
        Rates {
            rps: rounded(self.requests_per_second),
            tps: rounded(self.tcp_per_second),
            bps: rounded(self.bytes_per_second),
            connections: self.connections,
            success: self.success().map(|share| (share * 10_000.0).round() / 10_000.0),
            p50: percentile(50.0),
            p99: percentile(99.0),
        }
    }
}

/// How calls go. Names are short: it is told once a second, of each edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rates {
    /// Requests a second.
    pub(super) rps: f64,
    /// TCP connections begun a second.
    pub(super) tps: f64,
    /// Bytes a second.
    bps: f64,
    /// Open connections.
    connections: u64,
    /// The share that did not fail.
    success: Option<f64>,
    /// Median of the time to the response, in milliseconds.
    p50: Option<f64>,
    /// That 99 % stay below.
    p99: Option<f64>,
}

/// Three digits: as many as anybody reads, so that noise is no change.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(2 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// Who calls whom.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) names: BTreeSet<String>,
    /// The least that any of the calls is protected by; `None` where there were none.
    pub(super) security: Option<Security>,
    pub(super) sum: Sum,
}

/// All hops. Where both sides tell of the same calls, the caller is believed: it knows of those that did not
/// arrive. What load balancers may lead to is told without calls too.
pub(super) fn hops(registry: &Registry, told: &TelemetryView) -> Vec<Hop> {
    let who = Who::of(registry);
    let mut hops: BTreeMap<(Party, Party), Hop> = BTreeMap::new();
    let mut add = |from: Party, to: Party, view: Option<&EdgeView>| {
        let hop = hops.entry((from.clone(), to.clone())).or_insert_with(|| Hop {
            from,
            to,
            names: BTreeSet::new(),
            security: None,
            sum: Sum::default(),
        });
        if let Some(view) = view {
            let security = view.edge.security;
            hop.security = Some(hop.security.map_or(security, |present| present.min(security)));
            if !view.edge.discovery_name.is_empty() {
                hop.names.insert(view.edge.discovery_name.clone());
            }
            hop.sum.add(view);
        }
    };
    let (mut told_by_callers, mut unproven) = (BTreeSet::new(), BTreeSet::new());
    for view in told.edges.iter().filter(|view| view.edge.side == Side::Outbound) {
        let (from, to) = (who.teller(&view.edge.workload), who.called(view));
        told_by_callers.insert((from.clone(), to.clone()));
        if view.edge.security != Security::MutualTls {
            unproven.insert(to.clone());
        }
        add(from, to, Some(view));
    }
    for view in told.edges.iter().filter(|view| view.edge.side == Side::Inbound) {
        let to = who.teller(&view.edge.workload);
        let from = who.by_identity.get(&view.edge.peer).cloned();
        let from = from.unwrap_or_else(|| Party::new(Kind::Client, "", "clients"));
        // Callers without an identity are of this mesh all the same where one of it tells of such calls.
        let is_told = match from.kind {
            Kind::Client => unproven.contains(&to),
            _ => told_by_callers.contains(&(from.clone(), to.clone())),
        };
        if !is_told {
            add(from, to, Some(view));
        }
    }
    for balancer in registry.load_balancers.values() {
        for group in gateway_groups(registry, &balancer.arn) {
            for (service, _) in gateway::services_behind(registry, &group) {
                let from = Party::new(Kind::LoadBalancer, "", &balancer.name);
                add(from, Party::new(Kind::Service, &service.cluster, &service.name), None);
            }
        }
    }
    hops.into_values().collect()
}

/// The target groups that a load balancer's rules lead to.
fn gateway_groups(
    registry: &Registry,
    balancer: &bowline_model::arn::Arn,
) -> BTreeSet<bowline_model::arn::Arn> {
    use bowline_model::load_balancer::GatewayAction;
    let mut groups = BTreeSet::new();
    for listener in gateway::listeners_of(registry, balancer) {
        let rules = gateway::rules_of(registry, &listener.arn);
        for action in rules.iter().map(|rule| &rule.action).chain([&listener.default_action]) {
            if let GatewayAction::Forward(targets) = action {
                groups.extend(targets.iter().map(|(group, _)| group.clone()));
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_told() {
        assert_eq!(
            [0.0, 1.0, 0.012_345, 123_456.0, f64::NAN].map(rounded),
            [0.0, 1.0, 0.012_3, 123_000.0, 0.0]
        );
    }
}
