//! The only module of Bowline with `unsafe` code. Each use states its reason.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

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
