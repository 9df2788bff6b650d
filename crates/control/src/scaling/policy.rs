//! Policies: into the model's, and into the alarms that ask them.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::application_autoscaling::{
    CustomizedMetricSpecification, MetricDimension, PredefinedMetricSpecification,
    StepScalingPolicyConfiguration, TargetTrackingMetricDataQuery, TargetTrackingScalingPolicyConfiguration,
};
use bowline_model::{
    alarm::{
        Alarm, AlarmActions, AlarmRule, AlarmSource, Comparison, MetricQuery, MetricStat, MissingData,
        QUERIES_MAX, QuerySource, StateRecord,
    },
    arn::Scope,
    clock::Timestamp,
    metric::{DIMENSIONS_MAX, MetricId, Statistic, Unit},
    scaling::{Adjustment, Aggregation, LowMargin, Step, StepScaling, TargetTracking, check_steps},
};

use super::{PERIOD_TAG, ScalableTargetRecord, ScalingError, ScalingPolicyRecord};
use crate::{alarms, random};

/// Periods of predefined metrics, and of customized ones where nothing else is said.
const MINUTE: Duration = Duration::from_secs(60);

/// Periods of the predefined metrics of high resolution.
const HIGH_RESOLUTION: Duration = Duration::from_secs(20);

/// Longest cooldown.
const COOLDOWN_SECONDS_MAX: i64 = 86_400;

fn invalid(message: impl Into<String>) -> ScalingError {
    ScalingError::Invalid(message.into())
}

fn seconds(given: Option<i64>) -> Result<Option<Duration>, ScalingError> {
    let seconds = given.map(|seconds| match seconds {
        0..=COOLDOWN_SECONDS_MAX => Ok(Duration::from_secs(seconds.unsigned_abs())),
        _ => Err(invalid(format!("A cooldown has 0 to {COOLDOWN_SECONDS_MAX} seconds."))),
    });
    seconds.transpose()
}

/// Target tracking, as it was asked for.
pub(super) fn tracking(
    given: &TargetTrackingScalingPolicyConfiguration,
) -> Result<TargetTracking, ScalingError> {
    if !given.target_value.is_finite() || given.target_value <= 0.0 {
        return Err(invalid("The TargetValue must be greater than 0."));
    }
    Ok(TargetTracking {
        target: given.target_value,
        out_cooldown: seconds(given.scale_out_cooldown)?,
        in_cooldown: seconds(given.scale_in_cooldown)?,
        never_in: given.disable_scale_in.unwrap_or(false),
    })
}

/// Step scaling, as it was asked for.
pub(super) fn steps(given: &StepScalingPolicyConfiguration) -> Result<StepScaling, ScalingError> {
    let adjustment = match given.adjustment_type.as_deref() {
        Some("ChangeInCapacity") => Adjustment::ChangeInCapacity,
        Some("PercentChangeInCapacity") => Adjustment::PercentChangeInCapacity,
        Some("ExactCapacity") => Adjustment::ExactCapacity,
        _ => {
            return Err(invalid(
                "AdjustmentType must be ChangeInCapacity, PercentChangeInCapacity or ExactCapacity.",
            ));
        }
    };
    let aggregation = match given.metric_aggregation_type.as_deref() {
        None | Some("Average") => Aggregation::Average,
        Some("Minimum") => Aggregation::Minimum,
        Some("Maximum") => Aggregation::Maximum,
        Some(_) => return Err(invalid("MetricAggregationType must be Average, Minimum or Maximum.")),
    };
    let step = |step: &bowline_aws::application_autoscaling::StepAdjustment| {
        let adjustment = i32::try_from(step.scaling_adjustment)
            .map_err(|_| invalid("A ScalingAdjustment is a number of 32 bits."))?;
        Ok(Step {
            lower: step.metric_interval_lower_bound,
            upper: step.metric_interval_upper_bound,
            adjustment,
        })
    };
    if given.min_adjustment_magnitude.is_some() && adjustment != Adjustment::PercentChangeInCapacity {
        return Err(invalid("MinAdjustmentMagnitude can only be given with PercentChangeInCapacity."));
    }
    let min_magnitude = given.min_adjustment_magnitude.map(u32::try_from).transpose();
    let steps = StepScaling {
        adjustment,
        steps: given.step_adjustments.iter().map(step).collect::<Result<_, ScalingError>>()?,
        min_magnitude: min_magnitude.map_err(|_| invalid("MinAdjustmentMagnitude must not be negative."))?,
        cooldown: seconds(given.cooldown)?,
        aggregation,
    };
    check_steps(&steps).map_err(|error| invalid(format!("{error}.")))?;
    Ok(steps)
}

/// The alarms of a target tracking policy. Their names end with `ids`, of the high and of the low one.
pub(super) fn alarms_of(
    scope: &Scope,
    target: &ScalableTargetRecord,
    policy: &ScalingPolicyRecord,
    given: &TargetTrackingScalingPolicyConfiguration,
    ids: [Option<String>; 2],
    now: Timestamp,
) -> Result<Vec<Alarm>, ScalingError> {
    let tracking = tracking(given)?;
    let source = source(target, given)?;
    let (high, low) = TargetTracking::PERIODS;
    let [high_id, low_id] = ids;
    let alarm = |kind: &str, id: Option<String>, comparison, threshold, evaluation_periods| {
        let name =
            id.unwrap_or_else(|| format!("{}{kind}-{}", alarm_prefix(&target.resource_id), random::uuid()));
        Alarm {
            arn: alarms::arn_of(scope, &name),
            name,
            description: Some(format!(
                "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {}.",
                policy.arn
            )),
            source: source.clone(),
            rule: AlarmRule {
                evaluation_periods,
                datapoints_to_alarm: None,
                threshold,
                comparison,
                missing_data: MissingData::Missing,
                ignores_few_samples: false,
            },
            actions_enabled: true,
            actions: AlarmActions { alarm: vec![policy.arn.to_string()], ..AlarmActions::default() },
            tags: BTreeMap::new(),
            configured_at: now,
            state: StateRecord::initial(now),
        }
    };
    let mut alarms =
        vec![alarm("AlarmHigh", high_id, Comparison::GreaterThanThreshold, tracking.target, high)];
    if !tracking.never_in {
        let threshold = LowMargin::of(tracking.target);
        alarms.push(alarm("AlarmLow", low_id, Comparison::LessThanThreshold, threshold, low));
    }
    Ok(alarms)
}

/// What the names of a target's own alarms begin with.
pub(super) fn alarm_prefix(resource_id: &str) -> String {
    format!("TargetTracking-{resource_id}-")
}

/// Whether an alarm of target tracking is the low one.
pub(super) fn is_low(alarm: &Alarm) -> bool {
    alarm.rule.comparison == Comparison::LessThanThreshold
}

fn source(
    target: &ScalableTargetRecord,
    given: &TargetTrackingScalingPolicyConfiguration,
) -> Result<AlarmSource, ScalingError> {
    match (&given.predefined_metric_specification, &given.customized_metric_specification) {
        (Some(predefined), None) => predefined_metric(target, predefined),
        (None, Some(customized)) => customized_metric(customized, period(target)?),
        _ => Err(invalid(
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be given.",
        )),
    }
}

fn period(target: &ScalableTargetRecord) -> Result<Duration, ScalingError> {
    match target.tags.get(PERIOD_TAG).map(String::as_str) {
        None | Some("60") => Ok(MINUTE),
        Some("10") => Ok(Duration::from_secs(10)),
        Some("20") => Ok(Duration::from_secs(20)),
        Some("30") => Ok(Duration::from_secs(30)),
        Some(_) => Err(invalid(format!("The tag {PERIOD_TAG} must be 10, 20, 30 or 60."))),
    }
}

fn predefined_metric(
    target: &ScalableTargetRecord,
    given: &PredefinedMetricSpecification,
) -> Result<AlarmSource, ScalingError> {
    let of_service = |name: &str, period| {
        let mut parts = target.resource_id.split('/').skip(1);
        let (cluster, service) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if given.resource_label.is_some() {
            return Err(invalid(
                "ResourceLabel can only be given with the metric type ALBRequestCountPerTarget.",
            ));
        }
        Ok(MetricStat {
            metric: MetricId::new("AWS/ECS", name, [("ClusterName", cluster), ("ServiceName", service)]),
            statistic: Statistic::Average,
            period,
            unit: None,
        })
    };
    let stat = match given.predefined_metric_type.as_str() {
        "ECSServiceAverageCPUUtilization" => of_service("CPUUtilization", MINUTE)?,
        "ECSServiceAverageMemoryUtilization" => of_service("MemoryUtilization", MINUTE)?,
        "ECSServiceAverageCPUUtilizationHighResolution" => of_service("CPUUtilization", HIGH_RESOLUTION)?,
        "ECSServiceAverageMemoryUtilizationHighResolution" => {
            of_service("MemoryUtilization", HIGH_RESOLUTION)?
        }
        "ALBRequestCountPerTarget" => {
            let label = given.resource_label.as_deref().unwrap_or_default();
            let group = label.find("targetgroup/").filter(|_| label.starts_with("app/"));
            let group = group.map(|from| &label[from..]).filter(|group| group.split('/').count() == 3);
            let group = group.ok_or_else(|| {
                invalid("ResourceLabel must be app/NAME/ID/targetgroup/NAME/ID for ALBRequestCountPerTarget.")
            })?;
            MetricStat {
                metric: MetricId::new(
                    "AWS/ApplicationELB",
                    "RequestCountPerTarget",
                    [("TargetGroup", group)],
                ),
                statistic: Statistic::Sum,
                period: MINUTE,
                unit: None,
            }
        }
        other => {
            return Err(invalid(format!(
                "The predefined metric type {other} can't be used with the scalable dimension ecs:service:DesiredCount."
            )));
        }
    };
    Ok(AlarmSource::Metric(stat))
}

fn customized_metric(
    given: &CustomizedMetricSpecification,
    period: Duration,
) -> Result<AlarmSource, ScalingError> {
    if given.metrics.is_empty() {
        let (Some(name), Some(namespace), Some(statistic)) =
            (&given.metric_name, &given.namespace, &given.statistic)
        else {
            return Err(invalid("A customized metric has a MetricName, a Namespace and a Statistic."));
        };
        return Ok(AlarmSource::Metric(MetricStat {
            metric: metric(namespace, name, &given.dimensions)?,
            statistic: statistic_of(statistic)?,
            period,
            unit: unit_of(given.unit.as_deref())?,
        }));
    }
    if given.metric_name.is_some() || given.namespace.is_some() || given.statistic.is_some() {
        return Err(invalid("MetricName, Namespace and Statistic can't be given with Metrics."));
    }
    if given.metrics.len() > QUERIES_MAX {
        return Err(invalid(format!("Metrics can have {QUERIES_MAX} items at most.")));
    }
    let queries =
        given.metrics.iter().map(|query| self::query(query, period)).collect::<Result<Vec<_>, _>>()?;
    if queries.iter().filter(|query| query.return_data).count() != 1 {
        return Err(invalid("Exactly one element of the metrics list should return data."));
    }
    alarms::values::plan(&queries).map_err(invalid)?;
    Ok(AlarmSource::Queries(queries))
}

fn query(given: &TargetTrackingMetricDataQuery, period: Duration) -> Result<MetricQuery, ScalingError> {
    let source = match (&given.metric_stat, &given.expression) {
        (Some(stat), None) => {
            let (Some(namespace), Some(name)) = (&stat.metric.namespace, &stat.metric.metric_name) else {
                return Err(invalid("A metric has a Namespace and a MetricName."));
            };
            QuerySource::Stat(MetricStat {
                metric: metric(namespace, name, &stat.metric.dimensions)?,
                statistic: statistic_of(&stat.stat)?,
                period,
                unit: unit_of(stat.unit.as_deref())?,
            })
        }
        (None, Some(text)) => QuerySource::Expression { text: text.clone(), period: Some(period) },
        _ => return Err(invalid("A metric query needs exactly one of MetricStat and Expression.")),
    };
    Ok(MetricQuery {
        id: given.id.clone(),
        source,
        label: given.label.clone(),
        return_data: given.return_data.unwrap_or(true),
    })
}

fn metric(namespace: &str, name: &str, dimensions: &[MetricDimension]) -> Result<MetricId, ScalingError> {
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(invalid(format!("A metric has {DIMENSIONS_MAX} dimensions at most.")));
    }
    let dimensions = dimensions.iter().map(|one| (one.name.as_str(), one.value.as_str()));
    Ok(MetricId::new(namespace, name, dimensions))
}

fn statistic_of(text: &str) -> Result<Statistic, ScalingError> {
    text.parse::<Statistic>().map_err(|error| invalid(error.to_string()))
}

fn unit_of(text: Option<&str>) -> Result<Option<Unit>, ScalingError> {
    text.map(str::parse::<Unit>).transpose().map_err(|error| invalid(error.to_string()))
}
