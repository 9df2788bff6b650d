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
    clock::Timestamp,
    fault::{FaultError, FaultId, TaskHarm, Victims},
    sabotage,
    task::{Secret, TaskId, TaskReport, TaskSpec, TaskStatus, TokenIssuer},
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

/// Orders about faults that a task's shim may have unanswered.
const FAULT_ORDERS_MAX: usize = 64;

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

/// Something to be begun or ended in the task.
#[derive(Debug)]
pub(crate) struct FaultErrand {
    pub(crate) id: FaultId,
    pub(crate) change: FaultChange,
    pub(crate) done: oneshot::Sender<Result<(), FaultError>>,
}

/// What is to become of a fault.
#[derive(Clone, Debug)]
pub(crate) enum FaultChange {
    Begin { harm: TaskHarm, until: Timestamp },
    End,
}

/// What a task's driver is asked to do beside what is desired. An answer that is dropped says that the task is gone.
#[derive(Debug)]
pub(crate) enum Errand {
    Exec(Exec),
    Fault(FaultErrand),
}

impl Errand {
    /// Says that too many wait.
    pub(crate) fn refuse(self) {
        let busy = "too many orders wait for the task".to_owned();
        match self {
            Self::Exec(exec) => drop(exec.done.send(Err(busy))),
            Self::Fault(fault) => drop(fault.done.send(Err(FaultError::Failed(busy)))),
        }
    }
}

/// Orders that a shim has not answered yet.
#[derive(Default)]
struct Unanswered {
    last: u64,
    execs: Vec<(u64, oneshot::Sender<Result<i32, String>>)>,
    faults: Vec<UnansweredFault>,
}

struct UnansweredFault {
    order: u64,
    id: FaultId,
    change: FaultChange,
    done: oneshot::Sender<Result<(), FaultError>>,
}

impl UnansweredFault {
    fn message(&self) -> ToShim {
        let (order, id) = (self.order, self.id.clone());
        match self.change.clone() {
            FaultChange::Begin { harm, until } => ToShim::BeginFault { order, id, harm, until },
            FaultChange::End => ToShim::EndFault { order, id },
        }
    }
}

impl Unanswered {
    async fn order(&mut self, shim: &Shim, errand: Errand) {
        match errand {
            Errand::Exec(exec) => self.exec(shim, exec).await,
            Errand::Fault(fault) => self.fault(shim, fault).await,
        }
    }

    async fn exec(&mut self, shim: &Shim, exec: Exec) {
        let Exec { container, command, stdio, done } = exec;
        if self.execs.len() >= EXECS_MAX {
            let _ = done.send(Err(format!("{EXECS_MAX} commands run in the task already")));
            return;
        }
        self.last += 1;
        let fds: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
        let order = ToShim::Exec { id: self.last, container, command };
        match shim.socket.send(&order, &fds).await {
            Ok(()) => self.execs.push((self.last, done)),
            Err(error) => drop(done.send(Err(error.to_string()))),
        }
    }

    async fn fault(&mut self, shim: &Shim, errand: FaultErrand) {
        let FaultErrand { id, change, done } = errand;
        // Who asked may have given up.
        self.faults.retain(|fault| !fault.done.is_closed());
        if self.faults.len() >= FAULT_ORDERS_MAX {
            Errand::Fault(FaultErrand { id, change, done }).refuse();
            return;
        }
        if let FaultChange::Begin { harm: TaskHarm::Kill { victims: Victims::Task, signal }, .. } = change {
            let _ = done.send(kill_task(shim, signal));
            return;
        }
        self.last += 1;
        let fault = UnansweredFault { order: self.last, id, change, done };
        // Where it fails the driver is about to learn that the shim is gone, or to be told again.
        let _ = shim.socket.send(&fault.message(), &[]).await;
        self.faults.push(fault);
    }

    fn exec_done(&mut self, id: u64, result: Result<i32, String>) {
        if let Some(position) = self.execs.iter().position(|(known, _)| *known == id) {
            let _ = self.execs.swap_remove(position).1.send(result);
        }
    }

    fn fault_done(&mut self, order: u64, result: Result<(), FaultError>) {
        if let Some(position) = self.faults.iter().position(|fault| fault.order == order) {
            let _ = self.faults.swap_remove(position).done.send(result);
        }
    }

    /// The shim lives but has lost the connection, and its answers with it: over the new one it is told again what it
    /// has not answered. There, to begin what has begun and to end what is over are no errors.
    async fn tell_again(&mut self, shim: &Shim) {
        // Who has given up on a beginning has it ended.
        self.faults.retain(|fault| matches!(fault.change, FaultChange::End) || !fault.done.is_closed());
        // An end stays behind its beginning.
        self.faults.sort_by_key(|fault| fault.order);
        for fault in &self.faults {
            let _ = shim.socket.send(&fault.message(), &[]).await;
        }
    }
}

/// A signal to the shim is one to the whole task: it cannot be caught by what it is to kill.
fn kill_task(shim: &Shim, signal: i32) -> Result<(), FaultError> {
    let signal = match signal {
        nix::libc::SIGKILL => Signal::KILL,
        nix::libc::SIGTERM => Signal::TERM,
        other => {
            return Err(FaultError::Invalid(format!(
                "a whole task is killed by SIGKILL (9) or stopped by SIGTERM (15), not by signal {other}"
            )));
        }
    };
    match pidfd_send_signal(shim.pidfd.get_ref(), signal) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::SRCH) => Err(FaultError::NotFound("the task has ended".to_owned())),
        Err(error) => Err(FaultError::Failed(error.to_string())),
    }
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
    errands: mpsc::Receiver<Errand>,
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
            why = follow(&context, &id, &directory, &mut shim, stop, errands).await;
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
    let mut report =
        directory.read_report().unwrap_or_else(|| TaskReport::unseen(id.clone(), wall_clock::now(), why));
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
    mut errands: mpsc::Receiver<Errand>,
) -> Option<String> {
    let mut told_to_stop = false;
    let mut more_errands = true;
    let mut unanswered = Unanswered::default();
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
                Ok(Some((FromShim::ExecDone { id, result }, _))) => unanswered.exec_done(id, result),
                Ok(Some((FromShim::FaultDone { order, result }, _))) => unanswered.fault_done(order, result),
                Ok(None) | Err(_) => {
                    if directory.read_report().is_some() || gone(shim).await {
                        return Some("the task's shim was killed".to_owned());
                    }
                    match adopt(directory).await {
                        Ok(again) => {
                            *shim = Shim { child: shim.child.take(), ..again };
                            told_to_stop = false;
                            unanswered.tell_again(shim).await;
                        }
                        Err(error) => return Some(format!("the task's shim does not answer: {error}")),
                    }
                }
            },
            () = stopped(&mut stop), if !told_to_stop => {
                told_to_stop = true;
                let _ = shim.socket.send(&ToShim::Stop { code: None, reason: None }, &[]).await;
            }
            errand = errands.recv(), if more_errands => match errand {
                None => more_errands = false,
                Some(errand) => unanswered.order(shim, errand).await,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A shim that is played, and its end of the connection.
    fn shim() -> (Shim, PacketSocket) {
        let (ours, theirs) = fd_message::pair().expect("a pair");
        let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).expect("a descriptor");
        let pidfd = readable(own).expect("watched");
        let socket = PacketSocket::new(ours).expect("a socket");
        (Shim { socket, pidfd, child: None }, PacketSocket::new(theirs).expect("a socket"))
    }

    fn errand(number: u64, change: FaultChange) -> (Errand, oneshot::Receiver<Result<(), FaultError>>) {
        let (done, result) = oneshot::channel();
        (Errand::Fault(FaultErrand { id: FaultId::new(number), change, done }), result)
    }

    fn begin() -> FaultChange {
        let harm = TaskHarm::Freeze { victims: Victims::Sidecar };
        FaultChange::Begin { harm, until: wall_clock::now() + Duration::from_secs(60) }
    }

    async fn told(other: &PacketSocket) -> (u64, FaultId, bool) {
        match other.receive().await.expect("receives").expect("a message").0 {
            ToShim::BeginFault { order, id, .. } => (order, id, true),
            ToShim::EndFault { order, id } => (order, id, false),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_lost_connection_has_left_unanswered_is_asked_again() {
        let mut unanswered = Unanswered::default();
        let (first, other) = shim();
        let (errand_1, result_1) = errand(1, begin());
        let (errand_2, given_up) = errand(2, begin());
        let (end_2, _) = errand(2, FaultChange::End);
        let (errand_3, mut result_3) = errand(3, begin());
        for errand in [errand_1, errand_2, errand_3] {
            unanswered.order(&first, errand).await;
        }
        assert_eq!(told(&other).await, (1, FaultId::new(1), true));
        unanswered.fault_done(3, Ok(()));
        assert_eq!(result_3.try_recv(), Ok(Ok(())));
        // Its answer is lost, and so is what is sent then.
        drop(other);
        unanswered.order(&first, end_2).await;
        drop(given_up);
        let (second, other) = shim();
        unanswered.tell_again(&second).await;
        assert_eq!(told(&other).await, (1, FaultId::new(1), true));
        assert_eq!(told(&other).await, (4, FaultId::new(2), false));
        unanswered.fault_done(1, Ok(()));
        assert_eq!(result_1.await, Ok(Ok(())));
    }
}
