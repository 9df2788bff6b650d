//! Delivers what tasks' spools hold, at least once: a cursor moves on only when a place has said that it has a record.
//!
//! The router knows tasks by their directories, so that the next one goes on where this one was ended.

mod delivery;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bowline_model::{
    log::LogWriter,
    log_driver::LogFigures,
    task::{TaskId, TaskSpec},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};

use self::delivery::Delivery;
use crate::{
    fluent_bit::Input,
    route::{Pipeline, RouteError, RouteSecrets, SourceName, TaskRoutes},
    sink::Sink,
    spool::SpoolReader,
};

/// How long what an ended task has left is kept for receivers that do not take it.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How often a receiver that could not be used is tried again.
const REOPEN_EACH: Duration = Duration::from_secs(10);

/// What a router needs.
pub struct RouterConfig {
    /// Where spools are: one directory a task.
    pub directory: PathBuf,
    /// Where a log router's file is looked for, besides where it says.
    pub file_directories: Vec<PathBuf>,
    /// Takes events of streams; `None`: they are dropped, and counted.
    pub writer: Option<Arc<dyn LogWriter>>,
    /// Counts what becomes of lines.
    pub figures: Arc<LogFigures>,
}

impl std::fmt::Debug for RouterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterConfig").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What a task's shim is told of logs.
#[derive(Clone, Debug)]
pub struct TaskLogs {
    /// Where its spools are.
    pub directory: PathBuf,
    /// What listens in the task.
    pub inputs: Vec<Input>,
}

/// Delivers the lines of an agent's tasks. Dropping it ends that; the next router goes on.
#[derive(Debug)]
pub struct Router {
    config: Arc<RouterConfig>,
    tasks: Mutex<HashMap<TaskId, Known>>,
}

#[derive(Debug)]
struct Known {
    secrets: watch::Sender<Option<Arc<RouteSecrets>>>,
    ended: watch::Sender<bool>,
    wakes: Wakes,
    worker: tokio::task::JoinHandle<()>,
}

/// What wakes the deliveries of each source: those of another have nothing to look for.
type Wakes = Arc<HashMap<SourceName, Notify>>;

impl Drop for Known {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Router {
    /// Starts a router: it goes on with the tasks that have directories. Those that `lives` says no of are over.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn start(config: RouterConfig, lives: impl Fn(&TaskId) -> bool) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.directory)?;
        let router = Self { config: Arc::new(config), tasks: Mutex::default() };
        for entry in fs::read_dir(&router.config.directory)? {
            let path = entry?.path();
            let Some(task) = path.file_name().and_then(|name| name.to_str()?.parse::<TaskId>().ok()) else {
                continue;
            };
            match TaskRoutes::read(&path) {
                Ok(routes) => {
                    let secrets = (!routes.wants_secrets()).then(Arc::<RouteSecrets>::default);
                    router.run(routes, secrets, !lives(&task));
                }
                // Nobody knows where its lines were to go.
                Err(_) if !lives(&task) => drop(fs::remove_dir_all(&path)),
                Err(error) => tracing::warn!(%task, %error, "a task's log routes cannot be read"),
            }
        }
        Ok(router)
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, Known>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task is about to start: its routes are kept, and its lines delivered from now on.
    ///
    /// # Errors
    /// Its lines cannot be routed as it wants: it must not start.
    pub fn prepare(&self, spec: &TaskSpec) -> Result<TaskLogs, RouteError> {
        let routes = TaskRoutes::of(spec, &self.config.file_directories)?;
        let secrets = RouteSecrets::of(spec);
        let config = routes.fluent_bit(&secrets)?;
        let inputs = routes.inputs(&config);
        for pipeline in routes.pipelines(&secrets)? {
            Sink::open(&pipeline, None).map_err(|source| RouteError::Receiver {
                container: pipeline.shape.container.clone(),
                source,
            })?;
        }
        let directory = self.config.directory.join(spec.id.as_str());
        routes.write(&directory)?;
        self.run(routes, Some(Arc::new(secrets)), false);
        Ok(TaskLogs { directory, inputs })
    }

    /// The control plane says what a task is: values of secrets may be missing since a restart.
    pub fn told(&self, spec: &TaskSpec) {
        if let Some(known) = self.tasks().get(&spec.id) {
            known.secrets.send_if_modified(|secrets| {
                let missing = secrets.is_none();
                if missing {
                    *secrets = Some(Arc::new(RouteSecrets::of(spec)));
                }
                missing
            });
        }
    }

    /// A task is over: what it has left is delivered, and then its directory goes.
    pub fn ended(&self, task: &TaskId) {
        if let Some(known) = self.tasks().get(task) {
            known.ended.send_replace(true);
        }
    }

    /// A source of a task printed something.
    pub fn wake(&self, task: &TaskId, source: &SourceName) {
        if let Some(wake) = self.tasks().get(task).and_then(|known| known.wakes.get(source)) {
            wake.notify_waiters();
        }
    }

    /// Returns once all that ended tasks have left is delivered, but no later than after `limit`. What is not
    /// delivered by then is for the next router.
    pub async fn drained(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let waiting =
                self.tasks().values().any(|known| *known.ended.borrow() && !known.worker.is_finished());
            if !waiting {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends all deliveries, and returns once none is under way: only then may another router take the directory in
    /// the same process.
    pub async fn stop(self) {
        let known: Vec<_> = self.tasks().drain().map(|(_, known)| known).collect();
        for mut known in known {
            known.worker.abort();
            // Cancelled, or done: either way it is over.
            let _over = (&mut known.worker).await;
        }
    }

    fn run(&self, routes: TaskRoutes, secrets: Option<Arc<RouteSecrets>>, ended: bool) {
        let task = routes.task.clone();
        let (secrets, secrets_watch) = watch::channel(secrets);
        let (ended, ended_watch) = watch::channel(ended);
        let sources = routes.sources.iter().map(|source| (source.source.clone(), Notify::new()));
        let wakes: Wakes = Arc::new(sources.collect());
        let work = Work {
            config: Arc::clone(&self.config),
            directory: self.config.directory.join(task.as_str()),
            routes,
            secrets: secrets_watch,
            ended: ended_watch,
            wakes: Arc::clone(&wakes),
        };
        let worker = tokio::spawn(work.run());
        let mut tasks = self.tasks();
        tasks.retain(|_, known| !known.worker.is_finished());
        tasks.insert(task, Known { secrets, ended, wakes, worker });
    }
}

/// The delivery of one task's lines.
struct Work {
    config: Arc<RouterConfig>,
    directory: PathBuf,
    routes: TaskRoutes,
    secrets: watch::Receiver<Option<Arc<RouteSecrets>>>,
    ended: watch::Receiver<bool>,
    wakes: Wakes,
}

impl Work {
    async fn run(mut self) {
        match self.pipelines().await {
            Ok(pipelines) => self.deliver(pipelines).await,
            Err(error) => {
                tracing::warn!(task = %self.routes.task, %error, "a task's lines cannot be routed");
                self.over().await;
                tokio::time::sleep_until(self.expiry()).await;
            }
        }
        self.over().await;
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(task = %self.routes.task, %error, "a task's spools cannot be removed");
        }
    }

    /// Once the values of secrets are known.
    async fn pipelines(&mut self) -> Result<Vec<Pipeline>, RouteError> {
        let secrets = loop {
            if let Some(secrets) = self.secrets.borrow_and_update().clone() {
                break secrets;
            }
            let ended = *self.ended.borrow();
            let expiry = if ended { self.expiry() } else { Instant::now() + KEPT_FOR };
            tokio::select! {
                changed = self.secrets.changed() => if changed.is_err() { return Err(RouteError::SecretsMissing) },
                () = tokio::time::sleep_until(expiry) => if ended { return Err(RouteError::SecretsMissing) },
                _ = self.ended.changed(), if !ended => {}
            }
        };
        self.routes.pipelines(&secrets)
    }

    async fn deliver(&self, pipelines: Vec<Pipeline>) {
        let mut outputs: HashMap<String, Vec<String>> = HashMap::new();
        for pipeline in &pipelines {
            outputs.entry(pipeline.source.directory()).or_default().push(pipeline.name.clone());
        }
        let readers: HashMap<String, Arc<Mutex<SpoolReader>>> = outputs
            .into_iter()
            .map(|(source, outputs)| {
                let reader = SpoolReader::open(&self.directory.join(&source), &outputs);
                (source, Arc::new(Mutex::new(reader)))
            })
            .collect();
        let mut deliveries = JoinSet::new();
        for pipeline in pipelines {
            let Some(reader) = readers.get(&pipeline.source.directory()) else { continue };
            let key = format!("{}/{}/{}", self.routes.task, pipeline.source.directory(), pipeline.name);
            let (reader, figures) = (Arc::clone(reader), Arc::clone(&self.config.figures));
            let (ended, wakes) = (self.ended.clone(), Arc::clone(&self.wakes));
            let (directory, writer) = (self.directory.clone(), self.config.writer.clone());
            deliveries.spawn(async move {
                let Some(sink) = open(&key, &pipeline, writer, &ended, &directory).await else { return };
                Delivery { key, pipeline, sink, reader, figures, ended, wakes, directory }.run().await;
            });
        }
        while deliveries.join_next().await.is_some() {}
    }

    /// When what is left is given up.
    fn expiry(&self) -> Instant {
        Instant::now() + left(&self.directory)
    }

    async fn over(&mut self) {
        // Nobody is left to say that it ended: it is not known whether it has.
        if self.ended.wait_for(|ended| *ended).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Opens a receiver. It could be opened when the task was started, but what it needs, as a file of roots, may be away for
/// a moment. `None` once what the task has left is given up.
async fn open(
    key: &str,
    pipeline: &Pipeline,
    writer: Option<Arc<dyn LogWriter>>,
    ended: &watch::Receiver<bool>,
    directory: &Path,
) -> Option<Sink> {
    loop {
        match Sink::open(pipeline, writer.clone()) {
            Ok(sink) => return Some(sink),
            Err(error) => {
                tracing::warn!(pipeline = key, %error, "a receiver of lines cannot be used; they are kept");
            }
        }
        if *ended.borrow() && left(directory).is_zero() {
            return None;
        }
        tokio::time::sleep(REOPEN_EACH).await;
    }
}

/// How long what an ended task has left is kept yet: since the last thing that happened to its spools.
fn left(directory: &Path) -> Duration {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) {
            newest = newest.max(changed);
        }
    }
    let age = SystemTime::now().duration_since(newest).unwrap_or_default();
    KEPT_FOR.saturating_sub(age)
}

#[cfg(test)]
mod tests;
