//! A proxy's life: start, follow the configuration, drain, end.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use bowline_discovery::resource::ResourceType;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    access_log::AccessLog,
    admin,
    application::Dialer,
    config::store::Rejection,
    config_file::{self, ConfigFileError},
    data_plane::DataPlane,
    health,
    metrics::Metrics,
    options::{ProxyError, ProxyOptions},
    overload::{self, Overload},
    resolver,
    shared::Shared,
    sockets::Sockets,
    tls::application::ApplicationAuthority,
};

/// The data plane, which the tasks of the configuration side take turns with.
#[derive(Clone, Debug)]
pub(crate) struct Control(Arc<Mutex<DataPlane>>);

impl Control {
    pub(crate) fn new(data_plane: DataPlane) -> Self {
        Self(Arc::new(Mutex::new(data_plane)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, DataPlane> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that both ways to run have in common.
pub(crate) fn build(
    options: &ProxyOptions,
    dialer: Dialer,
    sockets: Sockets,
    application_address: Ipv4Addr,
    application_authority: Option<ApplicationAuthority>,
) -> Result<Control, ProxyError> {
    let metrics = Arc::new(Metrics::default());
    let access_log = match &options.access_log {
        None => None,
        Some(target) => Some(
            AccessLog::start(target, options.access_log_format, options.access_log_query, &metrics)
                .map_err(|source| ProxyError::Open { what: "the access log", source })?,
        ),
    };
    let workers = options.workers.max(1);
    let shared =
        Shared::new(metrics, access_log, dialer, application_address, workers, application_authority);
    let shared = Shared { overload: Overload::of(options.memory_limit), ..shared };
    Ok(Control::new(DataPlane::start(Arc::new(shared), sockets)?))
}

/// A proxy that runs on threads of this process.
#[derive(Debug)]
pub struct ProxyHandle {
    control: Control,
    /// The configuration file, if it is configured by one.
    path: Option<PathBuf>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl ProxyHandle {
    pub(crate) fn new(
        control: Control,
        path: Option<PathBuf>,
        stop: watch::Sender<bool>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self { control, path, stop, thread }
    }

    /// Where a listener is: its real port where the configuration says 0.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses().get(listener).copied()
    }

    /// Where all listeners are.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.control.lock().addresses()
    }

    /// The proxy's counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.control.lock().shared.metrics)
    }

    /// Reads the configuration file again (a proxy of a task has none). What can be applied is; of the rest
    /// the last good one stays.
    ///
    /// # Errors
    /// The file cannot be read, or holds resources that were refused.
    pub fn reload(&self) -> Result<(), ProxyError> {
        self.path.as_ref().map_or(Ok(()), |path| load(&self.control, path))
    }

    /// Drains, and returns when the proxy has ended.
    pub fn stop(self) {
        self.stop.send_replace(true);
        // A panic there has been reported by the thread itself.
        let _ = self.thread.join();
        flush(&self.control);
    }
}

/// Writes what the access log still has.
pub(crate) fn flush(control: &Control) {
    let shared = Arc::clone(&control.lock().shared);
    if let Some(log) = &shared.access_log {
        log.flush();
    }
}

fn load(control: &Control, path: &Path) -> Result<(), ProxyError> {
    let file = config_file::read(path)?;
    let mut data_plane = control.lock();
    let removed: Vec<(ResourceType, String)> = data_plane
        .store
        .all()
        .map(|held| (held.resource.kind(), held.resource.name().to_owned()))
        .filter(|(kind, name)| {
            !file.resources.iter().any(|resource| resource.kind() == *kind && resource.name() == name)
        })
        .collect();
    let changed = file.resources.into_iter().map(|resource| (String::new(), resource)).collect();
    let rejections = data_plane.apply(changed, &removed);
    match rejections.is_empty() {
        true => Ok(()),
        false => Err(ConfigFileError::Rejected {
            path: path.to_owned(),
            reasons: rejections.iter().map(describe).collect(),
        }
        .into()),
    }
}

/// A rejection as logs and NACKs say it.
pub(crate) fn describe(rejection: &Rejection) -> String {
    format!("{} {:?}: {}", rejection.kind.name(), rejection.name, rejection.reason)
}

/// Starts a proxy from a configuration file, and returns once it listens.
///
/// # Errors
/// The file cannot be read or applied in full, or an address cannot be bound.
pub fn start_from_file(path: &Path, options: &ProxyOptions) -> Result<ProxyHandle, ProxyError> {
    let control = build(options, Dialer::Direct, Sockets::Own, Ipv4Addr::LOCALHOST, None)?;
    load(&control, path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, mut stopping) = watch::channel(false);
    let background = {
        let _entered = runtime.enter();
        admin::bind(options.admin.as_ref())?
    };
    let (drain, of_thread) = (options.drain, control.clone());
    let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let checks = tokio::spawn(health::check::check_forever(of_thread.clone()));
            let names = tokio::spawn(resolver::resolve_forever(of_thread.clone()));
            let memory = tokio::spawn(overload::watch(Arc::clone(&of_thread.lock().shared)));
            let admin = tokio::spawn(admin::serve(background, of_thread.clone()));
            // The other end is kept by the handle.
            let _ = stopping.wait_for(|stop| *stop).await;
            checks.abort();
            names.abort();
            memory.abort();
            let drained = of_thread.lock().drain(drain);
            drained.await;
            admin.abort();
        });
    })?;
    Ok(ProxyHandle::new(control, Some(path.to_owned()), stop, thread))
}

/// Runs a proxy from a configuration file until SIGTERM or SIGINT; SIGHUP
/// reads the file again.
///
/// # Errors
/// As [`start_from_file`].
pub fn run_from_file(path: &Path, options: &ProxyOptions) -> Result<(), ProxyError> {
    let handle = start_from_file(path, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut end = End::new()?;
        loop {
            tokio::select! {
                () = end.wait() => return Ok::<_, ProxyError>(()),
                _ = hang_up.recv() => match handle.reload() {
                    Ok(()) => tracing::info!("read the configuration again"),
                    Err(error) => tracing::error!(%error, "kept the last good configuration"),
                },
            }
        }
    })?;
    handle.stop();
    Ok(())
}

/// The signals that end a proxy.
pub(crate) struct End {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl End {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
