//! Servers outside the mesh: plain, with TLS that the proxy begins, and refused.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bowline_proxy::HandshakeFailure;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    harness::{Ca, Leaf, Proxy, eventually, id, identity},
    http::get,
};

/// What the servers here speak.
#[derive(Clone, Copy, Debug)]
enum Speaks {
    /// Answers one line with what the handshake said and the line.
    Lines,
    /// Answers each request with its head as it came.
    Http,
}

/// A server outside the mesh; with a certificate it asks for the client's, and takes any or none.
async fn server(speaks: Speaks, tls: Option<(&Ca, &(PathBuf, PathBuf))>) -> SocketAddr {
    let acceptor = tls.map(|(mesh, (chain, key))| {
        let chain = CertificateDer::pem_file_iter(chain).expect("read").map(|c| c.expect("one")).collect();
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(mesh.root_pem.as_bytes()).expect("a root")).expect("added");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .expect("usable");
        TlsAcceptor::from(Arc::new(config))
    });
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else { return answer(speaks, stream, "plain".into()).await };
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let connection = stream.get_ref().1;
                let client = if connection.peer_certificates().is_some() { "a certificate" } else { "none" };
                let seen = format!("{} client={client}", connection.server_name().unwrap_or("-"));
                answer(speaks, stream, seen).await;
            });
        }
    });
    address
}

async fn answer(speaks: Speaks, mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: String) {
    let end: &[u8] = match speaks {
        Speaks::Lines => b"\n",
        Speaks::Http => b"\r\n\r\n",
    };
    let mut received = Vec::new();
    loop {
        match stream.read_u8().await {
            Ok(byte) => received.push(byte),
            Err(_) => return,
        }
        if !received.ends_with(end) {
            continue;
        }
        let text = format!("{seen} {}", String::from_utf8_lossy(&received).to_lowercase());
        received.clear();
        let whole = match speaks {
            Speaks::Lines => text,
            Speaks::Http => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
        };
        if stream.write_all(whole.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A sidecar with a certificate of the mesh, and one name outside of it.
fn resources(ca: &Ca, protocol: &str, security: Value, endpoint: Value) -> Vec<Value> {
    let a = ca.issue("a", &Leaf::of(&id("a")));
    vec![
        ca.trust(),
        identity("mesh", &a),
        json!({"listener": {
            "name": "out", "protocol": protocol, "route": "out", "cluster": "db",
            "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["db"]}},
        }}),
        json!({"route": {"name": "out", "rules": [{"action": {"forward": {
            "clusters": [{"cluster": "db", "weight": 1}], "requestTimeoutMs": 15000, "retry": {"maxRetries": 2},
        }}}]}}),
        json!({"cluster": {
            "name": "db", "protocol": protocol, "connectTimeoutMs": 2000,
            "kind": {"external": {"security": security}},
        }}),
        json!({"endpoints": {"name": "db", "endpoints": [endpoint]}}),
    ]
}

fn tls(roots: &Ca, name: &str) -> Value {
    json!({"tls": {"roots": {"rootsPem": roots.root_pem}, "serverName": name}})
}

fn at(address: SocketAddr) -> Value {
    json!({"address": address.ip().to_string(), "port": address.port()})
}

/// What a line is answered with; empty if the connection is closed instead.
async fn line(proxy: &Proxy) -> String {
    let mut stream = TcpStream::connect(proxy.address("out")).await.expect("connected");
    let _ = stream.write_all(b"ping\n").await;
    let mut answer = Vec::new();
    loop {
        match stream.read_u8().await {
            Ok(b'\n') | Err(_) => return String::from_utf8(answer).expect("UTF-8"),
            Ok(byte) => answer.push(byte),
        }
    }
}

async fn line_with(ca: &Ca, security: Value, endpoint: Value, cause: Option<HandshakeFailure>) -> String {
    let proxy = Proxy::start(&resources(ca, "TCP", security, endpoint));
    let answer = line(&proxy).await;
    if let Some(cause) = cause {
        assert!(proxy.handle.metrics().upstream_handshake_failures("db", cause) >= 1, "{cause:?}");
    }
    proxy.handle.stop();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_begun_for_a_client_that_speaks_plain_tcp() {
    let (mesh, own, other) = (Ca::new(), Ca::new(), Ca::new());
    let certificate = own.issue_public("db", "db.example");
    let server = server(Speaks::Lines, Some((&mesh, &certificate))).await;

    // The twin of those that are refused. The server asked for a certificate: the mesh's stays here.
    let seen = line_with(&mesh, tls(&own, "db.example"), at(server), None).await;
    assert_eq!(seen, "db.example client=none ping");

    // Another key under the same name: it is the signature that does not fit.
    let wrong_ca = Some(HandshakeFailure::BadCertificate);
    assert_eq!(line_with(&mesh, tls(&other, "db.example"), at(server), wrong_ca).await, "");
    assert_eq!(
        line_with(&mesh, tls(&mesh, "db.example"), at(server), wrong_ca).await,
        "",
        "the mesh's roots"
    );
    let system = json!({"tls": {"roots": {"system": {}}, "serverName": "db.example"}});
    assert_eq!(line_with(&mesh, system, at(server), None).await, "", "this machine does not know the CA");

    let wrong_name = Some(HandshakeFailure::WrongIdentity);
    assert_eq!(line_with(&mesh, tls(&own, "other.example"), at(server), wrong_name).await, "");

    // An endpoint's own name stands above its cluster's.
    let mut named = at(server);
    named["serverName"] = json!("db.example");
    let seen = line_with(&mesh, tls(&own, "other.example"), named, None).await;
    assert_eq!(seen, "db.example client=none ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_is_plain_and_refused_is_neither() {
    let mesh = Ca::new();
    let server = server(Speaks::Lines, None).await;
    assert_eq!(line_with(&mesh, json!({"plain": {}}), at(server), None).await, "plain ping");
    // TLS was asked for: a server without it gets nothing in clear.
    assert_eq!(line_with(&mesh, tls(&mesh, "db.example"), at(server), None).await, "");
    let refused = json!({"refused": {"reason": "bowline:tls is neither off nor system"}});
    assert_eq!(line_with(&mesh, refused, at(server), None).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_leaves_the_mesh_carries_the_servers_name_and_nothing_of_the_mesh() {
    let (mesh, own) = (Ca::new(), Ca::new());
    let certificate = own.issue_public("api", "api.example");
    let server = server(Speaks::Http, Some((&mesh, &certificate))).await;
    let proxy = Proxy::start(&resources(&mesh, "HTTP", tls(&own, "api.example"), at(server)));
    let (status, _, body) = get(proxy.address("out"), "/hello").await;
    let seen = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(status, 200, "{seen}");
    assert!(seen.starts_with("api.example client=none get /hello http/1.1"), "{seen}");
    assert!(seen.contains(&format!("host: api.example:{}\r\n", server.port())), "{seen}");
    assert!(!seen.contains("x-request-id") && !seen.contains("x-forwarded"), "{seen}");

    // A kept connection is not used once something else is asked for.
    let refused = json!({"refused": {"reason": "bowline:tls=maybe"}});
    proxy.write(&resources(&mesh, "HTTP", refused, at(server)));
    proxy.handle.reload().expect("applied");
    eventually("refused", || futures_status(&proxy) == (503, true));
    proxy.write(&resources(&mesh, "HTTP", tls(&mesh, "api.example"), at(server)));
    proxy.handle.reload().expect("applied");
    eventually("another CA", || futures_status(&proxy) == (503, false));
    proxy.handle.stop();
}

/// The status of a call, and whether its body says why it is refused.
fn futures_status(proxy: &Proxy) -> (u16, bool) {
    let address = proxy.address("out");
    let (status, _, body) =
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(get(address, "/")));
    (status.as_u16(), String::from_utf8_lossy(&body).contains("bowline:tls=maybe"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_is_resolved_and_followed() {
    let mesh = Ca::new();
    let server = server(Speaks::Http, None).await;
    let named = |name: &str| json!({"hostname": name, "port": server.port()});
    let proxy = Proxy::start(&resources(&mesh, "HTTP", json!({"plain": {}}), named("localhost")));
    eventually("resolved", || futures_status(&proxy).0 == 200);
    let (_, _, body) = get(proxy.address("out"), "/").await;
    let seen = String::from_utf8_lossy(&body).into_owned();
    assert!(seen.contains(&format!("host: localhost:{}\r\n", server.port())), "{seen}");
    proxy.write(&resources(&mesh, "HTTP", json!({"plain": {}}), named("no-such-name.invalid")));
    proxy.handle.reload().expect("applied");
    eventually("leads nowhere", || futures_status(&proxy).0 == 503);
    proxy.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_goes_over_alpn() {
    let (mesh, own) = (Ca::new(), Ca::new());
    // The gateway's public side stands in for a server outside that speaks HTTP/2.
    let certificate = own.issue_public("api", "api.example");
    let gateway = Proxy::start(&[
        identity("public", &certificate),
        json!({"listener": {
            "name": "web", "protocol": "HTTP", "route": "web",
            "bind": {"public": {"address": "127.0.0.1", "port": 0, "tls": {"identity": "public"}}},
        }}),
        json!({"route": {"name": "web", "rules": [
            {"match": {"hosts": ["api.example"]}, "action": {"fixedResponse": {"status": 200, "contentType": "text/plain", "body": "hi"}}},
        ]}}),
    ]);
    let server = gateway.address("web");
    for protocol in ["HTTP2", "GRPC", "HTTP"] {
        let proxy = Proxy::start(&resources(&mesh, protocol, tls(&own, "api.example"), at(server)));
        let (status, _, body) = get(proxy.address("out"), "/").await;
        assert_eq!((status.as_u16(), &body[..]), (200, &b"hi"[..]), "{protocol}");
        proxy.handle.stop();
    }
    gateway.handle.stop();
    // A server that does not choose HTTP/2 is not spoken HTTP/2 to.
    let server = self::server(Speaks::Http, Some((&mesh, &certificate))).await;
    let proxy = Proxy::start(&resources(&mesh, "HTTP2", tls(&own, "api.example"), at(server)));
    assert_eq!(get(proxy.address("out"), "/").await.0, 503);
    assert!(proxy.handle.metrics().upstream_handshake_failures("db", HandshakeFailure::Protocol) >= 1);
    proxy.handle.stop();
}
