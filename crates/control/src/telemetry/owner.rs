//! Whose a task is, in the words of metrics.

use bowline_model::{task_definition::TaskDefinition, trace::SpanOrigin};

use super::metric_data::Origin;
use crate::registry::{Registry, TaskOwner, TaskRecord};

/// Whose a proxy is; `None` where the owner of its task is gone.
pub(super) fn origin_of(registry: &Registry, task: &TaskRecord) -> Option<Origin> {
    if let TaskOwner::Gateway { load_balancer } = &task.owner {
        let balancer = registry.load_balancers.get(load_balancer.as_str())?;
        let resource = balancer.arn.resource();
        let dimension = resource.strip_prefix("loadbalancer/").unwrap_or(resource).to_owned();
        return Some(Origin::Gateway { name: balancer.name.clone(), dimension });
    }
    let Owner { cluster, service, .. } = owner_of(registry, task)?;
    let cluster = cluster.to_owned();
    Some(match (&task.owner, service) {
        (TaskOwner::Standalone(task), _) => Origin::Standalone { cluster, group: task.group.clone() },
        (_, service) => Origin::Service { cluster, service: service?.to_owned() },
    })
}

/// Whose a proxy's spans are; `None` where the owner of its task is gone.
pub(super) fn span_origin_of(registry: &Registry, task: &TaskRecord) -> Option<SpanOrigin> {
    let id = task.id.as_str().to_owned();
    if let TaskOwner::Gateway { load_balancer } = &task.owner {
        let balancer = registry.load_balancers.get(load_balancer.as_str())?;
        let service = balancer.name.clone();
        return Some(SpanOrigin { cluster: String::new(), service, task: id, is_gateway: true });
    }
    let owner = owner_of(registry, task)?;
    let service = match (owner.service, owner.definition) {
        (Some(service), _) => service.to_owned(),
        (None, definition) => format!("family:{}", definition?.family),
    };
    Some(SpanOrigin { cluster: owner.cluster.to_owned(), service, task: id, is_gateway: false })
}

/// Whose a task of ECS is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// Name of the cluster.
    pub(super) cluster: &'a str,
    /// Name of the service; a standalone task has none.
    pub(super) service: Option<&'a str>,
    /// What it runs, where that is known still.
    pub(super) definition: Option<&'a TaskDefinition>,
}

/// Whose a task is; `None` of a gateway, and where the service is gone.
pub(super) fn owner_of<'a>(registry: &'a Registry, task: &'a TaskRecord) -> Option<Owner<'a>> {
    let (cluster, service, definition) = match &task.owner {
        TaskOwner::Gateway { .. } => return None,
        TaskOwner::Service { service, task_definition, .. } => {
            let service = registry.services.get(service.as_str())?;
            (service.cluster.as_str(), Some(service.name.as_str()), task_definition)
        }
        TaskOwner::Standalone(task) => (task.cluster.as_str(), None, &task.task_definition),
    };
    let definition = registry.task_definitions.get(definition.as_str()).map(|definition| &**definition);
    Some(Owner { cluster, service, definition })
}
