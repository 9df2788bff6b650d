//! Plain TCP through two sidecars.

use std::net::SocketAddr;

use bowline_proxy::{Direction, Flag};
use serde_json::{Value, json};
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

/// Servers of TCP behind sidecars, and a caller's.
struct Servers {
    ca: Ca,
    servers: Vec<Proxy>,
    addresses: Vec<SocketAddr>,
}

impl Servers {
    /// One for each application; `more` changes its resources.
    fn start(applications: &[SocketAddr], more: impl Fn(&mut Vec<Value>)) -> Self {
        let ca = Ca::new();
        let b = ca.issue("b", &Leaf::of(&id("b")));
        let servers = applications.iter().map(|application| {
            let mut resources = vec![ca.trust(), identity("mesh", &b)];
            resources.extend(inbound("TCP", *application, &[&id("a")]));
            more(&mut resources);
            Proxy::start(&resources)
        });
        let servers: Vec<_> = servers.collect();
        let addresses = servers.iter().map(|server| server.address("in")).collect();
        Self { ca, servers, addresses }
    }

    /// A caller of them; the members of `cluster` are its cluster's.
    fn caller(&self, cluster: &Value) -> Proxy {
        let a = self.ca.issue("a", &Leaf::of(&id("a")));
        let mut resources = vec![self.ca.trust(), identity("mesh", &a)];
        resources.extend(outbound("TCP", &id("b"), &self.addresses));
        let fields = resources[4]["cluster"].as_object_mut().expect("the cluster");
        fields.extend(cluster.as_object().expect("an object").clone());
        Proxy::start(&resources)
    }

    fn stop(self) {
        self.servers.into_iter().for_each(|server| server.handle.stop());
    }
}

/// Whether what is said comes back.
async fn is_answered(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // Who is refused may be so before anything was said.
    let _ = stream.write_all(b"hello").await;
    let _ = stream.shutdown().await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    received == b"hello"
}

fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_is_tried_as_often_as_a_policy_says_and_who_fails_is_ejected() {
    let applications = [echo_at_end().await, nobody(), nobody(), nobody()];
    let servers = Servers::start(&applications, |_| {});
    let patient = json!({"consecutiveFailures": 10_000});
    let count = |address: SocketAddr| async move {
        let mut answered = 0;
        for _ in 0..8 {
            answered += u32::from(is_answered(address).await);
        }
        answered
    };
    let caller = servers.caller(&json!({"connectRetry": {"maxRetries": 3}, "outlierDetection": patient}));
    assert_eq!(count(caller.address("out")).await, 8, "all four are tried");
    caller.handle.stop();
    for retry in [json!({"maxRetries": 0}), json!({"maxRetries": 3, "retryOn": ["5xx"]})] {
        let caller = servers.caller(&json!({"connectRetry": retry, "outlierDetection": patient}));
        assert_eq!(count(caller.address("out")).await, 2, "a quarter: {retry}");
        caller.handle.stop();
    }
    // The breakers have a word.
    let breakers = json!({"maxRetries": 1});
    let cluster =
        json!({"connectRetry": {"maxRetries": 3}, "outlierDetection": patient, "breakers": breakers});
    let caller = servers.caller(&cluster);
    assert_eq!(count(caller.address("out")).await, 8, "one after the other");
    assert_eq!(caller.handle.metrics().retries_denied("service"), 0);
    caller.handle.stop();
    // Who cannot be connected to is ejected: two of four may be.
    let strict = json!({"consecutiveFailures": 1, "baseEjectionMs": 60_000, "maxEjectionPercent": 75});
    let caller = servers.caller(&json!({"connectRetry": {"maxRetries": 3}, "outlierDetection": strict}));
    assert_eq!(count(caller.address("out")).await, 8);
    assert_eq!(caller.handle.metrics().ejections("service"), 3);
    caller.handle.stop();
    servers.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_and_one_that_limits_new_connections_are_not_at_fault() {
    let echo = echo_at_end().await;
    let strict = json!({"outlierDetection": {"consecutiveFailures": 1, "baseEjectionMs": 60_000}});
    // Each server has one connection at most.
    let full =
        |resources: &mut Vec<Value>| resources[5]["cluster"]["breakers"] = json!({"maxConnections": 1});
    let servers = Servers::start(&[echo, echo], full);
    let caller = servers.caller(&strict);
    let mut held = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(caller.address("out")).await.expect("connected");
        held.push(stream);
    }
    let active = |flag| {
        servers.servers.iter().map(|one| one.handle.metrics().flagged(Direction::Inbound, flag)).sum::<u64>()
    };
    eventually("both are full, and say so", || {
        let address = caller.address("out");
        let refused = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { !is_answered(address).await })
        });
        refused && active(Flag::UpstreamOverflow) >= 3
    });
    assert_eq!(caller.handle.metrics().ejections("service"), 0);
    assert!(caller.handle.metrics().flagged(Direction::Outbound, Flag::UpstreamOverflow) >= 1);
    drop(held);
    let address = caller.address("out");
    eventually("there is room again", || {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(is_answered(address)))
    });
    caller.handle.stop();
    servers.stop();

    // A limit of new connections: three at once, then one in an hour, each caller for itself.
    let limited = |resources: &mut Vec<Value>| {
        let rule = json!({"name": "new", "requestsPerSecond": 0.0003, "burst": 3, "perCaller": true});
        resources.push(json!({"limit": {"name": "in", "rules": [rule]}}));
    };
    let servers = Servers::start(&[echo], limited);
    let caller = servers.caller(&strict);
    let mut answered = Vec::new();
    for _ in 0..5 {
        answered.push(is_answered(caller.address("out")).await);
    }
    assert_eq!(answered, [true, true, true, false, false]);
    let flagged = |proxy: &Proxy, direction| proxy.handle.metrics().flagged(direction, Flag::RateLimited);
    assert_eq!(flagged(&caller, Direction::Outbound), 2);
    eventually("the server counts them", || flagged(&servers.servers[0], Direction::Inbound) == 2);
    assert_eq!(caller.handle.metrics().ejections("service"), 0);
    caller.handle.stop();
    servers.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_port_of_tcp_carries_anything_and_ends_what_is_idle() {
    let servers = Servers::start(&[echo_at_end().await], |_| {});
    let a = servers.ca.issue("a", &Leaf::of(&id("a")));
    let mut resources = vec![servers.ca.trust(), identity("mesh", &a)];
    resources.extend(outbound("TCP", &id("b"), &servers.addresses));
    resources[2]["listener"]["bind"] = json!({"public": {"address": "127.0.0.1", "port": 0}});
    resources[2]["listener"]["idleTimeoutMs"] = json!(200);
    let gateway = Proxy::start(&resources);
    assert!(is_answered(gateway.address("out")).await);
    let mut idle = TcpStream::connect(gateway.address("out")).await.expect("connected");
    assert_eq!(idle.read(&mut [0]).await.expect("closed"), 0);
    gateway.handle.stop();
    servers.stop();
}
