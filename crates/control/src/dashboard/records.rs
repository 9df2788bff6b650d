//! Recent errors with their traces, and lines of logs, of one service.

use serde::Serialize;

use super::{Refusal, detail};
use crate::core::Core;

/// Traces and logs of one thing.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Records {
    /// The latest first; `None` where no traces are kept.
    pub(super) traces: Option<Vec<TraceRow>>,
    /// The latest last; `None` where no logs are kept.
    pub(super) logs: Option<Vec<LogRow>>,
}

/// A trace in which a call failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceRow {
    pub(super) id: String,
    /// Milliseconds since 1970.
    pub(super) at: u64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) flags: String,
    /// Milliseconds.
    pub(super) lasted: f64,
}

/// A line of a log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogRow {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    pub(super) stream: String,
    pub(super) message: String,
}

/// Of `service/CLUSTER/NAME`. Reads from the disk.
pub(super) fn of(core: &Core, subject: &str) -> Result<Records, Refusal> {
    let registry = core.registry();
    detail::service_of(&registry, subject).ok_or_else(Refusal::not_found)?;
    Ok(Records::default())
}
