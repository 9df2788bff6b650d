//! Services with their instances as they are discovered: by namespace and name, ready to be told.
//!
//! An index is made from a snapshot of the registry at the first question after a change. What did
//! not change is taken from the index before; where only instances did, nothing else is looked at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use bowline_aws::{
    ecs::ServiceRegistry,
    servicediscovery::api::{HealthStatus, HttpInstanceSummary},
};
use bowline_model::{arn::Arn, clock::Timestamp, service::Service};

use super::managed::{self, TaskInstance};
use crate::registry::{CustomHealth, DiscoveryService, Instance, Registry, TaskOwner, TaskRecord};

/// The present index.
#[derive(Default)]
pub(crate) struct DiscoveryCache {
    present: ArcSwap<DiscoveryIndex>,
    making: Mutex<()>,
}

impl DiscoveryCache {
    /// The index of a snapshot.
    pub(crate) fn at(&self, registry: &Registry, now: impl Fn() -> Timestamp) -> Arc<DiscoveryIndex> {
        let present = self.present.load();
        if present.generation >= registry.generation {
            return Arc::clone(&present);
        }
        drop(present);
        // Who comes meanwhile waits: making it twice would take as long.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.present.load_full();
        if before.generation >= registry.generation {
            return before;
        }
        let made = Arc::new(DiscoveryIndex::new(registry, &before, now()));
        self.present.store(Arc::clone(&made));
        made
    }
}

/// Every Cloud Map service of one moment.
#[derive(Default)]
pub(crate) struct DiscoveryIndex {
    generation: u64,
    /// What it was made from.
    of: Registry,
    by_name: HashMap<String, Arc<Named>>,
    by_id: Arc<BTreeMap<Arc<str>, Arc<Discoverable>>>,
}

/// A namespace's services by name.
type Named = HashMap<Arc<str>, Arc<Discoverable>>;

/// A service with its instances.
pub(crate) struct Discoverable {
    pub(crate) row: Arc<DiscoveryService>,
    /// By id.
    pub(crate) instances: Vec<Discovered>,
    /// `InstancesRevision`.
    pub(crate) revision: u64,
    /// Rows that it was made from; empty where tasks have a part in it.
    rows: Vec<Arc<Instance>>,
    /// Where the next answer that holds not all begins.
    rotation: AtomicUsize,
}

/// An instance.
pub(crate) struct Discovered {
    pub(crate) summary: Arc<HttpInstanceSummary>,
    pub(crate) creator_request_id: Option<String>,
}

impl Discovered {
    pub(crate) fn id(&self) -> &str {
        &self.summary.instance_id
    }
}

impl Discoverable {
    /// The instance with this id.
    pub(crate) fn instance(&self, id: &str) -> Option<&Discovered> {
        let found = self.instances.binary_search_by(|instance| instance.id().cmp(id)).ok()?;
        self.instances.get(found)
    }

    /// Another number each time: no instance is always the first.
    pub(crate) fn rotation(&self) -> usize {
        self.rotation.fetch_add(1, Ordering::Relaxed)
    }
}

impl DiscoveryIndex {
    /// A service by its namespace's name and its own; `None` for a namespace that has no services.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Option<&Arc<Discoverable>> {
        self.by_name.get(namespace)?.get(name)
    }

    /// A service by its id.
    pub(crate) fn with_id(&self, id: &str) -> Option<&Arc<Discoverable>> {
        self.by_id.get(id)
    }

    /// Every service, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Discoverable>> {
        self.by_id.values()
    }

    /// How many services a namespace has.
    pub(crate) fn count_in(&self, namespace: &str) -> usize {
        self.by_name.get(namespace).map_or(0, |services| services.len())
    }

    fn new(registry: &Registry, before: &Self, now: Timestamp) -> Self {
        if let Some(index) = before.advanced_to(registry, now) {
            return index;
        }
        let mut index = Self { generation: registry.generation, of: registry.clone(), ..Self::default() };
        let making = Making { registry, before, now, tasks: tasks_by_service(registry) };
        let registrations = managed::registrations(registry);
        let names: HashMap<&str, &str> = registry
            .namespaces
            .values()
            .map(|namespace| (namespace.id.as_str(), namespace.name.as_str()))
            .collect();
        for row in registry.discovery_services.values() {
            let Some(namespace) = names.get(row.namespace_id.as_str()) else { continue };
            let bindings = registrations.get(&row.id).map_or(&[][..], Vec::as_slice);
            index.add(namespace, making.stored(namespace, row, bindings));
        }
        for namespace in registry.namespaces.values() {
            for managed in managed::services_in(registry, namespace) {
                if index.named(&namespace.name, &managed.row.name).is_none() {
                    index.add(&namespace.name, making.managed(&namespace.name, &managed));
                }
            }
        }
        index
    }

    /// The index of a later registry, made from this one; `None` where more has changed than
    /// instances and the services that hold them.
    fn advanced_to(&self, registry: &Registry, now: Timestamp) -> Option<Self> {
        if self.generation == 0 || !is_same_beside_services(&self.of, registry) {
            return None;
        }
        let (rows, gone) = registry.discovery_services.changes_since(&self.of.discovery_services);
        let stays = |row: &DiscoveryService| {
            let before = self.of.discovery_services.get(&row.id);
            before.is_some_and(|before| before.name == row.name && before.namespace_id == row.namespace_id)
        };
        if !gone.is_empty() {
            return None;
        }
        let (put, removed) = registry.instances.changes_since(&self.of.instances);
        let of_instances = put.into_iter().map(|(key, _)| key).chain(removed);
        let of_instances = of_instances.filter_map(Instance::service_of_key);
        let changed: BTreeSet<&str> = rows.iter().map(|(id, _)| *id).chain(of_instances).collect();
        let mut index = Self {
            generation: registry.generation,
            of: registry.clone(),
            by_name: self.by_name.clone(),
            by_id: Arc::clone(&self.by_id),
        };
        if changed.is_empty() {
            return Some(index);
        }
        let making = Making { registry, before: self, now, tasks: tasks_by_service(registry) };
        let registrations = managed::registrations(registry);
        for row in changed.into_iter().filter_map(|id| registry.discovery_services.get(id)) {
            let mut namespaces = registry.namespaces.values();
            let Some(namespace) = namespaces.find(|namespace| namespace.id == row.namespace_id) else {
                continue;
            };
            // A new one may take the place of one that ECS brings.
            if !stays(row) && index.named(&namespace.name, &row.name).is_some() {
                return None;
            }
            let bindings = registrations.get(&row.id).map_or(&[][..], Vec::as_slice);
            index.add(&namespace.name, making.stored(&namespace.name, row, bindings));
        }
        Some(index)
    }

    fn add(&mut self, namespace: &str, service: Arc<Discoverable>) {
        Arc::make_mut(&mut self.by_id).insert(service.row.id.as_str().into(), Arc::clone(&service));
        let names = self.by_name.entry(namespace.to_owned()).or_default();
        Arc::make_mut(names).insert(service.row.name.as_str().into(), service);
    }
}

/// Whether all that an index is made from is the same in both, but for services and instances that
/// are stored.
fn is_same_beside_services(before: &Registry, after: &Registry) -> bool {
    before.settings.is_same(&after.settings)
        && before.namespaces.is_same(&after.namespaces)
        && before.services.is_same(&after.services)
        && before.service_records.is_same(&after.service_records)
        && before.task_definitions.is_same(&after.task_definitions)
        && before.tasks.is_same(&after.tasks)
}

fn tasks_by_service(registry: &Registry) -> HashMap<&Arn, Vec<&TaskRecord>> {
    let mut tasks: HashMap<&Arn, Vec<&TaskRecord>> = HashMap::new();
    for task in registry.tasks.values() {
        if let TaskOwner::Service { service, .. } = &task.owner {
            tasks.entry(service).or_default().push(task);
        }
    }
    tasks
}

/// What making an index takes.
struct Making<'a> {
    registry: &'a Registry,
    before: &'a DiscoveryIndex,
    now: Timestamp,
    tasks: HashMap<&'a Arn, Vec<&'a TaskRecord>>,
}

impl Making<'_> {
    fn tasks_of(&self, service: &Service) -> &[&TaskRecord] {
        self.tasks.get(&service.arn).map_or(&[], Vec::as_slice)
    }

    fn stored(
        &self,
        namespace: &str,
        row: &Arc<DiscoveryService>,
        bindings: &[(&Service, ServiceRegistry)],
    ) -> Arc<Discoverable> {
        let prefix = Instance::key(&row.id, "");
        let rows = || self.registry.instances.under(&prefix).map(|(_, row)| row);
        if let Some(before) = self.before.with_id(&row.id).filter(|_| bindings.is_empty())
            && Arc::ptr_eq(&before.row, row)
            && before.rows.iter().map(Arc::as_ptr).eq(rows().map(Arc::as_ptr))
            && before.instances.len() == before.rows.len()
        {
            return Arc::clone(before);
        }
        let mut instances: Vec<_> = rows().map(|instance| by_hand(namespace, row, instance)).collect();
        let kept = if bindings.is_empty() { rows().cloned().collect() } else { Vec::new() };
        let health = if row.health_check_custom { HealthStatus::Healthy } else { HealthStatus::Unknown };
        for (service, binding) in bindings {
            let tasks = self.tasks_of(service);
            let tasks = managed::registered_tasks(self.registry, tasks, service, binding);
            instances.extend(tasks.map(|task| of_task(namespace, row, task, health)));
        }
        let by_ecs = !bindings.is_empty();
        self.discoverable(Arc::clone(row), instances, kept, by_ecs)
    }

    fn managed(&self, namespace: &str, managed: &managed::ManagedService<'_>) -> Arc<Discoverable> {
        let tasks = self.tasks_of(managed.owner);
        let tasks = managed::offering_tasks(self.registry, tasks, managed);
        let instances =
            tasks.map(|task| of_task(namespace, &managed.row, task, HealthStatus::Healthy)).collect();
        let row = Arc::new(managed.row.clone());
        self.discoverable(row, instances, Vec::new(), true)
    }

    fn discoverable(
        &self,
        row: Arc<DiscoveryService>,
        mut instances: Vec<Discovered>,
        rows: Vec<Arc<Instance>>,
        by_ecs: bool,
    ) -> Arc<Discoverable> {
        instances.sort_by(|a, b| a.id().cmp(b.id()));
        instances.dedup_by(|a, b| a.id() == b.id());
        let now = self.now.as_millis();
        let revision = match self.before.with_id(&row.id) {
            Some(before) if same_instances(&before.instances, &instances) => {
                before.revision.max(row.revision)
            }
            Some(before) if row.revision > before.revision => row.revision,
            Some(before) => (before.revision + 1).max(now),
            // Tasks that come and go leave no trace that outlives the process; time goes on.
            None if by_ecs => row.revision.max(now),
            None => row.revision,
        };
        Arc::new(Discoverable { row, instances, revision, rows, rotation: AtomicUsize::new(0) })
    }
}

/// Whether the same instances are there, however healthy.
fn same_instances(a: &[Discovered], b: &[Discovered]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.summary.instance_id == b.summary.instance_id && a.summary.attributes == b.summary.attributes
        })
}

fn by_hand(namespace: &str, service: &DiscoveryService, instance: &Instance) -> Discovered {
    let health_status = match instance.custom_health {
        Some(CustomHealth::Healthy) => HealthStatus::Healthy,
        Some(CustomHealth::Unhealthy) => HealthStatus::Unhealthy,
        None => HealthStatus::Unknown,
    };
    Discovered {
        summary: Arc::new(HttpInstanceSummary {
            instance_id: instance.id.clone(),
            namespace_name: namespace.to_owned(),
            service_name: service.name.clone(),
            health_status,
            attributes: instance.attributes.clone(),
        }),
        creator_request_id: instance.creator_request_id.clone(),
    }
}

fn of_task(
    namespace: &str,
    service: &DiscoveryService,
    task: TaskInstance,
    health_status: HealthStatus,
) -> Discovered {
    Discovered {
        summary: Arc::new(HttpInstanceSummary {
            instance_id: task.id,
            namespace_name: namespace.to_owned(),
            service_name: service.name.clone(),
            health_status,
            attributes: task.attributes,
        }),
        creator_request_id: None,
    }
}

#[cfg(test)]
mod tests;
