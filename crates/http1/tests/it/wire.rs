//! What is read and written, without a connection.

use bowline_http1::{
    Error, Fault,
    wire::{Answer, Framed, decode, encode, fault},
};
use bytes::Bytes;
use http::{Method, Request};
use proptest::prelude::*;

use crate::kit::{Step, Steps};

fn read(answer: &str) -> Result<Answer, Error> {
    decode(&Method::GET, [answer.as_bytes()])
}

fn fault_of(answer: &str) -> Option<Fault> {
    fault(&read(answer).expect_err(answer))
}

#[test]
fn bodies_end_where_the_head_says() {
    // RFC 9112, section 6.3, by its numbers.
    let cases = [
        ("HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", "", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n00\r\n\r\n", "abc", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA \t;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
            "0123456789",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "a",
            false,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3, 3\r\n\r\nabc", "abc", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd", "abc", false),
        ("HTTP/1.1 200 OK\r\n\r\nabc", "abc", false),
        ("HTTP/1.0 200 OK\r\n\r\nabc", "abc", false),
        ("\r\nHTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", "", true),
    ];
    for (answer, body, is_kept) in cases {
        let found = read(answer).expect(answer);
        assert_eq!(
            (String::from_utf8_lossy(&found.body).as_ref(), found.is_kept),
            (body, is_kept),
            "{answer:?}"
        );
    }
    let both = read(cases[4].0).expect("an answer");
    assert!(!both.response.headers().contains_key("content-length"), "it is not to be believed");
    let head =
        decode(&Method::HEAD, [&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"[..]]).expect("an answer");
    assert!(head.body.is_empty() && head.is_kept);
}

#[test]
fn what_cannot_be_an_answer_is_refused() {
    let head = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n");
    let cases = [
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), Fault::Head),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), Fault::Head),
        ("HTTP/1.1 99 Low\r\n\r\n".to_owned(), Fault::Head),
        ("HTTP/1.1 099 Low\r\n\r\n".to_owned(), Fault::Head),
        (head("a: b\r\n c"), Fault::Head),
        (head("a : b"), Fault::Head),
        (head("a: \0"), Fault::Head),
        (head(&"a: b\r\n".repeat(101)), Fault::HeadTooLarge),
        (head(&format!("a: {}", "b".repeat(64 * 1024))), Fault::HeadTooLarge),
        (format!("HTTP/1.1 200 {}", "b".repeat(64 * 1024)), Fault::HeadTooLarge),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), Fault::Switch),
        (head("content-length: 1\r\ncontent-length: 2"), Fault::ContentLength),
        (head("content-length: 1, 2"), Fault::ContentLength),
        (head("content-length: +1"), Fault::ContentLength),
        (head("content-length:"), Fault::ContentLength),
        (head("content-length: 18446744073709551616"), Fault::ContentLength),
        (head("transfer-encoding: gzip, chunked"), Fault::TransferEncoding),
        (head("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), Fault::TransferEncoding),
        (head("transfer-encoding: identity"), Fault::TransferEncoding),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), Fault::TransferEncoding),
    ];
    for (answer, fault) in cases {
        assert_eq!(fault_of(&answer), Some(fault), "{answer:?}");
    }
    let tunnel = decode(&Method::CONNECT, [&b"HTTP/1.1 200 OK\r\n\r\n"[..]]).expect_err("a tunnel");
    assert_eq!(fault(&tunnel), Some(Fault::Switch));
}

#[test]
fn chunks_are_read_strictly_and_within_bounds() {
    let body = |chunks: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let ends = "0\r\n\r\n";
    for chunks in [
        "\r\n",
        "x\r\n",
        "+1\r\na\r\n",
        " 1\r\na\r\n",
        "0x1\r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\r0",
        "1 2\r\n",
        "1;a\nb\r\n",
        "1\ra\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
    ] {
        assert_eq!(fault_of(&body(&format!("{chunks}{ends}"))), Some(Fault::Chunk), "{chunks:?}");
    }
    let extension = |bytes: usize| body(&format!("1;{}\r\na\r\n{ends}", "x".repeat(bytes)));
    assert!(read(&extension(16 * 1024)).is_ok());
    assert_eq!(fault_of(&extension(16 * 1024 + 1)), Some(Fault::Chunk));
    let many = body(&format!("{}{ends}", "1;xxxxxxxx\r\na\r\n".repeat(2 * 1024 + 1)));
    assert_eq!(fault_of(&many), Some(Fault::Chunk), "they are counted together");
    // What is announced is not made room for.
    assert!(matches!(read(&body("ffffffffffffffff\r\nabc")), Err(Error::Incomplete)));
    for trailers in ["x\r\n\r\n", "x: y\n\r\n", "x: y\rz\r\n\r\n", "x: y\r\n z\r\n\r\n"] {
        assert_eq!(fault_of(&body(&format!("0\r\n{trailers}"))), Some(Fault::Trailers), "{trailers:?}");
    }
    assert_eq!(fault_of(&body(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(101)))), Some(Fault::Trailers));
    assert_eq!(fault_of(&body(&format!("0\r\nx: {}\r\n\r\n", "y".repeat(16 * 1024)))), Some(Fault::Trailers));
    let read = read(&body("0\r\nA: 1\r\na: 2\r\n\r\n")).expect("trailers");
    assert_eq!(read.trailers.expect("trailers").get_all("a").iter().count(), 2);
}

#[test]
fn requests_are_framed_once() {
    let known = || Steps::data(b"abc");
    let unknown = || Steps::new([Step::Data(Bytes::from_static(b"abc"))], false);
    let none = Steps::default;
    let cases = [
        ("GET", none(), "", Framed::Nothing, ""),
        ("POST", none(), "content-length: 0\r\n", Framed::Nothing, "content-length: 0\r\n"),
        ("POST", Steps::new([Step::Later], true), "", Framed::Length(0), "content-length: 0\r\n"),
        ("POST", known(), "", Framed::Length(3), "content-length: 3\r\n"),
        ("GET", known(), "", Framed::Length(3), "content-length: 3\r\n"),
        ("POST", unknown(), "content-length: 3\r\n", Framed::Length(3), "content-length: 3\r\n"),
        ("PUT", unknown(), "", Framed::Chunked, "transfer-encoding: chunked\r\n"),
        ("PUT", unknown(), "content-length: x\r\n", Framed::Chunked, "transfer-encoding: chunked\r\n"),
        ("PUT", unknown(), "transfer-encoding: gzip\r\n", Framed::Chunked, "transfer-encoding: chunked\r\n"),
        ("GET", unknown(), "", Framed::Nothing, ""),
    ];
    for (method, body, given, framed, written) in cases {
        let mut request = Request::builder().method(method).uri("/a?b=c").header("x-a", "1");
        for line in given.lines() {
            let (name, value) = line.split_once(": ").expect("a field");
            request = request.header(name, value);
        }
        let (head, how) = encode(&request.body(()).expect("a request"), &body).expect("it can be sent");
        let head = String::from_utf8(head).expect("text");
        assert_eq!(
            head,
            format!("{method} /a?b=c HTTP/1.1\r\nx-a: 1\r\n{written}\r\n"),
            "{method} {given:?}"
        );
        assert_eq!(how, framed, "{head:?}");
    }
}

#[test]
fn targets_are_written_as_they_are() {
    for (uri, written) in [
        ("/", "/"),
        ("*", "*"),
        ("/a%20b?c", "/a%20b?c"),
        ("http://a.test/b?c", "http://a.test/b?c"),
        ("a.test:443", "a.test:443"),
    ] {
        let request = Request::builder().uri(uri).body(()).expect("a request");
        let (head, _) = encode(&request, &Steps::default()).expect("it can be sent");
        assert_eq!(String::from_utf8_lossy(&head), format!("GET {written} HTTP/1.1\r\n\r\n"));
    }
}

/// What came of an answer, to be compared.
fn told(answer: Result<Answer, Error>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error:?}"),
    }
}

proptest! {
    #[test]
    fn how_an_answer_is_cut_makes_no_difference(
        text in "(HTTP/1.1 (100|200|204|20) [a-z]{0,3}\r\n|Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n\
                 |Connection: close\r\n|x: y\r\n|\r\n|\n|0\r\n|[0-9a-f]{1,2}(;x)?\r\n|[a-z\r]{0,9}\r\n){0,12}",
        cuts in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let bytes = text.as_bytes();
        let whole = told(decode(&Method::GET, [bytes]));
        let (mut pieces, mut rest, mut cuts) = (Vec::new(), bytes, cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((*cuts.next().expect("one more")).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        prop_assert_eq!(&whole, &told(decode(&Method::GET, pieces)));
        prop_assert_eq!(whole, told(decode(&Method::GET, bytes.chunks(1))));
    }
}
