//! Experiments as rows of the registry, and what starts and stops them. How one goes is in `run`; who makes it go, in
//! `engine`.

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::fis::{ActionsMode, SafetyLeverStatusInput, StartExperimentRequest, StopCondition};
use bowline_model::{
    alarm::AlarmState,
    arn::{Arn, Scope},
    clock::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    FisError, TemplateContent, commands, rules,
    run::{Run, Stop},
};
use crate::{api::constraint, random, registry::Registry};

/// Most experiments that go on at a time. Source: FIS's quotas.
pub const ACTIVE_MAX: usize = 5;
/// Most experiments that are kept; AWS keeps them for 120 days.
pub const EXPERIMENTS_MAX: usize = 500;
/// Most resources of an experiment.
pub const RESOLVED_MAX: usize = 1_000;
/// The id of the account's only safety lever.
pub const SAFETY_LEVER: &str = "default";
/// Most characters of the lever's reason; AWS names no limit.
const LEVER_REASON_MAX: usize = 1_024;

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// `EXP…`.
    pub id: String,
    /// The ARN.
    pub arn: Arn,
    /// The id of its template.
    pub template: String,
    /// What the template said when it was started.
    pub content: TemplateContent,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Whether actions are done, or targets only found.
    pub actions_mode: ActionsMode,
    /// When it was started.
    pub created_at: Timestamp,
    /// How far it is.
    pub run: Run,
    /// What it is done to, by the target's name: ARNs.
    pub resolved: BTreeMap<String, Vec<String>>,
    /// `clientToken` of the request that started it.
    pub client_token: String,
    /// SHA-256 of that request, in hexadecimal.
    pub request_digest: String,
}

/// Whether experiments may be run at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafetyLeverRecord {
    /// None may.
    pub engaged: bool,
    /// Why, for people.
    pub reason: String,
}

impl Default for SafetyLeverRecord {
    fn default() -> Self {
        Self { engaged: false, reason: "The safety lever has not been engaged.".to_owned() }
    }
}

/// The experiment with this id.
pub(crate) fn find<'a>(registry: &'a Registry, id: &str) -> Result<&'a Arc<ExperimentRecord>, FisError> {
    constraint::length("id", id, 0..=64).map_err(FisError::Invalid)?;
    registry.experiments.get(id).ok_or_else(|| FisError::NotFound(format!("Experiment {id} was not found.")))
}

/// Those that go on.
pub(crate) fn active(registry: &Registry) -> impl Iterator<Item = &Arc<ExperimentRecord>> {
    registry.experiments.values().filter(|experiment| !experiment.run.status.is_over())
}

/// Starts an experiment. The same request with the same client token gives the experiment that it started.
pub(crate) fn start(
    registry: &mut Registry,
    scope: &Scope,
    request: StartExperimentRequest,
    now: Timestamp,
) -> Result<Arc<ExperimentRecord>, FisError> {
    let token = &request.client_token;
    constraint::length("clientToken", token, 1..=1_024).map_err(FisError::Invalid)?;
    rules::no_space("clientToken", token)?;
    let request_digest = commands::digest_of(&request);
    if let Some(earlier) = registry.experiments.values().find(|one| one.client_token == *token) {
        return match earlier.request_digest == request_digest {
            true => Ok(Arc::clone(earlier)),
            false => Err(FisError::TokenConflict(token.clone())),
        };
    }
    commands::check_tags(&request.tags)?;
    let content = commands::find(registry, &request.experiment_template_id)?.content.clone();
    let lever = lever(registry);
    if lever.engaged {
        return Err(FisError::Conflict(format!(
            "The safety lever is engaged: no experiment can be started. {}",
            lever.reason
        )));
    }
    if active(registry).count() >= ACTIVE_MAX {
        return Err(FisError::Quota(format!("There can be at most {ACTIVE_MAX} active experiments.")));
    }
    forget_oldest(registry);
    let id = format!("EXP{}", random::alphanumeric(14));
    let run =
        Run::new(content.actions.iter().map(|(name, action)| (name.clone(), action.start_after.clone())));
    let record = ExperimentRecord {
        arn: scope.arn("fis", format_args!("experiment/{id}")),
        id: id.clone(),
        template: request.experiment_template_id,
        content,
        tags: request.tags,
        actions_mode: request.experiment_options.and_then(|options| options.actions_mode).unwrap_or_default(),
        created_at: now,
        run,
        resolved: BTreeMap::new(),
        client_token: request.client_token,
        request_digest,
    };
    registry.experiments.put(id.clone(), record);
    find(registry, &id).cloned()
}

/// Makes room for one more: the oldest that are over go.
fn forget_oldest(registry: &mut Registry) {
    let mut over: Vec<_> = registry
        .experiments
        .values()
        .filter(|experiment| experiment.run.status.is_over())
        .map(|experiment| (experiment.created_at, experiment.id.clone()))
        .collect();
    over.sort();
    let excess = (registry.experiments.len() + 1).saturating_sub(EXPERIMENTS_MAX);
    for (_, id) in over.into_iter().take(excess) {
        registry.experiments.remove(&id);
    }
}

/// Stops an experiment.
pub(crate) fn stop(registry: &mut Registry, id: &str) -> Result<Arc<ExperimentRecord>, FisError> {
    let mut record = ExperimentRecord::clone(find(registry, id)?);
    if !record.run.stop(Stop::User) {
        return Err(FisError::Invalid(format!(
            "Experiment {id} cannot be stopped: it is {}.",
            record.run.status.as_str()
        )));
    }
    registry.experiments.put(id.to_owned(), record);
    find(registry, id).cloned()
}

/// Changes the tags of an experiment.
pub(crate) fn retag(
    registry: &mut Registry,
    id: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<(), FisError> {
    let mut record = ExperimentRecord::clone(find(registry, id)?);
    change(&mut record.tags);
    commands::check_tags(&record.tags)?;
    registry.experiments.put(id.to_owned(), record);
    Ok(())
}

/// The lever.
pub(crate) fn lever(registry: &Registry) -> SafetyLeverRecord {
    registry.safety_levers.get(SAFETY_LEVER).map(|lever| (**lever).clone()).unwrap_or_default()
}

/// AWS's word for where the lever is: `engaging` as long as something that it stops goes on.
pub(crate) fn lever_status(registry: &Registry) -> &'static str {
    match lever(registry).engaged {
        false => "disengaged",
        true if active(registry).next().is_some() => "engaging",
        true => "engaged",
    }
}

/// Whether there is a lever with this id.
pub(crate) fn check_lever(id: &str) -> Result<(), FisError> {
    match id == SAFETY_LEVER {
        true => Ok(()),
        false => Err(FisError::NotFound(format!("Safety lever {id} was not found."))),
    }
}

/// Moves the lever. Engaged, it stops what goes on.
pub(crate) fn move_lever(
    registry: &mut Registry,
    id: &str,
    status: SafetyLeverStatusInput,
    reason: String,
) -> Result<(), FisError> {
    check_lever(id)?;
    constraint::length("state.reason", &reason, 1..=LEVER_REASON_MAX).map_err(FisError::Invalid)?;
    if lever_status(registry) == "engaging" && status == SafetyLeverStatusInput::Disengaged {
        return Err(FisError::Conflict("The safety lever is being engaged: experiments still stop.".into()));
    }
    let engaged = status == SafetyLeverStatusInput::Engaged;
    registry.safety_levers.put(SAFETY_LEVER, SafetyLeverRecord { engaged, reason });
    if engaged {
        let ids: Vec<String> = active(registry).map(|experiment| experiment.id.clone()).collect();
        for id in ids {
            registry.experiments.update(&id, |experiment| {
                experiment.run.stop(Stop::Lever);
            });
        }
    }
    Ok(())
}

/// The name of the alarm that a stop condition is; `None` of the source `none`.
pub(crate) fn alarm_of(condition: &StopCondition) -> Option<String> {
    let arn: Arn = condition.value.as_ref()?.parse().ok()?;
    alarm_named(&arn)
}

/// The name in an alarm's ARN: `alarm:NAME`, and `alarm/NAME` as people write it.
pub(crate) fn alarm_named(arn: &Arn) -> Option<String> {
    let resource = arn.resource();
    let name = resource.strip_prefix("alarm:").or_else(|| resource.strip_prefix("alarm/"))?;
    Some(name.to_owned())
}

/// The alarm of an experiment's stop conditions that is in `ALARM`.
pub(crate) fn halting_alarm(registry: &Registry, experiment: &ExperimentRecord) -> Option<String> {
    experiment
        .content
        .stop_conditions
        .iter()
        .filter_map(alarm_of)
        .find(|name| registry.alarms.get(name).is_some_and(|alarm| alarm.state.state == AlarmState::Alarm))
}
