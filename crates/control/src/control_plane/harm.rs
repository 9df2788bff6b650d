//! Faults of the control plane itself: certificates that it does not issue, a stream of which nothing can be used, a disk
//! without room. Each has a deadline that is kept here, and is kept in memory alone.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_model::{clock::Timestamp, task::TaskId};
use bowline_plumbing::wall_clock;

use super::{
    ControlPlane,
    chaos::{ChaosError, TAKEN_LIMIT, Undo, checked_end},
};
use crate::core::harm::HarmKind;

/// Something that is done to the control plane.
#[derive(Clone, Debug)]
pub struct Harmed {
    number: u64,
    met: Arc<AtomicU64>,
}

impl Harmed {
    /// How often it was met: certificates that were asked for in vain, or resources that sidecars refused by their names.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }
}

impl ControlPlane {
    /// Gives each of `tasks` a certificate that lives for `lifetime`, and from then on none, until `until` at the latest.
    /// Returns when their sidecars show the short-lived ones.
    ///
    /// # Errors
    /// See [`ChaosError`]: nothing is left of it then, but that some may have a certificate that they renew soon.
    pub async fn withhold_certificates(
        &self,
        tasks: &[TaskId],
        lifetime: Duration,
        until: Timestamp,
    ) -> Result<Harmed, ChaosError> {
        let until = checked_end(wall_clock::now(), until)?;
        let tasks = self.checked_tasks(tasks)?;
        let begin = |what| self.core.begin_harm(&tasks, what, until).map_err(conflict);
        let (short, _) = begin(HarmKind::ShortLives(lifetime))?;
        let shortened = Undo::of(|| drop(self.core.end_harm(short)));
        let limit = TAKEN_LIMIT.min(lifetime / 2);
        let renewed = self.core.renew_out_of_turn(&tasks, limit).await;
        renewed.map_err(|tasks| ChaosError::NotTaken { tasks })?;
        drop(shortened);
        let (number, met) = begin(HarmKind::NoIssuance)?;
        tracing::warn!(tasks = tasks.len(), ?lifetime, %until, "no certificates are issued, on purpose");
        Ok(Harmed { number, met })
    }

    /// Makes whatever the stream has for the sidecars of `tasks` unusable, until `until` at the latest. Returns when each
    /// of them has refused something of every kind that it has.
    ///
    /// # Errors
    /// See [`ChaosError`]: nothing is left of it then.
    pub async fn spoil_stream(&self, tasks: &[TaskId], until: Timestamp) -> Result<Harmed, ChaosError> {
        let until = checked_end(wall_clock::now(), until)?;
        let tasks = self.checked_tasks(tasks)?;
        let garbage = HarmKind::Garbage(BTreeSet::new());
        let (number, met) = self.core.begin_harm(&tasks, garbage, until).map_err(conflict)?;
        tracing::warn!(tasks = tasks.len(), %until, "the stream has nothing that could be used, on purpose");
        let undo = Undo::of(|| drop(self.core.end_harm(number)));
        let limit = TAKEN_LIMIT.min(until.since(wall_clock::now()));
        let refused = self.core.garbage_answered(&tasks, true, limit).await;
        refused.map_err(|tasks| ChaosError::NotTaken { tasks })?;
        undo.not();
        Ok(Harmed { number, met })
    }

    /// Ends it before its time; returns when no connected sidecar refuses anything any more. One that is over is no error.
    ///
    /// # Errors
    /// Sidecars have not said so within 10 s.
    pub async fn end_harm(&self, harmed: &Harmed) -> Result<(), ChaosError> {
        let Some(tasks) = self.core.end_harm(harmed.number) else { return Ok(()) };
        let tasks: Vec<_> = tasks.into_iter().collect();
        let answered = self.core.garbage_answered(&tasks, false, TAKEN_LIMIT).await;
        answered.map_err(|tasks| ChaosError::NotTaken { tasks })
    }

    /// Leaves the disk with the store and the audit trail no room, until `until` at the latest: whatever is written there
    /// fails as the kernel would have it fail.
    ///
    /// # Errors
    /// There is no disk, or it is full on purpose already.
    pub fn fill_disk(&self, until: Timestamp) -> Result<(), ChaosError> {
        let until = checked_end(wall_clock::now(), until)?;
        if !self.keeps_state() {
            return Err(ChaosError::Invalid("an ephemeral server keeps nothing on a disk".to_owned()));
        }
        if !self.disk.fill(until) {
            return Err(ChaosError::Conflict("the disk".to_owned()));
        }
        tracing::warn!(%until, "the disk has no room, on purpose");
        Ok(())
    }

    /// Ends that before its time.
    pub fn empty_disk(&self) {
        self.disk.empty();
    }

    /// How many writes had no room since the disk was filled last.
    #[must_use]
    pub fn writes_refused(&self) -> u64 {
        self.disk.refused()
    }

    /// Whether what is here outlives this process.
    #[must_use]
    pub fn keeps_state(&self) -> bool {
        !self.config.ephemeral
    }
}

fn conflict(task: TaskId) -> ChaosError {
    ChaosError::Conflict(format!("task {task}"))
}
