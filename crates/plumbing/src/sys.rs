//! The only module of Bowline with `unsafe` code. Each use states its reason.
#![allow(unsafe_code)]

pub mod allocator;
pub mod child;
pub mod fork;
pub mod mount;
pub mod program;

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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

/// Has a listening TCP socket tell of a connection when its first bytes are there, or after so many seconds; 0: at once.
///
/// # Errors
/// The descriptor is no such socket.
pub fn defer_accept(socket: BorrowedFd<'_>, seconds: u8) -> std::io::Result<()> {
    use nix::libc::{IPPROTO_TCP, TCP_DEFER_ACCEPT, c_int, setsockopt, socklen_t};
    let seconds = c_int::from(seconds);
    // SAFETY: the descriptor is open, and the kernel reads so many bytes of the number, which lives meanwhile.
    // Source: setsockopt(2), and tcp(7) for what the number is.
    let result = unsafe {
        setsockopt(
            socket.as_raw_fd(),
            IPPROTO_TCP,
            TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Write},
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_connection_is_told_of_when_it_says_something_or_a_while_later() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("an address");
        socket.set_nonblocking(true).expect("set");
        defer_accept(socket.as_fd(), 1).expect("set");
        let address = socket.local_addr().expect("an address");
        let is_told = || match socket.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        };
        let await_told = || {
            let began = Instant::now();
            while !is_told() {
                assert!(began.elapsed() < Duration::from_secs(20));
                thread::sleep(Duration::from_millis(5));
            }
        };
        let mut client = TcpStream::connect(address).expect("connected");
        thread::sleep(Duration::from_millis(100));
        assert!(!is_told());
        client.write_all(b"x").expect("written");
        await_told();
        let _silent = TcpStream::connect(address).expect("connected");
        await_told();
        defer_accept(socket.as_fd(), 0).expect("set");
        let _silent = TcpStream::connect(address).expect("connected");
        thread::sleep(Duration::from_millis(50));
        assert!(is_told());
    }
}
