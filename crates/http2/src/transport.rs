//! Between a connection and its byte stream: reads into and writes from buffers that a thread's
//! connections share, for each needs them only while it has its turn.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::timeout,
};

use crate::{
    Error,
    connection::{Connection, Event},
    shared::Shared,
};

/// What is read at a time, in bytes.
const READ: usize = 64 * 1024;
/// What is read in one turn before others have theirs.
const READ_IN_TURN: usize = 256 * 1024;
/// What is written in one turn before others have theirs.
const WRITTEN_IN_TURN: usize = 512 * 1024;
/// The beginning of a frame that is shorter is copied to a buffer of its own until the rest comes.
const KEPT_APART_MAX: usize = 4 * 1024;

/// Longest time for the last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    static INPUT: Cell<BytesMut> = Cell::new(BytesMut::new());
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug)]
pub(crate) struct Transport<S> {
    io: S,
    /// What has been read and not been taken: the beginning of a frame, at most.
    input: BytesMut,
    is_unflushed: bool,
}

/// What a turn's reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Something came.
    pub(crate) any: bool,
    /// Nothing more will.
    pub(crate) end: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, input: BytesMut::new(), is_unflushed: false }
    }

    /// Reads what there is and delivers it. What is not for an exchange that is there goes to `take`.
    pub(crate) fn read(
        &mut self,
        shared: &RefCell<Shared>,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&mut Shared, Event),
    ) -> Result<Read, Error> {
        let mut buffer = INPUT.take();
        buffer.clear();
        if self.input.len() >= KEPT_APART_MAX {
            buffer = std::mem::take(&mut self.input);
        } else if !self.input.is_empty() {
            buffer.reserve(READ);
            buffer.extend_from_slice(&self.input);
            self.input = BytesMut::new();
        }
        let result = self.read_into(&mut buffer, shared, cx, &mut take);
        if buffer.is_empty() {
            INPUT.set(buffer);
        } else if buffer.len() < KEPT_APART_MAX {
            self.input = BytesMut::from(&buffer[..]);
            INPUT.set(buffer);
        } else {
            self.input = buffer;
        }
        result
    }

    fn read_into(
        &mut self,
        buffer: &mut BytesMut,
        shared: &RefCell<Shared>,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(&mut Shared, Event),
    ) -> Result<Read, Error> {
        let (mut bytes, mut read) = (0, Read::default());
        loop {
            if bytes >= READ_IN_TURN {
                cx.waker().wake_by_ref();
                return Ok(read);
            }
            if buffer.capacity() - buffer.len() < READ / 2 {
                buffer.reserve(READ);
            }
            let count = match pin!(self.io.read_buf(buffer)).poll(cx) {
                Poll::Pending => return Ok(read),
                Poll::Ready(result) => result.map_err(Error::of_io)?,
            };
            if count == 0 {
                read.end = true;
                return Ok(read);
            }
            read.any = true;
            bytes += count;
            let shared = &mut *shared.borrow_mut();
            while let Some(event) = shared.connection.receive(buffer)? {
                if let Some(event) = shared.deliver(event) {
                    take(shared, event);
                }
            }
        }
    }

    /// Before anything is put together for writing.
    pub(crate) fn lend_buffer(connection: &mut Connection) {
        let mut spare = OUTPUT.take();
        connection.swap_buffer(&mut spare);
        if spare.capacity() > 0 {
            OUTPUT.set(spare);
        }
    }

    fn take_buffer_back(connection: &mut Connection) {
        let mut none = Vec::new();
        if connection.swap_buffer(&mut none) && none.capacity() > 0 {
            OUTPUT.set(none);
        }
    }

    /// Writes what can be sent. Ready once nothing is left of it here.
    pub(crate) fn write(
        &mut self,
        shared: &RefCell<Shared>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let shared = &mut *shared.borrow_mut();
        let mut bytes = 0;
        let is_all = loop {
            shared.connection.fill();
            while let Some(event) = shared.connection.poll_event() {
                shared.deliver(event);
            }
            let output = shared.connection.output();
            if output.is_empty() {
                break true;
            }
            if bytes >= WRITTEN_IN_TURN {
                cx.waker().wake_by_ref();
                break false;
            }
            match Pin::new(&mut self.io).poll_write(cx, output) {
                Poll::Pending => break false,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Error::of_io(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(count)) => {
                    shared.connection.advance(count);
                    bytes += count;
                    self.is_unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::of_io(error))),
            }
        };
        Self::take_buffer_back(&mut shared.connection);
        if self.is_unflushed
            && let Poll::Ready(result) = Pin::new(&mut self.io).poll_flush(cx)
        {
            result.map_err(Error::of_io)?;
            self.is_unflushed = false;
        }
        if is_all && !self.is_unflushed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Ends the byte stream. What there is still to say is said, if it can be written now.
    pub(crate) async fn close(mut self, shared: &RefCell<Shared>) {
        let closing = poll_fn(|cx| {
            if self.write(shared, cx).is_pending() && self.is_unflushed {
                return Poll::Pending;
            }
            // The other end may have gone already.
            Pin::new(&mut self.io).poll_shutdown(cx).map(drop)
        });
        // Who does not read is not waited for.
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}
