//! An agent on a state directory of its own, and tasks for it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_agent::{Agent, AgentConfig, AgentHandle, NetworkMode, OutputLine, ProgramCommand};
use bowline_model::task::{
    ContainerSpec, ControlPlaneAddress, DesiredStatus, Egress, InboundPort, ProxyRole, ProxySpec,
    ResourceLimits, Secret, TaskDesire, TaskId, TaskReport, TaskSpec, TaskStatus, TokenIssuer,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

/// The tests' program; for a run as another user, where that user can reach it.
pub(crate) fn program() -> String {
    let built = env!("CARGO_BIN_EXE_bowline-agent-test-program");
    std::env::var("BOWLINE_TEST_PROGRAM").unwrap_or_else(|_| built.to_owned())
}

/// No wait of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Issues tokens that can be told apart.
#[derive(Default)]
pub(crate) struct Tokens {
    issued: AtomicU64,
}

impl TokenIssuer for Tokens {
    fn issue(&self, _: &TaskId) -> Option<Secret> {
        Some(Secret::new(format!("token-{}", self.issued.fetch_add(1, Ordering::SeqCst))))
    }
}

pub(crate) struct Machine {
    pub(crate) state: Arc<tempfile::TempDir>,
    pub(crate) agent: AgentHandle,
    pub(crate) lines: Arc<Mutex<Vec<OutputLine>>>,
    desired: watch::Sender<Arc<Vec<TaskDesire>>>,
    reports: mpsc::Receiver<TaskReport>,
    known: BTreeMap<String, TaskReport>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(tempfile::tempdir().expect("a directory"), NetworkMode::Isolated)
    }

    pub(crate) fn with(state: impl Into<Arc<tempfile::TempDir>>, network: NetworkMode) -> Self {
        let state = state.into();
        let (desired, desired_watch) = watch::channel(Arc::default());
        let (reports_sender, reports) = mpsc::channel(64);
        let (output, mut output_lines) = mpsc::channel(1024);
        let program = |subcommand: &str| ProgramCommand {
            program: PathBuf::from(self::program()),
            arguments: vec![subcommand.to_owned()],
        };
        let config = AgentConfig {
            state_dir: state.path().to_owned(),
            shim_command: program("shim"),
            proxy_command: program("proxy"),
            network,
            output,
            usage: None,
            logs: bowline_agent::LogDelivery::default(),
        };
        let agent = Agent::start(config, desired_watch, reports_sender, Arc::new(Tokens::default()))
            .expect("the agent starts");
        let lines: Arc<Mutex<Vec<OutputLine>>> = Arc::default();
        let kept = lines.clone();
        tokio::spawn(async move {
            while let Some(line) = output_lines.recv().await {
                kept.lock().expect("not poisoned").push(line);
            }
        });
        Self { state, agent, lines, desired, reports, known: BTreeMap::new() }
    }

    pub(crate) fn desire(&self, specs: &[TaskSpec]) {
        let desires = specs
            .iter()
            .map(|spec| TaskDesire { spec: Arc::new(spec.clone()), status: DesiredStatus::Running })
            .collect();
        self.desired.send_replace(Arc::new(desires));
    }

    /// The first report of the task, from now or the last one known, that satisfies `wanted`.
    pub(crate) async fn report(&mut self, task: &TaskId, wanted: impl Fn(&TaskReport) -> bool) -> TaskReport {
        let waiting = async {
            loop {
                if let Some(report) = self.known.get(task.as_str()).filter(|report| wanted(report)) {
                    return report.clone();
                }
                let report = self.reports.recv().await.expect("the agent lives");
                self.known.insert(report.id.as_str().to_owned(), report);
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(report) => report,
            Err(_) => panic!(
                "no such report; the last: {:#?}; {}",
                self.known.get(task.as_str()),
                logs(self.state.path(), task)
            ),
        }
    }

    pub(crate) async fn running(&mut self, task: &TaskId) -> TaskReport {
        let report = self.report(task, |report| report.status >= TaskStatus::Running).await;
        assert_eq!(report.status, TaskStatus::Running, "{report:#?} {}", logs(self.state.path(), task));
        report
    }

    /// As `running`, for a task with the tests' application: once it listens.
    pub(crate) async fn serving(&mut self, task: &TaskId) -> TaskReport {
        let report = self.running(task).await;
        eventually("the application listens", || logs(self.state.path(), task).contains("listening on"))
            .await;
        report
    }

    pub(crate) async fn stopped(&mut self, task: &TaskId) -> TaskReport {
        self.report(task, |report| report.status == TaskStatus::Stopped).await
    }

    /// Waits for a line that contains `text`.
    pub(crate) async fn line(&self, text: &str) -> OutputLine {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found =
                self.lines.lock().expect("not poisoned").iter().find(|l| l.line.contains(text)).cloned();
            if let Some(line) = found {
                return line;
            }
            assert!(tokio::time::Instant::now() < deadline, "no line {text:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A failed test must not leave tasks behind, which live on by design.
impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pids = self.known.values().filter_map(|report| report.shim_pid);
            for pid in pids.filter_map(|pid| i32::try_from(pid).ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
}

/// What the task's parts have logged, for a failed test.
pub(crate) fn logs(state: &Path, task: &TaskId) -> String {
    let mut text = String::new();
    for parent in ["tasks", "logs"] {
        let Ok(entries) = std::fs::read_dir(state.join(parent).join(task.as_str())) else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().to_string_lossy().ends_with(".log")) {
            text += &format!("\n{}:\n", entry.path().display());
            text += &std::fs::read_to_string(entry.path()).unwrap_or_default();
        }
    }
    text
}

/// The task's init, a child of its shim.
pub(crate) fn init_of(report: &TaskReport) -> u32 {
    let shim = report.shim_pid.expect("a shim").to_string();
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        let exe = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        parent == Some(&shim) && String::from_utf8_lossy(&exe).contains("\0shim\0")
    };
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_child).expect("the task has an init")
}

/// Asks an application of the tests.
pub(crate) fn ask(address: SocketAddr, question: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(format!("{question}\n").as_bytes()).expect("asks");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

pub(crate) fn task_id() -> TaskId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let seed = (u128::from(std::process::id()) << 64) | u128::from(number) | (0xabcd << 112);
    TaskId::from_random(seed.to_be_bytes())
}

pub(crate) fn container(name: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: "example/image:1".to_owned(),
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        working_directory: None,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
        essential: true,
        health_check: None,
        depends_on: Vec::new(),
        stop_timeout: Duration::from_secs(5),
        start_timeout: None,
        ulimits: Vec::new(),
        mounts: Vec::new(),
        limits: ResourceLimits::default(),
        readonly_root: false,
        log: None,
        firelens: None,
    }
}

pub(crate) fn task(containers: Vec<ContainerSpec>) -> TaskSpec {
    let id = task_id();
    TaskSpec {
        arn: format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}").parse().expect("an ARN"),
        id,
        family: "test".to_owned(),
        revision: 1,
        cluster: "default".to_owned(),
        group: "service:test".to_owned(),
        containers,
        proxy: None,
        published: Vec::new(),
        egress: Egress::Deny,
        limits: ResourceLimits::default(),
        role: None,
        proxy_log: None,
        xray_daemon: None,
    }
}

/// A task with the tests' application on `bind` and the tests' sidecar, whose
/// aliases lead to the application.
pub(crate) fn app_task(bind: &str, port: u16, aliases: &[&str], hosts: &[(&str, &str)]) -> TaskSpec {
    let mut spec = task(vec![container("app", &[&program(), "app", &format!("{bind}:{port}")])]);
    let hosts: Vec<_> = hosts
        .iter()
        .map(|(address, name)| serde_json::json!({ "address": address, "names": [name] }))
        .collect();
    let script = serde_json::json!({ "aliases": aliases, "application_port": port, "hosts": hosts });
    spec.proxy = Some(ProxySpec {
        role: ProxyRole::Sidecar,
        inbound: ["http", "control"]
            .map(|name| InboundPort { port_name: name.to_owned(), container_port: port, ingress_port: None })
            .to_vec(),
        control_plane: ControlPlaneAddress {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            roots_pem: script.to_string(),
            trust_domain: "test".to_owned(),
        },
        aliases: Vec::new(),
        access_log: None,
    });
    spec
}

/// Whether a process of this id lives (a zombie does not).
pub(crate) fn lives(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((_, rest)) = stat.rsplit_once(") ") else { return true };
    let fields: Vec<&str> = rest.split(' ').collect();
    // The first thread of those that are killed may be a zombie while others still take connections: proc_pid_stat(5),
    // (20) num_threads.
    fields[0] != "Z" || !matches!(fields[17], "0" | "1")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes with `text` in their command line, environment or working directory.
pub(crate) fn processes_of(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != std::process::id())
        .filter(|pid| {
            let file = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let mut all = file("cmdline");
            all.extend(file("environ"));
            let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            String::from_utf8_lossy(&all).contains(text) || directory.to_string_lossy().contains(text)
        })
        .collect()
}
