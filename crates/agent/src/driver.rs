//! One task as the agent sees it: its shim is started or found, its reports
//! and lines are passed on, it is told to stop, and what it leaves is removed.

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bowline_logs::router::{Router, TaskLogs};
use bowline_model::{
    sabotage,
    task::{HealthStatus, Secret, StopCode, TaskId, TaskReport, TaskSpec, TaskStatus, TokenIssuer},
};
use bowline_plumbing::{
    fd_message,
    sys::{
        child::{Preparation, prepare},
        watch_fd,
    },
    wall_clock,
};
use rustix::{
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    config::{NetworkMode, OutputLine, ProgramCommand},
    packet::PacketSocket,
    protocol::{FromShim, Start, StartLogs, ToShim},
    task_directory::TaskDirectory,
    usage::Shims,
};

/// From a shim's start, or an agent's, to its socket being there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From a shim's last word to its end; then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Commands that may run at once in one task by `exec`.
const EXECS_MAX: usize = 32;

/// Ended tasks whose logs are kept.
const KEPT_MAX: usize = 100;

/// What all drivers of an agent share.
pub(crate) struct Context {
    pub(crate) state_dir: PathBuf,
    pub(crate) shim_command: ProgramCommand,
    pub(crate) proxy_command: ProgramCommand,
    pub(crate) network: NetworkMode,
    pub(crate) output: mpsc::Sender<OutputLine>,
    pub(crate) reports: mpsc::Sender<TaskReport>,
    pub(crate) starting: Semaphore,
    pub(crate) tokens: Arc<dyn TokenIssuer>,
    /// Delivers what tasks print.
    pub(crate) router: Arc<Router>,
    /// For what tasks use.
    pub(crate) shims: Arc<Shims>,
}

impl Context {
    pub(crate) fn tasks(&self) -> PathBuf {
        self.state_dir.join("tasks")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state_dir.join("logs")
    }

    pub(crate) fn directory(&self, task: &TaskId) -> TaskDirectory {
        TaskDirectory::new(self.tasks().join(task.as_str()))
    }

    /// What is known of a task that ended before.
    pub(crate) fn ended(&self, task: &TaskId) -> Option<TaskReport> {
        TaskDirectory::new(self.logs().join(task.as_str())).read_report()
    }
}

/// How a task comes to its driver.
#[derive(Debug)]
pub(crate) enum Begin {
    /// It is to be started.
    Start(Arc<TaskSpec>),
    /// Its shim runs.
    Adopt,
    /// Its shim is gone.
    Bury,
}

/// A command to run in one of the task's containers.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) container: String,
    pub(crate) command: Vec<String>,
    pub(crate) stdio: [OwnedFd; 3],
    pub(crate) done: oneshot::Sender<Result<i32, String>>,
}

/// A shim that runs.
struct Shim {
    socket: PacketSocket,
    pidfd: AsyncFd<OwnedFd>,
    child: Option<tokio::process::Child>,
}

/// Drives the task to its end; gives its last report.
pub(crate) async fn drive(
    context: Arc<Context>,
    id: TaskId,
    begin: Begin,
    stop: watch::Receiver<bool>,
    execs: mpsc::Receiver<Exec>,
) -> TaskReport {
    let directory = context.directory(&id);
    let attached = match begin {
        Begin::Start(spec) => {
            let _permit = context.starting.acquire().await;
            let asked_to_stop = *stop.borrow();
            if asked_to_stop { Ok(None) } else { start(&context, &spec, &directory).await.map(Some) }
        }
        Begin::Adopt => adopt(&directory).await.map(Some),
        Begin::Bury => Ok(None),
    };
    let mut why = None;
    match attached {
        Ok(Some(mut shim)) => {
            why = follow(&context, &id, &directory, &mut shim, stop, execs).await;
            end(&mut shim).await;
        }
        Ok(None) => {}
        Err(error) => why = Some(format!("CannotStartContainerError: the task's shim: {error}")),
    }
    context.shims.ended(&id);
    context.router.ended(&id);
    let groups = directory.control_groups();
    if !groups.is_empty() {
        // The shim has done it, unless it was killed.
        let _ = tokio::task::spawn_blocking(move || crate::control_groups::remove(&groups)).await;
    }
    let mut report = directory.read_report().unwrap_or_else(|| lost(&id, why.as_deref()));
    report.id = id.clone();
    report.status = TaskStatus::Stopped;
    if let Err(error) = retire(&context, &id, &directory, &report) {
        tracing::warn!(task = %id, %error, "what the task left could not all be removed");
    }
    report
}

async fn start(context: &Context, spec: &TaskSpec, directory: &TaskDirectory) -> io::Result<Shim> {
    directory.create()?;
    let logs = match context.router.prepare(spec) {
        Ok(TaskLogs { directory, inputs }) => Ok(StartLogs { directory, inputs }),
        Err(error) => Err(format!("ResourceInitializationError: failed to validate logger args: {error}")),
    };
    let lock = directory.lock().map_err(io::Error::other)?;
    let (ours, theirs) = fd_message::pair()?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(directory.log("shim"))?;
    let mut command = Command::new(&context.shim_command.program);
    command.args(&context.shim_command.arguments);
    command.arg("--control-fd").arg(theirs.as_raw_fd().to_string());
    command.env_clear().current_dir("/");
    let inherited = ["PATH", "HOME", "BOWLINE_LOG", "RUST_BACKTRACE"];
    for name in inherited.iter().chain(sabotage::environment()) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let preparation = Preparation { new_session: true, inherited: Some(theirs), ..Preparation::default() };
    prepare(&mut command, preparation);
    let child = {
        // The command holds our copy of the shim's end of the socket, which must go.
        let mut command = tokio::process::Command::from(command);
        command.spawn()?
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or_else(|| io::Error::other("it has ended"))?, PidfdFlags::empty())?;
    let shim = Shim { socket: PacketSocket::new(ours)?, pidfd: readable(pidfd)?, child: Some(child) };
    let token: Option<Secret> = spec.proxy.as_ref().and_then(|_| context.tokens.issue(&spec.id));
    let start = ToShim::Start(Box::new(Start {
        spec: spec.clone(),
        token,
        proxy_command: context.proxy_command.clone(),
        network: context.network,
        directory: directory.path().to_owned(),
        logs,
    }));
    shim.socket.send(&start, &[lock.as_fd()]).await?;
    Ok(shim)
}

/// Connects to a shim that runs. It may be just starting, or just ending.
async fn adopt(directory: &TaskDirectory) -> io::Result<Shim> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let error = match connect(directory) {
            Ok(shim) => return Ok(shim),
            Err(error) => error,
        };
        if directory.lock().is_ok() || Instant::now() >= deadline {
            return Err(error);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn connect(directory: &TaskDirectory) -> io::Result<Shim> {
    let socket = directory.connect()?;
    // Who listens. Should it end and its number be given anew right here, the
    // connection is at its end, too, and nothing is done to the other process
    // but to wait for it.
    let peer = socket_peercred(&socket)?;
    let pidfd = readable(pidfd_open(peer.pid, PidfdFlags::empty())?)?;
    Ok(Shim { socket: PacketSocket::new(socket)?, pidfd, child: None })
}

fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch_fd(fd, Interest::READABLE)
}

/// Passes on what the shim says until it is gone; then why, if that is strange.
async fn follow(
    context: &Context,
    id: &TaskId,
    directory: &TaskDirectory,
    shim: &mut Shim,
    mut stop: watch::Receiver<bool>,
    mut execs: mpsc::Receiver<Exec>,
) -> Option<String> {
    let mut told_to_stop = false;
    let mut more_execs = true;
    let mut next_exec = 0u64;
    let mut running: Vec<(u64, oneshot::Sender<Result<i32, String>>)> = Vec::new();
    loop {
        tokio::select! {
            message = shim.socket.receive::<FromShim>() => match message {
                Ok(Some((FromShim::Report(report), _))) => {
                    // The last one counts once the shim is gone; `drive` gives it.
                    if let Some(pid) = report.shim_pid {
                        context.shims.runs(id, pid, directory.control_groups());
                    }
                    if report.status != TaskStatus::Stopped {
                        let _ = context.reports.send(*report).await;
                    }
                }
                Ok(Some((FromShim::Output(line), _))) => {
                    context.router.wake(id, &line.source.source_name());
                    let _ = context.output.try_send(line);
                }
                Ok(Some((FromShim::TokenWanted, _))) => {
                    let token = context.tokens.issue(id);
                    let _ = shim.socket.send(&ToShim::Token(token), &[]).await;
                }
                Ok(Some((FromShim::ExecDone { id, result }, _))) => {
                    if let Some(position) = running.iter().position(|(known, _)| *known == id) {
                        let _ = running.swap_remove(position).1.send(result);
                    }
                }
                Ok(None) | Err(_) => {
                    if directory.read_report().is_some() || gone(shim).await {
                        return Some("the task's shim was killed".to_owned());
                    }
                    match adopt(directory).await {
                        Ok(again) => {
                            *shim = Shim { child: shim.child.take(), ..again };
                            told_to_stop = false;
                        }
                        Err(error) => return Some(format!("the task's shim does not answer: {error}")),
                    }
                }
            },
            () = stopped(&mut stop), if !told_to_stop => {
                told_to_stop = true;
                let _ = shim.socket.send(&ToShim::Stop { code: None, reason: None }, &[]).await;
            }
            exec = execs.recv(), if more_execs => match exec {
                None => more_execs = false,
                Some(exec) if running.len() >= EXECS_MAX => {
                    let _ = exec.done.send(Err(format!("{EXECS_MAX} commands run in the task already")));
                }
                Some(Exec { container, command, stdio, done }) => {
                    next_exec += 1;
                    let fds: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
                    let order = ToShim::Exec { id: next_exec, container, command };
                    match shim.socket.send(&order, &fds).await {
                        Ok(()) => running.push((next_exec, done)),
                        Err(error) => drop(done.send(Err(error.to_string()))),
                    }
                }
            },
        }
    }
}

/// Returns when the task is to stop. When nobody is left to say so it never does.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let gone = stop.wait_for(|stop| *stop).await.is_err();
    if gone {
        std::future::pending::<()>().await;
    }
}

/// Whether the shim ends within moments.
async fn gone(shim: &Shim) -> bool {
    timeout(Duration::from_secs(1), shim.pidfd.readable()).await.is_ok()
}

/// Waits for the shim's end, and reaps it if it is our child.
async fn end(shim: &mut Shim) {
    if timeout(END_TIMEOUT, shim.pidfd.readable()).await.is_err() {
        let _ = pidfd_send_signal(shim.pidfd.get_ref(), Signal::KILL);
        let _ = shim.pidfd.readable().await;
    }
    if let Some(child) = &mut shim.child {
        let _ = child.wait().await;
    }
}

/// The report of a task whose shim left none.
fn lost(id: &TaskId, why: Option<&str>) -> TaskReport {
    TaskReport {
        id: id.clone(),
        at: wall_clock::now(),
        status: TaskStatus::Stopped,
        health: HealthStatus::Unknown,
        containers: Vec::new(),
        inbound: Vec::new(),
        published: Vec::new(),
        proxy_ready: false,
        stopped_reason: why.map(str::to_owned),
        stop_code: why.map(|_| StopCode::TaskFailedToStart),
        shim_pid: None,
        warnings: Vec::new(),
    }
}

/// The report of a task that is not to run and never did here.
pub(crate) fn never_ran(id: &TaskId) -> TaskReport {
    lost(id, None)
}

/// Removes what the task left, its logs and its last report excepted: by the
/// report a restarted agent knows that the task has been run.
fn retire(context: &Context, id: &TaskId, directory: &TaskDirectory, report: &TaskReport) -> io::Result<()> {
    let kept = context.logs().join(id.as_str());
    directory.create()?;
    directory.write_report(report)?;
    directory.retire(&kept)?;
    prune(&context.logs())
}

/// Removes the oldest logs where there are too many.
fn prune(logs: &std::path::Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(logs)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort();
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    for (_, path) in kept.into_iter().take(surplus) {
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}
