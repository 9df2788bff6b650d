//! The control plane's end of the stream: delta discovery, identity, telemetry and introspection, on one TLS port.
//!
//! - [`StreamServer`] is the whole of it.
//! - [`directory`]: what it asks the rest of the control plane.
//! - `workers`: the threads that connections are served on; `serving`: one connection.
//! - `services`: what is called on it, each in a file.
//! - [`resources`]: what one proxy should have.
//! - [`standing`]: what a stream follows of what is published.
//! - [`subscription`]: what a proxy asked for, has, and is to be sent.
//! - `requests`, `responses`: a discovery call's content; `relay`: other calls'.
//! - [`introspection`]: proxies that can be asked, and what they are asked.
//! - [`tls`]: certificates and roots, exchangeable under way.

mod connection;
pub mod directory;
pub mod introspection;
mod relay;
mod requests;
pub mod resources;
mod responses;
mod services;
mod serving;
pub mod standing;
pub mod subscription;
pub mod tls;
mod workers;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bowline_plumbing::{drain::DrainWatch, machine};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::sleep};
use tokio_rustls::TlsAcceptor;
use tonic::Status;

use self::{
    connection::Connection,
    directory::Directory,
    services::Services,
    tls::TlsHandle,
    workers::{Accepted, Workers},
};

/// Most connections at once, handshakes included, where the process may have enough open files; further ones wait in
/// the kernel's backlog.
const CONNECTIONS_MAX: usize = 32_768;
/// Open files that are left for everything else: the store, logs, the AWS endpoint.
const OTHER_FILES: usize = 512;
/// Most handshakes at once: when thousands of proxies come back together, the first of them are done before the last have
/// begun, and none waits so long that it gives up and comes again.
const HANDSHAKES_MAX: usize = 256;
/// Connections that wait in the kernel to be accepted, as far as it allows (`net.core.somaxconn`).
const BACKLOG: i32 = 16_384;
/// Largest message taken or sent, in bytes: what gRPC clients take by default.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pause after a failed accept: out of file descriptors is not over at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The running servers. They stop when the drain begins; dropping this does
/// not stop them.
#[derive(Debug)]
pub struct StreamServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl StreamServer {
    /// Serves on `listener`, within a tokio runtime, until `drain` begins. The
    /// drain is over when the last connection has ended, after 5 s at most.
    ///
    /// # Errors
    /// The listener cannot be made non-blocking or handed to the runtime.
    pub fn start(
        listener: std::net::TcpListener,
        tls: TlsHandle,
        directory: Arc<dyn Directory>,
        drain: DrainWatch,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // It listens already, with the standard library's backlog.
        rustix::net::listen(&listener, BACKLOG)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let workers = Workers::start(&Services::new(&directory, &drain), &drain)?;
        let accepting = tokio::spawn(accept(listener, tls, workers, drain));
        Ok(Self { address, accepting })
    }

    /// Where the servers listen.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the servers no longer accept.
    pub async fn stopped(self) {
        // A panic was logged by the runtime; there is nothing else to tell.
        let _ = self.accepting.await;
    }
}

/// How many connections there may be where so many files may be open: of few, half.
fn connections_max(files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    files.saturating_sub(OTHER_FILES).max(files / 2).clamp(1, CONNECTIONS_MAX)
}

async fn accept(listener: TcpListener, tls: TlsHandle, mut workers: Workers, mut drain: DrainWatch) {
    let slots = Arc::new(Semaphore::new(connections_max(machine::open_files())));
    let turns = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            let turn = Arc::clone(&turns).acquire_owned().await.map_err(io::Error::other)?;
            let (socket, _) = listener.accept().await?;
            // Each connection takes the configuration of its own moment.
            let acceptor = TlsAcceptor::from(tls.current());
            Ok::<_, io::Error>(Accepted { slot, turn, socket: socket.into_std()?, acceptor })
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = drain.signaled() => return,
        };
        match accepted {
            Ok(accepted) => {
                if !workers.serve(accepted).await {
                    return tracing::error!("the stream's threads are gone");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the stream was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection that a request came over.
fn connection_of(extensions: &http::Extensions) -> Result<Arc<Connection>, Status> {
    let connection = extensions.get::<Arc<Connection>>();
    connection.cloned().ok_or_else(|| Status::internal("the request has no connection"))
}

#[cfg(test)]
mod tests;
