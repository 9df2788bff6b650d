//! Who proves an identity: both sides, or the called one alone.

use std::net::SocketAddr;

use bowline_proxy::{Direction, HandshakeFailure};
use serde_json::{Value, json};

use crate::{
    harness::{Ca, Leaf, Proxy, eventually, id, identity, inbound, outbound},
    http::{application, get},
    tls::openssl,
};

/// A called sidecar whose port has that mode and these rules.
fn server(ca: &Ca, application: SocketAddr, mode: &str, rules: Value) -> Proxy {
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", application, &[]));
    for resource in &mut resources {
        if resource["listener"].is_object() {
            resource["listener"]["bind"]["inbound"]["tls"] = mode.into();
        }
        if resource["authorization"].is_object() {
            resource["authorization"]["rules"] = rules.clone();
        }
    }
    Proxy::start(&resources)
}

/// The resources of a calling sidecar; `own`: its certificate, if it has any.
fn caller(ca: &Ca, own: Option<&str>, expected: &str, mode: &str, server: &Proxy) -> Vec<Value> {
    let mut resources = vec![ca.trust()];
    resources.extend(own.map(|name| identity("mesh", &ca.issue(name, &Leaf::of(&id(name))))));
    resources.extend(outbound("HTTP", expected, &[server.address("in")]));
    for resource in &mut resources {
        if resource["cluster"].is_object() {
            resource["cluster"]["kind"]["mesh"]["tls"] = mode.into();
        }
    }
    resources
}

async fn call(resources: &[Value]) -> (u16, String) {
    let client = Proxy::start(resources);
    let (status, _, body) = get(client.address("out"), "/headers").await;
    client.handle.stop();
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

fn anyone() -> Value {
    json!([{"name": "anyone", "effect": "ALLOW", "anyCaller": true}])
}

fn only(name: &str) -> Value {
    json!([{"name": "one", "effect": "ALLOW", "identities": [id(name)]}])
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_tls_mode_the_server_alone_proves_who_it_is() {
    let (ca, application) = (Ca::new(), application().await);
    let b = id("b");
    let server_only = server(&ca, application, "SERVER_ONLY", anyone());

    // Without a certificate, and with one: it is not asked for, so nobody is told who calls.
    assert_eq!(openssl(server_only.address("in"), &ca, &["-tls1_3"]).await, "accepted");
    for own in [None, Some("a")] {
        let (status, body) = call(&caller(&ca, own, &b, "SERVER_ONLY", &server_only)).await;
        assert_eq!(status, 200, "{own:?}: {body}");
        for header in ["x-forwarded-client-cert", "x-ssl-client-verify", "x-ssl-client-spiffe-id"] {
            assert!(!body.contains(header), "{own:?}: {body}");
        }
    }

    // The server is judged as ever.
    let (status, body) = call(&caller(&ca, None, &id("c"), "SERVER_ONLY", &server_only)).await;
    assert!(status == 503 && body.contains(r#""cause":"wrong_identity""#), "{status} {body}");
    let other_ca = Ca::new();
    let (status, body) = call(&caller(&other_ca, None, &b, "SERVER_ONLY", &server_only)).await;
    assert!(status == 503 && body.contains(r#""cause":"unknown_ca""#), "{status} {body}");
    server_only.handle.stop();

    // The twin: the same callers, where both sides prove who they are.
    let mutual = server(&ca, application, "MUTUAL", anyone());
    let text = openssl(mutual.address("in"), &ca, &["-tls1_3"]).await;
    assert!(text.contains("certificate required"), "{text}");
    let refused = || {
        mutual.handle.metrics().handshake_failures(Direction::Inbound, HandshakeFailure::NoClientCertificate)
    };
    eventually("no certificate is counted", || refused() == 1);
    let (status, body) = call(&caller(&ca, None, &b, "SERVER_ONLY", &mutual)).await;
    assert!(status == 403 && body.contains(r#""cause":"no_certificate""#), "{status} {body}");
    // One that is told late that callers are asked has its certificate at hand.
    let (status, body) = call(&caller(&ca, Some("a"), &b, "SERVER_ONLY", &mutual)).await;
    assert!(status == 200 && body.contains(&format!("URI={}", id("a"))), "{status} {body}");
    mutual.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_proves_nothing_is_none_of_those_that_a_rule_names() {
    let (ca, application) = (Ca::new(), application().await);
    let b = id("b");
    let named = server(&ca, application, "SERVER_ONLY", only("a"));
    let (status, body) = call(&caller(&ca, Some("a"), &b, "SERVER_ONLY", &named)).await;
    assert!(status == 403 && body.contains(r#""cause":"not_authorized""#), "{status} {body}");
    named.handle.stop();
    // The twin: the same rule, and the caller proves who it is.
    let named = server(&ca, application, "MUTUAL", only("a"));
    assert_eq!(call(&caller(&ca, Some("a"), &b, "MUTUAL", &named)).await.0, 200);
    named.handle.stop();
}
