//! Who is refused at an inbound port, and that the check is what refuses.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bowline_proxy::{Direction, Flag, HandshakeFailure, Metrics};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::{
    harness::{Ca, Leaf, Proxy, eventually, id, identity, inbound, outbound},
    http::{application, get},
};

async fn server(ca: &Ca, application: SocketAddr) -> Proxy {
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", application, &[&id("a")]));
    Proxy::start(&resources)
}

/// A calling sidecar with that certificate, and the status of one call.
async fn call(
    ca: &Ca,
    certificate: &(PathBuf, PathBuf),
    expected: &str,
    server: &Proxy,
) -> (u16, String, Arc<Metrics>) {
    let mut resources = vec![ca.trust(), identity("mesh", certificate)];
    resources.extend(outbound("HTTP", expected, &[server.address("in")]));
    let client = Proxy::start(&resources);
    let (status, _, body) = get(client.address("out"), "/headers").await;
    let metrics = client.handle.metrics();
    client.handle.stop();
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned(), metrics)
}

fn refused(server: &Proxy, cause: HandshakeFailure) -> u64 {
    server.handle.metrics().handshake_failures(Direction::Inbound, cause)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_judged_by_its_certificate() {
    let (ca, other_ca) = (Ca::new(), Ca::new());
    let server = server(&ca, application().await).await;
    let b = id("b");

    // The twin of all that follow: the same call, and nothing wrong with it.
    let good = ca.issue("good", &Leaf::of(&id("a")));
    assert_eq!(call(&ca, &good, &b, &server).await.0, 200);

    let expired = ca.issue("expired", &Leaf { expired: true, ..Leaf::of(&id("a")) });
    let (status, body, metrics) = call(&ca, &expired, &b, &server).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("CertificateExpired"), "a refusal can be read: {body}");
    assert!(refused(&server, HandshakeFailure::Expired) >= 1);
    assert!(metrics.upstream_handshake_failures("service", HandshakeFailure::RefusedByPeer) >= 1);

    let untrusted = other_ca.issue("untrusted", &Leaf::of(&id("a")));
    assert_eq!(call(&ca, &untrusted, &b, &server).await.0, 403);
    assert!(refused(&server, HandshakeFailure::UnknownCa) >= 1);

    let stranger = ca.issue("stranger", &Leaf::of(&id("stranger")));
    let (status, body, _) = call(&ca, &stranger, &b, &server).await;
    assert!(status == 403 && body.contains(r#""cause":"not_authorized""#), "{status} {body}");
    assert!(server.handle.metrics().flagged(Direction::Inbound, Flag::UnauthorizedExternalService) >= 1);

    // The server is judged, too: it is b, and someone else was expected.
    let (status, body, metrics) = call(&ca, &good, &id("c"), &server).await;
    assert_eq!(status, 503, "{body}");
    assert!(metrics.upstream_handshake_failures("service", HandshakeFailure::WrongIdentity) >= 1);
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_at_once() {
    let ca = Ca::new();
    let application = application().await;
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let a = ca.issue("a", &Leaf { serial: 0xbad, ..Leaf::of(&id("a")) });
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", application, &[&id("a")]));
    let server = Proxy::start(&resources);
    let mut calls = vec![ca.trust(), identity("mesh", &a)];
    calls.extend(outbound("HTTP", &id("b"), &[server.address("in")]));
    let client = Proxy::start(&calls);
    assert_eq!(get(client.address("out"), "/headers").await.0, 200);
    resources.push(json!({"revocation": {"name": crate::harness::TRUST_DOMAIN, "serials": ["bad"]}}));
    server.write(&resources);
    server.handle.reload().expect("applied");
    // The connection that is open already, and then a new one.
    assert_eq!(get(client.address("out"), "/headers").await.0, 403);
    client.handle.stop();
    let client = Proxy::start(&calls);
    assert_eq!(get(client.address("out"), "/headers").await.0, 403);
    assert!(refused(&server, HandshakeFailure::Revoked) >= 1);
    client.handle.stop();
    server.handle.stop();
}

pub(crate) async fn openssl(server: SocketAddr, ca: &Ca, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect", &server.to_string(), "-alpn", "h2", "-ign_eof"])
        .arg("-CAfile")
        .arg(ca.directory.path().join("root.pem"))
        .args(more)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(3), command.output()).await;
    match output {
        Ok(output) => {
            let output = output.expect("openssl runs");
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        }
        // The server keeps the connection: it was accepted.
        Err(_) => "accepted".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_old_tls_and_no_certificate_are_refused_and_counted() {
    let ca = Ca::new();
    let server = server(&ca, application().await).await;
    let address = server.address("in");

    let mut plain = TcpStream::connect(address).await.expect("connected");
    plain.write_all(b"GET /headers HTTP/1.1\r\nhost: b\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    eventually("plaintext is counted", || refused(&server, HandshakeFailure::Plaintext) == 1);

    let (chain, key) = ca.issue("a", &Leaf::of(&id("a")));
    let (chain, key) = (chain.to_string_lossy().into_owned(), key.to_string_lossy().into_owned());
    let with_certificate = ["-cert", &chain, "-key", &key];
    // The twin: TLS 1.3 with a certificate is accepted.
    assert_eq!(openssl(address, &ca, &[&with_certificate[..], &["-tls1_3"]].concat()).await, "accepted");
    let text = openssl(address, &ca, &[&with_certificate[..], &["-tls1_2"]].concat()).await;
    assert!(text.contains("alert protocol version"), "{text}");
    eventually("TLS 1.2 is counted", || refused(&server, HandshakeFailure::TlsVersion) == 1);
    let text = openssl(address, &ca, &["-tls1_3"]).await;
    assert!(text.contains("certificate required"), "{text}");
    eventually("no certificate is counted", || refused(&server, HandshakeFailure::NoClientCertificate) == 1);

    let (chain, key) = ca.issue("two", &Leaf { uris: vec![id("a"), id("x")], ..Leaf::of("") });
    let (chain, key) = (chain.to_string_lossy().into_owned(), key.to_string_lossy().into_owned());
    assert_ne!(openssl(address, &ca, &["-tls1_3", "-cert", &chain, "-key", &key]).await, "accepted");
    eventually("two ids are counted", || refused(&server, HandshakeFailure::WrongIdentity) == 1);
    let text = server.handle.metrics().render();
    assert!(
        text.contains(r#"bowline_handshake_failures_total{direction="inbound",cause="plaintext"} 1"#),
        "{text}"
    );
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_to_speak_first_is_met_when_it_has_spoken() {
    let ca = Ca::new();
    let application = application().await;
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    resources.extend(inbound("HTTP", application, &[&id("a")]));
    let server = Proxy::start(&resources);
    let accepted = |expected: u64| {
        let line = format!("bowline_connections_total{{direction=\"inbound\"}} {expected}\n");
        server.handle.metrics().render().contains(&line)
    };
    let mut client = TcpStream::connect(server.address("in")).await.expect("connected");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(accepted(0), "{}", server.handle.metrics().render());
    client.write_all(b"hello").await.expect("written");
    eventually("the kernel tells of it", || accepted(1));
    // Without TLS anybody may be the first to speak.
    let mut plain = resources.clone();
    plain[2]["listener"]["bind"]["inbound"]["tls"] = json!("PLAINTEXT");
    server.write(&plain);
    server.handle.reload().expect("applied");
    let _silent = TcpStream::connect(server.address("in")).await.expect("connected");
    eventually("it is told of at once", || accepted(2));
    server.write(&resources);
    server.handle.reload().expect("applied");
    let _silent = TcpStream::connect(server.address("in")).await.expect("connected");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(accepted(2));
    eventually("it is told of though it is silent", || accepted(3));
    server.handle.stop();
}

fn gateway(ca: &Ca, server: &Proxy, min_version: &str) -> Vec<Value> {
    let gateway_id = format!("spiffe://{}/gateway/web", crate::harness::TRUST_DOMAIN);
    let own = ca.issue("gateway", &Leaf::of(&gateway_id));
    let public = ca.issue_public("public", "web.elb.localhost");
    let mut resources = vec![ca.trust(), identity("mesh", &own), identity("public", &public)];
    resources.extend(outbound("HTTP", &id("b"), &[server.address("in")]).into_iter().skip(2));
    resources.extend([
        json!({"listener": {"name": "https", "protocol": "HTTP", "route": "https", "bind": {"public": {
            "address": "127.0.0.1", "port": 0, "tls": {"identity": "public", "minVersion": min_version},
        }}}}),
        json!({"listener": {"name": "http", "protocol": "HTTP", "route": "http", "bind": {"public": {
            "address": "127.0.0.1", "port": 0,
        }}}}),
        json!({"route": {"name": "https", "rules": [
            {"match": {"hosts": ["web.*"], "paths": ["/headers*", "/echo"]},
             "action": {"forward": {"clusters": [{"cluster": "service", "weight": 1}], "requestTimeoutMs": 5000}}},
            {"match": {"paths": ["/fixed"]},
             "action": {"fixedResponse": {"status": 418, "contentType": "text/plain", "body": "short"}}},
        ]}}),
        json!({"route": {"name": "http", "rules": [
            {"action": {"redirect": {"protocol": "HTTPS", "port": "443", "status": 301}}},
        ]}}),
    ]);
    resources
}

pub(crate) async fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "5"])
        .args(arguments)
        .output()
        .await
        .expect("curl runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_serves_https_rules_and_redirects() {
    let ca = Ca::new();
    let b = ca.issue("b", &Leaf::of(&id("b")));
    let mut resources = vec![ca.trust(), identity("mesh", &b)];
    let gateway_id = format!("spiffe://{}/gateway/web", crate::harness::TRUST_DOMAIN);
    resources.extend(inbound("HTTP", application().await, &[&gateway_id]));
    let server = Proxy::start(&resources);
    let proxy = Proxy::start(&gateway(&ca, &server, "1.2"));
    let port = proxy.address("https").port();
    let root = ca.directory.path().join("root.pem").to_string_lossy().into_owned();
    let resolve = format!("web.elb.localhost:{port}:127.0.0.1");
    let base = ["--cacert", &root, "--resolve", &resolve];
    let url = |path: &str| format!("https://web.elb.localhost:{port}{path}");

    for version in ["--http1.1", "--http2", "--tls-max=1.2"] {
        let tls12 = ["--tls-max", "1.2"];
        let version = if version.starts_with("--tls") { &tls12[..] } else { &[version][..] };
        let text = curl(&[&base[..], version, &[&url("/headers?q=1")]].concat()).await;
        assert!(text.contains("200"), "{version:?}: {text}");
        assert!(text.contains("\"x-forwarded-for\": \"127.0.0.1\""), "{text}");
        assert!(
            text.contains("\"x-forwarded-proto\": \"https\"") && text.contains("x-amzn-trace-id"),
            "{text}"
        );
        assert!(text.contains(&format!("URI={gateway_id}")), "{text}");
    }
    let text = curl(&[&base[..], &[&url("/fixed")]].concat()).await;
    assert!(text.contains("418") && text.ends_with("short"), "{text}");
    let text = curl(&[&base[..], &[&url("/other")]].concat()).await;
    assert!(text.contains("404"), "{text}");
    let text = curl(&[&format!("http://127.0.0.1:{}/a/b?c=d", proxy.address("http").port())]).await;
    assert!(text.contains("301") && text.contains("location: https://127.0.0.1/a/b?c=d"), "{text}");
    proxy.handle.stop();

    // A listener that wants 1.3 does not take 1.2.
    let proxy = Proxy::start(&gateway(&ca, &server, "1.3"));
    let port = proxy.address("https").port();
    let resolve = format!("web.elb.localhost:{port}:127.0.0.1");
    let url = format!("https://web.elb.localhost:{port}/headers");
    let base = ["--cacert", &root, "--resolve", &resolve, &url];
    assert!(curl(&base).await.contains("200"));
    let text = curl(&[&base[..], &["--tls-max", "1.2"]].concat()).await;
    assert!(text.contains("alert protocol version"), "{text}");
    let text = curl(&[&format!("http://web.elb.localhost:{port}/headers"), "--resolve", &resolve]).await;
    assert!(text.starts_with("curl:"), "{text}");
    let refused = |cause| proxy.handle.metrics().handshake_failures(Direction::Public, cause);
    assert_eq!(refused(HandshakeFailure::TlsVersion), 1);
    eventually("plaintext is counted", || refused(HandshakeFailure::Plaintext) == 1);
    proxy.handle.stop();
    server.handle.stop();
}

/// The subject alternative names of the certificate that is shown to who asks for `name`.
async fn names_shown(server: SocketAddr, name: Option<&str>) -> String {
    let address = server.to_string();
    let mut arguments = vec!["s_client", "-connect", &address, "-showcerts"];
    match name {
        Some(name) => arguments.extend(["-servername", name]),
        None => arguments.push("-noservername"),
    }
    let output = Command::new("openssl")
        .args(&arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let from = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("no certificate: {text}"));
    let der = rustls_pki_types::pem::PemObject::from_pem_slice(text[from..].as_bytes());
    let der: rustls_pki_types::CertificateDer<'static> = der.expect("a certificate");
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("readable");
    let names = parsed.subject_alternative_name().expect("readable").expect("there are names");
    names.value.general_names.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_shows_the_certificate_that_is_asked_for_and_another_when_it_is_replaced() {
    let ca = Ca::new();
    let server = server(&ca, application().await).await;
    let names = ["web.elb.localhost", "a.example", "*.example", "x.a.example"];
    let identities = |of: &[usize]| -> Vec<Value> {
        let mut resources = gateway(&ca, &server, "1.2");
        for index in of {
            let files = ca.issue_public(&format!("public-{index}"), names[*index]);
            resources.push(identity(&format!("acm:{index}"), &files));
        }
        for resource in resources.iter_mut().filter(|resource| resource["listener"]["name"] == "https") {
            let tls = &mut resource["listener"]["bind"]["public"]["tls"];
            tls["identity"] = format!("acm:{}", of[0]).into();
            let more = of[1..].iter().map(|index| format!("acm:{index}"));
            tls["moreIdentities"] = more.chain(["public".into()]).collect();
        }
        resources
    };
    let proxy = Proxy::start(&identities(&[1, 2]));
    let address = proxy.address("https");
    let shown = |name: Option<&'static str>| names_shown(address, name);
    for (asked, name) in [
        (Some("a.example"), "a.example"),
        (Some("A.EXAMPLE"), "a.example"),
        (Some("b.example"), "*.example"),
        (Some("web.elb.localhost"), "web.elb.localhost"),
        // A wildcard stands for one label; who asks for nothing that is here gets the first.
        (Some("x.a.example"), "a.example"),
        (Some("example"), "a.example"),
        (None, "a.example"),
    ] {
        assert_eq!(shown(asked).await, format!("DNSName({name})"), "{asked:?}");
    }
    // Swapped live: the socket is the same.
    proxy.write(&identities(&[3, 2]));
    proxy.handle.reload().expect("applied");
    assert_eq!(proxy.address("https"), address);
    assert_eq!(shown(Some("x.a.example")).await, "DNSName(x.a.example)");
    assert_eq!(shown(Some("a.example")).await, "DNSName(*.example)");
    proxy.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_connects_before_a_certificate_is_replaced_and_speaks_after_it_is_shown_the_new_one() {
    let ca = Ca::new();
    let server = server(&ca, application().await).await;
    let proxy = Proxy::start(&gateway(&ca, &server, "1.2"));
    // openssl says all it has at once, so something goes between that has connected before.
    let early = TcpStream::connect(proxy.address("https")).await.expect("connected");
    let line = "bowline_connections_total{direction=\"public\"} 1\n";
    eventually("it is accepted", || proxy.handle.metrics().render().contains(line));
    let mut replaced = gateway(&ca, &server, "1.2");
    let files = ca.issue_public("later", "later.elb.localhost");
    replaced.push(identity("later", &files));
    for resource in replaced.iter_mut().filter(|resource| resource["listener"]["name"] == "https") {
        resource["listener"]["bind"]["public"]["tls"]["identity"] = "later".into();
    }
    proxy.write(&replaced);
    proxy.handle.reload().expect("applied");
    assert_eq!(names_shown(behind(early).await, None).await, "DNSName(later.elb.localhost)");

    // Where nothing is shown any more, who speaks late is not left waiting.
    let early = TcpStream::connect(proxy.address("https")).await.expect("connected");
    let line = "bowline_connections_total{direction=\"public\"} 2\n";
    eventually("it is accepted", || proxy.handle.metrics().render().contains(line));
    replaced.retain(|resource| resource["listener"]["name"] != "https");
    proxy.write(&replaced);
    proxy.handle.reload().expect("applied");
    let text = curl(&["--insecure", &format!("https://{}", behind(early).await)]).await;
    assert!(text.contains("curl: (35)"), "{text}");
    eventually("it is counted", || {
        proxy.handle.metrics().handshake_failures(Direction::Public, HandshakeFailure::NotReady) == 1
    });
    proxy.handle.stop();
    server.handle.stop();
}

/// An address whose first connection goes on over `stream`.
async fn behind(mut stream: TcpStream) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        // How it ends is the client's business.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
    });
    address
}
