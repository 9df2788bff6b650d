//! How an experiment goes, from its start to its end: which actions are begun and ended when, and what becomes of it.
//! Pure: the clock and what became of each step are told.
//!
//! Source of states and sentences: AWS FIS user guide, "Experiment states", "Action states", "Actions for AWS FIS"
//! (`startAfter`), "Safety levers", and the answers in the CLI's reference.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{clock::Timestamp, fault::FaultId};
use serde::{Deserialize, Serialize};

/// Where an experiment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Nothing was done yet.
    Pending,
    /// Its targets are being found.
    Initiating,
    /// Actions are done.
    Running,
    /// All actions are over.
    Completed,
    /// Actions are being ended before their time.
    Stopping,
    /// It was stopped.
    Stopped,
    /// Something could not be done.
    Failed,
    /// The safety lever was engaged before anything was done.
    Cancelled,
}

impl RunStatus {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Initiating => "initiating",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing changes any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped | Self::Failed | Self::Cancelled)
    }
}

/// Where an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionStatus {
    /// It waits for others.
    Pending,
    /// It is being begun.
    Initiating,
    /// It is done, for as long as it lasts.
    Running,
    /// It is over.
    Completed,
    /// It was not begun: the experiment was stopped.
    Cancelled,
    /// It is being ended before its time.
    Stopping,
    /// It was ended before its time.
    Stopped,
    /// It could not be done, or not be undone.
    Failed,
    /// It was not to be done.
    Skipped,
}

impl ActionStatus {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Initiating => "initiating",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Nothing changes any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Stopped | Self::Failed | Self::Skipped)
    }
}

/// `error.code` of an experiment. Source: FIS user guide, "Troubleshooting".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// What it was made of, or what its role may, is not what it needs.
    ConfigurationFailure,
    /// Another service refused or failed.
    DependentServiceFailure,
    /// The process that ran it ended.
    InternalFailure,
    /// A target names nothing, or too much.
    InvalidTarget,
}

impl ErrorCode {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigurationFailure => "ConfigurationFailure",
            Self::DependentServiceFailure => "DependentServiceFailure",
            Self::InternalFailure => "InternalFailure",
            Self::InvalidTarget => "InvalidTarget",
        }
    }
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// Of which kind.
    pub code: ErrorCode,
    /// `error.location`: the target or action of the template.
    pub location: Option<String>,
    /// For people.
    pub reason: String,
}

impl RunError {
    /// One that is not of a part of the template.
    pub(crate) fn new(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self { code, location: None, reason: reason.into() }
    }

    /// The same, of a part of the template.
    pub(crate) fn at(mut self, location: impl Into<String>) -> Self {
        self.location.get_or_insert_with(|| location.into());
        self
    }
}

/// What an action holds as long as it is done, and gives back at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Faults in force.
    pub faults: Vec<FaultId>,
    /// Names of the clusters whose container instance it drained.
    pub drained: Vec<String>,
}

/// An action that was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Until when it is done; `None`: it is over.
    pub until: Option<Timestamp>,
    /// What it holds.
    pub held: Held,
}

/// An action of an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRun {
    /// Where it is.
    pub status: ActionStatus,
    /// For people.
    pub reason: String,
    /// Since when it is done.
    pub started_at: Option<Timestamp>,
    /// Since when it is over.
    pub ended_at: Option<Timestamp>,
    /// Until when it is done.
    pub until: Option<Timestamp>,
    /// What it holds.
    pub held: Held,
    /// The actions that must be over before.
    after: Vec<String>,
    /// What it will be when it has given back what it holds.
    finishing: Option<ActionStatus>,
}

/// What an experiment will be when its actions are over, unless that is completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ending {
    status: RunStatus,
    reason: String,
    error: Option<RunError>,
}

/// Who stops an experiment before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop<'a> {
    /// `StopExperiment`.
    User,
    /// An alarm of its stop conditions, by name.
    Alarm(&'a str),
    /// The safety lever.
    Lever,
}

/// An experiment on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Where it is.
    pub status: RunStatus,
    /// For people.
    pub reason: String,
    /// Why it failed.
    pub error: Option<RunError>,
    /// Since when it is more than pending.
    pub started_at: Option<Timestamp>,
    /// Since when it is over.
    pub ended_at: Option<Timestamp>,
    /// Its actions by name.
    pub actions: BTreeMap<String, ActionRun>,
    is_resolving: bool,
    ending: Option<Ending>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Find the targets, then [`Run::resolved`].
    Resolve,
    /// Begin the action of this name, then [`Run::begun`].
    Begin(String),
    /// Give back what it holds, then [`Run::ended`].
    End(String),
}

impl Run {
    /// One that nothing was done of; `actions` by name, with their `startAfter`.
    pub(crate) fn new(actions: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let action = |after| ActionRun {
            status: ActionStatus::Pending,
            reason: "Initial state".to_owned(),
            started_at: None,
            ended_at: None,
            until: None,
            held: Held::default(),
            after,
            finishing: None,
        };
        Self {
            status: RunStatus::Pending,
            reason: "Experiment is pending.".to_owned(),
            error: None,
            started_at: None,
            ended_at: None,
            actions: actions.into_iter().map(|(name, after)| (name, action(after))).collect(),
            is_resolving: false,
            ending: None,
        }
    }

    /// What is to be done at this moment. Each step is given once.
    pub(crate) fn next(&mut self, now: Timestamp) -> Vec<Step> {
        if self.status.is_over() || self.is_resolving {
            return Vec::new();
        }
        if self.status == RunStatus::Pending {
            self.set(RunStatus::Initiating, "Experiment is initiating.");
            self.started_at = Some(now);
            self.is_resolving = true;
            return vec![Step::Resolve];
        }
        let mut steps = Vec::new();
        let over: BTreeSet<String> = self
            .actions
            .iter()
            .filter(|(_, it)| matches!(it.status, ActionStatus::Completed | ActionStatus::Skipped))
            .map(|(name, _)| name.clone())
            .collect();
        let stops = self.ending.is_some();
        for (name, action) in &mut self.actions {
            match action.status {
                ActionStatus::Pending if stops => {
                    action.end(ActionStatus::Cancelled, "Action was cancelled.", now);
                }
                ActionStatus::Pending if action.after.iter().all(|before| over.contains(before)) => {
                    action.status = ActionStatus::Initiating;
                    action.reason = "Action is initiating.".to_owned();
                    action.started_at = Some(now);
                    steps.push(Step::Begin(name.clone()));
                }
                ActionStatus::Running if action.finishing.is_some() => {}
                ActionStatus::Running if action.until.is_none_or(|until| until <= now) => {
                    action.finishing = Some(ActionStatus::Completed);
                    steps.push(Step::End(name.clone()));
                }
                ActionStatus::Running if stops => {
                    action.finishing = Some(ActionStatus::Stopped);
                    action.status = ActionStatus::Stopping;
                    action.reason = "Stopping action.".to_owned();
                    steps.push(Step::End(name.clone()));
                }
                _ => {}
            }
        }
        if self.actions.values().all(|action| action.status.is_over()) {
            self.ended_at = Some(now);
            match self.ending.take() {
                Some(Ending { status, reason, error }) => {
                    self.set(status, reason);
                    self.error = error;
                }
                None => self.set(RunStatus::Completed, "Experiment completed."),
            }
        }
        steps
    }

    /// When [`Run::next`] has something to do without being told of anything.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let running = self.actions.values().filter(|action| action.status == ActionStatus::Running);
        running.filter(|action| action.finishing.is_none()).filter_map(|action| action.until).min()
    }

    /// The targets were found; `skipped` names actions that are not done. Or they were not.
    pub(crate) fn resolved(
        &mut self,
        found: Result<BTreeMap<String, &'static str>, RunError>,
        now: Timestamp,
    ) {
        if self.status.is_over() || !std::mem::take(&mut self.is_resolving) {
            return;
        }
        match found {
            Ok(skipped) => {
                for (name, reason) in skipped {
                    if let Some(action) = self.actions.get_mut(&name) {
                        action.end(ActionStatus::Skipped, reason, now);
                    }
                }
                if self.ending.is_none() {
                    self.set(RunStatus::Running, "Experiment is running.");
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// An action that is being begun is about to hold something.
    pub(crate) fn hold(&mut self, name: &str, held: Held) {
        if let Some(action) = self.actions.get_mut(name).filter(|it| it.status == ActionStatus::Initiating) {
            action.held = held;
        }
    }

    /// An action was begun, or was not.
    pub(crate) fn begun(&mut self, name: &str, begun: Result<Begun, RunError>, now: Timestamp) {
        let Some(action) = self.actions.get_mut(name).filter(|it| it.status == ActionStatus::Initiating)
        else {
            return;
        };
        match begun {
            Ok(Begun { until: None, .. }) => {
                action.end(ActionStatus::Completed, "Action was completed.", now);
            }
            Ok(Begun { until, held }) => {
                action.status = ActionStatus::Running;
                action.reason = "Running action.".to_owned();
                (action.until, action.held) = (until, held);
            }
            Err(error) => {
                action.end(ActionStatus::Failed, error.reason.clone(), now);
                action.held = Held::default();
                self.fail(error.at(name));
            }
        }
    }

    /// An action gave back what it held, or could not.
    pub(crate) fn ended(&mut self, name: &str, ended: Result<(), RunError>, now: Timestamp) {
        let Some(action) = self.actions.get_mut(name).filter(|it| !it.status.is_over()) else { return };
        let Some(finishing) = action.finishing.take() else { return };
        match ended {
            Ok(()) => {
                let stopped = finishing == ActionStatus::Stopped;
                let reason = if stopped { "Action was stopped." } else { "Action was completed." };
                action.end(finishing, reason, now);
                action.held = Held::default();
            }
            Err(error) => {
                action.end(ActionStatus::Failed, error.reason.clone(), now);
                self.fail(error.at(name));
            }
        }
    }

    /// Stops it; says whether it was not over.
    pub(crate) fn stop(&mut self, stop: Stop<'_>) -> bool {
        if self.status.is_over() {
            return false;
        }
        let nothing_done = matches!(self.status, RunStatus::Pending | RunStatus::Initiating);
        let (status, reason) = match stop {
            Stop::User => (RunStatus::Stopped, "Experiment stopped by user.".to_owned()),
            Stop::Alarm(name) => (
                RunStatus::Stopped,
                format!("Experiment halted by stop condition: the alarm {name} is in ALARM."),
            ),
            Stop::Lever if nothing_done => {
                (RunStatus::Cancelled, "Experiment cancelled: the safety lever is engaged.".to_owned())
            }
            Stop::Lever => {
                (RunStatus::Stopped, "Experiment stopped: the safety lever is engaged.".to_owned())
            }
        };
        self.end_as(Ending { status, reason, error: None });
        true
    }

    /// The process that ran it has ended: it is over, and what it held is given.
    pub(crate) fn abandon(&mut self, now: Timestamp) -> Vec<Held> {
        if self.status.is_over() {
            return Vec::new();
        }
        let reason = "The process that ran the experiment ended. Its faults end by themselves.";
        let mut held = Vec::new();
        for action in self.actions.values_mut().filter(|action| !action.status.is_over()) {
            held.push(std::mem::take(&mut action.held));
            match action.status {
                ActionStatus::Pending => {
                    action.end(ActionStatus::Cancelled, "Action was cancelled.", now);
                }
                _ => action.end(ActionStatus::Stopped, reason, now),
            }
        }
        self.ended_at = Some(now);
        (self.is_resolving, self.ending) = (false, None);
        self.set(RunStatus::Failed, reason);
        self.error = Some(RunError::new(ErrorCode::InternalFailure, reason));
        held
    }

    fn fail(&mut self, error: RunError) {
        let reason = format!("Experiment failed: {}", error.reason);
        self.end_as(Ending { status: RunStatus::Failed, reason, error: Some(error) });
    }

    /// The first ending counts, but for a failure: it is told in any case.
    fn end_as(&mut self, ending: Ending) {
        let failed = ending.status == RunStatus::Failed;
        match &self.ending {
            Some(present) if !failed || present.status == RunStatus::Failed => {}
            _ => self.ending = Some(ending),
        }
        self.set(RunStatus::Stopping, "Stopping Experiment.");
    }

    fn set(&mut self, status: RunStatus, reason: impl Into<String>) {
        (self.status, self.reason) = (status, reason.into());
    }
}

impl ActionRun {
    fn end(&mut self, status: ActionStatus, reason: impl Into<String>, now: Timestamp) {
        (self.status, self.reason) = (status, reason.into());
        self.ended_at = Some(now);
    }
}

#[cfg(test)]
mod tests;
