//! What a load balancer's gateway should have.

use std::{collections::BTreeSet, time::Duration};

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    arn::Arn,
    load_balancer::{
        GatewayAction, GatewayCondition, GatewayListener, GatewayProtocol, GatewayRule, LoadBalancer,
        TargetGroup,
    },
    rollout::shift::Share,
    service::Service,
    task_definition::AppProtocol,
};

use super::{
    PublishOptions, forward, issued, retry_policy, service_ports,
    shift::{self, Split},
    upstream,
};
use crate::{acm::serving, registry::Registry};

/// The ALB's idle timeout is 60 s; clients may keep a connection so long.
const CLIENT_IDLE_TIMEOUT_MS: u64 = 60_000;

/// An ALB gives a target its idle timeout to answer.
const TARGET_TIMEOUT_MS: u64 = 60_000;

/// Name of the identity that a load balancer shows to its clients.
pub(crate) fn public_identity(balancer: &LoadBalancer) -> String {
    format!("public:{}", balancer.name)
}

pub(super) fn resources(
    registry: &Registry,
    options: &PublishOptions,
    balancer: &LoadBalancer,
) -> Vec<Resource> {
    let mut resources = vec![Resource::Identity(v1::Identity {
        name: public_identity(balancer),
        spiffe_id: String::new(),
        dns_names: vec![balancer.dns_name.clone()],
        source: Some(issued(registry, options, None, true)),
    })];
    let mut used = BTreeSet::new();
    let shown: BTreeSet<&String> =
        listeners_of(registry, &balancer.arn).flat_map(|listener| &listener.certificates).collect();
    resources.extend(shown.iter().filter_map(|arn| serving::identity(registry, arn)).map(Resource::Identity));
    for listener in listeners_of(registry, &balancer.arn) {
        resources.extend(listener_resources(registry, options, balancer, listener, &mut used));
    }
    for group in used {
        resources.extend(target_group(registry, options, &group).resources);
    }
    resources
}

/// The listeners of a load balancer.
pub(crate) fn listeners_of<'a>(
    registry: &'a Registry,
    balancer: &'a Arn,
) -> impl Iterator<Item = &'a GatewayListener> {
    registry
        .listeners
        .values()
        .map(|listener| &**listener)
        .filter(move |listener| &listener.load_balancer == balancer)
}

/// The rules of a listener in the order in which they are asked.
pub(crate) fn rules_of<'a>(registry: &'a Registry, listener: &Arn) -> Vec<&'a GatewayRule> {
    let mut rules: Vec<_> =
        registry.rules.values().map(|rule| &**rule).filter(|rule| &rule.listener == listener).collect();
    rules.sort_by_key(|rule| rule.priority);
    rules
}

/// Names of the load balancers whose rules lead to one of these target groups.
pub(crate) fn callers(registry: &Registry, groups: &[&Arn]) -> BTreeSet<String> {
    let leads_there = |action: &GatewayAction| match action {
        GatewayAction::Forward(targets) => {
            targets.iter().any(|(target, _)| groups.contains(&bound(registry, target)))
        }
        GatewayAction::Redirect { .. } | GatewayAction::FixedResponse { .. } => false,
    };
    registry
        .listeners
        .values()
        .filter(|listener| {
            leads_there(&listener.default_action)
                || rules_of(registry, &listener.arn).iter().any(|rule| leads_there(&rule.action))
        })
        .filter_map(|listener| {
            Some(registry.load_balancers.get(listener.load_balancer.as_str())?.name.clone())
        })
        .collect()
}

/// The target group that a service's tasks are targets of, where this one is its
/// `alternateTargetGroupArn`: here both are the same tasks, and shares are not made by groups.
fn bound<'a>(registry: &'a Registry, group: &'a Arn) -> &'a Arn {
    let bindings = registry.services.values().flat_map(|service| &service.targets);
    let mut alternates = bindings.filter(|binding| binding.alternate.as_ref() == Some(group));
    alternates.next().map_or(group, |binding| &binding.target_group)
}

/// Whether what a rule or a listener forwards to a target group is a service's test traffic.
fn is_test_rule(registry: &Registry, rule: &Arn, group: &Arn) -> bool {
    let mut bindings = registry.services.values().flat_map(|service| &service.targets);
    bindings.any(|binding| binding.test_rule.as_ref() == Some(rule) && binding.target_group == *group)
}

/// The services behind a target group, each with the name of the port that it
/// sends to.
pub(crate) fn services_behind<'a>(registry: &'a Registry, group: &Arn) -> Vec<(&'a Service, String)> {
    let mut behind = Vec::new();
    for service in registry.services.values() {
        let Some(definition) = registry.task_definitions.get(service.task_definition.as_str()) else {
            continue;
        };
        for port in service_ports(service, definition) {
            if port.target_groups.contains(&group) {
                behind.push((&**service, port.name.clone()));
            }
        }
    }
    behind
}

fn listener_resources(
    registry: &Registry,
    options: &PublishOptions,
    balancer: &LoadBalancer,
    listener: &GatewayListener,
    used: &mut BTreeSet<Arn>,
) -> Vec<Resource> {
    let settings = registry.settings();
    let Some(address) = settings.gateway_addresses.get(listener.arn.as_str()) else { return Vec::new() };
    let name = format!("public:{}:{}", balancer.name, listener.port);
    let tls = match listener.protocol {
        GatewayProtocol::Https { tls13_only } => {
            // Its own certificate is for who asks for its own name, or where the listener's are not here.
            let present = listener.certificates.iter().filter_map(|arn| serving::identity(registry, arn));
            let mut shown = present.map(|identity| identity.name).chain([public_identity(balancer)]);
            Some(v1::PublicTls {
                identity: shown.next().unwrap_or_default(),
                more_identities: shown.collect(),
                min_version: if tls13_only { "1.3" } else { "1.2" }.into(),
            })
        }
        GatewayProtocol::Http | GatewayProtocol::Tcp => None,
    };
    let is_tcp = listener.protocol == GatewayProtocol::Tcp;
    let mut resources = vec![Resource::Listener(v1::Listener {
        name: name.clone(),
        bind: Some(v1::listener::Bind::Public(v1::PublicBind {
            address: address.ip().to_string(),
            port: u32::from(address.port()),
            tls,
        })),
        protocol: if is_tcp { v1::Protocol::Tcp } else { v1::Protocol::Http }.into(),
        route: if is_tcp { String::new() } else { name.clone() },
        cluster: match (&listener.default_action, is_tcp) {
            (GatewayAction::Forward(targets), true) => {
                let group = targets.first().map(|(group, _)| bound(registry, group));
                used.extend(group.cloned());
                group.map(target_cluster).unwrap_or_default()
            }
            _ => String::new(),
        },
        idle_timeout_ms: CLIENT_IDLE_TIMEOUT_MS,
        max_connections: 0,
    })];
    if is_tcp {
        return resources;
    }
    let mut rules = Vec::new();
    for rule in rules_of(registry, &listener.arn) {
        let mut matched = action(registry, options, listener, &rule.arn, &rule.action, used);
        matched.r#match = Some(conditions(&rule.conditions));
        rules.push(matched);
    }
    rules.push(action(registry, options, listener, &listener.arn, &listener.default_action, used));
    resources.push(Resource::Route(v1::Route { name, rules }));
    resources
}

/// Each target group is a cluster of its own, by its ARN's last part.
fn target_cluster(group: &Arn) -> String {
    format!("target-group:{}", group.resource())
}

fn action(
    registry: &Registry,
    options: &PublishOptions,
    listener: &GatewayListener,
    rule: &Arn,
    action: &GatewayAction,
    used: &mut BTreeSet<Arn>,
) -> v1::RouteRule {
    match action {
        GatewayAction::Forward(targets) => {
            let mut forwarding = forward("", TARGET_TIMEOUT_MS, Some(retry_policy()));
            if let Some(v1::route_rule::Action::Forward(forward)) = &mut forwarding.action {
                forward.clusters.clear();
                for (group, weight) in targets {
                    let group = bound(registry, group);
                    used.insert(group.clone());
                    let is_test = is_test_rule(registry, rule, group);
                    let target = target_group(registry, options, group);
                    forward.clusters.extend(target.weighted(*weight, is_test));
                }
            }
            forwarding
        }
        GatewayAction::Redirect { protocol, host, port, path, query, status } => v1::RouteRule {
            r#match: None,
            action: Some(v1::route_rule::Action::Redirect(v1::Redirect {
                protocol: protocol.clone(),
                host: host.clone(),
                port: real_port(registry, listener, port),
                path: path.clone(),
                query: query.clone(),
                status: u32::from(*status),
            })),
        },
        GatewayAction::FixedResponse { status, content_type, body } => v1::RouteRule {
            r#match: None,
            action: Some(v1::route_rule::Action::FixedResponse(v1::FixedResponse {
                status: u32::from(*status),
                content_type: content_type.clone(),
                body: body.clone(),
            })),
        },
    }
}

/// A redirect to a port of the same load balancer leads to where that port
/// really listens.
fn real_port(registry: &Registry, from: &GatewayListener, port: &str) -> String {
    let settings = registry.settings();
    let target = port
        .parse::<u16>()
        .ok()
        .and_then(|port| listeners_of(registry, &from.load_balancer).find(|listener| listener.port == port));
    match target.and_then(|listener| settings.gateway_addresses.get(listener.arn.as_str())) {
        Some(address) => address.port().to_string(),
        None => port.to_owned(),
    }
}

fn exactly(name: String, value: &str) -> v1::HeaderMatch {
    v1::HeaderMatch { name, exact: value.to_owned(), ..v1::HeaderMatch::default() }
}

fn conditions(conditions: &[GatewayCondition]) -> v1::RouteMatch {
    let mut matched = v1::RouteMatch::default();
    for condition in conditions {
        match condition {
            GatewayCondition::Hosts(hosts) => matched.hosts.extend(hosts.iter().cloned()),
            GatewayCondition::Paths(paths) => matched.paths.extend(paths.iter().cloned()),
            GatewayCondition::Methods(methods) => matched.methods.extend(methods.iter().cloned()),
            GatewayCondition::Header { name, value } => {
                matched.headers.push(exactly(name.to_ascii_lowercase(), value));
            }
            GatewayCondition::Query { name, value } => matched.query.push(exactly(name.clone(), value)),
        }
    }
    matched
}

/// A target group on the stream.
struct TargetCluster {
    name: String,
    resources: Vec<Resource>,
    /// The services whose new tasks have a cluster of their own, with how many tasks each wants.
    splits: Vec<(Split, u32)>,
    /// Tasks that all services of the group want.
    wanted: u32,
}

impl TargetCluster {
    /// The group's part of a rule.
    fn weighted(&self, weight: u32, is_test: bool) -> Vec<v1::WeightedCluster> {
        if is_test && let Some(green) = self.splits.iter().find_map(|(split, _)| split.test_cluster()) {
            return vec![v1::WeightedCluster { cluster: green.to_owned(), weight }];
        }
        if self.splits.is_empty() {
            return vec![v1::WeightedCluster { cluster: self.name.clone(), weight }];
        }
        let mut parts: Vec<_> =
            self.splits.iter().map(|(split, part)| split.part_of(*part, self.wanted)).collect();
        let green: u32 = parts.iter().map(|part| part.weight).sum();
        let rest = Share::ALL.tenths().saturating_sub(green);
        parts.insert(0, v1::WeightedCluster { cluster: self.name.clone(), weight: rest });
        for part in &mut parts {
            part.weight = part.weight.saturating_mul(weight);
        }
        parts
    }
}

/// The clusters of a target group: the endpoints of every service bound to it, and beside them
/// those of the new tasks of services that are being replaced.
fn target_group(registry: &Registry, options: &PublishOptions, group: &Arn) -> TargetCluster {
    let name = target_cluster(group);
    let target = registry.target_groups.get(group.as_str());
    let check = target.and_then(|group| health_check(group));
    let mut cluster: Option<v1::Cluster> = None;
    let mut endpoints = v1::Endpoints { name: name.clone(), endpoints: Vec::new() };
    let (mut beside, mut splits, mut wanted) = (Vec::new(), Vec::new(), 0u32);
    for (service, port_name) in services_behind(registry, group) {
        let Some(definition) = registry.task_definitions.get(service.task_definition.as_str()) else {
            continue;
        };
        let ports = service_ports(service, definition);
        let Some(port) = ports.iter().find(|port| port.name == port_name) else { continue };
        let is_tcp = port.mapping.protocol == AppProtocol::Tcp;
        let upstream = upstream(registry, options, None, service, port, &name, check.clone());
        let (mut resources, split) = shift::divide(registry, service, upstream, is_tcp);
        wanted = wanted.saturating_add(service.desired_count);
        splits.extend(split.map(|split| (split, service.desired_count)));
        beside.extend(resources.split_off(2));
        for resource in resources {
            match (resource, &mut cluster) {
                (Resource::Endpoints(its), _) => endpoints.endpoints.extend(its.endpoints),
                (Resource::Cluster(one), None) => cluster = Some(one),
                (Resource::Cluster(one), Some(cluster)) => {
                    if let (Some(v1::cluster::Kind::Mesh(all)), Some(v1::cluster::Kind::Mesh(more))) =
                        (&mut cluster.kind, one.kind)
                    {
                        all.identities.extend(more.identities);
                        // Where one asks for callers' certificates, all get one.
                        if more.tls == i32::from(v1::TlsMode::Mutual) {
                            all.tls = more.tls;
                        }
                    }
                }
                _ => {}
            }
        }
    }
    let cluster = cluster.unwrap_or_else(|| v1::Cluster {
        name: name.clone(),
        protocol: v1::Protocol::Http.into(),
        kind: Some(v1::cluster::Kind::Mesh(v1::MeshUpstream::default())),
        ..v1::Cluster::default()
    });
    let mut resources = vec![Resource::Cluster(cluster), Resource::Endpoints(endpoints)];
    resources.append(&mut beside);
    TargetCluster { name, resources, splits, wanted }
}

fn health_check(group: &TargetGroup) -> Option<v1::HealthCheck> {
    let check = group.health_check.as_ref()?;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Some(v1::HealthCheck {
        path: check.path.clone(),
        interval_ms: millis(check.interval),
        timeout_ms: millis(check.timeout),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        matcher: check.matcher.clone(),
        ..v1::HealthCheck::default()
    })
}
