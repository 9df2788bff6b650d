//! What a server has to do with a client's bytes.

use bowline_http2::{Config, Reason, frame::Kind};

use crate::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Outcome, PADDED, PING,
    PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, field, frame, headers,
    request, setting,
};

type Case = (&'static str, &'static str, Vec<Vec<u8>>, Outcome);

const PROTOCOL: Outcome = Outcome::GoAway(Reason::PROTOCOL_ERROR);
const SIZE: Outcome = Outcome::GoAway(Reason::FRAME_SIZE_ERROR);
const FLOW: Outcome = Outcome::GoAway(Reason::FLOW_CONTROL_ERROR);
const COMPRESSION: Outcome = Outcome::GoAway(Reason::COMPRESSION_ERROR);
const CLOSED: Outcome = Outcome::GoAway(Reason::STREAM_CLOSED);
const MALFORMED: Outcome = Outcome::Reset(1, Reason::PROTOCOL_ERROR);
const TAKEN: Outcome = Outcome::Taken(1);
const NOTHING: Outcome = Outcome::Taken(0);

fn check(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (section, what, frames, expected) in cases {
        for in_pieces in [false, true] {
            let mut end = End::server(Config::default());
            let bytes = frames.concat();
            match in_pieces {
                false => end.give(&bytes),
                true => bytes.chunks(3).for_each(|piece| end.give(piece)),
            }
            if end.outcome() != expected {
                wrong.push(format!("{section} {what}: {:?}, not {expected:?}", end.outcome()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request whose block is `fields`, with END_STREAM.
fn asks(fields: &[(&str, &str)]) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))]
}

/// A sound request with one more field.
fn with(name: &str, value: &str) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &request(&[(name, value)]))]
}

#[test]
fn section_3_to_4_preface_and_frames() {
    check(vec![
        ("4.1", "an unknown kind", vec![frame(22, 0, 0, &[0; 8]), headers(1, true)], TAKEN),
        ("4.1", "unknown flags", vec![frame(PING, 0xfe, 0, &[0; 8]), headers(1, true)], TAKEN),
        ("4.1", "the reserved bit", vec![frame(PING, 0, 1 << 31, &[0; 8]), headers(1, true)], TAKEN),
        (
            "4.2",
            "DATA of the longest payload",
            vec![headers(1, false), frame(DATA, 1, 1, &[0; 16_384])],
            TAKEN,
        ),
        ("4.2", "DATA too long", vec![headers(1, false), frame(DATA, 1, 1, &[0; 16_385])], SIZE),
        ("4.2", "HEADERS too long", vec![frame(HEADERS, 5, 1, &[0; 16_385])], SIZE),
        ("4.3", "a block that is none", vec![frame(HEADERS, 5, 1, &[0x80])], COMPRESSION),
        (
            "4.3",
            "a frame of another stream in a block",
            vec![frame(HEADERS, 1, 1, &request(&[])), headers(3, true)],
            PROTOCOL,
        ),
        (
            "4.3",
            "PRIORITY in a block",
            vec![frame(HEADERS, 1, 1, &request(&[])), frame(PRIORITY, 0, 3, &[0; 5])],
            PROTOCOL,
        ),
        (
            "4.3",
            "an unknown kind in a block",
            vec![frame(HEADERS, 1, 1, &request(&[])), frame(22, 0, 0, &[0; 4])],
            PROTOCOL,
        ),
        (
            "4.3",
            "a table larger than agreed",
            vec![frame(HEADERS, 5, 1, &[0x3f, 0xe1, 0xff, 0x03])],
            COMPRESSION,
        ),
        ("4.3", "an index beyond the table", vec![frame(HEADERS, 5, 1, &[0xfe])], COMPRESSION),
        (
            "4.3",
            "a size update after a field",
            vec![frame(HEADERS, 5, 1, &[&request(&[])[..], &[0x20]].concat())],
            COMPRESSION,
        ),
        ("4.3", "a string cut off", vec![frame(HEADERS, 5, 1, &request(&[])[..20])], COMPRESSION),
    ]);
}

#[test]
fn section_3_4_what_a_client_begins_with() {
    let begin = |bytes: &[u8]| {
        let mut end = End::new(bowline_http2::Role::Server, Config::default());
        end.give(bytes);
        end.outcome()
    };
    let preface = bowline_http2::frame::PREFACE;
    assert_eq!(begin(b"INVALID CONNECTION PREFACE\r\n\r\n"), PROTOCOL);
    assert_eq!(begin(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), PROTOCOL);
    assert_eq!(begin(&[&preface[..], &headers(1, true)].concat()), PROTOCOL);
    assert_eq!(begin(&[&preface[..], &frame(SETTINGS, ACK, 0, &[])].concat()), PROTOCOL);
    assert_eq!(begin(&[&preface[..], &frame(SETTINGS, 0, 0, &[]), &headers(1, true)].concat()), TAKEN);
    assert_eq!(begin(&preface[..10]), NOTHING);
}

#[test]
fn section_5_1_states_of_streams() {
    let rst = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let one = 1_u32.to_be_bytes();
    check(vec![
        ("5.1", "idle: DATA", vec![frame(DATA, 1, 1, b"x")], PROTOCOL),
        ("5.1", "idle: RST_STREAM", vec![rst(1)], PROTOCOL),
        ("5.1", "idle: WINDOW_UPDATE", vec![frame(WINDOW_UPDATE, 0, 1, &one)], PROTOCOL),
        ("5.1", "idle: CONTINUATION", vec![frame(CONTINUATION, 4, 1, &request(&[]))], PROTOCOL),
        ("5.1", "idle: PRIORITY", vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), headers(3, true)], TAKEN),
        (
            "5.1",
            "half closed: DATA",
            vec![headers(1, true), frame(DATA, 1, 1, b"x")],
            Outcome::Reset(1, Reason::STREAM_CLOSED),
        ),
        (
            "5.1",
            "half closed: HEADERS",
            vec![headers(1, true), headers(1, true)],
            Outcome::Reset(1, Reason::STREAM_CLOSED),
        ),
        (
            "5.1",
            "half closed: CONTINUATION",
            vec![headers(1, true), frame(CONTINUATION, 4, 1, &request(&[]))],
            PROTOCOL,
        ),
        (
            "5.1",
            "half closed: WINDOW_UPDATE",
            vec![headers(1, true), frame(WINDOW_UPDATE, 0, 1, &one)],
            TAKEN,
        ),
        (
            "5.1",
            "closed: DATA",
            vec![headers(1, false), rst(1), frame(DATA, 1, 1, b"x")],
            Outcome::Reset(1, Reason::STREAM_CLOSED),
        ),
        ("5.1", "closed: HEADERS", vec![headers(1, false), rst(1), headers(1, true)], CLOSED),
        (
            "5.1",
            "closed: WINDOW_UPDATE",
            vec![headers(1, false), rst(1), frame(WINDOW_UPDATE, 0, 1, &one)],
            TAKEN,
        ),
        ("5.1", "closed: RST_STREAM", vec![headers(1, false), rst(1), rst(1)], TAKEN),
        ("5.1.1", "an even stream", vec![headers(2, true)], PROTOCOL),
        ("5.1.1", "a lower stream", vec![headers(5, true), headers(3, true)], CLOSED),
        ("5.1.1", "HEADERS of no stream", vec![headers(0, true)], PROTOCOL),
        ("5.1.1", "streams left out", vec![headers(1, true), headers(101, true)], Outcome::Taken(2)),
        (
            "5.3.1",
            "HEADERS that depend on themselves",
            vec![frame(HEADERS, 5 | PRIORITIZED, 1, &[&[0, 0, 0, 1, 0], &request(&[])[..]].concat())],
            MALFORMED,
        ),
        (
            "5.3.1",
            "PRIORITY that depends on itself",
            vec![headers(1, false), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])],
            MALFORMED,
        ),
    ]);
}

#[test]
fn section_5_1_2_streams_beyond_the_limit_are_refused_and_others_go_on() {
    let mut end = End::server(Config { streams_max: 2, ..Config::default() });
    for stream in [1, 3, 5] {
        end.give(&headers(stream, true));
    }
    assert_eq!(end.outcome(), Outcome::Reset(5, Reason::REFUSED_STREAM));
    assert_eq!(end.heads(), 2);
    end.give(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    end.give(&headers(7, true));
    assert_eq!(end.heads(), 3);
}

#[test]
fn section_6_1_to_6_4_data_headers_priority_reset() {
    check(vec![
        ("6.1", "DATA of no stream", vec![frame(DATA, 1, 0, b"x")], PROTOCOL),
        (
            "6.1",
            "padding as long as the payload",
            vec![headers(1, false), frame(DATA, 1 | PADDED, 1, &[6, 0, 0, 0, 0, 0])],
            PROTOCOL,
        ),
        ("6.1", "no length of padding", vec![headers(1, false), frame(DATA, 1 | PADDED, 1, &[])], SIZE),
        (
            "6.1",
            "all but padding",
            vec![headers(1, false), frame(DATA, 1 | PADDED, 1, &[5, 0, 0, 0, 0, 0])],
            TAKEN,
        ),
        (
            "6.2",
            "padded HEADERS",
            vec![frame(HEADERS, 5 | PADDED, 1, &[&[2], &request(&[])[..], &[0, 0]].concat())],
            TAKEN,
        ),
        (
            "6.2",
            "padding longer than HEADERS",
            vec![frame(HEADERS, 5 | PADDED, 1, &[&[255], &request(&[])[..]].concat())],
            PROTOCOL,
        ),
        (
            "6.2",
            "HEADERS with a priority",
            vec![frame(HEADERS, 5 | PRIORITIZED, 1, &[&[0x80, 0, 0, 0, 9], &request(&[])[..]].concat())],
            TAKEN,
        ),
        ("6.2", "too short for a priority", vec![frame(HEADERS, 5 | PRIORITIZED, 1, &[0; 4])], SIZE),
        ("6.3", "PRIORITY of no stream", vec![frame(PRIORITY, 0, 0, &[0; 5])], PROTOCOL),
        (
            "6.3",
            "PRIORITY of another size",
            vec![headers(1, false), frame(PRIORITY, 0, 1, &[0; 4])],
            Outcome::Reset(1, Reason::FRAME_SIZE_ERROR),
        ),
        ("6.4", "RST_STREAM of no stream", vec![frame(RST_STREAM, 0, 0, &[0; 4])], PROTOCOL),
        (
            "6.4",
            "RST_STREAM of another size",
            vec![headers(1, false), frame(RST_STREAM, 0, 1, &[0; 3])],
            SIZE,
        ),
    ]);
}

#[test]
fn section_6_5_settings() {
    let set = |id, value| vec![frame(SETTINGS, 0, 0, &setting(id, value)), headers(1, true)];
    check(vec![
        ("6.5", "SETTINGS that acknowledge and set", vec![frame(SETTINGS, ACK, 0, &[0])], SIZE),
        ("6.5", "SETTINGS of a stream", vec![frame(SETTINGS, 0, 1, &setting(3, 100))], PROTOCOL),
        ("6.5", "SETTINGS of another size", vec![frame(SETTINGS, 0, 0, &[0; 3])], SIZE),
        ("6.5.2", "ENABLE_PUSH of 2", set(2, 2), PROTOCOL),
        ("6.5.2", "ENABLE_PUSH of 1", set(2, 1), TAKEN),
        ("6.5.2", "INITIAL_WINDOW_SIZE too large", set(4, 1 << 31), FLOW),
        ("6.5.2", "MAX_FRAME_SIZE too small", set(5, 16_383), PROTOCOL),
        ("6.5.2", "MAX_FRAME_SIZE too large", set(5, 1 << 24), PROTOCOL),
        ("6.5.2", "the largest MAX_FRAME_SIZE", set(5, (1 << 24) - 1), TAKEN),
        ("6.5.2", "an unknown setting", set(0xff, 1), TAKEN),
        ("6.5.2", "a table of nothing", set(1, 0), TAKEN),
        (
            "6.5.2",
            "a setting twice",
            vec![frame(SETTINGS, 0, 0, &[setting(4, 100), setting(4, 1)].concat()), headers(1, true)],
            TAKEN,
        ),
    ]);
    let mut end = End::server(Config::default());
    end.give(&frame(SETTINGS, 0, 0, &setting(3, 100)));
    let answers = end.of(Kind::Settings);
    assert_eq!((answers.len(), answers[0].head.flags, answers[0].head.len), (1, ACK, 0), "6.5.3");
}

#[test]
fn section_6_6_to_6_9_push_ping_go_away_window_update() {
    let most = ((1_u32 << 31) - 1).to_be_bytes();
    check(vec![
        ("6.6", "PUSH_PROMISE", vec![headers(1, false), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], PROTOCOL),
        ("6.7", "PING of a stream", vec![frame(PING, 0, 1, &[0; 8])], PROTOCOL),
        ("6.7", "PING of another size", vec![frame(PING, 0, 0, &[0; 6])], SIZE),
        ("6.7", "an answer to no PING", vec![frame(PING, ACK, 0, &[7; 8]), headers(1, true)], TAKEN),
        ("6.8", "GOAWAY of a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
        ("6.8", "GOAWAY too short", vec![frame(GOAWAY, 0, 0, &[0; 7])], SIZE),
        ("6.8", "GOAWAY, and a request", vec![frame(GOAWAY, 0, 0, &[0; 12]), headers(1, true)], TAKEN),
        ("6.9", "an empty WINDOW_UPDATE", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])], PROTOCOL),
        (
            "6.9",
            "an empty WINDOW_UPDATE of a stream",
            vec![headers(1, false), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            MALFORMED,
        ),
        ("6.9", "WINDOW_UPDATE of another size", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])], SIZE),
        (
            "6.9.1",
            "a window too large",
            vec![frame(WINDOW_UPDATE, 0, 0, &most), frame(WINDOW_UPDATE, 0, 0, &most)],
            FLOW,
        ),
        (
            "6.9.1",
            "a stream's window too large",
            vec![headers(1, false), frame(WINDOW_UPDATE, 0, 1, &most), frame(WINDOW_UPDATE, 0, 1, &most)],
            Outcome::Reset(1, Reason::FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.2",
            "a stream's window made too large",
            vec![
                headers(1, false),
                frame(WINDOW_UPDATE, 0, 1, &[0, 1, 0, 0]),
                frame(SETTINGS, 0, 0, &setting(4, (1 << 31) - 1)),
            ],
            FLOW,
        ),
    ]);
    let mut end = End::server(Config::default());
    end.give(&frame(PING, 0, 0, b"12345678"));
    let answers = end.of(Kind::Ping);
    assert_eq!((answers[0].head.flags, &answers[0].payload[..]), (ACK, &b"12345678"[..]), "6.7");
}

#[test]
fn section_6_9_content_beyond_the_windows_is_refused() {
    let config = Config { stream_window: 20_000, connection_window: 65_535, ..Config::default() };
    let mut end = End::server(config.clone());
    end.give(&headers(1, false));
    end.give(&frame(DATA, 0, 1, &[0; 16_000]));
    assert_eq!(end.outcome(), TAKEN);
    end.give(&frame(DATA, 0, 1, &[0; 4_001]));
    assert_eq!(end.outcome(), Outcome::Reset(1, Reason::FLOW_CONTROL_ERROR));
    let mut end = End::server(config);
    for stream in [1, 3, 5, 7] {
        end.give(&headers(stream, false));
        end.give(&frame(DATA, 0, stream, &[0; 16_383]));
    }
    assert_eq!(end.outcome(), Outcome::Taken(4));
    end.give(&headers(9, false));
    end.give(&frame(DATA, 0, 9, &[0; 10]));
    assert_eq!(end.outcome(), FLOW);
}

#[test]
fn section_6_10_continuation() {
    let whole = request(&[]);
    let (first, second) = whole.split_at(20);
    let begun = frame(HEADERS, END_STREAM, 1, first);
    check(vec![
        ("6.10", "two pieces", vec![begun.clone(), frame(CONTINUATION, 4, 1, second)], TAKEN),
        (
            "6.10",
            "three pieces, one empty",
            vec![begun.clone(), frame(CONTINUATION, 0, 1, &[]), frame(CONTINUATION, 4, 1, second)],
            TAKEN,
        ),
        ("6.10", "of another stream", vec![begun.clone(), frame(CONTINUATION, 4, 3, second)], PROTOCOL),
        ("6.10", "of no stream", vec![begun, frame(CONTINUATION, 4, 0, second)], PROTOCOL),
        (
            "6.10",
            "after the end of a block",
            vec![headers(1, false), frame(CONTINUATION, 4, 1, second)],
            PROTOCOL,
        ),
        (
            "6.10",
            "after DATA",
            vec![headers(1, false), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, 4, 1, second)],
            PROTOCOL,
        ),
    ]);
}

#[test]
fn section_8_1_messages() {
    let data = |end: u8, content: &[u8]| frame(DATA, end, 1, content);
    let trailers = |flags, fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    let promises = |length| frame(HEADERS, END_HEADERS, 1, &request(&[("content-length", length)]));
    check(vec![
        (
            "8.1",
            "trailers",
            vec![headers(1, false), data(0, b"x"), trailers(END_STREAM, &[("a", "b")])],
            TAKEN,
        ),
        ("8.1", "trailers that end nothing", vec![headers(1, false), trailers(0, &[("a", "b")])], MALFORMED),
        (
            "8.1",
            "trailers with a pseudo-header",
            vec![headers(1, false), trailers(END_STREAM, &[(":method", "GET")])],
            MALFORMED,
        ),
        (
            "8.1",
            "trailers with transfer-encoding",
            vec![headers(1, false), trailers(END_STREAM, &[("transfer-encoding", "chunked")])],
            MALFORMED,
        ),
        ("8.1.1", "less than promised", vec![promises("2"), data(1, b"x")], MALFORMED),
        ("8.1.1", "more than promised", vec![promises("2"), data(0, b"x"), data(1, b"yz")], MALFORMED),
        ("8.1.1", "as much as promised", vec![promises("2"), data(0, b"x"), data(1, b"y")], TAKEN),
        (
            "8.1.1",
            "less than promised, then trailers",
            vec![promises("2"), data(0, b"x"), trailers(END_STREAM, &[])],
            MALFORMED,
        ),
        ("8.1.1", "promised and not sent", with("content-length", "1"), MALFORMED),
        ("8.1.1", "promised none", with("content-length", "0"), TAKEN),
        ("8.1.1", "a length that is none", with("content-length", "+1"), MALFORMED),
        ("8.1.1", "a length too large", with("content-length", "99999999999999999999"), MALFORMED),
        (
            "8.1.1",
            "two lengths",
            vec![frame(
                HEADERS,
                END_HEADERS,
                1,
                &request(&[("content-length", "1"), ("content-length", "2")]),
            )],
            MALFORMED,
        ),
    ]);
}

#[test]
fn section_8_2_fields() {
    check(vec![
        ("8.2.1", "upper case", with("X-Test", "ok"), MALFORMED),
        ("8.2.1", "no name", with("", "ok"), MALFORMED),
        ("8.2.1", "a name with a blank", with("a b", "ok"), MALFORMED),
        ("8.2.1", "a name with a colon", with("a:b", "ok"), MALFORMED),
        ("8.2.1", "a value with a line's end", with("a", "b\r\nc: d"), MALFORMED),
        ("8.2.1", "a value with a NUL", with("a", "b\0c"), MALFORMED),
        ("8.2.2", "connection", with("connection", "close"), MALFORMED),
        ("8.2.2", "keep-alive", with("keep-alive", "timeout=5"), MALFORMED),
        ("8.2.2", "proxy-connection", with("proxy-connection", "close"), MALFORMED),
        ("8.2.2", "transfer-encoding", with("transfer-encoding", "chunked"), MALFORMED),
        ("8.2.2", "upgrade", with("upgrade", "websocket"), MALFORMED),
        ("8.2.2", "te of more", with("te", "trailers, deflate"), MALFORMED),
        ("8.2.2", "te of trailers", with("te", "trailers"), TAKEN),
        (
            "8.2.3",
            "cookies in pieces",
            vec![frame(HEADERS, 5, 1, &request(&[("cookie", "a=b"), ("cookie", "c=d")]))],
            TAKEN,
        ),
    ]);
}

#[test]
fn section_8_3_requests() {
    let (method, scheme, path, authority) =
        ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a.test"));
    check(vec![
        (
            "8.3",
            "an unknown pseudo-header",
            asks(&[method, scheme, path, authority, (":test", "x")]),
            MALFORMED,
        ),
        ("8.3", "a response's", asks(&[method, scheme, path, authority, (":status", "200")]), MALFORMED),
        ("8.3", "one after others", asks(&[method, scheme, ("a", "b"), path, authority]), MALFORMED),
        ("8.3.1", "no :method", asks(&[scheme, path, authority]), MALFORMED),
        ("8.3.1", "no :scheme", asks(&[method, path, authority]), MALFORMED),
        ("8.3.1", "no :path", asks(&[method, scheme, authority]), MALFORMED),
        ("8.3.1", "an empty :path", asks(&[method, scheme, authority, (":path", "")]), MALFORMED),
        ("8.3.1", "a :path that is none", asks(&[method, scheme, authority, (":path", "x")]), MALFORMED),
        ("8.3.1", "two of :method", asks(&[method, method, scheme, path, authority]), MALFORMED),
        ("8.3.1", "two of :scheme", asks(&[method, scheme, scheme, path, authority]), MALFORMED),
        ("8.3.1", "two of :path", asks(&[method, scheme, path, path, authority]), MALFORMED),
        ("8.3.1", "two of :authority", asks(&[method, scheme, path, authority, authority]), MALFORMED),
        (
            "8.3.1",
            "an :authority that is none",
            asks(&[method, scheme, path, (":authority", "a b")]),
            MALFORMED,
        ),
        ("8.3.1", "host alone", asks(&[method, scheme, path, ("host", "a.test")]), TAKEN),
        (
            "8.3.1",
            "OPTIONS of all",
            asks(&[(":method", "OPTIONS"), scheme, (":path", "*"), authority]),
            TAKEN,
        ),
        ("8.5", "CONNECT", asks(&[(":method", "CONNECT"), (":authority", "a.test:1")]), TAKEN),
        ("8.5", "CONNECT with a path", asks(&[(":method", "CONNECT"), path, authority]), MALFORMED),
        (
            "8441",
            "CONNECT of a protocol",
            asks(&[(":method", "CONNECT"), (":protocol", "websocket"), scheme, path, authority]),
            MALFORMED,
        ),
    ]);
}

/// A malformed message is of one stream: the table of header compression stays in step.
#[test]
fn after_a_malformed_message_the_connection_goes_on() {
    let mut end = End::server(Config::default());
    // An entry that is made after what is wrong, and used by the next request.
    let mut fields = request(&[("Upper", "case")]);
    fields.extend([0x40, 1, b'k', 1, b'v']);
    end.give(&frame(HEADERS, 5, 1, &fields));
    assert_eq!(end.outcome(), MALFORMED);
    let mut fields = request(&[]);
    fields.push(0x80 | 62);
    end.give(&frame(HEADERS, 5, 3, &fields));
    let Some(bowline_http2::connection::Event::Request { request, .. }) = end.events.last() else {
        panic!("{:?}", end.events)
    };
    assert_eq!(request.headers()["k"], "v");
}

#[test]
fn a_list_of_fields_too_long_is_answered_431_and_the_connection_goes_on() {
    let mut end = End::server(Config { header_list_max: 1_000, ..Config::default() });
    let long = "x".repeat(100);
    let fields: Vec<u8> = (0..20).flat_map(|_| field("long", &long)).collect();
    end.give(&frame(HEADERS, 5, 1, &[request(&[]), fields].concat()));
    assert_eq!(end.heads(), 0);
    let head = end.of(Kind::Headers)[0];
    assert!(head.head.has(END_STREAM) && head.payload.windows(3).any(|at| at == b"431"), "{head:?}");
    assert!(end.of(Kind::GoAway).is_empty());
    end.give(&headers(3, true));
    assert_eq!(end.heads(), 1);
}
