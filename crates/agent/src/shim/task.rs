//! A task's life, from its set-up to its last report: the shim's main loop.
//!
//! The order of a stop, which loses no request: the control plane has marked
//! the task's endpoint draining and waited, so no new request comes. Then the
//! containers are asked to end, those first that others do not depend on;
//! meanwhile the sidecar still carries what they have in flight, in and out.
//! When all have ended, the sidecar is: it drains for up to 20 s and is gone
//! as soon as it is idle. Then the namespaces go, and with them all the rest.

mod faults;
mod log_router;
mod program;

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use bowline_logs::fluent_bit::Input;
use bowline_model::task::{
    Egress, HealthStatus, ProxyRole, Secret, StopCode, TaskReport, TaskSpec, TaskStatus,
};
use bowline_plumbing::wall_clock;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::{sleep_until, timeout},
};

use super::{
    client,
    container_link::ContainerLink,
    containers::{Action, Containers},
    event::Event,
    faults::Faults,
    health,
    host_network::HostNetwork,
    init_process::InitProcess,
    link::{Link, LinkParts},
    outputs::{Outputs, no_input, output_pipe},
    sidecar,
    trust::Trust,
};
use crate::{
    config::{OutputSource, OutputStream, ProgramCommand},
    control_groups::ControlGroups,
    protocol::{ContainerSetUp, FromShim, MAIN_PROGRAM, Program, StartLogs, ToContainer},
    task_directory::TaskDirectory,
};

/// AWS's words for a container that the kernel killed for its memory.
const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// Events that may wait.
const EVENTS_MAX: usize = 256;

/// From the start of the first proxy to giving the task up.
const PROXY_READY_TIMEOUT: Duration = Duration::from_secs(120);

/// What the last lines of a container's output may take to arrive.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// What agents may take to hear the last report.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);

/// What `shim::main` has made before the loop begins.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) spec: TaskSpec,
    pub(crate) directory: TaskDirectory,
    pub(crate) token: Option<Secret>,
    pub(crate) proxy_command: ProgramCommand,
    pub(crate) init: Option<InitProcess>,
    pub(crate) host_network: Option<HostNetwork>,
    /// What the task's networks let through.
    pub(crate) egress: Egress,
    pub(crate) trust: Option<Trust>,
    pub(crate) control_groups: ControlGroups,
    pub(crate) warnings: Vec<String>,
    /// Where lines go.
    pub(crate) logs: Option<StartLogs>,
    /// Why the task cannot run at all.
    pub(crate) failure: Option<String>,
    pub(crate) control: OwnedFd,
    pub(crate) listener: OwnedFd,
}

/// Runs the task to its end.
pub(crate) async fn run(prepared: Prepared) -> std::io::Result<()> {
    let (events, mut receiver) = mpsc::channel(EVENTS_MAX);
    let mut task = Task::new(prepared, events)?;
    task.begin();
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        task.advance().await;
        task.publish();
        bound_own_log();
        if task.is_over() {
            break;
        }
        let deadline = task.deadline();
        let event = tokio::select! {
            event = receiver.recv() => event,
            // Whoever shuts the machine down means every process.
            Some(()) = terminate.recv() => Some(Event::Stop { code: None, reason: None }),
            () = sleep_until(deadline.into()) => None,
        };
        if let Some(event) = event {
            task.happened(event).await;
        }
    }
    task.finish().await;
    Ok(())
}

/// Size at which the shim's own log begins anew.
const OWN_LOG_BYTES_MAX: i64 = 1024 * 1024;

/// Standard error is a log file that the agent opened for appending.
fn bound_own_log() {
    let log = std::io::stderr();
    if rustix::fs::fstat(&log).is_ok_and(|log| log.st_size > OWN_LOG_BYTES_MAX) {
        let _ = rustix::fs::ftruncate(&log, 0);
    }
}

/// Why and how the task stops.
#[derive(Debug)]
struct Stopping {
    code: Option<StopCode>,
    reason: Option<String>,
}

#[derive(Debug)]
struct Task {
    spec: TaskSpec,
    directory: TaskDirectory,
    proxy_command: ProgramCommand,
    init: Option<Rc<InitProcess>>,
    host_network: Option<Rc<RefCell<HostNetwork>>>,
    egress: Egress,
    trust: Option<Rc<Trust>>,
    control_groups: ControlGroups,
    containers: Containers,
    links: HashMap<usize, Rc<ContainerLink>>,
    captures: Vec<JoinHandle<()>>,
    link: Option<Rc<Link>>,
    sidecar: Option<JoinHandle<()>>,
    sidecar_stop: watch::Sender<bool>,
    proxy_ready: bool,
    proxy_was_ready: bool,
    proxy_ended: Option<String>,
    tokens: VecDeque<oneshot::Sender<Option<Secret>>>,
    started: Instant,
    stopping: Option<Stopping>,
    warnings: Vec<String>,
    outputs: Rc<Outputs>,
    faults: Rc<Faults>,
    /// What listens for the log router.
    inputs: Vec<Input>,
    listening: Vec<JoinHandle<()>>,
    reports: watch::Sender<Option<TaskReport>>,
    clients: client::Clients,
    events: mpsc::Sender<Event>,
}

impl Task {
    fn new(prepared: Prepared, events: mpsc::Sender<Event>) -> std::io::Result<Self> {
        let Prepared {
            spec,
            directory,
            token,
            proxy_command,
            init,
            host_network,
            egress,
            control_groups,
            ..
        } = prepared;
        let mut warnings = prepared.warnings;
        let mut failure = prepared.failure;
        let init = init.map(Rc::new);
        let host_network = host_network.map(|network| Rc::new(RefCell::new(network)));
        let trust = prepared.trust.map(Rc::new);
        let mut link = None;
        if let (Some(proxy), None) = (&spec.proxy, &failure) {
            let parts = LinkParts {
                directory: directory.clone(),
                init: init.clone(),
                host_network: host_network.clone(),
                egress,
                trust: trust.clone(),
                token,
                events: events.clone(),
            };
            match Link::open(&spec, proxy, parts) {
                Ok((opened, more)) => {
                    warnings.extend(more);
                    link = Some(Rc::new(opened));
                }
                Err(reason) => failure = Some(reason),
            }
        }
        let spools = prepared.logs.as_ref().map(|logs| logs.directory.as_path());
        let outputs = Rc::new(Outputs::new(&spec, directory.clone(), spools));
        let (reports, _) = watch::channel(None);
        let clients = client::Clients::new(
            outputs.clone(),
            reports.clone(),
            events.clone(),
            prepared.control,
            prepared.listener,
        )?;
        Ok(Self {
            containers: Containers::new(&spec.containers),
            faults: Faults::new(init.as_ref().map(|init| init.pid())),
            spec,
            directory,
            proxy_command,
            init,
            host_network,
            egress,
            trust,
            control_groups,
            links: HashMap::new(),
            captures: Vec::new(),
            link,
            sidecar: None,
            sidecar_stop: watch::channel(false).0,
            proxy_ready: false,
            proxy_was_ready: false,
            proxy_ended: None,
            tokens: VecDeque::new(),
            started: Instant::now(),
            stopping: failure
                .map(|reason| Stopping { code: Some(StopCode::TaskFailedToStart), reason: Some(reason) }),
            warnings,
            outputs,
            inputs: prepared.logs.map(|logs| logs.inputs).unwrap_or_default(),
            listening: Vec::new(),
            reports,
            clients,
            events,
        })
    }

    fn begin(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        if let Some(link) = &self.link {
            self.sidecar = Some(spawn_local(sidecar::supervise(
                self.proxy_command.clone(),
                self.spec.clone(),
                link.clone(),
                self.outputs.clone(),
                self.events.clone(),
                self.sidecar_stop.subscribe(),
                self.faults.sidecar(),
            )));
        }
        self.tap_egress();
    }

    fn tap_egress(&self) {
        let (Some(init), None) = (&self.init, &self.host_network) else { return };
        match super::egress::tap(init) {
            Ok(tap) => {
                let (outputs, egress) = (self.outputs.clone(), self.egress);
                let credentials = self.spec.xray_daemon.is_some()
                    || self.link.as_ref().is_some_and(|link| link.credentials().is_some());
                spawn_local(async move { super::egress::watch(tap, egress, credentials, &outputs).await });
            }
            Err(error) => tracing::warn!(%error, "what the task tries to reach is denied but not logged"),
        }
    }

    /// Does what is due.
    async fn advance(&mut self) {
        loop {
            let now = Instant::now();
            if self.stopping.is_some() {
                // Who is frozen could not end in order.
                self.faults.end_all();
            }
            let actions = if self.stopping.is_some() {
                self.containers.due_for_stop(now)
            } else if self.proxy_ready || self.proxy_was_ready || self.link.is_none() {
                self.containers.due(now)
            } else {
                Vec::new()
            };
            let idle = actions.is_empty();
            for action in actions {
                self.act(action).await;
            }
            if self.stopping.is_none()
                && let Some((code, reason)) = self.failure(now)
            {
                tracing::info!(%reason, "the task stops");
                self.stopping = Some(Stopping { code: Some(code), reason: Some(reason) });
                continue;
            }
            if idle {
                break;
            }
        }
        if self.stopping.is_some() && self.containers.all_stopped() {
            self.proxy_ready = false;
            self.sidecar_stop.send_replace(true);
        }
    }

    fn failure(&self, now: Instant) -> Option<(StopCode, String)> {
        if self.link.is_some() && !self.proxy_was_ready && now >= self.started + PROXY_READY_TIMEOUT {
            let seconds = PROXY_READY_TIMEOUT.as_secs();
            let how = self.proxy_ended.as_deref().unwrap_or("it still runs");
            let reason = format!("the Service Connect proxy did not become ready within {seconds} s: {how}");
            return Some((StopCode::TaskFailedToStart, reason));
        }
        self.containers.failure(self.spec.group.starts_with("service:"))
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let stopping = self.stopping.is_some();
        let ready = (self.link.is_some() && !self.proxy_was_ready && !stopping)
            .then(|| self.started + PROXY_READY_TIMEOUT);
        // A poll now and then: the sidecar's end is no event.
        let poll = now + if stopping { Duration::from_millis(20) } else { Duration::from_secs(60) };
        [ready, self.containers.next_deadline(now, stopping)].into_iter().flatten().fold(poll, Instant::min)
    }

    fn is_over(&self) -> bool {
        self.stopping.is_some()
            && self.containers.all_stopped()
            && self.sidecar.as_ref().is_none_or(JoinHandle::is_finished)
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Start(index) if self.containers.get(index).is_served() => self.serve_router(index),
            Action::Terminate(index) | Action::Kill(index) if self.containers.get(index).is_served() => {
                self.end_router(index);
            }
            Action::Start(index) => {
                if let Err(reason) = self.start_container(index) {
                    self.containers.failed(index, reason);
                }
            }
            Action::Terminate(index) => self.signal(index, nix::libc::SIGTERM).await,
            Action::Kill(index) => {
                // Closing its orders ends the container's init, and with it all in the container.
                self.signal(index, nix::libc::SIGKILL).await;
            }
            Action::Check(index) => self.check(index),
        }
    }

    async fn signal(&self, index: usize, signal: i32) {
        if let Some(link) = self.links.get(&index) {
            let _ = link.signal(MAIN_PROGRAM, signal).await;
        }
    }

    fn start_container(&mut self, index: usize) -> Result<(), String> {
        let spec = &self.containers.get(index).spec;
        let init = self.init.as_ref().ok_or("the task has no init")?;
        let set_up = ContainerSetUp {
            isolated: self.host_network.is_none(),
            mounts: spec.mounts.clone(),
            readonly_root: spec.readonly_root,
        };
        let cannot_start = |error: std::io::Error| format!("CannotStartContainerError: {error}");
        let doors = self.control_groups.doors(index).map_err(cannot_start)?;
        let link = ContainerLink::start(init, set_up, &doors).map_err(cannot_start)?;
        self.links.insert(index, link.clone());
        spawn_local(link.watch(index, self.events.clone()));
        Ok(())
    }

    /// The container's namespaces are there: runs its program.
    async fn run_program(&mut self, index: usize) -> std::io::Result<()> {
        let Some(link) = self.links.get(&index).cloned() else { return Ok(()) };
        let spec = self.containers.get(index).spec.clone();
        let (stdout, stdout_end) = output_pipe()?;
        let (stderr, stderr_end) = output_pipe()?;
        for (stream, pipe) in [(OutputStream::Stdout, stdout), (OutputStream::Stderr, stderr)] {
            let (outputs, source) = (self.outputs.clone(), OutputSource::Container(spec.name.clone()));
            self.captures.push(spawn_local(async move { outputs.capture(source, stream, pipe).await }));
        }
        let mut program = self.program(index, spec.command.clone());
        program.ulimits = spec.ulimits;
        link.run_main(&ToContainer::Run(program), &[no_input()?, stdout_end, stderr_end]).await
    }

    fn check(&self, index: usize) {
        let (Some(link), Some(spec)) =
            (self.links.get(&index).cloned(), self.containers.get(index).spec.health_check.clone())
        else {
            return;
        };
        let program = self.program(index, health::program(&spec.command));
        let events = self.events.clone();
        spawn_local(async move {
            let healthy = check(&link, program, spec.timeout).await.unwrap_or(false);
            let _ = events.send(Event::Checked { index, healthy }).await;
        });
    }

    async fn happened(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::ContainerReady { index, warnings } => {
                for warning in warnings {
                    self.warn(warning);
                }
                if let Err(error) = self.run_program(index).await {
                    self.containers.failed(index, format!("CannotStartContainerError: {error}"));
                    self.links.remove(&index);
                }
            }
            Event::ContainerStarted { index, pid } => self.containers.started(index, pid, now),
            Event::ContainerFailed { index, reason } => {
                self.containers.failed(index, format!("CannotStartContainerError: {reason}"));
                self.links.remove(&index);
            }
            Event::ContainerExited { index, code } => {
                self.links.remove(&index);
                self.await_output().await;
                let reason = self.exit_reason(index, code);
                self.containers.exited(index, code.unwrap_or(137), reason);
            }
            Event::Checked { index, healthy } => self.containers.checked(index, healthy, now),
            Event::ProxyReady => {
                self.proxy_ready = true;
                self.proxy_was_ready = true;
            }
            Event::ProxyExited { how } => {
                self.proxy_ready = false;
                self.proxy_ended = Some(how);
            }
            Event::TokenWanted { answer } => {
                if self.clients.broadcast(&FromShim::TokenWanted) {
                    self.tokens.push_back(answer);
                }
            }
            Event::Token(token) => {
                if let Some(waiting) = self.tokens.pop_front() {
                    let _ = waiting.send(token);
                }
            }
            Event::Stop { code, reason } => {
                if self.stopping.is_none() {
                    self.stopping = Some(Stopping { code, reason });
                }
            }
            Event::Exec { client, id, container, command, stdio } => {
                self.exec(client, id, &container, command, stdio);
            }
            Event::BeginFault { client, order, id, harm, until } => {
                self.begin_fault(client, order, id, harm, until);
            }
            Event::EndFault { client, order, id } => self.end_fault(client, order, id),
        }
    }

    fn exec(&self, client: u64, id: u64, container: &str, command: Vec<String>, stdio: Vec<OwnedFd>) {
        let sender = self.clients.sender(client);
        let target = self
            .containers
            .running(container)
            .and_then(|index| Some((self.links.get(&index)?.clone(), self.program(index, command))));
        let missing = format!("no container named {container} runs in the task");
        spawn_local(async move {
            let result = match target {
                Some((link, program)) => {
                    let stdio: Vec<_> = stdio.iter().map(AsFd::as_fd).collect();
                    match link.run(program, &stdio).await {
                        Ok((_, ended)) => {
                            ended.await.unwrap_or_else(|_| Err("the container ended".to_owned()))
                        }
                        Err(error) => Err(error.to_string()),
                    }
                }
                None => Err(missing),
            };
            if let Some(sender) = sender {
                let _ = sender.send(FromShim::ExecDone { id, result }).await;
            }
        });
    }

    /// Waits for what ended containers printed last; it is there, and must not
    /// come after the report of their end.
    async fn await_output(&mut self) {
        let captures = std::mem::take(&mut self.captures);
        for mut capture in captures {
            if self.links.is_empty() && timeout(OUTPUT_TIMEOUT, &mut capture).await.is_err() {
                capture.abort();
            } else if !capture.is_finished() {
                self.captures.push(capture);
            }
        }
    }

    /// What can be said of an exit beyond its code.
    fn exit_reason(&self, index: usize, code: Option<i32>) -> Option<String> {
        if matches!(code, None | Some(137)) && self.control_groups.out_of_memory(index) {
            return Some(OUT_OF_MEMORY.to_owned());
        }
        if code.is_none() {
            return Some("the container's init was killed".to_owned());
        }
        let failed = code.is_some_and(|code| code != 0) && self.stopping.is_none();
        let network = self.host_network.as_ref().filter(|_| failed)?;
        let proxy = self.spec.proxy.as_ref()?;
        let taken = proxy
            .inbound
            .iter()
            .map(|port| port.container_port)
            .find(|port| super::listeners::taken_by_wildcard(*port))?;
        Some(format!(
            "container {} could not bind port {taken}, which another process has on all addresses: tasks share \
             the host's network here, and the application's bind address cannot be set. Let it read \
             BIND_ADDRESS ({}), or enable user namespaces so that each task has a network of its own",
            self.containers.get(index).spec.name,
            network.borrow().application(),
        ))
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            tracing::warn!("{warning}");
            self.warnings.push(warning);
        }
    }

    fn report(&self) -> TaskReport {
        let over = self.is_over();
        let stopping = self.stopping.is_some();
        let serving = self.link.is_none() || self.proxy_was_ready;
        let status = match () {
            () if over => TaskStatus::Stopped,
            () if stopping => TaskStatus::Stopping,
            () if serving && self.containers.essential_run() => TaskStatus::Running,
            () => TaskStatus::Pending,
        };
        let gateway = self.spec.proxy.as_ref().is_some_and(|proxy| proxy.role == ProxyRole::Gateway);
        let health = match (gateway, self.proxy_ready) {
            (true, true) => HealthStatus::Healthy,
            _ => self.containers.health(),
        };
        TaskReport {
            id: self.spec.id.clone(),
            at: wall_clock::now(),
            status,
            health,
            containers: self.containers.reports(stopping),
            inbound: self
                .link
                .as_ref()
                .filter(|_| self.proxy_was_ready)
                .map(|l| l.inbound())
                .unwrap_or_default(),
            published: self.link.as_ref().map(|link| link.published()).unwrap_or_default(),
            proxy_ready: self.proxy_ready,
            stopped_reason: self.stopping.as_ref().and_then(|stopping| stopping.reason.clone()),
            stop_code: self.stopping.as_ref().and_then(|stopping| stopping.code),
            shim_pid: Some(std::process::id()),
            warnings: self.warnings.clone(),
        }
    }

    /// Tells agents what changed. The last report is kept for `finish`.
    fn publish(&mut self) {
        let report = self.report();
        if report.status == TaskStatus::Stopped {
            return;
        }
        self.reports.send_if_modified(|known| {
            let same =
                known.as_ref().is_some_and(|known| TaskReport { at: known.at, ..report.clone() } == *known);
            if !same {
                *known = Some(report);
            }
            !same
        });
    }

    /// Takes the namespaces down, then gives the last report: when it says
    /// that the task is over, nothing of it is left but this process.
    async fn finish(mut self) {
        let report = self.report();
        self.links.clear();
        self.link = None;
        self.await_output().await;
        if let Some(init) = self.init.take() {
            init.end();
        }
        crate::control_groups::remove(&self.control_groups.paths());
        if let Err(error) = self.directory.write_report(&report) {
            tracing::warn!(%error, "the last report could not be kept");
        }
        self.reports.send_replace(Some(report));
        self.outputs.close();
        let Self { clients, reports, .. } = self;
        drop(reports);
        if timeout(FAREWELL_TIMEOUT, clients.finish()).await.is_err() {
            tracing::warn!("an agent did not take the last report");
        }
    }
}

/// Runs a health check; true if it exits with 0 in time.
async fn check(link: &ContainerLink, program: Program, limit: Duration) -> std::io::Result<bool> {
    let null: OwnedFd = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into();
    let stdio = [null.as_fd(), null.as_fd(), null.as_fd()];
    let (id, ended) = link.run(program, &stdio).await?;
    match timeout(limit, ended).await {
        Ok(ended) => Ok(matches!(ended, Ok(Ok(0)))),
        Err(_) => {
            link.signal(id, nix::libc::SIGKILL).await?;
            Ok(false)
        }
    }
}
