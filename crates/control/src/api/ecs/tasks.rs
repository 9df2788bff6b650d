//! Tasks.

use std::collections::BTreeMap;

use bowline_aws::{
    ecs::{
        AssignPublicIp, CapacityProviderStrategyItem, KeyValuePair, LaunchType, NetworkConfiguration,
        PropagateTags, Tag,
        api::{
            Attribute, Container, ContainerOverride as WireOverride, DescribeTasksRequest, DesiredTaskStatus,
            Failure, ListTasksRequest, ListTasksResponse, NetworkBinding, RunTaskRequest, StartTaskRequest,
            StopTaskRequest, StopTaskResponse, TagsField, Task, TaskOverride, TasksResponse,
        },
    },
    protocol::Fault,
};
use bowline_model::{
    arn::Arn,
    task::{DesiredStatus, HealthStatus, StopCode, TaskReport, TaskStatus},
};

use super::{
    arn_in_cluster, attachments, client, container_instances, deployments, find_cluster, invalid, page_of,
    services, tags,
};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    ecs::{
        capacity::{self, Placement},
        definition, instance,
    },
    random,
    registry::{Cluster, ContainerOverride, Registry, StandaloneTask, StopReason, TaskOwner, TaskRecord},
    task_role,
    zone::{self, Spread},
};

/// Most tasks in one `DescribeTasks`.
const DESCRIBED_MAX: usize = 100;

/// Most tasks that one `RunTask` starts.
const STARTED_MAX: i64 = 10;

/// What `RunTask` and `StartTask` have in common.
struct Start {
    cluster: Option<String>,
    task_definition: String,
    count: usize,
    group: Option<String>,
    started_by: Option<String>,
    overrides: TaskOverride,
    network: Option<NetworkConfiguration>,
    tags: Vec<Tag>,
    propagate_tags: bool,
    launch_type: Option<LaunchType>,
    capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    enable_execute_command: bool,
    platform_version: Option<String>,
    client_token: Option<String>,
}

pub(super) fn run(call: &Call<'_>, request: RunTaskRequest) -> Result<TasksResponse, Fault> {
    let count = request.count.unwrap_or(1);
    constraint::range("count", count, 1..=STARTED_MAX).map_err(invalid)?;
    services::check_platform(request.platform_version.as_deref())?;
    services::check_launch(request.launch_type, &request.capacity_provider_strategy)?;
    if let Some(token) = &request.client_token {
        constraint::length("clientToken", token, 0..=64).map_err(invalid)?;
    }
    start_tasks(
        call,
        Start {
            cluster: request.cluster,
            task_definition: request.task_definition,
            count: usize::try_from(count).unwrap_or(1),
            group: request.group,
            started_by: request.started_by,
            overrides: request.overrides.unwrap_or_default(),
            network: request.network_configuration,
            tags: request.tags,
            propagate_tags: request.propagate_tags == Some(PropagateTags::TaskDefinition),
            launch_type: request.launch_type,
            capacity_provider_strategy: request.capacity_provider_strategy,
            enable_execute_command: request.enable_execute_command.unwrap_or(false),
            platform_version: request.platform_version,
            client_token: request.client_token.filter(|token| !token.is_empty()),
        },
    )
}

pub(super) fn start(call: &Call<'_>, request: StartTaskRequest) -> Result<TasksResponse, Fault> {
    constraint::items("containerInstances", request.container_instances.len(), 1..=10).map_err(invalid)?;
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let mut failures = Vec::new();
    let mut count = 0;
    for given in &request.container_instances {
        match container_instances::for_start(&registry, &cluster, given) {
            Ok(()) => count += 1,
            Err(failure) => failures.push(failure),
        }
    }
    // What cannot be started is still refused for what is wrong with it.
    let started = start_tasks(
        call,
        Start {
            cluster: request.cluster,
            task_definition: request.task_definition,
            // One for each time that this machine is named.
            count,
            group: request.group,
            started_by: request.started_by,
            overrides: request.overrides.unwrap_or_default(),
            network: request.network_configuration,
            tags: request.tags,
            propagate_tags: request.propagate_tags == Some(PropagateTags::TaskDefinition),
            launch_type: Some(LaunchType::Ec2),
            capacity_provider_strategy: Vec::new(),
            enable_execute_command: request.enable_execute_command.unwrap_or(false),
            platform_version: None,
            client_token: None,
        },
    )?;
    Ok(TasksResponse { tasks: started.tasks, failures })
}

/// The tasks that a `RunTask` with the same token has made: a retry makes no more of them.
///
/// # Errors
/// That call asked for something else.
fn made_before(registry: &Registry, wanted: &StandaloneTask) -> Result<Option<TasksResponse>, Fault> {
    let Some((token, _)) = &wanted.client_token else { return Ok(None) };
    let made: Vec<_> = registry
        .known_tasks()
        .filter_map(|task| match &task.owner {
            TaskOwner::Standalone(made) if made.cluster == wanted.cluster => Some((task, made)),
            _ => None,
        })
        .filter(|(_, made)| made.client_token.as_ref().is_some_and(|(used, _)| used == token))
        .collect();
    let Some((_, first)) = made.first() else { return Ok(None) };
    if ***first != *wanted {
        return Err(Fault::new(
            "ConflictException",
            "The clientToken is in use by a RunTask with other parameters.",
        ));
    }
    let tasks = made.iter().map(|(task, _)| told(registry, task)).collect();
    Ok(Some(TasksResponse { tasks, failures: Vec::new() }))
}

fn start_tasks(call: &Call<'_>, start: Start) -> Result<TasksResponse, Fault> {
    if start.started_by.as_deref().is_some_and(|by| by.len() > 128) {
        return Err(invalid("startedBy can have at most 128 characters."));
    }
    tags::check(&start.tags)?;
    call.change(|registry| {
        let cluster = find_cluster(registry, start.cluster.as_deref())?;
        let arn = definition::find(registry, &start.task_definition)
            .ok_or_else(|| client("TaskDefinition not found."))?;
        let active = registry
            .task_definition_records
            .get(arn.as_str())
            .is_some_and(|record| record.deregistered_at.is_none());
        let definition = registry.task_definitions.get(arn.as_str()).filter(|_| active).cloned();
        let definition = definition.ok_or_else(|| invalid("TaskDefinition is inactive"))?;
        let overrides = overrides(&start.overrides, |name| {
            definition.containers.iter().any(|container| container.name == name)
        })?;
        let standalone = StandaloneTask {
            task_definition: arn,
            cluster: cluster.name.clone(),
            namespace: cluster.default_namespace.clone(),
            group: start.group.clone().unwrap_or_else(|| format!("family:{}", definition.family)),
            started_by: start.started_by.clone(),
            overrides,
            task_role: start.overrides.task_role_arn.clone().filter(|role| !role.is_empty()),
            assign_public_ip: start
                .network
                .as_ref()
                .and_then(|network| network.awsvpc_configuration.as_ref())
                .is_some_and(|awsvpc| awsvpc.assign_public_ip == Some(AssignPublicIp::Enabled)),
            subnets: start
                .network
                .as_ref()
                .and_then(|network| network.awsvpc_configuration.as_ref())
                .map(|awsvpc| awsvpc.subnets.clone())
                .unwrap_or_default(),
            launch_type: start.launch_type,
            capacity_provider_strategy: capacity::or_default(
                &cluster,
                start.launch_type,
                start.capacity_provider_strategy.clone(),
            ),
            enable_execute_command: start.enable_execute_command,
            platform_version: start.platform_version.clone(),
            client_token: start.client_token.clone().map(|token| (token, start.count)),
        };
        if let Some(made) = made_before(registry, &standalone)? {
            return Ok(made);
        }
        services::check_strategy(registry, &cluster, &standalone.capacity_provider_strategy)?;
        let mut placement = Placement::new(
            &standalone.capacity_provider_strategy,
            // A strategy is kept to by each call of RunTask of its own.
            std::iter::empty(),
        );
        let recorded = registry.task_definition_records.get(standalone.task_definition.as_str());
        let propagated = recorded.filter(|_| start.propagate_tags).map(|record| &record.request.tags[..]);
        let tags = tags::merged(&start.tags, propagated.unwrap_or_default());
        let in_namespace = standalone.namespace.is_some();
        let owner = TaskOwner::Standalone(Box::new(standalone));
        let proxied = in_namespace || task_role::of_owner(registry, &owner).is_some();
        let of_group = registry.tasks.values().filter(|task| is_of_group(task, &owner));
        let mut spread = Spread::new(registry, &owner, of_group.map(|task| &**task));
        let mut tasks = Vec::new();
        for _ in 0..start.count {
            let id = random::task_id();
            let arn = call.scope.arn("ecs", format_args!("task/{}/{id}", cluster.name));
            let record = TaskRecord {
                id: id.clone(),
                arn,
                owner: owner.clone(),
                created_at: call.now,
                desired: DesiredStatus::Running,
                draining_since: None,
                was_healthy: false,
                health_checked: definition.is_health_checked(),
                proxied,
                started_at: None,
                serving_since: None,
                stop_reason: None,
                capacity_provider: placement.place(),
                zone: spread.place(),
                protected_until: None,
                tags: tags.clone(),
                report: None,
            };
            let launch_type = instance::launch_type(registry, &record).unwrap_or(LaunchType::Ec2);
            if !instance::may_place(registry, &cluster.name, launch_type) {
                return Err(invalid("No Container Instances were found in your cluster."));
            }
            registry.tasks.put(id.as_str(), record.clone());
            tasks.push(told(registry, &record));
        }
        Ok(TasksResponse { tasks, failures: Vec::new() })
    })
}

/// Whether a task was started by itself, in the same group.
fn is_of_group(task: &TaskRecord, owner: &TaskOwner) -> bool {
    match (&task.owner, owner) {
        (TaskOwner::Standalone(one), TaskOwner::Standalone(other)) => one.group == other.group,
        _ => false,
    }
}

fn overrides(
    given: &TaskOverride,
    has_container: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, ContainerOverride>, Fault> {
    let mut overrides = BTreeMap::new();
    for container in &given.container_overrides {
        let name = container.name.clone().unwrap_or_default();
        if !has_container(&name) {
            return Err(invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
        let environment = container.environment.iter();
        let environment = environment
            .filter_map(|pair| Some((pair.name.clone()?, pair.value.clone().unwrap_or_default())))
            .collect();
        overrides.insert(name, ContainerOverride { command: container.command.clone(), environment });
    }
    Ok(overrides)
}

pub(super) fn stop(call: &Call<'_>, request: StopTaskRequest) -> Result<StopTaskResponse, Fault> {
    if request.reason.as_deref().is_some_and(|reason| reason.len() > 1024) {
        return Err(invalid("reason can have at most 1,024 characters."));
    }
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let arn = arn_in_cluster("task", &request.task, &cluster);
        let id = arn.as_ref().map(|arn| arn.resource_name().to_owned()).unwrap_or_default();
        let reason = StopReason {
            code: StopCode::UserInitiated,
            reason: request.reason.clone().unwrap_or_else(|| "Task stopped by user".into()),
        };
        let not_found = || invalid("The referenced task was not found.");
        let known = registry.known_task(&id).filter(|task| is_in(task, &cluster)).ok_or_else(not_found)?;
        // What is over has its own reason.
        if known.stopped_at().is_none() {
            registry.tasks.update(&id, |task| {
                task.stop_reason.get_or_insert(reason);
                // A service's tasks leave in order: nothing new is sent to one on its way out.
                match task.owner {
                    TaskOwner::Service { .. } if task.serves() => {
                        task.draining_since.get_or_insert(call.now);
                    }
                    _ => task.desired = DesiredStatus::Stopped,
                }
            });
        }
        let task = registry.known_task(&id).ok_or_else(not_found)?;
        Ok(StopTaskResponse { task: told(registry, task) })
    })
}

/// Whether a task is one of a cluster's.
pub(super) fn is_in(task: &TaskRecord, cluster: &Cluster) -> bool {
    let mut parts = task.arn.resource().split('/');
    !matches!(task.owner, TaskOwner::Gateway { .. }) && parts.nth(1) == Some(cluster.name.as_str())
}

pub(super) fn list(call: &Call<'_>, request: ListTasksRequest) -> Result<ListTasksResponse, Fault> {
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let service = match &request.service_name {
        Some(given) => Some(services::find(&registry, Some(&cluster.name), given)?.0),
        None => None,
    };
    let wanted = request.desired_status.unwrap_or(DesiredTaskStatus::Running);
    let tasks = registry.known_tasks().filter(|task| {
        let of_service = service.as_ref().is_none_or(
            |wanted| matches!(&task.owner, TaskOwner::Service { service, .. } if service == wanted),
        );
        let of_family = request.family.as_deref().is_none_or(|wanted| {
            task.owner
                .task_definition()
                .is_some_and(|definition| definition.resource_name().split(':').next() == Some(wanted))
        });
        let of_starter =
            request.started_by.as_deref().is_none_or(|wanted| started_by(task).as_deref() == Some(wanted));
        let of_launch_type =
            request.launch_type.is_none_or(|wanted| instance::launch_type(&registry, task) == Some(wanted));
        let on_instance = request.container_instance.as_deref().is_none_or(|wanted| {
            instance::of_task(&registry, task)
                .is_some_and(|on| wanted == on.arn.as_str() || wanted == on.arn.resource_name())
        });
        is_in(task, &cluster)
            && of_launch_type
            && on_instance
            && task.is_ending() == (wanted == DesiredTaskStatus::Stopped)
            && of_service
            && of_family
            && of_starter
    });
    let arns = tasks.map(|task| task.arn.to_string()).collect();
    let page = page_of(
        "ListTasks",
        arns,
        Clone::clone,
        request.next_token.as_deref(),
        request.max_results.or(Some(100)),
        100,
    )?;
    Ok(ListTasksResponse { task_arns: page.items, next_token: page.next_token })
}

pub(super) fn describe(call: &Call<'_>, request: DescribeTasksRequest) -> Result<TasksResponse, Fault> {
    if request.tasks.is_empty() {
        return Err(invalid("Tasks cannot be empty."));
    }
    constraint::items("tasks", request.tasks.len(), 1..=DESCRIBED_MAX).map_err(invalid)?;
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let mut response = TasksResponse { tasks: Vec::new(), failures: Vec::new() };
    for given in &request.tasks {
        let arn: Arn = arn_in_cluster("task", given, &cluster)
            .ok_or_else(|| invalid("Invalid task: its id or ARN is needed"))?;
        let id = arn.resource_name();
        let known = registry.known_task(id).filter(|task| is_in(task, &cluster));
        if let Some(mut task) = known.map(|task| told(&registry, task)) {
            if !request.include.contains(&TagsField::Tags) {
                task.tags.clear();
            }
            response.tasks.push(task);
        } else {
            let reason = Some("MISSING".to_owned());
            response.failures.push(Failure { arn: Some(arn.to_string()), reason, detail: None });
        }
    }
    Ok(response)
}

/// `enableExecuteCommand`, of the task or of its service.
pub(super) fn executes_commands(registry: &Registry, task: &TaskRecord) -> bool {
    match &task.owner {
        TaskOwner::Service { service, .. } => registry
            .service_records
            .get(service.as_str())
            .is_some_and(|record| record.request.enable_execute_command == Some(true)),
        TaskOwner::Standalone(standalone) => standalone.enable_execute_command,
        TaskOwner::Gateway { .. } => false,
    }
}

fn started_by(task: &TaskRecord) -> Option<String> {
    match &task.owner {
        TaskOwner::Service { deployment, .. } => Some(deployment.to_string()),
        TaskOwner::Standalone(standalone) => standalone.started_by.clone(),
        TaskOwner::Gateway { .. } => None,
    }
}

fn status_name(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Provisioning => "PROVISIONING",
        TaskStatus::Pending => "PENDING",
        TaskStatus::Running => "RUNNING",
        TaskStatus::Stopping => "STOPPING",
        TaskStatus::Stopped => "STOPPED",
    }
}

fn health_name(health: HealthStatus) -> &'static str {
    match health {
        HealthStatus::Unknown => "UNKNOWN",
        HealthStatus::Healthy => "HEALTHY",
        HealthStatus::Unhealthy => "UNHEALTHY",
    }
}

fn told(registry: &Registry, task: &TaskRecord) -> Task {
    let report = task.report.as_deref();
    let service = registry.service_of(task);
    let request = service
        .and_then(|service| registry.service_records.get(service.arn.as_str()))
        .map(|record| &record.request);
    let group = match &task.owner {
        TaskOwner::Service { service, .. } => format!("service:{}", service.resource_name()),
        TaskOwner::Standalone(standalone) => standalone.group.clone(),
        TaskOwner::Gateway { .. } => String::new(),
    };
    let definition = task.owner.task_definition();
    let recorded = definition.and_then(|arn| registry.task_definition_records.get(arn.as_str()));
    let (stop_code, stopped_reason) = end_of(task, report);
    Task {
        task_arn: task.arn.to_string(),
        task_definition_arn: definition.map(Arn::to_string).unwrap_or_default(),
        cluster_arn: deployments::cluster_arn_of_task(&task.arn),
        container_instance_arn: instance::of_task(registry, task).map(|on| on.arn.to_string()),
        attachments: vec![attachments::interface(registry, task, report)],
        attributes: report.iter().flat_map(|report| &report.warnings).map(|text| warning(text)).collect(),
        availability_zone: zone::of_task(registry, task),
        capacity_provider_name: task.capacity_provider.clone(),
        connectivity: "CONNECTED",
        connectivity_at: report.map(|report| wire(report.at)),
        containers: containers(task, report, recorded.map(|record| &record.request)),
        cpu: recorded.and_then(|record| record.request.cpu.clone()),
        created_at: wire(task.created_at),
        desired_status: if task.is_ending() { "STOPPED" } else { "RUNNING" },
        enable_execute_command: executes_commands(registry, task),
        group,
        health_status: health_name(report.map(|report| report.health).unwrap_or_default()),
        last_status: status_name(task.status()),
        launch_type: instance::launch_type(registry, task),
        memory: recorded.and_then(|record| record.request.memory.clone()),
        overrides: told_overrides(task),
        platform_version: match &task.owner {
            TaskOwner::Standalone(standalone) => standalone.platform_version.clone(),
            _ => request.and_then(|request| request.platform_version.clone()),
        },
        started_at: task.started_at.map(wire),
        started_by: started_by(task),
        stop_code,
        stopped_at: task.stopped_at().map(wire),
        stopped_reason,
        tags: task.tags.clone(),
        version: 1,
    }
}

/// What a user should know of how the task runs: AWS has no field for it.
fn warning(text: &str) -> Attribute {
    Attribute {
        name: "bowline.warning".into(),
        value: Some(text.to_owned()),
        target_type: None,
        target_id: None,
    }
}

/// Why it stops, or has: what was said when it was told to, else what its agent saw.
fn end_of(task: &TaskRecord, report: Option<&TaskReport>) -> (Option<String>, Option<String>) {
    if !task.is_ending() {
        return (None, None);
    }
    if let Some(said) = &task.stop_reason {
        return (Some(format!("{:?}", said.code)), Some(said.reason.clone()));
    }
    let seen = report.and_then(|report| Some((report.stop_code?, report.stopped_reason.clone()?)));
    match (seen, &task.owner) {
        (Some((code, reason)), _) if code != StopCode::UserInitiated => {
            (Some(format!("{code:?}")), Some(reason))
        }
        (_, TaskOwner::Service { deployment, .. }) => (
            Some("ServiceSchedulerInitiated".into()),
            Some(format!("Scaling activity initiated by (deployment {deployment})")),
        ),
        (Some((code, reason)), _) => (Some(format!("{code:?}")), Some(reason)),
        (None, _) => (None, None),
    }
}

fn containers(
    task: &TaskRecord,
    report: Option<&TaskReport>,
    request: Option<&bowline_aws::ecs::RegisterTaskDefinitionRequest>,
) -> Vec<Container> {
    let definitions = request.map(|request| &request.container_definitions[..]).unwrap_or_default();
    definitions
        .iter()
        .map(|definition| {
            let seen =
                report.and_then(|report| report.containers.iter().find(|seen| seen.name == definition.name));
            let bindings = report.map(|report| &report.published[..]).unwrap_or_default();
            let own =
                |port| definition.port_mappings.iter().any(|mapping| mapping.container_port == Some(port));
            Container {
                container_arn: task.arn.as_str().replace(":task/", ":container/") + "/" + &definition.name,
                task_arn: task.arn.to_string(),
                name: definition.name.clone(),
                image: definition.image.clone(),
                runtime_id: seen.and_then(|seen| seen.pid).map(|pid| format!("{}-{pid}", task.id)),
                last_status: status_name(seen.map_or(TaskStatus::Pending, |seen| seen.status)),
                exit_code: seen.and_then(|seen| seen.exit_code),
                reason: seen.and_then(|seen| seen.reason.clone()),
                network_bindings: bindings
                    .iter()
                    .filter(|published| own(published.container_port))
                    .map(|published| NetworkBinding {
                        bind_ip: published.address.ip().to_string(),
                        container_port: published.container_port,
                        host_port: published.address.port(),
                        protocol: "tcp",
                    })
                    .collect(),
                network_interfaces: Vec::new(),
                health_status: health_name(seen.map(|seen| seen.health).unwrap_or_default()),
                cpu: definition.cpu.map(|cpu| cpu.to_string()),
                memory: definition.memory.map(|memory| memory.to_string()),
            }
        })
        .collect()
}

fn told_overrides(task: &TaskRecord) -> TaskOverride {
    let TaskOwner::Standalone(standalone) = &task.owner else { return TaskOverride::default() };
    let container_overrides = standalone
        .overrides
        .iter()
        .map(|(name, given)| WireOverride {
            name: Some(name.clone()),
            command: given.command.clone(),
            environment: given
                .environment
                .iter()
                .map(|(name, value)| KeyValuePair { name: Some(name.clone()), value: Some(value.clone()) })
                .collect(),
            ..WireOverride::default()
        })
        .collect();
    let task_role_arn = standalone.task_role.clone();
    TaskOverride { container_overrides, task_role_arn, ..TaskOverride::default() }
}
