//! The shim's side of a task's init: starting it and asking it for things.

use std::{
    fs, io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use bowline_plumbing::{
    fd_message,
    sys::fork::{Forked, fork_into},
};
use nix::{
    sched::CloneFlags,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid},
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::init;
use crate::protocol::{FromInit, InitSetUp, ToInit};

/// The init answers in microseconds; a container's start takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// From closing the init's socket to killing it.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A task's init, alive.
#[derive(Debug)]
pub(crate) struct InitProcess {
    socket: OwnedFd,
    pid: Pid,
}

impl InitProcess {
    /// Starts the init and has it set up the task's namespaces. For a process
    /// of one thread.
    pub(crate) fn start(set_up: InitSetUp) -> io::Result<(Self, Vec<String>)> {
        let (ours, theirs) = fd_message::pair()?;
        let namespaces = if set_up.isolated { NAMESPACES } else { CloneFlags::empty() };
        let pid = match fork_into(namespaces) {
            Ok(Forked::Child) => init::run(theirs),
            Ok(Forked::Parent(pid)) => pid,
            Err(error) if set_up.isolated => {
                return Err(io::Error::new(error.kind(), format!("making a user namespace: {error}")));
            }
            Err(error) => return Err(error),
        };
        drop(theirs);
        let process = Self { socket: ours, pid };
        set_socket_timeout(&process.socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        if set_up.isolated {
            map_ids(pid)?;
        }
        let (warnings, _) = process.call(&ToInit::SetUp(set_up), &[])?;
        Ok((process, warnings))
    }

    /// Its process id in the host's namespace.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Ends the init, and with it all that is in the task, and waits until it is gone.
    pub(crate) fn end(&self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(WaitStatus::StillAlive) => {
                    let _ = kill(self.pid, Signal::SIGKILL);
                    let _ = waitpid(self.pid, None);
                    return;
                }
                _ => return,
            }
        }
    }

    /// Asks for something, and waits for it.
    pub(crate) fn call(
        &self,
        order: &ToInit,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<(Vec<String>, Vec<OwnedFd>)> {
        fd_message::send(&self.socket, order, fds)?;
        match fd_message::receive(&self.socket)? {
            Some((FromInit::Done { warnings }, fds)) => Ok((warnings, fds)),
            Some((FromInit::Failed { reason }, _)) => Err(io::Error::other(reason)),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the task's init is gone")),
        }
    }
}

impl Drop for InitProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// The namespaces of a task.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Gives the child's user namespace its users and groups: to an ordinary user
/// itself, as root, as a container's default user is; to root every user that
/// it has, so that programs that drop privileges work. Root in the task is
/// root over files then, as whoever runs it is, and over nothing else.
fn map_ids(pid: Pid) -> io::Result<()> {
    let directory = Path::new("/proc").join(pid.to_string());
    let described =
        |error: io::Error| io::Error::new(error.kind(), format!("mapping users of the task: {error}"));
    if Uid::effective().is_root() {
        let whole = |file: &str| -> io::Result<()> {
            fs::write(directory.join(file), identity(&fs::read_to_string(format!("/proc/self/{file}"))?))
        };
        if whole("uid_map").and_then(|()| whole("gid_map")).is_ok() {
            return Ok(());
        }
    }
    fs::write(directory.join("setgroups"), "deny").map_err(described)?;
    fs::write(directory.join("uid_map"), format!("0 {} 1\n", Uid::effective())).map_err(described)?;
    fs::write(directory.join("gid_map"), format!("0 {} 1\n", Gid::effective())).map_err(described)
}

/// A map of every id in `map` to itself.
fn identity(map: &str) -> String {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?;
            let count = fields.nth(1)?;
            Some(format!("{first} {first} {count}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_the_ids_that_there_are_to_themselves() {
        assert_eq!(identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
