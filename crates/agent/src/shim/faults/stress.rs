//! The shim's side of stress: a program of ours that runs in a container as `exec` runs one, in its control groups and
//! namespaces. Its orders come over its standard input, a socket: when that closes, or at its deadline, it ends.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use bowline_model::fault::{FaultError, FaultId, TaskHarm};
use bowline_plumbing::fd_message;
use nix::libc::SIGKILL;
use tokio::{sync::watch, task::spawn_local, time::timeout};

use crate::{
    packet::PacketSocket,
    protocol::Program,
    shim::container_link::ContainerLink,
    stress::{FromStress, Load, Order},
};

/// For all memory to be touched, or a worker to have its file.
const READY_TIMEOUT: Duration = Duration::from_secs(45);

/// What the program has to end by itself; then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// What the kernel has to take a killed program's memory back.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Workers at once.
const WORKERS_MAX: u16 = 256;

/// The container that is put under stress.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) link: Rc<ContainerLink>,
    /// With the container's environment and directory; the command is set here.
    pub(crate) program: Program,
    /// The memory that it may have, in bytes, where that is limited.
    pub(crate) memory_limit: Option<u64>,
    /// What can be taken of it before something is killed, where the kernel says.
    pub(crate) memory_room: Option<u64>,
}

/// The program, running.
#[derive(Debug)]
pub(super) struct Stress {
    link: Rc<ContainerLink>,
    program: u32,
    socket: PacketSocket,
    ended: watch::Receiver<bool>,
    /// Whether its end is ours.
    asked: watch::Sender<bool>,
}

impl Stress {
    /// Returns when the load is there.
    pub(super) async fn begin(
        id: &FaultId,
        target: Target,
        harm: &TaskHarm,
        deadline: Instant,
    ) -> Result<Self, FaultError> {
        let load = load(harm, &target)?;
        let Target { link, mut program, .. } = target;
        let failed =
            |error: io::Error| FaultError::Failed(format!("the program that makes the load: {error}"));
        let own = std::env::current_exe().map_err(failed)?;
        let own = own.into_os_string().into_string();
        let own = own.map_err(|path| failed(io::Error::other(format!("{path:?} is not UTF-8"))))?;
        program.command = vec![own, "stress".to_owned()];
        let (ours, theirs) = fd_message::pair().map_err(failed)?;
        let null: OwnedFd = std::fs::OpenOptions::new().write(true).open("/dev/null").map_err(failed)?.into();
        let stdio = [theirs.as_fd(), null.as_fd(), null.as_fd()];
        let (program, mut exited) = link.run(program, &stdio).await.map_err(failed)?;
        drop(theirs);
        let socket = PacketSocket::new(ours).map_err(failed)?;
        let remaining = deadline.saturating_duration_since(Instant::now());
        socket.send(&Order { lasting: remaining, load }, &[]).await.map_err(failed)?;
        let said = tokio::select! {
            said = timeout(READY_TIMEOUT.min(remaining), socket.receive::<FromStress>()) => said,
            ended = &mut exited => {
                let how = match ended {
                    Ok(Ok(code)) => format!("it ended with code {code}"),
                    Ok(Err(reason)) => reason,
                    Err(_) => "the container has ended".to_owned(),
                };
                return Err(failed(io::Error::other(how)));
            }
        };
        let (ended_sender, ended) = watch::channel(false);
        let (asked, was_asked) = watch::channel(false);
        let name = id.clone();
        spawn_local(async move {
            let how = exited.await;
            if !*was_asked.borrow() && Instant::now() < deadline {
                tracing::warn!(fault = %name, ?how, "a fault's load ended before its deadline");
            }
            ended_sender.send_replace(true);
        });
        let stress = Self { link, program, socket, ended, asked };
        let error = match said {
            Ok(Ok(Some((FromStress::Ready { what }, _)))) => {
                tracing::info!(fault = %id, %what, "a load is there");
                return Ok(stress);
            }
            Ok(Ok(Some((FromStress::Failed { reason }, _)))) => reason,
            Ok(Ok(None)) => "it ended; if the kernel killed it, there was no memory left".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the load is not there after {:?}", READY_TIMEOUT.min(remaining)),
        };
        stress.end().await;
        Err(failed(io::Error::other(error)))
    }

    /// Returns when the program is gone.
    pub(super) async fn end(self) {
        let Self { link, program, socket, mut ended, asked } = self;
        asked.send_replace(true);
        drop(socket);
        let ended_within = async |ended: &mut watch::Receiver<bool>, limit| {
            timeout(limit, ended.wait_for(|ended| *ended)).await.is_ok()
        };
        if ended_within(&mut ended, END_TIMEOUT).await {
            return;
        }
        let killed = link.signal(program, SIGKILL).await;
        if killed.is_ok() && !ended_within(&mut ended, KILL_TIMEOUT).await {
            tracing::warn!("the program of a fault's load was killed and is not gone yet");
        }
    }
}

fn load(harm: &TaskHarm, target: &Target) -> Result<Load, FaultError> {
    let workers_within = |workers: u16| match workers {
        0..=WORKERS_MAX => Ok(workers),
        more => Err(FaultError::Invalid(format!("{more} workers are more than {WORKERS_MAX}"))),
    };
    match harm {
        TaskHarm::Cpu { percent, workers } => {
            Ok(Load::Cpu { percent: *percent, workers: workers_within(*workers)? })
        }
        TaskHarm::Memory { percent } => {
            Ok(Load::Memory { percent: *percent, limit: target.memory_limit, room: target.memory_room })
        }
        TaskHarm::Io { percent, workers } => {
            Ok(Load::Io { percent: *percent, workers: workers_within(*workers)? })
        }
        _ => Err(FaultError::Invalid("that is no load".to_owned())),
    }
}
