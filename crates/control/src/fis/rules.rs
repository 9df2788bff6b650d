//! Whether a template can be one.
//!
//! Source: the constraints of FIS's API reference, and the user guide's "Experiment template
//! components". An action of AWS has one name for its targets; a template may call them otherwise
//! here, as long as their type fits.

use std::collections::{BTreeMap, BTreeSet};

use bowline_aws::fis::{
    AccountTargeting, LogConfiguration, ReportConfiguration, StopCondition, Target, TemplateAction,
};
use bowline_model::arn::Arn;

use super::{
    ACTIONS_MAX, FisError, STOP_CONDITIONS_MAX, TAGS_MAX, TARGETS_MAX, TEMPLATE_BYTES_MAX, TemplateContent,
    catalogue::{self, ParameterKind},
    plan,
    selection::SelectionMode,
};
use crate::api::constraint;

/// Most ARNs of a target. Source: FIS API reference.
const RESOURCE_ARNS_MAX: usize = 5;
/// Characters of an ARN. Source: FIS API reference.
const ARN_LENGTH: std::ops::RangeInclusive<usize> = 20..=2_048;
/// Characters of most names: targets', actions', parameters'. Source: FIS API reference.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 1..=64;

type Checked = Result<(), FisError>;

fn invalid<T>(message: impl Into<String>) -> Result<T, FisError> {
    Err(FisError::Invalid(message.into()))
}

fn length(member: &str, value: &str, allowed: std::ops::RangeInclusive<usize>) -> Checked {
    constraint::length(member, value, allowed).map_err(FisError::Invalid)
}

/// The pattern `[\S]+` of most of FIS's texts.
pub(super) fn no_space(member: &str, value: &str) -> Checked {
    constraint::characters(member, value, "[\\S]+", |c| !c.is_whitespace()).map_err(FisError::Invalid)
}

/// A text without spaces.
fn word(member: &str, value: &str, allowed: std::ops::RangeInclusive<usize>) -> Checked {
    length(member, value, allowed)?;
    no_space(member, value)
}

/// Refuses what cannot be a template.
pub(super) fn check(content: &TemplateContent) -> Checked {
    let bytes = serde_json::to_vec(content).map_or(usize::MAX, |text| text.len());
    if bytes > TEMPLATE_BYTES_MAX {
        return invalid(format!("An experiment template can have at most {TEMPLATE_BYTES_MAX} bytes."));
    }
    length("description", &content.description, 1..=512)?;
    word("roleArn", &content.role_arn, ARN_LENGTH)?;
    let role = content.role_arn.parse::<Arn>().ok();
    if !role.is_some_and(|role| role.service() == "iam" && role.resource().starts_with("role/")) {
        return invalid(format!("roleArn {} is not the ARN of an IAM role.", content.role_arn));
    }
    stop_conditions(&content.stop_conditions)?;
    if content.targets.len() > TARGETS_MAX {
        return Err(FisError::Quota(format!("A template can have at most {TARGETS_MAX} targets.")));
    }
    for (name, one) in &content.targets {
        word("targets", name, NAME_LENGTH)?;
        target(name, one)?;
    }
    if content.actions.is_empty() {
        return invalid("A template must have at least one action.");
    }
    if content.actions.len() > ACTIONS_MAX {
        return Err(FisError::Quota(format!("A template can have at most {ACTIONS_MAX} actions.")));
    }
    for (name, one) in &content.actions {
        word("actions", name, NAME_LENGTH)?;
        action(name, one, content)?;
    }
    in_order(&content.actions)?;
    if let Some(logs) = &content.log_configuration {
        log_configuration(logs)?;
    }
    // Its accounts would be given by operations that are not served.
    if content.experiment_options.account_targeting == Some(AccountTargeting::MultiAccount) {
        return invalid("accountTargeting: there is one account here, single-account is needed.");
    }
    content.report.as_ref().map_or(Ok(()), report)
}

fn stop_conditions(conditions: &[StopCondition]) -> Checked {
    if conditions.is_empty() {
        return invalid("A template must have at least one stop condition; the source none stops nothing.");
    }
    if conditions.len() > STOP_CONDITIONS_MAX {
        return Err(FisError::Quota(format!(
            "A template can have at most {STOP_CONDITIONS_MAX} stop conditions."
        )));
    }
    for condition in conditions {
        match (condition.source.as_str(), &condition.value) {
            ("none", None) => {}
            ("none", Some(_)) => return invalid("A stop condition with the source none has no value."),
            ("aws:cloudwatch:alarm", Some(value)) => {
                length("stopConditions.value", value, ARN_LENGTH)?;
                let is_alarm =
                    |arn: Arn| arn.service() == "cloudwatch" && arn.resource().starts_with("alarm");
                if !value.parse().is_ok_and(is_alarm) {
                    return invalid(format!("{value} is not the ARN of a CloudWatch alarm."));
                }
            }
            ("aws:cloudwatch:alarm", None) => {
                return invalid(
                    "A stop condition with the source aws:cloudwatch:alarm needs the alarm's ARN.",
                );
            }
            (source, _) => {
                word("stopConditions.source", source, NAME_LENGTH)?;
                return invalid(format!("{source} is no source of a stop condition."));
            }
        }
    }
    Ok(())
}

fn target(name: &str, target: &Target) -> Checked {
    word("targets.resourceType", &target.resource_type, 1..=128)?;
    let Some(kind) = catalogue::resource_type(&target.resource_type) else {
        return Err(FisError::NotFound(format!(
            "Target resource type {} was not found.",
            target.resource_type
        )));
    };
    constraint::items("targets.resourceArns", target.resource_arns.len(), 0..=RESOURCE_ARNS_MAX)
        .map_err(FisError::Invalid)?;
    for arn in &target.resource_arns {
        word("targets.resourceArns", arn, ARN_LENGTH)?;
        let fits = |parsed: Arn| {
            parsed.service() == kind.arn_service && parsed.resource().starts_with(kind.arn_kind)
        };
        if !arn.parse().is_ok_and(fits) {
            return invalid(format!("Target {name}: {arn} is not the ARN of a {}.", kind.id));
        }
    }
    constraint::items("targets.resourceTags", target.resource_tags.len(), 0..=TAGS_MAX)
        .map_err(FisError::Invalid)?;
    for (key, value) in &target.resource_tags {
        length("targets.resourceTags", key, 1..=128)?;
        length("targets.resourceTags", value, 0..=256)?;
    }
    for filter in &target.filters {
        word("targets.filters.path", &filter.path, 1..=256)?;
        if filter.values.is_empty() {
            return invalid(format!("Target {name}: the filter {} has no values.", filter.path));
        }
        for value in &filter.values {
            word("targets.filters.values", value, 1..=128)?;
        }
    }
    let by_arn = !target.resource_arns.is_empty();
    let by_what_they_are = !target.resource_tags.is_empty() || !target.filters.is_empty();
    if by_arn && by_what_they_are {
        return invalid(format!("Target {name}: resourceArns cannot be given with resourceTags or filters."));
    }
    if !by_arn && !by_what_they_are && target.parameters.is_empty() {
        return invalid(format!(
            "Target {name}: resourceArns, resourceTags, filters or parameters are needed."
        ));
    }
    for (parameter, value) in &target.parameters {
        word("targets.parameters", parameter, NAME_LENGTH)?;
        length("targets.parameters", value, 1..=1_024)?;
    }
    parameters(&format!("Target {name}"), &target.parameters, kind.parameters)?;
    selection_mode(name, &target.selection_mode)
}

/// `ALL`, `COUNT(n)` or `PERCENT(n)`.
fn selection_mode(name: &str, mode: &str) -> Checked {
    word("targets.selectionMode", mode, NAME_LENGTH)?;
    match SelectionMode::parse(mode) {
        Some(_) => Ok(()),
        None => invalid(format!("Target {name}: selectionMode {mode} is none of ALL, COUNT(n), PERCENT(n).")),
    }
}

fn action(name: &str, action: &TemplateAction, content: &TemplateContent) -> Checked {
    word("actions.actionId", &action.action_id, 1..=128)?;
    let Some(kind) = catalogue::action(&action.action_id) else {
        return Err(FisError::NotFound(format!("Action {} was not found.", action.action_id)));
    };
    if let Some(description) = &action.description {
        length("actions.description", description, 0..=512)?;
    }
    for (parameter, value) in &action.parameters {
        word("actions.parameters", parameter, NAME_LENGTH)?;
        word("actions.parameters", value, 0..=1_024)?;
    }
    parameters(&format!("Action {name}"), &action.parameters, kind.parameters)?;
    if let Err(reason) = plan::parse(kind.id, &action.parameters) {
        return invalid(format!("Action {name}: {reason}."));
    }
    match (kind.target, action.targets.iter().next()) {
        (None, None) => {}
        (None, Some(_)) => return invalid(format!("Action {name}: {} has no targets.", kind.id)),
        (Some(wanted), None) => {
            return invalid(format!("Action {name}: {} needs the target {}.", kind.id, wanted.name));
        }
        (Some(_), Some(_)) if action.targets.len() > 1 => {
            return invalid(format!("Action {name}: {} has one target.", kind.id));
        }
        (Some(wanted), Some((key, given))) => {
            word("actions.targets", key, NAME_LENGTH)?;
            let Some(target) = content.targets.get(given) else {
                return invalid(format!("Action {name}: there is no target {given} in the template."));
            };
            if target.resource_type != wanted.resource_type {
                return invalid(format!(
                    "Action {name}: the target {given} is {}, {} is needed.",
                    target.resource_type, wanted.resource_type
                ));
            }
        }
    }
    Ok(())
}

fn parameters(of: &str, given: &BTreeMap<String, String>, known: &[ParameterKind]) -> Checked {
    for kind in known {
        match given.get(kind.name).map(|value| (value, kind.value.refuses(value))) {
            None if kind.required => return invalid(format!("{of}: the parameter {} is needed.", kind.name)),
            Some((value, Some(expected))) => {
                return invalid(format!("{of}: the parameter {} is {value}, not {expected}.", kind.name));
            }
            Some((_, None)) | None => {}
        }
    }
    match given.keys().find(|name| known.iter().all(|kind| kind.name != **name)) {
        Some(unknown) => invalid(format!("{of}: there is no parameter {unknown}.")),
        None => Ok(()),
    }
}

/// `startAfter` names other actions, and no action waits for itself.
fn in_order(actions: &BTreeMap<String, TemplateAction>) -> Checked {
    for (name, action) in actions {
        if let Some(unknown) = action.start_after.iter().find(|after| !actions.contains_key(*after)) {
            return invalid(format!("Action {name}: startAfter names {unknown}, which is no action."));
        }
    }
    // What waits for nothing that is not done can be done, until nothing is left.
    let mut done = BTreeSet::new();
    while done.len() < actions.len() {
        let ready: Vec<&String> = actions
            .iter()
            .filter(|(name, action)| {
                !done.contains(*name) && action.start_after.iter().all(|it| done.contains(it))
            })
            .map(|(name, _)| name)
            .collect();
        if ready.is_empty() {
            let left: Vec<&str> =
                actions.keys().filter(|name| !done.contains(*name)).map(String::as_str).collect();
            return invalid(format!("startAfter: the actions {} wait for each other.", left.join(", ")));
        }
        done.extend(ready);
    }
    Ok(())
}

fn log_configuration(logs: &LogConfiguration) -> Checked {
    if !matches!(logs.log_schema_version, Some(1 | 2)) {
        return invalid("logConfiguration.logSchemaVersion must be 1 or 2.");
    }
    if logs.cloud_watch_logs_configuration.is_none() && logs.s3_configuration.is_none() {
        return invalid("logConfiguration needs cloudWatchLogsConfiguration or s3Configuration.");
    }
    if let Some(cloud_watch) = &logs.cloud_watch_logs_configuration {
        word("logGroupArn", &cloud_watch.log_group_arn, ARN_LENGTH)?;
    }
    if let Some(s3) = &logs.s3_configuration {
        word("bucketName", &s3.bucket_name, 3..=63)?;
        length("prefix", s3.prefix.as_deref().unwrap_or("-"), 1..=700)?;
    }
    Ok(())
}

fn report(report: &ReportConfiguration) -> Checked {
    let durations = [
        ("preExperimentDuration", &report.pre_experiment_duration),
        ("postExperimentDuration", &report.post_experiment_duration),
    ];
    for (member, duration) in durations {
        let Some(duration) = duration else { continue };
        word(member, duration, 1..=32)?;
        if catalogue::parse_duration(duration).is_none() {
            return invalid(format!("{member} {duration} is no ISO 8601 duration."));
        }
    }
    if let Some(s3) = report.outputs.as_ref().and_then(|outputs| outputs.s3_configuration.as_ref()) {
        word("bucketName", s3.bucket_name.as_deref().unwrap_or_default(), 3..=63)?;
        word("prefix", s3.prefix.as_deref().unwrap_or("-"), 1..=256)?;
    }
    for dashboard in report.data_sources.iter().flat_map(|sources| &sources.cloud_watch_dashboards) {
        word("dashboardIdentifier", dashboard.dashboard_identifier.as_deref().unwrap_or_default(), 1..=512)?;
    }
    Ok(())
}
