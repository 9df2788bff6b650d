//! The proxy's process: started, served, and started again when it ends.

use std::{
    os::fd::AsRawFd,
    process::{Command, Stdio},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use bowline_model::{
    sabotage,
    task::{AccessLogFormat, TaskSpec},
};
use bowline_plumbing::{
    backoff::Backoff,
    fd_message,
    sys::child::{Preparation, prepare},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    sync::{mpsc, watch},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    event::Event,
    link::Link,
    outputs::{Outputs, output_pipe},
};
use crate::{
    config::{OutputSource, OutputStream, ProgramCommand},
    packet::PacketSocket,
};

/// A proxy that lived as long starts again at once.
const STABLE: Duration = Duration::from_secs(10);

/// What a proxy has for its drain (20 s) and a little more.
const STOP_TIMEOUT: Duration = Duration::from_secs(22);

/// Variables of our own environment that a proxy gets.
const ENVIRONMENT: [&str; 3] = ["BOWLINE_LOG", "RUST_BACKTRACE", "PATH"];

/// Keeps a proxy running until `stop` says otherwise; then ends it in order. Its process id is kept in `running`: 0
/// while there is none.
pub(crate) async fn supervise(
    command: ProgramCommand,
    spec: TaskSpec,
    link: Rc<Link>,
    outputs: Rc<Outputs>,
    events: mpsc::Sender<Event>,
    mut stop: watch::Receiver<bool>,
    running: Arc<AtomicI32>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    while !*stop.borrow() {
        let started = Instant::now();
        let how = match run(&command, &spec, &link, &outputs, &mut stop, &running).await {
            Ok(how) => how,
            Err(error) => format!("{} could not be run: {error}", command.program.display()),
        };
        running.store(0, Ordering::SeqCst);
        if *stop.borrow() {
            return;
        }
        outputs.launcher(format!("the proxy ended ({how}) and is started again"));
        let _ = events.send(Event::ProxyExited { how }).await;
        if started.elapsed() >= STABLE {
            backoff.reset();
        } else {
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                () = stopped(&mut stop) => {}
            }
        }
    }
}

/// Runs one proxy until it ends.
async fn run(
    command: &ProgramCommand,
    spec: &TaskSpec,
    link: &Rc<Link>,
    outputs: &Rc<Outputs>,
    stop: &mut watch::Receiver<bool>,
    running: &AtomicI32,
) -> std::io::Result<String> {
    let (ours, theirs) = fd_message::pair()?;
    let mut program = Command::new(&command.program);
    program.args(&command.arguments).arg("--shim-fd").arg(theirs.as_raw_fd().to_string());
    if let Some(log) = spec.proxy.as_ref().and_then(|proxy| proxy.access_log) {
        let format = match log.format {
            AccessLogFormat::Json => "json",
            AccessLogFormat::Text => "text",
        };
        program.args(["--access-log", "-", "--access-log-format", format]);
        if log.query_parameters {
            program.arg("--access-log-query");
        }
    }
    program.env_clear().current_dir("/");
    for name in ENVIRONMENT.iter().chain(sabotage::environment()) {
        if let Some(value) = std::env::var_os(name) {
            program.env(name, value);
        }
    }
    let (stdout, stdout_end) = output_pipe()?;
    let (stderr, stderr_end) = output_pipe()?;
    program.stdin(Stdio::null()).stdout(stdout_end).stderr(stderr_end);
    prepare(
        &mut program,
        Preparation {
            new_session: true,
            dies_with_parent: true,
            limits: Vec::new(),
            inherited: Some(theirs),
        },
    );
    let mut child = {
        // The command holds our copies of the proxy's descriptors, which must go.
        let mut program = tokio::process::Command::from(program);
        program.spawn()?
    };
    tracing::info!(task = %spec.id, pid = child.id(), "the proxy was started");
    running.store(child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0), Ordering::SeqCst);
    for (stream, pipe) in [(OutputStream::Stdout, stdout), (OutputStream::Stderr, stderr)] {
        let outputs = outputs.clone();
        spawn_local(async move { outputs.capture(OutputSource::Proxy, stream, pipe).await });
    }
    let socket = PacketSocket::new(ours)?;
    let serving = {
        let link = link.clone();
        spawn_local(async move {
            if let Err(error) = link.serve(&socket).await {
                tracing::warn!(%error, "the link to the proxy failed");
            }
        })
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = stopped(stop) => end(&mut child).await,
    };
    serving.abort();
    Ok(status?.to_string())
}

/// Returns when the proxy is to be stopped. (Not `wait_for` in a `select!`: the
/// guard that it gives would be held while the branch runs.)
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn end(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match timeout(STOP_TIMEOUT, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}
