//! Whom a change reaches, and who has the same: so that a change of one service's endpoints is made once, and told to
//! those alone who can call it.
//!
//! Of the registry's tables only [`Registry::tasks`] changes all the time; what is published of it is the endpoints of
//! services, which members of their namespaces have, and gateways. A change of any other table that bears on proxies
//! reaches everybody.

use std::collections::BTreeSet;

use bowline_model::{arn::Arn, service::DeploymentId, task::TaskId};

use super::{PublishOptions, PublishedFaults};
use crate::{
    acm::serving,
    registry::{Registry, TaskOwner, TaskRecord},
};

/// Where a task is, as far as what is published goes: what tasks elsewhere do does not bear on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Members of a namespace.
    Namespace(String),
    /// Gateways: they may call any service.
    Gateways,
    /// Those that call nobody.
    Nowhere,
}

/// Whom a change reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every proxy.
    Everybody,
    /// Those who are there; nobody, where there are none.
    Scopes {
        /// Where something differs.
        changed: BTreeSet<Scope>,
        /// Of those, where a task was that is over, or is elsewhere or like others now.
        left: BTreeSet<Scope>,
    },
}

/// Tasks that are alike have the same resources: a change is worked out once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    /// Of one deployment of a service, in one zone.
    Deployment { service: Arn, task_definition: Arn, deployment: DeploymentId, zone: Option<String> },
    /// Like no other.
    Alone(TaskId),
}

impl Scope {
    /// Where a task is.
    pub(crate) fn of(registry: &Registry, task: &TaskRecord) -> Self {
        Self::of_owner(registry, &task.owner)
    }

    fn of_owner(registry: &Registry, owner: &TaskOwner) -> Self {
        let namespace = match owner {
            TaskOwner::Gateway { .. } => return Self::Gateways,
            TaskOwner::Service { service, .. } => registry
                .services
                .get(service.as_str())
                .and_then(|service| Some(service.connect.as_ref()?.namespace.clone())),
            TaskOwner::Standalone(standalone) => standalone.namespace.clone(),
        };
        namespace.map_or(Self::Nowhere, Self::Namespace)
    }
}

impl Likeness {
    /// Of a task for which the publisher has nothing of its own.
    pub(crate) fn of(task: &TaskRecord) -> Self {
        match &task.owner {
            TaskOwner::Service { service, task_definition, deployment } => Self::Deployment {
                service: service.clone(),
                task_definition: task_definition.clone(),
                deployment: deployment.clone(),
                zone: task.zone.clone(),
            },
            // There are few of either.
            TaskOwner::Gateway { .. } | TaskOwner::Standalone(_) => Self::Alone(task.id.clone()),
        }
    }
}

impl PublishOptions {
    /// Whether there is something that this task's proxy alone is told.
    pub(crate) fn has_own(&self, task: &TaskId) -> bool {
        self.faults != PublishedFaults::default() || self.diversions.keys().any(|(of, _)| of == task)
    }
}

/// Whom the changes between two snapshots reach. Of [`Registry::revocations`] everybody is told, and nothing here:
/// [`super::of_revocations`] is all of it.
pub(crate) fn reach(before: &Registry, after: &Registry) -> Reach {
    if bears_on_everybody(before, after) {
        return Reach::Everybody;
    }
    let (put, removed) = after.tasks.changes_since(&before.tasks);
    let (mut changed, mut left) = (BTreeSet::new(), BTreeSet::new());
    let mut reaches = |task: &TaskRecord| {
        changed.insert(Scope::of(before, task));
        if may_be_behind_gateway(before, task) {
            changed.insert(Scope::Gateways);
        }
    };
    for (id, task) in put {
        match before.tasks.get(id) {
            Some(past) if published(past) == published(task) => {}
            // Nobody has heard of it, and nobody is to.
            None if !task.serves() => {}
            Some(past) if !is_placed_alike(past, task) => {
                reaches(past);
                reaches(task);
                left.insert(Scope::of(before, past));
            }
            _ => reaches(task),
        }
    }
    for task in removed.into_iter().filter_map(|id| before.tasks.get(id)) {
        reaches(task);
        // Its own proxy is to hear that it is over.
        left.insert(Scope::of(before, task));
    }
    Reach::Scopes { changed, left }
}

/// Whether a task is where it was, and like those that it was like.
fn is_placed_alike(past: &TaskRecord, present: &TaskRecord) -> bool {
    past.owner == present.owner && past.zone == present.zone
}

/// Whether gateways may have its endpoints: by target groups, or by a policy of a service behind one.
fn may_be_behind_gateway(registry: &Registry, task: &TaskRecord) -> bool {
    let service = registry.service_of(task);
    service.is_some_and(|service| !service.targets.is_empty() || !registry.traffic_policies.is_empty())
}

/// What of a task others' resources are made of.
fn published(task: &TaskRecord) -> impl PartialEq + '_ {
    let sockets = task.report.as_ref().map(|report| &report.inbound);
    (&task.owner, &task.zone, task.serves(), task.is_ending(), sockets)
}

/// Whether what is published may differ otherwise than by tasks and revocations: all tables but those that nothing here
/// reads.
fn bears_on_everybody(before: &Registry, after: &Registry) -> bool {
    !(before.settings.is_same(&after.settings)
        && before.clusters.is_same(&after.clusters)
        && before.namespaces.is_same(&after.namespaces)
        && before.discovery_services.is_same(&after.discovery_services)
        && before.instances.is_same(&after.instances)
        && before.task_definitions.is_same(&after.task_definitions)
        && before.services.is_same(&after.services)
        && before.load_balancers.is_same(&after.load_balancers)
        && before.target_groups.is_same(&after.target_groups)
        && before.listeners.is_same(&after.listeners)
        && before.rules.is_same(&after.rules)
        && before.traffic_policies.is_same(&after.traffic_policies)
        && before.authorization_policies.is_same(&after.authorization_policies)
        && before.sampling_rules.is_same(&after.sampling_rules)
        && before.authorities.is_same(&after.authorities)
        && before.acm_certificates.is_same(&after.acm_certificates)
        && (before.bars.is_same(&after.bars) || !serving::is_asked_for(after))
        && (before.service_records.is_same(&after.service_records) || !serving::waits_for_deployments(after)))
}

/// Whether what members of a namespace can call is the same for all of them: nobody proves himself to callees by a
/// certificate of his service's own, and nobody is told of endpoints by where he is.
pub(crate) fn is_called_alike(registry: &Registry) -> bool {
    let is_zone_aware = |policy: &bowline_model::traffic::TrafficPolicy| {
        policy.balancing.as_ref().is_some_and(|balancing| balancing.zone_aware)
    };
    !serving::waits_for_deployments(registry)
        && !registry.traffic_policies.values().any(|policy| is_zone_aware(policy))
}
