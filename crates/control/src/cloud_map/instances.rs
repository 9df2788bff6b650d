//! Instances that are registered by hand.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bowline_aws::servicediscovery::{DnsRecordType, RoutingPolicy};
use bowline_model::clock::Timestamp;

use super::{CloudMapError, external, services};
use crate::registry::{CustomHealth, DiscoveryService, Instance, Registry};

/// Most attributes of an instance that are not AWS's own.
const CUSTOM_ATTRIBUTES_MAX: usize = 30;

/// Most characters of all keys and values together.
const ATTRIBUTES_CHARACTERS_MAX: usize = 5_000;

/// The attribute that says how healthy a new instance is.
const INIT_HEALTH: &str = "AWS_INIT_HEALTH_STATUS";

/// An instance as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct InstanceSpec {
    pub(crate) id: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) creator_request_id: Option<String>,
}

/// Registers an instance, or replaces the one of its id. Returns the service's id.
///
/// # Errors
/// There is no such service, or attributes that it needs are missing or unusable.
pub(crate) fn register(
    registry: &mut Registry,
    service: &str,
    spec: InstanceSpec,
    now: Timestamp,
) -> Result<String, CloudMapError> {
    let service = Arc::clone(services::find(registry, service)?);
    check(&service, &spec.attributes)?;
    if let Err(error) = external::settings::of(registry, &service) {
        return Err(CloudMapError::UnusableSettings {
            service: service.id.clone(),
            reason: error.to_string(),
        });
    }
    let custom_health =
        service.health_check_custom.then(|| match spec.attributes.get(INIT_HEALTH).map(String::as_str) {
            Some("UNHEALTHY") => CustomHealth::Unhealthy,
            _ => CustomHealth::Healthy,
        });
    let key = Instance::key(&service.id, &spec.id);
    let instance = Instance {
        id: spec.id,
        service_id: service.id.clone(),
        attributes: spec.attributes,
        creator_request_id: spec.creator_request_id,
        custom_health,
        registered_at: now,
    };
    registry.instances.put(key, instance);
    external::registered(registry, &service);
    next_revision(registry, &service.id, now);
    Ok(service.id.clone())
}

/// Removes an instance. Returns the service's id.
///
/// # Errors
/// There is no such service or instance.
pub(crate) fn deregister(
    registry: &mut Registry,
    service: &str,
    id: &str,
    now: Timestamp,
) -> Result<String, CloudMapError> {
    let row = Arc::clone(services::find(registry, service)?);
    let service = row.id.clone();
    let key = Instance::key(&service, id);
    if registry.instances.get(&key).is_none() {
        return Err(CloudMapError::InstanceNotFound { service, instance: id.to_owned() });
    }
    registry.instances.remove(&key);
    external::deregistered(registry, &row);
    next_revision(registry, &service, now);
    Ok(service)
}

/// Says how healthy an instance is.
///
/// # Errors
/// There is no such service or instance, or it has no custom health check.
pub(crate) fn set_health(
    registry: &mut Registry,
    service: &str,
    id: &str,
    health: CustomHealth,
) -> Result<(), CloudMapError> {
    let service = Arc::clone(services::find(registry, service)?);
    let key = Instance::key(&service.id, id);
    let (service_id, instance) = (service.id.clone(), id.to_owned());
    if registry.instances.get(&key).is_none() {
        return Err(CloudMapError::InstanceNotFound { service: service_id, instance });
    }
    if !service.health_check_custom {
        return Err(CloudMapError::CustomHealthNotFound { service: service_id, instance });
    }
    registry.instances.update(&key, |row| row.custom_health = Some(health));
    Ok(())
}

/// Time keeps it growing where a service is removed and made again.
fn next_revision(registry: &mut Registry, service: &str, now: Timestamp) {
    registry
        .discovery_services
        .update(service, |row| row.revision = row.revision.saturating_add(1).max(now.as_millis()));
}

/// What AWS refuses of an instance's attributes.
fn check(service: &DiscoveryService, attributes: &BTreeMap<String, String>) -> Result<(), CloudMapError> {
    let refuse = |message: String| Err(CloudMapError::InvalidInput(message));
    let own = attributes.keys().filter(|key| !key.starts_with("AWS_")).count();
    if own > CUSTOM_ATTRIBUTES_MAX {
        return refuse(format!("an instance can have at most {CUSTOM_ATTRIBUTES_MAX} custom attributes"));
    }
    let characters: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if characters > ATTRIBUTES_CHARACTERS_MAX {
        return refuse(format!(
            "all attributes together can have at most {ATTRIBUTES_CHARACTERS_MAX} characters"
        ));
    }
    let get = |name: &str| attributes.get(name).map(String::as_str);
    if get("AWS_EC2_INSTANCE_ID").is_some() {
        return refuse("AWS_EC2_INSTANCE_ID: there are no EC2 instances here; give AWS_INSTANCE_IPV4".into());
    }
    if get("AWS_INSTANCE_CNAME").is_some_and(|name| !external::is_dns_name(name)) {
        return refuse("AWS_INSTANCE_CNAME is no host name".into());
    }
    if get("AWS_INSTANCE_IPV4").is_some_and(|value| value.parse::<Ipv4Addr>().is_err()) {
        return refuse("AWS_INSTANCE_IPV4 is no IPv4 address".into());
    }
    if get("AWS_INSTANCE_IPV6").is_some_and(|value| value.parse::<Ipv6Addr>().is_err()) {
        return refuse("AWS_INSTANCE_IPV6 is no IPv6 address".into());
    }
    let is_port = |value: &str| value.parse::<u16>().is_ok_and(|port| port > 0);
    if get("AWS_INSTANCE_PORT").is_some_and(|value| !is_port(value)) {
        return refuse("AWS_INSTANCE_PORT is no port: 1 to 65535".into());
    }
    match get(INIT_HEALTH) {
        None => {}
        Some(_) if !service.health_check_custom => {
            return refuse(format!("{INIT_HEALTH} is for services with HealthCheckCustomConfig only"));
        }
        Some("HEALTHY" | "UNHEALTHY") => {}
        Some(_) => return refuse(format!("{INIT_HEALTH} is HEALTHY or UNHEALTHY")),
    }
    let of_instance = attributes.keys().any(|key| key.starts_with("AWS_INSTANCE_"));
    let types: Vec<_> =
        service.dns_config.iter().flat_map(|dns| &dns.dns_records).map(|record| record.r#type).collect();
    if get("AWS_ALIAS_DNS_NAME").is_some() {
        let routed = types.iter().any(|kind| matches!(kind, DnsRecordType::A | DnsRecordType::Aaaa));
        let weighted =
            service.dns_config.as_ref().and_then(|dns| dns.routing_policy) == Some(RoutingPolicy::Weighted);
        return match (of_instance, routed && weighted) {
            (true, _) => refuse("AWS_ALIAS_DNS_NAME excludes every AWS_INSTANCE_ attribute".into()),
            (_, false) => refuse(
                "AWS_ALIAS_DNS_NAME needs a service with an A or AAAA record and the RoutingPolicy WEIGHTED"
                    .into(),
            ),
            (false, true) => Ok(()),
        };
    }
    for kind in types {
        let (record, missing) = match kind {
            DnsRecordType::A => ("A", ["AWS_INSTANCE_IPV4"].as_slice()),
            DnsRecordType::Aaaa => ("AAAA", ["AWS_INSTANCE_IPV6"].as_slice()),
            DnsRecordType::Cname => ("CNAME", ["AWS_INSTANCE_CNAME"].as_slice()),
            DnsRecordType::Srv => ("SRV", ["AWS_INSTANCE_IPV4", "AWS_INSTANCE_IPV6"].as_slice()),
        };
        if !missing.iter().any(|name| get(name).is_some()) {
            return refuse(format!("a service with an {record} record needs {}", missing.join(" or ")));
        }
        if kind == DnsRecordType::Srv && get("AWS_INSTANCE_PORT").is_none() {
            return refuse("a service with an SRV record needs AWS_INSTANCE_PORT".into());
        }
    }
    if service.health_check_config.is_some() && get("AWS_INSTANCE_PORT").is_none() {
        return refuse("a service with HealthCheckConfig needs AWS_INSTANCE_PORT".into());
    }
    Ok(())
}
