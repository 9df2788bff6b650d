//! Text for a terminal.

/// What others have written must not steer the terminal: control characters are replaced.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\tü\u{9b}\n"), "a\u{fffd}[2J\u{fffd}ü\u{fffd}\u{fffd}");
    }
}
