//! The AWS endpoint over HTTP, with signed requests and an agent of the test's.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bowline_aws::sigv4::{AmzDate, Credentials, Received, SecretKey, Signing, sign};
use bowline_control::control_plane::{AgentPort, ControlConfig, ControlPlane};
use bowline_model::task::{DesiredStatus, HealthStatus, StopCode, TaskReport, TaskSpec, TaskStatus};
use bowline_plumbing::wall_clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(60);

struct Endpoint {
    control: ControlPlane,
    address: SocketAddr,
}

async fn start(state_dir: &Path) -> Endpoint {
    let control = ControlPlane::start(ControlConfig { ephemeral: true, ..ControlConfig::new(state_dir) })
        .await
        .expect("it starts");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    control.serve_api(listener, None).expect("it serves");
    tokio::spawn(agent(control.agent_port()));
    Endpoint { control, address }
}

/// Runs every task but those of families that begin with `broken`, which fail at once.
async fn agent(port: AgentPort) {
    let AgentPort { mut desired, reports, .. } = port;
    let mut told: BTreeMap<String, DesiredStatus> = BTreeMap::new();
    loop {
        let wanted = Arc::clone(&desired.borrow_and_update());
        for desire in wanted.iter() {
            let id = desire.spec.id.as_str().to_owned();
            let fails = desire.spec.family.starts_with("broken");
            if told.insert(id, desire.status) != Some(desire.status) {
                let status = match desire.status {
                    DesiredStatus::Running if !fails => TaskStatus::Running,
                    _ => TaskStatus::Stopped,
                };
                if reports.send(report(&desire.spec, status)).await.is_err() {
                    return;
                }
            }
        }
        if desired.changed().await.is_err() {
            return;
        }
    }
}

fn report(spec: &TaskSpec, status: TaskStatus) -> TaskReport {
    let over = status == TaskStatus::Stopped;
    TaskReport {
        id: spec.id.clone(),
        at: wall_clock::now(),
        status,
        health: HealthStatus::Unknown,
        containers: Vec::new(),
        inbound: Vec::new(),
        published: Vec::new(),
        proxy_ready: true,
        stopped_reason: over.then(|| "Essential container in task exited".to_owned()),
        stop_code: over.then_some(StopCode::EssentialContainerExited),
        shim_pid: None,
        warnings: Vec::new(),
    }
}

/// Sends one signed request; status and body.
async fn call(address: SocketAddr, service: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let host = address.to_string();
    let mut all: Vec<(&str, &[u8])> = vec![("host", host.as_bytes())];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let received = Received { method: "POST", path: "/", query: None, headers: &all, body: body.as_bytes() };
    let credentials =
        Credentials { access_key_id: "test".into(), secret: SecretKey::new("test"), session_token: None };
    let at = AmzDate::from_secs(wall_clock::now().as_secs());
    let signing = Signing { region: "us-east-1", service, at, unsigned_payload: false };
    let added = sign(&received, &credentials, &signing).expect("it is signed");
    let mut request =
        format!("POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in
        headers.iter().copied().chain(added.iter().map(|(name, value)| (*name, value.as_str())))
    {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

async fn ecs(endpoint: &Endpoint, operation: &str, body: serde_json::Value) -> serde_json::Value {
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
    let (status, answer) = call(endpoint.address, "ecs", &headers, &body.to_string()).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    serde_json::from_str(&answer).expect("JSON")
}

async fn cloudformation(endpoint: &Endpoint, parameters: &[(&str, &str)]) -> (u16, String) {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect()
    };
    let mut body = "Version=2010-05-15".to_owned();
    for (name, value) in parameters {
        body.push_str(&format!("&{name}={}", encode(value)));
    }
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    call(endpoint.address, "cloudformation", &headers, &body).await
}

/// Waits until the stack has one of `wanted`, and returns it.
async fn status_of(endpoint: &Endpoint, wanted: &[&str]) -> String {
    let mut generation = endpoint.control.generation();
    let reached = async {
        loop {
            generation.mark_unchanged();
            let (_, answer) = cloudformation(endpoint, &[("Action", "ListStacks")]).await;
            let status = answer.split("<StackStatus>").nth(1).and_then(|rest| rest.split('<').next());
            match status.filter(|status| wanted.contains(status)) {
                Some(status) => return status.to_owned(),
                None => generation.changed().await.expect("the control plane lives"),
            }
        }
    };
    tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("none of {wanted:?} in time"))
}

/// A stack of one service; with a circuit breaker, so that a broken one is noticed.
fn template(family: &str, extra: &str) -> String {
    format!(
        "
Resources:
  Cluster: {{Type: AWS::ECS::Cluster, Properties: {{ClusterName: demo}}}}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: {family}
      ContainerDefinitions: [{{Name: app, Image: app, Command: [run]}}]
  Service:
    Type: AWS::ECS::Service
    Properties:
      ServiceName: web
      Cluster: !Ref Cluster
      TaskDefinition: !Ref Task
      DesiredCount: 2
      DeploymentConfiguration: {{DeploymentCircuitBreaker: {{Enable: true, Rollback: true}}}}
{extra}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_made_changed_rolled_back_and_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let endpoint = start(directory.path()).await;
    let create = |body: String| {
        let endpoint = &endpoint;
        async move {
            let parameters = [("Action", "CreateStack"), ("StackName", "demo"), ("TemplateBody", &body)];
            cloudformation(endpoint, &parameters).await
        }
    };
    let (status, answer) =
        create(template("app", "Outputs: {Name: {Value: web, Export: {Name: web-name}}}")).await;
    assert_eq!(status, 200, "{answer}");
    status_of(&endpoint, &["CREATE_COMPLETE"]).await;
    let (_, exports) = cloudformation(&endpoint, &[("Action", "ListExports")]).await;
    assert!(exports.contains("<Name>web-name</Name><Value>web</Value>"), "{exports}");

    // A revision whose tasks fail: the circuit breaker fails the update, the stack goes back.
    let body = template("broken", "Outputs: {Name: {Value: web, Export: {Name: web-name}}}");
    let update = [("Action", "UpdateStack"), ("StackName", "demo"), ("TemplateBody", body.as_str())];
    let (status, answer) = cloudformation(&endpoint, &update).await;
    assert_eq!(status, 200, "{answer}");
    status_of(&endpoint, &["UPDATE_ROLLBACK_COMPLETE", "UPDATE_FAILED", "UPDATE_COMPLETE"]).await;
    let (_, events) =
        cloudformation(&endpoint, &[("Action", "DescribeStackEvents"), ("StackName", "demo")]).await;
    assert!(events.contains("UPDATE_ROLLBACK_COMPLETE") && events.contains("Circuit Breaker"), "{events}");
    let services =
        ecs(&endpoint, "DescribeServices", serde_json::json!({"cluster": "demo", "services": ["web"]})).await;
    let service = &services["services"][0];
    assert_eq!(service["runningCount"], 2, "{service}");
    assert!(
        service["taskDefinition"].as_str().is_some_and(|arn| arn.contains("task-definition/app:")),
        "{service}"
    );

    let (status, _) = cloudformation(&endpoint, &[("Action", "DeleteStack"), ("StackName", "demo")]).await;
    assert_eq!(status, 200);
    status_of(&endpoint, &["DELETE_COMPLETE"]).await;
    assert!(endpoint.control.snapshot().services.is_empty());

    // A new one that cannot come up leaves nothing but the record of it.
    let (status, answer) = create(template("broken", "")).await;
    assert_eq!(status, 200, "{answer}");
    status_of(&endpoint, &["ROLLBACK_COMPLETE"]).await;
    assert!(endpoint.control.snapshot().services.is_empty());

    // Or not even that.
    let (status, _) = cloudformation(&endpoint, &[("Action", "DeleteStack"), ("StackName", "demo")]).await;
    assert_eq!(status, 200);
    status_of(&endpoint, &["DELETE_COMPLETE"]).await;
    let body = template("broken", "");
    let parameters = [
        ("Action", "CreateStack"),
        ("StackName", "gone"),
        ("TemplateBody", body.as_str()),
        ("OnFailure", "DELETE"),
    ];
    let (status, answer) = cloudformation(&endpoint, &parameters).await;
    assert_eq!(status, 200, "{answer}");
    let mut generation = endpoint.control.generation();
    let is_there = || endpoint.control.snapshot().stacks.get("gone").is_some();
    let deleted = async { while is_there() && generation.changed().await.is_ok() {} };
    tokio::time::timeout(LIMIT, deleted).await.expect("the failed stack is deleted");
    let snapshot = endpoint.control.snapshot();
    assert!(snapshot.services.is_empty() && snapshot.clusters.is_empty());
    let gone = snapshot.deleted_stacks.values().find(|stack| stack.name == "gone").expect("it is told of");
    assert_eq!(gone.status.name(), "DELETE_COMPLETE");
    let reasons: Vec<_> = gone.events.iter().filter_map(|event| event.reason.as_deref()).collect();
    assert!(reasons.iter().any(|reason| reason.ends_with("Delete requested by user.")), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_answered_in_the_protocols_own_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let endpoint = start(directory.path()).await;
    let json = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "AmazonEC2ContainerServiceV20141113.CreateCluster"),
    ];
    let (status, answer) = call(endpoint.address, "ecs", &json, "{").await;
    assert_eq!(status, 400);
    assert!(answer.contains("SerializationException"), "{answer}");
    let (status, answer) = call(endpoint.address, "sts", &json, "{}").await;
    assert_eq!(status, 400);
    assert!(answer.contains("InvalidSignatureException"), "a signature for another service: {answer}");
    let unknown = [("x-amz-target", "DynamoDB_20120810.ListTables")];
    let (status, answer) = call(endpoint.address, "dynamodb", &unknown, "{}").await;
    assert_eq!(status, 400);
    assert!(answer.contains("UnknownOperationException"), "{answer}");
    let (status, answer) = cloudformation(&endpoint, &[("Action", "MakeCoffee")]).await;
    assert_eq!(status, 400);
    assert!(answer.contains("<Code>InvalidAction</Code>"), "{answer}");
    let generation = endpoint.control.snapshot().generation;
    let (status, answer) = cloudformation(
        &endpoint,
        &[
            ("Action", "CreateStack"),
            ("StackName", "x"),
            ("TemplateBody", "Resources: {A: {Type: AWS::ECS::Clutser}}"),
        ],
    )
    .await;
    assert_eq!(status, 400);
    assert!(answer.contains("did you mean `AWS::ECS::Cluster`"), "{answer}");
    assert_eq!(endpoint.control.snapshot().generation, generation, "nothing was changed");
}
