//! What an alarm watches, read.

use bowline_model::{
    alarm::{Alarm, AlarmSource, MetricQuery, MetricStat, QuerySource, range},
    clock::Timestamp,
    metric::{MetricReader, Statistic},
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
    let returned = queries.iter().find(|query| query.return_data);
    match returned.map(|query| &query.source) {
        Some(QuerySource::Stat(stat)) => of_stat(reader, stat, from, until),
        Some(QuerySource::Expression { .. }) | None => Vec::new(),
    }
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
