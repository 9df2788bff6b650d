//! What callers, sidecars and gateways, have of a discovery name that they call.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    service::{ConnectService, Service},
    task_definition::AppProtocol,
};

use super::{
    PublishOptions, ServicePort, service_ports,
    shift::{self, Split},
    tls_mode,
    traffic::{Traffic, names_others, policy_of},
    upstream,
};
use crate::{
    registry::{Registry, TaskOwner, TaskRecord},
    zone,
};

/// Everything that services of a namespace offer.
pub(crate) fn offered_in<'a>(
    registry: &'a Registry,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Service, &'a ConnectService)> {
    registry.services.values().flat_map(move |service| offers(service, namespace))
}

/// What a service offers in a namespace.
pub(super) fn offers<'a>(
    service: &'a Service,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Service, &'a ConnectService)> {
    let connect = service.connect.as_ref().filter(|connect| connect.namespace == namespace);
    connect.into_iter().flat_map(|connect| &connect.services).map(move |offered| (service, offered))
}

/// Whether what callers have of a discovery name is made of other services' tasks too.
pub(super) fn is_made_of_others(registry: &Registry, namespace: &str, offered: &ConnectService) -> bool {
    policy_of(registry, namespace, &offered.discovery_name).is_some_and(names_others)
}

/// Name of the cluster on the stream that a discovery name stands for.
pub(crate) fn cluster_name(namespace: &str, offered: &ConnectService) -> String {
    format!("{}.{namespace}", offered.discovery_name)
}

/// Who offers a discovery name in a namespace, and by which port.
pub(super) fn offering<'a>(
    registry: &'a Registry,
    namespace: &'a str,
    discovery_name: &str,
) -> Option<(&'a Service, &'a ConnectService, ServicePort<'a>)> {
    let mut all = offered_in(registry, namespace);
    let (service, offered) = all.find(|(_, offered)| offered.discovery_name == discovery_name)?;
    let definition = registry.task_definitions.get(service.task_definition.as_str())?;
    let mut ports = service_ports(service, definition);
    let place = ports.iter().position(|port| port.name == offered.port_name)?;
    Some((service, offered, ports.swap_remove(place)))
}

/// The cluster that a discovery name stands for, and its endpoints; two of each, and how they are to
/// be used, while one set of its tasks takes another's place.
pub(super) fn called(
    registry: &Registry,
    options: &PublishOptions,
    task: &TaskRecord,
    namespace: &str,
    callee: &Service,
    offered: &ConnectService,
    port: &ServicePort<'_>,
) -> (Vec<Resource>, Option<Split>) {
    let cluster = cluster_name(namespace, offered);
    let traffic = Traffic::of(registry, namespace, &offered.discovery_name, port.mapping.protocol);
    let caller = registry.service_of(task).map(|service| &**service);
    let mut upstream = upstream(registry, options, caller, callee, port, &cluster, None);
    apply_policy(registry, options, task, namespace, traffic, &mut upstream);
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
    shift::divide(registry, callee, upstream, port.mapping.protocol == AppProtocol::Tcp)
}

/// What a policy makes of the cluster and the endpoints that a caller has of a discovery name.
pub(super) fn apply_policy(
    registry: &Registry,
    options: &PublishOptions,
    caller: &TaskRecord,
    namespace: &str,
    traffic: Traffic<'_>,
    upstream: &mut [Resource; 2],
) {
    let [Resource::Cluster(cluster), Resource::Endpoints(endpoints)] = upstream else { return };
    traffic.cluster(cluster);
    take_over(registry, options, namespace, traffic, cluster, endpoints);
    // A gateway stands for a load balancer's nodes in all zones, which call each other's tasks.
    let is_in_one = !matches!(caller.owner, TaskOwner::Gateway { .. });
    if traffic.is_zone_aware() && is_in_one {
        let zone = zone::of_task(registry, caller);
        let callers = registry.service_of(caller).map(|service| registry.tasks_of_service(&service.arn));
        let callers = callers.iter().flatten().map(|task| &**task);
        let balancing = cluster.load_balancing.get_or_insert_default();
        balancing.zone_callers_percent = zone::callers_percent(registry, &zone, callers);
        balancing.zone = zone;
    }
}

/// Adds the endpoints of the discovery names that take over where a cluster's own fail, with the
/// identities that they prove.
fn take_over(
    registry: &Registry,
    options: &PublishOptions,
    namespace: &str,
    traffic: Traffic<'_>,
    cluster: &mut v1::Cluster,
    endpoints: &mut v1::Endpoints,
) {
    let Some(v1::cluster::Kind::Mesh(mesh)) = &mut cluster.kind else { return };
    for (place, name) in traffic.failover().iter().enumerate() {
        let Some((service, _, port)) = offering(registry, namespace, name) else { continue };
        // What speaks or protects itself otherwise cannot stand in.
        if port.mapping.protocol != traffic.protocol || i32::from(tls_mode(options, service)) != mesh.tls {
            continue;
        }
        let identity = registry.identity_of_service(service).as_str().to_owned();
        if !mesh.identities.contains(&identity) {
            mesh.identities.push(identity);
        }
        let mut its = super::endpoints(registry, service, &port.name);
        let priority = u32::try_from(place + 1).unwrap_or(u32::MAX);
        its.iter_mut().for_each(|endpoint| endpoint.priority = priority);
        endpoints.endpoints.extend(its);
    }
}
