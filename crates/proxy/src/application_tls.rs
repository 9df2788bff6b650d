//! The task's application that calls `https://` on an alias of an http
//! service: its TLS ends here, under the CA that its trust store was given.
//! What it then says goes the way of every other request, and leaves the task
//! under the mesh's own mutual TLS.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::SystemTime};

use rustls::server::Acceptor;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    certificates::chain_text,
    config::{Listener, OutboundBind},
    dial::classify,
    io::{Metered, Rewound},
    metrics::{Direction, HandshakeFailure},
    outbound::{Edge, HANDSHAKE_TIMEOUT, handler},
    server::{self, Terms},
    tls::{ALPN_H2, TlsError, application::ApplicationAuthority},
    worker::{Connection, Worker},
};

type Plain = Rewound<Metered<TcpStream>>;

/// A fatal `unrecognized_name` alert in a record of its own (RFC 8446 §5.1,
/// RFC 6066 §3): rustls says `access_denied` for want of a certificate.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why the application's handshake failed.
enum Refusal {
    /// It wants this host, which is no name of the alias.
    UnknownName(String),
    Handshake(io::Error),
    Leaf(TlsError),
}

/// Serves a connection whose client has begun a handshake.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    listener: &Arc<Listener>,
    bind: &OutboundBind,
    stream: Plain,
    connection: Connection,
) {
    let Some(authority) = &worker.shared.application_authority else { return };
    let metrics = worker.shared.metrics.of(Direction::Outbound);
    let failed = |cause: HandshakeFailure, text: &str| {
        metrics.handshake_failed(cause);
        tracing::warn!(
            listener = &*listener.name,
            cause = cause.as_str(),
            text,
            "the application's https:// call failed in its handshake"
        );
    };
    let stream = match timeout(HANDSHAKE_TIMEOUT, handshake(authority, bind, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(Refusal::UnknownName(name))) => return failed(HandshakeFailure::UnknownName, &name),
        Ok(Err(Refusal::Handshake(error))) => {
            let (cause, text) = classify(&error);
            return failed(cause, &text);
        }
        Ok(Err(Refusal::Leaf(error))) => return failed(HandshakeFailure::NotReady, &chain_text(&error)),
        Err(_) => return failed(HandshakeFailure::Timeout, "it took too long"),
    };
    metrics.handshakes.increment();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    // Counted as without TLS: what the application says, not what it takes to encrypt it.
    let (stream, traffic) = Metered::new(stream);
    let terms = Terms { http2, public: false, mesh: false, idle_timeout: listener.idle_timeout };
    let handler = handler(worker, &connection, Edge { direction: Direction::Outbound, https: true });
    server::serve(stream, Arc::clone(&traffic), terms, connection, handler).await;
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
}

async fn handshake(
    authority: &ApplicationAuthority,
    bind: &OutboundBind,
    stream: Plain,
) -> Result<TlsStream<Plain>, Refusal> {
    // On the host's network the alias has another address than its virtual one.
    let called = stream.get_ref().get_ref().local_addr().map_err(Refusal::Handshake)?;
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(Refusal::Handshake)?;
    // A client that calls an address sends no name, and looks for the address.
    if let Some(name) = start.client_hello().server_name()
        && !bind.hostnames.iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        let name = name.to_owned();
        // It is refused whether or not it hears why.
        let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = start.io.shutdown().await;
        return Err(Refusal::UnknownName(name));
    }
    let addresses = [bind.address, called].map(|address: SocketAddr| address.ip());
    let server = authority.server(&bind.hostnames, &addresses, SystemTime::now()).map_err(Refusal::Leaf)?;
    start.into_stream(server).await.map_err(Refusal::Handshake)
}
