//! Service deployments and service revisions.

use bowline_aws::{
    ecs::{
        self, CreateServiceRequest, DeploymentConfiguration,
        api::{
            ContainerImage, CurrentServiceRevision, DescribeServiceDeploymentsRequest,
            DescribeServiceDeploymentsResponse, DescribeServiceRevisionsRequest,
            DescribeServiceRevisionsResponse, Failure, ListServiceDeploymentsRequest,
            ListServiceDeploymentsResponse, Rollback as WireRollback, ServiceDeployment,
            ServiceDeploymentBrief, ServiceDeploymentStatus, ServiceRevision, StopServiceDeploymentRequest,
            StopServiceDeploymentResponse, StopServiceDeploymentStopType,
        },
    },
    protocol::Fault,
};
use bowline_model::{arn::Arn, service::DeploymentId};

use super::{invalid, page_of, services};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    ecs::{
        record::{Deployment, DeploymentState, ServiceRecord},
        rollback::{self, RollbackError},
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
        DeploymentState::Superseded => ServiceDeploymentStatus::Stopped,
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

/// `StopServiceDeployment`: `ROLLBACK` is what AWS has.
pub(super) fn stop(
    call: &Call<'_>,
    request: StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, Fault> {
    let given = &request.service_deployment_arn;
    if !given.starts_with("arn:") || !given.contains(":service-deployment/") {
        return Err(invalid("Invalid serviceDeploymentArn: the ARN of a service deployment is needed."));
    }
    if request.stop_type == Some(StopServiceDeploymentStopType::Abort) {
        return Err(Fault::new(
            "UnsupportedFeatureException",
            "The stop type ABORT is not supported: a service deployment stops with ROLLBACK.",
        ));
    }
    call.change(|registry| {
        let (service, _, deployment) = find(registry, "service-deployment", given).ok_or_else(|| {
            Fault::new(
                "ServiceDeploymentNotFoundException",
                "The specified service deployment was not found.",
            )
        })?;
        if deployment.state != DeploymentState::InProgress {
            return Err(Fault::new(
                "ConflictException",
                "The service deployment cannot be stopped because it is not in progress.",
            ));
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
            let wanted = row.filter(|row| row.deployment == deployment.id).map_or(0, |row| row.desired_count);
            CurrentServiceRevision {
                arn: revision_arn(&service, &deployment.id),
                requested_task_count: wanted,
                running_task_count: running,
                pending_task_count: pending,
            }
        };
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
            stopped_at: deployment.rollback.as_ref().map(|rollback| wire(rollback.started_at)),
        });
    }
    Ok(response)
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
