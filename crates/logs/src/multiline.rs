//! Lines that belong together: `awslogs-multiline-pattern` and `awslogs-datetime-format`.

use bowline_model::log::{LogEvent, MESSAGE_BYTES_MAX};
use regex_lite::Regex;

/// Events made of lines, and the number of the record after each one's last line.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) events: Vec<(u64, LogEvent)>,
}

/// Joins lines: one that matches begins an event, others go on with it. The last event may not be complete.
pub(crate) fn join(pattern: &Regex, lines: impl Iterator<Item = (u64, LogEvent)>) -> Joined {
    let mut events: Vec<(u64, LogEvent)> = Vec::new();
    for (number, line) in lines {
        match events.last_mut() {
            Some((next, event))
                if !pattern.is_match(&line.message)
                    && event.message.len() + 1 + line.message.len() <= MESSAGE_BYTES_MAX =>
            {
                event.message.push('\n');
                event.message.push_str(&line.message);
                *next = number + 1;
            }
            _ => events.push((number + 1, line)),
        }
    }
    Joined { events }
}

#[cfg(test)]
mod tests {
    use bowline_model::clock::Timestamp;

    use super::*;

    #[test]
    fn a_trace_is_one_event() {
        let pattern = Regex::new("^[A-Z]+ ").expect("a pattern");
        let lines = ["ERROR it failed", "  at a.rs:1", "  at b.rs:2", "INFO next"];
        let lines = lines.iter().enumerate().map(|(number, line)| {
            let at = Timestamp::from_secs(number as u64);
            (number as u64, LogEvent { at, message: (*line).to_owned() })
        });
        let joined = join(&pattern, lines);
        let messages: Vec<_> =
            joined.events.iter().map(|(next, event)| (*next, event.message.as_str())).collect();
        assert_eq!(messages, [(3, "ERROR it failed\n  at a.rs:1\n  at b.rs:2"), (4, "INFO next")]);
    }
}
