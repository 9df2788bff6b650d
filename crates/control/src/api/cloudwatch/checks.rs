//! What members must be.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::{
    cloudwatch::{Dimension, Metric},
    protocol::{Fault, Timestamp as WireTimestamp},
};
use bowline_model::{
    clock::Timestamp,
    metric::{DIMENSIONS_MAX, MetricId, Statistic, Unit},
};

use super::{constrained, constraint, invalid, missing, validation};

/// Most characters of a namespace, and of a metric's and a dimension's name.
const NAME_MAX: usize = 255;
/// Most characters of a dimension's value.
const VALUE_MAX: usize = 1024;

pub(super) fn namespace(given: Option<String>) -> Result<String, Fault> {
    let given = given.ok_or_else(|| missing("Namespace"))?;
    constrained(constraint::length("namespace", &given, 1..=NAME_MAX))?;
    if given.starts_with(':') || !is_plain(&given) {
        return Err(invalid(
            "The value for parameter Namespace must be ASCII, and must not begin with a colon.",
        ));
    }
    Ok(given)
}

pub(super) fn name(member: &str, given: Option<String>) -> Result<String, Fault> {
    let given = given.ok_or_else(|| missing(member))?;
    constrained(constraint::length(member, &given, 1..=NAME_MAX))?;
    match is_plain(&given) {
        true => Ok(given),
        false => {
            Err(invalid(format!("The value for parameter {member} contains characters that are not ASCII.")))
        }
    }
}

pub(super) fn dimensions(member: &str, given: Vec<Dimension>) -> Result<BTreeMap<String, String>, Fault> {
    if given.len() > DIMENSIONS_MAX {
        return Err(invalid(format!(
            "The collection {member} must not have a size greater than {DIMENSIONS_MAX}."
        )));
    }
    let mut dimensions = BTreeMap::new();
    for (number, Dimension { name, value }) in (1..).zip(given) {
        let of = |part: &str| format!("{member}.member.{number}.{part}");
        let (name, value) = (self::name(&of("Name"), name)?, value.ok_or_else(|| missing(&of("Value")))?);
        constrained(constraint::length(&of("Value"), &value, 1..=VALUE_MAX))?;
        if name.starts_with(':') || !is_plain(&value) || value.trim().is_empty() {
            return Err(invalid(format!(
                "The values for parameter {member}.member.{number} must be ASCII, not blank, and not begin with a colon."
            )));
        }
        if dimensions.insert(name, value).is_some() {
            return Err(invalid(format!("No parameter {member} may have two members of the same name.")));
        }
    }
    Ok(dimensions)
}

/// The id of a metric that is to be read.
pub(super) fn metric(member: &str, given: Metric) -> Result<MetricId, Fault> {
    Ok(MetricId {
        namespace: namespace(given.namespace)?,
        name: name(&format!("{member}MetricName"), given.metric_name)?,
        dimensions: dimensions(&format!("{member}Dimensions"), given.dimensions)?,
    })
}

pub(super) fn unit(given: Option<&str>) -> Result<Option<Unit>, Fault> {
    let read = |given: &str| {
        given.parse().map_err(|_| {
            let units: Vec<&str> = Unit::ALL.iter().map(|unit| unit.as_str()).collect();
            let given: String = given.chars().filter(|c| !c.is_control()).take(100).collect();
            validation(format!(
                "1 validation error detected: Value '{given}' at 'unit' failed to satisfy constraint: Member must satisfy \
                 enum value set: [{}]",
                units.join(", ")
            ))
        })
    };
    given.map(read).transpose()
}

/// A period, in seconds.
pub(super) fn period(given: i64) -> Result<Duration, Fault> {
    let seconds = u64::try_from(given).unwrap_or(0);
    match seconds {
        1 | 5 | 10 | 20 | 30 => Ok(Duration::from_secs(seconds)),
        seconds if seconds > 0 && seconds % 60 == 0 && seconds <= 24 * 3600 * 365 => {
            Ok(Duration::from_secs(seconds))
        }
        _ => Err(invalid("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.")),
    }
}

pub(super) fn statistic(member: &str, given: &str) -> Result<Statistic, Fault> {
    given.parse().map_err(|_| {
        let given: String = given.chars().filter(|c| !c.is_control()).take(100).collect();
        invalid(format!("The value {given} for parameter {member} is not supported."))
    })
}

/// The moments between which values are asked for.
pub(super) fn range(
    start: Option<WireTimestamp>,
    end: Option<WireTimestamp>,
) -> Result<(Timestamp, Timestamp), Fault> {
    let (start, end) = (start.ok_or_else(|| missing("StartTime"))?, end.ok_or_else(|| missing("EndTime"))?);
    match start < end {
        true => Ok((moment(start), moment(end))),
        false => Err(invalid("The parameter StartTime must be less than the parameter EndTime.")),
    }
}

/// A moment before the epoch is the epoch.
pub(super) fn moment(at: WireTimestamp) -> Timestamp {
    Timestamp::from_millis(u64::try_from(at.milliseconds()).unwrap_or(0))
}

/// ASCII without control characters. Source: `Dimension`.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_control())
}
