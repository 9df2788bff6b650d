//! What lives on when something is killed, and what does not.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use bowline_agent::NetworkMode;
use bowline_model::task::{TaskReport, TaskStatus};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::machine::*;

fn kill_now(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), Signal::SIGKILL).expect("kills");
}

#[tokio::test]
async fn a_killed_sidecar_comes_back_with_its_listeners_and_what_waits_in_them() {
    let mut machine = Machine::new();
    let spec = app_task("0.0.0.0", 8201, &["198.18.1.1:8201"], &[("198.18.1.1", "self")]);
    machine.desire(std::slice::from_ref(&spec));
    let before = machine.serving(&spec.id).await;
    let [http, control] = [0, 1].map(|index| before.inbound[index].address);
    let sidecar: u32 = ask(control, "pid").parse().expect("a process id");
    kill_now(sidecar);
    // Reaped, not just a zombie: its threads may accept as long as one of them lives.
    let process = std::path::PathBuf::from(format!("/proc/{sidecar}"));
    eventually("the sidecar is gone", || !process.exists()).await;
    // No sidecar runs now, or a new one: either way the connection waits and is answered.
    assert_eq!(ask(http, "ask self:8201 pid"), "2");
    let after: u32 = ask(control, "pid").parse().expect("a process id");
    assert_ne!(after, sidecar);
    let tokens = logs(machine.state.path(), &spec.id);
    assert!(tokens.contains("token=token-0\ntoken=none\n"), "{tokens}");
    let report = machine.report(&spec.id, |report| report.proxy_ready).await;
    assert_eq!(report.containers[0].pid, before.containers[0].pid, "the application went on");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn tasks_survive_a_killed_agent_and_the_next_one_adopts_them() {
    let state = tempfile::tempdir().expect("a directory");
    let spec = app_task("0.0.0.0", 8201, &[], &[]);
    let mut first = Command::new(program())
        .args(["agent", state.path().to_str().expect("UTF-8")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts an agent");
    let specs = serde_json::to_string(&[&spec]).expect("JSON");
    writeln!(first.stdin.take().expect("piped"), "{specs}").expect("tells it what to run");
    let before: TaskReport = BufReader::new(first.stdout.take().expect("piped"))
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("a report"))
        .find(|report: &TaskReport| report.status == TaskStatus::Running)
        .expect("it runs");
    first.kill().expect("kills");
    first.wait().expect("ends");
    let app = before.containers[0].pid.expect("a process id");
    assert!(lives(app));

    let mut machine = Machine::with(state, NetworkMode::Isolated);
    let after = machine.serving(&spec.id).await;
    assert_eq!((after.shim_pid, after.containers[0].pid), (before.shim_pid, Some(app)));
    assert_eq!(ask(after.inbound[0].address, "pid"), "2");
    // Desired under the same id: nothing changes. Desired by nobody: it is stopped.
    machine.desire(std::slice::from_ref(&spec));
    machine.desire(&[]);
    machine.stopped(&spec.id).await;
    assert!(!lives(app));
}

#[tokio::test]
async fn an_end_that_no_agent_saw_is_reported_and_the_task_not_run_again() {
    let mut machine = Machine::new();
    let spec = task(vec![container("app", &["sh", "-c", "read line < pipe; exit 7"])]);
    machine.desire(std::slice::from_ref(&spec));
    machine.report(&spec.id, |report| report.shim_pid.is_some()).await;
    // Makes the pipe late: the container exits at once if it is not there. Both ways it ends with a code.
    let report = machine.stopped(&spec.id).await;
    let shim = report.shim_pid.expect("a process id");
    assert!(!lives(shim));
    let state = machine.state.clone();
    drop(machine);
    let mut machine = Machine::with(state, NetworkMode::Isolated);
    machine.desire(std::slice::from_ref(&spec));
    assert_eq!(machine.stopped(&spec.id).await, report);
}

#[tokio::test]
async fn nothing_of_a_task_outlives_its_shim() {
    let mut machine = Machine::new();
    let mut spec = app_task("0.0.0.0", 8201, &[], &[]);
    let marker = spec.id.to_string();
    spec.containers[0].environment.insert("MARKER".to_owned(), marker.clone());
    spec.containers
        .push(container("deep", &["sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1000' & wait"]));
    spec.containers[1].environment.insert("MARKER".to_owned(), marker.clone());
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let sidecar: u32 = ask(report.inbound[1].address, "pid").parse().expect("a process id");
    eventually("all programs run", || processes_of(&marker).len() >= 4).await;
    kill_now(report.shim_pid.expect("a process id"));
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.stopped_reason.as_deref(), Some("the task's shim was killed"));
    eventually("all of the task is gone", || processes_of(&marker).is_empty() && !lives(sidecar)).await;
    assert_eq!(std::fs::read_dir(machine.state.path().join("tasks")).expect("reads").count(), 0);
}

#[tokio::test]
async fn nothing_is_left_of_a_stopped_task() {
    let mut machine = Machine::new();
    let mut spec = app_task("0.0.0.0", 8201, &["198.18.1.1:80"], &[]);
    let marker = spec.id.to_string();
    spec.containers[0].environment.insert("MARKER".to_owned(), marker.clone());
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    let address = report.inbound[0].address;
    assert!(!processes_of(&marker).is_empty());
    machine.desire(&[]);
    machine.stopped(&spec.id).await;
    assert_eq!(processes_of(&marker), [0; 0]);
    assert!(!lives(report.shim_pid.expect("a process id")));
    assert!(std::net::TcpStream::connect(address).is_err(), "its sockets are closed");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("reads");
    assert!(!mounts.contains(&marker));
    assert_eq!(std::fs::read_dir(machine.state.path().join("tasks")).expect("reads").count(), 0);
    let kept = machine.state.path().join("logs").join(&marker);
    assert!(kept.join("app.log").exists(), "its logs are kept");
}
