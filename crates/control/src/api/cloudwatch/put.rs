//! Values of metrics are taken.

use std::time::Duration;

use bowline_aws::{
    cloudwatch::{Empty, MetricDatum, PutMetricDataRequest, StatisticSet},
    protocol::Fault,
};
use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, MetricWriter},
};
use bowline_observe::metrics::FUTURE_MAX;

use super::{checks, invalid, invalid_combination, missing, missing_one};
use crate::api::call::Call;

/// Most data of a request. Source: `PutMetricData`.
const DATA_MAX: usize = 1000;
/// Most different values of a datum. Source: `MetricDatum`.
const VALUES_MAX: usize = 150;
/// How old a datum may be. Source: `PutMetricData`.
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);

/// Greatest value, without its sign. Source: `MetricDatum`.
fn value_max() -> f64 {
    360_f64.exp2()
}

pub(super) fn put(call: &Call<'_>, request: PutMetricDataRequest) -> Result<Empty, Fault> {
    let namespace = checks::namespace(request.namespace)?;
    // What AWS's services measure is not for others to say.
    if namespace.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AWS/")) {
        return Err(invalid(format!("The value {namespace} for parameter Namespace is invalid.")));
    }
    // Entities are of CloudWatch's explorer: here the values count.
    let data: Vec<MetricDatum> = request
        .metric_data
        .into_iter()
        .chain(request.entity_metric_data.into_iter().flat_map(|entity| entity.metric_data))
        .collect();
    if data.is_empty() {
        return Err(missing("MetricData"));
    }
    if data.len() > DATA_MAX {
        return Err(invalid(format!(
            "The collection MetricData must not have a size greater than {DATA_MAX}."
        )));
    }
    let data = (1..).zip(data).map(|(number, datum)| read(&namespace, number, datum, call.now));
    call.core.metrics().put(data.collect::<Result<_, _>>()?);
    Ok(Empty {})
}

fn read(namespace: &str, number: usize, given: MetricDatum, now: Timestamp) -> Result<Datum, Fault> {
    let of = |part: &str| format!("MetricData.member.{number}.{part}");
    let values = values(&of, &given)?;
    let at = match given.timestamp {
        None => now,
        Some(at) if checks::moment(at) < now - AGE_MAX => {
            return Err(invalid(format!(
                "The parameter {} must specify a time within the past two weeks.",
                of("Timestamp")
            )));
        }
        Some(at) if checks::moment(at) > now + FUTURE_MAX => {
            return Err(invalid(format!(
                "The parameter {} must specify a time no more than two hours in the future.",
                of("Timestamp")
            )));
        }
        Some(at) => checks::moment(at),
    };
    let is_high_resolution = match given.storage_resolution {
        None | Some(60) => false,
        Some(1) => true,
        Some(_) => {
            return Err(invalid(format!("The parameter {} must be 1 or 60.", of("StorageResolution"))));
        }
    };
    let metric = MetricId {
        namespace: namespace.to_owned(),
        name: checks::name(&of("MetricName"), given.metric_name)?,
        dimensions: checks::dimensions(&of("Dimensions"), given.dimensions)?,
    };
    let unit = checks::unit(given.unit.as_deref())?.unwrap_or_default();
    Ok(Datum { metric, at, unit, values, is_high_resolution })
}

/// The values, in one of the three ways that there are.
fn values(of: &dyn Fn(&str) -> String, given: &MetricDatum) -> Result<Distribution, Fault> {
    let is_given = [
        ("Value", given.value.is_some()),
        ("Values", !given.values.is_empty()),
        ("StatisticValues", given.statistic_values.is_some()),
    ];
    let ways: Vec<&str> = is_given.iter().filter(|(_, is_given)| *is_given).map(|(way, _)| *way).collect();
    match ways[..] {
        [] => {
            return Err(missing_one(format!(
                "At least one of the parameters {}, {} or {} must be specified.",
                of("Value"),
                of("Values"),
                of("StatisticValues")
            )));
        }
        [_] => {}
        [one, other, ..] => {
            return Err(invalid_combination(format!(
                "The parameters {} and {} are mutually exclusive and you have specified both.",
                of(one),
                of(other)
            )));
        }
    }
    let mut values = Distribution::default();
    if let Some(value) = given.value {
        values.record(number(of, "Value", value)?, 1.0);
    }
    if let Some(StatisticSet { sample_count, sum, minimum, maximum }) = given.statistic_values {
        let part = |name: &str, value: Option<f64>| {
            let name = format!("StatisticValues.{name}");
            number(of, &name, value.ok_or_else(|| missing(&of(&name)))?)
        };
        let (count, sum) = (part("SampleCount", sample_count)?, part("Sum", sum)?);
        let (minimum, maximum) = (part("Minimum", minimum)?, part("Maximum", maximum)?);
        values = Distribution::of_statistics(count, sum, minimum, maximum).ok_or_else(|| {
            invalid(format!("The values of parameter {} cannot be true together.", of("StatisticValues")))
        })?;
    }
    if given.values.len() > VALUES_MAX {
        return Err(invalid(format!(
            "The collection {} must not have a size greater than {VALUES_MAX}.",
            of("Values")
        )));
    }
    if !given.counts.is_empty() && given.counts.len() != given.values.len() {
        return Err(invalid(format!(
            "The parameters {} and {} must be of the same size.",
            of("Values"),
            of("Counts")
        )));
    }
    for (place, value) in given.values.iter().enumerate() {
        let times = given.counts.get(place).copied().unwrap_or(1.0);
        if number(of, "Counts", times)? < 0.0 {
            return Err(invalid(format!("The value {times} for parameter {} is invalid.", of("Counts"))));
        }
        values.record(number(of, "Values", *value)?, times);
    }
    Ok(values)
}

fn number(of: &dyn Fn(&str) -> String, member: &str, value: f64) -> Result<f64, Fault> {
    match value.is_finite() && value.abs() <= value_max() {
        true => Ok(value),
        false => Err(invalid(format!("The value {value} for parameter {} is invalid.", of(member)))),
    }
}
