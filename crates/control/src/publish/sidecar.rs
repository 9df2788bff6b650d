//! What a task's sidecar should have.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    arn::Arn,
    authorization::{Callers, Effect, Rule},
    service::{ConnectService, Service},
    task_definition::{AppProtocol, TaskDefinition},
};

use super::{
    PublishOptions, ServicePort,
    called::{self, cluster_name},
    forward, idle_timeout_ms, protocol, proves_callers, request_timeout_ms, retry_policy, service_ports,
    shift, tls_mode,
    traffic::{self, Traffic},
};
use crate::{
    acm::serving,
    authorization,
    registry::{Registry, TaskOwner, TaskRecord, alias_key},
};

/// What it has of its own service: its ports, and the certificates that it shows.
pub(super) fn own(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    service: &Service,
    definition: &TaskDefinition,
) -> Vec<Resource> {
    let mut resources = Vec::new();
    // Tasks from before the service named a certificate go on with the mesh's: their peers learn of
    // it while those that replace them start.
    let is_present =
        matches!(&task.owner, TaskOwner::Service { deployment, .. } if *deployment == service.deployment);
    let shown = serving::of_server(registry, service).filter(|_| is_present);
    for port in service_ports(service, definition) {
        resources.extend(inbound(registry, options, service, shown, &port));
    }
    let held = serving::held_by(registry, service, shown);
    resources.extend(held.iter().filter_map(|arn| serving::identity(registry, arn)).map(Resource::Identity));
    resources
}

/// What a member of a namespace can call.
pub(super) fn callable(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    namespace: &str,
) -> Vec<Resource> {
    called::offered_in(registry, namespace)
        .flat_map(|(callee, offered)| outbound(registry, options, task, namespace, callee, offered))
        .chain(super::external::callable(registry, namespace))
        .collect()
}

/// A port of the task's own: listener, the application behind it, who may call.
fn inbound(
    registry: &Registry,
    options: &PublishOptions,
    service: &Service,
    shown: Option<&Arn>,
    port: &ServicePort<'_>,
) -> Vec<Resource> {
    let name = format!("inbound:{}", port.name);
    let app = port.mapping.protocol;
    let is_tcp = app == AppProtocol::Tcp;
    let policy = service.connect.as_ref().zip(port.offered).and_then(|(connect, offered)| {
        traffic::policy_of(registry, &connect.namespace, &offered.discovery_name)
    });
    let traffic = Traffic { policy, protocol: app };
    let mut listener = v1::Listener {
        name: name.clone(),
        bind: Some(v1::listener::Bind::Inbound(v1::InboundBind {
            port_name: port.name.clone(),
            address: String::new(),
            port: 0,
            tls: tls_mode(options, service).into(),
            identity: shown.map(|arn| serving::identity_name(arn.as_str())).unwrap_or_default(),
            authorization: name.clone(),
        })),
        protocol: protocol(app).into(),
        route: if is_tcp { String::new() } else { name.clone() },
        cluster: if is_tcp { name.clone() } else { String::new() },
        idle_timeout_ms: idle_timeout_ms(port.offered, app),
        max_connections: 0,
    };
    traffic.listener(&mut listener);
    let mut cluster = v1::Cluster {
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
    traffic.limits(&mut cluster);
    let mut resources = vec![
        Resource::Listener(listener),
        Resource::Cluster(cluster),
        Resource::Authorization(authorization(registry, options, service, port, &name)),
    ];
    resources.extend(traffic.limits_of_requests(&name));
    if !is_tcp {
        // The caller's sidecar limits the time and decides on retries.
        resources
            .push(Resource::Route(v1::Route { name: name.clone(), rules: vec![forward(&name, 0, None)] }));
    }
    resources
}

/// The rules of a port, as policies and the defaults have them.
fn authorization(
    registry: &Registry,
    options: &PublishOptions,
    service: &Service,
    port: &ServicePort<'_>,
    name: &str,
) -> v1::Authorization {
    let proves_callers = proves_callers(options, service);
    let rules = authorization::rules_of(registry, service, port, proves_callers);
    v1::Authorization { name: name.to_owned(), rules: rules.iter().map(authorization_rule).collect() }
}

fn authorization_rule(rule: &Rule) -> v1::AuthorizationRule {
    let effect = match rule.effect {
        Effect::Allow => v1::AuthorizationEffect::Allow,
        Effect::Deny => v1::AuthorizationEffect::Deny,
        Effect::Audit => v1::AuthorizationEffect::Audit,
    };
    let identities = match &rule.callers {
        Callers::Anyone => Vec::new(),
        Callers::Of(patterns) => patterns.iter().map(ToString::to_string).collect(),
    };
    v1::AuthorizationRule {
        name: rule.name.clone(),
        effect: effect.into(),
        identities,
        methods: rule.methods.clone(),
        paths: rule.paths.iter().map(ToString::to_string).collect(),
        source_cidrs: rule.sources.iter().map(ToString::to_string).collect(),
        any_caller: rule.callers == Callers::Anyone,
    }
}

/// An alias of the namespace: listener, route, cluster, endpoints.
pub(super) fn outbound(
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
    let traffic = Traffic::of(registry, namespace, &offered.discovery_name, app);
    let name = format!("outbound:{}:{}", hostnames[0], alias.port);
    let mut listener = v1::Listener {
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
    traffic.listener(&mut listener);
    let mut resources = vec![Resource::Listener(listener)];
    let (own, split) = called::called(registry, options, task, namespace, callee, offered, port);
    if !is_tcp {
        let mut rule = forward(&cluster, request_timeout_ms(Some(offered)), Some(retry_policy()));
        traffic.rule(&mut rule);
        resources.extend(traffic.faults(&name));
        let mut rules = traffic.routes(namespace, &rule);
        rules.push(rule);
        let mut others = Vec::new();
        for target in traffic.targets().filter(|target| **target != offered.discovery_name) {
            let Some((callee, offered, port)) = called::offering(registry, namespace, target) else {
                continue;
            };
            let (its, split) = called::called(registry, options, task, namespace, callee, offered, &port);
            resources.extend(its);
            others.extend(split);
        }
        let header = offered.test_header.as_ref();
        let rules = rules.into_iter().flat_map(|rule| shift::rules(rule, split.as_ref(), &others, header));
        resources.push(Resource::Route(v1::Route { name, rules: rules.collect() }));
    }
    resources.extend(own);
    resources
}
