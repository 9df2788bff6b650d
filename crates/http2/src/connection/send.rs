//! What is sent: heads, content and trailers of all streams, by turns into one buffer.

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Request, StatusCode};

use super::{Connection, Event, Key, Role};
use crate::{
    Reason,
    frame::{self, Head, Kind, PAYLOAD_DEFAULT, flags},
    hpack::Encoder,
    message,
    stream::{Half, Last, ResponseHead, Stream},
};

/// What is put together before it has to be written, in bytes.
const OUT_USUAL: usize = 64 * 1024;

/// A stream that is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Connection {
    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        &self.out[self.gone..]
    }

    /// So much of it was written.
    pub fn advance(&mut self, count: usize) {
        self.gone = self.out.len().min(self.gone + count);
        if self.gone == self.out.len() {
            self.out.clear();
        } else if self.gone >= OUT_USUAL {
            self.out.drain(..self.gone);
        } else {
            return;
        }
        self.sent += std::mem::take(&mut self.gone) as u64;
        // The peer reads.
        self.answers = 0;
    }

    /// Exchanges the empty buffer for output with another empty one. False if one of them is not empty.
    pub fn swap_buffer(&mut self, buffer: &mut Vec<u8>) -> bool {
        let fits = self.out.is_empty() && buffer.is_empty();
        if fits {
            std::mem::swap(&mut self.out, buffer);
        }
        fits
    }

    /// Whether as much waits to be written as is usual for one write.
    pub fn is_full(&self) -> bool {
        self.out.len() - self.gone >= OUT_USUAL
    }

    /// Sends a request's head, as the last of the message if `end`. `length`: what `content-length` is to
    /// say if the head does not. `None` if the peer takes no request ([`Connection::slots`]).
    pub fn open(&mut self, request: &Request<()>, length: Option<u64>, end: bool, tag: usize) -> Option<Key> {
        if self.role != Role::Client || self.slots() == 0 {
            return None;
        }
        let id = self.next;
        self.next += 2;
        let key = self.add_stream(id, Half::Head, if end { Half::Closed } else { Half::Body });
        if let Some(stream) = self.streams.get_mut(key) {
            stream.tag = tag;
            stream.is_without_content = request.method() == Method::HEAD;
        }
        let (encoder, out, max) = (&mut self.encoder, &mut self.out, self.peer.payload_max);
        write_block(id, end, max, encoder, out, |encoder, out| {
            message::write_request(encoder, request, length, out);
        });
        Some(key)
    }

    /// Sends a response's head; the rest is as for [`Connection::open`].
    pub fn respond(
        &mut self,
        key: Key,
        status: StatusCode,
        headers: HeaderMap,
        length: Option<u64>,
        end: bool,
    ) -> Result<(), Gone> {
        let is_full = self.is_full();
        let stream = self.streams.get_mut(key).filter(|stream| stream.send == Half::Head).ok_or(Gone)?;
        stream.send = Half::Body;
        if is_full {
            stream.waiting.head = Some(Box::new(ResponseHead { status, headers, length }));
            if end {
                stream.waiting.last = Last::End;
            }
            self.schedule(key);
            return Ok(());
        }
        let (encoder, out, max) = (&mut self.encoder, &mut self.out, self.peer.payload_max);
        write_block(key.id, end, max, encoder, out, |encoder, out| {
            message::write_response(encoder, status, &headers, length, out);
        });
        if end {
            self.sent_last(key);
        }
        Ok(())
    }

    /// Sends content, as the last of the message if `end`. What there is no window or no room for waits.
    pub fn send_data(&mut self, key: Key, mut data: Bytes, end: bool) -> Result<(), Gone> {
        let stream = self.streams.get_mut(key).filter(|stream| stream.send == Half::Body).ok_or(Gone)?;
        if !matches!(stream.waiting.last, Last::Open) {
            return Err(Gone);
        }
        if stream.waiting.is_empty() && self.out.len() - self.gone < OUT_USUAL {
            let max = self.peer.payload_max.min(PAYLOAD_DEFAULT);
            loop {
                let count = data.len().min(max).min(stream.send_window.room()).min(self.send_window.room());
                let is_last = end && count == data.len();
                if count == 0 && !is_last {
                    break;
                }
                stream.send_window.spend(count);
                self.send_window.spend(count);
                write_data(key.id, &data[..count], is_last, &mut self.out);
                data.advance(count);
                if is_last {
                    self.sent_last(key);
                    return Ok(());
                }
                if data.is_empty() {
                    return Ok(());
                }
                if self.out.len() - self.gone >= OUT_USUAL {
                    break;
                }
            }
        }
        if !data.is_empty() {
            stream.waiting.bytes += data.len();
            stream.waiting.chunks.push_back(data);
        }
        if end {
            stream.waiting.last = Last::End;
        }
        self.schedule(key);
        Ok(())
    }

    /// Sends trailers, which end the message.
    pub fn send_trailers(&mut self, key: Key, trailers: HeaderMap) -> Result<(), Gone> {
        let stream = self.streams.get_mut(key).filter(|stream| stream.send == Half::Body).ok_or(Gone)?;
        if !matches!(stream.waiting.last, Last::Open) {
            return Err(Gone);
        }
        stream.waiting.last = Last::Trailers(Box::new(trailers));
        self.schedule(key);
        if !self.is_full() {
            self.fill();
        }
        Ok(())
    }

    /// Bytes that a stream's sender may still hand over; if there are none, [`Event::Writable`] says when
    /// there are.
    pub fn room(&mut self, key: Key) -> Result<usize, Gone> {
        let max = self.config.send_buffer_max;
        let stream = self.streams.get_mut(key).filter(|stream| stream.send != Half::Closed).ok_or(Gone)?;
        let room = max.saturating_sub(stream.waiting.bytes);
        stream.wants_room = room == 0;
        Ok(room)
    }

    /// Ends a stream at once; what waits to be sent is dropped.
    pub fn reset(&mut self, key: Key, reason: Reason) {
        if self.streams.remove(key).is_some() {
            self.write_reset(key.id, reason);
        }
    }

    /// Nothing more of what the peer sends on a stream is wanted: once all that waits of the response has been sent, which is
    /// all of it, the stream ends (RFC 9113, section 8.1).
    pub fn end_early(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.send == Half::Closed {
            self.reset(key, Reason::NO_ERROR);
        } else {
            stream.is_unwanted = true;
        }
    }

    /// So much content was read: the peer may send more. Also for streams that have ended.
    pub fn release(&mut self, key: Key, bytes: usize) {
        self.discard(bytes);
        if let Some(stream) = self.streams.get_mut(key)
            && stream.receive != Half::Closed
            && let Some(increment) = stream.receive_window.take(bytes as u32)
        {
            frame::write_window_update(key.id, increment, &mut self.out);
        }
    }

    /// So much content will not be read: the peer may send more on other streams.
    pub fn discard(&mut self, bytes: usize) {
        if let Some(increment) = self.receive_window.take(bytes as u32) {
            frame::write_window_update(0, increment, &mut self.out);
        }
    }

    fn schedule(&mut self, key: Key) {
        if let Some(stream) = self.streams.get_mut(key)
            && !stream.is_scheduled
        {
            stream.is_scheduled = true;
            self.ready.push_back(key);
        }
    }

    /// Schedules a stream that has something to send, after its window has grown.
    pub(super) fn schedule_if_waiting(&mut self, key: Key) {
        if self.streams.get(key).is_some_and(|stream| !stream.waiting.is_empty()) {
            self.schedule(key);
        }
    }

    /// The connection's window has grown.
    pub(super) fn resume(&mut self) {
        self.ready.extend(self.held_up.drain(..));
    }

    /// Puts together what can be sent, a frame of each stream in turn.
    pub fn fill(&mut self) {
        while self.out.len() - self.gone < OUT_USUAL {
            let Some(key) = self.ready.pop_front() else { return };
            match self.next_frame(key) {
                Next::Again => self.ready.push_back(key),
                Next::HeldUp => self.held_up.push(key),
                Next::Nothing => {}
            }
        }
    }

    /// Writes a stream's next frame.
    fn next_frame(&mut self, key: Key) -> Next {
        let Some(stream) = self.streams.get_mut(key) else { return Next::Nothing };
        let max = self.peer.payload_max;
        if let Some(head) = stream.waiting.head.take() {
            let end = stream.waiting.chunks.is_empty() && matches!(stream.waiting.last, Last::End);
            write_block(key.id, end, max, &mut self.encoder, &mut self.out, |encoder, out| {
                message::write_response(encoder, head.status, &head.headers, head.length, out);
            });
            if end {
                self.sent_last(key);
                return Next::Nothing;
            }
        } else if stream.waiting.bytes > 0 {
            let most = max.min(PAYLOAD_DEFAULT).min(stream.send_window.room());
            if most == 0 {
                // Until its window grows.
                stream.is_scheduled = false;
                return Next::Nothing;
            }
            let most = most.min(self.send_window.room());
            if most == 0 {
                return Next::HeldUp;
            }
            let count = write_waiting(stream, most, &mut self.out);
            self.send_window.spend(count);
            if stream.wants_room && stream.waiting.bytes <= self.config.send_buffer_max / 2 {
                stream.wants_room = false;
                self.events.push_back(Event::Writable { tag: stream.tag });
            }
        }
        let waiting = &mut stream.waiting;
        if waiting.bytes > 0 {
            return Next::Again;
        }
        match std::mem::take(&mut waiting.last) {
            Last::Open => {
                stream.is_scheduled = false;
                return Next::Nothing;
            }
            // Content that was waiting has taken its end along.
            Last::End if stream.send == Half::Closed => {}
            Last::End => write_data(key.id, &[], true, &mut self.out),
            Last::Trailers(trailers) => {
                write_block(key.id, true, max, &mut self.encoder, &mut self.out, |encoder, out| {
                    message::write_trailers(encoder, &trailers, out);
                });
            }
        }
        self.sent_last(key);
        Next::Nothing
    }

    /// The last of a message was sent.
    fn sent_last(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.send = Half::Closed;
        if stream.is_unwanted && stream.receive != Half::Closed {
            self.reset(key, Reason::NO_ERROR);
        } else {
            self.close_if_done(key);
        }
    }
}

/// What becomes of a stream after its turn.
enum Next {
    Again,
    HeldUp,
    Nothing,
}

fn write_data(id: u32, data: &[u8], end: bool, out: &mut Vec<u8>) {
    let flags = if end { flags::END_STREAM } else { 0 };
    Head { len: data.len(), kind: Kind::Data, flags, stream: id }.write(out);
    out.extend_from_slice(data);
}

/// Writes one frame of what waits, of `most` bytes; how long it is.
fn write_waiting(stream: &mut Stream, most: usize, out: &mut Vec<u8>) -> usize {
    let waiting = &mut stream.waiting;
    let count = waiting.bytes.min(most);
    let is_last = count == waiting.bytes && matches!(waiting.last, Last::End);
    let flags = if is_last { flags::END_STREAM } else { 0 };
    Head { len: count, kind: Kind::Data, flags, stream: stream.id }.write(out);
    let mut left = count;
    while left > 0
        && let Some(chunk) = waiting.chunks.front_mut()
    {
        let piece = chunk.len().min(left);
        out.extend_from_slice(&chunk[..piece]);
        chunk.advance(piece);
        left -= piece;
        if chunk.is_empty() {
            waiting.chunks.pop_front();
        }
    }
    waiting.bytes -= count;
    stream.send_window.spend(count);
    if is_last {
        stream.send = Half::Closed;
    }
    count
}

/// Writes a header block: HEADERS, and CONTINUATION where it is too long for one frame.
fn write_block(
    id: u32,
    end: bool,
    payload_max: usize,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    fields: impl FnOnce(&mut Encoder, &mut Vec<u8>),
) {
    let start = out.len();
    let end = if end { flags::END_STREAM } else { 0 };
    let mut head = Head { len: 0, kind: Kind::Headers, flags: end | flags::END_HEADERS, stream: id };
    head.write(out);
    let block = out.len();
    fields(encoder, out);
    head.len = out.len() - block;
    if head.len <= payload_max {
        out[start..start + 3].copy_from_slice(&(head.len as u32).to_be_bytes()[1..]);
        return;
    }
    let bytes = out.split_off(block);
    out.truncate(start);
    let count = bytes.len().div_ceil(payload_max);
    for (number, piece) in bytes.chunks(payload_max).enumerate() {
        let kind = if number == 0 { Kind::Headers } else { Kind::Continuation };
        let mut flags = if number == 0 { end } else { 0 };
        if number + 1 == count {
            flags |= flags::END_HEADERS;
        }
        Head { len: piece.len(), kind, flags, stream: id }.write(out);
        out.extend_from_slice(piece);
    }
}
