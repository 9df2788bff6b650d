//! Wrappers around byte streams: counting, looking ahead, first byte.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::client::TlsStream;

use crate::hops::Hop;

/// A wrapper of `inner` that has no say in what is written.
macro_rules! writes_through {
    ($wrapper:ident) => {
        impl<S: AsyncWrite + Unpin> AsyncWrite for $wrapper<S> {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.inner).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.inner.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_flush(cx)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_shutdown(cx)
            }
        }
    };
}

mod coalesced;
mod read_ahead;

pub(crate) use coalesced::{Coalesced, Turns};
pub(crate) use read_ahead::ReadAhead;

/// Bytes that crossed one connection.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Returns when nothing has crossed for `limit` (and at most a quarter of
    /// it longer); never without a limit. Reads no clock on the data's path.
    pub(crate) async fn idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let step = (limit / 4).max(Duration::from_millis(1));
        let mut quiet = 0;
        let mut before = (self.received(), self.sent());
        while quiet < 4 {
            tokio::time::sleep(step).await;
            let now = (self.received(), self.sent());
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    }
}

/// Counts what crosses.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    traffic: Arc<Traffic>,
}

impl<S> Metered<S> {
    pub(crate) fn new(inner: S) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::default());
        (Self { inner, traffic: Arc::clone(&traffic) }, traffic)
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.traffic.received.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.traffic.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.traffic.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A stream of which some bytes have been read already.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    prefix: Bytes,
    /// What came of reading on behind the prefix, for the read after that.
    failed: Option<io::Error>,
    inner: S,
}

impl<S> Rewound<S> {
    pub(crate) fn new(prefix: Bytes, inner: S) -> Self {
        Self { prefix, failed: None, inner }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return match self.failed.take() {
                None => Pin::new(&mut self.inner).poll_read(cx, buf),
                Some(error) => Poll::Ready(Err(error)),
            };
        }
        let count = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        if !self.prefix.is_empty() || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // With what there is behind it: who gets the beginning of a request alone makes room for the rest, and a
        // connection keeps that room for as long as it lives.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.inner).poll_read(cx, buf) {
            self.failed = Some(error);
        }
        Poll::Ready(Ok(()))
    }
}

writes_through!(Rewound);

/// What a client began to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
    Tls,
}

/// The beginning of HTTP/2's client preface (RFC 9113 §3.4) that no HTTP/1
/// request line shares.
const H2_PREFACE_START: &[u8] = b"PRI * HTTP/2.0";

/// Reads as much as tells the protocols apart. `None`: closed without a byte.
pub(crate) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Option<(Spoken, Rewound<S>)>> {
    let mut buffer = [0; H2_PREFACE_START.len()];
    let mut filled = 0;
    let spoken = loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            if filled == 0 {
                return Ok(None);
            }
            break Spoken::Http1;
        }
        filled += count;
        if buffer[0] == 0x16 {
            break Spoken::Tls;
        }
        if !H2_PREFACE_START.starts_with(&buffer[..filled]) {
            break Spoken::Http1;
        }
        if filled == H2_PREFACE_START.len() {
            break Spoken::Http2;
        }
    };
    Ok(Some((spoken, Rewound::new(Bytes::copy_from_slice(&buffer[..filled]), stream))))
}

/// Tells when the first byte (or the end, or an error) was read.
///
/// A TLS 1.3 client has finished its handshake before the server has judged
/// its certificate; only the server's first byte says that it was accepted.
#[derive(Debug)]
pub(crate) struct FirstRead<S> {
    inner: S,
    tell: Option<oneshot::Sender<io::Result<()>>>,
}

impl<S> FirstRead<S> {
    pub(crate) fn new(inner: S) -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (tell, told) = oneshot::channel();
        (Self { inner, tell: Some(tell) }, told)
    }
}

/// The same error again: `io::Error` cannot be cloned, its TLS cause can.
fn copy_of(error: &io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(cause) => io::Error::new(error.kind(), cause.clone()),
        None => error.kind().into(),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstRead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if let Some(tell) = self.tell.take() {
            let first = match &result {
                Ok(()) if buf.filled().len() > before => Ok(()),
                Ok(()) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(copy_of(error)),
            };
            // The one who waited may have given up.
            let _ = tell.send(first);
        }
        Poll::Ready(result)
    }
}

writes_through!(FirstRead);

/// A TCP stream, with TLS or without.
#[derive(Debug)]
pub(crate) enum Transport<T> {
    Plain(TcpStream),
    Tls(T),
}

/// The hop towards another proxy or the application.
pub(crate) type ClientTransport = Transport<Box<Hop<TlsStream<ReadAhead<TcpStream>>>>>;

impl<T: AsyncRead + Unpin> AsyncRead for Transport<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_with_what_is_behind_it() {
        let (near, mut far) = duplex(1_024);
        far.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        let (spoken, mut stream) = sniff(near).await.expect("read").expect("a byte");
        assert_eq!(spoken, Spoken::Http1);
        let mut all = [0; 64];
        let count = stream.read(&mut all).await.expect("read");
        assert_eq!(&all[..count], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "by one read");
    }

    #[tokio::test]
    async fn what_was_read_ahead_waits_for_nothing() {
        let (near, mut far) = duplex(1_024);
        let mut stream = Rewound::new(Bytes::from_static(b"first"), near);
        let mut piece = [0; 3];
        assert_eq!(stream.read(&mut piece).await.expect("read"), 3);
        assert_eq!(stream.read(&mut piece).await.expect("read"), 2, "there is nothing behind it yet");
        far.write_all(b"more").await.expect("written");
        drop(far);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, b"more");
    }

    #[tokio::test]
    async fn an_error_behind_what_was_read_ahead_is_not_lost() {
        struct Failing;

        impl AsyncRead for Failing {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }

        let mut stream = Rewound::new(Bytes::from_static(b"first"), Failing);
        let mut piece = [0; 64];
        assert_eq!(stream.read(&mut piece).await.expect("what there is"), 5);
        let error = stream.read(&mut piece).await.expect_err("after that");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
