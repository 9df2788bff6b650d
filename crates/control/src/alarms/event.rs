//! What is told when an alarm changes its state: EventBridge's `CloudWatch Alarm State Change`.
//!
//! Source: Amazon CloudWatch user guide, "Alarm events and EventBridge"; EventBridge user guide, "AWS events".

use bowline_model::{
    alarm::{Alarm, AlarmSource, MetricQuery, MetricStat, QuerySource, StateRecord},
    arn::Scope,
};
use serde_json::{Value, json};

use super::wording::zoned;
use crate::random;

/// The event of an alarm that came to the state it is in.
pub(super) fn state_change(scope: &Scope, alarm: &Alarm) -> Value {
    json!({
        "version": "0",
        "id": random::uuid(),
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": scope.account_id,
        "time": alarm.state.transitioned_at.to_string(),
        "region": scope.region,
        "resources": [alarm.arn.as_str()],
        "detail": {
            "alarmName": alarm.name,
            "configuration": configuration(alarm),
            "state": state(&alarm.state),
        },
    })
}

fn state(state: &StateRecord) -> Value {
    let mut told = json!({
        "value": state.state.as_str(),
        "reason": state.reason,
        "timestamp": zoned(state.transitioned_at),
    });
    if let Some(data) = &state.reason_data {
        told["reasonData"] = data.as_str().into();
    }
    told
}

fn configuration(alarm: &Alarm) -> Value {
    let metrics: Vec<Value> = match &alarm.source {
        AlarmSource::Metric(stat) => {
            vec![json!({"id": "m1", "metricStat": metric(stat), "returnData": true})]
        }
        AlarmSource::Queries(queries) => queries.iter().map(query).collect(),
    };
    let mut told = json!({"metrics": metrics});
    if let Some(description) = &alarm.description {
        told["description"] = description.as_str().into();
    }
    told
}

fn query(query: &MetricQuery) -> Value {
    let mut told = json!({"id": query.id, "returnData": query.return_data});
    match &query.source {
        QuerySource::Stat(stat) => told["metricStat"] = metric(stat),
        QuerySource::Expression { text, .. } => told["expression"] = text.as_str().into(),
    }
    if let Some(label) = &query.label {
        told["label"] = label.as_str().into();
    }
    told
}

fn metric(stat: &MetricStat) -> Value {
    let mut told = json!({
        "metric": {
            "namespace": stat.metric.namespace,
            "name": stat.metric.name,
            "dimensions": stat.metric.dimensions,
        },
        "period": stat.period.as_secs(),
        "stat": stat.statistic.to_string(),
    });
    if let Some(unit) = stat.unit {
        told["unit"] = unit.as_str().into();
    }
    told
}
