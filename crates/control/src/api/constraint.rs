//! Constraints of AWS's shapes that types do not hold: lengths, patterns, ranges.

use std::ops::RangeInclusive;

/// The sentence that AWS answers when `value` at `member` breaks a constraint.
fn violation(value: &str, member: &str, constraint: &str) -> String {
    let value: String = value.chars().filter(|c| !c.is_control()).take(100).collect();
    format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {constraint}"
    )
}

/// How many characters a text has.
pub(crate) fn length(member: &str, value: &str, allowed: RangeInclusive<usize>) -> Result<(), String> {
    let length = value.chars().count();
    if length < *allowed.start() {
        return Err(violation(
            value,
            member,
            &format!("have length greater than or equal to {}", allowed.start()),
        ));
    }
    if length > *allowed.end() {
        return Err(violation(
            value,
            member,
            &format!("have length less than or equal to {}", allowed.end()),
        ));
    }
    Ok(())
}

/// How many items a list has.
pub(crate) fn items(member: &str, count: usize, allowed: RangeInclusive<usize>) -> Result<(), String> {
    if count < *allowed.start() {
        return Err(violation(
            "[]",
            member,
            &format!("have length greater than or equal to {}", allowed.start()),
        ));
    }
    if count > *allowed.end() {
        return Err(violation(
            "[…]",
            member,
            &format!("have length less than or equal to {}", allowed.end()),
        ));
    }
    Ok(())
}

/// Which numbers are allowed.
pub(crate) fn range(member: &str, value: i64, allowed: RangeInclusive<i64>) -> Result<(), String> {
    if value < *allowed.start() {
        let constraint = format!("have value greater than or equal to {}", allowed.start());
        return Err(violation(&value.to_string(), member, &constraint));
    }
    if value > *allowed.end() {
        let constraint = format!("have value less than or equal to {}", allowed.end());
        return Err(violation(&value.to_string(), member, &constraint));
    }
    Ok(())
}

/// Which characters are allowed; `pattern` says it in AWS's notation.
pub(crate) fn characters(
    member: &str,
    value: &str,
    pattern: &str,
    allowed: impl Fn(char) -> bool,
) -> Result<(), String> {
    match value.chars().all(allowed) {
        true => Ok(()),
        false => Err(violation(value, member, &format!("satisfy regular expression pattern: {pattern}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_broken() {
        assert_eq!(length("name", "abc", 1..=3), Ok(()));
        assert_eq!(
            length("name", "abcd", 1..=3).expect_err("too long"),
            "1 validation error detected: Value 'abcd' at 'name' failed to satisfy constraint: Member must have length \
             less than or equal to 3"
        );
        assert!(range("maxResults", 0, 1..=100).is_err());
        assert!(characters("name", "a b", "[a-z]*", |c| c.is_ascii_lowercase()).is_err());
        assert!(items("tags", 51, 0..=50).is_err());
    }
}
