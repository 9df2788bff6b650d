//! Instances and their discovery.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CloudMap, texts};

fn discover(more: Value) -> Value {
    let mut request = json!({"NamespaceName": "shop", "ServiceName": "web"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// A service whose callers say how healthy instances are.
fn with_custom_health(map: &CloudMap) -> String {
    let namespace = map.http_namespace("shop");
    let request = json!({"Name": "web", "NamespaceId": namespace, "HealthCheckCustomConfig": {}});
    super::text(&map.ok("CreateService", request)["Service"]["Id"])
}

#[test]
fn an_instance_is_what_was_registered() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    let attributes = json!({"AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "80", "colour": "blue"});
    let request = json!({
        "ServiceId": service, "InstanceId": "a/1:x@y", "CreatorRequestId": "one", "Attributes": attributes,
    });
    let started = map.ok("RegisterInstance", request.clone());
    assert_eq!(map.target(&started, "INSTANCE"), "a/1:x@y");
    assert_eq!(map.ok("RegisterInstance", request), started);
    let named = json!({"ServiceId": service, "InstanceId": "a/1:x@y"});
    let told = map.ok("GetInstance", named.clone());
    assert_eq!(told["Instance"]["Attributes"], attributes);
    assert_eq!(told["Instance"]["CreatorRequestId"], "one");
    let listed = map.ok("ListInstances", json!({"ServiceId": service}));
    assert_eq!(texts(&listed["Instances"], "Id"), ["a/1:x@y"]);
    let discovered = map.ok("DiscoverInstances", discover(json!({})));
    assert_eq!(
        discovered["Instances"],
        json!([{
            "InstanceId": "a/1:x@y", "NamespaceName": "shop", "ServiceName": "web",
            "HealthStatus": "UNKNOWN", "Attributes": attributes,
        }])
    );
    let other = json!({
        "ServiceId": service, "InstanceId": "b", "CreatorRequestId": "one", "Attributes": {},
    });
    assert_eq!(map.code("RegisterInstance", other), "DuplicateRequest");

    // The same instance with other attributes replaces it.
    map.register(&service, "a/1:x@y", json!({"colour": "red"}));
    let told = map.ok("GetInstance", named.clone());
    assert_eq!(told["Instance"]["Attributes"], json!({"colour": "red"}));

    map.ok("DeregisterInstance", named.clone());
    assert_eq!(map.code("DeregisterInstance", named.clone()), "InstanceNotFound");
    assert_eq!(map.code("GetInstance", named), "InstanceNotFound");
    assert_eq!(map.discovered(discover(json!({}))).len(), 0);
}

#[test]
fn the_instances_of_one_service_are_not_those_of_another() {
    let map = CloudMap::new();
    let namespace = map.http_namespace("shop");
    let (one, two) = (map.service(&namespace, "web"), map.service(&namespace, "api"));
    map.register(&one, "a", json!({}));
    map.register(&two, "b", json!({}));
    assert_eq!(map.discovered(discover(json!({}))), ["a"]);
    assert_eq!(map.code("GetInstance", json!({"ServiceId": one, "InstanceId": "b"})), "InstanceNotFound");
}

#[test]
fn attributes_that_cannot_be_are_refused() {
    let map = CloudMap::new();
    let private = map.private_namespace("shop.local");
    let of = |kind: &str, policy: &str| {
        let dns = json!({"DnsRecords": [{"Type": kind, "TTL": 1}], "RoutingPolicy": policy});
        let request = json!({"Name": format!("{kind}-{policy}"), "NamespaceId": private, "DnsConfig": dns});
        super::text(&map.ok("CreateService", request)["Service"]["Id"])
    };
    let (a, aaaa, cname, srv, weighted) = (
        of("A", "MULTIVALUE"),
        of("AAAA", "MULTIVALUE"),
        of("CNAME", "WEIGHTED"),
        of("SRV", "MULTIVALUE"),
        of("A", "WEIGHTED"),
    );
    let http = map.http_namespace("http");
    let plain = map.service(&http, "plain");
    let checked = json!({"Name": "checked", "NamespaceId": http, "HealthCheckConfig": {"Type": "TCP"}});
    let checked = super::text(&map.ok("CreateService", checked)["Service"]["Id"]);
    let many: serde_json::Map<_, _> = (0..31).map(|n| (format!("k{n}"), json!("v"))).collect();
    let large: serde_json::Map<_, _> = (0..6).map(|n| (format!("k{n}"), json!("v".repeat(1_000)))).collect();
    let refused = [
        (&a, json!({})),
        (&a, json!({"AWS_INSTANCE_IPV4": "no"})),
        (&aaaa, json!({"AWS_INSTANCE_IPV4": "192.0.2.1"})),
        (&aaaa, json!({"AWS_INSTANCE_IPV6": "192.0.2.1"})),
        (&cname, json!({})),
        (&srv, json!({"AWS_INSTANCE_IPV4": "192.0.2.1"})),
        (&srv, json!({"AWS_INSTANCE_PORT": "80"})),
        (&srv, json!({"AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "0"})),
        (&srv, json!({"AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "70000"})),
        (&a, json!({"AWS_ALIAS_DNS_NAME": "lb.example.com"})),
        (&weighted, json!({"AWS_ALIAS_DNS_NAME": "lb.example.com", "AWS_INSTANCE_IPV4": "192.0.2.1"})),
        (&plain, json!({"AWS_INIT_HEALTH_STATUS": "HEALTHY"})),
        (&plain, json!({"AWS_EC2_INSTANCE_ID": "i-1"})),
        (&plain, json!({"a b": "c"})),
        (&plain, json!({"": "c"})),
        (&plain, json!({"a": " c"})),
        (&plain, json!({"a": "c\n"})),
        (&plain, json!({"a": "x".repeat(1_025)})),
        (&plain, Value::Object(many)),
        (&plain, Value::Object(large)),
        (&checked, json!({"AWS_INSTANCE_IPV4": "192.0.2.1"})),
    ];
    let register = |service: &String, id: &str, attributes: &Value| json!({"ServiceId": service, "InstanceId": id, "Attributes": attributes});
    for (service, attributes) in refused {
        let request = register(service, "i", &attributes);
        assert_eq!(map.code("RegisterInstance", request.clone()), "InvalidInput", "{request}");
    }
    for id in ["", "a b", "ä", &"x".repeat(65)] {
        assert_eq!(map.code("RegisterInstance", register(&plain, id, &json!({}))), "InvalidInput", "{id}");
    }
    assert_eq!(
        map.code("RegisterInstance", register(&"srv-none".to_owned(), "i", &json!({}))),
        "ServiceNotFound"
    );
    map.register(&a, "i", json!({"AWS_INSTANCE_IPV4": "192.0.2.1"}));
    map.register(&aaaa, "i", json!({"AWS_INSTANCE_IPV6": "2001:db8::1"}));
    map.register(&cname, "i", json!({"AWS_INSTANCE_CNAME": "example.com"}));
    map.register(&srv, "i", json!({"AWS_INSTANCE_IPV6": "2001:db8::1", "AWS_INSTANCE_PORT": "80"}));
    map.register(&weighted, "i", json!({"AWS_ALIAS_DNS_NAME": "lb.example.com"}));
}

#[test]
fn callers_say_how_healthy_an_instance_is() {
    let map = CloudMap::new();
    let service = with_custom_health(&map);
    map.register(&service, "a", json!({}));
    map.register(&service, "b", json!({"AWS_INIT_HEALTH_STATUS": "UNHEALTHY"}));
    let health = || map.ok("GetInstancesHealthStatus", json!({"ServiceId": service}))["Status"].clone();
    assert_eq!(health(), json!({"a": "HEALTHY", "b": "UNHEALTHY"}));
    let found = |status: &str| map.discovered(discover(json!({"HealthStatus": status})));
    assert_eq!(found("HEALTHY"), ["a"]);
    assert_eq!(found("UNHEALTHY"), ["b"]);
    assert_eq!(found("ALL"), ["a", "b"]);
    assert_eq!(found("HEALTHY_OR_ELSE_ALL"), ["a"]);
    assert_eq!(map.discovered(discover(json!({}))), ["a"]);
    let say = |instance: &str, status: &str| json!({"ServiceId": service, "InstanceId": instance, "Status": status});
    let revision = || map.ok("DiscoverInstancesRevision", discover(json!({})))["InstancesRevision"].clone();
    let before = revision();
    map.ok("UpdateInstanceCustomHealthStatus", say("a", "UNHEALTHY"));
    assert_eq!(revision(), before, "health is no change of the instances");
    assert_eq!(found("HEALTHY").len(), 0);
    assert_eq!(found("HEALTHY_OR_ELSE_ALL"), ["a", "b"]);

    let one = json!({"ServiceId": service, "Instances": ["b"]});
    assert_eq!(map.ok("GetInstancesHealthStatus", one)["Status"], json!({"b": "UNHEALTHY"}));
    let none = json!({"ServiceId": service, "Instances": ["c"]});
    assert_eq!(map.code("GetInstancesHealthStatus", none), "InstanceNotFound");
    let page = map.ok("GetInstancesHealthStatus", json!({"ServiceId": service, "MaxResults": 1}));
    let next = json!({"ServiceId": service, "NextToken": page["NextToken"]});
    assert_eq!(map.ok("GetInstancesHealthStatus", next)["Status"], json!({"b": "UNHEALTHY"}));

    assert_eq!(map.code("UpdateInstanceCustomHealthStatus", say("c", "HEALTHY")), "InstanceNotFound");
    assert_eq!(map.code("UpdateInstanceCustomHealthStatus", say("a", "UNKNOWN")), "InvalidInput");
    let plain = map.service(&map.http_namespace("plain"), "web");
    map.register(&plain, "a", json!({}));
    let request = json!({"ServiceId": plain, "InstanceId": "a", "Status": "HEALTHY"});
    assert_eq!(map.code("UpdateInstanceCustomHealthStatus", request), "CustomHealthNotFound");
    let request = json!({"ServiceId": "srv-none", "InstanceId": "a", "Status": "HEALTHY"});
    assert_eq!(map.code("UpdateInstanceCustomHealthStatus", request), "ServiceNotFound");
}

#[test]
fn health_is_ignored_where_nothing_checks_it() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    map.register(&service, "a", json!({}));
    for status in ["HEALTHY", "UNHEALTHY", "ALL", "HEALTHY_OR_ELSE_ALL"] {
        assert_eq!(map.discovered(discover(json!({"HealthStatus": status}))), ["a"], "{status}");
    }
}

#[test]
fn discovery_is_narrowed_by_attributes() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    map.register(&service, "a", json!({"stage": "live", "zone": "1"}));
    map.register(&service, "b", json!({"stage": "live", "zone": "2"}));
    map.register(&service, "c", json!({"stage": "test", "zone": "2"}));
    let found = |query: Value, optional: Value| {
        map.discovered(discover(json!({"QueryParameters": query, "OptionalParameters": optional})))
    };
    assert_eq!(found(json!({"stage": "live"}), json!({})), ["a", "b"]);
    assert_eq!(found(json!({"stage": "live", "zone": "2"}), json!({})), ["b"]);
    assert_eq!(found(json!({"stage": "no"}), json!({})).len(), 0);
    assert_eq!(found(json!({"stage": "live"}), json!({"zone": "2"})), ["b"]);
    // Nothing has both: the optional ones are ignored.
    assert_eq!(found(json!({"stage": "live"}), json!({"zone": "3"})), ["a", "b"]);
    assert_eq!(found(json!({}), json!({"zone": "2"})), ["b", "c"]);
}

#[test]
fn discovery_refuses_what_is_not_there() {
    let map = CloudMap::new();
    map.http_namespace("shop");
    for name in ["DiscoverInstances", "DiscoverInstancesRevision"] {
        assert_eq!(map.code(name, discover(json!({}))), "ServiceNotFound", "{name}");
        let other = json!({"NamespaceName": "other", "ServiceName": "web"});
        assert_eq!(map.code(name, other), "NamespaceNotFound", "{name}");
        assert_eq!(map.code(name, json!({"NamespaceName": "shop"})), "InvalidInput", "{name}");
        let owner = discover(json!({"OwnerAccount": "111111111111"}));
        assert_eq!(map.code(name, owner), "InvalidInput", "{name}");
    }
    for most in [0, 1_001] {
        assert_eq!(map.code("DiscoverInstances", discover(json!({"MaxResults": most}))), "InvalidInput");
    }
}

#[test]
fn a_part_of_many_instances_is_another_each_time() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    for number in 0..4 {
        map.register(&service, &format!("i{number}"), json!({}));
    }
    let seen: BTreeSet<_> = (0..4).flat_map(|_| map.discovered(discover(json!({"MaxResults": 1})))).collect();
    assert_eq!(seen.len(), 4);
    assert_eq!(map.discovered(discover(json!({"MaxResults": 3}))).len(), 3);
}

#[test]
fn the_revision_grows_with_the_instances() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    let revision = || {
        let told = map.ok("DiscoverInstancesRevision", discover(json!({})));
        let with_instances = map.ok("DiscoverInstances", discover(json!({})));
        assert_eq!(told["InstancesRevision"], with_instances["InstancesRevision"]);
        told["InstancesRevision"].as_u64().unwrap()
    };
    let mut last = revision();
    assert_eq!(revision(), last);
    let mut grows = || {
        let now = revision();
        assert!(now > last, "{now} > {last}");
        last = now;
    };
    map.register(&service, "a", json!({}));
    grows();
    map.register(&service, "b", json!({}));
    grows();
    map.ok("DeregisterInstance", json!({"ServiceId": service, "InstanceId": "a"}));
    grows();
}

#[test]
fn instances_are_paged() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    for number in 0..5 {
        map.register(&service, &format!("i{number}"), json!({}));
    }
    let first = map.ok("ListInstances", json!({"ServiceId": service, "MaxResults": 3}));
    assert_eq!(texts(&first["Instances"], "Id"), ["i0", "i1", "i2"]);
    let next = json!({"ServiceId": service, "NextToken": first["NextToken"]});
    let second = map.ok("ListInstances", next);
    assert_eq!(texts(&second["Instances"], "Id"), ["i3", "i4"]);
    assert_eq!(second["NextToken"], Value::Null);
    // A token of another operation is none.
    let other = json!({"ServiceId": service, "NextToken": first["NextToken"]});
    assert_eq!(map.code("GetInstancesHealthStatus", other), "InvalidInput");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is registered and deregistered in whatever order: discovery tells what a set would.
    #[test]
    fn discovery_tells_what_is_registered(steps in proptest::collection::vec((0u8..6, any::<bool>()), 1..30)) {
        let map = CloudMap::new();
        let service = map.service(&map.http_namespace("shop"), "web");
        let mut expected = BTreeSet::new();
        for (number, registers) in steps {
            let id = format!("i{number}");
            if registers {
                map.register(&service, &id, json!({}));
                expected.insert(id);
            } else {
                let request = json!({"ServiceId": service, "InstanceId": id});
                let gone = map.0.call("servicediscovery", "DeregisterInstance", &request);
                prop_assert_eq!(gone.is_ok(), expected.remove(&id));
            }
            prop_assert_eq!(map.discovered(discover(json!({}))), expected.iter().cloned().collect::<Vec<_>>());
        }
    }
}
