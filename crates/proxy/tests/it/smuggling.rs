//! Malformed and ambiguous requests, as the published corpora have them: each is refused, or made
//! unambiguous; none reaches the application as two, or with a header that nobody sent.
//!
//! The families are those of RFC 9112 §11.2, PortSwigger's "HTTP Desync Attacks" and "HTTP/2: The Sequel
//! is Always Worse", and James Kettle's http-request-smuggler's permutations of `Transfer-Encoding`.

mod frames;
mod origin;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use crate::harness::Pair;

use self::origin::{Origin, Seen};

/// What a request must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// An answer of this class, or none; nothing reaches the application.
    Refused,
    /// One request with this body reaches the application, framed in one way.
    One(&'static [u8]),
    /// Either of both.
    RefusedOrOne(&'static [u8]),
}
use Fate::{One, Refused, RefusedOrOne};

/// What stands where a desynchronised application would look for the next request.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: service-b-sc\r\n\r\n";

/// Sends, waits for what comes of it, and only then closes.
fn send(address: SocketAddr, bytes: &[u8], fate: Fate) -> Vec<u8> {
    // Of a refusal there may be no word at all; after an answer, another one may come.
    const QUIET: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect(address).expect("connected");
    let mut writer = stream.try_clone().expect("cloned");
    let (mut answer, mut part) = (Vec::new(), [0; 4_096]);
    std::thread::scope(|scope| {
        // What is refused early is not read to its end.
        scope.spawn(move || writer.write_all(bytes));
        let mut wait = if matches!(fate, One(_)) { PATIENCE } else { QUIET };
        loop {
            stream.set_read_timeout(Some(wait)).expect("set");
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&part[..count]),
                Err(_) => break,
            }
            if answer.windows(2).any(|window| window == b"ok") {
                wait = QUIET;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
    answer
}

/// What is wrong with what reached the application, if anything is.
fn fault(seen: &[Seen], fate: Fate) -> Option<String> {
    let may_be_refused = !matches!(fate, One(_));
    let body = match fate {
        One(body) | RefusedOrOne(body) => Some(body),
        Refused => None,
    };
    match (seen, body) {
        ([], _) if may_be_refused => None,
        ([], _) => Some("it was refused".to_owned()),
        ([one], Some(body)) => {
            let (lengths, codings) = (one.values("content-length"), one.values("transfer-encoding"));
            let framings = lengths.len() + codings.len();
            let odd = [
                (one.body != body, "its body is another"),
                (framings > 1, "it has several framings"),
                (one.head.contains("smuggled"), "a header has become of what was hidden"),
                (
                    one.head.replace("\r\n", "").contains(['\r', '\n', '\0']),
                    "a line end or NUL is in its head",
                ),
                (one.values("host").len() != 1, "it has not one host"),
            ];
            odd.iter().find(|(is, _)| *is).map(|(_, what)| format!("{what}: {one:?}"))
        }
        (seen, _) => Some(format!("this reached the application: {seen:?}")),
    }
}

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    fate: Fate,
}

fn post(name: &'static str, headers: &str, body: &str, fate: Fate) -> Case {
    let text = format!("POST /first HTTP/1.1\r\nHost: service-b-sc\r\n{headers}\r\n\r\n{body}");
    Case { name, bytes: text.into_bytes(), fate }
}

fn head(name: &'static str, text: &str, fate: Fate) -> Case {
    Case { name, bytes: text.as_bytes().to_vec(), fate }
}

fn content_lengths() -> Vec<Case> {
    let hidden = HIDDEN;
    let refused = |name, value: &str| {
        post(name, &format!("Content-Length: {value}"), &format!("01234{hidden}"), Refused)
    };
    vec![
        post(
            "two that differ",
            "Content-Length: 5\r\nContent-Length: 52",
            &format!("01234{hidden}"),
            Refused,
        ),
        post(
            "two that differ, the longer first",
            "Content-Length: 52\r\nContent-Length: 5",
            &format!("01234{hidden}"),
            Refused,
        ),
        post(
            "two that are the same",
            "Content-Length: 5\r\nContent-Length: 5",
            "01234",
            RefusedOrOne(b"01234"),
        ),
        post("a list of the same", "Content-Length: 5, 5", "01234", RefusedOrOne(b"01234")),
        refused("a list that differs", "5, 52"),
        refused("a plus", "+5"),
        refused("a minus", "-5"),
        refused("hexadecimal", "0x5"),
        refused("a point", "5.0"),
        refused("an exponent", "5e0"),
        refused("an underscore", "5_0"),
        refused("words", "5 five"),
        refused("a vertical tab", "5\x0b"),
        refused("no digits", ""),
        refused("more than 64 bits", "18446744073709551621"),
        refused("more than anything", "99999999999999999999999999999999"),
        post("a space before the colon", "Content-Length : 5", "01234", Refused),
        post("a tab before the colon", "Content-Length\t: 5", "01234", Refused),
        post("folded", "Content-Length:\r\n 5", "01234", RefusedOrOne(b"01234")),
    ]
}

fn transfer_encodings() -> Vec<Case> {
    let both = format!("0\r\n\r\n{HIDDEN}");
    let chunked = "5\r\n01234\r\n0\r\n\r\n";
    let te = |name, line: &str, fate| {
        post(name, &format!("Content-Length: {}\r\n{line}", chunked.len()), chunked, fate)
    };
    let odd = |name, line: &str| te(name, line, RefusedOrOne(b"01234"));
    vec![
        post("both framings", "Content-Length: 4\r\nTransfer-Encoding: chunked", &both, Refused),
        post(
            "both framings, the other way round",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            &both,
            Refused,
        ),
        post(
            "both framings, the length longer",
            &format!("Transfer-Encoding: chunked\r\nContent-Length: {}", both.len()),
            &both,
            Refused,
        ),
        odd("another spelling of the name", "transfer-ENCODING: chunked"),
        odd("another spelling of the coding", "Transfer-Encoding: cHuNkEd"),
        te("an unknown coding", "Transfer-Encoding: xchunked", Refused),
        te("identity", "Transfer-Encoding: identity", Refused),
        te("chunked and not last", "Transfer-Encoding: chunked, identity", Refused),
        te("twice chunked", "Transfer-Encoding: chunked, chunked", Refused),
        te("two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", Refused),
        te("two lines, the other way round", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", Refused),
        te("quoted", "Transfer-Encoding: \"chunked\"", Refused),
        te("a parameter", "Transfer-Encoding: chunked;q=1", Refused),
        te("a vertical tab", "Transfer-Encoding:\x0bchunked", Refused),
        te("a NUL", "Transfer-Encoding: chunked\0", Refused),
        te("a bare CR", "Transfer-Encoding: chunked\rx: y", Refused),
        te("a space before the colon", "Transfer-Encoding : chunked", Refused),
        te("a tab before the colon", "Transfer-Encoding\t: chunked", Refused),
        te("folded", "Transfer-Encoding:\r\n chunked", Refused),
        te("folded into another", "X: y\r\n Transfer-Encoding: chunked", Refused),
        te("a space before the name", " Transfer-Encoding: chunked", Refused),
        te("no colon", "Transfer-Encoding chunked", Refused),
        te("an underscore", "Transfer_Encoding: chunked", One(b"5\r\n01234\r\n0\r\n\r\n")),
        te(
            "named by Connection",
            "Connection: content-length\r\nTransfer-Encoding: chunked",
            RefusedOrOne(b"01234"),
        ),
        post(
            "the length named by Connection",
            "Connection: content-length\r\nContent-Length: 5",
            "01234",
            RefusedOrOne(b"01234"),
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let te = |name, body: &str, fate| post(name, "Transfer-Encoding: chunked", body, fate);
    let hidden = HIDDEN;
    vec![
        te("as it should be", "5\r\n01234\r\n0\r\n\r\n", One(b"01234")),
        te("an extension", "5;a=b\r\n01234\r\n0\r\n\r\n", RefusedOrOne(b"01234")),
        te("capital digits and zeros", "00A\r\n0123456789\r\n0\r\n\r\n", RefusedOrOne(b"0123456789")),
        te("a prefix", "0x5\r\n01234\r\n0\r\n\r\n", Refused),
        te("a minus", "-5\r\n01234\r\n0\r\n\r\n", Refused),
        te("a plus", "+5\r\n01234\r\n0\r\n\r\n", Refused),
        te("an underscore", "0_5\r\n01234\r\n0\r\n\r\n", Refused),
        te("no digits", "\r\n01234\r\n0\r\n\r\n", Refused),
        te("more than 64 bits", &format!("10000000000000005\r\n01234\r\n0\r\n\r\n{hidden}"), Refused),
        te("more than anything", &format!("{}5\r\n01234\r\n0\r\n\r\n", "f".repeat(40)), Refused),
        te("a bare LF after the size", "5\n01234\r\n0\r\n\r\n", Refused),
        te("a bare LF after the data", "5\r\n01234\n0\r\n\r\n", Refused),
        te("a bare LF in an extension", &format!("5;\n01234\r\n0\r\n\r\n{hidden}"), Refused),
        te("a bare CR after the size", "5\rX01234\r\n0\r\n\r\n", Refused),
        te("data longer than its size", &format!("2\r\n01234\r\n0\r\n\r\n{hidden}"), Refused),
        te("cut short", "5\r\n012", Refused),
        te("no end", "5\r\n01234\r\n", Refused),
        te("an endless extension", &format!("5;{}\r\n01234\r\n0\r\n\r\n", "a".repeat(100_000)), Refused),
        te(
            "framing among the trailers",
            "5\r\n01234\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n",
            RefusedOrOne(b"01234"),
        ),
        te("a malformed trailer", "5\r\n01234\r\n0\r\nbad trailer\r\n\r\n", Refused),
        te("endless trailers", &format!("5\r\n01234\r\n0\r\n{}\r\n", "a: b\r\n".repeat(20_000)), Refused),
    ]
}

fn heads() -> Vec<Case> {
    let host = "Host: service-b-sc\r\n";
    vec![
        head("bare LF", "GET /first HTTP/1.1\nHost: service-b-sc\n\n", RefusedOrOne(b"")),
        head(
            "bare LF before what is hidden",
            &format!("GET /first HTTP/1.1\r\n{host}X: y\n\n{HIDDEN}"),
            Refused,
        ),
        head("bare CR", &format!("GET /first HTTP/1.1\r\n{host}X: y\rZ: smuggled\r\n\r\n"), Refused),
        head("a CR alone ends nothing", "GET /first HTTP/1.1\rHost: service-b-sc\r\r", Refused),
        head("a NUL", &format!("GET /first HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"), Refused),
        head("folded", &format!("GET /first HTTP/1.1\r\n{host}X: y\r\n smuggled: z\r\n\r\n"), Refused),
        head("a name with a space", &format!("GET /first HTTP/1.1\r\n{host}X y: z\r\n\r\n"), Refused),
        head("no name", &format!("GET /first HTTP/1.1\r\n{host}: z\r\n\r\n"), Refused),
        head("two spaces", &format!("GET  /first HTTP/1.1\r\n{host}\r\n"), Refused),
        head("tabs", &format!("GET\t/first\tHTTP/1.1\r\n{host}\r\n"), Refused),
        head("a space in the target", &format!("GET /first /smuggled HTTP/1.1\r\n{host}\r\n"), Refused),
        head("more after the version", &format!("GET /first HTTP/1.1 x\r\n{host}\r\n"), Refused),
        head("another version", &format!("GET /first HTTP/1.2\r\n{host}\r\n"), Refused),
        head("an old version", &format!("GET /first HTTP/1.0\r\n{host}\r\n"), Refused),
        head("the oldest", "GET /first\r\n\r\n", Refused),
        head("HTTP/2's in HTTP/1's form", &format!("GET /first HTTP/2.0\r\n{host}\r\n"), Refused),
        head("a method with a colon", &format!("GE:T /first HTTP/1.1\r\n{host}\r\n"), Refused),
        head("CONNECT", &format!("CONNECT service-b-sc:80 HTTP/1.1\r\n{host}\r\n"), Refused),
        head("no host", "GET /first HTTP/1.1\r\n\r\n", Refused),
        head("two hosts", &format!("GET /first HTTP/1.1\r\n{host}Host: other\r\n\r\n"), Refused),
        head("two equal hosts", &format!("GET /first HTTP/1.1\r\n{host}{host}\r\n"), Refused),
        head("a host with a path", "GET /first HTTP/1.1\r\nHost: service-b-sc/smuggled\r\n\r\n", Refused),
        head("a host with a user", "GET /first HTTP/1.1\r\nHost: a@service-b-sc\r\n\r\n", Refused),
        head("a host with a space", "GET /first HTTP/1.1\r\nHost: service-b-sc x\r\n\r\n", Refused),
        head(
            "a target with another host",
            &format!("GET http://other/first HTTP/1.1\r\n{host}\r\n"),
            RefusedOrOne(b""),
        ),
        head(
            "the host named by Connection",
            &format!("GET /first HTTP/1.1\r\n{host}Connection: host\r\n\r\n"),
            RefusedOrOne(b""),
        ),
        head(
            "too many headers",
            &format!("GET /first HTTP/1.1\r\n{host}{}\r\n", "a: b\r\n".repeat(2_000)),
            Refused,
        ),
        head(
            "a head without end",
            &format!("GET /first HTTP/1.1\r\n{host}X: {}", "a".repeat(200_000)),
            Refused,
        ),
        head(
            "an upgrade to HTTP/2",
            &format!(
                "GET /first HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
            RefusedOrOne(b""),
        ),
        head(
            "an upgrade with a body",
            &format!(
                "POST /first HTTP/1.1\r\n{host}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            ),
            RefusedOrOne(HIDDEN.as_bytes()),
        ),
    ]
}

/// A header by its bytes.
type Field = (&'static [u8], &'static [u8]);

const METHOD: Field = (b":method", b"POST");
const SCHEME: Field = (b":scheme", b"http");
const PATH: Field = (b":path", b"/first");
const AUTHORITY: Field = (b":authority", b"service-b-sc");

fn h2(name: &'static str, headers: &[Field], body: &'static [u8], fate: Fate) -> Case {
    let bytes = [frames::preface(), frames::request(headers, Some(body))].concat();
    Case { name, bytes, fate }
}

/// A request as it should be, and one more header.
fn with(name: &'static str, field: Field, fate: Fate) -> Case {
    h2(name, &[METHOD, SCHEME, PATH, AUTHORITY, field], b"01234", fate)
}

fn http2() -> Vec<Case> {
    const SPLIT: &[u8] = b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: service-b-sc";
    vec![
        with("h2: as it should be", (b"x", b"y"), One(b"01234")),
        with("h2: a request in a value", (b"x", SPLIT), Refused),
        with("h2: a header in a value", (b"x", b"a\r\nsmuggled: b"), Refused),
        with("h2: a bare LF in a value", (b"x", b"a\nsmuggled: b"), Refused),
        with("h2: a bare CR in a value", (b"x", b"a\rsmuggled: b"), Refused),
        with("h2: a NUL in a value", (b"x", b"a\0b"), Refused),
        with("h2: a header in a name", (b"x: y\r\nsmuggled", b"a"), Refused),
        with("h2: a colon in a name", (b"transfer-encoding: chunked\r\nx", b"a"), Refused),
        with("h2: a space in a name", (b"transfer-encoding ", b"chunked"), Refused),
        with("h2: capital letters", (b"Content-Length", b"50"), Refused),
        with("h2: no name", (b"", b"a"), Refused),
        with("h2: chunked", (b"transfer-encoding", b"chunked"), Refused),
        with("h2: chunked, spelt otherwise", (b"transfer-encoding", b"Chunked"), Refused),
        with("h2: Connection", (b"connection", b"content-length"), Refused),
        with("h2: Keep-Alive", (b"keep-alive", b"timeout=5"), Refused),
        with("h2: Proxy-Connection", (b"proxy-connection", b"close"), Refused),
        with("h2: Upgrade", (b"upgrade", b"h2c"), Refused),
        with("h2: TE", (b"te", b"gzip"), RefusedOrOne(b"01234")),
        with("h2: a length too short", (b"content-length", b"2"), Refused),
        with("h2: a length too long", (b"content-length", b"50"), Refused),
        with("h2: a length that is none", (b"content-length", b"5, 5"), Refused),
        with("h2: a length with a plus", (b"content-length", b"+5"), Refused),
        h2(
            "h2: two lengths",
            &[METHOD, SCHEME, PATH, AUTHORITY, (b"content-length", b"5"), (b"content-length", b"6")],
            b"01234",
            Refused,
        ),
        with("h2: another host", (b"host", b"other"), RefusedOrOne(b"01234")),
        with("h2: a pseudo-header too late", (b":path", b"/smuggled"), Refused),
        h2("h2: two paths", &[METHOD, SCHEME, PATH, (b":path", b"/smuggled"), AUTHORITY], b"", Refused),
        h2(
            "h2: an unknown pseudo-header",
            &[METHOD, SCHEME, PATH, AUTHORITY, (b":smuggled", b"x")],
            b"",
            Refused,
        ),
        h2("h2: of a response", &[METHOD, SCHEME, PATH, AUTHORITY, (b":status", b"200")], b"", Refused),
        h2("h2: no path", &[METHOD, SCHEME, AUTHORITY], b"", Refused),
        h2("h2: an empty path", &[METHOD, SCHEME, (b":path", b""), AUTHORITY], b"", Refused),
        h2("h2: no slash", &[METHOD, SCHEME, (b":path", b"smuggled"), AUTHORITY], b"", Refused),
        h2(
            "h2: a request in the path",
            &[METHOD, SCHEME, (b":path", b"/first HTTP/1.1\r\nhost: x\r\n\r\nGET /smuggled"), AUTHORITY],
            b"",
            Refused,
        ),
        h2(
            "h2: a space in the path",
            &[METHOD, SCHEME, (b":path", b"/first HTTP/1.1"), AUTHORITY],
            b"",
            Refused,
        ),
        h2(
            "h2: a request in the method",
            &[(b":method", b"GET /smuggled HTTP/1.1\r\nx: "), SCHEME, PATH, AUTHORITY],
            b"",
            Refused,
        ),
        h2(
            "h2: a space in the method",
            &[(b":method", b"GET /smuggled"), SCHEME, PATH, AUTHORITY],
            b"",
            Refused,
        ),
        h2(
            "h2: a header in the authority",
            &[METHOD, SCHEME, PATH, (b":authority", b"service-b-sc\r\nsmuggled: x")],
            b"",
            Refused,
        ),
        h2(
            "h2: a path in the authority",
            &[METHOD, SCHEME, PATH, (b":authority", b"service-b-sc/smuggled")],
            b"",
            Refused,
        ),
        h2(
            "h2: a user in the authority",
            &[METHOD, SCHEME, PATH, (b":authority", b"smuggled@service-b-sc")],
            b"",
            Refused,
        ),
        h2(
            "h2: a target in the scheme",
            &[METHOD, (b":scheme", b"http://smuggled/?"), PATH, AUTHORITY],
            b"",
            Refused,
        ),
        h2("h2: no authority", &[METHOD, SCHEME, PATH], b"", Refused),
        h2("h2: CONNECT", &[(b":method", b"CONNECT"), AUTHORITY], b"", Refused),
    ]
}

#[test]
fn none_is_forwarded_as_two() {
    let origin = Origin::start();
    let pair = Pair::start("HTTP", origin.address);
    let address = pair.client.address("out");
    let cases = [content_lengths(), transfer_encodings(), chunks(), heads(), http2()];
    let mut faults = Vec::new();
    for case in cases.into_iter().flatten() {
        let answer = send(address, &case.bytes, case.fate);
        let seen = origin.take();
        if let Some(fault) = fault(&seen, case.fate) {
            let first = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
            faults.push(format!("{}: {fault} (answered {})", case.name, String::from_utf8_lossy(first)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    pair.stop();
}

/// Whether the proxy ends the connection by itself, before all was sent and while the client stays.
fn is_cut_off(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut reader = stream.try_clone().expect("cloned");
    let ended = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()).is_ok_and(|_| true));
    let broke = bytes.chunks(64 * 1024).any(|part| stream.write_all(part).is_err());
    ended.join().expect("no panic") || broke
}

#[test]
fn a_client_that_floods_is_cut_off_and_the_others_are_served() {
    let origin = Origin::start();
    let pair = Pair::start("HTTP", origin.address);
    let address = pair.client.address("out");
    let resets = frames::opened_and_reset(&[METHOD, SCHEME, PATH, AUTHORITY], 20_000);
    for (name, flood) in [
        ("CONTINUATION frames without end", frames::endless_headers(5_000)),
        ("streams opened and reset", resets),
    ] {
        assert!(is_cut_off(address, &[frames::preface(), flood].concat()), "{name}");
        origin.take();
        let served = send(address, b"GET /first HTTP/1.1\r\nHost: service-b-sc\r\n\r\n", One(b""));
        assert!(served.starts_with(b"HTTP/1.1 200"), "after {name}: {}", String::from_utf8_lossy(&served));
    }
    pair.stop();
}

/// The check above can fail: what is pipelined in the open does reach the application as two.
#[test]
fn two_requests_are_two() {
    let origin = Origin::start();
    let pair = Pair::start("HTTP", origin.address);
    let bytes = format!("GET /first HTTP/1.1\r\nHost: service-b-sc\r\n\r\n{HIDDEN}");
    send(pair.client.address("out"), bytes.as_bytes(), One(b""));
    let seen = origin.take();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(fault(&seen, RefusedOrOne(b"")).is_some());
    pair.stop();
}
