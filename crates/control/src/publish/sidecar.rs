//! What a task's sidecar should have.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    identity::SpiffeId,
    service::{ConnectService, Service},
    task_definition::{AppProtocol, TaskDefinition},
};

use super::{
    PublishOptions, ServicePort, forward, idle_timeout_ms, protocol, request_timeout_ms, retry_policy,
    service_ports, tls_mode, upstream,
};
use crate::registry::{Registry, TaskRecord, alias_key};

pub(super) fn resources(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    service: &Service,
    definition: &TaskDefinition,
) -> Vec<Resource> {
    let mut resources = Vec::new();
    for port in service_ports(service, definition) {
        resources.extend(inbound(registry, options, service, &port));
    }
    if let Some(connect) = &service.connect {
        resources.extend(callable(registry, options, task, &connect.namespace));
    }
    resources
}

/// What a member of a namespace can call.
pub(super) fn callable(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    namespace: &str,
) -> Vec<Resource> {
    offered_in(registry, namespace)
        .flat_map(|(callee, offered)| outbound(registry, options, task, namespace, callee, offered))
        .chain(super::external::callable(registry, namespace))
        .collect()
}

/// A port of the task's own: listener, the application behind it, who may call.
fn inbound(
    registry: &Registry,
    options: &PublishOptions,
    service: &Service,
    port: &ServicePort<'_>,
) -> Vec<Resource> {
    let name = format!("inbound:{}", port.name);
    let app = port.mapping.protocol;
    let is_tcp = app == AppProtocol::Tcp;
    let listener = v1::Listener {
        name: name.clone(),
        bind: Some(v1::listener::Bind::Inbound(v1::InboundBind {
            port_name: port.name.clone(),
            address: String::new(),
            port: 0,
            tls: tls_mode(options, service).into(),
            authorization: name.clone(),
        })),
        protocol: protocol(app).into(),
        route: if is_tcp { String::new() } else { name.clone() },
        cluster: if is_tcp { name.clone() } else { String::new() },
        idle_timeout_ms: idle_timeout_ms(port.offered, app),
        max_connections: 0,
    };
    let cluster = v1::Cluster {
        name: name.clone(),
        protocol: protocol(app).into(),
        kind: Some(v1::cluster::Kind::Local(v1::LocalApplication {
            port: u32::from(port.mapping.container_port),
            address: String::new(),
            container: String::new(),
        })),
        discovery_name: port
            .offered
            .map_or_else(|| service.name.clone(), |offered| offered.discovery_name.clone()),
        ..v1::Cluster::default()
    };
    let mut resources = vec![
        Resource::Listener(listener),
        Resource::Cluster(cluster),
        Resource::Authorization(authorization(registry, service, port, &name)),
    ];
    if !is_tcp {
        // The caller's sidecar limits the time and decides on retries.
        resources
            .push(Resource::Route(v1::Route { name: name.clone(), rules: vec![forward(&name, 0, None)] }));
    }
    resources
}

/// Members of the namespace may call what Service Connect offers; a gateway
/// what its target groups send to; nobody else anything.
fn authorization(
    registry: &Registry,
    service: &Service,
    port: &ServicePort<'_>,
    name: &str,
) -> v1::Authorization {
    let trust_domain = registry.settings().trust_domain.clone();
    let mut rules = Vec::new();
    if let (Some(connect), true) = (&service.connect, port.offered.is_some()) {
        let member = SpiffeId::of_service(&trust_domain, &connect.namespace, "c", "s");
        let prefix = member.as_str().split("/cluster/").next().unwrap_or_default();
        rules.push(allow(format!("members of {}", connect.namespace), vec![format!("{prefix}/*")]));
    }
    let gateways = super::gateway::callers(registry, &port.target_groups);
    if !gateways.is_empty() {
        let identities = gateways.iter().map(|name| SpiffeId::of_gateway(&trust_domain, name).to_string());
        rules.push(allow("gateways of its target groups".into(), identities.collect()));
    }
    v1::Authorization { name: name.to_owned(), rules }
}

fn allow(name: String, identities: Vec<String>) -> v1::AuthorizationRule {
    v1::AuthorizationRule {
        name,
        effect: v1::AuthorizationEffect::Allow.into(),
        identities,
        methods: Vec::new(),
        paths: Vec::new(),
    }
}

/// Everything that services of a namespace offer.
pub(crate) fn offered_in<'a>(
    registry: &'a Registry,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Service, &'a ConnectService)> {
    registry.services.values().flat_map(move |service| {
        let connect = service.connect.as_ref().filter(|connect| connect.namespace == namespace);
        connect.into_iter().flat_map(|connect| &connect.services).map(move |offered| (&**service, offered))
    })
}

/// Name of the cluster on the stream that a discovery name stands for.
pub(crate) fn cluster_name(namespace: &str, offered: &ConnectService) -> String {
    format!("{}.{namespace}", offered.discovery_name)
}

/// An alias of the namespace: listener, route, cluster, endpoints.
fn outbound(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    namespace: &str,
    callee: &Service,
    offered: &ConnectService,
) -> Vec<Resource> {
    let Some(alias) = &offered.alias else { return Vec::new() };
    let Some(definition) = registry.task_definitions.get(callee.task_definition.as_str()) else {
        return Vec::new();
    };
    let ports = service_ports(callee, definition);
    let Some(port) = ports.iter().find(|port| port.name == offered.port_name) else { return Vec::new() };
    let hostnames = offered.hostnames(namespace);
    let Some(address) = registry.settings().aliases.get(&alias_key(namespace, &hostnames)) else {
        return Vec::new();
    };
    let app = port.mapping.protocol;
    let is_tcp = app == AppProtocol::Tcp;
    let cluster = cluster_name(namespace, offered);
    let name = format!("outbound:{}:{}", hostnames[0], alias.port);
    let listener = v1::Listener {
        name: name.clone(),
        bind: Some(v1::listener::Bind::Outbound(v1::OutboundBind {
            address: address.to_string(),
            port: u32::from(alias.port),
            hostnames,
        })),
        protocol: protocol(app).into(),
        route: if is_tcp { String::new() } else { name.clone() },
        cluster: if is_tcp { cluster.clone() } else { String::new() },
        idle_timeout_ms: idle_timeout_ms(Some(offered), app),
        max_connections: 0,
    };
    let mut resources = vec![Resource::Listener(listener)];
    if !is_tcp {
        let rule = forward(&cluster, request_timeout_ms(Some(offered)), Some(retry_policy()));
        resources.push(Resource::Route(v1::Route { name, rules: vec![rule] }));
    }
    let mut upstream = upstream(registry, options, callee, port, &cluster, None);
    if let (Some(to), Resource::Endpoints(endpoints)) =
        (options.diversions.get(&(task.id.clone(), cluster.clone())), &mut upstream[1])
    {
        endpoints.endpoints = vec![v1::Endpoint {
            address: to.ip().to_string(),
            port: u32::from(to.port()),
            weight: 1,
            task_id: "diverted".into(),
            ..v1::Endpoint::default()
        }];
    }
    resources.extend(upstream);
    resources
}
