//! The functions.

use super::{
    ParseError, Word,
    evaluate::{EvaluateError, Scope},
    value::{Series, Value, WordValue, by_moment},
};
use crate::clock::{Timestamp, civil_from_days};

macro_rules! functions {
    ($($(#[$doc:meta])* $function:ident => $name:literal,)*) => {
        /// A function of metric math.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Function {
            $($(#[$doc])* $function,)*
        }

        impl Function {
            /// Every function there is.
            pub const ALL: &'static [Function] = &[$(Self::$function),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$function => $name,)*
                }
            }
        }
    };
}

impl Function {
    /// Whether it has a value for each period, for each series that it is given.
    pub(super) fn fills(self) -> bool {
        matches!(self, Self::Fill)
    }
}

functions! {
    /// Without the sign.
    Abs => "ABS",
    /// The mean: of a series a number, of an array a series.
    Average => "AVG",
    /// The next whole number.
    Ceiling => "CEIL",
    /// How many values: of a series a number, of an array a series.
    DatapointCount => "DATAPOINT_COUNT",
    /// The day of the month of each moment, in UTC.
    Date => "DATE",
    /// The day of the week of each moment: Monday is 1.
    Day => "DAY",
    /// Each value less the one before.
    Difference => "DIFF",
    /// The seconds since the moment before.
    DifferenceOfTime => "DIFF_TIME",
    /// Each moment, in seconds since the epoch.
    Epoch => "EPOCH",
    /// Values for the periods that have none.
    Fill => "FILL",
    /// The first series of an array.
    First => "FIRST",
    /// The whole number below.
    Floor => "FLOOR",
    /// The hour of each moment, in UTC.
    Hour => "HOUR",
    /// One of two by a condition.
    If => "IF",
    /// The last series of an array.
    Last => "LAST",
    /// The natural logarithm.
    Log => "LOG",
    /// The logarithm to the base 10.
    Log10 => "LOG10",
    /// The greatest: of a series a number, of an array a series.
    Maximum => "MAX",
    /// All metrics of the request, or those whose id has a text in it.
    Metrics => "METRICS",
    /// How many series an array has.
    MetricCount => "METRIC_COUNT",
    /// The least: of a series a number, of an array a series.
    Minimum => "MIN",
    /// The minute of each moment, in UTC.
    Minute => "MINUTE",
    /// The month of each moment, in UTC: January is 1.
    Month => "MONTH",
    /// The length of a metric's periods, in seconds.
    Period => "PERIOD",
    /// The change since the value before, a second.
    Rate => "RATE",
    /// An array without the series that have no values.
    RemoveEmpty => "REMOVE_EMPTY",
    /// Each value with all before it.
    RunningSum => "RUNNING_SUM",
    /// Some series of an array.
    Slice => "SLICE",
    /// The series of an array in order.
    Sort => "SORT",
    /// The standard deviation, of all there are: of a series a number, of an array a series.
    StandardDeviation => "STDDEV",
    /// The sum: of a series a number, of an array a series.
    Sum => "SUM",
    /// A series that is the same number all the time.
    TimeSeries => "TIME_SERIES",
    /// The year of each moment, in UTC.
    Year => "YEAR",
}

/// Functions of AWS's that need what is not here.
const NOT_HERE: &[&str] = &[
    "ANOMALY_DETECTION_BAND",
    "DB_PERF_INSIGHTS",
    "INSIGHT_RULE_METRIC",
    "LAMBDA",
    "SEARCH",
    "SERVICE_QUOTA",
];

impl Function {
    pub(super) fn named(name: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.iter().find(|function| function.name() == name).copied();
        found.ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            match NOT_HERE.contains(&&*name) {
                true => ParseError::NotHere(name),
                false => ParseError::UnknownFunction(name),
            }
        })
    }

    /// What it comes to with these values.
    pub(super) fn call(self, scope: &Scope<'_>, mut given: Vec<Value>) -> Result<Value, EvaluateError> {
        let wrong = || EvaluateError::Arguments { function: self.name() };
        if matches!(self, Self::Metrics) {
            return metrics(scope, &given).ok_or_else(wrong);
        }
        if given.is_empty() {
            return Err(wrong());
        }
        let first = given.remove(0);
        let rest = given;
        let unary = |change: fn(&Series) -> Series| match rest.is_empty() {
            true => first.clone().each(change).map_err(|_| wrong()),
            false => Err(wrong()),
        };
        match self {
            Self::Abs if rest.is_empty() => number_or_each(first, f64::abs).ok_or_else(wrong),
            Self::Ceiling if rest.is_empty() => number_or_each(first, f64::ceil).ok_or_else(wrong),
            Self::Floor if rest.is_empty() => number_or_each(first, f64::floor).ok_or_else(wrong),
            Self::Log if rest.is_empty() => number_or_each(first, f64::ln).ok_or_else(wrong),
            Self::Log10 if rest.is_empty() => number_or_each(first, f64::log10).ok_or_else(wrong),
            Self::Average
            | Self::Maximum
            | Self::Minimum
            | Self::StandardDeviation
            | Self::Sum
            | Self::DatapointCount
                if rest.is_empty() =>
            {
                self.aggregate(first).ok_or_else(wrong)
            }
            Self::Difference => unary(|series| steps(series, |before, now| now.1 - before.1)),
            Self::DifferenceOfTime => unary(|series| steps(series, |before, now| (now.0 - before.0) as f64)),
            Self::Rate => {
                unary(|series| steps(series, |before, now| (now.1 - before.1) / (now.0 - before.0) as f64))
            }
            Self::RunningSum => unary(running_sum),
            Self::Epoch => unary(|series| series.map(|at, _| at as f64)),
            Self::Minute => unary(|series| series.map(|at, _| (at / 60 % 60) as f64)),
            Self::Hour => unary(|series| series.map(|at, _| (at / 3600 % 24) as f64)),
            // 1970-01-01 was a Thursday.
            Self::Day => unary(|series| series.map(|at, _| ((at / 86_400 + 3) % 7 + 1) as f64)),
            Self::Date => unary(|series| series.map(|at, _| civil(at).2)),
            Self::Month => unary(|series| series.map(|at, _| civil(at).1)),
            Self::Year => unary(|series| series.map(|at, _| civil(at).0)),
            Self::Fill => fill(scope, first, &rest).ok_or_else(wrong),
            Self::If => choose(first, &rest).ok_or_else(wrong),
            Self::First | Self::Last => match (first, rest.is_empty()) {
                (Value::Array(all), true) => {
                    let one = if self == Self::First { all.first() } else { all.last() };
                    Ok(Value::Series(one.cloned().unwrap_or_default()))
                }
                _ => Err(wrong()),
            },
            Self::MetricCount => match (first, rest.is_empty()) {
                (Value::Array(all), true) => Ok(Value::Number(all.len() as f64)),
                _ => Err(wrong()),
            },
            Self::Period => match (first, rest.is_empty()) {
                (Value::Series(series), true) => Ok(Value::Number(series.period as f64)),
                _ => Err(wrong()),
            },
            Self::RemoveEmpty => match (first, rest.is_empty()) {
                (Value::Array(mut all), true) => {
                    all.retain(|series| !series.points.is_empty());
                    Ok(Value::Array(all))
                }
                _ => Err(wrong()),
            },
            Self::TimeSeries => match (first, rest.is_empty()) {
                (Value::Number(number), true) => Ok(Value::Series(scope.constant(number))),
                _ => Err(wrong()),
            },
            Self::Slice => slice(first, &rest).ok_or_else(wrong),
            Self::Sort => sort(first, &rest).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }

    /// Of a series a number, of an array a series: at each moment that any has, of those that have it.
    fn aggregate(self, of: Value) -> Option<Value> {
        match of {
            Value::Series(series) => Some(Value::Number(self.of_values(series.values()))),
            Value::Array(all) => {
                let moments = by_moment(&all);
                let points = moments.iter().map(|(at, values)| (*at, self.of_values(values.iter().copied())));
                let period = all.iter().map(|series| series.period).max().unwrap_or(0);
                let points = points.filter(|(_, value)| value.is_finite()).collect();
                Some(Value::Series(Series { label: self.name().to_owned(), period, points }))
            }
            _ => None,
        }
    }

    fn of_values(self, values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
        let count = values.len() as f64;
        if count == 0.0 && self != Self::DatapointCount {
            return f64::NAN;
        }
        match self {
            Self::Average => values.sum::<f64>() / count,
            Self::Maximum => values.fold(f64::NEG_INFINITY, f64::max),
            Self::Minimum => values.fold(f64::INFINITY, f64::min),
            Self::Sum => values.sum(),
            Self::StandardDeviation => {
                let mean = values.clone().sum::<f64>() / count;
                (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
            }
            _ => count,
        }
    }
}

/// Year, month and day of a moment.
fn civil(at: u64) -> (f64, f64, f64) {
    let (year, month, day) = civil_from_days(Timestamp::from_secs(at).as_secs() / 86_400);
    (year as f64, month as f64, day as f64)
}

fn number_or_each(value: Value, change: fn(f64) -> f64) -> Option<Value> {
    match value {
        Value::Number(number) => Some(Value::Number(change(number))),
        other => other.each(|series| series.map(|_, value| change(value))).ok(),
    }
}

/// What `change` makes of each value and the one before.
fn steps(series: &Series, change: impl Fn((u64, f64), (u64, f64)) -> f64) -> Series {
    let changed = series.points.windows(2).map(|pair| (pair[1].0, change(pair[0], pair[1])));
    series.with(changed.filter(|(_, value)| value.is_finite()).collect())
}

fn running_sum(series: &Series) -> Series {
    let sums = series.points.iter().scan(0.0, |sum, (at, value)| {
        *sum += value;
        Some((*at, *sum))
    });
    series.with(sums.filter(|(_, value)| value.is_finite()).collect())
}

/// `METRICS()`, `METRICS("part of an id")`.
fn metrics(scope: &Scope<'_>, given: &[Value]) -> Option<Value> {
    let part = match given {
        [] => "",
        [Value::Text(part)] => part,
        _ => return None,
    };
    let asked = scope.named.iter().filter(|named| named.is_metric && named.id.contains(part));
    let series = asked.filter_map(|named| match named.value {
        Value::Series(series) => Some(series.clone()),
        _ => None,
    });
    Some(Value::Array(series.collect()))
}

/// `FILL(series, number | series | REPEAT | LINEAR)`.
fn fill(scope: &Scope<'_>, what: Value, with: &[Value]) -> Option<Value> {
    let [with] = with else { return None };
    let filled: Box<dyn Fn(&Series) -> Series> = match with {
        Value::Number(number) => {
            let number = *number;
            Box::new(move |series| on_grid(scope, series, |_| Some(number)))
        }
        Value::Series(other) => Box::new(move |series| {
            on_grid(scope, series, |at| {
                let found = other.points.binary_search_by_key(&at, |point| point.0).ok()?;
                Some(other.points[found].1)
            })
        }),
        Value::Word(WordValue(Word::Repeat)) => Box::new(|series| {
            on_grid(scope, series, |at| {
                let after = series.points.partition_point(|point| point.0 < at);
                series.points[..after].last().map(|point| point.1)
            })
        }),
        Value::Word(WordValue(Word::Linear)) => Box::new(|series| {
            on_grid(scope, series, |at| {
                let after = series.points.partition_point(|point| point.0 < at);
                let ((from, low), (to, high)) = (series.points[..after].last()?, series.points.get(after)?);
                Some(low + (high - low) * (at - from) as f64 / (to - from) as f64)
            })
        }),
        _ => return None,
    };
    what.each(filled).ok()
}

/// A series with a value for every period of the scope, as far as `missing` has one where there is none.
fn on_grid(scope: &Scope<'_>, series: &Series, missing: impl Fn(u64) -> Option<f64>) -> Series {
    let mut present = series.points.iter().peekable();
    let mut points = Vec::new();
    for at in scope.grid(series.period) {
        while let Some(point) = present.next_if(|point| point.0 < at) {
            points.push(*point);
        }
        match present.next_if(|point| point.0 == at) {
            Some(point) => points.push(*point),
            None => points.extend(missing(at).filter(|value| value.is_finite()).map(|value| (at, value))),
        }
    }
    points.extend(present.copied());
    series.with(points)
}

/// `IF(condition, one[, other])`: moments at which the condition has no value have none.
fn choose(condition: Value, of: &[Value]) -> Option<Value> {
    let (one, other) = match of {
        [one] => (one, None),
        [one, other] => (one, Some(other)),
        _ => return None,
    };
    let are_values = of.iter().all(|value| matches!(value, Value::Number(_) | Value::Series(_)));
    let at = |value: &Value, at: u64| match value {
        Value::Series(series) => {
            let found = series.points.binary_search_by_key(&at, |point| point.0).ok()?;
            Some(series.points[found].1)
        }
        Value::Number(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    };
    match condition {
        Value::Number(is) => match (is != 0.0 && !is.is_nan(), other) {
            (true, _) => Some(one.clone()),
            (false, Some(other)) => Some(other.clone()),
            (false, None) => Some(Value::Series(Series::default())),
        },
        Value::Series(condition) if are_values => {
            let chosen = condition.points.iter().filter_map(|(moment, is)| {
                let value = match *is != 0.0 {
                    true => at(one, *moment),
                    false => other.and_then(|other| at(other, *moment)),
                };
                value.map(|value| (*moment, value))
            });
            Some(Value::Series(condition.with(chosen.collect())))
        }
        _ => None,
    }
}

/// `SLICE(array, from[, until])`: one series where only its place is given.
fn slice(of: Value, by: &[Value]) -> Option<Value> {
    let Value::Array(mut all) = of else { return None };
    // Saturates: a place beyond the end is the end.
    let place = |value: &Value| match value {
        Value::Number(number) if *number >= 0.0 => Some((*number as usize).min(all.len())),
        _ => None,
    };
    match by {
        [from] => {
            Some(Value::Series(place(from).and_then(|from| all.get(from)).cloned().unwrap_or_default()))
        }
        [from, until] => {
            let (from, until) = (place(from)?, place(until)?);
            all.truncate(until);
            Some(Value::Array(all.split_off(from.min(all.len()))))
        }
        _ => None,
    }
}

/// `SORT(array, function, ASC | DESC[, most])`.
fn sort(of: Value, by: &[Value]) -> Option<Value> {
    let (function, order, most) = match by {
        [Value::Word(WordValue(Word::By(function))), Value::Word(WordValue(order))] => {
            (*function, *order, None)
        }
        [Value::Word(WordValue(Word::By(function))), Value::Word(WordValue(order)), Value::Number(most)] => {
            (*function, *order, Some(*most as usize))
        }
        _ => return None,
    };
    let Value::Array(all) = of else { return None };
    let mut all: Vec<(f64, Series)> =
        all.into_iter().map(|series| (function.of_values(series.values()), series)).collect();
    match order {
        Word::Ascending => all.sort_by(|a, b| a.0.total_cmp(&b.0)),
        // Those without values come last either way.
        Word::Descending => all.sort_by(|a, b| a.0.is_nan().cmp(&b.0.is_nan()).then(b.0.total_cmp(&a.0))),
        _ => return None,
    }
    all.truncate(most.unwrap_or(usize::MAX));
    Some(Value::Array(all.into_iter().map(|(_, series)| series).collect()))
}
