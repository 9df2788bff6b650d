//! What is received: frames, each checked against the state of its stream before anything is done for it.

use bytes::{Buf, Bytes, BytesMut};

use super::{Connection, Event, Key, Role, SHUTDOWN_PING, Shutdown, Stage};
use crate::{
    ConnectionError, Error, Reason,
    frame::{self, HEAD_LEN, Head, Kind, MAX_31, PAYLOAD_DEFAULT, PREFACE, flags},
    message::Fields,
    settings::PeerSettings,
    stream::Half,
};

/// Content of which a piece is shared with the buffer that it was read into, in bytes; what is shorter is
/// copied, so that it does not keep the whole buffer.
const SHARED_MIN: usize = 8 * 1024;
/// CONTINUATION frames of one header block (CVE-2024-27316); their bytes are bounded, too.
const CONTINUATIONS_MAX: u32 = 16;

/// A header block of which more is to come.
#[derive(Debug)]
pub(super) struct Block {
    head: Head,
    depends_on_itself: bool,
    bytes: Vec<u8>,
    frames: u32,
}

type Received = Result<Option<Event>, ConnectionError>;

impl Connection {
    /// Takes frames from `input` up to the first that there is something to say of. `None`: more bytes are
    /// needed. After an error nothing more is taken; the peer is told of it by what is in the output.
    pub fn receive(&mut self, input: &mut BytesMut) -> Received {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        self.receive_next(input).map_err(|error| self.fail(error))
    }

    fn receive_next(&mut self, input: &mut BytesMut) -> Received {
        if self.stage == Stage::Preface && !self.take_preface(input)? {
            return Ok(None);
        }
        while let Some(head) = Head::parse(input) {
            self.check(&head)?;
            let Some(payload) = input.get(HEAD_LEN..HEAD_LEN + head.len) else { return Ok(None) };
            if head.kind == Kind::Data {
                let content = frame::without_padding(&head, payload)?;
                if let Some(event) = self.data(&head, content, input)? {
                    return Ok(Some(event));
                }
                continue;
            }
            let event = self.control(&head, payload);
            input.advance(HEAD_LEN + head.len);
            if let Some(event) = event? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether the client's preface is complete.
    fn take_preface(&mut self, input: &mut BytesMut) -> Result<bool, ConnectionError> {
        let count = input.len().min(PREFACE.len());
        if input[..count] != PREFACE[..count] {
            return Err(ConnectionError::protocol("no preface"));
        }
        if count < PREFACE.len() {
            return Ok(false);
        }
        input.advance(count);
        self.stage = Stage::Settings;
        Ok(true)
    }

    /// What a frame's head alone tells, before its payload is waited for.
    fn check(&self, head: &Head) -> Result<(), ConnectionError> {
        if head.len > PAYLOAD_DEFAULT {
            return Err(ConnectionError::new(Reason::FRAME_SIZE_ERROR, "a frame too long"));
        }
        if self.stage == Stage::Settings && (head.kind != Kind::Settings || head.has(flags::ACK)) {
            return Err(ConnectionError::protocol("a first frame that is not SETTINGS"));
        }
        let continues =
            self.block.as_ref().map(|block| (block.head.stream, block.frames < CONTINUATIONS_MAX));
        match (continues, head.kind) {
            (None, Kind::Continuation) => Err(ConnectionError::protocol("CONTINUATION of nothing")),
            (Some((stream, true)), Kind::Continuation) if stream == head.stream => Ok(()),
            (Some((stream, false)), Kind::Continuation) if stream == head.stream => {
                Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "a header block in too many pieces"))
            }
            (Some(_), _) => Err(ConnectionError::protocol("a frame within a header block")),
            (None, _) => Ok(()),
        }
    }

    fn control(&mut self, head: &Head, payload: &[u8]) -> Received {
        match head.kind {
            Kind::Headers => self.headers(head, payload),
            Kind::Continuation => self.continuation(head, payload),
            Kind::Reset => self.peer_reset(head, payload),
            Kind::WindowUpdate => self.window_update(head, payload),
            Kind::Settings => self.settings(head, payload),
            Kind::Ping => self.pinged(head, payload),
            Kind::GoAway => self.go_away(head, payload),
            Kind::Priority => self.priority(head, payload),
            Kind::PushPromise => Err(ConnectionError::protocol("a pushed stream, which was not asked for")),
            Kind::Unknown | Kind::Data => Ok(None),
        }
    }

    /// Whether no frame of this stream can have come before.
    fn is_idle(&self, id: u32) -> bool {
        let is_of_client = id % 2 == 1;
        match self.role {
            Role::Server => !is_of_client || id > self.highest,
            Role::Client => !is_of_client || id >= self.next,
        }
    }

    fn data(&mut self, head: &Head, content: std::ops::Range<usize>, input: &mut BytesMut) -> Received {
        let id = head.stream;
        if id == 0 || self.is_idle(id) {
            return Err(ConnectionError::protocol("DATA of a stream that is not there"));
        }
        let whole = HEAD_LEN + head.len;
        if !self.receive_window.receive(head.len as u32) {
            return Err(ConnectionError::new(
                Reason::FLOW_CONTROL_ERROR,
                "more than the connection's window",
            ));
        }
        let end = head.has(flags::END_STREAM);
        if content.is_empty() && !end && !self.empty.spend() {
            return Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "too many frames without content"));
        }
        let Some(key) = self.streams.key(id) else {
            input.advance(whole);
            self.discard(head.len);
            return match self.is_late(id) || self.forgotten.contains(&id) {
                true => Ok(None),
                false => self.stream_error(id, Reason::STREAM_CLOSED),
            };
        };
        if let Some(reason) = self.refuses_data(key, head.len, content.len(), end) {
            input.advance(whole);
            self.discard(head.len);
            return self.stream_error(id, reason);
        }
        let len = content.len();
        let data = if len >= SHARED_MIN {
            let mut frame = input.split_to(whole);
            frame.advance(HEAD_LEN + content.start);
            frame.truncate(len);
            frame.freeze()
        } else {
            let data = Bytes::copy_from_slice(&input[HEAD_LEN + content.start..][..len]);
            input.advance(whole);
            data
        };
        if len > 0 {
            self.empty.earn();
        }
        if head.len > len {
            self.release(key, head.len - len);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let tag = stream.tag;
        if end {
            stream.receive = Half::Closed;
            self.close_if_done(key);
        }
        Ok((end || len > 0).then_some(Event::Data { tag, data, end }))
    }

    /// Why a stream does not take content; its window and what it was promised are charged.
    fn refuses_data(&mut self, key: Key, whole: usize, len: usize, end: bool) -> Option<Reason> {
        let stream = self.streams.get_mut(key)?;
        match stream.receive {
            Half::Closed => return Some(Reason::STREAM_CLOSED),
            Half::Head => return Some(Reason::PROTOCOL_ERROR),
            Half::Body => {}
        }
        if !stream.receive_window.receive(whole as u32) {
            return Some(Reason::FLOW_CONTROL_ERROR);
        }
        if stream.is_without_content && len > 0 {
            return Some(Reason::PROTOCOL_ERROR);
        }
        if let Some(promised) = &mut stream.promised {
            match promised.checked_sub(len as u64) {
                Some(left) if left == 0 || !end => *promised = left,
                _ => return Some(Reason::PROTOCOL_ERROR),
            }
        }
        None
    }

    fn headers(&mut self, head: &Head, payload: &[u8]) -> Received {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("HEADERS of no stream"));
        }
        let (range, dependency) = frame::block_of(head, payload)?;
        let depends_on_itself = dependency == Some(head.stream);
        let block = &payload[range];
        if head.has(flags::END_HEADERS) {
            return self.block(head, depends_on_itself, block);
        }
        self.block =
            Some(Box::new(Block { head: *head, depends_on_itself, bytes: block.to_vec(), frames: 0 }));
        Ok(None)
    }

    fn continuation(&mut self, head: &Head, payload: &[u8]) -> Received {
        let Some(mut block) = self.block.take() else { return Ok(None) };
        if block.bytes.len() + payload.len() > self.block_len_max {
            return Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "a header block too long"));
        }
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        if head.has(flags::END_HEADERS) {
            return self.block(&block.head, block.depends_on_itself, &block.bytes);
        }
        self.block = Some(block);
        Ok(None)
    }

    /// A whole header block. It is decoded whatever becomes of its stream: the table is of all streams.
    fn block(&mut self, head: &Head, depends_on_itself: bool, block: &[u8]) -> Received {
        let id = head.stream;
        let end = head.has(flags::END_STREAM);
        let key = self.streams.key(id);
        let is_new = key.is_none() && self.role == Role::Server && id > self.highest;
        let is_of_server = id.is_multiple_of(2);
        if (is_new && is_of_server) || (key.is_none() && !is_new && self.is_idle(id)) {
            return Err(ConnectionError::protocol("HEADERS of a stream that cannot be"));
        }
        let is_late = self.is_late(id);
        let is_known = key.is_some() || (is_new && !is_late);
        if !is_known {
            self.decode(block, &mut |_| {})?;
            self.highest = if is_late { self.highest.max(id) } else { self.highest };
            if is_late || self.forgotten.contains(&id) {
                return Ok(None);
            }
            return match self.role {
                Role::Server => {
                    Err(ConnectionError::new(Reason::STREAM_CLOSED, "HEADERS of a stream that has ended"))
                }
                Role::Client => self.stream_error(id, Reason::STREAM_CLOSED),
            };
        }
        if is_new {
            self.highest = id;
            if self.streams.len() >= self.config.streams_max as usize {
                self.decode(block, &mut |_| {})?;
                self.write_reset(id, Reason::REFUSED_STREAM);
                self.answered()?;
                return Ok(None);
            }
        }
        let mut fields = Fields::new();
        let too_large = self.decode(block, &mut |field| fields.add(field))?;
        if depends_on_itself {
            return self.stream_error(id, Reason::PROTOCOL_ERROR);
        }
        match key {
            None => self.request(id, fields, too_large, end),
            Some(key) => match self.streams.get(key).map(|stream| stream.receive) {
                Some(Half::Head) => self.response(key, fields, too_large, end),
                Some(Half::Body) => self.trailers(key, fields, too_large, end),
                _ => self.stream_error(id, Reason::STREAM_CLOSED),
            },
        }
    }

    /// Whether the list of fields was longer than it may be.
    fn decode(
        &mut self,
        block: &[u8],
        sink: &mut impl FnMut(crate::hpack::Field),
    ) -> Result<bool, ConnectionError> {
        match self.decoder.decode(block, self.config.header_list_max, sink) {
            Ok(decoded) => Ok(decoded.too_large),
            Err(_) => Err(ConnectionError::new(Reason::COMPRESSION_ERROR, "a header block that is none")),
        }
    }

    fn request(&mut self, id: u32, fields: Fields, too_large: bool, end: bool) -> Received {
        if too_large {
            return self.refuse_too_large(id, end);
        }
        let length = fields.length();
        let Ok(request) = fields.into_request() else {
            return self.stream_error(id, Reason::PROTOCOL_ERROR);
        };
        if end && length.is_some_and(|length| length > 0) {
            return self.stream_error(id, Reason::PROTOCOL_ERROR);
        }
        let key = self.add_stream(id, if end { Half::Closed } else { Half::Body }, Half::Head);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.promised = length;
        }
        Ok(Some(Event::Request { key, request, end, length }))
    }

    /// Answers 431, which is more helpful than a reset (RFC 9113, section 10.5.1).
    fn refuse_too_large(&mut self, id: u32, end: bool) -> Received {
        let key = self.add_stream(id, if end { Half::Closed } else { Half::Body }, Half::Head);
        let status = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let _ = self.respond(key, status, http::HeaderMap::new(), Some(0), true);
        self.answered()?;
        self.end_early(key);
        match self.provoked.spend() {
            true => Ok(None),
            false => Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "too many requests were refused")),
        }
    }

    fn response(&mut self, key: Key, fields: Fields, too_large: bool, end: bool) -> Received {
        if too_large {
            return self.stream_error(key.id, Reason::PROTOCOL_ERROR);
        }
        let length = fields.length();
        let status = fields.status();
        let Ok(response) = fields.into_response() else {
            return self.stream_error(key.id, Reason::PROTOCOL_ERROR);
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let status = status.map_or(0, |status| status.as_u16());
        if status < 200 {
            return match status == 101 || end {
                true => self.stream_error(key.id, Reason::PROTOCOL_ERROR),
                false => Ok(None),
            };
        }
        stream.is_without_content |= matches!(status, 204 | 304);
        let without = stream.is_without_content;
        if end && !without && length.is_some_and(|length| length > 0) {
            return self.stream_error(key.id, Reason::PROTOCOL_ERROR);
        }
        stream.promised = length.filter(|_| !without);
        let length = if without || end { Some(0) } else { length };
        let tag = stream.tag;
        stream.receive = if end { Half::Closed } else { Half::Body };
        self.close_if_done(key);
        Ok(Some(Event::Response { tag, response, end, length }))
    }

    fn trailers(&mut self, key: Key, fields: Fields, too_large: bool, end: bool) -> Received {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let is_short = stream.promised.is_some_and(|promised| promised > 0);
        let (false, false, true, Ok(trailers)) = (too_large, is_short, end, fields.into_trailers()) else {
            return self.stream_error(key.id, Reason::PROTOCOL_ERROR);
        };
        let tag = stream.tag;
        stream.receive = Half::Closed;
        self.close_if_done(key);
        Ok(Some(Event::Trailers { tag, trailers }))
    }

    fn peer_reset(&mut self, head: &Head, payload: &[u8]) -> Received {
        let reason = Reason::from(exactly(payload, "RST_STREAM of a wrong size").map(u32::from_be_bytes)?);
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(ConnectionError::protocol("RST_STREAM of a stream that is not there"));
        }
        let Some(stream) = self.streams.key(head.stream).and_then(|key| self.streams.remove(key)) else {
            return Ok(None);
        };
        if self.role == Role::Server && !stream.is_accepted && !self.hasty.spend() {
            return Err(ConnectionError::new(Reason::ENHANCE_YOUR_CALM, "too many streams reset at once"));
        }
        Ok(Some(Event::Reset { tag: stream.tag, error: Error::Reset(reason) }))
    }

    fn window_update(&mut self, head: &Head, payload: &[u8]) -> Received {
        let increment = exactly(payload, "WINDOW_UPDATE of a wrong size").map(u32::from_be_bytes)? & MAX_31;
        if head.stream == 0 {
            if increment == 0 {
                return Err(ConnectionError::protocol("an empty WINDOW_UPDATE"));
            }
            if !self.send_window.change(i64::from(increment)) {
                return Err(ConnectionError::new(Reason::FLOW_CONTROL_ERROR, "a window too large"));
            }
            self.resume();
            return Ok(None);
        }
        if self.is_idle(head.stream) {
            return Err(ConnectionError::protocol("WINDOW_UPDATE of a stream that is not there"));
        }
        let Some(key) = self.streams.key(head.stream) else { return Ok(None) };
        if increment == 0 {
            return self.stream_error(head.stream, Reason::PROTOCOL_ERROR);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if !stream.send_window.change(i64::from(increment)) {
            return self.stream_error(head.stream, Reason::FLOW_CONTROL_ERROR);
        }
        self.schedule_if_waiting(key);
        Ok(None)
    }

    fn settings(&mut self, head: &Head, payload: &[u8]) -> Received {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS of a stream"));
        }
        if head.has(flags::ACK) {
            return match payload {
                [] => Ok(None),
                _ => Err(ConnectionError::new(Reason::FRAME_SIZE_ERROR, "SETTINGS that acknowledge and set")),
            };
        }
        let before: PeerSettings = self.peer;
        self.peer.change(payload, self.role)?;
        if self.peer.table_size != before.table_size {
            self.encoder.set_table_size(self.peer.table_size as usize);
        }
        if self.peer.window != before.window {
            let by = i64::from(self.peer.window) - i64::from(before.window);
            let mut waiting = Vec::new();
            for (key, stream) in self.streams.iter_mut() {
                if !stream.send_window.change(by) {
                    return Err(ConnectionError::new(Reason::FLOW_CONTROL_ERROR, "a window too large"));
                }
                if !stream.waiting.is_empty() {
                    waiting.push(key);
                }
            }
            waiting.into_iter().for_each(|key| self.schedule_if_waiting(key));
        }
        self.stage = Stage::Open;
        Head { len: 0, kind: Kind::Settings, flags: flags::ACK, stream: 0 }.write(&mut self.out);
        self.answered()?;
        Ok(Some(Event::Settings))
    }

    fn pinged(&mut self, head: &Head, payload: &[u8]) -> Received {
        let payload: [u8; 8] = exactly(payload, "PING of a wrong size")?;
        if head.stream != 0 {
            return Err(ConnectionError::protocol("PING of a stream"));
        }
        if !head.has(flags::ACK) {
            frame::write_ping(payload, true, &mut self.out);
            self.answered()?;
            return Ok(None);
        }
        if payload != SHUTDOWN_PING {
            return Ok(Some(Event::Pong));
        }
        if self.shutdown == Shutdown::Announced {
            self.shutdown = Shutdown::Final(self.highest);
            frame::write_go_away(self.highest, Reason::NO_ERROR, &mut self.out);
        }
        Ok(None)
    }

    fn go_away(&mut self, head: &Head, payload: &[u8]) -> Received {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("GOAWAY of a stream"));
        }
        let Some((&[l0, l1, l2, l3, r0, r1, r2, r3], _)) = payload.split_first_chunk() else {
            return Err(ConnectionError::new(Reason::FRAME_SIZE_ERROR, "GOAWAY of a wrong size"));
        };
        let last = u32::from_be_bytes([l0, l1, l2, l3]) & MAX_31;
        let reason = Reason::from(u32::from_be_bytes([r0, r1, r2, r3]));
        if self.peer_gone.is_some_and(|(before, _)| last > before) {
            return Err(ConnectionError::protocol("GOAWAY that takes back what the one before said"));
        }
        self.peer_gone = Some((last, reason));
        if self.role == Role::Client {
            let unprocessed: Vec<Key> =
                self.streams.iter_mut().map(|(key, _)| key).filter(|key| key.id > last).collect();
            for key in unprocessed {
                if let Some(stream) = self.streams.remove(key) {
                    self.events.push_back(Event::Reset { tag: stream.tag, error: Error::Unprocessed });
                }
            }
        }
        Ok(Some(Event::GoAway))
    }

    fn priority(&mut self, head: &Head, payload: &[u8]) -> Received {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY of no stream"));
        }
        let wrong = match payload.first_chunk::<4>() {
            Some(dependency) if payload.len() == 5 => {
                let depends_on = u32::from_be_bytes(*dependency) & MAX_31;
                (depends_on == head.stream).then_some(Reason::PROTOCOL_ERROR)
            }
            _ => Some(Reason::FRAME_SIZE_ERROR),
        };
        match wrong {
            None => Ok(None),
            // A stream that is not there cannot be reset.
            Some(reason) if self.is_idle(head.stream) => {
                Err(ConnectionError::new(reason, "PRIORITY that cannot be"))
            }
            Some(reason) => self.stream_error(head.stream, reason),
        }
    }
}

/// A payload that has exactly so many bytes.
fn exactly<const N: usize>(payload: &[u8], what: &'static str) -> Result<[u8; N], ConnectionError> {
    payload.try_into().map_err(|_| ConnectionError::new(Reason::FRAME_SIZE_ERROR, what))
}
