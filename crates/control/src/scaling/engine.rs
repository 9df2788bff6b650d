//! Does what policies and scheduled actions want.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{
    alarm::{Alarm, AlarmState, Judgement},
    arn::Arn,
    clock::Timestamp,
    scaling::{Demand, NotScaled, base, decide},
};

use super::{
    ACTIVITIES_MAX, ActivityStatus, PolicyContent, ScalableTargetRecord, ScalingActivityRecord,
    ScalingPolicyRecord, commands, policy, prefix_of, service_arn,
};
use crate::{
    alarms::evaluator::Invocation,
    ecs::{
        record::ServiceStatus,
        service::{self, Change},
    },
    random,
    reconcile::Event,
    registry::Registry,
};

/// Alarms whose values [`scale`] looks at.
pub(crate) fn watched<'a>(registry: &'a Registry, invocations: &[Invocation]) -> Vec<&'a Alarm> {
    let mut watched = Vec::new();
    for id in asked_for(registry, invocations) {
        let prefix = policy::alarm_prefix(&id);
        let own = registry.alarms.under(&prefix).map(|(_, alarm)| &**alarm);
        watched.extend(own.filter(|alarm| alarm.state.state == AlarmState::Alarm));
    }
    watched
}

/// The scalable targets whose policies are asked.
fn asked_for(registry: &Registry, invocations: &[Invocation]) -> BTreeSet<String> {
    let asked: BTreeSet<&str> = invocations.iter().map(|invocation| invocation.policy.as_str()).collect();
    let policies = registry.scaling_policies.values().filter(|policy| asked.contains(policy.arn.as_str()));
    policies.map(|policy| policy.resource_id.clone()).collect()
}

/// Asks the policies that alarms name, and scales what they want. `judgements` are, by name, of the alarms that are
/// [`watched`]. Returns what people should know.
pub(crate) fn scale(
    registry: &mut Registry,
    invocations: &[Invocation],
    judgements: &BTreeMap<String, Judgement>,
    now: Timestamp,
) -> Vec<Event> {
    let ids = asked_for(registry, invocations);
    ids.iter().filter_map(|id| scale_one(registry, id, invocations, judgements, now)).collect()
}

fn scale_one(
    registry: &mut Registry,
    id: &str,
    invocations: &[Invocation],
    judgements: &BTreeMap<String, Judgement>,
    now: Timestamp,
) -> Option<Event> {
    let target = registry.scalable_targets.get(id)?.clone();
    let service = service_arn(&registry.settings().scope, id)?;
    let current = registry.services.get(service.as_str())?.desired_count;
    let from = base(current, target.cooldown.as_ref(), now);
    let policies: Vec<_> =
        registry.scaling_policies.under(&prefix_of(id)).map(|(_, policy)| policy.clone()).collect();
    let mut demands = Vec::new();
    let mut causes = Vec::new();
    for policy in &policies {
        let (demand, cause) = match &policy.content {
            PolicyContent::TargetTracking(_) => track(registry, policy, from, current, judgements),
            PolicyContent::Step(_) => step(policy, invocations, from, current),
        };
        demands.push(demand);
        causes.push(cause.unwrap_or_default());
    }
    let mut suspended = target.suspended;
    let record = registry.service_records.get(service.as_str())?;
    // While a deployment is under way tasks are added, but not taken away. Source: ECS developer guide, "Automatically
    // scale your Amazon ECS service".
    suspended.in_ |= service::is_deploying(record);
    let decided = decide(target.bounds, suspended, current, &demands, target.cooldown.as_ref(), now);
    let scaling = match decided {
        Ok(scaling) => scaling,
        Err(why) => {
            if why != NotScaled::AlreadyAtDesired {
                tracing::debug!(service = id, ?why, "a service was not scaled");
            }
            return None;
        }
    };
    registry.scalable_targets.update(id, |target| target.cooldown = Some(scaling.cooldown));
    let cause = causes.get(scaling.demand).cloned().unwrap_or_default();
    set_capacity(registry, &target, &service, scaling.tasks, cause, now)
}

/// What target tracking wants, by the states of its two alarms.
fn track(
    registry: &Registry,
    policy: &ScalingPolicyRecord,
    from: u32,
    current: u32,
    judgements: &BTreeMap<String, Judgement>,
) -> (Demand, Option<String>) {
    let PolicyContent::TargetTracking(given) = &policy.content else { return (Demand::Nothing, None) };
    let Ok(tracking) = policy::tracking(given) else { return (Demand::Nothing, None) };
    let prefix = policy::alarm_prefix(&policy.resource_id);
    let own = registry.alarms.under(&prefix).map(|(_, alarm)| alarm);
    let in_alarm: Vec<_> = own
        .filter(|alarm| {
            alarm.state.state == AlarmState::Alarm
                && alarm.actions.alarm.iter().any(|action| action == policy.arn.as_str())
        })
        .collect();
    if let Some(high) = in_alarm.iter().find(|alarm| !policy::is_low(alarm)) {
        return match judgements.get(&high.name).and_then(|judged| judged.values.first()) {
            Some((_, metric)) => (tracking.demand_out(from, current, *metric), Some(cause(high, policy))),
            None => (tracking.demand_between(), None),
        };
    }
    if let Some(low) = in_alarm.iter().find(|alarm| policy::is_low(alarm)) {
        let values = judgements.get(&low.name).map_or(&[][..], |judged| &judged.values);
        let metrics = values.iter().map(|(_, value)| *value);
        return (tracking.demand_in(current, metrics), Some(cause(low, policy)));
    }
    (tracking.demand_between(), None)
}

/// What step scaling wants, where an alarm asks it.
fn step(
    policy: &ScalingPolicyRecord,
    invocations: &[Invocation],
    from: u32,
    current: u32,
) -> (Demand, Option<String>) {
    let PolicyContent::Step(given) = &policy.content else { return (Demand::Nothing, None) };
    let Ok(steps) = policy::steps(given) else { return (Demand::Nothing, None) };
    // Of several alarms that ask it at one moment, whose demand is the greatest.
    let asking = invocations.iter().filter(|invocation| invocation.policy == policy.arn);
    let wanted = asking.filter_map(|invocation| {
        let values = invocation.by.values.iter().map(|(_, value)| *value);
        // An alarm that was put in its state has no values: then it is at its threshold.
        let difference =
            steps.aggregation.of(values).map_or(0.0, |value| value - invocation.alarm.rule.threshold);
        match steps.demand(from, current, difference) {
            Demand::Capacity { tasks, cooldown } => Some((tasks, cooldown, invocation)),
            Demand::Hold | Demand::Nothing => None,
        }
    });
    match wanted.max_by_key(|(tasks, ..)| *tasks) {
        Some((tasks, cooldown, invocation)) => {
            (Demand::Capacity { tasks, cooldown }, Some(cause(&invocation.alarm, policy)))
        }
        None => (Demand::Nothing, None),
    }
}

fn cause(alarm: &Alarm, policy: &ScalingPolicyRecord) -> String {
    format!("monitor alarm {} in state {} triggered policy {}", alarm.name, alarm.state.state, policy.name)
}

/// Makes a service have so many tasks, by the same command as `UpdateService`, and remembers that.
fn set_capacity(
    registry: &mut Registry,
    target: &ScalableTargetRecord,
    service: &Arn,
    tasks: u32,
    cause: String,
    now: Timestamp,
) -> Option<Event> {
    let record = registry.service_records.get(service.as_str())?;
    if record.status != ServiceStatus::Active {
        return None;
    }
    let mut request = record.request.clone();
    request.desired_count = Some(i64::from(tasks));
    // A family without a revision would now be its latest one: scaling deploys nothing.
    let present = registry.services.get(service.as_str())?.task_definition.clone();
    let named =
        request.task_definition.as_deref().and_then(|named| crate::ecs::definition::find(registry, named));
    if named.as_ref() != Some(&present) {
        request.task_definition = Some(present.to_string());
    }
    let change = Change { now, by: target.role_arn.clone(), force: false };
    let failure = service::put(registry, service, &request, &change).err().map(|faults| faults.join(" "));
    let message = match &failure {
        None => format!("was scaled to {tasks} tasks: {cause}."),
        Some(failure) => format!("could not be scaled to {tasks} tasks: {failure}"),
    };
    let activity = ScalingActivityRecord {
        id: random::uuid(),
        tasks,
        cause,
        started_at: now,
        ended_at: failure.is_some().then_some(now),
        status: if failure.is_some() { ActivityStatus::Failed } else { ActivityStatus::InProgress },
        failure,
    };
    let mut activities =
        registry.scaling_activities.get(&target.resource_id).map(|of| (**of).clone()).unwrap_or_default();
    for earlier in activities.items.iter_mut().filter(|earlier| earlier.status == ActivityStatus::InProgress)
    {
        (earlier.status, earlier.ended_at) = (ActivityStatus::Overridden, Some(now));
    }
    activities.items.push_back(activity);
    while activities.items.len() > ACTIVITIES_MAX {
        activities.items.pop_front();
    }
    registry.scaling_activities.put(target.resource_id.as_str(), activities);
    let subject = format!("service {}", service.resource_name());
    Some(Event { at: now, resource: service.to_string(), subject, message })
}

/// Whether [`advance`] has something to do.
pub(crate) fn is_due(registry: &Registry, now: Timestamp) -> bool {
    registry.scheduled_actions.values().any(|action| action.next.is_some_and(|next| next <= now))
        || registry.scalable_targets.values().any(|target| is_gone(registry, &target.resource_id))
        || registry.scaling_activities.iter().any(|(id, _)| is_gone(registry, id))
        || registry.scaling_activities.iter().any(|(id, activities)| {
            activities.items.iter().any(|activity| activity.status == ActivityStatus::InProgress)
                && settled(registry, id).is_some()
        })
}

/// Does what is scheduled, ends activities whose services have come to rest, and forgets targets whose services are
/// gone. Returns what people should know.
pub(crate) fn advance(registry: &mut Registry, now: Timestamp) -> Vec<Event> {
    let gone: Vec<String> = registry
        .scalable_targets
        .values()
        .map(|target| target.resource_id.clone())
        .filter(|id| is_gone(registry, id))
        .collect();
    for id in gone {
        // It was found just now.
        let _ = commands::deregister(registry, &id, now);
    }
    // Of a target that was deregistered they are kept as long as its service is there.
    let of_nothing: Vec<String> = registry
        .scaling_activities
        .iter()
        .map(|(id, _)| id.to_owned())
        .filter(|id| is_gone(registry, id))
        .collect();
    for id in of_nothing {
        registry.scaling_activities.remove(&id);
    }
    let events = follow_schedules(registry, now);
    let settled: Vec<(String, u32)> = registry
        .scaling_activities
        .iter()
        .filter_map(|(id, _)| Some((id.to_owned(), self::settled(registry, id)?)))
        .collect();
    for (id, tasks) in settled {
        registry.scaling_activities.update(&id, |activities| {
            for activity in
                activities.items.iter_mut().filter(|activity| activity.status == ActivityStatus::InProgress)
            {
                activity.status = if activity.tasks == tasks {
                    ActivityStatus::Successful
                } else {
                    ActivityStatus::Overridden
                };
                activity.ended_at = Some(now);
            }
        });
    }
    events
}

/// Whether there is no such service any more.
fn is_gone(registry: &Registry, id: &str) -> bool {
    let service = service_arn(&registry.settings().scope, id);
    service.is_none_or(|service| registry.services.get(service.as_str()).is_none())
}

/// How many tasks a service has, where it has as many as it wants.
fn settled(registry: &Registry, id: &str) -> Option<u32> {
    let service = service_arn(&registry.settings().scope, id)?;
    let wanted = registry.services.get(service.as_str())?.desired_count;
    let tasks = registry.tasks_of_service(&service);
    let is_there = usize::try_from(wanted).is_ok_and(|wanted| tasks.len() == wanted);
    (is_there && tasks.iter().all(|task| task.available())).then_some(wanted)
}

fn follow_schedules(registry: &mut Registry, now: Timestamp) -> Vec<Event> {
    let mut due: Vec<_> = registry
        .scheduled_actions
        .iter()
        .filter(|(_, action)| action.next.is_some_and(|next| next <= now))
        .map(|(key, action)| (action.next, key.to_owned(), action.clone()))
        .collect();
    due.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut events = Vec::new();
    for (_, key, action) in due {
        // What was missed while nothing ran is done once.
        let next = commands::next_of(&action, now);
        match next {
            Some(_) => registry.scheduled_actions.update(&key, |action| action.next = next),
            None => registry.scheduled_actions.remove(&key),
        }
        let Some(target) = registry.scalable_targets.get(&action.resource_id).cloned() else { continue };
        if target.suspended.scheduled {
            continue;
        }
        let bound =
            |given: Option<i64>, kept| given.and_then(|given| u32::try_from(given).ok()).unwrap_or(kept);
        let mut bounds = target.bounds;
        bounds.min = bound(action.action.min_capacity, bounds.min);
        bounds.max = bound(action.action.max_capacity, bounds.max);
        // Where one alone is given it moves the other.
        match (action.action.min_capacity, action.action.max_capacity) {
            (Some(_), None) => bounds.max = bounds.max.max(bounds.min),
            _ => bounds.min = bounds.min.min(bounds.max),
        }
        registry.scalable_targets.update(&action.resource_id, |target| target.bounds = bounds);
        let Some(service) = service_arn(&registry.settings().scope, &action.resource_id) else { continue };
        let Some(current) = registry.services.get(service.as_str()).map(|service| service.desired_count)
        else {
            continue;
        };
        let tasks = current.clamp(bounds.min, bounds.max);
        if tasks != current {
            let which = if tasks > current { "minimum" } else { "maximum" };
            let cause = format!("scheduled action {} set the {which} capacity to {tasks}", action.name);
            events.extend(set_capacity(registry, &target, &service, tasks, cause, now));
        }
    }
    events
}
