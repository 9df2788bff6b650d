//! Metric filters: what events say becomes values of metrics.
//!
//! Source: Amazon CloudWatch Logs user guide, "Creating metrics from log events using filters".

use std::collections::{BTreeMap, HashMap};

use bowline_model::{
    clock::Timestamp,
    log::LogEvent,
    log_filter::{FilterPattern, FilterPatternError},
    metric::{Datum, Distribution, MetricId, Unit},
};
use serde::{Deserialize, Serialize};

/// Most metric filters of a group (CloudWatch Logs' quota).
pub(super) const METRIC_FILTERS_MAX: usize = 100;

/// Most dimensions of a metric that a filter makes.
pub const DIMENSIONS_MAX: usize = 3;

/// Longest value of a dimension, in characters; what is longer gives no value.
const DIMENSION_CHARACTERS_MAX: usize = 255;

const MINUTE_MS: u64 = 60_000;

/// Makes values of events that a pattern takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricFilter {
    /// Its name, which no two of a group have.
    pub name: String,
    /// The pattern, as it was given.
    pub pattern: String,
    /// The metrics.
    pub transformations: Vec<MetricTransformation>,
    /// When it was put.
    pub created_at: Timestamp,
    /// A template declares it.
    #[serde(default)]
    pub declared: bool,
}

/// The value of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// The same of each.
    Number(f64),
    /// What a selector means: `$.latency`, `$bytes`.
    Selected(String),
}

/// The metric that a filter makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricTransformation {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub metric: String,
    /// The value of an event.
    pub value: Value,
    /// The value of a minute in which events came, but none that the pattern takes.
    pub default_value: Option<f64>,
    /// Dimensions with the selectors of their values.
    pub dimensions: BTreeMap<String, String>,
    /// What values are in.
    pub unit: Unit,
}

/// Why a metric filter is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricFilterError {
    /// Its pattern cannot be read.
    #[error("Invalid filter pattern: {0}")]
    Pattern(#[from] FilterPatternError),
    /// It has other than one transformation.
    #[error("A metric filter has one metric transformation")]
    Transformations,
    /// A value is neither a number nor a selector.
    #[error("Invalid metric transformation: {0:?} is neither a number nor a selector as $.name or $name")]
    Value(String),
    /// There are too many dimensions, or some beside a default value.
    #[error("Invalid metric transformation: {0}")]
    Dimensions(&'static str),
}

impl Value {
    /// Reads `1`, `$.latency` or `$bytes`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, MetricFilterError> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Self::Number(number)),
            _ if text.starts_with('$') && text.len() > 1 => Ok(Self::Selected(text.to_owned())),
            _ => Err(MetricFilterError::Value(text.chars().take(100).collect())),
        }
    }
}

impl MetricFilter {
    /// Whether it can be put.
    ///
    /// # Errors
    /// See [`MetricFilterError`].
    pub fn check(&self) -> Result<(), MetricFilterError> {
        FilterPattern::parse(&self.pattern)?;
        let [transformation] = &self.transformations[..] else {
            return Err(MetricFilterError::Transformations);
        };
        if transformation.dimensions.len() > DIMENSIONS_MAX {
            return Err(MetricFilterError::Dimensions("there are 3 dimensions at most"));
        }
        if !transformation.dimensions.is_empty() && transformation.default_value.is_some() {
            return Err(MetricFilterError::Dimensions("a metric with dimensions has no default value"));
        }
        match transformation.dimensions.values().find(|selector| !selector.starts_with('$')) {
            Some(selector) => Err(MetricFilterError::Value(selector.clone())),
            None => Ok(()),
        }
    }
}

/// The metric filters of a group, at work.
#[derive(Debug, Default)]
pub(super) struct Measuring {
    filters: BTreeMap<String, Active>,
}

#[derive(Debug)]
struct Active {
    filter: MetricFilter,
    /// `None` where this version cannot read what was put.
    pattern: Option<FilterPattern>,
    /// The last minute that a default was told for, or had a value.
    told: u64,
}

impl Measuring {
    pub(super) fn new(filters: impl Iterator<Item = MetricFilter>) -> Self {
        let mut measuring = Self::default();
        filters.for_each(|filter| measuring.put(filter));
        measuring
    }

    pub(super) fn filters(&self) -> impl Iterator<Item = &MetricFilter> {
        self.filters.values().map(|active| &active.filter)
    }

    pub(super) fn put(&mut self, filter: MetricFilter) {
        let pattern = FilterPattern::parse(&filter.pattern).ok();
        self.filters.insert(filter.name.clone(), Active { filter, pattern, told: 0 });
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.filters.remove(name);
    }

    /// The values of events, put together by metric and minute.
    pub(super) fn measure(&mut self, events: &[LogEvent]) -> Vec<Datum> {
        let mut values: HashMap<(MetricId, u64), (Unit, Distribution)> = HashMap::new();
        for active in self.filters.values_mut() {
            let Some(pattern) = &active.pattern else { continue };
            let mut minutes = BTreeMap::new();
            for event in events {
                let minute = event.at.as_millis() / MINUTE_MS;
                let is_taken = pattern.matches(&event.message);
                *minutes.entry(minute).or_insert(false) |= is_taken;
                if is_taken {
                    for transformation in &active.filter.transformations {
                        if let Some((metric, value)) = transformation.apply(pattern, &event.message) {
                            let unit = transformation.unit;
                            let (_, values) =
                                values.entry((metric, minute)).or_insert((unit, Distribution::default()));
                            values.record(value, 1.0);
                        }
                    }
                }
            }
            for (minute, has_value) in minutes {
                if minute > active.told {
                    active.told = minute;
                } else {
                    continue;
                }
                for transformation in active.filter.transformations.iter().filter(|_| !has_value) {
                    let Some(value) = transformation.default_value else { continue };
                    let metric = MetricId::new(&transformation.namespace, &transformation.metric, []);
                    let (_, values) = values
                        .entry((metric, minute))
                        .or_insert((transformation.unit, Distribution::default()));
                    values.record(value, 1.0);
                }
            }
        }
        let datum = |((metric, minute), (unit, values))| Datum {
            metric,
            at: Timestamp::from_millis(minute * MINUTE_MS),
            unit,
            values,
            is_high_resolution: false,
        };
        values.into_iter().map(datum).collect()
    }
}

impl MetricTransformation {
    /// The metric and the value of an event; none where the event lacks what either takes.
    fn apply(&self, pattern: &FilterPattern, message: &str) -> Option<(MetricId, f64)> {
        let value = match &self.value {
            Value::Number(number) => *number,
            Value::Selected(selector) => pattern.value(message, selector)?.parse().ok()?,
        };
        let mut metric = MetricId::new(&self.namespace, &self.metric, []);
        for (name, selector) in &self.dimensions {
            let told = pattern.value(message, selector)?;
            if told.is_empty() || told.chars().count() > DIMENSION_CHARACTERS_MAX {
                return None;
            }
            metric.dimensions.insert(name.clone(), told);
        }
        f64::is_finite(value).then_some((metric, value))
    }
}
