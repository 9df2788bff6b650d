//! An HTTP/1.1 connection's stream, which is counted for as long as it is there.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use crate::{io::ClientTransport, load::Counted};

/// An HTTP/1.1 connection that is open or being opened.
#[derive(Debug)]
pub(super) struct Open {
    of_pool: Rc<Cell<usize>>,
    freed: Rc<Notify>,
    pub(super) counted: Counted,
}

impl Open {
    pub(super) fn new(of_pool: &Rc<Cell<usize>>, freed: &Rc<Notify>, counted: Counted) -> Self {
        of_pool.set(of_pool.get() + 1);
        Self { of_pool: Rc::clone(of_pool), freed: Rc::clone(freed), counted }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.of_pool.set(self.of_pool.get() - 1);
        self.freed.notify_one();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct OpenStream {
    stream: ClientTransport,
    _open: Open,
}

impl OpenStream {
    pub(super) fn new(stream: ClientTransport, open: Open) -> Self {
        Self { stream, _open: open }
    }
}

impl AsyncRead for OpenStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for OpenStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
