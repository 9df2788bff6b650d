//! A request through both sidecars in one process: client, calling sidecar, mutual TLS, called sidecar, application.
//!
//! Client and application are threads that write bytes which are ready and read until an end that is known: some
//! hundred instructions of the whole. Cryptography is in it; valgrind offers the same instructions of AES on any
//! machine that has AVX2.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use bowline_proxy::{ProxyHandle, ProxyOptions, start_from_file};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// At a time, for [`of_many`].
const MANY: u64 = 32;
const BODY_BYTES: usize = 1_024;
/// The last bytes of each response.
const END: &[u8] = b"<end>\n";
/// Neither side waits longer.
const PATIENCE: Duration = Duration::from_secs(60);

const REQUEST: &[u8] = b"GET /v1/things?of=mine HTTP/1.1\r\n\
    host: service-b-sc:8202\r\n\
    accept: */*\r\n\
    accept-encoding: gzip, deflate\r\n\
    user-agent: python-httpx/0.27.0\r\n\r\n";

pub(crate) fn alone(times: u64) -> anyhow::Result<()> {
    requests(times, 1)
}

pub(crate) fn of_many(times: u64) -> anyhow::Result<()> {
    requests(times, MANY)
}

/// So many requests, of which so many go out before the first answer is waited for.
fn requests(times: u64, at_a_time: u64) -> anyhow::Result<()> {
    let pair = Pair::start(application()?)?;
    let mut clients = Vec::new();
    for _ in 0..at_a_time {
        let client = TcpStream::connect(pair.entrance)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_nodelay(true)?;
        clients.push(client);
    }
    let mut buffer = [0; 4 * BODY_BYTES];
    for _ in 0..times / at_a_time {
        for client in &mut clients {
            client.write_all(REQUEST)?;
        }
        for client in &mut clients {
            let response = read_until(client, END, &mut buffer)?.context("a connection ended")?;
            ensure!(response.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(response));
        }
    }
    Ok(())
}

/// Reads until what came ends so; none at the connection's end.
fn read_until<'a>(
    stream: &mut TcpStream,
    end: &[u8],
    buffer: &'a mut [u8],
) -> anyhow::Result<Option<&'a [u8]>> {
    let mut length = 0;
    while !buffer[..length].ends_with(end) {
        let room = buffer.get_mut(length..).filter(|room| !room.is_empty()).context("too long")?;
        match stream.read(room) {
            Ok(0) => return Ok(None),
            Ok(read) => length += read,
            // Valgrind interrupts threads to let others run.
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(&buffer[..length]))
}

/// A server that answers each request with the same.
fn application() -> anyhow::Result<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    let body = [vec![b'x'; BODY_BYTES - END.len()], END.to_vec()].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: application\r\ncontent-type: application/json\r\n\
         date: Sun, 22 Nov 2026 06:40:01 GMT\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
    );
    let response = [head.into_bytes(), body].concat();
    thread::spawn(move || {
        for stream in socket.incoming() {
            let (Ok(mut stream), response) = (stream, response.clone()) else { return };
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(Some(_)) = read_until(&mut stream, b"\r\n\r\n", &mut buffer) {
                    if stream.write_all(&response).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Two sidecars.
struct Pair {
    entrance: SocketAddr,
    _proxies: [ProxyHandle; 2],
    _folder: TempDir,
}

impl Pair {
    fn start(application: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ca = Ca::new()?;
        let inbound = json!([
            ca.trust(),
            ca.identity(folder.path(), "b")?,
            {"listener": {
                "name": "in", "protocol": "HTTP", "route": "in", "cluster": "app",
                "bind": {"inbound": {"portName": "web", "address": "127.0.0.1", "port": 0, "authorization": "callers"}},
            }},
            {"authorization": {"name": "callers", "rules": [
                {"name": "members", "effect": "ALLOW", "identities": [id("a")]},
            ]}},
            route("in", "app", &json!({})),
            {"cluster": {"name": "app", "protocol": "HTTP", "kind": {"local": {
                "address": application.ip().to_string(), "port": application.port(),
            }}}},
        ]);
        let called = proxy(folder.path(), "b", &inbound)?;
        let there = called.address("in").context("the called sidecar does not listen")?;
        let outbound = json!([
            ca.trust(),
            ca.identity(folder.path(), "a")?,
            {"listener": {
                "name": "out", "protocol": "HTTP", "route": "out", "cluster": "service",
                "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["service-b-sc"]}},
            }},
            route("out", "service", &json!({"maxRetries": 2})),
            {"cluster": {
                "name": "service", "protocol": "HTTP", "connectTimeoutMs": 10_000,
                "kind": {"mesh": {"identities": [id("b")]}},
                "outlierDetection": {"consecutiveFailures": 5},
            }},
            {"endpoints": {"name": "service", "endpoints": [
                {"address": there.ip().to_string(), "port": there.port(), "taskId": "b"},
            ]}},
        ]);
        let calling = proxy(folder.path(), "a", &outbound)?;
        let entrance = calling.address("out").context("the calling sidecar does not listen")?;
        Ok(Self { entrance, _proxies: [called, calling], _folder: folder })
    }
}

fn route(name: &str, cluster: &str, retry: &Value) -> Value {
    json!({"route": {"name": name, "rules": [{"action": {"forward": {
        "clusters": [{"cluster": cluster, "weight": 1}], "requestTimeoutMs": 60_000, "retry": retry,
    }}}]}})
}

fn proxy(folder: &Path, name: &str, resources: &Value) -> anyhow::Result<ProxyHandle> {
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, json!({"node": name, "resources": resources}).to_string())?;
    Ok(start_from_file(&file, &ProxyOptions::default())?)
}

fn id(service: &str) -> String {
    format!("spiffe://example/ns/n/cluster/c/svc/{service}")
}

/// An authority for both sidecars.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) root_pem: String,
}

impl Ca {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    fn trust(&self) -> Value {
        json!({"trust": {"name": "example", "rootsPem": self.root_pem}})
    }

    /// A service's certificate and its key, in PEM.
    pub(super) fn issue(&self, service: &str) -> anyhow::Result<[String; 2]> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, service);
        params.subject_alt_names = vec![SanType::URI(id(service).try_into()?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok([params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()])
    }

    fn identity(&self, folder: &Path, service: &str) -> anyhow::Result<Value> {
        let [certificate, key] = self.issue(service)?;
        let (chain, private) = (folder.join(format!("{service}.pem")), folder.join(format!("{service}.key")));
        std::fs::write(&chain, certificate)?;
        std::fs::write(&private, key)?;
        Ok(json!({"identity": {"name": "mesh", "source": {"files": {
            "certificateChain": chain, "privateKey": private,
        }}}}))
    }
}
