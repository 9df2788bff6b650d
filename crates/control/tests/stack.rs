//! Templates become rows of the registry: again, changed, moved.

use std::{collections::HashSet, path::Path};

use bowline_aws::cfn::{Inputs, Stack, Template};
use bowline_control::{
    authorization::PolicyQuestion,
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

const POLICY: &str = "
  Callers:
    Type: Bowline::ServiceConnect::AuthorizationPolicy
    Properties:
      Namespace: !GetAtt Namespace.Arn
      Services: [!Ref ServiceB]
      Rules:
        - Name: no status
          Effect: DENY
          SpiffeIds: ['spiffe://bowline.local/*']
          Methods: [GET]
          Paths: [/service-b/status*]
          Ports: [8202]
          SourceCidrs: [127.0.0.0/8]
        - {Effect: AUDIT, Namespaces: [!Ref Namespace]}
";

/// The example with [`POLICY`] among its resources.
fn with_policy(policy: &str) -> String {
    let text = example("two-services");
    let place = text.find("\nOutputs:").unwrap_or(text.len());
    format!("{}\n{policy}\n{}", &text[..place], &text[place..])
}

fn question(from: &str, path: &str) -> PolicyQuestion {
    PolicyQuestion {
        from: from.into(),
        to: "service-b".into(),
        method: "GET".into(),
        path: path.into(),
        port: None,
        source: None,
    }
}

const TRAFFIC: &str = "
  Careful:
    Type: Bowline::ServiceConnect::TrafficPolicy
    Properties:
      DiscoveryName: service-b-sc
      Timeout: {HTTP: {PerRequest: {Unit: s, Value: 2}, Idle: {Unit: s, Value: 60}}}
      RetryPolicy:
        MaxRetries: 3
        PerRetryTimeout: {Unit: ms, Value: 250}
        HttpRetryEvents: [server-error]
        GrpcRetryEvents: [unavailable]
        RetryBudget: {Percent: 50}
      OutlierDetection:
        MaxServerErrors: 3
        BaseEjectionDuration: {Unit: s, Value: 10}
        SuccessRate: {RequestVolume: 10}
      ConnectionPool: {HTTP: {MaxConnections: 5, MaxPendingRequests: 6}, MaxRetries: 7}
      HealthCheck: {Protocol: http, Path: /up, IntervalMillis: 5000, TimeoutMillis: 2000, HealthyThreshold: 2, UnhealthyThreshold: 2}
      LoadBalancing: {Policy: RING_HASH, HashOn: [{Header: X-User}, {Source: true}], SlowStart: {Unit: s, Value: 5}, ZoneAware: true}
      Routes:
        - Priority: 5
          Match: {Prefix: /v2, Headers: [{Name: X-Build, Match: {Prefix: rc}}]}
          Action: {WeightedTargets: [{VirtualNode: service-b-sc, Weight: 90}, {VirtualNode: other, Weight: 10}]}
        - {Priority: 1, Match: {Method: DELETE}, Action: {WeightedTargets: [{VirtualNode: other, Weight: 1}]}}
      LocalRateLimit: [{Name: each, RequestsPerSecond: 0.5, Burst: 3, PerCaller: true}]
      Fault: [{Delay: {Percent: 0.5, Duration: {Unit: ms, Value: 9}}}]
";

#[tokio::test]
async fn a_traffic_policy_is_kept_until_it_is_gone_and_one_is_enough() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let apply = |text: &str| control.apply_stack(&resolve(text, &control), &made_from(text));
    let rows =
        |control: &ControlPlane| control.snapshot().traffic_policies.values().cloned().collect::<Vec<_>>();
    let with = with_policy(TRAFFIC);
    apply(&with).unwrap_or_else(|error| panic!("{error}"));
    let kept = rows(&control);
    assert_eq!(kept.len(), 1);
    let retry = kept[0].retry.as_ref().expect("retries");
    assert_eq!((retry.max_retries, retry.budget.percent, retry.budget.min_concurrency), (3, 50, 3));
    assert_eq!(kept[0].outlier.as_ref().map(|policy| policy.max_ejection.as_secs()), Some(300), "AWS's");
    assert_eq!(kept[0].pool.http.max_pending_requests, Some(6));
    let [first, second] = &kept[0].routes[..] else { panic!("{kept:?}") };
    assert_eq!(
        (first.matches.method.as_deref(), second.matches.path.as_deref()),
        (Some("DELETE"), Some("/v2*"))
    );
    assert_eq!(kept[0].faults[0].delay.map(|(share, _)| share), Some(5_000));
    apply(&with).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&control), kept);
    let twice = with.replace("  Careful:", &format!("{}\n  Careful:", TRAFFIC.replace("Careful", "Other")));
    for (wrong, word) in [
        (twice, "has a policy already"),
        (with.replace("RING_HASH", "RANDOM"), "HashOn"),
        (with.replace("Prefix: /v2,", "Prefix: /v2, Path: {Exact: /v2},"), "Path or Prefix"),
        (with.replace("PerCaller: true", "PerCaller: true, PerHeader: x"), "PerHeader"),
        (with.replace("Match: {Prefix: rc}", "Match: {Prefix: rc, Suffix: x}"), "one of Exact"),
        (with.replace("Weight: 1}]", "Weight: 0}]"), "Weight"),
        (with.replace("{Source: true}", "{Source: false}"), "HashOn"),
        (with.replace("TimeoutMillis: 2000", "TimeoutMillis: 20000"), "IntervalMillis"),
    ] {
        let Err(ApplyError::Faults(faults)) = apply(&wrong) else { panic!("{word}") };
        assert!(faults.iter().any(|fault| fault.message.contains(word)), "{faults:?}");
    }
    // Under another name it is the same policy.
    apply(&with.replace("  Careful:", "  Renamed:")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&control)[0].name, "Renamed");
    apply(&example("two-services")).unwrap_or_else(|error| panic!("{error}"));
    assert!(rows(&control).is_empty());
}

#[tokio::test]
async fn an_authorization_policy_decides_until_it_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let apply = |text: &str| control.apply_stack(&resolve(text, &control), &made_from(text));
    let ask =
        |from: &str, path: &str| control.policy_test(&question(from, path)).expect("an answer").remove(0);
    let with = with_policy(POLICY);
    apply(&with).unwrap_or_else(|error| panic!("{error}"));
    let answer = ask("service-a", "/service-b/status");
    assert_eq!(
        (answer.allowed, answer.rule.as_deref(), answer.port),
        (false, Some("Callers/no status"), 8202)
    );
    assert_eq!(answer.audited_by, ["Callers/2"]);
    let answer = ask("service-a", "/service-b/healthcheck");
    assert!(answer.allowed && answer.rule.is_some_and(|rule| rule.starts_with("default: members of ")));
    let stranger = ask("spiffe://bowline.local/ns/elsewhere/cluster/c/svc/s", "/");
    assert_eq!((stranger.allowed, stranger.rule, stranger.audited_by.len()), (false, None, 0));
    // Applied twice it changes nothing; what is not understood is refused whole.
    let rows = |control: &ControlPlane| {
        control.snapshot().authorization_policies.values().cloned().collect::<Vec<_>>()
    };
    let before = rows(&control);
    apply(&with).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&control), before);
    for (right, wrong) in [("spiffe://bowline.local/*", "http://x"), ("127.0.0.0/8", "127.0.0.0/33")] {
        let Err(ApplyError::Faults(faults)) = apply(&with.replace(right, wrong)) else { panic!("{wrong}") };
        assert!(faults[0].logical_id == "Callers" && faults[0].message.contains(wrong), "{faults:?}");
    }
    let closed = POLICY.replace("Properties:", "Properties:\n      Default: NOBODY");
    apply(&with_policy(&closed)).unwrap_or_else(|error| panic!("{error}"));
    assert!(!ask("service-a", "/service-b/healthcheck").allowed, "nobody by default");
    apply(&example("two-services")).unwrap_or_else(|error| panic!("{error}"));
    assert!(rows(&control).is_empty());
    assert!(ask("service-a", "/service-b/status").allowed);
    for (from, to, port) in
        [("nobody", "service-b", None), ("service-a", "nobody", None), ("service-a", "service-b", Some(1))]
    {
        let question = PolicyQuestion { to: to.into(), port, ..question(from, "/") };
        assert!(control.policy_test(&question).is_err(), "{question:?}");
    }
}
