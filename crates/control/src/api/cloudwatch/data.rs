//! Values of several metrics, and of expressions over them.

use bowline_aws::{
    cloudwatch::{GetMetricDataRequest, GetMetricDataResponse, MetricDataQuery, MetricDataResult},
    protocol::{Fault, Timestamp as WireTimestamp},
};
use bowline_model::{
    clock::Timestamp,
    metric::math::{
        Series, Value,
        query::{Plan, Query, Source},
    },
};

use bowline_observe::metrics::{FUTURE_MAX, MetricStore};

use super::{
    checks,
    labels::{Label, Zone},
    queries, validation,
};
use crate::api::{
    call::{Call, wire},
    pages,
};

/// Most datapoints of a page, and as many as there are where none is asked for. Source: `GetMetricData`.
const DATAPOINTS_MAX: i64 = 100_800;

/// How many periods the metrics of one request may have together: what is read for them is held in memory.
const PERIODS_MAX: u64 = 2_000_000;

/// One result, whole.
struct Told<'a> {
    query: &'a MetricDataQuery,
    source: &'a Query,
    series: Series,
}

pub(super) fn get(call: &Call<'_>, request: GetMetricDataRequest) -> Result<GetMetricDataResponse, Fault> {
    let plan = queries::plan(&request.metric_data_queries)?;
    let (start, until) = checks::range(request.start_time, request.end_time)?;
    let is_ascending = match request.scan_by.as_deref() {
        None | Some("TimestampDescending") => false,
        Some("TimestampAscending") => true,
        Some(_) => {
            return Err(validation(
                "The parameter ScanBy must be TimestampDescending or TimestampAscending.",
            ));
        }
    };
    let most = request.max_datapoints.unwrap_or(DATAPOINTS_MAX);
    if !(1..=DATAPOINTS_MAX).contains(&most) {
        return Err(validation(format!("The parameter MaxDatapoints must be from 1 to {DATAPOINTS_MAX}.")));
    }
    let zone = match request.label_options.as_ref().and_then(|options| options.timezone.as_deref()) {
        None => Zone::UTC,
        Some(given) => Zone::parse(given).ok_or_else(|| {
            validation("The parameter LabelOptions.Timezone must be a sign and four digits, as +0130.")
        })?,
    };
    if request.metric_data_queries.iter().all(|query| query.return_data == Some(false)) {
        return Err(validation("At least one of the MetricDataQueries must return data."));
    }
    check_size(&plan, call.core.metrics(), start, until, call.now)?;

    // The first period is that in which the range begins.
    let longest = plan.period();
    let from = Timestamp::from_secs(start.as_secs() / longest * longest);
    let is_own = |place: usize| {
        let account = request.metric_data_queries[place].account_id.as_ref();
        account.is_none_or(|account| *account == call.scope.account_id)
    };
    let values = plan
        .run(from, until, |place, stat| match is_own(place) {
            // Each metric begins with the period of its own in which the range begins.
            true => {
                let period = stat.period.as_secs().max(1);
                let from = Timestamp::from_secs(start.as_secs() / period * period);
                queries::values(call.core.metrics(), stat, from, until)
            }
            false => Vec::new(),
        })
        .map_err(|error| validation(format!("Error in expression '{}': {}.", error.id, error.cause)))?;

    let mut told = Vec::new();
    for ((query, source), value) in request.metric_data_queries.iter().zip(plan.queries()).zip(values) {
        if query.return_data == Some(false) {
            continue;
        }
        let all = match value {
            Value::Series(series) => vec![series],
            Value::Array(all) => all,
            _ => Vec::new(),
        };
        told.extend(all.into_iter().map(|series| Told { query, source, series }));
    }
    let results = told
        .iter()
        .map(|told| {
            let (query, series) = (told.query, &told.series);
            let label = Label { query, source: told.source, series, zone, scope: &call.scope }.text();
            let mut points = series.points.clone();
            if !is_ascending {
                points.reverse();
            }
            (told.source.id.clone(), label, points)
        })
        .collect();
    page(results, is_ascending, request.next_token.as_deref(), most as usize)
}

/// Refuses what would take too much to hold.
fn check_size(
    plan: &Plan,
    store: &MetricStore,
    start: Timestamp,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), Fault> {
    let until = until.min(now + FUTURE_MAX);
    let periods: u64 = plan
        .queries()
        .iter()
        .map(|query| match &query.source {
            Source::Metric(stat) => {
                let kept = now - store.kept_for(stat.period);
                until.since(start.max(kept)).as_secs() / stat.period.as_secs().max(1)
            }
            Source::Expression { .. } => 0,
        })
        .sum();
    match periods <= PERIODS_MAX {
        true => Ok(()),
        false => Err(validation(format!(
            "The metrics have up to {periods} periods in this time, which exceeds the limit of {PERIODS_MAX}. You may \
             reduce them by increasing Period, or decreasing the time range."
        ))),
    }
}

/// A result: its id, its label, its values in the order that was asked for.
type Whole = (String, String, Vec<(u64, f64)>);

/// The next `most` values of the results, one result after the other.
fn page(
    results: Vec<Whole>,
    is_ascending: bool,
    token: Option<&str>,
    most: usize,
) -> Result<GetMetricDataResponse, Fault> {
    const OPERATION: &str = "GetMetricData";
    let invalid = || Fault::new("InvalidNextToken", "The value for parameter NextToken is invalid.");
    // Which result is next, and after which moment: values that come in meanwhile do not move others.
    let (first, after) = match token {
        None => (0, None),
        Some(token) => {
            let key = pages::decode(OPERATION, token).map_err(|_| invalid())?;
            let (first, after) = key.split_once('-').ok_or_else(invalid)?;
            let first: usize = first.parse().map_err(|_| invalid())?;
            (first, Some(after.parse::<u64>().map_err(|_| invalid())?))
        }
    };
    let mut response = GetMetricDataResponse::default();
    let mut room = most;
    for (place, (id, label, mut points)) in results.into_iter().enumerate().skip(first) {
        if let Some(after) = after.filter(|_| place == first) {
            points.retain(|(at, _)| if is_ascending { *at > after } else { *at < after });
        }
        let is_whole = points.len() <= room;
        points.truncate(room);
        room -= points.len();
        let last = points.last().map(|(at, _)| *at);
        if is_whole || last.is_some() {
            let at = |second: u64| -> WireTimestamp { wire(Timestamp::from_secs(second)) };
            response.metric_data_results.push(MetricDataResult {
                id,
                label,
                timestamps: points.iter().map(|(second, _)| at(*second)).collect(),
                values: points.iter().map(|(_, value)| *value).collect(),
                status_code: if is_whole { "Complete" } else { "PartialData" }.to_owned(),
            });
        }
        if !is_whole {
            // Where there was room for none of it, all of it is next.
            let start = if is_ascending { 0 } else { u64::MAX };
            let key = format!("{place}-{}", last.unwrap_or(start));
            response.next_token = Some(pages::encode(OPERATION, &key));
            break;
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_together_are_the_results(
            lengths in prop::collection::vec(0u64..9, 1..6), most in 1usize..12, is_ascending in any::<bool>(),
        ) {
            let results: Vec<Whole> = lengths
                .iter()
                .map(|length| {
                    let mut points: Vec<(u64, f64)> = (1..=*length).map(|at| (at, at as f64)).collect();
                    if !is_ascending {
                        points.reverse();
                    }
                    (format!("m{length}"), "label".to_owned(), points)
                })
                .collect();
            let (mut seen, mut ids) = (Vec::new(), Vec::new());
            let mut token = None;
            loop {
                let told = page(results.clone(), is_ascending, token.as_deref(), most).expect("its own token");
                let count: usize = told.metric_data_results.iter().map(|result| result.values.len()).sum();
                prop_assert!(count <= most && (count > 0 || told.next_token.is_none()));
                for result in told.metric_data_results {
                    seen.extend(result.values);
                    if result.status_code == "Complete" {
                        ids.push(result.id);
                    }
                }
                token = told.next_token;
                if token.is_none() {
                    break;
                }
            }
            let all: Vec<f64> = results.iter().flat_map(|result| result.2.iter().map(|point| point.1)).collect();
            prop_assert_eq!(seen, all);
            prop_assert_eq!(ids, results.into_iter().map(|result| result.0).collect::<Vec<_>>());
        }
    }
}
