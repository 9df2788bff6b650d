//! Services and their attributes.

use std::sync::Arc;

use bowline_aws::{
    protocol::Fault,
    servicediscovery::{
        DnsRecord, HealthCheckConfig, HealthCheckCustomConfig,
        api::{
            CreateServiceRequest, DeleteServiceAttributesRequest, DiscoveryType, FilterCondition,
            GetServiceAttributesRequest, GetServiceAttributesResponse, IdRequest, ListRequest,
            ListServicesResponse, OperationIdResponse, OperationType, Service as WireService,
            ServiceAttributes, ServiceFilterName, ServiceResponse, UpdateServiceAttributesRequest,
            UpdateServiceRequest,
        },
    },
};

use super::{Nothing, check_description, check_request_id, discoverable, filters, invalid, page_of, tags};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    cloud_map::{
        external::warn_if_unusable,
        id_of,
        index::Discoverable,
        operations::{Asked, Targets},
        services::{self as commands, ServiceSpec, ServiceUpdate},
    },
};

/// Most attributes of a service.
const ATTRIBUTES_MAX: usize = 30;

/// Longest time to live, in seconds.
const TTL_MAX: i64 = 2_147_483_647;

pub(super) fn create(call: &Call<'_>, request: CreateServiceRequest) -> Result<ServiceResponse, Fault> {
    check_name(&request.name)?;
    check_description(request.description.as_deref())?;
    check_request_id("creatorRequestId", request.creator_request_id.as_deref())?;
    check_records(request.dns_config.as_ref().map_or(&[], |dns| &dns.dns_records))?;
    check_health(request.health_check_config.as_ref())?;
    tags::check(&request.name, &request.tags)?;
    let of_dns = request.dns_config.as_ref().and_then(|dns| dns.namespace_id.clone());
    let namespace = request.namespace_id.or(of_dns).ok_or_else(|| invalid("NamespaceId is needed"))?;
    let spec = ServiceSpec {
        name: request.name,
        namespace,
        description: request.description,
        dns_config: request.dns_config,
        health_check_config: request.health_check_config,
        health_check_custom: request.health_check_custom_config.is_some(),
        service_type: request.r#type,
        tags: request.tags,
        creator_request_id: request.creator_request_id,
        ..ServiceSpec::default()
    };
    let made =
        call.change(|registry| Ok(commands::put(registry, commands::new_arn(&call.scope), spec, call.now)?))?;
    get(call, IdRequest { id: made.id.clone() })
}

/// Labels of a host name (with underscores), separated by periods; or a single period.
fn check_name(name: &str) -> Result<(), Fault> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let is_label = |label: &str| match label.len() {
        1 => label.chars().all(|c| c.is_ascii_alphanumeric()),
        length => {
            (2..=63).contains(&length)
                && label.chars().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        }
    };
    let fits = name == "." || ((1..=127).contains(&name.len()) && name.split('.').all(is_label));
    match fits {
        true => Ok(()),
        false => Err(invalid(format!(
            "the service name {:?} is not valid: up to 127 characters, labels of letters, digits, hyphens and \
             underscores with periods between them",
            name.chars().filter(|c| !c.is_control()).take(130).collect::<String>()
        ))),
    }
}

fn check_records(records: &[DnsRecord]) -> Result<(), Fault> {
    records.iter().try_for_each(|record| {
        constraint::range("dnsConfig.dnsRecords.tTL", record.ttl, 0..=TTL_MAX).map_err(invalid)
    })
}

fn check_health(check: Option<&HealthCheckConfig>) -> Result<(), Fault> {
    let Some(check) = check else { return Ok(()) };
    let threshold = check.failure_threshold.unwrap_or(1);
    constraint::range("healthCheckConfig.failureThreshold", threshold, 1..=10).map_err(invalid)?;
    let path = check.resource_path.as_deref().unwrap_or_default();
    constraint::length("healthCheckConfig.resourcePath", path, 0..=255).map_err(invalid)
}

pub(super) fn update(call: &Call<'_>, request: UpdateServiceRequest) -> Result<OperationIdResponse, Fault> {
    let change = request.service;
    check_description(change.description.as_deref())?;
    check_records(change.dns_config.as_ref().map_or(&[], |dns| &dns.dns_records))?;
    check_health(change.health_check_config.as_ref())?;
    let update = ServiceUpdate {
        description: change.description,
        dns_records: change.dns_config.map(|dns| dns.dns_records),
        health_check_config: change.health_check_config,
    };
    call.change(|registry| {
        let service = commands::update(registry, &request.id, update)?;
        let targets = Targets { service: Some(service), ..Targets::default() };
        let asked = Asked::once(OperationType::UpdateService);
        Ok(OperationIdResponse { operation_id: asked.done(registry, targets, call.now) })
    })
}

pub(super) fn delete(call: &Call<'_>, request: IdRequest) -> Result<Nothing, Fault> {
    call.change(|registry| {
        commands::delete(registry, &request.id)?;
        Ok(Nothing {})
    })
}

pub(super) fn get(call: &Call<'_>, request: IdRequest) -> Result<ServiceResponse, Fault> {
    let index = call.core.discovery();
    let found = discoverable(&index, &request.id)?;
    let mut service = WireService {
        namespace_id: Some(found.row.namespace_id.clone()),
        creator_request_id: found.row.creator_request_id.clone(),
        ..told(call, found)
    };
    // Clients that are older than the service's own NamespaceId look here.
    if let Some(dns) = &mut service.dns_config {
        dns.namespace_id = Some(found.row.namespace_id.clone());
    }
    Ok(ServiceResponse { service })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListRequest<ServiceFilterName>,
) -> Result<ListServicesResponse, Fault> {
    for filter in &request.filters {
        filters::check(filter, &[FilterCondition::Eq])?;
    }
    let index = call.core.discovery();
    let passing = index.all().filter(|service| {
        request.filters.iter().all(|filter| match filter.name {
            ServiceFilterName::NamespaceId => {
                filter.values.iter().any(|value| id_of(value) == service.row.namespace_id)
            }
            ServiceFilterName::ResourceOwner => filters::is_own(filter, &call.scope.account_id),
        })
    });
    let page = page_of(
        "ListServices",
        passing,
        |service| service.row.id.clone(),
        request.next_token.as_deref(),
        request.max_results,
    )?;
    let services = page.items.into_iter().map(|service| told(call, service)).collect();
    Ok(ListServicesResponse { services, next_token: page.next_token })
}

/// A service as lists tell it.
fn told(call: &Call<'_>, service: &Arc<Discoverable>) -> WireService {
    let row = &service.row;
    WireService {
        id: row.id.clone(),
        arn: row.arn.to_string(),
        resource_owner: call.scope.account_id.clone(),
        name: row.name.clone(),
        namespace_id: None,
        description: row.description.clone(),
        instance_count: service.instances.len(),
        dns_config: row.dns_config.clone(),
        r#type: if row.dns_config.is_some() { DiscoveryType::DnsHttp } else { DiscoveryType::Http },
        health_check_config: row.health_check_config.clone(),
        // AWS's threshold is always 1, whatever was asked for.
        health_check_custom_config: row
            .health_check_custom
            .then_some(HealthCheckCustomConfig { failure_threshold: Some(1) }),
        create_date: wire(row.created_at),
        creator_request_id: None,
        created_by_account: call.scope.account_id.clone(),
    }
}

pub(super) fn get_attributes(
    call: &Call<'_>,
    request: GetServiceAttributesRequest,
) -> Result<GetServiceAttributesResponse, Fault> {
    let index = call.core.discovery();
    let row = &discoverable(&index, &request.service_id)?.row;
    Ok(GetServiceAttributesResponse {
        service_attributes: ServiceAttributes {
            service_arn: row.arn.to_string(),
            resource_owner: call.scope.account_id.clone(),
            attributes: row.attributes.clone(),
        },
    })
}

pub(super) fn update_attributes(
    call: &Call<'_>,
    request: UpdateServiceAttributesRequest,
) -> Result<Nothing, Fault> {
    constraint::items("attributes", request.attributes.len(), 1..=ATTRIBUTES_MAX).map_err(invalid)?;
    for (key, value) in &request.attributes {
        constraint::length("attributes.key", key, 1..=255).map_err(invalid)?;
        constraint::length("attributes.value", value, 0..=1_024).map_err(invalid)?;
    }
    call.change(|registry| {
        let row = commands::find(registry, &request.service_id)?.clone();
        let mut attributes = row.attributes.clone();
        attributes.extend(request.attributes);
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(Fault::new(
                "ServiceAttributesLimitExceededException",
                format!("a service can have at most {ATTRIBUTES_MAX} attributes"),
            ));
        }
        registry.discovery_services.update(&row.id, |row| row.attributes = attributes);
        warn_if_unusable(registry, &row.id);
        Ok(Nothing {})
    })
}

pub(super) fn delete_attributes(
    call: &Call<'_>,
    request: DeleteServiceAttributesRequest,
) -> Result<Nothing, Fault> {
    constraint::items("attributes", request.attributes.len(), 1..=ATTRIBUTES_MAX).map_err(invalid)?;
    call.change(|registry| {
        let id = commands::find(registry, &request.service_id)?.id.clone();
        registry
            .discovery_services
            .update(&id, |row| row.attributes.retain(|key, _| !request.attributes.contains(key)));
        warn_if_unusable(registry, &id);
        Ok(Nothing {})
    })
}
