//! Everything that the control plane knows, as one immutable value, and the
//! single writer that replaces it.
//!
//! A change is made on a copy, written to the store, and only then visible.
//! Copies are cheap: the tables share their rows.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bowline_aws::ecs::CreateClusterRequest;
use bowline_model::{
    alarm::{Alarm, History},
    arn::{Arn, Scope},
    authorization::policy::AuthorizationPolicy,
    identity::SpiffeId,
    load_balancer::{GatewayListener, GatewayRule, LoadBalancer, TargetGroup},
    network::AliasAddresses,
    sampling::DefaultSampling,
    service::Service,
    task::{Alias, DesiredStatus},
    task_definition::TaskDefinition,
    traffic::TrafficPolicy,
};
use serde::{Deserialize, Serialize};

use crate::{
    acm::AcmCertificate,
    ecs::{
        capacity::CapacityProviderRecord,
        instance::ContainerInstanceRecord,
        record::{ServiceRecord, StoppedTask, TaskDefinitionRecord},
    },
    fis::{
        ExperimentTemplateRecord,
        experiments::{ExperimentRecord, SafetyLeverRecord},
    },
    iam::{AccessKeyRecord, InstanceProfileRecord, PolicyRecord, RoleRecord, UserRecord},
    kms::{AliasRecord, KeyRecord},
    logs::{LogGroupRecord, MetricFilterRecord},
    private_ca::PrivateCertificate,
    revocation::{BarRecord, RevocationRecord},
    scaling::{ScalableTargetRecord, ScalingActivities, ScalingPolicyRecord, ScheduledActionRecord},
    secrets::{SealedValue, SecretRecord},
    stack::record::{ChangeSetRecord, StackRecord},
    xray::SamplingRuleRow,
    zone::SubnetRecord,
};

pub use crate::stack::record::LocalCommandRecord;

mod authority;
mod cloud_map;
mod owners;
mod table;
mod task;
mod writer;

pub use authority::{AuthorityPlace, AuthorityPurpose, AuthorityRecord, CertificateRecord, CrlRecord};
pub(crate) use authority::{MESH_AUTHORITY, PUBLIC_AUTHORITY};
pub use cloud_map::{CloudMapOperation, CustomHealth, DiscoveryService, Instance, Namespace};
use owners::Owners;
pub use table::Table;
pub use task::{ContainerOverride, StandaloneTask, StopReason, TaskOwner, TaskRecord};
pub use writer::{RegistryError, RegistryWriter};

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Grows with every change.
    pub generation: u64,
    /// What is decided once for a state directory.
    pub settings: Table<Settings>,
    /// ECS clusters, by name.
    pub clusters: Table<Cluster>,
    /// Capacity providers that were made, by name.
    pub capacity_providers: Table<CapacityProviderRecord>,
    /// This machine in each cluster, by the cluster's name.
    pub container_instances: Table<ContainerInstanceRecord>,
    /// Namespaces, by name.
    pub namespaces: Table<Namespace>,
    /// Cloud Map services, by id. Those of ECS's Service Connect are not among them: they follow
    /// from [`Registry::services`].
    pub discovery_services: Table<DiscoveryService>,
    /// Instances that were registered by hand, by [`Instance::key`].
    pub instances: Table<Instance>,
    /// Cloud Map's latest operations, by id.
    pub cloud_map_operations: Table<CloudMapOperation>,
    /// Task definitions, by ARN.
    pub task_definitions: Table<TaskDefinition>,
    /// What was asked for of each registered task definition, by ARN.
    pub task_definition_records: Table<TaskDefinitionRecord>,
    /// Services, by ARN.
    pub services: Table<Service>,
    /// What was asked for of each service, and its deployments, by ARN.
    pub service_records: Table<ServiceRecord>,
    /// Load balancers, by ARN.
    pub load_balancers: Table<LoadBalancer>,
    /// Target groups, by ARN.
    pub target_groups: Table<TargetGroup>,
    /// Load balancers' listeners, by ARN.
    pub listeners: Table<GatewayListener>,
    /// Listeners' rules, by ARN.
    pub rules: Table<GatewayRule>,
    /// Authorization policies, by their stack's name and their logical id: `STACK/ID`.
    pub authorization_policies: Table<AuthorizationPolicy>,
    /// Traffic policies, by their stack's name and their logical id: `STACK/ID`.
    pub traffic_policies: Table<TrafficPolicy>,
    /// Subnets of templates, by id.
    pub subnets: Table<SubnetRecord>,
    /// Certificate authorities, by ARN. Their keys are sealed.
    pub authorities: Table<AuthorityRecord>,
    /// Tasks, by id.
    pub tasks: Table<TaskRecord>,
    /// Tasks that are over, for a while, by id.
    pub stopped_tasks: Table<StoppedTask>,
    /// Certificates issued and not yet expired, by serial number.
    pub certificates: Table<CertificateRecord>,
    /// Certificate Manager's certificates, by ARN. Their keys are sealed.
    pub acm_certificates: Table<AcmCertificate>,
    /// Certificates that authorities issued through the API, by ARN.
    pub private_certificates: Table<PrivateCertificate>,
    /// Certificates that are refused, by serial number.
    pub revocations: Table<RevocationRecord>,
    /// Tasks and services that get no certificates, by [`BarSubject::key`](crate::revocation::BarSubject::key).
    pub bars: Table<BarRecord>,
    /// The latest CRL of each authority, by the authority's ARN.
    pub crls: Table<CrlRecord>,
    /// Stacks, by name.
    pub stacks: Table<StackRecord>,
    /// Stacks that are gone, for a while, by ARN.
    pub deleted_stacks: Table<StackRecord>,
    /// Change sets, by ARN.
    pub change_sets: Table<ChangeSetRecord>,
    /// IAM users, by name.
    pub iam_users: Table<UserRecord>,
    /// IAM roles, by name.
    pub iam_roles: Table<RoleRecord>,
    /// The account's managed policies, by ARN.
    pub iam_policies: Table<PolicyRecord>,
    /// Instance profiles, by name.
    pub iam_instance_profiles: Table<InstanceProfileRecord>,
    /// Access keys, by id. Their secrets are sealed.
    pub access_keys: Table<AccessKeyRecord>,
    /// Secrets Manager's secrets, by name.
    pub secrets: Table<SecretRecord>,
    /// Their versions' values, sealed, by name and version.
    pub secret_values: Table<SealedValue>,
    /// KMS's keys, by id. Their material is sealed.
    pub kms_keys: Table<KeyRecord>,
    /// KMS's aliases, by name.
    pub kms_aliases: Table<AliasRecord>,
    /// FIS's experiment templates, by id.
    pub experiment_templates: Table<ExperimentTemplateRecord>,
    /// FIS's experiments, by id.
    pub experiments: Table<ExperimentRecord>,
    /// FIS's safety lever, by id: there is one.
    pub safety_levers: Table<SafetyLeverRecord>,
    /// X-Ray's sampling rules, by name.
    pub sampling_rules: Table<SamplingRuleRow>,
    /// CloudWatch's alarms, by name.
    pub alarms: Table<Alarm>,
    /// What happened to them, by name; that of an alarm that is gone is kept for a while.
    pub alarm_histories: Table<History>,
    /// Log groups that templates declare, by name.
    pub log_groups: Table<LogGroupRecord>,
    /// Metric filters that templates declare, by their group's name and their own.
    pub metric_filters: Table<MetricFilterRecord>,
    /// Services that may be scaled, by resource id: `service/CLUSTER/NAME`.
    pub scalable_targets: Table<ScalableTargetRecord>,
    /// Their policies, by resource id and name.
    pub scaling_policies: Table<ScalingPolicyRecord>,
    /// Their scheduled actions, by resource id and name.
    pub scheduled_actions: Table<ScheduledActionRecord>,
    /// What was done to them, by resource id.
    pub scaling_activities: Table<ScalingActivities>,
    /// Which of [`Registry::tasks`] are whose.
    pub(crate) owners: Owners,
}

/// What is decided once for a state directory, so that a restart finds the
/// same addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The SPIFFE trust domain.
    pub trust_domain: String,
    /// Account, region and partition.
    pub scope: Scope,
    /// Where the stream's servers listen.
    pub discovery_address: Option<SocketAddr>,
    /// Where the DNS server listens.
    #[serde(default)]
    pub dns_address: Option<SocketAddr>,
    /// Where each load balancer's port listens: `ARN` of the listener → address.
    pub gateway_addresses: BTreeMap<String, SocketAddr>,
    /// Where CRLs can be fetched: `http://127.0.0.1:4566/_bowline/crl/`, once the AWS endpoint was served.
    #[serde(default)]
    pub crl_base: Option<String>,
    /// The virtual address of each alias: `namespace/name`.
    pub aliases: AliasAddresses,
    /// ECS's account settings that differ from their defaults.
    #[serde(default)]
    pub account_settings: BTreeMap<String, String>,
    /// What X-Ray's default rule samples where nobody has changed it.
    #[serde(default)]
    pub sampling: DefaultSampling,
    /// Proves that the master key is the right one.
    pub master_key_canary: Vec<u8>,
}

/// The key of the only [`Settings`].
pub const SETTINGS: &str = "settings";

/// An ECS cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The ARN.
    pub arn: Arn,
    /// The name.
    pub name: String,
    /// `serviceConnectDefaults.namespace`.
    pub default_namespace: Option<String>,
    /// As it was asked for.
    pub request: CreateClusterRequest,
}

impl Registry {
    /// The tasks, and then those that are over and not forgotten yet.
    pub fn known_tasks(&self) -> impl Iterator<Item = &TaskRecord> {
        let over = self.stopped_tasks.values().map(|stopped| &stopped.task);
        self.tasks.values().map(|task| &**task).chain(over)
    }

    /// A task, also one that is over and not forgotten yet.
    pub fn known_task(&self, id: &str) -> Option<&TaskRecord> {
        let over = || self.stopped_tasks.get(id).map(|stopped| &stopped.task);
        self.tasks.get(id).map(|task| &**task).or_else(over)
    }

    /// Who signed a certificate.
    pub fn authority_of(&self, certificate: &CertificateRecord) -> Arn {
        certificate.authority.clone().unwrap_or_else(|| {
            let own = if certificate.spiffe_id.is_some() { MESH_AUTHORITY } else { PUBLIC_AUTHORITY };
            self.settings().scope.arn("acm-pca", format_args!("certificate-authority/{own}"))
        })
    }

    /// The settings; there are always some.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get(SETTINGS).cloned().unwrap_or_default()
    }

    /// Drops everything that was asked for. Tasks are told to stop; the state directory's own
    /// authorities and settings stay.
    pub(crate) fn forget_resources(&mut self) {
        let mut settings = (*self.settings()).clone();
        settings.gateway_addresses.clear();
        settings.aliases = AliasAddresses::default();
        settings.account_settings.clear();
        let mut after = Self { generation: self.generation, ..Self::default() };
        after.settings.put(SETTINGS, settings);
        std::mem::swap(&mut after.authorities, &mut self.authorities);
        after.authorities.retain(|_, authority| authority.private.is_none());
        // What was revoked stays refused: its certificates outlive what they were issued for.
        std::mem::swap(&mut after.revocations, &mut self.revocations);
        std::mem::swap(&mut after.crls, &mut self.crls);
        std::mem::swap(&mut after.tasks, &mut self.tasks);
        let ids: Vec<_> = after.tasks.values().map(|task| task.id.clone()).collect();
        for id in ids {
            after.tasks.update(id.as_str(), |task| task.desired = DesiredStatus::Stopped);
        }
        *self = after;
    }

    /// The service of a task, if it is one's.
    pub fn service_of(&self, task: &TaskRecord) -> Option<&Arc<Service>> {
        match &task.owner {
            TaskOwner::Service { service, .. } => self.services.get(service.as_str()),
            TaskOwner::Gateway { .. } | TaskOwner::Standalone(_) => None,
        }
    }

    /// Tasks of a service, the oldest first.
    pub fn tasks_of_service(&self, service: &Arn) -> Vec<Arc<TaskRecord>> {
        self.tasks_of(service, |owner| matches!(owner, TaskOwner::Service { .. }))
    }

    /// Tasks of a load balancer's gateway, the oldest first.
    pub fn tasks_of_gateway(&self, load_balancer: &Arn) -> Vec<Arc<TaskRecord>> {
        self.tasks_of(load_balancer, |owner| matches!(owner, TaskOwner::Gateway { .. }))
    }

    /// Tasks of services and load balancers that are gone.
    pub(crate) fn orphans(&self) -> Vec<Arc<TaskRecord>> {
        let is_there =
            |owner: &str| self.services.get(owner).is_some() || self.load_balancers.get(owner).is_some();
        self.owners.tasks_of_absent(&self.tasks, is_there)
    }

    fn tasks_of(&self, owner: &Arn, test: impl Fn(&TaskOwner) -> bool) -> Vec<Arc<TaskRecord>> {
        let mut tasks = self.owners.tasks_of(owner.as_str(), &self.tasks);
        tasks.retain(|task| test(&task.owner));
        tasks.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        tasks
    }

    /// The SPIFFE id of a task, taken from its record.
    pub fn identity_of(&self, task: &TaskRecord) -> Option<SpiffeId> {
        let settings = self.settings();
        match &task.owner {
            TaskOwner::Service { service, .. } => {
                Some(self.identity_of_service(self.services.get(service.as_str())?))
            }
            TaskOwner::Gateway { load_balancer } => {
                let balancer = self.load_balancers.get(load_balancer.as_str())?;
                Some(SpiffeId::of_gateway(&settings.trust_domain, &balancer.name))
            }
            TaskOwner::Standalone(standalone) => {
                let definition = self.task_definitions.get(standalone.task_definition.as_str())?;
                let namespace = match &standalone.namespace {
                    Some(namespace) => namespace.clone(),
                    None => format!("cluster:{}", standalone.cluster),
                };
                Some(SpiffeId::of_task_family(
                    &settings.trust_domain,
                    &namespace,
                    &standalone.cluster,
                    &definition.family,
                ))
            }
        }
    }

    /// The SPIFFE id of a service. One without a namespace has its cluster's name there, after
    /// `cluster:`, which no namespace can be called.
    pub fn identity_of_service(&self, service: &Service) -> SpiffeId {
        let settings = self.settings();
        let namespace = match &service.connect {
            Some(connect) => connect.namespace.clone(),
            None => format!("cluster:{}", service.cluster),
        };
        SpiffeId::of_service(&settings.trust_domain, &namespace, &service.cluster, &service.name)
    }

    /// A namespace by name, ARN or id.
    pub fn namespace_named(&self, given: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(given).or_else(|| {
            self.namespaces
                .values()
                .find(|namespace| namespace.arn.as_str() == given || namespace.id == given)
        })
    }

    /// Every alias of a namespace with its virtual address.
    pub fn aliases_of(&self, namespace: &str) -> Vec<Alias> {
        let settings = self.settings();
        let mut aliases = Vec::new();
        for service in self.services.values() {
            let Some(connect) = service.connect.as_ref().filter(|connect| connect.namespace == namespace)
            else {
                continue;
            };
            for offered in &connect.services {
                let Some(alias) = &offered.alias else { continue };
                let names = offered.hostnames(namespace);
                if let Some(address) = settings.aliases.get(&alias_key(namespace, &names)) {
                    aliases.push(Alias { names, address, port: alias.port });
                }
            }
        }
        for name in crate::cloud_map::external::names_in(self, namespace) {
            let (names, address) = (name.hostnames, name.address);
            aliases.extend(name.ports.keys().map(|port| Alias {
                names: names.clone(),
                address,
                port: *port,
            }));
        }
        aliases
    }
}

/// The key of an alias's virtual address.
pub fn alias_key(namespace: &str, names: &[String]) -> String {
    format!("{namespace}/{}", names.first().map_or("", String::as_str))
}
