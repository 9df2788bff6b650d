//! Alarms: kept, judged each period, and acted on.
//!
//! - `commands` changes a registry, and remembers what it changed.
//! - `values` reads what an alarm watches.
//! - `evaluator` is the loop: it moves alarms from state to state, and has their actions taken.
//! - `webhook` delivers to URLs, `event` is what it delivers.
//! - `wording` has CloudWatch's sentences.
//!
//! Source: Amazon CloudWatch user guide, "Using Amazon CloudWatch alarms", and its API reference.

use bowline_model::{
    alarm::{Alarm, AlarmState},
    arn::{Arn, Scope},
};
use thiserror::Error;

use crate::registry::Registry;

pub(crate) mod commands;
pub(crate) mod evaluator;
mod event;
pub(crate) mod values;
mod webhook;
pub(crate) mod wording;

pub(crate) use webhook::is_url;

/// Most alarms (CloudWatch's quota).
pub const ALARMS_MAX: usize = 5_000;

/// Most tags of an alarm.
pub const TAGS_MAX: usize = 50;

/// Most alarms whose histories are remembered, those that are gone among them.
pub const HISTORIES_MAX: usize = 2 * ALARMS_MAX;

/// Why alarms were not told or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AlarmError {
    /// There is no such alarm.
    #[error("There is no alarm with the name {0}.")]
    NotFound(String),
    /// There are as many as there may be.
    #[error("The quota of {ALARMS_MAX} alarms is reached.")]
    Quota,
    /// It cannot be one.
    #[error("{0}")]
    Invalid(String),
    /// The data of the reason is no JSON.
    #[error("StateReasonData is not valid JSON.")]
    Format,
}

/// The ARN of an alarm.
pub fn arn_of(scope: &Scope, name: &str) -> Arn {
    scope.arn("cloudwatch", format_args!("alarm:{name}"))
}

/// The alarms that are in `ALARM`, which deployments look at.
pub fn in_alarm(registry: &Registry) -> impl Iterator<Item = &str> {
    registry.alarms.iter().filter(|(_, alarm)| is_in_alarm(alarm)).map(|(name, _)| name)
}

fn is_in_alarm(alarm: &Alarm) -> bool {
    alarm.state.state == AlarmState::Alarm
}
