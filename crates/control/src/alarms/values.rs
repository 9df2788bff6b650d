//! What an alarm watches, read.

use bowline_model::{
    alarm::{Alarm, AlarmSource, MetricQuery, MetricStat, QuerySource, range},
    clock::Timestamp,
    metric::{
        MetricReader, Statistic,
        math::{
            self, Expression, Value,
            query::{Plan, Query, Source},
        },
    },
};

/// The values of an alarm's periods, oldest first; `None` where they are not to be judged by: percentiles of too few
/// samples, where the alarm ignores those.
pub(crate) fn of(reader: &dyn MetricReader, alarm: &Alarm, now: Timestamp) -> Option<Vec<(Timestamp, f64)>> {
    let (from, until) = range(&alarm.rule, alarm.source.period(), now);
    match &alarm.source {
        AlarmSource::Metric(stat) => {
            if alarm.rule.ignores_few_samples && has_few_samples(reader, stat, from, until) {
                return None;
            }
            Some(of_stat(reader, stat, from, until))
        }
        AlarmSource::Queries(queries) => Some(of_queries(reader, queries, from, until)),
    }
}

fn of_stat(
    reader: &dyn MetricReader,
    stat: &MetricStat,
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, f64)> {
    reader.values(&stat.metric, stat.statistic, stat.period, from, until)
}

/// What the query that returns data comes to; nothing where it comes to no series.
fn of_queries(
    reader: &dyn MetricReader,
    queries: &[MetricQuery],
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, f64)> {
    let values = plan(queries).ok().and_then(|plan| {
        let fetched = plan.run(from, until, |_, stat| {
            reader.values(&stat.metric, stat.statistic, stat.period, from, until)
        });
        fetched.ok()
    });
    let returned = queries.iter().position(|query| query.return_data);
    let value = values.zip(returned).and_then(|(values, place)| values.into_iter().nth(place));
    let points = match value {
        Some(Value::Series(series)) => series.points,
        Some(Value::Array(mut all)) if all.len() == 1 => all.remove(0).points,
        _ => Vec::new(),
    };
    points.into_iter().map(|(second, value)| (Timestamp::from_secs(second), value)).collect()
}

/// Metric queries in the order in which they can be worked out.
///
/// # Errors
/// Why they cannot, for people.
pub(crate) fn plan(queries: &[MetricQuery]) -> Result<Plan, String> {
    let query = |query: &MetricQuery| {
        let source = match &query.source {
            QuerySource::Stat(stat) => Source::Metric(math::query::MetricStat {
                metric: stat.metric.clone(),
                statistic: stat.statistic,
                period: stat.period,
                unit: stat.unit,
            }),
            QuerySource::Expression { text, period } => Source::Expression {
                expression: Expression::parse(text)
                    .map_err(|error| format!("Error in expression '{}': {error}.", query.id))?,
                period: *period,
            },
        };
        Ok(Query { id: query.id.clone(), source })
    };
    let queries = queries.iter().map(query).collect::<Result<_, String>>()?;
    Plan::new(queries).map_err(|error| error.to_string())
}

/// Whether a percentile would mean nothing: fewer samples in the latest period than one in ten of the share beyond it.
/// Source: CloudWatch user guide, "Percentile-based alarms and low data samples".
fn has_few_samples(reader: &dyn MetricReader, stat: &MetricStat, from: Timestamp, until: Timestamp) -> bool {
    let Statistic::Percentile(percent) = stat.statistic else { return false };
    let share = percent / 100.0;
    let needed = 10.0 / if share >= 0.5 { (1.0 - share).max(0.001) } else { share };
    let counts = reader.values(&stat.metric, Statistic::SampleCount, stat.period, from, until);
    counts.last().is_some_and(|(_, count)| *count < needed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowline_model::metric::MetricId;

    use super::*;

    struct Twice;

    impl MetricReader for Twice {
        fn values(
            &self,
            metric: &MetricId,
            _: Statistic,
            period: Duration,
            from: Timestamp,
            until: Timestamp,
        ) -> Vec<(Timestamp, f64)> {
            let value = if metric.name == "Errors" { 5.0 } else { 20.0 };
            let periods = (0..).map(|index| from + period * index).take_while(|at| *at < until);
            periods.map(|at| (at, value)).collect()
        }
    }

    fn stat(id: &str, name: &str) -> MetricQuery {
        let stat = MetricStat {
            metric: MetricId::new("Shop", name, []),
            statistic: Statistic::Sum,
            period: Duration::from_secs(60),
            unit: None,
        };
        MetricQuery { id: id.into(), source: QuerySource::Stat(stat), label: None, return_data: false }
    }

    fn expression(text: &str) -> MetricQuery {
        let source = QuerySource::Expression { text: text.into(), period: None };
        MetricQuery { id: "rate".into(), source, label: None, return_data: true }
    }

    #[test]
    fn an_expression_is_worked_out_over_metrics() {
        let queries =
            [expression("100 * errors / requests"), stat("errors", "Errors"), stat("requests", "Requests")];
        let from = Timestamp::from_secs(1_800_000_000);
        let until = from + Duration::from_secs(120);
        let values = of_queries(&Twice, &queries, from, until);
        assert_eq!(values, [(from, 25.0), (from + Duration::from_secs(60), 25.0)]);
        assert!(plan(&[expression("100 * none")]).is_err() && plan(&[expression("100 *")]).is_err());
    }
}
