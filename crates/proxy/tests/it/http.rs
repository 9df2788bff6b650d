//! HTTP through two sidecars.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Pair, id};

type Body = BoxBody<Bytes, hyper::Error>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An application: `/headers` tells what it got, `/echo` answers the body,
/// `/grpc` answers with trailers, `/upgrade` becomes an echo of bytes.
pub(crate) async fn application() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    address
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    match request.uri().path() {
        "/headers" => {
            let text = format!(
                "{} {} {:?}\n{:#?}",
                request.method(),
                request.uri(),
                request.version(),
                request.headers()
            );
            Ok(Response::new(full(text)))
        }
        "/echo" => Ok(Response::new(request.into_body().boxed())),
        "/grpc" => {
            let body = request.collect().await?.to_bytes();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            let frames = futures::stream::iter([Ok(Frame::data(body)), Ok(Frame::trailers(trailers))]);
            let mut response = Response::new(StreamBody::new(frames).boxed());
            response.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
            Ok(response)
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("upgraded"));
                let (mut reader, mut writer) = tokio::io::split(&mut stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().expect("a value"));
            response.headers_mut().insert("upgrade", "websocket".parse().expect("a value"));
            Ok(response)
        }
        "/slow" => {
            tokio::time::sleep(std::time::Duration::from_secs(30)).await;
            Ok(Response::new(full("slow")))
        }
        "/500" => {
            let mut response = Response::new(full("broken"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(response)
        }
        _ => {
            let mut response = Response::new(full("not here"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

pub(crate) async fn h1(address: SocketAddr) -> hyper::client::conn::http1::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) async fn h2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a connection");
    tokio::spawn(connection);
    sender
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (StatusCode, HeaderMap, Bytes) {
    send(address, Request::get(path).header("host", "service-b-sc").body(full("")).expect("a request")).await
}

pub(crate) async fn send(address: SocketAddr, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
    let response = h1(address).await.send_request(request).await.expect("a response");
    let (head, body) = response.into_parts();
    (head.status, head.headers, body.collect().await.expect("a body").to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_crosses_two_sidecars_and_says_who_called() {
    let pair = Pair::start("HTTP", application().await);
    let request = Request::get("/headers?x=1")
        .header("host", "service-b-sc:8202")
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("x-forwarded-client-cert", "URI=spiffe://evil")
        .body(full(""))
        .expect("a request");
    let (status, _, body) = send(pair.client.address("out"), request).await;
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.starts_with("GET /headers?x=1 HTTP/1.1"), "{text}");
    assert!(text.contains("service-b-sc:8202"), "{text}");
    assert!(text.contains(&format!("URI={}", id("a"))), "{text}");
    assert!(text.contains(&format!("By={}", id("b"))), "{text}");
    assert!(!text.contains("evil") && !text.contains("x-private"), "{text}");
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_go_there_and_back() {
    let pair = Pair::start("HTTP", application().await);
    let sent: Bytes = (0..10 * 1024 * 1024u32).map(|number| (number * 7) as u8).collect::<Vec<_>>().into();
    let request =
        Request::post("/echo").header("host", "service-b-sc").body(full(sent.clone())).expect("a request");
    let (status, _, received) = send(pair.client.address("out"), request).await;
    assert_eq!(status, StatusCode::OK);
    assert!(received == sent);
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_keeps_its_trailers_and_streams_both_ways() {
    let pair = Pair::start("GRPC", application().await);
    let mut sender = h2(pair.client.address("out")).await;
    let uri = format!("http://service-b-sc:{}/grpc", pair.client.address("out").port());
    let request = Request::post(&uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(full("message"))
        .expect("a request");
    let response = sender.send_request(request).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let collected = response.into_body().collect().await.expect("a body");
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    assert_eq!(status.expect("trailers"), "0");
    assert_eq!(collected.to_bytes(), "message");

    // A stream: each message comes back before the next one is sent.
    let (mut messages, body) = futures::channel::mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
    let uri = format!("http://service-b-sc:{}/echo", pair.client.address("out").port());
    let request = Request::post(&uri).body(StreamBody::new(body).boxed()).expect("a request");
    let mut response = sender.send_request(request).await.expect("a response").into_body();
    for text in ["one", "two", "three"] {
        messages.try_send(Ok(Frame::data(text.into()))).expect("sent");
        let frame = response.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), text);
    }
    drop(messages);
    // The end may come with an empty frame.
    let rest = response.collect().await.expect("no error").to_bytes();
    assert!(rest.is_empty());
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_carried() {
    let pair = Pair::start("HTTP", application().await);
    let request = Request::get("/upgrade")
        .header("host", "service-b-sc")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .body(full(""))
        .expect("a request");
    let response = h1(pair.client.address("out")).await.send_request(request).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("upgraded"));
    for text in ["ping", "pong"] {
        tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.expect("written");
        let mut echo = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut echo).await.expect("read");
        assert_eq!(echo, text.as_bytes());
    }
    drop(stream);
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_proxy_should_pass_on_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pair = Pair::start("HTTP", application().await);
    for (request, status) in [
        ("GET /headers HTTP/1.0\r\n\r\n", "426"),
        ("GET /headers HTTP/1.1\r\n\r\n", "400"),
        ("GET /headers HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "400"),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n", "400"),
        (
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("GET /headers HTTP/1.1\r\nhost: a\n\r\n", "400"),
        ("GET /a\x01b HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(pair.client.address("out")).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer).await;
        assert!(read.is_ok(), "{request:?}: {read:?}");
        assert_eq!(&String::from_utf8_lossy(&answer)[9..], status, "{request:?}");
    }
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn head_keeps_its_length_and_expect_is_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pair = Pair::start("HTTP", application().await);
    let request = Request::head("/404").header("host", "a").body(full("")).expect("a request");
    let (status, headers, body) = send(pair.client.address("out"), request).await;
    assert_eq!((status.as_u16(), body.len()), (404, 0));
    assert_eq!(headers["content-length"], "8");

    let mut stream = TcpStream::connect(pair.client.address("out")).await.expect("connected");
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("written");
    let mut rest = vec![0; 4_096];
    let length = stream.read(&mut rest).await.expect("answered");
    assert!(rest[..length].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&rest[..length]));
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_service_connects_fields() {
    use crate::harness::{Ca, Leaf, Proxy, eventually, identity, outbound};
    use bowline_proxy::{AccessLogTarget, ProxyOptions};
    let pair = Pair::start("HTTP", application().await);
    let ca = Ca::new();
    let path = ca.directory.path().join("access.log");
    let mut resources = vec![ca.trust(), identity("mesh", &ca.issue("a", &Leaf::of(&id("a"))))];
    resources.extend(outbound("HTTP", &id("b"), &[]));
    let options = ProxyOptions {
        workers: 2,
        access_log: Some(AccessLogTarget::File(path.clone())),
        ..ProxyOptions::default()
    };
    let proxy = Proxy::start_with(&resources, &options);
    for _ in 0..4 {
        assert_eq!(get(proxy.address("out"), "/a?secret=1").await.0, 503);
    }
    eventually("four lines", || std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 4));
    let text = std::fs::read_to_string(&path).expect("read");
    let line: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&line["path"], &line["response_code"]), (&"/a".into(), &503.into()));
    assert_eq!((&line["response_flags"], &line["authority"]), (&"UH".into(), &"service-b-sc".into()));
    assert!(line["duration_ms"].is_u64() && line["request_id"].as_str().is_some_and(|id| id.len() == 36));
    assert!(!text.contains("secret"), "query parameters are left out: {text}");
    proxy.handle.stop();
    pair.stop();
}
