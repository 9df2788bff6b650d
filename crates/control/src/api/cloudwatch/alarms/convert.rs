//! Alarms from the wire's shape to the model's, and back.

use std::{collections::BTreeSet, time::Duration};

use bowline_aws::{
    cloudwatch::{AlarmMetricQuery, AlarmMetricStat, Dimension, MetricAlarm, PutMetricAlarmRequest},
    protocol::Fault,
};
use bowline_model::{
    alarm::{
        Alarm, AlarmActions, AlarmRule, AlarmSource, Comparison, MetricQuery, MetricStat, MissingData,
        QUERIES_MAX, QuerySource, StateRecord, covered_max,
    },
    arn::{Arn, Scope},
    clock::Timestamp,
    metric::{DIMENSIONS_MAX, MetricId, Statistic, Unit},
};

use super::{constrained, constraint, tags, validation};
use crate::{
    alarms::{arn_of, is_url, values},
    api::{call::wire, cloudwatch::wire_metric},
};

/// The alarm that a request makes.
pub(crate) fn alarm_of(
    scope: &Scope,
    request: PutMetricAlarmRequest,
    now: Timestamp,
) -> Result<Alarm, Fault> {
    constrained(constraint::length("alarmName", &request.alarm_name, 1..=255))?;
    let description = request.alarm_description.clone();
    constrained(constraint::length(
        "alarmDescription",
        description.as_deref().unwrap_or_default(),
        0..=1_024,
    ))?;
    if request.evaluation_criteria.is_some() || request.evaluation_window.is_some() {
        return Err(validation("Alarms of PromQL and of windows on the clock are not served here."));
    }
    let source = source_of(&request)?;
    let rule = rule_of(&request, source.period())?;
    let actions = AlarmActions {
        ok: actions_of("oKActions", request.ok_actions)?,
        alarm: actions_of("alarmActions", request.alarm_actions)?,
        insufficient_data: actions_of("insufficientDataActions", request.insufficient_data_actions)?,
    };
    Ok(Alarm {
        arn: arn_of(scope, &request.alarm_name),
        name: request.alarm_name,
        description,
        source,
        rule,
        actions_enabled: request.actions_enabled.unwrap_or(true),
        actions,
        tags: tags::of(request.tags)?,
        configured_at: now,
        state: StateRecord::initial(now),
    })
}

fn actions_of(member: &str, actions: Vec<String>) -> Result<Vec<String>, Fault> {
    constrained(constraint::items(member, actions.len(), 0..=bowline_model::alarm::ACTIONS_MAX))?;
    for action in &actions {
        constrained(constraint::length(member, action, 1..=1_024))?;
        if action.parse::<Arn>().is_err() && !is_url(action) {
            return Err(validation(format!("Invalid arn syntax: {action}")));
        }
    }
    Ok(actions)
}

fn source_of(request: &PutMetricAlarmRequest) -> Result<AlarmSource, Fault> {
    if request.metrics.is_empty() {
        let (Some(name), Some(namespace)) = (request.metric_name.clone(), request.namespace.clone()) else {
            return Err(validation("Either MetricName and Namespace or Metrics must be given."));
        };
        let statistic = match (&request.statistic, &request.extended_statistic) {
            (Some(one), None) | (None, Some(one)) => statistic_of(one)?,
            _ => return Err(validation("Exactly one of Statistic and ExtendedStatistic must be given.")),
        };
        let period =
            request.period.ok_or_else(|| validation("Period is required for alarms on a metric."))?;
        return Ok(AlarmSource::Metric(MetricStat {
            metric: metric_of(namespace, name, &request.dimensions)?,
            statistic,
            period: period_of(period)?,
            unit: unit_of(request.unit.as_deref())?,
        }));
    }
    if request.metric_name.is_some() || request.namespace.is_some() || request.period.is_some() {
        return Err(validation("MetricName, Namespace and Period can't be given with Metrics."));
    }
    if request.metrics.len() > QUERIES_MAX {
        return Err(validation(format!("Metrics can have {QUERIES_MAX} items at most.")));
    }
    let queries = request.metrics.iter().map(query_of).collect::<Result<Vec<_>, _>>()?;
    let ids: BTreeSet<_> = queries.iter().map(|query| &query.id).collect();
    if ids.len() < queries.len() {
        return Err(validation("The ids of Metrics must differ."));
    }
    if queries.iter().filter(|query| query.return_data).count() != 1 {
        return Err(validation("Exactly one element of the metrics list should return data."));
    }
    values::plan(&queries).map_err(validation)?;
    Ok(AlarmSource::Queries(queries))
}

fn query_of(query: &AlarmMetricQuery) -> Result<MetricQuery, Fault> {
    let is_id = query.id.chars().next().is_some_and(|first| first.is_ascii_lowercase())
        && query.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && query.id.len() <= 255;
    if !is_id {
        return Err(validation(format!(
            "The id {:?} begins with no lower case letter, or has other signs.",
            query.id
        )));
    }
    let source = match (&query.metric_stat, &query.expression) {
        (Some(stat), None) => QuerySource::Stat(stat_of(stat)?),
        (None, Some(text)) => {
            constrained(constraint::length("expression", text, 1..=2_048))?;
            QuerySource::Expression { text: text.clone(), period: query.period.map(period_of).transpose()? }
        }
        _ => return Err(validation("A metric query needs exactly one of MetricStat and Expression.")),
    };
    Ok(MetricQuery {
        id: query.id.clone(),
        source,
        label: query.label.clone(),
        return_data: query.return_data.unwrap_or(true),
    })
}

fn stat_of(stat: &AlarmMetricStat) -> Result<MetricStat, Fault> {
    let metric = stat.metric.clone();
    let (Some(namespace), Some(name)) = (metric.namespace, metric.metric_name) else {
        return Err(validation("A metric has a Namespace and a MetricName."));
    };
    Ok(MetricStat {
        metric: metric_of(namespace, name, &metric.dimensions)?,
        statistic: statistic_of(&stat.stat)?,
        period: period_of(stat.period)?,
        unit: unit_of(stat.unit.as_deref())?,
    })
}

pub(super) fn metric_of(
    namespace: String,
    name: String,
    dimensions: &[Dimension],
) -> Result<MetricId, Fault> {
    constrained(constraint::length("namespace", &namespace, 1..=255))?;
    constrained(constraint::length("metricName", &name, 1..=255))?;
    constrained(constraint::items("dimensions", dimensions.len(), 0..=DIMENSIONS_MAX))?;
    let dimension = |dimension: &Dimension| {
        let (Some(name), Some(value)) = (dimension.name.clone(), dimension.value.clone()) else {
            return Err(validation("A dimension has a Name and a Value."));
        };
        constrained(constraint::length("dimensions.name", &name, 1..=255))?;
        constrained(constraint::length("dimensions.value", &value, 1..=1_024))?;
        Ok((name, value))
    };
    let dimensions = dimensions.iter().map(dimension).collect::<Result<_, _>>()?;
    Ok(MetricId { namespace, name, dimensions })
}

fn statistic_of(text: &str) -> Result<Statistic, Fault> {
    text.parse().map_err(|error: bowline_model::metric::UnknownStatistic| validation(error.to_string()))
}

fn unit_of(text: Option<&str>) -> Result<Option<Unit>, Fault> {
    text.map(str::parse::<Unit>).transpose().map_err(|error| validation(error.to_string()))
}

fn period_of(seconds: i64) -> Result<Duration, Fault> {
    let is_valid = matches!(seconds, 10 | 20 | 30) || (seconds >= 60 && seconds % 60 == 0);
    match u64::try_from(seconds) {
        Ok(seconds) if is_valid => Ok(Duration::from_secs(seconds)),
        _ => Err(validation("Metric period must be 10, 20, 30 or a multiple of 60.")),
    }
}

fn rule_of(request: &PutMetricAlarmRequest, period: Duration) -> Result<AlarmRule, Fault> {
    let required = |member| validation(format!("{member} is required."));
    let count = |member: &str, value: i64| {
        constrained(constraint::range(member, value, 1..=i64::from(u32::MAX)))?;
        Ok::<_, Fault>(u32::try_from(value).unwrap_or(u32::MAX))
    };
    let evaluation_periods = request.evaluation_periods.ok_or_else(|| required("EvaluationPeriods"))?;
    let evaluation_periods = count("evaluationPeriods", evaluation_periods)?;
    if period.saturating_mul(evaluation_periods) > covered_max(period) {
        return Err(validation(
            "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400), or, where the \
             period is an hour or longer, across more than seven days.",
        ));
    }
    let datapoints =
        request.datapoints_to_alarm.map(|count_of| count("datapointsToAlarm", count_of)).transpose()?;
    if datapoints.is_some_and(|datapoints| datapoints > evaluation_periods) {
        return Err(validation("DatapointsToAlarm must be less than or equal to EvaluationPeriods."));
    }
    if request.threshold_metric_id.is_some() {
        return Err(validation("Bands of anomaly detection are not here: a Threshold is needed."));
    }
    let comparison = request.comparison_operator.as_deref().ok_or_else(|| required("ComparisonOperator"))?;
    let comparison: Comparison = comparison
        .parse()
        .map_err(|error: bowline_model::alarm::UnknownComparison| validation(error.to_string()))?;
    let missing_data = match request.treat_missing_data.as_deref() {
        None => MissingData::Missing,
        Some(text) => text.parse().map_err(|_| {
            validation(format!(
                "TreatMissingData must be breaching, notBreaching, ignore or missing, not {text:?}."
            ))
        })?,
    };
    let ignores_few_samples = match request.evaluate_low_sample_count_percentile.as_deref() {
        None | Some("evaluate") => false,
        Some("ignore") => true,
        Some(_) => return Err(validation("EvaluateLowSampleCountPercentile must be evaluate or ignore.")),
    };
    Ok(AlarmRule {
        evaluation_periods,
        datapoints_to_alarm: datapoints,
        threshold: request
            .threshold
            .filter(|value| value.is_finite())
            .ok_or_else(|| required("Threshold"))?,
        comparison,
        missing_data,
        ignores_few_samples,
    })
}

fn seconds(period: Duration) -> i64 {
    i64::try_from(period.as_secs()).unwrap_or(i64::MAX)
}

/// An alarm as it is told.
pub(super) fn told(alarm: &Alarm) -> MetricAlarm {
    let mut told = MetricAlarm {
        alarm_name: alarm.name.clone(),
        alarm_arn: alarm.arn.to_string(),
        alarm_description: alarm.description.clone(),
        alarm_configuration_updated_timestamp: Some(wire(alarm.configured_at)),
        actions_enabled: alarm.actions_enabled,
        ok_actions: alarm.actions.ok.clone(),
        alarm_actions: alarm.actions.alarm.clone(),
        insufficient_data_actions: alarm.actions.insufficient_data.clone(),
        state_value: alarm.state.state.as_str().to_owned(),
        state_reason: alarm.state.reason.clone(),
        state_reason_data: alarm.state.reason_data.clone(),
        state_updated_timestamp: Some(wire(alarm.state.updated_at)),
        state_transitioned_timestamp: Some(wire(alarm.state.transitioned_at)),
        evaluation_periods: alarm.rule.evaluation_periods.into(),
        datapoints_to_alarm: alarm.rule.datapoints_to_alarm.map(i64::from),
        threshold: alarm.rule.threshold,
        comparison_operator: alarm.rule.comparison.as_str().to_owned(),
        treat_missing_data: Some(alarm.rule.missing_data.as_str().to_owned()),
        evaluate_low_sample_count_percentile: alarm.rule.ignores_few_samples.then(|| "ignore".to_owned()),
        ..MetricAlarm::default()
    };
    match &alarm.source {
        AlarmSource::Metric(stat) => {
            let metric = wire_metric(stat.metric.clone());
            told.metric_name = metric.metric_name;
            told.namespace = metric.namespace;
            told.dimensions = metric.dimensions;
            told.period = Some(seconds(stat.period));
            told.unit = stat.unit.map(|unit| unit.as_str().to_owned());
            let statistic = Some(stat.statistic.to_string());
            match stat.statistic {
                Statistic::Percentile(_) => told.extended_statistic = statistic,
                _ => told.statistic = statistic,
            }
        }
        AlarmSource::Queries(queries) => told.metrics = queries.iter().map(told_query).collect(),
    }
    told
}

fn told_query(query: &MetricQuery) -> AlarmMetricQuery {
    let mut told = AlarmMetricQuery {
        id: query.id.clone(),
        label: query.label.clone(),
        return_data: Some(query.return_data),
        ..AlarmMetricQuery::default()
    };
    match &query.source {
        QuerySource::Stat(stat) => {
            told.metric_stat = Some(AlarmMetricStat {
                metric: wire_metric(stat.metric.clone()),
                period: seconds(stat.period),
                stat: stat.statistic.to_string(),
                unit: stat.unit.map(|unit| unit.as_str().to_owned()),
            });
        }
        QuerySource::Expression { text, period } => {
            told.expression = Some(text.clone());
            told.period = period.map(seconds);
        }
    }
    told
}
