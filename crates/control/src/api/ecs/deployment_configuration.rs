//! What ECS refuses of a deployment configuration and its controller.

use bowline_aws::{
    ecs::{
        CreateServiceRequest, DeploymentConfiguration, DeploymentControllerType, DeploymentLifecycleHook,
        DeploymentLifecycleHookTargetType, DeploymentLifecycleStage, DeploymentStrategy, SchedulingStrategy,
    },
    protocol::Fault,
};

use super::invalid;
use crate::api::constraint;

/// A day: the longest bake time. Minutes.
const BAKE_MAX: i64 = 1_440;

/// Most lifecycle hooks of a service.
const HOOKS_MAX: usize = 20;

/// Refuses what ECS would, and controllers other than its own.
pub(super) fn check(request: &CreateServiceRequest) -> Result<(), Fault> {
    match request.deployment_controller.as_ref().and_then(|controller| controller.r#type) {
        None | Some(DeploymentControllerType::Ecs) => {}
        Some(DeploymentControllerType::CodeDeploy | DeploymentControllerType::External) => {
            return Err(Fault::new(
                "UnsupportedFeatureException",
                "The deployment controllers CODE_DEPLOY and EXTERNAL are not here: task sets are made by others than \
                 ECS. Use ECS, with one of its deployment strategies.",
            ));
        }
    }
    let Some(configuration) = &request.deployment_configuration else { return Ok(()) };
    percentages(configuration)?;
    strategy(configuration)?;
    let daemon = request.scheduling_strategy == Some(SchedulingStrategy::Daemon);
    let rolling = configuration.strategy.is_none_or(|strategy| strategy == DeploymentStrategy::Rolling);
    if daemon && !rolling {
        return Err(invalid(
            "A service with the DAEMON scheduling strategy can only have ROLLING deployments.",
        ));
    }
    if let Some(alarms) = &configuration.alarms
        && alarms.enable
        && alarms.alarm_names.is_empty()
    {
        return Err(invalid("At least one alarm name is needed where deployment alarms are enabled."));
    }
    Ok(())
}

fn percentages(configuration: &DeploymentConfiguration) -> Result<(), Fault> {
    let minimum = configuration.minimum_healthy_percent;
    let maximum = configuration.maximum_percent;
    if let Some(minimum) = minimum {
        constraint::range("deploymentConfiguration.minimumHealthyPercent", minimum, 0..=100)
            .map_err(invalid)?;
    }
    if let Some(maximum) = maximum {
        constraint::range("deploymentConfiguration.maximumPercent", maximum, 100..=200_000)
            .map_err(invalid)?;
    }
    Ok(())
}

fn strategy(configuration: &DeploymentConfiguration) -> Result<(), Fault> {
    let strategy = configuration.strategy.unwrap_or(DeploymentStrategy::Rolling);
    let rolling = strategy == DeploymentStrategy::Rolling;
    let minutes = |member: &str, value: Option<i64>| match value {
        Some(value) => {
            let member = format!("deploymentConfiguration.{member}");
            constraint::range(&member, value, 0..=BAKE_MAX).map_err(invalid)
        }
        None => Ok(()),
    };
    minutes("bakeTimeInMinutes", configuration.bake_time_in_minutes)?;
    if rolling && configuration.bake_time_in_minutes.is_some_and(|minutes| minutes > 0) {
        return Err(invalid("bakeTimeInMinutes is only for the strategies BLUE_GREEN, LINEAR and CANARY."));
    }
    if let Some(linear) = &configuration.linear_configuration {
        if strategy != DeploymentStrategy::Linear {
            return Err(invalid("linearConfiguration is only for the strategy LINEAR."));
        }
        minutes("linearConfiguration.stepBakeTimeInMinutes", linear.step_bake_time_in_minutes)?;
        percent("linearConfiguration.stepPercent", linear.step_percent, 3.0)?;
    }
    if let Some(canary) = &configuration.canary_configuration {
        if strategy != DeploymentStrategy::Canary {
            return Err(invalid("canaryConfiguration is only for the strategy CANARY."));
        }
        minutes("canaryConfiguration.canaryBakeTimeInMinutes", canary.canary_bake_time_in_minutes)?;
        percent("canaryConfiguration.canaryPercent", canary.canary_percent, 0.1)?;
    }
    if rolling && !configuration.lifecycle_hooks.is_empty() {
        return Err(invalid("lifecycleHooks are only for the strategies BLUE_GREEN, LINEAR and CANARY."));
    }
    constraint::items(
        "deploymentConfiguration.lifecycleHooks",
        configuration.lifecycle_hooks.len(),
        0..=HOOKS_MAX,
    )
    .map_err(invalid)?;
    if configuration.lifecycle_hooks.iter().any(|hook| hook.lifecycle_stages.is_empty()) {
        return Err(invalid("A lifecycle hook needs at least one of lifecycleStages."));
    }
    configuration.lifecycle_hooks.iter().try_for_each(hook)
}

fn hook(hook: &DeploymentLifecycleHook) -> Result<(), Fault> {
    let pauses = hook.target_type == Some(DeploymentLifecycleHookTargetType::Pause);
    if !pauses && hook.hook_target_arn.is_none() {
        return Err(invalid("A lifecycle hook of type AWS_LAMBDA needs hookTargetArn."));
    }
    let at_a_shift = |stage: &DeploymentLifecycleStage| {
        matches!(
            stage,
            DeploymentLifecycleStage::TestTrafficShift | DeploymentLifecycleStage::ProductionTrafficShift
        )
    };
    if pauses && hook.lifecycle_stages.iter().any(at_a_shift) {
        return Err(invalid(
            "A lifecycle hook of type PAUSE cannot be at TEST_TRAFFIC_SHIFT or PRODUCTION_TRAFFIC_SHIFT.",
        ));
    }
    let timeout = hook.timeout_configuration.as_ref().and_then(|timeout| timeout.timeout_in_minutes);
    timeout.map_or(Ok(()), |minutes| {
        constraint::range("timeoutConfiguration.timeoutInMinutes", minutes, 1..=20_160).map_err(invalid)
    })
}

/// A percentage in tenths, from `least` to 100.
fn percent(member: &str, value: Option<f64>, least: f64) -> Result<(), Fault> {
    let Some(value) = value else { return Ok(()) };
    let tenths = value * 10.0;
    match (least..=100.0).contains(&value) && (tenths - tenths.round()).abs() < 1e-6 {
        true => Ok(()),
        false => Err(invalid(format!(
            "deploymentConfiguration.{member} must be a multiple of 0.1 from {least:.1} to 100.0."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use bowline_aws::ecs::{CanaryConfiguration, DeploymentController, LinearConfiguration};

    use super::*;

    fn of(configuration: DeploymentConfiguration) -> Result<(), Fault> {
        check(&CreateServiceRequest {
            deployment_configuration: Some(configuration),
            ..CreateServiceRequest::default()
        })
    }

    #[test]
    fn a_strategys_own_configuration_is_held_to_its_limits() {
        let canary = |percent| DeploymentConfiguration {
            strategy: Some(DeploymentStrategy::Canary),
            canary_configuration: Some(CanaryConfiguration {
                canary_percent: Some(percent),
                canary_bake_time_in_minutes: Some(10),
            }),
            ..DeploymentConfiguration::default()
        };
        for good in [0.1, 5.0, 33.3, 100.0] {
            assert_eq!(of(canary(good)), Ok(()), "{good}");
        }
        for bad in [0.0, 0.05, 5.01, 100.1, f64::NAN, f64::INFINITY] {
            assert!(of(canary(bad)).is_err(), "{bad}");
        }
        let linear = LinearConfiguration { step_percent: Some(2.9), step_bake_time_in_minutes: None };
        let configuration = DeploymentConfiguration {
            strategy: Some(DeploymentStrategy::Linear),
            linear_configuration: Some(linear.clone()),
            ..DeploymentConfiguration::default()
        };
        assert!(of(configuration).is_err());
        let elsewhere = DeploymentConfiguration {
            linear_configuration: Some(LinearConfiguration { step_percent: Some(10.0), ..linear }),
            ..DeploymentConfiguration::default()
        };
        assert!(of(elsewhere).is_err(), "ROLLING has no linear configuration");
    }

    #[test]
    fn only_ecss_own_controller_is_served() {
        let controller = |kind| CreateServiceRequest {
            deployment_controller: Some(DeploymentController { r#type: Some(kind) }),
            ..CreateServiceRequest::default()
        };
        assert_eq!(check(&controller(DeploymentControllerType::Ecs)), Ok(()));
        assert!(check(&controller(DeploymentControllerType::External)).is_err());
    }
}
