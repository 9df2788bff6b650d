//! A request and the head of its answer.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as HttpBody;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};

use crate::{
    Body, Connection, Error, Fault, HEAD_BYTES_MAX, TrySendError, buffers,
    connection::{Writing, poll_read},
    error::BoxError,
    outgoing::Outgoing,
    response::{Head, Parsed, parse},
};

/// Most informational answers before the one that counts.
const INFORMATIONAL_MAX: u32 = 16;

/// An answer's head, when it comes.
#[must_use = "nothing is sent unless this is polled"]
pub struct ResponseFuture<S, B> {
    connection: Connection<S>,
    stage: Stage<B>,
}

enum Stage<B> {
    Begun(Request<B>),
    Sending {
        /// Without what is in the headers once something of it has left.
        head: Request<()>,
        outgoing: Outgoing<B>,
        reading: Reading,
    },
    Over,
}

/// What is known of the answer so far.
#[derive(Debug, Default)]
struct Reading {
    /// How much of what was read has been looked at, and is the beginning of a head.
    seen: usize,
    informational: u32,
    /// Why the request cannot be sent. An answer may be there all the same.
    broken: Option<Error>,
}

pub(crate) fn begin<S, B>(connection: Connection<S>, request: Request<B>) -> ResponseFuture<S, B> {
    ResponseFuture { connection, stage: Stage::Begun(request) }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, B> Drop for ResponseFuture<S, B> {
    fn drop(&mut self) {
        if let Stage::Sending { .. } = self.stage {
            self.connection.0.borrow_mut().close();
        }
    }
}

// Nothing in it is pinned.
impl<S, B> Unpin for ResponseFuture<S, B> {}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Body<S>>, TrySendError<Request<B>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Begun(_) = this.stage
            && let Err(error) = this.begin(cx)
        {
            let Stage::Begun(request) = std::mem::replace(&mut this.stage, Stage::Over) else {
                return Poll::Pending;
            };
            return Poll::Ready(Err(TrySendError { error, message: Some(request) }));
        }
        let Stage::Sending { head, outgoing, reading } = &mut this.stage else { return Poll::Pending };
        let result = ready!(poll_head(&this.connection, head, outgoing, reading, cx));
        let Stage::Sending { head, outgoing, .. } = std::mem::replace(&mut this.stage, Stage::Over) else {
            return Poll::Pending;
        };
        Poll::Ready(match result {
            Ok(answer) => Ok(this.answered(answer, outgoing)),
            Err(error) => {
                this.connection.0.borrow_mut().close();
                let has_left = outgoing.written > 0;
                let message = (!has_left).then(|| head.map(|()| outgoing.into_body()));
                Err(TrySendError { error, message })
            }
        })
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Takes the connection, if it is there still, and puts the head together. On failure nothing has begun.
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut state = self.connection.0.borrow_mut();
        if !state.is_idle() {
            return Err(Error::Closed);
        }
        if !state.io.as_mut().is_some_and(|io| buffers::is_silent(io, cx)) {
            state.close();
            return Err(Error::Closed);
        }
        let Stage::Begun(request) = std::mem::replace(&mut self.stage, Stage::Over) else { return Ok(()) };
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        let (outgoing, is_kept) = Outgoing::new(&head, body);
        match is_kept {
            Ok(is_kept) => state.is_kept = is_kept,
            Err(error) => {
                self.stage = Stage::Begun(head.map(|()| outgoing.into_body()));
                return Err(error);
            }
        }
        state.is_reading = true;
        state.writing = Writing::Direct;
        self.stage = Stage::Sending { head, outgoing, reading: Reading::default() };
        Ok(())
    }

    /// The answer, whose body is read from the connection unless it is there already.
    fn answered(&self, answer: Head, outgoing: Outgoing<B>) -> Response<Body<S>> {
        let mut state = self.connection.0.borrow_mut();
        state.is_kept &= answer.is_kept;
        if let Writing::Direct = state.writing {
            state.writing = Writing::Apart(send_apart(self.connection.clone(), outgoing));
        }
        let body = match answer.whole {
            Some(bytes) => {
                state.read_to_end();
                Body::whole(bytes)
            }
            None => Body::streamed(self.connection.clone(), answer.framing),
        };
        answer.response.map(|()| body)
    }
}

/// Sends what can be sent, and reads the answer's head.
fn poll_head<S, B>(
    connection: &Connection<S>,
    head: &mut Request<()>,
    outgoing: &mut Outgoing<B>,
    reading: &mut Reading,
    cx: &mut Context<'_>,
) -> Poll<Result<Head, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let state = &mut *connection.0.borrow_mut();
    if let (Writing::Direct, Some(io)) = (&state.writing, &mut state.io) {
        match outgoing.poll(io, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => state.writing = Writing::Done,
            Poll::Ready(Err(Error::Io(error))) => {
                state.writing = Writing::Failed;
                reading.broken = Some(Error::Io(error));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
        }
    }
    let mut unused = HeaderMap::new();
    let (method, headers) = match outgoing.written {
        0 => (head.method().clone(), &mut unused),
        _ => {
            let method = head.method().clone();
            // The answer's are put in the same room.
            head.headers_mut().clear();
            (method, head.headers_mut())
        }
    };
    loop {
        let read = poll_read(state, cx, |input, count| match count {
            0 => Err(Error::Incomplete),
            _ => look(input, &method, headers, reading),
        });
        let result = match read {
            Poll::Ready(Ok(Ok(None))) => continue,
            Poll::Ready(Ok(Ok(Some(answer)))) => return Poll::Ready(Ok(answer)),
            Poll::Ready(Ok(Err(error))) => Err(error),
            Poll::Ready(Err(error)) => Err(Error::Io(error)),
            Poll::Pending if reading.broken.is_none() => return Poll::Pending,
            Poll::Pending => Err(Error::Incomplete),
        };
        // What went wrong first.
        return Poll::Ready(match reading.broken.take() {
            Some(error) => Err(error),
            None => result,
        });
    }
}

/// Looks for the head in what was read, and takes it.
fn look(
    input: &mut BytesMut,
    method: &Method,
    headers: &mut HeaderMap,
    reading: &mut Reading,
) -> Result<Option<Head>, Error> {
    loop {
        // A head that comes byte by byte is not read anew with each.
        let has_line = reading.seen == 0 || input[reading.seen..].contains(&b'\n');
        if !has_line && input.len() <= HEAD_BYTES_MAX {
            reading.seen = input.len();
            return Ok(None);
        }
        match parse(input, method, headers)? {
            Parsed::Partial => {
                reading.seen = input.len();
                return Ok(None);
            }
            Parsed::Informational(len) => {
                input.advance(len);
                reading.seen = 0;
                reading.informational += 1;
                if reading.informational > INFORMATIONAL_MAX {
                    return Err(Fault::Informational.into());
                }
            }
            Parsed::Head(head) => {
                input.advance(head.len + head.whole.as_ref().map_or(0, Bytes::len));
                return Ok(Some(head));
            }
        }
    }
}

/// Sends the rest of a request whose answer has begun, whoever reads that and however slowly.
fn send_apart<S, B>(connection: Connection<S>, mut outgoing: Outgoing<B>) -> AbortHandle
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let sending = async move {
        let sent = poll_fn(|cx| match &mut connection.0.borrow_mut().io {
            Some(io) => outgoing.poll(io, cx),
            None => Poll::Ready(Err(Error::Closed)),
        });
        let sent = sent.await;
        let mut state = connection.0.borrow_mut();
        match sent {
            Ok(()) => state.writing = Writing::Done,
            // The server is to see that it is not complete.
            Err(Error::Body(_)) => state.close(),
            // The answer may be there all the same.
            Err(_) => state.writing = Writing::Failed,
        }
        if !state.is_reading {
            state.close();
        }
    };
    tokio::task::spawn_local(sending).abort_handle()
}
