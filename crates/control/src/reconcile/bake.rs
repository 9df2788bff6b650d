//! Deployments whose new tasks take the old ones' place as a whole set: `BLUE_GREEN`, `LINEAR` and
//! `CANARY`. The old set stays through the bake time.

use std::time::Duration;

use bowline_aws::ecs::{DeploymentConfiguration, DeploymentStrategy};
use bowline_model::{
    clock::Timestamp,
    rollout::{RolloutTask, whole_set_serves},
    service::Service,
};

use super::{Pass, Wanted, look_again};
use crate::{
    ecs::{
        record::{Deployment, DeploymentState},
        service::mark_deployment_healthy,
    },
    registry::{Registry, TaskOwner},
};

/// AWS's default of `linearConfiguration`: percent of a step, and minutes between two.
const LINEAR: (f64, i64) = (10.0, 6);

/// AWS's default of `canaryConfiguration.canaryBakeTimeInMinutes`.
const CANARY_MINUTES: i64 = 10;

/// What a service's events say of such a deployment.
pub(super) const BOTH_SERVE: &str = "starts the new tasks as a whole set beside the old one. Traffic is not shifted \
                                     in steps here: both sets serve until the bake time is over. Lifecycle hooks and \
                                     alarms are not called.";

/// How long the old set stays when the new one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bake(Duration);

impl Bake {
    /// Of a service's present configuration; `None` where it is `ROLLING`.
    pub(super) fn of(registry: &Registry, service: &Service) -> Option<Self> {
        let record = registry.service_records.get(service.arn.as_str())?;
        let minutes = minutes(record.request.deployment_configuration.as_ref()?)?;
        // The way back is not baked: what it goes back to has served before.
        let returns = |one: &Deployment| one.state == DeploymentState::RollbackInProgress;
        let minutes = if record.deployments.iter().any(returns) { 0 } else { minutes };
        Some(Self(Duration::from_secs(u64::try_from(minutes).unwrap_or(0).saturating_mul(60))))
    }

    /// Whether the new set has served for so long beside the old one.
    pub(super) fn is_over(
        self,
        registry: &mut Registry,
        wanted: &Wanted<'_>,
        live: &[RolloutTask],
        now: Timestamp,
        pass: &mut Pass,
    ) -> bool {
        let TaskOwner::Service { service, .. } = &wanted.owner else { return true };
        if live.iter().all(|task| task.current) || !whole_set_serves(wanted.count, live) {
            return true;
        }
        let served = now.since(mark_deployment_healthy(registry, service, now));
        if served < self.0 {
            look_again(pass, self.0 - served);
        }
        served >= self.0
    }
}

/// The time from the first to the last shift of traffic, and the bake time after it. Minutes.
fn minutes(configuration: &DeploymentConfiguration) -> Option<i64> {
    let bake = configuration.bake_time_in_minutes.unwrap_or(0);
    match configuration.strategy? {
        DeploymentStrategy::Rolling => None,
        DeploymentStrategy::BlueGreen => Some(bake),
        DeploymentStrategy::Canary => {
            let canary = configuration.canary_configuration.as_ref();
            let minutes = canary.and_then(|canary| canary.canary_bake_time_in_minutes);
            Some(minutes.unwrap_or(CANARY_MINUTES).saturating_add(bake))
        }
        DeploymentStrategy::Linear => {
            let linear = configuration.linear_configuration.as_ref();
            let percent = linear.and_then(|linear| linear.step_percent).unwrap_or(LINEAR.0).max(1.0);
            let step = linear.and_then(|linear| linear.step_bake_time_in_minutes).unwrap_or(LINEAR.1);
            // After the last step there is no wait but the bake time.
            let (mut waits, mut shifted) = (0, percent);
            while shifted < 100.0 {
                waits += 1;
                shifted += percent;
            }
            Some(step.saturating_mul(waits).saturating_add(bake))
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_aws::ecs::{CanaryConfiguration, LinearConfiguration};

    use super::*;

    #[test]
    fn the_old_set_stays_as_long_as_traffic_would_take_to_shift() {
        let of = |strategy| DeploymentConfiguration {
            strategy: Some(strategy),
            bake_time_in_minutes: Some(5),
            ..DeploymentConfiguration::default()
        };
        assert_eq!(minutes(&of(DeploymentStrategy::Rolling)), None);
        assert_eq!(minutes(&of(DeploymentStrategy::BlueGreen)), Some(5));
        assert_eq!(minutes(&of(DeploymentStrategy::Canary)), Some(15));
        assert_eq!(minutes(&of(DeploymentStrategy::Linear)), Some(5 + 9 * 6));
        let linear = LinearConfiguration { step_percent: Some(50.0), step_bake_time_in_minutes: Some(1) };
        let halves =
            DeploymentConfiguration { linear_configuration: Some(linear), ..of(DeploymentStrategy::Linear) };
        assert_eq!(minutes(&halves), Some(6));
        let canary = CanaryConfiguration { canary_percent: None, canary_bake_time_in_minutes: Some(0) };
        let at_once =
            DeploymentConfiguration { canary_configuration: Some(canary), ..of(DeploymentStrategy::Canary) };
        assert_eq!(minutes(&at_once), Some(5));
    }
}
