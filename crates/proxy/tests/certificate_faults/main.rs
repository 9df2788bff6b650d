//! Each fault of a certificate, shown to a real sidecar by a client and by a server: what the
//! application, the access log, the counters and the log say. `docs/src/certificate-faults.md` is
//! what this test saw; `BOWLINE_UPDATE=1` writes it anew.
//!
//! A binary of its own: the log is the whole process's.

#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
mod harness;
mod kit;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_proxy::{AccessLogTarget, ProxyOptions};
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use harness::{Proxy, TRUST_DOMAIN, eventually, id, identity, inbound, outbound};
use kit::{Fault, Kit, Material, REVOKED_SERIAL};

const LIMIT: Duration = Duration::from_secs(10);
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/certificate-faults.md");

/// The process's log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn clear(&self) {
        self.0.lock().expect("not poisoned").clear();
    }

    /// The first line with one of the texts, without addresses.
    fn line_with(&self, texts: &[&str]) -> Option<String> {
        let bytes = self.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = text.lines().find(|line| texts.iter().any(|text| line.contains(text)))?;
        let words = line
            .split(' ')
            .filter(|word| !["peer=", "upstream=", "source="].iter().any(|prefix| word.starts_with(prefix)));
        Some(words.collect::<Vec<_>>().join(" ").trim().to_owned())
    }
}

/// An application that answers everything.
async fn application() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4_096];
                while let Ok(1..) = stream.read(&mut head).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Calls a sidecar as its application does: the status, and the cause in the body.
async fn call(address: SocketAddr) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET / HTTP/1.1\r\nhost: service:{}\r\nconnection: close\r\n\r\n", address.port());
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("in time").expect("read");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let cause = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|body| Some(format!("{}: {}", body["refused"].as_str()?, body["cause"].as_str()?)));
    (status, cause.unwrap_or_default())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The material as it is, matching or not.
fn shown(material: &Material) -> Arc<SingleCertAndKey> {
    let key = PrivateKeyDer::from_pem_slice(material.key_pem.as_bytes()).expect("a key");
    let key = provider().key_provider.load_private_key(key).expect("it can sign");
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(material.chain(), key)))
}

/// Believes every server: only what the server says matters here.
#[derive(Debug)]
struct Believes;

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What a client without a sidecar reads of the server's refusal: the alert's name.
async fn direct(address: SocketAddr, fault: Fault, material: &Material) -> String {
    let stream = TcpStream::connect(address).await.expect("connected");
    if fault == Fault::Plaintext {
        let mut stream = stream;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: b\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        // A reset says no less than an end.
        let _ = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("closed");
        // RFC 8446 §5.1: 21 is an alert.
        return match answer.first() {
            Some(21) => format!("alert {}", answer.get(6).copied().unwrap_or_default()),
            _ => "closed".to_owned(),
        };
    }
    let versions = if fault == Fault::OldTls { &[&TLS12][..] } else { &[&TLS13][..] };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believes))
        .with_client_cert_resolver(shown(material));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    let name = ServerName::IpAddress(address.ip().into());
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let outcome = match handshake {
        Err(error) => Err(error),
        Ok(mut stream) => {
            let mut first = [0; 9];
            timeout(LIMIT, stream.read(&mut first)).await.expect("in time").map(drop)
        }
    };
    match outcome {
        Ok(()) => "accepted".to_owned(),
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => format!("alert {alert:?}"),
            _ => format!("closed ({})", error.kind()),
        },
    }
}

/// A server of the hop's protocol that shows the material to whoever connects.
async fn faulty_server(fault: Fault, material: &Material) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    let versions = if fault == Fault::OldTls { &[&TLS12][..] } else { &[&TLS13][..] };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(shown(material));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if fault == Fault::Plaintext {
                    // What a server without TLS says to a ClientHello.
                    let mut hello = [0; 4_096];
                    let _ = stream.read(&mut hello).await;
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
                    return;
                }
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                }
            });
        }
    });
    address
}

/// The counters of refusals that are not 0, without the cluster's name.
fn counted(proxy: &Proxy) -> String {
    let text = proxy.handle.metrics().render();
    let names = ["handshake_failures_total{", "identity_refusals_total{"];
    // By whom each service's rows count; the cause is in the others.
    let lines = text.lines().filter(|line| !line.starts_with("bowline_service_"));
    let lines = lines.filter(|line| names.iter().any(|name| line.contains(name)));
    let nonzero = lines.filter_map(|line| line.rsplit_once(' ').filter(|(_, value)| *value != "0"));
    let all: Vec<_> = nonzero.map(|(name, _)| name.replace("cluster=\"service\",", "")).collect();
    all.join(" ")
}

/// A row of the page.
struct Row {
    fault: &'static str,
    direct: Option<String>,
    application: String,
    flag: String,
    metrics: String,
    log: String,
}

impl Row {
    fn cells(&self) -> String {
        let code = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
        let direct = self.direct.iter().map(|text| format!("{text} | ")).collect::<String>();
        let metrics = self.metrics.split(' ').map(code).collect::<Vec<_>>().join("<br>");
        format!(
            "| {} | {direct}{} | {} | {metrics} | {} |\n",
            self.fault,
            self.application,
            code(&self.flag),
            code(&self.log)
        )
    }
}

struct World {
    kit: Kit,
    directory: tempfile::TempDir,
    application: SocketAddr,
    log: Log,
}

impl World {
    fn resources(&self, material: &Material, file: &str) -> Vec<Value> {
        let (chain, key) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        std::fs::write(&chain, &material.chain_pem).expect("written");
        std::fs::write(&key, &material.key_pem).expect("written");
        vec![
            json!({"trust": {"name": TRUST_DOMAIN, "rootsPem": self.kit.roots_pem}}),
            json!({"revocation": {"name": TRUST_DOMAIN, "serials": [format!("{REVOKED_SERIAL:x}")]}}),
            identity("mesh", &(chain, key)),
        ]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A calling sidecar, and one call through it.
    async fn call_through(&self, material: &Material, to: SocketAddr) -> (Proxy, u16, String, String) {
        let log = self.path(&format!("access-{}", to.port()));
        let mut resources = self.resources(material, &format!("caller-{}", to.port()));
        resources.extend(outbound("HTTP", &id("b"), &[to]));
        let access_log = Some(AccessLogTarget::File(log.clone()));
        let client = Proxy::start_with(&resources, &ProxyOptions { access_log, ..ProxyOptions::default() });
        let (status, cause) = call(client.address("out")).await;
        (client, status, cause, flag_of(&log))
    }

    /// The client shows it: a sidecar where one can have such a certificate, and another client.
    async fn by_client(&self, fault: Fault, name: &'static str) -> Row {
        let server_material = self.kit.make(Fault::None, "b", self.directory.path());
        let mut resources = self.resources(&server_material, "server");
        resources.extend(inbound("HTTP", self.application, &[&id("a")]));
        let material = self.kit.make(fault, "a", self.directory.path());
        // For the counters of one handshake, and the words of the other client.
        let server = Proxy::start(&resources);
        self.log.clear();
        let direct = direct(server.address("in"), fault, &material).await;
        let late = matches!(fault, Fault::None | Fault::WrongSpiffeId);
        let texts = ["refused a connection", "refused a call"];
        if !late {
            eventually("it is logged", || self.log.line_with(&texts).is_some());
        }
        let (metrics, log) = (counted(&server), self.log.line_with(&texts).unwrap_or_default());
        let sidecars =
            !matches!(fault, Fault::WrongName | Fault::KeyMismatch | Fault::Plaintext | Fault::OldTls);
        let mut row = Row {
            fault: name,
            direct: Some(direct),
            application: "a sidecar has no such certificate".to_owned(),
            flag: String::new(),
            metrics,
            log,
        };
        if matches!(fault, Fault::Plaintext | Fault::OldTls) {
            row.application = "a sidecar never does".to_owned();
        }
        if sidecars {
            self.log.clear();
            let (client, status, cause, flag) = self.call_through(&material, server.address("in")).await;
            row.application = [status.to_string(), cause].join(" ").trim().to_owned();
            row.flag = flag;
            if late {
                // Judged for each request, not by the handshake.
                row.metrics = counted(&server);
                row.log = self.log.line_with(&texts).unwrap_or_default();
            }
            client.handle.stop();
        }
        server.handle.stop();
        row
    }

    /// The server shows it.
    async fn by_server(&self, fault: Fault, name: &'static str) -> Row {
        let material = self.kit.make(fault, "b", self.directory.path());
        let caller = self.kit.make(Fault::None, "a", self.directory.path());
        let (address, server) = if fault == Fault::None {
            let mut resources = self.resources(&material, "server");
            resources.extend(inbound("HTTP", self.application, &[&id("a")]));
            let server = Proxy::start(&resources);
            (server.address("in"), Some(server))
        } else {
            (faulty_server(fault, &material).await, None)
        };
        self.log.clear();
        let (client, status, cause, flag) = self.call_through(&caller, address).await;
        let log = self.log.line_with(&["an identity was refused", "handshake failed"]).unwrap_or_default();
        let application = [status.to_string(), cause].join(" ").trim().to_owned();
        let row = Row { fault: name, direct: None, application, flag, metrics: counted(&client), log };
        client.handle.stop();
        if let Some(server) = server {
            server.handle.stop();
        }
        row
    }
}

/// The flag in the one line of an access log.
fn flag_of(log: &Path) -> String {
    let read = || std::fs::read_to_string(log).unwrap_or_default();
    eventually("the access log's line", || read().ends_with('\n'));
    let line: Value = serde_json::from_str(read().lines().next().expect("a line")).expect("JSON");
    match line["response_flags"].as_str() {
        None | Some("-") => String::new(),
        Some(flag) => flag.to_owned(),
    }
}

const HEAD: &str = "\
# Faults of certificates

What a sidecar makes of each fault of a certificate, on both sides of a hop. The page is what the
test `certificate_faults` of the crate `bowline-proxy` saw: it makes each of them, calls real sidecars
with it, and fails where a row is not so. `BOWLINE_UPDATE=1 cargo test -p bowline-proxy --test
certificate_faults` writes the page anew.

The *cause* is the same word in the body that the calling application gets, in the access log's
`identity_refused`, in the counters and in the log. A refused identity is never tried again, and never
counts against an endpoint. A revocation also ends what is open: see [Revocation](revocation.md).

| fault | here |
|---|---|
";

fn page(by_client: &[Row], by_server: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for (_, name, what) in Fault::ALL {
        text.push_str(&format!("| {name} | {what} |\n"));
    }
    text.push_str(
        "\n## The client shows it\n\n\
         Of a client without a sidecar, the first column; the others with a sidecar as the client, where one can \
         have such a certificate. Flag: of the caller's access log. Counters and log: the called sidecar's.\n\n\
         | fault | another client reads | the calling application gets | flag | counters | log line |\n\
         |---|---|---|---|---|---|\n",
    );
    text.extend(by_client.iter().map(Row::cells));
    text.push_str(
        "\n## The server shows it\n\n\
         All of the calling sidecar.\n\n\
         | fault | the calling application gets | flag | counters | log line |\n\
         |---|---|---|---|---|\n",
    );
    text.extend(by_server.iter().map(Row::cells));
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_each_fault_yields() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .init();
    let directory = tempfile::tempdir().expect("a directory");
    let kit = Kit::new(directory.path());
    let world = World { kit, directory, application: application().await, log };
    let (mut by_client, mut by_server) = (Vec::new(), Vec::new());
    for (fault, name, _) in Fault::ALL {
        let (client, server) = (world.by_client(*fault, name).await, world.by_server(*fault, name).await);
        // Whatever the page says: nothing faulty is served, and nothing else is refused.
        let fine = |row: &Row| row.application == "200" && row.metrics.is_empty() && row.log.is_empty();
        for row in [&client, &server] {
            assert_eq!(fine(row), *fault == Fault::None, "{name}: {}", row.cells());
            assert_eq!(row.application.starts_with("200"), *fault == Fault::None, "{name}: {}", row.cells());
        }
        by_client.push(client);
        by_server.push(server);
    }
    let text = page(&by_client, &by_server);
    if std::env::var_os("BOWLINE_UPDATE").is_some() {
        let mut file = std::fs::File::create(PAGE).expect("the page can be written");
        file.write_all(text.as_bytes()).expect("written");
    }
    let kept = std::fs::read_to_string(PAGE).expect("the page is there");
    assert!(kept == text, "docs/src/certificate-faults.md is not what was seen; it would be:\n{text}");
}
