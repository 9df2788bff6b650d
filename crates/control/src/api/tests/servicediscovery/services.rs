//! Services.

use serde_json::{Value, json};

use super::{CloudMap, member, text, texts};

fn dns(types: &[&str], policy: Option<&str>) -> Value {
    let records: Vec<_> = types.iter().map(|kind| json!({"Type": kind, "TTL": 60})).collect();
    match policy {
        Some(policy) => json!({"DnsRecords": records, "RoutingPolicy": policy}),
        None => json!({"DnsRecords": records}),
    }
}

#[test]
fn a_service_is_what_was_asked_for() {
    let map = CloudMap::new();
    let namespace = map.private_namespace("shop.local");
    let request = json!({
        "Name": "web", "NamespaceId": namespace, "Description": "d", "CreatorRequestId": "one",
        "DnsConfig": dns(&["A"], None), "HealthCheckCustomConfig": {"FailureThreshold": 5},
        "Tags": [{"Key": "a", "Value": "b"}],
    });
    let made = map.ok("CreateService", request.clone())["Service"].clone();
    let id = text(&made["Id"]);
    assert!(id.starts_with("srv-") && id.len() == 20, "{id}");
    assert_eq!(made["NamespaceId"], namespace.as_str());
    assert_eq!(made["Type"], "DNS_HTTP");
    assert_eq!(made["InstanceCount"], 0);
    assert_eq!(made["CreatorRequestId"], "one");
    assert_eq!(made["DnsConfig"]["RoutingPolicy"], "MULTIVALUE");
    assert_eq!(made["DnsConfig"]["DnsRecords"], json!([{"TTL": 60, "Type": "A"}]));
    // AWS's threshold is 1 whatever is asked for.
    assert_eq!(made["HealthCheckCustomConfig"]["FailureThreshold"], 1);
    assert_eq!(map.ok("GetService", json!({"Id": made["Arn"]}))["Service"], made);
    // The same request again is the same service; another of its name is refused.
    assert_eq!(map.ok("CreateService", request)["Service"], made);
    let fault = map.fault("CreateService", json!({"Name": "WEB", "NamespaceId": namespace}));
    assert_eq!(fault.code, "ServiceAlreadyExists");
    assert_eq!(member(&fault, "ServiceId"), Some(id.clone()));
    assert_eq!(member(&fault, "ServiceArn").as_deref(), made["Arn"].as_str());
    assert_eq!(member(&fault, "CreatorRequestId").as_deref(), Some("one"));

    let change = json!({"Description": "new", "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 5}]}});
    let started = map.ok("UpdateService", json!({"Id": id, "Service": change}));
    assert_eq!(map.target(&started, "SERVICE"), id);
    let told = map.ok("GetService", json!({"Id": id}))["Service"].clone();
    assert_eq!(told["Description"], "new");
    assert_eq!(told["DnsConfig"]["DnsRecords"][0]["TTL"], 5);
    assert_eq!(told["HealthCheckCustomConfig"]["FailureThreshold"], 1);
    // AWS removes records that an update does not name.
    map.ok("UpdateService", json!({"Id": id, "Service": {"Description": "x"}}));
    let told = map.ok("GetService", json!({"Id": id}))["Service"].clone();
    assert_eq!((told["DnsConfig"].clone(), told["Type"].clone()), (Value::Null, json!("HTTP")));

    map.ok("DeleteService", json!({"Id": id}));
    assert_eq!(map.code("GetService", json!({"Id": id})), "ServiceNotFound");
    assert_eq!(map.code("DeleteService", json!({"Id": id})), "ServiceNotFound");
    assert_eq!(map.code("UpdateService", json!({"Id": id, "Service": {}})), "ServiceNotFound");
}

#[test]
fn names_of_an_http_namespace_differ_by_case() {
    let map = CloudMap::new();
    let namespace = map.http_namespace("shop");
    map.service(&namespace, "web");
    map.service(&namespace, "Web");
    assert_eq!(
        map.code("CreateService", json!({"Name": "web", "NamespaceId": namespace})),
        "ServiceAlreadyExists"
    );
    // Another namespace has names of its own.
    map.service(&map.http_namespace("other"), "web");
}

#[test]
fn what_cannot_be_is_refused() {
    let map = CloudMap::new();
    let private = map.private_namespace("shop.local");
    let http = map.http_namespace("http");
    let in_private = |more: Value| {
        let mut request = json!({"Name": "a", "NamespaceId": private});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    for request in [
        json!({"NamespaceId": private}),
        json!({"Name": "a"}),
        in_private(json!({"Name": "-a"})),
        in_private(json!({"Name": "a..b"})),
        in_private(json!({"Name": "x".repeat(64)})),
        in_private(json!({"DnsConfig": dns(&[], None)})),
        in_private(json!({"DnsConfig": dns(&["A", "A"], None)})),
        in_private(json!({"DnsConfig": dns(&["A", "SRV"], None)})),
        in_private(json!({"DnsConfig": dns(&["CNAME"], None)})),
        in_private(json!({"DnsConfig": dns(&["MX"], None)})),
        in_private(json!({"DnsConfig": dns(&["A"], None), "Type": "HTTP"})),
        in_private(json!({"DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": -1}]}})),
        in_private(json!({"HealthCheckConfig": {"Type": "TCP"}})),
        json!({"Name": "a", "NamespaceId": http, "DnsConfig": dns(&["A"], None)}),
        json!({"Name": "a", "NamespaceId": http, "HealthCheckConfig": {"Type": "TCP", "ResourcePath": "/"}}),
        json!({"Name": "a", "NamespaceId": http, "HealthCheckConfig": {"Type": "TCP", "FailureThreshold": 11}}),
        json!({"Name": "a", "NamespaceId": http, "HealthCheckConfig": {"Type": "TCP"},
            "HealthCheckCustomConfig": {}}),
    ] {
        assert_eq!(map.code("CreateService", request.clone()), "InvalidInput", "{request}");
    }
    assert_eq!(map.code("CreateService", json!({"Name": "a", "NamespaceId": "ns-x"})), "NamespaceNotFound");
    map.ok("CreateService", in_private(json!({"DnsConfig": dns(&["CNAME"], Some("WEIGHTED"))})));
    map.ok("CreateService", in_private(json!({"Name": "_http._tcp", "DnsConfig": dns(&["SRV"], None)})));
    let checked = json!({"Name": "a", "NamespaceId": http, "HealthCheckConfig": {"Type": "HTTP"}});
    let made = map.ok("CreateService", checked)["Service"]["HealthCheckConfig"].clone();
    assert_eq!(made, json!({"FailureThreshold": 1, "ResourcePath": "/", "Type": "HTTP"}));
}

#[test]
fn a_service_with_instances_stays() {
    let map = CloudMap::new();
    let service = map.service(&map.http_namespace("shop"), "web");
    map.register(&service, "i", json!({}));
    assert_eq!(map.ok("GetService", json!({"Id": service}))["Service"]["InstanceCount"], 1);
    assert_eq!(map.code("DeleteService", json!({"Id": service})), "ResourceInUse");
    map.ok("DeregisterInstance", json!({"ServiceId": service, "InstanceId": "i"}));
    map.ok("DeleteService", json!({"Id": service}));
}

#[test]
fn lists_are_of_a_namespace() {
    let map = CloudMap::new();
    let (one, two) = (map.http_namespace("one"), map.http_namespace("two"));
    for number in 0..3 {
        map.service(&one, &format!("s{number}"));
    }
    map.service(&two, "t");
    let names = |request: Value| texts(&map.ok("ListServices", request)["Services"], "Name");
    let of = |id: &str| json!({"Filters": [{"Name": "NAMESPACE_ID", "Values": [id]}]});
    assert_eq!(names(json!({})).len(), 4);
    assert_eq!(names(of(&two)), ["t"]);
    assert_eq!(names(of("ns-none")).len(), 0);
    let arn = map.ok("GetNamespace", json!({"Id": two}))["Namespace"]["Arn"].clone();
    assert_eq!(names(json!({"Filters": [{"Name": "NAMESPACE_ID", "Values": [arn]}]})), ["t"]);
    let mut request = of(&one);
    request["MaxResults"] = json!(2);
    let first = map.ok("ListServices", request.clone());
    request["NextToken"] = first["NextToken"].clone();
    let second = map.ok("ListServices", request);
    assert_eq!(first["Services"].as_array().unwrap().len(), 2);
    assert_eq!(second["Services"].as_array().unwrap().len(), 1);
    assert_eq!(second["NextToken"], Value::Null);
    let wrong = json!({"Filters": [{"Name": "NAMESPACE_ID", "Values": [one], "Condition": "IN"}]});
    assert_eq!(map.code("ListServices", wrong), "InvalidInput");
}

#[test]
fn attributes_of_a_service() {
    let map = CloudMap::new();
    let id = map.service(&map.http_namespace("shop"), "web");
    map.ok("UpdateServiceAttributes", json!({"ServiceId": id, "Attributes": {"a": "1", "b": "2"}}));
    map.ok("UpdateServiceAttributes", json!({"ServiceId": id, "Attributes": {"b": "3"}}));
    map.ok("DeleteServiceAttributes", json!({"ServiceId": id, "Attributes": ["a"]}));
    let told = map.ok("GetServiceAttributes", json!({"ServiceId": id}))["ServiceAttributes"].clone();
    assert_eq!(told["Attributes"], json!({"b": "3"}));
    assert!(text(&told["ServiceArn"]).ends_with(&id));
    let many: serde_json::Map<_, _> = (0..30).map(|n| (format!("k{n}"), json!("v"))).collect();
    assert_eq!(
        map.code("UpdateServiceAttributes", json!({"ServiceId": id, "Attributes": many})),
        "ServiceAttributesLimitExceededException"
    );
    for (name, attributes) in [
        ("UpdateServiceAttributes", json!({})),
        ("UpdateServiceAttributes", json!({"a": "x".repeat(1_025)})),
        ("DeleteServiceAttributes", json!([])),
    ] {
        let request = json!({"ServiceId": id, "Attributes": attributes});
        assert_eq!(map.code(name, request), "InvalidInput", "{name}");
    }
    for (name, attributes) in [
        ("UpdateServiceAttributes", json!({"a": "b"})),
        ("DeleteServiceAttributes", json!(["a"])),
        ("GetServiceAttributes", json!(null)),
    ] {
        let request = json!({"ServiceId": "srv-none", "Attributes": attributes});
        assert_eq!(map.code(name, request), "ServiceNotFound", "{name}");
    }
}
