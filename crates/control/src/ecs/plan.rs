//! What ECS is asked for of a deployment, as the model's decisions take it.

use std::{collections::BTreeSet, time::Duration};

use bowline_aws::ecs::{
    DeploymentConfiguration, DeploymentLifecycleHook, DeploymentLifecycleHookTargetType,
    DeploymentLifecycleStage, DeploymentStrategy, HookTimeoutConfigAction, ThresholdConfigurationType,
};
use bowline_model::rollout::{
    breaker::Threshold,
    shift::{HOOK_TIMEOUT, HookAction, Pause, Share, ShiftPlan, Stage, Steps},
};

use super::record::Deployment;

/// AWS's default of `linearConfiguration`: tenths of a percent of a step, and minutes between two.
const LINEAR: (f64, i64) = (10.0, 6);

/// AWS's default of `canaryConfiguration`: percent, and minutes.
const CANARY: (f64, i64) = (5.0, 10);

/// How a whole set of tasks takes another's place; `None` where the strategy is `ROLLING`.
pub fn shift_plan(configuration: &DeploymentConfiguration) -> Option<ShiftPlan> {
    let steps = match configuration.strategy? {
        DeploymentStrategy::Rolling => return None,
        DeploymentStrategy::BlueGreen => Steps::AtOnce,
        DeploymentStrategy::Linear => {
            let given = configuration.linear_configuration.as_ref();
            let step = given.and_then(|linear| linear.step_percent).unwrap_or(LINEAR.0);
            let every = given.and_then(|linear| linear.step_bake_time_in_minutes).unwrap_or(LINEAR.1);
            Steps::Linear { step: share(step), every: minutes(every) }
        }
        DeploymentStrategy::Canary => {
            let given = configuration.canary_configuration.as_ref();
            let first = given.and_then(|canary| canary.canary_percent).unwrap_or(CANARY.0);
            let bake = given.and_then(|canary| canary.canary_bake_time_in_minutes).unwrap_or(CANARY.1);
            Steps::Canary { first: share(first), bake: minutes(bake) }
        }
    };
    Some(ShiftPlan {
        steps,
        bake: minutes(configuration.bake_time_in_minutes.unwrap_or(0)),
        pauses: configuration.lifecycle_hooks.iter().filter_map(pause).collect(),
    })
}

/// The way back to what is not there any more: at once, and with nobody asked.
pub fn direct_plan() -> ShiftPlan {
    ShiftPlan { steps: Steps::AtOnce, bake: Duration::ZERO, pauses: Vec::new() }
}

fn share(percent: f64) -> Share {
    let tenths = (percent * 10.0).round().clamp(1.0, 1_000.0);
    // In range, and whole; what is no number is 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Share::from_tenths(tenths as u16)
}

fn minutes(minutes: i64) -> Duration {
    Duration::from_secs(u64::try_from(minutes).unwrap_or(0).saturating_mul(60))
}

/// Functions are not called: only pauses hold a deployment.
fn pause(hook: &DeploymentLifecycleHook) -> Option<Pause> {
    if hook.target_type != Some(DeploymentLifecycleHookTargetType::Pause) {
        return None;
    }
    let timeout = hook.timeout_configuration.as_ref();
    let action = timeout.and_then(|timeout| timeout.action);
    Some(Pause {
        stages: hook.lifecycle_stages.iter().map(|stage| self::stage(*stage)).collect(),
        timeout: timeout.and_then(|timeout| timeout.timeout_in_minutes).map_or(HOOK_TIMEOUT, minutes),
        at_timeout: match action.unwrap_or(HookTimeoutConfigAction::Rollback) {
            HookTimeoutConfigAction::Rollback => HookAction::Rollback,
            HookTimeoutConfigAction::Continue => HookAction::Continue,
        },
    })
}

fn stage(stage: DeploymentLifecycleStage) -> Stage {
    match stage {
        DeploymentLifecycleStage::ReconcileService => Stage::ReconcileService,
        DeploymentLifecycleStage::PreScaleUp => Stage::PreScaleUp,
        DeploymentLifecycleStage::PostScaleUp => Stage::PostScaleUp,
        DeploymentLifecycleStage::TestTrafficShift => Stage::TestTrafficShift,
        DeploymentLifecycleStage::PostTestTrafficShift => Stage::PostTestTrafficShift,
        DeploymentLifecycleStage::PreProductionTrafficShift => Stage::PreProductionTrafficShift,
        DeploymentLifecycleStage::ProductionTrafficShift => Stage::ProductionTrafficShift,
        DeploymentLifecycleStage::PostProductionTrafficShift => Stage::PostProductionTrafficShift,
    }
}

/// How many failed tasks end a deployment; `None` where its circuit breaker is off.
pub fn threshold(deployment: &Deployment) -> Option<Threshold> {
    let configuration = deployment.request.deployment_configuration.as_ref()?;
    let breaker = configuration.deployment_circuit_breaker.as_ref().filter(|breaker| breaker.enable)?;
    let Some(given) = &breaker.threshold_configuration else { return Some(Threshold::default()) };
    let value = u32::try_from(given.value).unwrap_or(0);
    Some(match given.r#type {
        ThresholdConfigurationType::Count => Threshold::Count(value),
        ThresholdConfigurationType::BoundedPercent => Threshold::BoundedPercent(value),
        ThresholdConfigurationType::UnboundedPercent => Threshold::UnboundedPercent(value),
    })
}

/// The alarms that a deployment watches, and whether they roll it back; `None` where it watches none.
pub fn alarms(deployment: &Deployment) -> Option<(BTreeSet<&str>, bool)> {
    let configuration = deployment.request.deployment_configuration.as_ref()?;
    let alarms = configuration.alarms.as_ref().filter(|alarms| alarms.enable)?;
    Some((alarms.alarm_names.iter().map(String::as_str).collect(), alarms.rollback))
}

#[cfg(test)]
mod tests {
    use bowline_aws::ecs::{CanaryConfiguration, HookTimeoutConfig, LinearConfiguration};

    use super::*;

    fn of(strategy: DeploymentStrategy) -> DeploymentConfiguration {
        DeploymentConfiguration {
            strategy: Some(strategy),
            bake_time_in_minutes: Some(5),
            ..DeploymentConfiguration::default()
        }
    }

    fn steps(configuration: &DeploymentConfiguration) -> Steps {
        shift_plan(configuration).expect("a shift").steps
    }

    #[test]
    fn what_is_not_given_is_awss_default() {
        assert_eq!(shift_plan(&DeploymentConfiguration::default()), None);
        assert_eq!(shift_plan(&of(DeploymentStrategy::Rolling)), None);
        let at_once = shift_plan(&of(DeploymentStrategy::BlueGreen)).expect("a shift");
        assert_eq!((at_once.steps, at_once.bake), (Steps::AtOnce, Duration::from_secs(300)));
        let canary = Steps::Canary { first: Share::from_tenths(50), bake: Duration::from_secs(600) };
        assert_eq!(steps(&of(DeploymentStrategy::Canary)), canary);
        let linear = Steps::Linear { step: Share::from_tenths(100), every: Duration::from_secs(360) };
        assert_eq!(steps(&of(DeploymentStrategy::Linear)), linear);
    }

    #[test]
    fn what_is_given_counts() {
        let canary = CanaryConfiguration { canary_percent: Some(0.3), canary_bake_time_in_minutes: Some(0) };
        let given =
            DeploymentConfiguration { canary_configuration: Some(canary), ..of(DeploymentStrategy::Canary) };
        let wanted = Steps::Canary { first: Share::from_tenths(3), bake: Duration::ZERO };
        assert_eq!(steps(&given), wanted);
        let linear = LinearConfiguration { step_percent: Some(33.3), step_bake_time_in_minutes: Some(1) };
        let given =
            DeploymentConfiguration { linear_configuration: Some(linear), ..of(DeploymentStrategy::Linear) };
        let wanted = Steps::Linear { step: Share::from_tenths(333), every: Duration::from_secs(60) };
        assert_eq!(steps(&given), wanted);
    }

    #[test]
    fn only_pauses_hold_a_deployment() {
        let hook = |target_type, timeout_configuration| DeploymentLifecycleHook {
            target_type,
            lifecycle_stages: vec![DeploymentLifecycleStage::PostScaleUp],
            timeout_configuration,
            ..DeploymentLifecycleHook::default()
        };
        let short = HookTimeoutConfig {
            action: Some(HookTimeoutConfigAction::Continue),
            timeout_in_minutes: Some(2),
        };
        let given = DeploymentConfiguration {
            lifecycle_hooks: vec![
                hook(None, None),
                hook(Some(DeploymentLifecycleHookTargetType::AwsLambda), None),
                hook(Some(DeploymentLifecycleHookTargetType::Pause), None),
                hook(Some(DeploymentLifecycleHookTargetType::Pause), Some(short)),
            ],
            ..of(DeploymentStrategy::BlueGreen)
        };
        let pauses = shift_plan(&given).expect("a shift").pauses;
        let told: Vec<_> = pauses.iter().map(|pause| (pause.timeout, pause.at_timeout)).collect();
        let (day, two) = (Duration::from_secs(86_400), Duration::from_secs(120));
        assert_eq!(told, [(day, HookAction::Rollback), (two, HookAction::Continue)]);
    }
}
