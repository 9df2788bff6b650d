//! Labels: what a result is called, with what is known of it put in.
//!
//! Source: Amazon `CloudWatch` user guide, "Use dynamic labels".

use bowline_aws::cloudwatch::MetricDataQuery;
use bowline_model::{
    arn::Scope,
    clock::Timestamp,
    metric::math::{
        Series,
        query::{Query, Source},
    },
};

/// Longest label that is made.
const LABEL_CHARS_MAX: usize = 1024;

/// How far the clock of labels is from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    minutes: i64,
}

impl Zone {
    pub(super) const UTC: Self = Self { minutes: 0 };

    /// `+0130`: hours and minutes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = text.split_at_checked(1)?;
        let sign = match sign {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
        (hours <= 23 && minutes <= 59).then_some(Self { minutes: sign * (hours * 60 + minutes) })
    }

    /// `2026-11-21T07:01:00+0130`.
    fn write(self, second: u64) -> String {
        let local = i64::try_from(second).unwrap_or(i64::MAX).saturating_add(self.minutes * 60);
        let text = Timestamp::from_secs(u64::try_from(local).unwrap_or(0)).to_string();
        let sign = if self.minutes < 0 { '-' } else { '+' };
        let minutes = self.minutes.abs();
        // Without the milliseconds and the `Z`.
        let text = text.get(..19).unwrap_or_default();
        format!("{text}{sign}{:02}{:02}", minutes / 60, minutes % 60)
    }
}

/// What a label is made of.
pub(super) struct Label<'a> {
    pub(super) query: &'a MetricDataQuery,
    pub(super) source: &'a Query,
    /// What the query came to, or one of the series that it came to.
    pub(super) series: &'a Series,
    pub(super) zone: Zone,
    pub(super) scope: &'a Scope,
}

impl Label<'_> {
    /// The label that was asked for, else the metric's name or the expression's id.
    pub(super) fn text(&self) -> String {
        let Some(given) = &self.query.label else { return self.own() };
        let mut text = String::new();
        let mut rest = given.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            text.push_str(before);
            let Some((name, then)) = after.split_once('}') else {
                rest = &rest[before.len()..];
                break;
            };
            match self.told(name.trim()) {
                Some(told) => text.push_str(&told),
                // What is not known stays as it was given.
                None => text.extend(["${", name, "}"]),
            }
            rest = then;
        }
        text.push_str(rest);
        text.chars().take(LABEL_CHARS_MAX).collect()
    }

    /// The label of a query for which none was given.
    fn own(&self) -> String {
        match &self.source.source {
            Source::Metric(stat) => stat.metric.name.clone(),
            Source::Expression { .. } => self.source.id.clone(),
        }
    }

    fn told(&self, name: &str) -> Option<String> {
        let points = &self.series.points;
        let values = || points.iter().map(|(_, value)| *value);
        let number = |value: Option<f64>| value.map_or_else(|| "--".to_owned(), |value| value.to_string());
        let time = |point: Option<&(u64, f64)>| {
            point.map_or_else(|| "--".to_owned(), |(at, _)| self.zone.write(*at))
        };
        let least = points.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let greatest = points.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (first, last) = (points.first(), points.last());
        let sum = (!points.is_empty()).then(|| values().sum::<f64>());
        let value = |point: Option<&(u64, f64)>| number(point.map(|(_, value)| *value));
        Some(match name {
            "AVG" => number(sum.map(|sum| sum / points.len() as f64)),
            "DATAPOINT_COUNT" => points.len().to_string(),
            "FIRST" => value(first),
            "FIRST_LAST_RANGE" => format!("{} - {}", value(first), value(last)),
            "FIRST_LAST_TIME_RANGE" => format!("{} - {}", time(first), time(last)),
            "FIRST_TIME" => time(first),
            "FIRST_TIME_RELATIVE" | "LAST_TIME_RELATIVE" | "MAX_TIME_RELATIVE" | "MIN_TIME_RELATIVE" => {
                return None;
            }
            "LABEL" => self.own(),
            "LAST" => value(last),
            "LAST_TIME" => time(last),
            "MAX" => value(greatest),
            "MAX_TIME" => time(greatest),
            "MIN" => value(least),
            "MIN_MAX_RANGE" => format!("{} - {}", value(least), value(greatest)),
            "MIN_MAX_TIME_RANGE" => format!("{} - {}", time(least), time(greatest)),
            "MIN_TIME" => time(least),
            "SUM" => number(sum),
            property => {
                let inner = property.strip_prefix("PROP(")?.strip_suffix(')')?;
                let inner = inner.strip_prefix('\'')?.strip_suffix('\'')?;
                self.property(inner)?
            }
        })
    }

    fn property(&self, name: &str) -> Option<String> {
        let scope = self.scope;
        match name {
            "AccountId" => return Some(scope.account_id.clone()),
            "Region" => return Some(scope.region.clone()),
            _ => {}
        }
        let Source::Metric(stat) = &self.source.source else { return None };
        Some(match name {
            "MetricName" => stat.metric.name.clone(),
            "Namespace" => stat.metric.namespace.clone(),
            "Period" => stat.period.as_secs().to_string(),
            "Stat" => stat.statistic.to_string(),
            dimension => stat.metric.dimensions.get(dimension.strip_prefix("Dim.")?)?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::metric::{MetricId, Statistic, math::query::MetricStat};

    use super::*;

    #[test]
    fn what_is_known_is_put_into_labels() {
        let metric = MetricId::new("App", "Latency", [("Service", "web")]);
        let period = std::time::Duration::from_secs(60);
        let stat = MetricStat { metric, statistic: Statistic::Percentile(99.0), period, unit: None };
        let source = Query { id: "m1".into(), source: Source::Metric(stat) };
        let points = vec![(0, 4.0), (60, 1.5), (120, 0.5)];
        let series = Series { label: "m1".into(), period: 60, points };
        let label = |text: &str, zone: &str| {
            let query = MetricDataQuery { label: Some(text.into()), ..MetricDataQuery::default() };
            let zone = Zone::parse(zone).expect("a zone");
            Label { query: &query, source: &source, series: &series, zone, scope: &Scope::default() }.text()
        };
        assert_eq!(
            label("${PROP('Dim.Service')} ${PROP('Stat')}: ${AVG} of ${MIN_MAX_RANGE}", "+0000"),
            "web p99: 2 of 0.5 - 4"
        );
        assert_eq!(label("${LAST} at ${LAST_TIME}", "+0130"), "0.5 at 1970-01-01T01:32:00+0130");
        assert_eq!(
            label("${NOTHING} ${PROP('Dim.No')} ${LABEL", "-0030"),
            "${NOTHING} ${PROP('Dim.No')} ${LABEL"
        );
        assert_eq!(label("${LABEL} ${PROP('AccountId')}", "+0000"), "Latency 000000000000");
        for wrong in ["", "0100", "+100", "+2400", "+0060", "+01x0", "é0100"] {
            assert_eq!(Zone::parse(wrong), None, "{wrong}");
        }
    }
}
