//! Reports of runs: JSON for programs, JUnit for CI, a page for people.

mod html;
mod junit;
mod plot;
mod text;

use std::time::Duration;

use bowline_model::{clock::Timestamp, experiment::Verdict};
use serde::{Deserialize, Serialize};

use crate::record::Record;

/// What was run, and what it came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Bowline's version.
    pub bowline: String,
    /// What was run: a template's path, or the state directory.
    pub subject: String,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took.
    #[serde(with = "bowline_model::experiment::millis")]
    pub took: Duration,
    /// The seed of a random order; none where the order was given.
    pub seed: Option<u64>,
    /// One an experiment.
    pub records: Vec<Record>,
}

/// How a command that runs experiments ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Every hypothesis held: 0.
    Held,
    /// One fell: 1.
    Fell,
    /// None fell, but one could not be judged: no steady state, or it could not be carried out: 3.
    Refused,
    /// It was broken off: 130.
    Aborted,
}

impl Conclusion {
    /// The exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Fell => 1,
            Self::Refused => 3,
            Self::Aborted => 130,
        }
    }
}

impl Report {
    /// What all of it comes to. Where experiments were named one by one, one that says nothing about the system counts as
    /// one that could not be judged.
    #[must_use]
    pub fn conclusion(&self, named: bool) -> Conclusion {
        let any = |wanted: fn(&Verdict) -> bool| self.records.iter().any(|record| wanted(&record.verdict));
        let judged = self.records.iter().any(|it| matches!(it.verdict, Verdict::Held | Verdict::Fell));
        if any(|it| *it == Verdict::Aborted) {
            Conclusion::Aborted
        } else if any(|it| *it == Verdict::Fell) {
            Conclusion::Fell
        } else if any(|it| matches!(it, Verdict::Refused(_) | Verdict::Failed(_)))
            || (named && any(|it| matches!(it, Verdict::NotApplicable(_))))
            || !judged
        {
            Conclusion::Refused
        } else {
            Conclusion::Held
        }
    }

    /// How many have which verdict, in words: `2 held, 1 fell`.
    #[must_use]
    pub fn summary(&self) -> String {
        let words = ["held", "fell", "refused", "failed", "not applicable", "aborted"];
        let parts = words.iter().filter_map(|word| {
            let count = self.records.iter().filter(|record| record.verdict.word() == *word).count();
            (count > 0).then(|| format!("{count} {word}"))
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { "no experiment".to_owned() } else { parts.join(", ") }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// For CI: a test case an experiment.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::document(self)
    }

    /// A page that needs nothing beside itself.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Lines for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        text::lines(self)
    }
}

/// A time for people.
fn span(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A time that may never have come.
fn span_or_never(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), span)
}

/// Text within markup: XML's and HTML's characters, and none that XML 1.0 forbids.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
