//! Two connections of our own against each other, and one against a peer that means no good.

use bytes::BytesMut;
use http::{HeaderValue, header};
use proptest::prelude::*;

use super::*;
use crate::frame::{HEAD_LEN, Head, Kind, flags};

struct Pair {
    client: Connection,
    server: Connection,
    to_client: BytesMut,
    to_server: BytesMut,
    at_client: Vec<Event>,
    at_server: Vec<Event>,
}

impl Pair {
    fn new(client: Config, server: Config) -> Self {
        let mut pair = Self {
            client: Connection::new(Role::Client, client),
            server: Connection::new(Role::Server, server),
            to_client: BytesMut::new(),
            to_server: BytesMut::new(),
            at_client: Vec::new(),
            at_server: Vec::new(),
        };
        pair.run();
        pair.at_client.clear();
        pair.at_server.clear();
        pair
    }

    /// Carries bytes to and fro until there are none.
    fn run(&mut self) {
        loop {
            let sent =
                carry(&mut self.client, &mut self.to_server) + carry(&mut self.server, &mut self.to_client);
            take(&mut self.client, &mut self.to_client, &mut self.at_client);
            take(&mut self.server, &mut self.to_server, &mut self.at_server);
            if sent == 0 {
                return;
            }
        }
    }

    fn ask(&mut self, end: bool, tag: usize) -> Key {
        let request = Request::builder().method("POST").uri("https://a.test/x").body(()).unwrap();
        self.client.open(&request, None, end, tag).unwrap()
    }

    /// The server's key of the request that came last.
    fn asked(&self) -> Key {
        let last = self.at_server.iter().rev().find_map(|event| match event {
            Event::Request { key, .. } => Some(*key),
            _ => None,
        });
        last.unwrap()
    }
}

fn carry(from: &mut Connection, to: &mut BytesMut) -> usize {
    from.fill();
    let len = from.output().len();
    to.extend_from_slice(from.output());
    from.advance(len);
    len
}

fn take(connection: &mut Connection, input: &mut BytesMut, events: &mut Vec<Event>) {
    while let Some(event) = connection.receive(input).unwrap() {
        events.push(event);
    }
}

/// Frames of output that is whole.
fn frames(mut output: &[u8]) -> Vec<Head> {
    let mut heads = Vec::new();
    while let Some(head) = Head::parse(output) {
        output = &output[HEAD_LEN + head.len..];
        heads.push(head);
    }
    assert!(output.is_empty());
    heads
}

fn content(events: &[Event]) -> usize {
    let len = |event: &Event| if let Event::Data { data, .. } = event { data.len() } else { 0 };
    events.iter().map(len).sum()
}

#[test]
fn a_request_and_its_response_cross() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let key = pair.ask(false, 7);
    pair.client.send_data(key, Bytes::from_static(b"ping"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("t", HeaderValue::from_static("v"));
    pair.client.send_trailers(key, trailers).unwrap();
    assert_eq!(
        frames(pair.client.output()).iter().map(|head| head.kind).collect::<Vec<_>>(),
        [Kind::Headers, Kind::Data, Kind::Headers],
        "together"
    );
    pair.run();
    let [
        Event::Request { request, end: false, .. },
        Event::Data { data, .. },
        Event::Trailers { trailers, .. },
    ] = &pair.at_server[..]
    else {
        panic!("{:?}", pair.at_server)
    };
    assert_eq!((request.uri().to_string().as_str(), &data[..]), ("https://a.test/x", &b"ping"[..]));
    assert_eq!(trailers["t"], "v");
    let key = pair.asked();
    let mut headers = HeaderMap::new();
    headers.insert(header::SERVER, HeaderValue::from_static("s"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("own, close"));
    headers.insert("own", HeaderValue::from_static("not for others"));
    pair.server.respond(key, http::StatusCode::OK, headers, Some(4), false).unwrap();
    pair.server.send_data(key, Bytes::from_static(b"pong"), true).unwrap();
    pair.run();
    let [Event::Response { tag: 7, response, length: Some(4), .. }, Event::Data { tag: 7, end: true, .. }] =
        &pair.at_client[..]
    else {
        panic!("{:?}", pair.at_client)
    };
    assert_eq!((response.headers().len(), &response.headers()["content-length"]), (2, &HeaderValue::from(4)));
    assert_eq!((pair.client.streams(), pair.server.streams()), (0, 0));
}

#[test]
fn content_waits_for_windows_and_then_for_room() {
    let config = Config { stream_window: 100_000, ..Config::default() };
    let mut pair = Pair::new(config.clone(), config);
    let key = pair.ask(false, 0);
    pair.client.send_data(key, Bytes::from(vec![1; 150_000]), true).unwrap();
    assert_eq!(pair.client.room(key), Ok(0));
    pair.run();
    assert_eq!(content(&pair.at_server), 100_000);
    let asked = pair.asked();
    // Half of the window, and a little.
    pair.server.release(asked, 51_000);
    pair.run();
    assert_eq!(content(&pair.at_server), 150_000);
    assert!(pair.client.room(key).is_err(), "all was sent");
    assert!(matches!(pair.at_server.last(), Some(Event::Data { end: true, .. })));
}

#[test]
fn who_waits_for_room_is_told_when_there_is_some() {
    let config = Config { stream_window: 100_000, ..Config::default() };
    let mut pair = Pair::new(config.clone(), config);
    let key = pair.ask(false, 3);
    pair.client.send_data(key, Bytes::from(vec![1; 200_000]), false).unwrap();
    pair.run();
    assert_eq!(pair.client.room(key), Ok(0));
    let asked = pair.asked();
    pair.server.release(asked, 100_000);
    pair.run();
    assert!(pair.client.room(key).unwrap() > 0);
    let told = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Writable { tag: 3 }));
    let polled = pair.client.poll_event().is_some_and(|event| told(&[event]));
    assert!(polled || told(&pair.at_client));
}

#[test]
fn streams_take_turns() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let keys: Vec<Key> = (0..3).map(|tag| pair.ask(false, tag)).collect();
    for key in &keys {
        pair.client.send_data(*key, Bytes::from(vec![0; 100_000]), true).unwrap();
    }
    // The first one has filled what is put together at once.
    carry(&mut pair.client, &mut pair.to_server);
    pair.client.fill();
    let order: Vec<u32> = frames(pair.client.output()).iter().map(|head| head.stream).collect();
    assert_eq!(order[..3], [1, 3, 5], "{order:?}");
    pair.run();
    assert_eq!(content(&pair.at_server), 300_000);
}

#[test]
fn the_connections_window_holds_up_and_lets_go() {
    let config = Config { connection_window: 65_535, ..Config::default() };
    let mut pair = Pair::new(config.clone(), config);
    let keys: Vec<Key> = (0..4).map(|tag| pair.ask(false, tag)).collect();
    for key in &keys {
        pair.client.send_data(*key, Bytes::from(vec![0; 50_000]), true).unwrap();
    }
    pair.run();
    assert_eq!(content(&pair.at_server), 65_535);
    let mut before = 0;
    while content(&pair.at_server) < 200_000 {
        let now = content(&pair.at_server);
        assert!(now > before);
        pair.server.discard(now - before);
        before = now;
        pair.run();
    }
    assert_eq!(pair.client.streams(), 4, "the responses are still to come");
}

#[test]
fn a_large_block_is_written_in_pieces() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let mut request = Request::builder().uri("https://a.test/").body(()).unwrap();
    for number in 0..20 {
        let value = HeaderValue::from_str(&"x".repeat(2_000)).unwrap();
        request.headers_mut().insert(http::HeaderName::try_from(format!("h{number}")).unwrap(), value);
    }
    pair.client.open(&request, None, true, 0).unwrap();
    let heads = frames(pair.client.output());
    assert!(heads.len() > 2 && heads[0].kind == Kind::Headers && heads[0].has(flags::END_STREAM));
    assert!(heads[1..].iter().all(|head| head.kind == Kind::Continuation && !head.has(flags::END_STREAM)));
    pair.run();
    let Event::Request { request, end: true, .. } = &pair.at_server[0] else { panic!() };
    assert_eq!(request.headers().len(), 20);
}

#[test]
fn a_graceful_end_takes_what_was_on_its_way() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let first = pair.ask(true, 0);
    carry(&mut pair.client, &mut pair.to_server);
    pair.server.shut_down();
    // It does not know yet.
    pair.ask(true, 1);
    pair.run();
    assert_eq!(pair.at_server.len(), 2);
    assert!(pair.client.is_closing() && !pair.server.is_done());
    for event in &pair.at_server {
        let Event::Request { key, .. } = event else { panic!("{event:?}") };
        pair.server.respond(*key, http::StatusCode::OK, HeaderMap::new(), None, true).unwrap();
    }
    pair.run();
    assert!(pair.server.is_done() && pair.client.is_done());
    assert!(!pair.client.has_not_left(first));
}

#[test]
fn what_has_left_is_known() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let (first, second) = (pair.ask(true, 0), pair.ask(true, 1));
    assert!(pair.client.has_not_left(first) && pair.client.has_not_left(second));
    pair.client.advance(1);
    assert!(!pair.client.has_not_left(first) && pair.client.has_not_left(second));
}

// Peers that mean no good.

fn server() -> (Connection, BytesMut) {
    let mut server = Connection::new(Role::Server, Config::default());
    let mut client = Connection::new(Role::Client, Config::default());
    let mut input = BytesMut::new();
    carry(&mut client, &mut input);
    take(&mut server, &mut input, &mut Vec::new());
    let len = server.output().len();
    server.advance(len);
    (server, input)
}

/// Gives it `bytes` up to so often, reading the answers if `reads`; how often it took them.
fn flood(most: u32, reads: bool, mut bytes: impl FnMut(u32, &mut Vec<u8>)) -> (u32, Option<Reason>) {
    let (mut server, mut input) = server();
    for round in 0..most {
        let mut out = Vec::new();
        bytes(round, &mut out);
        input.extend_from_slice(&out);
        loop {
            match server.receive(&mut input) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error) => return (round, Some(error.reason)),
            }
        }
        assert!(server.output().len() < 100_000 && server.streams() <= 1_024);
        if reads {
            let len = server.output().len();
            server.advance(len);
        }
    }
    (most, None)
}

/// HEADERS of a sound request, without a table.
fn headers(stream: u32, out: &mut Vec<u8>) {
    let block = [&[0x82, 0x87, 0x84, 0x01, 6][..], b"a.test"].concat();
    let flags = flags::END_HEADERS;
    Head { len: block.len(), kind: Kind::Headers, flags, stream }.write(out);
    out.extend(block);
}

const CALM: Option<Reason> = Some(Reason::ENHANCE_YOUR_CALM);

#[test]
fn rapid_resets_end_the_connection() {
    let flooded = flood(10_000, true, |round, out| {
        headers(round * 2 + 1, out);
        frame::write_reset(round * 2 + 1, Reason::CANCEL, out);
    });
    assert_eq!(flooded, (HASTY_RESETS_MAX, CALM));
}

#[test]
fn resets_of_what_was_begun_with_do_not() {
    let (mut server, mut input) = server();
    for round in 0..10_000_u32 {
        let mut out = Vec::new();
        headers(round * 2 + 1, &mut out);
        input.extend_from_slice(&out);
        let Ok(Some(Event::Request { key, .. })) = server.receive(&mut input) else { panic!() };
        server.accept(key);
        out.clear();
        frame::write_reset(round * 2 + 1, Reason::CANCEL, &mut out);
        input.extend_from_slice(&out);
        assert!(matches!(server.receive(&mut input), Ok(Some(Event::Reset { .. }))));
    }
}

#[test]
fn provoked_resets_end_the_connection() {
    let flooded = flood(10_000, true, |round, out| {
        headers(round * 2 + 1, out);
        // An increment of nothing.
        frame::write_window_update(round * 2 + 1, 0, out);
    });
    assert_eq!(flooded, (PROVOKED_RESETS_MAX, CALM));
}

#[test]
fn continuation_without_end_ends_the_connection() {
    for len in [0, 1, PAYLOAD] {
        let flooded = flood(1_000, true, |round, out| {
            let kind = if round == 0 { Kind::Headers } else { Kind::Continuation };
            Head { len, kind, flags: 0, stream: 1 }.write(out);
            out.resize(out.len() + len, 0x82);
        });
        assert!(flooded.0 <= 17 && flooded.1 == CALM, "{flooded:?}");
    }
}

const PAYLOAD: usize = frame::PAYLOAD_DEFAULT;

#[test]
fn answers_that_are_not_read_end_the_connection() {
    let ping = |_, out: &mut Vec<u8>| frame::write_ping([0; 8], false, out);
    assert_eq!(flood(10_000, false, ping), (ANSWERS_MAX, CALM));
    assert_eq!(flood(10_000, true, ping), (10_000, None), "those that are read do not");
    let settings =
        |_, out: &mut Vec<u8>| Head { len: 0, kind: Kind::Settings, flags: 0, stream: 0 }.write(out);
    assert_eq!(flood(10_000, false, settings), (ANSWERS_MAX, CALM));
    let refused = flood(10_000, false, |round, out| headers(round * 2 + 1, out));
    assert_eq!(refused, (1_024 + ANSWERS_MAX, CALM));
}

#[test]
fn content_without_content_ends_the_connection() {
    let flooded = flood(10_000, true, |round, out| {
        if round == 0 {
            headers(1, out);
        }
        Head { len: 0, kind: Kind::Data, flags: 0, stream: 1 }.write(out);
    });
    assert_eq!(flooded, (EMPTY_DATA_MAX, CALM));
}

#[test]
fn responses_that_are_not_read_wait_within_bounds() {
    let (mut server, mut input) = server();
    let mut refused = 0;
    for round in 0..2_000_u32 {
        let mut out = Vec::new();
        headers(round * 2 + 1, &mut out);
        out[4] |= flags::END_STREAM;
        input.extend_from_slice(&out);
        match server.receive(&mut input) {
            Ok(Some(Event::Request { key, .. })) => {
                let mut headers = HeaderMap::new();
                headers.insert("x", HeaderValue::from_str(&format!("{round:0>1000}")).unwrap());
                server.respond(key, http::StatusCode::OK, headers, None, true).unwrap();
            }
            _ => refused += 1,
        }
        assert!(server.output().len() < 100_000 && server.streams() <= 1_024);
    }
    assert!(refused > 800, "{refused}");
}

proptest! {
    /// The same bytes in other pieces are the same events.
    #[test]
    fn how_bytes_are_cut_does_not_matter(
        bodies in prop::collection::vec((0_usize..40_000, any::<bool>()), 1..6),
        cuts in prop::collection::vec(1_usize..20_000, 1..40),
    ) {
        let mut client = Connection::new(Role::Client, Config::default());
        let mut bytes = BytesMut::new();
        for (tag, (len, trailers)) in bodies.iter().enumerate() {
            let request = Request::builder().uri(format!("https://a.test/{tag}")).body(()).unwrap();
            let key = client.open(&request, None, false, tag).unwrap();
            client.send_data(key, Bytes::from(vec![tag as u8; *len]), !trailers).unwrap();
            if *trailers {
                client.send_trailers(key, HeaderMap::new()).unwrap();
            }
            while carry(&mut client, &mut bytes) > 0 {}
        }
        let whole = {
            let (mut server, mut input, mut events) =
                (Connection::new(Role::Server, Config::default()), bytes.clone(), Vec::new());
            take(&mut server, &mut input, &mut events);
            format!("{events:?}")
        };
        let (mut server, mut input, mut events) =
            (Connection::new(Role::Server, Config::default()), BytesMut::new(), Vec::new());
        for cut in cuts.iter().cycle() {
            let piece = bytes.split_to(bytes.len().min(*cut));
            if piece.is_empty() {
                break;
            }
            input.extend_from_slice(&piece);
            take(&mut server, &mut input, &mut events);
        }
        prop_assert_eq!(format!("{events:?}"), whole);
    }
}
