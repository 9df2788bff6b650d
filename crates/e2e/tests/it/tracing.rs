//! Traces: applications' segments from within tasks, and what is sent on by OpenTelemetry's protocol.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use bowline_e2e::{
    command::{eventually, free_port, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
    server::{TestServer, aws_clients, aws_tests},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// What runs in the task.
const SEGMENT: &str = include_str!("tracing/segment.py");

/// A task's application finds X-Ray's daemon, by a variable alone; its segment is told by the API and the CLI.
fn a_task_tells_its_segment(network: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let state = state.to_str().expect("UTF-8");
    let daemon = format!("127.0.0.1:{}", free_port());
    let server = TestServer::start(["--state-dir", state, "--network", network, "--xray-daemon", &daemon]);
    let aws = |arguments: &[&str]| -> Value {
        let outcome = server.aws(arguments, LIMIT);
        assert!(outcome.success(), "{arguments:?}: {outcome:?}\n{}", server.log());
        serde_json::from_str(&outcome.stdout).unwrap_or_default()
    };
    // With a namespace, for which its tasks have sidecars.
    aws(&["ecs", "create-cluster", "--service-connect-defaults", "namespace=internal"]);
    let python = aws_clients().join("bin/python");
    let definition = json!({
        "family": "app", "networkMode": "awsvpc",
        "containerDefinitions": [{"name": "app", "image": "none", "command": [python, "-c", SEGMENT]}],
    });
    aws(&["ecs", "register-task-definition", "--cli-input-json", &definition.to_string()]);
    let started = aws(&["ecs", "run-task", "--task-definition", "app"]);
    let task = started["tasks"][0]["taskArn"].as_str().expect("a task").to_owned();
    let ended = eventually("the task ends", LIMIT, || {
        let told = aws(&["ecs", "describe-tasks", "--tasks", &task])["tasks"][0].clone();
        (told["lastStatus"] == "STOPPED").then_some(told)
    });
    let mut logs = Command::new("find");
    logs.arg(state).args(["-name", "*.log", "-exec", "tail", "-n", "20", "{}", "+"]);
    let logs = run_limited(&mut logs, LIMIT).stdout;
    assert_eq!(ended["containers"][0]["exitCode"], 0, "{ended:#}\n{logs}\n{}", server.log());
    let host = if network == "isolated" { "169.254.170.2" } else { "127.0.0.1" };
    assert!(logs.contains(&format!(" to {host}")), "{logs}");

    let list = || {
        let mut list = Command::new(bowline());
        list.args(["trace", "--list", "--service", "app", "-o", "json", "--state-dir", state]);
        let outcome = run_limited(&mut list, LIMIT);
        assert!(outcome.success(), "{outcome:?}");
        let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("JSON");
        rows.into_iter().next()
    };
    let row = eventually("the trace is there", LIMIT, list);
    let id = row["id"].as_str().expect("an id");
    let x_ray = format!("1-{}-{}", &id[..8], &id[8..]);
    assert!(logs.contains(&x_ray), "{x_ray}: {logs}");
    let told = aws(&["xray", "batch-get-traces", "--trace-ids", &x_ray]);
    assert!(told["Traces"][0]["Segments"][0]["Document"].as_str().is_some_and(|it| it.contains("\"app\"")));
    let mut show = Command::new(bowline());
    show.args(["trace", &x_ray, "--state-dir", state]);
    let shown = run_limited(&mut show, LIMIT);
    assert!(shown.success() && shown.stdout.contains("1 parts") && shown.stdout.contains("app"), "{shown:?}");
    assert_eq!(server.interrupt(), Some(0));
}

#[test]
fn an_application_finds_x_rays_daemon_in_its_own_network() {
    a_task_tells_its_segment("isolated");
}

#[test]
fn an_application_finds_x_rays_daemon_on_the_hosts_network() {
    a_task_tells_its_segment("host");
}

/// OpenTelemetry's own messages, checked: `tests/aws/otlp_receiver.py`.
struct Receiver {
    child: Child,
    lines: mpsc::Receiver<Value>,
    port: u16,
}

impl Receiver {
    fn start(protocol: &str) -> Self {
        let port = free_port();
        let mut child = Command::new(aws_clients().join("bin/python"))
            .arg(aws_tests().join("otlp_receiver.py"))
            .args([protocol, &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let receiver = Self { child, lines, port };
        let first = receiver.lines.recv_timeout(LIMIT).expect("it listens");
        assert_eq!(first["listening"], port, "{first}");
        receiver
    }

    /// What came until now: all of it was as it should be.
    fn told(&self) -> Vec<Value> {
        let told: Vec<Value> = self.lines.try_iter().collect();
        for line in &told {
            assert!(line.is_object() && line.get("wrong").is_none(), "{line}");
        }
        told
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a mesh tells is taken by a receiver that takes nothing else.
fn a_strict_receiver_takes_everything(protocol: &str, receiver: &str) {
    const REQUESTS: u64 = 20;
    let receiver = Receiver::start(receiver);
    let mut options = MeshOptions::example("two-services")
        .argument("--otlp-endpoint")
        .argument(format!("http://127.0.0.1:{}", receiver.port));
    options.through = vec!["env".into(), format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}")];
    let mesh = TestMesh::up(&options);
    for _ in 0..REQUESTS {
        assert!(mesh.curl("/service-a/status", &[]).success());
    }
    // The last counts are sent at the end.
    assert_eq!(mesh.interrupt(), Some(0));
    let mut told = Vec::new();
    let requests = |told: &[Value]| told.iter().filter_map(|line| line["requests"].as_u64()).max();
    eventually("the receiver has it", LIMIT, || {
        told.extend(receiver.told());
        // At the gateway and on each side of each hop.
        (requests(&told) >= Some(2 * REQUESTS)).then_some(())
    });
    let spans: u64 = told.iter().filter_map(|line| line["spans"].as_u64()).sum();
    assert!(spans > 0, "{told:?}");
    let names = told.iter().filter_map(|line| line["metrics"].as_array()).flatten();
    assert!(names.into_iter().any(|name| name == "bowline.response.time"), "{told:?}");
}

#[test]
fn open_telemetrys_receiver_takes_everything_by_grpc() {
    a_strict_receiver_takes_everything("grpc", "grpc");
}

#[test]
fn open_telemetrys_receiver_takes_everything_by_http() {
    a_strict_receiver_takes_everything("http/protobuf", "http");
}

#[test]
fn open_telemetrys_receiver_takes_everything_as_json() {
    a_strict_receiver_takes_everything("http/json", "http");
}
