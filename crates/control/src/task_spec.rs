//! A task's record as an agent runs it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use bowline_aws::ecs;
use bowline_model::{
    arn::Arn,
    log_driver::LogConfiguration,
    service::Service,
    task::{
        AccessLog, AccessLogFormat, ContainerSpec, ControlPlaneAddress, Egress, FireLensSpec, InboundPort,
        LogSpec, ProxyRole, ProxySpec, PublishedPort, ResourceLimits, TaskSpec,
    },
    task_definition::{ContainerDefinition, TaskDefinition},
};

use crate::{
    publish::service_ports,
    registry::{LocalCommandRecord, Registry, StandaloneTask, TaskOwner, TaskRecord},
    stack::secrets::{self, SecretValues},
    task_role,
};

/// What building a spec takes besides the registry.
#[derive(Clone, Debug)]
pub struct SpecOptions {
    /// Where proxies find the control plane.
    pub discovery_address: SocketAddr,
    /// PEM of the trust bundle.
    pub roots_pem: String,
    /// What tasks may reach beyond their aliases.
    pub egress: Egress,
    /// Values of secrets that containers want injected.
    pub secrets: Arc<SecretValues>,
    /// Where X-Ray's daemon listens on loopback, if it does.
    pub xray_daemon: Option<SocketAddr>,
    /// `--exec`: wins over a template's local commands.
    pub exec: Vec<LocalCommandRecord>,
}

/// The spec of a task; `None` when what it belongs to is gone.
pub fn build(registry: &Registry, options: &SpecOptions, task: &TaskRecord) -> Option<TaskSpec> {
    match &task.owner {
        TaskOwner::Service { service, task_definition, .. } => {
            let service = registry.services.get(service.as_str())?;
            let definition = registry.task_definitions.get(task_definition.as_str())?;
            Some(service_task(registry, options, task, service, definition))
        }
        TaskOwner::Standalone(standalone) => {
            let definition = registry.task_definitions.get(standalone.task_definition.as_str())?;
            Some(standalone_task(registry, options, task, standalone, definition))
        }
        TaskOwner::Gateway { load_balancer } => {
            let balancer = registry.load_balancers.get(load_balancer.as_str())?;
            Some(TaskSpec {
                id: task.id.clone(),
                arn: task.arn.clone(),
                family: "gateway".into(),
                revision: 1,
                cluster: "gateways".into(),
                group: format!("gateway:{}", balancer.name),
                containers: Vec::new(),
                proxy: Some(ProxySpec {
                    role: ProxyRole::Gateway,
                    inbound: Vec::new(),
                    control_plane: control_plane(registry, options),
                    aliases: Vec::new(),
                    access_log: None,
                }),
                published: Vec::new(),
                egress: options.egress,
                limits: ResourceLimits::default(),
                role: None,
                proxy_log: None,
                xray_daemon: None,
            })
        }
    }
}

/// Whether a service's tasks have a sidecar: those in a namespace, targets of load balancers, and
/// those that have a role, whose credentials it gives out.
pub fn has_sidecar(registry: &Registry, service: &Service) -> bool {
    let definition = registry.task_definitions.get(service.task_definition.as_str());
    service.connect.is_some()
        || definition.is_some_and(|definition| !service_ports(service, definition).is_empty())
        || task_role::of_definition(registry, &service.task_definition).is_some()
}

fn control_plane(registry: &Registry, options: &SpecOptions) -> ControlPlaneAddress {
    ControlPlaneAddress {
        address: options.discovery_address,
        roots_pem: options.roots_pem.clone(),
        trust_domain: registry.settings().trust_domain.clone(),
    }
}

fn service_task(
    registry: &Registry,
    options: &SpecOptions,
    task: &TaskRecord,
    service: &Service,
    definition: &TaskDefinition,
) -> TaskSpec {
    let ports = service_ports(service, definition);
    let inbound = ports
        .iter()
        .map(|port| InboundPort {
            port_name: port.name.clone(),
            container_port: port.mapping.container_port,
            ingress_port: port.offered.and_then(|offered| offered.ingress_port),
        })
        .collect::<Vec<_>>();
    let namespace = service.connect.as_ref().map(|connect| connect.namespace.as_str());
    let proxied = task.proxied || has_sidecar(registry, service);
    TaskSpec {
        id: task.id.clone(),
        arn: task.arn.clone(),
        family: definition.family.clone(),
        revision: definition.revision,
        cluster: service.cluster.clone(),
        group: format!("service:{}", service.name),
        containers: definition
            .containers
            .iter()
            .map(|container| {
                let environment = service_connect_environment(service, container);
                self::container(registry, options, definition, container, environment)
            })
            .collect(),
        proxy: proxied.then(|| ProxySpec {
            access_log: access_log(registry, service),
            ..sidecar(registry, options, inbound, namespace)
        }),
        published: published(service.assign_public_ip, definition),
        egress: options.egress,
        limits: definition.limits,
        role: task_role::told(registry, task, proxied),
        proxy_log: service
            .connect
            .as_ref()
            .and_then(|connect| connect.log.as_ref())
            .map(|log| log_spec(options, log)),
        xray_daemon: options.xray_daemon,
    }
}

fn sidecar(
    registry: &Registry,
    options: &SpecOptions,
    inbound: Vec<InboundPort>,
    namespace: Option<&str>,
) -> ProxySpec {
    ProxySpec {
        role: ProxyRole::Sidecar,
        inbound,
        control_plane: control_plane(registry, options),
        aliases: namespace.map(|namespace| registry.aliases_of(namespace)).unwrap_or_default(),
        access_log: None,
    }
}

/// The access log of a service's sidecars, as its Service Connect says.
fn access_log(registry: &Registry, service: &Service) -> Option<AccessLog> {
    let record = registry.service_records.get(service.arn.as_str())?;
    let definition = registry.task_definition_records.get(service.task_definition.as_str());
    let of_definition = definition.and_then(|record| record.request.service_connect_configuration.as_ref());
    let connect = record.request.service_connect_configuration.as_ref().or(of_definition)?;
    let given = connect.access_log_configuration.as_ref()?;
    Some(AccessLog {
        format: match given.format {
            ecs::AccessLogFormat::Json => AccessLogFormat::Json,
            ecs::AccessLogFormat::Text => AccessLogFormat::Text,
        },
        query_parameters: given.include_query_parameters == Some(ecs::IncludeQueryParameters::Enabled),
    })
}

/// A task of nobody's: a client of its cluster's default namespace, where there is one. It has a
/// sidecar for that, or for its role.
fn standalone_task(
    registry: &Registry,
    options: &SpecOptions,
    task: &TaskRecord,
    standalone: &StandaloneTask,
    definition: &TaskDefinition,
) -> TaskSpec {
    let containers = definition.containers.iter().map(|container| {
        let mut spec = self::container(registry, options, definition, container, BTreeMap::new());
        if let Some(given) = standalone.overrides.get(&container.name) {
            if let Some(command) = &given.command {
                spec.command = command.clone();
            }
            spec.environment.extend(given.environment.clone());
        }
        spec
    });
    let namespace = standalone.namespace.as_deref();
    let proxied = task.proxied || namespace.is_some();
    TaskSpec {
        id: task.id.clone(),
        arn: task.arn.clone(),
        family: definition.family.clone(),
        revision: definition.revision,
        cluster: standalone.cluster.clone(),
        group: standalone.group.clone(),
        containers: containers.collect(),
        proxy: proxied.then(|| sidecar(registry, options, Vec::new(), namespace)),
        published: published(standalone.assign_public_ip, definition),
        egress: options.egress,
        limits: definition.limits,
        role: task_role::told(registry, task, proxied),
        proxy_log: None,
        xray_daemon: options.xray_daemon,
    }
}

fn published(assign_public_ip: bool, definition: &TaskDefinition) -> Vec<PublishedPort> {
    let ports = definition.containers.iter().flat_map(|container| &container.ports);
    ports
        .filter_map(|port| match port.host_port {
            // On Fargate the host port is the container port and means no more than it.
            Some(host_port) if host_port != port.container_port => {
                Some(PublishedPort { container_port: port.container_port, host_port })
            }
            _ if assign_public_ip => {
                Some(PublishedPort { container_port: port.container_port, host_port: 0 })
            }
            _ => None,
        })
        .collect()
}

fn container(
    registry: &Registry,
    options: &SpecOptions,
    definition: &TaskDefinition,
    container: &ContainerDefinition,
    mut environment: BTreeMap<String, String>,
) -> ContainerSpec {
    let local = local_command(registry, options, &definition.family, &container.name);
    environment.extend(container.environment.clone());
    if let Some(local) = local {
        environment.extend(local.environment.clone());
    }
    ContainerSpec {
        name: container.name.clone(),
        image: container.image.clone(),
        command: local.map_or_else(|| runnable(container), |local| local.command.clone()),
        working_directory: local
            .and_then(|local| local.working_directory.clone())
            .or_else(|| container.working_directory.as_ref().map(PathBuf::from)),
        environment,
        secrets: container
            .secrets
            .iter()
            .filter_map(|(name, value_from)| {
                Some((name.clone(), secrets::resolve(&options.secrets, value_from)?))
            })
            .collect(),
        essential: container.essential,
        health_check: container.health_check.clone(),
        depends_on: container.depends_on.clone(),
        stop_timeout: container.stop_timeout,
        start_timeout: container.start_timeout,
        ulimits: container.ulimits.clone(),
        mounts: container.mounts.clone(),
        limits: container.limits,
        readonly_root: container.readonly_root,
        log: container.log.as_ref().map(|log| log_spec(options, log)),
        firelens: container.firelens.as_ref().map(|firelens| FireLensSpec {
            metadata: firelens.metadata,
            config_files: firelens
                .config_file
                .as_deref()
                .map(|file| config_files(container, local, file))
                .unwrap_or_default(),
        }),
    }
}

/// With the values of its secrets.
fn log_spec(options: &SpecOptions, log: &LogConfiguration) -> LogSpec {
    let value = |(name, value_from): (&String, &String)| {
        Some((name.clone(), secrets::resolve(&options.secrets, value_from)?))
    };
    LogSpec { configuration: log.clone(), secrets: log.secret_options.iter().filter_map(value).collect() }
}

/// Where a log router's file may be: in a volume that the container has there, in the directory of its local command,
/// or at that very path of this machine.
fn config_files(
    container: &ContainerDefinition,
    local: Option<&LocalCommandRecord>,
    file: &str,
) -> Vec<PathBuf> {
    let file = PathBuf::from(file);
    let mounted = container
        .mounts
        .iter()
        .filter_map(|mount| Some(mount.source.join(file.strip_prefix(&mount.target).ok()?)));
    let beside = local
        .and_then(|local| local.working_directory.as_ref())
        .map(|directory| directory.join(file.strip_prefix("/").unwrap_or(&file)));
    mounted.chain(beside).chain([file.clone()]).collect()
}

/// The definition's own command, where it says all: a command alone is only the
/// arguments of an image's entry point, unless it names a program of this machine.
fn runnable(container: &ContainerDefinition) -> Vec<String> {
    container.command.clone()
}

fn local_command<'a>(
    registry: &'a Registry,
    options: &'a SpecOptions,
    family: &str,
    container: &str,
) -> Option<&'a LocalCommandRecord> {
    let given = options.exec.iter();
    let from_stacks = registry.stacks.values().flat_map(|stack| &stack.local_commands);
    let mut all = given.chain(from_stacks);
    all.find(|local| local.container == container && local.family.as_deref().is_none_or(|of| of == family))
}

/// `AWS_SERVICE_CONNECT_SERVICE_NAME` and `AWS_SERVICE_CONNECT_ENDPOINT`: the
/// discovery name and the address that clients call, of the first port that the
/// container offers, else the service offers.
fn service_connect_environment(
    service: &Service,
    container: &ContainerDefinition,
) -> BTreeMap<String, String> {
    let Some(connect) = &service.connect else { return BTreeMap::new() };
    let own = |port_name: &str| container.ports.iter().any(|port| port.name.as_deref() == Some(port_name));
    let offered =
        connect.services.iter().find(|offered| own(&offered.port_name)).or_else(|| connect.services.first());
    let Some(offered) = offered else { return BTreeMap::new() };
    let mut environment =
        BTreeMap::from([("AWS_SERVICE_CONNECT_SERVICE_NAME".to_owned(), offered.discovery_name.clone())]);
    if let Some(alias) = &offered.alias {
        let names = offered.hostnames(&connect.namespace);
        environment.insert("AWS_SERVICE_CONNECT_ENDPOINT".to_owned(), format!("{}:{}", names[0], alias.port));
    }
    environment
}

/// ARNs of secrets that a task definition wants injected.
pub fn wanted_secrets(definition: &TaskDefinition) -> Vec<(&str, &str)> {
    let containers = definition.containers.iter();
    containers
        .flat_map(|container| {
            let of_log = container.log.iter().flat_map(|log| log.secret_options.values());
            let secrets = container.secrets.values().chain(of_log);
            secrets.map(|secret| (container.name.as_str(), secret.as_str()))
        })
        .collect()
}

/// The name of the service that an ARN or a bare name stands for.
pub fn short_name(service: &Arn) -> &str {
    service.resource_name()
}
