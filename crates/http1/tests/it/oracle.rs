//! hyper's client of HTTP/1.1 and this one: what they are told, and what they say.

use std::time::Duration;

use bowline_http1::{Connection, Error, Fault};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::kit::{Read, Step, Steps, get, read, read_head, run};

async fn ask_hyper(stream: DuplexStream, request: Request<Steps>) -> Result<Read, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let running = tokio::task::spawn_local(async move { drop(connection.await) });
    let result = async { read(sender.send_request(request).await?).await }.await;
    running.abort();
    result
}

async fn ask(stream: DuplexStream, request: Request<Steps>) -> Result<Read, Error> {
    let connection = Connection::new(stream);
    let sent = connection.try_send_request(request).await;
    read(sent.map_err(bowline_http1::TrySendError::into_error)?).await
}

/// Answers one request with these bytes, and ends.
async fn answer(mut far: DuplexStream, bytes: &[u8], cut: usize) {
    read_head(&mut far).await;
    for piece in bytes.chunks(cut) {
        // It may have seen enough.
        if far.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// What both make of an answer.
fn both(bytes: &[u8], cut: usize) -> (Result<Read, Error>, Result<Read, hyper::Error>) {
    run(async {
        let (near, far) = duplex(1 << 20);
        let (ours, ()) = tokio::join!(ask(near, get("/")), answer(far, bytes, cut));
        let (near, far) = duplex(1 << 20);
        let (theirs, ()) = tokio::join!(ask_hyper(near, get("/")), answer(far, bytes, cut));
        (ours, theirs)
    })
}

fn compare(bytes: &[u8], cut: usize) {
    let text = String::from_utf8_lossy(bytes);
    match both(bytes, cut) {
        (Ok(ours), Ok(mut theirs)) => {
            if theirs.headers.contains_key("transfer-encoding") {
                theirs.headers.remove("content-length");
            }
            assert_eq!(ours, theirs, "{text:?}");
        }
        (Err(_), Err(_)) => {}
        (Ok(ours), Err(error)) => panic!("{text:?}: {ours:?}, hyper {error:?}"),
        // What this one refuses and hyper does not.
        (Err(Error::Malformed(Fault::Switch | Fault::TransferEncoding | Fault::Trailers)), Ok(_)) => {}
        (Err(error), Ok(theirs)) => panic!("{text:?}: {error:?}, hyper {theirs:?}"),
    }
}

#[test]
fn answers_of_note_are_read_as_hyper_reads_them() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200\r\ncontent-length: 3\r\n\r\nabcdef",
        "HTTP/1.1 200 \r\nA: \r\nb:\t c \t\r\ncontent-length: 3\r\n\r\nabc",
        "\r\n\r\nHTTP/1.1 200 OK\ncontent-length: 3\n\nabc",
        "HTTP/1.1 200 OK\r\nx: \u{e4}\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\x7fb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nabc",
        "HTTP/1.2 200 OK\r\n\r\nabc",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 1000 Odd\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 20 Odd\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3,\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\nx: z\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1 ; a=b\r\na\r\n0\t\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "",
        "HTTP/1.1",
        "nonsense\r\n\r\n",
    ];
    for bytes in answers {
        for cut in [1, 7, usize::MAX] {
            compare(bytes.as_bytes(), cut);
        }
    }
    let many =
        |count: usize| format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(count));
    compare(many(99).as_bytes(), usize::MAX);
    compare(many(100).as_bytes(), usize::MAX);
}

/// What is written of a request: a server that reads until nothing more comes, and answers.
async fn listen(mut far: DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(Ok(count @ 1..)) =
        tokio::time::timeout(Duration::from_millis(10), far.read(&mut buffer)).await
    {
        said.extend_from_slice(&buffer[..count]);
    }
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    said
}

fn compare_requests(request: &Request<()>, body: &Steps) {
    let asked = || Request::from_parts(request.clone().into_parts().0, body.clone());
    run(async {
        let (near, far) = duplex(1 << 20);
        let (ours, said) = tokio::join!(ask(near, asked()), listen(far));
        let (near, far) = duplex(1 << 20);
        let (theirs, said_by_hyper) = tokio::join!(ask_hyper(near, asked()), listen(far));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{request:?} {body:?}: {ours:?} {theirs:?}");
        if ours.is_ok() {
            let (said, by_hyper) = (String::from_utf8_lossy(&said), String::from_utf8_lossy(&said_by_hyper));
            assert_eq!(said, by_hyper, "{request:?} {body:?}");
        }
    });
}

#[test]
fn requests_are_written_as_hyper_writes_them() {
    let data = |text: &'static str| Step::Data(Bytes::from_static(text.as_bytes()));
    let trailers = || {
        let names = ["x-sum", "x-not-announced", "host", "x-sum"];
        let mut map = HeaderMap::new();
        for (at, name) in names.into_iter().enumerate() {
            map.append(HeaderName::from_static(name), at.to_string().parse().unwrap());
        }
        Step::Trailers(map)
    };
    let large = Step::Data(Bytes::from(vec![b'x'; 50_000]));
    let bodies = [
        vec![],
        vec![Step::Later],
        vec![data("abc")],
        vec![data("abc"), Step::Later, data(""), data("de")],
        vec![Step::Later, data("abcde"), Step::Later],
    ];
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for fields in [&[][..], &[("content-length", "5")], &[("trailer", "x-sum, host")]] {
            let mut request =
                Request::builder().method(&method).uri("/a?b").header("x-b", "1").header("x-a", "2");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let request = request.header("x-b", "3").body(()).unwrap();
            let says_length = fields.iter().any(|(name, value)| *name == "content-length" && *value == "5");
            for steps in &bodies {
                let length: usize =
                    steps.iter().map(|step| if let Step::Data(data) = step { data.len() } else { 0 }).sum();
                if says_length && length != 5 {
                    continue;
                }
                for is_sized in [true, false] {
                    compare_requests(&request, &Steps::new(steps.clone(), is_sized));
                }
                if says_length {
                    continue;
                }
                for last in [trailers(), large.clone()] {
                    compare_requests(&request, &Steps::new(steps.clone().into_iter().chain([last]), false));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn answers_are_read_as_hyper_reads_them(
        head in "HTTP/1.[01] (200|204|304|404|100|299) ?[a-z]{0,3}\r?\n(Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n\
                 |Transfer-Encoding: gzip\r\n|Connection: close\r\n|x: [a-z\t ]{0,5}\r\n|[a-zA-Z :]{1,5}\r\n){0,4}\r\n",
        body in "([0-9a-f]{1}( ?;x)?\r\n|[a-z]{0,12}(\r\n)?|0\r\n|x: y\r\n|\r\n){0,9}",
        cut in 1_usize..50,
    ) {
        compare(format!("{head}{body}").as_bytes(), cut);
    }

    #[test]
    fn chunks_are_read_as_hyper_reads_them(
        chunks in proptest::collection::vec(("[a-z\r\n]{1,20}", "(;[a-z=\"]{0,9})?", any::<bool>()), 0..6),
        end in "(0\r\n(a: b\r\n|c: d\r\n){0,3}\r\n|0\r\n|)",
        cut in 1_usize..50,
    ) {
        let mut text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for (data, extension, is_upper) in chunks {
            let size = if is_upper { format!("{:X}", data.len()) } else { format!("0{:x}", data.len()) };
            text.push_str(&format!("{size}{extension}\r\n{data}\r\n"));
        }
        compare(format!("{text}{end}").as_bytes(), cut);
    }
}
