//! What `CloudWatch`'s operations demand.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon `CloudWatch`": metrics
//! are no resources, and who may put which is told by `cloudwatch:namespace`.

use super::demand::{Asked, Demand};

pub(super) fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let demand = Demand::new(format!("cloudwatch:{}", asked.operation), "*");
    match (asked.operation, asked.text("Namespace")) {
        ("PutMetricData", Some(namespace)) => vec![demand.with("cloudwatch:namespace", namespace)],
        _ => vec![demand],
    }
}
