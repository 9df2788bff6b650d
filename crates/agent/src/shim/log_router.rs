//! Sockets of a log router's inputs, in the application's network.

use std::{io, net::SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::init_process::InitProcess;
use crate::protocol::ToInit;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens at `address`: in the network of the task's applications, or the host's where `init` is none.
pub(crate) fn listener(init: Option<&InitProcess>, address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = match init {
        // It is of the network that it was made in, whoever binds it.
        Some(init) => {
            let (_, sockets) = init.call(&ToInit::ApplicationSockets { count: 1 }, &[])?;
            let socket = sockets.into_iter().next();
            Socket::from(socket.ok_or_else(|| io::Error::other("the task's init gave no socket"))?)
        }
        None => Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?,
    };
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
