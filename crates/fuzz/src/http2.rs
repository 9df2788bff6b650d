//! An HTTP/2 peer.

use bowline_http2::{
    Config, Reason, Role,
    connection::{Connection, Event},
    frame::{HEAD_LEN, Head, PREFACE},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};

/// Small, so that limits are reached.
fn config() -> Config {
    Config {
        stream_window: 20_000,
        connection_window: 70_000,
        header_list_max: 4_096,
        streams_max: 16,
        ..Config::default()
    }
}

/// One byte: whether the client reads what it is answered, and whether its preface is left out; then what it
/// sends.
pub fn http2_server(input: &[u8]) {
    let [how, rest @ ..] = input else { return };
    let mut bytes = Vec::new();
    if how & 2 == 0 {
        bytes.extend_from_slice(PREFACE);
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    bytes.extend_from_slice(rest);
    compare(Role::Server, &bytes, how & 1 == 1);
}

/// One byte: whether the server reads; then what it sends to a client that has asked for three things.
pub fn http2_client(input: &[u8]) {
    let [how, rest @ ..] = input else { return };
    let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(rest);
    compare(Role::Client, &bytes, how & 1 == 1);
}

/// However bytes are cut, the same comes of them.
fn compare(role: Role, bytes: &[u8], reads: bool) {
    let whole = run(role, bytes, reads, bytes.len().max(1));
    for cut in [1, 7, 100] {
        assert!(run(role, bytes, reads, cut) == whole, "pieces of {cut} bytes");
    }
}

/// What comes of the bytes, in words, and what is said to them.
fn run(role: Role, bytes: &[u8], reads: bool, cut: usize) -> (String, Vec<u8>) {
    let mut connection = Connection::new(role, config());
    if role == Role::Client {
        ask(&mut connection);
    }
    let (mut input, mut seen, mut said) = (BytesMut::new(), String::new(), Vec::new());
    'pieces: for piece in bytes.chunks(cut) {
        input.extend_from_slice(piece);
        loop {
            match connection.receive(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    seen.push_str(&format!("{event:?}\n"));
                    act(&mut connection, event);
                    if reads {
                        read(&mut connection, &mut said);
                    }
                }
                Err(error) => {
                    seen.push_str(&format!("{error:?}"));
                    assert_eq!(connection.receive(&mut input).err(), Some(error), "it stays so");
                    break 'pieces;
                }
            }
        }
        assert!(connection.streams() <= config().streams_max as usize + 3, "more streams than allowed");
        assert!(input.len() <= 16_384 + HEAD_LEN + cut, "a frame that could be taken was not");
        assert!(connection.output().len() < 256 * 1024, "output without a bound");
    }
    read(&mut connection, &mut said);
    check(&said, role);
    (seen, said)
}

fn ask(connection: &mut Connection) {
    for (tag, method) in ["GET", "HEAD", "POST"].into_iter().enumerate() {
        let mut request = Request::new(());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = http::Uri::from_static("https://a.test/");
        let key = connection.open(&request, None, method != "POST", tag).expect("a stream");
        if method == "POST" {
            let _ = connection.send_data(key, Bytes::from(vec![0; 100_000]), true);
        }
    }
}

/// Answers what is asked, and takes what is sent.
fn act(connection: &mut Connection, event: Event) {
    match event {
        Event::Request { key, .. } => {
            connection.set_tag(key, key.id() as usize);
            match key.id() % 6 {
                // It takes its time.
                1 => connection.accept(key),
                3 => connection.reset(key, Reason::REFUSED_STREAM),
                _ => {
                    connection.accept(key);
                    let _ = connection.respond(key, StatusCode::OK, HeaderMap::new(), Some(40_000), false);
                    let _ = connection.send_data(key, Bytes::from(vec![1; 40_000]), true);
                }
            }
        }
        Event::Data { data, .. } => connection.discard(data.len()),
        _ => {}
    }
}

fn read(connection: &mut Connection, said: &mut Vec<u8>) {
    loop {
        connection.fill();
        let output = connection.output();
        if output.is_empty() {
            return;
        }
        said.extend_from_slice(output);
        let len = output.len();
        connection.advance(len);
    }
}

/// Whatever comes in, what goes out is whole frames.
fn check(said: &[u8], role: Role) {
    let mut rest = if role == Role::Client { &said[PREFACE.len()..] } else { said };
    while let Some(head) = Head::parse(rest) {
        rest = rest.get(HEAD_LEN + head.len..).expect("a whole frame");
    }
    assert!(rest.is_empty(), "whole frames only");
}
