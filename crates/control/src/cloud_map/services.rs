//! Services.

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::servicediscovery::{
    DnsConfig, DnsRecord, DnsRecordType, HealthCheckConfig, HealthCheckConfigType, RoutingPolicy,
    ServiceType, Tag,
};
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
};

use super::{CloudMapError, id_of, managed, namespaces};
use crate::{
    random,
    registry::{DiscoveryService, Instance, Namespace, Registry},
};

/// AWS's default for `HealthCheckConfig.FailureThreshold`.
const FAILURE_THRESHOLD_DEFAULT: i64 = 1;

/// A service as it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceSpec {
    pub(crate) name: String,
    /// Its id or ARN.
    pub(crate) namespace: String,
    pub(crate) description: Option<String>,
    pub(crate) dns_config: Option<DnsConfig>,
    pub(crate) health_check_config: Option<HealthCheckConfig>,
    pub(crate) health_check_custom: bool,
    pub(crate) service_type: Option<ServiceType>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) creator_request_id: Option<String>,
}

/// The ARN of a new service.
pub(crate) fn new_arn(scope: &Scope) -> Arn {
    scope.arn("servicediscovery", format_args!("service/srv-{}", random::alphanumeric(16)))
}

/// Creates the service, or makes the one with this ARN what `spec` says. A request that was
/// carried out before is answered with what it made.
///
/// # Errors
/// Another one has the name, there is no such namespace, or values do not fit each other.
pub(crate) fn put(
    registry: &mut Registry,
    arn: Arn,
    spec: ServiceSpec,
    now: Timestamp,
) -> Result<Arc<DiscoveryService>, CloudMapError> {
    let namespace = Arc::clone(namespaces::find(registry, &spec.namespace)?);
    let id = arn.resource_name().to_owned();
    let before = registry.discovery_services.get(&id).cloned();
    let row = DiscoveryService {
        arn,
        id: id.clone(),
        namespace_id: namespace.id.clone(),
        name: spec.name,
        description: spec.description,
        dns_config: spec.dns_config.map(with_defaults),
        health_check_config: spec.health_check_config.map(checked_by_default),
        health_check_custom: spec.health_check_custom,
        service_type: spec.service_type,
        attributes: spec.attributes,
        tags: spec.tags,
        created_at: before.as_ref().map_or(now, |before| before.created_at),
        creator_request_id: spec.creator_request_id,
        revision: before.as_ref().map_or_else(|| now.as_millis(), |before| before.revision),
    };
    check(&namespace, &row)?;
    if let Some(other) = named(registry, &namespace, &row.name).filter(|other| other.id != id) {
        let same_request = row.creator_request_id.is_some()
            && registry.discovery_services.get(&other.id).is_some_and(|other| same(other, &row));
        if same_request {
            return find(registry, &other.id).cloned();
        }
        return Err(CloudMapError::ServiceAlreadyExists {
            name: row.name,
            id: other.id,
            arn: other.arn.to_string(),
            creator_request_id: other.creator_request_id,
        });
    }
    registry.discovery_services.put(id.clone(), row);
    find(registry, &id).cloned()
}

/// Whether two rows are of the same request.
fn same(present: &DiscoveryService, asked: &DiscoveryService) -> bool {
    let asked = DiscoveryService {
        arn: present.arn.clone(),
        id: present.id.clone(),
        created_at: present.created_at,
        revision: present.revision,
        attributes: present.attributes.clone(),
        ..asked.clone()
    };
    *present == asked
}

/// The service of a namespace that a name belongs to. DNS knows no case, so names of a DNS
/// namespace differ in more than that.
fn named(registry: &Registry, namespace: &Namespace, name: &str) -> Option<DiscoveryService> {
    let is = |other: &str| match namespace.private_dns {
        true => other.eq_ignore_ascii_case(name),
        false => other == name,
    };
    let mut stored = registry.discovery_services.values().filter(|row| row.namespace_id == namespace.id);
    stored.find(|row| is(&row.name)).map(|row| (**row).clone()).or_else(|| {
        managed::services_in(registry, namespace).map(|managed| managed.row).find(|row| is(&row.name))
    })
}

/// The stored service of a namespace, by both names.
pub(crate) fn stored<'a>(
    registry: &'a Registry,
    namespace: &str,
    name: &str,
) -> Option<&'a Arc<DiscoveryService>> {
    let namespace = registry.namespaces.get(namespace)?;
    let mut stored = registry.discovery_services.values();
    stored.find(|row| row.namespace_id == namespace.id && row.name == name)
}

/// What values do not fit each other.
fn check(namespace: &Namespace, row: &DiscoveryService) -> Result<(), CloudMapError> {
    let refuse = |message: &str| Err(CloudMapError::InvalidInput(message.to_owned()));
    if row.health_check_custom && row.health_check_config.is_some() {
        return refuse("HealthCheckConfig and HealthCheckCustomConfig cannot both be given");
    }
    if let Some(check) = &row.health_check_config {
        if namespace.private_dns {
            return refuse("HealthCheckConfig is for public DNS and HTTP namespaces only");
        }
        if check.r#type == HealthCheckConfigType::Tcp && check.resource_path.is_some() {
            return refuse("HealthCheckConfig of type TCP takes no ResourcePath");
        }
    }
    let Some(dns) = &row.dns_config else { return Ok(()) };
    if !namespace.private_dns {
        return refuse("DnsConfig is not for services of an HTTP namespace");
    }
    if row.service_type == Some(ServiceType::Http) {
        return refuse("a service of type HTTP takes no DnsConfig");
    }
    let mut types: Vec<_> = dns.dns_records.iter().map(|record| record.r#type).collect();
    types.sort();
    let allowed: [&[DnsRecordType]; 5] = [
        &[DnsRecordType::A],
        &[DnsRecordType::Aaaa],
        &[DnsRecordType::A, DnsRecordType::Aaaa],
        &[DnsRecordType::Cname],
        &[DnsRecordType::Srv],
    ];
    if !allowed.contains(&types.as_slice()) {
        return refuse("DnsRecords can be A, AAAA, A and AAAA, CNAME, or SRV");
    }
    if types == [DnsRecordType::Cname] && dns.routing_policy != Some(RoutingPolicy::Weighted) {
        return refuse("a CNAME record needs the RoutingPolicy WEIGHTED");
    }
    Ok(())
}

fn with_defaults(mut dns: DnsConfig) -> DnsConfig {
    dns.namespace_id = None;
    dns.routing_policy.get_or_insert(RoutingPolicy::Multivalue);
    dns
}

fn checked_by_default(mut check: HealthCheckConfig) -> HealthCheckConfig {
    check.failure_threshold.get_or_insert(FAILURE_THRESHOLD_DEFAULT);
    if check.r#type != HealthCheckConfigType::Tcp {
        check.resource_path.get_or_insert_with(|| "/".into());
    }
    check
}

/// A stored service by id or ARN.
///
/// # Errors
/// There is none, or ECS manages it.
pub(crate) fn find<'a>(
    registry: &'a Registry,
    given: &str,
) -> Result<&'a Arc<DiscoveryService>, CloudMapError> {
    let id = id_of(given);
    if let Some(row) = registry.discovery_services.get(id) {
        return Ok(row);
    }
    match managed::owner_of(registry, id) {
        Some(owner) => Err(CloudMapError::Managed { id: id.to_owned(), owner: owner.to_string() }),
        None => Err(CloudMapError::ServiceNotFound(given.to_owned())),
    }
}

/// What `UpdateService` replaces.
#[derive(Clone, Debug)]
pub(crate) struct ServiceUpdate {
    /// `None` leaves it.
    pub(crate) description: Option<String>,
    /// `None` removes the records of a service in a DNS namespace.
    pub(crate) dns_records: Option<Vec<DnsRecord>>,
    /// `None` removes the check of a service in a DNS namespace.
    pub(crate) health_check_config: Option<HealthCheckConfig>,
}

/// Changes a service. Returns its id.
///
/// # Errors
/// There is none, or values do not fit each other.
pub(crate) fn update(
    registry: &mut Registry,
    given: &str,
    update: ServiceUpdate,
) -> Result<String, CloudMapError> {
    let mut row = (**find(registry, given)?).clone();
    let namespace = Arc::clone(namespaces::find(registry, &row.namespace_id)?);
    if update.description.is_some() {
        row.description = update.description;
    }
    row.dns_config = match (update.dns_records, row.dns_config) {
        (Some(dns_records), Some(before)) => Some(DnsConfig { dns_records, ..before }),
        (Some(dns_records), None) => Some(with_defaults(DnsConfig { dns_records, ..DnsConfig::default() })),
        (None, _) => None,
    };
    match update.health_check_config {
        Some(check) => row.health_check_config = Some(checked_by_default(check)),
        None if namespace.private_dns => row.health_check_config = None,
        None => {}
    }
    check(&namespace, &row)?;
    let id = row.id.clone();
    registry.discovery_services.put(id.clone(), row);
    Ok(id)
}

/// Removes an empty service.
///
/// # Errors
/// It still has instances, or there is none.
pub(crate) fn delete(registry: &mut Registry, given: &str) -> Result<(), CloudMapError> {
    let id = find(registry, given)?.id.clone();
    let stored = registry.instances.under(&Instance::key(&id, "")).count();
    let registrations = managed::registrations(registry);
    let by_ecs = registrations.get(&id).map_or(0, |services| {
        services.iter().map(|(service, _)| registry.tasks_of_service(&service.arn).len()).sum()
    });
    let instances = stored + by_ecs;
    if instances > 0 {
        return Err(CloudMapError::ServiceInUse { id, instances });
    }
    registry.discovery_services.remove(&id);
    Ok(())
}

/// Removes a service with its instances.
pub(crate) fn remove(registry: &mut Registry, id: &str) {
    let prefix = Instance::key(id, "");
    let keys: Vec<_> = registry.instances.under(&prefix).map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        registry.instances.remove(&key);
    }
    registry.discovery_services.remove(id);
}
