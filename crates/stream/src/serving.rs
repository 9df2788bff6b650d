//! One connection: its handshake, whom it is of, and its calls.

use std::{pin::pin, sync::Arc, time::Duration};

use bowline_http2::{Config, KeepAlive, server};
use bowline_plumbing::drain::DrainWatch;
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    connection::{AuthenticatedPeer, Connection},
    services::Services,
};

/// How long a handshake counts as one of those under way: who takes longer is not waited for.
const HANDSHAKE_TURN: Duration = Duration::from_secs(1);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer without a certificate may stay: enough to exchange a token.
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(30);
/// How long a connection may take to end when the server drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls at once on a connection; a proxy needs two streams and one renewal.
const CALLS_PER_CONNECTION_MAX: u32 = 16;
/// How much header a request may have, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one call that a peer may send before they are read.
const WINDOW: u32 = 64 * 1024;
/// Of a connection: a call that is not read does not hold up the others.
const CONNECTION_WINDOW: u32 = 4 * WINDOW;
/// How often a silent connection is pinged, and how long it has to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves it until it ends, or the drain has begun and what is under way is done.
pub(crate) async fn serve(
    turn: OwnedSemaphorePermit,
    socket: TcpStream,
    acceptor: TlsAcceptor,
    services: Services,
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
    let call = move |request| services.clone().call(Arc::clone(&connection), request);
    let (serving, shutdown) = server::serve(stream, terms(), call);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = drain.signaled() => None,
        () = sleep(ANONYMOUS_LIFETIME), if anonymous => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            shutdown.begin();
            timeout(DRAIN_TIMEOUT, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the stream broke");
    }
}

fn terms() -> Config {
    Config {
        stream_window: WINDOW,
        connection_window: CONNECTION_WINDOW,
        header_list_max: HEADER_BYTES_MAX,
        streams_max: CALLS_PER_CONNECTION_MAX,
        keep_alive: Some(KeepAlive { interval: KEEPALIVE, timeout: KEEPALIVE, while_idle: true }),
        ..Config::default()
    }
}

/// A connection's handshake, which counts as one of those under way for so long as its turn is.
async fn shake_hands(
    turn: OwnedSemaphorePermit,
    socket: TcpStream,
    acceptor: TlsAcceptor,
) -> Option<TlsStream<TcpStream>> {
    // Pushes are small and should not wait for one another.
    let _ = socket.set_nodelay(true);
    // Apart, so that a connection that is served has no room for what its handshake needed.
    let mut handshake = Box::pin(timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)));
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
