//! New tasks: their rows, and where they are placed.

use std::sync::Arc;

use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    task::{DesiredStatus, TaskId},
};

use super::Wanted;
use crate::{
    ecs::{
        capacity::{self, Placement},
        service,
    },
    registry::{Registry, TaskOwner, TaskRecord},
    zone::Spread,
};

/// Makes rows of so many tasks of an owner, beside the `tasks` that there are; their ids.
pub(super) fn tasks(
    registry: &mut Registry,
    wanted: &Wanted<'_>,
    owner: &TaskOwner,
    count: u32,
    tasks: &[Arc<TaskRecord>],
    now: Timestamp,
    new_task_id: &mut impl FnMut() -> TaskId,
) -> Vec<TaskId> {
    if count == 0 {
        return Vec::new();
    }
    let scope = registry.settings().scope.clone();
    let tags = service::propagated_tags(registry, owner);
    let strategy = capacity::strategy_of(registry, owner);
    let mut placement = Placement::new(&strategy, tasks.iter().map(|task| &**task));
    let mut spread = Spread::new(registry, owner, tasks.iter().map(|task| &**task));
    let health_checked = match owner.task_definition() {
        Some(definition) => is_health_checked(registry, definition),
        None => wanted.health_checked,
    };
    let mut started = Vec::new();
    for _ in 0..count {
        let id = new_task_id();
        let arn = scope.arn("ecs", format_args!("task/{}/{id}", wanted.cluster));
        let record = TaskRecord {
            id: id.clone(),
            arn,
            owner: owner.clone(),
            created_at: now,
            desired: DesiredStatus::Running,
            draining_since: None,
            was_healthy: false,
            health_checked,
            proxied: wanted.proxied,
            started_at: None,
            serving_since: None,
            stop_reason: None,
            capacity_provider: placement.place(),
            zone: spread.place(),
            protected_until: None,
            tags: tags.clone(),
            report: None,
        };
        registry.tasks.put(id.as_str(), record);
        started.push(id);
    }
    started
}

/// Whether tasks of a definition serve only once a check has passed.
pub(super) fn is_health_checked(registry: &Registry, definition: &Arn) -> bool {
    let definition = registry.task_definitions.get(definition.as_str());
    definition.is_some_and(|definition| definition.is_health_checked())
}
