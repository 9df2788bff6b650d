//! A test CA, configuration files, and applications to stand behind proxies.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bowline_proxy::{ProxyHandle, ProxyOptions, start_from_file};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const TRUST_DOMAIN: &str = "test.local";

pub(crate) fn id(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/n/cluster/c/svc/{name}")
}

/// A root CA and a directory with what it has issued.
pub(crate) struct Ca {
    pub(crate) directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root_pem: String,
    pub(crate) key_pem: String,
}

/// What a leaf certificate should be.
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) serial: u64,
    pub(crate) expired: bool,
    /// It may be shown by a client.
    pub(crate) client: bool,
}

impl Leaf {
    pub(crate) fn of(id: &str) -> Self {
        Self { uris: vec![id.to_owned()], serial: 7, expired: false, client: true }
    }
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root_pem = params.self_signed(&key).expect("a root").pem();
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("root.pem"), &root_pem).expect("written");
        let key_pem = key.serialize_pem();
        Self { directory, issuer: Issuer::new(params, key), root_pem, key_pem }
    }

    /// Issues a leaf; returns the paths of chain and key.
    pub(crate) fn issue(&self, file: &str, leaf: &Leaf) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.subject_alt_names =
            leaf.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().expect("ASCII"))).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if leaf.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        if leaf.expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        self.write(file, &params, &key)
    }

    /// Signs a request's key for `id`; returns the certificate and its times.
    pub(crate) fn sign_csr(&self, csr_der: &[u8], id: &str, seconds: i64) -> (Vec<u8>, i64, i64) {
        let csr = rcgen::CertificateSigningRequestParams::from_der(&csr_der.into()).expect("a request");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = std::time::SystemTime::now();
        params.not_before = now.into();
        params.not_after = (now + Duration::from_secs(seconds.unsigned_abs())).into();
        let now = now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        // Each starts with the digit 0, as one of eight random ones does: proxies tell it without.
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).expect("random bytes");
        serial[0] = 0x05;
        params.serial_number = Some(serial.to_vec().into());
        let certificate = params.signed_by(&csr.public_key, &self.issuer).expect("signed");
        (certificate.der().to_vec(), now, now + seconds)
    }

    /// A certificate for DNS names, as a gateway shows it.
    pub(crate) fn issue_public(&self, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.write(file, &params, &key)
    }

    fn write(&self, file: &str, params: &CertificateParams, key: &KeyPair) -> (PathBuf, PathBuf) {
        let mut params = params.clone();
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        let certificate = params.signed_by(key, &self.issuer).expect("signed");
        let chain_path = self.directory.path().join(format!("{file}.pem"));
        let key_path = self.directory.path().join(format!("{file}.key"));
        std::fs::write(&chain_path, certificate.pem()).expect("written");
        std::fs::write(&key_path, key.serialize_pem()).expect("written");
        (chain_path, key_path)
    }

    pub(crate) fn trust(&self) -> Value {
        json!({"trust": {"name": TRUST_DOMAIN, "rootsPem": self.root_pem}})
    }
}

/// The Identity resource of files.
pub(crate) fn identity(name: &str, (chain, key): &(PathBuf, PathBuf)) -> Value {
    json!({"identity": {"name": name, "source": {"files": {"certificateChain": chain, "privateKey": key}}}})
}

/// A proxy with its configuration file.
pub(crate) struct Proxy {
    pub(crate) handle: ProxyHandle,
    pub(crate) path: PathBuf,
    _directory: TempDir,
}

impl Proxy {
    pub(crate) fn start(resources: &[Value]) -> Self {
        Self::start_with(
            resources,
            &ProxyOptions { drain: Duration::from_secs(5), ..ProxyOptions::default() },
        )
    }

    pub(crate) fn start_with(resources: &[Value], options: &ProxyOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("proxy.json");
        write(&path, resources);
        let handle = start_from_file(&path, options).expect("the proxy starts");
        Self { handle, path, _directory: directory }
    }

    pub(crate) fn write(&self, resources: &[Value]) {
        write(&self.path, resources);
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.handle.address(listener).expect("the listener is open")
    }
}

fn write(path: &Path, resources: &[Value]) {
    std::fs::write(path, json!({"node": "test", "resources": resources}).to_string()).expect("written");
}

/// The resources of a sidecar that takes calls for an application.
pub(crate) fn inbound(protocol: &str, application: SocketAddr, allowed: &[&str]) -> Vec<Value> {
    vec![
        json!({"listener": {
            "name": "in", "protocol": protocol, "route": "in", "cluster": "app",
            "bind": {"inbound": {"portName": "web", "address": "127.0.0.1", "port": 0, "authorization": "callers"}},
        }}),
        json!({"authorization": {"name": "callers", "rules": [
            {"name": "members", "effect": "ALLOW", "identities": allowed},
        ]}}),
        json!({"route": {"name": "in", "rules": [{"action": {"forward": {
            "clusters": [{"cluster": "app", "weight": 1}], "requestTimeoutMs": 15000,
        }}}]}}),
        json!({"cluster": {"name": "app", "protocol": protocol, "kind": {"local": {
            "address": application.ip().to_string(), "port": application.port(),
        }}}}),
    ]
}

/// The resources of a sidecar that calls a service.
pub(crate) fn outbound(protocol: &str, server: &str, endpoints: &[SocketAddr]) -> Vec<Value> {
    outbound_with(protocol, server, endpoints, json!({"maxRetries": 2}), 15_000)
}

pub(crate) fn outbound_with(
    protocol: &str,
    server: &str,
    endpoints: &[SocketAddr],
    retry: Value,
    timeout_ms: u64,
) -> Vec<Value> {
    vec![
        json!({"listener": {
            "name": "out", "protocol": protocol, "route": "out", "cluster": "service",
            "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["service-b-sc"]}},
        }}),
        json!({"route": {"name": "out", "rules": [{"action": {"forward": {
            "clusters": [{"cluster": "service", "weight": 1}], "requestTimeoutMs": timeout_ms, "retry": retry,
        }}}]}}),
        json!({"cluster": {
            "name": "service", "protocol": protocol, "connectTimeoutMs": 1000,
            "kind": {"mesh": {"identities": [server]}},
            "outlierDetection": {"consecutiveFailures": 5},
        }}),
        endpoints_of(endpoints),
    ]
}

pub(crate) fn endpoints_of(endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|address| json!({"address": address.ip().to_string(), "port": address.port(), "taskId": address.to_string()}))
        .collect();
    json!({"endpoints": {"name": "service", "endpoints": endpoints}})
}

/// Two proxies: `client` calls, `server` stands before an application.
pub(crate) struct Pair {
    _ca: Ca,
    pub(crate) client: Proxy,
    pub(crate) server: Proxy,
}

impl Pair {
    pub(crate) fn start(protocol: &str, application: SocketAddr) -> Self {
        let ca = Ca::new();
        let a = ca.issue("a", &Leaf::of(&id("a")));
        let b = ca.issue("b", &Leaf::of(&id("b")));
        let mut resources = vec![ca.trust(), identity("mesh", &b)];
        resources.extend(inbound(protocol, application, &[&id("a")]));
        let server = Proxy::start(&resources);
        let mut resources = vec![ca.trust(), identity("mesh", &a)];
        resources.extend(outbound(protocol, &id("b"), &[server.address("in")]));
        let client = Proxy::start(&resources);
        Self { _ca: ca, client, server }
    }

    pub(crate) fn stop(self) {
        self.client.handle.stop();
        self.server.handle.stop();
    }
}

/// Waits until `holds`, at most 10 s.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
