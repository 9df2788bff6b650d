//! The process's own log, on standard error, and its level, which can be changed while it runs.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What all of Bowline's modules begin with.
const OWN_MODULES: &str = "bowline";
/// Longest filter that is taken at run time, in bytes.
const FILTER_BYTES_MAX: usize = 1_024;

/// Why the level stays as it is.
#[derive(Debug, Error)]
pub enum LogFilterError {
    /// The filter cannot be read.
    #[error(
        "{0:?} is no level (off, error, warn, info, debug, trace) and no list of levels by module, as bowline_proxy::tls=trace"
    )]
    Unreadable(String),
    /// The log that it was of is no more.
    #[error("the process does not log")]
    Gone,
}

/// What a process logs: the filter that it began with, and how to put another one in its place.
#[derive(Clone, Debug)]
pub struct LogFilter {
    own: Targets,
    handle: reload::Handle<Targets, Registry>,
}

/// The part of a subscriber that a [`LogFilter`] changes.
pub type FilterLayer = reload::Layer<Targets, Registry>;

impl LogFilter {
    /// A filter that begins as `own`, and the layer that it is in effect in.
    pub fn new(own: Targets) -> (FilterLayer, Self) {
        let (layer, handle) = reload::Layer::new(own.clone());
        (layer, Self { own, handle })
    }

    /// Logs by `filter` from now on: a level, or levels by module beside what is logged anyway. A level is of
    /// Bowline's modules; what it is built upon says no more than before, or less where less is asked for.
    ///
    /// # Errors
    /// It cannot be read, or nothing is logged at all.
    pub fn set(&self, filter: &str) -> Result<(), LogFilterError> {
        let targets = self
            .read(filter)
            .ok_or_else(|| LogFilterError::Unreadable(filter.chars().take(FILTER_BYTES_MAX).collect()))?;
        self.handle.reload(targets).map_err(|_| LogFilterError::Gone)
    }

    /// Logs by the filter that the process began with.
    ///
    /// # Errors
    /// Nothing is logged at all.
    pub fn reset(&self) -> Result<(), LogFilterError> {
        self.handle.reload(self.own.clone()).map_err(|_| LogFilterError::Gone)
    }

    /// What is logged now.
    pub fn present(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }

    fn read(&self, filter: &str) -> Option<Targets> {
        let filter = filter.trim();
        if filter.is_empty() || filter.len() > FILTER_BYTES_MAX {
            return None;
        }
        if let Ok(level) = filter.parse::<LevelFilter>() {
            let others = self.own.default_level().unwrap_or(LevelFilter::OFF).min(level);
            return Some(Targets::new().with_default(others).with_target(OWN_MODULES, level));
        }
        let mut targets = self.own.clone();
        for directive in filter.split(',') {
            let (module, level) = directive.split_once('=')?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
            if module.is_empty() || !module.chars().all(is_name) {
                return None;
            }
            targets = targets.with_target(module, level.parse::<LevelFilter>().ok()?);
        }
        Some(targets)
    }
}

/// Starts logging. `BOWLINE_LOG` overrides `default_filter`: levels by module, `bowline_proxy=trace,info`. What
/// cannot be read of it is said on standard error, and the default holds. A second call in one process does nothing,
/// and what it returns changes nothing.
pub fn init(default_filter: &str, format: LogFormat) -> LogFilter {
    let (filter, handle) = LogFilter::new(filter(default_filter));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(true).with_ansi(colours);
    // An error means that logging is on already.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    handle
}

fn filter(default_filter: &str) -> Targets {
    let given = std::env::var("BOWLINE_LOG").ok().filter(|given| !given.trim().is_empty());
    match given.as_deref().map(str::parse) {
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            eprintln!("BOWLINE_LOG is ignored: {error}; an example: BOWLINE_LOG=bowline_proxy=trace,info");
            fallback(default_filter)
        }
        None => fallback(default_filter),
    }
}

/// The filter of the program's own; one that cannot be read lets warnings through.
fn fallback(filter: &str) -> Targets {
    filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn filter() -> (FilterLayer, LogFilter) {
        LogFilter::new("warn,bowline_proxy::egress=info".parse().expect("a filter"))
    }

    fn enabled(filter: &LogFilter, target: &str, level: Level) -> bool {
        filter
            .handle
            .with_current(|targets| targets.would_enable(target, &level))
            .expect("the layer is there")
    }

    #[test]
    fn a_level_is_of_bowlines_modules_and_returns() {
        let (_layer, filter) = filter();
        assert!(!enabled(&filter, "bowline_proxy::tls", Level::DEBUG));
        filter.set("debug").expect("a level");
        assert!(enabled(&filter, "bowline_proxy::tls", Level::DEBUG));
        assert!(enabled(&filter, "bowline_plumbing", Level::DEBUG));
        assert!(
            enabled(&filter, "bowline_proxy::egress", Level::DEBUG),
            "the narrower one does not hold it back"
        );
        assert!(!enabled(&filter, "h2::codec", Level::DEBUG) && enabled(&filter, "h2", Level::WARN));
        filter.set("error").expect("a level");
        assert!(!enabled(&filter, "h2", Level::WARN) && !enabled(&filter, "bowline_proxy", Level::WARN));
        filter.reset().expect("reset");
        assert!(enabled(&filter, "bowline_proxy::egress", Level::INFO));
        assert!(!enabled(&filter, "bowline_proxy", Level::INFO));
        assert_eq!(filter.present(), filter.own.to_string());
    }

    #[test]
    fn modules_have_levels_of_their_own_beside_what_is_logged_anyway() {
        let (_layer, filter) = filter();
        filter.set("bowline_proxy::tls=trace,h2=debug").expect("a filter");
        assert!(enabled(&filter, "bowline_proxy::tls::verify", Level::TRACE));
        assert!(enabled(&filter, "h2::codec", Level::DEBUG));
        assert!(!enabled(&filter, "bowline_proxy::pool", Level::INFO));
        assert!(enabled(&filter, "bowline_proxy::egress", Level::INFO));
    }

    #[test]
    fn what_is_no_filter_changes_nothing() {
        let (layer, filter) = filter();
        let before = filter.present();
        let long = format!("a=debug,{}", "b=debug,".repeat(200));
        for text in ["", "loud", "a=loud", "=debug", "a b=debug", "debug,loud", "a=debug,", long.as_str()] {
            assert!(matches!(filter.set(text), Err(LogFilterError::Unreadable(_))), "{text}");
        }
        assert_eq!(filter.present(), before);
        drop(layer);
        assert!(matches!(filter.set("debug"), Err(LogFilterError::Gone)));
    }
}
