//! Which endpoint gets a request, over a real proxy; exact shares are the model's tests.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    backend::{Answer, Backend, Client, proxy_to, resources},
    harness::Proxy,
};

async fn backends(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for _ in 0..count {
        backends.push(Backend::start(Answer::status(200)).await);
    }
    backends
}

fn balanced(by: Value) -> Value {
    json!({"loadBalancing": by, "outlierDetection": {"consecutiveFailures": 1, "baseEjectionMs": 60_000}})
}

fn start(backends: &[Backend], cluster: Value, endpoint: impl Fn(usize) -> Value) -> Proxy {
    let all: Vec<&Backend> = backends.iter().collect();
    proxy_to(&all, "HTTP", json!({"retry": {"maxRetries": 0}}), cluster, endpoint)
}

/// How many of so many requests each backend got, by its place.
async fn shares(client: &Client, backends: &[Backend], count: usize) -> Vec<u32> {
    let before: Vec<_> = backends.iter().map(Backend::count).collect();
    for _ in 0..count {
        client.get("/").await;
    }
    backends.iter().zip(before).map(|(backend, before)| backend.count() - before).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_busy_the_slow_and_nobody_in_particular() {
    let backends = backends(3).await;
    for (balancer, most) in [("LEAST_REQUEST", 40), ("PEAK_EWMA", 12)] {
        backends[0].answers(Answer::status(200).after(Duration::from_millis(200)));
        let proxy = start(&backends, balanced(json!({"balancer": balancer})), |_| json!({}));
        let client = Client::of(&proxy).await;
        let before = backends[0].count();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        client.get("/").await;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("no panic");
        }
        // A third of 200 by turns.
        let slow = backends[0].count() - before;
        assert!(slow <= most, "{balancer}: {slow} of 200 to the slow one");
        proxy.handle.stop();
    }
    backends[0].answers(Answer::status(200));
    let proxy = start(&backends, balanced(json!({"balancer": "RANDOM"})), |_| json!({}));
    let shares = shares(&Client::of(&proxy).await, &backends, 300).await;
    assert!(shares.iter().all(|share| (50..150).contains(share)), "{shares:?}");
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_goes_to_the_same_by_header_and_by_cookie() {
    let backends = backends(4).await;
    let keys = json!([{"header": "x-user"}, {"cookie": {"name": "sid", "ttlSeconds": 60}}]);
    let cluster = balanced(json!({"balancer": "RING_HASH", "hashOn": keys}));
    let proxy = start(&backends, cluster, |_| json!({}));
    let client = Client::of(&proxy).await;
    let mut of_user: HashMap<String, u16> = HashMap::new();
    for turn in 0..120 {
        let user = format!("user-{}", turn % 30);
        let got = client.send("GET", "/", &[("x-user", &user)]).await;
        let backend = got.backend.expect("answered");
        assert_eq!(*of_user.entry(user).or_insert(backend), backend);
        assert!(got.headers.get("set-cookie").is_none());
    }
    let used: std::collections::HashSet<_> = of_user.values().collect();
    assert!(used.len() >= 3, "{of_user:?}");
    // Without the header a cookie is made, and does the same.
    for _ in 0..10 {
        let first = client.get("/").await;
        let cookie = first.headers["set-cookie"].to_str().expect("text").to_owned();
        assert!(cookie.starts_with("sid=") && cookie.contains("Max-Age=60"), "{cookie}");
        let pair = cookie.split(';').next().expect("a pair");
        let again = client.send("GET", "/", &[("cookie", pair)]).await;
        assert_eq!(again.backend, first.backend);
        assert!(again.headers.get("set-cookie").is_none());
    }
    // Who was there stays, when others go.
    let gone = backends[0].address.port();
    backends[0].answers(Answer::status(500));
    for (user, before) in &of_user {
        let user = [("x-user", user.as_str())];
        client.send("GET", "/", &user).await;
        let after = client.send("GET", "/", &user).await.backend.expect("answered");
        assert!(if *before == gone { after != gone } else { after == *before });
    }
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_fail_over_and_back() {
    let backends = backends(4).await;
    let cluster = |percent: u32| json!({"outlierDetection": {"consecutiveFailures": 1, "baseEjectionMs": 1_500, "maxEjectionPercent": percent}});
    let priority = |place: usize| json!({"priority": place / 2});
    let proxy = start(&backends, cluster(50), priority);
    let client = Client::of(&proxy).await;
    assert_eq!(shares(&client, &backends, 20).await, [10, 10, 0, 0]);
    for backend in &backends[..2] {
        backend.answers(Answer::status(500));
    }
    // Each fails once and is ejected; a part of the second's goes elsewhere already.
    while proxy.handle.metrics().ejections("service") < 2 {
        client.get("/").await;
    }
    assert_eq!(shares(&client, &backends, 20).await, [0, 0, 10, 10], "fail-over");
    for backend in &backends[..2] {
        backend.answers(Answer::status(200));
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while shares(&client, &backends, 20).await != [10, 10, 0, 0] {
        assert!(std::time::Instant::now() < deadline, "both come back, and have everything");
    }
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_zone_first_and_panic() {
    let backends = backends(6).await;
    let zone = |place: usize| json!({"zone": if place < 3 { "a" } else { "b" }});
    let proxy = start(&backends, balanced(json!({"zone": "a"})), zone);
    let client = Client::of(&proxy).await;
    assert_eq!(shares(&client, &backends, 30).await, [10, 10, 10, 0, 0, 0]);
    // With one of three gone the zone has too few for its callers: the rest spills over.
    backends[0].answers(Answer::status(500));
    shares(&client, &backends, 3).await;
    backends[0].answers(Answer::status(200));
    let spilt = shares(&client, &backends, 50).await;
    assert_eq!(spilt[0], 0);
    assert!((5..=15).contains(&spilt[3..].iter().sum::<u32>()), "a fifth: {spilt:?}");
    proxy.handle.stop();
    // Below the threshold all are used, the ejected too.
    for backend in &backends[..2] {
        backend.answers(Answer::status(500));
    }
    let proxy = start(&backends, balanced(json!({"panicPercent": 80})), |_| json!({}));
    let client = Client::of(&proxy).await;
    while proxy.handle.metrics().ejections("service") < 2 {
        client.get("/").await;
    }
    let panicking = shares(&client, &backends, 60).await;
    assert_eq!(panicking, [10; 6], "4 of 6 are fewer than 80 %");
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_its_checks_gets_nothing() {
    for (protocol, check) in [
        ("HTTP", json!({"path": "/check"})),
        ("HTTP1", json!({"path": "/check", "protocol": "http"})),
        ("GRPC", json!({"protocol": "grpc", "grpcService": "a.B"})),
        ("HTTP", json!({"protocol": "tcp"})),
    ] {
        let backends = backends(2).await;
        let mut check = check;
        check["intervalMs"] = json!(50);
        check["timeoutMs"] = json!(1_000);
        check["unhealthyThreshold"] = json!(2);
        check["healthyThreshold"] = json!(2);
        let all: Vec<&Backend> = backends.iter().collect();
        let forward = json!({"retry": {"maxRetries": 0}});
        let cluster = json!({"healthCheck": check});
        let is_tcp = check["protocol"] == "tcp";
        let mut resources = resources(&all, protocol, forward, cluster, |_| json!({}));
        if is_tcp {
            // The second one is a port that nobody listens on.
            let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
            let port = dead.local_addr().expect("an address").port();
            drop(dead);
            resources[4]["endpoints"]["endpoints"][1]["port"] = json!(port);
        }
        let proxy = Proxy::start(&resources);
        let client = Client::of(&proxy).await;
        if !is_tcp {
            backends[1].answers(Answer { serving: false, ..Answer::status(503) });
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let before = backends[0].count();
            for _ in 0..6 {
                client.get("/").await;
            }
            if backends[0].count() - before == 6 {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{protocol} {check}");
        }
        if !is_tcp {
            backends[1].answers(Answer::status(200));
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while shares(&client, &backends, 4).await[1] == 0 {
                assert!(std::time::Instant::now() < deadline, "{protocol} {check}: back");
            }
        }
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_targets_are_met_within_one_percent() {
    let backends = backends(2).await;
    let mut resources = resources(&[&backends[0]], "HTTP", json!({}), json!({}), |_| json!({}));
    resources[2]["route"]["rules"][0]["action"]["forward"]["clusters"] =
        json!([{"cluster": "service", "weight": 90}, {"cluster": "canary", "weight": 10}]);
    resources.push(json!({"cluster": {
        "name": "canary", "protocol": "HTTP", "kind": {"mesh": {"tls": "PLAINTEXT"}},
    }}));
    let endpoint = json!({"address": "127.0.0.1", "port": backends[1].address.port()});
    resources.push(json!({"endpoints": {"name": "canary", "endpoints": [endpoint]}}));
    let proxy = Proxy::start(&resources);
    // Several connections: several workers.
    let mut callers = Vec::new();
    for _ in 0..10 {
        let client = Client::of(&proxy).await;
        callers.push(tokio::spawn(async move {
            let mut failed = 0;
            for _ in 0..1_000 {
                failed += u32::from(client.get("/").await.status != 200);
            }
            failed
        }));
    }
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), 0);
    }
    assert!(backends[1].count().abs_diff(1_000) <= 10, "{}", backends[1].count());
    assert_eq!(backends[0].count() + backends[1].count(), 10_000);
    proxy.handle.stop();
}

/// A target with a share of the traffic fails: its callers notice only where nothing is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_leaves_the_target_that_failed() {
    for (retries, expected) in [(1, 0..=0), (0, 45..=55)] {
        let backends = backends(3).await;
        backends[1].answers(Answer::status(500));
        let mut resources = resources(&[&backends[0]], "HTTP", json!({}), json!({}), |_| json!({}));
        resources[2]["route"]["rules"][0]["action"]["forward"] = json!({
            "clusters": [
                {"cluster": "service", "weight": 50},
                {"cluster": "bad", "weight": 50},
                // Neither who gets nothing nor who has nobody is gone to.
                {"cluster": "idle", "weight": 0},
                {"cluster": "empty", "weight": 0},
            ],
            "retry": {"maxRetries": retries, "retryOn": ["5xx"], "budgetPercent": 100, "backOffBaseMs": 1},
        });
        for (name, backend) in [("bad", Some(&backends[1])), ("idle", Some(&backends[2])), ("empty", None)] {
            resources.push(json!({"cluster": {
                "name": name, "protocol": "HTTP", "kind": {"mesh": {"tls": "PLAINTEXT"}},
            }}));
            let endpoint =
                |backend: &Backend| json!({"address": "127.0.0.1", "port": backend.address.port()});
            let endpoints: Vec<_> = backend.into_iter().map(endpoint).collect();
            resources.push(json!({"endpoints": {"name": name, "endpoints": endpoints}}));
        }
        let proxy = Proxy::start(&resources);
        let client = Client::of(&proxy).await;
        let mut failed = 0;
        for _ in 0..100 {
            failed += u32::from(client.get("/").await.status != 200);
        }
        assert!(expected.contains(&failed), "{failed} failed with {retries} retries");
        assert_eq!(backends[2].count(), 0);
        proxy.handle.stop();
    }
}
