//! "Did you mean": the nearest of the allowed names.

/// The candidate nearest to `name`, if it is near enough to be what was meant: within a third of
/// the name's length (at least one edit), letter case counting for nothing.
pub(super) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // A name this long was not mistyped from one of ours, and the distance is quadratic.
    if name.len() > 200 {
        return None;
    }
    let lower = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| {
            *edits <= limit || (lower.len() >= 4 && candidate.to_lowercase().starts_with(&lower))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Damerau-Levenshtein distance (optimal string alignment): a swap of neighbours is one edit.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut edits = substitution.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                edits = edits.min(before[j - 2] + 1);
            }
            current[j] = edits;
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

/// `a`, `b` and `c`, each in backticks; long lists are cut.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const SHOWN_MAX: usize = 24;
    let names: Vec<&str> = names.into_iter().collect();
    let mut out = String::new();
    for (i, name) in names.iter().take(SHOWN_MAX).enumerate() {
        if i > 0 {
            out.push_str(if i + 1 == names.len() { " and " } else { ", " });
        }
        out.push('`');
        out.push_str(name);
        out.push('`');
    }
    if names.len() > SHOWN_MAX {
        out.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_or_a_missing_letter_is_recognised() {
        let names = ["Cluster", "LaunchType", "DesiredCount"];
        assert_eq!(nearest("Clustr", names), Some("Cluster"));
        assert_eq!(nearest("DesierdCount", names), Some("DesiredCount"));
        assert_eq!(nearest("launchtype", names), Some("LaunchType"));
        assert_eq!(nearest("MaxAZs", names), None);
    }

    #[test]
    fn lists_read_as_prose_and_are_cut() {
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
        assert!(listed(vec!["x"; 30]).ends_with("and 6 more"));
    }
}
