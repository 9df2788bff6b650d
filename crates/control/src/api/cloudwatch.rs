//! Amazon `CloudWatch` (`monitoring`; `GraniteServiceVersion20100801`), in RPC v2 CBOR, awsJson 1.0 and query.
//!
//! - `alarms` puts, tells and deletes alarms.
//! - `metrics` puts, lists and reads metrics.
//!
//! Source of names, shapes and errors: AWS's `CloudWatch` API reference.

pub(crate) mod alarms;
mod metrics;

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
    operation!(Read, Effective, "ListMetrics", metrics::list, waits),
    operation!(Read, Effective, "ListTagsForResource", alarms::list_tags),
    operation!(Write, Effective, "PutMetricAlarm", alarms::put),
    operation!(Write, Effective, "SetAlarmState", alarms::set_state),
    operation!(Write, Effective, "TagResource", alarms::tag),
    operation!(Write, Effective, "UntagResource", alarms::untag),
];

/// `InvalidParameterValue`: one member is not what it may be.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterValueException", message).with_query_code("InvalidParameterValue")
}

/// A constraint of a shape is broken, in the words of [`constraint`].
fn constrained(checked: Result<(), String>) -> Result<(), Fault> {
    checked.map_err(|message| Fault::new("ValidationError", message))
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
