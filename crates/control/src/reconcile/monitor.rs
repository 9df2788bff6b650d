//! What ends a deployment that is under way: the circuit breaker, and alarms. A stack rolls its own
//! services back.

use std::collections::BTreeSet;

use bowline_model::{arn::Arn, clock::Timestamp};

use super::{Event, Pass};
use crate::{
    ecs::{
        plan,
        record::{DeploymentState, ServiceRecord},
        rollback, service,
    },
    registry::Registry,
};

/// Why a deployment has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Too many of its tasks have.
    CircuitBreaker,
    /// These of its alarms are in `ALARM`.
    Alarms(Vec<String>),
}

impl Cause {
    /// For people.
    pub(crate) fn reason(&self, rolled_back: bool) -> String {
        let what = if rolled_back { "rolled back" } else { "failed" };
        match self {
            Self::CircuitBreaker => {
                format!("Service deployment {what} because the circuit breaker threshold was exceeded.")
            }
            Self::Alarms(names) => {
                format!("Service deployment {what} because alarms were detected: {}.", names.join(", "))
            }
        }
    }
}

/// Why the present deployment of a service must end, and whether it is to be rolled back. `alarms`
/// are the names of those in `ALARM`.
pub(crate) fn failure(
    registry: &Registry,
    arn: &str,
    record: &ServiceRecord,
    alarms: &BTreeSet<String>,
) -> Option<(Cause, bool)> {
    let primary = record.deployments.first().filter(|first| first.state == DeploymentState::InProgress)?;
    let desired = registry.services.get(arn).map_or(0, |service| service.desired_count);
    if plan::threshold(primary).is_some_and(|threshold| primary.breaker_failures >= threshold.tasks(desired))
    {
        let configuration = primary.request.deployment_configuration.as_ref();
        let breaker = configuration.and_then(|given| given.deployment_circuit_breaker.as_ref());
        return Some((Cause::CircuitBreaker, breaker.is_some_and(|breaker| breaker.rollback)));
    }
    let (watched, rolls_back) = plan::alarms(primary)?;
    // One that was in ALARM before does not end the deployment that is to repair what it tells of. Source: ECS developer
    // guide, "How CloudWatch alarms detect Amazon ECS deployment failures".
    let is_new = |name: &str| {
        registry.alarms.get(name).is_none_or(|alarm| alarm.state.transitioned_at > primary.created_at)
    };
    let is_triggered = |name: &&String| watched.contains(name.as_str()) && is_new(name);
    let triggered: Vec<_> = alarms.iter().filter(is_triggered).cloned().collect();
    (!triggered.is_empty()).then_some((Cause::Alarms(triggered), rolls_back))
}

/// Ends what has failed: rolls it back where it says so and there is something to go back to.
pub(super) fn end_failed(
    registry: &mut Registry,
    alarms: &BTreeSet<String>,
    now: Timestamp,
    pass: &mut Pass,
) {
    let failed: Vec<(Arn, Cause, bool)> = registry
        .service_records
        .iter()
        .filter(|(arn, _)| !is_changed_by_a_stack(registry, arn))
        .filter_map(|(arn, record)| {
            let (cause, rolls_back) = failure(registry, arn, record, alarms)?;
            Some((arn.parse().ok()?, cause, rolls_back))
        })
        .collect();
    for (arn, cause, rolls_back) in failed {
        if let Cause::Alarms(names) = &cause {
            registry.service_records.update(arn.as_str(), |record| {
                if let Some(primary) = record.deployments.first_mut() {
                    primary.triggered_alarms.clone_from(names);
                }
            });
        }
        fail(registry, &arn, &cause.reason(rolls_back), rolls_back, now, pass);
    }
}

/// Ends the deployment that is under way.
pub(super) fn fail(
    registry: &mut Registry,
    arn: &Arn,
    reason: &str,
    rolls_back: bool,
    now: Timestamp,
    pass: &mut Pass,
) {
    let mut say = |message: String| {
        let subject = format!("service {}", arn.resource_name());
        pass.events.push(Event { at: now, resource: arn.to_string(), subject, message });
    };
    let failed = registry.services.get(arn.as_str()).map(|service| service.deployment.to_string());
    let failed = failed.unwrap_or_default();
    if rolls_back && rollback::begin(registry, arn, reason, now).is_ok() {
        let back = registry.services.get(arn.as_str()).map(|service| service.deployment.to_string());
        say(format!("(deployment {failed}) deployment failed: {}", cause_of(reason)));
        say(format!("rolling back to deployment {}.", back.unwrap_or_default()));
        // Traffic goes back in a pass of its own.
        super::look_again(pass, std::time::Duration::ZERO);
    } else if service::stop_deployment(registry, arn, reason, now) {
        say(format!("(deployment {failed}) deployment failed: {}", cause_of(reason)));
    }
}

/// As ECS's events have it.
fn cause_of(reason: &str) -> &str {
    if reason.contains("circuit breaker") { "tasks failed to start." } else { reason }
}

fn is_changed_by_a_stack(registry: &Registry, arn: &str) -> bool {
    let mut under_way = registry.stacks.values().filter(|stack| stack.status.in_progress());
    under_way.any(|stack| stack.services().any(|service| service.as_str() == arn))
}
