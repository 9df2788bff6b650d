//! A load balancer's requests are carried by the policy of the discovery name behind it.

use std::time::{Duration, Instant};

use crate::{mesh::Mesh, server::Client, template::Template};

const PUBLIC: &str = "public:front:80";

fn services() -> Template {
    Template::new().load_balancer().service("cart", 2, "1", "{}").service("cart-v2", 1, "1", "{}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_at_the_gateway_as_at_a_callers_sidecar() {
    let mesh = Mesh::start(&services()).await;
    let gateway = mesh.proxy("front");
    let client = Client::of(gateway.address(PUBLIC)).await;
    let backends = mesh.backends("cart");
    let of = |task: &str| backends.iter().find(|(id, _)| id.as_str() == task).map(|(_, backend)| backend);
    for (_, backend) in &backends {
        backend.answers(500, Duration::ZERO);
    }
    // Without one a 500 is the client's, and nothing else is done about it.
    let first = client.get("/cart", &[]).await;
    assert_eq!((first.status, mesh.count("cart")), (500, 1));
    assert!(of(&first.task).is_some());

    mesh.apply(&services().policy(
        "cart",
        &[
            "Timeout: {HTTP: {PerRequest: {Unit: ms, Value: 400}}}",
            "RetryPolicy: {MaxRetries: 1, HttpRetryEvents: [server-error]}",
            "OutlierDetection: {MaxServerErrors: 1, BaseEjectionDuration: {Unit: s, Value: 60}, MaxEjectionPercent: 50}",
            "Fault: [{Match: {Prefix: /cart/fault}, Abort: {Percent: 100, HttpStatus: 418}}]",
            "Routes: [{Match: {Prefix: /cart/v2}, Action: {WeightedTargets: [{VirtualNode: cart-v2, Weight: 1}]}}]",
        ],
    ));
    for (task, backend) in &backends {
        let fails = **task == *backends[0].0;
        backend.answers(if fails { 500 } else { 200 }, Duration::ZERO);
    }
    mesh.refresh(&gateway);
    // Retried on the other, and the one that failed is out after its first failure.
    let before = backends[0].1.count();
    for _ in 0..10 {
        assert_eq!(client.get("/cart", &[]).await.status, 200);
    }
    assert_eq!(backends[0].1.count() - before, 1, "ejected");
    assert_eq!(client.get("/cart/fault", &[]).await.status, 418);
    // A policy's route is asked beside the rule's own condition, and its target accepts the gateway.
    assert_eq!(client.get("/cart/v2/x", &[]).await.task, mesh.backends("cart-v2")[0].0.as_str());
    assert_eq!(client.get("/other/cart/v2", &[]).await.status, 404, "no rule leads there");
    // The request's time.
    backends[1].1.answers(200, Duration::from_secs(30));
    let began = Instant::now();
    assert_eq!(client.get("/cart", &[]).await.status, 504);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_tasks_limits_count_the_gateway_as_a_caller() {
    let policy = "LocalRateLimit: [{Name: few, RequestsPerSecond: 0.001, Burst: 3, PerCaller: true}]";
    let template = Template::new().load_balancer().service("cart", 1, "1", "{}").policy("cart", &[policy]);
    let mesh = Mesh::start(&template).await;
    let gateway = mesh.proxy("front");
    let client = Client::of(gateway.address(PUBLIC)).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(client.get("/cart", &[]).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert!(client.get("/cart", &[]).await.headers.contains_key("retry-after"));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_tcp_leads_to_what_speaks_tcp_and_to_what_speaks_http() {
    let http = || Template::new().load_balancer().service("cart", 1, "1", "{}").network_load_balancer();
    for template in [http(), http().with("AppProtocol: http", "Protocol: tcp")] {
        let mesh = Mesh::start(&template).await;
        let gateway = mesh.proxy("front");
        let client = Client::of(gateway.address(PUBLIC)).await;
        let got = client.get("/anything", &[]).await;
        assert_eq!((got.status, mesh.count("cart")), (200, 1), "{}", template.text());
        mesh.stop().await;
    }
}
