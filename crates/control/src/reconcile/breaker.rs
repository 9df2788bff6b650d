//! The deployment circuit breaker of services that no stack is changing: a deployment whose tasks
//! fail is rolled back. A stack rolls its own services back.

use bowline_model::{arn::Arn, clock::Timestamp};

use super::{Event, Pass};
use crate::{
    ecs::{
        record::{DeploymentState, ServiceRecord},
        rollback,
    },
    registry::Registry,
};

/// Failed tasks that make a deployment fail. AWS: half the desired count, at least 3 and at most 200.
pub(crate) fn threshold(desired: u32) -> u32 {
    desired.div_ceil(2).clamp(3, 200)
}

/// Whether the circuit breaker, if it is on, has seen enough of the present deployment.
pub(crate) fn is_tripped(registry: &Registry, arn: &str, record: &ServiceRecord) -> bool {
    let configuration = record.request.deployment_configuration.as_ref();
    let breaker = configuration.and_then(|configuration| configuration.deployment_circuit_breaker.as_ref());
    let desired = registry.services.get(arn).map_or(0, |service| service.desired_count);
    breaker.is_some_and(|breaker| breaker.enable)
        && record.deployments.first().is_some_and(|primary| {
            primary.state == DeploymentState::InProgress && primary.failed_tasks >= threshold(desired)
        })
}

/// Rolls back what has failed, where `rollback` says so and there is something to go back to.
pub(super) fn roll_back(registry: &mut Registry, now: Timestamp, pass: &mut Pass) {
    let tripped: Vec<Arn> = registry
        .service_records
        .iter()
        .filter(|(arn, record)| is_tripped(registry, arn, record) && !is_changed_by_a_stack(registry, arn))
        .filter(|(_, record)| {
            let configuration = record.request.deployment_configuration.as_ref();
            configuration
                .and_then(|configuration| configuration.deployment_circuit_breaker.as_ref())
                .is_some_and(|breaker| breaker.rollback)
        })
        .filter_map(|(arn, _)| arn.parse().ok())
        .collect();
    for arn in tripped {
        // Without anything before, it goes on trying.
        let reason = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
        let Ok(failed) = rollback::begin(registry, &arn, reason, now) else { continue };
        let back = registry.services.get(arn.as_str()).map(|service| service.deployment.to_string());
        for message in [
            format!("(deployment {failed}) deployment failed: tasks failed to start."),
            format!("rolling back to deployment {}.", back.unwrap_or_default()),
        ] {
            pass.events.push(Event {
                at: now,
                resource: arn.to_string(),
                subject: format!("service {}", arn.resource_name()),
                message,
            });
        }
    }
}

fn is_changed_by_a_stack(registry: &Registry, arn: &str) -> bool {
    let mut under_way = registry.stacks.values().filter(|stack| stack.status.in_progress());
    under_way.any(|stack| stack.services().any(|service| service.as_str() == arn))
}
