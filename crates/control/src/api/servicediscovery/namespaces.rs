//! Namespaces.

use bowline_aws::{
    protocol::Fault,
    servicediscovery::{
        Properties, Soa,
        api::{
            CreateHttpNamespaceRequest, CreatePrivateDnsNamespaceRequest, CreatePublicDnsNamespaceRequest,
            DnsProperties, FilterCondition, GetNamespaceResponse, HttpProperties, IdRequest,
            ListNamespacesResponse, ListRequest, Namespace as WireNamespace, NamespaceFilterName,
            NamespaceProperties, NamespaceType, OperationIdResponse, OperationType, UpdateNamespaceRequest,
        },
    },
};
use serde::Serialize;

use super::{check_description, check_request_id, filters, invalid, page_of, tags};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    cloud_map::{
        index::DiscoveryIndex,
        namespaces::{self as commands, NamespaceSpec, PrivateDns, SOA_TTL_DEFAULT},
        operations::{Asked, Targets},
    },
    registry::Namespace,
};

/// Longest time to live, in seconds.
const TTL_MAX: i64 = 2_147_483_647;

pub(super) fn create_http(
    call: &Call<'_>,
    request: CreateHttpNamespaceRequest,
) -> Result<OperationIdResponse, Fault> {
    check_name(&request.name, 1_024)?;
    let spec = NamespaceSpec {
        name: request.name.clone(),
        description: request.description.clone(),
        tags: request.tags.clone(),
        private_dns: None,
        creator_request_id: request.creator_request_id.clone(),
    };
    create(call, &request, spec)
}

pub(super) fn create_private_dns(
    call: &Call<'_>,
    request: CreatePrivateDnsNamespaceRequest,
) -> Result<OperationIdResponse, Fault> {
    check_name(&request.name, 253)?;
    constraint::length("vpc", &request.vpc, 1..=64).map_err(invalid)?;
    let soa_ttl = soa_ttl(request.properties.as_ref())?;
    let spec = NamespaceSpec {
        name: request.name.clone(),
        description: request.description.clone(),
        tags: request.tags.clone(),
        private_dns: Some(PrivateDns { vpc: Some(request.vpc.clone()), soa_ttl, hosted_zone_id: None }),
        creator_request_id: request.creator_request_id.clone(),
    };
    create(call, &request, spec)
}

/// Names that anybody on the internet resolves are not Bowline's to give.
pub(super) fn create_public_dns(
    _: &Call<'_>,
    request: CreatePublicDnsNamespaceRequest,
) -> Result<OperationIdResponse, Fault> {
    Err(invalid(format!(
        "{:?}: public DNS namespaces are not served here; use a private DNS or an HTTP namespace",
        request.name
    )))
}

fn create(
    call: &Call<'_>,
    request: &impl Serialize,
    spec: NamespaceSpec,
) -> Result<OperationIdResponse, Fault> {
    check_description(spec.description.as_deref())?;
    check_request_id("creatorRequestId", spec.creator_request_id.as_deref())?;
    tags::check(&spec.name, &spec.tags)?;
    let asked = Asked::new(OperationType::CreateNamespace, spec.creator_request_id.as_deref(), request);
    call.change(|registry| {
        if let Some(operation_id) = asked.before(registry)? {
            return Ok(OperationIdResponse { operation_id });
        }
        let namespace = commands::put(registry, commands::new_arn(&call.scope), spec, call.now)?;
        let targets = Targets { namespace: Some(namespace.id.clone()), ..Targets::default() };
        Ok(OperationIdResponse { operation_id: asked.done(registry, targets, call.now) })
    })
}

fn check_name(name: &str, most: usize) -> Result<(), Fault> {
    constraint::length("name", name, 1..=most).map_err(invalid)?;
    constraint::characters("name", name, "^(?!arn:)[!-~]+$", |c| c.is_ascii_graphic()).map_err(invalid)?;
    match name.starts_with("arn:") {
        true => Err(invalid("a namespace's name cannot begin with arn:")),
        false => Ok(()),
    }
}

/// `Properties.DnsProperties.SOA.TTL`.
fn soa_ttl(properties: Option<&Properties>) -> Result<Option<i64>, Fault> {
    let dns = properties.and_then(|properties| properties.dns_properties.as_ref());
    let ttl = dns.and_then(|dns| dns.soa.as_ref()).and_then(|soa| soa.ttl);
    if let Some(ttl) = ttl {
        constraint::range("properties.dnsProperties.sOA.tTL", ttl, 0..=TTL_MAX).map_err(invalid)?;
    }
    Ok(ttl)
}

pub(super) fn update_http(
    call: &Call<'_>,
    request: UpdateNamespaceRequest,
) -> Result<OperationIdResponse, Fault> {
    if request.namespace.description.is_none() {
        return Err(invalid("Namespace.Description is needed"));
    }
    update(call, request, "HTTP", |namespace| !namespace.private_dns)
}

pub(super) fn update_private_dns(
    call: &Call<'_>,
    request: UpdateNamespaceRequest,
) -> Result<OperationIdResponse, Fault> {
    update(call, request, "private DNS", |namespace| namespace.private_dns)
}

/// There are no public namespaces: whichever is named is of another kind, or is not there.
pub(super) fn update_public_dns(
    call: &Call<'_>,
    request: UpdateNamespaceRequest,
) -> Result<OperationIdResponse, Fault> {
    update(call, request, "public DNS", |_| false)
}

fn update(
    call: &Call<'_>,
    request: UpdateNamespaceRequest,
    kind: &str,
    is_kind: fn(&Namespace) -> bool,
) -> Result<OperationIdResponse, Fault> {
    check_description(request.namespace.description.as_deref())?;
    check_request_id("updaterRequestId", request.updater_request_id.as_deref())?;
    let soa_ttl = soa_ttl(request.namespace.properties.as_ref())?;
    let asked = Asked::new(OperationType::UpdateNamespace, request.updater_request_id.as_deref(), &request);
    call.change(|registry| {
        if let Some(operation_id) = asked.before(registry)? {
            return Ok(OperationIdResponse { operation_id });
        }
        let namespace = commands::find(registry, &request.id)?.clone();
        if !is_kind(&namespace) {
            return Err(invalid(format!("{} is no {kind} namespace", namespace.id)));
        }
        registry.namespaces.update(&namespace.name, |row| {
            if request.namespace.description.is_some() {
                row.description.clone_from(&request.namespace.description);
            }
            row.soa_ttl = soa_ttl.or(row.soa_ttl);
        });
        let targets = Targets { namespace: Some(namespace.id.clone()), ..Targets::default() };
        Ok(OperationIdResponse { operation_id: asked.done(registry, targets, call.now) })
    })
}

pub(super) fn delete(call: &Call<'_>, request: IdRequest) -> Result<OperationIdResponse, Fault> {
    call.change(|registry| {
        let namespace = commands::delete(registry, &request.id)?;
        let targets = Targets { namespace: Some(namespace.id.clone()), ..Targets::default() };
        let asked = Asked::once(OperationType::DeleteNamespace);
        Ok(OperationIdResponse { operation_id: asked.done(registry, targets, call.now) })
    })
}

pub(super) fn get(call: &Call<'_>, request: IdRequest) -> Result<GetNamespaceResponse, Fault> {
    let registry = call.registry();
    let namespace = commands::find(&registry, &request.id)?;
    let creator_request_id = namespace.creator_request_id.clone();
    let told = told(call, &call.core.discovery(), namespace);
    Ok(GetNamespaceResponse { namespace: WireNamespace { creator_request_id, ..told } })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListRequest<NamespaceFilterName>,
) -> Result<ListNamespacesResponse, Fault> {
    for filter in &request.filters {
        let allowed = match filter.name {
            NamespaceFilterName::ResourceOwner => [FilterCondition::Eq].as_slice(),
            // AWS took IN for TYPE before it said otherwise.
            NamespaceFilterName::Type => {
                &[FilterCondition::Eq, FilterCondition::In, FilterCondition::BeginsWith]
            }
            _ => &[FilterCondition::Eq, FilterCondition::BeginsWith],
        };
        filters::check(filter, allowed)?;
    }
    let registry = call.registry();
    let passing = registry.namespaces.values().filter(|namespace| {
        request.filters.iter().all(|filter| match filter.name {
            NamespaceFilterName::Type => filters::passes(filter, kind(namespace).as_str()),
            NamespaceFilterName::Name | NamespaceFilterName::HttpName => {
                filters::passes(filter, &namespace.name)
            }
            NamespaceFilterName::ResourceOwner => filters::is_own(filter, &call.scope.account_id),
        })
    });
    let page = page_of(
        "ListNamespaces",
        passing,
        |namespace| namespace.id.clone(),
        request.next_token.as_deref(),
        request.max_results,
    )?;
    let index = call.core.discovery();
    let namespaces = page.items.into_iter().map(|namespace| told(call, &index, namespace)).collect();
    Ok(ListNamespacesResponse { namespaces, next_token: page.next_token })
}

fn kind(namespace: &Namespace) -> NamespaceType {
    match namespace.private_dns {
        true => NamespaceType::DnsPrivate,
        false => NamespaceType::Http,
    }
}

/// A namespace as lists tell it.
fn told(call: &Call<'_>, index: &DiscoveryIndex, namespace: &Namespace) -> WireNamespace {
    let dns_properties = namespace.private_dns.then(|| DnsProperties {
        hosted_zone_id: namespace.hosted_zone_id.clone(),
        soa: Soa { ttl: Some(namespace.soa_ttl.unwrap_or(SOA_TTL_DEFAULT)) },
    });
    WireNamespace {
        id: namespace.id.clone(),
        arn: namespace.arn.to_string(),
        resource_owner: call.scope.account_id.clone(),
        name: namespace.name.clone(),
        r#type: kind(namespace),
        description: namespace.description.clone(),
        service_count: index.count_in(&namespace.name),
        properties: NamespaceProperties {
            dns_properties,
            http_properties: HttpProperties { http_name: namespace.name.clone() },
        },
        create_date: wire(namespace.created_at),
        creator_request_id: None,
    }
}
