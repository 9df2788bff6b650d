//! Logs: what asks the store of them, and keeps it what templates declare.
//!
//! - `queries` answers Insights' queries, each on a thread of its own.
//! - `sources` tells whose logs are where.
//! - `declared` makes the groups and metric filters of templates.

use std::{sync::Arc, time::Duration};

use bowline_observe::logs::LogStore;
use tokio::time::Instant;

use crate::{control_plane::pace::Pace, core::Core};

pub(crate) mod declared;
pub mod queries;
pub mod sources;

pub use declared::{LogGroupRecord, MetricFilterRecord};

/// How often what is too old is removed.
const TENDED_EVERY: Duration = Duration::from_secs(60);

/// Removes what is too old, and takes up what templates declare; ends with the registry's last change.
pub(crate) async fn run(core: Arc<Core>) {
    let mut generation = core.registry_generation();
    let mut ticks = tokio::time::interval(TENDED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pace = Pace::default();
    loop {
        pace.turn().await;
        let tends = tokio::select! {
            _ = ticks.tick() => true,
            changed = generation.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
        };
        let began = Instant::now();
        let of_thread = Arc::clone(&core);
        let done = tokio::task::spawn_blocking(move || {
            of_thread.declare_logs();
            if tends {
                of_thread.logs().tend();
            }
        });
        // A panic is in the log.
        let _ = done.await;
        pace.looked(began, Instant::now());
    }
}

/// Answers a query at once, over several groups: see [`queries::answer`].
///
/// # Errors
/// See there.
pub fn answer(
    store: &LogStore,
    order: &queries::QueryOrder,
) -> Result<bowline_model::log_query::QueryRows, queries::AnswerError> {
    queries::answer(store, order, &|| false).map(|(rows, _)| rows)
}
