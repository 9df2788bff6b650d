//! What goes on in a run, on standard error: a line that changes on a terminal, else a line a step.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use bowline_chaos::{
    record::Record,
    runner::{Progress, Step},
};

use crate::display::printable;

/// Shows progress.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    is_terminal: bool,
    last: Mutex<Option<Step>>,
}

impl ProgressLine {
    /// On this process's standard error.
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), last: Mutex::new(None) }
    }

    /// Something goes on.
    pub(crate) fn show(&self, progress: &Progress) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.replace(progress.step) != Some(progress.step);
        let line = line(progress);
        // Nobody may be reading; that is no reason to end.
        let mut out = std::io::stderr().lock();
        let _ = match self.is_terminal {
            true => write!(out, "\r\u{1b}[K{line}").and_then(|()| out.flush()),
            false if is_new => writeln!(out, "{line}"),
            false => Ok(()),
        };
    }

    /// An experiment is over.
    pub(crate) fn end(&self, record: &Record) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut out = std::io::stderr().lock();
        let clear = if self.is_terminal { "\r\u{1b}[K" } else { "" };
        let reason = record.reason().map(|reason| format!(": {}", printable(&reason))).unwrap_or_default();
        let _ = writeln!(out, "{clear}{}: {}{reason}", record.name, record.verdict.word());
    }
}

/// `certificate-expiry   2.1 s  the fault lasts  50 of 50 requests: 403 expired`
fn line(progress: &Progress) -> String {
    let Progress { experiment, step, at, last } = progress;
    let last = match last {
        Some((requests, most, outcome)) => {
            format!("  {most} of {requests} requests a second: {}", printable(outcome))
        }
        None => String::new(),
    };
    format!("{experiment}  {:.1} s  {}{last}", at.as_secs_f64(), step.text())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_tells_what_most_requests_get() {
        let progress = Progress {
            experiment: "certificate-expiry",
            step: Step::During,
            at: Duration::from_millis(2_140),
            last: Some((50, 48, "403 expired\u{1b}".to_owned())),
        };
        let expected =
            "certificate-expiry  2.1 s  the fault lasts  48 of 50 requests a second: 403 expired\u{fffd}";
        assert_eq!(line(&progress), expected);
    }
}
