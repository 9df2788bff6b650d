//! The only module of Bowline with `unsafe` code. Each use states its reason.
#![allow(unsafe_code)]

pub mod child;
pub mod fork;
pub mod mount;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes a variable out of this process's environment, so that no child inherits it. `/proc` shows
/// its owner what the process was started with all the same.
///
/// # Panics
/// There is more than one thread: another could be reading the environment.
#[allow(clippy::disallowed_methods)]
pub fn take_environment_variable(name: &str) -> Option<std::ffi::OsString> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    assert!(threads == 1, "the environment is changed before there are threads");
    let value = std::env::var_os(name)?;
    // The one place where it is allowed: there are no threads that could read along.
    #[allow(clippy::disallowed_methods)]
    // SAFETY: this is the only thread (checked above), so nothing reads the environment meanwhile.
    unsafe {
        std::env::remove_var(name);
    }
    Some(value)
}

/// Takes over a descriptor that this process inherited under a number it was
/// told, and marks it close-on-exec.
///
/// # Errors
/// No such descriptor is open, or it is one of the standard ones.
pub fn take_inherited_fd(number: RawFd) -> std::io::Result<OwnedFd> {
    if number < 3 {
        return Err(std::io::Error::other("descriptors 0 to 2 are the standard ones"));
    }
    // SAFETY: fcntl with F_GETFD only inspects the number; it fails on one that is not open.
    let flags = unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) };
    if flags < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (checked above) and, by this function's contract of being
    // called once at start-up for a number handed over by the parent, owned by nobody else here.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Gives memory that was freed, and that the allocator keeps for later, back to the system. Whether
/// there was any; never where the C library is not glibc. Takes milliseconds, and the allocator's lock.
pub fn release_memory() -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) may be called at any time, from any thread.
        (unsafe { nix::libc::malloc_trim(0) }) == 1
    }
    #[cfg(not(target_env = "gnu"))]
    false
}

/// Watches an owned descriptor for readiness. Within a tokio runtime.
///
/// # Errors
/// The descriptor's kind cannot be watched.
pub fn watch_fd(
    fd: OwnedFd,
    interest: tokio::io::Interest,
) -> std::io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, gives the same number at every call, and closes it only when it is
    // dropped, which the AsyncFd that owns it does after it has stopped watching.
    Ok(unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) }?)
}
