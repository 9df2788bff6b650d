//! The registry as commands show it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use bowline_model::{
    arn::Arn,
    load_balancer::{GatewayAction, GatewayCondition, GatewayListener, GatewayProtocol},
    service::{Service, TlsMode},
    task::TaskId,
    task_definition::AppProtocol,
};

use crate::{
    acm::{rollover, serving},
    publish::{called, gateway},
    registry::Registry,
};

/// A name that a service's applications can call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRow {
    /// All its names.
    pub names: Vec<String>,
    /// Its port.
    pub port: u16,
    /// `HTTP`, `HTTP2`, `GRPC` or `TCP`.
    pub protocol: &'static str,
    /// The cluster on the stream that it leads to.
    pub cluster: String,
    /// Name of the service behind it.
    pub service: String,
    /// Its ARN: another cluster may have a service of that name.
    pub service_arn: Arn,
    /// The port mapping behind it.
    pub port_name: String,
    /// How the hop is protected: `MUTUAL_TLS`, `TLS` (the called side alone proves who it is) or
    /// `PLAINTEXT`.
    pub mode: &'static str,
}

/// The aliases that a service's applications can call, its own included.
pub fn aliases(registry: &Registry, service: &Service, plaintext: &BTreeSet<String>) -> Vec<AliasRow> {
    let Some(connect) = &service.connect else { return Vec::new() };
    let offered = called::offered_in(registry, &connect.namespace);
    offered
        .filter_map(|(callee, offered)| {
            let alias = offered.alias.as_ref()?;
            let definition = registry.task_definitions.get(callee.task_definition.as_str())?;
            let (_, mapping) = definition.named_port(&offered.port_name)?;
            Some(AliasRow {
                names: offered.hostnames(&connect.namespace),
                port: alias.port,
                protocol: match mapping.protocol {
                    AppProtocol::Tcp => "TCP",
                    AppProtocol::Http => "HTTP",
                    AppProtocol::Http2 => "HTTP2",
                    AppProtocol::Grpc => "GRPC",
                },
                cluster: called::cluster_name(&connect.namespace, offered),
                service: callee.name.clone(),
                service_arn: callee.arn.clone(),
                port_name: offered.port_name.clone(),
                mode: match callee.connect.as_ref().map(|connect| connect.encryption.mode) {
                    _ if plaintext.contains(&callee.name) => "PLAINTEXT",
                    Some(TlsMode::Tls) => "TLS",
                    _ => "MUTUAL_TLS",
                },
            })
        })
        .collect()
}

/// Which service is behind each cluster of the streams, by the cluster's name, for services of Service Connect.
pub fn services_behind(registry: &Registry) -> BTreeMap<String, Arc<Service>> {
    let connected =
        registry.services.values().filter_map(|service| Some((service, service.connect.as_ref()?)));
    connected
        .flat_map(|(service, connect)| {
            let name = |offered| called::cluster_name(&connect.namespace, offered);
            connect.services.iter().map(move |offered| (name(offered), Arc::clone(service)))
        })
        .collect()
}

/// SHA-256 of the certificates of Certificate Manager that a service's sidecars may show, in
/// hexadecimal.
pub fn imported_fingerprints(registry: &Registry, service: &Service) -> Vec<String> {
    let Some(arn) = serving::of_server(registry, service) else { return Vec::new() };
    let Some(row) = registry.acm_certificates.get(arn.as_str()) else { return Vec::new() };
    let earlier = row.rollover.iter().flat_map(|rollover| &rollover.earlier);
    let all = earlier.map(|it| &it.certificate_der).chain([&row.certificate_der]);
    all.map(|der| rollover::version_of(der)).collect()
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRow {
    /// Its name.
    pub name: String,
    /// `<name>.elb.localhost`.
    pub dns_name: String,
    /// Its proxy serves.
    pub ready: bool,
    /// Its listeners.
    pub listeners: Vec<GatewayListenerRow>,
}

/// A listener of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayListenerRow {
    /// The port in the template.
    pub requested_port: u16,
    /// Where it listens.
    pub address: SocketAddr,
    /// HTTPS.
    pub tls: bool,
    /// Where its rules lead.
    pub targets: Vec<TargetRow>,
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRow {
    /// A path that matches.
    pub path: String,
    /// A host that matches, where the rule asks for one.
    pub host: Option<String>,
    /// Name of the service.
    pub service: String,
}

/// All load balancers.
pub fn gateways(registry: &Registry) -> Vec<GatewayRow> {
    let settings = registry.settings();
    let balancers = registry.load_balancers.values().map(|balancer| GatewayRow {
        name: balancer.name.clone(),
        dns_name: balancer.dns_name.clone(),
        ready: registry.tasks_of_gateway(&balancer.arn).iter().any(|task| task.available()),
        listeners: gateway::listeners_of(registry, &balancer.arn)
            .filter_map(|listener| {
                Some(GatewayListenerRow {
                    requested_port: listener.port,
                    address: *settings.gateway_addresses.get(listener.arn.as_str())?,
                    tls: matches!(listener.protocol, GatewayProtocol::Https { .. }),
                    targets: targets(registry, listener),
                })
            })
            .collect(),
    });
    balancers.collect()
}

fn targets(registry: &Registry, listener: &GatewayListener) -> Vec<TargetRow> {
    let mut targets = Vec::new();
    for rule in gateway::rules_of(registry, &listener.arn) {
        let (mut path, mut host) = (None, None);
        for condition in &rule.conditions {
            match condition {
                GatewayCondition::Paths(paths) => path = paths.first().cloned(),
                GatewayCondition::Hosts(hosts) => host = hosts.first().cloned(),
                _ => {}
            }
        }
        add_targets(registry, &mut targets, &rule.action, path.as_deref(), host.as_deref());
    }
    add_targets(registry, &mut targets, &listener.default_action, None, None);
    targets
}

fn add_targets(
    registry: &Registry,
    targets: &mut Vec<TargetRow>,
    action: &GatewayAction,
    pattern: Option<&str>,
    host: Option<&str>,
) {
    let GatewayAction::Forward(groups) = action else { return };
    for (group, _) in groups {
        let checked = registry
            .target_groups
            .get(group.as_str())
            .and_then(|group| group.health_check.as_ref())
            .map(|check| check.path.clone())
            .filter(|path| !path.is_empty());
        // The health check's path is one that the application answers, where the pattern lets it be.
        let prefix = pattern.map(|pattern| pattern.split(['*', '?']).next().unwrap_or("/").to_owned());
        let path = match (prefix, checked) {
            (Some(prefix), Some(checked)) if checked.starts_with(&prefix) => checked,
            (Some(prefix), _) => prefix,
            (None, Some(checked)) => checked,
            (None, None) => "/".to_owned(),
        };
        for (service, _) in gateway::services_behind(registry, group) {
            targets.push(TargetRow {
                path: path.clone(),
                host: host.map(|host| host.replace('*', "example.com").replace('?', "x")),
                service: service.name.clone(),
            });
        }
    }
}

/// Name of the container that a command for a task as a whole runs in: the
/// first essential one.
pub fn first_container(registry: &Registry, task: &TaskId) -> Option<String> {
    let task = registry.tasks.get(task.as_str())?;
    let task_definition = task.owner.task_definition()?;
    let containers = &registry.task_definitions.get(task_definition.as_str())?.containers;
    let essential = containers.iter().find(|container| container.essential).or_else(|| containers.first());
    essential.map(|container| container.name.clone())
}
