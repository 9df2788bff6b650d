//! The resources that the proxy holds, and the snapshot made of them.
//!
//! Phase one, [`ResourceStore::apply`], converts each message by itself; one
//! that cannot be applied is reported and the last good one of its name stays.
//! Phase two, [`ResourceStore::snapshot`], links names to what they name. A
//! name that leads nowhere (yet) is no fault of the resource: the stream's
//! types arrive one after another.

mod link;
mod staged;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::AtomicU64},
};

use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1,
};
use bowline_model::{
    authorization::Rules,
    identity::SpiffeId,
    sabotage::{Defence, sabotaged},
    sampling::Sampler,
};
use bowline_plumbing::wall_clock;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::{
    PrivateDns,
    convert::{
        self, BindDraft, ClusterDraft, ClusterKindDraft, EndpointDraft, HostDraft, Invalid, ListenerDraft,
        RouteDraft, invalid,
    },
    handshakes::{CachedHop, CachedPublic, InboundKey},
    origins::Origins,
    refusals::Refusals,
};
use crate::{
    disturbance,
    fault::FaultRule,
    health::ClusterHealth,
    limit::Limiter,
    load::ClusterLoad,
    metrics::Metrics,
    resolver::HostAddresses,
    tls::{
        self, TlsError,
        imported::{Imported, ImportedCertificates},
        staged::{ALL, Staged},
        trust::{Revoked, Roots, TrustStore},
        verify::{peer_identity, serial_of},
    },
};

pub(crate) use self::staged::without_faults;

/// Name of the Identity that is the proxy's own.
pub(crate) const MESH_IDENTITY: &str = "mesh";

/// A resource as it came, with the stream's version of it.
#[derive(Clone, Debug)]
pub(crate) struct Versioned {
    pub(crate) version: String,
    pub(crate) resource: Resource,
}

/// A resource that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) kind: ResourceType,
    pub(crate) name: String,
    pub(crate) reason: Invalid,
}

/// A certificate that the proxy holds.
#[derive(Clone, Debug)]
pub(crate) struct HeldIdentity {
    pub(crate) key: Arc<CertifiedKey>,
    /// `None` for a public certificate.
    pub(crate) id: Option<SpiffeId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ResourceStore {
    metrics: Arc<Metrics>,
    raw: BTreeMap<(ResourceType, String), Versioned>,
    listeners: BTreeMap<String, ListenerDraft>,
    routes: HashMap<String, RouteDraft>,
    clusters: BTreeMap<String, ClusterDraft>,
    endpoints: HashMap<String, Vec<EndpointDraft>>,
    authorizations: HashMap<String, Arc<Rules>>,
    roots: BTreeMap<String, Arc<Roots>>,
    /// Roots that came with the certificate, until the stream names its own.
    bootstrap_roots: BTreeMap<String, Arc<Roots>>,
    revoked: BTreeMap<String, HashSet<String>>,
    imported: BTreeMap<String, Arc<Imported>>,
    identities: HashMap<String, HeldIdentity>,
    /// What is shown to other proxies in place of all of them, on purpose.
    staged: Option<Arc<Staged>>,
    /// The proxy's own certificate that the control plane refuses.
    refused: Option<CertificateDer<'static>>,
    /// What was sent and is not taken.
    pub(crate) refusals: Refusals,
    private_dns: BTreeMap<String, Arc<PrivateDns>>,
    /// Their reservoirs outlive snapshots.
    tracing: BTreeMap<String, Arc<Sampler>>,
    /// Grows when certificate, roots or revocations change: hops made before
    /// take no new requests.
    tls_generation: u64,
    trust: Arc<TrustStore>,
    inbound_configs: HashMap<InboundKey, (u64, Arc<rustls::ServerConfig>)>,
    public_configs: HashMap<String, CachedPublic>,
    hops: HashMap<String, CachedHop>,
    origins: Origins,
    host_addresses: HostAddresses,
    /// What outlives snapshots: of clusters, and the turns of routes.
    healths: HashMap<String, Arc<ClusterHealth>>,
    loads: HashMap<String, Arc<ClusterLoad>>,
    turns: HashMap<String, Arc<AtomicU64>>,
    /// By the listener's name, and by the route's.
    limiters: HashMap<String, Arc<Limiter>>,
    faults: HashMap<String, Arc<[FaultRule]>>,
    generation: u64,
    /// Grows when listeners, authorizations or revocations change.
    rules_generation: u64,
}

impl ResourceStore {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            raw: BTreeMap::new(),
            listeners: BTreeMap::new(),
            routes: HashMap::new(),
            clusters: BTreeMap::new(),
            endpoints: HashMap::new(),
            authorizations: HashMap::new(),
            roots: BTreeMap::new(),
            bootstrap_roots: BTreeMap::new(),
            revoked: BTreeMap::new(),
            imported: BTreeMap::new(),
            identities: HashMap::new(),
            staged: None,
            refused: None,
            refusals: Refusals::default(),
            private_dns: BTreeMap::new(),
            tracing: BTreeMap::new(),
            tls_generation: 0,
            trust: Arc::default(),
            inbound_configs: HashMap::new(),
            public_configs: HashMap::new(),
            hops: HashMap::new(),
            origins: Origins::default(),
            host_addresses: HostAddresses::new(),
            healths: HashMap::new(),
            loads: HashMap::new(),
            turns: HashMap::new(),
            limiters: HashMap::new(),
            faults: HashMap::new(),
            generation: 0,
            rules_generation: 0,
        }
    }

    /// Applies one resource, or says why not and keeps the one before.
    pub(crate) fn apply(&mut self, version: String, resource: Resource) -> Result<(), Rejection> {
        let (kind, name) = (resource.kind(), resource.name().to_owned());
        if let Err(reason) = self.convert(&resource) {
            self.metrics.configuration_rejected.increment();
            if sabotaged(Defence::LastGood) {
                self.remove(kind, &name);
            }
            self.refusals.note(kind, &name, version, &reason.to_string(), wall_clock::now());
            return Err(Rejection { kind, name, reason });
        }
        self.refusals.forget(kind, &name);
        self.raw.insert((kind, name), Versioned { version, resource });
        self.rules_may_differ(kind);
        self.unstage_what_is_called_off();
        Ok(())
    }

    fn rules_may_differ(&mut self, kind: ResourceType) {
        if matches!(
            kind,
            ResourceType::Listener
                | ResourceType::Authorization
                | ResourceType::Revocation
                | ResourceType::ImportedCertificate
        ) {
            self.rules_generation += 1;
        }
    }

    fn convert(&mut self, resource: &Resource) -> Result<(), Invalid> {
        if resource.name().is_empty() {
            return Err(invalid("name", "must not be empty"));
        }
        match resource {
            Resource::Listener(message) => {
                self.listeners.insert(message.name.clone(), convert::listener(message)?);
            }
            Resource::Route(message) => {
                self.routes.insert(message.name.clone(), convert::route(message)?);
            }
            Resource::Cluster(message) => {
                self.clusters.insert(message.name.clone(), convert::cluster(message)?);
            }
            Resource::Endpoints(message) => {
                let mut endpoints = convert::endpoints(message)?;
                if sabotaged(Defence::Endpoints) {
                    let before = self.endpoints.get(&message.name).into_iter().flatten();
                    let gone =
                        before.filter(|before| !endpoints.contains(before)).cloned().collect::<Vec<_>>();
                    endpoints.extend(gone);
                }
                self.endpoints.insert(message.name.clone(), endpoints);
            }
            Resource::Authorization(message) => {
                let authorization = Arc::new(convert::authorization(message)?);
                self.authorizations.insert(message.name.clone(), authorization);
            }
            Resource::Trust(message) => {
                let roots = Roots::from_pem(&message.roots_pem)
                    .map_err(|error| invalid("rootsPem", error.to_string()))?;
                if self.roots.get(&message.name).is_none_or(|before| before.pem != roots.pem) {
                    self.roots.insert(message.name.clone(), Arc::new(roots));
                    self.trust_changed();
                }
            }
            Resource::Revocation(message) => {
                let serials: HashSet<String> = message
                    .serials
                    .iter()
                    .map(|serial| {
                        let serial = serial.trim_start_matches('0').to_ascii_lowercase();
                        match serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                            true => Ok(serial),
                            false => Err(invalid("serials", format!("{serial:?} is not hexadecimal"))),
                        }
                    })
                    .collect::<Result<_, _>>()?;
                if self.revoked.get(&message.name) != Some(&serials) {
                    self.revoked.insert(message.name.clone(), serials);
                    self.trust_changed();
                }
            }
            Resource::Identity(message) => match &message.source {
                _ if message
                    .staged
                    .as_ref()
                    .is_some_and(|staged| !(1..=ALL).contains(&staged.per_million)) =>
                {
                    return Err(invalid("staged.perMillion", format!("is from 1 to {ALL}")));
                }
                _ if message.disturbance.as_ref().is_some_and(|wanted| !disturbance::is_possible(wanted)) => {
                    return Err(invalid("disturbance", "is beyond what may be wrong on purpose"));
                }
                None => return Err(invalid("source", "one of issued and files is needed")),
                // These are got by the identity task, which calls `hold`.
                Some(v1::identity::Source::Issued(_) | v1::identity::Source::Fetched(_)) => {}
                Some(v1::identity::Source::Files(files)) => {
                    let held = identity_from_files(message, files)?;
                    self.hold(&message.name, held);
                }
            },
            Resource::ImportedCertificate(message) => {
                let imported = Imported::read(message)?;
                if self.imported.get(&message.name).is_none_or(|before| **before != imported) {
                    self.imported.insert(message.name.clone(), Arc::new(imported));
                    self.trust_changed();
                }
            }
            Resource::Tracing(message) => {
                self.tracing.insert(message.name.clone(), Arc::new(convert::tracing(message)?));
            }
            Resource::PrivateDns(message) => {
                self.private_dns.insert(message.name.clone(), Arc::new(convert::private_dns(message)?));
            }
            Resource::Limit(message) => {
                let drafts = convert::traffic::limit(message)?;
                let before = self.limiters.get(&message.name);
                let limiter = Limiter::new(drafts, before.map(|before| &**before));
                self.limiters.insert(message.name.clone(), Arc::new(limiter));
            }
            Resource::Fault(message) => {
                self.faults.insert(message.name.clone(), convert::traffic::fault(message)?);
            }
        }
        Ok(())
    }

    /// Forgets a resource. One that is not known is none to forget.
    pub(crate) fn remove(&mut self, kind: ResourceType, name: &str) {
        self.refusals.forget(kind, name);
        if self.raw.remove(&(kind, name.to_owned())).is_none() {
            return;
        }
        self.rules_may_differ(kind);
        match kind {
            ResourceType::Listener => drop(self.listeners.remove(name)),
            ResourceType::Route => {
                self.routes.remove(name);
                self.turns.remove(name);
            }
            ResourceType::Cluster => {
                self.clusters.remove(name);
                self.hops.remove(name);
                self.origins.forget(name);
                self.healths.remove(name);
                self.loads.remove(name);
            }
            ResourceType::Endpoints => drop(self.endpoints.remove(name)),
            ResourceType::Tracing => drop(self.tracing.remove(name)),
            ResourceType::PrivateDns => drop(self.private_dns.remove(name)),
            ResourceType::Authorization => drop(self.authorizations.remove(name)),
            ResourceType::Trust => {
                self.roots.remove(name);
                self.trust_changed();
            }
            ResourceType::Revocation => {
                self.revoked.remove(name);
                self.trust_changed();
            }
            ResourceType::ImportedCertificate => {
                self.imported.remove(name);
                self.trust_changed();
            }
            ResourceType::Identity if name != MESH_IDENTITY => {
                let was_held = self.identities.remove(name).is_some();
                if was_held && self.is_shown_in_the_mesh(name) {
                    self.tls_generation += 1;
                }
            }
            ResourceType::Limit => drop(self.limiters.remove(name)),
            ResourceType::Fault => drop(self.faults.remove(name)),
            ResourceType::Identity => {}
        }
    }

    /// Takes a certificate into use: new handshakes show it.
    pub(crate) fn hold(&mut self, name: &str, held: HeldIdentity) {
        let unchanged = self.identities.get(name).is_some_and(|before| before.key.cert == held.key.cert);
        self.identities.insert(name.to_owned(), held);
        if !unchanged && (name == MESH_IDENTITY || self.is_shown_in_the_mesh(name)) {
            self.tls_generation += 1;
        }
    }

    /// Has a certificate no more, until it is held anew: only where that is to be seen to break things.
    pub(crate) fn let_go(&mut self, name: &str) {
        self.identities.remove(name);
        self.tls_generation += 1;
    }

    /// Whether hops show it, in place of the proxy's own.
    fn is_shown_in_the_mesh(&self, name: &str) -> bool {
        let called = self
            .listeners
            .values()
            .any(|draft| matches!(&draft.bind, BindDraft::Inbound { identity, .. } if identity == name));
        let mut clusters = self.clusters.values();
        called
            || clusters.any(|draft| matches!(&draft.kind, ClusterKindDraft::Mesh { own, .. } if own == name))
    }

    /// The control plane refuses the proxy's own certificate: another one is needed.
    pub(crate) fn refuse_own(&mut self) {
        let own = self.identities.get(MESH_IDENTITY);
        self.refused = own.and_then(|held| held.key.cert.first()).map(|leaf| leaf.clone().into_owned());
    }

    /// Whether a certificate of the proxy's is good for nothing any more, though not at its end.
    pub(crate) fn is_refused(&self, leaf: &[u8]) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.as_ref() == leaf)
            || serial_of(leaf).is_some_and(|serial| self.trust.revoked.contains_anywhere(&serial))
    }

    /// Roots to believe in until the stream says which.
    pub(crate) fn set_bootstrap_roots(&mut self, trust_domain: &str, pem: &str) -> Result<(), TlsError> {
        if self.bootstrap_roots.get(trust_domain).is_some_and(|before| before.pem == pem) {
            return Ok(());
        }
        self.bootstrap_roots.insert(trust_domain.to_owned(), Arc::new(Roots::from_pem(pem)?));
        self.trust_changed();
        Ok(())
    }

    /// The bootstrap roots of a trust domain are newer than those that the stream gave.
    pub(crate) fn believe_bootstrap_roots(&mut self, trust_domain: &str) {
        if self.roots.remove(trust_domain).is_some() {
            self.trust_changed();
        }
    }

    fn trust_changed(&mut self) {
        let mut roots = self.bootstrap_roots.clone();
        roots.extend(self.roots.iter().map(|(domain, roots)| (domain.clone(), Arc::clone(roots))));
        let revoked = Revoked::new(self.revoked.iter().map(|(domain, list)| (domain.clone(), list.clone())));
        let imported = Arc::new(ImportedCertificates(self.imported.clone()));
        self.trust = Arc::new(TrustStore { roots, revoked: Arc::new(revoked), imported });
        self.tls_generation += 1;
    }

    /// The roots and revocations of this moment.
    pub(crate) fn trust(&self) -> &Arc<TrustStore> {
        &self.trust
    }

    /// The certificate of that name, if it is there.
    pub(crate) fn identity(&self, name: &str) -> Option<&HeldIdentity> {
        self.identities.get(name)
    }

    /// All certificates, by name.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&str, &HeldIdentity)> {
        let sorted: BTreeMap<_, _> =
            self.identities.iter().map(|(name, held)| (name.as_str(), held)).collect();
        sorted.into_iter()
    }

    /// What is held of a type: names and versions.
    pub(crate) fn versions(&self, kind: ResourceType) -> HashMap<String, String> {
        self.of_kind(kind).map(|(name, held)| (name.to_owned(), held.version.clone())).collect()
    }

    /// Everything held, as it came.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Versioned> {
        self.raw.values()
    }

    fn of_kind(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &Versioned)> {
        self.raw
            .range((kind, String::new())..)
            .take_while(move |((other, _), _)| *other == kind)
            .map(|((_, name), held)| (name.as_str(), held))
    }

    /// Names and messages of the Identity resources.
    pub(crate) fn identity_resources(&self) -> Vec<v1::Identity> {
        self.of_kind(ResourceType::Identity)
            .filter_map(|(_, held)| match &held.resource {
                Resource::Identity(identity) => Some(identity.clone()),
                _ => None,
            })
            .collect()
    }

    /// Host names of servers outside the mesh, which are to be resolved.
    pub(crate) fn host_names(&self) -> BTreeSet<Arc<str>> {
        let is_external = |draft: &ClusterDraft| matches!(draft.kind, ClusterKindDraft::External(_));
        let external = self.clusters.iter().filter(|(_, draft)| is_external(draft));
        external
            .flat_map(|(name, _)| self.endpoints.get(name).into_iter().flatten())
            .filter_map(|endpoint| match &endpoint.host {
                HostDraft::Name(name) => Some(Arc::clone(name)),
                HostDraft::Address(_) => None,
            })
            .collect()
    }

    /// What host names stand for from the next snapshot on.
    pub(crate) fn set_host_addresses(&mut self, addresses: HostAddresses) {
        self.host_addresses = addresses;
    }
}

fn identity_from_files(message: &v1::Identity, files: &v1::FileCertificate) -> Result<HeldIdentity, Invalid> {
    let read = |field: &str, path: &str| {
        std::fs::read(path).map_err(|error| invalid(field, format!("{path} cannot be read: {error}")))
    };
    let chain = read("files.certificateChain", &files.certificate_chain)?;
    let private_key = zeroize::Zeroizing::new(read("files.privateKey", &files.private_key)?);
    let key = tls::certified_key_from_pem(&chain, &private_key)
        .map_err(|error| invalid("files", error.to_string()))?;
    let id = match message.name.as_str() {
        MESH_IDENTITY => {
            let leaf = key.cert.first().ok_or_else(|| invalid("files.certificateChain", "holds none"))?;
            let peer =
                peer_identity(leaf).map_err(|fault| invalid("files.certificateChain", fault.to_string()))?;
            if !message.spiffe_id.is_empty() && message.spiffe_id != peer.id.as_str() {
                return Err(invalid("spiffeId", format!("the certificate says {}", peer.id)));
            }
            Some(peer.id)
        }
        _ => None,
    };
    Ok(HeldIdentity { key, id })
}
