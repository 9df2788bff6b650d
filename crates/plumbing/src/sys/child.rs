//! What happens in a child between fork and exec.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::libc;

/// How a child is prepared before its program runs.
#[derive(Debug, Default)]
pub struct Preparation {
    /// A session of its own: no signal of a terminal reaches it.
    pub new_session: bool,
    /// It is killed when the thread that started it ends.
    pub dies_with_parent: bool,
    /// Limits to set: resource (`RLIMIT_…`), soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// A descriptor that the program inherits, under the number that it has here.
    pub inherited: Option<OwnedFd>,
}

/// Has `command` prepare its child so. Signals have no mask and their default
/// actions in it.
pub fn prepare(command: &mut Command, preparation: Preparation) {
    let parent = std::process::id();
    let steps = move || {
        // Everything here is async-signal-safe: system calls on values made before the fork.
        // SAFETY: an all-zero sigset_t is valid storage, and sigemptyset fills it.
        let mut no_signals: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values or null, as the calls allow.
        unsafe {
            libc::sigemptyset(&raw mut no_signals);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const no_signals, std::ptr::null_mut());
        }
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGCHLD, libc::SIGTERM]
        {
            // SAFETY: sets a signal's default action.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        if preparation.new_session {
            // SAFETY: setsid has no arguments; it fails only for a group's leader.
            unsafe { libc::setsid() };
        }
        for (resource, soft, hard) in &preparation.limits {
            let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
            // SAFETY: the pointer is to a live value.
            check(unsafe { libc::setrlimit(*resource, &raw const limit) })?;
        }
        if let Some(fd) = &preparation.inherited {
            // SAFETY: changes a flag of a descriptor that is open.
            check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) })?;
        }
        if preparation.dies_with_parent {
            // SAFETY: sets a property of this process.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
            // SAFETY: getppid has no arguments.
            let parent_now = unsafe { libc::getppid() };
            // The parent ended before the property was set: 0 in a namespace that it is not in.
            if u32::try_from(parent_now) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes async-signal-safe calls only, allocates nothing and takes no lock.
    unsafe { command.pre_exec(steps) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ignores `signal` in this process, or with `ignored` false gives it its
/// default action.
///
/// # Errors
/// The signal's action cannot be changed.
pub fn set_signal_ignored(signal: nix::sys::signal::Signal, ignored: bool) -> io::Result<()> {
    use nix::sys::signal::{SigHandler, signal as set_action};
    let action = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
    // SAFETY: no handler function is installed, so none can run at a bad time.
    unsafe { set_action(signal, action) }?;
    Ok(())
}

/// Whether a process may make these namespaces: a child tries, first a user
/// namespace and then, with its privileges, the others, and ends. No program is run.
///
/// # Errors
/// The system's refusal.
pub fn try_namespaces() -> io::Result<()> {
    let mut command = Command::new("/proc/no-such-program");
    let steps = || {
        let others = libc::CLONE_NEWNET
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC;
        // SAFETY: changes the namespaces of this process, which ends at once.
        check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
        // SAFETY: as above.
        check(unsafe { libc::unshare(others) })
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(steps) };
    match command.spawn() {
        // Everything worked but the program, which does not exist.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(mut child) => child.wait().map(|_| ()),
    }
}
