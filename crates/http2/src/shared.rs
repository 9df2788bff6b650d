//! A connection as its driver, its requests and their bodies share it, all on one thread.

use std::{
    collections::VecDeque,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use slab::Slab;

use crate::{
    Error, Reason, Role,
    connection::{Connection, Event, Key},
};

/// Slots that a connection without requests keeps room for.
const SLOTS_KEPT: usize = 8;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connection: Connection,
    slots: Slab<Slot>,
    role: Role,
    /// Who drives the connection.
    driver: Option<Waker>,
    /// The driver is at it, and will write what comes.
    pub(crate) in_turn: bool,
    /// Nobody can send requests any more.
    pub(crate) is_abandoned: bool,
    /// The connection has ended, and why.
    ended: Option<Error>,
}

/// One exchange, from its request to the end of its response, or longer: until both who reads and who
/// writes have let go of it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its stream, once there is one.
    pub(crate) key: Option<Key>,
    pub(crate) response: Option<(Response<()>, Option<u64>)>,
    chunks: Chunks,
    trailers: Option<HeaderMap>,
    pub(crate) receiving: Receiving,
    reader: Option<Waker>,
    writer: Option<Waker>,
    has_reader: bool,
    has_writer: bool,
}

/// How far receiving has got.
#[derive(Debug)]
pub(crate) enum Receiving {
    Open,
    Ended,
    Failed(Error),
}

/// Content that was received and not read. Mostly there is one piece.
#[derive(Debug, Default)]
struct Chunks {
    first: Option<Bytes>,
    more: VecDeque<Bytes>,
}

impl Chunks {
    fn push(&mut self, chunk: Bytes) {
        match &self.first {
            None => self.first = Some(chunk),
            Some(_) => self.more.push_back(chunk),
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        std::mem::replace(&mut self.first, self.more.pop_front())
    }

    fn bytes(&self) -> usize {
        self.first.iter().chain(&self.more).map(Bytes::len).sum()
    }
}

/// What there is to read.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Replaces a waker if it would not wake the same task.
fn register(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Slot {
    /// `reads`, `writes`: whether there is anybody who does.
    pub(crate) fn new(key: Option<Key>, reads: bool, writes: bool, receiving: Receiving) -> Self {
        Self {
            key,
            response: None,
            chunks: Chunks::default(),
            trailers: None,
            receiving,
            reader: None,
            writer: None,
            has_reader: reads,
            has_writer: writes,
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        if matches!(self.receiving, Receiving::Open) {
            self.receiving = Receiving::Failed(error);
        }
        self.key = None;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }

    pub(crate) fn register_reader(&mut self, cx: &Context<'_>) {
        register(&mut self.reader, cx);
    }

    pub(crate) fn register_writer(&mut self, cx: &Context<'_>) {
        register(&mut self.writer, cx);
    }

    /// Whether everything was received and read.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.receiving, Receiving::Ended) && self.chunks.first.is_none() && self.trailers.is_none()
    }

    fn receive(&mut self, end: bool) {
        if end {
            self.receiving = Receiving::Ended;
        }
        wake(&mut self.reader);
    }
}

impl Shared {
    pub(crate) fn new(connection: Connection, role: Role) -> Self {
        Self {
            connection,
            slots: Slab::new(),
            role,
            driver: None,
            in_turn: false,
            is_abandoned: false,
            ended: None,
        }
    }

    /// A turn of the driver's begins: until its end nobody has to wake it.
    pub(crate) fn begin_turn(&mut self, cx: &Context<'_>) {
        register(&mut self.driver, cx);
        self.in_turn = true;
    }

    /// Has the driver write what there is.
    pub(crate) fn wake_driver(&self) {
        if !self.in_turn
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    fn wake_driver_to_write(&self) {
        if !self.connection.output().is_empty() {
            self.wake_driver();
        }
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    pub(crate) fn insert(&mut self, slot: Slot) -> usize {
        self.slots.insert(slot)
    }

    pub(crate) fn slot(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)
    }

    /// Exchanges that are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// What came from the peer, for whom it is. Requests are given back, for there is nobody yet.
    pub(crate) fn deliver(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Response { tag, response, end, length } => {
                if let Some(slot) = self.slots.get_mut(tag) {
                    slot.response = Some((response, length));
                    slot.receive(end);
                }
            }
            Event::Data { tag, data, end } => match self.slots.get_mut(tag) {
                Some(slot) if slot.has_reader => {
                    if !data.is_empty() {
                        slot.chunks.push(data);
                    }
                    slot.receive(end);
                }
                slot => {
                    if let Some(slot) = slot {
                        slot.receive(end);
                    }
                    self.connection.discard(data.len());
                }
            },
            Event::Trailers { tag, trailers } => {
                if let Some(slot) = self.slots.get_mut(tag) {
                    slot.trailers = Some(trailers);
                    slot.receive(true);
                }
            }
            Event::Reset { tag, error } => {
                if let Some(slot) = self.slots.get_mut(tag) {
                    slot.fail(error);
                }
            }
            Event::Writable { tag } => {
                if let Some(slot) = self.slots.get_mut(tag) {
                    wake(&mut slot.writer);
                }
            }
            Event::Settings | Event::Pong | Event::GoAway => {}
            request @ Event::Request { .. } => return Some(request),
        }
        None
    }

    /// What there is to read of an exchange's content; `Ok(None)` if nothing more comes, `None` if it is
    /// not there yet.
    pub(crate) fn read(&mut self, index: usize, cx: &Context<'_>) -> Option<Result<Option<Piece>, Error>> {
        let slot = self.slots.get_mut(index)?;
        if let Some(chunk) = slot.chunks.pop() {
            match slot.key {
                Some(key) => self.connection.release(key, chunk.len()),
                None => self.connection.discard(chunk.len()),
            }
            self.wake_driver_to_write();
            return Some(Ok(Some(Piece::Data(chunk))));
        }
        if let Some(trailers) = slot.trailers.take() {
            return Some(Ok(Some(Piece::Trailers(trailers))));
        }
        match &slot.receiving {
            Receiving::Ended => Some(Ok(None)),
            Receiving::Failed(error) => Some(Err(error.clone())),
            Receiving::Open => {
                slot.register_reader(cx);
                None
            }
        }
    }

    /// Nobody reads any more.
    pub(crate) fn drop_reader(&mut self, index: usize) {
        let role = self.role;
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.has_reader = false;
        slot.reader = None;
        slot.trailers = None;
        let unread = std::mem::take(&mut slot.chunks).bytes();
        let reset = match (&slot.receiving, role) {
            (Receiving::Open, Role::Client) => slot.key.map(|key| (key, Reason::CANCEL)),
            _ => None,
        };
        if reset.is_some() {
            slot.fail(Error::Reset(Reason::CANCEL));
        }
        self.let_go(index, reset, unread);
    }

    /// Nobody writes any more: the message is complete, or `reset` says why it is not.
    pub(crate) fn drop_writer(&mut self, index: usize, reset: Option<Reason>) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.has_writer = false;
        slot.writer = None;
        let reset = slot.key.zip(reset);
        if let Some((_, reason)) = reset {
            slot.fail(Error::Malformed(reason));
        }
        self.let_go(index, reset, 0);
    }

    fn let_go(&mut self, index: usize, reset: Option<(Key, Reason)>, unread: usize) {
        if let Some((key, reason)) = reset {
            self.connection.reset(key, reason);
        }
        self.connection.discard(unread);
        if self.slots.get(index).is_some_and(|slot| !slot.has_reader && !slot.has_writer) {
            let slot = self.slots.remove(index);
            if let Some(key) = slot.key {
                // What is sent of it may still wait for a window: its slot is another's from now on.
                self.connection.set_tag(key, usize::MAX);
                if self.role == Role::Server && matches!(slot.receiving, Receiving::Open) {
                    // The response is complete: the rest of the request is of no use.
                    self.connection.end_early(key);
                }
            }
            if self.slots.is_empty() {
                if self.slots.capacity() > SLOTS_KEPT {
                    self.slots = Slab::new();
                }
                // It may wait for that.
                if self.is_abandoned || self.connection.is_closing() {
                    self.wake_driver();
                }
            }
        }
        self.wake_driver_to_write();
    }

    /// The connection has ended: everybody learns of it.
    pub(crate) fn end(&mut self, error: Error) {
        if self.ended.is_some() {
            return;
        }
        for (_, slot) in &mut self.slots {
            // What was never begun with is told of by who holds the request.
            let has_not_left = slot.key.is_some_and(|key| self.connection.has_not_left(key));
            let is_client = self.role == Role::Client;
            slot.fail(if has_not_left && is_client { Error::Unprocessed } else { error.clone() });
        }
        self.ended = Some(error);
    }
}
