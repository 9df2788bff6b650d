//! A task's role, as an unmodified SDK finds it from within the task: its credentials, the region
//! and the endpoint come from the environment that the task was given, and nothing else.

use std::{process::Command, time::Duration};

use bowline_e2e::{
    command::{eventually, run_limited},
    server::{TestServer, aws_clients},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const LIST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:ListClusters","Resource":"*"}]}"#;

/// What runs in the task. Its exit code says how far it came.
const PROGRAM: &str = include_str!("task_role/program.py");

struct Aws {
    server: TestServer,
}

impl Aws {
    fn ok(&self, service: &str, operation: &str, arguments: &[&str]) -> Value {
        let mut command = Command::new(aws_clients().join("bin/aws"));
        command
            .args(["--endpoint-url", &self.server.endpoint, "--output", "json", service, operation])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_PAGER", "");
        let outcome = run_limited(&mut command, LIMIT);
        assert!(outcome.success(), "{operation}: {outcome:?}\n{}", self.server.log());
        serde_json::from_str(&outcome.stdout).unwrap_or_default()
    }

    /// Runs the program in a task to its end; the exit code and what is known of the task.
    fn run(&self, family: &str, role: Option<&str>, mode: &str) -> (Value, Value) {
        let python = aws_clients().join("bin/python");
        let definition = json!({
            "family": family,
            "networkMode": "awsvpc",
            "taskRoleArn": role.unwrap_or_default(),
            "containerDefinitions": [{
                "name": "sdk", "image": "none", "command": [python, "-c", PROGRAM, mode],
            }],
        });
        self.ok("ecs", "register-task-definition", &["--cli-input-json", &definition.to_string()]);
        let started = self.ok("ecs", "run-task", &["--task-definition", family]);
        let task = started["tasks"][0]["taskArn"].as_str().expect("a task").to_owned();
        let ended = eventually("the task ends", LIMIT, || {
            let told = self.ok("ecs", "describe-tasks", &["--tasks", &task])["tasks"][0].clone();
            (told["lastStatus"] == "STOPPED").then_some(told)
        });
        (ended["containers"][0]["exitCode"].clone(), ended)
    }
}

#[test]
fn an_unmodified_sdk_in_a_task_has_the_task_s_role_and_no_more() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let server = TestServer::start(["--state-dir", state.to_str().expect("UTF-8")]);
    let aws = Aws { server };
    aws.ok("ecs", "create-cluster", &[]);
    let role =
        aws.ok("iam", "create-role", &["--role-name", "reader", "--assume-role-policy-document", TRUST]);
    let put = ["--role-name", "reader", "--policy-name", "list", "--policy-document", LIST];
    aws.ok("iam", "put-role-policy", &put);
    let role = role["Role"]["Arn"].as_str().expect("an ARN");

    let (code, task) = aws.run("with", Some(role), "role");
    assert_eq!(code, 0, "{task:#}\n{}\n{}", outputs(&state), aws.server.log());
    let (code, task) = aws.run("without", None, "none");
    assert_eq!(code, 0, "{task:#}\n{}\n{}", outputs(&state), aws.server.log());
    assert_eq!(aws.server.interrupt(), Some(0));
}

/// What the tasks' logs say.
fn outputs(state: &std::path::Path) -> String {
    let mut find = Command::new("find");
    find.arg(state).args(["-name", "*.log", "-exec", "tail", "-n", "40", "{}", "+"]);
    run_limited(&mut find, LIMIT).stdout
}
