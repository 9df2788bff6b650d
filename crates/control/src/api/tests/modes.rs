//! How a service's ports are protected, as ECS is told of it.

use bowline_discovery::v1;
use bowline_model::service::{Encryption, TlsMode};
use serde_json::{Value, json};

use super::Endpoint;
use crate::{authorization::PolicyQuestion, publish};

fn prepared() -> Endpoint {
    let api = Endpoint::new();
    api.ok("ecs", "CreateCluster", json!({"clusterName": "c", "serviceConnectDefaults": {"namespace": "n"}}));
    register(&api, "web", None);
    api
}

fn register(api: &Endpoint, family: &str, connect: Option<Value>) {
    let containers = json!([{"name": "web", "image": "busybox",
        "portMappings": [{"name": "http", "containerPort": 8080, "appProtocol": "http"}]}]);
    let mut request = json!({"family": family, "containerDefinitions": containers});
    if let Some(connect) = connect {
        request["serviceConnectConfiguration"] = connect;
    }
    api.ok("ecs", "RegisterTaskDefinition", request);
}

fn connect(name: &str, encryption: Option<Value>) -> Value {
    let mut connect = json!({"enabled": true, "services": [
        {"portName": "http", "discoveryName": name, "clientAliases": [{"port": 80}]}]});
    if let Some(encryption) = encryption {
        connect["encryptionConfiguration"] = encryption;
    }
    connect
}

fn service(name: &str, definition: &str) -> Value {
    json!({"cluster": "c", "serviceName": name, "taskDefinition": definition, "desiredCount": 0})
}

fn encryption(api: &Endpoint, name: &str) -> Encryption {
    let registry = api.core.registry();
    let service = registry.services.values().find(|service| service.name == name).unwrap();
    service.connect.as_ref().unwrap().encryption.clone()
}

fn published(api: &Endpoint, name: &str) -> v1::TlsMode {
    let registry = api.core.registry();
    let service = registry.services.values().find(|service| service.name == name).unwrap();
    publish::tls_mode(&publish::PublishOptions::default(), service)
}

#[test]
fn the_mode_comes_from_the_service_its_tag_or_its_task_definition() {
    let api = prepared();
    let create = |name: &str, request: Value| {
        api.ok("ecs", "CreateService", request);
        (encryption(&api, name).mode, published(&api, name))
    };
    // The twin of all that follow: nothing is said.
    let mut plain = service("plain", "web");
    plain["serviceConnectConfiguration"] = connect("plain", None);
    assert_eq!(create("plain", plain), (TlsMode::MutualTls, v1::TlsMode::Mutual));

    for (name, mode, wanted) in [
        ("own", "TLS", (TlsMode::Tls, v1::TlsMode::ServerOnly)),
        ("both", "MUTUAL_TLS", (TlsMode::MutualTls, v1::TlsMode::Mutual)),
    ] {
        let mut request = service(name, "web");
        request["serviceConnectConfiguration"] = connect(name, Some(json!({"mode": mode})));
        assert_eq!(create(name, request), wanted);
    }

    let mut tagged = service("tagged", "web");
    tagged["serviceConnectConfiguration"] = connect("tagged", None);
    tagged["tags"] =
        json!([{"key": "Bowline:ServiceConnect", "value": r#"{"encryptionConfiguration":{"mode":"TLS"}}"#}]);
    assert_eq!(create("tagged", tagged.clone()), (TlsMode::Tls, v1::TlsMode::ServerOnly));
    // What the configuration says goes before the tag.
    tagged["serviceName"] = "said".into();
    tagged["serviceConnectConfiguration"] = connect("said", Some(json!({"mode": "MUTUAL_TLS"})));
    assert_eq!(create("said", tagged).0, TlsMode::MutualTls);

    register(&api, "notes", Some(connect("notes", Some(json!({"mode": "TLS"})))));
    assert_eq!(create("notes", service("notes", "notes")), (TlsMode::Tls, v1::TlsMode::ServerOnly));
    let told = api.ok("ecs", "DescribeTaskDefinition", json!({"taskDefinition": "notes"}));
    assert_eq!(
        told["taskDefinition"]["serviceConnectConfiguration"]["encryptionConfiguration"],
        json!({"mode": "TLS"})
    );
}

#[test]
fn a_mode_that_is_none_or_a_certificate_that_is_not_there_is_refused() {
    let api = prepared();
    let mut request = service("web", "web");
    let mut refused = |encryption: Value| {
        request["serviceConnectConfiguration"] = connect("web", Some(encryption));
        let fault = api.fault("ecs", "CreateService", request.clone());
        assert!(api.core.registry().services.is_empty());
        (fault.code.to_string(), fault.message)
    };
    refused(json!({"mode": "mTLS"}));
    let arn = "arn:aws:acm:us-east-1:000000000000:certificate/none";
    for member in ["certificateArn", "clientCertificateArn"] {
        let (code, message) = refused(json!({member: arn}));
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains(member) && message.contains(arn), "{message}");
    }
    let mut tagged = service("web", "web");
    tagged["serviceConnectConfiguration"] = connect("web", None);
    tagged["tags"] = json!([{"key": "Bowline:ServiceConnect", "value": r#"{"mode":"TLS"}"#}]);
    let fault = api.fault("ecs", "CreateService", tagged);
    assert!(fault.message.contains("Bowline:ServiceConnect"), "{}", fault.message);
}

#[test]
fn where_callers_prove_nothing_the_namespace_is_anyone() {
    let api = prepared();
    for (name, mode) in [("one", "TLS"), ("both", "MUTUAL_TLS")] {
        let mut request = service(name, "web");
        request["serviceConnectConfiguration"] = connect(name, Some(json!({"mode": mode})));
        api.ok("ecs", "CreateService", request);
    }
    let asked = |from: &str, to: &str| {
        let question = PolicyQuestion {
            from: from.into(),
            to: to.into(),
            method: "GET".into(),
            path: "/".into(),
            port: None,
            source: None,
        };
        let [answer] = &api.core.policy_test(&question).unwrap()[..] else { panic!("one port") };
        (answer.allowed, answer.rule.clone().unwrap_or_default())
    };
    let stranger = "spiffe://elsewhere/ns/n/cluster/c/svc/x";
    assert_eq!(asked(stranger, "one"), (true, "default: callers prove nothing here".into()));
    assert!(!asked(stranger, "both").0);
    assert_eq!(asked("one", "both"), (true, "default: members of n".into()));
}

/// A role that `service` may assume, with that policy.
fn role(api: &Endpoint, name: &str, service: &str, policy: Option<Value>) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let made =
        api.ok("iam", "CreateRole", json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()}));
    if let Some(policy) = policy {
        let request = json!({"RoleName": name, "PolicyName": "p", "PolicyDocument": policy.to_string()});
        api.ok("iam", "PutRolePolicy", request);
    }
    made["Role"]["Arn"].as_str().unwrap().to_owned()
}

#[test]
fn the_key_and_the_role_of_tls_have_to_be_of_use() {
    let api = prepared();
    let key = api.ok("kms", "CreateKey", json!({}))["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let uses = |actions: Value| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": key}]});
    let both = uses(json!(["kms:GenerateDataKey", "kms:Decrypt"]));
    let good = role(&api, "good", "ecs.amazonaws.com", Some(both.clone()));
    let of_tasks = role(&api, "of-tasks", "ecs-tasks.amazonaws.com", Some(both));
    let half = role(&api, "half", "ecs.amazonaws.com", Some(uses(json!("kms:GenerateDataKey"))));
    let request = |key: &str, role: &str| {
        let mut request = service("web", "web");
        request["serviceConnectConfiguration"] = connect("web", None);
        request["serviceConnectConfiguration"]["services"][0]["tls"] =
            json!({"issuerCertificateAuthority": {}, "kmsKey": key, "roleArn": role});
        request
    };
    let refused = |key: &str, role: &str, words: &str| {
        let fault = api.fault("ecs", "CreateService", request(key, role));
        assert_eq!(fault.code, "InvalidParameterException");
        assert!(fault.message.contains(words), "{}", fault.message);
        assert!(api.core.registry().services.is_empty());
    };
    refused("alias/none", &good, "alias/none is not found");
    refused(&key, &of_tasks, "unable to assume the role");
    refused(&key, "arn:aws:iam::000000000000:role/none", "unable to assume the role");
    refused(&key, &half, "kms:Decrypt");
    api.ok("kms", "DisableKey", json!({"KeyId": key}));
    refused(&key, &good, "disabled");
    // The twin: nothing is wrong with it.
    api.ok("kms", "EnableKey", json!({"KeyId": key}));
    api.ok("ecs", "CreateService", request(&key, &good));
}
