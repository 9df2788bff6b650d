//! What the paths took when that was last accepted.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;

/// What a path may take more than it did, or less before the baseline is out of date, in percent.
const TOLERANCE: u64 = 3;

/// Instructions, by path.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Baseline(BTreeMap<String, u64>);

/// What is to be said of a path.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// As it was, more or less.
    Same,
    /// It takes more.
    Worse { name: String, before: u64, now: u64 },
    /// It takes less.
    Better { name: String, before: u64, now: u64 },
    /// Nothing is known of it.
    New { name: String },
}

impl Baseline {
    /// What a file has; nothing if there is none.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let counts = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        Ok(Self(counts))
    }

    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.0)? + "\n";
        std::fs::write(file, text).with_context(|| file.display().to_string())
    }

    /// Takes over what was counted; what was not is forgotten where `all` were.
    pub(crate) fn accept(&mut self, counted: &BTreeMap<&str, u64>, all: bool) {
        if all {
            self.0.clear();
        }
        self.0.extend(counted.iter().map(|(name, count)| ((*name).to_owned(), *count)));
    }

    pub(crate) fn judge(&self, name: &str, now: u64) -> Verdict {
        let name = name.to_owned();
        let Some(before) = self.0.get(&name).copied() else { return Verdict::New { name } };
        let (hundred, of_before) = (now.saturating_mul(100), |percent| before.saturating_mul(percent));
        if hundred > of_before(100 + TOLERANCE) {
            Verdict::Worse { name, before, now }
        } else if hundred < of_before(100 - TOLERANCE) {
            Verdict::Better { name, before, now }
        } else {
            Verdict::Same
        }
    }

    /// A line of a table.
    pub(crate) fn line(&self, name: &str, now: u64) -> String {
        let before = self.0.get(name).map_or("-".to_owned(), u64::to_string);
        let more =
            self.0.get(name).map_or(String::new(), |before| format!("{:+.1} %", percent_more(*before, now)));
        format!("{name:<28} {before:>9} → {now:>9} {more:>9}")
    }
}

impl Verdict {
    pub(crate) fn is_worse(&self) -> bool {
        matches!(self, Self::Worse { .. } | Self::New { .. })
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        let accept = |name: &str| format!("just instructions --accept {name}");
        Some(match self {
            Self::Same => return None,
            Self::Worse { name, before, now } => format!(
                "{name} takes {:+.1} % instructions: {now}, and took {before}. Look where they are (just \
                 instructions-profile {name}); if they are worth it, accept them ({}) and say why in the commit",
                percent_more(*before, *now),
                accept(name)
            ),
            Self::Better { name, before, now } => format!(
                "{name} takes {:+.1} % instructions: {now}, and took {before}. Keep that: {}",
                percent_more(*before, *now),
                accept(name)
            ),
            Self::New { name } => format!("{name} has no baseline yet: {}", accept(name)),
        })
    }
}

fn percent_more(before: u64, now: u64) -> f64 {
    (now as f64 / before.max(1) as f64 - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        Baseline([("a".to_owned(), 1_000), ("b".to_owned(), 50)].into())
    }

    #[test]
    fn three_percent_more_fail_and_as_much_less_is_told() {
        for (now, worse, told) in [
            (1_000, false, false),
            (1_030, false, false),
            (1_031, true, true),
            (970, false, false),
            (969, false, true),
            (1, false, true),
        ] {
            let verdict = baseline().judge("a", now);
            assert_eq!((verdict.is_worse(), verdict.advice().is_some()), (worse, told), "{now}");
        }
    }

    #[test]
    fn the_message_has_the_path_what_it_took_and_takes_and_how_to_accept_that() {
        let advice = baseline().judge("a", 1_100).advice().unwrap();
        for part in ["a takes +10.0 %", "1100", "1000", "just instructions --accept a"] {
            assert!(advice.contains(part), "{advice}");
        }
    }

    #[test]
    fn a_path_without_a_baseline_fails_until_it_is_accepted() {
        let mut baseline = baseline();
        assert!(baseline.judge("c", 7).is_worse());
        baseline.accept(&[("c", 7)].into(), false);
        assert!(!baseline.judge("c", 7).is_worse());
        assert!(!baseline.judge("a", 1_000).is_worse());
        // All were counted: what is gone has no line any more.
        baseline.accept(&[("c", 8)].into(), true);
        assert_eq!(baseline, Baseline([("c".to_owned(), 8)].into()));
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baseline.json");
        assert_eq!(Baseline::read(&file).unwrap(), Baseline::default());
        baseline().write(&file).unwrap();
        assert_eq!(Baseline::read(&file).unwrap(), baseline());
    }
}
