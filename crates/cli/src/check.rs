//! Whether an installation is as it should be: facts are gathered, judged, and told in titled groups, each with what
//! to do about what is not well.
//!
//! - [`machine`]: what can be told of this machine, before anything runs.
//! - [`mesh`]: what a running Bowline knows.

pub(crate) mod machine;
pub(crate) mod mesh;

use serde::Serialize;

use crate::display::{Colour, coloured, printable};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and less well than it could.
    Warning,
    /// Something does not work.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Check {
    /// For programs; stays the same.
    pub(crate) id: &'static str,
    /// How it went.
    pub(crate) outcome: Outcome,
    /// What was found.
    pub(crate) what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Where more of it stands: a page of the documentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<&'static str>,
}

impl Check {
    /// All is well.
    pub(crate) fn ok(id: &'static str, what: impl Into<String>) -> Self {
        Self { id, outcome: Outcome::Ok, what: what.into(), hint: None, page: None }
    }

    /// Something to know.
    pub(crate) fn warning(
        id: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
        page: &'static str,
    ) -> Self {
        let (hint, page) = (Some(hint.into()), Some(page));
        Self { id, outcome: Outcome::Warning, what: what.into(), hint, page }
    }

    /// Something to do.
    pub(crate) fn failure(
        id: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
        page: &'static str,
    ) -> Self {
        Self { outcome: Outcome::Failure, ..Self::warning(id, what, hint, page) }
    }
}

/// Checks that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    /// What they are about.
    pub(crate) title: &'static str,
    /// In the order in which they were made.
    pub(crate) checks: Vec<Check>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The groups.
    pub(crate) groups: Vec<Group>,
    /// Whether a Bowline runs on the state directory.
    pub(crate) running: bool,
    /// How many went well.
    pub(crate) ok: usize,
    /// How many warn.
    pub(crate) warnings: usize,
    /// How many failed.
    pub(crate) failures: usize,
}

impl Report {
    /// Of these groups; those without checks are left out.
    pub(crate) fn new(groups: Vec<Group>, running: bool) -> Self {
        let groups: Vec<_> = groups.into_iter().filter(|group| !group.checks.is_empty()).collect();
        let count = |outcome| {
            let checks = groups.iter().flat_map(|group| &group.checks);
            checks.filter(|check| check.outcome == outcome).count()
        };
        let (ok, warnings, failures) = (count(Outcome::Ok), count(Outcome::Warning), count(Outcome::Failure));
        Self { groups, running, ok, warnings, failures }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text.push_str(&format!("{}\n", group.title));
            for check in &group.checks {
                let mark = match check.outcome {
                    Outcome::Ok => coloured("√", Colour::Green),
                    Outcome::Warning => coloured("‼", Colour::Yellow),
                    Outcome::Failure => coloured("×", Colour::Red),
                };
                text.push_str(&format!("{mark} {}\n", printable(&check.what)));
                if let Some(hint) = &check.hint {
                    text.push_str(&format!("    {}\n", printable(hint)));
                }
                if let Some(page) = check.page {
                    text.push_str(&format!("    see docs/src/{page}\n"));
                }
            }
            text.push('\n');
        }
        let verdict = match (self.failures, self.warnings) {
            (0, 0) => coloured("√", Colour::Green),
            (0, _) => coloured("‼", Colour::Yellow),
            _ => coloured("×", Colour::Red),
        };
        text.push_str(&format!(
            "{verdict} {} checks: {} well, {} warn, {} failed\n",
            self.ok + self.warnings + self.failures,
            self.ok,
            self.warnings,
            self.failures
        ));
        text
    }
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_tells_what_to_do() {
        let checks = vec![
            Check::ok("a", "all is well"),
            Check::warning("b", "a little", "do this", "operating.md"),
            Check::failure("c", "much", "do that", "operating.md"),
        ];
        let groups = vec![Group { title: "things", checks }, Group { title: "nothing", checks: vec![] }];
        let report = Report::new(groups, true);
        assert_eq!((report.ok, report.warnings, report.failures), (1, 1, 1));
        let text = report.text();
        assert!(text.contains("× much\n    do that\n    see docs/src/operating.md\n"), "{text}");
        assert!(!text.contains("nothing") && !text.contains('\u{1b}'), "{text}");
        assert!(text.ends_with("× 3 checks: 1 well, 1 warn, 1 failed\n"), "{text}");
    }
}
