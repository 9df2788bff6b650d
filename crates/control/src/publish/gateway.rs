//! What a load balancer's gateway should have.

mod target;

use std::collections::BTreeSet;

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    arn::Arn,
    load_balancer::{
        GatewayAction, GatewayCondition, GatewayListener, GatewayProtocol, GatewayRule, LoadBalancer,
    },
    rollout::shift::Share,
    service::Service,
};

use self::target::TargetCluster;
use super::{
    PublishOptions, ServicePort, called, forward, issued, retry_policy, service_ports,
    shift::{self, Split},
    traffic::Traffic,
};
use crate::{
    acm::serving,
    registry::{Registry, TaskRecord},
};

/// The ALB's idle timeout is 60 s; clients may keep a connection so long.
const CLIENT_IDLE_TIMEOUT_MS: u64 = 60_000;

/// A Network Load Balancer forgets a connection of TCP after 350 s.
const TCP_IDLE_TIMEOUT_MS: u64 = 350_000;

/// An ALB gives a target its idle timeout to answer.
const TARGET_TIMEOUT_MS: u64 = 60_000;

/// Name of the identity that a load balancer shows to its clients.
pub(crate) fn public_identity(balancer: &LoadBalancer) -> String {
    format!("public:{}", balancer.name)
}

pub(super) fn resources(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    balancer: &LoadBalancer,
) -> Vec<Resource> {
    let mut gateway = Gateway {
        registry,
        options,
        task,
        balancer,
        used: BTreeSet::new(),
        resources: vec![Resource::Identity(v1::Identity {
            name: public_identity(balancer),
            spiffe_id: String::new(),
            dns_names: vec![balancer.dns_name.clone()],
            source: Some(issued(registry, options, None, true)),
            staged: None,
            disturbance: None,
        })],
    };
    let shown: BTreeSet<&String> =
        listeners_of(registry, &balancer.arn).flat_map(|listener| &listener.certificates).collect();
    let shown = shown.iter().filter_map(|arn| serving::identity(registry, arn));
    gateway.resources.extend(shown.map(Resource::Identity));
    for listener in listeners_of(registry, &balancer.arn) {
        gateway.listener(listener);
    }
    let Gateway { used, mut resources, .. } = gateway;
    for group in used {
        resources.extend(TargetCluster::of(registry, options, task, &group).into_resources());
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

/// Names of the load balancers whose rules lead to a service's port: by its target groups, or by the
/// policy of a port that is behind one and sends requests on.
pub(crate) fn callers(registry: &Registry, service: &Service, port: &ServicePort<'_>) -> BTreeSet<String> {
    let mut groups = port.target_groups.clone();
    if let Some((connect, offered)) = service.connect.as_ref().zip(port.offered) {
        let leading = registry
            .traffic_policies
            .values()
            .filter(|policy| policy.leads_to(&offered.discovery_name))
            .filter(|policy| policy.namespace.as_ref().is_none_or(|own| *own == connect.namespace));
        for policy in leading {
            let found = called::offering(registry, &connect.namespace, &policy.discovery_name);
            groups.extend(found.into_iter().flat_map(|(_, _, port)| port.target_groups));
        }
    }
    if groups.is_empty() {
        return BTreeSet::new();
    }
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

/// What one gateway is to have, as it is put together.
struct Gateway<'a> {
    registry: &'a Registry,
    options: &'a PublishOptions,
    task: &'a TaskRecord,
    balancer: &'a LoadBalancer,
    /// Target groups that its rules lead to.
    used: BTreeSet<Arn>,
    resources: Vec<Resource>,
}

impl Gateway<'_> {
    fn listener(&mut self, listener: &GatewayListener) {
        let settings = self.registry.settings();
        let Some(address) = settings.gateway_addresses.get(listener.arn.as_str()) else { return };
        let name = format!("public:{}:{}", self.balancer.name, listener.port);
        let tls = match listener.protocol {
            GatewayProtocol::Https { tls13_only } => {
                // Its own certificate is for who asks for its own name, or where the listener's are not here.
                let certificates = listener.certificates.iter();
                let present = certificates.filter_map(|arn| serving::identity(self.registry, arn));
                let own = public_identity(self.balancer);
                let mut shown = present.map(|identity| identity.name).chain([own]);
                Some(v1::PublicTls {
                    identity: shown.next().unwrap_or_default(),
                    more_identities: shown.collect(),
                    min_version: if tls13_only { "1.3" } else { "1.2" }.into(),
                })
            }
            GatewayProtocol::Http | GatewayProtocol::Tcp => None,
        };
        let (mut cluster, mut idle_timeout_ms) = (String::new(), CLIENT_IDLE_TIMEOUT_MS);
        if listener.protocol == GatewayProtocol::Tcp
            && let GatewayAction::Forward(targets) = &listener.default_action
            && let Some((group, _)) = targets.first()
        {
            let group = bound(self.registry, group);
            let target = TargetCluster::of(self.registry, self.options, self.task, group);
            // What speaks HTTP behind it is spoken HTTP to: its sidecar knows nothing else.
            if target.is_tcp() {
                idle_timeout_ms = target.tcp_idle_timeout_ms().unwrap_or(TCP_IDLE_TIMEOUT_MS);
                cluster.clone_from(&target.name);
                self.used.insert(group.clone());
            }
        }
        let is_tcp = !cluster.is_empty();
        self.resources.push(Resource::Listener(v1::Listener {
            name: name.clone(),
            bind: Some(v1::listener::Bind::Public(v1::PublicBind {
                address: address.ip().to_string(),
                port: u32::from(address.port()),
                tls,
            })),
            protocol: if is_tcp { v1::Protocol::Tcp } else { v1::Protocol::Http }.into(),
            route: if is_tcp { String::new() } else { name.clone() },
            cluster,
            idle_timeout_ms,
            max_connections: 0,
        }));
        if is_tcp {
            return;
        }
        let mut rules = Vec::new();
        for rule in rules_of(self.registry, &listener.arn) {
            let matches = Some(conditions(&rule.conditions));
            rules.extend(self.rules(listener, &rule.arn, matches, &rule.action));
        }
        rules.extend(self.rules(listener, &listener.arn, None, &listener.default_action));
        self.resources.push(Resource::Route(v1::Route { name, rules }));
    }

    /// The rules that a listener's rule is on the stream; with those of a policy it is several.
    fn rules(
        &mut self,
        listener: &GatewayListener,
        rule: &Arn,
        matches: Option<v1::RouteMatch>,
        action: &GatewayAction,
    ) -> Vec<v1::RouteRule> {
        let action = match action {
            GatewayAction::Forward(targets) => return self.forwarding(rule, matches, targets),
            GatewayAction::Redirect { protocol, host, port, path, query, status } => {
                v1::route_rule::Action::Redirect(v1::Redirect {
                    protocol: protocol.clone(),
                    host: host.clone(),
                    port: real_port(self.registry, listener, port),
                    path: path.clone(),
                    query: query.clone(),
                    status: u32::from(*status),
                })
            }
            GatewayAction::FixedResponse { status, content_type, body } => {
                v1::route_rule::Action::FixedResponse(v1::FixedResponse {
                    status: u32::from(*status),
                    content_type: content_type.clone(),
                    body: body.clone(),
                })
            }
        };
        vec![v1::RouteRule { r#match: matches, action: Some(action) }]
    }

    /// Where a rule forwards, time, retries and faults are as the policy of the group with the
    /// largest weight has them. The policy's routes are beside the rule where it leads to one group:
    /// where there are more, the listener divides the traffic itself.
    fn forwarding(
        &mut self,
        rule: &Arn,
        matches: Option<v1::RouteMatch>,
        targets: &[(Arn, u32)],
    ) -> Vec<v1::RouteRule> {
        let mut forwarding = forward("", TARGET_TIMEOUT_MS, Some(retry_policy()));
        forwarding.r#match = matches;
        let groups: Vec<(TargetCluster<'_>, u32, bool)> = targets
            .iter()
            .map(|(group, weight)| {
                let group = bound(self.registry, group);
                self.used.insert(group.clone());
                let is_test = is_test_rule(self.registry, rule, group);
                (TargetCluster::of(self.registry, self.options, self.task, group), *weight, is_test)
            })
            .collect();
        let is_divided = groups.iter().any(|(target, ..)| target.is_divided());
        let parts = groups.iter().flat_map(|(target, weight, is_test)| {
            let scale = if is_divided { Share::ALL.tenths() } else { 1 };
            target.weighted(*weight, scale, *is_test)
        });
        shift::lead(&mut forwarding, parts.collect());
        // The first of those that are equal.
        let heaviest = groups.iter().rev().max_by_key(|(_, weight, _)| *weight);
        let Some((target, _, is_test)) = heaviest else { return vec![forwarding] };
        let Some((namespace, traffic)) = target.traffic else { return vec![forwarding] };
        traffic.rule(&mut forwarding);
        if let Some(faults) = traffic.faults(&target.name) {
            if let Some(v1::route_rule::Action::Forward(forward)) = &mut forwarding.action {
                forward.fault.clone_from(&target.name);
            }
            self.resources.push(faults);
        }
        let leads_to_one = groups.iter().all(|(other, ..)| other.name == target.name);
        let mut rules = Vec::new();
        if leads_to_one && !is_test {
            let routes = traffic.routes(namespace, &forwarding);
            rules = self.routes(target, namespace, traffic, routes);
        }
        rules.push(forwarding);
        rules
    }

    /// A policy's routes. Its own discovery name is the target group there.
    fn routes(
        &mut self,
        target: &TargetCluster<'_>,
        namespace: &str,
        traffic: Traffic<'_>,
        mut routes: Vec<v1::RouteRule>,
    ) -> Vec<v1::RouteRule> {
        let own = traffic.policy.map(|policy| format!("{}.{namespace}", policy.discovery_name));
        let mut others: Vec<Split> = Vec::new();
        let own_name = traffic.policy.map(|policy| &policy.discovery_name);
        for name in traffic.targets().filter(|name| Some(*name) != own_name) {
            let Some((callee, offered, port)) = called::offering(self.registry, namespace, name) else {
                continue;
            };
            let (its, split) =
                called::called(self.registry, self.options, self.task, namespace, callee, offered, &port);
            self.resources.extend(its);
            others.extend(split);
        }
        let scale = if target.is_divided() || !others.is_empty() { Share::ALL.tenths() } else { 1 };
        for route in &mut routes {
            let Some(v1::route_rule::Action::Forward(forward)) = &mut route.action else { continue };
            let parts = std::mem::take(&mut forward.clusters).into_iter().flat_map(|one| {
                if Some(&one.cluster) == own.as_ref() {
                    return target.weighted(one.weight, scale, false);
                }
                match others.iter().find(|split| split.is_of(&one.cluster)) {
                    Some(split) => split.weighted(one.weight),
                    None => {
                        let weight = one.weight.saturating_mul(scale);
                        vec![v1::WeightedCluster { weight, ..one }]
                    }
                }
            });
            forward.clusters = parts.collect();
        }
        routes
    }
}

/// Each target group is a cluster of its own, by its ARN's last part.
fn target_cluster(group: &Arn) -> String {
    format!("target-group:{}", group.resource())
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
