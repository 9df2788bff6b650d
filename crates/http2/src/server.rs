//! The end that answers requests.

use std::{cell::RefCell, fmt, future::poll_fn, pin::pin, rc::Rc, task::Poll};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Body, Config, Error, Reason, Role,
    connection::{Connection, Event, Key},
    keep_alive::Pulse,
    pump::{BoxError, poll_pump},
    shared::{Receiving, Shared, Slot},
    transport::Transport,
};

/// What a stream ends with instead of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset(pub Reason);

/// Ends a connection.
pub struct Shutdown(Rc<RefCell<Shared>>);

impl Shutdown {
    /// Lets what is under way finish, takes what the peer has sent before it knew, and then ends the
    /// connection (RFC 9113, section 6.8).
    pub fn begin(&self) {
        let mut shared = self.0.borrow_mut();
        shared.connection.shut_down();
        shared.wake_driver();
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").finish_non_exhaustive()
    }
}

/// Serves a connection: every request is given to `handle`, and what that gives is polled with the
/// connection. All that came by one read is begun with, and all that is answered is written, together.
pub fn serve<S, H, F, B>(
    io: S,
    config: Config,
    handle: H,
) -> (impl Future<Output = Result<(), Error>>, Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Result<Response<B>, Reset>>,
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let connection = Connection::new(Role::Server, config);
    let shared = Rc::new(RefCell::new(Shared::new(connection, Role::Server)));
    let shutdown = Shutdown(Rc::clone(&shared));
    (drive(Transport::new(io), shared, handle), shutdown)
}

/// Who writes a response. When it is gone, nothing more is written.
struct Writer {
    shared: Rc<RefCell<Shared>>,
    slot: usize,
    key: Key,
    /// What the stream is reset for.
    reset: Option<Reason>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.borrow_mut().drop_writer(self.slot, self.reset);
    }
}

/// The connection's end: nobody waits for what will not come.
struct Serving(Rc<RefCell<Shared>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.borrow_mut().end(Error::Io(std::io::ErrorKind::ConnectionAborted, None));
    }
}

/// A request that nobody has begun with.
struct Arrived {
    key: Key,
    request: Request<()>,
    end: bool,
    length: Option<u64>,
    slot: usize,
}

async fn drive<S, H, F, B>(
    mut transport: Transport<S>,
    shared: Rc<RefCell<Shared>>,
    handle: H,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Result<Response<B>, Reset>>,
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let shared = &shared;
    let _serving = Serving(Rc::clone(shared));
    let mut pulse = shared.borrow().connection.config().keep_alive.map(Pulse::new);
    let mut answering = FuturesUnordered::new();
    let mut arrived: Vec<Arrived> = Vec::new();
    let result = poll_fn(|cx| {
        shared.borrow_mut().begin_turn(cx);
        Transport::<S>::lend_buffer(&mut shared.borrow_mut().connection);
        let read = transport.read(shared, cx, |shared, event| {
            let Event::Request { key, request, end, length } = event else { return };
            let receiving = if end { Receiving::Ended } else { Receiving::Open };
            let slot = shared.insert(Slot::new(Some(key), !end, true, receiving));
            shared.connection.set_tag(key, slot);
            arrived.push(Arrived { key, request, end, length, slot });
        })?;
        if read.end {
            let is_over = shared.borrow().connection.streams() == 0;
            return Poll::Ready(if is_over { Ok(()) } else { Err(Error::eof()) });
        }
        if let Some(pulse) = &mut pulse
            && !pulse.turn(read.any, &mut shared.borrow_mut().connection, cx)
        {
            return Poll::Ready(Err(Error::KeepAliveTimedOut));
        }
        for arrived in arrived.drain(..) {
            let Arrived { key, request, end, length, slot } = arrived;
            let writer = Writer { shared: Rc::clone(shared), slot, key, reset: None };
            let body = if end { Body::empty() } else { Body::new(Rc::clone(shared), slot, length) };
            let mut core = shared.borrow_mut();
            if core.slot(slot).is_none_or(|slot| slot.key.is_none()) {
                // Reset before anybody has seen it.
                drop(core);
                drop((writer, body));
                continue;
            }
            core.connection.accept(key);
            drop(core);
            answering.push(answer(writer, request.map(|()| body), &handle));
        }
        // A spare buffer grows with the largest batch.
        arrived.shrink_to(ARRIVED_KEPT);
        while let Poll::Ready(Some(())) = answering.poll_next_unpin(cx) {}
        let written = transport.write(shared, cx)?;
        let mut shared = shared.borrow_mut();
        if shared.connection.is_done() && written.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Some(pulse) = &mut pulse {
            pulse.rouse(&shared.connection, cx);
        }
        shared.in_turn = false;
        Poll::Pending
    })
    .await;
    if let Err(error) = &result {
        shared.borrow_mut().end(error.clone());
    }
    drop(answering);
    if !result.as_ref().is_err_and(Error::is_of_gone_stream) {
        transport.close(shared).await;
    }
    result
}

/// Requests that a connection keeps room for between its turns.
const ARRIVED_KEPT: usize = 4;

/// Has one request answered, and sends the answer. What answers it is made here, for to move it costs.
async fn answer<H, F, B>(mut writer: Writer, request: Request<Body>, handle: &H)
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Result<Response<B>, Reset>>,
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let is_head = request.method() == Method::HEAD;
    // Until it is answered: what handles it may panic, or be dropped with the connection.
    writer.reset = Some(Reason::INTERNAL_ERROR);
    let answered = {
        let mut handling = pin!(handle(request));
        poll_fn(|cx| {
            let polled = handling.as_mut().poll(cx);
            if polled.is_pending()
                && let Some(slot) = writer.shared.borrow_mut().slot(writer.slot)
            {
                if slot.key.is_none() {
                    // The client does not want it any more.
                    return Poll::Ready(None);
                }
                slot.register_writer(cx);
            }
            polled.map(Some)
        })
        .await
    };
    let (parts, mut body) = match answered {
        Some(Ok(response)) => response.into_parts(),
        Some(Err(Reset(reason))) => {
            writer.reset = Some(reason);
            return;
        }
        None => return,
    };
    let without_content =
        is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let end = body.is_end_stream();
    let length = if end { None } else { body.size_hint().exact() };
    let end = end || without_content;
    let responded = writer.shared.borrow_mut().connection.respond(
        writer.key,
        parts.status,
        parts.headers,
        length.filter(|_| !without_content || is_head),
        end,
    );
    if responded.is_err() || end {
        writer.reset = None;
        return;
    }
    writer.reset = poll_fn(|cx| poll_pump(&writer.shared, writer.slot, writer.key, &mut body, cx)).await;
}
