//! The end that sends requests.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use http::{Method, Request, Response};
use http_body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Body, Config, Error, Reason, Role, TrySendError,
    connection::{Connection, Key},
    keep_alive::Pulse,
    pump::{BoxError, poll_pump},
    shared::{Receiving, Shared, Slot},
    transport::Transport,
};

/// Begins a connection: what requests are sent by, and what has to be polled for anything to happen.
pub fn handshake<S, B>(io: S, config: Config) -> (SendRequest<B>, impl Future<Output = Result<(), Error>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let connection = Connection::new(Role::Client, config);
    let client = Rc::new(Client {
        shared: Rc::new(RefCell::new(Shared::new(connection, Role::Client))),
        waiting: RefCell::default(),
    });
    let driver = drive(Transport::new(io), Driving(Rc::clone(&client)));
    (SendRequest(Rc::new(Handle(client))), driver)
}

/// Sends requests over one connection. Its clones send over the same one, which ends when the last of
/// them and all exchanges are gone.
pub struct SendRequest<B>(Rc<Handle<B>>);

struct Handle<B>(Rc<Client<B>>);

struct Client<B> {
    shared: Rc<RefCell<Shared>>,
    waiting: RefCell<Waiting<B>>,
}

/// Requests that nothing of was sent.
struct Waiting<B> {
    /// Those that are going to be.
    queue: VecDeque<(usize, Request<B>)>,
    /// Those that will not be, for whoever wanted them sent.
    returned: HashMap<usize, Request<B>>,
}

impl<B> Default for Waiting<B> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), returned: HashMap::new() }
    }
}

impl<B> Clone for SendRequest<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B> fmt::Debug for SendRequest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendRequest").field("is_closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<B> Drop for Handle<B> {
    fn drop(&mut self) {
        let mut shared = self.0.shared.borrow_mut();
        shared.is_abandoned = true;
        shared.wake_driver();
    }
}

impl<B> SendRequest<B> {
    /// Whether no request can be sent any more.
    pub fn is_closed(&self) -> bool {
        let shared = self.0.0.shared.borrow();
        shared.ended().is_some() || shared.connection.is_closing()
    }

    /// Whether the peer has said what it takes.
    pub fn is_settled(&self) -> bool {
        self.0.0.shared.borrow().connection.is_settled()
    }

    /// Exchanges that are not over, those included whose content is still being read.
    pub fn in_flight(&self) -> usize {
        self.0.0.shared.borrow().in_flight()
    }

    /// Sends a request: with what else there is at the driver's next turn, or when the peer takes another
    /// one. On failure it comes back if nothing of it has left. To drop what this returns cancels it.
    pub fn try_send_request(&self, request: Request<B>) -> ResponseFuture<B> {
        let client = Rc::clone(&self.0.0);
        let mut shared = client.shared.borrow_mut();
        let error = match shared.ended() {
            Some(error) => Some(error.clone()),
            None if shared.connection.is_closing() => Some(Error::Unprocessed),
            None => None,
        };
        let mut waiting = client.waiting.borrow_mut();
        let is_full = waiting.queue.len() >= shared.connection.config().waiting_max;
        let error = error.or_else(|| is_full.then_some(Error::Full));
        let state = match error {
            Some(error) => State::Failed(Some(Box::new(TrySendError { error, message: Some(request) }))),
            None => {
                let slot = shared.insert(Slot::new(None, true, true, Receiving::Open));
                waiting.queue.push_back((slot, request));
                shared.wake_driver();
                State::Sent(slot)
            }
        };
        drop((shared, waiting));
        ResponseFuture { client, state }
    }
}

/// A response's head, when it comes.
#[must_use = "a request is cancelled when this is dropped"]
pub struct ResponseFuture<B> {
    client: Rc<Client<B>>,
    state: State<B>,
}

enum State<B> {
    Failed(Option<Box<TrySendError<Request<B>>>>),
    Sent(usize),
    Done,
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// Nothing in it is pinned.
impl<B> Unpin for ResponseFuture<B> {}

impl<B> Future for ResponseFuture<B> {
    type Output = Result<Response<Body>, TrySendError<Request<B>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let index = match &mut this.state {
            State::Sent(index) => *index,
            State::Failed(error) => {
                let error = error.take();
                this.state = State::Done;
                return error.map_or(Poll::Pending, |error| Poll::Ready(Err(*error)));
            }
            State::Done => return Poll::Pending,
        };
        let mut shared = this.client.shared.borrow_mut();
        let Some(slot) = shared.slot(index) else { return Poll::Pending };
        if let Some((response, length)) = slot.response.take() {
            this.state = State::Done;
            let is_read = slot.is_read();
            let body = if is_read {
                shared.drop_reader(index);
                Body::empty()
            } else {
                Body::new(Rc::clone(&this.client.shared), index, length)
            };
            return Poll::Ready(Ok(response.map(|()| body)));
        }
        if let Receiving::Failed(error) = &slot.receiving {
            let error = error.clone();
            this.state = State::Done;
            shared.drop_reader(index);
            drop(shared);
            let message = this.client.waiting.borrow_mut().returned.remove(&index);
            return Poll::Ready(Err(TrySendError { error, message }));
        }
        slot.register_reader(cx);
        Poll::Pending
    }
}

impl<B> Drop for ResponseFuture<B> {
    fn drop(&mut self) {
        let State::Sent(index) = self.state else { return };
        let mut waiting = self.client.waiting.borrow_mut();
        let at = waiting.queue.iter().position(|(slot, _)| *slot == index);
        let request = at.and_then(|at| waiting.queue.remove(at)).map(|(_, request)| request);
        let request = request.or_else(|| waiting.returned.remove(&index));
        drop(waiting);
        {
            let mut shared = self.client.shared.borrow_mut();
            shared.drop_reader(index);
            if request.is_some() {
                shared.drop_writer(index, None);
            }
        }
        // What it has may need the connection.
        drop(request);
    }
}

/// The driver's share; when it is gone, nothing more will happen.
struct Driving<B>(Rc<Client<B>>);

impl<B> Driving<B> {
    /// Nothing more is sent: requests of which nothing was go back.
    fn give_back(&self) {
        let mut waiting = self.0.waiting.borrow_mut();
        let mut shared = self.0.shared.borrow_mut();
        while let Some((index, request)) = waiting.queue.pop_front() {
            waiting.returned.insert(index, request);
            if let Some(slot) = shared.slot(index) {
                slot.fail(Error::Unprocessed);
            }
            // Nobody writes it.
            shared.drop_writer(index, None);
        }
    }

    fn end(&self, error: Error) {
        self.give_back();
        self.0.shared.borrow_mut().end(error);
    }
}

impl<B> Drop for Driving<B> {
    fn drop(&mut self) {
        self.end(Error::Io(std::io::ErrorKind::ConnectionAborted, None));
        self.0.shared.borrow_mut().in_turn = false;
    }
}

/// A request's content on its way.
struct Sending<B> {
    client: Rc<Client<B>>,
    slot: usize,
    key: Key,
    body: B,
}

impl<B> Sending<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.client.shared;
        poll_pump(shared, self.slot, self.key, &mut self.body, cx).map(|reset| {
            shared.borrow_mut().drop_writer(self.slot, reset);
        })
    }
}

async fn drive<S, B>(mut transport: Transport<S>, driving: Driving<B>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let client = &driving.0;
    let shared = &client.shared;
    let mut pulse = shared.borrow().connection.config().keep_alive.map(Pulse::new);
    let mut sending = FuturesUnordered::new();
    let mut result = poll_fn(|cx| {
        shared.borrow_mut().begin_turn(cx);
        Transport::<S>::lend_buffer(&mut shared.borrow_mut().connection);
        let read = transport.read(shared, cx, |_, _| {})?;
        if read.end {
            let reason = shared.borrow().connection.peer_gone().filter(|reason| *reason != Reason::NO_ERROR);
            return Poll::Ready(Err(reason.map_or_else(Error::eof, Error::GoAway)));
        }
        if let Some(pulse) = &mut pulse
            && !pulse.turn(read.any, &mut shared.borrow_mut().connection, cx)
        {
            return Poll::Ready(Err(Error::KeepAliveTimedOut));
        }
        if shared.borrow().connection.is_closing() {
            driving.give_back();
        }
        loop {
            while let Some(mut begun) = begin_next(client) {
                if begun.poll(cx).is_pending() {
                    sending.push(async move {
                        let mut begun = begun;
                        poll_fn(|cx| begun.poll(cx)).await;
                    });
                }
            }
            while let Poll::Ready(Some(())) = sending.poll_next_unpin(cx) {}
            let written = transport.write(shared, cx)?;
            let mut shared = shared.borrow_mut();
            let is_waiting = !client.waiting.borrow().queue.is_empty();
            if written.is_ready() && is_waiting && shared.connection.slots() > 0 {
                continue;
            }
            if shared.connection.is_done() && written.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if shared.is_abandoned && shared.in_flight() == 0 && !shared.connection.is_closing() {
                shared.connection.shut_down();
                continue;
            }
            if let Some(pulse) = &mut pulse {
                pulse.rouse(&shared.connection, cx);
            }
            shared.in_turn = false;
            return Poll::Pending;
        }
    })
    .await;
    let reason = shared.borrow().connection.peer_gone();
    match (&result, reason) {
        (Ok(()), Some(Reason::NO_ERROR) | None) => driving.end(Error::Unprocessed),
        (Ok(()), Some(reason)) => driving.end(Error::GoAway(reason)),
        // After everything has been said an end is no failure.
        (Err(Error::Io(..)), Some(Reason::NO_ERROR)) if shared.borrow().connection.streams() == 0 => {
            driving.end(Error::Unprocessed);
            result = Ok(());
        }
        (Err(error), _) => driving.end(error.clone()),
    }
    drop(sending);
    shared.borrow_mut().in_turn = false;
    if !result.as_ref().is_err_and(Error::is_of_gone_stream) {
        transport.close(shared).await;
    }
    result
}

/// Sends the head of the next request that waits, if the peer takes it.
fn begin_next<B>(client: &Rc<Client<B>>) -> Option<Sending<B>>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    loop {
        let mut shared = client.shared.borrow_mut();
        if shared.connection.slots() == 0 || shared.connection.is_full() {
            return None;
        }
        let (slot, request) = client.waiting.borrow_mut().queue.pop_front()?;
        let (parts, body) = request.into_parts();
        let end = body.is_end_stream();
        let head = Request::from_parts(parts, ());
        let length = body.size_hint().exact().filter(|length| *length > 0 || has_content(head.method()));
        let key = shared.connection.open(&head, length, end, slot)?;
        if let Some(slot) = shared.slot(slot) {
            slot.key = Some(key);
        }
        if !end {
            return Some(Sending { client: Rc::clone(client), slot, key, body });
        }
        shared.drop_writer(slot, None);
        drop(shared);
        // It may be of another connection, or even of this one.
        drop(body);
    }
}

/// Whether a request of this method says so where it has no content.
fn has_content(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT)
}
