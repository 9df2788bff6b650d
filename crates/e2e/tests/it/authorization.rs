//! A policy in a stack of its own decides who may call, while everything runs on.

use std::{process::Command, time::Duration};

use bowline_e2e::{
    command::{Outcome, eventually, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
    server::aws_clients,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);
const STATUS: &str = "/service-b/status";

struct Aws<'a>(&'a TestMesh);

impl Aws<'_> {
    /// Creates or updates the stack of the policy.
    fn stack(&self, operation: &str, effect: &str) {
        let template = json!({"Resources": {"Callers": {
            "Type": "Bowline::ServiceConnect::AuthorizationPolicy",
            "Properties": {"Services": ["service-b"], "Rules": [{
                "Name": "status",
                "Effect": effect,
                "SpiffeIds": [self.0.service("service-a")["identity"]],
                "Methods": ["GET"],
                "Paths": [format!("{STATUS}*")],
            }]},
        }}});
        let input = json!({"StackName": "policies", "TemplateBody": template.to_string()});
        self.run(operation, &input);
    }

    fn run(&self, operation: &str, input: &Value) {
        let endpoint = self.0.topology["endpoint"].as_str().expect("the AWS endpoint");
        let mut command = Command::new(aws_clients().join("bin/aws"));
        command
            .args(["cloudformation", operation, "--endpoint-url", endpoint])
            .args(["--cli-input-json", &input.to_string()])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1");
        let outcome = run_limited(&mut command, LIMIT);
        assert!(outcome.success(), "{operation}: {outcome:?}\n{}", self.0.log());
    }
}

/// What service-a's application gets from service-b: the status and the body.
fn call(mesh: &TestMesh, path: &str) -> (String, String) {
    let url = format!("http://service-b-sc:8202{path}");
    let mut command = Command::new(bowline());
    command.args(["exec", "--state-dir"]).arg(mesh.state_dir());
    command.args(["service-a", "--", "curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", &url]);
    let outcome = run_limited(&mut command, LIMIT);
    let (body, status) = outcome.stdout.rsplit_once('\n').unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

fn policy_test(mesh: &TestMesh, more: &[&str]) -> (Outcome, Value) {
    let question =
        ["policy", "test", "--from", "service-a", "--to", "service-b", "--path", STATUS, "-o", "json"];
    let outcome = mesh.run(&[&question, more].concat());
    let answer = serde_json::from_str::<Value>(&outcome.stdout).map(|answers| answers[0].clone());
    (outcome, answer.unwrap_or_default())
}

#[test]
fn a_caller_is_refused_in_words_and_allowed_again_without_a_restart() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let aws = Aws(&mesh);
    let shims = |status: &Value| -> Vec<Value> {
        let services = status["services"].as_array().expect("services").iter();
        services
            .flat_map(|service| service["tasks"].as_array().expect("tasks"))
            .map(|task| task["shimPid"].clone())
            .collect()
    };
    let before = shims(&mesh.status());
    assert_eq!(call(&mesh, STATUS).0, "200");
    let (outcome, answer) = policy_test(&mesh, &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(answer["rule"].as_str().is_some_and(|rule| rule.starts_with("default: members of ")), "{answer}");

    aws.stack("create-stack", "DENY");
    let body = eventually("the call is refused", LIMIT, || {
        let (status, body) = call(&mesh, STATUS);
        (status == "403").then_some(body)
    });
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&body["cause"], &body["refused"]), (&"not_authorized".into(), &"caller".into()), "{body}");
    assert_eq!(body["service"], "service-b-sc", "{body}");
    assert_eq!(call(&mesh, "/service-b/healthcheck").0, "200", "the rest goes on");
    mesh.get_json(STATUS); // and so does the gateway
    let (outcome, answer) = policy_test(&mesh, &[]);
    assert_eq!((outcome.code, &answer["rule"]), (Some(1), &"Callers/status".into()), "{outcome:?}");
    assert_eq!(policy_test(&mesh, &["--method", "POST"]).0.code, Some(0));
    assert_eq!(policy_test(&mesh, &["--port", "1"]).0.code, Some(2));

    aws.stack("update-stack", "AUDIT");
    eventually("the call is allowed again", LIMIT, || (call(&mesh, STATUS).0 == "200").then_some(()));
    let (outcome, answer) = policy_test(&mesh, &[]);
    assert_eq!((outcome.code, &answer["auditedBy"]), (Some(0), &json!(["Callers/status"])), "{outcome:?}");

    aws.run("delete-stack", &json!({"StackName": "policies"}));
    eventually("the policy is gone", LIMIT, || {
        (policy_test(&mesh, &[]).1["auditedBy"] == json!([])).then_some(())
    });
    assert_eq!(shims(&mesh.status()), before, "nothing was started again");
}
