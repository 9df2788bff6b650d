//! Container instances: this machine, once in each cluster.

use std::sync::Arc;

use bowline_aws::{
    ecs::api::{
        Attribute, ContainerInstance, ContainerInstanceField, ContainerInstanceHealthStatus,
        ContainerInstanceResponse, ContainerInstanceStatus, ContainerInstancesResponse,
        DeregisterContainerInstanceRequest, DescribeContainerInstancesRequest, Failure,
        ListContainerInstancesRequest, ListContainerInstancesResponse, RegisterContainerInstanceRequest,
        Resource, UpdateContainerInstancesStateRequest, VersionInfo,
    },
    protocol::Fault,
};
use bowline_model::task::TaskStatus;
use bowline_plumbing::machine::Machine;

use super::{arn_in_cluster, attributes, find_cluster, invalid, page_of, tags};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    ecs::instance::{self, ContainerInstanceRecord, InstanceStatus},
    registry::{Cluster, Registry, TaskRecord},
};

/// Most container instances in one `DescribeContainerInstances`.
const DESCRIBED_MAX: usize = 100;

/// Most container instances in one `UpdateContainerInstancesState`.
const CHANGED_MAX: usize = 10;

/// CPU units of a processor.
const UNITS_OF_PROCESSOR: i64 = 1_024;

/// The container instance of a request, by its id or ARN.
///
/// # Errors
/// There is no such one; the failure that tells so.
pub(super) fn find(
    registry: &Registry,
    cluster: &Cluster,
    given: &str,
) -> Result<Arc<ContainerInstanceRecord>, Failure> {
    let arn = arn_in_cluster("container-instance", given, cluster);
    let present = registry.container_instances.get(&cluster.name);
    match present.filter(|instance| Some(&instance.arn) == arn.as_ref()) {
        Some(instance) => Ok(Arc::clone(instance)),
        None => Err(Failure {
            arn: Some(arn.map_or_else(|| given.to_owned(), |arn| arn.to_string())),
            reason: Some("MISSING".into()),
            detail: None,
        }),
    }
}

/// Whether `StartTask` may place a task on what is named.
///
/// # Errors
/// The failure that tells why not.
pub(super) fn for_start(registry: &Registry, cluster: &Cluster, given: &str) -> Result<(), Failure> {
    let instance = find(registry, cluster, given)?;
    match instance.status {
        InstanceStatus::Active => Ok(()),
        status @ (InstanceStatus::Draining | InstanceStatus::Inactive) => Err(Failure {
            arn: Some(instance.arn.to_string()),
            reason: Some(status.name().into()),
            detail: None,
        }),
    }
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListContainerInstancesRequest,
) -> Result<ListContainerInstancesResponse, Fault> {
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    if request.filter.as_deref().is_some_and(|filter| !filter.is_empty()) {
        return Err(invalid("Invalid filter: the cluster query language is not here."));
    }
    let wanted = |status: InstanceStatus| match request.status {
        None => status != InstanceStatus::Inactive,
        Some(ContainerInstanceStatus::Active) => status == InstanceStatus::Active,
        Some(ContainerInstanceStatus::Draining) => status == InstanceStatus::Draining,
        // Whatever is asked is done when it is answered.
        Some(_) => false,
    };
    let present = registry.container_instances.get(&cluster.name);
    let arns = present.filter(|instance| wanted(instance.status)).map(|instance| instance.arn.to_string());
    let page = page_of(
        "ListContainerInstances",
        arns.into_iter().collect(),
        Clone::clone,
        request.next_token.as_deref(),
        request.max_results,
        100,
    )?;
    Ok(ListContainerInstancesResponse { container_instance_arns: page.items, next_token: page.next_token })
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeContainerInstancesRequest,
) -> Result<ContainerInstancesResponse, Fault> {
    check_count(&request.container_instances, DESCRIBED_MAX)?;
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let mut response = ContainerInstancesResponse { container_instances: Vec::new(), failures: Vec::new() };
    for given in &request.container_instances {
        match find(&registry, &cluster, given) {
            Ok(instance) => {
                response.container_instances.push(told(&registry, &instance, &request.include)?);
            }
            Err(failure) => response.failures.push(failure),
        }
    }
    Ok(response)
}

fn check_count(given: &[String], most: usize) -> Result<(), Fault> {
    if given.is_empty() {
        return Err(invalid("Container instances cannot be empty."));
    }
    constraint::items("containerInstances", given.len(), 1..=most).map_err(invalid)
}

pub(super) fn update_state(
    call: &Call<'_>,
    request: UpdateContainerInstancesStateRequest,
) -> Result<ContainerInstancesResponse, Fault> {
    check_count(&request.container_instances, CHANGED_MAX)?;
    let status = match request.status {
        ContainerInstanceStatus::Active => InstanceStatus::Active,
        ContainerInstanceStatus::Draining => InstanceStatus::Draining,
        _ => return Err(invalid("Container instance status should be one of [ACTIVE,DRAINING]")),
    };
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let mut response =
            ContainerInstancesResponse { container_instances: Vec::new(), failures: Vec::new() };
        for given in &request.container_instances {
            match find(registry, &cluster, given) {
                Ok(instance) if instance.status == InstanceStatus::Inactive => {
                    let arn = Some(instance.arn.to_string());
                    response.failures.push(Failure { arn, reason: Some("INACTIVE".into()), detail: None });
                }
                Ok(_) => {
                    let changed = change(registry, &cluster, |instance| instance.status = status);
                    if let Some(instance) = changed {
                        response.container_instances.push(told(registry, &instance, &[])?);
                    }
                }
                Err(failure) => response.failures.push(failure),
            }
        }
        Ok(response)
    })
}

/// Changes the container instance of a cluster, and counts the change if it is one.
pub(super) fn change(
    registry: &mut Registry,
    cluster: &Cluster,
    change: impl FnOnce(&mut ContainerInstanceRecord),
) -> Option<Arc<ContainerInstanceRecord>> {
    registry.container_instances.update(&cluster.name, |instance| {
        let before = instance.clone();
        change(instance);
        if *instance != before {
            instance.version += 1;
        }
    });
    registry.container_instances.get(&cluster.name).cloned()
}

pub(super) fn register(
    call: &Call<'_>,
    request: RegisterContainerInstanceRequest,
) -> Result<ContainerInstanceResponse, Fault> {
    if request.instance_identity_document.is_some() || request.instance_identity_document_signature.is_some()
    {
        return Err(invalid(
            "There are no EC2 instances here: this machine registers without an instance identity document.",
        ));
    }
    if !request.total_resources.is_empty() || !request.platform_devices.is_empty() {
        return Err(invalid(
            "totalResources and platformDevices cannot be given: the container instance is this machine, with what \
             it has.",
        ));
    }
    tags::check(&request.tags)?;
    attributes::check(&request.attributes)?;
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let present = registry.container_instances.get(&cluster.name).cloned();
        let again = present.filter(|instance| instance.status != InstanceStatus::Inactive);
        if let Some(given) = &request.container_instance_arn
            && again.as_ref().is_none_or(|instance| instance.arn.as_str() != given)
        {
            return Err(invalid("The container instance of containerInstanceArn is not registered."));
        }
        let mut instance =
            again.map_or_else(|| instance::new(&cluster, call.now), |present| (*present).clone());
        instance.tags = tags::merged(&request.tags, &instance.tags);
        for attribute in &request.attributes {
            instance.attributes.insert(attribute.name.clone(), attribute.value.clone());
        }
        attributes::check_limit(&instance)?;
        registry.container_instances.put(cluster.name.clone(), instance.clone());
        let instance = told(registry, &instance, &[ContainerInstanceField::Tags])?;
        Ok(ContainerInstanceResponse { container_instance: instance })
    })
}

pub(super) fn deregister(
    call: &Call<'_>,
    request: DeregisterContainerInstanceRequest,
) -> Result<ContainerInstanceResponse, Fault> {
    call.change(|registry| {
        let cluster = find_cluster(registry, request.cluster.as_deref())?;
        let found = find(registry, &cluster, &request.container_instance).ok();
        let found = found.filter(|instance| instance.status != InstanceStatus::Inactive);
        let instance = found.ok_or_else(|| invalid("Referenced container instance not found."))?;
        let busy = instance::tasks_on(registry, &instance).next().is_some();
        if busy && !request.force.unwrap_or(false) {
            return Err(invalid("Found running tasks on the instance."));
        }
        instance::stop_tasks_on(registry, &instance);
        let changed = change(registry, &cluster, |instance| instance.status = InstanceStatus::Inactive);
        let instance = told(registry, &changed.unwrap_or(instance), &[])?;
        Ok(ContainerInstanceResponse { container_instance: instance })
    })
}

fn told(
    registry: &Registry,
    instance: &ContainerInstanceRecord,
    include: &[ContainerInstanceField],
) -> Result<ContainerInstance, Fault> {
    let machine = Machine::this().map_err(|error| {
        tracing::error!(%error, "what this machine has cannot be told");
        Fault::new("ServerException", "These errors are usually caused by a server issue.").with_status(500)
    })?;
    let tasks: Vec<_> = instance::tasks_on(registry, instance).collect();
    let there = instance.status != InstanceStatus::Inactive;
    let health = include.contains(&ContainerInstanceField::ContainerInstanceHealth).then_some(
        ContainerInstanceHealthStatus { overall_status: if there { "OK" } else { "INSUFFICIENT_DATA" } },
    );
    Ok(ContainerInstance {
        container_instance_arn: instance.arn.to_string(),
        version: instance.version,
        version_info: VersionInfo { agent_version: env!("CARGO_PKG_VERSION") },
        remaining_resources: resources(&machine, &used(registry, &tasks)),
        registered_resources: resources(&machine, &Used::default()),
        status: instance.status.name(),
        agent_connected: there,
        running_tasks_count: tasks.iter().filter(|task| task.status() == TaskStatus::Running).count(),
        pending_tasks_count: tasks.iter().filter(|task| task.status() < TaskStatus::Running).count(),
        attributes: told_attributes(registry, instance),
        registered_at: Some(wire(instance.registered_at)),
        tags: match include.contains(&ContainerInstanceField::Tags) {
            true => instance.tags.clone(),
            false => Vec::new(),
        },
        health_status: health,
    })
}

/// What tasks reserve of a machine.
#[derive(Default)]
struct Used {
    cpu: i64,
    memory: i64,
    ports: Vec<String>,
}

fn used(registry: &Registry, tasks: &[&TaskRecord]) -> Used {
    let mut used = Used::default();
    for task in tasks {
        let definition = task.owner.task_definition();
        let Some(record) = definition.and_then(|arn| registry.task_definition_records.get(arn.as_str()))
        else {
            continue;
        };
        let request = &record.request;
        let containers = || request.container_definitions.iter();
        let of_task = |given: Option<&str>| given.and_then(|text| text.trim().parse::<i64>().ok());
        let cpu =
            of_task(request.cpu.as_deref()).unwrap_or_else(|| total(containers().filter_map(|one| one.cpu)));
        let memory = of_task(request.memory.as_deref())
            .unwrap_or_else(|| total(containers().filter_map(|one| one.memory_reservation.or(one.memory))));
        used.cpu = used.cpu.saturating_add(cpu);
        used.memory = used.memory.saturating_add(memory);
        let published = task.report.iter().flat_map(|report| &report.published);
        used.ports.extend(published.map(|published| published.address.port().to_string()));
    }
    used
}

/// The sum of numbers that users gave.
fn total(numbers: impl Iterator<Item = i64>) -> i64 {
    numbers.fold(0, i64::saturating_add)
}

/// What is left of a machine. More may be reserved than there is: no task is refused for it.
fn resources(machine: &Machine, used: &Used) -> Vec<Resource> {
    let integer = |name, value: i64| Resource {
        name,
        r#type: "INTEGER",
        integer_value: Some(value.max(0)),
        string_set_value: None,
    };
    let ports = |name, ports: &[String]| Resource {
        name,
        r#type: "STRINGSET",
        integer_value: None,
        string_set_value: Some(ports.to_vec()),
    };
    let memory = i64::try_from(machine.memory_mib).unwrap_or(i64::MAX);
    vec![
        integer("CPU", (i64::from(machine.processors) * UNITS_OF_PROCESSOR).saturating_sub(used.cpu)),
        integer("MEMORY", memory.saturating_sub(used.memory)),
        ports("PORTS", &used.ports),
        ports("PORTS_UDP", &[]),
    ]
}

/// The machine's own attributes, and those that were given.
pub(super) fn told_attributes(registry: &Registry, instance: &ContainerInstanceRecord) -> Vec<Attribute> {
    let attribute = |name: &str, value: Option<String>| Attribute {
        name: name.to_owned(),
        value,
        target_type: None,
        target_id: None,
    };
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    let own = [
        ("ecs.availability-zone", format!("{}a", registry.settings().scope.region)),
        ("ecs.cpu-architecture", architecture.to_owned()),
        ("ecs.os-type", "linux".to_owned()),
    ];
    let given = instance.attributes.iter().map(|(name, value)| attribute(name, value.clone()));
    own.into_iter().map(|(name, value)| attribute(name, Some(value))).chain(given).collect()
}
