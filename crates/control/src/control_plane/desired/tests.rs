use bowline_model::task::Egress;
use serde_json::json;

use super::*;
use crate::{
    api::testing::{Keys, TestApi},
    control_plane::AuthorizationMode,
};

fn options() -> SpecOptions {
    SpecOptions {
        discovery_address: ([127, 0, 0, 1], 1).into(),
        roots_pem: String::new(),
        egress: Egress::Deny,
        secrets: Arc::default(),
        xray_daemon: None,
        exec: Vec::new(),
    }
}

async fn run_two(api: &TestApi) {
    let root = Keys::root();
    let definition = json!({"family": "f", "containerDefinitions": [{"name": "app", "image": "i"}]});
    api.json(&root, "ecs", "CreateCluster", json!({})).await.ok();
    api.json(&root, "ecs", "RegisterTaskDefinition", definition).await.ok();
    api.json(&root, "ecs", "RunTask", json!({"taskDefinition": "f", "count": 2})).await.ok();
}

fn forget(api: &TestApi) {
    let forgotten = api.api.core.change::<_, RegistryError>(|registry| {
        registry.forget_resources();
        Ok(())
    });
    forgotten.expect("it is in memory");
}

#[tokio::test]
async fn a_task_is_told_of_until_it_is_gone_and_its_spec_is_made_once() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let (mut list, mut options) = (List::default(), options());
    run_two(&api).await;
    assert!(list.follow(&api.api.core, &api.registry(), &mut options));
    assert!(!list.follow(&api.api.core, &api.registry(), &mut options), "nothing has changed");
    let first = list.told();
    assert!(first.len() == 2 && first.iter().all(|task| task.status == DesiredStatus::Running));
    forget(&api);
    assert!(list.follow(&api.api.core, &api.registry(), &mut options));
    for (before, after) in first.iter().zip(list.told()) {
        assert!(Arc::ptr_eq(&before.spec, &after.spec));
        assert_eq!(after.status, DesiredStatus::Stopped);
        assert!(api.registry().tasks.values().all(|task| task.report.is_none()), "the agent will say so");
    }
}

#[tokio::test]
async fn a_task_whose_definition_went_before_an_agent_heard_of_it_is_over() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let (mut list, mut options) = (List::default(), options());
    run_two(&api).await;
    forget(&api);
    assert_eq!(api.registry().tasks.len(), 2);
    list.follow(&api.api.core, &api.registry(), &mut options);
    assert!(list.told().is_empty());
    assert!(api.registry().tasks.values().all(|task| task.status() == TaskStatus::Stopped));
}
