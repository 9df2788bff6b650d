//! Services: from ECS's shape to the model's, and their deployments.

use std::{collections::BTreeMap, time::Duration};

use bowline_aws::ecs::{self, CreateServiceRequest};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    service::{
        ClientAlias, ConnectService, DeploymentId, RollingBounds, Service, ServiceConnect, TargetBinding,
        TestHeader,
    },
};

use super::{
    definition, encryption,
    record::{Asker, DEPLOYMENTS_MAX, Deployment, DeploymentState, ServiceRecord, ServiceStatus},
};
use crate::{
    cloud_map, random,
    registry::{Registry, SETTINGS, TaskOwner, alias_key},
};

/// Who changes a service, when, and whether its tasks are replaced whatever changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub now: Timestamp,
    /// By whom.
    pub by: Asker,
    /// `forceNewDeployment`.
    pub force: bool,
}

/// Creates the service, or makes it what `body` says. Tasks are replaced where that takes new
/// ones. The same again changes nothing.
///
/// # Errors
/// What of it cannot be done, all of it; nothing was changed.
pub fn put(
    registry: &mut Registry,
    arn: &Arn,
    body: &CreateServiceRequest,
    change: &Change,
) -> Result<(), Vec<String>> {
    let mut service = convert(registry, arn, body)?;
    let before = registry.services.get(arn.as_str()).cloned();
    let record = registry.service_records.get(arn.as_str()).filter(|_| before.is_some()).cloned();
    // Traffic stays where it is until the reconciler sees what is wanted now.
    service.shift = before.as_ref().and_then(|before| before.shift.clone());
    // What a task is given once, at its start, takes another task to change.
    let same_tasks = before.as_ref().is_some_and(|before| {
        before.task_definition == service.task_definition
            && before.connect == service.connect
            && before.targets == service.targets
            && before.assign_public_ip == service.assign_public_ip
    });
    let kept = before.filter(|_| same_tasks && !change.force);
    service.deployment = kept.as_ref().map_or_else(random::deployment_id, |before| before.deployment.clone());

    let mut record = match record {
        Some(record) => ServiceRecord { request: body.clone(), ..(*record).clone() },
        None => ServiceRecord {
            request: body.clone(),
            created_at: change.now,
            created_by: change.by.clone(),
            status: ServiceStatus::Active,
            deployments: Vec::new(),
        },
    };
    if kept.is_none() {
        begin_deployment(&mut record, &service, change.now);
    } else if kept.is_some_and(|before| before.desired_count != service.desired_count)
        && let Some(primary) = record.deployments.first_mut()
    {
        primary.updated_at = change.now;
    }
    registry.service_records.put(arn.as_str(), record);
    registry.services.put(arn.as_str(), service);
    Ok(())
}

fn begin_deployment(record: &mut ServiceRecord, service: &Service, now: Timestamp) {
    let source = record.deployments.first().map(|present| present.id.clone());
    for earlier in &mut record.deployments {
        earlier.state = match earlier.state {
            DeploymentState::InProgress => DeploymentState::Superseded,
            DeploymentState::RollbackInProgress => DeploymentState::RollbackFailed,
            _ => continue,
        };
        earlier.finished_at = Some(now);
        earlier.updated_at = now;
    }
    record.deployments.insert(
        0,
        Deployment {
            id: service.deployment.clone(),
            request: record.request.clone(),
            task_definition: service.task_definition.clone(),
            created_at: now,
            updated_at: now,
            finished_at: None,
            state: DeploymentState::InProgress,
            reason: format!("ECS deployment {} in progress.", service.deployment),
            failed_tasks: 0,
            source,
            stage: None,
            hooks: Vec::new(),
            breaker_failures: 0,
            triggered_alarms: Vec::new(),
            rollback: None,
        },
    );
    record.deployments.truncate(DEPLOYMENTS_MAX);
}

/// The tags that a new task gets from its service, or from its task definition: `propagateTags`.
pub fn propagated_tags(registry: &Registry, owner: &TaskOwner) -> Vec<ecs::Tag> {
    let TaskOwner::Service { service, task_definition, .. } = owner else { return Vec::new() };
    let record = registry.service_records.get(service.as_str());
    match record.and_then(|record| record.request.propagate_tags) {
        Some(ecs::PropagateTags::Service) => record.map(|record| record.request.tags.clone()),
        Some(ecs::PropagateTags::TaskDefinition) => {
            let definition = registry.task_definition_records.get(task_definition.as_str());
            definition.map(|record| record.request.tags.clone())
        }
        Some(ecs::PropagateTags::None) | None => None,
    }
    .unwrap_or_default()
}

/// All tasks of the deployment run, and there are no others: it is complete.
pub fn complete_deployment(registry: &mut Registry, service: &Service, now: Timestamp) {
    registry.service_records.update(service.arn.as_str(), |record| {
        let back = |deployment: &&mut Deployment| {
            deployment.state == DeploymentState::RollbackInProgress
                && deployment.rollback.as_ref().is_some_and(|rollback| rollback.to == service.deployment)
        };
        for undone in record.deployments.iter_mut().filter(back) {
            undone.state = DeploymentState::RollbackSuccessful;
            undone.finished_at = Some(now);
            undone.updated_at = now;
        }
        let primary = record.deployments.iter_mut().find(|deployment| deployment.id == service.deployment);
        if let Some(primary) = primary.filter(|primary| primary.state == DeploymentState::InProgress) {
            primary.state = DeploymentState::Completed;
            primary.reason = format!("ECS deployment {} completed.", primary.id);
            primary.finished_at = Some(now);
            primary.updated_at = now;
        }
    });
}

/// Whether a deployment or a way back is under way.
pub fn is_deploying(record: &ServiceRecord) -> bool {
    let under_way = [DeploymentState::InProgress, DeploymentState::RollbackInProgress];
    record.deployments.iter().any(|deployment| under_way.contains(&deployment.state))
}

/// A task of a deployment has failed.
pub fn count_failure(registry: &mut Registry, service: &Arn, deployment: &DeploymentId, now: Timestamp) {
    registry.service_records.update(service.as_str(), |record| {
        if let Some(of) = record.deployments.iter_mut().find(|candidate| candidate.id == *deployment) {
            of.failed_tasks = of.failed_tasks.saturating_add(1);
            of.breaker_failures = of.breaker_failures.saturating_add(1);
            of.updated_at = now;
        }
    });
}

/// A task of a deployment has become healthy: the circuit breaker begins to count anew, unless
/// `resetOnHealthyTask` is off.
pub fn count_success(registry: &mut Registry, service: &Arn, deployment: &DeploymentId) {
    let counted = |of: &Deployment| {
        of.id == *deployment && of.breaker_failures > 0 && {
            let configuration = of.request.deployment_configuration.as_ref();
            let breaker = configuration.and_then(|given| given.deployment_circuit_breaker.as_ref());
            breaker.is_none_or(|breaker| breaker.reset_on_healthy_task != Some(false))
        }
    };
    let record = registry.service_records.get(service.as_str());
    if record.is_some_and(|record| record.deployments.iter().any(counted)) {
        registry.service_records.update(service.as_str(), |record| {
            for of in record.deployments.iter_mut().filter(|of| counted(of)) {
                of.breaker_failures = 0;
            }
        });
    }
}

/// Leaves the deployment that is under way as it is: no more of its tasks are started, traffic
/// stays. Returns whether there was one.
pub fn stop_deployment(registry: &mut Registry, service: &Arn, reason: &str, now: Timestamp) -> bool {
    let mut stopped = false;
    registry.service_records.update(service.as_str(), |record| {
        let primary = record.deployments.first_mut();
        if let Some(primary) = primary.filter(|primary| primary.state == DeploymentState::InProgress) {
            primary.state = DeploymentState::Stopped;
            primary.reason = reason.to_owned();
            primary.finished_at = Some(now);
            primary.updated_at = now;
            stopped = true;
        }
    });
    stopped
}

/// Removes the service at once; its tasks are stopped because nothing wants them.
pub fn remove(registry: &mut Registry, arn: &str) {
    registry.services.remove(arn);
    registry.service_records.update(arn, |record| record.status = ServiceStatus::Inactive);
}

/// Takes the service's tasks down in order; it is `INACTIVE` when the last is gone.
pub fn drain(registry: &mut Registry, arn: &str) {
    registry.services.update(arn, |service| service.desired_count = 0);
    registry.service_records.update(arn, |record| {
        record.status = ServiceStatus::Draining;
        record.request.desired_count = Some(0);
    });
}

/// Draining services without tasks become inactive.
pub fn finish_draining(registry: &mut Registry) {
    let drained: Vec<_> = registry
        .service_records
        .iter()
        .filter(|(_, record)| record.status == ServiceStatus::Draining)
        .filter_map(|(arn, _)| arn.parse::<Arn>().ok())
        .filter(|arn| registry.tasks_of_service(arn).is_empty())
        .collect();
    for arn in drained {
        remove(registry, arn.as_str());
        assign_aliases(registry);
    }
}

/// The service as the model has it.
///
/// # Errors
/// What of it cannot be done, all of it.
pub(super) fn convert(
    registry: &Registry,
    arn: &Arn,
    body: &CreateServiceRequest,
) -> Result<Service, Vec<String>> {
    let mut faults = Vec::new();
    let cluster = cluster_name(body.cluster.as_deref());
    let name = body.task_definition.as_deref().unwrap_or_default();
    let task_definition = definition::find(registry, name);
    if task_definition.is_none() {
        faults.push(format!("there is no task definition {name:?}"));
    }
    let connect = connect(registry, body, task_definition.as_ref(), &cluster).unwrap_or_else(|message| {
        faults.push(message);
        None
    });
    let targets = targets(body, &mut faults);
    let percent = |value: Option<i64>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
    };
    let rolling = body.deployment_configuration.as_ref().map_or_else(RollingBounds::default, |deployment| {
        RollingBounds {
            minimum_healthy_percent: percent(deployment.minimum_healthy_percent, 100),
            maximum_percent: percent(deployment.maximum_percent, 200),
        }
    });
    let assign_public_ip = body
        .network_configuration
        .as_ref()
        .and_then(|network| network.awsvpc_configuration.as_ref())
        .is_some_and(|awsvpc| awsvpc.assign_public_ip == Some(ecs::AssignPublicIp::Enabled));
    match task_definition.filter(|_| faults.is_empty()) {
        Some(task_definition) => Ok(Service {
            name: arn.resource_name().to_owned(),
            cluster,
            task_definition,
            deployment: DeploymentId::default(),
            desired_count: body.desired_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            rolling,
            connect,
            targets,
            assign_public_ip,
            shift: None,
            arn: arn.clone(),
        }),
        None => Err(faults),
    }
}

fn targets(body: &CreateServiceRequest, faults: &mut Vec<String>) -> Vec<TargetBinding> {
    let mut targets = Vec::new();
    for balancer in &body.load_balancers {
        match (&balancer.target_group_arn, &balancer.container_name, balancer.container_port) {
            (Some(group), Some(container), Some(container_port)) => match group.parse() {
                Ok(target_group) => {
                    let advanced = balancer.advanced_configuration.as_ref();
                    let mut arn = |given: Option<&String>| match given.map(|given| given.parse()).transpose() {
                        Ok(arn) => arn,
                        Err(error) => {
                            faults.push(format!("LoadBalancers AdvancedConfiguration: {error}"));
                            None
                        }
                    };
                    targets.push(TargetBinding {
                        target_group,
                        container: container.clone(),
                        container_port,
                        alternate: arn(advanced.map(|advanced| &advanced.alternate_target_group_arn)),
                        test_rule: arn(advanced.and_then(|advanced| advanced.test_listener_rule.as_ref())),
                    });
                }
                Err(error) => faults.push(format!("LoadBalancers: {error}")),
            },
            _ => faults.push(
                "LoadBalancers needs TargetGroupArn, ContainerName and ContainerPort (Classic Load Balancers are \
                 not here)"
                    .into(),
            ),
        }
    }
    targets
}

fn connect(
    registry: &Registry,
    body: &CreateServiceRequest,
    task_definition: Option<&Arn>,
    cluster: &str,
) -> Result<Option<ServiceConnect>, String> {
    let definition = task_definition.and_then(|arn| registry.task_definition_records.get(arn.as_str()));
    let of_definition = definition.and_then(|record| record.request.service_connect_configuration.as_ref());
    let given = body.service_connect_configuration.as_ref().or(of_definition);
    let Some(configuration) = given.filter(|given| given.enabled) else { return Ok(None) };
    let default = || registry.clusters.get(cluster).and_then(|cluster| cluster.default_namespace.clone());
    let given = configuration
        .namespace
        .clone()
        .or_else(default)
        .ok_or("ServiceConnectConfiguration names no Namespace, and its cluster has no default one")?;
    let namespace = registry
        .namespace_named(&given)
        .map(|namespace| namespace.name.clone())
        .ok_or_else(|| format!("there is no namespace {given:?}"))?;
    let services = configuration.services.iter().map(|offered| connect_service(registry, offered));
    Ok(Some(ServiceConnect {
        namespace,
        services: services.collect::<Result<_, _>>()?,
        encryption: encryption::of_service(registry, configuration, &body.tags)?,
        log: configuration
            .log_configuration
            .as_ref()
            .map(definition::log_configuration)
            .transpose()
            .map_err(|error| format!("ServiceConnectConfiguration: {error}"))?,
    }))
}

fn connect_service(
    registry: &Registry,
    offered: &ecs::ServiceConnectService,
) -> Result<ConnectService, String> {
    let seconds = |value: Option<u32>| value.map(|value| Duration::from_secs(u64::from(value)));
    let authority =
        offered.tls.as_ref().and_then(|tls| tls.issuer_certificate_authority.aws_pca_authority_arn.as_ref());
    let timeout = offered.timeout.as_ref();
    Ok(ConnectService {
        port_name: offered.port_name.clone(),
        discovery_name: offered.discovery_name.clone().unwrap_or_else(|| offered.port_name.clone()),
        alias: offered
            .client_aliases
            .first()
            .map(|alias| ClientAlias { dns_name: alias.dns_name.clone(), port: alias.port }),
        ingress_port: offered.ingress_port_override,
        idle_timeout: seconds(timeout.and_then(|timeout| timeout.idle_timeout_seconds)),
        request_timeout: seconds(timeout.and_then(|timeout| timeout.per_request_timeout_seconds)),
        authority: authority.map(|arn| known_authority(registry, arn)).transpose()?,
        test_header: offered.client_aliases.first().and_then(test_header),
    })
}

/// AWS's `testTrafficRules`.
fn test_header(alias: &ecs::ServiceConnectClientAlias) -> Option<TestHeader> {
    let header = &alias.test_traffic_rules.as_ref()?.header;
    let exact = header.value.as_ref().map(|value| value.exact.clone());
    Some(TestHeader { name: header.name.to_ascii_lowercase(), exact })
}

fn known_authority(registry: &Registry, arn: &str) -> Result<Arn, String> {
    match registry.authorities.get(arn) {
        // One that is disabled, or has ended, is told when it is asked to sign.
        Some(authority) if authority.certificate_der.is_empty() => Err(format!(
            "Tls names the certificate authority {arn}, which waits for its certificate (PENDING_CERTIFICATE): activate \
             it with an AWS::ACMPCA::CertificateAuthorityActivation, or with acm-pca \
             import-certificate-authority-certificate"
        )),
        Some(authority) => Ok(authority.arn.clone()),
        None => Err(format!(
            "Tls names the certificate authority {arn}, which is not here: make it in the template, or with \
             acm-pca create-certificate-authority"
        )),
    }
}

/// A cluster's name, by its name or ARN; `default` where none is given.
pub fn cluster_name(given: Option<&str>) -> String {
    let given = given.unwrap_or("default");
    given.rsplit('/').next().unwrap_or(given).to_owned()
}

/// A discovery name and an alias's host and port each belong to one service of a namespace: the
/// services that claim another's, with what they claim.
pub fn clashes(registry: &Registry) -> Vec<(Arn, String)> {
    clashes_among(registry, registry.services.values().map(|service| &**service))
}

/// What of other services a service claims, or what it claims twice.
pub fn clash_of(registry: &Registry, arn: &Arn) -> Option<String> {
    // The others first: what they have is theirs.
    let (own, others): (Vec<_>, Vec<_>) =
        registry.services.values().map(|service| &**service).partition(|service| service.arn == *arn);
    let clashes = clashes_among(registry, others.into_iter().chain(own));
    clashes.into_iter().find(|(service, _)| service == arn).map(|(_, clash)| clash)
}

fn clashes_among<'a>(registry: &Registry, services: impl Iterator<Item = &'a Service>) -> Vec<(Arn, String)> {
    let mut owners: BTreeMap<String, Arn> = BTreeMap::new();
    let mut clashes = Vec::new();
    for service in services {
        let Some(connect) = &service.connect else { continue };
        for offered in &connect.services {
            if let Some(taken) =
                cloud_map::services::stored(registry, &connect.namespace, &offered.discovery_name)
            {
                let what = format!(
                    "the discovery name {} of {} belongs to the Cloud Map service {} already",
                    offered.discovery_name, connect.namespace, taken.id
                );
                clashes.push((service.arn.clone(), what));
            }
            let mut keys =
                vec![format!("discovery name {} of {}", offered.discovery_name, connect.namespace)];
            if let Some(alias) = &offered.alias {
                let names = offered.hostnames(&connect.namespace);
                let of = &connect.namespace;
                keys.extend(names.iter().map(|name| format!("alias {name}:{} of {of}", alias.port)));
            }
            for key in keys {
                match owners.get(&key) {
                    Some(owner) if *owner != service.arn => {
                        clashes.push((service.arn.clone(), format!("the {key} belongs to {owner} already")));
                    }
                    Some(_) => clashes.push((service.arn.clone(), format!("the {key} is given twice"))),
                    None => {
                        owners.insert(key, service.arn.clone());
                    }
                }
            }
        }
    }
    clashes
}

/// A virtual address for each alias, kept as long as the alias exists.
pub fn assign_aliases(registry: &mut Registry) {
    let mut settings = (*registry.settings()).clone();
    let mut wanted = std::collections::BTreeSet::new();
    for service in registry.services.values() {
        for connect in service.connect.iter() {
            for offered in connect.services.iter().filter(|offered| offered.alias.is_some()) {
                wanted.insert(alias_key(&connect.namespace, &offered.hostnames(&connect.namespace)));
            }
        }
    }
    wanted.extend(crate::cloud_map::external::wanted_aliases(registry, &settings.aliases));
    settings.aliases.retain(|key| wanted.contains(key));
    for key in &wanted {
        // There are more addresses than services can be.
        let _ = settings.aliases.assign(key);
    }
    registry.settings.put(SETTINGS, settings);
}
