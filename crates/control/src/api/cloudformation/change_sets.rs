//! Change sets.

use std::sync::Arc;

use bowline_aws::{
    cfn,
    cloudformation::{
        Capability, Change, ChangeSetInput, ChangeSetSummary, ChangeSetType, CreateChangeSetInput,
        CreateChangeSetOutput, DescribeChangeSetOutput, ListChangeSetsOutput, OnFailure,
        ResourceChange as WireChange, StackInput,
    },
    protocol::Fault,
};

use super::{
    Nothing, body, check_name, done_before, find as find_stack, find_any, invalid, made_from, no_stack,
    no_stack_in_brackets, page, refused, request_of, resolve, source, stacks, tag_map, told_parameters,
    told_tags,
};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    random,
    registry::Registry,
    stack::{
        StackOrder,
        record::{ChangeSetRecord, ResourceChange, StackRecord, StackStatus},
    },
};

/// Most change sets that wait, of all stacks.
const CHANGE_SETS_MAX: usize = 1_000;

/// What CloudFormation says of a change set that changes nothing.
const NO_CHANGES: &str = "The submitted information didn't contain changes. Submit different information to create a \
                          change set.";

fn not_found(name: &str) -> Fault {
    Fault::new("ChangeSetNotFound", format!("ChangeSet [{name}] does not exist")).with_status(404)
}

/// A change set by ARN, or by its name and its stack's.
pub(super) fn find(
    registry: &Registry,
    given: &str,
    stack: Option<&str>,
) -> Result<Arc<ChangeSetRecord>, Fault> {
    if let Some(record) = registry.change_sets.get(given) {
        return Ok(Arc::clone(record));
    }
    let stack = stack
        .ok_or_else(|| invalid("StackName must be specified if ChangeSetName is not specified as an ARN."))?;
    let name = find_stack(registry, stack).map_or_else(|| stack.to_owned(), |stack| stack.name.clone());
    let mut of_stack = registry.change_sets.values().filter(|record| record.stack == name);
    of_stack.find(|record| record.name == given).cloned().ok_or_else(|| not_found(given))
}

pub(super) fn create(call: &Call<'_>, request: CreateChangeSetInput) -> Result<CreateChangeSetOutput, Fault> {
    constraint::length("changeSetName", &request.change_set_name, 1..=128).map_err(invalid)?;
    let registry = call.registry();
    let present = find_stack(&registry, &request.stack_name);
    let creates = match request.change_set_type.unwrap_or(ChangeSetType::Update) {
        ChangeSetType::Create => true,
        ChangeSetType::Update => false,
        ChangeSetType::Import => return Err(invalid("Change sets of type IMPORT are not supported.")),
    };
    check_stack(&request.stack_name, present.as_deref(), creates)?;
    let name = present.as_ref().map_or_else(|| request.stack_name.clone(), |stack| stack.name.clone());
    let known = registry
        .change_sets
        .values()
        .any(|record| record.stack == name && record.name == request.change_set_name && !record.executed);
    if known {
        let message = format!("ChangeSet {} already exists.", request.change_set_name);
        return Err(Fault::new("AlreadyExistsException", message));
    }
    if registry.change_sets.len() >= CHANGE_SETS_MAX {
        return Err(Fault::new("LimitExceededException", "there are too many change sets: delete some"));
    }
    let body = body(request.template_body.clone(), request.template_url.as_deref())?;
    let previous = present.as_ref().and_then(|stack| made_from(call, stack));
    let template =
        source(body, request.use_previous_template.unwrap_or(false), &request.parameters, previous.as_ref())?;
    let stack = resolve(call, &name, &template, &request.capabilities)?;
    let before = previous.as_ref().and_then(|previous| call.core.resolve_stack(&name, previous).ok());
    let changes = changes(&stack, before.as_ref());
    // Those that are not given stay.
    let tags = match (&request.tags, &present) {
        (Some(tags), _) => tag_map(tags),
        (None, Some(stack)) => stack.tags.clone(),
        (None, None) => Default::default(),
    };
    let unchanged = !creates
        && is_same(&stack, before.as_ref())
        && present.as_ref().is_some_and(|stack| stack.tags == tags);
    let id = call
        .scope
        .arn("cloudformation", format_args!("changeSet/{}/{}", request.change_set_name, random::uuid()))
        .to_string();
    let record = ChangeSetRecord {
        id: id.clone(),
        name: request.change_set_name,
        stack: name.clone(),
        creates,
        created_at: call.now,
        description: request.description,
        source: call.core.seal_source(&id, &template).map_err(refused)?,
        tags,
        capabilities: request.capabilities.iter().map(|capability| capability.name().to_owned()).collect(),
        changes,
        failure: unchanged.then(|| NO_CHANGES.to_owned()),
        executed: false,
        disable_rollback: request.on_stack_failure == Some(OnFailure::DoNothing),
        delete_on_failure: request.on_stack_failure == Some(OnFailure::Delete),
    };
    call.change(|registry| {
        if creates && registry.stacks.get(&name).is_none() {
            let mut waiting = StackRecord {
                name: name.clone(),
                id: stack.id.clone(),
                created_at: call.now,
                ..StackRecord::default()
            };
            waiting.set_status(call.now, StackStatus::ReviewInProgress, Some("User Initiated".into()));
            registry.stacks.put(name.clone(), waiting);
        }
        registry.change_sets.put(id.clone(), record);
        Ok(())
    })?;
    Ok(CreateChangeSetOutput { id, stack_id: stack.id })
}

fn check_stack(given: &str, present: Option<&StackRecord>, creates: bool) -> Result<(), Fault> {
    match (present, creates) {
        (None, true) => check_name(given),
        (Some(stack), true) if stack.status == StackStatus::ReviewInProgress => Ok(()),
        (Some(stack), true) => Err(invalid(format!(
            "Stack [{}] already exists and cannot be created again with the changeSet [CREATE].",
            stack.name
        ))),
        (None, false) => Err(no_stack_in_brackets(given)),
        (Some(stack), false) => stacks::check_can_update(stack),
    }
}

/// Whether a stack would be what it was. As on AWS, another description alone is no change.
pub(super) fn is_same(stack: &cfn::Stack, before: Option<&cfn::Stack>) -> bool {
    let outputs = before.map(|before| &before.outputs);
    changes(stack, before).is_empty() && outputs == Some(&stack.outputs)
}

/// What would be added, changed and removed.
fn changes(stack: &cfn::Stack, before: Option<&cfn::Stack>) -> Vec<ResourceChange> {
    let change = |action: &str, resource: &cfn::StackResource, there: bool| ResourceChange {
        action: action.to_owned(),
        logical_id: resource.logical_id.clone(),
        physical_id: there.then(|| resource.physical_id.clone()),
        resource_type: resource.resource_type.clone(),
    };
    let mut changes = Vec::new();
    for resource in &stack.resources {
        match before.and_then(|before| before.resource(&resource.logical_id)) {
            None => changes.push(change("Add", resource, false)),
            Some(present) if present.body != resource.body => changes.push(change("Modify", present, true)),
            Some(_) => {}
        }
    }
    for present in before.iter().flat_map(|before| &before.resources) {
        if stack.resource(&present.logical_id).is_none() {
            changes.push(change("Remove", present, true));
        }
    }
    changes
}

fn status(record: &ChangeSetRecord) -> (&'static str, &'static str) {
    match (&record.failure, record.executed) {
        (Some(_), _) => ("FAILED", "UNAVAILABLE"),
        (None, true) => ("CREATE_COMPLETE", "EXECUTE_COMPLETE"),
        (None, false) => ("CREATE_COMPLETE", "AVAILABLE"),
    }
}

pub(super) fn describe(call: &Call<'_>, request: ChangeSetInput) -> Result<DescribeChangeSetOutput, Fault> {
    let registry = call.registry();
    let record = find(&registry, &request.change_set_name, request.stack_name.as_deref())?;
    let (status, execution_status) = status(&record);
    let changes = page("DescribeChangeSet", record.changes.iter().collect(), request.next_token.as_deref())?;
    Ok(DescribeChangeSetOutput {
        change_set_name: record.name.clone(),
        change_set_id: record.id.clone(),
        stack_id: find_any(&registry, &record.stack)?.id.clone(),
        stack_name: record.stack.clone(),
        description: record.description.clone(),
        parameters: told_parameters(&record.source.parameters),
        creation_time: wire(record.created_at),
        execution_status,
        status,
        status_reason: record.failure.clone(),
        capabilities: record.capabilities.clone(),
        tags: told_tags(&record.tags),
        changes: changes
            .items
            .into_iter()
            .map(|change| Change {
                r#type: "Resource",
                resource_change: WireChange {
                    action: change.action.clone(),
                    logical_resource_id: change.logical_id.clone(),
                    physical_resource_id: change.physical_id.clone(),
                    resource_type: change.resource_type.clone(),
                    replacement: (change.action == "Modify").then_some("False"),
                },
            })
            .collect(),
        next_token: changes.next_token,
    })
}

pub(super) fn execute(call: &Call<'_>, request: ChangeSetInput) -> Result<Nothing, Fault> {
    let registry = call.registry();
    let record = find(&registry, &request.change_set_name, request.stack_name.as_deref())?;
    let asked = format!("ExecuteChangeSet {}", record.id);
    let token = request_of(request.client_request_token, &asked)?;
    if done_before(&registry, &record.stack, token.as_ref())?.is_some() {
        return Ok(Nothing {});
    }
    let (_, execution_status) = status(&record);
    let stack = find_stack(&registry, &record.stack).ok_or_else(|| no_stack(&record.stack))?;
    let ready = execution_status == "AVAILABLE"
        && if record.creates {
            stack.status == StackStatus::ReviewInProgress
        } else {
            stack.status.can_update()
        };
    if !ready {
        let message = format!(
            "ChangeSet [{}] cannot be executed in its current status of [{execution_status}]",
            record.name
        );
        return Err(Fault::new("InvalidChangeSetStatus", message));
    }
    let template = call.core.open_source(&record.id, &record.source);
    let template = template.ok_or_else(|| not_found(&record.name))?;
    let given = [Capability::Iam, Capability::NamedIam, Capability::AutoExpand];
    let given: Vec<_> = given
        .into_iter()
        .filter(|capability| record.capabilities.iter().any(|name| name == capability.name()))
        .collect();
    let resolved = resolve(call, &record.stack, &template, &given)?;
    let order = StackOrder {
        by: call.caller.arn.clone(),
        tags: record.tags.clone(),
        capabilities: record.capabilities.clone(),
        disable_rollback: request.disable_rollback.unwrap_or(record.disable_rollback),
        delete_on_failure: record.delete_on_failure,
        request: token,
        ..StackOrder::default()
    };
    call.core.deploy(&resolved, &template, &order).map_err(refused)?;
    call.change(|registry| {
        registry.change_sets.update(&record.id, |record| record.executed = true);
        // The others were worked out against what the stack was before.
        registry.change_sets.retain(|id, other| other.stack != record.stack || id == record.id);
        Ok(Nothing {})
    })
}

pub(super) fn delete(call: &Call<'_>, request: ChangeSetInput) -> Result<Nothing, Fault> {
    call.change(|registry| {
        match find(registry, &request.change_set_name, request.stack_name.as_deref()) {
            Ok(record) => {
                registry.change_sets.remove(&record.id);
                Ok(Nothing {})
            }
            // As on AWS, one that is not there is deleted already.
            Err(fault) if fault.code == "ChangeSetNotFound" => Ok(Nothing {}),
            Err(fault) => Err(fault),
        }
    })
}

pub(super) fn list(call: &Call<'_>, request: StackInput) -> Result<ListChangeSetsOutput, Fault> {
    let registry = call.registry();
    let stack = find_any(&registry, &request.stack_name)?;
    let of_stack = registry.change_sets.values().filter(|record| record.stack == stack.name);
    let summaries = of_stack.map(|record| {
        let (status, execution_status) = status(record);
        ChangeSetSummary {
            stack_id: stack.id.clone(),
            stack_name: stack.name.clone(),
            change_set_id: record.id.clone(),
            change_set_name: record.name.clone(),
            execution_status,
            status,
            status_reason: record.failure.clone(),
            creation_time: wire(record.created_at),
            description: record.description.clone(),
        }
    });
    let page = page("ListChangeSets", summaries.collect(), request.next_token.as_deref())?;
    Ok(ListChangeSetsOutput { summaries: page.items, next_token: page.next_token })
}
