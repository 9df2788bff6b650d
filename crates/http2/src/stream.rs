//! The streams of a connection: their states (RFC 9113, section 5.1), and what waits to be sent.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use slab::Slab;

use crate::flow::{ReceiveWindow, SendWindow};

/// Refers to a stream, also after its end: then to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) id: u32,
}

impl Key {
    /// The stream's number on the wire.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// How far one direction of a stream has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// The message's head is still to come.
    Head,
    /// Content or trailers may come.
    Body,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// Its owner's, which events carry.
    pub(crate) tag: usize,
    pub(crate) receive: Half,
    pub(crate) send: Half,
    pub(crate) receive_window: ReceiveWindow,
    pub(crate) send_window: SendWindow,
    /// What `content-length` has promised and not come yet.
    pub(crate) promised: Option<u64>,
    /// The message received can have no content: it answers HEAD, or its status says so.
    pub(crate) is_without_content: bool,
    /// Its owner has begun with it.
    pub(crate) is_accepted: bool,
    /// It stands in the queue of those that have something to send.
    pub(crate) is_scheduled: bool,
    /// Nobody reads what still comes: see [`end_early`](crate::connection::Connection::end_early).
    pub(crate) is_unwanted: bool,
    /// Its sender waits for room.
    pub(crate) wants_room: bool,
    /// Where in all that the connection has sent its head begins.
    pub(crate) head_at: u64,
    pub(crate) waiting: Waiting,
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) head: Option<Box<ResponseHead>>,
    pub(crate) chunks: VecDeque<Bytes>,
    /// In the chunks together.
    pub(crate) bytes: usize,
    pub(crate) last: Last,
}

/// A response's head that waits.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) length: Option<u64>,
}

/// How a message that waits ends.
#[derive(Debug, Default)]
pub(crate) enum Last {
    #[default]
    Open,
    End,
    Trailers(Box<HeaderMap>),
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none() && self.chunks.is_empty() && matches!(self.last, Last::Open)
    }
}

/// Stream numbers are small, dense and half of them unused: one multiplication spreads them well, and a
/// peer that chooses them has no more than `streams_max`.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// All streams that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slab: Slab<Stream>,
    by_id: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let index = self.slab.insert(stream) as u32;
        self.by_id.insert(id, index);
        Key { index, id }
    }

    #[inline]
    pub(crate) fn key(&self, id: u32) -> Option<Key> {
        self.by_id.get(&id).map(|index| Key { index: *index, id })
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Stream> {
        self.slab.get(key.index as usize).filter(|stream| stream.id == key.id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.slab.get_mut(key.index as usize).filter(|stream| stream.id == key.id)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Stream> {
        self.get(key)?;
        self.by_id.remove(&key.id);
        let stream = self.slab.remove(key.index as usize);
        if self.slab.is_empty() && self.slab.capacity() > KEPT_MAX {
            *self = Self::default();
        }
        Some(stream)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Stream)> {
        self.slab.iter_mut().map(|(index, stream)| (Key { index: index as u32, id: stream.id }, stream))
    }
}

/// Streams that a connection without any keeps room for.
const KEPT_MAX: usize = 8;
