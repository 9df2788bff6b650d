//! What the two applications, the log and the counters are told when an identity is refused, and
//! what becomes of what is open when the rules change.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bowline_proxy::{AccessLogTarget, Direction, Flag, ProxyOptions, RefusalCause, RefusedParty};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    harness::{Ca, Leaf, Proxy, TRUST_DOMAIN, eventually, id, identity, inbound, outbound},
    http::{application, full, get, h1, h2, send},
    tls::curl,
};

/// Longest time for anything here.
const LIMIT: Duration = Duration::from_secs(10);

fn server_with(ca: &Ca, protocol: &str, application: SocketAddr, rules: Value) -> (Proxy, Vec<Value>) {
    let resources = server_resources(ca, protocol, application, rules);
    (Proxy::start(&resources), resources)
}

fn server_resources(ca: &Ca, protocol: &str, application: SocketAddr, rules: Value) -> Vec<Value> {
    let mut resources = vec![ca.trust(), identity("mesh", &ca.issue("b", &Leaf::of(&id("b"))))];
    resources.extend(inbound(protocol, application, &[]));
    resources.retain(|resource| resource.get("authorization").is_none());
    resources.push(json!({"authorization": {"name": "callers", "rules": rules}}));
    resources
}

fn allow_a() -> Value {
    json!([{"name": "members", "effect": "ALLOW", "identities": [id("a")]}])
}

fn client_with(
    ca: &Ca,
    protocol: &str,
    certificate: &(PathBuf, PathBuf),
    server: &str,
    endpoints: &[SocketAddr],
) -> (Proxy, PathBuf) {
    let log = certificate.0.with_extension("log");
    let mut resources = vec![ca.trust(), identity("mesh", certificate)];
    resources.extend(outbound(protocol, server, endpoints));
    let access_log = Some(AccessLogTarget::File(log.clone()));
    (Proxy::start_with(&resources, &ProxyOptions { access_log, ..ProxyOptions::default() }), log)
}

/// The last line of an access log, once there are so many.
fn last_line(log: &PathBuf, count: usize) -> Value {
    eventually("the log's lines", || {
        std::fs::read_to_string(log).is_ok_and(|text| text.lines().count() >= count)
    });
    let text = std::fs::read_to_string(log).expect("read");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calling_application_reads_why_its_identity_is_refused() {
    let (ca, other_ca) = (Ca::new(), Ca::new());
    let (_, mut resources) = server_with(&ca, "HTTP", application().await, allow_a());
    resources.push(json!({"revocation": {"name": TRUST_DOMAIN, "serials": ["bad"]}}));
    let servers = [Proxy::start(&resources), Proxy::start(&resources)];
    let endpoints = [servers[0].address("in"), servers[1].address("in")];
    let good = Leaf::of(&id("a"));
    let cases: [(&str, &Ca, Leaf, Option<RefusalCause>); 7] = [
        // The twin of all that follow.
        ("good", &ca, Leaf::of(&id("a")), None),
        ("expired", &ca, Leaf { expired: true, ..Leaf::of(&id("a")) }, Some(RefusalCause::Expired)),
        ("revoked", &ca, Leaf { serial: 0xbad, ..Leaf::of(&id("a")) }, Some(RefusalCause::Revoked)),
        ("unknown", &other_ca, Leaf::of(&id("a")), Some(RefusalCause::UnknownCa)),
        ("chain", &ca, Leaf { client: false, ..good }, Some(RefusalCause::InvalidChain)),
        ("elsewhere", &ca, Leaf::of("spiffe://other.local/x"), Some(RefusalCause::UnknownCa)),
        ("stranger", &ca, Leaf::of(&id("stranger")), Some(RefusalCause::NotAuthorized)),
    ];
    for (name, issuer, leaf, cause) in cases {
        let certificate = issuer.issue(name, &leaf);
        let (client, log) = client_with(&ca, "HTTP", &certificate, &id("b"), &endpoints);
        let refused = |cause: RefusalCause| -> u64 {
            let of = |server: &Proxy| {
                server.handle.metrics().refusals(Direction::Inbound, RefusedParty::Caller, cause)
            };
            servers.iter().map(of).sum()
        };
        let before = cause.map(refused);
        let calls = 8;
        for _ in 0..calls {
            let (status, headers, body) = get(client.address("out"), "/headers").await;
            let text = String::from_utf8_lossy(&body);
            let Some(cause) = cause else {
                assert_eq!(status, 200, "{text}");
                continue;
            };
            assert_eq!(
                (status, &headers["content-type"]),
                (StatusCode::FORBIDDEN, &"application/json".parse().expect("a value")),
                "{name}: {text}"
            );
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(
                (&body["cause"], &body["refused"]),
                (&cause.as_str().into(), &"caller".into()),
                "{body}"
            );
            assert_eq!(body["service"], "service", "{body}");
            assert!(
                body["message"].as_str().is_some_and(|text| text.starts_with("service refuses")),
                "{body}"
            );
        }
        if let Some(cause) = cause {
            let metrics = client.handle.metrics();
            assert_eq!(metrics.refusals(Direction::Outbound, RefusedParty::Caller, cause), calls, "{name}");
            // Neither tried again nor held against anybody.
            let refused = before.map(|before| refused(cause) - before);
            assert_eq!((refused, metrics.retries("service")), (Some(calls), 0), "{name}");
            assert_eq!(metrics.ejections("service"), 0, "{name}");
            let line = last_line(&log, 8);
            assert_eq!(line["identity_refused"], format!("caller:{}", cause.as_str()), "{line}");
            assert_eq!((&line["response_flags"], &line["response_code"]), (&"UAEX".into(), &403.into()));
        }
        client.handle.stop();
    }
    let text = servers[0].handle.metrics().render();
    assert!(
        text.contains(
            r#"bowline_identity_refusals_total{direction="inbound",party="caller",cause="expired"}"#
        ),
        "{text}"
    );
    for server in servers {
        server.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted_is_a_503_with_the_cause() {
    let (ca, other_ca) = (Ca::new(), Ca::new());
    let expired = Leaf { expired: true, ..Leaf::of(&id("b")) };
    let cases: [(&str, &Ca, Leaf, &str, RefusalCause); 3] = [
        ("b-expired", &ca, expired, "b", RefusalCause::Expired),
        ("b-unknown", &other_ca, Leaf::of(&id("b")), "b", RefusalCause::UnknownCa),
        ("b-other", &ca, Leaf::of(&id("b")), "c", RefusalCause::WrongIdentity),
    ];
    for (name, issuer, leaf, expected, cause) in cases {
        let mut resources = vec![ca.trust(), identity("mesh", &issuer.issue(name, &leaf))];
        resources.extend(inbound("HTTP", application().await, &[&id("a")]));
        let server = Proxy::start(&resources);
        let a = ca.issue("a", &Leaf::of(&id("a")));
        let (client, log) = client_with(&ca, "HTTP", &a, &id(expected), &[server.address("in")]);
        let (status, _, body) = get(client.address("out"), "/headers").await;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((status.as_u16(), &body["cause"]), (503, &cause.as_str().into()), "{body}");
        assert_eq!(body["refused"], "server", "{body}");
        let metrics = client.handle.metrics();
        assert_eq!(metrics.refusals(Direction::Outbound, RefusedParty::Server, cause), 1);
        assert_eq!((metrics.retries("service"), metrics.ejections("service")), (0, 0));
        let line = last_line(&log, 1);
        assert_eq!(line["response_flags"], "UF", "{line}");
        eventually("the server reads it, too", || {
            server.handle.metrics().refusals(Direction::Inbound, RefusedParty::Server, cause) == 1
                || cause == RefusalCause::WrongIdentity
        });
        client.handle.stop();
        server.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_caller_gets_a_close_and_a_grpc_caller_a_status() {
    let ca = Ca::new();
    let expired = ca.issue("expired", &Leaf { expired: true, ..Leaf::of(&id("a")) });
    let (server, _) = server_with(&ca, "TCP", application().await, allow_a());
    let (client, log) = client_with(&ca, "TCP", &expired, &id("b"), &[server.address("in")]);
    let mut stream = TcpStream::connect(client.address("out")).await.expect("connected");
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("closed");
    assert!(answer.is_empty());
    let line = last_line(&log, 1);
    assert_eq!(line["identity_refused"], "caller:expired", "{line}");
    assert_eq!(line["connection_termination_details"], "the server refuses this caller", "{line}");
    client.handle.stop();
    server.handle.stop();

    let (server, _) = server_with(&ca, "GRPC", application().await, allow_a());
    let (client, _) = client_with(&ca, "GRPC", &expired, &id("b"), &[server.address("in")]);
    let uri = format!("http://service-b-sc:{}/grpc", client.address("out").port());
    let request =
        Request::post(uri).header("content-type", "application/grpc").body(full("")).expect("a request");
    let response = h2(client.address("out")).await.send_request(request).await.expect("a response");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"7".parse().expect("a value"))
    );
    let message = response.headers()["grpc-message"].to_str().expect("text");
    assert!(message.contains("expired"), "{message}");
    client.handle.stop();
    server.handle.stop();
}

/// A server of HTTP/2 over TLS that says nothing at first.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_fresh_hop_the_client_writes_nothing_before_the_server() {
    let ca = Ca::new();
    let (chain, key) = ca.issue("b", &Leaf::of(&id("b")));
    let chain = CertificateDer::pem_file_iter(chain).expect("read").map(|one| one.expect("a certificate"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.collect(), PrivateKeyDer::from_pem_file(key).expect("a key"))
        .expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let (client, _) = client_with(&ca, "HTTP", &a, &id("b"), &[socket.local_addr().expect("an address")]);
    let address = client.address("out");
    let call = tokio::spawn(async move { get(address, "/").await });
    let (stream, _) = timeout(LIMIT, socket.accept()).await.expect("in time").expect("accepted");
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.expect("a handshake");
    let mut bytes = [0; 24];
    let early = timeout(Duration::from_millis(200), stream.read(&mut bytes)).await;
    assert!(early.is_err(), "the client wrote before the server had spoken: {bytes:?}");
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("SETTINGS");
    stream.flush().await.expect("flushed");
    timeout(LIMIT, stream.read_exact(&mut bytes)).await.expect("in time").expect("read");
    assert_eq!(&bytes, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    drop(stream);
    call.abort();
    client.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_called_application_is_told_who_calls_and_nobody_forges_it() {
    let ca = Ca::new();
    let application = application().await;
    let (server, _) = server_with(&ca, "HTTP", application, allow_a());
    let (chain, key) = ca.issue("a", &Leaf::of(&id("a")));
    let (chain, key) = (chain.to_string_lossy().into_owned(), key.to_string_lossy().into_owned());
    let forged = [
        "-H",
        "x-ssl-client-verify: forged",
        "-H",
        "x_ssl_client_verify: forged",
        "-H",
        "x-ssl-client-spiffe-id: forged",
        "-H",
        "X-Forwarded-Client-Cert: forged",
    ];
    // The twin: without the sidecar the same headers reach the application.
    let text = curl(&[&forged[..], &[&format!("http://{application}/headers")]].concat()).await;
    assert_eq!(text.matches("forged").count(), 4, "{text}");
    // A caller with a certificate and without a sidecar: the called side's check alone.
    let url = format!("https://{}/headers", server.address("in"));
    let direct = ["--http2", "--insecure", "--cert", &chain, "--key", &key, &url];
    let text = curl(&[&forged[..], &direct].concat()).await;
    for expected in
        ["\"x-ssl-client-verify\": \"SUCCESS\"", &format!("\"x-ssl-client-spiffe-id\": \"{}\"", id("a"))]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains(&format!("By={};Hash=", id("b"))) && !text.contains("forged"), "{text}");
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_path_method_and_address_decide_and_audits_only_count() {
    let ca = Ca::new();
    let rules = json!([
        {"name": "members", "effect": "ALLOW", "identities": [format!("spiffe://{TRUST_DOMAIN}/ns/n/*")]},
        {"name": "no posts", "effect": "DENY", "anyCaller": true, "methods": ["POST"], "paths": ["/echo*"]},
        {"name": "elsewhere", "effect": "DENY", "anyCaller": true, "sourceCidrs": ["192.0.2.0/24"]},
        {"name": "seen", "effect": "AUDIT", "anyCaller": true, "paths": ["/headers"]},
    ]);
    let (server, mut resources) = server_with(&ca, "HTTP", application().await, rules);
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let (client, _) = client_with(&ca, "HTTP", &a, &id("b"), &[server.address("in")]);
    let out = client.address("out");
    let post = |path: &str| Request::post(path).header("host", "b").body(full("x")).expect("a request");
    assert_eq!(get(out, "/headers").await.0, 200);
    assert_eq!(server.handle.metrics().audited(Direction::Inbound), 1);
    assert_eq!(send(out, post("/headers")).await.0, 200);
    for path in ["/echo", "//echo", "/headers/../echo", "/%65cho"] {
        assert_eq!(send(out, post(path)).await.0, 403, "{path}");
    }
    resources.pop();
    resources.push(json!({"authorization": {"name": "callers", "rules": [
        {"name": "here", "effect": "ALLOW", "anyCaller": true, "sourceCidrs": ["127.0.0.0/8"]},
        {"name": "seen", "effect": "AUDIT", "anyCaller": true},
    ]}}));
    server.write(&resources);
    server.handle.reload().expect("applied");
    assert_eq!(send(out, post("/echo")).await.0, 200, "without a restart");
    client.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_when_it_is_not_allowed_any_more() {
    let ca = Ca::new();
    let (server, resources) = server_with(&ca, "HTTP", application().await, allow_a());
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let (client, _) = client_with(&ca, "HTTP", &a, &id("b"), &[server.address("in")]);
    let out = client.address("out");

    let request = Request::get("/upgrade").header("host", "b").header("connection", "Upgrade");
    let request = request.header("upgrade", "websocket").body(full("")).expect("a request");
    let response = h1(out).await.send_request(request).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut websocket = TokioIo::new(hyper::upgrade::on(response).await.expect("upgraded"));
    // A stream whose response has begun, and a request that waits for its response.
    let (mut messages, body) =
        futures::channel::mpsc::channel::<Result<http_body::Frame<bytes::Bytes>, hyper::Error>>(1);
    let request = Request::post("/echo").header("host", "b");
    let request = request.body(http_body_util::StreamBody::new(body).boxed()).expect("a request");
    let mut stream = h1(out).await.send_request(request).await.expect("a response").into_body();
    let waiting = tokio::spawn(async move { get(out, "/slow").await });

    // The twin: other rules that still allow it change nothing.
    let with = |rules: Value| {
        let mut resources = resources.clone();
        resources.pop();
        resources.push(json!({"authorization": {"name": "callers", "rules": rules}}));
        server.write(&resources);
        server.handle.reload().expect("applied");
    };
    let allow = json!({"name": "again", "effect": "ALLOW", "identities": [id("a"), id("z")]});
    with(json!([allow]));
    for _ in 0..2 {
        websocket.write_all(b"ping").await.expect("written");
        let mut echo = [0; 4];
        timeout(LIMIT, websocket.read_exact(&mut echo)).await.expect("in time").expect("read");
        messages.try_send(Ok(http_body::Frame::data("one".into()))).expect("sent");
        let frame =
            timeout(LIMIT, stream.frame()).await.expect("in time").expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "one");
    }

    with(
        json!([allow, {"name": "not these", "effect": "DENY", "anyCaller": true, "paths": ["/upgrade", "/echo", "/slow"]}]),
    );
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, websocket.read_to_end(&mut rest)).await.expect("the WebSocket ends");
    let ended = timeout(LIMIT, stream.frame()).await.expect("the stream ends");
    assert!(ended.is_none_or(|frame| frame.is_err()), "it was cut off");
    let (status, _, body) = timeout(LIMIT, waiting).await.expect("in time").expect("answered");
    assert!(status == 403 && body.ends_with(b"}"), "{status} {body:?}");
    // The rest of what the caller may do goes on.
    assert_eq!(get(out, "/headers").await.0, 200);
    eventually("each is counted", || {
        let cause = RefusalCause::NotAuthorized;
        server.handle.metrics().refusals(Direction::Inbound, RefusedParty::Caller, cause) == 3
    });
    client.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tcp_connection_ends_when_it_is_not_allowed_any_more() {
    let ca = Ca::new();
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let (server, mut resources) = server_with(&ca, "TCP", socket.local_addr().expect("one"), allow_a());
    let a = ca.issue("a", &Leaf::of(&id("a")));
    let (client, _) = client_with(&ca, "TCP", &a, &id("b"), &[server.address("in")]);
    let mut stream = TcpStream::connect(client.address("out")).await.expect("connected");
    let (mut application, _) = timeout(LIMIT, socket.accept()).await.expect("in time").expect("accepted");
    stream.write_all(b"ping").await.expect("written");
    let mut bytes = [0; 4];
    timeout(LIMIT, application.read_exact(&mut bytes)).await.expect("in time").expect("read");
    resources.pop();
    resources.push(json!({"authorization": {"name": "callers", "rules": []}}));
    server.write(&resources);
    server.handle.reload().expect("applied");
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("the caller's side ends");
    let _ = timeout(LIMIT, application.read_to_end(&mut rest)).await.expect("the application's side ends");
    eventually("it is flagged", || {
        server.handle.metrics().flagged(Direction::Inbound, Flag::UnauthorizedExternalService) == 1
    });
    client.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outside_learns_nothing_of_the_meshs_identities() {
    let ca = Ca::new();
    let (server, _) = server_with(&ca, "HTTP", application().await, allow_a());
    let gateway = ca.issue("gateway", &Leaf::of(&format!("spiffe://{TRUST_DOMAIN}/gateway/web")));
    let mut resources = vec![ca.trust(), identity("mesh", &gateway)];
    resources.extend(outbound("HTTP", &id("b"), &[server.address("in")]).into_iter().skip(1));
    resources.push(
        json!({"listener": {"name": "http", "protocol": "HTTP", "route": "out", "bind": {"public": {
            "address": "127.0.0.1", "port": 0,
        }}}}),
    );
    let proxy = Proxy::start(&resources);
    let (status, headers, body) = get(proxy.address("http"), "/headers").await;
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, 503, "{text}");
    assert!(
        !text.contains("not_authorized") && !headers.contains_key("x-bowline-refusal"),
        "{headers:?} {text}"
    );
    let refusals =
        proxy.handle.metrics().refusals(Direction::Public, RefusedParty::Caller, RefusalCause::NotAuthorized);
    assert_eq!(refusals, 1, "the operator's counter has it");
    proxy.handle.stop();
    server.handle.stop();
}
