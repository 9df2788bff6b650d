//! Which of the resources that a target could be are it. Pure: chance is told.
//!
//! Source: AWS FIS user guide, "Targets for AWS FIS": resource filters and selection modes.

use bowline_aws::fis::TargetFilter;
use serde_json::Value;

/// `selectionMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelectionMode {
    /// All of them.
    All,
    /// So many, or all where there are fewer; at random.
    Count(u32),
    /// So many of a hundred, rounded down; at random.
    Percent(u32),
}

impl SelectionMode {
    /// `ALL`, `COUNT(n)` from 1, `PERCENT(n)` from 1 to 100.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |prefix: &str| -> Option<u32> {
            let digits = text.strip_prefix(prefix)?.strip_prefix('(')?.strip_suffix(')')?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        if text == "ALL" {
            return Some(Self::All);
        }
        let count = number("COUNT").filter(|count| *count >= 1).map(Self::Count);
        count.or_else(|| number("PERCENT").filter(|percent| (1..=100).contains(percent)).map(Self::Percent))
    }

    /// How many of so many.
    fn of(self, available: usize) -> usize {
        match self {
            Self::All => available,
            Self::Count(count) => available.min(usize::try_from(count).unwrap_or(usize::MAX)),
            Self::Percent(percent) => available.saturating_mul(usize::try_from(percent).unwrap_or(100)) / 100,
        }
    }

    /// Chooses, each with the same chance; in the order that they came in. `random` gives any number.
    pub(crate) fn choose<T>(self, mut from: Vec<T>, mut random: impl FnMut() -> u64) -> Vec<T> {
        let mut left = from.len() - self.of(from.len());
        while left > 0 {
            let among = u64::try_from(from.len()).unwrap_or(u64::MAX);
            from.remove(usize::try_from(random() % among).unwrap_or(0));
            left -= 1;
        }
        from
    }
}

/// Whether a resource, as its service describes it, passes all filters: each by one of its values. Paths are as AWS
/// writes them, `LastStatus` for `lastStatus`; a list passes by one of its items.
pub(crate) fn passes(description: &Value, filters: &[TargetFilter]) -> bool {
    filters.iter().all(|filter| {
        let path: Vec<&str> = filter.path.split('.').collect();
        has(description, &path, &filter.values)
    })
}

fn has(value: &Value, path: &[&str], wanted: &[String]) -> bool {
    if let Value::Array(items) = value {
        return items.iter().any(|item| has(item, path, wanted));
    }
    match path.split_first() {
        Some((name, rest)) => value.as_object().is_some_and(|members| {
            members.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && has(value, rest, wanted))
        }),
        None => match value {
            Value::String(text) => wanted.contains(text),
            Value::Bool(_) | Value::Number(_) => wanted.contains(&value.to_string()),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn modes_are_read_and_round_down() {
        assert_eq!(SelectionMode::parse("ALL"), Some(SelectionMode::All));
        assert_eq!(SelectionMode::parse("COUNT(3)"), Some(SelectionMode::Count(3)));
        assert_eq!(SelectionMode::parse("PERCENT(100)"), Some(SelectionMode::Percent(100)));
        for wrong in
            ["", "all", "COUNT(0)", "COUNT(+1)", "COUNT()", "PERCENT(0)", "PERCENT(101)", "COUNT(1", "SOME"]
        {
            assert_eq!(SelectionMode::parse(wrong), None, "{wrong}");
        }
        // AWS's own example: half of five are two; half of one is none.
        assert_eq!([SelectionMode::Percent(50).of(5), SelectionMode::Percent(50).of(1)], [2, 0]);
        assert_eq!([SelectionMode::Count(3).of(2), SelectionMode::All.of(7)], [2, 7]);
    }

    proptest! {
        #[test]
        fn as_many_are_chosen_as_the_mode_says(count in 0_usize..40, percent in 1_u32..=100, seed: u64) {
            for mode in [SelectionMode::All, SelectionMode::Count(percent), SelectionMode::Percent(percent)] {
                let mut state = seed;
                let chosen = mode.choose((0..count).collect(), || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state >> 33
                });
                prop_assert_eq!(chosen.len(), mode.of(count));
                prop_assert!(chosen.is_sorted_by(|a, b| a < b));
            }
        }
    }

    #[test]
    fn every_one_has_a_chance() {
        let first = |number| {
            SelectionMode::Count(1).choose(vec!["a", "b", "c"], {
                let mut numbers = [number, number / 3].into_iter();
                move || numbers.next().unwrap_or(0)
            })[0]
        };
        let found: std::collections::BTreeSet<_> = (0..9).map(first).collect();
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn filters_look_into_what_a_service_describes() {
        let task = json!({
            "lastStatus": "RUNNING", "cpu": 256, "enableExecuteCommand": false,
            "containers": [{"name": "app", "image": "x"}, {"name": "log", "image": "y"}],
        });
        let filter = |path: &str, values: &[&str]| TargetFilter {
            path: path.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        for (path, values, expected) in [
            ("LastStatus", &["PENDING", "RUNNING"][..], true),
            ("lastStatus", &["STOPPED"], false),
            ("Containers.Name", &["log"], true),
            ("Containers.Name", &["web"], false),
            ("Cpu", &["256"], true),
            ("EnableExecuteCommand", &["false"], true),
            ("Containers", &["app"], false),
            ("Nothing.There", &["x"], false),
        ] {
            assert_eq!(passes(&task, &[filter(path, values)]), expected, "{path} {values:?}");
        }
        assert!(passes(&task, &[]));
        assert!(!passes(&task, &[filter("LastStatus", &["RUNNING"]), filter("Cpu", &["1"])]));
    }
}
