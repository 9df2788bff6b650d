//! Services.

use std::sync::Arc;

use bowline_aws::{
    ecs::{
        self, CreateServiceRequest, SchedulingStrategy,
        api::{
            CurrentServiceRevision, DeleteServiceRequest, Deployment as WireDeployment,
            DescribeServicesRequest, DescribeServicesResponse, Failure, ListServicesByNamespaceRequest,
            ListServicesRequest, ListServicesResponse, Service as WireService, ServiceConnectServiceResource,
            ServiceEvent, ServiceResponse, TagsField, UpdateServiceRequest,
        },
    },
    protocol::Fault,
};
use bowline_model::{arn::Arn, service::DeploymentId, task::TaskStatus};

use super::{
    arn_in_cluster, client, deployment_configuration, deployments, find_cluster, invalid, page_of, tags, tls,
};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    ecs::{
        capacity,
        record::{Deployment, DeploymentState, ServiceRecord, ServiceStatus},
        service::{self as commands, cluster_name},
    },
    registry::{Cluster, Registry, TaskOwner},
};

/// Most services in one `DescribeServices`.
const DESCRIBED_MAX: usize = 10;

/// Most events that are told of a service.
const EVENTS_MAX: usize = 100;

pub(super) fn create(call: &Call<'_>, request: CreateServiceRequest) -> Result<ServiceResponse, Fault> {
    constraint::length("serviceName", &request.service_name, 1..=255).map_err(invalid)?;
    if !request.service_name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(invalid(
            "Invalid service name: only alphanumeric characters, \"-\" and \"_\" are allowed",
        ));
    }
    if request.desired_count.is_none() && request.scheduling_strategy != Some(SchedulingStrategy::Daemon) {
        return Err(invalid(
            "Creation of service was refused: desiredCount is needed for the REPLICA strategy.",
        ));
    }
    if request.task_definition.is_none() {
        return Err(invalid("TaskDefinition can not be blank."));
    }
    check(&request)?;
    check_launch(request.launch_type, &request.capacity_provider_strategy)?;
    tags::check(&request.tags)?;
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let arn = service_arn(&cluster, &request.service_name)?;
        let mut request = request;
        request.capacity_provider_strategy =
            capacity::or_default(&cluster, request.launch_type, request.capacity_provider_strategy);
        check_strategy(registry, &cluster, &request.capacity_provider_strategy)?;
        match registry.service_records.get(arn.as_str()).map(|record| record.status) {
            Some(ServiceStatus::Active) if registry.services.get(arn.as_str()).is_some() => {
                let same = registry.service_records.get(arn.as_str()).is_some_and(|it| it.request == request);
                return match same {
                    true => told(call, registry, &arn),
                    false => Err(invalid("Creation of service was not idempotent.")),
                };
            }
            Some(ServiceStatus::Draining) => {
                return Err(invalid("Unable to Start a service that is still Draining."));
            }
            _ => {}
        }
        put(call, registry, &arn, &request, false)?;
        told(call, registry, &arn)
    })
}

/// What of a service ECS refuses at once.
fn check(request: &CreateServiceRequest) -> Result<(), Fault> {
    if let Some(count) = request.desired_count {
        constraint::range("desiredCount", count, 0..=5_000).map_err(invalid)?;
    }
    check_platform(request.platform_version.as_deref())?;
    deployment_configuration::check(request)?;
    let connect = request.service_connect_configuration.iter().filter(|connect| connect.enabled);
    for offered in connect.flat_map(|connect| &connect.services) {
        if offered.client_aliases.len() > 1 {
            return Err(invalid("Only one client alias is allowed per Service Connect service."));
        }
        let name = offered.discovery_name.as_deref().unwrap_or(&offered.port_name);
        if name.len() > 64
            || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
        {
            return Err(invalid(format!(
                "discoveryName {name:?} is not valid: up to 64 lowercase letters, numbers, underscores, hyphens and \
                 periods are allowed"
            )));
        }
    }
    Ok(())
}

/// Refuses a launch type beside a capacity provider strategy.
pub(super) fn check_launch(
    launch_type: Option<ecs::LaunchType>,
    strategy: &[ecs::CapacityProviderStrategyItem],
) -> Result<(), Fault> {
    match launch_type.is_some() && !strategy.is_empty() {
        true => Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        )),
        false => Ok(()),
    }
}

/// Refuses a strategy of capacity providers that its cluster does not have.
pub(super) fn check_strategy(
    registry: &Registry,
    cluster: &Cluster,
    strategy: &[ecs::CapacityProviderStrategyItem],
) -> Result<(), Fault> {
    capacity::check_strategy(registry, &cluster.request.capacity_providers, strategy).map_err(invalid)
}

/// Platform versions of Fargate on Linux.
const PLATFORM_VERSIONS: [&str; 7] = ["LATEST", "1.4.0", "1.3.0", "1.2.0", "1.1.0", "1.0.0", ""];

/// Refuses a platform version that there never was.
pub(super) fn check_platform(version: Option<&str>) -> Result<(), Fault> {
    match version.filter(|version| !PLATFORM_VERSIONS.contains(version)) {
        None => Ok(()),
        Some(version) => Err(Fault::new(
            "PlatformUnknownException",
            format!("The specified platform version {version:?} does not exist."),
        )),
    }
}

fn put(
    call: &Call<'_>,
    registry: &mut Registry,
    arn: &Arn,
    request: &CreateServiceRequest,
    force: bool,
) -> Result<(), Fault> {
    tls::check(call, registry, arn, request)?;
    commands::put(registry, arn, request, &call.service_change(force)).map_err(|faults| {
        let message = faults.join(" ");
        if message.starts_with("there is no task definition") {
            client("TaskDefinition not found.")
        } else if message.starts_with("there is no namespace") {
            Fault::new("NamespaceNotFoundException", message)
        } else {
            invalid(message)
        }
    })?;
    check_ports(registry, arn)?;
    if let Some(clash) = commands::clash_of(registry, arn) {
        return Err(invalid(format!("Service Connect: {clash}.")));
    }
    commands::assign_aliases(registry);
    Ok(())
}

/// Every `portName` must be a named port of the task definition.
fn check_ports(registry: &Registry, arn: &Arn) -> Result<(), Fault> {
    let Some(service) = registry.services.get(arn.as_str()) else { return Ok(()) };
    let Some(definition) = registry.task_definitions.get(service.task_definition.as_str()) else {
        return Ok(());
    };
    for offered in service.connect.iter().flat_map(|connect| &connect.services) {
        if definition.named_port(&offered.port_name).is_none() {
            return Err(invalid(format!(
                "The portName {} of serviceConnectConfiguration is not a port mapping name of the task definition {}.",
                offered.port_name, definition.arn
            )));
        }
    }
    Ok(())
}

fn service_arn(cluster: &Cluster, given: &str) -> Result<Arn, Fault> {
    arn_in_cluster("service", given, cluster)
        .ok_or_else(|| invalid("Invalid service: its name or ARN is needed"))
}

fn not_found() -> Fault {
    Fault::new("ServiceNotFoundException", "Service not found.")
}

/// The service of a request, and its record.
pub(super) fn find(
    registry: &Registry,
    cluster: Option<&str>,
    service: &str,
) -> Result<(Arn, Arc<ServiceRecord>), Fault> {
    let cluster = find_cluster(registry, cluster)?;
    let arn = service_arn(&cluster, service)?;
    let record = registry.service_records.get(arn.as_str()).cloned().ok_or_else(not_found)?;
    Ok((arn, record))
}

pub(super) fn update(call: &Call<'_>, update: UpdateServiceRequest) -> Result<ServiceResponse, Fault> {
    call.change(|registry| {
        let (arn, record) = find(registry, update.cluster.as_deref(), &update.service)?;
        if record.status != ServiceStatus::Active {
            return Err(Fault::new("ServiceNotActiveException", "Service was not ACTIVE."));
        }
        let mut request = record.request.clone();
        let force = update.force_new_deployment.unwrap_or(false);
        merge(&mut request, update.clone());
        check(&request)?;
        if update.capacity_provider_strategy.is_some() {
            let cluster = find_cluster(registry, update.cluster.as_deref())?;
            check_strategy(registry, &cluster, &request.capacity_provider_strategy)?;
        }
        put(call, registry, &arn, &request, force)?;
        told(call, registry, &arn)
    })
}

/// What is given replaces what the service has.
fn merge(request: &mut CreateServiceRequest, update: UpdateServiceRequest) {
    macro_rules! replace {
        ($($member:ident),*) => {$(
            if update.$member.is_some() {
                request.$member = update.$member;
            }
        )*};
    }
    macro_rules! replace_list {
        ($($member:ident => $target:ident),*) => {$(
            if let Some(list) = update.$member {
                request.$target = list;
            }
        )*};
    }
    replace!(
        desired_count,
        task_definition,
        deployment_configuration,
        availability_zone_rebalancing,
        network_configuration,
        platform_version,
        health_check_grace_period_seconds,
        deployment_controller,
        enable_execute_command,
        enable_ecs_managed_tags,
        propagate_tags,
        service_connect_configuration
    );
    replace_list!(
        capacity_provider_strategy => capacity_provider_strategy,
        placement_constraints => placement_constraints,
        placement_strategy => placement_strategies,
        load_balancers => load_balancers,
        service_registries => service_registries,
        volume_configurations => volume_configurations,
        vpc_lattice_configurations => vpc_lattice_configurations
    );
}

pub(super) fn delete(call: &Call<'_>, request: DeleteServiceRequest) -> Result<ServiceResponse, Fault> {
    call.change(|registry| {
        let (arn, record) = find(registry, request.cluster.as_deref(), &request.service)?;
        match record.status {
            ServiceStatus::Active => {}
            ServiceStatus::Draining => return told(call, registry, &arn),
            ServiceStatus::Inactive => return Err(not_found()),
        }
        let scaled = registry.services.get(arn.as_str()).is_some_and(|service| service.desired_count > 0);
        if scaled && !request.force.unwrap_or(false) {
            return Err(invalid("The service cannot be stopped while it is scaled above 0."));
        }
        commands::drain(registry, arn.as_str());
        let response = told(call, registry, &arn)?;
        commands::finish_draining(registry);
        Ok(response)
    })
}

pub(super) fn list(call: &Call<'_>, request: ListServicesRequest) -> Result<ListServicesResponse, Fault> {
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let of_cluster = registry.services.values().filter(|service| service.cluster == cluster.name);
    let arns = of_cluster.filter(|service| {
        let record = registry.service_records.get(service.arn.as_str());
        record.is_none_or(|record| {
            record.status != ServiceStatus::Inactive
                && request
                    .launch_type
                    .is_none_or(|wanted| capacity::service_launch_type(&record.request) == wanted)
                && request.scheduling_strategy.is_none_or(|wanted| {
                    record.request.scheduling_strategy.unwrap_or(SchedulingStrategy::Replica) == wanted
                })
        })
    });
    let arns = arns.map(|service| service.arn.to_string()).collect();
    listed("ListServices", arns, request.next_token.as_deref(), request.max_results)
}

pub(super) fn list_by_namespace(
    call: &Call<'_>,
    request: ListServicesByNamespaceRequest,
) -> Result<ListServicesResponse, Fault> {
    let registry = call.registry();
    let namespace = registry
        .namespace_named(&request.namespace)
        .ok_or_else(|| Fault::new("NamespaceNotFoundException", "Namespace not found."))?;
    let members = registry.services.values().filter(|service| {
        service.connect.as_ref().is_some_and(|connect| connect.namespace == namespace.name)
    });
    let arns = members.map(|service| service.arn.to_string()).collect();
    listed("ListServicesByNamespace", arns, request.next_token.as_deref(), request.max_results)
}

fn listed(
    operation: &str,
    arns: Vec<String>,
    token: Option<&str>,
    max_results: Option<i64>,
) -> Result<ListServicesResponse, Fault> {
    let page = page_of(operation, arns, Clone::clone, token, max_results.or(Some(10)), 100)?;
    Ok(ListServicesResponse { service_arns: page.items, next_token: page.next_token })
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeServicesRequest,
) -> Result<DescribeServicesResponse, Fault> {
    constraint::items("services", request.services.len(), 1..=DESCRIBED_MAX).map_err(|_| {
        invalid(if request.services.is_empty() {
            "Services cannot be empty.".to_owned()
        } else {
            format!("services can have at most {DESCRIBED_MAX} items.")
        })
    })?;
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let mut response = DescribeServicesResponse { services: Vec::new(), failures: Vec::new() };
    for given in &request.services {
        let arn = service_arn(&cluster, given)?;
        if registry.service_records.get(arn.as_str()).is_none() {
            let reason = Some("MISSING".to_owned());
            response.failures.push(Failure { arn: Some(arn.to_string()), reason, detail: None });
            continue;
        }
        let mut service = told(call, &registry, &arn)?.service;
        if !request.include.contains(&TagsField::Tags) {
            service.tags.clear();
        }
        response.services.push(service);
    }
    Ok(response)
}

/// How many tasks of a deployment run, and how many are on their way.
pub(super) fn counts(registry: &Registry, service: &Arn, of: Option<&DeploymentId>) -> (usize, usize) {
    let tasks = registry.tasks_of_service(service);
    let of_deployment = tasks.iter().filter(|task| match (&task.owner, of) {
        (TaskOwner::Service { deployment, .. }, Some(of)) => deployment == of,
        _ => true,
    });
    let (mut running, mut pending) = (0, 0);
    for task in of_deployment {
        match task.status() {
            TaskStatus::Running => running += 1,
            TaskStatus::Provisioning | TaskStatus::Pending => pending += 1,
            TaskStatus::Stopping | TaskStatus::Stopped => {}
        }
    }
    (running, pending)
}

fn told(call: &Call<'_>, registry: &Registry, arn: &Arn) -> Result<ServiceResponse, Fault> {
    let record = registry.service_records.get(arn.as_str()).ok_or_else(not_found)?;
    let service = registry.services.get(arn.as_str());
    let request = &record.request;
    let (running, pending) = counts(registry, arn, None);
    let desired = service.map_or(0, |service| service.desired_count);
    let primary = record.deployments.first();
    Ok(ServiceResponse {
        service: WireService {
            service_arn: arn.to_string(),
            service_name: arn.resource_name().to_owned(),
            cluster_arn: deployments::cluster_arn(arn),
            load_balancers: request.load_balancers.clone(),
            service_registries: request.service_registries.clone(),
            status: record.status.name(),
            desired_count: desired,
            running_count: running,
            pending_count: pending,
            launch_type: launch_type(request),
            capacity_provider_strategy: request.capacity_provider_strategy.clone(),
            platform_version: request.platform_version.clone(),
            platform_family: Some("Linux".into()),
            task_definition: primary.map(|primary| primary.task_definition.to_string()).unwrap_or_default(),
            deployment_configuration: deployments::configuration(request),
            deployments: told_deployments(registry, arn, record, desired),
            role_arn: request.role.clone(),
            events: events(call, arn),
            created_at: wire(record.created_at),
            current_service_deployment: record
                .deployments
                .iter()
                .find(|one| {
                    matches!(one.state, DeploymentState::InProgress | DeploymentState::RollbackInProgress)
                })
                .map(|primary| deployments::arn(arn, &primary.id)),
            current_service_revisions: primary
                .map(|primary| CurrentServiceRevision {
                    arn: deployments::revision_arn(arn, &primary.id),
                    requested_task_count: desired,
                    running_task_count: running,
                    pending_task_count: pending,
                    ..CurrentServiceRevision::default()
                })
                .into_iter()
                .collect(),
            placement_constraints: request.placement_constraints.clone(),
            placement_strategy: request.placement_strategies.clone(),
            network_configuration: request.network_configuration.clone(),
            health_check_grace_period_seconds: request.health_check_grace_period_seconds,
            scheduling_strategy: request.scheduling_strategy.or(Some(SchedulingStrategy::Replica)),
            deployment_controller: request
                .deployment_controller
                .clone()
                .or(Some(ecs::DeploymentController { r#type: Some(ecs::DeploymentControllerType::Ecs) })),
            tags: request.tags.clone(),
            created_by: record.created_by.clone(),
            enable_ecs_managed_tags: request.enable_ecs_managed_tags.unwrap_or(false),
            propagate_tags: request.propagate_tags,
            enable_execute_command: request.enable_execute_command.unwrap_or(false),
            availability_zone_rebalancing: request.availability_zone_rebalancing,
        },
    })
}

/// The launch type, where no capacity provider strategy stands in its place.
pub(super) fn launch_type(request: &CreateServiceRequest) -> Option<ecs::LaunchType> {
    match request.capacity_provider_strategy.is_empty() {
        true => Some(request.launch_type.unwrap_or(ecs::LaunchType::Ec2)),
        false => None,
    }
}

/// The present deployment, and earlier ones that still have tasks.
fn told_deployments(
    registry: &Registry,
    arn: &Arn,
    record: &ServiceRecord,
    desired: u32,
) -> Vec<WireDeployment> {
    let mut told = Vec::new();
    for (place, deployment) in record.deployments.iter().enumerate() {
        let (running, pending) = counts(registry, arn, Some(&deployment.id));
        if place > 0 && running + pending == 0 || record.status == ServiceStatus::Inactive {
            continue;
        }
        let primary = place == 0;
        told.push(told_deployment(
            registry,
            deployment,
            primary,
            if primary || is_shifting(registry, arn, &deployment.id) { desired } else { 0 },
            running,
            pending,
        ));
    }
    told
}

/// Whether a deployment is one of the two between which traffic is shifting.
fn is_shifting(registry: &Registry, arn: &Arn, deployment: &DeploymentId) -> bool {
    let shift = registry.services.get(arn.as_str()).and_then(|service| service.shift.as_ref());
    shift.is_some_and(|shift| [&shift.blue, &shift.green].iter().any(|set| set.deployment == *deployment))
}

fn told_deployment(
    registry: &Registry,
    deployment: &Deployment,
    primary: bool,
    desired_count: u32,
    running_count: usize,
    pending_count: usize,
) -> WireDeployment {
    let request = &deployment.request;
    let cluster = registry.clusters.get(&cluster_name(request.cluster.as_deref()));
    let default_namespace = cluster.and_then(|cluster| cluster.default_namespace.as_deref());
    WireDeployment {
        id: deployment.id.to_string(),
        status: if primary { "PRIMARY" } else { "ACTIVE" },
        task_definition: deployment.task_definition.to_string(),
        desired_count,
        pending_count,
        running_count,
        failed_tasks: deployment.failed_tasks,
        created_at: wire(deployment.created_at),
        updated_at: wire(deployment.updated_at),
        capacity_provider_strategy: request.capacity_provider_strategy.clone(),
        launch_type: launch_type(request),
        platform_version: request.platform_version.clone(),
        platform_family: Some("Linux".into()),
        network_configuration: request.network_configuration.clone(),
        rollout_state: match deployment.state {
            DeploymentState::InProgress => "IN_PROGRESS",
            DeploymentState::Completed => "COMPLETED",
            DeploymentState::Superseded
            | DeploymentState::Stopped
            | DeploymentState::RollbackInProgress
            | DeploymentState::RollbackSuccessful
            | DeploymentState::RollbackFailed => "FAILED",
        },
        rollout_state_reason: deployment.reason.clone(),
        service_connect_configuration: request.service_connect_configuration.clone(),
        service_connect_resources: connect_resources(registry, request, default_namespace),
        volume_configurations: request.volume_configurations.clone(),
    }
}

/// The Cloud Map services that Service Connect's names are, one a discovery name.
fn connect_resources(
    registry: &Registry,
    request: &CreateServiceRequest,
    default_namespace: Option<&str>,
) -> Vec<ServiceConnectServiceResource> {
    let Some(connect) = request.service_connect_configuration.as_ref().filter(|connect| connect.enabled)
    else {
        return Vec::new();
    };
    let given = connect.namespace.as_deref().or(default_namespace);
    let namespace = given.and_then(|given| registry.namespace_named(given));
    connect
        .services
        .iter()
        .map(|offered| {
            let discovery_name = offered.discovery_name.clone().unwrap_or_else(|| offered.port_name.clone());
            let discovery_arn =
                namespace.map_or_else(String::new, |namespace| format!("{}/{discovery_name}", namespace.arn));
            ServiceConnectServiceResource { discovery_name, discovery_arn }
        })
        .collect()
}

fn events(call: &Call<'_>, arn: &Arn) -> Vec<ServiceEvent> {
    let all = call.core.events_since(0);
    let of_service = all.into_iter().rev().filter(|(_, event)| event.resource == arn.as_str());
    of_service
        .take(EVENTS_MAX)
        .map(|(number, event)| ServiceEvent {
            id: format!("00000000-0000-4000-8000-{number:012x}"),
            created_at: wire(event.at),
            message: format!("(service {}) {}", arn.resource_name(), event.message),
        })
        .collect()
}
