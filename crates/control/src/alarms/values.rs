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

fn of_queries(
    reader: &dyn MetricReader,
    queries: &[MetricQuery],
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, f64)> {
    let returned = queries.iter().position(|query| query.return_data);
    match returned.map(|place| (place, &queries[place].source)) {
        Some((_, QuerySource::Stat(stat))) => of_stat(reader, stat, from, until),
        Some((place, QuerySource::Expression { .. })) => worked_out(reader, queries, place, from, until)
            .unwrap_or_else(|reason| {
                tracing::debug!(reason, query = queries[place].id, "an alarm's expression comes to nothing");
                Vec::new()
            }),
        None => Vec::new(),
    }
}

/// The values of the expression at a place among the queries. An alarm watches one series: of several, the first.
fn worked_out(
    reader: &dyn MetricReader,
    queries: &[MetricQuery],
    place: usize,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<(Timestamp, f64)>, String> {
    let read = |query: &MetricQuery| {
        let source = match &query.source {
            QuerySource::Stat(MetricStat { metric, statistic, period, unit }) => {
                Source::Metric(math::query::MetricStat {
                    metric: metric.clone(),
                    statistic: *statistic,
                    period: *period,
                    unit: *unit,
                })
            }
            QuerySource::Expression { text, period } => Source::Expression {
                expression: Expression::parse(text).map_err(|error| error.to_string())?,
                period: *period,
            },
        };
        Ok(Query { id: query.id.clone(), source })
    };
    let plan = Plan::new(queries.iter().map(read).collect::<Result<_, String>>()?)
        .map_err(|error| error.to_string())?;
    let fetch = |_, stat: &math::query::MetricStat| {
        reader.values(&stat.metric, stat.statistic, stat.period, from, until)
    };
    let mut told = plan.run(from, until, fetch).map_err(|error| error.to_string())?;
    let series = match told.swap_remove(place) {
        Value::Series(series) => series,
        Value::Array(all) => all.into_iter().next().unwrap_or_default(),
        _ => return Ok(Vec::new()),
    };
    Ok(series.points.into_iter().map(|(at, value)| (Timestamp::from_secs(at), value)).collect())
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

    /// Tells each metric the length of its name, in every period.
    struct Lengths;

    impl MetricReader for Lengths {
        fn values(
            &self,
            metric: &MetricId,
            _: Statistic,
            period: Duration,
            from: Timestamp,
            until: Timestamp,
        ) -> Vec<(Timestamp, f64)> {
            let seconds = (from.as_secs()..until.as_secs()).step_by(period.as_secs() as usize);
            seconds.map(|at| (Timestamp::from_secs(at), metric.name.len() as f64)).collect()
        }
    }

    #[test]
    fn expressions_are_worked_out() {
        let stat = |id: &str, name: &str| {
            let (metric, period) = (MetricId::new("App", name, []), Duration::from_secs(60));
            let source =
                QuerySource::Stat(MetricStat { metric, statistic: Statistic::Sum, period, unit: None });
            MetricQuery { id: id.into(), source, label: None, return_data: false }
        };
        let asked = |text: &str| {
            let source = QuerySource::Expression { text: text.into(), period: None };
            let expression = MetricQuery { id: "e".into(), source, label: None, return_data: true };
            let queries = [expression, stat("errors", "Errors"), stat("requests", "Requests")];
            of_queries(&Lengths, &queries, Timestamp::from_secs(0), Timestamp::from_secs(120))
        };
        let at = Timestamp::from_secs;
        assert_eq!(asked("100 * errors / requests"), [(at(0), 75.0), (at(60), 75.0)]);
        assert_eq!(asked("METRICS()"), [(at(0), 6.0), (at(60), 6.0)]);
        for nothing in ["errors /", "others", "SUM(errors)"] {
            assert_eq!(asked(nothing), [], "{nothing}");
        }
    }
}
