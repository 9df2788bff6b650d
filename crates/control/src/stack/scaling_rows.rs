//! Alarms and scaling of a template: `CloudWatch`'s alarms, Application Auto Scaling's targets, policies and scheduled
//! actions.

use bowline_aws::{
    application_autoscaling::{
        ScalableTargetAction, StepScalingPolicyConfiguration, SuspendedState,
        TargetTrackingScalingPolicyConfiguration,
    },
    cfn::{ResourceBody, StackResource},
    cloudwatch::PutMetricAlarmRequest,
    protocol::{Timestamp as WireTimestamp, from_json},
};
use bowline_model::clock::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Applying;
use crate::{
    alarms,
    api::cloudwatch::alarms::alarm_of,
    registry::Registry,
    scaling::{
        DIMENSION, NAMESPACE, PolicyContent,
        commands::{self, Registration, Scheduling},
        key_of,
    },
};

const ALARM: &str = "AWS::CloudWatch::Alarm";
const TARGET: &str = "AWS::ApplicationAutoScaling::ScalableTarget";
const POLICY: &str = "AWS::ApplicationAutoScaling::ScalingPolicy";

const ALARMS: &str = "alarms";
const TARGETS: &str = "scalable-targets";
const POLICIES: &str = "scaling-policies";
const SCHEDULED_ACTIONS: &str = "scheduled-actions";

/// Properties of alarms that nothing here judges by.
const UNJUDGED: [&str; 4] =
    ["ThresholdMetricId", "EvaluationCriteria", "EvaluationWindow", "EvaluationInterval"];

/// Properties within JSON that are numbers: a parameter's reference makes text of them.
const NUMBERS: [&str; 10] = [
    "Cooldown",
    "MaxCapacity",
    "MetricIntervalLowerBound",
    "MetricIntervalUpperBound",
    "MinAdjustmentMagnitude",
    "MinCapacity",
    "Period",
    "ScaleInCooldown",
    "ScaleOutCooldown",
    "ScalingAdjustment",
];
const FRACTIONS: [&str; 1] = ["TargetValue"];
const FLAGS: [&str; 5] = [
    "DisableScaleIn",
    "DynamicScalingInSuspended",
    "DynamicScalingOutSuspended",
    "ReturnData",
    "ScheduledScalingSuspended",
];

/// Removes what a stack made. Whether the table is one of scaling's. What is gone already stays so: a target takes its
/// policies with it.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str, now: Timestamp) -> bool {
    let (id, name) = key.split_once('\n').unwrap_or((key, ""));
    match table {
        ALARMS => {
            let _ = alarms::commands::delete(registry, &[key.to_owned()], now);
        }
        TARGETS => {
            let _ = commands::deregister(registry, key, now);
        }
        POLICIES => {
            let _ = commands::delete_policy(registry, id, name, now);
        }
        SCHEDULED_ACTIONS => {
            let _ = commands::delete_scheduled_action(registry, id, name);
        }
        _ => return false,
    }
    true
}

/// The same with numbers and flags for texts that are some.
fn typed(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return match value {
            Value::Array(items) => items.iter().map(typed).collect(),
            other => other.clone(),
        };
    };
    let member = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) if NUMBERS.contains(&name.as_str()) || FRACTIONS.contains(&name.as_str()) => {
                serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| value.clone(), Value::Number)
            }
            Value::String(text) if FLAGS.contains(&name.as_str()) => {
                text.parse().map_or_else(|_| value.clone(), Value::Bool)
            }
            other => typed(other),
        };
        (name.clone(), value)
    };
    Value::Object(members.iter().map(member).collect())
}

fn text<'a>(body: &'a Value, property: &str) -> Option<&'a str> {
    body.get(property)?.as_str()
}

fn read<T: DeserializeOwned>(body: &Value, property: &str) -> Result<Option<T>, String> {
    let value = body.get(property).map(|value| from_json(typed(value)));
    value.transpose().map_err(|violation| format!("{property}: {}", violation.message()))
}

impl Applying<'_> {
    /// Takes up targets, then policies, then alarms: each may name what is before it.
    pub(super) fn all_scaling(&mut self, registry: &mut Registry) {
        let stack = self.stack;
        for kind in [TARGET, POLICY, ALARM] {
            for resource in stack.resources.iter().filter(|resource| resource.resource_type == kind) {
                let ResourceBody::Record(body) = &resource.body else { continue };
                match kind {
                    TARGET => self.scalable_target(registry, resource, body),
                    POLICY => self.scaling_policy(registry, resource, body),
                    _ => self.alarm(registry, resource, body),
                }
            }
        }
    }

    fn alarm(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let comparison = text(body, "ComparisonOperator").unwrap_or_default();
        let is_band = comparison.contains("Upper") || comparison.contains("Lower");
        if is_band || UNJUDGED.iter().any(|property| body.get(property).is_some()) {
            return self.note(resource, "it is recorded, not judged: bands, PromQL and windows are not here");
        }
        let request =
            from_json::<PutMetricAlarmRequest>(typed(body)).map_err(|violation| violation.message());
        let scope = registry.settings().scope.clone();
        let alarm = request
            .and_then(|request| alarm_of(&scope, request, self.now).map_err(|fault| fault.message.clone()));
        let alarm = match alarm {
            Ok(alarm) => alarm,
            Err(message) => return self.fault(resource, message),
        };
        let name = alarm.name.clone();
        let present = registry.alarms.get(&name).is_some();
        if !self.is_free(registry, resource, (ALARMS, &name), present) {
            return;
        }
        let tags = alarm.tags.clone();
        match alarms::commands::put(registry, alarm, self.now) {
            Ok(()) => {
                registry.alarms.update(&name, |alarm| alarm.tags = tags);
                self.made(ALARMS, &name);
            }
            Err(error) => self.fault(resource, error.to_string()),
        }
    }

    /// Whether a target or policy is of what is scaled here; else that is noted.
    fn is_scaled(&mut self, resource: &StackResource, namespace: &str, dimension: &str) -> bool {
        let is_scaled = namespace == NAMESPACE && dimension == DIMENSION;
        if !is_scaled {
            self.note(resource, format!("it is recorded: nothing here scales {dimension}"));
        }
        is_scaled
    }

    fn scalable_target(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let namespace = text(body, "ServiceNamespace").unwrap_or_default();
        if !self.is_scaled(resource, namespace, text(body, "ScalableDimension").unwrap_or_default()) {
            return;
        }
        let id = text(body, "ResourceId").unwrap_or_default().to_owned();
        let present = registry.scalable_targets.get(&id).is_some();
        if !self.is_free(registry, resource, (TARGETS, &id), present) {
            return;
        }
        let done = read::<SuspendedState>(body, "SuspendedState").and_then(|suspended| {
            let given = Registration {
                resource_id: id.clone(),
                min: body.get("MinCapacity").and_then(Value::as_i64),
                max: body.get("MaxCapacity").and_then(Value::as_i64),
                role_arn: text(body, "RoleARN").map(str::to_owned),
                suspended: Some(suspended.unwrap_or(SuspendedState {
                    dynamic_scaling_in_suspended: Some(false),
                    dynamic_scaling_out_suspended: Some(false),
                    scheduled_scaling_suspended: Some(false),
                })),
                tags: std::collections::BTreeMap::new(),
            };
            let scope = registry.settings().scope.clone();
            commands::register(registry, &scope, given, self.now).map_err(|error| error.to_string())
        });
        if let Err(message) = done {
            return self.fault(resource, message);
        }
        self.made(TARGETS, &id);
        for action in body.get("ScheduledActions").and_then(Value::as_array).into_iter().flatten() {
            if let Err(message) = self.scheduled_action(registry, &id, action) {
                return self.fault(resource, message);
            }
        }
    }

    fn scheduled_action(&mut self, registry: &mut Registry, id: &str, body: &Value) -> Result<(), String> {
        let name = text(body, "ScheduledActionName").unwrap_or_default().to_owned();
        let moment = |property| {
            let at = text(body, property).and_then(WireTimestamp::parse_iso8601);
            at.map(|at| Timestamp::from_millis((at.seconds().max(0.0) * 1_000.0) as u64))
        };
        let given = Scheduling {
            resource_id: id.to_owned(),
            name: name.clone(),
            schedule: text(body, "Schedule").map(str::to_owned),
            timezone: text(body, "Timezone").map(str::to_owned),
            start: moment("StartTime"),
            end: moment("EndTime"),
            action: read::<ScalableTargetAction>(body, "ScalableTargetAction")?,
        };
        let key = key_of(id, &name);
        let own = (SCHEDULED_ACTIONS.to_owned(), key.clone());
        let is_own =
            registry.stacks.get(&self.stack.name).is_some_and(|stack| stack.resources.contains(&own));
        let is_same = registry.scheduled_actions.get(&key).is_some_and(|present| {
            Some(present.schedule.as_str()) == given.schedule.as_deref()
                && Some(present.action) == given.action
                && (present.start, present.end) == (given.start, given.end)
        });
        // One that was done once is gone: the same again is not done again.
        if !is_own || (registry.scheduled_actions.get(&key).is_some() && !is_same) {
            let scope = registry.settings().scope.clone();
            commands::put_scheduled_action(registry, &scope, given, self.now)
                .map_err(|error| error.to_string())?;
        }
        self.made(SCHEDULED_ACTIONS, &key);
        Ok(())
    }

    fn scaling_policy(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let mut target = text(body, "ScalingTargetId").unwrap_or_default().split('|');
        let (of_id, of_dimension, of_namespace) = (target.next(), target.next(), target.next());
        let part = |property, of: Option<&'_ str>| {
            text(body, property).or(of.filter(|of| !of.is_empty())).unwrap_or_default().to_owned()
        };
        let id = part("ResourceId", of_id);
        let (namespace, dimension) =
            (part("ServiceNamespace", of_namespace), part("ScalableDimension", of_dimension));
        if !self.is_scaled(resource, &namespace, &dimension) {
            return;
        }
        let name = text(body, "PolicyName").unwrap_or_default().to_owned();
        let key = key_of(&id, &name);
        let present = registry.scaling_policies.get(&key).is_some();
        if !self.is_free(registry, resource, (POLICIES, &key), present) {
            return;
        }
        let content = match text(body, "PolicyType") {
            Some("TargetTrackingScaling") => read::<TargetTrackingScalingPolicyConfiguration>(
                body,
                "TargetTrackingScalingPolicyConfiguration",
            )
            .map(|given| given.map(PolicyContent::TargetTracking)),
            Some("StepScaling") => {
                read::<StepScalingPolicyConfiguration>(body, "StepScalingPolicyConfiguration")
                    .map(|given| given.map(PolicyContent::Step))
            }
            _ => return self.note(resource, "it is recorded: predictive scaling is not here"),
        };
        let content =
            content.and_then(|given| given.ok_or_else(|| "its configuration is missing".to_owned()));
        let Some(arn) = self.arn(resource) else { return };
        let scope = registry.settings().scope.clone();
        let done = content.and_then(|content| {
            commands::put_policy(registry, &scope, &id, &name, content, Some(arn), self.now)
                .map_err(|error| error.to_string())
        });
        match done {
            Ok(_) => self.made(POLICIES, &key),
            Err(message) => self.fault(resource, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_aws::cfn::{Inputs, Template};
    use bowline_model::{alarm::AlarmSource, clock::Timestamp, scaling::CapacityBounds};

    use super::*;
    use crate::{
        api::{authorization::AuthorizationMode, testing::core_in_memory},
        core::Core,
        registry::RegistryError,
        stack::{StackOrder, record::StackTemplate},
    };

    const TEMPLATE: &str = r#"
Parameters:
  Target: {Type: Number, Default: 60}
Resources:
  # Before the service that it names by text alone.
  Scaling:
    Type: AWS::ApplicationAutoScaling::ScalableTarget
    Properties:
      ServiceNamespace: ecs
      ScalableDimension: ecs:service:DesiredCount
      ResourceId: service/shop/web
      MinCapacity: 2
      MaxCapacity: 10
      ScheduledActions:
        - ScheduledActionName: evening
          Schedule: cron(0 18 * * ? *)
          ScalableTargetAction: {MinCapacity: 4}
  Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: shop}}
  Definition:
    Type: AWS::ECS::TaskDefinition
    Properties: {Family: web, ContainerDefinitions: [{Name: web, Image: web}]}
  Service:
    Type: AWS::ECS::Service
    Properties: {ServiceName: web, Cluster: !Ref Cluster, TaskDefinition: !Ref Definition, DesiredCount: 2}
  Cpu:
    Type: AWS::ApplicationAutoScaling::ScalingPolicy
    Properties:
      PolicyName: cpu
      PolicyType: TargetTrackingScaling
      ScalingTargetId: !Ref Scaling
      TargetTrackingScalingPolicyConfiguration:
        TargetValue: !Ref Target
        PredefinedMetricSpecification: {PredefinedMetricType: ECSServiceAverageCPUUtilization}
  Steps:
    Type: AWS::ApplicationAutoScaling::ScalingPolicy
    Properties:
      PolicyName: steps
      PolicyType: StepScaling
      ScalingTargetId: !Ref Scaling
      StepScalingPolicyConfiguration:
        AdjustmentType: ChangeInCapacity
        Cooldown: 60
        StepAdjustments: [{MetricIntervalLowerBound: 0, ScalingAdjustment: 2}]
  Errors:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: errors
      Namespace: Shop
      MetricName: Errors
      Statistic: Sum
      Period: 10
      EvaluationPeriods: 1
      Threshold: 5
      ComparisonOperator: GreaterThanThreshold
      AlarmActions: [!Ref Steps]
Outputs:
  Policy: {Value: !GetAtt Cpu.Arn}
"#;

    fn deploy(core: &Arc<Core>, text: &str) -> Result<Vec<String>, String> {
        let template = Template::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
        let inputs = Inputs { stack_name: "test".into(), revision: core.revisions(), ..Inputs::default() };
        let stack = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
        let made_from = StackTemplate {
            files: vec![("template".into(), text.to_owned())],
            parameters: Default::default(),
        };
        let order = StackOrder { by: "test".into(), ..StackOrder::default() };
        let deployed = core.deploy(&stack, &made_from, &order).map_err(|error| error.to_string())?;
        Ok(deployed.notes.into_iter().map(|note| note.message).collect())
    }

    fn change(core: &Core, change: impl FnOnce(&mut Registry)) {
        core.change::<_, RegistryError>(|registry| {
            change(registry);
            Ok(())
        })
        .expect("it is written");
    }

    #[test]
    fn a_template_scales_until_it_is_gone() {
        let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
        deploy(&core, TEMPLATE).expect("it is deployed");
        let registry = core.registry();
        let target = registry.scalable_targets.get("service/shop/web").expect("a target");
        assert_eq!(target.bounds, CapacityBounds { min: 2, max: 10 });
        assert_eq!((registry.scaling_policies.len(), registry.scheduled_actions.len()), (2, 1));
        // Its own, and the two of target tracking.
        assert_eq!(registry.alarms.len(), 3);
        let errors = registry.alarms.get("errors").expect("an alarm");
        assert!(matches!(&errors.source, AlarmSource::Metric(stat) if stat.period.as_secs() == 10));
        let steps =
            registry.scaling_policies.values().find(|policy| policy.name == "steps").expect("a policy");
        assert_eq!(errors.actions.alarm, [steps.arn.to_string()]);
        let stack = registry.stacks.get("test").expect("a stack");
        let cpu = registry.scaling_policies.values().find(|policy| policy.name == "cpu").expect("a policy");
        assert_eq!(stack.outputs[0].value, cpu.arn.as_str());

        // What was scaled meanwhile stays, whatever the template begins with.
        let arn = registry.services.values().next().expect("a service").arn.clone();
        change(&core, |registry| registry.services.update(arn.as_str(), |service| service.desired_count = 7));
        deploy(&core, &TEMPLATE.replace("MaxCapacity: 10", "MaxCapacity: 8")).expect("it is deployed");
        let registry = core.registry();
        assert_eq!(registry.services.get(arn.as_str()).map(|service| service.desired_count), Some(7));
        assert_eq!(
            registry.scalable_targets.get("service/shop/web").map(|target| target.bounds.max),
            Some(8)
        );
        assert_eq!(registry.alarms.len(), 3, "the alarms are the same");

        let now = Timestamp::from_secs(1_800_000_000);
        change(&core, |registry| crate::stack::delete(registry, "test", now));
        let registry = core.registry();
        assert!(registry.alarms.is_empty() && registry.scalable_targets.is_empty());
        assert!(registry.scaling_policies.is_empty() && registry.scheduled_actions.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_is_elsewhere_noted() {
        let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
        let wrong = TEMPLATE.replace("Default: 60", "Default: 0");
        assert!(deploy(&core, &wrong).expect_err("a target of 0").contains("TargetValue"));
        assert!(core.registry().stacks.is_empty());
        let band = TEMPLATE.replace(
            "ComparisonOperator: GreaterThanThreshold",
            "ComparisonOperator: GreaterThanUpperThreshold",
        );
        let notes = deploy(&core, &band).expect("it is deployed");
        assert!(notes.iter().any(|note| note.contains("recorded, not judged")), "{notes:?}");
    }
}
