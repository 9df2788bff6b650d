//! Amazon `CloudWatch` (`monitoring`; `GraniteServiceVersion20100801`), in RPC v2 CBOR, awsJson 1.0 and query.
//!
//! - `metrics` puts, lists and reads metrics.
//!
//! Source of names, shapes and errors: AWS's `CloudWatch` API reference.

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
pub(crate) const OPERATIONS: &[Operation] =
    &[operation!(Read, Effective, "ListMetrics", metrics::list, waits)];

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
