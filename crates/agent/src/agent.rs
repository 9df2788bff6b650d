//! The agent's loop: level triggered. Whatever has happened, it compares the
//! tasks desired with those that it drives, and starts or stops the difference.

use std::{
    collections::HashMap,
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bowline_logs::{
    route::SPOOLS,
    router::{Router, RouterConfig},
};
use bowline_model::{
    clock::Timestamp,
    fault::{FaultError, FaultId, TaskHarm},
    task::{DesiredStatus, TaskDesire, TaskId, TaskReport, TokenIssuer},
};
use bowline_plumbing::wall_clock;
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    config::AgentConfig,
    driver::{Begin, Context, Errand, Exec, FaultChange, FaultErrand, drive},
    usage,
};

/// Tasks that are started at once: more only take each other's time.
const STARTING_MAX: usize = 16;

/// Errands that may wait for a task's driver.
const ERRANDS_MAX: usize = 64;

/// What a fault may take to be in force or over: memory is touched page by page.
const FAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Why an agent could not begin.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The state directory cannot be used.
    #[error("the agent's state directory {} cannot be used: {source}", path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Starts and stops the tasks of one machine.
#[derive(Debug)]
pub struct Agent;

/// A running agent. Dropping it ends the agent; its tasks live on, and the
/// next agent on the same state directory adopts them.
#[derive(Debug)]
pub struct AgentHandle {
    worker: JoinHandle<()>,
    watching: Option<JoinHandle<()>>,
    router: Arc<Router>,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Errand { task: TaskId, errand: Errand },
    StopAll { done: oneshot::Sender<()> },
}

impl Agent {
    /// Starts an agent: it adopts the tasks that run under the state directory,
    /// then follows `desired`. What nobody desires is stopped, but not before
    /// a list has been published: an empty initial value counts for nothing.
    /// A report goes to `reports` on every change, whole; a task that has ended
    /// is never run a second time.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The state directory cannot be made or read.
    pub fn start(
        config: AgentConfig,
        desired: watch::Receiver<Arc<Vec<TaskDesire>>>,
        reports: mpsc::Sender<TaskReport>,
        tokens: Arc<dyn TokenIssuer>,
    ) -> Result<AgentHandle, AgentError> {
        let AgentConfig { state_dir, shim_command, proxy_command, network, output, usage, logs } = config;
        let failed = |source| AgentError::StateDirectory { path: state_dir.clone(), source };
        let state_dir = std::path::absolute(&state_dir).map_err(failed)?;
        let failed = |source| AgentError::StateDirectory { path: state_dir.clone(), source };
        let router_config = RouterConfig {
            directory: state_dir.join(SPOOLS),
            file_directories: logs.file_directories,
            writer: logs.writer,
            figures: logs.figures,
        };
        let tasks = state_dir.join("tasks");
        let router = Router::start(router_config, |task| tasks.join(task.as_str()).exists())
            .map(Arc::new)
            .map_err(failed)?;
        let context = Arc::new(Context {
            router: Arc::clone(&router),
            state_dir: state_dir.clone(),
            shim_command,
            proxy_command,
            network,
            output,
            reports,
            starting: Semaphore::new(STARTING_MAX),
            tokens,
            shims: Arc::default(),
        });
        let watching = usage.map(|usage| tokio::spawn(usage::watch(Arc::clone(&context.shims), usage)));
        for directory in [context.tasks(), context.logs()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let mut state = Loop {
            context,
            drivers: HashMap::new(),
            ends: JoinSet::new(),
            ended: HashMap::new(),
            published: false,
            stopping: false,
        };
        state.adopt().map_err(failed)?;
        let (orders, receiver) = mpsc::channel(64);
        let worker = tokio::spawn(state.run(desired, receiver));
        Ok(AgentHandle { worker, watching, router, orders })
    }
}

impl AgentHandle {
    /// Runs a command in a container of a task, with these as its standard
    /// input, output and error; its exit code when it has ended.
    ///
    /// # Errors
    /// There is no such task or container, or the command cannot be run; for people.
    pub async fn exec(
        &self,
        task: &TaskId,
        container: &str,
        command: Vec<String>,
        stdio: [OwnedFd; 3],
    ) -> Result<i32, String> {
        let (done, result) = oneshot::channel();
        let exec = Exec { container: container.to_owned(), command, stdio, done };
        let ended = || "the agent has ended".to_owned();
        self.orders
            .send(Order::Errand { task: task.clone(), errand: Errand::Exec(exec) })
            .await
            .map_err(|_| ended())?;
        result.await.unwrap_or_else(|_| Err(format!("task {task} does not run here")))
    }

    /// Does a task harm until then; returns when the harm is in force. The task's shim undoes it at `until` by itself,
    /// whatever has become of this agent, and when the task stops. [`TaskHarm::Kill`] is over at once.
    ///
    /// # Errors
    /// [`FaultError::NotFound`]: the task, or what is to be harmed in it, does not run here. [`FaultError::Invalid`]:
    /// what was asked for makes no sense. [`FaultError::Failed`]: it cannot be done here, and nothing of it is done.
    pub async fn begin_fault(
        &self,
        task: &TaskId,
        id: &FaultId,
        harm: TaskHarm,
        until: Timestamp,
    ) -> Result<(), FaultError> {
        match self.change_fault(task, id, FaultChange::Begin { harm, until }).await? {
            Some(result) => result,
            None => Err(FaultError::NotFound(format!("task {task} does not run here"))),
        }
    }

    /// Ends a fault of a task before its deadline; returns when nothing of it is left. That it is over, or the task is
    /// gone, is no error.
    ///
    /// # Errors
    /// [`FaultError::Failed`]: the task's shim does not answer, or could not undo it.
    pub async fn end_fault(&self, task: &TaskId, id: &FaultId) -> Result<(), FaultError> {
        self.change_fault(task, id, FaultChange::End).await?.unwrap_or(Ok(()))
    }

    /// `None`: the task is gone.
    async fn change_fault(
        &self,
        task: &TaskId,
        id: &FaultId,
        change: FaultChange,
    ) -> Result<Option<Result<(), FaultError>>, FaultError> {
        let (done, result) = oneshot::channel();
        let errand = Errand::Fault(FaultErrand { id: id.clone(), change, done });
        let ended = |_| FaultError::Failed("the agent has ended".to_owned());
        self.orders.send(Order::Errand { task: task.clone(), errand }).await.map_err(ended)?;
        let Ok(result) = timeout(FAULT_TIMEOUT, result).await else {
            // It may be put in force yet, where nobody knows of it.
            let (done, _) = oneshot::channel();
            let end = Errand::Fault(FaultErrand { id: id.clone(), change: FaultChange::End, done });
            let _ = self.orders.try_send(Order::Errand { task: task.clone(), errand: end });
            return Err(FaultError::Failed(format!("the shim of task {task} does not answer")));
        };
        Ok(result.ok())
    }

    /// Stops every task, in order, and returns when the last one is gone. From
    /// then on the agent starts none, whatever is desired.
    pub async fn stop_all(&self) {
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::StopAll { done }).await.is_ok() {
            let _ = stopped.await;
        }
    }

    /// Returns once the lines of ended tasks are delivered, but no later than after `limit`; what is not delivered by
    /// then is kept for the next agent on the same state directory.
    pub async fn deliver_logs(&self, limit: Duration) {
        self.router.drained(limit).await;
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.worker.abort();
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

/// A task that the agent drives.
struct Driver {
    stop: watch::Sender<bool>,
    errands: mpsc::Sender<Errand>,
}

struct Loop {
    context: Arc<Context>,
    drivers: HashMap<TaskId, Driver>,
    ends: JoinSet<TaskReport>,
    /// Last reports of ended tasks that are still desired.
    ended: HashMap<TaskId, TaskReport>,
    published: bool,
    stopping: bool,
}

impl Loop {
    async fn run(
        mut self,
        mut desired: watch::Receiver<Arc<Vec<TaskDesire>>>,
        mut orders: mpsc::Receiver<Order>,
    ) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut more_desires = true;
        loop {
            let list = desired.borrow_and_update().clone();
            self.reconcile(&list).await;
            if self.stopping && self.drivers.is_empty() {
                for done in waiting.drain(..) {
                    let _ = done.send(());
                }
            }
            tokio::select! {
                changed = desired.changed(), if more_desires => {
                    more_desires = changed.is_ok();
                    self.published |= more_desires;
                }
                Some(ended) = self.ends.join_next() => match ended {
                    Ok(report) => self.has_ended(report).await,
                    Err(error) => tracing::error!(%error, "a task's driver failed"),
                },
                order = orders.recv() => match order {
                    Some(Order::Errand { task, errand }) => {
                        if let Some(driver) = self.drivers.get(&task)
                            && let Err(mpsc::error::TrySendError::Full(errand)) = driver.errands.try_send(errand)
                        {
                            errand.refuse();
                        }
                    }
                    Some(Order::StopAll { done }) => {
                        self.stopping = true;
                        waiting.push(done);
                    }
                    None => return,
                },
            }
        }
    }

    /// Takes over the tasks of an agent before this one.
    fn adopt(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(self.context.tasks())? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<TaskId>().ok()) else { continue };
            let begin = match self.context.directory(&id).lock() {
                Ok(_) => Begin::Bury,
                Err(fs::TryLockError::WouldBlock) => Begin::Adopt,
                Err(fs::TryLockError::Error(error)) => return Err(error),
            };
            self.drive(id, begin);
        }
        Ok(())
    }

    fn drive(&mut self, id: TaskId, begin: Begin) {
        let (stop, stop_watch) = watch::channel(false);
        let (errands, receiver) = mpsc::channel(ERRANDS_MAX);
        self.ends.spawn(drive(self.context.clone(), id.clone(), begin, stop_watch, receiver));
        self.drivers.insert(id, Driver { stop, errands });
    }

    async fn has_ended(&mut self, report: TaskReport) {
        self.drivers.remove(&report.id);
        let _ = self.context.reports.send(report.clone()).await;
        self.ended.insert(report.id.clone(), report);
    }

    async fn reconcile(&mut self, desired: &[TaskDesire]) {
        let published = self.published || !desired.is_empty();
        let by_id: HashMap<&TaskId, &TaskDesire> =
            desired.iter().map(|desire| (&desire.spec.id, desire)).collect();
        for (id, driver) in &self.drivers {
            let wanted = by_id.get(id).map(|desire| desire.status);
            let stop =
                self.stopping || wanted == Some(DesiredStatus::Stopped) || (wanted.is_none() && published);
            if stop {
                driver.stop.send_if_modified(|known| !std::mem::replace(known, true));
            }
        }
        if published {
            self.ended.retain(|id, _| by_id.contains_key(id));
        }
        for desire in desired {
            let id = &desire.spec.id;
            self.context.router.told(&desire.spec);
            if self.drivers.contains_key(id) || self.ended.contains_key(id) {
                continue;
            }
            if let Some(report) = self.context.ended(id) {
                self.has_ended(report).await;
            } else if desire.status == DesiredStatus::Running && !self.stopping {
                self.drive(id.clone(), Begin::Start(desire.spec.clone()));
            } else if desire.status == DesiredStatus::Stopped {
                self.has_ended(TaskReport::unseen(id.clone(), wall_clock::now(), None)).await;
            }
        }
    }
}
