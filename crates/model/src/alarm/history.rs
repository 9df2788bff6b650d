//! What happened to an alarm.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How long it is remembered (CloudWatch's: 30 days).
pub const HISTORY_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Most items of one alarm that are remembered: the oldest go first.
pub const HISTORY_ITEMS_MAX: usize = 100;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryItemType {
    /// It was made, changed or deleted.
    ConfigurationUpdate,
    /// It came to another state.
    StateUpdate,
    /// An action was taken, or could not be.
    Action,
}

/// One thing that happened to an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryItem {
    /// When.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: HistoryItemType,
    /// For people.
    pub summary: String,
    /// JSON, for programs.
    pub data: String,
}

/// What happened to an alarm, the oldest first. It outlives the alarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The items.
    pub items: VecDeque<HistoryItem>,
}

impl History {
    /// Remembers one more, and forgets what is too old or too much.
    pub fn push(&mut self, item: HistoryItem) {
        let now = item.at;
        self.items.push_back(item);
        self.forget(now);
    }

    /// Forgets what is too old or too much.
    pub fn forget(&mut self, now: Timestamp) {
        while self.items.len() > HISTORY_ITEMS_MAX
            || self.items.front().is_some_and(|oldest| now.since(oldest.at) >= HISTORY_KEPT)
        {
            self.items.pop_front();
        }
    }
}
