//! AWS Cloud Map.

use bowline_aws::protocol::{Document, Fault};
use serde_json::{Value, json};

use super::Endpoint;

mod ecs;
mod external;
mod instances;
mod namespaces;
mod services;
mod throughput;

/// Cloud Map of an endpoint.
struct CloudMap(Endpoint);

impl CloudMap {
    fn new() -> Self {
        Self(Endpoint::new())
    }

    fn ok(&self, name: &str, request: Value) -> Value {
        self.0.ok("servicediscovery", name, request)
    }

    fn fault(&self, name: &str, request: Value) -> Fault {
        self.0.fault("servicediscovery", name, request)
    }

    /// The code of a refusal.
    fn code(&self, name: &str, request: Value) -> String {
        self.fault(name, request).code
    }

    /// The id of what an operation was about.
    fn target(&self, started: &Value, kind: &str) -> String {
        let operation = self.ok("GetOperation", json!({"OperationId": started["OperationId"]}));
        assert_eq!(operation["Operation"]["Status"], "SUCCESS");
        text(&operation["Operation"]["Targets"][kind])
    }

    fn http_namespace(&self, name: &str) -> String {
        self.target(&self.ok("CreateHttpNamespace", json!({"Name": name})), "NAMESPACE")
    }

    fn private_namespace(&self, name: &str) -> String {
        let started = self.ok("CreatePrivateDnsNamespace", json!({"Name": name, "Vpc": "vpc-1"}));
        self.target(&started, "NAMESPACE")
    }

    /// The id of a new service of an HTTP namespace.
    fn service(&self, namespace: &str, name: &str) -> String {
        let made = self.ok("CreateService", json!({"Name": name, "NamespaceId": namespace}));
        text(&made["Service"]["Id"])
    }

    fn register(&self, service: &str, id: &str, attributes: Value) -> Value {
        let request = json!({"ServiceId": service, "InstanceId": id, "Attributes": attributes});
        self.ok("RegisterInstance", request)
    }

    /// The ids that `DiscoverInstances` answers, sorted.
    fn discovered(&self, request: Value) -> Vec<String> {
        let response = self.ok("DiscoverInstances", request);
        let mut ids = texts(&response["Instances"], "InstanceId");
        ids.sort();
        ids
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn texts(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| text(&item[member])).collect()
}

fn member(fault: &Fault, name: &str) -> Option<String> {
    fault.members.iter().find(|(member, _)| member == name).and_then(|(_, value)| match value {
        Document::Text(text) => Some(text.clone()),
        _ => None,
    })
}
