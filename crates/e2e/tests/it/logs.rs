//! The notes' log routing, as it stands there but for the receiver's address: lines of containers and of their log
//! router's inputs reach an HTTP receiver that fails in every way, whatever is killed.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bowline_e2e::{
    command::{eventually, run_limited},
    mesh::{MeshOptions, TestMesh, repository},
    server::aws_clients,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Lines of each source.
const LINES: u64 = 2_000;

/// The notes' `fluent-bit.conf`.
const CONFIGURATION: &str = "
[INPUT]
    Name              tcp
    Listen            0.0.0.0
    Port              5140
    Tag               ecs-application

[OUTPUT]
    Name              http
    Match             ecs-application
    Host              127.0.0.1
    Port              PORT
    URI               /
    Format            json
    tls               off
";

const TEMPLATE: &str = "
Resources:
  Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: logs}}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: shipped
      NetworkMode: awsvpc
      ContainerDefinitions:
        - Name: app
          Image: example/app
          LogConfiguration:
            LogDriver: awsfirelens
            Options: {Name: firelens, Tag: ecs-application}
        - Name: direct
          Image: example/direct
          LogConfiguration:
            LogDriver: awsfirelens
            Options: {Name: http, Host: 127.0.0.1, Port: 'PORT', URI: /, tls: 'off', Format: json_lines, compress: gzip}
        - Name: filed
          Image: example/filed
          LogConfiguration: {LogDriver: json-file, Options: {max-size: 1k, max-file: '2'}}
        - Name: log_router
          Image: amazon/aws-for-fluent-bit:latest
          Essential: true
          FirelensConfiguration:
            Type: fluentbit
            Options: {config-file-type: file, config-file-value: /fluent-bit.conf}
          LogConfiguration:
            LogDriver: awslogs
            Options: {awslogs-group: /ecs/service-connect, awslogs-region: us-east-1, awslogs-create-group: 'true'}
  Service:
    Type: AWS::ECS::Service
    Properties:
      ServiceName: shipped
      Cluster: !Ref Cluster
      TaskDefinition: !Ref Task
      DesiredCount: 1
      NetworkConfiguration: {AwsvpcConfiguration: {Subnets: [subnet-1]}}
";

/// Ends with the test.
struct Receiver(Child);

impl Receiver {
    fn start(port: u16, kept: &Path, faults: &[&str]) -> Self {
        let program = repository().join("crates/e2e/tests/it/logs/receiver.py");
        let mut command = Command::new("python3");
        command.arg(program).arg(port.to_string()).arg(kept).args(faults).stdin(Stdio::null());
        Self(command.spawn().expect("there is python3"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn records(kept: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(kept).unwrap_or_default();
    // The last line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How far each source has come without a gap, by the first time that each of its lines came.
fn progress(kept: &Path) -> BTreeMap<String, u64> {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for record in records(kept) {
        let source = record["container_name"].as_str().or(record["source"].as_str()).unwrap_or_default();
        let next = next.entry(source.to_owned()).or_default();
        if record["log"] == format!("line {next}") {
            *next += 1;
        }
    }
    next
}

fn options(directory: &Path, port: u16) -> MeshOptions {
    let file = directory.join("template.yaml");
    std::fs::write(&file, TEMPLATE.replace("PORT", &port.to_string())).expect("written");
    let configuration = CONFIGURATION.replace("PORT", &port.to_string());
    std::fs::write(directory.join("fluent-bit.conf"), configuration).expect("written");
    let mut options = MeshOptions::example("two-services").state_dir(&directory.join("state"));
    options.template = file;
    let python = aws_clients().join("bin/python");
    let application = repository().join("crates/e2e/tests/it/logs/application.py");
    let second = directory.join("second-half");
    let count = "i=0; while [ $i -lt LINES ]; do while [ $i -eq HALF -a ! -e FILE ]; do sleep 0.05; done; \
                 echo line $i; i=$((i+1)); done; sleep 3600";
    let count = count.replace("LINES", &LINES.to_string()).replace("HALF", &(LINES / 2).to_string());
    let count = count.replace("FILE", &second.display().to_string());
    options.arguments = vec![
        "--exec".into(),
        format!("app={} {} {LINES} {}", python.display(), application.display(), second.display()),
        "--exec".into(),
        format!("direct=sh -c '{count}'"),
        "--exec".into(),
        format!("filed=sh -c '{count}'"),
    ];
    options
}

#[test]
fn no_line_is_lost_whatever_fails_and_each_sources_order_is_kept() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kept = directory.path().join("records");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let options = options(directory.path(), port);

    // Nobody listens at first; then somebody who fails in every way.
    let mesh = TestMesh::up(&options);
    let begun = Instant::now();
    let task = &mesh.service("shipped")["tasks"][0];
    assert_eq!(task["status"], "RUNNING", "{task}");
    let receiver = Receiver::start(port, &kept, &["500", "close", "stall", "cut"]);
    eventually("the receiver has taken lines of all", LIMIT, || {
        (progress(&kept).values().filter(|next| **next == LINES / 2).count() == 4).then_some(())
    });

    // The receiver goes, `bowline up` is killed, the task goes on; both come again.
    drop(receiver);
    let (state, _) = mesh.kill();
    std::fs::write(directory.path().join("second-half"), "").expect("written");
    eventually("the task has printed the rest", LIMIT, || {
        let last = format!("line {}\n", LINES - 1);
        let printed = |name: &str| {
            let tasks = std::fs::read_dir(state.join("tasks")).expect("it lists").flatten();
            tasks
                .map(|task| task.path().join(name))
                .any(|file| std::fs::read_to_string(file).is_ok_and(|text| text.ends_with(&last)))
        };
        (printed("app.log") && printed("direct.log")).then_some(())
    });
    let before = progress(&kept);
    assert!(before.values().all(|next| *next == LINES / 2), "nobody listened: {before:?}");
    let mesh = TestMesh::up(&options);
    let _receiver = Receiver::start(port, &kept, &["500"]);
    eventually("every line has come", LIMIT, || {
        (progress(&kept).values().filter(|next| **next == LINES).count() == 4).then_some(())
    });
    println!("{LINES} lines of each source after {:?}", begun.elapsed());

    let all = records(&kept);
    let line = all.iter().find(|record| record["container_name"] == "app").expect("a line of app");
    assert_eq!(line["source"], "stdout");
    assert_eq!((&line["ecs_cluster"], &line["ecs_task_definition"]), (&"logs".into(), &"shipped:1".into()));
    assert!(line["ecs_task_arn"].as_str().is_some_and(|arn| arn.contains(":task/logs/")), "{line}");
    assert!(line["date"].is_number() && line["container_id"].is_string(), "{line}");
    let repeated = all.len() as u64 - 4 * LINES;
    println!("{repeated} lines came more than once");

    let endpoint = mesh.topology["endpoint"].as_str().expect("the endpoint");
    let figures =
        run_limited(Command::new("curl").args(["-sS", &format!("{endpoint}/metrics")]), LIMIT).stdout;
    let figure = |name: &str| {
        let line = figures.lines().find(|line| line.starts_with(name) && line.contains("\"awsfirelens\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert!(figure("bowline_logs_delivered_lines") > Some(0.0), "{figures}");
    assert_eq!(figure("bowline_logs_dropped_lines"), None);
    json_files(mesh.state_dir());

    // Nothing is left of a task whose lines were all taken.
    let state = mesh.state_dir().to_owned();
    assert_eq!(mesh.interrupt(), Some(0));
    let left: Vec<PathBuf> = std::fs::read_dir(state.join("spool"))
        .expect("it lists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Docker's files are where the task's other files are, bounded.
fn json_files(state: &Path) {
    let mut found = 0;
    for task in std::fs::read_dir(state.join("tasks")).expect("it lists").flatten() {
        for name in ["filed-json.log", "filed-json.log.1"] {
            let Ok(text) = std::fs::read_to_string(task.path().join(name)) else { continue };
            assert!(text.len() <= 1_024, "{}", text.len());
            let object: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
            assert!(object["log"].as_str().is_some_and(|line| line.ends_with('\n')), "{object}");
            assert_eq!(object["stream"], "stdout");
            found += 1;
        }
    }
    assert_eq!(found, 2);
}

#[test]
fn a_wrong_log_configuration_is_refused_with_what_is_allowed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = options(directory.path(), 1);
    let wrong = TEMPLATE
        .replace("LogDriver: json-file, Options: {max-size: 1k", "LogDriver: syslog, Options: {max-size: 1k");
    std::fs::write(&options.template, wrong).expect("written");
    let log = TestMesh::try_up(&options).expect_err("there is no such driver here");
    assert!(
        log.contains("Log driver syslog is not supported on this platform: allowed are awsfirelens"),
        "{log}"
    );
    // What the router's file says is only read when a task starts.
    std::fs::write(&options.template, TEMPLATE.replace("PORT", "1")).expect("written");
    std::fs::write(directory.path().join("fluent-bit.conf"), "[INPUT]\n  Name tail\n").expect("written");
    options.arguments.extend(["--wait-timeout".into(), "3".into()]);
    let log = TestMesh::try_up(&options).expect_err("there is no such input here");
    assert!(
        log.contains("fluent-bit.conf:2: the input \"tail\" is not here: known are tcp, forward"),
        "{log}"
    );
}
