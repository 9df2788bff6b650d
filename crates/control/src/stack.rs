//! A resolved template becomes rows of the registry, and what is no longer in
//! the template goes.
//!
//! Applying the same template twice changes nothing.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use bowline_aws::cfn::{ResourceBody, Stack, StackResource};
use bowline_model::{arn::Arn, clock::Timestamp};
use thiserror::Error;

use crate::{
    authorities::Authorities,
    cloud_map,
    ecs::{definition, record::Asker, service},
    registry::{AuthorityRecord, Cluster, LocalCommandRecord, Registry, RegistryError, SETTINGS},
    secrets::Vault,
    zone::{self, SubnetRecord},
};

use record::{ResourceStatus, StackMember, StackRecord};

mod access;
mod authorization;
mod balancing;
mod certificates;
mod deploy;
mod discovery;
mod fis_rows;
mod kms_rows;
pub mod lifecycle;
mod log_rows;
mod private_ca;
pub mod record;
mod sampling_rows;
mod scaling_rows;
mod secret_rows;
pub mod secrets;
mod tasks;
mod traffic;

pub(crate) use deploy::StackOrder;

/// Something in a template that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackFault {
    /// The resource, by its logical id.
    pub logical_id: String,
    /// File, line and column of the resource.
    pub position: String,
    /// What and why.
    pub message: String,
}

/// Why a stack was not applied. Nothing was changed.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The template asks for what cannot be done; all of it is listed.
    #[error("{}", list(.0))]
    Faults(Vec<StackFault>),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A certificate authority could not be made.
    #[error("a certificate authority could not be made: {0}")]
    Authority(Box<dyn std::error::Error + Send + Sync>),
    /// What the stack is made from could not be sealed.
    #[error("the template could not be sealed: {0}")]
    Seal(String),
    /// No address for a load balancer's port.
    #[error("no address for port {port} of a load balancer")]
    GatewayPort {
        /// The port in the template.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
}

fn list(faults: &[StackFault]) -> String {
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| format!("{}: {}: {}", fault.position, fault.logical_id, fault.message))
        .collect();
    lines.join("\n")
}

/// What applying a stack takes besides the registry.
pub struct ApplyContext<'a> {
    /// When it is applied.
    pub now: Timestamp,
    /// By whom.
    pub by: Asker,
    /// Seals the values of secrets.
    pub(crate) vault: Vault<'a>,
    /// Makes the certificate authority of an `AWS::ACMPCA::CertificateAuthority`.
    pub make_authority: &'a mut dyn FnMut(
        &Arn,
        &bowline_aws::acmpca::CertificateAuthority,
    ) -> Result<AuthorityRecord, ApplyError>,
    /// Sign the certificates of an `AWS::CertificateManager::Certificate`.
    pub(crate) authorities: &'a Authorities,
    /// Where a load balancer's port is to listen, apart from addresses that are given out already.
    pub gateway_address: &'a mut dyn FnMut(u16, &BTreeSet<SocketAddr>) -> std::io::Result<SocketAddr>,
}

/// Applies `stack` to the registry, in place of what it was before. Returns what people should be
/// told, and whether anything is another than before.
///
/// # Errors
/// See [`ApplyError`]; the caller throws the changed registry away.
pub fn apply(
    registry: &mut Registry,
    stack: &Stack,
    before: Option<&Stack>,
    context: &mut ApplyContext<'_>,
) -> Result<(Vec<StackFault>, bool), ApplyError> {
    let mut applying = Applying {
        stack,
        now: context.now,
        by: context.by.clone(),
        secrets: secrets::of_stack(stack),
        faults: Vec::new(),
        notes: Vec::new(),
        record: StackRecord::default(),
    };
    applying.all_keys(registry, context);
    applying.all_secrets(registry, before, context);
    // Before the services that name them.
    applying.all_authorities(registry, context)?;
    for resource in &stack.resources {
        applying.resource(registry, resource);
    }
    // After the authorities that are to sign them.
    applying.all_certificates(registry, context);
    // After the services that are scaled.
    applying.all_scaling(registry);
    applying.all_logs(registry);
    applying.all_sampling_rules(registry);
    applying.all_experiment_templates(registry);
    // Before duplicates are looked for: a name may move from a service that goes to one that comes.
    if let Some(before) = registry.stacks.get(&stack.name).cloned() {
        for (table, key) in before.resources.difference(&applying.record.resources) {
            remove(registry, table, key, context.now);
        }
    }
    applying.refuse_duplicates(registry);
    if !applying.faults.is_empty() {
        return Err(ApplyError::Faults(applying.faults));
    }
    let Applying { notes, record: made, .. } = applying;
    let record = registry.stacks.get(&stack.name).map(|record| (**record).clone());
    let (record, changed) = tracked(record, made, stack, before, context.now);
    registry.stacks.put(stack.name.clone(), record);
    assign_addresses(registry, context)?;
    Ok((notes, changed))
}

/// The stack's record, with what becomes of its resources.
fn tracked(
    record: Option<StackRecord>,
    made: StackRecord,
    stack: &Stack,
    before: Option<&Stack>,
    now: Timestamp,
) -> (StackRecord, bool) {
    let mut record = record.unwrap_or_else(|| StackRecord {
        name: stack.name.clone(),
        id: stack.id.clone(),
        created_at: now,
        ..StackRecord::default()
    });
    let known = std::mem::take(&mut record.members);
    let mut changed = false;
    for resource in &stack.resources {
        let present = known.iter().find(|member| {
            member.logical_id == resource.logical_id && member.physical_id == resource.physical_id
        });
        let same_body = before
            .and_then(|before| before.resource(&resource.logical_id))
            .is_some_and(|before| before.body == resource.body);
        let status = match present {
            Some(present) if same_body => {
                record.members.push(present.clone());
                continue;
            }
            Some(_) => ResourceStatus::UpdateInProgress,
            None => ResourceStatus::CreateInProgress,
        };
        changed = true;
        let member = StackMember {
            logical_id: resource.logical_id.clone(),
            physical_id: resource.physical_id.clone(),
            resource_type: resource.resource_type.clone(),
            status,
            reason: None,
            updated_at: now,
        };
        record.members.push(member);
    }
    for gone in known {
        let stays = stack.resources.iter().any(|resource| resource.physical_id == gone.physical_id);
        if !stays {
            changed = true;
            record.event(now, Some(&gone), ResourceStatus::DeleteComplete.name(), None);
        }
    }
    changed |= record.outputs != stack.outputs || record.description != stack.description;
    record.outputs.clone_from(&stack.outputs);
    record.description.clone_from(&stack.description);
    record.resources = made.resources;
    record.local_commands = made.local_commands;
    (record, changed)
}

/// Removes everything that a stack made.
pub fn delete(registry: &mut Registry, name: &str, now: Timestamp) {
    if let Some(record) = registry.stacks.get(name).cloned() {
        for (table, key) in &record.resources {
            remove(registry, table, key, now);
        }
        registry.stacks.remove(name);
    }
}

fn remove(registry: &mut Registry, table: &str, key: &str, now: Timestamp) {
    match table {
        "clusters" => registry.clusters.remove(key),
        "namespaces" => cloud_map::namespaces::remove(registry, key),
        "discovery-services" => cloud_map::services::remove(registry, key),
        // Tasks may still run it: the reconciler forgets it after the last of them.
        "task-definitions" => definition::deregister(registry, key, now),
        "services" => service::remove(registry, key),
        "load-balancers" => registry.load_balancers.remove(key),
        "target-groups" => registry.target_groups.remove(key),
        "acm-certificates" => registry.acm_certificates.remove(key),
        "listeners" => registry.listeners.remove(key),
        "rules" => registry.rules.remove(key),
        authorization::POLICIES => registry.authorization_policies.remove(key),
        traffic::POLICIES => registry.traffic_policies.remove(key),
        zone::SUBNETS => registry.subnets.remove(key),
        table if private_ca::remove(registry, table, key, now) => {}
        table
            if access::remove(registry, table, key)
                || secret_rows::remove(registry, table, key)
                || scaling_rows::remove(registry, table, key, now)
                || log_rows::remove(registry, table, key)
                || sampling_rows::remove(registry, table, key)
                || fis_rows::remove(registry, table, key)
                || kms_rows::remove(registry, table, key, now) => {}
        other => unreachable!("no table {other} is ever recorded"),
    }
}

/// Virtual addresses for aliases, host addresses for gateways: kept as long as
/// what they are for exists.
fn assign_addresses(registry: &mut Registry, context: &mut ApplyContext<'_>) -> Result<(), ApplyError> {
    service::assign_aliases(registry);
    let mut settings = (*registry.settings()).clone();
    settings.gateway_addresses.retain(|listener, _| registry.listeners.get(listener).is_some());
    for (arn, listener) in registry.listeners.iter() {
        if !settings.gateway_addresses.contains_key(arn) {
            let taken = settings.gateway_addresses.values().copied().collect();
            let address = (context.gateway_address)(listener.port, &taken)
                .map_err(|source| ApplyError::GatewayPort { port: listener.port, source })?;
            settings.gateway_addresses.insert(arn.to_owned(), address);
        }
    }
    registry.settings.put(SETTINGS, settings);
    Ok(())
}

/// The state of one application.
struct Applying<'a> {
    stack: &'a Stack,
    now: Timestamp,
    by: Asker,
    secrets: secrets::SecretValues,
    faults: Vec<StackFault>,
    notes: Vec<StackFault>,
    record: StackRecord,
}

impl Applying<'_> {
    fn fault(&mut self, resource: &StackResource, message: impl Into<String>) {
        self.faults.push(fault(resource, message));
    }

    fn note(&mut self, resource: &StackResource, message: impl Into<String>) {
        self.notes.push(fault(resource, message));
    }

    fn made(&mut self, table: &str, key: &str) {
        self.record.resources.insert((table.to_owned(), key.to_owned()));
    }

    /// The ARN of a resource: its attribute, or what `Ref` yields.
    fn arn(&mut self, resource: &StackResource) -> Option<Arn> {
        let text = resource.attribute("Arn").unwrap_or(&resource.physical_id);
        match text.parse() {
            Ok(arn) => Some(arn),
            Err(error) => {
                self.fault(resource, format!("it has no ARN: {error}"));
                None
            }
        }
    }

    fn resource(&mut self, registry: &mut Registry, resource: &StackResource) {
        match &resource.body {
            ResourceBody::EcsCluster(body) => {
                if let Some(arn) = self.arn(resource) {
                    let name = arn.resource_name().to_owned();
                    let default_namespace = body
                        .service_connect_defaults
                        .as_ref()
                        .and_then(|defaults| defaults.namespace.clone());
                    self.made("clusters", &name);
                    let request = (**body).clone();
                    registry.clusters.put(name.clone(), Cluster { arn, name, default_namespace, request });
                }
            }
            ResourceBody::PrivateDnsNamespace(body) => self.private_dns_namespace(registry, resource, body),
            ResourceBody::HttpNamespace(body) => self.http_namespace(registry, resource, body),
            ResourceBody::DiscoveryService(body) => self.discovery_service(registry, resource, body),
            ResourceBody::EcsTaskDefinition(body) => self.task_definition(registry, resource, body),
            ResourceBody::EcsService(body) => self.service(registry, resource, body),
            ResourceBody::LoadBalancer(body) => self.load_balancer(registry, resource, body),
            ResourceBody::TargetGroup(body) => self.target_group(registry, resource, body),
            ResourceBody::Listener(body) => self.listener(registry, resource, body),
            ResourceBody::ListenerRule(body) => self.rule(registry, resource, body),
            ResourceBody::LocalCommand(body) => self.local_command(resource, body),
            ResourceBody::AuthorizationPolicy(body) => self.authorization_policy(registry, resource, body),
            ResourceBody::TrafficPolicy(body) => self.traffic_policy(registry, resource, body),
            ResourceBody::Record(_) if resource.resource_type == zone::SUBNET => {
                if let Some(subnet) = SubnetRecord::of(resource) {
                    self.made(zone::SUBNETS, &subnet.id);
                    registry.subnets.put(subnet.id.clone(), subnet);
                }
            }
            ResourceBody::Record(body) if resource.resource_type.starts_with("AWS::IAM::") => {
                self.access(registry, resource, body);
            }
            ResourceBody::Record(body) if resource.resource_type.starts_with("AWS::SecretsManager::") => {
                self.of_secret(registry, resource, body);
            }
            // Kept by the reader; nothing runs for them.
            _ => {}
        }
    }

    /// A discovery name and an alias's host and port each belong to one service of a namespace.
    fn refuse_duplicates(&mut self, registry: &Registry) {
        for (service, message) in service::clashes(registry) {
            match self.stack.by_physical_id(service.as_str()) {
                Some(resource) => self.fault(resource, message),
                None => self.faults.push(StackFault {
                    logical_id: service.to_string(),
                    position: self.stack.name.clone(),
                    message,
                }),
            }
        }
    }

    /// Who changes services, and when.
    fn change(&self) -> service::Change {
        service::Change { now: self.now, by: self.by.clone(), force: false }
    }

    fn local_command(&mut self, resource: &StackResource, body: &bowline_aws::bowline::LocalCommand) {
        let file = Path::new(&*resource.position.file);
        let beside = std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned));
        for container in &body.containers {
            let directory = beside.clone().map(|beside| match &container.working_directory {
                Some(directory) => beside.join(directory),
                None => beside,
            });
            self.record.local_commands.push(LocalCommandRecord {
                family: Some(body.family().to_owned()),
                container: container.name.clone(),
                command: container.command.clone(),
                working_directory: directory,
                environment: container.environment.clone(),
            });
        }
    }
}

fn fault(resource: &StackResource, message: impl Into<String>) -> StackFault {
    StackFault {
        logical_id: resource.logical_id.clone(),
        position: resource.position.to_string(),
        message: message.into(),
    }
}
