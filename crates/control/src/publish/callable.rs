//! What members of a namespace can call, kept service by service: of a change of tasks only the services are made anew
//! whose tasks differ.

use std::{collections::BTreeMap, sync::Arc};

use bowline_model::{arn::Arn, service::Service};
use bowline_stream::resources::ResourceSet;

use super::{PublishOptions, called, external, sidecar, versioned};
use crate::registry::{Registry, TaskRecord};

/// All of it, as of some generation: the same for all members of the namespace (see
/// [`is_called_alike`](super::scope::is_called_alike)).
#[derive(Debug, Default)]
pub(crate) struct Callable {
    set: ResourceSet,
    /// What each service offers there.
    services: BTreeMap<Arn, Offers>,
    /// What was registered by hand.
    external: ResourceSet,
}

/// What one service offers, and what that was made of besides what everybody has.
#[derive(Debug)]
struct Offers {
    set: ResourceSet,
    /// Its tasks. `None`: it is made of other services' as well.
    tasks: Option<Vec<Arc<TaskRecord>>>,
}

impl Callable {
    /// What it is together.
    pub(crate) fn set(&self) -> &ResourceSet {
        &self.set
    }

    /// Makes all of it, for `task` as for any other member; what is as before is shared with that.
    pub(crate) fn make(
        &mut self,
        registry: &Registry,
        options: &PublishOptions,
        task: &TaskRecord,
        namespace: &str,
    ) {
        self.external = external::callable(registry, namespace).into_iter().map(versioned).collect();
        let services = registry.services.values();
        let offering = services.filter(|service| called::offers(service, namespace).next().is_some());
        let offers = |service: &Service| {
            (service.arn.clone(), Offers::of(registry, options, task, namespace, service))
        };
        self.services = offering.map(|service| offers(service)).collect();
        self.join();
    }

    /// Makes what differs since then, where nothing but tasks does.
    pub(crate) fn follow_tasks(
        &mut self,
        registry: &Registry,
        options: &PublishOptions,
        task: &TaskRecord,
        namespace: &str,
    ) {
        for (arn, offers) in &mut self.services {
            if !offers.is_of(&registry.tasks_of_service(arn))
                && let Some(service) = registry.services.get(arn.as_str())
            {
                *offers = Offers::of(registry, options, task, namespace, service);
            }
        }
        self.join();
    }

    fn join(&mut self) {
        let mut set = ResourceSet::new();
        self.services.values().for_each(|offers| set.add(&offers.set));
        set.add(&self.external);
        set.share_with(&self.set);
        self.set = set;
    }
}

impl Offers {
    fn of(
        registry: &Registry,
        options: &PublishOptions,
        task: &TaskRecord,
        namespace: &str,
        service: &Service,
    ) -> Self {
        let tasks = registry.tasks_of_service(&service.arn);
        let mut is_of_others = false;
        let mut set = ResourceSet::new();
        for (callee, offered) in called::offers(service, namespace) {
            is_of_others |= called::is_made_of_others(registry, namespace, offered);
            let resources = sidecar::outbound(registry, options, task, namespace, callee, offered);
            set.add(&resources.into_iter().map(versioned).collect());
        }
        Self { set, tasks: (!is_of_others).then_some(tasks) }
    }

    fn is_of(&self, tasks: &[Arc<TaskRecord>]) -> bool {
        self.tasks.as_ref().is_some_and(|own| {
            own.len() == tasks.len() && own.iter().zip(tasks).all(|(own, task)| Arc::ptr_eq(own, task))
        })
    }
}
