//! Plain TCP through two sidecars.

use std::net::SocketAddr;

use bowline_proxy::{Direction, Flag};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Ca, Leaf, Pair, Proxy, eventually, id, identity, inbound, outbound};

/// Answers everything it got, after the client's half-close.
async fn echo_at_end() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut received = Vec::new();
                let _ = stream.read_to_end(&mut received).await;
                let _ = stream.write_all(&received).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_with_a_half_close() {
    let pair = Pair::start("TCP", echo_at_end().await);
    let sent: Vec<u8> = (0..10 * 1024 * 1024u32).map(|number| (number * 13) as u8).collect();
    let mut stream = TcpStream::connect(pair.client.address("out")).await.expect("connected");
    stream.write_all(&sent).await.expect("written");
    stream.shutdown().await.expect("shut down");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.expect("read");
    assert!(received == sent);
    drop(stream);
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_no_rule_allows_gets_nothing() {
    let ca = Ca::new();
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let stranger = ca.issue("stranger", &Leaf::of(&id("stranger")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("TCP", echo_at_end().await, &[&id("a")]));
    let server = Proxy::start(&resources);
    let mut resources = vec![ca.trust(), identity("mesh", &stranger)];
    resources.extend(outbound("TCP", &id("b"), &[server.address("in")]));
    let client = Proxy::start(&resources);
    let mut stream = TcpStream::connect(client.address("out")).await.expect("connected");
    let _ = stream.write_all(b"secret").await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    assert!(received.is_empty());
    eventually("the refusal is counted", || {
        server.handle.metrics().flagged(Direction::Inbound, Flag::UnauthorizedExternalService) >= 1
    });
    client.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_endpoint_is_tried_when_one_is_dead() {
    let ca = Ca::new();
    let (a, b) = (ca.issue("a", &Leaf::of(&id("a"))), ca.issue("b", &Leaf::of(&id("b"))));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("TCP", echo_at_end().await, &[&id("a")]));
    let good = Proxy::start(&resources);
    // A sidecar whose application is gone: it says so before taking a byte.
    let dead_application =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("one");
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("TCP", dead_application, &[&id("a")]));
    let bad = Proxy::start(&resources);
    let mut resources = vec![ca.trust(), identity("mesh", &a)];
    resources.extend(outbound("TCP", &id("b"), &[bad.address("in"), good.address("in")]));
    let client = Proxy::start(&resources);
    for _ in 0..4 {
        let mut stream = TcpStream::connect(client.address("out")).await.expect("connected");
        stream.write_all(b"hello").await.expect("written");
        stream.shutdown().await.expect("shut down");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, b"hello");
    }
    for proxy in [client, good, bad] {
        proxy.handle.stop();
    }
}
