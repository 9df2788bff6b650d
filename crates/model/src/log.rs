//! Lines of logs as CloudWatch Logs has them: events in a stream, streams in a group.
//!
//! Source: Amazon CloudWatch Logs concepts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;

/// Longest message of an event, in bytes (CloudWatch Logs' 1 MiB less its 26 bytes of overhead).
pub const MESSAGE_BYTES_MAX: usize = 1_048_576 - 26;

/// One event of a stream: a line, as a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// When it happened, by who wrote it.
    pub at: Timestamp,
    /// What was written, without the line's end.
    pub message: String,
}

/// Why events were not kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogWriteError {
    /// There is no such group, and it was not to be made.
    #[error("there is no log group {0}: create it, or set `awslogs-create-group` to \"true\"")]
    NoGroup(String),
    /// The group's or the stream's name is none, or there are too many groups or streams: trying again is of no use.
    #[error("{0}")]
    Refused(String),
    /// Nothing can be written now, as when the disk is full: to be tried again, not before the time given.
    #[error("the log store takes nothing now: {reason}")]
    Unavailable {
        /// What stands in the way.
        reason: String,
        /// How long to wait.
        retry_after: Duration,
    },
}

/// Takes events in.
pub trait LogWriter: Send + Sync {
    /// Keeps these events of a stream, in this order, and makes the stream where there is none. What it returned
    /// `Ok` for outlives a crash of the process. It may wait for the disk: not for an async worker.
    ///
    /// # Errors
    /// See [`LogWriteError`]; nothing was kept then.
    fn put(
        &self,
        group: &str,
        stream: &str,
        events: Vec<LogEvent>,
        create_group: bool,
    ) -> Result<(), LogWriteError>;
}
