//! Templates become rows of the registry: again, changed, moved.

use std::{collections::HashSet, path::Path};

use bowline_aws::cfn::{Inputs, Stack, Template};
use bowline_control::{
    control_plane::{ControlConfig, ControlPlane},
    stack::{ApplyError, record::StackTemplate},
};

async fn start(state_dir: &Path) -> ControlPlane {
    let config = ControlConfig::new(state_dir);
    ControlPlane::start(config).await.expect("it starts")
}

fn example(name: &str) -> String {
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

#[tokio::test]
async fn the_examples_applied_twice_change_nothing() {
    for name in ["two-services", "two-services-python", "caller-responder", "cache"] {
        let directory = tempfile::tempdir().expect("a directory");
        let control = start(directory.path()).await;
        let text = example(name);
        control
            .apply_stack(&resolve(&text, &control), &made_from(&text))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let before = control.snapshot();
        control
            .apply_stack(&resolve(&text, &control), &made_from(&text))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let after = control.snapshot();
        assert_eq!(before.settings(), after.settings(), "{name}");
        macro_rules! same {
            ($($table:ident),*) => {$(
                let rows = |of: &bowline_control::registry::Registry| {
                    of.$table.iter().map(|(key, row)| (key.to_owned(), (**row).clone())).collect::<Vec<_>>()
                };
                assert_eq!(rows(&before), rows(&after), "{name}: {}", stringify!($table));
            )*};
        }
        same!(
            clusters,
            namespaces,
            task_definitions,
            services,
            load_balancers,
            target_groups,
            listeners,
            rules,
            authorities,
            stacks
        );
    }
}

#[tokio::test]
async fn a_renamed_service_keeps_its_alias_and_the_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let text = example("two-services");
    control
        .apply_stack(&resolve(&text, &control), &made_from(&text))
        .unwrap_or_else(|error| panic!("{error}"));
    let before = control.snapshot();
    let named = text.lines().find(|line| line.trim_start().starts_with("ServiceName:"));
    let named = named.expect("the example names its services");
    let renamed = text.replacen(named, &format!("{named}-renamed"), 1);
    control
        .apply_stack(&resolve(&renamed, &control), &made_from(&renamed))
        .unwrap_or_else(|error| panic!("{error}"));
    let after = control.snapshot();
    let names = |of: &bowline_control::registry::Registry| {
        of.services.values().map(|service| service.name.clone()).collect::<HashSet<_>>()
    };
    assert_ne!(names(&before), names(&after));
    assert_eq!(before.services.len(), after.services.len());
    assert_eq!(before.settings().aliases, after.settings().aliases);
    assert_eq!(before.settings().gateway_addresses, after.settings().gateway_addresses);
}

#[tokio::test]
async fn a_refused_stack_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let text = example("two-services");
    control
        .apply_stack(&resolve(&text, &control), &made_from(&text))
        .unwrap_or_else(|error| panic!("{error}"));
    let before = control.snapshot();
    let mut other = resolve(&text, &control);
    other.name = "other".into();
    for resource in &mut other.resources {
        if let bowline_aws::cfn::ResourceBody::EcsService(_) = resource.body {
            resource.physical_id = format!("{}-other", resource.physical_id);
            resource.attributes.clear();
        }
    }
    let Err(ApplyError::Faults(faults)) = control.apply_stack(&other, &StackTemplate::default()) else {
        panic!("aliases of another stack were taken")
    };
    assert!(faults.len() >= 2, "both services' clashes are told at once: {faults:?}");
    assert_eq!(before.services.len(), control.snapshot().services.len());
    assert!(control.snapshot().stacks.get("other").is_none());
}

const CLOUD_MAP: &str = "
Resources:
  Namespace:
    Type: AWS::ServiceDiscovery::PrivateDnsNamespace
    Properties:
      Name: shop.local
      Vpc: vpc-1
      Description: the shop
      Properties: {DnsProperties: {SOA: {TTL: 7}}}
  Web:
    Type: AWS::ServiceDiscovery::Service
    Properties:
      Name: web
      NamespaceId: !Ref Namespace
      DnsConfig: {DnsRecords: [{Type: A, TTL: 10}]}
      HealthCheckCustomConfig: {FailureThreshold: 3}
      ServiceAttributes: {colour: blue}
";

#[tokio::test]
async fn cloud_maps_resources_are_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let apply = |text: &str| control.apply_stack(&resolve(text, &control), &made_from(text));
    apply(CLOUD_MAP).unwrap_or_else(|error| panic!("{error}"));
    let before = control.snapshot();
    let namespace = before.namespaces.get("shop.local").expect("the namespace");
    assert_eq!((namespace.soa_ttl, namespace.description.as_deref()), (Some(7), Some("the shop")));
    let service = before.discovery_services.values().next().expect("the service");
    assert_eq!((service.name.as_str(), &service.namespace_id), ("web", &namespace.id));
    assert!(service.health_check_custom && service.attributes.contains_key("colour"));

    apply(CLOUD_MAP).unwrap_or_else(|error| panic!("{error}"));
    let again = control.snapshot();
    assert_eq!(again.namespaces.get("shop.local"), Some(namespace));
    assert_eq!(again.discovery_services.get(&service.id), Some(service));

    let without = CLOUD_MAP.split("  Web:").next().expect("a part before it");
    apply(without).unwrap_or_else(|error| panic!("{error}"));
    assert!(control.snapshot().discovery_services.is_empty());

    // What does not fit together is refused, and nothing was changed.
    let wrong = CLOUD_MAP.replace("Type: A,", "Type: CNAME,");
    let Err(ApplyError::Faults(faults)) = apply(&wrong) else { panic!("a CNAME without WEIGHTED was taken") };
    assert!(faults.iter().any(|fault| fault.logical_id == "Web"), "{faults:?}");
    assert!(control.snapshot().discovery_services.is_empty());
}
