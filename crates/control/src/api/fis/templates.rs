//! Experiment templates.

use std::sync::Arc;

use bowline_aws::{
    fis::{
        AccountTargeting, CreateExperimentTemplateRequest, EmptyTargetResolutionMode, ExperimentOptions,
        ExperimentTemplate, ExperimentTemplateResponse, ExperimentTemplateSummary, IdRequest,
        ListExperimentTemplatesResponse, PageRequest, UpdateExperimentTemplateRequest,
    },
    protocol::Fault,
};

use super::page_of;
use crate::{
    api::call::{Call, wire},
    fis::{ExperimentTemplateRecord, commands},
};

fn told(record: &ExperimentTemplateRecord) -> ExperimentTemplateResponse {
    let content = record.content.clone();
    let options = content.experiment_options;
    ExperimentTemplateResponse {
        experiment_template: ExperimentTemplate {
            id: record.id.clone(),
            arn: record.arn.to_string(),
            description: content.description,
            targets: content.targets,
            actions: content.actions,
            stop_conditions: content.stop_conditions,
            creation_time: wire(record.created_at),
            last_update_time: wire(record.updated_at),
            role_arn: content.role_arn,
            tags: record.tags.clone(),
            log_configuration: content.log_configuration,
            experiment_options: ExperimentOptions {
                account_targeting: Some(options.account_targeting.unwrap_or(AccountTargeting::SingleAccount)),
                empty_target_resolution_mode: Some(
                    options.empty_target_resolution_mode.unwrap_or(EmptyTargetResolutionMode::Fail),
                ),
            },
            target_account_configurations_count: 0,
            experiment_report_configuration: content.report,
        },
    }
}

pub(super) fn create(
    call: &Call<'_>,
    request: CreateExperimentTemplateRequest,
) -> Result<ExperimentTemplateResponse, Fault> {
    call.change(|registry| Ok(told(&*commands::create(registry, &call.scope, request, call.now)?)))
}

pub(super) fn get(call: &Call<'_>, request: IdRequest) -> Result<ExperimentTemplateResponse, Fault> {
    Ok(told(commands::find(&call.registry(), &request.id)?))
}

pub(super) fn update(
    call: &Call<'_>,
    request: UpdateExperimentTemplateRequest,
) -> Result<ExperimentTemplateResponse, Fault> {
    call.change(|registry| Ok(told(&*commands::update(registry, request, call.now)?)))
}

pub(super) fn delete(call: &Call<'_>, request: IdRequest) -> Result<ExperimentTemplateResponse, Fault> {
    call.change(|registry| Ok(told(&*commands::delete(registry, &request.id)?)))
}

pub(super) fn list(call: &Call<'_>, request: PageRequest) -> Result<ListExperimentTemplatesResponse, Fault> {
    let registry = call.registry();
    let key = |record: &&Arc<ExperimentTemplateRecord>| record.id.clone();
    let page = page_of("ListExperimentTemplates", registry.experiment_templates.values(), key, &request)?;
    let summary = |record: &Arc<ExperimentTemplateRecord>| ExperimentTemplateSummary {
        id: record.id.clone(),
        arn: record.arn.to_string(),
        description: record.content.description.clone(),
        creation_time: wire(record.created_at),
        last_update_time: wire(record.updated_at),
        tags: record.tags.clone(),
    };
    Ok(ListExperimentTemplatesResponse {
        experiment_templates: page.items.into_iter().map(summary).collect(),
        next_token: page.next_token,
    })
}
