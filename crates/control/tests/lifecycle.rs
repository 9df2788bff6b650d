//! The control plane with an agent of the test's: from a template to tasks, a
//! replacement, a restart, the end.

#[path = "support/agent.rs"]
mod agent;

use std::{collections::BTreeSet, path::Path, time::Duration};

use agent::fake_agent;
use bowline_aws::cfn::{Inputs, Stack, Template};
use bowline_control::{
    control_plane::{ControlConfig, ControlPlane, is_settled},
    registry::Registry,
    stack::{ApplyError, record::StackTemplate},
};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);

fn config(state_dir: &Path) -> ControlConfig {
    ControlConfig::new(state_dir)
}

fn example_text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("template.yaml");
    std::fs::read_to_string(path).expect("the example is there")
}

fn made_from(text: &str) -> StackTemplate {
    StackTemplate { files: vec![("template".to_owned(), text.to_owned())], parameters: Default::default() }
}

fn resolve(text: &str, control: &ControlPlane) -> Stack {
    let template = Template::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    let inputs = Inputs { stack_name: "test".into(), revision: control.revisions(), ..Inputs::default() };
    template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"))
}

async fn until(control: &ControlPlane, what: &str, test: impl Fn(&Registry) -> bool) {
    let mut generation = control.generation();
    let waiting = async {
        while !test(&control.snapshot()) {
            generation.changed().await.expect("the control plane runs");
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"));
}

fn task_ids(registry: &Registry) -> BTreeSet<String> {
    registry.tasks.iter().map(|(id, _)| id.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_becomes_tasks_is_replaced_and_goes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control = ControlPlane::start(config(&directory.path().join("state"))).await.expect("starts");
    let agent = fake_agent(control.agent_port());
    let text = example_text("two-services");
    let stack = resolve(&text, &control);
    control.apply_stack(&stack, &made_from(&text)).expect("applies");
    until(&control, "all tasks up", is_settled).await;
    let first = control.snapshot();
    assert_eq!(first.tasks.len(), 5, "two services of two tasks, and a gateway");

    // The same again: nothing changes.
    control.apply_stack(&resolve(&text, &control), &made_from(&text)).expect("applies");
    assert_eq!(task_ids(&control.snapshot()), task_ids(&first));
    assert_eq!(control.snapshot().task_definitions.len(), first.task_definitions.len());

    // Another environment is another revision: both tasks of service-a are replaced, no others.
    let changed = text.replacen("Name: SERVER_PORT", "Name: SERVER_PORTS", 1);
    assert_ne!(changed, text, "the example has changed");
    control.apply_stack(&resolve(&changed, &control), &made_from(&changed)).expect("applies");
    until(&control, "the replacement", |registry| {
        is_settled(registry) && registry.task_definitions.values().any(|definition| definition.revision == 2)
    })
    .await;
    let kept = task_ids(&control.snapshot()).intersection(&task_ids(&first)).count();
    assert_eq!(kept, 3, "two of service-b and the gateway stay");
    until(&control, "the old revision is forgotten", |registry| {
        registry.task_definitions.values().filter(|definition| definition.revision == 1).count() == 1
    })
    .await;

    assert!(control.stop_all(LIMIT).await, "every task ends");
    agent.abort();
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_same_tasks_addresses_and_authorities() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let text = example_text("two-services");
    let seen = |registry: &Registry| {
        let settings = registry.settings();
        let roots: Vec<_> =
            registry.authorities.values().map(|authority| authority.certificate_der.clone()).collect();
        (
            task_ids(registry),
            settings.discovery_address,
            settings.gateway_addresses.clone(),
            settings.aliases.clone(),
            roots,
        )
    };
    let before = {
        let control = ControlPlane::start(config(&state)).await.expect("starts");
        let agent = fake_agent(control.agent_port());
        control.apply_stack(&resolve(&text, &control), &made_from(&text)).expect("applies");
        until(&control, "all tasks up", is_settled).await;
        let before = seen(&control.snapshot());
        agent.abort();
        let _ = agent.await;
        control.shutdown().await;
        before
    };
    let control = ControlPlane::start(config(&state)).await.expect("starts again");
    assert_eq!(seen(&control.snapshot()), before);
    // Proxies that reconnect before the agent has reported find their endpoints.
    assert!(is_settled(&control.snapshot()), "the last reports are believed");
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_listed_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control = ControlPlane::start(config(&directory.path().join("state"))).await.expect("starts");
    let text =
        example_text("two-services").replace("DiscoveryName: service-b-sc", "DiscoveryName: service-a-sc");
    let Err(ApplyError::Faults(faults)) = control.apply_stack(&resolve(&text, &control), &made_from(&text))
    else {
        panic!("a discovery name of two services was accepted");
    };
    assert!(faults.iter().any(|fault| fault.message.contains("service-a-sc")), "{faults:?}");
    let registry = control.snapshot();
    assert!(registry.services.is_empty() && registry.stacks.is_empty() && registry.clusters.is_empty());
    control.shutdown().await;
}
