//! A call's time over two sidecars: each hop sends on what is left, and nobody works on a call that is
//! over.

use std::time::{Duration, Instant};

use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::json;

use crate::{
    backend::{Answer, Backend, Client, Got},
    harness::{Ca, Leaf, Pair, Proxy, eventually, id, identity, inbound, outbound_with},
    http::{full, h2},
};

const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";
/// Longer than what any call here is given, shorter than the sidecars' own 15 s.
const SOON: Duration = Duration::from_secs(8);

async fn call(pair: &Pair, headers: &[(&str, &str)]) -> (Got, Duration) {
    let (client, began) = (Client::of(&pair.client).await, Instant::now());
    (client.send("GET", "/", headers).await, began.elapsed())
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    let text = headers.get(name).unwrap_or_else(|| panic!("no {name} in {headers:?}"));
    text.to_str().expect("text").trim_end_matches('m').parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hop_sends_on_what_is_left() {
    let backend = Backend::start(Answer::status(200)).await;
    let last = || backend.last.lock().expect("no panic").clone();
    let pair = Pair::start("HTTP", backend.address);
    // The caller's sidecar has 15 s for a request.
    assert_eq!(call(&pair, &[]).await.0.status, 200);
    assert!((10_000..15_000).contains(&number(&last(), EXPECTED)), "{:?}", last());
    // Its application has less.
    call(&pair, &[(EXPECTED, "9000")]).await;
    assert!((5_000..9_000).contains(&number(&last(), EXPECTED)), "{:?}", last());
    // More is not to be had.
    call(&pair, &[(EXPECTED, "90000")]).await;
    assert!(number(&last(), EXPECTED) < 15_000);
    assert!(!last().contains_key("grpc-timeout"));
    pair.stop();

    let pair = Pair::start("GRPC", backend.address);
    let grpc = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "9S")];
    call(&pair, &grpc).await;
    assert!((5_000..9_000).contains(&number(&last(), "grpc-timeout")), "{:?}", last());
    assert_eq!(number(&last(), "grpc-timeout"), number(&last(), EXPECTED));
    call(&pair, &grpc[..2]).await;
    assert!((10_000..15_000).contains(&number(&last(), "grpc-timeout")), "the sidecar's own");
    pair.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_when_its_client_has_given_up() {
    let backend = Backend::start(Answer::hanging()).await;
    let pair = Pair::start("HTTP", backend.address);
    let (got, took) = call(&pair, &[(EXPECTED, "200")]).await;
    assert_eq!(got.status, 504);
    assert!((Duration::from_millis(190)..SOON).contains(&took), "{took:?}");
    eventually("the application's connection is given up", || {
        backend.open.load(std::sync::atomic::Ordering::SeqCst) == 0
    });
    pair.stop();
    let pair = Pair::start("GRPC", backend.address);
    let grpc = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "200m")];
    let (got, took) = call(&pair, &grpc).await;
    assert_eq!((got.status, &got.headers["grpc-status"]), (200, &"4".parse().expect("a value")));
    assert!(took < SOON, "{took:?}");
    pair.stop();
}

/// A called sidecar without encryption, so that a test can be its calling sidecar.
fn called(backend: &Backend) -> Proxy {
    let mut resources = vec![Ca::new().trust()];
    resources.extend(inbound("HTTP", backend.address, &[]));
    resources[1]["listener"]["bind"]["inbound"]["tls"] = json!("PLAINTEXT");
    resources[2]["authorization"]["rules"] = json!([{"name": "all", "effect": "ALLOW", "anyCaller": true}]);
    // None of its own.
    resources[3]["route"]["rules"][0]["action"]["forward"]["requestTimeoutMs"] = json!(0);
    Proxy::start(&resources)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_called_side_keeps_to_it_where_the_caller_does_not() {
    let backend = Backend::start(Answer::hanging()).await;
    let proxy = called(&backend);
    let mut caller = h2(proxy.address("in")).await;
    let request = |limit: &str| {
        http::Request::get("http://service/").header(EXPECTED, limit).body(full("")).expect("a request")
    };
    let began = Instant::now();
    let error = caller.send_request(request("200")).await.expect_err("a reset");
    let took = began.elapsed();
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    assert_eq!(cause.and_then(h2::Error::reason), Some(h2::Reason::CANCEL), "{error:?}");
    assert!((Duration::from_millis(190)..SOON).contains(&took), "{took:?}");
    // Without it there is time.
    backend.answers(Answer::status(200).after(Duration::from_millis(300)));
    let response = caller.send_request(request("0")).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.expect("a body");
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_by_the_called_side_is_a_timeout_and_no_retry_outlives_the_call() {
    let backend = Backend::start(Answer::status(503)).await;
    let ca = Ca::new();
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", backend.address, &[&id("a")]));
    let server = Proxy::start(&resources);
    let start = |retry: serde_json::Value| {
        let mut resources = vec![ca.trust(), identity("mesh", &a)];
        resources.extend(outbound_with("HTTP", &id("b"), &[server.address("in")], retry, 15_000));
        // Nobody is ejected for what is done here.
        resources[4]["cluster"]["outlierDetection"] = json!({"consecutiveFailures": 10_000});
        Proxy::start(&resources)
    };
    // Retries without end would take minutes.
    let retries = |millis: u32| json!({"maxRetries": 100, "retryOn": ["5xx"], "backOffBaseMs": millis, "backOffMaxMs": millis});
    let client = start(retries(300));
    let began = Instant::now();
    let got = Client::of(&client).await.send("GET", "/", &[(EXPECTED, "1000")]).await;
    assert!(matches!(got.status, 503 | 504) && began.elapsed() < SOON, "{:?}", began.elapsed());
    client.handle.stop();
    // Where the wait would be longer than the call, the answer at hand is the client's.
    let client = start(json!({"maxRetries": 1, "retryOn": ["5xx"], "backOffBaseMs": 36_000_000_000u64}));
    let got = Client::of(&client).await.send("GET", "/", &[(EXPECTED, "5000")]).await;
    assert_eq!((got.status, got.backend), (503, Some(backend.address.port())));
    client.handle.stop();
    // Both sides have the same time for a try: whoever is first, it is retried.
    let client = start(json!({"maxRetries": 2, "perTryTimeoutMs": 500, "retryOn": ["reset"]}));
    backend.answers(Answer::status(200));
    let caller = Client::of(&client).await;
    // The hop is there before time counts.
    assert_eq!(caller.get("/").await.status, 200);
    backend.answers(Answer::hanging());
    for _ in 0..3 {
        let before = backend.count();
        assert_eq!(caller.get("/").await.status, 504);
        assert_eq!(backend.count() - before, 3);
    }
    client.handle.stop();
    server.handle.stop();
}
