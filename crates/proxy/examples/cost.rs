//! What a request, a handshake or an open connection costs the two proxies on its way.
//!
//! `cargo run --release -p bowline-proxy --example cost -- requests [CONNECTIONS] [EACH]`
//! sends so many HTTP/1.1 requests on each of so many connections, in step: client → outbound proxy ══ mutual TLS ══
//! inbound proxy → application, which answers 1 KiB. `handshakes [COUNT]` makes mutual handshakes with the inbound proxy
//! alone, `connections [COUNT]` keeps so many open that have each been used once.
//!
//! Each proxy has one worker, so that its share is that of one thread: its CPU time is printed, and
//! `valgrind --tool=callgrind --separate-threads=yes` counts its instructions, which are the same each time.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
};

use bowline_plumbing::sys::allocator::Allocator;
use bowline_proxy::{ProxyHandle, ProxyOptions, start_from_file};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use serde_json::{Value, json};

/// As `bowline` has.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

type Failed = Box<dyn Error + Send + Sync>;

const REQUEST: &[u8] =
    b"GET /one?kilobyte=1 HTTP/1.1\r\nHost: service-b-sc\r\nUser-Agent: cost/1\r\nAccept: */*\r\n\r\n";
const ANSWER_HEAD: &str = "HTTP/1.1 200 OK\r\nServer: application\r\nDate: Sun, 22 Nov 2026 06:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 1024\r\nETag: \"0-400\"\r\nAccept-Ranges: bytes\r\n\r\n";

/// Reads a message with a `Content-Length` of 1,024, or without content, off the front of a stream.
fn read_message(stream: &mut impl Read, content: usize) -> std::io::Result<bool> {
    let (mut read, mut buffer) = (Vec::with_capacity(2_048), [0; 4_096]);
    loop {
        let count = stream.read(&mut buffer)?;
        read.extend_from_slice(&buffer[..count]);
        let head = read.windows(4).position(|window| window == b"\r\n\r\n");
        match head {
            Some(head) if read.len() >= head + 4 + content => return Ok(true),
            _ if read.starts_with(b"HTTP/1.1 ") && !read.starts_with(b"HTTP/1.1 200 ") => {
                return Err(std::io::Error::other(String::from_utf8_lossy(&read).into_owned()));
            }
            _ if count == 0 && read.is_empty() => return Ok(false),
            _ if count == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

fn application() -> std::io::Result<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    let serve = |mut stream: TcpStream| -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let answer = [ANSWER_HEAD.as_bytes(), &[b'x'; 1_024]].concat();
        while read_message(&mut stream, 0)? {
            stream.write_all(&answer)?;
        }
        Ok(())
    };
    let accept = move || {
        while let Ok((stream, _)) = socket.accept() {
            let spawned = thread::Builder::new().name("application".into()).stack_size(64 * 1024).spawn(
                // The proxy closes when it ends.
                move || drop(serve(stream)),
            );
            drop(spawned);
        }
    };
    thread::Builder::new().name("application".into()).spawn(accept)?;
    Ok(address)
}

fn id(name: &str) -> String {
    format!("spiffe://cost.local/ns/n/cluster/c/svc/{name}")
}

/// A root CA and who it vouches for, in files.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

impl Ca {
    fn new() -> Result<Self, Failed> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    fn issue(&self, directory: &Path, name: &str) -> Result<[Value; 2], Failed> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![])?;
        params.subject_alt_names = vec![SanType::URI(id(name).try_into()?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let (chain_at, key_at) =
            (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        std::fs::write(&chain_at, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&key_at, key.serialize_pem())?;
        let source = json!({"files": {"certificateChain": chain_at, "privateKey": key_at}});
        Ok([
            json!({"trust": {"name": "cost.local", "rootsPem": self.root_pem}}),
            json!({"identity": {"name": "mesh", "source": source}}),
        ])
    }
}

fn inbound(application: SocketAddr) -> Vec<Value> {
    let address = application.ip().to_string();
    vec![
        json!({"listener": {
            "name": "in", "protocol": "HTTP", "route": "in", "cluster": "app",
            "bind": {"inbound": {"portName": "web", "address": "127.0.0.1", "port": 0, "authorization": "callers"}},
        }}),
        json!({"authorization": {"name": "callers", "rules": [
            {"name": "members", "effect": "ALLOW", "identities": [id("a")]},
        ]}}),
        json!({"route": {"name": "in", "rules": [{"action": {"forward": {
            "clusters": [{"cluster": "app", "weight": 1}], "requestTimeoutMs": 15000,
        }}}]}}),
        json!({"cluster": {"name": "app", "protocol": "HTTP", "kind": {"local": {
            "address": address, "port": application.port(),
        }}}}),
    ]
}

fn outbound(server: SocketAddr) -> Vec<Value> {
    vec![
        json!({"listener": {
            "name": "out", "protocol": "HTTP", "route": "out", "cluster": "service",
            "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["service-b-sc"]}},
        }}),
        json!({"route": {"name": "out", "rules": [{"action": {"forward": {
            "clusters": [{"cluster": "service", "weight": 1}], "requestTimeoutMs": 15000,
            "retry": {"maxRetries": 2, "retryOn": ["5xx", "reset", "connect-failure", "refused-stream"]},
        }}}]}}),
        json!({"cluster": {
            "name": "service", "protocol": "HTTP", "connectTimeoutMs": 10000,
            "kind": {"mesh": {"identities": [id("b")]}}, "outlierDetection": {"consecutiveFailures": 5},
        }}),
        json!({"endpoints": {"name": "service", "endpoints": [
            {"address": server.ip().to_string(), "port": server.port(), "taskId": "task"},
        ]}}),
    ]
}

fn start(directory: &Path, name: &str, resources: &[Value]) -> Result<ProxyHandle, Failed> {
    let path = directory.join(format!("{name}.json"));
    std::fs::write(&path, json!({"node": name, "resources": resources}).to_string())?;
    Ok(start_from_file(&path, &ProxyOptions::default())?)
}

/// Nanoseconds that each worker's thread has run, the inbound proxy's first: it was started first.
fn worker_times() -> Result<Vec<u64>, Failed> {
    let mut times = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "worker-0" {
            let number: u32 = task.file_name().unwrap_or_default().to_string_lossy().parse()?;
            let run = std::fs::read_to_string(task.join("schedstat"))?;
            times.push((number, run.split(' ').next().unwrap_or_default().parse()?));
        }
    }
    times.sort_unstable();
    Ok(times.into_iter().map(|(_, time)| time).collect())
}

/// Runs `work` and prints what of the workers' time each of `count` took.
fn timed(what: &str, count: usize, work: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    let before = worker_times()?;
    work()?;
    for ((name, after), before) in ["inbound", "outbound"].iter().zip(worker_times()?).zip(before) {
        println!("{name}: {:.1} µs CPU a {what}", (after - before) as f64 / 1e3 / count as f64);
    }
    Ok(())
}

fn connect(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Failed> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let client = TcpStream::connect(address)?;
        client.set_nodelay(true)?;
        clients.push(client);
    }
    Ok(clients)
}

/// Sends so many requests on each connection: one on all of them, then their answers.
fn ask(clients: &mut [TcpStream], each: usize) -> Result<(), Failed> {
    for _ in 0..each {
        for client in &mut *clients {
            client.write_all(REQUEST)?;
        }
        for client in &mut *clients {
            if !read_message(client, 1_024)? {
                return Err("a connection was closed".into());
            }
        }
    }
    Ok(())
}

/// What the client of handshakes believes is no part of what is measured.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn shake_hands(server: SocketAddr, config: &Arc<ClientConfig>) -> Result<(), Failed> {
    let mut stream = TcpStream::connect(server)?;
    let mut session = ClientConnection::new(Arc::clone(config), ServerName::try_from("service-b-sc")?)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    // The server's SETTINGS: it has judged the client.
    let mut first = [0; 9];
    rustls::Stream::new(&mut session, &mut stream).read_exact(&mut first)?;
    Ok(())
}

fn client_config(directory: &Path) -> Result<Arc<ClientConfig>, Failed> {
    let provider = Arc::new(CryptoProvider {
        // As Envoy's and HAProxy's clients offer it.
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    });
    let chain = CertificateDer::pem_file_iter(directory.join("a.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(directory.join("a.key"))?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn resident() -> Result<u64, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "requests".to_owned());
    let numbers = arguments.map(|text| text.parse()).collect::<Result<Vec<usize>, _>>()?;
    let number = |place: usize, default| numbers.get(place).copied().unwrap_or(default).max(1);
    let directory = std::env::temp_dir().join(format!("bowline-cost-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let ca = Ca::new()?;
    let mut resources = ca.issue(&directory, "b")?.to_vec();
    resources.extend(inbound(application()?));
    let inbound = start(&directory, "inbound", &resources)?;
    let server = inbound.address("in").ok_or("the inbound listener is not open")?;
    let mut resources = ca.issue(&directory, "a")?.to_vec();
    resources.extend(outbound(server));
    let outbound = start(&directory, "outbound", &resources)?;
    let alias = outbound.address("out").ok_or("the outbound listener is not open")?;
    let config = client_config(&directory)?;
    std::fs::remove_dir_all(&directory)?;
    match what.as_str() {
        "requests" => {
            let (connections, each) = (number(0, 50), number(1, 40));
            let mut clients = connect(alias, connections)?;
            ask(&mut clients, 1)?;
            timed("request", connections * each, || ask(&mut clients, each))?;
        }
        "handshakes" => {
            let count = number(0, 100);
            shake_hands(server, &config)?;
            timed("handshake", count, || (0..count).try_for_each(|_| shake_hands(server, &config)))?;
        }
        "connections" => {
            let count = number(0, 1_000);
            ask(&mut connect(alias, 1)?, 1)?;
            let before = resident()?;
            let mut clients = connect(alias, count)?;
            ask(&mut clients, 1)?;
            println!("{:.1} KiB a connection, of both proxies and their applications", {
                (resident()? - before) as f64 / count as f64
            });
        }
        other => return Err(format!("{other} is nothing that is measured").into()),
    }
    outbound.stop();
    inbound.stop();
    Ok(())
}
