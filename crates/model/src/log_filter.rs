//! Filter patterns of CloudWatch Logs: which events a search, or a metric filter, takes.
//!
//! - `terms` are words and phrases: `ERROR -"health check"`, `?ERROR ?WARN`, `%4\d\d%`.
//! - `fields` are patterns over space-delimited events: `[ip, user, ..., status = 4*, bytes > 100]`.
//! - `json` are those over JSON: `{ $.status = 5* && ($.method = "GET" || $.user NOT EXISTS) }`.
//! - `operand` is what a field or a member is compared with, `scanner` reads all three.
//!
//! Source: Amazon CloudWatch Logs user guide, "Filter pattern syntax".

use std::collections::BTreeMap;

use thiserror::Error;

mod fields;
mod json;
mod operand;
mod scanner;
mod terms;
#[cfg(test)]
mod tests;

use fields::Fields;
use json::JsonPattern;
use scanner::Scanner;
use terms::Terms;

/// Longest pattern, in characters.
pub const PATTERN_CHARACTERS_MAX: usize = 1_024;

/// Most regular expressions of a pattern.
pub const REGULAR_EXPRESSIONS_MAX: usize = 2;

/// Why a text is no filter pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterPatternError {
    /// It is too long.
    #[error("a filter pattern has {PATTERN_CHARACTERS_MAX} characters at most")]
    TooLong,
    /// It ends where more is needed.
    #[error("the filter pattern ends where {0} is needed")]
    Ends(&'static str),
    /// Something else is needed somewhere.
    #[error("{wanted} is needed at character {at} of the filter pattern")]
    Unexpected {
        /// Counted from 1.
        at: usize,
        /// What is needed.
        wanted: &'static str,
    },
    /// There are too many regular expressions in it.
    #[error("a filter pattern has {REGULAR_EXPRESSIONS_MAX} regular expressions at most")]
    TooManyRegularExpressions,
    /// A regular expression is none, or too large.
    #[error("a regular expression of the filter pattern cannot be read: {0}")]
    RegularExpression(String),
    /// Parentheses within parentheses, too many.
    #[error("the filter pattern has too many parentheses within parentheses")]
    TooDeep,
}

/// A filter pattern, read once.
#[derive(Clone, Debug)]
pub struct FilterPattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Terms(Terms),
    Fields(Fields),
    Json(JsonPattern),
}

impl PartialEq for FilterPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FilterPattern {
    /// Reads a pattern. An empty one takes every event.
    ///
    /// # Errors
    /// See [`FilterPatternError`].
    pub fn parse(text: &str) -> Result<Self, FilterPatternError> {
        if text.chars().nth(PATTERN_CHARACTERS_MAX).is_some() {
            return Err(FilterPatternError::TooLong);
        }
        let mut scanner = Scanner::new(text);
        scanner.space();
        let kind = match scanner.peek() {
            Some('{') => Kind::Json(JsonPattern::read(&mut scanner)?),
            Some('[') => Kind::Fields(Fields::read(&mut scanner)?),
            _ => Kind::Terms(Terms::read(&mut scanner)?),
        };
        scanner.end()?;
        Ok(Self { text: text.to_owned(), kind })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it takes every event.
    pub fn is_all(&self) -> bool {
        matches!(&self.kind, Kind::Terms(terms) if terms.is_empty())
    }

    /// Whether it takes an event with this message.
    pub fn matches(&self, message: &str) -> bool {
        match &self.kind {
            Kind::Terms(terms) => terms.matches(message),
            Kind::Fields(fields) => fields.matches(message),
            Kind::Json(json) => json.matches(message),
        }
    }

    /// What `selector` means in a message that the pattern takes: `$.latency` of JSON, `$bytes` of a pattern over
    /// fields that names one so. `None` where there is no such thing.
    pub fn value(&self, message: &str, selector: &str) -> Option<String> {
        match &self.kind {
            Kind::Terms(_) => None,
            Kind::Fields(fields) => fields.named(message).remove(selector),
            Kind::Json(_) => json::value(message, selector),
        }
    }

    /// What the pattern's own names and selectors mean in a message, as `TestMetricFilter` tells it.
    pub fn extracted(&self, message: &str) -> BTreeMap<String, String> {
        match &self.kind {
            Kind::Terms(_) => BTreeMap::new(),
            Kind::Fields(fields) => fields.named(message),
            Kind::Json(json) => json.extracted(message),
        }
    }
}
