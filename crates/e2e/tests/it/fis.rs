//! Experiments of FIS on tasks that run: faults are felt, and gone afterwards.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use bowline_e2e::{
    command::{eventually, run_limited},
    local_api::LocalApi,
    mesh::{MeshOptions, TestMesh},
    server::aws_clients,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// What the application answers to a path that it does not know: it was reached.
const REACHED: &str = "404";

const ROLE: &str = "arn:aws:iam::000000000000:role/FIS-Experiment-Role";

fn aws(mesh: &TestMesh, arguments: &[&str]) -> Value {
    let endpoint = mesh.topology["endpoint"].as_str().expect("the AWS endpoint");
    let mut command = Command::new(aws_clients().join("bin/aws"));
    command
        .args(arguments)
        .args(["--endpoint-url", endpoint, "--output", "json"])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    let outcome = run_limited(&mut command, LIMIT);
    assert!(outcome.success(), "{arguments:?}: {outcome:?}\n{}", mesh.log());
    serde_json::from_str(&outcome.stdout).unwrap_or_default()
}

/// How a task of service-a calls service-b: the answer's status, and how long it took.
fn call(mesh: &TestMesh, api: &mut LocalApi) -> (String, Duration) {
    let caller = mesh.service("service-a");
    let aliases = caller["aliases"].as_array().expect("aliases");
    let of_b = |alias: &&Value| alias["service"].as_str().is_some_and(|name| name.ends_with("service-b"));
    let alias = aliases.iter().find(of_b).expect("service-a calls service-b");
    let probe = json!({"probe": {
        "task": caller["tasks"][0]["id"], "host": alias["names"][0], "port": alias["port"], "mark": "x",
        "tcp": false,
    }});
    let began = Instant::now();
    let answer = api.ask(&probe);
    (answer["probe"]["output"].as_str().unwrap_or_default().trim().to_owned(), began.elapsed())
}

/// Starts an experiment of one action on the tasks of service-b.
fn start(mesh: &TestMesh, action: &str, parameters: Value) -> String {
    let template = json!({
        "clientToken": format!("{action}{parameters}").replace(char::is_whitespace, ""),
        "description": "An experiment on service-b.",
        "roleArn": ROLE,
        "stopConditions": [{"source": "none"}],
        "targets": {"backends": {
            "resourceType": "aws:ecs:task", "selectionMode": "ALL", "parameters": {"service": "service-b"},
        }},
        "actions": {"it": {"actionId": action, "parameters": parameters, "targets": {"Tasks": "backends"}}},
    });
    let made = aws(mesh, &["fis", "create-experiment-template", "--cli-input-json", &template.to_string()]);
    let id = made["experimentTemplate"]["id"].as_str().expect("an id");
    let started = aws(mesh, &["fis", "start-experiment", "--experiment-template-id", id]);
    started["experiment"]["id"].as_str().expect("an id").to_owned()
}

fn until(mesh: &TestMesh, id: &str, status: &str) {
    eventually(&format!("{id} is {status}"), LIMIT, || {
        let told = aws(mesh, &["fis", "get-experiment", "--id", id]);
        let state = &told["experiment"]["state"];
        assert!(state["status"] == status || state["status"] != "failed", "{told:#}\n{}", mesh.log());
        let running =
            status != "running" || told["experiment"]["actions"]["it"]["state"]["status"] == "running";
        (state["status"] == status && running).then_some(())
    });
}

#[test]
fn experiments_harm_tasks_that_run_and_all_is_as_before() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let mut api = LocalApi::connect(mesh.state_dir());
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole",
    }]});
    let role = "FIS-Experiment-Role";
    let document = trust.to_string();
    aws(&mesh, &["iam", "create-role", "--role-name", role, "--assume-role-policy-document", &document]);
    for policy in ["AmazonECS_FullAccess", "AWSFISFullAccess"] {
        let arn = format!("arn:aws:iam::aws:policy/{policy}");
        aws(&mesh, &["iam", "attach-role-policy", "--role-name", role, "--policy-arn", &arn]);
    }
    assert_eq!(call(&mesh, &mut api).0, REACHED);

    // A handshake's two round trips and the request's, each later by 400 ms.
    let slow = json!({"duration": "PT1H", "delayMilliseconds": "400"});
    let id = start(&mesh, "aws:ecs:task-network-latency", slow);
    until(&mesh, &id, "running");
    let (status, took) = call(&mesh, &mut api);
    assert_eq!(status, REACHED);
    assert!(took >= Duration::from_millis(390), "{took:?}");
    aws(&mesh, &["fis", "stop-experiment", "--id", &id]);
    until(&mesh, &id, "stopped");
    let as_before = |api: &mut LocalApi, what: &str| {
        eventually(what, LIMIT, || {
            let (status, took) = call(&mesh, api);
            (status == REACHED && took < Duration::from_millis(390)).then_some(())
        });
        assert_eq!(api.ask(&json!("faults"))["faults"], json!([]), "{what}");
    };
    as_before(&mut api, "it is as fast as before");

    let id = start(&mesh, "bowline:certificate-fault", json!({"duration": "PT1H", "shows": "expired"}));
    until(&mesh, &id, "running");
    assert_ne!(call(&mesh, &mut api).0, REACHED, "nobody believes an expired certificate");
    aws(&mesh, &["fis", "stop-experiment", "--id", &id]);
    until(&mesh, &id, "stopped");
    as_before(&mut api, "certificates are believed again");

    let id = start(&mesh, "bowline:renew-certificates", json!({}));
    until(&mesh, &id, "completed");
    let id = start(&mesh, "bowline:freeze", json!({"duration": "PT1S", "victims": "containers"}));
    until(&mesh, &id, "completed");
    as_before(&mut api, "what was frozen goes on");
    assert_eq!(mesh.interrupt(), Some(0));
}
