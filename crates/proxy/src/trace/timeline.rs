//! What happened to a request between its beginning and its end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bowline_model::trace::EVENTS_MAX;

/// What took less was there at once.
const WAIT_MIN: Duration = Duration::from_micros(50);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// When it began.
    pub(super) at: Instant,
    pub(super) kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// It waited for a connection, or for a place among those that may try again.
    Queue { took: Duration, of: &'static str },
    /// A connection was made, or could not be.
    Connect { took: Duration, endpoint: SocketAddr, failed: bool },
    /// TLS on that connection.
    Handshake { took: Duration, endpoint: SocketAddr, failed: bool },
    /// The try at the endpoint has failed: another one is made, after a wait.
    Retry { number: u32, cause: String, endpoint: SocketAddr, wait: Duration },
    /// The endpoint gets no requests for a while.
    Ejection { endpoint: SocketAddr },
    /// A fault that was put in on purpose.
    Fault { delay: Option<Duration>, abort: Option<u16> },
    /// A time was over.
    Timeout { of: &'static str, limit: Option<Duration> },
}

/// A part of making a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) failed: bool,
}

impl Phase {
    /// One that ends now.
    pub(crate) fn since(began: Instant, failed: bool) -> Self {
        Self { began, took: began.elapsed(), failed }
    }
}

/// How long making a connection took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timings {
    pub(crate) connect: Option<Phase>,
    pub(crate) handshake: Option<Phase>,
}

/// A wait, noted when it is over.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    timeline: &'a mut Timeline,
    since: Option<Instant>,
    of: &'static str,
}

impl Waiting<'_> {
    /// It begins now.
    pub(crate) fn begin(&mut self) {
        if self.timeline.on {
            self.since = Some(Instant::now());
        }
    }

    /// It was something else.
    pub(crate) fn forget(mut self) {
        self.since = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.since {
            let took = began.elapsed();
            if took >= WAIT_MIN {
                self.timeline.note_at(|| began, || EventKind::Queue { took, of: self.of });
            }
        }
    }
}

/// Events of one request, or of one connection.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Whether anybody may be told: the request has a context.
    on: bool,
    events: Vec<Event>,
    dropped: u32,
}

impl Timeline {
    /// One that keeps events if `on`.
    pub(crate) fn new(on: bool) -> Self {
        Self { on, events: Vec::new(), dropped: 0 }
    }

    /// Notes what happens now.
    pub(crate) fn note(&mut self, kind: impl FnOnce() -> EventKind) {
        self.note_at(Instant::now, kind);
    }

    /// Notes what began at `at`.
    pub(crate) fn note_at(&mut self, at: impl FnOnce() -> Instant, kind: impl FnOnce() -> EventKind) {
        if !self.on {
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.events.push(Event { at: at(), kind: kind() });
    }

    /// Notes that the try at `endpoint` has failed and another one follows.
    pub(crate) fn retries(
        &mut self,
        number: u32,
        cause: impl FnOnce() -> String,
        endpoint: SocketAddr,
        wait: Duration,
    ) {
        self.note(|| EventKind::Retry { number, cause: cause(), endpoint, wait });
    }

    /// Notes how a connection to `endpoint` was made.
    pub(crate) fn dialled(&mut self, endpoint: SocketAddr, timings: &Timings) {
        if let Some(Phase { began, took, failed }) = timings.connect {
            self.note_at(|| began, || EventKind::Connect { took, endpoint, failed });
        }
        if let Some(Phase { began, took, failed }) = timings.handshake {
            self.note_at(|| began, || EventKind::Handshake { took, endpoint, failed });
        }
    }

    /// Notes how long it is waited for a thing, once that has begun, until what is returned is gone: however that
    /// comes.
    pub(crate) fn waiting(&mut self, of: &'static str) -> Waiting<'_> {
        Waiting { timeline: self, since: None, of }
    }

    /// What was noted, in the order in which it happened, and how many events there was no room for.
    pub(crate) fn into_events(mut self) -> (Vec<Event>, u32) {
        self.events.sort_by_key(|event| event.at);
        (self.events, self.dropped)
    }
}
