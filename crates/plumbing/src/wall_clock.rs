//! The current time, for code at the edges; decisions take it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use bowline_model::clock::Timestamp;

/// Now, by the system's clock. A clock before 1970 reads as 1970.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
