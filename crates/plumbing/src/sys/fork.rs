//! A copy of this process in namespaces of its own.

use std::{io, os::fd::AsRawFd, os::fd::BorrowedFd};

use nix::{libc, sched::CloneFlags, unistd::Pid};

/// Which of the two processes goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The one that called; the child's id as it sees it.
    Parent(Pid),
    /// The copy.
    Child,
}

/// The flags that [`fork_into`] takes: namespaces and nothing else.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Forks this process; the child is in new `namespaces` (none: plain fork).
/// The parent is told by SIGCHLD when it ends.
///
/// # Errors
/// This process has more than one thread, a flag is no namespace, or the
/// system refuses (user namespaces forbidden: `EPERM`, `ENOSPC`, `EUSERS`).
pub fn fork_into(namespaces: CloneFlags) -> io::Result<Forked> {
    if !NAMESPACES.contains(namespaces) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only namespaces can be new in the child"));
    }
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("only a process with a single thread can fork into namespaces"));
    }
    let flags = libc::c_long::from(namespaces.bits() | libc::SIGCHLD);
    // SAFETY: clone(2) without CLONE_VM, CLONE_FILES or a stack is fork(2): the child goes on here with
    // a copy of all memory. This is the only thread (checked above), so no other can hold a lock
    // or leave a structure half changed in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor except the standard ones and those of `keep`. For
/// the child of [`fork_into`], whose copies of the parent's descriptors would
/// keep its sockets and locks alive.
///
/// # Errors
/// The kernel has no close_range (older than 5.9).
pub fn close_all_except(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = 3u32;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if fd > first {
            // SAFETY: close_range only closes descriptors. The caller is a fresh copy that goes on to
            // use none but those kept; values in the copied memory that own others are never used or
            // dropped in it (it ends by `exit`).
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = fd.saturating_add(1).max(first);
    }
    Ok(())
}

/// Ends this process at once, without running destructors or exit handlers:
/// for the child of [`fork_into`], whose copied ones belong to its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit ends the process; nothing of it runs afterwards.
    unsafe { libc::_exit(code) }
}
