//! Looking into proxies: for people who ask by the names of services and tasks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_discovery::resource::ResourceType;
use bowline_model::{
    clock::Timestamp,
    diagnostics::{Difference, HeldResource, LogState, ProxyDump, differences},
    task::TaskId,
};
use bowline_plumbing::wall_clock;
use bowline_stream::{
    directory::Directory,
    introspection::{
        IntrospectionError, ProxyProcess,
        tap::{TapError, TapOrder, TapReading},
    },
};
use thiserror::Error;

use super::ControlPlane;
use crate::{
    registry::{Registry, TaskOwner, TaskRecord},
    telemetry::ReportState,
};

/// How often a proxy is asked whether it is in step before it counts as not.
const LOOKS: u32 = 4;
/// How long a change may take to be everywhere, between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// A name that nobody has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Neither a service, a load balancer nor a task.
    #[error("there is no service, load balancer or task {name}; there are {}", .known.join(", "))]
    Unknown {
        /// As it was given.
        name: String,
        /// Whom there is.
        known: Vec<String>,
    },
    /// The beginning of more than one task's id.
    #[error("{0} is the beginning of more than one task's id")]
    Ambiguous(String),
}

/// A task's proxy, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The task.
    pub task: TaskId,
    /// Name of the service, group or load balancer.
    pub owner: String,
    /// Whether its stream of resources is open.
    pub connected: bool,
    /// What it tells, or why it tells nothing.
    pub dump: Result<Box<ProxyDump>, IntrospectionError>,
    /// What it has otherwise than it should.
    pub differences: Vec<Difference>,
    /// What it last refused, by type, in its own words.
    pub refused: BTreeMap<String, String>,
    /// When it was asked.
    pub at: Timestamp,
}

impl Diagnosis {
    /// Whether it goes by what it should.
    pub fn in_step(&self) -> bool {
        self.connected && self.dump.is_ok() && self.differences.is_empty() && self.refused.is_empty()
    }
}

/// A task's proxy, as far as it is known without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLink {
    /// The task.
    pub task: TaskId,
    /// Name of the service, group or load balancer.
    pub owner: String,
    /// Whether its stream of resources is open.
    pub connected: bool,
    /// Whether it has acknowledged the endpoints that are published now.
    pub has_latest: bool,
    /// What it last refused, by type, in its own words.
    pub refused: BTreeMap<String, String>,
    /// Its process, where it can be asked.
    pub process: Option<ProxyProcess>,
    /// Since when its task serves.
    pub serving_since: Option<Timestamp>,
}

/// What a load balancer lacks to serve all that it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum GatewayGap {
    /// There are targets of this discovery name, and none that can be used: it answers 503 for them.
    #[error("has no healthy target for {0}: it answers 503 there until a health check passes")]
    Target(String),
    /// It has not got this certificate yet, and shows another one to those who ask for its name.
    #[error("has not got its certificate {0} yet: who asks for its names sees another one, or none")]
    Certificate(String),
}

impl GatewayGap {
    /// By what a gateway's proxy goes by.
    fn of(dump: &ProxyDump, now: Timestamp) -> impl Iterator<Item = Self> {
        let unserved = dump.clusters.iter().filter(move |cluster| cluster.is_unserved(now));
        let targets = unserved.map(|cluster| Self::Target(cluster.discovery_name.clone()));
        targets.chain(dump.missing_certificates().map(|name| Self::Certificate(name.to_owned())))
    }
}

impl ControlPlane {
    /// The tasks with proxies that names mean: tasks by id, its beginning or ARN; all tasks of services (`NAME`,
    /// `CLUSTER/NAME` or ARN), of groups of standalone tasks, and of load balancers. Without names, all.
    ///
    /// # Errors
    /// A name means nobody.
    pub fn proxied_tasks(&self, names: &[String]) -> Result<BTreeSet<TaskId>, NameError> {
        let registry = self.snapshot();
        let proxied = || registry.tasks.values().filter(|task| task.proxied);
        if names.is_empty() {
            return Ok(proxied().map(|task| task.id.clone()).collect());
        }
        let mut found = BTreeSet::new();
        for name in names {
            let of_owner: Vec<_> = proxied().filter(|task| is_of(&registry, task, name)).collect();
            if !of_owner.is_empty() {
                found.extend(of_owner.into_iter().map(|task| task.id.clone()));
                continue;
            }
            let id = name
                .rsplit_once(":task/")
                .map_or(name.as_str(), |(_, path)| path.rsplit_once('/').map_or(path, |(_, id)| id));
            let mut by_id = proxied().filter(|task| !id.is_empty() && task.id.as_str().starts_with(id));
            match (by_id.next(), by_id.next()) {
                (Some(task), None) => drop(found.insert(task.id.clone())),
                (Some(_), Some(_)) => return Err(NameError::Ambiguous(name.clone())),
                (None, _) if is_idle(&registry, name) => {}
                (None, _) => {
                    let known: BTreeSet<_> = proxied().map(|task| owner_of(&registry, task)).collect();
                    return Err(NameError::Unknown {
                        name: name.clone(),
                        known: known.into_iter().collect(),
                    });
                }
            }
        }
        Ok(found)
    }

    /// SPIFFE ids of services, task groups and load balancers by name; a SPIFFE id is itself.
    ///
    /// # Errors
    /// A name means nobody.
    pub fn identities_of(&self, names: &[String]) -> Result<Vec<String>, NameError> {
        let registry = self.snapshot();
        let mut identities = BTreeSet::new();
        for name in names {
            if name.starts_with("spiffe://") {
                identities.insert(name.clone());
                continue;
            }
            let services = registry.services.values().filter(|service| {
                is_called(name, Some(&service.cluster), &service.name) || service.arn.as_str() == name
            });
            let of_services: Vec<_> =
                services.map(|service| registry.identity_of_service(service).to_string()).collect();
            let of_tasks = registry.tasks.values().filter(|task| is_of(&registry, task, name));
            let of_tasks: Vec<_> =
                of_tasks.filter_map(|task| Some(registry.identity_of(task)?.to_string())).collect();
            if of_services.is_empty() && of_tasks.is_empty() {
                let known = registry.services.values().map(|service| service.name.clone()).collect();
                return Err(NameError::Unknown { name: name.clone(), known });
            }
            identities.extend(of_services.into_iter().chain(of_tasks));
        }
        Ok(identities.into_iter().collect())
    }

    /// Name of the service, group or load balancer that a task is of; `-` where it is gone.
    pub fn owner_of_task(&self, task: &TaskId) -> String {
        let registry = self.snapshot();
        registry.tasks.get(task.as_str()).map_or_else(|| "-".to_owned(), |task| owner_of(&registry, task))
    }

    /// Opens a tap: see [`bowline_stream::introspection::Introspection::open_tap`].
    ///
    /// # Errors
    /// See there.
    pub fn open_tap(&self, order: TapOrder) -> Result<u64, TapError> {
        self.core.introspection().open_tap(order)
    }

    /// Reads a tap: see [`bowline_stream::introspection::Introspection::read_tap`].
    ///
    /// # Errors
    /// See there.
    pub async fn read_tap(
        &self,
        id: u64,
        tasks: &BTreeSet<TaskId>,
        wait: Duration,
    ) -> Result<TapReading, TapError> {
        self.core.introspection().read_tap(id, tasks, wait).await
    }

    /// Ends a tap.
    pub fn end_tap(&self, id: u64) {
        self.core.introspection().end_tap(id);
    }

    /// Changes what a task's proxy logs for so long; for no time at all: back to its own.
    ///
    /// # Errors
    /// See [`IntrospectionError`].
    pub async fn set_log_level(
        &self,
        task: &TaskId,
        filter: &str,
        lasting: Duration,
    ) -> Result<LogState, IntrospectionError> {
        self.core.introspection().set_log_level(task, filter, lasting).await
    }

    /// What a task's proxy goes by, and what of that is not as it should be. A change that is under way is given a
    /// moment.
    pub async fn diagnose(&self, task: &TaskId) -> Diagnosis {
        let mut looks = 1;
        loop {
            let diagnosis = self.look(task).await;
            let may_settle = diagnosis.dump.is_ok()
                && diagnosis.refused.is_empty()
                && diagnosis.differences.iter().any(|difference| difference.reason.is_none());
            if !may_settle || looks >= LOOKS {
                return diagnosis;
            }
            looks += 1;
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn look(&self, task: &TaskId) -> Diagnosis {
        let dump = self.core.introspection().dump(task).await.map(Box::new);
        let wanted: Vec<HeldResource> = match self.core.resources(task) {
            Some(set) => set
                .iter()
                .map(|(kind, name, resource)| HeldResource {
                    kind: kind.name().to_owned(),
                    name: name.to_string(),
                    version: resource.version.to_string(),
                })
                .collect(),
            None => Vec::new(),
        };
        let link = self.core.proxy_link(task);
        Diagnosis {
            task: task.clone(),
            owner: self.owner_of_task(task),
            connected: link.connected,
            differences: dump.as_ref().map(|dump| differences(&wanted, dump)).unwrap_or_default(),
            dump,
            refused: by_name(link.refused),
            at: wall_clock::now(),
        }
    }

    /// What load balancers lack, by their names. A proxy that does not tell lacks nothing.
    pub async fn gateway_gaps(&self) -> BTreeSet<(String, GatewayGap)> {
        let registry = self.snapshot();
        let mut gaps = BTreeSet::new();
        for balancer in registry.load_balancers.values() {
            for task in registry.tasks_of_gateway(&balancer.arn).into_iter().filter(|task| task.available()) {
                let Ok(dump) = self.core.introspection().dump(&task.id).await else { continue };
                let of_dump = GatewayGap::of(&dump, wall_clock::now());
                gaps.extend(of_dump.map(|gap| (balancer.name.clone(), gap)));
            }
        }
        gaps
    }

    /// What is known of proxies' reports, by task.
    pub fn report_states(&self) -> BTreeMap<TaskId, ReportState> {
        self.core.telemetry().reports()
    }

    /// When this process began to serve proxies.
    pub fn began(&self) -> Timestamp {
        self.core.introspection().began()
    }

    /// When the reconciler last passed over everything, and whether that failed.
    pub fn last_reconciled(&self) -> Option<(Timestamp, bool)> {
        self.core.telemetry().own.last_pass()
    }

    /// All tasks' proxies, as far as they are known without being asked.
    pub fn proxy_links(&self) -> Vec<ProxyLink> {
        let registry = self.snapshot();
        let mut processes = self.core.introspection().processes();
        let proxied = registry.tasks.values().filter(|task| task.proxied);
        proxied
            .map(|task| {
                let link = self.core.proxy_link(&task.id);
                ProxyLink {
                    task: task.id.clone(),
                    owner: owner_of(&registry, task),
                    connected: link.connected,
                    has_latest: link.has_latest,
                    refused: by_name(link.refused),
                    process: processes.remove(&task.id),
                    serving_since: task.serving_since,
                }
            })
            .collect()
    }
}

fn by_name(refused: BTreeMap<ResourceType, String>) -> BTreeMap<String, String> {
    refused.into_iter().map(|(kind, reason)| (kind.name().to_owned(), reason)).collect()
}

fn is_called(given: &str, cluster: Option<&str>, name: &str) -> bool {
    given == name || cluster.is_some_and(|cluster| given.split_once('/') == Some((cluster, name)))
}

/// Whether a task is of the service, group or load balancer that is called so.
fn is_of(registry: &Registry, task: &TaskRecord, given: &str) -> bool {
    match &task.owner {
        TaskOwner::Service { service, .. } => {
            service.as_str() == given
                || registry
                    .services
                    .get(service.as_str())
                    .is_some_and(|service| is_called(given, Some(&service.cluster), &service.name))
        }
        TaskOwner::Standalone(task) => is_called(given, Some(&task.cluster), &task.group),
        TaskOwner::Gateway { load_balancer } => {
            load_balancer.as_str() == given
                || registry
                    .load_balancers
                    .get(load_balancer.as_str())
                    .is_some_and(|balancer| balancer.name == given)
        }
    }
}

/// Whether there is a service or load balancer of that name, which has no tasks now.
fn is_idle(registry: &Registry, given: &str) -> bool {
    registry.services.values().any(|service| {
        service.arn.as_str() == given || is_called(given, Some(&service.cluster), &service.name)
    }) || registry
        .load_balancers
        .values()
        .any(|balancer| balancer.arn.as_str() == given || balancer.name == given)
}

fn owner_of(registry: &Registry, task: &TaskRecord) -> String {
    let name = match &task.owner {
        TaskOwner::Service { service, .. } => {
            registry.services.get(service.as_str()).map(|service| service.name.clone())
        }
        TaskOwner::Standalone(task) => Some(task.group.clone()),
        TaskOwner::Gateway { load_balancer } => {
            registry.load_balancers.get(load_balancer.as_str()).map(|balancer| balancer.name.clone())
        }
    };
    name.unwrap_or_else(|| "-".to_owned())
}
