//! Stacks on their way: complete when their services are, rolled back when they cannot be, gone
//! when their tasks are.

use std::{collections::BTreeSet, time::Duration};

use bowline_model::{arn::Arn, clock::Timestamp, service::Service};

use super::{
    delete,
    record::{ResourceStatus, StackMember, StackRecord, StackStatus},
};
use crate::{
    ecs::{
        record::{Deployment, DeploymentState, ServiceRecord},
        service,
    },
    reconcile::{
        is_steady,
        monitor::{self, Cause},
    },
    registry::Registry,
};

/// How long CloudFormation waits for an ECS service to stabilise.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// Most stacks that are gone and still told of.
const DELETED_MAX: usize = 100;

/// Moves every stack that is under way as far as it can be. Returns the names of those whose
/// update has failed: they must be made what they were before.
pub fn advance(registry: &mut Registry, alarms: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
    let under_way: Vec<_> =
        registry.stacks.values().filter(|stack| stack.status.in_progress()).cloned().collect();
    let mut failed_updates = Vec::new();
    for stack in under_way {
        let mut record = (*stack).clone();
        match record.status {
            StackStatus::CreateInProgress
            | StackStatus::UpdateInProgress
            | StackStatus::UpdateRollbackInProgress => {
                complete_members(registry, &mut record, now);
                if is_complete(&record) {
                    complete(&mut record, now);
                } else if let Some(failure) = failure(registry, &record, alarms, now) {
                    fail(registry, &mut record, failure, now, &mut failed_updates);
                }
                registry.stacks.put(record.name.clone(), record);
            }
            StackStatus::RollbackInProgress | StackStatus::DeleteInProgress => {
                finish_deletion(registry, record, now);
            }
            _ => {}
        }
    }
    failed_updates
}

/// Members that are what the template says.
fn complete_members(registry: &Registry, record: &mut StackRecord, now: Timestamp) {
    let rolls_back = record.status == StackStatus::UpdateRollbackInProgress;
    let begun = (!rolls_back).then(|| record.updated_at.unwrap_or(record.created_at));
    let is_there = |member: &StackMember| match member.resource_type.as_str() {
        "AWS::ECS::Service" => {
            let service = registry.services.get(&member.physical_id);
            service.is_some_and(|service| is_deployed(registry, service, begun))
        }
        "AWS::ElasticLoadBalancingV2::LoadBalancer" => member.physical_id.parse::<Arn>().is_ok_and(|arn| {
            registry.load_balancers.get(arn.as_str()).is_none()
                || registry.tasks_of_gateway(&arn).iter().any(|task| task.available())
        }),
        _ => true,
    };
    let done = |from| move |member: &StackMember| member.status == from;
    for (from, to) in [
        (ResourceStatus::CreateInProgress, ResourceStatus::CreateComplete),
        (ResourceStatus::UpdateInProgress, ResourceStatus::UpdateComplete),
    ] {
        record.move_members(now, to, |member| done(from)(member) && is_there(member));
    }
}

/// `begun`: when the stack's operation began, unless it is the way back.
fn is_deployed(registry: &Registry, service: &Service, begun: Option<Timestamp>) -> bool {
    let record = registry.service_records.get(service.arn.as_str());
    if record.zip(begun).is_some_and(|(record, begun)| gave_up(record, begun).is_some()) {
        return false;
    }
    let primary = record.and_then(|record| record.deployments.first());
    is_steady(registry, service) && primary.is_none_or(|primary| primary.state == DeploymentState::Completed)
}

/// A deployment that began with the stack's operation, and was ended by a hook or by hand.
fn gave_up(record: &ServiceRecord, begun: Timestamp) -> Option<&Deployment> {
    let ended = [
        DeploymentState::RollbackInProgress,
        DeploymentState::RollbackSuccessful,
        DeploymentState::RollbackFailed,
        DeploymentState::Stopped,
    ];
    let mut deployments = record.deployments.iter();
    deployments.find(|deployment| deployment.created_at >= begun && ended.contains(&deployment.state))
}

fn is_complete(record: &StackRecord) -> bool {
    let under_way = [ResourceStatus::CreateInProgress, ResourceStatus::UpdateInProgress];
    !record.members.iter().any(|member| under_way.contains(&member.status))
}

fn complete(record: &mut StackRecord, now: Timestamp) {
    let status = match record.status {
        StackStatus::CreateInProgress => StackStatus::CreateComplete,
        StackStatus::UpdateRollbackInProgress => StackStatus::UpdateRollbackComplete,
        _ => StackStatus::UpdateComplete,
    };
    record.previous = None;
    record.set_status(now, status, None);
}

/// Why a stack will not become complete: a service whose circuit breaker says so, or time is up.
fn failure(
    registry: &Registry,
    record: &StackRecord,
    alarms: &BTreeSet<String>,
    now: Timestamp,
) -> Option<(Option<String>, String)> {
    let begun = record.updated_at.unwrap_or(record.created_at);
    for arn in record.services() {
        let Some(of_service) = registry.service_records.get(arn.as_str()) else { continue };
        let Some(primary) = of_service.deployments.first() else { continue };
        if record.status != StackStatus::UpdateRollbackInProgress
            && let Some(ended) = gave_up(of_service, begun)
        {
            let reason = format!("Resource handler returned message: \"{}\"", ended.reason);
            return Some((Some(arn.to_string()), reason));
        }
        let cause = monitor::failure(registry, arn.as_str(), of_service, alarms).map(|(cause, _)| cause);
        if let Some(Cause::Alarms(_)) = &cause {
            let message = cause.map(|cause| cause.reason(false)).unwrap_or_default();
            return Some((
                Some(arn.to_string()),
                format!("Resource handler returned message: \"{message}\""),
            ));
        }
        if cause.is_some() {
            let reason = format!(
                "Resource handler returned message: \"Error occurred during operation 'ECS Deployment Circuit \
                 Breaker was triggered'.\" ({} tasks of {} failed)",
                primary.failed_tasks,
                arn.resource_name()
            );
            return Some((Some(arn.to_string()), reason));
        }
    }
    let limit = match record.timeout_minutes {
        Some(minutes) => Duration::from_secs(u64::from(minutes) * 60),
        None => PATIENCE,
    };
    (now.since(begun) >= limit).then(|| (None, "the time for the operation is over".to_owned()))
}

fn fail(
    registry: &mut Registry,
    record: &mut StackRecord,
    (physical_id, reason): (Option<String>, String),
    now: Timestamp,
    failed_updates: &mut Vec<String>,
) {
    let creating = record.status == StackStatus::CreateInProgress;
    let failed = if creating { ResourceStatus::CreateFailed } else { ResourceStatus::UpdateFailed };
    let mut members = std::mem::take(&mut record.members);
    for member in &mut members {
        let under_way =
            matches!(member.status, ResourceStatus::CreateInProgress | ResourceStatus::UpdateInProgress);
        if under_way && physical_id.as_ref().is_none_or(|id| *id == member.physical_id) {
            member.status = failed;
            member.reason = Some(reason.clone());
            member.updated_at = now;
            record.event(now, Some(member), failed.name(), Some(reason.clone()));
        }
    }
    record.members = members;
    let ids: Vec<_> = record
        .members
        .iter()
        .filter(|member| member.status == failed)
        .map(|member| member.logical_id.clone())
        .collect();
    let what = format!(
        "The following resource(s) failed to {}: [{}].",
        if creating { "create" } else { "update" },
        ids.join(", ")
    );
    match (record.status, record.disable_rollback) {
        (StackStatus::CreateInProgress, true) => {
            record.set_status(now, StackStatus::CreateFailed, Some(what));
        }
        (StackStatus::CreateInProgress, false) if record.delete_on_failure => {
            let reason = format!("{what} Delete requested by user.");
            record.set_status(now, StackStatus::DeleteInProgress, Some(reason));
            begin_removal(registry, record, now);
        }
        (StackStatus::CreateInProgress, false) => {
            let reason = format!("{what} Rollback requested by user.");
            record.set_status(now, StackStatus::RollbackInProgress, Some(reason));
            begin_removal(registry, record, now);
        }
        (StackStatus::UpdateInProgress, false) if record.previous.is_some() => {
            record.set_status(now, StackStatus::UpdateRollbackInProgress, Some(what));
            failed_updates.push(record.name.clone());
        }
        _ => record.set_status(now, StackStatus::UpdateFailed, Some(what)),
    }
}

/// Takes the stack's services down in order; the rest goes after their last task.
pub(crate) fn begin_removal(registry: &mut Registry, record: &mut StackRecord, now: Timestamp) {
    for arn in record.services() {
        service::drain(registry, arn.as_str());
    }
    record.move_members(now, ResourceStatus::DeleteInProgress, |_| true);
}

/// A stack that is being removed, when no task of it is left.
fn finish_deletion(registry: &mut Registry, mut record: StackRecord, now: Timestamp) {
    if record.services().any(|arn| !registry.tasks_of_service(&arn).is_empty()) {
        return;
    }
    // Gateways end when nothing wants them.
    let balancers: Vec<_> = record.load_balancers().collect();
    delete(registry, &record.name, now);
    registry.stacks.put(record.name.clone(), record.clone());
    if balancers.iter().any(|arn| !registry.tasks_of_gateway(arn).is_empty()) {
        return;
    }
    record.move_members(now, ResourceStatus::DeleteComplete, |_| true);
    record.resources.clear();
    record.local_commands.clear();
    record.outputs.clear();
    if record.status == StackStatus::RollbackInProgress {
        record.set_status(now, StackStatus::RollbackComplete, None);
        registry.stacks.put(record.name.clone(), record);
        return;
    }
    record.set_status(now, StackStatus::DeleteComplete, None);
    record.deleted_at = Some(now);
    registry.stacks.remove(&record.name);
    registry.deleted_stacks.put(record.id.clone(), record);
    let surplus = registry.deleted_stacks.len().saturating_sub(DELETED_MAX);
    if surplus > 0 {
        let mut oldest: Vec<_> =
            registry.deleted_stacks.iter().map(|(id, stack)| (stack.deleted_at, id.to_owned())).collect();
        oldest.sort();
        for (_, id) in oldest.into_iter().take(surplus) {
            registry.deleted_stacks.remove(&id);
        }
    }
}
