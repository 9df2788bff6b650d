//! Bodies on their way through: a request's, which may have to be sent again,
//! and a response's, which ends the exchange when it ends.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use crate::{exchange::Exchange, metrics::Flag, pool::Lease};

mod received;

pub(crate) use received::Received;

/// Most bytes of a request's body that are kept for another try.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Longest time for which an unwanted body is read.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a body broke off.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
    /// Told on to the other side, whoever speaks HTTP/2 with it.
    #[error("the stream was reset")]
    Reset(#[source] h2::Error),
    #[error("the body broke off")]
    Cut(#[source] bowline_http2::Error),
    #[error("the body broke off")]
    Incomplete(#[from] bowline_http1::Error),
    #[error("the request's time is over")]
    TimedOut,
    #[error("the caller may not make this call any more")]
    NotAllowed,
    #[error("another try has taken over this request's body")]
    Superseded,
}

impl From<bowline_http2::Error> for BodyError {
    fn from(error: bowline_http2::Error) -> Self {
        match error.remote_reason() {
            Some(reason) => Self::Reset(h2::Reason::from(reason.code()).into()),
            None => Self::Cut(error),
        }
    }
}

/// A request's body, of which every try gets its own view.
///
/// What a try has read is remembered, so that the next one can begin anew, up
/// to [`REPLAY_BYTES_MAX`]; after that no other try is possible.
#[derive(Clone, Debug)]
pub(crate) struct Replay(
    /// `None`: there is no body.
    Option<Rc<RefCell<ReplayState>>>,
);

#[derive(Debug)]
struct ReplayState {
    source: Option<Received>,
    frames: Vec<Remembered>,
    bytes: usize,
    forgotten: bool,
    received: u64,
    /// The newest try; older ones get nothing more.
    attempt: u32,
    ended: bool,
}

#[derive(Clone, Debug)]
enum Remembered {
    Data(Bytes),
    Trailers(http::HeaderMap),
}

impl Remembered {
    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(bytes) => Frame::data(bytes),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl Replay {
    pub(crate) fn new(source: Received) -> Self {
        if source.is_end_stream() {
            return Self(None);
        }
        Self(Some(Rc::new(RefCell::new(ReplayState {
            source: Some(source),
            frames: Vec::new(),
            bytes: 0,
            forgotten: false,
            received: 0,
            attempt: 0,
            ended: false,
        }))))
    }

    /// Whether a next try would get the whole body.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.0.as_ref().is_none_or(|state| !state.borrow().forgotten)
    }

    /// Bytes of the body received so far.
    pub(crate) fn received(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| state.borrow().received)
    }

    /// Reads what is left of the body, within bounds, and forgets it. A client that gets an answer of
    /// our own while it still sends would see its HTTP/2 stream reset, and some (curl) then drop the
    /// answer.
    pub(crate) async fn discard(&self) {
        if self.0.as_ref().is_none_or(|state| state.borrow().ended) {
            return;
        }
        let mut rest = self.attempt();
        let reading = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > REPLAY_BYTES_MAX {
                    return;
                }
            }
        };
        // Who sends more slowly than that has to live with the reset.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
    }

    /// The body from its beginning, for one try.
    pub(crate) fn attempt(&self) -> RequestBody {
        let Some(state) = &self.0 else { return RequestBody::empty() };
        let attempt = {
            let mut state = state.borrow_mut();
            state.attempt += 1;
            state.attempt
        };
        RequestBody { attempt, next: 0, state: Some(Rc::clone(state)) }
    }
}

/// One try's view of a [`Replay`], or no body at all.
#[derive(Debug)]
pub(crate) struct RequestBody {
    attempt: u32,
    next: usize,
    state: Option<Rc<RefCell<ReplayState>>>,
}

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self { attempt: 0, next: 0, state: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(state) = &this.state else { return Poll::Ready(None) };
        let mut state = state.borrow_mut();
        if state.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(remembered) = state.frames.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(remembered.clone().into_frame())));
        }
        let Some(source) = &mut state.source else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(source).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                state.source = None;
                state.ended = true;
                return Poll::Ready(None);
            }
        };
        if let Some(data) = frame.data_ref() {
            state.bytes = state.bytes.saturating_add(data.len());
            state.received += data.len() as u64;
        }
        if state.source.as_ref().is_some_and(Body::is_end_stream) {
            state.source = None;
            state.ended = true;
        }
        if state.bytes > REPLAY_BYTES_MAX {
            state.forgotten = true;
            // Frames before this one have been given out; the index restarts.
            state.frames.clear();
            this.next = 0;
            return Poll::Ready(Some(Ok(frame)));
        }
        if !state.forgotten {
            let remembered = match frame.into_data() {
                Ok(data) => Remembered::Data(data),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Remembered::Trailers(trailers),
                    // HTTP has no third kind.
                    Err(_) => return Poll::Ready(None),
                },
            };
            state.frames.push(remembered.clone());
            this.next += 1;
            return Poll::Ready(Some(Ok(remembered.into_frame())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            None => true,
            Some(state) => {
                let state = state.borrow();
                state.attempt == self.attempt && state.ended && self.next >= state.frames.len()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Some(state) = &self.state else { return SizeHint::with_exact(0) };
        let state = state.borrow();
        let remembered: u64 = state.frames[self.next.min(state.frames.len())..]
            .iter()
            .map(|frame| match frame {
                Remembered::Data(data) => data.len() as u64,
                Remembered::Trailers(_) => 0,
            })
            .sum();
        let rest = match &state.source {
            Some(source) => source.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + remembered);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + remembered);
        }
        hint
    }
}

/// A response's body on its way to the client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    kind: Kind,
    exchange: Option<Box<Exchange>>,
}

#[derive(Debug)]
enum Kind {
    /// Made here.
    Own(Option<Bytes>),
    /// From upstream.
    Relayed {
        source: Received,
        limit: Limit,
        /// Gives the upstream connection back.
        lease: Option<Lease>,
    },
}

impl ResponseBody {
    /// Whether the proxy itself made it.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.kind, Kind::Own(..))
    }

    pub(crate) fn own(bytes: Bytes, exchange: Option<Box<Exchange>>) -> Self {
        Self { kind: Kind::Own((!bytes.is_empty()).then_some(bytes)), exchange }
    }

    pub(crate) fn relayed(
        source: Received,
        deadline: Option<Instant>,
        lease: Option<Lease>,
        exchange: Option<Box<Exchange>>,
    ) -> Self {
        Self { kind: Kind::Relayed { source, limit: Limit(deadline, None), lease }, exchange }
    }
}

/// Until when a body may take: a timer of its own only where the body is not there at once.
#[derive(Debug)]
struct Limit(Option<Instant>, Option<Pin<Box<Sleep>>>);

impl Limit {
    fn is_armed(&self) -> bool {
        self.1.is_some()
    }

    fn arm(&mut self) {
        if let Self(Some(at), timer @ None) = self {
            *timer = Some(Box::pin(tokio::time::sleep_until(*at)));
        }
    }

    /// Ready once the time is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.arm();
        self.1.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

fn timed_out(exchange: Option<&mut Exchange>) -> BodyError {
    if let Some(exchange) = exchange {
        exchange.flag = Flag::UpstreamRequestTimeout;
    }
    BodyError::TimedOut
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let (source, limit, lease) = match &mut this.kind {
            Kind::Own(bytes) => {
                let Some(bytes) = bytes.take() else { return Poll::Ready(None) };
                if let Some(exchange) = &mut this.exchange {
                    exchange.bytes_sent += bytes.len() as u64;
                    exchange.complete = true;
                }
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Kind::Relayed { source, limit, lease } => (source, limit, lease),
        };
        if let Some(held) = this.exchange.as_ref().and_then(|exchange| exchange.held())
            && held.poll_ended(cx).is_ready()
        {
            return Poll::Ready(Some(Err(BodyError::NotAllowed)));
        }
        if limit.is_armed() && limit.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(timed_out(this.exchange.as_deref_mut()))));
        }
        let Poll::Ready(frame) = Pin::new(&mut *source).poll_frame(cx) else {
            ready!(limit.poll(cx));
            return Poll::Ready(Some(Err(timed_out(this.exchange.as_deref_mut()))));
        };
        match frame {
            Some(Ok(frame)) => {
                if let Some(exchange) = &mut this.exchange {
                    if let Some(data) = frame.data_ref() {
                        exchange.bytes_sent += data.len() as u64;
                    } else if let Some(trailers) = frame.trailers_ref() {
                        exchange.saw_trailers(trailers);
                    }
                }
                if source.is_end_stream() {
                    // Nothing more is asked of a body whose end is known.
                    if let Some(exchange) = &mut this.exchange {
                        exchange.complete = true;
                    }
                    if let Some(lease) = lease.take() {
                        lease.done();
                    }
                } else {
                    limit.arm();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.flag = Flag::UpstreamConnectionTermination;
                }
                Poll::Ready(Some(Err(error)))
            }
            None => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.complete = true;
                }
                if let Some(lease) = lease.take() {
                    lease.done();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Relayed { source, .. } => source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Relayed { source, .. } => source.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body without content is never polled.
        let ended = self.is_end_stream();
        if let Some(exchange) = &mut self.exchange
            && ended
        {
            exchange.complete = true;
        }
        if let Kind::Relayed { lease, .. } = &mut self.kind
            && ended
            && let Some(lease) = lease.take()
        {
            lease.done();
        }
    }
}
