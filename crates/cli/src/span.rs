//! Spans of time, as they are given and shown.

use std::time::Duration;

/// `30s`, `10m`, `2h`, `1d`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let unit = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let seconds_each = unit(text.chars().next_back()?)?;
    let number = &text[..text.len() - 1];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| number.parse().ok())??;
    number.checked_mul(seconds_each).map(Duration::from_secs)
}

/// The same, for arguments.
pub(crate) fn argument(text: &str) -> Result<Duration, String> {
    let span = parse(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| "a time is needed, as 30s, 10m or 2h".to_owned())
}

/// `3d 4h`, `2h 5m`, `40s`: two units at most.
pub(crate) fn text(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("10m", 600), ("2h", 7_200), ("1d", 86_400)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "10",
            "-1s",
            "+1s",
            "1.5h",
            "10 m",
            "1w",
            "99999999999999999999s",
            "999999999999999999d",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(argument("0s").is_err() && argument("1s").is_ok());
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_600, "1h 0m"), (90_000, "1d 1h"), (86_399, "23h 59m")]
        {
            assert_eq!(text(Duration::from_secs(seconds)), shown);
        }
    }
}
