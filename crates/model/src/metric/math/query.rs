//! Several queries together: metrics, and expressions over them and over each other.

use std::{collections::BTreeMap, time::Duration};

use thiserror::Error;

use super::{EvaluateError, Expression, Named, Scope, Series, Value, evaluate::WORK_MAX, is_id};
use crate::{
    clock::Timestamp,
    metric::{MetricId, Statistic, Unit},
};

/// The period, in seconds, of what no metric gives one to.
const PERIOD: u64 = 60;

/// A statistic of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricStat {
    /// Of which metric.
    pub metric: MetricId,
    /// Which statistic.
    pub statistic: Statistic,
    /// Of periods of this length: whole seconds.
    pub period: Duration,
    /// Of values in this unit; of all where none is given.
    pub unit: Option<Unit>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A statistic of a metric.
    Metric(MetricStat),
    /// An expression.
    Expression {
        /// Which.
        expression: Expression,
        /// The period of series that it makes of numbers; the longest of the metrics' where none is given.
        period: Option<Duration>,
    },
}

/// One query of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What expressions call it by.
    pub id: String,
    /// What is asked for.
    pub source: Source,
}

/// Why queries cannot be asked together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// An id is not one.
    #[error("{0:?} is no id: a small letter, then letters, digits and _")]
    NoId(String),
    /// Two have the same id.
    #[error("the id {0} is there twice")]
    Twice(String),
    /// An expression names what is not there.
    #[error("the expression {expression} names {id}, which is not there")]
    UnknownId {
        /// The expression's id.
        expression: String,
        /// What it names.
        id: String,
    },
    /// An expression is made of itself.
    #[error("the expression {0} names itself, or what is made of it")]
    Circle(String),
}

/// An expression does not come to anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the expression {id}: {cause}")]
pub struct QueryError {
    /// The expression's id.
    pub id: String,
    /// Why not.
    #[source]
    pub cause: EvaluateError,
}

/// Queries, in an order in which they can be worked out.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    queries: Vec<Query>,
    /// Metrics, then each expression after those that it names.
    order: Vec<usize>,
    /// The longest period of a metric, in seconds.
    period: u64,
}

impl Plan {
    /// Puts queries in order.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn new(queries: Vec<Query>) -> Result<Self, PlanError> {
        let mut places = BTreeMap::new();
        for (place, query) in queries.iter().enumerate() {
            if !is_id(&query.id) {
                return Err(PlanError::NoId(query.id.chars().take(255).collect()));
            }
            if places.insert(query.id.as_str(), place).is_some() {
                return Err(PlanError::Twice(query.id.clone()));
            }
        }
        let is_metric = |place: &usize| matches!(queries[*place].source, Source::Metric(_));
        let (mut order, mut left): (Vec<usize>, Vec<usize>) = (0..queries.len()).partition(is_metric);
        let mut is_ordered = vec![false; queries.len()];
        order.iter().for_each(|place| is_ordered[*place] = true);
        // Each round takes those up whose parts are all there: as many rounds as expressions at the most.
        while !left.is_empty() {
            let mut waiting = Vec::new();
            for place in &left {
                let Source::Expression { expression, .. } = &queries[*place].source else { continue };
                let mut is_ready = true;
                for id in expression.ids() {
                    let named = places.get(id).ok_or_else(|| PlanError::UnknownId {
                        expression: queries[*place].id.clone(),
                        id: id.to_owned(),
                    })?;
                    is_ready &= is_ordered[*named];
                }
                match is_ready {
                    true => {
                        is_ordered[*place] = true;
                        order.push(*place);
                    }
                    false => waiting.push(*place),
                }
            }
            if waiting.len() == left.len() {
                return Err(PlanError::Circle(queries[waiting[0]].id.clone()));
            }
            left = waiting;
        }
        let periods = queries.iter().filter_map(|query| match &query.source {
            Source::Metric(stat) => Some(stat.period.as_secs()),
            Source::Expression { .. } => None,
        });
        let period = periods.max().unwrap_or(PERIOD).max(1);
        Ok(Self { queries, order, period })
    }

    /// The queries, in the order in which they were given.
    pub fn queries(&self) -> &[Query] {
        &self.queries
    }

    /// The longest period of a metric, in seconds; a minute where there is none.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Works all of them out, for periods that begin in `from..until`: what each comes to, in the order in which they
    /// were given. `fetch` tells the values, oldest first, of the metric that stands at a place among the queries.
    ///
    /// # Errors
    /// The first expression that comes to nothing.
    pub fn run(
        &self,
        from: Timestamp,
        until: Timestamp,
        mut fetch: impl FnMut(usize, &MetricStat) -> Vec<(Timestamp, f64)>,
    ) -> Result<Vec<Value>, QueryError> {
        let mut values: Vec<Option<Value>> = vec![None; self.queries.len()];
        // For all expressions together: their values are all kept to the end.
        let mut left = WORK_MAX;
        for place in &self.order {
            let Query { id, source } = &self.queries[*place];
            let value = match source {
                Source::Metric(stat) => {
                    let points = fetch(*place, stat).into_iter().map(|(at, value)| (at.as_secs(), value));
                    Value::Series(Series {
                        label: id.clone(),
                        period: stat.period.as_secs(),
                        points: points.filter(|(_, value)| value.is_finite()).collect(),
                    })
                }
                Source::Expression { expression, period } => {
                    let named: Vec<Named<'_>> = self
                        .queries
                        .iter()
                        .zip(&values)
                        .filter_map(|(query, value)| {
                            let is_metric = matches!(query.source, Source::Metric(_));
                            Some(Named { id: &query.id, value: value.as_ref()?, is_metric })
                        })
                        .collect();
                    let period = period.map_or(self.period, |period| period.as_secs().max(1));
                    let scope = Scope { named: &named, from, until, period };
                    expression
                        .evaluate_within(&scope, &mut left)
                        .map_err(|cause| QueryError { id: id.clone(), cause })?
                }
            };
            values[*place] = Some(value);
        }
        Ok(values.into_iter().flatten().collect())
    }
}
