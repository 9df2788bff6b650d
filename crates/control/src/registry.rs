//! Everything that the control plane knows, as one immutable value, and the
//! single writer that replaces it.
//!
//! A change is made on a copy, written to the store, and only then visible.
//! Copies are cheap: the tables share their rows.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bowline_aws::ecs::{CapacityProviderStrategyItem, CreateClusterRequest, LaunchType, Tag};
use bowline_model::{
    alarm::{Alarm, History},
    arn::{Arn, Scope},
    authorization::policy::AuthorizationPolicy,
    clock::Timestamp,
    identity::SpiffeId,
    load_balancer::{GatewayListener, GatewayRule, LoadBalancer, TargetGroup},
    network::AliasAddresses,
    sampling::DefaultSampling,
    service::{DeploymentId, Service},
    succession::Slot,
    task::{Alias, DesiredStatus, HealthStatus, StopCode, TaskId, TaskReport, TaskStatus},
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
    private_ca::{PrivateAuthority, PrivateCertificate},
    revocation::{BarRecord, RevocationRecord},
    scaling::{ScalableTargetRecord, ScalingActivities, ScalingPolicyRecord, ScheduledActionRecord},
    secrets::{SealedValue, SecretRecord},
    stack::record::{ChangeSetRecord, StackRecord},
    xray::SamplingRuleRow,
    zone::SubnetRecord,
};

pub use crate::stack::record::LocalCommandRecord;

mod cloud_map;
mod owners;
mod table;
mod writer;

pub use cloud_map::{CloudMapOperation, CustomHealth, DiscoveryService, Instance, Namespace};
use owners::Owners;
pub use table::Table;
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

/// A certificate authority with its sealed key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    /// The ARN.
    pub arn: Arn,
    /// What it signs.
    pub purpose: AuthorityPurpose,
    /// Its certificate, DER; empty as long as it has none.
    pub certificate_der: Vec<u8>,
    /// Its key, PKCS#8, sealed under the master key and its ARN.
    pub sealed_key: Vec<u8>,
    /// The mesh believes certificates that it signed: it was made for that, or a service has named it.
    #[serde(default = "trusted")]
    pub trusted: bool,
    /// What AWS Private CA's API knows of it; `None` of the control plane's own.
    #[serde(default)]
    pub private: Option<Box<PrivateAuthority>>,
    /// Where it is among those that follow one another.
    #[serde(default)]
    pub place: AuthorityPlace,
}

/// Where an authority is in its line: see [`bowline_model::succession`]. The default is a line of its own,
/// for which it signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityPlace {
    /// The authority that the line began with, which is what services name; `None`: this one.
    pub line: Option<Arn>,
    /// Where in the line.
    pub slot: Slot,
    /// How many were there before it.
    pub number: u32,
    /// Since when it is there; of one that nobody moved, 1970.
    pub since: Timestamp,
}

impl AuthorityRecord {
    /// The authority that its line began with.
    pub fn line(&self) -> &Arn {
        self.place.line.as_ref().unwrap_or(&self.arn)
    }
}

/// Rows written before authorities could be without trust.
fn trusted() -> bool {
    true
}

/// What a certificate authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthorityPurpose {
    /// Identities of the mesh: its root is part of the trust bundle.
    Mesh,
    /// What gateways show to clients outside.
    Public,
}

/// A task, from the decision to start it until it is forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The id.
    pub id: TaskId,
    /// The ARN.
    pub arn: Arn,
    /// Whose task it is.
    pub owner: TaskOwner,
    /// When it was decided.
    pub created_at: Timestamp,
    /// Whether it should run.
    pub desired: DesiredStatus,
    /// Since when it takes no new requests, on its way to be stopped.
    pub draining_since: Option<Timestamp>,
    /// It has been healthy at least once, or, without a health check, has served for a second.
    pub was_healthy: bool,
    /// One of its essential containers has a health check, which must pass before it serves.
    pub health_checked: bool,
    /// Why it is to stop, where somebody said so.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    /// ECS's tags of it.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The capacity provider that it was placed on, where a strategy placed it.
    #[serde(default)]
    pub capacity_provider: Option<String>,
    /// The availability zone that it was placed in; `None`: its region's first.
    #[serde(default)]
    pub zone: Option<String>,
    /// Until when scale-in and deployments must not stop it: `UpdateTaskProtection`.
    #[serde(default)]
    pub protected_until: Option<Timestamp>,
    /// It has a sidecar (or is a gateway's), which must be ready before it serves.
    pub proxied: bool,
    /// When all of its containers ran first: ECS's `startedAt`.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Since when it serves.
    pub serving_since: Option<Timestamp>,
    /// The last report of its agent. Kept, so that a restarted control plane believes it until the
    /// agent reports anew: proxies that reconnect before that must not lose their endpoints.
    pub report: Option<Arc<TaskReport>>,
}

/// Why a task is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// ECS's code.
    pub code: StopCode,
    /// For people.
    pub reason: String,
}

/// Whose task it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskOwner {
    /// A service's.
    Service {
        /// The service.
        service: Arn,
        /// The task definition that it runs.
        task_definition: Arn,
        /// The deployment that started it.
        deployment: DeploymentId,
    },
    /// Nobody's: `RunTask` or `StartTask` made it.
    Standalone(Box<StandaloneTask>),
    /// The gateway of a load balancer.
    Gateway {
        /// The load balancer.
        load_balancer: Arn,
    },
}

/// A task that no service has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandaloneTask {
    /// The task definition that it runs.
    pub task_definition: Arn,
    /// The cluster's name.
    pub cluster: String,
    /// The namespace whose names it can call: its cluster's default.
    pub namespace: Option<String>,
    /// `group`; AWS's default is `family:FAMILY`.
    pub group: String,
    /// `startedBy`.
    pub started_by: Option<String>,
    /// Commands and environment in place of the definition's, by container.
    pub overrides: BTreeMap<String, ContainerOverride>,
    /// `overrides.taskRoleArn`: the role in place of the definition's.
    #[serde(default)]
    pub task_role: Option<String>,
    /// `assignPublicIp: ENABLED`: ports are published on the host's loopback.
    pub assign_public_ip: bool,
    /// `awsvpcConfiguration.subnets`.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// `launchType`, where one was given.
    #[serde(default)]
    pub launch_type: Option<LaunchType>,
    /// `capacityProviderStrategy`, or its cluster's default one.
    #[serde(default)]
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// `enableExecuteCommand`.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// `platformVersion`, where one was given.
    #[serde(default)]
    pub platform_version: Option<String>,
    /// `clientToken` of the `RunTask` that made it, and how many tasks that made.
    #[serde(default)]
    pub client_token: Option<(String, usize)>,
}

/// What `RunTask` puts in place of a container definition's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOverride {
    /// The command, where it differs.
    pub command: Option<Vec<String>>,
    /// More environment.
    pub environment: BTreeMap<String, String>,
}

impl TaskOwner {
    /// The task definition that the task runs, if it runs one.
    pub fn task_definition(&self) -> Option<&Arn> {
        match self {
            Self::Service { task_definition, .. } => Some(task_definition),
            Self::Standalone(task) => Some(&task.task_definition),
            Self::Gateway { .. } => None,
        }
    }
}

impl TaskRecord {
    /// Where it is in its life, as far as is known.
    pub fn status(&self) -> TaskStatus {
        self.report.as_ref().map_or(TaskStatus::Provisioning, |report| report.status)
    }

    /// Believes what its agent says of it.
    pub fn take_up(&mut self, report: &TaskReport) {
        // One that only says the same again later is none: it would be a write, and would wake every stream.
        let known = self.report.as_ref();
        if known.is_some_and(|known| TaskReport { at: report.at, ..TaskReport::clone(known) } == *report) {
            return;
        }
        if report.status == TaskStatus::Running {
            self.started_at.get_or_insert(report.at);
        }
        self.report = Some(Arc::new(report.clone()));
    }

    /// It is over, or on its way there.
    pub fn is_ending(&self) -> bool {
        self.desired == DesiredStatus::Stopped
            || self.draining_since.is_some()
            || self.status() == TaskStatus::Stopped
    }

    /// When it ended, once it has.
    pub fn stopped_at(&self) -> Option<Timestamp> {
        let report = self.report.as_ref()?;
        (report.status == TaskStatus::Stopped).then_some(report.at)
    }

    /// Whether scale-in and deployments must leave it alone at this moment.
    pub fn is_protected(&self, now: Timestamp) -> bool {
        self.protected_until.is_some_and(|until| until > now)
    }

    /// It takes traffic: it runs, its sidecar serves, and its health check, if it has one, passes.
    pub fn serves(&self) -> bool {
        self.report.as_ref().is_some_and(|report| {
            let well = match report.health {
                HealthStatus::Healthy => true,
                HealthStatus::Unknown => !self.health_checked,
                HealthStatus::Unhealthy => false,
            };
            report.status == TaskStatus::Running && (report.proxy_ready || !self.proxied) && well
        })
    }

    /// It serves, and is not on its way out.
    pub fn available(&self) -> bool {
        self.serves() && !self.is_ending()
    }
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub task: TaskId,
    /// Which of its identities: `mesh` or a public one's name.
    pub name: String,
    /// The SPIFFE id; `None` for a public certificate.
    pub spiffe_id: Option<SpiffeId>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Who signed it; `None` where an earlier version recorded it: then it was the state
    /// directory's own authority.
    #[serde(default)]
    pub authority: Option<Arn>,
    /// The certificate and what stands between it and its root, PEM, leaf first. Empty where an
    /// earlier version recorded it.
    #[serde(default)]
    pub chain_pem: String,
    /// When it was issued. 1970 where an earlier version recorded it.
    #[serde(default)]
    pub issued_at: Timestamp,
}

impl CertificateRecord {
    /// Orders the certificates of one identity: who has the greater one has it later. [`Self::not_before`] alone does not
    /// tell: it is in whole seconds, and not before the authority's own, so several of a young authority have the same.
    #[must_use]
    pub fn age(&self) -> (Timestamp, Timestamp) {
        (self.issued_at, self.not_before)
    }
}

/// A CRL that was signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrlRecord {
    /// Whose.
    pub authority: Arn,
    /// Its number (RFC 5280 §5.2.3), from 1.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// Until when there is another one.
    pub next_update: Timestamp,
    /// The serial numbers on it, in order.
    pub serials: Vec<String>,
    /// The CRL, PEM.
    pub pem: String,
}

/// Resource name of the authority that the mesh has of itself.
pub(crate) const MESH_AUTHORITY: &str = "bowline-mesh";

/// Resource name of the authority of the gateways' public certificates.
pub(crate) const PUBLIC_AUTHORITY: &str = "bowline-public";

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
