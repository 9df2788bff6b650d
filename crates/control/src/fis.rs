//! AWS Fault Injection Service's rows: experiment templates and what they may be made of, and experiments.
//!
//! - `catalogue` is the table of actions and of kinds of targets.
//! - `rules` says whether a template can be one.
//! - `plan` reads what an action does from its parameters.
//! - `commands` changes a registry, or refuses with a [`FisError`]; `experiments` does so for experiments.
//! - `run` is how an experiment goes, `selection` which resources a target is, `paths` which paths between sidecars an
//!   action is about: pure.
//! - `engine` does what they say, in the name of the experiment's role, by a
//!   [`FaultInjector`](bowline_model::fault::FaultInjector) where it takes one.
//!
//! Source of rules and limits: AWS FIS's user guide, API reference and quotas.

use std::collections::BTreeMap;

use bowline_aws::fis::{
    ExperimentOptions, LogConfiguration, ReportConfiguration, StopCondition, Target, TemplateAction,
};
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) mod catalogue;
pub(crate) mod commands;
pub(crate) mod engine;
pub mod experiments;
mod paths;
mod plan;
mod rules;
pub mod run;
mod selection;
#[cfg(test)]
mod tests;

/// Most templates. Source: FIS's quotas.
pub const TEMPLATES_MAX: usize = 500;
/// Most actions of a template. Source: FIS's quotas.
pub const ACTIONS_MAX: usize = 20;
/// Most stop conditions of a template. Source: FIS's quotas.
pub const STOP_CONDITIONS_MAX: usize = 5;
/// Most targets of a template: one an action. AWS names no quota.
pub const TARGETS_MAX: usize = ACTIONS_MAX;
/// Most tags of a template.
pub const TAGS_MAX: usize = 50;
/// Most bytes of a template as it is kept, for what AWS names no quota of, such as filters.
pub const TEMPLATE_BYTES_MAX: usize = 256 * 1024;

/// An experiment template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentTemplateRecord {
    /// `EXT…`.
    pub id: String,
    /// The ARN.
    pub arn: Arn,
    /// What it says.
    pub content: TemplateContent,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// `clientToken` of the request that made it.
    pub client_token: String,
    /// SHA-256 of that request, in hexadecimal.
    pub request_digest: String,
}

/// What a template says, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateContent {
    /// For people.
    pub description: String,
    /// What experiments are done to, by name.
    pub targets: BTreeMap<String, Target>,
    /// What is done, by name.
    pub actions: BTreeMap<String, TemplateAction>,
    /// When experiments are stopped.
    pub stop_conditions: Vec<StopCondition>,
    /// The role that experiments act as.
    pub role_arn: String,
    /// Where experiments are to be logged.
    pub log_configuration: Option<LogConfiguration>,
    /// How targets are found.
    pub experiment_options: ExperimentOptions,
    /// Which report is to be made.
    pub report: Option<ReportConfiguration>,
}

/// Why a template or an experiment was not told or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FisError {
    /// There is no such template, experiment, action or kind of target.
    #[error("{0}")]
    NotFound(String),
    /// Another request had its client token.
    #[error("Another request was made with the client token {0}.")]
    TokenConflict(String),
    /// What goes on does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Quota(String),
    /// The template cannot be one.
    #[error("{0}")]
    Invalid(String),
}
