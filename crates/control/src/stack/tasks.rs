//! Task definitions and services of a stack.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bowline_aws::{
    cfn::StackResource,
    ecs::{self, CreateServiceRequest, RegisterTaskDefinitionRequest},
};
use bowline_model::{
    arn::Arn,
    service::{ClientAlias, ConnectService, RollingBounds, Service, ServiceConnect, TargetBinding},
    task::{BindMount, ContainerDependency, DependencyCondition, HealthCheckSpec, ResourceLimits, Ulimit},
    task_definition::{AppProtocol, ContainerDefinition, PortMapping, TASK_VOLUMES, TaskDefinition},
};
use serde::Serialize;

use super::{Applying, secrets};
use crate::registry::Registry;

impl Applying<'_> {
    pub(super) fn task_definition(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &RegisterTaskDefinitionRequest,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let (definition, faults) = definition(arn.clone(), body);
        for message in faults {
            self.fault(resource, message);
        }
        for (container, secret) in crate::task_spec::wanted_secrets(&definition) {
            if secrets::resolve(&self.secrets, secret).is_none() {
                self.fault(
                    resource,
                    format!(
                        "container {container} wants the secret {secret}: only secrets and parameters that the \
                         template itself holds (SecretString, Value) can be injected here"
                    ),
                );
            }
        }
        self.made("task-definitions", arn.as_str());
        registry.task_definitions.put(arn.as_str(), definition);
    }

    pub(super) fn service(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &CreateServiceRequest,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let cluster = cluster_name(body.cluster.as_deref());
        let Some(task_definition) = self.definition_of(registry, resource, body) else { return };
        let connect = match self.connect(registry, body, &cluster) {
            Ok(connect) => connect,
            Err(message) => return self.fault(resource, message),
        };
        let mut targets = Vec::new();
        for balancer in &body.load_balancers {
            match (&balancer.target_group_arn, &balancer.container_name, balancer.container_port) {
                (Some(group), Some(container), Some(container_port)) => match group.parse() {
                    Ok(target_group) => {
                        targets.push(TargetBinding { target_group, container: container.clone(), container_port });
                    }
                    Err(error) => self.fault(resource, format!("LoadBalancers: {error}")),
                },
                _ => self.fault(
                    resource,
                    "LoadBalancers needs TargetGroupArn, ContainerName and ContainerPort (Classic Load Balancers are not here)",
                ),
            }
        }
        let percent = |value: Option<i64>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
        };
        let rolling =
            body.deployment_configuration.as_ref().map_or_else(RollingBounds::default, |deployment| {
                RollingBounds {
                    minimum_healthy_percent: percent(deployment.minimum_healthy_percent, 100),
                    maximum_percent: percent(deployment.maximum_percent, 200),
                }
            });
        let strategy = body.deployment_configuration.as_ref().and_then(|deployment| deployment.strategy);
        if strategy.is_some_and(|strategy| strategy != ecs::DeploymentStrategy::Rolling) {
            self.note(
                resource,
                "the deployment strategy is not here yet: new revisions replace the old ones ROLLING",
            );
        }
        let assign_public_ip = body
            .network_configuration
            .as_ref()
            .and_then(|network| network.awsvpc_configuration.as_ref())
            .is_some_and(|awsvpc| awsvpc.assign_public_ip == Some(ecs::AssignPublicIp::Enabled));
        let service = Service {
            name: arn.resource_name().to_owned(),
            cluster,
            task_definition,
            desired_count: body.desired_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            rolling,
            connect,
            targets,
            assign_public_ip,
            arn,
        };
        self.made("services", service.arn.as_str());
        registry.services.put(service.arn.as_str().to_owned(), service);
    }

    /// An ARN, `family:revision`, or a family, whose latest revision is meant.
    fn definition_of(
        &mut self,
        registry: &Registry,
        resource: &StackResource,
        body: &CreateServiceRequest,
    ) -> Option<Arn> {
        let name = body.task_definition.as_deref().unwrap_or_default();
        let found = registry
            .task_definitions
            .values()
            .filter(|definition| {
                definition.arn.as_str() == name
                    || definition.family == name
                    || format!("{}:{}", definition.family, definition.revision) == name
            })
            .max_by_key(|definition| definition.revision)
            .map(|definition| definition.arn.clone());
        if found.is_none() {
            self.fault(resource, format!("there is no task definition {name:?}"));
        }
        found
    }

    fn connect(
        &self,
        registry: &Registry,
        body: &CreateServiceRequest,
        cluster: &str,
    ) -> Result<Option<ServiceConnect>, String> {
        let Some(configuration) = body.service_connect_configuration.as_ref().filter(|given| given.enabled)
        else {
            return Ok(None);
        };
        let default = || registry.clusters.get(cluster).and_then(|cluster| cluster.default_namespace.clone());
        let given =
            configuration.namespace.clone().or_else(default).ok_or(
                "ServiceConnectConfiguration names no Namespace, and its cluster has no default one",
            )?;
        let namespace = self.namespace_named(registry, &given)?;
        let mut services = Vec::new();
        for offered in &configuration.services {
            let seconds = |value: Option<u32>| value.map(|value| Duration::from_secs(u64::from(value)));
            let authority = match &offered.tls {
                Some(tls) => match &tls.issuer_certificate_authority.aws_pca_authority_arn {
                    Some(arn) => Some(known_authority(registry, arn)?),
                    None => None,
                },
                None => None,
            };
            services.push(ConnectService {
                port_name: offered.port_name.clone(),
                discovery_name: offered.discovery_name.clone().unwrap_or_else(|| offered.port_name.clone()),
                alias: offered
                    .client_aliases
                    .first()
                    .map(|alias| ClientAlias { dns_name: alias.dns_name.clone(), port: alias.port }),
                ingress_port: offered.ingress_port_override,
                idle_timeout: seconds(
                    offered.timeout.as_ref().and_then(|timeout| timeout.idle_timeout_seconds),
                ),
                request_timeout: seconds(
                    offered.timeout.as_ref().and_then(|timeout| timeout.per_request_timeout_seconds),
                ),
                authority,
            });
        }
        Ok(Some(ServiceConnect { namespace, services }))
    }

    /// A namespace by name, ARN or id.
    fn namespace_named(&self, registry: &Registry, given: &str) -> Result<String, String> {
        let of_stack = self.stack.by_physical_id(given).and_then(|resource| match &resource.body {
            bowline_aws::cfn::ResourceBody::PrivateDnsNamespace(body) => Some(body.name.clone()),
            bowline_aws::cfn::ResourceBody::HttpNamespace(body) => Some(body.name.clone()),
            _ => None,
        });
        of_stack
            .or_else(|| registry.namespaces.get(given).map(|namespace| namespace.name.clone()))
            .or_else(|| {
                let mut namespaces = registry.namespaces.values();
                namespaces
                    .find(|namespace| namespace.arn.as_str() == given)
                    .map(|namespace| namespace.name.clone())
            })
            .ok_or_else(|| format!("there is no namespace {given:?} in this template"))
    }
}

/// A task definition in our own terms, and what of it cannot be done.
fn definition(arn: Arn, body: &RegisterTaskDefinitionRequest) -> (TaskDefinition, Vec<String>) {
    let mut faults = Vec::new();
    let revision = arn.resource().rsplit(':').next().and_then(|revision| revision.parse().ok()).unwrap_or(1);
    let containers = body
        .container_definitions
        .iter()
        .map(|container| container_of(body, container, &mut faults))
        .collect();
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

/// Whether a definition is, but for its revision, what a request asks for.
pub(crate) fn same_definition(present: &TaskDefinition, body: &RegisterTaskDefinitionRequest) -> bool {
    let (wanted, _) = definition(present.arn.clone(), body);
    present.same_content(&wanted)
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

fn known_authority(registry: &Registry, arn: &str) -> Result<Arn, String> {
    match registry.authorities.get(arn) {
        Some(authority) => Ok(authority.arn.clone()),
        None => Err(format!(
            "Tls names the certificate authority {arn}, which is not in this template: only authorities that the \
             template makes can sign here"
        )),
    }
}

fn cluster_name(given: Option<&str>) -> String {
    let given = given.unwrap_or("default");
    given.rsplit('/').next().unwrap_or(given).to_owned()
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
