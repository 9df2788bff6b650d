//! The stream's servers: delta discovery, identity, telemetry and introspection, on one TLS port.
//!
//! - [`directory`]: what they ask the rest of the control plane.
//! - [`resources`]: what one proxy should have.
//! - `responses`: what it is sent, as a call's content.
//! - [`subscription`]: what a proxy asked for, has, and is to be sent.
//! - [`tls`]: certificates and roots, exchangeable under way.

mod connection;
pub mod directory;
mod discovery;
mod identity;
mod introspection;
pub mod resources;
mod responses;
pub mod subscription;
mod telemetry;
pub mod tls;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bowline_discovery::{
    identity::identity_server::IdentityServer, introspection::introspection_server::IntrospectionServer,
    telemetry::telemetry_server::TelemetryServer,
};
use bowline_plumbing::{drain::DrainWatch, machine};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{Status, service::Routes};
use tower::ServiceExt as _;

use self::{
    connection::{AuthenticatedPeer, Connection},
    directory::Directory,
    discovery::DiscoveryService,
    identity::IdentityService,
    introspection::IntrospectionService,
    telemetry::TelemetryService,
    tls::TlsHandle,
};

/// Most connections at once, handshakes included, where the process may have enough open files; further ones wait in
/// the kernel's backlog.
const CONNECTIONS_MAX: usize = 32_768;
/// Open files that are left for everything else: the store, logs, the AWS endpoint.
const OTHER_FILES: usize = 512;
/// Most handshakes at once: when thousands of proxies come back together, the first of them are done before the last have
/// begun, and none waits so long that it gives up and comes again.
const HANDSHAKES_MAX: usize = 256;
/// How long a handshake counts as one of those: who takes longer is not waited for.
const HANDSHAKE_TURN: Duration = Duration::from_secs(1);
/// Connections that wait in the kernel to be accepted, as far as it allows (`net.core.somaxconn`).
const BACKLOG: i32 = 16_384;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer without a certificate may stay: enough to exchange a token.
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(30);
/// How long a connection may take to end when the server drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest message taken or sent, in bytes: what gRPC clients take by default.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls at once on a connection; a proxy needs two streams and one renewal.
const CALLS_PER_CONNECTION_MAX: u32 = 16;
/// How much header a request may have, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How often a silent connection is pinged, and how long it has to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
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
        let discovery = DiscoveryService { directory: Arc::clone(&directory), drain: drain.clone() };
        let telemetry = TelemetryService { directory: Arc::clone(&directory), drain: drain.clone() };
        let telemetry = TelemetryServer::new(telemetry)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let introspection = IntrospectionService { directory: Arc::clone(&directory), drain: drain.clone() };
        let introspection = IntrospectionServer::new(introspection)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let identity = IdentityServer::new(IdentityService { directory })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let routes = Routes::new(discovery).add_service(identity).add_service(telemetry);
        let routes = routes.add_service(introspection).prepare();
        let accepting = tokio::spawn(accept(listener, tls, routes, drain));
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

async fn accept(listener: TcpListener, tls: TlsHandle, routes: Routes, mut drain: DrainWatch) {
    let slots = Arc::new(Semaphore::new(connections_max(machine::open_files())));
    let turns = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            let turn = Arc::clone(&turns).acquire_owned().await.map_err(io::Error::other)?;
            let (socket, _) = listener.accept().await?;
            Ok::<_, io::Error>(((slot, turn), socket))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = drain.signaled() => return,
        };
        match accepted {
            Ok((permits, socket)) => {
                // Each connection takes the configuration of its own moment.
                let acceptor = TlsAcceptor::from(tls.current());
                tokio::spawn(serve(permits, socket, acceptor, routes.clone(), drain.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the stream was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    (slot, turn): (OwnedSemaphorePermit, OwnedSemaphorePermit),
    socket: TcpStream,
    acceptor: TlsAcceptor,
    routes: Routes,
    mut drain: DrainWatch,
) {
    let stream = tokio::select! {
        stream = shake_hands(turn, socket, acceptor) => stream,
        () = drain.signaled() => return,
    };
    let Some(stream) = stream else { return };
    let Ok(peer) = peer_of(&stream) else {
        return tracing::warn!("a verified certificate could not be read");
    };
    let anonymous = peer.is_none();
    let connection = Arc::new(Connection::new(peer));
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&connection));
        routes.clone().oneshot(request)
    });
    let mut serving = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = drain.signaled() => None,
        () = sleep(ANONYMOUS_LIFETIME), if anonymous => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            timeout(DRAIN_TIMEOUT, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the stream broke");
    }
    drop(slot);
}

/// A connection's handshake, which counts as one of those under way for so long as its turn is.
async fn shake_hands(
    turn: OwnedSemaphorePermit,
    socket: TcpStream,
    acceptor: TlsAcceptor,
) -> Option<TlsStream<TcpStream>> {
    // Pushes are small and should not wait for one another.
    let _ = socket.set_nodelay(true);
    let mut handshake = pin!(timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)));
    let in_turn = timeout(HANDSHAKE_TURN, handshake.as_mut()).await;
    drop(turn);
    let done = match in_turn {
        Ok(done) => done,
        Err(_) => handshake.await,
    };
    match done {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "a handshake on the stream failed"),
        Err(_) => tracing::debug!("a handshake on the stream took too long"),
    }
    None
}

/// A certificate was shown that is not as the verifier lets it pass.
struct UnreadableCertificate;

fn peer_of(stream: &TlsStream<TcpStream>) -> Result<Option<AuthenticatedPeer>, UnreadableCertificate> {
    let (_, session) = stream.get_ref();
    match session.peer_certificates().and_then(<[_]>::first) {
        None => Ok(None),
        Some(leaf) => AuthenticatedPeer::from_verified(leaf).map(Some).ok_or(UnreadableCertificate),
    }
}

/// The connection that a request came over.
fn connection_of(extensions: &http::Extensions) -> Result<Arc<Connection>, Status> {
    let connection = extensions.get::<Arc<Connection>>();
    connection.cloned().ok_or_else(|| Status::internal("the request has no connection"))
}

#[cfg(test)]
mod tests;
