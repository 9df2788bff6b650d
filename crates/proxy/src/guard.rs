//! Keeps from the HTTP/1.1 parser what other parsers could read otherwise ([`crate::framing`]).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::framing::{Ambiguity, Framing};

/// How an answer begins after which the connection is no longer HTTP.
const SWITCHED: &[u8] = b"HTTP/1.1 101 ";

/// What is read in the place of what could be read in two ways: a NUL, which no part of HTTP has, and
/// the end of a head, which the parser waits for before it looks.
const POISON: &[u8] = b"\0\r\n\r\n";

/// A client's stream whose requests are unambiguous. At what is not, the parser is made to answer 400
/// and to end the connection.
#[derive(Debug)]
pub(crate) struct Guarded<S, F> {
    inner: S,
    following: Following,
    /// Told of what was refused, once at most.
    refused: Option<F>,
}

#[derive(Debug)]
enum Following {
    Http(Box<Framing>),
    /// Another protocol.
    Switched,
    /// What is left to be read. After it the parser has its turn, to write what is wrong: at an end it
    /// would close without a word.
    Breaking(&'static [u8]),
    /// Nothing more is read.
    Broken,
}

impl<S, F: FnOnce(Ambiguity)> Guarded<S, F> {
    pub(crate) fn new(inner: S, refused: F) -> Self {
        Self { inner, following: Following::Http(Box::new(Framing::new())), refused: Some(refused) }
    }

    /// Whether an answer to a request for another protocol begins that.
    fn see_answer(&mut self, bytes: &[u8]) {
        if let Following::Http(framing) = &self.following
            && framing.may_be_upgraded()
            && bytes.starts_with(SWITCHED)
        {
            self.following = Following::Switched;
        }
    }
}

/// Moves what fits from `left` into `buf`.
fn put(left: &mut &'static [u8], buf: &mut ReadBuf<'_>) {
    let (now, later) = left.split_at(left.len().min(buf.remaining()));
    buf.put_slice(now);
    *left = later;
}

impl<S: AsyncRead + Unpin, F: FnOnce(Ambiguity) + Unpin> AsyncRead for Guarded<S, F> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let framing = match &mut this.following {
            Following::Switched => return Pin::new(&mut this.inner).poll_read(cx, buf),
            Following::Breaking([]) => {
                this.following = Following::Broken;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Following::Breaking(left) => {
                put(left, buf);
                return Poll::Ready(Ok(()));
            }
            Following::Broken => return Poll::Ready(Ok(())),
            Following::Http(framing) => framing,
        };
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if let Err((right, fault)) = framing.follow(&buf.filled()[before..]) {
            buf.set_filled(before + right);
            let mut left = POISON;
            put(&mut left, buf);
            this.following = Following::Breaking(left);
            if let Some(refused) = this.refused.take() {
                refused(fault);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, F: FnOnce(Ambiguity) + Unpin> AsyncWrite for Guarded<S, F> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.see_answer(buf);
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.see_answer(bufs.first().map(|first| &**first).unwrap_or_default());
        Pin::new(&mut this.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_ambiguous_becomes_a_nul_and_the_end() {
        let (near, mut far) = duplex(1_024);
        let told = Cell::new(None);
        let mut guarded = Guarded::new(near, |fault| told.set(Some(fault)));
        far.write_all(b"GET / HTTP/1.1\r\nX: y\n\nGET /hidden HTTP/1.1\r\n").await.expect("written");
        let mut read = Vec::new();
        guarded.read_to_end(&mut read).await.expect("an end");
        assert_eq!(read, b"GET / HTTP/1.1\r\n\0\r\n\r\n");
        assert_eq!(told.get(), Some(Ambiguity::LineEnd));
    }

    #[tokio::test]
    async fn another_protocol_is_left_alone_once_it_was_agreed() {
        for (answer, left_alone) in
            [("HTTP/1.1 101 Switching Protocols\r\n\r\n", true), ("HTTP/1.1 200 OK\r\n\r\n", false)]
        {
            let (near, mut far) = duplex(1_024);
            let mut guarded = Guarded::new(near, |_| {});
            let (request, after) = ("GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", "a\nb\n\n");
            let mut read = vec![0; request.len()];
            far.write_all(request.as_bytes()).await.expect("written");
            guarded.read_exact(&mut read).await.expect("read");
            guarded.write_all(answer.as_bytes()).await.expect("written");
            far.write_all(after.as_bytes()).await.expect("written");
            far.shutdown().await.expect("shut down");
            let mut read = Vec::new();
            guarded.read_to_end(&mut read).await.expect("an end");
            assert_eq!(read == after.as_bytes(), left_alone, "{read:?}");
        }
    }
}
