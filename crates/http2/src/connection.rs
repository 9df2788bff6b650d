//! One end of a connection, without I/O: bytes go in and events come out, calls go in and bytes come out.
//!
//! Nothing here waits, reads a clock or allocates for a frame. What a peer can make grow has a limit:
//! streams ([`Config::streams_max`]), what is received and not read (the windows), a header block in
//! pieces, what is to be sent ([`Connection::room`]), and answers to a peer that does not read them.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

pub use self::send::Gone;
pub use crate::stream::Key;
use crate::{
    Config, ConnectionError, Error, Reason,
    allowance::Allowance,
    flow::{ReceiveWindow, SendWindow},
    frame::{self, MAX_31, PREFACE},
    hpack::{Decoder, Encoder, TABLE_SIZE_DEFAULT},
    settings::{self, PeerSettings, WINDOW_DEFAULT},
    stream::{Half, Stream, Streams, Waiting},
};

mod receive;
mod send;
#[cfg(test)]
mod tests;

/// Streams that the peer may reset before they were begun with, beyond those that went well
/// (CVE-2023-44487).
const HASTY_RESETS_MAX: u32 = 64;
/// Streams that the peer may have reset for what it does wrong, beyond those that went well
/// (CVE-2025-8671).
const PROVOKED_RESETS_MAX: u32 = 256;
/// DATA frames without anything in them, beyond those with something.
const EMPTY_DATA_MAX: u32 = 256;
/// Answers (to PING, SETTINGS and what is refused) that wait for a peer that does not read.
const ANSWERS_MAX: u32 = 1_024;
/// Streams reset here of which frames may still come.
const FORGOTTEN_MAX: usize = 1_024;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends requests.
    Client,
    /// Answers them.
    Server,
}

/// What came from the peer. `tag` is what the stream's owner has given it.
#[derive(Debug)]
pub enum Event {
    /// A request's head; `end`: it has no content.
    Request {
        /// Its stream.
        key: Key,
        /// The head.
        request: Request<()>,
        /// Nothing more comes.
        end: bool,
        /// What `content-length` says.
        length: Option<u64>,
    },
    /// A response's head; those with a status of 1xx are not told of.
    Response {
        /// Its stream's.
        tag: usize,
        /// The head.
        response: Response<()>,
        /// Nothing more comes.
        end: bool,
        /// How long the content is, if that is known.
        length: Option<u64>,
    },
    /// Content, to be given back by [`Connection::release`].
    Data {
        /// Its stream's.
        tag: usize,
        /// Some of it; may be empty at the end.
        data: Bytes,
        /// Nothing more comes.
        end: bool,
    },
    /// The end of a message, with fields.
    Trailers {
        /// Its stream's.
        tag: usize,
        /// The fields.
        trailers: HeaderMap,
    },
    /// The stream has ended before its time.
    Reset {
        /// Its stream's.
        tag: usize,
        /// Why.
        error: Error,
    },
    /// There is room to send again, after there was none.
    Writable {
        /// Its stream's.
        tag: usize,
    },
    /// The peer's settings have come, or have changed.
    Settings,
    /// The peer has answered a ping of [`Connection::ping`].
    Pong,
    /// The peer will begin with nothing more.
    GoAway,
}

/// How far ending the connection has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    /// The peer was told, and what it sent before it knew is still taken.
    Announced,
    /// Streams above this one are no longer taken.
    Final(u32),
}

/// How far the beginning of the connection has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client's preface is still to come.
    Preface,
    /// The peer's first frame is still to come.
    Settings,
    Open,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Config,
    stage: Stage,
    decoder: Decoder,
    encoder: Encoder,
    peer: PeerSettings,
    streams: Streams,
    /// The highest stream that the peer has begun.
    highest: u32,
    /// The next stream that this end begins.
    next: u32,
    block: Option<Box<receive::Block>>,
    receive_window: ReceiveWindow,
    send_window: SendWindow,
    /// What is to be sent, of which the first `gone` bytes have been.
    out: Vec<u8>,
    gone: usize,
    /// What was sent before what is in `out`, in bytes.
    sent: u64,
    /// Streams that have something to send.
    ready: VecDeque<Key>,
    /// Those of them that the connection's window holds up.
    held_up: Vec<Key>,
    events: VecDeque<Event>,
    shutdown: Shutdown,
    /// The peer's GOAWAY: the last stream that it has or will have begun with, and why.
    peer_gone: Option<(u32, Reason)>,
    failed: Option<ConnectionError>,
    /// Answers in `out`.
    answers: u32,
    hasty: Allowance,
    provoked: Allowance,
    empty: Allowance,
    /// Streams reset here, the newest last.
    forgotten: VecDeque<u32>,
    block_len_max: usize,
}

impl Connection {
    /// A connection that has just been made. What it begins with is in [`Connection::output`].
    pub fn new(role: Role, config: Config) -> Self {
        let mut out = Vec::with_capacity(96);
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
        }
        settings::write(&config, role, &mut out);
        let window = config.connection_window.clamp(WINDOW_DEFAULT, MAX_31);
        if window > WINDOW_DEFAULT {
            frame::write_window_update(0, window - WINDOW_DEFAULT, &mut out);
        }
        Self {
            role,
            stage: if role == Role::Server { Stage::Preface } else { Stage::Settings },
            decoder: Decoder::new(TABLE_SIZE_DEFAULT),
            encoder: Encoder::new(),
            peer: PeerSettings::default(),
            streams: Streams::default(),
            highest: 0,
            next: 1,
            block: None,
            receive_window: ReceiveWindow::new(window),
            send_window: SendWindow::new(WINDOW_DEFAULT),
            out,
            gone: 0,
            sent: 0,
            ready: VecDeque::new(),
            held_up: Vec::new(),
            events: VecDeque::new(),
            shutdown: Shutdown::No,
            peer_gone: None,
            failed: None,
            answers: 0,
            hasty: Allowance::new(HASTY_RESETS_MAX),
            provoked: Allowance::new(PROVOKED_RESETS_MAX),
            empty: Allowance::new(EMPTY_DATA_MAX),
            forgotten: VecDeque::new(),
            block_len_max: config.header_list_max.saturating_mul(2).max(frame::PAYLOAD_DEFAULT),
            config,
        }
    }

    /// What this end allows.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Streams that are not closed.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the peer has said what it takes.
    pub fn is_settled(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether no request can be sent any more.
    pub fn is_closing(&self) -> bool {
        self.failed.is_some()
            || self.peer_gone.is_some()
            || self.shutdown != Shutdown::No
            || self.next > MAX_31
    }

    /// Requests that the peer lets this end send now.
    pub fn slots(&self) -> usize {
        if self.is_closing() {
            0
        } else {
            (self.peer.streams_max as usize).saturating_sub(self.streams.len())
        }
    }

    /// Whether the connection has nothing more to do: one end wants to end it, and no stream is open.
    pub fn is_done(&self) -> bool {
        let is_ending = matches!(self.shutdown, Shutdown::Final(_)) || self.peer_gone.is_some();
        self.failed.is_some() || (is_ending && self.streams.len() == 0)
    }

    /// Why the peer ended the connection, if it did.
    pub fn peer_gone(&self) -> Option<Reason> {
        self.peer_gone.map(|(_, reason)| reason)
    }

    /// Whether a request's stream is still open, and nothing of it was sent.
    pub fn has_not_left(&self, key: Key) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.head_at >= self.sent + self.gone as u64)
    }

    /// Gives a stream its owner's tag.
    pub fn set_tag(&mut self, key: Key, tag: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.tag = tag;
        }
    }

    /// The stream's owner begins with it; a reset before that is a hasty one.
    pub fn accept(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.is_accepted = true;
        }
    }

    /// The next event that does not come of what is received but of what was sent.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Begins to end the connection; what is under way is finished (RFC 9113, section 6.8).
    pub fn shut_down(&mut self) {
        if self.shutdown != Shutdown::No || self.failed.is_some() {
            return;
        }
        if self.role == Role::Client {
            self.shutdown = Shutdown::Final(0);
            frame::write_go_away(0, Reason::NO_ERROR, &mut self.out);
            return;
        }
        // The peer may have sent requests that are on their way. The answer comes after them.
        self.shutdown = Shutdown::Announced;
        frame::write_go_away(MAX_31, Reason::NO_ERROR, &mut self.out);
        frame::write_ping(SHUTDOWN_PING, false, &mut self.out);
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        frame::write_ping(KEEP_ALIVE_PING, false, &mut self.out);
    }

    /// Ends the connection for what the peer did.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        if self.failed.is_none() {
            self.failed = Some(error);
            let last = if let Shutdown::Final(last) = self.shutdown { last } else { self.highest };
            frame::write_go_away(last, error.reason, &mut self.out);
        }
        error
    }

    fn add_stream(&mut self, id: u32, receive: Half, send: Half) -> Key {
        self.streams.insert(Stream {
            id,
            tag: usize::MAX,
            receive,
            send,
            receive_window: ReceiveWindow::new(self.config.stream_window.min(MAX_31)),
            send_window: SendWindow::new(self.peer.window),
            promised: None,
            is_without_content: false,
            is_accepted: false,
            is_scheduled: false,
            is_unwanted: false,
            wants_room: false,
            head_at: self.sent + self.out.len() as u64,
            waiting: Waiting::default(),
        })
    }

    /// Whether the peer was told that this stream would not be taken.
    fn is_late(&self, id: u32) -> bool {
        matches!(self.shutdown, Shutdown::Final(last) if self.role == Role::Server && id > last)
    }

    /// Forgets a stream if both of its ends are done.
    fn close_if_done(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && stream.receive == Half::Closed
            && stream.send == Half::Closed
        {
            self.streams.remove(key);
            self.hasty.earn();
            self.provoked.earn();
        }
    }

    /// An answer was written, which a peer that does not read could have written without end.
    fn answered(&mut self) -> Result<(), ConnectionError> {
        self.answers += 1;
        if self.answers > ANSWERS_MAX {
            return Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "too many answers wait to be read"));
        }
        Ok(())
    }

    /// Ends a stream.
    fn write_reset(&mut self, id: u32, reason: Reason) {
        frame::write_reset(id, reason, &mut self.out);
        if self.forgotten.len() == FORGOTTEN_MAX {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(id);
    }

    /// Ends a stream for what the peer did.
    fn stream_error(&mut self, id: u32, reason: Reason) -> Result<Option<Event>, ConnectionError> {
        self.write_reset(id, reason);
        self.answered()?;
        if !self.provoked.spend() {
            return Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "too many streams had to be reset"));
        }
        let stream = self.streams.key(id).and_then(|key| self.streams.remove(key));
        Ok(stream.map(|stream| Event::Reset { tag: stream.tag, error: Error::Malformed(reason) }))
    }
}

/// What is sent to learn that the peer knows of the end.
const SHUTDOWN_PING: [u8; 8] = *b"the end?";
/// What is sent to learn that the peer lives.
const KEEP_ALIVE_PING: [u8; 8] = *b"you live";
