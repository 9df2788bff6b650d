//! Service deployments and service revisions.

use bowline_aws::{
    ecs::{
        self, CreateServiceRequest, DeploymentConfiguration,
        api::{
            ContainerImage, ContinueServiceDeploymentRequest, CurrentServiceRevision,
            DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse,
            DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse, Failure, LifecycleHookAction,
            LifecycleHookDetail, ListServiceDeploymentsRequest, ListServiceDeploymentsResponse,
            Rollback as WireRollback, ServiceDeployment, ServiceDeploymentAlarms, ServiceDeploymentBrief,
            ServiceDeploymentCircuitBreaker, ServiceDeploymentStatus, ServiceRevision,
            StopServiceDeploymentRequest, StopServiceDeploymentResponse, StopServiceDeploymentStopType,
        },
    },
    protocol::Fault,
};
use bowline_model::{
    arn::Arn,
    rollout::shift::{HookAction, HookStatus, Share, Stage},
    service::{DeploymentId, Service},
};

use super::{invalid, page_of, services};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    ecs::{
        plan,
        record::{Deployment, DeploymentState, ServiceRecord},
        rollback::{self, RollbackError},
        service::stop_deployment,
    },
    registry::Registry,
};

/// Most deployments or revisions in one `Describe…`.
const DESCRIBED_MAX: usize = 20;

/// `…:service/CLUSTER/NAME` as `…:KIND/CLUSTER/NAME/DIGITS`.
fn beside(service: &Arn, kind: &str, id: &DeploymentId) -> String {
    let (prefix, names) = service.as_str().split_once(":service/").unwrap_or((service.as_str(), ""));
    format!("{prefix}:{kind}/{names}/{}", id.digits())
}

/// The ARN of a deployment of a service.
pub(super) fn arn(service: &Arn, id: &DeploymentId) -> String {
    beside(service, "service-deployment", id)
}

/// The ARN of the service revision that a deployment brought.
pub(super) fn revision_arn(service: &Arn, id: &DeploymentId) -> String {
    beside(service, "service-revision", id)
}

/// The ARN of a service's cluster.
pub(super) fn cluster_arn(service: &Arn) -> String {
    let (prefix, names) = service.as_str().split_once(":service/").unwrap_or((service.as_str(), ""));
    let cluster = names.split('/').next().unwrap_or_default();
    format!("{prefix}:cluster/{cluster}")
}

/// The ARN of a task's cluster.
pub(super) fn cluster_arn_of_task(task: &Arn) -> String {
    let (prefix, names) = task.as_str().split_once(":task/").unwrap_or((task.as_str(), ""));
    let cluster = names.split('/').next().unwrap_or_default();
    format!("{prefix}:cluster/{cluster}")
}

/// The deployment configuration with AWS's defaults where nothing is given.
pub(super) fn configuration(request: &CreateServiceRequest) -> DeploymentConfiguration {
    let mut configuration = request.deployment_configuration.clone().unwrap_or_default();
    configuration.maximum_percent.get_or_insert(200);
    configuration.minimum_healthy_percent.get_or_insert(100);
    configuration.strategy.get_or_insert(ecs::DeploymentStrategy::Rolling);
    configuration.bake_time_in_minutes.get_or_insert(0);
    configuration
}

fn status(deployment: &Deployment) -> ServiceDeploymentStatus {
    match deployment.state {
        DeploymentState::InProgress => ServiceDeploymentStatus::InProgress,
        DeploymentState::Completed => ServiceDeploymentStatus::Successful,
        DeploymentState::Superseded | DeploymentState::Stopped => ServiceDeploymentStatus::Stopped,
        DeploymentState::RollbackInProgress => ServiceDeploymentStatus::RollbackInProgress,
        DeploymentState::RollbackSuccessful => ServiceDeploymentStatus::RollbackSuccessful,
        DeploymentState::RollbackFailed => ServiceDeploymentStatus::RollbackFailed,
    }
}

fn brief(service: &Arn, deployment: &Deployment) -> ServiceDeploymentBrief {
    ServiceDeploymentBrief {
        service_deployment_arn: arn(service, &deployment.id),
        service_arn: service.to_string(),
        cluster_arn: cluster_arn(service),
        started_at: wire(deployment.created_at),
        created_at: wire(deployment.created_at),
        finished_at: deployment.finished_at.map(wire),
        target_service_revision_arn: revision_arn(service, &deployment.id),
        status: status(deployment),
        status_reason: deployment.reason.clone(),
    }
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListServiceDeploymentsRequest,
) -> Result<ListServiceDeploymentsResponse, Fault> {
    let registry = call.registry();
    let (service, record) = services::find(&registry, request.cluster.as_deref(), &request.service)?;
    let within = |at| {
        request.created_at.as_ref().is_none_or(|limits| {
            limits.before.is_none_or(|before| at < before) && limits.after.is_none_or(|after| at > after)
        })
    };
    let matching: Vec<_> = record
        .deployments
        .iter()
        .map(|deployment| brief(&service, deployment))
        .filter(|brief| request.status.is_empty() || request.status.contains(&brief.status))
        .filter(|brief| within(brief.created_at))
        .collect();
    let page = page_of(
        "ListServiceDeployments",
        matching,
        // The newest first.
        |brief| {
            let age = i64::MAX - brief.created_at.milliseconds();
            format!("{age:019} {}", brief.service_deployment_arn)
        },
        request.next_token.as_deref(),
        request.max_results.or(Some(20)),
        100,
    )?;
    Ok(ListServiceDeploymentsResponse { service_deployments: page.items, next_token: page.next_token })
}

/// The service and the deployment at the end of an ARN of one of its kinds.
fn find<'a>(
    registry: &'a Registry,
    kind: &str,
    given: &str,
) -> Option<(Arn, &'a ServiceRecord, &'a Deployment)> {
    let (prefix, rest) = given.split_once(&format!(":{kind}/"))?;
    let (names, digits) = rest.rsplit_once('/')?;
    let service: Arn = format!("{prefix}:service/{names}").parse().ok()?;
    let record = registry.service_records.get(service.as_str())?;
    let deployment = record.deployments.iter().find(|deployment| deployment.id.digits() == digits)?;
    Some((service, record, deployment))
}

/// `StopServiceDeployment`: `ROLLBACK` goes back, `ABORT` leaves tasks and traffic where they are.
pub(super) fn stop(
    call: &Call<'_>,
    request: StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, Fault> {
    let given = &request.service_deployment_arn;
    if !given.starts_with("arn:") || !given.contains(":service-deployment/") {
        return Err(invalid("Invalid serviceDeploymentArn: the ARN of a service deployment is needed."));
    }
    call.change(|registry| {
        let (service, _, deployment) =
            find(registry, "service-deployment", given).ok_or_else(deployment_not_found)?;
        if deployment.state != DeploymentState::InProgress {
            return Err(Fault::new(
                "ConflictException",
                "The service deployment cannot be stopped because it is not in progress.",
            ));
        }
        if request.stop_type == Some(StopServiceDeploymentStopType::Abort) {
            let reason = format!(
                "Service deployment stopped by a call of StopServiceDeployment from {}.",
                call.caller.arn
            );
            stop_deployment(registry, &service, &reason, call.now);
            return Ok(StopServiceDeploymentResponse { service_deployment_arn: given.clone() });
        }
        let reason = format!(
            "Service deployment rolled back by a call of StopServiceDeployment from {}.",
            call.caller.arn
        );
        match rollback::begin(registry, &service, &reason, call.now) {
            Ok(_) => Ok(StopServiceDeploymentResponse { service_deployment_arn: given.clone() }),
            Err(error @ RollbackError::NothingInProgress) => Err(Fault::new(
                "ConflictException",
                format!("The service deployment cannot be stopped: {error}."),
            )),
            Err(error) => Err(invalid(format!("The service deployment cannot be rolled back: {error}."))),
        }
    })
}

fn deployment_not_found() -> Fault {
    Fault::new("ServiceDeploymentNotFoundException", "The specified service deployment was not found.")
}

/// `ContinueServiceDeployment`: ends a lifecycle hook of type `PAUSE`.
pub(super) fn continue_paused(
    call: &Call<'_>,
    request: ContinueServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, Fault> {
    let given = &request.service_deployment_arn;
    if !given.starts_with("arn:") || !given.contains(":service-deployment/") {
        return Err(invalid("Invalid serviceDeploymentArn: the ARN of a service deployment is needed."));
    }
    let action = match request.action.unwrap_or(LifecycleHookAction::Continue) {
        LifecycleHookAction::Continue => HookAction::Continue,
        LifecycleHookAction::Rollback => HookAction::Rollback,
    };
    call.change(|registry| {
        let (service, _, deployment) =
            find(registry, "service-deployment", given).ok_or_else(deployment_not_found)?;
        let id = deployment.id.clone();
        let configuration = deployment.request.deployment_configuration.as_ref();
        if configuration.and_then(plan::shift_plan).is_none() {
            return Err(Fault::new(
                "UnsupportedFeatureException",
                "Only service deployments with the strategies BLUE_GREEN, LINEAR and CANARY have lifecycle hooks.",
            ));
        }
        let shift = registry.services.get(service.as_str()).and_then(|row| row.shift.clone());
        let mut shift = shift
            .filter(|shift| shift.green.deployment == id && !shift.returning)
            .ok_or_else(|| invalid("The service deployment is not paused at a lifecycle hook."))?;
        shift
            .resolve(&request.hook_id, action)
            .map_err(|error| invalid(format!("Invalid hookId: {error}.")))?;
        let hooks = shift.hooks.clone();
        registry.services.update(service.as_str(), |row| row.shift = Some(shift));
        registry.service_records.update(service.as_str(), |record| {
            if let Some(told) = record.deployments.iter_mut().find(|one| one.id == id) {
                told.hooks = hooks;
                told.updated_at = call.now;
            }
        });
        if action == HookAction::Rollback {
            let reason = format!(
                "Service deployment rolled back by a call of ContinueServiceDeployment from {}.",
                call.caller.arn
            );
            rollback::begin(registry, &service, &reason, call.now)
                .map_err(|error| invalid(format!("The service deployment cannot be rolled back: {error}.")))?;
        }
        Ok(StopServiceDeploymentResponse { service_deployment_arn: given.clone() })
    })
}

fn hook_details(deployment: &Deployment) -> Vec<LifecycleHookDetail> {
    let details = deployment.hooks.iter().map(|hook| LifecycleHookDetail {
        hook_id: hook.id.clone(),
        target_type: "PAUSE",
        status: match hook.status {
            HookStatus::AwaitingAction => "AWAITING_ACTION",
            HookStatus::Succeeded => "SUCCEEDED",
            HookStatus::Failed => "FAILED",
            HookStatus::TimedOut => "TIMED_OUT",
        },
        expires_at: wire(hook.expires_at),
        timeout_action: match hook.at_timeout {
            HookAction::Continue => "CONTINUE",
            HookAction::Rollback => "ROLLBACK",
        },
    });
    details.collect()
}

/// AWS's `ServiceDeploymentRollbackMonitorsStatus`.
fn monitor_status(on: bool, triggered: bool, deployment: &Deployment) -> &'static str {
    match (on, triggered, deployment.state) {
        (false, ..) => "DISABLED",
        (_, true, _) => "TRIGGERED",
        (.., DeploymentState::InProgress) => "MONITORING",
        _ => "MONITORING_COMPLETE",
    }
}

fn circuit_breaker(deployment: &Deployment, desired: u32) -> ServiceDeploymentCircuitBreaker {
    let threshold = plan::threshold(deployment);
    let tasks = threshold.unwrap_or_default().tasks(desired);
    let triggered = deployment.breaker_failures >= tasks && deployment.state != DeploymentState::InProgress;
    ServiceDeploymentCircuitBreaker {
        status: monitor_status(threshold.is_some(), triggered, deployment),
        failure_count: deployment.breaker_failures,
        threshold: tasks,
    }
}

fn alarms(deployment: &Deployment) -> ServiceDeploymentAlarms {
    let watched = plan::alarms(deployment);
    ServiceDeploymentAlarms {
        status: monitor_status(watched.is_some(), !deployment.triggered_alarms.is_empty(), deployment),
        alarm_names: watched.into_iter().flat_map(|(names, _)| names).map(str::to_owned).collect(),
        triggered_alarm_names: deployment.triggered_alarms.clone(),
    }
}

/// Percent of a revision's production and test traffic.
fn weights(service: Option<&Service>, of: &DeploymentId) -> (f64, f64) {
    let is_all = |all: bool| if all { Share::ALL } else { Share::NONE };
    let Some(service) = service else { return (0.0, 0.0) };
    let (production, test) = match &service.shift {
        None => (is_all(service.deployment == *of), Share::NONE),
        Some(shift) if shift.green.deployment == *of => (shift.production, is_all(shift.test)),
        Some(shift) if shift.blue.deployment == *of => (shift.production.rest(), Share::NONE),
        Some(_) => (Share::NONE, Share::NONE),
    };
    (production.percent(), test.percent())
}

/// Where a service deployment is in its lifecycle. AWS has hooks before a step of the production
/// traffic, and no stage of a deployment of that name.
fn lifecycle_stage(deployment: &Deployment) -> Option<&'static str> {
    let is_complete = deployment.state == DeploymentState::Completed;
    let told = |stage| match stage {
        _ if is_complete => Stage::CleanUp,
        Stage::PreProductionTrafficShift => Stage::ProductionTrafficShift,
        stage => stage,
    };
    deployment.stage.map(|stage| told(stage).name())
}

fn missing(arn: &str) -> Failure {
    Failure { arn: Some(arn.to_owned()), reason: Some("MISSING".into()), detail: None }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse, Fault> {
    constraint::items("serviceDeploymentArns", request.service_deployment_arns.len(), 1..=DESCRIBED_MAX)
        .map_err(invalid)?;
    let registry = call.registry();
    let mut response =
        DescribeServiceDeploymentsResponse { service_deployments: Vec::new(), failures: Vec::new() };
    for given in &request.service_deployment_arns {
        let Some((service, record, deployment)) = find(&registry, "service-deployment", given) else {
            response.failures.push(missing(given));
            continue;
        };
        let current = |deployment: &Deployment| {
            let (running, pending) = services::counts(&registry, &service, Some(&deployment.id));
            let row = registry.services.get(service.as_str());
            let is_wanted = |row: &Service| {
                let shift = row.shift.as_ref();
                row.deployment == deployment.id
                    || shift.is_some_and(|shift| {
                        [&shift.blue, &shift.green].iter().any(|set| set.deployment == deployment.id)
                    })
            };
            let row = row.map(|row| &**row);
            let wanted = row.filter(|row| is_wanted(row)).map_or(0, |row| row.desired_count);
            let (production, test) = weights(row, &deployment.id);
            CurrentServiceRevision {
                arn: revision_arn(&service, &deployment.id),
                requested_task_count: wanted,
                running_task_count: running,
                pending_task_count: pending,
                requested_production_traffic_weight: Some(production),
                requested_test_traffic_weight: Some(test),
            }
        };
        let desired = registry.services.get(service.as_str()).map_or(0, |row| row.desired_count);
        let earlier = record.deployments.iter().find(|other| deployment.source.as_ref() == Some(&other.id));
        let brief = brief(&service, deployment);
        response.service_deployments.push(ServiceDeployment {
            service_deployment_arn: brief.service_deployment_arn,
            service_arn: brief.service_arn,
            cluster_arn: brief.cluster_arn,
            created_at: brief.created_at,
            started_at: brief.started_at,
            finished_at: brief.finished_at,
            status: brief.status,
            status_reason: brief.status_reason,
            updated_at: wire(deployment.updated_at),
            source_service_revisions: earlier.map(current).into_iter().collect(),
            target_service_revision: current(deployment),
            deployment_configuration: configuration(&deployment.request),
            rollback: deployment.rollback.as_ref().map(|rollback| WireRollback {
                reason: rollback.reason.clone(),
                started_at: wire(rollback.started_at),
                service_revision_arn: revision_arn(&service, &rollback.to),
            }),
            stopped_at: stopped_at(deployment).map(wire),
            lifecycle_stage: lifecycle_stage(deployment),
            lifecycle_hook_details: hook_details(deployment),
            deployment_circuit_breaker: circuit_breaker(deployment, desired),
            alarms: alarms(deployment),
        });
    }
    Ok(response)
}

fn stopped_at(deployment: &Deployment) -> Option<bowline_model::clock::Timestamp> {
    let stopped = deployment.finished_at.filter(|_| deployment.state == DeploymentState::Stopped);
    deployment.rollback.as_ref().map(|rollback| rollback.started_at).or(stopped)
}

pub(super) fn describe_revisions(
    call: &Call<'_>,
    request: DescribeServiceRevisionsRequest,
) -> Result<DescribeServiceRevisionsResponse, Fault> {
    constraint::items("serviceRevisionArns", request.service_revision_arns.len(), 1..=DESCRIBED_MAX)
        .map_err(invalid)?;
    let registry = call.registry();
    let mut response =
        DescribeServiceRevisionsResponse { service_revisions: Vec::new(), failures: Vec::new() };
    for given in &request.service_revision_arns {
        let Some((service, _, deployment)) = find(&registry, "service-revision", given) else {
            response.failures.push(missing(given));
            continue;
        };
        let body = &deployment.request;
        let definition = registry.task_definition_records.get(deployment.task_definition.as_str());
        let images = definition.iter().flat_map(|record| &record.request.container_definitions);
        response.service_revisions.push(ServiceRevision {
            service_revision_arn: given.clone(),
            service_arn: service.to_string(),
            cluster_arn: cluster_arn(&service),
            task_definition: deployment.task_definition.to_string(),
            capacity_provider_strategy: body.capacity_provider_strategy.clone(),
            launch_type: services::launch_type(body),
            platform_version: body.platform_version.clone(),
            load_balancers: body.load_balancers.clone(),
            service_registries: body.service_registries.clone(),
            network_configuration: body.network_configuration.clone(),
            container_images: images
                .map(|container| ContainerImage {
                    container_name: container.name.clone(),
                    image: container.image.clone(),
                })
                .collect(),
            guard_duty_enabled: false,
            service_connect_configuration: body.service_connect_configuration.clone(),
            volume_configurations: body.volume_configurations.clone(),
            created_at: wire(deployment.created_at),
        });
    }
    Ok(response)
}
