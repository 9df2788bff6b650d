//! Many small writes become one: what an HTTP/2 connection writes in one turn of its task goes out as
//! one TLS record and one system call, whosever streams it is of.
//!
//! h2 writes and flushes each frame of data by itself. Here a flush in the middle of a turn waits for
//! the turn's end.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that wait; after that a write goes through at once.
const WAITING_MAX: usize = 64 * 1024;

/// What a connection that is quiet keeps of its buffer.
const KEPT_MAX: usize = 4 * 1024;

#[derive(Debug)]
struct State<S> {
    inner: S,
    waiting: Vec<u8>,
    /// How much of what waits has been written.
    written: usize,
    /// What was written has not been flushed: TLS keeps records that its socket had no room for.
    is_unflushed: bool,
    /// Within a turn, at whose end what waits is written.
    in_turn: bool,
    /// A write at a turn's end failed: the next one says so.
    failed: Option<io::Error>,
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Writes what waits.
    fn push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.written += count;
                    self.is_unflushed = true;
                }
            }
        }
        self.waiting.clear();
        self.waiting.shrink_to(KEPT_MAX);
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.push(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Room for more, if need be by writing what waits.
    fn make_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.waiting.len() >= WAITING_MAX {
            ready!(self.push(cx))?;
        }
        Poll::Ready(Ok(WAITING_MAX - self.waiting.len()))
    }
}

/// The stream, for the connection.
#[derive(Debug)]
pub(crate) struct Coalesced<S>(Rc<RefCell<State<S>>>);

/// Its other half, for who runs the connection.
#[derive(Debug)]
pub(crate) struct Turns<S>(Rc<RefCell<State<S>>>);

impl<S> Coalesced<S> {
    pub(crate) fn new(inner: S) -> (Self, Turns<S>) {
        let state = State {
            inner,
            waiting: Vec::new(),
            written: 0,
            is_unflushed: false,
            in_turn: false,
            failed: None,
        };
        let state = Rc::new(RefCell::new(state));
        (Self(Rc::clone(&state)), Turns(state))
    }
}

impl<S: AsyncWrite + Unpin> Turns<S> {
    /// One turn of the connection, and all that it wrote.
    pub(crate) fn poll<F: Future>(&self, connection: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.borrow_mut().in_turn = true;
        let result = connection.poll(cx);
        let mut state = self.0.borrow_mut();
        state.in_turn = false;
        if state.waiting.is_empty() && !state.is_unflushed {
            return result;
        }
        if let Poll::Ready(Err(error)) = state.flush(cx)
            && result.is_pending()
        {
            state.failed = Some(error);
            cx.waker().wake_by_ref();
        }
        result
    }

    /// Runs the connection to its end.
    pub(crate) async fn run<F: Future>(self, connection: F) -> F::Output {
        let mut connection = std::pin::pin!(connection);
        poll_fn(|cx| self.poll(connection.as_mut(), cx)).await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        let room = ready!(state.make_room(cx))?;
        let count = buf.len().min(room);
        state.waiting.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        let mut room = ready!(state.make_room(cx))?;
        let before = state.waiting.len();
        for buf in bufs {
            let count = buf.len().min(room);
            state.waiting.extend_from_slice(&buf[..count]);
            room -= count;
        }
        Poll::Ready(Ok(state.waiting.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        if let Some(error) = state.failed.take() {
            return Poll::Ready(Err(error));
        }
        if state.in_turn { Poll::Ready(Ok(())) } else { state.flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        ready!(state.push(cx))?;
        Pin::new(&mut state.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Counts how often it is written to; refuses if it is broken.
    struct Counting<S> {
        inner: S,
        writes: usize,
        is_broken: bool,
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
            self.writes += 1;
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    fn coalesced<S: AsyncWrite + Unpin>(inner: S) -> (Coalesced<Counting<S>>, Turns<Counting<S>>) {
        Coalesced::new(Counting { inner, writes: 0, is_broken: false })
    }

    #[tokio::test]
    async fn a_turn_writes_once() {
        let (near, mut far) = duplex(1 << 20);
        let (mut stream, turns) = coalesced(near);
        let state = Rc::clone(&turns.0);
        turns
            .run(async {
                for piece in 0..100_u8 {
                    stream.write_all(&[piece; 100]).await.expect("written");
                    stream.flush().await.expect("flushed");
                }
            })
            .await;
        assert_eq!(state.borrow().writes_and_waiting(), (1, 0));
        let mut got = vec![0; 10_000];
        far.read_exact(&mut got).await.expect("read");
        assert!(got.chunks(100).enumerate().all(|(piece, bytes)| bytes == [piece as u8; 100]));
        // Outside of a turn each flush writes.
        stream.write_all(b"x").await.expect("written");
        stream.flush().await.expect("flushed");
        assert_eq!(state.borrow().writes_and_waiting(), (2, 0));
    }

    #[tokio::test]
    async fn more_than_may_wait_goes_through_while_the_other_end_takes_it() {
        let (near, mut far) = duplex(1_000);
        let (mut stream, turns) = coalesced(near);
        let state = Rc::clone(&turns.0);
        let sent: Vec<u8> = (0..300_000_u32).map(|number| (number / 7) as u8).collect();
        let writing = turns.run(async {
            stream.write_all(&sent).await.expect("written");
            assert!(state.borrow().waiting.len() <= WAITING_MAX);
            stream.shutdown().await.expect("shut down");
        });
        let mut got = Vec::new();
        let (_, read) = tokio::join!(writing, far.read_to_end(&mut got));
        read.expect("read");
        assert!(got == sent);
        assert!(state.borrow().waiting.capacity() <= KEPT_MAX);
    }

    /// As TLS does: takes everything, and lets go of it as it is flushed.
    struct Hoarding<S> {
        inner: S,
        kept: Vec<u8>,
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Hoarding<S> {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            while !this.kept.is_empty() {
                let count = ready!(Pin::new(&mut this.inner).poll_write(cx, &this.kept))?;
                this.kept.drain(..count);
            }
            Pin::new(&mut this.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn what_tls_keeps_for_want_of_room_goes_out_without_another_write() {
        let (near, mut far) = duplex(16);
        let (mut stream, turns) = Coalesced::new(Hoarding { inner: near, kept: Vec::new() });
        let connection = turns.run(async {
            stream.write_all(&[7; 1_024]).await.expect("written");
            stream.flush().await.expect("flushed");
            // Nothing more is written, ever.
            std::future::pending::<()>().await;
        });
        let mut got = vec![0; 1_024];
        tokio::select! {
            () = connection => unreachable!("it is pending"),
            read = tokio::time::timeout(std::time::Duration::from_secs(10), far.read_exact(&mut got)) => {
                read.expect("in time").expect("read");
            }
        }
        assert_eq!(got, [7; 1_024]);
    }

    #[tokio::test]
    async fn a_write_that_fails_at_the_end_of_a_turn_is_told_of() {
        let (near, _far) = duplex(64);
        let (mut stream, turns) = coalesced(near);
        turns.0.borrow_mut().inner.is_broken = true;
        let told = turns
            .run(async {
                loop {
                    if let Err(error) = stream.write_all(b"x").await {
                        return error.kind();
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await;
        assert_eq!(told, io::ErrorKind::BrokenPipe);
    }

    impl<S> State<Counting<S>> {
        fn writes_and_waiting(&self) -> (usize, usize) {
            (self.inner.writes, self.waiting.len())
        }
    }
}
