//! Values of expressions: numbers, series, arrays of series.

use std::collections::BTreeMap;

use super::{Operator, Word};

/// A series: values of moments, oldest first, each moment once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What it is called, for people.
    pub label: String,
    /// How long each of its periods is, in seconds; of several it was made of, the longest.
    pub period: u64,
    /// The second that a period begins at, with its value. None is infinite or no number.
    pub points: Vec<(u64, f64)>,
}

impl Series {
    /// The same with other values.
    pub(super) fn with(&self, points: Vec<(u64, f64)>) -> Self {
        Self { label: self.label.clone(), period: self.period, points }
    }

    /// The same with each value changed; what is no finite number afterwards is left out.
    pub(super) fn map(&self, change: impl Fn(u64, f64) -> f64) -> Self {
        let changed = self.points.iter().map(|(at, value)| (*at, change(*at, *value)));
        self.with(changed.filter(|(_, value)| value.is_finite()).collect())
    }

    /// At the moments that both have, what `change` makes of both values.
    pub(super) fn zip(&self, other: &Self, change: impl Fn(f64, f64) -> f64) -> Self {
        let mut points = Vec::new();
        let mut others = other.points.iter().peekable();
        for (at, value) in &self.points {
            while others.next_if(|(of, _)| of < at).is_some() {}
            if let Some((_, theirs)) = others.next_if(|(of, _)| of == at) {
                let changed = change(*value, *theirs);
                if changed.is_finite() {
                    points.push((*at, changed));
                }
            }
        }
        Self { label: self.label.clone(), period: self.period.max(other.period), points }
    }

    /// Its values alone.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = f64> + Clone + '_ {
        self.points.iter().map(|(_, value)| *value)
    }
}

/// What an expression, or a part of one, comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number; no number where there was nothing to tell it from.
    Number(f64),
    /// One series.
    Series(Series),
    /// Several series.
    Array(Vec<Series>),
    /// Text in quotes.
    Text(String),
    /// A word for a function.
    #[doc(hidden)]
    Word(WordValue),
}

/// A word on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordValue(pub(super) Word);

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Series(_) => "a time series",
            Self::Array(_) => "an array of time series",
            Self::Text(_) => "text",
            Self::Word(_) => "a word",
        }
    }

    /// How much work it is to go through it.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Series(series) => series.points.len() + 1,
            Self::Array(all) => all.iter().map(|series| series.points.len() + 1).sum::<usize>() + 1,
            Self::Number(_) | Self::Text(_) | Self::Word(_) => 1,
        }
    }

    /// Its series.
    pub(super) fn series(&self) -> &[Series] {
        match self {
            Self::Series(series) => std::slice::from_ref(series),
            Self::Array(all) => all,
            Self::Number(_) | Self::Text(_) | Self::Word(_) => &[],
        }
    }

    /// Itself, or each of its series, changed; `None` where it is neither series nor array.
    pub(super) fn each(self, change: impl Fn(&Series) -> Series) -> Result<Self, Self> {
        match self {
            Self::Series(series) => Ok(Self::Series(change(&series))),
            Self::Array(all) => Ok(Self::Array(all.iter().map(change).collect())),
            other => Err(other),
        }
    }

    /// Two values with an operator between them: of an array with anything each of its series, of series the moments
    /// that both have. `None` where there is no such operation.
    pub(super) fn combine(self, other: Self, operator: Operator) -> Option<Self> {
        let of = |left, right| apply(operator, left, right);
        Some(match (self, other) {
            (Self::Number(left), Self::Number(right)) => Self::Number(of(left, right)),
            (Self::Series(left), Self::Number(right)) => Self::Series(left.map(|_, value| of(value, right))),
            (Self::Number(left), Self::Series(right)) => Self::Series(right.map(|_, value| of(left, value))),
            (Self::Series(left), Self::Series(right)) => Self::Series(left.zip(&right, of)),
            (Self::Array(left), Self::Number(right)) => {
                Self::Array(left.iter().map(|series| series.map(|_, value| of(value, right))).collect())
            }
            (Self::Number(left), Self::Array(right)) => {
                Self::Array(right.iter().map(|series| series.map(|_, value| of(left, value))).collect())
            }
            (Self::Array(left), Self::Series(right)) => {
                Self::Array(left.iter().map(|series| series.zip(&right, of)).collect())
            }
            (Self::Series(left), Self::Array(right)) => {
                let zipped = right.iter().map(|series| series.zip(&left, |theirs, own| of(own, theirs)));
                Self::Array(zipped.collect())
            }
            _ => return None,
        })
    }
}

fn apply(operator: Operator, left: f64, right: f64) -> f64 {
    let truth = |is: bool| f64::from(u8::from(is));
    // What is no number is neither true nor false.
    if left.is_nan() || right.is_nan() {
        return f64::NAN;
    }
    match operator {
        Operator::Or => truth(left != 0.0 || right != 0.0),
        Operator::And => truth(left != 0.0 && right != 0.0),
        Operator::Equal => truth(left == right),
        Operator::NotEqual => truth(left != right),
        Operator::Less => truth(left < right),
        Operator::LessOrEqual => truth(left <= right),
        Operator::Greater => truth(left > right),
        Operator::GreaterOrEqual => truth(left >= right),
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::Power => left.powf(right),
    }
}

/// The values of several series at each moment that any of them has.
pub(super) fn by_moment(all: &[Series]) -> BTreeMap<u64, Vec<f64>> {
    let mut moments: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (at, value) in all.iter().flat_map(|series| &series.points) {
        moments.entry(*at).or_default().push(*value);
    }
    moments
}
