//! Services whose tasks are replaced as a whole set: moves each through the stages of its
//! deployment. What is decided is in the model; here it meets the registry.

use std::collections::BTreeMap;

use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    rollout::shift::{Observed, Revision, Set, Shift, ShiftPlan, Stage, Verdict},
    service::{DeploymentId, Service},
};

use super::{Event, Pass, look_again, monitor};
use crate::{
    ecs::{
        plan,
        record::{DeploymentState, ServiceRecord},
    },
    registry::{Registry, TaskOwner, TaskRecord},
};

/// Brings a service's shift up to what is wanted of it and what is seen, and goes on with it.
pub(super) fn follow(registry: &mut Registry, service: &Service, now: Timestamp, pass: &mut Pass) {
    let arn = &service.arn;
    let Some(record) = registry.service_records.get(arn.as_str()).cloned() else { return };
    let plan = plan_of(&record);
    let Some(plan) = plan else {
        if service.shift.is_some() {
            put(registry, arn, None);
        }
        return;
    };
    let tasks: Vec<TaskRecord> =
        registry.tasks_of_service(arn).into_iter().map(|task| (*task).clone()).collect();
    let Some(mut shift) = present(service, &plan, &tasks, now) else { return };
    announce_begin(service, &shift, now, pass);
    let before = (shift.stage, shift.production);
    // Where it was stopped it stays.
    let stopped = record.deployments.first().is_some_and(|first| first.state == DeploymentState::Stopped);
    let verdict = match stopped && !shift.returning {
        true => Verdict::Wait(None),
        false => shift.advance(&plan, service.rolling, &observe(service, &shift, &tasks), now),
    };
    if before != (shift.stage, shift.production) {
        announce(service, &shift, before.0, now, pass);
    }
    tell(registry, arn, &record, &shift, now);
    let done = verdict == Verdict::Complete;
    let shift = (!done).then_some(shift);
    if service.shift != shift {
        put(registry, arn, shift);
    }
    match verdict {
        Verdict::Wait(Some(rest)) => look_again(pass, rest),
        Verdict::Wait(None) | Verdict::Complete => {}
        Verdict::RollBack => {
            let reason = "Service deployment rolled back because a lifecycle hook timed out.";
            monitor::fail(registry, arn, reason, true, now, pass);
        }
    }
}

/// How the deployment that is under way goes about it; `None` where it replaces task by task.
fn plan_of(record: &ServiceRecord) -> Option<ShiftPlan> {
    let configuration = match record.deployments.first() {
        Some(primary) => primary.request.deployment_configuration.as_ref(),
        None => record.request.deployment_configuration.as_ref(),
    };
    let plan = plan::shift_plan(configuration?)?;
    let goes_back = record.deployments.iter().any(|one| one.state == DeploymentState::RollbackInProgress);
    Some(if goes_back { plan::direct_plan() } else { plan })
}

/// The shift that a service is in, be it that one begins now.
fn present(service: &Service, plan: &ShiftPlan, tasks: &[TaskRecord], now: Timestamp) -> Option<Shift> {
    let green =
        Revision { deployment: service.deployment.clone(), task_definition: service.task_definition.clone() };
    let blue = match &service.shift {
        Some(shift) if shift.green.deployment == green.deployment && !shift.returning => {
            return Some(shift.clone());
        }
        Some(shift) if shift.blue.deployment == green.deployment => {
            let mut shift = shift.clone();
            shift.go_back(now);
            return Some(shift);
        }
        // Another deployment comes before this one is complete.
        Some(shift) => shift.successor_blue().clone(),
        None => most_of_others(&green.deployment, tasks)?,
    };
    let left = tasks.iter().filter_map(|task| revision_of(&task.owner));
    let leftovers = left.clone().any(|(of, _)| *of != green.deployment && *of != blue.deployment);
    Some(Shift::begin(blue, green, leftovers, plan, now))
}

/// What most of the tasks that are not of the present deployment run.
fn most_of_others(present: &DeploymentId, tasks: &[TaskRecord]) -> Option<Revision> {
    let mut counts: BTreeMap<&DeploymentId, (usize, &Arn)> = BTreeMap::new();
    let live = tasks.iter().filter(|task| task.draining_since.is_none());
    for (deployment, definition) in live.filter_map(|task| revision_of(&task.owner)) {
        if deployment != present {
            counts.entry(deployment).or_insert((0, definition)).0 += 1;
        }
    }
    let (deployment, (_, definition)) = counts.into_iter().max_by_key(|(_, (count, _))| *count)?;
    Some(Revision { deployment: deployment.clone(), task_definition: definition.clone() })
}

fn revision_of(owner: &TaskOwner) -> Option<(&DeploymentId, &Arn)> {
    match owner {
        TaskOwner::Service { deployment, task_definition, .. } => Some((deployment, task_definition)),
        _ => None,
    }
}

/// Which set of a shift a task is in.
pub(super) fn set_of(shift: &Shift, owner: &TaskOwner) -> Set {
    revision_of(owner).map_or(Set::Neither, |(deployment, _)| shift.set_of(deployment))
}

fn observe(service: &Service, shift: &Shift, tasks: &[TaskRecord]) -> Observed {
    let mut seen = Observed { desired: service.desired_count, ..Observed::default() };
    for task in tasks {
        let (left, healthy) = match set_of(shift, &task.owner) {
            Set::Blue => (&mut seen.blue_left, Some(&mut seen.blue_healthy)),
            Set::Green => (&mut seen.green_left, Some(&mut seen.green_healthy)),
            Set::Neither => (&mut seen.others_left, None),
        };
        *left += 1;
        // The first requests shall find it proven.
        if let Some(healthy) = healthy.filter(|_| task.available() && task.was_healthy) {
            *healthy += 1;
        }
    }
    seen
}

fn put(registry: &mut Registry, arn: &Arn, shift: Option<Shift>) {
    registry.services.update(arn.as_str(), |service| service.shift = shift);
}

/// Keeps what `DescribeServiceDeployments` tells.
fn tell(registry: &mut Registry, arn: &Arn, record: &ServiceRecord, shift: &Shift, now: Timestamp) {
    let told = record.deployments.iter().find(|deployment| deployment.id == shift.green.deployment);
    if told.is_none_or(|told| told.stage == Some(shift.stage) && told.hooks == shift.hooks) {
        return;
    }
    registry.service_records.update(arn.as_str(), |record| {
        let told = record.deployments.iter_mut().find(|deployment| deployment.id == shift.green.deployment);
        if let Some(told) = told {
            told.stage = Some(shift.stage);
            told.hooks.clone_from(&shift.hooks);
            told.updated_at = now;
        }
    });
}

fn event(service: &Service, now: Timestamp, message: String) -> Event {
    let subject = format!("service {}", service.name);
    Event { at: now, resource: service.arn.to_string(), subject, message }
}

fn announce_begin(service: &Service, shift: &Shift, now: Timestamp, pass: &mut Pass) {
    let before = service.shift.as_ref();
    if before.is_none_or(|before| before.green != shift.green) {
        let message = format!(
            "(deployment {}) starts the new tasks as a whole set beside those of deployment {}.",
            shift.green.deployment, shift.blue.deployment
        );
        pass.events.push(event(service, now, message));
    }
}

fn announce(service: &Service, shift: &Shift, before: Stage, now: Timestamp, pass: &mut Pass) {
    let green = &shift.green.deployment;
    let message = match (shift.returning, shift.stage) {
        (true, _) => format!("all production traffic goes back to deployment {}.", shift.blue.deployment),
        (false, Stage::ProductionTrafficShift) => format!(
            "{} percent of the production traffic goes to deployment {green}.",
            shift.production.percent()
        ),
        (false, stage) if stage != before => {
            format!("(deployment {green}) is in the lifecycle stage {}.", stage.name())
        }
        _ => return,
    };
    pass.events.push(event(service, now, message));
}
