//! Retries, ejections and limits: each knob where it can be seen.

use std::time::{Duration, Instant};

use bowline_proxy::{Direction, Flag};
use serde_json::{Value, json};

use crate::{
    backend::{Answer, Backend, Client, Got, proxy_to},
    harness::eventually,
};

fn nothing(_: usize) -> Value {
    json!({})
}

fn retrying(retry: Value) -> Value {
    json!({"retry": retry})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_tried_again_and_elsewhere() {
    let (bad, good) = (Backend::start(Answer::status(500)).await, Backend::start(Answer::status(200)).await);
    let retry =
        retrying(json!({"maxRetries": 1, "retryOn": ["5xx"], "perTryTimeoutMs": 250, "backOffBaseMs": 1}));
    let proxy = proxy_to(&[&bad, &good], "HTTP", retry, json!({}), nothing);
    let client = Client::of(&proxy).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!((bad.count(), good.count()), (5, 10), "each first try in turn, each second one elsewhere");
    // A POST may have been processed, unless the client has a key for it.
    let posts = [client.send("POST", "/", &[]).await, client.send("POST", "/", &[]).await];
    assert_eq!(posts.iter().filter(|got| got.status == 500).count(), 1);
    let key = [("idempotency-key", "k1")];
    let posts = [client.send("POST", "/", &key).await, client.send("POST", "/", &key).await];
    assert!(posts.iter().all(|got| got.status == 200));
    // Who hangs has only its try's time.
    bad.answers(Answer::hanging());
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert!((250..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    proxy.handle.stop();
    // 409 and gateways' errors only where they are asked for.
    for (status, condition, again) in
        [(409, "retriable-4xx", true), (503, "gateway-error", true), (500, "gateway-error", false)]
    {
        bad.answers(Answer::status(status));
        let retry = retrying(json!({"maxRetries": 1, "retryOn": [condition]}));
        let proxy = proxy_to(&[&bad, &good], "HTTP", retry, json!({}), nothing);
        let client = Client::of(&proxy).await;
        let got = [client.get("/").await.status, client.get("/").await.status];
        assert_eq!(got == [200, 200], again, "{condition}: {got:?}");
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_status_without_a_message_is_tried_again_where_asked_for() {
    let unavailable = Answer::status(200).with("grpc-status", 14).with("content-type", "application/grpc");
    let (bad, good) = (Backend::start(unavailable).await, Backend::start(Answer::status(200)).await);
    for (retry, wanted) in
        [(json!({"grpcRetryOn": ["unavailable"]}), 0), (json!({"grpcRetryOn": ["internal"]}), 2)]
    {
        let mut retry = retry;
        retry["maxRetries"] = json!(1);
        let proxy = proxy_to(&[&bad, &good], "GRPC", retrying(retry), json!({}), nothing);
        let client = Client::of(&proxy).await;
        let mut failed = 0;
        for _ in 0..4 {
            let got = client.send("POST", "/a.B/C", &[("content-type", "application/grpc")]).await;
            failed += usize::from(got.headers.get("grpc-status").is_some_and(|status| status == "14"));
        }
        assert_eq!(failed, wanted);
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_waited_for_or_handed_on() {
    let (bad, good) = (
        Backend::start(Answer::status(503).with("retry-after", 1)).await,
        Backend::start(Answer::status(200)).await,
    );
    let retry = retrying(json!({"maxRetries": 1, "retryOn": ["5xx"], "retryAfterMaxMs": 2_000}));
    let proxy = proxy_to(&[&bad, &good], "HTTP", retry, json!({}), nothing);
    let client = Client::of(&proxy).await;
    let began = Instant::now();
    assert_eq!([client.get("/").await.status, client.get("/").await.status], [200, 200]);
    assert!(began.elapsed() >= Duration::from_secs(1));
    bad.answers(Answer::status(503).with("retry-after", 60));
    let began = Instant::now();
    let got = [client.get("/").await, client.get("/").await];
    let told: Vec<_> = got.iter().filter(|got| got.status == 503).collect();
    assert!(told.len() == 1 && told[0].headers["retry-after"] == "60", "the client is told");
    assert!(began.elapsed() < Duration::from_secs(1));
    proxy.handle.stop();
}

/// So many requests at once.
async fn at_once(client: &Client, count: usize) -> Vec<Got> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/").await })
        })
        .collect();
    let mut got = Vec::new();
    for task in tasks {
        got.push(task.await.expect("no panic"));
    }
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_within_their_budget() {
    let slow = Answer::status(500).after(Duration::from_millis(400));
    let backends = [Backend::start(slow.clone()).await, Backend::start(slow).await];
    let policy = json!({"maxRetries": 5, "retryOn": ["5xx"], "budgetPercent": 10, "backOffMaxMs": 20});
    let proxy = proxy_to(
        &[&backends[0], &backends[1]],
        "HTTP",
        retrying(policy),
        // Nobody is ejected here.
        json!({}),
        nothing,
    );
    let client = Client::of(&proxy).await;
    let got = at_once(&client, 100).await;
    assert!(got.iter().all(|got| got.status == 500), "the answer at hand is the client's");
    let metrics = proxy.handle.metrics();
    // All fail together once: a tenth of them at most is tried again. The others leave, and with
    // them the budget, to its least of 3 at once, each 400 ms long: some rounds of a few.
    let (made, denied) = (metrics.retries("service"), metrics.retries_denied("service"));
    assert!((10..=30).contains(&made) && denied >= 90, "{made} made, {denied} denied");
    let sent = backends.iter().map(Backend::count).sum::<u32>();
    assert_eq!(u64::from(sent), 100 + made);
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_is_ejected_by_rows_and_by_comparison() {
    // A row of gateway errors, though 500s are let pass.
    let (bad, good) = (Backend::start(Answer::status(500)).await, Backend::start(Answer::status(200)).await);
    let outlier =
        json!({"outlierDetection": {"consecutiveFailures": 1_000, "consecutiveGatewayFailures": 3}});
    let proxy = proxy_to(&[&bad, &good], "HTTP", retrying(json!({"maxRetries": 0})), outlier, nothing);
    let client = Client::of(&proxy).await;
    for _ in 0..20 {
        client.get("/").await;
    }
    assert_eq!(proxy.handle.metrics().ejections("service"), 0);
    bad.answers(Answer::status(502));
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(client.get("/").await.status != 200);
    }
    assert_eq!((failed, proxy.handle.metrics().ejections("service")), (3, 1));
    proxy.handle.stop();
    // Who hangs until the request's own time is over fails too. It is long: the other one has to answer within it.
    bad.answers(Answer::hanging());
    let outlier = json!({"outlierDetection": {"consecutiveFailures": 3}});
    let forward = json!({"requestTimeoutMs": 1_500, "retry": {"maxRetries": 0}});
    let proxy = proxy_to(&[&bad, &good], "HTTP", forward, outlier, nothing);
    let client = Client::of(&proxy).await;
    let mut failed = 0;
    for _ in 0..10 {
        failed += u32::from(client.get("/").await.status == 504);
    }
    assert_eq!((failed, proxy.handle.metrics().ejections("service")), (3, 1));
    proxy.handle.stop();
    // One of five that fails every other time, and one that is slow: no row of failures is long.
    let mut backends = Vec::new();
    for delay in [0, 0, 0, 0, 120] {
        backends.push(Backend::start(Answer::status(200).after(Duration::from_millis(delay))).await);
    }
    let outlier = json!({"outlierDetection": {
        "intervalMs": 1_000, "baseEjectionMs": 60_000,
        "successRate": {"requestVolume": 10, "stdevFactor": 1_500},
        "latency": {"requestVolume": 10, "minimumHosts": 3},
    }});
    let all: Vec<&Backend> = backends.iter().collect();
    let proxy = proxy_to(&all, "HTTP", retrying(json!({"maxRetries": 0})), outlier, nothing);
    let client = Client::of(&proxy).await;
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut turn = 0;
    while proxy.handle.metrics().ejections("service") < 2 {
        assert!(Instant::now() < deadline, "two stand out");
        turn += 1;
        backends[0].answers(Answer::status(if turn % 2 == 0 { 500 } else { 200 }));
        at_once(&client, 25).await;
    }
    let before = [backends[0].count(), backends[4].count()];
    at_once(&client, 30).await;
    assert_eq!([backends[0].count(), backends[4].count()], before, "both are spared");
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_a_limit_are_turned_away_and_the_rest_served() {
    let backend = Backend::start(Answer::hanging()).await;
    let breakers = json!({"breakers": {"maxRequests": 7}});
    let proxy = proxy_to(&[&backend], "HTTP", json!({}), breakers, nothing);
    let client = Client::of(&proxy).await;
    let (held, other) = (client.clone(), Client::of(&proxy).await);
    let waiting = tokio::spawn(async move { at_once(&held, 7).await });
    eventually("seven are under way", || backend.count() == 7);
    let over = at_once(&other, 20).await;
    assert!(over.iter().all(|got| got.status == 503));
    assert_eq!(proxy.handle.metrics().flagged(Direction::Outbound, Flag::UpstreamOverflow), 20);
    assert_eq!(proxy.handle.metrics().overflows("service"), 20);
    backend.answers(Answer::status(200));
    assert!(waiting.await.expect("no panic").iter().all(|got| got.status == 200));
    assert_eq!(other.get("/").await.status, 200, "there is room again");
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_who_waits_for_one_are_limited() {
    let backend = Backend::start(Answer::hanging()).await;
    let breakers = json!({"breakers": {"maxConnections": 1, "maxPending": 4}});
    let proxy = proxy_to(&[&backend], "HTTP1", json!({}), breakers, nothing);
    // One connection, thus one worker, whose first connection is the limit's.
    let client = Client::of(&proxy).await;
    let held = client.clone();
    let waiting = tokio::spawn(async move { at_once(&held, 5).await });
    eventually("one is there", || backend.count() == 1);
    let over = client.get("/");
    let over = tokio::time::timeout(Duration::from_secs(5), over).await.expect("turned away at once");
    assert_eq!(over.status, 503);
    backend.answers(Answer::status(200));
    assert!(waiting.await.expect("no panic").iter().all(|got| got.status == 200), "who waited is served");
    assert_eq!(backend.most_open.load(std::sync::atomic::Ordering::SeqCst), 1, "one after the other");
    proxy.handle.stop();
}
