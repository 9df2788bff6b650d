//! What each proxy should have: a pure function of the registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1,
};
use bowline_model::{
    arn::Arn,
    outlier::OutlierPolicy,
    service::{ConnectService, Service, TlsMode},
    task::TaskId,
    task_definition::{AppProtocol, PortMapping, TaskDefinition},
};
use bowline_stream::directory::{ResourceSet, VersionedResource};

pub(crate) use self::callable::Callable;
use self::scope::Scope;
use crate::{
    acm::serving,
    authorities,
    core::chaos::{address_of, is_of_cluster},
    registry::{Registry, TaskOwner, TaskRecord},
    revocation, zone,
};

mod callable;
pub(crate) mod called;
pub(crate) mod external;
pub(crate) mod gateway;
pub(crate) mod scope;
mod shift;
pub(crate) mod sidecar;
pub(crate) mod tracing;
pub(crate) mod traffic;

/// AWS's `timeout.idleTimeoutSeconds` for HTTP, HTTP/2 and gRPC.
const HTTP_IDLE_TIMEOUT_MS: u64 = 300_000;

/// AWS's `timeout.idleTimeoutSeconds` for TCP.
const TCP_IDLE_TIMEOUT_MS: u64 = 3_600_000;

/// AWS's `timeout.perRequestTimeoutSeconds`.
const REQUEST_TIMEOUT_MS: u64 = 15_000;

/// Name of the identity that every member has.
pub(crate) const MESH_IDENTITY: &str = "mesh";

/// Name of the only resource that says whom to ask for names of private namespaces.
const PRIVATE_DNS: &str = "private-dns";

/// What the publisher takes into account besides the registry.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// Names of services that are left without encryption on purpose.
    pub plaintext_services: BTreeSet<String>,
    /// How long certificates live. Seconds.
    pub certificate_ttl_seconds: u64,
    /// Where the DNS server of private namespaces listens, if there is one.
    pub private_dns: Option<SocketAddr>,
    /// PEM of every root of the trust bundle.
    pub roots_pem: String,
    /// The identifier of the key that signs for each line of authorities.
    pub signing_keys: BTreeMap<Arn, String>,
    /// Endpoints that stand in for a cluster's at one task's proxy.
    pub diversions: BTreeMap<(TaskId, String), SocketAddr>,
    /// What is faulty on purpose, at the proxy that is published for.
    pub faults: PublishedFaults,
}

/// What a proxy is told of faults that are in force on purpose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishedFaults {
    /// A certificate that it shows in place of its own.
    pub staged: Option<v1::StagedCertificate>,
    /// What is wrong with it.
    pub disturbance: Option<v1::Disturbance>,
    /// Whether all that it is sent is unusable.
    pub garbage: bool,
    /// A word by which it asks for another certificate at once; empty: none.
    pub renewal: String,
    /// Where it goes in place of endpoints, by cluster and true address; each with its end, in milliseconds since
    /// 1970.
    pub diversions: BTreeMap<(String, SocketAddr), (SocketAddr, u64)>,
}

/// What the proxy of `task` should have; `None` when there is nothing to serve
/// it with any more.
pub fn resources(registry: &Registry, options: &PublishOptions, task: &TaskRecord) -> Option<ResourceSet> {
    let mut set = own(registry, options, task)?;
    if let Scope::Namespace(namespace) = Scope::of(registry, task) {
        set.add(&callable(registry, options, task, &namespace));
    }
    Some(set)
}

/// What of that does not follow from [`Registry::tasks`]; of a gateway, all of it.
pub(crate) fn own(registry: &Registry, options: &PublishOptions, task: &TaskRecord) -> Option<ResourceSet> {
    let mut resources = common(registry, options, task)?;
    match &task.owner {
        TaskOwner::Service { service, task_definition, .. } => {
            let service = registry.services.get(service.as_str())?;
            let definition = registry.task_definitions.get(task_definition.as_str())?;
            resources.extend(private_dns(registry, options));
            resources.extend(sidecar::own(registry, options, task, service, definition));
        }
        TaskOwner::Standalone(_) => resources.extend(private_dns(registry, options)),
        TaskOwner::Gateway { load_balancer } => {
            let balancer = registry.load_balancers.get(load_balancer.as_str())?;
            resources.extend(gateway::resources(registry, options, task, balancer));
        }
    }
    options.faults.divert(&mut resources);
    Some(resources.into_iter().map(versioned).collect())
}

/// What members of a namespace can call: the same for all of them where [`scope::is_called_alike`] and none has
/// something of its own.
pub(crate) fn callable(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    namespace: &str,
) -> ResourceSet {
    let mut resources = sidecar::callable(registry, options, task, namespace);
    options.faults.divert(&mut resources);
    resources.into_iter().map(versioned).collect()
}

impl PublishedFaults {
    fn divert(&self, resources: &mut [Resource]) {
        if self.diversions.is_empty() {
            return;
        }
        for resource in resources {
            let Resource::Endpoints(endpoints) = resource else { continue };
            for endpoint in &mut endpoints.endpoints {
                let Some(address) = address_of(endpoint) else { continue };
                let led = self
                    .diversions
                    .iter()
                    .find(|((cluster, from), _)| *from == address && is_of_cluster(&endpoints.name, cluster));
                if let Some((_, (to, until))) = led {
                    endpoint.diverted_to = to.to_string();
                    endpoint.diverted_until_unix_ms = *until;
                }
            }
        }
    }
}

fn common(registry: &Registry, options: &PublishOptions, task: &TaskRecord) -> Option<Vec<Resource>> {
    let trust_domain = registry.settings().trust_domain.clone();
    let identity = registry.identity_of(task)?;
    let mut source = issued(registry, options, named_authority(registry, task), false);
    if let v1::identity::Source::Issued(issued) = &mut source {
        issued.renewal.clone_from(&options.faults.renewal);
    }
    let resources = [
        Resource::Identity(v1::Identity {
            name: MESH_IDENTITY.into(),
            spiffe_id: identity.as_str().to_owned(),
            dns_names: Vec::new(),
            source: Some(source),
            staged: options.faults.staged.clone(),
            disturbance: options.faults.disturbance.clone(),
        }),
        Resource::Trust(v1::Trust { name: trust_domain, roots_pem: options.roots_pem.clone() }),
        revocation(registry),
        tracing::resource(registry),
    ];
    let believed = serving::believed(registry).into_iter().map(Resource::ImportedCertificate);
    Some(resources.into_iter().chain(believed).collect())
}

/// The authority that a task's service names for its identity; without one it is the mesh's own.
pub(crate) fn named_authority<'a>(registry: &'a Registry, task: &TaskRecord) -> Option<&'a Arn> {
    let connect = registry.service_of(task)?.connect.as_ref()?;
    connect.services.iter().find_map(|offered| offered.authority.as_ref())
}

/// Where a certificate comes from that is asked for, and by which key it is to be signed at present.
pub(crate) fn issued(
    registry: &Registry,
    options: &PublishOptions,
    authority: Option<&Arn>,
    public: bool,
) -> v1::identity::Source {
    let line = match authority {
        Some(authority) => authorities::line_of(registry, authority),
        None => authorities::own_line(&registry.settings().scope, public),
    };
    let ttl = Duration::from_secs(options.certificate_ttl_seconds);
    v1::identity::Source::Issued(v1::IssuedCertificate {
        ttl_seconds: options.certificate_ttl_seconds,
        authority_key_id: options.signing_keys.get(&line).cloned().unwrap_or_default(),
        reissue_seconds: reissue_within(ttl).as_secs(),
        renewal: String::new(),
    })
}

/// Within how long a certificate is replaced that another authority signed than signs now: a twentieth
/// of its life, and a minute at most. A thousand proxies are then 17 a second.
fn reissue_within(ttl: Duration) -> Duration {
    (ttl / 20).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// The serial numbers that members refuse of the trust domain's certificates.
fn revocation(registry: &Registry) -> Resource {
    Resource::Revocation(v1::Revocation {
        name: registry.settings().trust_domain.clone(),
        serials: revocation::refused_serials(registry),
    })
}

/// What of every proxy's resources follows from [`Registry::revocations`], and nothing else does.
pub(crate) fn of_revocations(registry: &Registry) -> ((ResourceType, String), VersionedResource) {
    versioned(revocation(registry))
}

/// Whom sidecars ask for which names.
fn private_dns(registry: &Registry, options: &PublishOptions) -> Option<Resource> {
    let server = options.private_dns?;
    let namespaces = registry.namespaces.values().filter(|namespace| namespace.private_dns);
    let zones: Vec<_> = namespaces.map(|namespace| namespace.name.to_ascii_lowercase()).collect();
    (!zones.is_empty()).then(|| {
        let name = PRIVATE_DNS.into();
        Resource::PrivateDns(v1::PrivateDns { name, server: server.to_string(), zones })
    })
}

fn versioned(resource: Resource) -> ((ResourceType, String), VersionedResource) {
    let encoded = resource.encode();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &encoded);
    let version: String = digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let key = (resource.kind(), resource.name().to_owned());
    (
        key,
        VersionedResource {
            version: version.into(),
            resource: Arc::new(resource),
            encoded: Arc::new(encoded),
        },
    )
}

/// A port of a service that members or gateways can call.
#[derive(Clone, Debug)]
pub(crate) struct ServicePort<'a> {
    /// The port's name among the service's inbound sockets.
    pub(crate) name: String,
    /// The mapping in the task definition.
    pub(crate) mapping: &'a PortMapping,
    /// What Service Connect says of it; `None` for a port that only a gateway calls.
    pub(crate) offered: Option<&'a ConnectService>,
    /// Target groups whose gateways may call it.
    pub(crate) target_groups: Vec<&'a Arn>,
}

/// The ports of a service's tasks that a sidecar accepts traffic for: what
/// Service Connect offers, and what target groups send to.
pub(crate) fn service_ports<'a>(
    service: &'a Service,
    definition: &'a TaskDefinition,
) -> Vec<ServicePort<'a>> {
    let mut ports: Vec<ServicePort<'a>> = Vec::new();
    for offered in service.connect.iter().flat_map(|connect| &connect.services) {
        if let Some((_, mapping)) = definition.named_port(&offered.port_name) {
            let name = offered.port_name.clone();
            ports.push(ServicePort { name, mapping, offered: Some(offered), target_groups: Vec::new() });
        }
    }
    for binding in &service.targets {
        let Some(mapping) = definition.port(&binding.container, binding.container_port) else { continue };
        match ports.iter_mut().find(|port| port.mapping.container_port == mapping.container_port) {
            Some(port) => port.target_groups.push(&binding.target_group),
            None => ports.push(ServicePort {
                name: format!("target-{}", mapping.container_port),
                mapping,
                offered: None,
                target_groups: vec![&binding.target_group],
            }),
        }
    }
    ports
}

/// How the hop to a service's port is protected.
pub(crate) fn tls_mode(options: &PublishOptions, service: &Service) -> v1::TlsMode {
    if options.plaintext_services.contains(&service.name) {
        return v1::TlsMode::Plaintext;
    }
    match service.connect.as_ref().map(|connect| connect.encryption.mode).unwrap_or_default() {
        TlsMode::Tls => v1::TlsMode::ServerOnly,
        TlsMode::MutualTls => v1::TlsMode::Mutual,
    }
}

/// Whether callers of a service's ports prove who they are.
pub(crate) fn proves_callers(options: &PublishOptions, service: &Service) -> bool {
    tls_mode(options, service) == v1::TlsMode::Mutual
}

pub(crate) fn protocol(protocol: AppProtocol) -> v1::Protocol {
    match protocol {
        AppProtocol::Tcp => v1::Protocol::Tcp,
        AppProtocol::Http => v1::Protocol::Http,
        AppProtocol::Http2 => v1::Protocol::Http2,
        AppProtocol::Grpc => v1::Protocol::Grpc,
    }
}

/// The endpoints that a service's tasks have for a port: those that serve, the
/// ones on their way out marked as draining.
pub(crate) fn endpoints(registry: &Registry, service: &Service, port_name: &str) -> Vec<v1::Endpoint> {
    let mut endpoints = Vec::new();
    for task in registry.tasks_of_service(&service.arn) {
        let Some(report) = task.report.as_ref().filter(|_| task.serves()) else { continue };
        for socket in report.inbound.iter().filter(|socket| socket.port_name == port_name) {
            endpoints.push(v1::Endpoint {
                address: socket.address.ip().to_string(),
                port: u32::from(socket.address.port()),
                weight: 1,
                task_id: task.id.as_str().to_owned(),
                zone: zone::of_task(registry, &task),
                draining: task.is_ending(),
                ..v1::Endpoint::default()
            });
        }
    }
    endpoints
}

/// The cluster and endpoints of a service's port, for `caller`, or for who calls as itself alone.
pub(crate) fn upstream(
    registry: &Registry,
    options: &PublishOptions,
    caller: Option<&Service>,
    service: &Service,
    port: &ServicePort<'_>,
    name: &str,
    health_check: Option<v1::HealthCheck>,
) -> [Resource; 2] {
    let cluster = v1::Cluster {
        name: name.to_owned(),
        protocol: protocol(port.mapping.protocol).into(),
        kind: Some(v1::cluster::Kind::Mesh(v1::MeshUpstream {
            tls: tls_mode(options, service).into(),
            identities: vec![registry.identity_of_service(service).as_str().to_owned()],
            identity: caller
                .and_then(|caller| serving::of_client(registry, caller, service))
                .map(|arn| serving::identity_name(arn.as_str()))
                .unwrap_or_default(),
        })),
        connect_timeout_ms: 0,
        outlier_detection: Some(outlier_detection()),
        max_connections: 0,
        max_pending: 0,
        discovery_name: port
            .offered
            .map_or_else(|| service.name.clone(), |offered| offered.discovery_name.clone()),
        health_check,
        ..v1::Cluster::default()
    };
    let endpoints =
        v1::Endpoints { name: name.to_owned(), endpoints: endpoints(registry, service, &port.name) };
    [Resource::Cluster(cluster), Resource::Endpoints(endpoints)]
}

/// What AWS documents: five failures in 30 s, avoided for 30 to 300 s.
fn outlier_detection() -> v1::OutlierDetection {
    traffic::outlier_detection(&OutlierPolicy::default())
}

/// AWS's two retries, on another endpoint.
pub(crate) fn retry_policy() -> v1::RetryPolicy {
    let conditions = ["connect-failure", "refused-stream", "reset", "unavailable"];
    v1::RetryPolicy {
        max_retries: 2,
        per_try_timeout_ms: 0,
        retry_on: conditions.into_iter().map(str::to_owned).collect(),
        ..v1::RetryPolicy::default()
    }
}

pub(crate) fn request_timeout_ms(offered: Option<&ConnectService>) -> u64 {
    millis(offered.and_then(|offered| offered.request_timeout), REQUEST_TIMEOUT_MS)
}

pub(crate) fn idle_timeout_ms(offered: Option<&ConnectService>, protocol: AppProtocol) -> u64 {
    let default = if protocol == AppProtocol::Tcp { TCP_IDLE_TIMEOUT_MS } else { HTTP_IDLE_TIMEOUT_MS };
    millis(offered.and_then(|offered| offered.idle_timeout), default)
}

fn millis(given: Option<std::time::Duration>, default: u64) -> u64 {
    given.map_or(default, traffic::millis_of)
}

/// A rule that sends everything to one cluster.
pub(crate) fn forward(
    cluster: &str,
    request_timeout_ms: u64,
    retry: Option<v1::RetryPolicy>,
) -> v1::RouteRule {
    v1::RouteRule {
        r#match: None,
        action: Some(v1::route_rule::Action::Forward(v1::Forward {
            clusters: vec![v1::WeightedCluster { cluster: cluster.to_owned(), weight: 1 }],
            request_timeout_ms,
            retry,
            sticky: Vec::new(),
            fault: String::new(),
        })),
    }
}
