//! A traffic policy in a stack of its own changes how calls are carried, while everything runs on.

use std::{process::Command, time::Duration};

use bowline_e2e::{
    command::{eventually, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
    server::aws_clients,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

fn stack(mesh: &TestMesh, operation: &str, properties: &Value) {
    let template = json!({"Resources": {"Careful": {
        "Type": "Bowline::ServiceConnect::TrafficPolicy", "Properties": properties,
    }}});
    let mut input = json!({"StackName": "traffic"});
    if operation != "delete-stack" {
        input["TemplateBody"] = json!(template.to_string());
    }
    let endpoint = mesh.topology["endpoint"].as_str().expect("the AWS endpoint");
    let mut command = Command::new(aws_clients().join("bin/aws"));
    command
        .args(["cloudformation", operation, "--endpoint-url", endpoint])
        .args(["--cli-input-json", &input.to_string()])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    let outcome = run_limited(&mut command, LIMIT);
    assert!(outcome.success(), "{operation}: {outcome:?}\n{}", mesh.log());
}

/// What service-a's application gets from service-b, head and body.
fn call(mesh: &TestMesh) -> String {
    call_path(mesh, "status")
}

fn call_path(mesh: &TestMesh, path: &str) -> String {
    let mut command = Command::new(bowline());
    command.args(["exec", "--state-dir"]).arg(mesh.state_dir());
    let url = format!("http://service-b-sc:8202/service-b/{path}");
    command.args(["service-a", "--", "curl", "-sS", "-i", "--max-time", "10", &url]);
    run_limited(&mut command, LIMIT).stdout.to_ascii_lowercase()
}

fn shims(mesh: &TestMesh) -> Vec<Value> {
    let status = mesh.status();
    let services = status["services"].as_array().expect("services").iter();
    let tasks = services.flat_map(|service| service["tasks"].as_array().expect("tasks"));
    tasks.map(|task| task["shimPid"].clone()).collect()
}

#[test]
fn a_policy_comes_changes_and_goes_without_a_restart() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let before = shims(&mesh);
    let plain = call(&mesh);
    assert!(plain.starts_with("http/1.1 200") && !plain.contains("set-cookie"), "{plain}");

    let sticky = |cookie: &str| {
        json!({
            "DiscoveryName": "service-b-sc",
            "RetryPolicy": {"MaxRetries": 1, "HttpRetryEvents": ["server-error"]},
            "OutlierDetection": {"MaxServerErrors": 3},
            "ConnectionPool": {"HTTP": {"MaxConnections": 10}},
            "LoadBalancing": {"Policy": "RING_HASH", "HashOn": [{"Cookie": {"Name": cookie}}]},
        })
    };
    stack(&mesh, "create-stack", &sticky("first"));
    eventually("the cookie is set", LIMIT, || call(&mesh).contains("set-cookie: first=").then_some(()));
    stack(&mesh, "update-stack", &sticky("second"));
    eventually("the other cookie is set", LIMIT, || {
        call(&mesh).contains("set-cookie: second=").then_some(())
    });
    // A time in which service-b cannot ask service-a, as it has to for that path.
    let hasty = json!({
        "DiscoveryName": "service-b-sc",
        "Timeout": {"HTTP": {"PerRequest": {"Unit": "ms", "Value": 1}}},
        "RetryPolicy": {"MaxRetries": 0},
    });
    stack(&mesh, "update-stack", &hasty);
    eventually("calls take too long", LIMIT, || {
        call_path(&mesh, "other-status").starts_with("http/1.1 504").then_some(())
    });
    stack(&mesh, "delete-stack", &json!({}));
    eventually("everything is as before", LIMIT, || {
        let answer = call(&mesh);
        (answer.starts_with("http/1.1 200") && !answer.contains("set-cookie")).then_some(())
    });
    assert_eq!(shims(&mesh), before, "nothing was started again");
}
