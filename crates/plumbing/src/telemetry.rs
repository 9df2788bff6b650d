//! The process's own log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `BOWLINE_LOG` overrides `default_filter`: levels by module, `bowline_proxy=trace,info`. What
/// cannot be read of it is said on standard error, and the default holds. A second call in one process does nothing.
pub fn init(default_filter: &str, format: LogFormat) {
    let filter = filter(default_filter);
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(true).with_ansi(colours);
    // An error means that logging is on already.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
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
    filter.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::WARN))
}
