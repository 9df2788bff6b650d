//! Statistics of one metric.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::{
    cloudwatch::{Datapoint, GetMetricStatisticsRequest, GetMetricStatisticsResponse, Metric},
    protocol::{Entries, Fault},
};
use bowline_model::{
    clock::Timestamp,
    metric::{Distribution, Statistic, Unit},
};
use bowline_observe::metrics::Periods;

use super::{checks, constrained, constraint, invalid_combination, missing};
use crate::api::call::{Call, wire};

/// Most datapoints of an answer. Source: `GetMetricStatistics`.
const DATAPOINTS_MAX: u64 = 1440;
/// Most statistics that can be asked for, and most percentiles.
const STATISTICS_MAX: usize = 5;
const EXTENDED_MAX: usize = 10;

pub(super) fn get(
    call: &Call<'_>,
    request: GetMetricStatisticsRequest,
) -> Result<GetMetricStatisticsResponse, Fault> {
    let GetMetricStatisticsRequest { namespace, metric_name, dimensions, .. } = request;
    let metric = checks::metric("", Metric { namespace, metric_name, dimensions })?;
    let (start, end) = checks::range(request.start_time, request.end_time)?;
    let period = checks::period(request.period.ok_or_else(|| missing("Period"))?)?;
    constrained(constraint::items("statistics", request.statistics.len(), 0..=STATISTICS_MAX))?;
    constrained(constraint::items(
        "extendedStatistics",
        request.extended_statistics.len(),
        0..=EXTENDED_MAX,
    ))?;
    if request.statistics.is_empty() == request.extended_statistics.is_empty() {
        return Err(invalid_combination("Must specify either Statistics or ExtendedStatistics"));
    }
    let mut statistics = Vec::new();
    for given in &request.statistics {
        let statistic = checks::statistic("Statistics", given)?;
        if matches!(statistic, Statistic::Percentile(_)) {
            return Err(super::invalid(format!(
                "The value {given} for parameter Statistics is not supported."
            )));
        }
        statistics.push(statistic);
    }
    let mut extended = Vec::new();
    for given in &request.extended_statistics {
        match checks::statistic("ExtendedStatistics", given)? {
            statistic @ Statistic::Percentile(_) => extended.push((given.clone(), statistic)),
            _ => {
                return Err(super::invalid(format!(
                    "The value {given} for parameter ExtendedStatistics is not supported."
                )));
            }
        }
    }
    let unit = checks::unit(request.unit.as_deref())?;

    let from = rounded(start, period, call.now);
    let asked = (end.since(from).as_secs()).div_ceil(period.as_secs());
    if asked > DATAPOINTS_MAX {
        return Err(invalid_combination(format!(
            "You have requested up to {asked} datapoints, which exceeds the limit of 1,440. You may reduce the \
             datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    // Periods begin where the range does.
    let offset = Duration::from_secs(from.as_secs() % period.as_secs());
    let periods = Periods { length: period, offset, from, until: end };
    let units = match unit {
        Some(unit) => vec![unit],
        None => call.core.metrics().units(&metric),
    };
    let mut datapoints = Vec::new();
    for unit in units {
        let told = call.core.metrics().distributions(&metric, Some(unit), &periods);
        datapoints
            .extend(told.iter().map(|(at, values)| datapoint(*at, unit, values, &statistics, &extended)));
    }
    datapoints.sort_by_key(|datapoint| datapoint.timestamp);
    Ok(GetMetricStatisticsResponse { label: metric.name, datapoints })
}

/// Where a range begins: at a whole minute, or, where only that is kept, at five minutes or an hour; for periods of
/// less than a minute at such a period. Source: `GetMetricStatistics`, `StartTime`.
fn rounded(start: Timestamp, period: Duration, now: Timestamp) -> Timestamp {
    let days = now.since(start).as_secs() / (24 * 3600);
    let to = match (period.as_secs(), days) {
        (seconds @ ..60, _) => seconds,
        (_, ..15) => 60,
        (_, ..63) => 300,
        _ => 3600,
    };
    Timestamp::from_secs(start.as_secs() / to * to)
}

fn datapoint(
    at: Timestamp,
    unit: Unit,
    values: &Distribution,
    statistics: &[Statistic],
    extended: &[(String, Statistic)],
) -> Datapoint {
    let asked = |statistic| statistics.contains(&statistic).then(|| values.statistic(statistic)).flatten();
    let percentiles: BTreeMap<String, f64> = extended
        .iter()
        .filter_map(|(name, statistic)| Some((name.clone(), values.statistic(*statistic)?)))
        .collect();
    Datapoint {
        timestamp: wire(at),
        sample_count: asked(Statistic::SampleCount),
        average: asked(Statistic::Average),
        sum: asked(Statistic::Sum),
        minimum: asked(Statistic::Minimum),
        maximum: asked(Statistic::Maximum),
        unit: unit.to_string(),
        extended_statistics: (!percentiles.is_empty()).then_some(Entries(percentiles)),
    }
}
