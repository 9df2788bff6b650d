//! Calls through a running endpoint, and what the audit trail says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use bowline_aws::{
    protocol::{SERVICES, ServiceProtocol},
    sigv4::{AmzDate, Credentials, Received, SecretKey, Signing, sign},
};
use bowline_control::{
    api::operation,
    audit::{AuditError, AuditLog, AuditReader, LookupQuery, TamperingKind},
    control_plane::{AUDIT_DIRECTORY, AUDIT_KEY_LABEL, ControlConfig, ControlPlane, StartError},
    master_key::MasterKey,
};
use bowline_plumbing::{seal::SealKey, wall_clock};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);

fn config(state_dir: &Path) -> ControlConfig {
    ControlConfig { audit_data_events: true, ..ControlConfig::new(state_dir) }
}

async fn start(state_dir: &Path) -> (ControlPlane, SocketAddr) {
    let control = ControlPlane::start(config(state_dir)).await.expect("starts");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("listens");
    control.serve_api(listener, None).expect("serves");
    (control, address)
}

fn key(state_dir: &Path) -> SealKey {
    MasterKey::load_or_create(state_dir, true).expect("is there").derive(AUDIT_KEY_LABEL)
}

fn service(name: &str) -> &'static ServiceProtocol {
    SERVICES.iter().find(|service| service.name == name).expect("is served")
}

struct Answer {
    status: u16,
    request_id: String,
    body: String,
}

/// A request's head and body, signed with `secret` unless that is empty.
fn request(service: &ServiceProtocol, operation: &str, body: &str, key_id: &str, secret: &str) -> Vec<u8> {
    let route = service.rest.map(|rest| rest.route(operation).expect("is served"));
    let (method, path) = route.map_or(("POST", "/".to_owned()), |route| {
        // Whatever a label stands for is called `x`.
        let segment = |segment: &'static str| if segment.starts_with('{') { "x" } else { segment };
        (route.method, route.uri.split('/').map(segment).collect::<Vec<_>>().join("/"))
    });
    let (body, kind, target) = match service.target_prefix {
        Some(prefix) => {
            (body.to_owned(), "application/x-amz-json-1.1", Some(format!("{prefix}.{operation}")))
        }
        None if route.is_some() => (body.to_owned(), "application/json", None),
        None => (
            format!("Action={operation}&Version={}{body}", service.version),
            "application/x-www-form-urlencoded",
            None,
        ),
    };
    let mut headers = vec![("host", "localhost".to_owned()), ("content-type", kind.to_owned())];
    headers.extend(target.map(|target| ("x-amz-target", target)));
    headers.push(("user-agent", "test/1".to_owned()));
    if !secret.is_empty() {
        let bytes: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let received = Received { method, path: &path, query: None, headers: &bytes, body: body.as_bytes() };
        let credentials = Credentials {
            access_key_id: key_id.to_owned(),
            secret: SecretKey::new(secret),
            session_token: None,
        };
        let signing = Signing {
            region: "us-east-1",
            service: service.endpoint_prefix,
            at: AmzDate::from_secs(wall_clock::now().as_secs()),
            unsigned_payload: false,
        };
        headers.extend(sign(&received, &credentials, &signing).expect("signs"));
    }
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(request).await.expect("sends");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answers");
        text
    };
    let text = tokio::time::timeout(LIMIT, exchange).await.expect("answers in time");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    Answer {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"),
        request_id: header("x-amzn-requestid: ").unwrap_or_default().to_owned(),
        body: body.to_owned(),
    }
}

async fn call(address: SocketAddr, of: &str, operation: &str, body: &Value) -> Answer {
    exchange(address, &request(service(of), operation, &body.to_string(), "test", "test")).await
}

/// Every record of a trail by its request's id; those of the trail itself have none.
fn records(state_dir: &Path) -> BTreeMap<String, Value> {
    let reader = AuditReader::new(state_dir.join(AUDIT_DIRECTORY), key(state_dir).as_bytes());
    let mut query = LookupQuery { data_events: true, max_results: 7, ..LookupQuery::default() };
    let mut all = BTreeMap::new();
    loop {
        let page = reader.lookup(&query).expect("is found");
        for event in page.events {
            let record: Value = serde_json::from_str(&event.cloud_trail_event).expect("is JSON");
            if let Some(id) = record["requestID"].as_str() {
                assert!(all.insert(id.to_owned(), record.clone()).is_none(), "{id} is recorded twice");
            }
        }
        query.next_token = page.next_token;
        if query.next_token.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn every_call_is_recorded_also_what_is_refused_and_secrets_are_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let (control, address) = start(dir.path()).await;
    let definition = json!({"family": "web", "containerDefinitions": [{"name": "main", "image": "web",
        "environment": [{"name": "TOKEN", "value": "hunter2-in-the-environment"}]}]});
    let made = call(address, "ecs", "RegisterTaskDefinition", &definition).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let listed = call(address, "ecs", "ListClusters", &json!({})).await;
    let absent = call(address, "ecs", "DescribeTasks", &json!({"cluster": "none", "tasks": ["x"]})).await;

    let ecs = service("ecs");
    let secret = json!({"clusterName": "sent-by-nobody"}).to_string();
    let unsigned = exchange(address, &request(ecs, "CreateCluster", &secret, "", "")).await;
    let forged = exchange(address, &request(ecs, "CreateCluster", &secret, "test", "wrong")).await;
    let stranger = exchange(address, &request(ecs, "ListClusters", "{}", "AKIASTRANGER", "wrong")).await;
    let unknown = call(address, "ecs", "MakeCoffee", &json!({})).await;
    let malformed = exchange(address, &request(ecs, "CreateCluster", "{", "test", "test")).await;

    // Found by the API itself, as soon as it is written.
    let lookup = json!({"LookupAttributes": [{"AttributeKey": "EventName",
        "AttributeValue": "RegisterTaskDefinition"}]});
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            let answer = call(address, "cloudtrail", "LookupEvents", &lookup).await;
            let answer: Value = serde_json::from_str(&answer.body).expect("is JSON");
            match answer["Events"].as_array().map(Vec::as_slice) {
                Some([event]) => break event.clone(),
                _ => tokio::task::yield_now().await,
            }
        }
    });
    let found = found.await.expect("is found");
    assert_eq!((&found["ReadOnly"], &found["Username"]), (&json!("false"), &json!("root")));
    assert_eq!(found["Resources"][0]["ResourceType"], "AWS::ECS::TaskDefinition");
    assert!(found["CloudTrailEvent"].as_str().is_some_and(|text| text.contains(&made.request_id)));
    control.shutdown().await;

    let records = records(dir.path());
    let record = |answer: &Answer| records.get(&answer.request_id).expect("is recorded");
    let made = record(&made);
    assert_eq!(made["eventSource"], "ecs.amazonaws.com");
    assert_eq!(made["userIdentity"]["type"], "Root");
    assert_eq!(made["userIdentity"]["accessKeyId"], "test");
    assert_eq!((&made["sourceIPAddress"], &made["userAgent"]), (&json!("127.0.0.1"), &json!("test/1")));
    assert_eq!((&made["readOnly"], &made["awsRegion"]), (&json!(false), &json!("us-east-1")));
    assert_eq!(made["requestParameters"]["family"], "web");
    assert_eq!(made["responseElements"]["taskDefinition"]["revision"], 1);
    let hidden = &made["requestParameters"]["containerDefinitions"][0]["environment"][0]["value"];
    assert_eq!(hidden, "HIDDEN_DUE_TO_SECURITY_REASONS");
    assert_eq!(
        (&record(&listed)["readOnly"], &record(&listed)["responseElements"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(record(&absent)["errorCode"], "ClusterNotFoundException");
    for (answer, code, key) in [
        (&unsigned, "MissingAuthenticationTokenException", json!(null)),
        (&forged, "InvalidSignatureException", json!("test")),
        (&stranger, "UnrecognizedClientException", json!("AKIASTRANGER")),
    ] {
        let record = record(answer);
        assert_eq!(record["errorCode"], code);
        assert_eq!(record["userIdentity"]["type"], "Unknown");
        assert_eq!(record["userIdentity"]["accessKeyId"], key);
        assert_eq!(record["requestParameters"], json!(null), "nobody known may write into the trail");
    }
    assert_eq!(record(&unknown)["errorCode"], "UnknownOperationException");
    assert_eq!(record(&malformed)["errorCode"], "SerializationException");
    assert_eq!(record(&malformed)["userIdentity"]["type"], "Root");

    let segment = dir.path().join(AUDIT_DIRECTORY).join("audit-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).expect("is there");
    assert!(!text.contains("hunter2") && !text.contains("sent-by-nobody"));
}

#[tokio::test]
async fn an_altered_record_is_noticed_and_nothing_starts_on_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (control, address) = start(dir.path()).await;
    for name in ["one", "two", "three"] {
        assert_eq!(call(address, "ecs", "CreateCluster", &json!({"clusterName": name})).await.status, 200);
    }
    control.shutdown().await;
    let trail = dir.path().join(AUDIT_DIRECTORY);
    let key = key(dir.path());
    let verified = AuditLog::verify(&trail, key.as_bytes()).expect("is as written");
    assert_eq!(verified.records, 4, "its beginning and three calls");

    let segment = trail.join("audit-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).expect("is there");
    std::fs::write(&segment, text.replacen("\"two\"", "\"six\"", 1)).expect("writes");
    let error = AuditLog::verify(&trail, key.as_bytes()).expect_err("is altered");
    let AuditError::Tampered { tampering, .. } = error else { panic!("{error:?}") };
    assert_eq!((tampering.line, tampering.what), (3, TamperingKind::LineAltered));

    let Err(error) = ControlPlane::start(config(dir.path())).await else { panic!("it started") };
    assert!(matches!(error, StartError::AuditTampered { .. }));
    let message = error.to_string();
    assert!(message.contains(trail.to_str().expect("UTF-8")) && message.contains("move"), "{message}");
    std::fs::write(&segment, text).expect("writes");
    ControlPlane::start(config(dir.path())).await.expect("starts").shutdown().await;
}

#[tokio::test]
async fn every_operation_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let (control, address) = start(dir.path()).await;
    let mut called = Vec::new();
    for service in SERVICES {
        for operation in operation::of_service(service.name) {
            let body = if service.protocol.is_json_like() { "{}" } else { "" };
            let answer = exchange(address, &request(service, operation.name, body, "test", "test")).await;
            called.push((service, operation, answer));
        }
    }
    control.shutdown().await;
    let records = records(dir.path());
    assert!(!called.is_empty());
    for (service, operation, answer) in called {
        let record = records.get(&answer.request_id);
        let record = record.unwrap_or_else(|| panic!("{} is not recorded", operation.name));
        assert_eq!(record["eventName"], operation.name);
        assert_eq!(record["eventSource"], format!("{}.amazonaws.com", service.endpoint_prefix));
        assert_eq!(record["readOnly"], operation.access.is_read(), "{}", operation.name);
        assert_eq!(record["managementEvent"], !operation.access.is_data(), "{}", operation.name);
        assert_eq!(record.get("errorCode").is_none(), answer.status == 200, "{record}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_change_unrecorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let (control, address) = start(dir.path()).await;
    for number in 0..30 {
        let body = json!({"clusterName": format!("c{number}")}).to_string();
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = request(service("ecs"), "CreateCluster", &body, "test", "test");
        stream.write_all(&request).await.expect("sends");
    }
    assert_eq!(call(address, "ecs", "CreateCluster", &json!({"clusterName": "last"})).await.status, 200);
    control.shutdown().await;
    let again = ControlPlane::start(config(dir.path())).await.expect("starts");
    let made: BTreeSet<String> =
        again.snapshot().clusters.values().map(|cluster| cluster.name.clone()).collect();
    again.shutdown().await;
    let records = records(dir.path());
    let recorded: BTreeSet<String> = records
        .values()
        .filter(|record| record["errorCode"].is_null())
        .filter_map(|record| record["responseElements"]["cluster"]["clusterName"].as_str())
        .map(str::to_owned)
        .collect();
    assert!(made.contains("last"));
    assert_eq!(made, recorded);
}

#[tokio::test]
async fn nothing_is_changed_while_the_trail_cannot_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (control, address) = start(dir.path()).await;
    let segment = dir.path().join(AUDIT_DIRECTORY).join("audit-00000000000000000001.jsonl");
    let aside = dir.path().join("aside");
    std::fs::rename(&segment, &aside).expect("renames");
    let create = |number: u32| {
        let body = json!({"clusterName": format!("c{number}")});
        async move { call(address, "ecs", "CreateCluster", &body).await }
    };
    let mut number = 0;
    let until = async |wanted: u16, number: &mut u32| {
        let trying = async {
            loop {
                *number += 1;
                let answer = create(*number).await;
                if answer.status == wanted {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, trying).await.expect("in time")
    };
    let refused = until(503, &mut number).await;
    assert!(refused.body.contains("ServiceUnavailable"), "{}", refused.body);
    assert!(control.snapshot().clusters.get(&format!("c{number}")).is_none(), "it was carried out");
    assert_eq!(call(address, "ecs", "ListClusters", &json!({})).await.status, 200, "reads go on");

    std::fs::rename(&aside, &segment).expect("renames");
    let _ = until(200, &mut number).await;
    control.shutdown().await;
    AuditLog::verify(dir.path().join(AUDIT_DIRECTORY), key(dir.path()).as_bytes()).expect("is as written");
    let records = records(dir.path());
    let refused = records.get(&refused.request_id).expect("there was room for it");
    assert_eq!(refused["errorCode"], "ServiceUnavailable");
}
