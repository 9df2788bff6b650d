//! Namespaces, operations, tags.

use serde_json::{Value, json};

use super::{CloudMap, member, text, texts};
use crate::cloud_map::operations::KEPT_MAX;

#[test]
fn a_namespace_is_what_was_asked_for() {
    let map = CloudMap::new();
    let request = json!({
        "Name": "shop.local", "Vpc": "vpc-1", "Description": "the shop",
        "Tags": [{"Key": "team", "Value": "a"}], "CreatorRequestId": "one",
        "Properties": {"DnsProperties": {"SOA": {"TTL": 60}}},
    });
    let id = map.target(&map.ok("CreatePrivateDnsNamespace", request), "NAMESPACE");
    assert!(id.starts_with("ns-") && id.len() == 19, "{id}");
    let told = map.ok("GetNamespace", json!({"Id": id}))["Namespace"].clone();
    assert_eq!(told["Name"], "shop.local");
    assert_eq!(told["Type"], "DNS_PRIVATE");
    assert_eq!(told["Description"], "the shop");
    assert_eq!(told["CreatorRequestId"], "one");
    assert_eq!(told["ServiceCount"], 0);
    assert_eq!(told["ResourceOwner"], "000000000000");
    assert_eq!(told["Properties"]["DnsProperties"]["SOA"]["TTL"], 60);
    assert_eq!(told["Properties"]["HttpProperties"]["HttpName"], "shop.local");
    assert!(text(&told["Properties"]["DnsProperties"]["HostedZoneId"]).starts_with('Z'));
    let arn = text(&told["Arn"]);
    assert!(arn.ends_with(&format!(":namespace/{id}")), "{arn}");
    // By its ARN too.
    assert_eq!(map.ok("GetNamespace", json!({"Id": arn}))["Namespace"]["Id"], id.as_str());

    let change = json!({"Description": "closed", "Properties": {"DnsProperties": {"SOA": {"TTL": 5}}}});
    let started = map.ok("UpdatePrivateDnsNamespace", json!({"Id": id, "Namespace": change}));
    assert_eq!(map.target(&started, "NAMESPACE"), id);
    let told = map.ok("GetNamespace", json!({"Id": id}))["Namespace"].clone();
    assert_eq!(told["Description"], "closed");
    assert_eq!(told["Properties"]["DnsProperties"]["SOA"]["TTL"], 5);

    assert_eq!(map.target(&map.ok("DeleteNamespace", json!({"Id": id})), "NAMESPACE"), id);
    assert_eq!(map.code("GetNamespace", json!({"Id": id})), "NamespaceNotFound");
    assert_eq!(map.code("DeleteNamespace", json!({"Id": id})), "NamespaceNotFound");
}

#[test]
fn a_name_is_given_once() {
    let map = CloudMap::new();
    let started = map.ok("CreateHttpNamespace", json!({"Name": "shop", "CreatorRequestId": "one"}));
    let id = map.target(&started, "NAMESPACE");
    let fault = map.fault("CreatePrivateDnsNamespace", json!({"Name": "shop", "Vpc": "vpc-1"}));
    assert_eq!(fault.code, "NamespaceAlreadyExists");
    assert_eq!(member(&fault, "NamespaceId"), Some(id));
    assert_eq!(member(&fault, "CreatorRequestId").as_deref(), Some("one"));
}

#[test]
fn the_same_request_again_is_the_same_operation() {
    let map = CloudMap::new();
    let request = json!({"Name": "shop", "CreatorRequestId": "one"});
    let first = map.ok("CreateHttpNamespace", request.clone());
    assert_eq!(map.ok("CreateHttpNamespace", request), first);
    let fault = map.fault("CreateHttpNamespace", json!({"Name": "other", "CreatorRequestId": "one"}));
    assert_eq!(fault.code, "DuplicateRequest");
    assert_eq!(member(&fault, "DuplicateOperationId").as_deref(), first["OperationId"].as_str());
    // Without an id each request is one of its own.
    assert_eq!(map.code("CreateHttpNamespace", json!({"Name": "shop"})), "NamespaceAlreadyExists");

    let id = map.target(&first, "NAMESPACE");
    let update = json!({"Id": id, "UpdaterRequestId": "two", "Namespace": {"Description": "a"}});
    let first = map.ok("UpdateHttpNamespace", update.clone());
    assert_eq!(map.ok("UpdateHttpNamespace", update), first);
    let update = json!({"Id": id, "UpdaterRequestId": "two", "Namespace": {"Description": "b"}});
    assert_eq!(map.code("UpdateHttpNamespace", update), "DuplicateRequest");
}

#[test]
fn what_cannot_be_is_refused() {
    let map = CloudMap::new();
    for request in [
        json!({}),
        json!({"Name": ""}),
        json!({"Name": "a b"}),
        json!({"Name": "arn:aws:x"}),
        json!({"Name": "x".repeat(1_025)}),
        json!({"Name": "a", "Description": "x".repeat(1_025)}),
        json!({"Name": "a", "CreatorRequestId": "x".repeat(65)}),
        json!({"Name": "a", "Tags": [{"Key": "aws:x", "Value": ""}]}),
        json!({"Name": "a", "Tags": [{"Key": "x", "Value": ""}, {"Key": "x", "Value": ""}]}),
    ] {
        assert_eq!(map.code("CreateHttpNamespace", request.clone()), "InvalidInput", "{request}");
    }
    assert_eq!(map.code("CreatePrivateDnsNamespace", json!({"Name": "a"})), "InvalidInput");
    let fault = map.fault("CreatePublicDnsNamespace", json!({"Name": "example.com"}));
    assert_eq!(fault.code, "InvalidInput");
    assert!(fault.message.contains("public DNS namespaces are not served"), "{}", fault.message);
    let change = |id: &str| json!({"Id": id, "Namespace": {"Description": "x"}});
    for name in ["UpdateHttpNamespace", "UpdatePrivateDnsNamespace", "UpdatePublicDnsNamespace"] {
        assert_eq!(map.code(name, change("ns-none")), "NamespaceNotFound", "{name}");
    }
    let http = map.http_namespace("http");
    assert_eq!(map.code("UpdatePrivateDnsNamespace", change(&http)), "InvalidInput");
    assert_eq!(map.code("UpdatePublicDnsNamespace", change(&http)), "InvalidInput");
    assert_eq!(map.code("UpdateHttpNamespace", json!({"Id": http, "Namespace": {}})), "InvalidInput");
}

#[test]
fn a_namespace_with_services_stays() {
    let map = CloudMap::new();
    let id = map.http_namespace("shop");
    let service = map.service(&id, "web");
    assert_eq!(map.ok("GetNamespace", json!({"Id": id}))["Namespace"]["ServiceCount"], 1);
    assert_eq!(map.code("DeleteNamespace", json!({"Id": id})), "ResourceInUse");
    map.ok("DeleteService", json!({"Id": service}));
    map.ok("DeleteNamespace", json!({"Id": id}));
}

#[test]
fn lists_are_filtered_and_paged() {
    let map = CloudMap::new();
    for number in 0..5 {
        map.http_namespace(&format!("http-{number}"));
    }
    map.private_namespace("shop.local");
    let names = |request: Value| {
        let mut names = texts(&map.ok("ListNamespaces", request)["Namespaces"], "Name");
        names.sort();
        names
    };
    let filter = |name: &str, values: Value, condition: &str| json!({"Filters": [{"Name": name, "Values": values, "Condition": condition}]});
    assert_eq!(names(json!({})).len(), 6);
    assert_eq!(names(filter("TYPE", json!(["DNS_PRIVATE"]), "EQ")), ["shop.local"]);
    assert_eq!(names(filter("TYPE", json!(["DNS_PRIVATE", "HTTP"]), "IN")).len(), 6);
    assert_eq!(names(filter("NAME", json!(["http-3"]), "EQ")), ["http-3"]);
    assert_eq!(names(filter("HTTP_NAME", json!(["http-"]), "BEGINS_WITH")).len(), 5);
    assert_eq!(names(filter("RESOURCE_OWNER", json!(["OTHER_ACCOUNTS"]), "EQ")).len(), 0);
    assert_eq!(names(filter("RESOURCE_OWNER", json!(["SELF"]), "EQ")).len(), 6);
    for wrong in [
        filter("NAME", json!(["a", "b"]), "EQ"),
        filter("NAME", json!([]), "EQ"),
        filter("NAME", json!(["a", "b"]), "BETWEEN"),
        filter("COLOUR", json!(["a"]), "EQ"),
        filter("NAME", json!(["a"]), "LIKE"),
        json!({"MaxResults": 0}),
        json!({"MaxResults": 101}),
        json!({"NextToken": "made up"}),
    ] {
        assert_eq!(map.code("ListNamespaces", wrong.clone()), "InvalidInput", "{wrong}");
    }

    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut request = json!({"MaxResults": 4});
        if !token.is_null() {
            request["NextToken"] = token;
        }
        let page = map.ok("ListNamespaces", request);
        seen.extend(texts(&page["Namespaces"], "Name"));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, names(json!({})));
}

#[test]
fn operations_are_told_and_the_oldest_forgotten() {
    let map = CloudMap::new();
    let first = map.ok("CreateHttpNamespace", json!({"Name": "shop"}));
    let id = map.target(&first, "NAMESPACE");
    let service = map.service(&id, "web");
    let registered = map.register(&service, "i", json!({}));
    let operation = map.ok("GetOperation", json!({"OperationId": registered["OperationId"]}));
    assert_eq!(operation["Operation"]["Type"], "REGISTER_INSTANCE");
    assert_eq!(operation["Operation"]["Targets"], json!({"INSTANCE": "i", "SERVICE": service}));
    assert_eq!(map.code("GetOperation", json!({"OperationId": "none"})), "OperationNotFound");

    let listed =
        |filters: Value| texts(&map.ok("ListOperations", json!({"Filters": filters}))["Operations"], "Id");
    let only = |id: &Value| vec![text(id)];
    let (first_id, last_id) = (&first["OperationId"], &registered["OperationId"]);
    assert_eq!(listed(json!([])), [text(last_id), text(first_id)]);
    assert_eq!(listed(json!([{"Name": "NAMESPACE_ID", "Values": [id]}])), only(first_id));
    assert_eq!(listed(json!([{"Name": "SERVICE_ID", "Values": [service]}])), only(last_id));
    assert_eq!(
        listed(json!([{"Name": "TYPE", "Values": ["REGISTER_INSTANCE", "X"], "Condition": "IN"}])),
        only(last_id)
    );
    assert_eq!(listed(json!([{"Name": "STATUS", "Values": ["FAIL"]}])).len(), 0);
    assert_eq!(listed(json!([{"Name": "STATUS", "Values": ["SUCCESS"]}])).len(), 2);
    let between = |from: &str, until: &str| json!([{"Name": "UPDATE_DATE", "Values": [from, until], "Condition": "BETWEEN"}]);
    assert_eq!(listed(between("0", "9999999999")).len(), 2);
    assert_eq!(listed(between("0", "1")).len(), 0);
    for wrong in [between("a", "b"), json!([{"Name": "UPDATE_DATE", "Values": ["1"]}])] {
        assert_eq!(map.code("ListOperations", json!({"Filters": wrong})), "InvalidInput");
    }

    map.0.change(|registry| {
        let row = registry.cloud_map_operations.get(&text(last_id)).unwrap().clone();
        for number in 0..KEPT_MAX {
            let sequence = row.sequence + 1 + number as u64;
            let id = format!("{number}");
            let more = crate::registry::CloudMapOperation { id: id.clone(), sequence, ..(*row).clone() };
            registry.cloud_map_operations.put(id, more);
        }
    });
    map.ok("DeleteService", json!({"Id": map.service(&id, "spare")}));
    map.register(&service, "j", json!({}));
    assert_eq!(map.0.core.registry().cloud_map_operations.len(), KEPT_MAX);
    assert_eq!(map.code("GetOperation", json!({"OperationId": first_id})), "OperationNotFound");
}

#[test]
fn namespaces_and_services_have_tags() {
    let map = CloudMap::new();
    let namespace = map.http_namespace("shop");
    let service = map.service(&namespace, "web");
    let arn = |kind: &str, id: &str| format!("arn:aws:servicediscovery:us-east-1:000000000000:{kind}/{id}");
    for arn in [arn("namespace", &namespace), arn("service", &service)] {
        let tags = json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]);
        map.ok("TagResource", json!({"ResourceARN": arn, "Tags": tags}));
        map.ok("TagResource", json!({"ResourceARN": arn, "Tags": [{"Key": "b", "Value": "3"}]}));
        map.ok("UntagResource", json!({"ResourceARN": arn, "TagKeys": ["a"]}));
        let told = map.ok("ListTagsForResource", json!({"ResourceARN": arn}));
        assert_eq!(told, json!({"Tags": [{"Key": "b", "Value": "3"}]}));
        let many: Vec<_> = (0..50).map(|n| json!({"Key": format!("k{n}"), "Value": ""})).collect();
        let fault = map.fault("TagResource", json!({"ResourceARN": arn, "Tags": many}));
        assert_eq!(fault.code, "TooManyTagsException");
        assert_eq!(member(&fault, "ResourceName"), Some(arn.clone()));
        assert_eq!(map.ok("ListTagsForResource", json!({"ResourceARN": arn})), told);
    }
    let none = arn("service", "srv-none");
    for (name, request) in [
        ("ListTagsForResource", json!({"ResourceARN": none})),
        ("TagResource", json!({"ResourceARN": none, "Tags": []})),
        ("UntagResource", json!({"ResourceARN": none, "TagKeys": []})),
    ] {
        assert_eq!(map.code(name, request), "ResourceNotFoundException", "{name}");
    }
    assert_eq!(map.code("ListTagsForResource", json!({"ResourceARN": "x"})), "InvalidInput");
}
