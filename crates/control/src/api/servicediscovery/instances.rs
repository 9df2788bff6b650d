//! Instances.

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::Fault,
    servicediscovery::api::{
        GetInstanceResponse, GetInstancesHealthStatusRequest, GetInstancesHealthStatusResponse,
        Instance as WireInstance, InstanceRequest, ListInstancesRequest, ListInstancesResponse,
        OperationIdResponse, OperationType, RegisterInstanceRequest, UpdateInstanceCustomHealthStatusRequest,
    },
};

use super::{Nothing, check_request_id, discoverable, invalid, page_of};
use crate::{
    api::{call::Call, constraint},
    cloud_map::{
        CloudMapError,
        index::{Discoverable, Discovered},
        instances::{self as commands, InstanceSpec},
        operations::{Asked, Targets},
    },
};

/// Most attributes in one request; AWS's own names are few.
const ATTRIBUTES_MAX: usize = 40;

pub(super) fn register(
    call: &Call<'_>,
    request: RegisterInstanceRequest,
) -> Result<OperationIdResponse, Fault> {
    constraint::length("instanceId", &request.instance_id, 1..=64).map_err(invalid)?;
    constraint::characters("instanceId", &request.instance_id, "^[0-9a-zA-Z_/:.@-]+$", |c| {
        c.is_ascii_alphanumeric() || "_/:.@-".contains(c)
    })
    .map_err(invalid)?;
    check_request_id("creatorRequestId", request.creator_request_id.as_deref())?;
    check_attributes(&request.attributes)?;
    let asked = Asked::new(OperationType::RegisterInstance, request.creator_request_id.as_deref(), &request);
    let id = request.instance_id.clone();
    let spec = InstanceSpec {
        id: request.instance_id,
        attributes: request.attributes,
        creator_request_id: request.creator_request_id,
    };
    call.change(|registry| {
        if let Some(operation_id) = asked.before(registry)? {
            return Ok(OperationIdResponse { operation_id });
        }
        let service = commands::register(registry, &request.service_id, spec, call.now)?;
        let targets = Targets { service: Some(service), instance: Some(id), ..Targets::default() };
        Ok(OperationIdResponse { operation_id: asked.done(registry, targets, call.now) })
    })
}

fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), Fault> {
    constraint::items("attributes", attributes.len(), 0..=ATTRIBUTES_MAX).map_err(invalid)?;
    for (key, value) in attributes {
        constraint::length("attributes.key", key, 1..=255).map_err(invalid)?;
        constraint::characters("attributes.key", key, "^[a-zA-Z0-9!-~]+$", |c| c.is_ascii_graphic())
            .map_err(invalid)?;
        constraint::length("attributes.value", value, 0..=1_024).map_err(invalid)?;
        let pattern = "^([a-zA-Z0-9!-~][ \\ta-zA-Z0-9!-~]*){0,1}[a-zA-Z0-9!-~]{0,1}$";
        let blank = |c: char| c == ' ' || c == '\t';
        // What may be inside may also be at the end, but not at the beginning.
        let allowed = |c: char| (c.is_ascii_graphic() || blank(c)) && !value.starts_with(blank);
        constraint::characters("attributes.value", value, pattern, allowed).map_err(invalid)?;
    }
    Ok(())
}

pub(super) fn deregister(call: &Call<'_>, request: InstanceRequest) -> Result<OperationIdResponse, Fault> {
    call.change(|registry| {
        let InstanceRequest { service_id, instance_id } = request;
        let service = commands::deregister(registry, &service_id, &instance_id, call.now)?;
        let targets = Targets { service: Some(service), instance: Some(instance_id), ..Targets::default() };
        let asked = Asked::once(OperationType::DeregisterInstance);
        Ok(OperationIdResponse { operation_id: asked.done(registry, targets, call.now) })
    })
}

pub(super) fn update_health(
    call: &Call<'_>,
    request: UpdateInstanceCustomHealthStatusRequest,
) -> Result<Nothing, Fault> {
    call.change(|registry| {
        commands::set_health(registry, &request.service_id, &request.instance_id, request.status)?;
        Ok(Nothing {})
    })
}

pub(super) fn get(call: &Call<'_>, request: InstanceRequest) -> Result<GetInstanceResponse, Fault> {
    let index = call.core.discovery();
    let service = discoverable(&index, &request.service_id)?;
    let found = service.instance(&request.instance_id);
    let found = found.ok_or_else(|| not_found(service, &request.instance_id))?;
    let creator_request_id = found.creator_request_id.clone();
    Ok(GetInstanceResponse {
        resource_owner: call.scope.account_id.clone(),
        instance: WireInstance { creator_request_id, ..told(call, found) },
    })
}

pub(super) fn list(call: &Call<'_>, request: ListInstancesRequest) -> Result<ListInstancesResponse, Fault> {
    let index = call.core.discovery();
    let service = discoverable(&index, &request.service_id)?;
    let page = page_of(
        "ListInstances",
        &service.instances,
        |instance| instance.id().to_owned(),
        request.next_token.as_deref(),
        request.max_results,
    )?;
    Ok(ListInstancesResponse {
        resource_owner: call.scope.account_id.clone(),
        instances: page.items.into_iter().map(|instance| told(call, instance)).collect(),
        next_token: page.next_token,
    })
}

pub(super) fn get_health(
    call: &Call<'_>,
    request: GetInstancesHealthStatusRequest,
) -> Result<GetInstancesHealthStatusResponse, Fault> {
    let index = call.core.discovery();
    let service = discoverable(&index, &request.service_id)?;
    let wanted: Vec<&Discovered> = match &request.instances {
        None => service.instances.iter().collect(),
        Some(ids) => {
            constraint::items("instances", ids.len(), 1..=100).map_err(invalid)?;
            let found = ids.iter().map(|id| service.instance(id).ok_or_else(|| not_found(service, id)));
            found.collect::<Result<_, _>>()?
        }
    };
    let page = page_of(
        "GetInstancesHealthStatus",
        wanted,
        |instance| instance.id().to_owned(),
        request.next_token.as_deref(),
        request.max_results,
    )?;
    let status = page.items.iter().map(|found| (found.id().to_owned(), found.summary.health_status));
    Ok(GetInstancesHealthStatusResponse { status: status.collect(), next_token: page.next_token })
}

fn not_found(service: &Discoverable, instance: &str) -> Fault {
    CloudMapError::InstanceNotFound { service: service.row.id.clone(), instance: instance.to_owned() }.into()
}

/// An instance as lists tell it.
fn told(call: &Call<'_>, instance: &Discovered) -> WireInstance {
    WireInstance {
        id: instance.id().to_owned(),
        creator_request_id: None,
        attributes: instance.summary.attributes.clone(),
        created_by_account: call.scope.account_id.clone(),
    }
}
