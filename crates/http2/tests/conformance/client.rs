//! What a client has to do with a server's bytes.

use bowline_http2::{
    Config, Error, Reason, Role,
    connection::Event,
    frame::{Head, Kind},
};
use http::Request;

use crate::wire::{
    ACK, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Outcome, PUSH_PROMISE, RST_STREAM, SETTINGS,
    block, frame, setting,
};

/// A client that the server has begun well with, and that has sent a request of `method` on stream 1.
fn asked(method: &str) -> End {
    let mut end = End::new(Role::Client, Config::default());
    end.give(&frame(SETTINGS, 0, 0, &[]));
    end.give(&frame(SETTINGS, ACK, 0, &[]));
    let request = Request::builder().method(method).uri("https://a.test/").body(()).unwrap();
    end.connection.open(&request, None, true, 1).unwrap();
    end.take();
    end.answers.clear();
    end.events.clear();
    end
}

fn head(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, &block(fields))
}

#[test]
fn responses() {
    const MALFORMED: Outcome = Outcome::Reset(1, Reason::PROTOCOL_ERROR);
    const TAKEN: Outcome = Outcome::Taken(1);
    let ok = (":status", "200");
    let data = |flags, content: &[u8]| frame(DATA, flags, 1, content);
    let cases = vec![
        ("8.1", "a response", "GET", vec![head(0, &[ok]), data(1, b"x")], TAKEN),
        ("8.1", "content before its head", "GET", vec![data(1, b"x")], MALFORMED),
        (
            "8.1",
            "trailers",
            "GET",
            vec![head(0, &[ok]), data(0, b"x"), head(END_STREAM, &[("a", "b")])],
            TAKEN,
        ),
        ("8.1", "trailers that end nothing", "GET", vec![head(0, &[ok]), head(0, &[("a", "b")])], MALFORMED),
        (
            "8.1.1",
            "less than promised",
            "GET",
            vec![head(0, &[ok, ("content-length", "2")]), data(1, b"x")],
            MALFORMED,
        ),
        (
            "8.1.1",
            "more than promised",
            "GET",
            vec![head(0, &[ok, ("content-length", "1")]), data(1, b"xy")],
            MALFORMED,
        ),
        (
            "8.1.1",
            "promised and not sent",
            "GET",
            vec![head(END_STREAM, &[ok, ("content-length", "1")])],
            MALFORMED,
        ),
        ("8.1.1", "promised, to HEAD", "HEAD", vec![head(END_STREAM, &[ok, ("content-length", "1")])], TAKEN),
        (
            "8.1.1",
            "promised, to HEAD, an empty end",
            "HEAD",
            vec![head(0, &[ok, ("content-length", "1")]), data(1, b"")],
            TAKEN,
        ),
        ("8.1.1", "content to HEAD", "HEAD", vec![head(0, &[ok]), data(1, b"x")], MALFORMED),
        (
            "8.1.1",
            "promised by 304",
            "GET",
            vec![head(END_STREAM, &[(":status", "304"), ("content-length", "1")])],
            TAKEN,
        ),
        ("8.1.1", "content of 204", "GET", vec![head(0, &[(":status", "204")]), data(1, b"x")], MALFORMED),
        (
            "8.1.1",
            "1xx first",
            "GET",
            vec![head(0, &[(":status", "103")]), head(0, &[(":status", "100")]), head(1, &[ok])],
            TAKEN,
        ),
        ("8.1.1", "1xx at the end", "GET", vec![head(END_STREAM, &[(":status", "103")])], MALFORMED),
        ("8.6", "101", "GET", vec![head(0, &[(":status", "101")])], MALFORMED),
        ("8.2.2", "connection", "GET", vec![head(1, &[ok, ("connection", "close")])], MALFORMED),
        ("8.2.1", "upper case", "GET", vec![head(1, &[ok, ("Upper", "x")])], MALFORMED),
        ("8.3.2", "no :status", "GET", vec![head(1, &[("a", "b")])], MALFORMED),
        ("8.3.2", "a status that is none", "GET", vec![head(1, &[(":status", "2000")])], MALFORMED),
        ("8.3.2", "two of :status", "GET", vec![head(1, &[ok, ok])], MALFORMED),
        ("8.3.2", "a request's pseudo-header", "GET", vec![head(1, &[ok, (":path", "/")])], MALFORMED),
        (
            "5.1",
            "a stream that was not begun",
            "GET",
            vec![frame(HEADERS, 5, 3, &block(&[ok]))],
            Outcome::GoAway(Reason::PROTOCOL_ERROR),
        ),
        (
            "5.1",
            "a server's stream",
            "GET",
            vec![frame(HEADERS, 5, 2, &block(&[ok]))],
            Outcome::GoAway(Reason::PROTOCOL_ERROR),
        ),
        (
            "5.1",
            "content after the end",
            "GET",
            vec![head(1, &[ok]), data(1, b"x")],
            Outcome::Reset(1, Reason::STREAM_CLOSED),
        ),
        (
            "6.6",
            "PUSH_PROMISE",
            "GET",
            vec![frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])],
            Outcome::GoAway(Reason::PROTOCOL_ERROR),
        ),
        (
            "6.5.2",
            "ENABLE_PUSH of a server",
            "GET",
            vec![frame(SETTINGS, 0, 0, &setting(2, 1))],
            Outcome::GoAway(Reason::PROTOCOL_ERROR),
        ),
        (
            "6.5.2",
            "ENABLE_PUSH of 0",
            "GET",
            vec![frame(SETTINGS, 0, 0, &setting(2, 0)), head(1, &[ok])],
            TAKEN,
        ),
    ];
    let mut wrong = Vec::new();
    for (section, what, method, frames, expected) in cases {
        let mut end = asked(method);
        end.give(&frames.concat());
        if end.outcome() != expected {
            wrong.push(format!("{section} {what}: {:?}, not {expected:?}", end.outcome()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_client_begins_with_offers_no_push() {
    let mut end = End::new(Role::Client, Config::default());
    end.take();
    let settings = end.of(Kind::Settings)[0];
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 2, 0, 0, 0, 0]), "{settings:?}");
}

#[test]
fn section_6_8_streams_above_the_last_were_not_processed() {
    let mut end = asked("GET");
    let request = Request::builder().uri("https://a.test/").body(()).unwrap();
    end.connection.open(&request, None, true, 3).unwrap();
    end.give(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let unprocessed: Vec<usize> = end
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Reset { tag, error: Error::Unprocessed } => Some(*tag),
            _ => None,
        })
        .collect();
    assert_eq!(unprocessed, [3]);
    assert!(end.connection.is_closing() && !end.connection.is_done());
    assert!(end.connection.open(&request, None, true, 5).is_none(), "no new ones");
    end.give(&head(END_STREAM, &[(":status", "200")]));
    assert!(end.connection.is_done());
    // A second one may only say less.
    end.give(&frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    assert_eq!(end.outcome(), Outcome::GoAway(Reason::PROTOCOL_ERROR));
}

#[test]
fn section_5_1_2_no_more_streams_than_the_server_lets() {
    let mut end = asked("GET");
    end.give(&frame(SETTINGS, 0, 0, &setting(3, 2)));
    let request = Request::builder().uri("https://a.test/").body(()).unwrap();
    assert_eq!(end.connection.slots(), 1);
    assert!(end.connection.open(&request, None, true, 3).is_some());
    assert!(end.connection.open(&request, None, true, 5).is_none());
    end.give(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]));
    assert!(end.connection.open(&request, None, true, 5).is_some());
}

/// What was reset here may still be answered: that is no fault, and costs no window.
#[test]
fn section_5_1_answers_to_what_was_cancelled_are_ignored() {
    let mut end = asked("GET");
    let request = Request::builder().uri("https://a.test/").body(()).unwrap();
    let mut cancelled = Vec::new();
    for tag in 0..100 {
        let key = end.connection.open(&request, None, true, tag).unwrap();
        end.connection.reset(key, Reason::CANCEL);
        cancelled.push(key);
    }
    end.take();
    end.answers.clear();
    for key in cancelled {
        end.give(&frame(HEADERS, END_HEADERS, key.id(), &block(&[(":status", "200")])));
        for _ in 0..10 {
            end.give(&frame(DATA, 0, key.id(), &[0; 16_384]));
        }
    }
    assert!(end.events.is_empty());
    let answered: Vec<&Head> = end
        .answers
        .iter()
        .map(|answer| &answer.head)
        .filter(|head| head.kind != Kind::WindowUpdate)
        .collect();
    assert!(answered.is_empty(), "{answered:?}");
    assert!(end.of(Kind::WindowUpdate).len() >= 7, "16 MB were taken through a window of 4");
}
