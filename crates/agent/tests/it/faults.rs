//! Faults in tasks, seen from outside: that they are there, and that nothing is left of them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    process::Command,
    time::{Duration, Instant},
};

use bowline_agent::NetworkMode;
use bowline_model::{
    clock::Timestamp,
    fault::{FaultError, FaultId, TaskHarm, Victims},
    task::{TaskId, TaskReport, TaskSpec, TaskStatus},
};
use bowline_plumbing::wall_clock;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::machine::*;

const LONG: Duration = Duration::from_secs(600);
const SIGKILL: i32 = 9;

fn after(lasting: Duration) -> Timestamp {
    wall_clock::now() + lasting
}

fn program_name() -> String {
    let name = std::path::PathBuf::from(program()).file_name().expect("a name").to_owned();
    name.into_string().expect("UTF-8")
}

/// A task whose processes have its id in their environment, with the tests' sidecar.
async fn start(machine: &mut Machine, change: impl FnOnce(&mut TaskSpec)) -> (TaskSpec, TaskReport) {
    let mut spec = app_task("0.0.0.0", 8201, &["198.18.1.1:8300"], &[]);
    let marker = spec.id.to_string();
    spec.containers[0].environment.insert("MARKER".to_owned(), marker);
    change(&mut spec);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.serving(&spec.id).await;
    (spec, report)
}

/// The letter of a process's state (proc_pid_stat(5)).
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Processor time that the process has had, in seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    ticks as f64 / 100.0
}

fn status(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    line.split_whitespace().next().expect("a value").parse().expect("a number")
}

/// Those that put load on the task.
fn stressing(task: &TaskId) -> Vec<u32> {
    let is_stress = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).ends_with("\0stress\0") && lives(*pid)
    };
    processes_of(task.as_str()).into_iter().filter(is_stress).collect()
}

fn only(pids: Vec<u32>) -> u32 {
    let [pid] = pids[..] else { panic!("{pids:?}") };
    pid
}

/// In how many of the task's two networks the fault drops packets.
fn filtering(report: &TaskReport, id: &FaultId) -> i32 {
    let table = Command::new(program())
        .args(["table", &format!("bowline-fault-{id}"), &init_of(report).to_string()])
        .status();
    table.expect("runs").code().expect("ends")
}

/// Runs the tests' program in the first container; its exit code.
async fn within(machine: &Machine, task: &TaskId, arguments: &[&str]) -> i32 {
    let mut command = vec![program()];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let null = || -> OwnedFd {
        fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("opens").into()
    };
    machine.agent.exec(task, "app", command, [null(), null(), null()]).await.expect("runs")
}

const ALIAS: &str = "198.18.1.1:8300";
const CONNECTED: i32 = 0;
const TIMED_OUT: i32 = 1;

/// Whether somebody is connected to the application.
fn has_connection(report: &TaskReport) -> bool {
    let app = report.containers[0].pid.expect("runs");
    let table = fs::read_to_string(format!("/proc/{app}/net/tcp")).expect("reads");
    // Local address with port 8201, remote address, state: established.
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(":2009") && fields[3] == "01"
    })
}

/// What is not to be answered is waited for only so long.
const SOON: Duration = Duration::from_millis(400);

/// Asks, and gives up after so long.
fn answers(address: std::net::SocketAddr, patience: Duration) -> bool {
    let mut stream = TcpStream::connect(address).expect("the sidecar listens");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    stream.write_all(b"pid\n").expect("asks");
    stream.read(&mut [0; 8]).is_ok_and(|bytes| bytes > 0)
}

#[tokio::test]
async fn a_sidecar_that_is_killed_comes_back_and_one_that_is_frozen_goes_on() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |_| {}).await;
    let control = report.inbound[1].address;
    let first: u32 = ask(control, "pid").parse().expect("a process id");
    let kill = TaskHarm::Kill { victims: Victims::Sidecar, signal: SIGKILL };
    machine.agent.begin_fault(&spec.id, &FaultId::new(1), kill, after(LONG)).await.expect("kills");
    eventually("it is gone", || !lives(first)).await;
    let second: u32 = ask(control, "pid").parse().expect("a process id");
    assert_ne!(first, second);

    let freeze = TaskHarm::Freeze { victims: Victims::Sidecar };
    let id = FaultId::new(2);
    machine.agent.begin_fault(&spec.id, &id, freeze.clone(), after(LONG)).await.expect("freezes");
    assert_eq!(state(second), Some('T'));
    assert!(!answers(report.inbound[0].address, SOON));
    let again = machine.agent.begin_fault(&spec.id, &id, freeze.clone(), after(LONG)).await;
    assert_eq!(again, Ok(()), "it has begun already");
    let other = TaskHarm::Freeze { victims: Victims::Containers };
    let other = machine.agent.begin_fault(&spec.id, &id, other, after(LONG)).await;
    assert!(matches!(other, Err(FaultError::Invalid(_))), "{other:?}");
    machine.agent.end_fault(&spec.id, &id).await.expect("thaws");
    assert_ne!(state(second), Some('T'));
    machine.agent.end_fault(&spec.id, &id).await.expect("is over already");
    assert_eq!(ask(report.inbound[0].address, "pid"), "2");

    // By itself at its deadline, and when the task stops.
    let id = FaultId::new(3);
    machine
        .agent
        .begin_fault(&spec.id, &id, freeze.clone(), after(Duration::from_secs(1)))
        .await
        .expect("freezes");
    assert_eq!(state(second), Some('T'));
    eventually("it goes on", || state(second) != Some('T')).await;
    let id = FaultId::new(4);
    machine.agent.begin_fault(&spec.id, &id, freeze, after(LONG)).await.expect("freezes");
    let asked = Instant::now();
    machine.agent.stop_all().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "a frozen sidecar could not end in order");
    machine.agent.end_fault(&spec.id, &id).await.expect("gone with the task");
    let logs = logs(machine.state.path(), &spec.id);
    assert!(logs.contains("a fault has begun") && logs.contains("a fault has ended"), "{logs}");
}

#[tokio::test]
async fn who_is_frozen_goes_on_at_the_deadline_though_the_shim_waits_for_something_else() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |_| {}).await;
    let sidecar: u32 = ask(report.inbound[1].address, "pid").parse().expect("a process id");
    let freeze = TaskHarm::Freeze { victims: Victims::Sidecar };
    let deadline = after(Duration::from_secs(1));
    machine.agent.begin_fault(&spec.id, &FaultId::new(1), freeze, deadline).await.expect("freezes");
    // The shim's loop asks the task's init for sockets, and waits for up to 20 s.
    let init = Pid::from_raw(i32::try_from(init_of(&report)).expect("a process id"));
    kill(init, Signal::SIGSTOP).expect("stops");
    let loss = FaultId::new(2);
    let waiting = machine.agent.begin_fault(&spec.id, &loss, TaskHarm::Loss { percent: 1 }, after(LONG));
    let goes_on = eventually("it goes on", || state(sidecar) != Some('T'));
    tokio::select! {
        biased;
        begun = waiting => panic!("{begun:?}"),
        () = goes_on => assert!(wall_clock::now().since(deadline) < Duration::from_secs(10)),
    }
    kill(init, Signal::SIGCONT).expect("goes on");
    machine.agent.end_fault(&spec.id, &loss).await.expect("ends");
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn processes_of_containers_are_killed_by_name_and_all_of_them() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |spec| {
        let mut deep =
            container("deep", &["sh", "-c", "sleep 1000 & setsid sh -c 'sleep 1001' & wait; sleep 1002"]);
        deep.environment.insert("MARKER".to_owned(), spec.id.to_string());
        deep.essential = false;
        spec.containers.push(deep);
    })
    .await;
    let sleepers = || {
        processes_of(spec.id.as_str()).into_iter().filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n") && lives(*pid)
        })
    };
    eventually("both sleep", || sleepers().count() == 2).await;
    let named = |name: &str| TaskHarm::Kill { victims: Victims::Named(name.to_owned()), signal: SIGKILL };
    let id = FaultId::new(1);
    let nobody = machine.agent.begin_fault(&spec.id, &id, named("no-such-program"), after(LONG)).await;
    assert!(matches!(nobody, Err(FaultError::NotFound(_))), "{nobody:?}");
    let stop = TaskHarm::Kill { victims: Victims::Containers, signal: 19 };
    let refused = machine.agent.begin_fault(&spec.id, &id, stop, after(LONG)).await;
    assert!(matches!(refused, Err(FaultError::Invalid(_))), "{refused:?}");
    let before: Vec<u32> = sleepers().collect();
    machine.agent.begin_fault(&spec.id, &id, named("sleep"), after(LONG)).await.expect("kills");
    eventually("they are gone", || before.iter().all(|pid| !lives(*pid))).await;
    eventually("the next sleeps", || sleepers().count() == 1).await;
    assert!(lives(report.containers[0].pid.expect("runs")));

    let all = TaskHarm::Kill { victims: Victims::Containers, signal: SIGKILL };
    machine.agent.begin_fault(&spec.id, &FaultId::new(2), all, after(LONG)).await.expect("kills");
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.containers[0].exit_code, Some(137));
    assert_eq!(processes_of(spec.id.as_str()), [0; 0]);
}

#[tokio::test]
async fn a_killed_task_is_gone_with_all_its_faults() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |_| {}).await;
    let sidecar: u32 = ask(report.inbound[1].address, "pid").parse().expect("a process id");
    let begin = async |number, harm| {
        machine.agent.begin_fault(&spec.id, &FaultId::new(number), harm, after(LONG)).await
    };
    begin(1, TaskHarm::Cpu { percent: 10, workers: 1 }).await.expect("stresses");
    begin(2, TaskHarm::Freeze { victims: Victims::Containers }).await.expect("freezes");
    begin(3, TaskHarm::Freeze { victims: Victims::Sidecar }).await.expect("freezes");
    begin(4, TaskHarm::Loss { percent: 100 }).await.expect("drops");
    assert_eq!((state(sidecar), state(report.containers[0].pid.expect("runs"))), (Some('T'), Some('T')));
    let hup = begin(5, TaskHarm::Kill { victims: Victims::Task, signal: 1 }).await;
    assert!(matches!(hup, Err(FaultError::Invalid(_))), "{hup:?}");
    begin(5, TaskHarm::Kill { victims: Victims::Task, signal: SIGKILL }).await.expect("kills");
    machine.stopped(&spec.id).await;
    eventually("all is gone", || processes_of(spec.id.as_str()).is_empty() && !lives(sidecar)).await;
    let gone = machine
        .agent
        .begin_fault(&spec.id, &FaultId::new(6), TaskHarm::Loss { percent: 1 }, after(LONG))
        .await;
    assert!(matches!(gone, Err(FaultError::NotFound(_))), "{gone:?}");
    machine.agent.end_fault(&spec.id, &FaultId::new(2)).await.expect("gone with the task");
}

#[tokio::test]
async fn frozen_containers_stay_so_with_what_is_started_in_them_though_the_agent_is_gone() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |spec| {
        spec.containers.push(container("other", &["sh", "-c", "kill -STOP $$; sleep 1000"]));
        spec.containers[1].environment.insert("MARKER".to_owned(), spec.id.to_string());
    })
    .await;
    let [app, stopped] = [0, 1].map(|index| report.containers[index].pid.expect("runs"));
    eventually("it stopped itself", || state(stopped) == Some('T')).await;
    let freeze = TaskHarm::Freeze { victims: Victims::Containers };
    let named = TaskHarm::Freeze { victims: Victims::Named(program_name()) };
    let ids = [1, 2].map(FaultId::new);
    let deadline = after(Duration::from_secs(4));
    machine.agent.begin_fault(&spec.id, &ids[0], freeze, deadline).await.expect("freezes");
    machine.agent.begin_fault(&spec.id, &ids[1], named, after(LONG)).await.expect("freezes");
    assert_eq!(state(app), Some('T'));
    let sleeper = || {
        let sleepers = processes_of(spec.id.as_str()).into_iter();
        sleepers.filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.ends_with(b"\x00777\0"))
        })
    };
    let command = vec!["sleep".to_owned(), "777".to_owned()];
    let null = || -> OwnedFd { fs::File::open("/dev/null").expect("opens").into() };
    let exec = machine.agent.exec(&spec.id, "app", command, [null(), null(), null()]);
    let frozen = eventually("what is started is frozen", || sleeper().any(|pid| state(pid) == Some('T')));
    tokio::select! { ended = exec => panic!("{ended:?}"), () = frozen => {} }
    // The other fault still holds it.
    machine.agent.end_fault(&spec.id, &ids[1]).await.expect("thaws");
    assert_eq!(state(app), Some('T'));

    let state_directory = machine.state.clone();
    drop(machine);
    assert_eq!(state(app), Some('T'));
    eventually("they go on", || state(app) != Some('T') && !sleeper().any(|pid| state(pid) == Some('T')))
        .await;
    assert!(wall_clock::now() >= deadline);
    assert_eq!(state(stopped), Some('T'), "it was stopped before, and not by us");
    let mut machine = Machine::with(state_directory, NetworkMode::Isolated);
    assert_eq!(machine.running(&spec.id).await.status, TaskStatus::Running);
    machine.agent.end_fault(&spec.id, &ids[0]).await.expect("is over");
    kill(Pid::from_raw(i32::try_from(stopped).expect("a process id")), Signal::SIGCONT).expect("goes on");
    machine.agent.stop_all().await;
    assert_eq!(processes_of(spec.id.as_str()), [0; 0]);
}

#[tokio::test]
async fn load_is_what_was_asked_for_and_ends() {
    let mut machine = Machine::new();
    let (spec, _) = start(&mut machine, |spec| {
        spec.containers[0].limits.memory_mib = Some(128);
    })
    .await;
    let begin = async |number, harm, lasting| {
        machine.agent.begin_fault(&spec.id, &FaultId::new(number), harm, after(lasting)).await
    };
    let end = async |number| machine.agent.end_fault(&spec.id, &FaultId::new(number)).await.expect("ends");

    begin(1, TaskHarm::Cpu { percent: 50, workers: 1 }, LONG).await.expect("stresses");
    let pid = only(stressing(&spec.id));
    let (before, since) = (processor_time(pid), Instant::now());
    eventually("it is busy", || processor_time(pid) > before + 0.3).await;
    let share = (processor_time(pid) - before) / since.elapsed().as_secs_f64();
    assert!(share < 0.65, "half of a processor, not {share}");
    end(1).await;
    assert_eq!(stressing(&spec.id), [0; 0]);

    begin(2, TaskHarm::Memory { percent: 25 }, LONG).await.expect("stresses");
    let pid = only(stressing(&spec.id));
    let held = status(pid, "VmRSS:");
    assert!((32 * 1024..48 * 1024).contains(&held), "{held} KiB are 25 % of 128 MiB");
    // More than there is room for is held only as far as there is.
    begin(3, TaskHarm::Memory { percent: 100 }, Duration::from_secs(3)).await.expect("stresses");
    assert_eq!(stressing(&spec.id).len(), 2);
    eventually("one ends by itself", || stressing(&spec.id).len() == 1).await;
    assert!(lives(pid));
    end(2).await;
    assert_eq!(stressing(&spec.id), [0; 0]);

    begin(4, TaskHarm::Io { percent: 1, workers: 2 }, LONG).await.expect("stresses");
    let pid = only(stressing(&spec.id));
    let written = || {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap_or_default();
        line.parse::<u64>().unwrap_or_default()
    };
    let before = written();
    eventually("it writes", || written() > before + 1024 * 1024).await;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten();
    let files = files.filter_map(|entry| fs::read_link(entry.path()).ok()).filter(|to| to.is_absolute());
    let named: Vec<_> = files.filter(|to| to.exists() && !to.starts_with("/dev")).collect();
    assert!(named.is_empty(), "kill -9 would leave {named:?}");
    end(4).await;
    assert_eq!(stressing(&spec.id), [0; 0]);
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn packets_of_a_port_are_dropped_in_one_direction_and_pass_again() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |_| {}).await;
    let http = report.inbound[0].address;
    let begin = async |number, harm, lasting| {
        machine.agent.begin_fault(&spec.id, &FaultId::new(number), harm, after(lasting)).await
    };
    let hole = |port, ingress| TaskHarm::Blackhole { port, tcp: true, ingress };
    assert_eq!(within(&machine, &spec.id, &["connect", ALIAS]).await, CONNECTED);

    begin(1, hole(8300, false), LONG).await.expect("drops");
    assert_eq!(within(&machine, &spec.id, &["connect", ALIAS]).await, TIMED_OUT);
    assert!(answers(http, Duration::from_secs(20)), "what comes is not what goes");
    assert_eq!(filtering(&report, &FaultId::new(1)), 1);
    machine.agent.end_fault(&spec.id, &FaultId::new(1)).await.expect("ends");
    assert_eq!(within(&machine, &spec.id, &["connect", ALIAS]).await, CONNECTED);
    assert_eq!(filtering(&report, &FaultId::new(1)), 0);

    // A connection that is there already, too.
    let mut open = TcpStream::connect(http).expect("connects");
    open.write_all(b"p").expect("writes");
    begin(2, hole(8201, true), Duration::from_secs(5)).await.expect("drops");
    begin(3, hole(8300, false), LONG).await.expect("drops");
    open.write_all(b"id\n").expect("writes");
    open.set_read_timeout(Some(Duration::from_millis(400))).expect("a timeout");
    assert!(open.read(&mut [0; 8]).is_err(), "the question does not arrive");
    assert!(!answers(http, SOON));
    open.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut answer = String::new();
    open.read_to_string(&mut answer).expect("the deadline has passed");
    assert_eq!(answer, "2");
    assert_eq!(within(&machine, &spec.id, &["connect", ALIAS]).await, TIMED_OUT, "the other fault goes on");
    // The kernel ended it; the shim takes the rule away.
    eventually("the table goes", || filtering(&report, &FaultId::new(2)) == 0).await;
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn the_kernel_lets_packets_pass_at_the_deadline_when_nobody_else_can() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |_| {}).await;
    let mut open = TcpStream::connect(report.inbound[0].address).expect("connects");
    open.write_all(b"p").expect("writes");
    // The sidecar, too, which asks the shim for its socket.
    eventually("the application has the connection", || has_connection(&report)).await;
    let id = FaultId::new(1);
    let harm = TaskHarm::Blackhole { port: 8201, tcp: true, ingress: true };
    machine.agent.begin_fault(&spec.id, &id, harm, after(Duration::from_secs(1))).await.expect("drops");
    let shim = Pid::from_raw(i32::try_from(report.shim_pid.expect("a shim")).expect("a process id"));
    kill(shim, Signal::SIGSTOP).expect("stops");
    open.write_all(b"id\n").expect("writes");
    open.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let early = open.read(&mut [0; 8]);
    open.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut answer = String::new();
    let late = open.read_to_string(&mut answer);
    let tables = filtering(&report, &id);
    kill(shim, Signal::SIGCONT).expect("goes on");
    assert!(early.is_err(), "the question does not arrive: {early:?}");
    late.expect("the deadline has passed");
    assert_eq!((answer.as_str(), tables), ("2", 1));
    eventually("the table goes", || filtering(&report, &id) == 0).await;
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn so_many_of_a_hundred_packets_are_lost() {
    let mut machine = Machine::new();
    let (spec, report) = start(&mut machine, |_| {}).await;
    let begin = async |number, percent| {
        let harm = TaskHarm::Loss { percent };
        machine.agent.begin_fault(&spec.id, &FaultId::new(number), harm, after(LONG)).await.expect("drops");
    };
    assert_eq!(within(&machine, &spec.id, &["loopback"]).await, 100);
    begin(1, 30).await;
    let arrived = within(&machine, &spec.id, &["loopback"]).await;
    assert!((62..=78).contains(&arrived), "{arrived} of a hundred arrive");
    assert_eq!(filtering(&report, &FaultId::new(1)), 2);
    begin(2, 100).await;
    assert_eq!(within(&machine, &spec.id, &["loopback"]).await, 0);
    assert_eq!(within(&machine, &spec.id, &["connect", ALIAS]).await, TIMED_OUT);
    for number in [1, 2] {
        machine.agent.end_fault(&spec.id, &FaultId::new(number)).await.expect("ends");
    }
    assert_eq!(within(&machine, &spec.id, &["loopback"]).await, 100);
    assert_eq!(within(&machine, &spec.id, &["connect", ALIAS]).await, CONNECTED);
    machine.agent.stop_all().await;
}

#[tokio::test]
async fn without_a_network_of_its_own_a_task_loses_no_packets_and_the_rest_works() {
    let state_directory = tempfile::tempdir().expect("a directory");
    let mut machine = Machine::with(state_directory, NetworkMode::Host);
    let mut spec = task(vec![container("app", &["sh", "-c", "sleep 1000 & wait"])]);
    spec.containers[0].environment.insert("MARKER".to_owned(), spec.id.to_string());
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.running(&spec.id).await;
    let app = report.containers[0].pid.expect("runs");
    let begin = async |number, harm| {
        machine.agent.begin_fault(&spec.id, &FaultId::new(number), harm, after(LONG)).await
    };
    let refused = begin(1, TaskHarm::Loss { percent: 10 }).await;
    assert!(matches!(&refused, Err(FaultError::Failed(why)) if why.contains("bowline check")), "{refused:?}");
    begin(1, TaskHarm::Freeze { victims: Victims::Containers }).await.expect("freezes");
    assert_eq!(state(app), Some('T'));
    begin(2, TaskHarm::Cpu { percent: 1, workers: 1 }).await.expect("stresses");
    assert_eq!(stressing(&spec.id).len(), 1);
    begin(3, TaskHarm::Kill { victims: Victims::Task, signal: SIGKILL }).await.expect("kills");
    machine.stopped(&spec.id).await;
    eventually("all is gone", || processes_of(spec.id.as_str()).is_empty()).await;
}

#[tokio::test]
async fn a_hundred_faults_begun_and_ended_in_any_order_leave_nothing() {
    let mut machine = Machine::new();
    // Of which a percent is soon had.
    let (spec, report) = start(&mut machine, |spec| spec.containers[0].limits.memory_mib = Some(256)).await;
    let sidecar: u32 = ask(report.inbound[1].address, "pid").parse().expect("a process id");
    let before = processes_of(spec.id.as_str());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut held: Vec<FaultId> = Vec::new();
    let mut dropping = Vec::new();
    for number in 0..100 {
        let harm = match draw(9) {
            0 => TaskHarm::Freeze { victims: Victims::Containers },
            1 => TaskHarm::Freeze { victims: Victims::Sidecar },
            2 => TaskHarm::Freeze { victims: Victims::Named(program_name()) },
            3 => TaskHarm::Cpu { percent: 1, workers: 1 },
            4 => TaskHarm::Memory { percent: 1 },
            5 => TaskHarm::Io { percent: 1, workers: 1 },
            6 => TaskHarm::Blackhole { port: 8201, tcp: draw(2) == 0, ingress: draw(2) == 0 },
            7 => TaskHarm::Loss { percent: 50 },
            _ => TaskHarm::Kill { victims: Victims::Sidecar, signal: 17 },
        };
        let id = FaultId::new(number);
        let lasting = if draw(4) == 0 { Duration::from_millis(1 + draw(300)) } else { LONG };
        let is_load = matches!(harm, TaskHarm::Cpu { .. } | TaskHarm::Memory { .. } | TaskHarm::Io { .. });
        let begun = machine.agent.begin_fault(&spec.id, &id, harm.clone(), after(lasting)).await;
        match begun {
            Ok(()) => held.push(id.clone()),
            // Its deadline may have passed before all of it was there.
            Err(FaultError::Failed(_) | FaultError::Invalid(_)) if lasting < LONG => {}
            // A program that is frozen as it starts says nothing.
            Err(FaultError::Failed(why)) if is_load || held.len() >= 16 => eprintln!("{harm:?}: {why}"),
            Err(error) => panic!("{harm:?}: {error}"),
        }
        if matches!(harm, TaskHarm::Blackhole { .. } | TaskHarm::Loss { .. }) {
            dropping.push(id);
        }
        while held.len() > draw(12) as usize {
            let index = draw(held.len() as u64) as usize;
            let id = held.swap_remove(index);
            machine.agent.end_fault(&spec.id, &id).await.expect("ends");
        }
    }
    for id in held {
        machine.agent.end_fault(&spec.id, &id).await.expect("ends");
    }
    eventually("nothing is left", || processes_of(spec.id.as_str()) == before).await;
    for id in dropping {
        assert_eq!(filtering(&report, &id), 0, "{id}");
    }
    for pid in before.into_iter().chain([sidecar]) {
        assert_ne!(state(pid), Some('T'));
    }
    assert_eq!(ask(report.inbound[0].address, "pid"), "2");
    machine.agent.stop_all().await;
}
