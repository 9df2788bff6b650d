//! A task's role, as an unmodified SDK finds it from within the task: its credentials, the region
//! and the endpoint come from the environment that the task was given, and nothing else.

use std::{path::PathBuf, process::Command, time::Duration};

use bowline_e2e::{
    command::{eventually, run_limited},
    server::{TestServer, aws_clients},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"SERVICE"},"Action":"sts:AssumeRole"}]}"#;
const LIST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:ListClusters","Resource":"*"}]}"#;

/// What runs in the task. Its exit code says how far it came.
const PROGRAM: &str = include_str!("task_role/program.py");

struct Aws {
    server: TestServer,
    state: PathBuf,
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

    /// A role that `service` may assume, and that may list clusters; its ARN.
    fn role(&self, name: &str, service: &str) -> String {
        let trust = TRUST.replace("SERVICE", service);
        let made =
            self.ok("iam", "create-role", &["--role-name", name, "--assume-role-policy-document", &trust]);
        let put = ["--role-name", name, "--policy-name", "list", "--policy-document", LIST];
        self.ok("iam", "put-role-policy", &put);
        made["Role"]["Arn"].as_str().expect("an ARN").to_owned()
    }

    /// Starts the program in a task; the task's ARN.
    fn start(&self, mode: &str, role: Option<&str>) -> String {
        let python = aws_clients().join("bin/python");
        let definition = json!({
            "family": mode,
            "networkMode": "awsvpc",
            "taskRoleArn": role.unwrap_or_default(),
            "containerDefinitions": [{
                "name": "sdk", "image": "none", "command": [python, "-c", PROGRAM, mode],
            }],
        });
        self.ok("ecs", "register-task-definition", &["--cli-input-json", &definition.to_string()]);
        let started = self.ok("ecs", "run-task", &["--task-definition", mode]);
        started["tasks"][0]["taskArn"].as_str().expect("a task").to_owned()
    }

    /// Waits until the task ends, as it should; what it has written.
    fn end(&self, task: &str) -> String {
        let told = eventually("the task ends", LIMIT, || {
            let told = self.ok("ecs", "describe-tasks", &["--tasks", task])["tasks"][0].clone();
            (told["lastStatus"] == "STOPPED").then_some(told)
        });
        let written = self.written(id(task));
        assert_eq!(told["containers"][0]["exitCode"], 0, "{told:#}\n{written}\n{}", self.server.log());
        written
    }

    /// What the task's logs say.
    fn written(&self, task: &str) -> String {
        let mut find = Command::new("find");
        find.arg(&self.state).args(["-path", &format!("*{task}*"), "-name", "*.log"]);
        find.args(["-exec", "tail", "-n", "40", "{}", "+"]);
        run_limited(&mut find, LIMIT).stdout
    }

    /// Who assumed the role for the task, by the audit trail.
    fn assumed_by(&self, task: &str) -> Vec<Value> {
        let named = "AttributeKey=EventName,AttributeValue=AssumeRole";
        let told = self.ok("cloudtrail", "lookup-events", &["--lookup-attributes", named]);
        let texts = told["Events"].as_array().expect("events").iter();
        texts
            .map(|event| {
                serde_json::from_str(event["CloudTrailEvent"].as_str().expect("text")).expect("JSON")
            })
            .filter(|record: &Value| record["requestParameters"]["roleSessionName"] == id(task))
            .collect()
    }
}

fn id(task: &str) -> &str {
    task.rsplit('/').next().unwrap_or(task)
}

fn start(network: &str) -> (Aws, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let server = TestServer::start(["--state-dir", state.to_str().expect("UTF-8"), "--network", network]);
    let aws = Aws { server, state };
    aws.ok("ecs", "create-cluster", &[]);
    (aws, directory)
}

#[test]
fn an_unmodified_sdk_in_a_task_has_the_task_s_role_and_no_more() {
    let (aws, _directory) = start("isolated");
    let reader = aws.role("reader", "ecs-tasks.amazonaws.com");
    let closed = aws.role("closed", "ecs.amazonaws.com");
    let with = aws.start("role", Some(&reader));
    let denied = aws.start("denied", Some(&closed));
    let without = aws.start("none", None);

    let written = aws.end(&with);
    for who in ["I am", "The CLI is"] {
        let session = format!("{who} arn:aws:sts::000000000000:assumed-role/reader/{}", id(&with));
        assert!(written.contains(&session), "{session}:\n{written}");
    }
    let assumed = aws.assumed_by(&with);
    assert_eq!(assumed.len(), 1, "the sidecar keeps them: {assumed:?}");
    assert_eq!(assumed[0]["userIdentity"]["invokedBy"], "ecs-tasks.amazonaws.com");
    assert_eq!(assumed[0]["requestParameters"]["roleArn"], reader.as_str());
    aws.end(&denied);
    assert_eq!(aws.assumed_by(&denied)[0]["errorCode"], "AccessDenied");
    aws.end(&without);
    assert!(aws.assumed_by(&without).is_empty());
    assert_eq!(aws.server.interrupt(), Some(0));
}

#[test]
fn on_the_host_s_network_it_has_them_by_a_token() {
    let (aws, _directory) = start("host");
    let reader = aws.role("reader", "ecs-tasks.amazonaws.com");
    let task = aws.start("host", Some(&reader));
    let session = format!("I am arn:aws:sts::000000000000:assumed-role/reader/{}", id(&task));
    let written = aws.end(&task);
    assert!(written.contains(&session), "{session}:\n{written}");
    assert_eq!(aws.server.interrupt(), Some(0));
}
