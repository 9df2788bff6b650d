//! Queries of logs, in a part of CloudWatch Logs Insights' language: `fields`, `filter`, `parse`, `stats`, `sort`, `limit`,
//! `dedup` and `display`.
//!
//! - `lexer` and `parser` read a query once, `expression` works out what it says of a row.
//! - `run` takes events one by one, and keeps no more of them than the answer needs.
//!
//! Source: Amazon CloudWatch Logs user guide, "CloudWatch Logs Insights query syntax".

use regex_lite::Regex;
use thiserror::Error;

use crate::clock::{Timestamp, days_from_civil};

mod aggregate;
mod expression;
mod lexer;
mod parser;
mod run;
#[cfg(test)]
mod tests;

pub use run::{QueryEvent, QueryFailure, QueryRows, QueryRun};

use aggregate::Aggregate;
use expression::Expression;

/// Longest query, in characters (`StartQuery`).
pub const QUERY_CHARACTERS_MAX: usize = 10_000;

/// Rows of an answer where the query has no `limit`.
pub const ROWS_DEFAULT: usize = 10_000;

/// Most rows of an answer.
pub const ROWS_MAX: usize = 10_000;

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogQueryError {
    /// It is too long.
    #[error("a query has {QUERY_CHARACTERS_MAX} characters at most")]
    TooLong,
    /// Something else is needed somewhere.
    #[error("{wanted} is needed at character {at}")]
    Unexpected {
        /// Counted from 1.
        at: usize,
        /// What is needed.
        wanted: String,
    },
    /// A regular expression is none, or too large.
    #[error("a regular expression cannot be read: {0}")]
    RegularExpression(String),
    /// Expressions within expressions, too many.
    #[error("the query has too many expressions within expressions")]
    TooDeep,
    /// A command where it cannot be.
    #[error("{0}")]
    Order(&'static str),
}

/// A query, read once.
#[derive(Clone, Debug)]
pub struct LogQuery {
    commands: Vec<Command>,
}

impl LogQuery {
    /// Reads a query.
    ///
    /// # Errors
    /// See [`LogQueryError`].
    pub fn parse(text: &str) -> Result<Self, LogQueryError> {
        if text.chars().nth(QUERY_CHARACTERS_MAX).is_some() {
            return Err(LogQueryError::TooLong);
        }
        Ok(Self { commands: parser::commands(text)? })
    }
}

/// A command.
#[derive(Clone, Debug)]
enum Command {
    /// What is told, and names for what is worked out.
    Fields(Vec<(String, Expression)>),
    Display(Vec<(String, Expression)>),
    Filter(Expression),
    Parse {
        of: Expression,
        by: Parsing,
    },
    Stats {
        aggregates: Vec<(String, Aggregate)>,
        by: Vec<(String, Expression)>,
    },
    /// Descending where the flag is set.
    Sort(Vec<(Expression, bool)>),
    Limit(usize),
    Dedup(Vec<Expression>),
}

/// How parts of a text get names.
#[derive(Clone, Debug)]
enum Parsing {
    /// Texts between which the parts are.
    Glob { texts: Vec<String>, names: Vec<String> },
    /// A regular expression with named groups.
    Regex(Regex),
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// There is none.
    Missing,
    Number(f64),
    Text(String),
    Flag(bool),
    /// Milliseconds since the epoch.
    Time(u64),
}

impl Value {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Time(millis) => Some(*millis as f64),
            Self::Flag(_) | Self::Missing => None,
        }
    }

    /// As it stands in an answer.
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Missing => return None,
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Flag(flag) => if *flag { "1" } else { "0" }.to_owned(),
            Self::Time(millis) => time(*millis),
        })
    }

    fn is_true(&self) -> bool {
        match self {
            Self::Flag(flag) => *flag,
            Self::Number(number) => *number != 0.0,
            _ => false,
        }
    }

    /// The order of values: none first, then numbers, then texts.
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |value: &Self| match value {
            Self::Missing => 0,
            _ if value.number().is_some() => 1,
            _ => 2,
        };
        match (self.number(), other.number()) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => rank(self).cmp(&rank(other)).then_with(|| self.text().cmp(&other.text())),
        }
    }
}

/// `2026-11-21 03:47:48.000`
fn time(millis: u64) -> String {
    Timestamp::from_millis(millis).to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// Reads `2026-11-21 03:47:48.000`, or with `T` and `Z`; the fraction may be missing.
fn moment(text: &str) -> Option<u64> {
    let text = text.trim_end_matches('Z');
    let (date, clock) = text.split_once([' ', 'T'])?;
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> {
        text.split(separator).map(|part| part.parse().ok()).collect()
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let (date, clock) = (numbers(date, '-')?, numbers(clock, ':')?);
    let ([year, month, day], [hours, minutes, seconds]) = (&date[..], &clock[..]) else { return None };
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    if !(0..=9999).contains(year) || !(1..=12).contains(month) || !(1..=31).contains(day) {
        return None;
    }
    let seconds = days_from_civil(*year, *month, *day) * 86_400 + hours * 3_600 + minutes * 60 + seconds;
    u64::try_from(seconds.checked_mul(1_000)?.checked_add(millis)?).ok()
}
