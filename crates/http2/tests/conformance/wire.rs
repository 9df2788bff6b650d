//! Frames as a peer writes and reads them.

use bowline_http2::{
    Config, Reason, Role,
    connection::{Connection, Event},
    frame::{Head, Kind, PREFACE},
};
use bytes::BytesMut;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITIZED: u8 = 0x20;

/// A frame, whatever it says.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field without indexing, its name written out.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.bytes());
    bytes
}

/// A header block of fields.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A sound request's fields, and more.
pub(crate) fn request(more: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes =
        block(&[(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "a.test")]);
    bytes.extend(block(more));
    bytes
}

/// HEADERS of a sound request.
pub(crate) fn headers(stream: u32, end: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(end), stream, &request(&[]))
}

pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(value.to_be_bytes());
    bytes
}

/// What an end has to do with what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// End the connection.
    GoAway(Reason),
    /// End the stream, and go on.
    Reset(u32, Reason),
    /// Nothing of the kind; so many messages' heads come through.
    Taken(usize),
}

/// A frame that came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) payload: Vec<u8>,
}

impl Answer {
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// One end of a connection, and what it has said.
pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) events: Vec<Event>,
    pub(crate) answers: Vec<Answer>,
    input: BytesMut,
}

impl End {
    /// A server of which the client has begun well.
    pub(crate) fn server(config: Config) -> Self {
        let mut end = Self::new(Role::Server, config);
        end.give(PREFACE);
        end.give(&frame(SETTINGS, 0, 0, &[]));
        end.give(&frame(SETTINGS, ACK, 0, &[]));
        end.answers.clear();
        end.events.clear();
        end
    }

    pub(crate) fn new(role: Role, config: Config) -> Self {
        let connection = Connection::new(role, config);
        let mut end = Self { connection, events: Vec::new(), answers: Vec::new(), input: BytesMut::new() };
        if role == Role::Client {
            assert!(end.connection.output().starts_with(PREFACE));
            end.connection.advance(PREFACE.len());
        }
        end
    }

    /// Gives it bytes, and takes what it says to them.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Ok(Some(event)) = self.connection.receive(&mut self.input) {
            if let Event::Request { key, .. } = &event {
                self.connection.accept(*key);
                self.connection.set_tag(*key, key.id() as usize);
            }
            self.events.push(event);
        }
        self.take();
    }

    pub(crate) fn take(&mut self) {
        loop {
            self.connection.fill();
            let mut output = self.connection.output();
            let len = output.len();
            if len == 0 {
                return;
            }
            while let Some(head) = Head::parse(output) {
                let payload = output[9..9 + head.len].to_vec();
                output = &output[9 + head.len..];
                self.answers.push(Answer { head, payload });
            }
            assert!(output.is_empty(), "whole frames");
            self.connection.advance(len);
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> Vec<&Answer> {
        self.answers.iter().filter(|answer| answer.head.kind == kind).collect()
    }

    pub(crate) fn heads(&self) -> usize {
        let is_head = |event: &&Event| matches!(event, Event::Request { .. } | Event::Response { .. });
        self.events.iter().filter(is_head).count()
    }

    /// What it made of it.
    pub(crate) fn outcome(&self) -> Outcome {
        if let Some(answer) = self.of(Kind::GoAway).first() {
            return Outcome::GoAway(Reason::from(answer.word(4)));
        }
        match self.of(Kind::Reset).first() {
            Some(answer) => Outcome::Reset(answer.head.stream, Reason::from(answer.word(0))),
            None => Outcome::Taken(self.heads()),
        }
    }
}
