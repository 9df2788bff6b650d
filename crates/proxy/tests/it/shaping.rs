//! Routes by what a request says, limits and faults.

use std::time::{Duration, Instant};

use bowline_proxy::{Direction, Flag, ProxyOptions};
use serde_json::json;

use crate::{
    backend::{Answer, Backend, Client, resources},
    harness::{Ca, Leaf, Proxy, id, identity, inbound, outbound},
    http::application,
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_by_what_they_say_and_clients_stay_with_a_version() {
    let backends = [Backend::start(Answer::status(200)).await, Backend::start(Answer::status(200)).await];
    let mut resources = resources(&[&backends[0]], "HTTP", json!({}), json!({}), |_| json!({}));
    let to = |cluster: &str| json!({"forward": {"clusters": [{"cluster": cluster, "weight": 1}]}});
    let shifting = json!({"forward": {
        "clusters": [{"cluster": "service", "weight": 50}, {"cluster": "next", "weight": 50}],
        "sticky": [{"header": "x-user"}, {"cookie": {"name": "version"}}],
    }});
    let header = |what: serde_json::Value| {
        let mut what = what;
        what["name"] = json!("x-build");
        json!({"headers": [what]})
    };
    resources[2]["route"]["rules"] = json!([
        {"match": {"paths": ["/next/*"]}, "action": to("next")},
        {"match": {"methods": ["DELETE"]}, "action": to("next")},
        {"match": header(json!({"range": {"start": 100, "end": 200}})), "action": to("next")},
        {"match": header(json!({"prefix": "rc-"})), "action": to("next")},
        {"match": {"paths": ["/not-a"], "headers": [{"name": "x-a", "exact": "1", "invert": true}]}, "action": to("next")},
        {"match": {"paths": ["/no-a"], "headers": [{"name": "x-a", "present": true, "invert": true}]}, "action": to("next")},
        {"match": {"paths": ["/not-a", "/no-a"]}, "action": to("service")},
        {"match": {"query": [{"name": "v", "exact": "2"}]}, "action": to("next")},
        {"match": {"paths": ["/old"]}, "action": to("service")},
        {"action": shifting},
    ]);
    resources.push(
        json!({"cluster": {"name": "next", "protocol": "HTTP", "kind": {"mesh": {"tls": "PLAINTEXT"}}}}),
    );
    let endpoint = json!({"address": "127.0.0.1", "port": backends[1].address.port()});
    resources.push(json!({"endpoints": {"name": "next", "endpoints": [endpoint]}}));
    let proxy = Proxy::start(&resources);
    let client = Client::of(&proxy).await;
    let next = Some(backends[1].address.port());
    for (method, path, build, is_next) in [
        ("GET", "/old", "-", false),
        ("GET", "/next/a", "-", true),
        ("DELETE", "/old", "-", true),
        ("GET", "/old", "150", true),
        ("GET", "/old", "200", false),
        ("GET", "/old", "rc-1", true),
        ("GET", "/old?v=2", "-", true),
        ("GET", "/old?v=22", "-", false),
    ] {
        let got = client.send(method, path, &[("x-build", build)]).await;
        assert_eq!(got.backend == next, is_next, "{method} {path} {build}");
    }
    for (path, headers, is_next) in [
        ("/not-a", &[("x-a", "2")][..], true),
        ("/not-a", &[("x-a", "1")], false),
        ("/not-a", &[], false),
        ("/no-a", &[], true),
        ("/no-a", &[("x-a", "")], false),
    ] {
        let got = client.send("GET", path, headers).await;
        assert_eq!(got.backend == next, is_next, "{path} {headers:?}");
    }
    let mut of_next = 0;
    for user in 0..200 {
        let user = format!("u{user}");
        let first = client.send("GET", "/", &[("x-user", &user)]).await.backend;
        assert_eq!(client.send("GET", "/", &[("x-user", &user)]).await.backend, first);
        of_next += u32::from(first == next);
    }
    assert!((70..130).contains(&of_next), "half of the users: {of_next}");
    let first = client.get("/").await;
    let cookie = first.headers["set-cookie"].to_str().expect("text").to_owned();
    let pair = cookie.split(';').next().expect("a pair");
    for _ in 0..5 {
        assert_eq!(client.send("GET", "/", &[("cookie", pair)]).await.backend, first.backend);
    }
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hit_what_they_are_for_and_cost_no_time_of_the_requests() {
    let backend = Backend::start(Answer::status(200)).await;
    let forward = json!({"requestTimeoutMs": 2_000});
    let mut resources = resources(&[&backend], "HTTP", forward, json!({}), |_| json!({}));
    let chaos = |value: &str| json!({"headers": [{"name": "x-chaos", "exact": value}]});
    resources.push(json!({"fault": {"name": "out", "rules": [
        {"match": chaos("slow"), "delayPerMillion": 1_000_000, "delayMs": 2_500},
        {"match": chaos("broken"), "abortPerMillion": 1_000_000, "abortStatus": 418},
        {"match": chaos("half"), "abortPerMillion": 500_000, "abortStatus": 503},
    ]}}));
    let proxy = Proxy::start(&resources);
    let client = Client::of(&proxy).await;
    assert_eq!(client.get("/").await.status, 200);
    let began = Instant::now();
    assert_eq!(client.send("GET", "/", &[("x-chaos", "slow")]).await.status, 200, "longer than its time");
    assert!(began.elapsed() >= Duration::from_millis(2_500));
    assert_eq!(client.send("GET", "/", &[("x-chaos", "broken")]).await.status, 418);
    let mut aborted = 0;
    for _ in 0..200 {
        aborted += u32::from(client.send("GET", "/", &[("x-chaos", "half")]).await.status == 503);
    }
    assert!((60..140).contains(&aborted), "{aborted} of 200");
    assert_eq!(
        proxy.handle.metrics().flagged(Direction::Outbound, Flag::FaultInjected),
        u64::from(aborted) + 1
    );
    // Without it nothing is left of it.
    resources.pop();
    proxy.write(&resources);
    proxy.handle.reload().expect("applied");
    assert_eq!(client.send("GET", "/", &[("x-chaos", "broken")]).await.status, 200);
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_over_a_limit_is_told_when_to_come_back() {
    let ca = Ca::new();
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", application().await, &[&id("a"), &id("c")]));
    resources.push(json!({"limit": {"name": "in", "rules": [
        {"name": "tenant", "requestsPerSecond": 0.01, "burst": 3, "perHeader": "x-tenant"},
        {"name": "caller", "requestsPerSecond": 0.01, "burst": 10, "perCaller": true,
         "match": {"paths": ["/headers"]}},
    ]}}));
    let server = Proxy::start(&resources);
    let calling = |name: &str| {
        let own = ca.issue(name, &Leaf::of(&id(name)));
        let mut resources = vec![ca.trust(), identity("mesh", &own)];
        resources.extend(outbound("HTTP", &id("b"), &[server.address("in")]));
        Proxy::start(&resources)
    };
    let (a, c) = (calling("a"), calling("c"));
    let client = Client::of(&a).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(client.send("GET", "/404", &[("x-tenant", "t1")]).await);
    }
    assert_eq!(seen.iter().map(|got| got.status).collect::<Vec<_>>(), [404, 404, 404, 429, 429]);
    let header = |place: usize, name: &str| seen[place].headers[name].to_str().expect("text").to_owned();
    assert_eq!(header(0, "ratelimit-policy"), "\"tenant\";q=3;w=300");
    assert!(header(0, "ratelimit").starts_with("\"tenant\";r=2;t="), "{}", header(0, "ratelimit"));
    assert!((90..=100).contains(&header(3, "retry-after").parse::<u32>().expect("seconds")));
    assert_eq!(client.send("GET", "/404", &[("x-tenant", "t2")]).await.status, 404, "another one");
    assert_eq!(client.get("/404").await.status, 404, "without the header there is no such limit");
    // Each caller has its own, over all the connections that its requests come by.
    let mut allowed = 0;
    for _ in 0..5 {
        let client = Client::of(&a).await;
        for _ in 0..4 {
            allowed += u32::from(client.get("/headers").await.status == 200);
        }
    }
    assert_eq!(allowed, 10);
    assert_eq!(Client::of(&c).await.get("/headers").await.status, 200);
    assert_eq!(server.handle.metrics().flagged(Direction::Inbound, Flag::RateLimited), 12);
    for proxy in [a, c, server] {
        proxy.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_has_exactly_its_share_over_all_workers() {
    let ca = Ca::new();
    let issued = |name: &str| identity("mesh", &ca.issue(name, &Leaf::of(&id(name))));
    let backend = Backend::start(Answer::status(200)).await;
    let options = ProxyOptions { workers: 4, drain: Duration::from_secs(1), ..ProxyOptions::default() };
    let mut resources = vec![ca.trust(), issued("b")];
    resources.extend(inbound("HTTP", backend.address, &[&id("a"), &id("c")]));
    let rule = json!({"name": "each", "requestsPerSecond": 0.0003, "burst": 700, "perCaller": true});
    resources.push(json!({"limit": {"name": "in", "rules": [rule]}}));
    let server = Proxy::start_with(&resources, &options);
    let callers = ["a", "c"].map(|name| {
        let mut resources = vec![ca.trust(), issued(name)];
        resources.extend(outbound("HTTP", &id("b"), &[server.address("in")]));
        Proxy::start_with(&resources, &options)
    });
    // Each caller's four workers have hops of their own, which the server's four take.
    let mut running = Vec::new();
    for caller in &callers {
        let mut of_caller = Vec::new();
        for _ in 0..8 {
            let client = Client::of(caller).await;
            of_caller.push(tokio::spawn(async move {
                let mut passed = 0;
                for _ in 0..250 {
                    passed += u32::from(client.get("/").await.status == 200);
                }
                passed
            }));
        }
        running.push(of_caller);
    }
    for of_caller in running {
        let mut passed = 0;
        for client in of_caller {
            passed += client.await.expect("no panic");
        }
        assert_eq!(passed, 700, "of 2,000");
    }
    assert_eq!(backend.count(), 1_400);
    for proxy in callers.into_iter().chain([server]) {
        proxy.handle.stop();
    }
}
