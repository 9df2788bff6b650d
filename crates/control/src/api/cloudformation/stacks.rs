//! Stacks, their events and resources.

use bowline_aws::{
    cloudformation::{
        CreateStackInput, DescribeStackEventsOutput, DescribeStackResourceInput, DescribeStackResourceOutput,
        DescribeStackResourcesInput, DescribeStackResourcesOutput, DescribeStacksInput, DescribeStacksOutput,
        DriftInformation, Export, ListExportsInput, ListExportsOutput, ListStackResourcesOutput,
        ListStacksInput, ListStacksOutput, OnFailure, Output, Stack, StackEvent, StackIdOutput, StackInput,
        StackResource, StackResourceDetail, StackResourceSummary, StackSummary, UpdateStackInput,
        UpdateTerminationProtectionInput,
    },
    protocol::Fault,
};

use super::{
    Nothing, body, change_sets, check_name, done_before, find, find_any, invalid, made_from, no_stack,
    no_stack_in_brackets, order, page, refused, request_of, resolve, source, told_parameters, told_tags,
};
use crate::{
    api::call::{Call, wire},
    stack::record::{StackMember, StackRecord, StackStatus},
};

pub(super) fn create(call: &Call<'_>, request: CreateStackInput) -> Result<StackIdOutput, Fault> {
    check_name(&request.stack_name)?;
    let token = request_of(request.client_request_token, "CreateStack")?;
    if let Some(before) = done_before(&call.registry(), &request.stack_name, token.as_ref())? {
        return Ok(StackIdOutput { stack_id: before.id.clone() });
    }
    if find(&call.registry(), &request.stack_name).is_some() {
        let message = format!("Stack [{}] already exists", request.stack_name);
        return Err(Fault::new("AlreadyExistsException", message));
    }
    if request.disable_rollback.is_some() && request.on_failure.is_some() {
        return Err(invalid("You can specify either DisableRollback or OnFailure, but not both."));
    }
    let body = body(request.template_body, request.template_url.as_deref())?;
    let template = source(body, false, &request.parameters, None)?;
    let stack = resolve(call, &request.stack_name, &template, &request.capabilities)?;
    let mut order = order(call, &request.tags, &request.capabilities);
    order.disable_rollback =
        request.disable_rollback.unwrap_or(false) || request.on_failure == Some(OnFailure::DoNothing);
    order.delete_on_failure = request.on_failure == Some(OnFailure::Delete);
    order.request = token;
    order.timeout_minutes = request.timeout_in_minutes;
    order.termination_protection = request.enable_termination_protection.unwrap_or(false);
    call.core.deploy(&stack, &template, &order).map_err(refused)?;
    Ok(StackIdOutput { stack_id: stack.id })
}

pub(super) fn update(call: &Call<'_>, request: UpdateStackInput) -> Result<StackIdOutput, Fault> {
    let record = find(&call.registry(), &request.stack_name)
        .ok_or_else(|| no_stack_in_brackets(&request.stack_name))?;
    let token = request_of(request.client_request_token, "UpdateStack")?;
    if let Some(before) = done_before(&call.registry(), &request.stack_name, token.as_ref())? {
        return Ok(StackIdOutput { stack_id: before.id.clone() });
    }
    check_can_update(&record)?;
    let body = body(request.template_body, request.template_url.as_deref())?;
    let previous = made_from(call, &record);
    let template =
        source(body, request.use_previous_template.unwrap_or(false), &request.parameters, previous.as_ref())?;
    let stack = resolve(call, &record.name, &template, &request.capabilities)?;
    let kept_tags = told_tags(&record.tags);
    let tags = request.tags.as_deref().unwrap_or(&kept_tags);
    let mut order = order(call, tags, &request.capabilities);
    order.request = token;
    order.disable_rollback = request.disable_rollback.unwrap_or(false);
    let before = previous.as_ref().and_then(|previous| call.core.resolve_stack(&record.name, previous).ok());
    if change_sets::is_same(&stack, before.as_ref()) && order.tags == record.tags {
        return Err(invalid("No updates are to be performed."));
    }
    call.core.deploy(&stack, &template, &order).map_err(refused)?;
    Ok(StackIdOutput { stack_id: stack.id })
}

pub(super) fn check_can_update(record: &StackRecord) -> Result<(), Fault> {
    if record.status.can_update() {
        return Ok(());
    }
    Err(invalid(format!("Stack:{} is in {} state and can not be updated.", record.id, record.status.name())))
}

pub(super) fn delete(call: &Call<'_>, request: StackInput) -> Result<Nothing, Fault> {
    let token = request_of(request.client_request_token, "DeleteStack")?;
    if done_before(&call.registry(), &request.stack_name, token.as_ref())?.is_some() {
        return Ok(Nothing {});
    }
    // As on AWS, one that is not there is deleted already.
    let Some(record) = find(&call.registry(), &request.stack_name) else { return Ok(Nothing {}) };
    if record.termination_protection {
        return Err(invalid(format!(
            "Stack [{}] cannot be deleted while TerminationProtection is enabled",
            record.name
        )));
    }
    if let Some((export, importer)) = imported(call, &record) {
        return Err(invalid(format!("Export {export} cannot be deleted as it is in use by {importer}")));
    }
    if record.status != StackStatus::DeleteInProgress {
        call.core.delete_stack(&record.name, token)?;
    }
    Ok(Nothing {})
}

/// An export of the stack that another one imports, and that one's name.
fn imported(call: &Call<'_>, record: &StackRecord) -> Option<(String, String)> {
    let registry = call.registry();
    let exports = record.outputs.iter().filter_map(|output| output.export_name.as_ref());
    for export in exports {
        for other in registry.stacks.values().filter(|other| other.name != record.name) {
            let Some(template) = made_from(call, other) else { continue };
            // Without the export the other stack no longer evaluates.
            let missing = format!("No export named {export} found.");
            let fails = call.core.resolve_without(&other.name, &template, &record.name);
            if fails.is_some_and(|faults| faults.to_string().contains(&missing)) {
                return Some((export.clone(), other.name.clone()));
            }
        }
    }
    None
}

pub(super) fn update_termination_protection(
    call: &Call<'_>,
    request: UpdateTerminationProtectionInput,
) -> Result<StackIdOutput, Fault> {
    call.change(|registry| {
        let record = find(registry, &request.stack_name).ok_or_else(|| no_stack(&request.stack_name))?;
        registry.stacks.update(&record.name, |record| {
            record.termination_protection = request.enable_termination_protection;
        });
        Ok(StackIdOutput { stack_id: record.id.clone() })
    })
}

pub(super) fn describe(call: &Call<'_>, request: DescribeStacksInput) -> Result<DescribeStacksOutput, Fault> {
    let registry = call.registry();
    let stacks = match &request.stack_name {
        Some(given) => vec![told(&*find_any(&registry, given)?)],
        None => registry.stacks.values().map(|stack| told(stack)).collect(),
    };
    let page = page("DescribeStacks", stacks, request.next_token.as_deref())?;
    Ok(DescribeStacksOutput { stacks: page.items, next_token: page.next_token })
}

fn told(record: &StackRecord) -> Stack {
    Stack {
        stack_id: record.id.clone(),
        stack_name: record.name.clone(),
        description: record.description.clone(),
        parameters: told_parameters(&record.source.parameters),
        creation_time: wire(record.created_at),
        deletion_time: record.deleted_at.map(wire),
        last_updated_time: record.updated_at.map(wire),
        stack_status: record.status.name(),
        stack_status_reason: record.status_reason.clone(),
        disable_rollback: record.disable_rollback,
        notification_arns: Vec::new(),
        timeout_in_minutes: record.timeout_minutes,
        capabilities: record.capabilities.clone(),
        outputs: record
            .outputs
            .iter()
            .map(|output| Output {
                output_key: output.name.clone(),
                output_value: output.value.clone(),
                description: output.description.clone(),
                export_name: output.export_name.clone(),
            })
            .collect(),
        tags: told_tags(&record.tags),
        enable_termination_protection: record.termination_protection,
        drift_information: DriftInformation { stack_drift_status: "NOT_CHECKED" },
    }
}

pub(super) fn list(call: &Call<'_>, request: ListStacksInput) -> Result<ListStacksOutput, Fault> {
    let registry = call.registry();
    let all = registry.stacks.values().chain(registry.deleted_stacks.values());
    let mut summaries: Vec<_> = all
        .filter(|stack| {
            request.stack_status_filter.is_empty()
                || request.stack_status_filter.iter().any(|status| status == stack.status.name())
        })
        .map(|stack| StackSummary {
            stack_id: stack.id.clone(),
            stack_name: stack.name.clone(),
            template_description: stack.description.clone(),
            creation_time: wire(stack.created_at),
            last_updated_time: stack.updated_at.map(wire),
            deletion_time: stack.deleted_at.map(wire),
            stack_status: stack.status.name(),
            stack_status_reason: stack.status_reason.clone(),
        })
        .collect();
    summaries.sort_by_key(|summary| std::cmp::Reverse(summary.creation_time));
    let page = page("ListStacks", summaries, request.next_token.as_deref())?;
    Ok(ListStacksOutput { stack_summaries: page.items, next_token: page.next_token })
}

pub(super) fn events(call: &Call<'_>, request: StackInput) -> Result<DescribeStackEventsOutput, Fault> {
    let record = find_any(&call.registry(), &request.stack_name)
        .map_err(|_| no_stack_in_brackets(&request.stack_name))?;
    let events = record.events.iter().rev().map(|event| StackEvent {
        stack_id: record.id.clone(),
        event_id: format!("{}-{:08}", event.logical_id, event.number),
        stack_name: record.name.clone(),
        logical_resource_id: event.logical_id.clone(),
        physical_resource_id: event.physical_id.clone(),
        resource_type: event.resource_type.clone(),
        timestamp: wire(event.at),
        resource_status: event.status.clone(),
        resource_status_reason: event.reason.clone(),
        client_request_token: event.token.clone(),
    });
    let page = page("DescribeStackEvents", events.collect(), request.next_token.as_deref())?;
    Ok(DescribeStackEventsOutput { stack_events: page.items, next_token: page.next_token })
}

pub(super) fn resources(
    call: &Call<'_>,
    request: DescribeStackResourcesInput,
) -> Result<DescribeStackResourcesOutput, Fault> {
    let registry = call.registry();
    let record = match (&request.stack_name, &request.physical_resource_id) {
        (Some(_), Some(_)) => {
            return Err(invalid("You can specify either StackName or PhysicalResourceId, but not both."));
        }
        (Some(given), None) => find_any(&registry, given)?,
        (None, Some(physical_id)) => registry
            .stacks
            .values()
            .find(|stack| stack.members.iter().any(|member| member.physical_id == *physical_id))
            .cloned()
            .ok_or_else(|| invalid(format!("Stack for {physical_id} does not exist")))?,
        (None, None) => return Err(invalid("Either StackName or PhysicalResourceId must be specified.")),
    };
    let wanted = |member: &&StackMember| {
        request.logical_resource_id.as_ref().is_none_or(|wanted| member.logical_id == *wanted)
    };
    let stack_resources = record
        .members
        .iter()
        .filter(wanted)
        .map(|member| StackResource {
            stack_name: record.name.clone(),
            stack_id: record.id.clone(),
            logical_resource_id: member.logical_id.clone(),
            physical_resource_id: member.physical_id.clone(),
            resource_type: member.resource_type.clone(),
            timestamp: wire(member.updated_at),
            resource_status: member.status.name(),
            resource_status_reason: member.reason.clone(),
        })
        .collect();
    Ok(DescribeStackResourcesOutput { stack_resources })
}

pub(super) fn resource(
    call: &Call<'_>,
    request: DescribeStackResourceInput,
) -> Result<DescribeStackResourceOutput, Fault> {
    let record = find_any(&call.registry(), &request.stack_name)?;
    let member = record.members.iter().find(|member| member.logical_id == request.logical_resource_id);
    let member = member.ok_or_else(|| {
        invalid(format!("Resource {} does not exist for stack {}", request.logical_resource_id, record.name))
    })?;
    Ok(DescribeStackResourceOutput {
        stack_resource_detail: StackResourceDetail {
            stack_name: record.name.clone(),
            stack_id: record.id.clone(),
            logical_resource_id: member.logical_id.clone(),
            physical_resource_id: member.physical_id.clone(),
            resource_type: member.resource_type.clone(),
            last_updated_timestamp: wire(member.updated_at),
            resource_status: member.status.name(),
            resource_status_reason: member.reason.clone(),
        },
    })
}

pub(super) fn list_resources(
    call: &Call<'_>,
    request: StackInput,
) -> Result<ListStackResourcesOutput, Fault> {
    let record = find_any(&call.registry(), &request.stack_name)?;
    let summaries = record.members.iter().map(|member| StackResourceSummary {
        logical_resource_id: member.logical_id.clone(),
        physical_resource_id: member.physical_id.clone(),
        resource_type: member.resource_type.clone(),
        last_updated_timestamp: wire(member.updated_at),
        resource_status: member.status.name(),
        resource_status_reason: member.reason.clone(),
    });
    let page = page("ListStackResources", summaries.collect(), request.next_token.as_deref())?;
    Ok(ListStackResourcesOutput { stack_resource_summaries: page.items, next_token: page.next_token })
}

pub(super) fn exports(call: &Call<'_>, request: ListExportsInput) -> Result<ListExportsOutput, Fault> {
    let registry = call.registry();
    let mut exports = Vec::new();
    for stack in registry.stacks.values() {
        for output in &stack.outputs {
            if let Some(name) = &output.export_name {
                exports.push(Export {
                    exporting_stack_id: stack.id.clone(),
                    name: name.clone(),
                    value: output.value.clone(),
                });
            }
        }
    }
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    let page = page("ListExports", exports, request.next_token.as_deref())?;
    Ok(ListExportsOutput { exports: page.items, next_token: page.next_token })
}
