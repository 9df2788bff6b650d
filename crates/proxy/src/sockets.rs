//! Where listening sockets come from: the shim, or the system.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4, TcpListener},
    sync::Arc,
};

use bowline_plumbing::shim_link::{HostsEntry, LinkError, Place, ShimLink, Transport};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::SocketKey;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// See the module.
#[derive(Debug)]
pub(crate) enum Sockets {
    Own,
    Shim(Arc<ShimLink>),
}

impl Sockets {
    /// The listening socket for `key`, and where it really is.
    pub(crate) fn open(&self, key: &SocketKey) -> io::Result<(TcpListener, SocketAddr)> {
        let link = match self {
            Self::Own => return bind(key),
            Self::Shim(link) => link,
        };
        let opened = match key {
            SocketKey::Outbound(address) => link.listen(Place::Aliases, Transport::Tcp, v4(*address)?),
            SocketKey::Public(address) => link.listen(Place::Host, Transport::Tcp, v4(*address)?),
            SocketKey::Inbound(port_name, _) => link.inbound(port_name),
        };
        let (socket, address) = opened.map_err(link_error)?;
        let socket = TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }

    /// The names of the task's `/etc/hosts`; without a task there is none.
    pub(crate) fn write_hosts(&self, entries: Vec<HostsEntry>) -> Result<(), LinkError> {
        match self {
            Self::Own => Ok(()),
            Self::Shim(link) => link.hosts(entries),
        }
    }

    /// Tells that a socket is not needed any more.
    pub(crate) fn release(&self, key: &SocketKey) {
        let Self::Shim(link) = self else { return };
        let released = match key {
            SocketKey::Outbound(address) => v4(*address)
                .and_then(|it| link.release(Place::Aliases, Transport::Tcp, it).map_err(link_error)),
            SocketKey::Public(address) => {
                v4(*address).and_then(|it| link.release(Place::Host, Transport::Tcp, it).map_err(link_error))
            }
            // The task's own port, for as long as the task lives.
            SocketKey::Inbound(..) => Ok(()),
        };
        if let Err(error) = released {
            tracing::debug!(?key, %error, "the shim kept a socket");
        }
    }
}

fn link_error(error: LinkError) -> io::Error {
    io::Error::other(error)
}

fn v4(address: SocketAddr) -> io::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(io::Error::other("a task's network has IPv4 addresses only")),
    }
}

fn bind(key: &SocketKey) -> io::Result<(TcpListener, SocketAddr)> {
    let address = match key {
        SocketKey::Outbound(address) | SocketKey::Public(address) => *address,
        SocketKey::Inbound(_, Some(address)) => *address,
        SocketKey::Inbound(..) => {
            return Err(io::Error::other("bind.inbound.address is needed where there is no shim"));
        }
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from(socket);
    let bound = socket.local_addr()?;
    Ok((socket, bound))
}
