//! What an experiment is.
//!
//! An [`Experiment`] says what it is about. [`Experiment::prepare`] makes of it a [`Trial`] of the system that runs: who
//! calls whom, what is injected, what is expected. The runner (`crate::runner`) measures before, injects, measures,
//! restores, measures, and judges.

mod stage;

pub use stage::Stage;

use std::{fmt, pin::Pin, time::Duration};

use bowline_model::experiment::{Expectation, Finding};
use thiserror::Error;

use crate::{
    probe::Load,
    scope::{Edge, Scope},
    system::{Mesh, SystemError},
};

/// Why an experiment cannot be made, or not gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExperimentError {
    /// It says nothing about this system, and why.
    #[error("{0}")]
    NotApplicable(String),
    /// The system did not do what was asked of it.
    #[error("{0}")]
    System(#[from] SystemError),
}

impl ExperimentError {
    /// Something went wrong; for people.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::System(SystemError::new(text))
    }
}

/// A step of a [`Trial`].
pub type StepFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ExperimentError>> + Send + 'a>>;

/// A step that has nothing to do.
#[must_use]
pub fn nothing<'a, T: Default + Send + 'a>() -> StepFuture<'a, T> {
    Box::pin(async { Ok(T::default()) })
}

/// How long the parts of an experiment take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long the steady state is measured before.
    pub before: Duration,
    /// How long is measured from when the fault is in force to its end.
    pub during: Duration,
    /// How long the steady state has to last to be there again.
    pub after: Duration,
}

impl Default for Timing {
    /// 2 s, 4 s, 1 s.
    fn default() -> Self {
        Self { before: Duration::from_secs(2), during: Duration::from_secs(4), after: Duration::from_secs(1) }
    }
}

/// What is to be learnt, and how. One value for all time: nothing in it is about a system that runs.
pub trait Experiment: Send + Sync + fmt::Debug {
    /// Its name on the command line: `certificate-expiry`.
    fn name(&self) -> &'static str;

    /// Its name for people: `Certificate expiry`.
    fn title(&self) -> &'static str;

    /// What is believed: `Expired certificates are refused`.
    fn hypothesis(&self) -> &'static str;

    /// How the fault is made.
    fn how(&self) -> &'static str;

    /// What has to become of the traffic.
    fn expected(&self) -> &'static str;

    /// Whether it takes away what others are made with: of many, it is run last.
    fn interrupts_others(&self) -> bool {
        false
    }

    /// Chooses whom it is made of.
    ///
    /// # Errors
    /// [`ExperimentError::NotApplicable`] where it says nothing about this mesh, within this scope.
    fn prepare(&self, mesh: &Mesh, scope: &Scope) -> Result<Box<dyn Trial>, ExperimentError>;
}

/// An experiment of the system that runs.
pub trait Trial: Send {
    /// Along which edge requests are sent.
    fn edge(&self) -> &Edge;

    /// How they are sent. The scope's rate takes the place of its rate.
    fn load(&self) -> Load {
        Load::default()
    }

    /// How long it takes. The scope's time takes the place of `during`.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// What is expected of the requests.
    fn expectation(&self) -> Expectation;

    /// Injects the fault, by [`Stage::begin`] or in a way of its own; returns when it is in force.
    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()>;

    /// What is done and looked at while the fault lasts, beside requests: begins when it is in force. May take less or
    /// more than [`Timing::during`]: the fault lasts for the longer of the two.
    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        let _ = stage;
        nothing()
    }

    /// Undoes what [`Trial::inject`] did in a way of its own. Faults that were begun by [`Stage::begin`] are ended by the
    /// runner right before. Called also when the experiment was broken off, even during `inject`; may be called twice.
    fn restore<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        let _ = stage;
        nothing()
    }

    /// What is looked at when the steady state is back.
    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        let _ = stage;
        nothing()
    }
}
