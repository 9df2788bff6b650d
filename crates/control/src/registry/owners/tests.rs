use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
    task::{DesiredStatus, TaskId},
};
use proptest::prelude::*;

use super::*;
use crate::registry::Registry;

fn owner(number: u8) -> (Arn, TaskOwner) {
    let scope = Scope::default();
    let arn = scope.arn("ecs", format_args!("service/c/{number}"));
    let owner = match number {
        0 => TaskOwner::Gateway { load_balancer: arn.clone() },
        _ => TaskOwner::Service {
            service: arn.clone(),
            task_definition: scope.arn("ecs", "task-definition/web:1"),
            deployment: Default::default(),
        },
    };
    (arn, owner)
}

fn put(registry: &mut Registry, task: u8, of: u8, draining: bool) {
    let id = TaskId::from_random([task; 16]);
    let record = TaskRecord {
        arn: Scope::default().arn("ecs", format_args!("task/c/{id}")),
        id: id.clone(),
        owner: owner(of).1,
        created_at: Timestamp::from_secs(1),
        desired: DesiredStatus::Running,
        draining_since: draining.then(|| Timestamp::from_secs(2)),
        was_healthy: false,
        health_checked: false,
        stop_reason: None,
        tags: Vec::new(),
        capacity_provider: None,
        zone: None,
        protected_until: None,
        proxied: true,
        started_at: None,
        serving_since: None,
        report: None,
    };
    registry.tasks.put(id.as_str(), record);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, bool),
    Remove(u8),
    /// Asks one of the copies.
    Ask(usize, u8),
    /// Goes on with a copy.
    Copy,
}

proptest! {
    #[test]
    fn what_is_found_is_what_a_look_at_all_tasks_finds(
        steps in prop::collection::vec(prop_oneof![
            (0..20u8, 0..4u8, any::<bool>()).prop_map(|(task, of, draining)| Step::Put(task, of, draining)),
            (0..20u8).prop_map(Step::Remove),
            (0..3usize, 0..4u8).prop_map(|(copy, of)| Step::Ask(copy, of)),
            Just(Step::Copy),
        ], 0..100),
    ) {
        let mut copies = vec![Registry::default()];
        for step in steps {
            let last = copies.len() - 1;
            match step {
                Step::Put(task, of, draining) => put(&mut copies[last], task, of, draining),
                Step::Remove(task) => copies[last].tasks.remove(TaskId::from_random([task; 16]).as_str()),
                Step::Copy => copies.push(copies[last].clone()),
                Step::Ask(copy, of) => {
                    let registry = &copies[last.saturating_sub(copy)];
                    let (arn, owner) = owner(of);
                    let mut found = match of {
                        0 => registry.tasks_of_gateway(&arn),
                        _ => registry.tasks_of_service(&arn),
                    };
                    found.sort_by(|one, other| one.id.cmp(&other.id));
                    let expected: Vec<_> =
                        registry.tasks.values().filter(|task| task.owner == owner).cloned().collect();
                    prop_assert_eq!(&found, &expected);
                    let gone = registry.owners.tasks_of_absent(&registry.tasks, |there| there != arn.as_str());
                    let gone: BTreeMap<_, _> = gone.into_iter().map(|task| (task.id.clone(), task)).collect();
                    prop_assert_eq!(gone.into_values().collect::<Vec<_>>(), expected);
                }
            }
        }
    }
}
