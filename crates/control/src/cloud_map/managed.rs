//! What ECS brings to Cloud Map: the discovery names of Service Connect are services, and the tasks
//! that serve are instances of them, and of the services that `serviceRegistries` names.
//!
//! All of it follows from the registry; nothing is stored.

use std::{collections::BTreeMap, net::SocketAddr};

use bowline_aws::{ecs::ServiceRegistry, servicediscovery::Tag};
use bowline_model::{
    arn::{Arn, Scope},
    service::{ConnectService, Service},
    task::TaskReport,
};

use super::id_of;
use crate::{
    publish::called,
    registry::{DiscoveryService, Namespace, Registry, TaskRecord},
    zone,
};

/// The tag of what ECS manages.
const MANAGED_TAG: &str = "AmazonECSManaged";

/// A Cloud Map service that a Service Connect service brings.
pub(crate) struct ManagedService<'a> {
    /// The row that it would have.
    pub(crate) row: DiscoveryService,
    /// Whose tasks are its instances.
    pub(crate) owner: &'a Service,
    /// The port of theirs.
    pub(crate) offered: &'a ConnectService,
}

/// The services of a namespace that ECS brings.
pub(crate) fn services_in<'a>(
    registry: &'a Registry,
    namespace: &'a Namespace,
) -> impl Iterator<Item = ManagedService<'a>> {
    let scope = registry.settings().scope.clone();
    called::offered_in(registry, &namespace.name).map(move |(owner, offered)| ManagedService {
        row: row(registry, namespace, owner, offered, &scope),
        owner,
        offered,
    })
}

fn row(
    registry: &Registry,
    namespace: &Namespace,
    owner: &Service,
    offered: &ConnectService,
    scope: &Scope,
) -> DiscoveryService {
    let id = id(&namespace.id, &owner.arn, &offered.discovery_name);
    let record = registry.service_records.get(owner.arn.as_str());
    DiscoveryService {
        arn: scope.arn("servicediscovery", format_args!("service/{id}")),
        id,
        namespace_id: namespace.id.clone(),
        name: offered.discovery_name.clone(),
        description: Some("Managed by ECS with Service Connect".into()),
        dns_config: None,
        health_check_config: None,
        health_check_custom: false,
        service_type: None,
        attributes: BTreeMap::new(),
        tags: vec![Tag { key: MANAGED_TAG.into(), value: "true".into() }],
        created_at: record.map(|record| record.created_at).unwrap_or_default(),
        creator_request_id: None,
        revision: 0,
    }
}

/// The same for as long as namespace, owner and name are.
fn id(namespace: &str, owner: &Arn, name: &str) -> String {
    const CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let named = format!("{namespace}\n{owner}\n{name}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, named.as_bytes());
    let end = digest.as_ref().iter().take(16).map(|byte| char::from(CHARACTERS[usize::from(*byte) % 36]));
    format!("srv-{}", end.collect::<String>())
}

/// Whose managed service an id is.
pub(crate) fn owner_of(registry: &Registry, id: &str) -> Option<Arn> {
    registry.namespaces.values().find_map(|namespace| {
        services_in(registry, namespace)
            .find(|managed| managed.row.id == id)
            .map(|managed| managed.owner.arn.clone())
    })
}

/// The ECS services whose `serviceRegistries` name a Cloud Map service, with what they say of it,
/// by its id.
pub(crate) fn registrations(registry: &Registry) -> BTreeMap<String, Vec<(&Service, ServiceRegistry)>> {
    let mut registrations: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for service in registry.services.values() {
        let Some(record) = registry.service_records.get(service.arn.as_str()) else { continue };
        for binding in &record.request.service_registries {
            if let Some(arn) = &binding.registry_arn {
                let of = registrations.entry(id_of(arn).to_owned()).or_default();
                of.push((&**service, binding.clone()));
            }
        }
    }
    registrations
}

/// An instance that is a task.
pub(crate) struct TaskInstance {
    /// The task's id.
    pub(crate) id: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The tasks that serve a Service Connect port, where their sidecars accept others.
pub(crate) fn offering_tasks<'a>(
    registry: &'a Registry,
    tasks: &'a [&'a TaskRecord],
    managed: &'a ManagedService<'_>,
) -> impl Iterator<Item = TaskInstance> + 'a {
    tasks.iter().filter_map(|task| {
        let report = task.report.as_ref().filter(|_| task.available())?;
        let inbound = report.inbound.iter().find(|socket| socket.port_name == managed.offered.port_name)?;
        Some(instance(registry, managed.owner, task, inbound.address))
    })
}

/// The tasks of a service that `serviceRegistries` names, where their ports are published. One
/// whose port nobody can reach is none.
pub(crate) fn registered_tasks<'a>(
    registry: &'a Registry,
    tasks: &'a [&'a TaskRecord],
    service: &'a Service,
    binding: &'a ServiceRegistry,
) -> impl Iterator<Item = TaskInstance> + 'a {
    tasks.iter().filter_map(|task| {
        let report = task.report.as_ref().filter(|_| task.available())?;
        Some(instance(registry, service, task, address(report, binding)?))
    })
}

fn address(report: &TaskReport, binding: &ServiceRegistry) -> Option<SocketAddr> {
    let wanted = binding.container_port.or(binding.port);
    let fits = |port: u16| wanted.is_none_or(|wanted| wanted == port);
    let published = report.published.iter().find(|socket| fits(socket.container_port));
    let inbound = || report.inbound.iter().find(|socket| fits(socket.container_port));
    published.map(|socket| socket.address).or_else(|| Some(inbound()?.address))
}

fn instance(registry: &Registry, service: &Service, task: &TaskRecord, address: SocketAddr) -> TaskInstance {
    let mut attributes = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        attributes.insert(name.to_owned(), value);
    };
    let ip = if address.is_ipv4() { "AWS_INSTANCE_IPV4" } else { "AWS_INSTANCE_IPV6" };
    set(ip, address.ip().to_string());
    set("AWS_INSTANCE_PORT", address.port().to_string());
    set("AVAILABILITY_ZONE", zone::of_task(registry, task));
    set("REGION", registry.settings().scope.region.clone());
    set("ECS_CLUSTER_NAME", service.cluster.clone());
    set("ECS_SERVICE_NAME", service.name.clone());
    let definition = task.owner.task_definition();
    if let Some(definition) = definition.and_then(|arn| registry.task_definitions.get(arn.as_str())) {
        set("ECS_TASK_DEFINITION_FAMILY", definition.family.clone());
    }
    TaskInstance { id: task.id.as_str().to_owned(), attributes }
}
