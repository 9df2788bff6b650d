//! Phase two: names become what they name, in one immutable snapshot.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicU64},
};

use super::{HeldIdentity, MESH_IDENTITY, ResourceStore};
use crate::{
    config::{
        Action, Bind, Cluster, Forward, InboundBind, Listener, MeshUpstream, PublicBind, PublicTls, Route,
        Rule, Snapshot, Upstream,
        convert::{self, ActionDraft, BindDraft, ClusterKindDraft, RouteDraft},
        endpoints::link_endpoints,
        external::ExternalUpstream,
        handshakes::{InboundKey, hop_configs, inbound_config, public_config},
        series::ClusterSeries,
    },
    fault::FaultRule,
    names::{ByName, NameHashing},
    resolver::HostAddresses,
    tls::staged::{Shown, Staged},
};

impl ResourceStore {
    /// Links everything into one immutable whole.
    pub(crate) fn snapshot(&mut self) -> Arc<Snapshot> {
        self.generation += 1;
        let clusters = self.link_clusters();
        let routes: HashMap<&str, Arc<Route>> = self
            .routes
            .iter()
            .map(|(name, draft)| {
                let turns = self.turns.entry(name.clone()).or_default();
                let faults =
                    |own: Option<&str>| self.faults.get(own.unwrap_or(name)).cloned().unwrap_or_default();
                (name.as_str(), Arc::new(link_route(draft, &clusters, turns, faults)))
            })
            .collect();
        self.inbound_configs.retain(|_, (generation, _)| *generation == self.tls_generation);
        let mut names = BTreeMap::new();
        let mut listeners = ByName::with_capacity_and_hasher(self.listeners.len(), NameHashing::default());
        for (name, draft) in &self.listeners {
            if let BindDraft::Outbound(bind) = &draft.bind
                && let Some(address) = convert::ipv4(bind.address)
            {
                names.extend(bind.hostnames.iter().map(|host| (host.to_ascii_lowercase(), address)));
            }
            let bind = match &draft.bind {
                BindDraft::Outbound(bind) => Bind::Outbound(bind.clone()),
                BindDraft::Inbound { port_name, address, tls, authorization, identity } => {
                    let key = InboundKey { mode: *tls, protocol: draft.protocol, identity: identity.clone() };
                    Bind::Inbound(InboundBind {
                        port_name: port_name.clone(),
                        address: *address,
                        tls: *tls,
                        server: inbound_config(
                            &mut self.inbound_configs,
                            self.tls_generation,
                            shown_in_the_mesh(&self.identities, self.staged.as_ref(), identity).as_ref(),
                            &self.trust,
                            key,
                        ),
                        authorization: self.authorizations.get(authorization).cloned(),
                    })
                }
                BindDraft::Public { address, tls } => Bind::Public(PublicBind {
                    address: *address,
                    tls: match tls {
                        None => PublicTls::Off,
                        Some(tls) => public_config(
                            &mut self.public_configs,
                            name,
                            std::iter::once(&tls.identity)
                                .chain(&tls.more_identities)
                                .filter_map(|name| self.identities.get(name)),
                            tls.tls12,
                        ),
                    },
                }),
            };
            let limiter = self.limiters.get(name).cloned();
            let name: Arc<str> = Arc::from(name.as_str());
            let listener = Listener {
                limiter,
                name: Arc::clone(&name),
                bind,
                protocol: draft.protocol,
                route: routes.get(draft.route.as_str()).cloned(),
                cluster: clusters.get(draft.cluster.as_str()).cloned(),
                idle_timeout: draft.idle_timeout,
                max_connections: draft.max_connections,
            };
            listeners.insert(name, Arc::new(listener));
        }
        Arc::new(Snapshot {
            generation: self.generation,
            rules_generation: self.rules_generation,
            listeners,
            clusters,
            own_id: self.identities.get(MESH_IDENTITY).and_then(|held| held.id.clone()),
            trust: Arc::clone(&self.trust),
            names,
            private_dns: self.private_dns.values().next().cloned(),
            tracing: self.tracing.values().next().cloned(),
        })
    }

    fn link_clusters(&mut self) -> ByName<Arc<Cluster>> {
        let mut linked = ByName::with_capacity_and_hasher(self.clusters.len(), NameHashing::default());
        for (name, draft) in &self.clusters {
            let health = Arc::clone(self.healths.entry(name.clone()).or_default());
            health.set_policy(draft.outlier.clone());
            let load = Arc::clone(self.loads.entry(name.clone()).or_default());
            let upstream = match &draft.kind {
                ClusterKindDraft::Application { address, port } => {
                    Upstream::Application { address: *address, port: *port }
                }
                ClusterKindDraft::Mesh { tls, identities, own: own_name } => {
                    let drafts = self.endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
                    // Other proxies are found by address alone.
                    let endpoints = link_endpoints(drafts, &HostAddresses::new(), &health);
                    let shown = shown_in_the_mesh(&self.identities, self.staged.as_ref(), own_name);
                    let tls = hop_configs(
                        &mut self.hops,
                        self.tls_generation,
                        shown.as_ref(),
                        &self.trust,
                        (name, draft.protocol, *tls, identities, own_name),
                    );
                    Upstream::Mesh(MeshUpstream { tls, endpoints })
                }
                ClusterKindDraft::External(security) => {
                    let drafts = self.endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
                    Upstream::External(ExternalUpstream {
                        security: self.origins.security(name, draft.protocol, security),
                        endpoints: link_endpoints(drafts, &self.host_addresses, &health),
                    })
                }
            };
            let name: Arc<str> = Arc::from(name.as_str());
            let discovery_name = Arc::from(draft.discovery_name.as_str());
            let cluster = Cluster {
                series: ClusterSeries::new(&self.metrics.series, &name, &discovery_name, draft),
                name: Arc::clone(&name),
                discovery_name,
                protocol: draft.protocol,
                upstream,
                connect_timeout: draft.connect_timeout,
                max_connections: draft.max_connections,
                breakers: draft.breakers,
                connect_retry: draft.connect_retry,
                balancing: draft.balancing.clone(),
                health_check: draft.health_check.clone(),
                generation: self.generation,
                health,
                load,
                metrics: self.metrics.cluster(&name),
            };
            linked.insert(name, Arc::new(cluster));
        }
        linked
    }
}

/// The certificate of that name; until it is there, the proxy's own, which stands for the same
/// service. What is staged stands in for either.
fn shown_in_the_mesh(
    identities: &HashMap<String, HeldIdentity>,
    staged: Option<&Arc<Staged>>,
    name: &str,
) -> Option<Shown> {
    let held = identities.get(name).or_else(|| identities.get(MESH_IDENTITY))?;
    Some(Shown::new(&held.key, staged))
}

fn link_route(
    draft: &RouteDraft,
    clusters: &ByName<Arc<Cluster>>,
    turns: &Arc<AtomicU64>,
    faults: impl Fn(Option<&str>) -> Arc<[FaultRule]>,
) -> Route {
    let link = |action: &ActionDraft| match action {
        ActionDraft::Redirect(redirect) => Action::Redirect(redirect.clone()),
        ActionDraft::Fixed(fixed) => Action::Fixed(fixed.clone()),
        ActionDraft::Forward { clusters: named, policy, sticky, fault } => {
            let found: Vec<_> = named
                .iter()
                .filter_map(|(name, weight)| Some((Arc::clone(clusters.get(name.as_str())?), *weight)))
                .collect();
            let weight_total = found.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let turns = Arc::clone(turns);
            let (policy, sticky) = (policy.clone(), sticky.clone());
            let faults = faults(fault.as_deref());
            Action::Forward(Forward { clusters: found, weight_total, turns, sticky, faults, policy })
        }
    };
    let rules = draft
        .rules
        .iter()
        .map(|(matches, action)| Rule { matches: matches.clone(), action: link(action) })
        .collect();
    Route { rules }
}
