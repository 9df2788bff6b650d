//! Working an expression out.

use thiserror::Error;

use super::{
    Expression, Step,
    value::{Series, Value, WordValue},
};
use crate::clock::Timestamp;

/// How many values an expression may go through. An array of all metrics many times over would otherwise take any
/// time and room.
pub(super) const WORK_MAX: usize = 2_000_000;

/// Most periods of a grid that is filled.
const GRID_MAX: u64 = 100_800;

/// Why an expression does not come to anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvaluateError {
    /// It names what is not there.
    #[error("there is no metric or expression with the id {0}")]
    UnknownId(String),
    /// A function takes other things than it is given.
    #[error("{function} does not take what it is given")]
    Arguments {
        /// Which.
        function: &'static str,
    },
    /// An operator stands between things that it cannot work on.
    #[error("there is no operation between {left} and {right}")]
    Operands {
        /// What stands left of it.
        left: &'static str,
        /// What stands right of it.
        right: &'static str,
    },
    /// There would be too much to go through.
    #[error("it goes through too many values")]
    TooMuch,
    /// It comes to something else than series.
    #[error("it comes to {0}, and not to a time series")]
    NoSeries(&'static str),
}

/// Something that expressions can name.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// By what.
    pub id: &'a str,
    /// What it is.
    pub value: &'a Value,
    /// Whether it is a metric, and not an expression.
    pub is_metric: bool,
}

/// What an expression is worked out over.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What it can name, in the order of the request.
    pub named: &'a [Named<'a>],
    /// When what is asked for begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// The period, in seconds, of series that are made of numbers.
    pub period: u64,
}

impl Scope<'_> {
    /// The beginnings of the periods of a length, in seconds, that begin within.
    pub(super) fn grid(&self, period: u64) -> impl Iterator<Item = u64> + use<> {
        let period = if period == 0 { self.period.max(1) } else { period };
        let first = self.from.as_millis().div_ceil(1000).div_ceil(period);
        let end = self.until.as_millis().div_ceil(1000).div_ceil(period);
        (first..end.min(first.saturating_add(GRID_MAX))).map(move |number| number * period)
    }

    /// A series that is the same number all the time.
    pub(super) fn constant(&self, number: f64) -> Series {
        let points = match number.is_finite() {
            true => self.grid(self.period).map(|at| (at, number)).collect(),
            false => Vec::new(),
        };
        Series { label: String::new(), period: self.period, points }
    }
}

impl Expression {
    /// Works it out, to one series or to several.
    ///
    /// # Errors
    /// It names what is not there, asks for an operation that there is not, comes to no series, or goes through too
    /// many values.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvaluateError> {
        let mut room = WORK_MAX;
        self.evaluate_within(scope, &mut room)
    }

    /// The same, where `room` is how many values it, and all that are worked out after it, may go through.
    pub(super) fn evaluate_within(
        &self,
        scope: &Scope<'_>,
        room: &mut usize,
    ) -> Result<Value, EvaluateError> {
        match self.value(scope, room)? {
            value @ (Value::Series(_) | Value::Array(_)) => Ok(value),
            other => Err(EvaluateError::NoSeries(other.kind())),
        }
    }

    fn value(&self, scope: &Scope<'_>, room: &mut usize) -> Result<Value, EvaluateError> {
        let mut stack: Vec<Value> = Vec::new();
        for step in &self.steps {
            let made = match step {
                Step::Number(number) => Value::Number(*number),
                Step::Text(text) => Value::Text(text.clone()),
                Step::Word(word) => Value::Word(WordValue(*word)),
                Step::Id(id) => match scope.named.iter().find(|named| named.id == id) {
                    Some(named) => named.value.clone(),
                    None => return Err(EvaluateError::UnknownId(id.clone())),
                },
                Step::Negate => match stack.pop() {
                    Some(Value::Number(number)) => Value::Number(-number),
                    Some(value) => {
                        let kind = value.kind();
                        let negated = value.each(|series| series.map(|_, value| -value));
                        negated.map_err(|_| EvaluateError::Operands { left: "a sign", right: kind })?
                    }
                    None => return Err(EvaluateError::NoSeries("nothing")),
                },
                Step::Binary(operator) => {
                    let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else {
                        return Err(EvaluateError::NoSeries("nothing"));
                    };
                    let kinds = EvaluateError::Operands { left: left.kind(), right: right.kind() };
                    left.combine(right, *operator).ok_or(kinds)?
                }
                Step::Array(count) => array(stack.split_off(stack.len().saturating_sub(*count)))?,
                Step::Call(function, count) => {
                    let given = stack.split_off(stack.len().saturating_sub(*count));
                    // What fills a grid for each of many series is refused before it is made.
                    let all = given.iter().flat_map(Value::series);
                    if function.fills()
                        && all.map(|series| scope.grid(series.period).count()).sum::<usize>() > *room
                    {
                        return Err(EvaluateError::TooMuch);
                    }
                    function.call(scope, given)?
                }
            };
            *room = room.checked_sub(made.size()).ok_or(EvaluateError::TooMuch)?;
            stack.push(made);
        }
        stack.pop().ok_or(EvaluateError::NoSeries("nothing"))
    }
}

/// `[a, b, METRICS()]`: one array of all.
fn array(values: Vec<Value>) -> Result<Value, EvaluateError> {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Series(series) => all.push(series),
            Value::Array(more) => all.extend(more),
            other => return Err(EvaluateError::Operands { left: "an array", right: other.kind() }),
        }
    }
    Ok(Value::Array(all))
}
