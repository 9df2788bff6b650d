//! What changes scalable targets, policies and scheduled actions: each checks, then changes the registry it is given, or
//! refuses.

use bowline_aws::application_autoscaling::{PolicyAlarm, ScalableTargetAction};
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
    scaling::{CapacityBounds, Suspended, schedule::Schedule},
};

use super::{
    CAPACITY_MAX, DIMENSION, NAMESPACE, POLICIES_MAX, PolicyContent, SCHEDULED_ACTIONS_MAX,
    ScalableTargetRecord, ScalingError, ScalingPolicyRecord, ScheduledActionRecord, TAGS_MAX, TARGETS_MAX,
    key_of, policy, prefix_of, service_arn,
};
use crate::{alarms, random, registry::Registry};

fn invalid(message: impl Into<String>) -> ScalingError {
    ScalingError::Invalid(message.into())
}

/// Whether this is what is scaled here.
pub(crate) fn check_dimension(namespace: &str, dimension: &str) -> Result<(), ScalingError> {
    check_namespace(namespace)?;
    if dimension != DIMENSION {
        return Err(invalid(format!(
            "Unsupported service namespace, resource type or scalable dimension: {dimension:.100}"
        )));
    }
    Ok(())
}

/// Whether this is a service that is scaled here.
pub(crate) fn check_namespace(namespace: &str) -> Result<(), ScalingError> {
    if namespace != NAMESPACE {
        return Err(invalid(format!(
            "Unsupported service namespace, resource type or scalable dimension: {namespace:.100} is not served here"
        )));
    }
    Ok(())
}

fn capacity(member: &str, given: i64) -> Result<u32, ScalingError> {
    match u32::try_from(given) {
        Ok(capacity) if given <= CAPACITY_MAX => Ok(capacity),
        _ => Err(invalid(format!("{member} must be from 0 to {CAPACITY_MAX}."))),
    }
}

/// What is registered, or what of it is changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registration {
    pub(crate) resource_id: String,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) role_arn: Option<String>,
    pub(crate) suspended: Option<bowline_aws::application_autoscaling::SuspendedState>,
    pub(crate) tags: std::collections::BTreeMap<String, String>,
}

/// Registers a service as scalable, or changes how far it is.
pub(crate) fn register(
    registry: &mut Registry,
    scope: &Scope,
    given: Registration,
    now: Timestamp,
) -> Result<Arn, ScalingError> {
    let id = given.resource_id;
    let service = service_arn(scope, &id).ok_or_else(|| {
        invalid("The resource id must be service/CLUSTER/NAME for ecs:service:DesiredCount.")
    })?;
    if registry.services.get(service.as_str()).is_none() {
        return Err(invalid(format!("ECS service doesn't exist: {id}")));
    }
    let present = registry.scalable_targets.get(&id).cloned();
    if present.is_some() && !given.tags.is_empty() {
        return Err(invalid(
            "Tags can only be given when a scalable target is first registered: use TagResource.",
        ));
    }
    if given.tags.len() > TAGS_MAX {
        return Err(invalid(format!("There can be {TAGS_MAX} tags at most.")));
    }
    let bound = |member, given: Option<i64>, kept: Option<u32>| match (given, kept) {
        (Some(given), _) => capacity(member, given),
        (None, Some(kept)) => Ok(kept),
        (None, None) => {
            Err(invalid("MinCapacity and MaxCapacity are required to register a new scalable target."))
        }
    };
    let kept = present.as_ref().map(|target| target.bounds);
    let bounds = CapacityBounds {
        min: bound("MinCapacity", given.min, kept.map(|kept| kept.min))?,
        max: bound("MaxCapacity", given.max, kept.map(|kept| kept.max))?,
    };
    if bounds.min > bounds.max {
        return Err(invalid("Maximum capacity cannot be less than minimum capacity."));
    }
    let mut suspended = present.as_ref().map_or_else(Suspended::default, |target| target.suspended);
    if let Some(given) = given.suspended {
        suspended = Suspended {
            in_: given.dynamic_scaling_in_suspended.unwrap_or(suspended.in_),
            out: given.dynamic_scaling_out_suspended.unwrap_or(suspended.out),
            scheduled: given.scheduled_scaling_suspended.unwrap_or(suspended.scheduled),
        };
    }
    if present.is_none() && registry.scalable_targets.len() >= TARGETS_MAX {
        return Err(ScalingError::Quota(format!("The quota of {TARGETS_MAX} scalable targets is reached.")));
    }
    let target = match present {
        Some(present) => ScalableTargetRecord {
            bounds,
            suspended,
            role_arn: given.role_arn.unwrap_or_else(|| present.role_arn.clone()),
            ..ScalableTargetRecord::clone(&present)
        },
        None => ScalableTargetRecord {
            arn: scope
                .arn("application-autoscaling", format_args!("scalable-target/{}", random::alphanumeric(34))),
            resource_id: id.clone(),
            bounds,
            role_arn: given.role_arn.unwrap_or_else(|| service_role(scope)),
            suspended,
            tags: given.tags,
            created_at: now,
            cooldown: None,
        },
    };
    let arn = target.arn.clone();
    registry.scalable_targets.put(id, target);
    Ok(arn)
}

/// The role that AWS makes for scaling ECS services.
fn service_role(scope: &Scope) -> String {
    format!(
        "arn:{}:iam::{}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/\
         AWSServiceRoleForApplicationAutoScaling_ECSService",
        scope.partition, scope.account_id
    )
}

fn find_target<'a>(
    registry: &'a Registry,
    id: &str,
) -> Result<&'a std::sync::Arc<ScalableTargetRecord>, ScalingError> {
    registry.scalable_targets.get(id).ok_or_else(|| {
        ScalingError::NotFound(format!(
            "No scalable target found for service namespace: {NAMESPACE}, resource ID: {id:.200}, scalable dimension: \
             {DIMENSION}"
        ))
    })
}

/// Forgets a target with its policies, their alarms, and its scheduled actions. What was done is remembered until the
/// service is registered again.
pub(crate) fn deregister(registry: &mut Registry, id: &str, now: Timestamp) -> Result<(), ScalingError> {
    find_target(registry, id)?;
    let names: Vec<String> =
        registry.scaling_policies.under(&prefix_of(id)).map(|(_, policy)| policy.name.clone()).collect();
    for name in names {
        delete_policy(registry, id, &name, now)?;
    }
    let prefix = prefix_of(id);
    registry.scheduled_actions.retain(|key, _| !key.starts_with(&prefix));
    registry.scalable_targets.remove(id);
    Ok(())
}

/// Makes a policy, or makes it what is given. Returns its ARN. `arn` is it where that is decided already.
pub(crate) fn put_policy(
    registry: &mut Registry,
    scope: &Scope,
    id: &str,
    name: &str,
    content: PolicyContent,
    arn: Option<Arn>,
    now: Timestamp,
) -> Result<Arn, ScalingError> {
    let target = std::sync::Arc::clone(find_target(registry, id)?);
    let key = key_of(id, name);
    let present = registry.scaling_policies.get(&key).cloned();
    if present.is_none() && registry.scaling_policies.under(&prefix_of(id)).count() >= POLICIES_MAX {
        return Err(ScalingError::Quota(format!(
            "A scalable target has {POLICIES_MAX} scaling policies at most."
        )));
    }
    let kind = |content: &PolicyContent| matches!(content, PolicyContent::Step(_));
    if present.as_ref().is_some_and(|present| kind(&present.content) != kind(&content)) {
        return Err(invalid("The type of a scaling policy can't be changed: delete it first."));
    }
    let arn = arn.unwrap_or_else(|| {
        present
            .as_ref()
            .map_or_else(|| policy_arn(scope, &random::uuid(), id, name), |present| present.arn.clone())
    });
    let policy = ScalingPolicyRecord {
        arn: arn.clone(),
        name: name.to_owned(),
        resource_id: id.to_owned(),
        content,
        created_at: present.as_ref().map_or(now, |present| present.created_at),
    };
    match &policy.content {
        PolicyContent::Step(steps) => {
            policy::steps(steps)?;
        }
        PolicyContent::TargetTracking(given) => {
            // Its alarms go by the ARN that it had.
            let own = own_alarms(registry, id, present.as_ref().map_or(&arn, |present| &present.arn));
            let named = |low| {
                let of_kind = own
                    .iter()
                    .find(|name| registry.alarms.get(name).is_some_and(|alarm| policy::is_low(alarm) == low));
                of_kind.cloned()
            };
            let alarms = policy::alarms_of(scope, &target, &policy, given, [named(false), named(true)], now)?;
            for name in own.iter().filter(|name| !alarms.iter().any(|alarm| alarm.name == **name)) {
                let gone = alarms::commands::delete(registry, std::slice::from_ref(name), now);
                gone.map_err(|error| invalid(error.to_string()))?;
            }
            for alarm in alarms {
                alarms::commands::put(registry, alarm, now)
                    .map_err(|error| ScalingError::Quota(error.to_string()))?;
            }
        }
    }
    registry.scaling_policies.put(key, policy);
    Ok(arn)
}

/// The ARN of a policy.
fn policy_arn(scope: &Scope, uuid: &str, id: &str, name: &str) -> Arn {
    scope.arn("autoscaling", format_args!("scalingPolicy:{uuid}:resource/{NAMESPACE}/{id}:policyName/{name}"))
}

/// The names of the alarms that were made for a policy.
fn own_alarms(registry: &Registry, id: &str, policy: &Arn) -> Vec<String> {
    let prefix = policy::alarm_prefix(id);
    let asks = |actions: &[String]| actions.iter().any(|action| action == policy.as_str());
    let own = registry.alarms.under(&prefix).filter(|(_, alarm)| asks(&alarm.actions.alarm));
    own.map(|(name, _)| name.to_owned()).collect()
}

/// The alarms that ask a policy.
pub(crate) fn alarms_of(registry: &Registry, policy: &Arn) -> Vec<PolicyAlarm> {
    let asks = |actions: &[String]| actions.iter().any(|action| action == policy.as_str());
    let asking = registry.alarms.values().filter(|alarm| {
        asks(&alarm.actions.alarm) || asks(&alarm.actions.ok) || asks(&alarm.actions.insufficient_data)
    });
    asking
        .map(|alarm| PolicyAlarm { alarm_name: alarm.name.clone(), alarm_arn: alarm.arn.to_string() })
        .collect()
}

/// Removes a policy, and the alarms that were made for it.
pub(crate) fn delete_policy(
    registry: &mut Registry,
    id: &str,
    name: &str,
    now: Timestamp,
) -> Result<(), ScalingError> {
    let key = key_of(id, name);
    let Some(policy) = registry.scaling_policies.get(&key).cloned() else {
        return Err(ScalingError::NotFound(format!(
            "No scaling policy found for service namespace: {NAMESPACE}, resource ID: {id:.200}, scalable dimension: \
             {DIMENSION}, policy name: {name:.200}"
        )));
    };
    let own = own_alarms(registry, id, &policy.arn);
    alarms::commands::delete(registry, &own, now).map_err(|error| invalid(error.to_string()))?;
    registry.scaling_policies.remove(&key);
    Ok(())
}

/// What is to be done when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduling {
    pub(crate) resource_id: String,
    pub(crate) name: String,
    pub(crate) schedule: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    pub(crate) action: Option<ScalableTargetAction>,
}

/// Names of the one timezone that schedules are in.
const UTC: [&str; 6] = ["UTC", "Etc/UTC", "Etc/GMT", "GMT", "Etc/UCT", "Zulu"];

/// Makes a scheduled action, or changes what is given of it.
pub(crate) fn put_scheduled_action(
    registry: &mut Registry,
    scope: &Scope,
    given: Scheduling,
    now: Timestamp,
) -> Result<(), ScalingError> {
    let id = given.resource_id;
    find_target(registry, &id)?;
    let key = key_of(&id, &given.name);
    let present = registry.scheduled_actions.get(&key).cloned();
    if present.is_none() && registry.scheduled_actions.under(&prefix_of(&id)).count() >= SCHEDULED_ACTIONS_MAX
    {
        return Err(ScalingError::Quota(format!(
            "A scalable target has {SCHEDULED_ACTIONS_MAX} scheduled actions at most."
        )));
    }
    let kept = present.as_deref();
    let text = given.schedule.or_else(|| kept.map(|kept| kept.schedule.clone()));
    let text = text.ok_or_else(|| invalid("Schedule is required to create a scheduled action."))?;
    let schedule: Schedule = text.parse().map_err(|error| invalid(format!("{error}.")))?;
    let timezone = given.timezone.or_else(|| kept.and_then(|kept| kept.timezone.clone()));
    if let Some(timezone) = timezone.as_deref().filter(|timezone| !UTC.contains(timezone)) {
        return Err(invalid(format!(
            "The timezone {timezone:.64} is not served here: schedules are in UTC."
        )));
    }
    let action = given.action.or_else(|| kept.map(|kept| kept.action)).unwrap_or_default();
    let min = action.min_capacity.map(|given| capacity("MinCapacity", given)).transpose()?;
    let max = action.max_capacity.map(|given| capacity("MaxCapacity", given)).transpose()?;
    if min.is_none() && max.is_none() {
        return Err(invalid("A scheduled action needs a MinCapacity, a MaxCapacity or both."));
    }
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        return Err(invalid("Maximum capacity cannot be less than minimum capacity."));
    }
    let start = given.start.or_else(|| kept.and_then(|kept| kept.start));
    let end = given.end.or_else(|| kept.and_then(|kept| kept.end));
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(invalid("EndTime must be after StartTime."));
    }
    let begin = start.unwrap_or(now);
    if matches!(schedule, Schedule::At(at) if at <= now) {
        return Err(invalid("The time of an at expression must be in the future."));
    }
    let mut record = ScheduledActionRecord {
        arn: kept.map_or_else(
            || {
                let resource = format!("resource/{NAMESPACE}/{id}:scheduledActionName/{}", given.name);
                scope.arn("autoscaling", format_args!("scheduledAction:{}:{resource}", random::uuid()))
            },
            |kept| kept.arn.clone(),
        ),
        name: given.name,
        resource_id: id,
        schedule: text,
        timezone,
        start,
        end,
        action,
        created_at: kept.map_or(now, |kept| kept.created_at),
        next: None,
    };
    record.next = next_of(&record, begin.max(now) - std::time::Duration::from_millis(1));
    registry.scheduled_actions.put(key, record);
    Ok(())
}

/// When a scheduled action is due after `after`.
pub(super) fn next_of(action: &ScheduledActionRecord, after: Timestamp) -> Option<Timestamp> {
    let schedule: Schedule = action.schedule.parse().ok()?;
    let begin = action.start.unwrap_or(action.created_at);
    let next = schedule.next(begin, after.max(begin - std::time::Duration::from_millis(1)))?;
    action.end.is_none_or(|end| next <= end).then_some(next)
}

/// Removes a scheduled action.
pub(crate) fn delete_scheduled_action(
    registry: &mut Registry,
    id: &str,
    name: &str,
) -> Result<(), ScalingError> {
    let key = key_of(id, name);
    if registry.scheduled_actions.get(&key).is_none() {
        return Err(ScalingError::NotFound(format!(
            "No scheduled action found for service namespace: {NAMESPACE}, resource ID: {id:.200}, scalable dimension: \
             {DIMENSION}, scheduled action name: {name:.200}"
        )));
    }
    registry.scheduled_actions.remove(&key);
    Ok(())
}

/// Changes the tags of a target.
pub(crate) fn change_tags(
    registry: &mut Registry,
    arn: &str,
    change: impl FnOnce(&mut std::collections::BTreeMap<String, String>),
) -> Result<(), ScalingError> {
    let target = find_by_arn(registry, arn)?;
    let mut tags = target.tags.clone();
    let id = target.resource_id.clone();
    change(&mut tags);
    if tags.len() > TAGS_MAX {
        return Err(ScalingError::TooManyTags);
    }
    registry.scalable_targets.update(&id, |target| target.tags = tags);
    Ok(())
}

/// The target with this ARN.
pub(crate) fn find_by_arn<'a>(
    registry: &'a Registry,
    arn: &str,
) -> Result<&'a std::sync::Arc<ScalableTargetRecord>, ScalingError> {
    let found = registry.scalable_targets.values().find(|target| target.arn.as_str() == arn);
    found.ok_or_else(|| ScalingError::NoResource(arn.chars().take(200).collect()))
}
