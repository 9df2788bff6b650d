//! What X-Ray's daemons count of themselves becomes metrics.

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::Fault,
    xray::{Empty, PutTelemetryRecordsRequest, TelemetryRecord},
};
use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, MetricWriter, Unit},
};

use super::invalid;
use crate::api::{call::Call, constraint};

/// Where these metrics are.
const NAMESPACE: &str = "Bowline/XRayDaemon";
/// Most records of a request.
const RECORDS_MAX: usize = 100;

pub(super) fn put(call: &Call<'_>, request: PutTelemetryRecordsRequest) -> Result<Empty, Fault> {
    constraint::items("telemetryRecords", request.telemetry_records.len(), 0..=RECORDS_MAX)
        .map_err(invalid)?;
    for (member, value, longest) in [
        ("eC2InstanceId", &request.ec2_instance_id, 20),
        ("hostname", &request.hostname, 255),
        ("resourceARN", &request.resource_arn, 500),
    ] {
        constraint::length(member, value.as_deref().unwrap_or_default(), 0..=longest).map_err(invalid)?;
    }
    let mut dimensions = BTreeMap::new();
    if let Some(hostname) = request.hostname.filter(|hostname| !hostname.is_empty()) {
        dimensions.insert("Hostname".to_owned(), hostname);
    }
    let data = request.telemetry_records.iter().flat_map(|record| data(record, &dimensions));
    call.core.metrics().put(data.collect());
    Ok(Empty {})
}

fn data<'a>(
    record: &TelemetryRecord,
    dimensions: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Datum> + use<'a> {
    let errors = record.backend_connection_errors.unwrap_or_default();
    let failed = [
        errors.timeout_count,
        errors.connection_refused_count,
        errors.http_code_4xx_count,
        errors.http_code_5xx_count,
        errors.unknown_host_count,
        errors.other_count,
    ];
    let failed: i64 = failed.into_iter().flatten().fold(0, i64::saturating_add);
    let at = Timestamp::from_millis(u64::try_from(record.timestamp.milliseconds()).unwrap_or(0));
    let counts = [
        ("SegmentsReceivedCount", record.segments_received_count),
        ("SegmentsSentCount", record.segments_sent_count),
        ("SegmentsSpilloverCount", record.segments_spillover_count),
        ("SegmentsRejectedCount", record.segments_rejected_count),
        ("BackendConnectionErrors", (failed > 0).then_some(failed)),
    ];
    counts.into_iter().filter_map(move |(name, count)| {
        let count = count?;
        Some(Datum {
            metric: MetricId {
                namespace: NAMESPACE.to_owned(),
                name: name.to_owned(),
                dimensions: dimensions.clone(),
            },
            at,
            unit: Unit::Count,
            values: Distribution::of(count as f64),
            is_high_resolution: false,
        })
    })
}
