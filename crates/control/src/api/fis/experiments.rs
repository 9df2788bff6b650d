//! Experiments.

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::{
    fis::{
        Experiment, ExperimentAction, ExperimentActionState, ExperimentError, ExperimentResponse,
        ExperimentState, ExperimentSummary, IdRequest, ListExperimentResolvedTargetsRequest,
        ListExperimentResolvedTargetsResponse, ListExperimentsRequest, ListExperimentsResponse, PageRequest,
        ResolvedTarget, RunOptions, StartExperimentRequest,
    },
    protocol::Fault,
};

use super::{invalid, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    fis::experiments::{self, ExperimentRecord},
};

fn state(call: &Call<'_>, record: &ExperimentRecord) -> ExperimentState {
    let run = &record.run;
    ExperimentState {
        status: run.status.as_str(),
        reason: run.reason.chars().take(512).collect(),
        error: run.error.as_ref().map(|error| ExperimentError {
            account_id: call.scope.account_id.clone(),
            code: error.code.as_str(),
            location: error.location.clone(),
        }),
    }
}

fn options(record: &ExperimentRecord) -> RunOptions {
    let options = record.content.experiment_options;
    RunOptions {
        account_targeting: options.account_targeting.unwrap_or_default(),
        empty_target_resolution_mode: options.empty_target_resolution_mode.unwrap_or_default(),
        actions_mode: record.actions_mode,
    }
}

fn actions(record: &ExperimentRecord) -> BTreeMap<String, ExperimentAction> {
    let told = |(name, run): (&String, &crate::fis::run::ActionRun)| {
        let action = record.content.actions.get(name).cloned().unwrap_or_default();
        let told = ExperimentAction {
            action_id: action.action_id,
            description: action.description,
            parameters: action.parameters,
            targets: action.targets,
            start_after: action.start_after,
            state: ExperimentActionState { status: run.status.as_str(), reason: run.reason.clone() },
            start_time: run.started_at.map(wire),
            end_time: run.ended_at.map(wire),
        };
        (name.clone(), told)
    };
    record.run.actions.iter().map(told).collect()
}

fn told(call: &Call<'_>, record: &ExperimentRecord) -> ExperimentResponse {
    let content = record.content.clone();
    ExperimentResponse {
        experiment: Experiment {
            id: record.id.clone(),
            arn: record.arn.to_string(),
            experiment_template_id: record.template.clone(),
            role_arn: content.role_arn,
            state: state(call, record),
            targets: content.targets,
            actions: actions(record),
            stop_conditions: content.stop_conditions,
            creation_time: wire(record.created_at),
            start_time: record.run.started_at.map(wire),
            end_time: record.run.ended_at.map(wire),
            tags: record.tags.clone(),
            log_configuration: content.log_configuration,
            experiment_options: options(record),
            target_account_configurations_count: 0,
            experiment_report_configuration: content.report,
        },
    }
}

pub(super) fn start(call: &Call<'_>, request: StartExperimentRequest) -> Result<ExperimentResponse, Fault> {
    call.change(|registry| Ok(told(call, &*experiments::start(registry, &call.scope, request, call.now)?)))
}

pub(super) fn stop(call: &Call<'_>, request: IdRequest) -> Result<ExperimentResponse, Fault> {
    call.change(|registry| Ok(told(call, &*experiments::stop(registry, &request.id)?)))
}

pub(super) fn get(call: &Call<'_>, request: IdRequest) -> Result<ExperimentResponse, Fault> {
    Ok(told(call, experiments::find(&call.registry(), &request.id)?))
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListExperimentsRequest,
) -> Result<ListExperimentsResponse, Fault> {
    let registry = call.registry();
    let template = request.experiment_template_id.as_deref();
    constraint::length("experimentTemplateId", template.unwrap_or("-"), 0..=64).map_err(invalid)?;
    let wanted = registry
        .experiments
        .values()
        .filter(|record| template.is_none_or(|template| record.template == template));
    let asked = PageRequest { max_results: request.max_results, next_token: request.next_token };
    let page = page_of("ListExperiments", wanted, |record| record.id.clone(), &asked)?;
    let summary = |record: &Arc<ExperimentRecord>| ExperimentSummary {
        id: record.id.clone(),
        arn: record.arn.to_string(),
        experiment_template_id: record.template.clone(),
        state: state(call, record),
        creation_time: wire(record.created_at),
        tags: record.tags.clone(),
        experiment_options: options(record),
    };
    Ok(ListExperimentsResponse {
        experiments: page.items.into_iter().map(summary).collect(),
        next_token: page.next_token,
    })
}

pub(super) fn resolved_targets(
    call: &Call<'_>,
    request: ListExperimentResolvedTargetsRequest,
) -> Result<ListExperimentResolvedTargetsResponse, Fault> {
    let registry = call.registry();
    let record = experiments::find(&registry, &request.experiment_id)?;
    let wanted = request.target_name.as_deref();
    if let Some(unknown) = wanted.filter(|name| !record.content.targets.contains_key(*name)) {
        return Err(invalid(format!("There is no target {unknown} in the experiment.")));
    }
    let found = record.resolved.iter().filter(|(name, _)| wanted.is_none_or(|wanted| *name == wanted));
    let pairs = found.flat_map(|(name, arns)| arns.iter().map(move |arn| (name, arn)));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    let asked = PageRequest { max_results: request.max_results, next_token: request.next_token };
    let key = |(name, arn): &(&String, &String)| format!("{name} {arn}");
    let page = page_of("ListExperimentResolvedTargets", pairs, key, &asked)?;
    let told = |(name, arn): (&String, &String)| ResolvedTarget {
        resource_type: record
            .content
            .targets
            .get(name)
            .map_or_else(String::new, |target| target.resource_type.clone()),
        target_name: name.clone(),
        target_information: [("arn".to_owned(), arn.clone())].into(),
    };
    Ok(ListExperimentResolvedTargetsResponse {
        resolved_targets: page.items.into_iter().map(told).collect(),
        next_token: page.next_token,
    })
}
