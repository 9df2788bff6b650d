//! Amazon `CloudWatch` (`monitoring`; `GraniteServiceVersion20100801`), in RPC v2 CBOR, awsJson 1.0 and query.
//!
//! - `metrics` lists metrics, `put` takes their values, `statistics` and `data` tell them.
//! - `alarms` puts, tells and deletes alarms.
//! - `queries` reads metric data queries, of `GetMetricData` and of alarms; `labels` makes their labels.
//! - `checks` is what members must be.
//!
//! Source of names, shapes and errors: AWS's `CloudWatch` API reference.

pub(crate) mod alarms;
mod checks;
mod data;
mod labels;
mod metrics;
mod put;
pub(crate) mod queries;
mod statistics;

use bowline_aws::{
    cloudwatch::{Dimension, Metric},
    protocol::Fault,
};
use bowline_model::metric::MetricId;

use super::{
    constraint,
    operation::{Operation, operation},
};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "DeleteAlarms", alarms::delete),
    operation!(Read, Effective, "DescribeAlarmHistory", alarms::describe_history),
    operation!(Read, Effective, "DescribeAlarms", alarms::describe),
    operation!(Read, Effective, "DescribeAlarmsForMetric", alarms::describe_for_metric),
    operation!(Write, Effective, "DisableAlarmActions", alarms::disable),
    operation!(Write, Effective, "EnableAlarmActions", alarms::enable),
    operation!(Data, Effective, "GetMetricData", data::get, waits),
    operation!(Data, Effective, "GetMetricStatistics", statistics::get, waits),
    operation!(Read, Effective, "ListMetrics", metrics::list, waits),
    operation!(Read, Effective, "ListTagsForResource", alarms::list_tags),
    operation!(Write, Effective, "PutMetricAlarm", alarms::put),
    operation!(DataWrite, Effective, "PutMetricData", put::put),
    operation!(Write, Effective, "SetAlarmState", alarms::set_state),
    operation!(Write, Effective, "TagResource", alarms::tag),
    operation!(Write, Effective, "UntagResource", alarms::untag),
];

/// `InvalidParameterValue`: one member is not what it may be.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterValueException", message).with_query_code("InvalidParameterValue")
}

/// `InvalidParameterCombination`: members do not go together.
fn invalid_combination(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterCombinationException", message).with_query_code("InvalidParameterCombination")
}

/// `MissingParameter`: a member is not there.
fn missing(member: &str) -> Fault {
    missing_one(format!("The parameter {member} is required."))
}

/// The same, of several members.
fn missing_one(message: impl Into<String>) -> Fault {
    Fault::new("MissingRequiredParameterException", message).with_query_code("MissingParameter")
}

/// `ValidationError`: what `CloudWatch` says of everything else that does not fit.
fn validation(message: impl Into<String>) -> Fault {
    Fault::new("ValidationException", message).with_query_code("ValidationError")
}

/// A constraint of a shape is broken, in the words of [`constraint`].
fn constrained(checked: Result<(), String>) -> Result<(), Fault> {
    checked.map_err(validation)
}

/// A metric as the wire has it.
fn wire_metric(metric: MetricId) -> Metric {
    let dimension = |(name, value)| Dimension { name: Some(name), value: Some(value) };
    Metric {
        namespace: Some(metric.namespace),
        metric_name: Some(metric.name),
        dimensions: metric.dimensions.into_iter().map(dimension).collect(),
    }
}
