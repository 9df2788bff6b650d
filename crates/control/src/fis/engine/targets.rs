//! What an experiment is done to: found once, at its start.
//!
//! Source: AWS FIS user guide, "Targets for AWS FIS".

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_aws::{
    ecs::Tag,
    fis::{ActionsMode, EmptyTargetResolutionMode, Target},
    protocol::Fault,
};
use bowline_model::arn::Arn;
use serde_json::{Value, json};

use crate::{
    api::service_call::ServiceCall,
    core::Core,
    fis::{
        experiments::{self, ExperimentRecord, RESOLVED_MAX},
        run::{ErrorCode, RunError},
        selection::{SelectionMode, passes},
    },
    random,
    registry::{Registry, TaskOwner},
};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolution {
    /// ARNs, by the target's name.
    pub(super) targets: BTreeMap<String, Vec<String>>,
    /// Actions that are not done, and why.
    pub(super) skipped: BTreeMap<String, &'static str>,
}

/// What one call describes at most. Source: ECS API reference, `DescribeTasks` and `DescribeClusters`, and
/// `DescribeServices`.
const TASKS_A_CALL: usize = 100;
const SERVICES_A_CALL: usize = 10;

/// The role of an experiment, assumed.
pub(super) fn assume(core: &Core, experiment: &ExperimentRecord) -> Result<ServiceCall, RunError> {
    let account = core.registry().settings().scope.account_id.clone();
    let keys = [("aws:SourceArn", experiment.arn.as_str()), ("aws:SourceAccount", account.as_str())];
    ServiceCall::assume(core, super::SERVICE, &experiment.content.role_arn, &experiment.id, &keys).map_err(
        |reason| RunError::new(ErrorCode::ConfigurationFailure, format!("Unable to assume role. {reason}")),
    )
}

/// What another service refused.
pub(super) fn refused(fault: &Fault) -> RunError {
    let code = match fault.code.as_str() {
        "AccessDeniedException" | "AccessDenied" => ErrorCode::ConfigurationFailure,
        _ => ErrorCode::DependentServiceFailure,
    };
    RunError::new(code, fault.message.clone())
}

/// Finds the targets of an experiment. Blocks.
pub(super) fn resolve(core: &Arc<Core>, experiment: &ExperimentRecord) -> Result<Resolution, RunError> {
    let role = assume(core, experiment)?;
    let content = &experiment.content;
    let registry = core.registry();
    for name in content.stop_conditions.iter().filter_map(experiments::alarm_of) {
        if registry.alarms.get(&name).is_none() {
            let reason = format!("The alarm {name} of a stop condition was not found.");
            return Err(RunError::new(ErrorCode::ConfigurationFailure, reason).at("stopConditions"));
        }
    }
    let mode = content.experiment_options.empty_target_resolution_mode.unwrap_or_default();
    let fails = mode == EmptyTargetResolutionMode::Fail;
    let mut resolution = Resolution::default();
    let used: BTreeSet<&String> =
        content.actions.values().flat_map(|action| action.targets.values()).collect();
    for (name, target) in content.targets.iter().filter(|(name, _)| used.contains(name)) {
        let found = resolve_one(core, &registry, &role, target, fails).map_err(|error| error.at(name))?;
        if found.is_empty() && fails {
            let reason = "Target resolution returned empty set.";
            return Err(RunError::new(ErrorCode::InvalidTarget, reason).at(name));
        }
        resolution.targets.insert(name.clone(), found);
    }
    if resolution.targets.values().map(Vec::len).sum::<usize>() > RESOLVED_MAX {
        let reason = format!("An experiment can be done to at most {RESOLVED_MAX} resources.");
        return Err(RunError::new(ErrorCode::InvalidTarget, reason));
    }
    let skips_all = experiment.actions_mode == ActionsMode::SkipAll;
    for (name, action) in &content.actions {
        let nobody =
            action.targets.values().any(|target| resolution.targets.get(target).is_none_or(Vec::is_empty));
        if skips_all {
            resolution
                .skipped
                .insert(name.clone(), "Action was skipped: the experiment's actionsMode is skip-all.");
        } else if nobody {
            resolution
                .skipped
                .insert(name.clone(), "Action was skipped: its target was resolved to an empty set.");
        }
    }
    Ok(resolution)
}

fn resolve_one(
    core: &Arc<Core>,
    registry: &Registry,
    role: &ServiceCall,
    target: &Target,
    fails: bool,
) -> Result<Vec<String>, RunError> {
    let mut candidates = candidates(registry, target)?;
    if !target.resource_arns.is_empty() {
        let missing = target.resource_arns.iter().find(|arn| !candidates.contains(*arn));
        if let Some(missing) = missing.filter(|_| fails) {
            let reason = format!("Target resolution returned empty set: {missing} was not found.");
            return Err(RunError::new(ErrorCode::InvalidTarget, reason));
        }
        candidates.retain(|arn| target.resource_arns.contains(arn));
    }
    if candidates.is_empty() {
        return Ok(candidates);
    }
    // That the role may describe them is asked in any case, as on AWS.
    let described =
        describe(core, role, &target.resource_type, &candidates).map_err(|fault| refused(&fault))?;
    candidates.retain(|arn| described.get(arn).is_some_and(|one| passes(one, &target.filters)));
    let mode = SelectionMode::parse(&target.selection_mode).unwrap_or(SelectionMode::All);
    Ok(mode.choose(candidates, || u64::from_ne_bytes(random::bytes())))
}

/// The ARNs of what a target could be by its parameters and tags.
fn candidates(registry: &Registry, target: &Target) -> Result<Vec<String>, RunError> {
    let has_tags = |tags: &[Tag]| {
        target.resource_tags.iter().all(|(key, value)| {
            tags.iter().any(|tag| {
                tag.key.as_deref() == Some(key) && tag.value.as_deref().unwrap_or_default() == value
            })
        })
    };
    let cluster = target.parameters.get("cluster").map(|given| last(given));
    let service = target.parameters.get("service").map(|given| last(given));
    let is_in = |arn: &Arn| cluster.is_none_or(|cluster| arn.resource().split('/').nth(1) == Some(cluster));
    let arns: Vec<String> = match target.resource_type.as_str() {
        "aws:ecs:task" => {
            let running = registry
                .tasks
                .values()
                .filter(|task| !task.is_ending() && !matches!(task.owner, TaskOwner::Gateway { .. }));
            let of_service = |owner: &TaskOwner| {
                service.is_none_or(|wanted| {
                    matches!(owner, TaskOwner::Service { service, .. } if service.resource_name() == wanted)
                })
            };
            let fitting =
                running.filter(|task| is_in(&task.arn) && of_service(&task.owner) && has_tags(&task.tags));
            fitting.map(|task| task.arn.to_string()).collect()
        }
        "aws:ecs:service" => {
            let fitting = registry.services.values().filter(|service| {
                let record = registry.service_records.get(service.arn.as_str());
                is_in(&service.arn) && record.is_some_and(|record| has_tags(&record.request.tags))
            });
            fitting.map(|service| service.arn.to_string()).collect()
        }
        "aws:ecs:cluster" => {
            let fitting = registry.clusters.values().filter(|cluster| has_tags(&cluster.request.tags));
            fitting.map(|cluster| cluster.arn.to_string()).collect()
        }
        other => {
            let reason = format!("{other} is not a resource type of this server.");
            return Err(RunError::new(ErrorCode::InvalidTarget, reason));
        }
    };
    Ok(arns)
}

/// A name, of an ARN or of itself.
fn last(given: &str) -> &str {
    given.rsplit('/').next().unwrap_or(given)
}

/// What ECS describes of these, by ARN, asked in the role's name.
fn describe(
    core: &Arc<Core>,
    role: &ServiceCall,
    resource_type: &str,
    arns: &[String],
) -> Result<BTreeMap<String, Value>, Fault> {
    let mut by_cluster: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for arn in arns {
        let cluster = arn.rsplit(':').next().and_then(|resource| resource.split('/').nth(1));
        by_cluster.entry(cluster.unwrap_or_default().to_owned()).or_default().push(arn);
    }
    let mut described = BTreeMap::new();
    for (cluster, arns) in by_cluster {
        let (operation, member, answered, identity, at_once) = match resource_type {
            "aws:ecs:task" => ("DescribeTasks", "tasks", "tasks", "taskArn", TASKS_A_CALL),
            "aws:ecs:service" => ("DescribeServices", "services", "services", "serviceArn", SERVICES_A_CALL),
            _ => ("DescribeClusters", "clusters", "clusters", "clusterArn", TASKS_A_CALL),
        };
        for some in arns.chunks(at_once) {
            let mut request = json!({member: some, "include": ["TAGS"]});
            if operation != "DescribeClusters" {
                request["cluster"] = cluster.as_str().into();
            }
            let mut answer = role.perform(core, "ecs", operation, &request)?;
            let Some(Value::Array(items)) = answer.get_mut(answered).map(Value::take) else { continue };
            for item in items {
                if let Some(arn) = item[identity].as_str().map(str::to_owned) {
                    described.insert(arn, item);
                }
            }
        }
    }
    Ok(described)
}
