//! What is worked out of many rows.

use std::collections::HashSet;

use super::{Value, expression::Expression};
use crate::metric::{Distribution, Statistic};

/// Most different values that are counted; beyond, it is told that there are at least so many.
const DISTINCT_MAX: usize = 100_000;

/// What is asked of a group's rows.
#[derive(Clone, Debug)]
pub(super) enum Aggregate {
    Count(Option<Expression>),
    CountDistinct(Expression),
    Sum(Expression),
    Average(Expression),
    Minimum(Expression),
    Maximum(Expression),
    Percentile(Expression, f64),
    Deviation(Expression),
    /// The value of the row that is first by time, or last.
    Earliest(Expression),
    Latest(Expression),
}

/// What it has come to.
#[derive(Clone, Debug)]
pub(super) enum Tally {
    Count(f64),
    Distinct(HashSet<String>),
    Sum { sum: f64, squares: f64, count: f64 },
    Chosen(Value),
    Spread(Box<Distribution>),
    At(Option<u64>, Value),
}

impl Aggregate {
    /// Of no rows.
    pub(super) fn begin(&self) -> Tally {
        match self {
            Self::Count(_) => Tally::Count(0.0),
            Self::CountDistinct(_) => Tally::Distinct(HashSet::new()),
            Self::Sum(_) | Self::Average(_) | Self::Deviation(_) => {
                Tally::Sum { sum: 0.0, squares: 0.0, count: 0.0 }
            }
            Self::Minimum(_) | Self::Maximum(_) => Tally::Chosen(Value::Missing),
            Self::Percentile(..) => Tally::Spread(Box::default()),
            Self::Earliest(_) | Self::Latest(_) => Tally::At(None, Value::Missing),
        }
    }

    /// Takes a row in, of which `value` works out expressions.
    pub(super) fn add(&self, tally: &mut Tally, value: &dyn Fn(&Expression) -> Value, at: Option<u64>) {
        match (self, tally) {
            (Self::Count(None), Tally::Count(count)) => *count += 1.0,
            (Self::Count(Some(of)), Tally::Count(count)) if value(of) != Value::Missing => *count += 1.0,
            (Self::CountDistinct(of), Tally::Distinct(values)) => {
                if let Some(text) = value(of).text().filter(|_| values.len() < DISTINCT_MAX) {
                    values.insert(text);
                }
            }
            (Self::Sum(of) | Self::Average(of) | Self::Deviation(of), Tally::Sum { sum, squares, count }) => {
                if let Some(number) = value(of).number() {
                    *sum += number;
                    *squares += number * number;
                    *count += 1.0;
                }
            }
            (Self::Minimum(of) | Self::Maximum(of), Tally::Chosen(chosen)) => {
                let there = value(of);
                let order = there.compare(chosen);
                let is_better = if matches!(self, Self::Minimum(_)) { order.is_lt() } else { order.is_gt() };
                if there != Value::Missing && (*chosen == Value::Missing || is_better) {
                    *chosen = there;
                }
            }
            (Self::Percentile(of, _), Tally::Spread(values)) => {
                if let Some(number) = value(of).number() {
                    values.record(number, 1.0);
                }
            }
            (Self::Earliest(of) | Self::Latest(of), Tally::At(known, chosen)) => {
                let is_better = known.is_none_or(|known| match self {
                    Self::Earliest(_) => at < Some(known),
                    _ => at >= Some(known),
                });
                let there = value(of);
                if is_better && there != Value::Missing {
                    (*known, *chosen) = (at.or(Some(0)), there);
                }
            }
            _ => {}
        }
    }

    pub(super) fn end(&self, tally: Tally) -> Value {
        match (self, tally) {
            (_, Tally::Count(count)) => Value::Number(count),
            (_, Tally::Distinct(values)) => Value::Number(values.len() as f64),
            (_, Tally::Sum { count: 0.0, .. }) => Value::Missing,
            (Self::Average(_), Tally::Sum { sum, count, .. }) => Value::Number(sum / count),
            (Self::Deviation(_), Tally::Sum { sum, squares, count }) => {
                let mean = sum / count;
                Value::Number((squares / count - mean * mean).max(0.0).sqrt())
            }
            (_, Tally::Sum { sum, .. }) => Value::Number(sum),
            (_, Tally::Chosen(value) | Tally::At(_, value)) => value,
            (Self::Percentile(_, percent), Tally::Spread(values)) => {
                values.statistic(Statistic::Percentile(*percent)).map_or(Value::Missing, Value::Number)
            }
            (_, Tally::Spread(_)) => Value::Missing,
        }
    }
}
