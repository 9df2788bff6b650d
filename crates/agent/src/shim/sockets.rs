//! The listening sockets that a shim keeps for its proxy, so that a proxy that
//! was killed finds them, connections queued, when it is started again.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

use bowline_plumbing::shim_link::{Place, Transport};
use socket2::{Domain, Protocol, Socket, Type};

use super::network::backlog;

/// Most sockets that one proxy may ask for.
const SOCKETS_MAX: usize = 8_192;

/// What a kept socket was asked for as.
pub(crate) type SocketKey = (Place, Transport, SocketAddrV4);

/// The sockets kept, and where they are really bound.
#[derive(Debug, Default)]
pub(crate) struct KeptSockets {
    sockets: HashMap<SocketKey, (OwnedFd, SocketAddr)>,
}

impl KeptSockets {
    /// The socket asked for as `key`: the one kept, or the one that `open` makes.
    pub(crate) fn get_or_open(
        &mut self,
        key: SocketKey,
        open: impl FnOnce() -> io::Result<(OwnedFd, SocketAddr)>,
    ) -> io::Result<(&OwnedFd, SocketAddr)> {
        if !self.sockets.contains_key(&key) {
            if self.sockets.len() >= SOCKETS_MAX {
                return Err(io::Error::other(format!("a task has at most {SOCKETS_MAX} listeners")));
            }
            let opened = open()?;
            self.sockets.insert(key, opened);
        }
        let (socket, address) =
            self.sockets.get(&key).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok((socket, *address))
    }

    /// Keeps a socket that is open already.
    pub(crate) fn insert(&mut self, key: SocketKey, socket: OwnedFd, address: SocketAddr) {
        self.sockets.insert(key, (socket, address));
    }

    /// Closes our copy.
    pub(crate) fn release(&mut self, key: &SocketKey) {
        self.sockets.remove(key);
    }

    /// Whether it is kept.
    pub(crate) fn contains(&self, key: &SocketKey) -> bool {
        self.sockets.contains_key(key)
    }
}

/// A socket bound to `address` in the thread's network, listening if TCP, not blocking.
pub(crate) fn open(transport: Transport, address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = match transport {
        Transport::Tcp => Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?,
        Transport::Udp => Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?,
    };
    socket.set_nonblocking(true)?;
    if transport == Transport::Tcp {
        // A restarted gateway must not wait for its predecessor's connections to time out.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if transport == Transport::Tcp {
        socket.listen(backlog())?;
    }
    Ok(socket.into())
}

/// Where `socket` is bound.
pub(crate) fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(io::Error::from)
}
