//! Metric data queries, as `GetMetricData` and alarms have them.

use std::time::Duration;

use bowline_aws::{cloudwatch::MetricDataQuery, protocol::Fault};
use bowline_model::{
    clock::Timestamp,
    metric::math::{
        Expression,
        query::{MetricStat, Plan, Query, Source},
    },
};
use bowline_observe::metrics::{MetricStore, Periods};

use super::{checks, missing, validation};

/// Most queries of a request. Source: `GetMetricData`.
const QUERIES_MAX: usize = 500;

/// Reads queries, and puts them in an order in which they can be worked out.
///
/// # Errors
/// What does not fit is refused in `CloudWatch`'s codes.
pub(crate) fn plan(given: &[MetricDataQuery]) -> Result<Plan, Fault> {
    if given.is_empty() {
        return Err(missing("MetricDataQueries"));
    }
    if given.len() > QUERIES_MAX {
        return Err(validation(format!(
            "The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}."
        )));
    }
    let queries =
        (1..).zip(given).map(|(number, query)| read(number, query)).collect::<Result<_, Fault>>()?;
    Plan::new(queries).map_err(|error| validation(format!("Invalid metrics list: {error}.")))
}

fn read(number: usize, given: &MetricDataQuery) -> Result<Query, Fault> {
    let of = |part: &str| format!("MetricDataQueries.member.{number}.{part}");
    let id = given.id.clone().ok_or_else(|| missing(&of("Id")))?;
    let source = match (&given.metric_stat, &given.expression) {
        (Some(stat), None) => {
            let metric = stat.metric.clone().ok_or_else(|| missing(&of("MetricStat.Metric")))?;
            let period = stat.period.ok_or_else(|| missing(&of("MetricStat.Period")))?;
            let statistic = stat.stat.as_deref().ok_or_else(|| missing(&of("MetricStat.Stat")))?;
            Source::Metric(MetricStat {
                metric: checks::metric(&of("MetricStat.Metric."), metric)?,
                statistic: checks::statistic(&of("MetricStat.Stat"), statistic)?,
                period: checks::period(period)?,
                unit: checks::unit(stat.unit.as_deref())?,
            })
        }
        (None, Some(text)) => {
            let expression = Expression::parse(text)
                .map_err(|error| validation(format!("Error in expression '{id:.255}': {error}.")))?;
            Source::Expression { expression, period: given.period.map(checks::period).transpose()? }
        }
        _ => {
            return Err(validation(format!(
                "Exactly one of the parameters {} and {} must be specified.",
                of("MetricStat"),
                of("Expression")
            )));
        }
    };
    Ok(Query { id, source })
}

/// The values of a metric, of periods that begin in `from..until`.
pub(crate) fn values(
    store: &MetricStore,
    stat: &MetricStat,
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, f64)> {
    let periods = Periods { length: stat.period, offset: Duration::ZERO, from, until };
    let told = store.distributions(&stat.metric, stat.unit, &periods);
    told.into_iter().filter_map(|(at, values)| Some((at, values.statistic(stat.statistic)?))).collect()
}
