//! What changes templates: each checks, then changes the registry it is given, or refuses.

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::fis::{CreateExperimentTemplateRequest, UpdateExperimentTemplateRequest};
use bowline_model::{arn::Scope, clock::Timestamp};

use super::{ExperimentTemplateRecord, FisError, TAGS_MAX, TEMPLATES_MAX, TemplateContent, rules};
use crate::{api::constraint, random, registry::Registry};

/// The template with this id.
pub(crate) fn find<'a>(
    registry: &'a Registry,
    id: &str,
) -> Result<&'a Arc<ExperimentTemplateRecord>, FisError> {
    constraint::length("id", id, 0..=64).map_err(FisError::Invalid)?;
    registry
        .experiment_templates
        .get(id)
        .ok_or_else(|| FisError::NotFound(format!("Experiment template {id} was not found.")))
}

/// Makes a template. The same request with the same client token gives the template that it made.
pub(crate) fn create(
    registry: &mut Registry,
    scope: &Scope,
    request: CreateExperimentTemplateRequest,
    now: Timestamp,
) -> Result<Arc<ExperimentTemplateRecord>, FisError> {
    let token = &request.client_token;
    constraint::length("clientToken", token, 1..=1_024).map_err(FisError::Invalid)?;
    rules::no_space("clientToken", token)?;
    let request_digest = digest_of(&request);
    if let Some(earlier) = registry.experiment_templates.values().find(|one| one.client_token == *token) {
        return match earlier.request_digest == request_digest {
            true => Ok(Arc::clone(earlier)),
            false => Err(FisError::TokenConflict(token.clone())),
        };
    }
    let id = format!("EXT{}", random::alphanumeric(14));
    put(registry, scope, &id, request, now)?;
    find(registry, &id).cloned()
}

/// Makes the template with this id what the request says, whether there is one or not.
pub(crate) fn put(
    registry: &mut Registry,
    scope: &Scope,
    id: &str,
    request: CreateExperimentTemplateRequest,
    now: Timestamp,
) -> Result<(), FisError> {
    let request_digest = digest_of(&request);
    let content = TemplateContent {
        description: request.description,
        targets: request.targets,
        actions: request.actions,
        stop_conditions: request.stop_conditions,
        role_arn: request.role_arn,
        log_configuration: request.log_configuration,
        experiment_options: request.experiment_options.unwrap_or_default(),
        report: request.experiment_report_configuration,
    };
    rules::check(&content)?;
    check_tags(&request.tags)?;
    let present = registry.experiment_templates.get(id).cloned();
    if present.is_none() && registry.experiment_templates.len() >= TEMPLATES_MAX {
        return Err(FisError::Quota(format!("There can be at most {TEMPLATES_MAX} experiment templates.")));
    }
    if present.as_ref().is_some_and(|present| present.content == content && present.tags == request.tags) {
        return Ok(());
    }
    let record = ExperimentTemplateRecord {
        arn: scope.arn("fis", format_args!("experiment-template/{id}")),
        id: id.to_owned(),
        content,
        tags: request.tags,
        created_at: present.map_or(now, |present| present.created_at),
        updated_at: now,
        client_token: request.client_token,
        request_digest,
    };
    registry.experiment_templates.put(id, record);
    Ok(())
}

/// Replaces what is given of a template.
pub(crate) fn update(
    registry: &mut Registry,
    request: UpdateExperimentTemplateRequest,
    now: Timestamp,
) -> Result<Arc<ExperimentTemplateRecord>, FisError> {
    let mut record = ExperimentTemplateRecord::clone(find(registry, &request.id)?);
    let content = &mut record.content;
    if let Some(description) = request.description {
        content.description = description;
    }
    if let Some(conditions) = request.stop_conditions {
        content.stop_conditions = conditions;
    }
    if let Some(targets) = request.targets {
        content.targets = targets;
    }
    if let Some(actions) = request.actions {
        content.actions = actions;
    }
    if let Some(role) = request.role_arn {
        content.role_arn = role;
    }
    if let Some(logs) = request.log_configuration {
        content.log_configuration = Some(logs);
    }
    // `accountTargeting` cannot be changed: the update's shape does not have it.
    if let Some(mode) = request.experiment_options.and_then(|given| given.empty_target_resolution_mode) {
        content.experiment_options.empty_target_resolution_mode = Some(mode);
    }
    if let Some(report) = request.experiment_report_configuration {
        content.report = Some(report);
    }
    rules::check(content)?;
    record.updated_at = now;
    registry.experiment_templates.put(request.id.clone(), record);
    find(registry, &request.id).cloned()
}

/// Drops a template, and gives what it was.
pub(crate) fn delete(registry: &mut Registry, id: &str) -> Result<Arc<ExperimentTemplateRecord>, FisError> {
    let record = Arc::clone(find(registry, id)?);
    registry.experiment_templates.remove(id);
    Ok(record)
}

/// Changes the tags of a template.
pub(crate) fn retag(
    registry: &mut Registry,
    id: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<(), FisError> {
    let mut record = ExperimentTemplateRecord::clone(find(registry, id)?);
    change(&mut record.tags);
    check_tags(&record.tags)?;
    registry.experiment_templates.put(id.to_owned(), record);
    Ok(())
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), FisError> {
    constraint::items("tags", tags.len(), 0..=TAGS_MAX).map_err(FisError::Invalid)?;
    for (key, value) in tags {
        constraint::length("tags", key, 1..=128).map_err(FisError::Invalid)?;
        constraint::length("tags", value, 0..=256).map_err(FisError::Invalid)?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(FisError::Invalid("The tag keys that begin with aws: are reserved for AWS.".into()));
        }
    }
    Ok(())
}

/// SHA-256 of a request, in hexadecimal.
pub(super) fn digest_of(request: &impl serde::Serialize) -> String {
    // Maps of text and lists of them: nothing that JSON has no words for.
    let text = serde_json::to_vec(request).unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
