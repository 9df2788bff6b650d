//! A connection to a server: one exchange after the other.

use std::{
    cell::RefCell,
    fmt,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body as HttpBody;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};

use crate::{ResponseFuture, buffers, error::BoxError, exchange};

/// A connection. Its clones are the same one, which ends when the last of them and what is under way on it are gone, or
/// when what is under way is given up.
pub struct Connection<S>(pub(crate) Rc<RefCell<State<S>>>);

/// How far the sending of a request is.
#[derive(Debug)]
pub(crate) enum Writing {
    /// There is nothing to send.
    Done,
    /// Who waits for the answer sends it.
    Direct,
    /// The answer has begun; a task sends the rest.
    Apart(AbortHandle),
    /// It was not sent as a whole, and will not be.
    Failed,
}

#[derive(Debug)]
pub(crate) struct State<S> {
    /// `None`: the connection has ended.
    pub(crate) io: Option<S>,
    /// What was read and not been taken.
    pub(crate) input: BytesMut,
    pub(crate) writing: Writing,
    /// An answer is waited for, or being read.
    pub(crate) is_reading: bool,
    /// Another request may follow the one under way.
    pub(crate) is_kept: bool,
    /// Who reads an answer while its request is still being sent: what comes of that ends it.
    pub(crate) reader: Option<Waker>,
}

impl<S> State<S> {
    /// Ends the connection.
    pub(crate) fn close(&mut self) {
        self.io = None;
        self.input = BytesMut::new();
        if let Writing::Apart(task) = std::mem::replace(&mut self.writing, Writing::Failed) {
            task.abort();
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// All of the answer has been read.
    pub(crate) fn read_to_end(&mut self) {
        self.is_reading = false;
        self.reader = None;
        // Nobody has asked for what stands behind it.
        self.is_kept &= self.input.is_empty();
        self.input = BytesMut::new();
        let is_of_use = matches!(self.writing, Writing::Apart(_)) || self.is_idle();
        if !is_of_use {
            self.close();
        }
    }

    /// Whether another request can be sent as far as this end knows.
    pub(crate) fn is_idle(&self) -> bool {
        self.io.is_some() && self.is_kept && !self.is_reading && matches!(self.writing, Writing::Done)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Of a stream that nothing has been written to or read from.
    pub fn new(io: S) -> Self {
        Self(Rc::new(RefCell::new(State {
            io: Some(io),
            input: BytesMut::new(),
            writing: Writing::Done,
            is_reading: false,
            is_kept: true,
            reader: None,
        })))
    }

    /// Whether the exchange before is complete and another one may follow.
    pub fn is_idle(&self) -> bool {
        self.0.borrow().is_idle()
    }

    /// Whether a request can be sent now. Looks whether the server has ended the connection, or has said what nobody has
    /// asked for; then it is at its end.
    pub fn is_ready(&self) -> bool {
        let state = &mut *self.0.borrow_mut();
        let is_idle = state.is_idle();
        let Some(io) = &mut state.io else { return false };
        let is_ready = is_idle && buffers::is_silent(io, &mut Context::from_waker(Waker::noop()));
        if is_idle && !is_ready {
            state.close();
        }
        is_ready
    }

    /// Sends a request, once this is polled: what it returns waits for the answer's head. On failure the request comes
    /// back if nothing of it has left. To drop it before its end ends the connection.
    ///
    /// The request's own version is not looked at. What is left of its body when the answer begins is sent by a task: this
    /// has to be polled where such can be spawned ([`tokio::task::spawn_local`]).
    pub fn try_send_request<B>(&self, request: Request<B>) -> ResponseFuture<S, B>
    where
        B: HttpBody<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        exchange::begin(self.clone(), request)
    }

    /// Bytes that are kept for what was read.
    pub fn buffered(&self) -> usize {
        self.0.borrow().input.capacity()
    }
}

impl<S> Clone for Connection<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Reads what there is, as [`buffers::poll_read`] does. Not after the connection has ended.
pub(crate) fn poll_read<S, T>(
    state: &mut State<S>,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut BytesMut, usize) -> T,
) -> Poll<std::io::Result<T>>
where
    S: AsyncRead + Unpin,
{
    match &mut state.io {
        Some(io) => buffers::poll_read(io, &mut state.input, cx, take),
        None => Poll::Ready(Err(std::io::ErrorKind::NotConnected.into())),
    }
}
