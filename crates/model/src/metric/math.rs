//! Metric math: expressions over series, as `CloudWatch` has them.
//!
//! An expression is read once ([`Expression::parse`]) into steps for a machine with a stack, so that neither reading
//! nor working it out nests deeper than [`DEPTH_MAX`]; it is worked out over named series ([`Expression::evaluate`]).
//!
//! Source: Amazon `CloudWatch` user guide, "Using math expressions with `CloudWatch` metrics".

use std::collections::BTreeSet;

use thiserror::Error;

mod evaluate;
mod function;
mod lexer;
mod parser;
pub mod query;
mod value;

pub use evaluate::{EvaluateError, Named, Scope};
pub use function::Function;
pub use value::{Series, Value};

/// Longest expression, in bytes. Source: `MetricDataQuery`, 2,048 characters.
pub const EXPRESSION_BYTES_MAX: usize = 2048;

/// How deep brackets, calls and signs may nest.
pub const DEPTH_MAX: usize = 64;

/// An expression that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// In the order in which they are worked out; at the end there is one value on the stack.
    steps: Vec<Step>,
}

/// One step of an expression.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Number(f64),
    Text(String),
    /// A series, by its id.
    Id(String),
    /// A word that functions take: `REPEAT`, `ASC`, `AVG`.
    Word(Word),
    Negate,
    Binary(Operator),
    /// Makes an array of so many values.
    Array(usize),
    /// Calls with so many values.
    Call(Function, usize),
}

/// A word that functions take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Fill with what was there before.
    Repeat,
    /// Fill with what lies between.
    Linear,
    Ascending,
    Descending,
    /// Sort by what this function says of each series.
    By(Function),
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// It is too long.
    #[error("it is longer than {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// It nests too deeply.
    #[error("it nests deeper than {DEPTH_MAX}")]
    TooDeep,
    /// Something stands where it cannot.
    #[error("{found} cannot stand at character {at}")]
    Unexpected {
        /// What, in quotes, or `the end`.
        found: String,
        /// Counted from 1.
        at: usize,
    },
    /// There is no function of this name.
    #[error("there is no function {0}")]
    UnknownFunction(String),
    /// There is such a function on AWS, but not here.
    #[error("the function {0} is not there: it needs what only AWS has")]
    NotHere(String),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is none, or a function that is not here is in it.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text)
    }

    /// The ids that it names.
    pub fn ids(&self) -> BTreeSet<&str> {
        let ids = self.steps.iter().filter_map(|step| match step {
            Step::Id(id) => Some(id.as_str()),
            _ => None,
        });
        ids.collect()
    }

    /// Whether it asks for all metrics of the request ([`Function::Metrics`]).
    pub fn asks_for_all(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Call(Function::Metrics, _)))
    }
}

/// Whether an expression can name something by this id: a small letter, then letters, digits and `_`.
pub fn is_id(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= 255
}

#[cfg(test)]
mod tests;
