//! Messages with file descriptors over a Unix socket of type SEQPACKET: one
//! JSON value a packet, descriptors beside it (SCM_RIGHTS).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};

/// Longest message, in bytes of JSON.
pub const MESSAGE_BYTES_MAX: usize = 150 * 1024;

/// Most descriptors beside one message.
pub const MESSAGE_FDS_MAX: usize = 32;

/// Two connected sockets for such messages.
///
/// # Errors
/// The system has no descriptors left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message; waits while the socket is full (a blocking socket).
///
/// # Errors
/// The message is too long, has too many descriptors, or the other side is gone.
pub fn send<M: Serialize>(socket: impl AsFd, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MESSAGE_BYTES_MAX || fds.len() > MESSAGE_FDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(&json)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message. `None`: the other side has closed.
///
/// # Errors
/// The bytes are no such message, or were cut short.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message was cut short"));
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn carries_a_message_and_a_descriptor() {
        let (a, b) = pair().expect("sockets");
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
        send(&a, &"hello", &[theirs.as_fd()]).expect("sends");
        drop(theirs);
        let (text, fds) = receive::<String>(&b).expect("receives").expect("open");
        assert_eq!((text.as_str(), fds.len()), ("hello", 1));
        let mut passed = std::os::unix::net::UnixStream::from(fds.into_iter().next().expect("one"));
        passed.write_all(b"x").expect("writes");
        let mut byte = [0];
        ours.read_exact(&mut byte).expect("reads");
        drop(a);
        assert!(receive::<String>(&b).expect("closed").is_none());
    }

    #[test]
    fn refuses_a_message_that_is_too_long() {
        let (a, _b) = pair().expect("sockets");
        assert!(send(&a, &"x".repeat(MESSAGE_BYTES_MAX), &[]).is_err());
    }
}
