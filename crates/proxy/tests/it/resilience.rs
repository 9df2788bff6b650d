//! Endpoints that die, slow ones, broken ones; draining; reloading.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bowline_proxy::{Direction, Flag};
use http::{Request, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{
        Ca, Leaf, Pair, Proxy, endpoints_of, eventually, id, identity, inbound, outbound, outbound_with,
    },
    http::{application, full, get, h1, send},
};

/// An application that answers with its number, HTTP/1.1 with keep-alive.
async fn numbered(number: u32) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn server(ca: &Ca, application: SocketAddr) -> Proxy {
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", application, &[&id("a")]));
    Proxy::start(&resources)
}

fn client(ca: &Ca, resources: Vec<serde_json::Value>) -> Proxy {
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let mut all = vec![ca.trust(), identity("mesh", &a)];
    all.extend(resources);
    Proxy::start(&all)
}

fn dead() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_round_and_around_the_dead() {
    let ca = Ca::new();
    let (one, two) = (server(&ca, numbered(1).await), server(&ca, numbered(2).await));
    let proxy = client(&ca, outbound("HTTP", &id("b"), &[one.address("in"), two.address("in"), dead()]));
    let mut answers = [0; 2];
    for _ in 0..12 {
        let request = Request::post("/").header("host", "b").body(full("a body")).expect("a request");
        let (status, _, body) = send(proxy.address("out"), request).await;
        assert_eq!(status, 200, "a POST that was never sent is tried elsewhere: {body:?}");
        answers[usize::from(body[0] - b'1')] += 1;
    }
    assert!(answers.iter().all(|count| *count >= 4), "{answers:?}");
    assert!(proxy.handle.metrics().retries("service") >= 3);
    for proxy in [proxy, one, two] {
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_the_dead_are_felt_until_they_are_ejected() {
    let ca = Ca::new();
    let one = server(&ca, numbered(1).await);
    let endpoints = [one.address("in"), dead()];
    let proxy = client(&ca, outbound_with("HTTP", &id("b"), &endpoints, json!({"maxRetries": 0}), 5_000));
    let mut failed = 0;
    for _ in 0..30 {
        if get(proxy.address("out"), "/").await.0 != StatusCode::OK {
            failed += 1;
        }
    }
    assert_eq!(failed, 5, "five failures eject");
    assert_eq!(proxy.handle.metrics().ejections("service"), 1);
    assert_eq!(proxy.handle.metrics().flagged(Direction::Outbound, Flag::UpstreamConnectionFailure), 5);
    for proxy in [proxy, one] {
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_a_504_and_nobody_there_is_a_503() {
    let ca = Ca::new();
    let slow = server(&ca, application().await);
    let proxy = client(&ca, outbound_with("HTTP", &id("b"), &[slow.address("in")], json!({}), 300));
    let began = Instant::now();
    let (status, _, body) = get(proxy.address("out"), "/slow").await;
    assert_eq!((status.as_u16(), &body[..]), (504, &b"upstream request timeout"[..]));
    assert!(began.elapsed() < Duration::from_secs(5));
    let (status, ..) = get(proxy.address("out"), "/headers").await;
    assert_eq!(status, 200, "the connection serves others");
    proxy.handle.stop();

    let proxy = client(&ca, outbound("HTTP", &id("b"), &[]));
    let (status, _, body) = get(proxy.address("out"), "/").await;
    assert_eq!((status.as_u16(), &body[..]), (503, &b"no healthy upstream"[..]));
    proxy.handle.stop();
    slow.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_may_have_been_processed_is_not_repeated() {
    // Reads a request, counts it, and breaks off.
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let breaking = socket.local_addr().expect("an address");
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut buffer = [0; 4_096];
            if stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let ca = Ca::new();
    let broken = server(&ca, breaking);
    let proxy = client(&ca, outbound("HTTP", &id("b"), &[broken.address("in")]));
    let request = Request::post("/").header("host", "b").body(full("pay 5")).expect("a request");
    let (status, ..) = send(proxy.address("out"), request).await;
    assert_eq!(status, 503);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let (status, ..) = get(proxy.address("out"), "/").await;
    assert_eq!(status, 503);
    assert_eq!(count.load(Ordering::SeqCst), 4, "a GET is tried three times");
    proxy.handle.stop();
    broken.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_traffic_and_a_bad_one_changes_nothing() {
    let ca = Ca::new();
    let (one, two) = (server(&ca, numbered(1).await), server(&ca, numbered(2).await));
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let mut resources = vec![ca.trust(), identity("mesh", &a)];
    resources.extend(outbound("HTTP", &id("b"), &[one.address("in")]));
    let proxy = Proxy::start(&resources);
    let address = proxy.address("out");
    let mut kept = h1(address).await;
    let mut ask = async || {
        let request = Request::get("/").header("host", "b").body(full("")).expect("a request");
        let response = kept.send_request(request).await.expect("a response");
        http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes()
    };
    assert_eq!(ask().await, "1");
    let last = resources.len() - 1;
    resources[last] = endpoints_of(&[two.address("in")]);
    proxy.write(&resources);
    proxy.handle.reload().expect("applied");
    assert_eq!(ask().await, "2", "the open connection follows");
    resources[last] = json!({"endpoints": {"name": "service", "endpoints": [{"address": "no", "port": 1}]}});
    proxy.write(&resources);
    let error = proxy.handle.reload().expect_err("refused").to_string();
    assert!(error.contains("Endpoints \"service\": endpoints.address"), "{error}");
    assert_eq!(ask().await, "2", "the last good one stays");
    assert_eq!(proxy.address("out"), address);
    for proxy in [proxy, one, two] {
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_there_is_and_ends_at_once_when_idle() {
    let ca = Ca::new();
    // Answers only when told to.
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let slow = socket.local_addr().expect("an address");
    let (arrived, arrival) = tokio::sync::oneshot::channel();
    let (go, gone) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.expect("accepted");
        let mut buffer = [0; 4_096];
        let _ = stream.read(&mut buffer).await;
        arrived.send(()).expect("waited for");
        gone.await.expect("told");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
    });
    let (server, other) = (server(&ca, slow), server(&ca, numbered(2).await));
    let proxy = client(&ca, outbound("HTTP", &id("b"), &[server.address("in")]));
    let address = proxy.address("out");
    let request = tokio::spawn(async move { get(address, "/").await });
    arrival.await.expect("the request is at the application");
    let stopping = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        server.handle.stop();
        began.elapsed()
    });
    eventually("the drain waits", || !stopping.is_finished());
    go.send(()).expect("waiting");
    let (status, _, body) = request.await.expect("answered");
    assert_eq!((status.as_u16(), &body[..]), (200, &b"done"[..]));
    assert!(stopping.await.expect("stopped") < Duration::from_secs(4), "it ends when it is idle");
    proxy.handle.stop();
    other.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_over_the_listeners_limit() {
    let ca = Ca::new();
    let one = server(&ca, numbered(1).await);
    let mut resources = outbound("HTTP", &id("b"), &[one.address("in")]);
    resources[0]["listener"]["maxConnections"] = json!(2);
    let proxy = client(&ca, resources);
    let mut kept = Vec::new();
    for _ in 0..2 {
        kept.push(TcpStream::connect(proxy.address("out")).await.expect("connected"));
    }
    eventually("both are accepted", || proxy.handle.metrics().connections_active(Direction::Outbound) == 2);
    let mut third = TcpStream::connect(proxy.address("out")).await.expect("connected");
    let mut buffer = [0; 1];
    assert!(matches!(third.read(&mut buffer).await, Ok(0) | Err(_)));
    drop(kept);
    eventually("there is room again", || proxy.handle.metrics().connections_active(Direction::Outbound) == 0);
    assert_eq!(get(proxy.address("out"), "/").await.0, 200);
    proxy.handle.stop();
    one.handle.stop();
}

/// Kills one of two backends, sidecar and application in one process, again
/// and again under load. Runs for 6 s; `BOWLINE_TEST_LOAD_SECONDS` makes it more.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_backends_are_killed() {
    let seconds =
        std::env::var("BOWLINE_TEST_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let ca = Ca::new();
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut configuration = vec![ca.trust(), identity("mesh", &b)];
    configuration.extend(inbound("HTTP", "127.0.0.1:1".parse().expect("an address"), &[&id("a")]));
    let path = ca.directory.path().join("backend.json");
    std::fs::write(&path, json!(configuration).to_string()).expect("written");
    let mut backends = vec![Backend::start(&path).await, Backend::start(&path).await];
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let mut resources = vec![ca.trust(), identity("mesh", &a)];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    resources.extend(outbound("HTTP", &id("b"), &addresses));
    let proxy = Proxy::start(&resources);
    let address = proxy.address("out");
    let (stop, sent, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let load: Vec<_> = (0..10)
        .map(|_| {
            let (stop, sent, failed) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&failed));
            tokio::spawn(async move {
                let mut sender = h1(address).await;
                while !stop.load(Ordering::SeqCst) {
                    let request = Request::get("/").header("host", "b").body(full("")).expect("a request");
                    let ok = match sender.send_request(request).await {
                        Ok(response) if response.status() == 200 => {
                            http_body_util::BodyExt::collect(response.into_body()).await.is_ok()
                        }
                        Ok(response) => {
                            eprintln!("failed with {}", response.status());
                            let _ = http_body_util::BodyExt::collect(response.into_body()).await;
                            false
                        }
                        Err(error) => {
                            eprintln!("failed: {error}");
                            sender = h1(address).await;
                            false
                        }
                    };
                    sent.fetch_add(1, Ordering::SeqCst);
                    failed.fetch_add(u32::from(!ok), Ordering::SeqCst);
                    // Some in flight at any time, without filling both cores.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut turn = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        backends[turn].kill().await;
        // The stream tells of the new task a little later, as it would.
        let fresh = Backend::start(&path).await;
        backends[turn] = fresh;
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        let last = resources.len() - 1;
        resources[last] = endpoints_of(&addresses);
        proxy.write(&resources);
        proxy.handle.reload().expect("applied");
        tokio::time::sleep(Duration::from_secs(1)).await;
        turn = 1 - turn;
    }
    stop.store(true, Ordering::SeqCst);
    for task in load {
        task.await.expect("no panic");
    }
    let (sent, failed) = (sent.load(Ordering::SeqCst), failed.load(Ordering::SeqCst));
    assert!(sent > 500, "{sent} requests are no load");
    assert_eq!(failed, 0, "of {sent}");
    proxy.handle.stop();
    for backend in &mut backends {
        backend.kill().await;
    }
}

/// A backend in a process of its own: this test binary, run again.
struct Backend {
    process: tokio::process::Child,
    address: SocketAddr,
}

impl Backend {
    async fn start(configuration: &std::path::Path) -> Self {
        let mut process = tokio::process::Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "resilience::backend_process", "--nocapture", "--include-ignored"])
            .env("BOWLINE_TEST_BACKEND", configuration)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("started");
        let stdout = process.stdout.take().expect("piped");
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
        loop {
            let line = lines.next_line().await.expect("read").expect("the backend tells its address");
            if let Some((_, address)) = line.split_once("backend at ") {
                let address = address.parse().expect("an address");
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self { process, address };
            }
        }
    }

    async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
    }
}

/// Not a test by itself: the process that [`Backend`] starts.
#[tokio::test(flavor = "multi_thread")]
async fn backend_process() {
    let Some(path) = std::env::var_os("BOWLINE_TEST_BACKEND") else { return };
    let text = std::fs::read_to_string(path).expect("a configuration");
    let mut resources: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let application = numbered(1).await;
    for resource in &mut resources {
        if resource["cluster"]["name"] == "app" {
            resource["cluster"]["kind"]["local"]["port"] = json!(application.port());
        }
    }
    let proxy = Proxy::start(&resources);
    println!("backend at {}", proxy.address("in"));
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_that_the_application_closes_cost_nothing() {
    // Closes every connection after its first answer, without saying so.
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let rude = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut buffer = [0; 4_096];
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..count]).to_ascii_lowercase();
            let is_whole = head.starts_with("get /kept?a=b http/1.1\r\n")
                && ["host", "x-request-id", "x-ssl-client-spiffe-id", "x-envoy-expected-rq-timeout-ms"]
                    .iter()
                    .all(|name| head.matches(&format!("\r\n{name}: ")).count() == 1);
            let status = if is_whole { "200 OK" } else { "418 It has lost something" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let pair = Pair::start("HTTP", rude);
    for _ in 0..50 {
        assert_eq!(get(pair.client.address("out"), "/kept?a=b").await.0, 200);
    }
    pair.stop();
}
