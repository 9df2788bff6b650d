//! All that is published for a sidecar and for a gateway, as files: a change of it shows in review.
//! `BOWLINE_UPDATE=1` writes them anew.

use std::path::Path;

use bowline_discovery::{resource::Resource, v1};
use serde_json::Value;

use crate::{mesh::Mesh, template::Template};

#[tokio::test(flavor = "multi_thread")]
async fn the_examples() {
    check("two-services", &Template::example("two-services"), &["service-a", "ecs-alb"]).await;
    check("caller-responder", &Template::example("caller-responder"), &["caller", "responder"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_says_everything() {
    let template = Template::new()
        .load_balancer()
        .service("caller", 1, "1", "{}")
        .service("cart", 2, "1", "{}")
        .service("cart-v2", 1, "1", "{}")
        .policy(
            "cart",
            &[
                "Timeout: {HTTP: {PerRequest: {Unit: s, Value: 2}, Idle: {Unit: s, Value: 60}}}",
                "RetryPolicy: {MaxRetries: 3, PerRetryTimeout: {Unit: ms, Value: 250}, HttpRetryEvents: [server-error], GrpcRetryEvents: [unavailable], RetryBudget: {Percent: 50}}",
                "OutlierDetection: {MaxServerErrors: 3, BaseEjectionDuration: {Unit: s, Value: 10}, SuccessRate: {RequestVolume: 10}}",
                "ConnectionPool: {HTTP: {MaxConnections: 5, MaxPendingRequests: 6}, MaxRetries: 7}",
                "HealthCheck: {Protocol: http, Path: /up, IntervalMillis: 5000, TimeoutMillis: 2000, HealthyThreshold: 2, UnhealthyThreshold: 2}",
                "LoadBalancing: {Policy: RING_HASH, HashOn: [{Header: X-User}, {Source: true}], SlowStart: {Unit: s, Value: 5}, ZoneAware: true, Failover: [cart-v2]}",
                "Routes: [{Match: {Prefix: /cart/v2, Headers: [{Name: X-Build, Match: {Prefix: rc}, Invert: true}]}, Action: {WeightedTargets: [{VirtualNode: cart, Weight: 90}, {VirtualNode: cart-v2, Weight: 10}]}, Sticky: [{Cookie: {Name: version}}]}]",
                "LocalRateLimit: [{Name: each, RequestsPerSecond: 0.5, Burst: 3, PerCaller: true}]",
                "Fault: [{Delay: {Percent: 0.5, Duration: {Unit: ms, Value: 9}}}]",
            ],
        );
    check("policy", &template, &["caller", "cart", "front"]).await;
}

async fn check(name: &str, template: &Template, proxies: &[&str]) {
    let mesh = Mesh::start(template).await;
    for proxy in proxies {
        let published = mesh.published(&mesh.task_of(proxy));
        let shown: Vec<Value> = published.into_iter().map(shown).collect();
        let text = steady(&(serde_json::to_string_pretty(&shown).expect("JSON") + "\n"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/published/golden")
            .join(format!("{name}.{proxy}.json"));
        if std::env::var_os("BOWLINE_UPDATE").is_some() {
            std::fs::write(&path, &text).expect("written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = kept.lines().zip(text.lines()).position(|(kept, now)| kept != now);
        let line = differs.unwrap_or_else(|| kept.lines().count().min(text.lines().count()));
        assert!(
            kept == text,
            "{}:{}: what is published has changed, to {:?}; BOWLINE_UPDATE=1 takes it up",
            path.display(),
            line + 1,
            text.lines().nth(line)
        );
    }
    mesh.stop().await;
}

/// A resource without what it does not say, and without ports that the machine chose.
fn shown(mut resource: Resource) -> Value {
    match &mut resource {
        Resource::Endpoints(endpoints) => {
            endpoints.endpoints.iter_mut().for_each(|endpoint| endpoint.port = 0);
            // They come in the order of their tasks' ids, which are random.
            endpoints.endpoints.sort_by(|one, other| one.zone.cmp(&other.zone));
        }
        Resource::Listener(listener) => {
            if let Some(v1::listener::Bind::Public(bind)) = &mut listener.bind {
                bind.port = 0;
            }
        }
        _ => {}
    }
    let mut value = serde_json::to_value(&resource).expect("JSON");
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        // An empty message says that it is there.
        Value::Object(_) => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !says_nothing(value));
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Without what is random: ids and digests are long and hexadecimal.
fn steady(text: &str) -> String {
    let is_of_id = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c) || c == '-';
    let mut steady = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = rest.find(|c| !is_of_id(c)).unwrap_or(rest.len());
        match length {
            0 => steady.push(c),
            16.. => steady.push('…'),
            _ => steady.push_str(&rest[..length]),
        }
        rest = &rest[length.max(if length == 0 { c.len_utf8() } else { 0 })..];
    }
    steady
}
