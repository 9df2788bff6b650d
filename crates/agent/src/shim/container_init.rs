//! A container's init: the first process of a container's mount and process
//! namespaces. It runs the container's program and what is executed beside it
//! (health checks), passes signals on, reaps, and ends when the program does:
//! whatever is left in the container ends with it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Command, Stdio},
};

use bowline_plumbing::{
    fd_message,
    sys::{
        child::{Preparation, prepare, set_signal_ignored},
        fork::{close_all_except, exit_now},
    },
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open, set_child_subreaper, set_parent_process_death_signal};

use super::{descendants, mounts, ulimits};
use crate::protocol::{ContainerSetUp, FromContainer, MAIN_PROGRAM, Program, ToContainer};

/// Programs that may run beside the container's own.
const PROGRAMS_MAX: usize = 64;

/// Runs as a container's init, in the control groups that `doors` lead to, until its program has ended or the shim is gone.
pub(crate) fn run(socket: OwnedFd, doors: Vec<OwnedFd>, set_up: ContainerSetUp) -> ! {
    let isolated = set_up.isolated;
    if let Err(error) = serve(&socket, doors, set_up) {
        let _ = fd_message::send(&socket, &FromContainer::Failed { reason: error.to_string() }, &[]);
    }
    if !isolated {
        // With a process namespace the kernel does this.
        descendants::kill_all();
    }
    exit_now(0)
}

fn serve(socket: &OwnedFd, doors: Vec<OwnedFd>, set_up: ContainerSetUp) -> io::Result<()> {
    for door in doors {
        rustix::io::write(&door, b"0")?;
    }
    close_all_except(&[socket.as_fd()])?;
    set_parent_process_death_signal(Some(if set_up.isolated {
        rustix::process::Signal::KILL
    } else {
        // So that there is time to end what the kernel does not.
        rustix::process::Signal::TERM
    }))?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    // An ignored SIGCHLD, inherited from the task's init, would take the exit codes away.
    set_signal_ignored(Signal::SIGCHLD, false)?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let warnings = if set_up.isolated {
        mounts::set_up(&set_up)?
    } else {
        set_child_subreaper(Some(rustix::process::getpid()))?;
        mounts::without_namespace(&set_up)
    };
    fd_message::send(socket, &FromContainer::Ready { warnings }, &[])?;

    let mut programs: Vec<(u32, Pid)> = Vec::new();
    loop {
        let mut ready =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [orders, ended] = ready.map(|fd| fd.any().unwrap_or(false));
        if ended {
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo == Signal::SIGTERM as u32 {
                    return Ok(());
                }
            }
            if reap(socket, &mut programs)? {
                return Ok(());
            }
        }
        if orders {
            let Some((order, fds)) = fd_message::receive(socket)? else {
                return Ok(());
            };
            match order {
                ToContainer::Run(program) => start(socket, &mut programs, program, fds)?,
                ToContainer::Signal { id, signal } => {
                    let program = programs.iter().find(|(known, _)| *known == id);
                    if let (Some((_, pid)), Ok(signal)) = (program, Signal::try_from(signal)) {
                        // It may have ended just now.
                        let _ = kill(*pid, signal);
                    }
                }
            }
        }
    }
}

/// Reports programs that have ended. True: the container's own has.
fn reap(socket: &OwnedFd, programs: &mut Vec<(u32, Pid)>) -> io::Result<bool> {
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(position) = programs.iter().position(|(_, known)| *known == pid) {
            let (id, _) = programs.swap_remove(position);
            fd_message::send(socket, &FromContainer::Exited { id, code }, &[])?;
            if id == MAIN_PROGRAM {
                return Ok(true);
            }
        }
    }
}

fn start(
    socket: &OwnedFd,
    programs: &mut Vec<(u32, Pid)>,
    program: Program,
    fds: Vec<OwnedFd>,
) -> io::Result<()> {
    let id = program.id;
    let started = if programs.len() >= PROGRAMS_MAX {
        Err(format!("{PROGRAMS_MAX} programs run in the container already"))
    } else {
        spawn(&program, fds)
    };
    match started {
        Ok((pid, pidfd)) => {
            programs.push((id, pid));
            let fds: Vec<BorrowedFd<'_>> = pidfd.iter().map(AsFd::as_fd).collect();
            fd_message::send(socket, &FromContainer::Started { id }, &fds)
        }
        Err(reason) => fd_message::send(socket, &FromContainer::NotStarted { id, reason }, &[]),
    }
}

fn spawn(program: &Program, fds: Vec<OwnedFd>) -> Result<(Pid, Option<OwnedFd>), String> {
    let (name, arguments) = program.command.split_first().ok_or("no command")?;
    let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(fds)
        .map_err(|_| "standard input, output and error are missing".to_owned())?;
    let directory = &program.working_directory;
    if !directory.is_dir() {
        return Err(format!("the working directory {} does not exist", directory.display()));
    }
    let mut command = Command::new(name);
    command.args(arguments).env_clear().current_dir(directory);
    for (variable, value) in &program.environment {
        command.env(variable, value.expose());
    }
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let limits = ulimits::limits(&program.ulimits)?;
    prepare(&mut command, Preparation { new_session: true, dies_with_parent: true, limits, inherited: None });
    let child = command.spawn().map_err(|error| not_started(name, program, &error))?;
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    // The handle goes; `reap` waits for it.
    drop(child);
    let pidfd = rustix::process::Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    Ok((Pid::from_raw(pid), pidfd))
}

/// Why a program did not start, in the words of the container runtimes.
fn not_started(name: &str, program: &Program, error: &io::Error) -> String {
    // A directory of the PATH that may not be entered makes the system say "permission denied".
    let in_path = || {
        let path = program.environment.get("PATH").map(|path| path.expose()).unwrap_or_default();
        path.split(':').any(|directory| std::path::Path::new(directory).join(name).exists())
    };
    match error.kind() {
        io::ErrorKind::NotFound if name.contains('/') => {
            format!("exec: \"{name}\": stat {name}: no such file or directory")
        }
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied if !name.contains('/') && !in_path() => {
            format!("exec: \"{name}\": executable file not found in $PATH")
        }
        io::ErrorKind::PermissionDenied => format!("exec: \"{name}\": permission denied"),
        _ => format!("exec: \"{name}\": {error}"),
    }
}
