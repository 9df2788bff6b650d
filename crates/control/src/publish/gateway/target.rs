//! Target groups, as a gateway calls them.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    arn::Arn, load_balancer::TargetGroup, rollout::shift::Share, task_definition::AppProtocol,
};

use super::{services_behind, target_cluster};
use crate::{
    publish::{
        PublishOptions, called, service_ports,
        shift::{self, Split},
        traffic::{Traffic, millis_of},
        upstream,
    },
    registry::{Registry, TaskRecord},
};

/// A target group on the stream: the endpoints of every service bound to it, and beside them those
/// of the new tasks of services that are being replaced.
pub(super) struct TargetCluster<'r> {
    pub(super) name: String,
    cluster: v1::Cluster,
    endpoints: v1::Endpoints,
    /// Clusters and endpoints of new tasks.
    beside: Vec<Resource>,
    /// The services whose new tasks have a cluster of their own, with how many tasks each wants.
    splits: Vec<(Split, u32)>,
    /// Tasks that all services of the group want.
    wanted: u32,
    /// The policy of the first port that has one, and its namespace.
    pub(super) traffic: Option<(&'r str, Traffic<'r>)>,
}

impl<'r> TargetCluster<'r> {
    pub(super) fn of(
        registry: &'r Registry,
        options: &PublishOptions,
        gateway: &TaskRecord,
        group: &Arn,
    ) -> Self {
        let name = target_cluster(group);
        let check = registry.target_groups.get(group.as_str()).and_then(|group| health_check(group));
        let mut found = Self {
            cluster: v1::Cluster {
                name: name.clone(),
                protocol: v1::Protocol::Http.into(),
                kind: Some(v1::cluster::Kind::Mesh(v1::MeshUpstream::default())),
                ..v1::Cluster::default()
            },
            endpoints: v1::Endpoints { name: name.clone(), endpoints: Vec::new() },
            name,
            beside: Vec::new(),
            splits: Vec::new(),
            wanted: 0,
            traffic: None,
        };
        for (place, (service, port_name)) in services_behind(registry, group).into_iter().enumerate() {
            let Some(definition) = registry.task_definitions.get(service.task_definition.as_str()) else {
                continue;
            };
            let ports = service_ports(service, definition);
            let Some(port) = ports.iter().find(|port| port.name == port_name) else { continue };
            let mut upstream = upstream(registry, options, None, service, port, &found.name, check.clone());
            if let Some((connect, offered)) = service.connect.as_ref().zip(port.offered) {
                let (namespace, name) = (connect.namespace.as_str(), &offered.discovery_name);
                let traffic = Traffic::of(registry, namespace, name, port.mapping.protocol);
                called::apply_policy(registry, options, gateway, namespace, traffic, &mut upstream);
                if traffic.policy.is_some() {
                    found.traffic.get_or_insert((namespace, traffic));
                }
            }
            let is_tcp = port.mapping.protocol == AppProtocol::Tcp;
            let (mut resources, split) = shift::divide(registry, service, upstream, is_tcp);
            found.wanted = found.wanted.saturating_add(service.desired_count);
            found.splits.extend(split.map(|split| (split, service.desired_count)));
            found.beside.extend(resources.split_off(2));
            for resource in resources {
                match resource {
                    Resource::Endpoints(its) => found.endpoints.endpoints.extend(its.endpoints),
                    Resource::Cluster(first) if place == 0 => found.cluster = first,
                    Resource::Cluster(further) => found.also_trusts(further),
                    _ => {}
                }
            }
        }
        found
    }

    /// A further service behind the group: its tasks are believed as well.
    fn also_trusts(&mut self, further: v1::Cluster) {
        let (Some(v1::cluster::Kind::Mesh(all)), Some(v1::cluster::Kind::Mesh(more))) =
            (&mut self.cluster.kind, further.kind)
        else {
            return;
        };
        let news = more.identities.into_iter().filter(|id| !all.identities.contains(id));
        let news: Vec<String> = news.collect();
        all.identities.extend(news);
        // Where one asks for callers' certificates, all get one.
        if more.tls == i32::from(v1::TlsMode::Mutual) {
            all.tls = more.tls;
        }
    }

    /// Whether its tasks speak TCP.
    pub(super) fn is_tcp(&self) -> bool {
        self.cluster.protocol == i32::from(v1::Protocol::Tcp)
    }

    /// A connection's time without traffic, where a policy says it.
    pub(super) fn tcp_idle_timeout_ms(&self) -> Option<u64> {
        let policy = self.traffic.and_then(|(_, traffic)| traffic.policy)?;
        policy.timeouts.of(AppProtocol::Tcp).idle.map(millis_of)
    }

    /// Whether a part of it is a cluster of its own.
    pub(super) fn is_divided(&self) -> bool {
        !self.splits.is_empty()
    }

    /// The group's part of a rule; a weight of 1 is `scale`, which is the whole of a [`Share`] where
    /// any part of the rule is divided.
    pub(super) fn weighted(&self, weight: u32, scale: u32, is_test: bool) -> Vec<v1::WeightedCluster> {
        let part = |cluster: &str| v1::WeightedCluster {
            cluster: cluster.to_owned(),
            weight: weight.saturating_mul(scale),
        };
        if is_test && let Some(green) = self.splits.iter().find_map(|(split, _)| split.test_cluster()) {
            return vec![part(green)];
        }
        if !self.is_divided() {
            return vec![part(&self.name)];
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

    /// What is published of it.
    pub(super) fn into_resources(self) -> impl Iterator<Item = Resource> {
        let own = [Resource::Cluster(self.cluster), Resource::Endpoints(self.endpoints)];
        own.into_iter().chain(self.beside)
    }
}

fn health_check(group: &TargetGroup) -> Option<v1::HealthCheck> {
    let check = group.health_check.as_ref()?;
    Some(v1::HealthCheck {
        path: check.path.clone(),
        interval_ms: millis_of(check.interval),
        timeout_ms: millis_of(check.timeout),
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        matcher: check.matcher.clone(),
        ..v1::HealthCheck::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, splits: Vec<(Split, u32)>, wanted: u32) -> TargetCluster<'static> {
        let (cluster, endpoints) = Default::default();
        let name = name.to_owned();
        TargetCluster { name, cluster, endpoints, beside: Vec::new(), splits, wanted, traffic: None }
    }

    #[test]
    fn a_group_that_is_divided_keeps_its_weight_beside_one_that_is_not() {
        let split = Split::between("blue", "green", Share::from_tenths(250));
        let (divided, whole) = (group("blue", vec![(split, 2)], 2), group("other", Vec::new(), 2));
        let parts = |group: &TargetCluster<'_>, weight| {
            let parts = group.weighted(weight, Share::ALL.tenths(), false);
            parts.into_iter().map(|part| (part.cluster, part.weight)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&divided, 3), [("blue".into(), 2_250), ("green".into(), 750)]);
        assert_eq!(parts(&whole, 1), [("other".into(), 1_000)]);
        assert_eq!(whole.weighted(1, 1, false)[0].weight, 1, "nothing is divided");
    }
}
