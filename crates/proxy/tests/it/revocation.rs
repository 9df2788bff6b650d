//! A revoked identity: what is open with it ends, and nothing new begins, whichever of the two
//! proxies learns of it. Only that one is told, so that the other's doing proves nothing.

use std::{net::SocketAddr, time::Duration};

use bowline_proxy::RefusalCause;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    harness::{Ca, Leaf, Proxy, TRUST_DOMAIN, id, identity, inbound, outbound},
    http::{application, full, get, h1, h2},
};

/// Longest time for anything here.
const LIMIT: Duration = Duration::from_secs(10);

/// The serial numbers of the two certificates.
const CALLER: u64 = 0xa11e5;
const SERVER: u64 = 0x5e44e5;

/// Which proxy is told of which revocation.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// The called side, of the caller's.
    Server,
    /// The calling side, of the server's.
    Client,
}

struct World {
    told: Told,
    client: (Proxy, Vec<Value>),
    server: (Proxy, Vec<Value>),
    _ca: Ca,
}

impl World {
    fn start(told: Told, protocol: &str, application: SocketAddr) -> Self {
        let ca = Ca::new();
        let a = ca.issue("a", &Leaf { serial: CALLER, ..Leaf::of(&id("a")) });
        let b = ca.issue("b", &Leaf { serial: SERVER, ..Leaf::of(&id("b")) });
        let mut of_server = vec![ca.trust(), identity("mesh", &b)];
        of_server.extend(inbound(protocol, application, &[&id("a")]));
        let server = Proxy::start(&of_server);
        let mut of_client = vec![ca.trust(), identity("mesh", &a)];
        of_client.extend(outbound(protocol, &id("b"), &[server.address("in")]));
        let client = Proxy::start(&of_client);
        Self { told, client: (client, of_client), server: (server, of_server), _ca: ca }
    }

    fn out(&self) -> SocketAddr {
        self.client.0.address("out")
    }

    /// Tells the one proxy of a revoked serial number.
    fn revoke(&self, serial: u64) {
        let (proxy, resources) = match self.told {
            Told::Server => &self.server,
            Told::Client => &self.client,
        };
        let mut resources = resources.clone();
        resources.push(json!({"revocation": {"name": TRUST_DOMAIN, "serials": [format!("{serial:x}")]}}));
        proxy.write(&resources);
        proxy.handle.reload().expect("applied");
    }

    fn revoke_peer(&self) {
        self.revoke(match self.told {
            Told::Server => CALLER,
            Told::Client => SERVER,
        });
    }

    fn stop(self) {
        self.client.0.handle.stop();
        self.server.0.handle.stop();
    }
}

async fn tcp(told: Told) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let world = World::start(told, "TCP", socket.local_addr().expect("one"));
    let mut stream = TcpStream::connect(world.out()).await.expect("connected");
    let (mut application, _) = timeout(LIMIT, socket.accept()).await.expect("in time").expect("accepted");
    // The twin: somebody else's revocation leaves it open.
    world.revoke(0x0dd);
    let mut bytes = [0; 4];
    for _ in 0..2 {
        stream.write_all(b"ping").await.expect("written");
        timeout(LIMIT, application.read_exact(&mut bytes)).await.expect("in time").expect("read");
    }
    world.revoke_peer();
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("the caller's side ends");
    let _ = timeout(LIMIT, application.read_to_end(&mut rest)).await.expect("the application's side ends");
    // And nothing new is carried.
    let mut stream = TcpStream::connect(world.out()).await.expect("connected");
    let _ = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("closed");
    assert!(timeout(Duration::from_millis(50), socket.accept()).await.is_err(), "{told:?}");
    assert!(rest.is_empty(), "{told:?}");
    world.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tcp_connection_ends_when_the_caller_is_revoked() {
    tcp(Told::Server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tcp_connection_ends_when_the_server_is_revoked() {
    tcp(Told::Client).await;
}

async fn http(told: Told) {
    let world = World::start(told, "HTTP", application().await);
    let out = world.out();
    let request = Request::get("/upgrade").header("host", "b").header("connection", "Upgrade");
    let request = request.header("upgrade", "websocket").body(full("")).expect("a request");
    let response = h1(out).await.send_request(request).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut websocket = TokioIo::new(hyper::upgrade::on(response).await.expect("upgraded"));
    // A stream of the hop's one HTTP/2 connection, in flight, and another beside it.
    let (mut messages, body) =
        futures::channel::mpsc::channel::<Result<http_body::Frame<bytes::Bytes>, hyper::Error>>(1);
    let request = Request::post(format!("http://b:{}/echo", out.port()));
    let request = request.body(http_body_util::StreamBody::new(body).boxed()).expect("a request");
    let mut stream = h2(out).await.send_request(request).await.expect("a response").into_body();
    let waiting = tokio::spawn(async move { get(out, "/slow").await });

    world.revoke(0x0dd);
    for _ in 0..2 {
        websocket.write_all(b"ping").await.expect("written");
        let mut echo = [0; 4];
        timeout(LIMIT, websocket.read_exact(&mut echo)).await.expect("in time").expect("read");
        messages.try_send(Ok(http_body::Frame::data("one".into()))).expect("sent");
        let frame =
            timeout(LIMIT, stream.frame()).await.expect("in time").expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "one");
    }

    world.revoke_peer();
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, websocket.read_to_end(&mut rest)).await.expect("the WebSocket ends");
    let ended = timeout(LIMIT, stream.frame()).await.expect("the stream ends");
    assert!(ended.is_none_or(|frame| frame.is_err()), "it was cut off");
    let (status, _, body) = timeout(LIMIT, waiting).await.expect("in time").expect("answered");
    assert!(!status.is_success(), "{told:?}: {status} {body:?}");
    // What is new is refused in words.
    let (status, _, body) = get(out, "/headers").await;
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let (expected, party) = match told {
        Told::Server => (403, "caller"),
        Told::Client => (503, "server"),
    };
    assert_eq!(
        (status.as_u16(), &body["cause"], &body["refused"]),
        (expected, &RefusalCause::Revoked.as_str().into(), &party.into()),
        "{told:?}: {body}"
    );
    world.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_over_http_ends_when_the_caller_is_revoked() {
    http(Told::Server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_over_http_ends_when_the_server_is_revoked() {
    http(Told::Client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_lifted_lets_calls_through_again() {
    let world = World::start(Told::Server, "HTTP", application().await);
    assert_eq!(get(world.out(), "/headers").await.0, 200);
    world.revoke_peer();
    assert_eq!(get(world.out(), "/headers").await.0, 403);
    world.revoke(0x0dd);
    assert_eq!(get(world.out(), "/headers").await.0, 200);
    world.stop();
}
