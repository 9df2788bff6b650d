//! Connections to the application: kept, closed, and busy in both directions.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::{
    harness::Pair,
    http::{full, get, send},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An application that does the same on each connection. How many connections it has had.
async fn application<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, Arc<AtomicU32>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let (address, count) = (listener.local_addr().expect("an address"), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Relaxed);
            tokio::spawn(serve(stream));
        }
    });
    (address, count)
}

/// Reads a request's head; `None` at the connection's end.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_serves_the_next_request_and_is_closed_before_long() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let serve = move |mut stream: TcpStream| {
        let tell = tell.clone();
        async move {
            let mut answered = Instant::now();
            while read_head(&mut stream).await.is_some() {
                stream.write_all(OK).await.expect("written");
                answered = Instant::now();
            }
            let _ = tell.send(answered.elapsed());
        }
    };
    let (address, count) = application(serve).await;
    let pair = Pair::start("HTTP", address);
    for _ in 0..20 {
        assert_eq!(get(pair.client.address("out"), "/").await.0, StatusCode::OK);
    }
    assert_eq!(count.load(Relaxed), 1);
    let rested = timeout(Duration::from_secs(15), told.recv()).await.expect("closed").expect("told");
    assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&rested), "{rested:?}");
    assert_eq!(get(pair.client.address("out"), "/").await.0, StatusCode::OK, "over another one");
    assert_eq!(count.load(Relaxed), 2);
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_closes_without_a_word_loses_nobody_a_request() {
    let serve = |mut stream: TcpStream| async move {
        if read_head(&mut stream).await.is_some() {
            stream.write_all(OK).await.expect("written");
        }
    };
    let (address, count) = application(serve).await;
    let pair = Pair::start("HTTP", address);
    for turn in 0..100 {
        let request = Request::post("/").header("host", "service-b-sc").body(full("")).expect("a request");
        assert_eq!(send(pair.client.address("out"), request).await.0, StatusCode::OK, "{turn}");
        // The end is on its way when the answer comes; until it is there, a request may be lost to it.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count.load(Relaxed), 100);
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_on_after_its_answer_has_begun() {
    const LENGTH: usize = 20 << 20;
    let serve = |mut stream: TcpStream| async move {
        while let Some(head) = read_head(&mut stream).await {
            assert!(head.contains(&format!("content-length: {LENGTH}\r\n")), "{head}");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await
                .expect("written");
            let (mut left, mut buffer) = (LENGTH, vec![0; 1 << 20]);
            while left > 0 {
                let count = stream.read(&mut buffer).await.expect("read");
                assert!(count > 0 && buffer[..count].iter().all(|byte| *byte == b'x'));
                left -= count;
            }
            stream.write_all(b"4\r\ndone\r\n0\r\n\r\n").await.expect("written");
        }
    };
    let (address, count) = application(serve).await;
    let pair = Pair::start("HTTP", address);
    for _ in 0..2 {
        let body = full(vec![b'x'; LENGTH]);
        let request = Request::put("/").header("host", "service-b-sc").body(body).expect("a request");
        let answer = timeout(Duration::from_secs(30), send(pair.client.address("out"), request)).await;
        let (status, _, body) = answer.expect("it does not hang");
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"done"[..]));
    }
    assert_eq!(count.load(Relaxed), 1, "both directions were complete");
    pair.stop();
}
