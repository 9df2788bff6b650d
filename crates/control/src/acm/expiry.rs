//! How long certificates are valid yet, as a metric: what alarms on their end watch.
//!
//! Source: AWS Certificate Manager user guide, "Supported CloudWatch metrics". AWS tells it twice a day.

use std::time::Duration;

use bowline_aws::acm::CertificateStatus;
use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, Unit},
};

use crate::registry::Registry;

/// How often it is told.
pub(crate) const EVERY: Duration = Duration::from_secs(600);

/// `DaysToExpiry` of each certificate that is valid: whole days.
pub(crate) fn data(registry: &Registry, now: Timestamp) -> Vec<Datum> {
    let issued = registry.acm_certificates.values().filter(|row| row.status == CertificateStatus::Issued);
    let left = issued.filter_map(|row| {
        let (_, end) = row.validity.filter(|(_, end)| *end > now)?;
        Some((row.arn.as_str(), end.since(now).as_secs() / 86_400))
    });
    left.map(|(arn, days)| Datum {
        metric: MetricId::new("AWS/CertificateManager", "DaysToExpiry", [("CertificateArn", arn)]),
        at: now,
        unit: Unit::None,
        values: Distribution::of(days as f64),
        is_high_resolution: false,
    })
    .collect()
}
