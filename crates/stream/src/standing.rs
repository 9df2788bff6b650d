//! Where a task stands in what is published: what a stream waits for, and what it has from there.

use std::sync::Arc;

use bowline_model::task::TaskId;
use tokio::sync::watch;

use crate::{
    directory::{Common, Directory, Edition, Notice},
    resources::ResourceSet,
};

/// What a task's proxy should have, followed through changes.
///
/// Of hundreds of streams that a change wakes most are of tasks that have the same: the first of them has it made, the
/// others take it from there.
#[derive(Debug)]
pub struct Standing {
    changes: watch::Receiver<Notice>,
    /// The latest move of a task there that it knows of.
    moved: u64,
    common: Arc<Common>,
    /// What was taken last.
    edition: Arc<Edition>,
}

/// The task is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl Standing {
    /// A task's, as of now.
    ///
    /// # Errors
    /// The task is over.
    pub fn of(directory: &dyn Directory, task: &TaskId) -> Result<Self, Over> {
        Self::at(directory, task, directory.notices(task))
    }

    /// A task's, where it is told of by `changes` if it has not moved.
    fn at(
        directory: &dyn Directory,
        task: &TaskId,
        mut changes: watch::Receiver<Notice>,
    ) -> Result<Self, Over> {
        loop {
            // In this order: what is published from here on wakes it again.
            let moved = changes.borrow_and_update().moved;
            let common = directory.common(task).ok_or(Over)?;
            let again = directory.notices(task);
            if again.same_channel(&changes) {
                let edition = common.latest();
                return Ok(Self { changes, moved, common, edition });
            }
            // It has moved meanwhile, and may have before what was read of the place that it left.
            changes = again;
        }
    }

    /// Returns when there may be something newer. It may be dropped and asked again.
    ///
    /// # Errors
    /// Nothing more is published.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.changes.changed().await
    }

    /// Takes the newest.
    ///
    /// # Errors
    /// The task is over.
    pub fn refresh(&mut self, directory: &dyn Directory, task: &TaskId) -> Result<(), Over> {
        let told = *self.changes.borrow_and_update();
        let latest = self.common.latest();
        if told.moved <= self.moved && latest.generation >= told.generation {
            self.edition = latest;
        } else {
            *self = Self::at(directory, task, self.changes.clone())?;
        }
        Ok(())
    }

    /// Of which generation it is: the set is at least as new. It may be newer than what was told: that is not told again, and
    /// who waits for it waits for this number.
    pub fn generation(&self) -> u64 {
        self.edition.generation
    }

    /// What the task's proxy should have.
    pub fn set(&self) -> &Arc<ResourceSet> {
        &self.edition.set
    }
}
