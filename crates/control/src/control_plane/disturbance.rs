//! What is wrong with sidecars themselves, on purpose: their clocks, or that they answer in place of applications.

use bowline_discovery::v1;
use bowline_model::{clock::Timestamp, fault::SidecarHarm, task::TaskId};
use bowline_plumbing::wall_clock;

use super::{
    ControlPlane,
    chaos::{ChaosError, TAKEN_LIMIT, Undo, checked_end, hexadecimal},
};
use crate::{core::chaos::Disturbed, random};

/// Names a disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DisturbanceId(u64);

impl ControlPlane {
    /// Has something be wrong with the sidecars of `tasks` until `until` at the latest: they mend it by themselves.
    /// Returns when it is so at every one of them; if it is not at one, all is undone. `per_million`: of a million
    /// requests, of answers in place of an application's.
    ///
    /// # Errors
    /// See [`ChaosError`]: nothing is left of it then.
    pub async fn disturb(
        &self,
        tasks: &[TaskId],
        harm: &SidecarHarm,
        per_million: u32,
        until: Timestamp,
    ) -> Result<DisturbanceId, ChaosError> {
        let until = checked_end(wall_clock::now(), until)?;
        let tasks = self.checked_tasks(tasks)?;
        let version = hexadecimal(&random::bytes::<16>());
        let told = wire(harm, per_million, &version, until);
        let disturbed = Disturbed { told, until, tasks: tasks.iter().cloned().collect() };
        let id = self.core.disturb(disturbed).map_err(|task| ChaosError::Conflict(format!("task {task}")))?;
        tracing::warn!(tasks = tasks.len(), ?harm, %until, "something is to be wrong with sidecars, on purpose");
        // Whoever gives up waiting has no id to end it by.
        let undo = Undo::of(|| drop(self.core.end_disturbance(id)));
        let limit = TAKEN_LIMIT.min(until.since(wall_clock::now()));
        let taken = self.core.disturbance_taken(&tasks, &version, true, limit).await;
        taken.map_err(|tasks| ChaosError::NotTaken { tasks })?;
        undo.not();
        Ok(DisturbanceId(id))
    }

    /// Ends a disturbance before its time; returns when nothing is wrong any longer. One that is over is no error.
    ///
    /// # Errors
    /// Sidecars have not said so within 10 s: they mend it by themselves at the deadline.
    pub async fn end_disturbance(&self, id: DisturbanceId) -> Result<(), ChaosError> {
        let Some(ended) = self.core.end_disturbance(id.0) else { return Ok(()) };
        let tasks: Vec<_> = ended.tasks.into_iter().collect();
        let limit = TAKEN_LIMIT.min(ended.until.since(wall_clock::now()));
        let mended = self.core.disturbance_taken(&tasks, &ended.told.version, false, limit).await;
        mended.or_else(|tasks| match wall_clock::now() >= ended.until {
            true => Ok(()),
            false => Err(ChaosError::NotTaken { tasks }),
        })
    }

    /// How many requests came to the sidecars of `tasks` during the last disturbance of each, as they have said when it
    /// was over.
    pub fn arrived_during_disturbance(&self, tasks: &[TaskId]) -> u64 {
        self.core.arrived(tasks)
    }
}

fn wire(harm: &SidecarHarm, per_million: u32, version: &str, until: Timestamp) -> v1::Disturbance {
    let (version, ends_at_unix_ms) = (version.to_owned(), until.as_millis());
    let all = v1::Disturbance { version, ends_at_unix_ms, per_million, ..v1::Disturbance::default() };
    match harm {
        SidecarHarm::Clock { ahead_ms } => v1::Disturbance { clock_ahead_ms: *ahead_ms, ..all },
        SidecarHarm::Answers { status, after } => {
            let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
            v1::Disturbance { status: (*status).into(), after_ms, ..all }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn proxies_are_told_what_was_asked_for() {
        let until = Timestamp::from_secs(5);
        let clock = wire(&SidecarHarm::Clock { ahead_ms: -7 }, 9, "v", until);
        assert_eq!((clock.clock_ahead_ms, clock.status, clock.ends_at_unix_ms), (-7, 0, 5_000));
        let after = Duration::from_millis(300);
        let answers = wire(&SidecarHarm::Answers { status: 503, after }, 9, "v", until);
        assert_eq!((answers.clock_ahead_ms, answers.status, answers.after_ms), (0, 503, 300));
        assert_eq!((answers.per_million, answers.version.as_str()), (9, "v"));
    }
}
