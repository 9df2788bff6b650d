//! Which paths between sidecars a fault around tasks is on. Pure: the registry is told.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{
    fault::{FaultKind, PathHarm},
    task::TaskId,
};

use crate::{
    publish::called::{cluster_name, offered_in},
    registry::{Registry, TaskOwner, TaskRecord},
};

/// What a sidecar calls.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caller {
    task: TaskId,
    clusters: Vec<Cluster>,
}

/// A cluster of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cluster {
    /// Its name on the stream.
    name: String,
    /// By which else it is called: the discovery name and its host names.
    aliases: Vec<String>,
    called: BTreeSet<TaskId>,
}

impl Cluster {
    fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// What these tasks send and what others send them; only what they send to `sources`, where some are named.
pub(super) fn around(
    registry: &Registry,
    tasks: &BTreeSet<TaskId>,
    sources: &[String],
    harm: &PathHarm,
) -> Vec<FaultKind> {
    let callers = callers(registry);
    let is_wanted =
        |cluster: &Cluster| sources.is_empty() || sources.iter().any(|name| cluster.is_named(name));
    let mut paths: BTreeMap<(String, BTreeSet<TaskId>), BTreeSet<TaskId>> = BTreeMap::new();
    for caller in &callers {
        let is_own = tasks.contains(&caller.task);
        for cluster in &caller.clusters {
            let called: BTreeSet<TaskId> = cluster.called.intersection(tasks).cloned().collect();
            let key = match is_own {
                true if is_wanted(cluster) => (cluster.name.clone(), BTreeSet::new()),
                false if sources.is_empty() && !called.is_empty() => (cluster.name.clone(), called),
                _ => continue,
            };
            paths.entry(key).or_default().insert(caller.task.clone());
        }
    }
    faults(paths, harm)
}

/// What these tasks send: to one discovery name or cluster, or to all.
pub(super) fn from(
    registry: &Registry,
    tasks: &BTreeSet<TaskId>,
    cluster: Option<&str>,
    harm: &PathHarm,
) -> Vec<FaultKind> {
    let sources: Vec<String> = cluster.map(str::to_owned).into_iter().collect();
    let mut paths: BTreeMap<_, BTreeSet<TaskId>> = BTreeMap::new();
    for caller in callers(registry).into_iter().filter(|caller| tasks.contains(&caller.task)) {
        for cluster in caller.clusters {
            if sources.is_empty() || sources.iter().any(|name| cluster.is_named(name)) {
                paths.entry((cluster.name, BTreeSet::new())).or_default().insert(caller.task.clone());
            }
        }
    }
    faults(paths, harm)
}

fn faults(paths: BTreeMap<(String, BTreeSet<TaskId>), BTreeSet<TaskId>>, harm: &PathHarm) -> Vec<FaultKind> {
    let fault =
        |((cluster, called), callers): ((String, BTreeSet<TaskId>), BTreeSet<TaskId>)| FaultKind::Path {
            callers: callers.into_iter().collect(),
            cluster,
            called: called.into_iter().collect(),
            harm: harm.clone(),
        };
    paths.into_iter().map(fault).collect()
}

/// The sidecars that serve, with what they call in their namespaces.
fn callers(registry: &Registry) -> Vec<Caller> {
    let serving = registry.tasks.values().filter(|task| task.proxied && task.available());
    let mut of_namespace: BTreeMap<String, Vec<Cluster>> = BTreeMap::new();
    serving
        .filter_map(|task| {
            let namespace = namespace(registry, task)?;
            let clusters =
                of_namespace.entry(namespace.clone()).or_insert_with(|| clusters(registry, &namespace));
            Some(Caller { task: task.id.clone(), clusters: clusters.clone() })
        })
        .collect()
}

fn namespace(registry: &Registry, task: &TaskRecord) -> Option<String> {
    match &task.owner {
        TaskOwner::Service { service, .. } => {
            Some(registry.services.get(service.as_str())?.connect.as_ref()?.namespace.clone())
        }
        TaskOwner::Standalone(standalone) => standalone.namespace.clone(),
        TaskOwner::Gateway { .. } => None,
    }
}

fn clusters(registry: &Registry, namespace: &str) -> Vec<Cluster> {
    offered_in(registry, namespace)
        .filter(|(_, offered)| offered.alias.is_some())
        .map(|(service, offered)| {
            let tasks = registry.tasks_of_service(&service.arn).into_iter();
            let mut aliases = offered.hostnames(namespace);
            aliases.push(offered.discovery_name.clone());
            Cluster {
                name: cluster_name(namespace, offered),
                aliases,
                called: tasks.filter(|task| task.available()).map(|task| task.id.clone()).collect(),
            }
        })
        .collect()
}
