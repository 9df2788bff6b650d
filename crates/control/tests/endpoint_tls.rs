//! The AWS endpoint where others can reach it: by TLS only, and not with the default key.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bowline_control::{
    api::EndpointCertificate,
    control_plane::{ControlConfig, ControlPlane, ServeError},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

const LIMIT: Duration = Duration::from_secs(20);

/// Everything that comes back for `request`.
async fn ask(address: SocketAddr, roots: &RootCertStore, request: &str) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The server need not say goodbye.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn others_reach_it_by_tls_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = ControlConfig { ephemeral: true, ..ControlConfig::new(dir.path()) };
    let control = ControlPlane::start(config).await.expect("it starts");
    let open = || std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    assert!(matches!(control.serve_api(open(), None), Err(ServeError::Plaintext(_))));

    let listener = open();
    let port = listener.local_addr().expect("an address").port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let addresses = BTreeSet::from([address.ip()]);
    let certificate = EndpointCertificate::Own { names: BTreeSet::new(), addresses };
    control.serve_api(listener, Some(certificate)).expect("it serves");

    let mut roots = RootCertStore::empty();
    let ca = std::fs::read(control.gateway_ca_path()).expect("the CA is there");
    roots.add(CertificateDer::from_pem_slice(&ca).expect("PEM")).expect("a certificate");
    let request =
        |head: &str| format!("{head}\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let asked = timeout(LIMIT, ask(address, &roots, &request("POST / HTTP/1.1"))).await.expect("in time");
    let answer = asked.expect("the certificate is for the address");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    // Whoever may reset a server is on its machine.
    let reset = request("POST /_bowline/reset HTTP/1.1");
    let asked = ask(address, &roots, &reset);
    let answer = timeout(LIMIT, asked).await.expect("in time").expect("TLS");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");

    assert!(ask(address, &RootCertStore::empty(), "").await.is_err(), "nobody else vouches for it");
    let mut plain = TcpStream::connect(address).await.expect("it listens");
    plain.write_all(request("POST / HTTP/1.1").as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, plain.read_to_end(&mut answer)).await.expect("in time");
    assert!(!answer.starts_with(b"HTTP"), "plaintext was answered");
    control.shutdown().await;
}
