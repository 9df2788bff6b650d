//! The processes of a task's containers, as `/proc` shows them, and signals that reach the right one.

use std::{collections::HashMap, fs, io, os::unix::fs::MetadataExt};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// A process that does not become another when its number is given anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// When it started, in the kernel's ticks since its own start.
    started: u64,
}

/// A process as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) identity: Identity,
    parent: i32,
    state: char,
    command: String,
}

impl Process {
    /// Stopped by a signal, or by who traces it.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Whether this process has started it, and it has not been forgotten.
    pub(super) fn is_child(&self) -> bool {
        u32::try_from(self.parent) == Ok(std::process::id()) && self.is_alive()
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether its command has this name: the kernel's short one, or the last part of the path it was run by.
    pub(super) fn is_named(&self, name: &str) -> bool {
        if self.command == name {
            return true;
        }
        let arguments = arguments(&self.identity.pid.to_string());
        let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
        program.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
    }
}

/// Sees one process.
pub(super) fn look(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)). The name, in parentheses, may hold anything.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (head, rest) = stat.rsplit_once(')')?;
    let command = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // The 22nd field of all; two are taken, and two came before.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { identity: Identity { pid, started }, parent, state, command })
}

/// What runs in the containers of the task whose init is `init`: the inits of the task and of its containers, which
/// run health checks and end what is in the containers, are not among them.
pub(super) fn in_containers(init: i32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let all = entries.filter_map(|entry| look(entry.ok()?.file_name().to_str()?.parse().ok()?));
    below_containers(init, all)
}

fn below_containers(init: i32, all: impl Iterator<Item = Process>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let inits = children.remove(&init).unwrap_or_default();
    let mut waiting: Vec<i32> = inits.iter().map(|process| process.identity.pid).collect();
    let mut found = Vec::new();
    while let Some(parent) = waiting.pop() {
        // Removed: what was read at different times may form a ring.
        for process in children.remove(&parent).unwrap_or_default() {
            waiting.push(process.identity.pid);
            if process.is_alive() {
                found.push(process);
            }
        }
    }
    found
}

/// How programs of ours are told from others in a container.
#[derive(Debug)]
pub(super) struct Ours {
    /// Device and inode of the program that this process runs.
    program: Option<(u64, u64)>,
    arguments: Vec<u8>,
}

impl Ours {
    pub(super) fn new() -> Self {
        Self { program: program("self"), arguments: arguments("self") }
    }

    /// Whether the process is to be left alone by what lasts: one that a container's init has forked and that does not
    /// run its program yet, for which the init waits; or what makes the load of another fault, which ends by itself.
    pub(super) fn is_one(&self, pid: i32) -> bool {
        let pid = pid.to_string();
        self.program.is_some() && program(&pid) == self.program && {
            let its = arguments(&pid);
            its == self.arguments || its.ends_with(LOAD_ARGUMENTS)
        }
    }
}

/// How the command line of what makes load ends.
const LOAD_ARGUMENTS: &[u8] = b"\0stress\0";

fn program(pid: &str) -> Option<(u64, u64)> {
    let program = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((program.dev(), program.ino()))
}

fn arguments(pid: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Sends a signal to that process and to no other. False: it is gone.
pub(super) fn send(identity: Identity, signal: i32) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(identity.pid) else { return Ok(false) };
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{signal} is no signal")))?;
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // Looked at only now: the descriptor is of the process that has the number, and keeps it.
    if look(identity.pid).is_none_or(|process| process.identity != identity) {
        return Ok(false);
    }
    match pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn process(pid: i32, parent: i32, state: char) -> Process {
        let identity = Identity { pid, started: 1 };
        Process { identity, parent, state, command: "x".to_owned() }
    }

    #[test]
    fn reads_names_that_look_like_fields() {
        let stat = "17 (a) R (b) T 4 17 17 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        let process = parse(17, stat).expect("read");
        assert_eq!((process.parent, process.state, process.command.as_str()), (4, 'T', "a) R (b"));
        assert_eq!(process.identity, Identity { pid: 17, started: 987_654 });
        assert!(process.is_stopped() && process.is_named("a) R (b"));
        assert_eq!(parse(17, "17 (a) R 4"), None);
    }

    #[test]
    fn inits_and_the_dead_are_no_victims() {
        let all = [
            process(10, 1, 'S'),
            process(11, 10, 'S'),
            process(12, 11, 'S'),
            process(13, 12, 'Z'),
            process(14, 12, 'R'),
            process(20, 1, 'S'),
        ];
        let mut found: Vec<i32> =
            below_containers(10, all.into_iter()).iter().map(|process| process.identity.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [12, 14]);
    }

    #[test]
    fn a_signal_reaches_only_who_it_is_for() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("runs");
        let pid = i32::try_from(child.id()).expect("a process id");
        let identity = look(pid).expect("it runs").identity;
        let other = Identity { started: identity.started + 1, ..identity };
        assert!(!send(other, nix::libc::SIGKILL).expect("looks"), "another had that number");
        assert!(send(identity, 0).is_err());
        assert!(send(identity, nix::libc::SIGKILL).expect("sends"));
        child.wait().expect("ends");
        assert!(!send(identity, nix::libc::SIGKILL).expect("looks"));
    }

    proptest! {
        #[test]
        fn no_text_panics(stat in "[ 0-9()A-Z]{0,80}") {
            let _ = parse(1, &stat);
        }
    }
}
