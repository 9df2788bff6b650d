//! Task definitions: from ECS's shape to the model's.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bowline_aws::ecs::{self, RegisterTaskDefinitionRequest};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    log_driver::{FireLensConfiguration, LogConfiguration, LogDriver, LogDriverError},
    task::{BindMount, ContainerDependency, DependencyCondition, HealthCheckSpec, ResourceLimits, Ulimit},
    task_definition::{AppProtocol, ContainerDefinition, PortMapping, TASK_VOLUMES, TaskDefinition},
};
use serde::Serialize;

use super::record::{Asker, TaskDefinitionRecord};
use crate::registry::Registry;

/// Registers a revision under `arn`. The same one again changes nothing.
///
/// # Errors
/// What of it cannot be done, all of it; nothing was changed.
pub fn register(
    registry: &mut Registry,
    arn: &Arn,
    body: &RegisterTaskDefinitionRequest,
    now: Timestamp,
    by: &Asker,
) -> Result<(), Vec<String>> {
    let (definition, faults) = definition(arn.clone(), body);
    if !faults.is_empty() {
        return Err(faults);
    }
    registry.task_definitions.put(arn.as_str(), definition);
    let known = registry
        .task_definition_records
        .get(arn.as_str())
        .is_some_and(|record| record.deregistered_at.is_none() && record.request == *body);
    if !known {
        let record = TaskDefinitionRecord {
            request: body.clone(),
            registered_at: now,
            registered_by: by.clone(),
            deregistered_at: None,
            delete_requested_at: None,
        };
        registry.task_definition_records.put(arn.as_str(), record);
    }
    Ok(())
}

/// Marks a revision `INACTIVE`: services that run it go on.
pub fn deregister(registry: &mut Registry, arn: &str, now: Timestamp) {
    registry.task_definition_records.update(arn, |record| {
        record.deregistered_at.get_or_insert(now);
    });
}

/// The number that the next revision of a family gets: numbers are never given twice.
pub fn next_revision(registry: &Registry, family: &str) -> u32 {
    revisions(registry, family).last().map_or(1, |(revision, _)| revision + 1)
}

/// The newest `ACTIVE` revision of a family.
pub fn latest_active(registry: &Registry, family: &str) -> Option<Arn> {
    let active = |arn: &Arn| {
        registry
            .task_definition_records
            .get(arn.as_str())
            .is_some_and(|record| record.deregistered_at.is_none())
    };
    revisions(registry, family).into_iter().rev().map(|(_, arn)| arn).find(active)
}

/// Every registered revision of a family with its ARN, the oldest first.
pub fn revisions(registry: &Registry, family: &str) -> Vec<(u32, Arn)> {
    let mut revisions: Vec<_> = registry
        .task_definition_records
        .iter()
        .filter(|(_, record)| record.request.family == family)
        .filter_map(|(arn, _)| {
            let arn: Arn = arn.parse().ok()?;
            Some((revision_of(&arn)?, arn))
        })
        .collect();
    revisions.sort();
    revisions
}

/// The revision number at an ARN's end.
pub fn revision_of(arn: &Arn) -> Option<u32> {
    arn.resource().rsplit(':').next()?.parse().ok()
}

/// An ARN, `family:revision`, or a family, whose newest active revision is meant.
pub fn find(registry: &Registry, name: &str) -> Option<Arn> {
    if let Some(definition) = registry.task_definitions.get(name) {
        return Some(definition.arn.clone());
    }
    if let Some((family, revision)) = name.split_once(':').filter(|_| !name.starts_with("arn:")) {
        let wanted: u32 = revision.parse().ok()?;
        return revisions(registry, family)
            .into_iter()
            .find(|(revision, _)| *revision == wanted)
            .map(|(_, arn)| arn);
    }
    latest_active(registry, name)
}

/// A task definition in our own terms, and what of it cannot be done.
pub(crate) fn definition(arn: Arn, body: &RegisterTaskDefinitionRequest) -> (TaskDefinition, Vec<String>) {
    let mut faults = Vec::new();
    let revision = arn.resource().rsplit(':').next().and_then(|revision| revision.parse().ok()).unwrap_or(1);
    let containers: Vec<_> = body
        .container_definitions
        .iter()
        .map(|container| container_of(body, container, &mut faults))
        .collect();
    log_router(&containers, &mut faults);
    let definition = TaskDefinition {
        arn,
        family: body.family.clone(),
        revision,
        containers,
        limits: ResourceLimits {
            cpu_units: body.cpu.as_deref().and_then(cpu_units),
            memory_mib: body.memory.as_deref().and_then(memory_mib),
        },
    };
    (definition, faults)
}

fn container_of(
    body: &RegisterTaskDefinitionRequest,
    container: &ecs::ContainerDefinition,
    faults: &mut Vec<String>,
) -> ContainerDefinition {
    let seconds = |value: i64| Duration::from_secs(u64::try_from(value).unwrap_or(0));
    let mut command = container.entry_point.clone();
    command.extend(container.command.iter().cloned());
    let mut mounts = Vec::new();
    for mount in &container.mount_points {
        match mount_of(body, container, mount) {
            Ok(mount) => mounts.push(mount),
            Err(message) => faults.push(message),
        }
    }
    ContainerDefinition {
        name: container.name.clone(),
        image: container.image.clone(),
        command,
        working_directory: container.working_directory.clone(),
        environment: container
            .environment
            .iter()
            .filter_map(|pair| Some((pair.name.clone()?, pair.value.clone().unwrap_or_default())))
            .collect(),
        secrets: container
            .secrets
            .iter()
            .map(|secret| (secret.name.clone(), secret.value_from.clone()))
            .collect::<BTreeMap<_, _>>(),
        essential: container.essential.unwrap_or(true),
        ports: container.port_mappings.iter().filter_map(port).collect(),
        health_check: container.health_check.as_ref().map(|check| HealthCheckSpec {
            command: check.command.clone(),
            interval: seconds(check.interval.unwrap_or(30)),
            timeout: seconds(check.timeout.unwrap_or(5)),
            retries: check.retries.and_then(|retries| u32::try_from(retries).ok()).unwrap_or(3),
            start_period: seconds(check.start_period.unwrap_or(0)),
        }),
        depends_on: container
            .depends_on
            .iter()
            .map(|dependency| ContainerDependency {
                container: dependency.container_name.clone(),
                condition: match dependency.condition {
                    ecs::ContainerDependencyCondition::Start => DependencyCondition::Start,
                    ecs::ContainerDependencyCondition::Complete => DependencyCondition::Complete,
                    ecs::ContainerDependencyCondition::Success => DependencyCondition::Success,
                    ecs::ContainerDependencyCondition::Healthy => DependencyCondition::Healthy,
                },
            })
            .collect(),
        stop_timeout: seconds(container.stop_timeout.unwrap_or(30)),
        start_timeout: container.start_timeout.map(seconds),
        ulimits: container
            .ulimits
            .iter()
            .map(|limit| Ulimit {
                name: wire_name(&limit.name),
                // AWS's -1 is no limit.
                soft: u64::try_from(limit.soft_limit).unwrap_or(u64::MAX),
                hard: u64::try_from(limit.hard_limit).unwrap_or(u64::MAX),
            })
            .collect(),
        mounts,
        limits: ResourceLimits {
            cpu_units: container.cpu.and_then(|cpu| u32::try_from(cpu).ok()).filter(|cpu| *cpu > 0),
            memory_mib: container.memory.and_then(|memory| u32::try_from(memory).ok()),
        },
        readonly_root: container.readonly_root_filesystem.unwrap_or(false),
        log: of_container(container, faults, container.log_configuration.as_ref().map(log_configuration)),
        firelens: of_container(
            container,
            faults,
            container.firelens_configuration.as_ref().map(|given| {
                let is_fluentd = given.r#type == Some(ecs::FirelensConfigurationType::Fluentd);
                FireLensConfiguration::parse(is_fluentd, &given.options)
            }),
        ),
    }
}

/// What was read, or nothing, and the fault with the container's name.
fn of_container<T>(
    container: &ecs::ContainerDefinition,
    faults: &mut Vec<String>,
    read: Option<Result<T, LogDriverError>>,
) -> Option<T> {
    match read? {
        Ok(read) => Some(read),
        Err(error) => {
            faults.push(format!("container {}: {error}", container.name));
            None
        }
    }
}

/// A `logConfiguration` in our own terms.
///
/// # Errors
/// The driver or its options are wrong.
pub(super) fn log_configuration(given: &ecs::LogConfiguration) -> Result<LogConfiguration, LogDriverError> {
    let secrets = given.secret_options.iter().map(|secret| (secret.name.clone(), secret.value_from.clone()));
    LogConfiguration::parse(&given.log_driver, &given.options, secrets.collect())
}

/// A task has at most one log router, and needs one for `awsfirelens`.
fn log_router(containers: &[ContainerDefinition], faults: &mut Vec<String>) {
    let routers = containers.iter().filter(|container| container.firelens.is_some()).count();
    if routers > 1 {
        faults.push("A task definition can have only one container with a firelensConfiguration.".into());
    }
    let routed = containers.iter().find(|container| {
        let driver = container.log.as_ref().map(|log| &log.driver);
        matches!(driver, Some(LogDriver::AwsFireLens(_)))
    });
    if let Some(routed) = routed.filter(|_| routers == 0) {
        faults.push(format!(
            "container {}: when a container uses the awsfirelens log driver, the task definition must have a \
             container with a firelensConfiguration.",
            routed.name
        ));
    }
}

fn mount_of(
    body: &RegisterTaskDefinitionRequest,
    container: &ecs::ContainerDefinition,
    mount: &ecs::MountPoint,
) -> Result<BindMount, String> {
    let name = mount.source_volume.as_deref().unwrap_or_default();
    let volume =
        body.volumes.iter().find(|volume| volume.name.as_deref() == Some(name)).ok_or_else(|| {
            format!(
                "container {} mounts the volume {name:?}, which the task definition does not have",
                container.name
            )
        })?;
    if volume.efs_volume_configuration.is_some()
        || volume.fsx_windows_file_server_volume_configuration.is_some()
    {
        return Err(format!(
            "the volume {name} is on EFS or FSx, which is not here: give it a host SourcePath"
        ));
    }
    let source = match volume.host.as_ref().and_then(|host| host.source_path.as_deref()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(TASK_VOLUMES).join(name),
    };
    Ok(BindMount {
        source,
        target: PathBuf::from(mount.container_path.as_deref().unwrap_or_default()),
        read_only: mount.read_only.unwrap_or(false),
    })
}

fn port(mapping: &ecs::PortMapping) -> Option<PortMapping> {
    Some(PortMapping {
        name: mapping.name.clone(),
        container_port: mapping.container_port?,
        host_port: mapping.host_port,
        protocol: match mapping.app_protocol {
            None => AppProtocol::Tcp,
            Some(ecs::AppProtocol::Http) => AppProtocol::Http,
            Some(ecs::AppProtocol::Http2) => AppProtocol::Http2,
            Some(ecs::AppProtocol::Grpc) => AppProtocol::Grpc,
        },
    })
}

/// `256`, `.25 vCPU`, `1 vCPU`.
fn cpu_units(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(units) = text.parse() {
        return Some(units);
    }
    let number: f64 = text.to_ascii_lowercase().strip_suffix("vcpu")?.trim().parse().ok()?;
    (number > 0.0 && number <= 1024.0).then_some((number * 1024.0).round() as u32)
}

/// `512`, `0.5 GB`, `1GB`.
fn memory_mib(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(mebibytes) = text.parse() {
        return Some(mebibytes);
    }
    let number: f64 = text.to_ascii_lowercase().strip_suffix("gb")?.trim().parse().ok()?;
    (number > 0.0 && number <= 4096.0).then_some((number * 1024.0).round() as u32)
}

/// The name that an enumeration has on the wire.
fn wire_name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(containers: serde_json::Value) -> (TaskDefinition, Vec<String>) {
        let body = serde_json::json!({"family": "f", "containerDefinitions": containers});
        let body: RegisterTaskDefinitionRequest = serde_json::from_value(body).expect("it is one");
        definition(bowline_model::arn::Scope::default().arn("ecs", "task-definition/f:1"), &body)
    }

    #[test]
    fn log_configurations_are_read_once_and_wrong_ones_refused() {
        let router = serde_json::json!({
            "name": "log_router", "image": "r",
            "firelensConfiguration": {
                "type": "fluentbit",
                "options": {"config-file-type": "file", "config-file-value": "/fluent-bit.conf"},
            },
        });
        let app = serde_json::json!({
            "name": "app", "image": "a",
            "logConfiguration": {
                "logDriver": "awsfirelens",
                "options": {"Name": "http", "Host": "h", "http_User": "u"},
                "secretOptions": [{"name": "http_Passwd", "valueFrom": "/logs/password"}],
            },
        });
        let (definition, faults) = read(serde_json::json!([router, app]));
        assert_eq!(faults, Vec::<String>::new());
        let file =
            definition.containers[0].firelens.as_ref().and_then(|router| router.config_file.as_deref());
        assert_eq!(file, Some("/fluent-bit.conf"));
        assert_eq!(crate::task_spec::wanted_secrets(&definition), [("app", "/logs/password")]);
        let (_, faults) = read(serde_json::json!([app]));
        assert!(faults[0].contains("must have a container with a firelensConfiguration"), "{faults:?}");
        let (_, faults) = read(serde_json::json!([router, router]));
        assert!(faults[0].contains("only one container"), "{faults:?}");
    }

    #[test]
    fn reads_cpu_and_memory_as_ecs_does() {
        assert_eq!(
            (cpu_units("256"), cpu_units(".25 vCPU"), cpu_units("1 vcpu")),
            (Some(256), Some(256), Some(1024))
        );
        assert_eq!(
            (memory_mib("512"), memory_mib("0.5GB"), memory_mib("2 GB")),
            (Some(512), Some(512), Some(2048))
        );
        assert_eq!((cpu_units("many"), memory_mib("much")), (None, None));
    }
}
