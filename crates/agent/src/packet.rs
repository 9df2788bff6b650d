//! [`fd_message`](bowline_plumbing::fd_message) sockets under tokio.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use bowline_plumbing::{fd_message, sys::watch_fd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{Interest, unix::AsyncFd};

/// One end of a SEQPACKET pair or connection.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: AsyncFd<OwnedFd>,
}

impl PacketSocket {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&socket, fcntl_getfl(&socket)? | OFlags::NONBLOCK)?;
        Ok(Self { socket: watch_fd(socket, Interest::READABLE | Interest::WRITABLE)? })
    }

    pub(crate) async fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, |socket| fd_message::send(socket, message, fds)).await
    }

    /// The next message; `None` when the other side has closed.
    pub(crate) async fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        match self.socket.async_io(Interest::READABLE, |socket| fd_message::receive(socket)).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            received => received,
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
