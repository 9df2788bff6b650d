//! Who answers in the place of a task's sidecar. It takes whatever it is given, and counts what it got to read: nothing,
//! if callers are careful.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_model::fault::RogueServer;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{ServerConfig, crypto::aws_lc_rs, server::Acceptor, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::LazyConfigAcceptor;

use super::{
    counts::{Counts, add},
    order::Shown,
};

/// Longest that a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Longest body that is read of a request, bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What is answered.
const ANSWER: &str = "this is not who you meant to call\n";
/// First byte of a TLS record that holds a part of a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// Somebody who answers.
#[derive(Debug)]
pub(super) enum Rogue {
    Plaintext,
    Tls(Tls),
}

/// What is shown in a handshake.
#[derive(Debug)]
pub(super) struct Tls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    is_old: bool,
}

impl Rogue {
    /// One of this kind.
    ///
    /// # Errors
    /// It has nothing to show, or the key is not the certificate's.
    pub(super) fn new(kind: RogueServer, shows: Option<Shown>) -> io::Result<Self> {
        if kind == RogueServer::Plaintext {
            return Ok(Self::Plaintext);
        }
        let shows = shows.ok_or_else(|| io::Error::other("a rogue server with TLS needs a certificate"))?;
        let tls = Tls {
            chain: shows.chain_der.into_iter().map(CertificateDer::from).collect(),
            key: PrivatePkcs8KeyDer::from(shows.key_der).into(),
            is_old: kind == RogueServer::OldTls,
        };
        tls.config(Vec::new())?;
        Ok(Self::Tls(tls))
    }

    /// Answers until the caller has had enough.
    pub(super) async fn serve(&self, caller: TcpStream, counts: &Arc<Counts>) -> io::Result<()> {
        match self {
            Self::Plaintext => serve_plaintext(caller, counts).await,
            Self::Tls(tls) => tls.serve(caller, counts).await,
        }
    }
}

impl Tls {
    fn config(&self, alpn: Vec<Vec<u8>>) -> io::Result<ServerConfig> {
        let versions: &[_] = if self.is_old { &[&version::TLS12] } else { &[&version::TLS13] };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(io::Error::other)?;
        config.alpn_protocols = alpn;
        Ok(config)
    }

    async fn serve(&self, caller: TcpStream, counts: &Arc<Counts>) -> io::Result<()> {
        let handshake = async {
            let start = LazyConfigAcceptor::new(Acceptor::default(), caller).await?;
            // It agrees to everything: what it is refused for is to be its certificate, or its version.
            let alpn = start.client_hello().alpn().map(|names| names.map(<[u8]>::to_vec).collect());
            start.into_stream(Arc::new(self.config(alpn.unwrap_or_default())?)).await
        };
        let stream = timeout(HANDSHAKE_LIMIT, handshake).await??;
        add(&counts.handshakes, 1);
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            add(&counts.requests, 1);
            async move {
                // What cannot be read is not answered otherwise.
                let _ = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
            }
        });
        let io = TokioIo::new(Counting { stream, counts: Arc::clone(counts) });
        let served = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        served.map_err(io::Error::other)
    }
}

/// Answers in the clear to whatever comes.
async fn serve_plaintext(mut caller: TcpStream, counts: &Counts) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut is_tls = None;
    loop {
        let count = caller.read(&mut buffer).await?;
        if count == 0 {
            return caller.shutdown().await;
        }
        let first = is_tls.is_none();
        if !*is_tls.get_or_insert(buffer[0] == TLS_HANDSHAKE) {
            add(&counts.plaintext_bytes, count);
            if first {
                add(&counts.requests, 1);
            }
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{ANSWER}",
            ANSWER.len()
        );
        caller.write_all(answer.as_bytes()).await?;
    }
}

/// Counts what is read after a handshake.
struct Counting<S> {
    stream: S,
    counts: Arc<Counts>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.counts.plaintext_bytes.fetch_add(read as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
