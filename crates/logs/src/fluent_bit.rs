//! `fluent-bit.conf`, in its classic form, as far as it is here: `[SERVICE]`, `[INPUT]` of tcp and forward, `[FILTER]` of
//! grep and record_modifier, `[OUTPUT]` of what [`bowline_model::log_driver::OUTPUTS`] lists. What is not known is
//! refused with its line, rather than passed over.
//!
//! Source: Fluent Bit's manual, "Configuration File".

mod filter;
mod parse;

use std::time::Duration;

use bowline_model::log_driver::{OutputError, OutputRule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use filter::{Filter, FilterRule, GrepRule};

/// A configuration that was read.
#[derive(Clone, Debug, Default)]
pub struct FluentBit {
    /// `Flush` of `[SERVICE]`; 1 s by default.
    pub flush: Option<Duration>,
    /// What listens.
    pub inputs: Vec<Input>,
    /// What changes records, in order.
    pub filters: Vec<FilterRule>,
    /// Where records go.
    pub outputs: Vec<OutputRule>,
}

/// An `[INPUT]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// What it speaks.
    pub kind: InputKind,
    /// `Listen`: whether others than the task itself would reach it; `0.0.0.0` by default.
    pub listen: std::net::Ipv4Addr,
    /// `Port`.
    pub port: u16,
    /// `Tag`; Fluent Bit's default is `tcp.0` for the first input.
    pub tag: String,
}

/// What an input speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InputKind {
    /// `tcp` with `Format json`: objects, one a line or one after the other. What is none is kept under `log`.
    Json,
    /// `tcp` with `Format none`: lines.
    Lines,
    /// `forward`: Fluentd's protocol. Records keep the tags that they come with unless `Tag` is given.
    Forward,
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{file}:{line}: {fault}")]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Fault {
    /// A line is neither a section, a comment nor a key with a value.
    #[error("{0}")]
    Syntax(String),
    /// A section, a plugin or an option is not here.
    #[error("{what} {name:?} is not here: known are {known}")]
    Unknown {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// Names there are.
        known: String,
    },
    /// A value is none.
    #[error("{option}: {reason}")]
    Value {
        /// The option.
        option: String,
        /// What is right.
        reason: String,
    },
    /// `${NAME}` stands for nothing.
    #[error("${{{0}}} is set neither by @SET nor in the log router's environment")]
    Variable(String),
    /// An `[OUTPUT]` is wrong.
    #[error("{0}")]
    Output(#[from] OutputError),
}

impl FluentBit {
    /// Reads a configuration. `variable` gives the values of the log router's environment.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(
        file: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        parse::parse(file, text, variable)
    }
}

#[cfg(test)]
mod tests;
