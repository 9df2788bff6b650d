//! Hand-registered instances as sidecars get them.

use bowline_discovery::{resource::Resource, v1};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{CloudMap, text};
use crate::publish;

/// A name as a sidecar of the namespace has it.
#[derive(Debug)]
struct Callable {
    listener: v1::Listener,
    cluster: v1::Cluster,
    endpoints: v1::Endpoints,
    has_route: bool,
}

impl Callable {
    fn hostnames(&self) -> &[String] {
        &self.bind().hostnames
    }

    fn bind(&self) -> &v1::OutboundBind {
        match &self.listener.bind {
            Some(v1::listener::Bind::Outbound(bind)) => bind,
            other => panic!("{other:?}"),
        }
    }

    fn security(&self) -> &v1::external_upstream::Security {
        match &self.cluster.kind {
            Some(v1::cluster::Kind::External(external)) => external.security.as_ref().expect("one"),
            other => panic!("{other:?}"),
        }
    }

    fn tls(&self) -> &v1::TlsOrigination {
        match self.security() {
            v1::external_upstream::Security::Tls(tls) => tls,
            other => panic!("{other:?}"),
        }
    }

    fn targets(&self) -> Vec<String> {
        let told =
            |endpoint: &v1::Endpoint| format!("{}{}:{}", endpoint.address, endpoint.hostname, endpoint.port);
        self.endpoints.endpoints.iter().map(told).collect()
    }
}

fn callable(map: &CloudMap, namespace: &str) -> Vec<Callable> {
    let registry = map.0.core.registry();
    let resources = publish::external::callable(&registry, namespace);
    let named = |name: &str| -> Vec<Resource> {
        resources.iter().filter(|resource| resource.name() == name).cloned().collect()
    };
    resources
        .iter()
        .filter_map(|resource| match resource {
            Resource::Listener(listener) => Some(listener.clone()),
            _ => None,
        })
        .map(|listener| {
            let route = named(&listener.name).into_iter().find_map(|resource| match resource {
                Resource::Route(route) => Some(route),
                _ => None,
            });
            let to = route.as_ref().and_then(|route| match route.rules.first()?.action.as_ref()? {
                v1::route_rule::Action::Forward(forward) => Some(forward.clusters.first()?.cluster.clone()),
                _ => None,
            });
            let to = to.unwrap_or_else(|| listener.cluster.clone());
            let cluster = named(&to).into_iter().find_map(|resource| match resource {
                Resource::Cluster(cluster) => Some(cluster),
                _ => None,
            });
            let endpoints = named(&to).into_iter().find_map(|resource| match resource {
                Resource::Endpoints(endpoints) => Some(endpoints),
                _ => None,
            });
            Callable {
                listener,
                cluster: cluster.expect("its cluster"),
                endpoints: endpoints.expect("its endpoints"),
                has_route: route.is_some(),
            }
        })
        .collect()
}

fn only(map: &CloudMap) -> Callable {
    let mut found = callable(map, "shop");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn with_tags(map: &CloudMap, namespace: &str, tags: Value) -> String {
    let request = json!({"Name": "db", "NamespaceId": namespace, "Tags": tags});
    text(&map.ok("CreateService", request)["Service"]["Id"])
}

#[test]
fn an_instance_registered_by_hand_is_a_name_of_its_namespace() {
    let map = CloudMap::new();
    let (shop, other) = (map.http_namespace("shop"), map.http_namespace("other"));
    let service = map.service(&shop, "db");
    map.service(&other, "unused");
    assert!(callable(&map, "shop").is_empty(), "without instances there is nothing to call");
    map.register(&service, "a", json!({"AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "6379"}));
    map.register(&service, "b", json!({"AWS_INSTANCE_CNAME": "b.example", "AWS_INSTANCE_PORT": "6379"}));
    let found = only(&map);
    assert_eq!(found.hostnames(), ["db", "db.shop"]);
    assert_eq!(found.bind().port, 6379);
    assert_eq!(found.listener.protocol, i32::from(v1::Protocol::Tcp));
    assert!(!found.has_route);
    assert_eq!(found.security(), &v1::external_upstream::Security::Plain(v1::PlainTransport {}));
    assert_eq!(found.targets(), ["192.0.2.1:6379", "b.example:6379"]);
    assert!(callable(&map, "other").is_empty(), "another namespace's tasks cannot call it");
    assert_eq!(map.0.core.registry().aliases_of("shop").len(), 1);

    // Another port is another socket of the same name.
    map.register(&service, "c", json!({"AWS_INSTANCE_IPV4": "192.0.2.3", "AWS_INSTANCE_PORT": "6380"}));
    let address = found.bind().address.clone();
    let ports: Vec<_> = callable(&map, "shop").iter().map(|found| found.bind().clone()).collect();
    assert_eq!(ports.iter().map(|bind| bind.port).collect::<Vec<_>>(), [6379, 6380]);
    assert!(ports.iter().all(|bind| bind.address == address));

    for id in ["a", "b", "c"] {
        map.ok("DeregisterInstance", json!({"ServiceId": service, "InstanceId": id}));
    }
    assert!(callable(&map, "shop").is_empty());
    let registry = map.0.core.registry();
    assert_eq!(registry.settings().aliases.get("shop/db"), None, "the address is free again");
}

#[test]
fn unhealthy_instances_get_nothing_and_their_name_stays() {
    let map = CloudMap::new();
    let shop = map.http_namespace("shop");
    let request = json!({"Name": "db", "NamespaceId": shop, "HealthCheckCustomConfig": {}});
    let service = text(&map.ok("CreateService", request)["Service"]["Id"]);
    map.register(&service, "a", json!({"AWS_INSTANCE_IPV4": "192.0.2.1"}));
    assert_eq!(only(&map).targets(), ["192.0.2.1:80"], "a port of its own it has not");
    let say = json!({"ServiceId": service, "InstanceId": "a", "Status": "UNHEALTHY"});
    map.ok("UpdateInstanceCustomHealthStatus", say);
    assert!(only(&map).targets().is_empty());
}

#[test]
fn tls_comes_from_tags_and_attributes() {
    let map = CloudMap::new();
    let shop = map.http_namespace("shop");
    let service = with_tags(
        &map,
        &shop,
        json!([
            {"Key": "bowline:tls", "Value": "ca"}, {"Key": "bowline:protocol", "Value": "http"},
        ]),
    );
    let instance = json!({"AWS_INSTANCE_CNAME": "api.example"});
    let register = json!({"ServiceId": service, "InstanceId": "a", "Attributes": instance});
    let fault = map.fault("RegisterInstance", register.clone());
    assert_eq!(fault.code, "InvalidInput");
    assert!(fault.message.contains("bowline:ca"), "{fault:?}");

    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let attributes = json!({"ServiceId": service, "Attributes": {"bowline:ca": pem}});
    map.ok("UpdateServiceAttributes", attributes);
    map.ok("RegisterInstance", register);
    let found = only(&map);
    assert_eq!(found.bind().port, 443);
    assert!(found.has_route);
    assert_eq!(found.tls().server_name, "db");
    assert_eq!(found.endpoints.endpoints[0].server_name, "api.example", "its CNAME");
    assert!(matches!(&found.tls().roots, Some(v1::tls_origination::Roots::RootsPem(_))));

    let arn = text(&map.ok("GetService", json!({"Id": service}))["Service"]["Arn"]);
    let tag = |key: &str, value: &str| {
        map.ok("TagResource", json!({"ResourceARN": arn, "Tags": [{"Key": key, "Value": value}]}));
    };
    tag("bowline:sni", "other.example");
    let found = only(&map);
    assert_eq!(found.tls().server_name, "other.example");
    assert_eq!(found.endpoints.endpoints[0].server_name, "", "what was asked for stands above the CNAME");

    // With instances there, a wrong value leads to nothing in clear.
    tag("bowline:tls", "ssytem");
    let found = callable(&map, "shop");
    assert!(
        found
            .iter()
            .all(|found| matches!(found.security(), v1::external_upstream::Security::Refused(refused)
            if refused.reason.contains("ssytem"))),
        "{found:?}"
    );
    map.ok("DeleteServiceAttributes", json!({"ServiceId": service, "Attributes": ["bowline:ca"]}));
    tag("bowline:tls", "system");
    assert!(matches!(only(&map).tls().roots, Some(v1::tls_origination::Roots::System(_))));
}
