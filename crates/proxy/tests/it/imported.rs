//! Certificates from outside the mesh's authorities, in the place of the mesh's own: believed by
//! their key or by their chain, on both sides.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{server::ResolvesServerCert, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::{
    harness::{Ca, Leaf, Proxy, id, identity, inbound, outbound},
    http::{application, get},
};

/// A certificate of nobody's mesh, in files.
pub(crate) struct Outside {
    directory: TempDir,
    chain: PathBuf,
    key: PathBuf,
}

impl Outside {
    fn write(chain_pem: &str, key_pem: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
        std::fs::write(&chain, chain_pem).expect("written");
        std::fs::write(&key, key_pem).expect("written");
        Self { directory, chain, key }
    }

    /// As the notes make them: `openssl genrsa`, `req -new`, `x509 -req`.
    fn by_openssl(bits: u32) -> Self {
        let it = Self::write("", "");
        let path = |name: &str| it.directory.path().join(name).to_string_lossy().into_owned();
        let (key, csr, chain) = (path("key.pem"), path("csr"), path("chain.pem"));
        for arguments in [
            vec!["genrsa", "-out", &key, &bits.to_string()],
            vec!["req", "-new", "-key", &key, "-out", &csr, "-subj", "/C=US/O=MyCompany/CN=b.local"],
            vec!["x509", "-req", "-days", "365", "-in", &csr, "-signkey", &key, "-out", &chain],
        ] {
            let output = Command::new("openssl").args(&arguments).output().expect("openssl is there");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        it
    }

    /// Self-signed and without names, of that time.
    pub(crate) fn self_signed(years: (i32, i32)) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "b.local");
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let certificate = params.self_signed(&key).expect("signed");
        Self::write(&certificate.pem(), &key.serialize_pem())
    }

    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.chain).expect("a certificate")
    }

    pub(crate) fn pin(&self) -> String {
        let leaf = self.leaf();
        let (_, parsed) = X509Certificate::from_der(&leaf).expect("readable");
        let hash = digest(&SHA256, parsed.public_key().raw);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn key_der(&self) -> Vec<u8> {
        PrivateKeyDer::from_pem_file(&self.key).expect("a key").secret_der().to_vec()
    }

    fn files(&self) -> (PathBuf, PathBuf) {
        (self.chain.clone(), self.key.clone())
    }
}

/// An authority outside of the mesh.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "outside");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, names: &[&str], uses: &[ExtendedKeyUsagePurpose]) -> Outside {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = uses.to_vec();
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Outside::write(&certificate.pem(), &key.serialize_pem())
    }
}

pub(crate) fn pinned(server_ids: &[&str], client_id: &str, pins: &[String]) -> Value {
    let server_ids: Vec<_> = server_ids.iter().map(|name| id(name)).collect();
    let client_id = if client_id.is_empty() { String::new() } else { id(client_id) };
    json!({"importedCertificate": {"name": format!("arn:{pins:?}"), "serverIds": server_ids, "clientId": client_id,
        "spkiSha256": pins}})
}

fn chained(server: &str, client: &str, root: &str, names: &[&str]) -> Value {
    json!({"importedCertificate": {"name": "arn:chained", "serverIds": [id(server)], "clientId": id(client),
        "chains": [{"rootsPem": root, "dnsNames": names}]}})
}

/// A called sidecar `b` that shows `shown`, and believes `believed` of its callers.
fn called(ca: &Ca, application: SocketAddr, shown: Option<&Outside>, believed: &[Value]) -> Vec<Value> {
    let mut resources = vec![ca.trust(), identity("mesh", &ca.issue("b", &Leaf::of(&id("b"))))];
    resources.extend(believed.iter().cloned());
    resources.extend(inbound("HTTP", application, &[&id("a")]));
    if let Some(shown) = shown {
        resources.push(identity("acm:b", &shown.files()));
        for resource in resources.iter_mut().filter(|resource| resource["listener"].is_object()) {
            resource["listener"]["bind"]["inbound"]["identity"] = "acm:b".into();
        }
    }
    resources
}

/// A calling sidecar `a` that expects `b`.
fn calling(ca: &Ca, server: SocketAddr, shown: Option<&Outside>, believed: &[Value]) -> Vec<Value> {
    let mut resources = vec![ca.trust(), identity("mesh", &ca.issue("a", &Leaf::of(&id("a"))))];
    resources.extend(believed.iter().cloned());
    resources.extend(outbound("HTTP", &id("b"), &[server]));
    if let Some(shown) = shown {
        resources.push(identity("acm:a", &shown.files()));
        for resource in resources.iter_mut().filter(|resource| resource["cluster"].is_object()) {
            resource["cluster"]["kind"]["mesh"]["identity"] = "acm:a".into();
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

fn refused(answer: &(u16, String), status: u16, party: &str, cause: &str) {
    let (got, body) = answer;
    let expected = [format!(r#""refused":"{party}""#), format!(r#""cause":"{cause}""#)];
    assert!(
        *got == status && expected.iter().all(|text| body.contains(text)),
        "{got} {body}, not {expected:?}"
    );
}

const BOTH: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

#[tokio::test(flavor = "multi_thread")]
async fn what_openssl_makes_serves_pinned_and_only_for_who_it_stands() {
    let (ca, application) = (Ca::new(), application().await);
    let shown = Outside::by_openssl(4096);
    let leaf = shown.leaf();
    let (_, parsed) = X509Certificate::from_der(&leaf).expect("readable");
    assert!(
        parsed.version() == X509Version::V1 || parsed.subject_alternative_name().expect("read").is_none()
    );
    let server = Proxy::start(&called(&ca, application, Some(&shown), &[]));
    let address = server.address("in");
    let call = |believed: &[Value]| {
        let resources = calling(&ca, address, None, believed);
        async move { call(&resources).await }
    };

    let (status, body) = call(&[pinned(&["b"], "", &[shown.pin()])]).await;
    assert_eq!(status, 200, "{body}");
    // Nobody was told of it; another key is believed; it stands for somebody else; or for callers.
    let other = Outside::self_signed((2020, 2090));
    refused(&call(&[]).await, 503, "server", "wrong_identity");
    refused(&call(&[pinned(&["b"], "", &[other.pin()])]).await, 503, "server", "wrong_identity");
    refused(&call(&[pinned(&["c"], "", &[shown.pin()])]).await, 503, "server", "wrong_identity");
    refused(&call(&[pinned(&[], "b", &[shown.pin()])]).await, 503, "server", "wrong_identity");
    // The mesh's own certificates are believed beside it, as a service begins to show another.
    let own = Proxy::start(&called(&ca, application, None, &[]));
    let resources = calling(&ca, own.address("in"), None, &[pinned(&["b"], "", &[shown.pin()])]);
    assert_eq!(self::call(&resources).await.0, 200);
    own.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_certificate_has_to_be_valid_now() {
    let (ca, application) = (Ca::new(), application().await);
    for (years, status) in [((2020, 2090), 200), ((2020, 2021), 503), ((2080, 2090), 503)] {
        let shown = Outside::self_signed(years);
        let believed = [pinned(&["b"], "a", &[shown.pin()])];
        let server = Proxy::start(&called(&ca, application, Some(&shown), &[]));
        let answer = call(&calling(&ca, server.address("in"), None, &believed)).await;
        assert_eq!(answer.0, status, "{years:?}: {}", answer.1);
        if status != 200 {
            refused(&answer, 503, "server", "expired");
        }
        server.handle.stop();
        // The same of a caller's.
        let server = Proxy::start(&called(&ca, application, None, &believed));
        let answer = call(&calling(&ca, server.address("in"), Some(&shown), &[])).await;
        match status {
            200 => assert_eq!(answer.0, 200, "{}", answer.1),
            _ => refused(&answer, 403, "caller", "expired"),
        }
        server.handle.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_pinned_certificate_is_its_identity() {
    let (ca, application) = (Ca::new(), application().await);
    let shown = Outside::by_openssl(2048);
    let call = |believed: Vec<Value>| {
        let server = Proxy::start(&called(&ca, application, None, &believed));
        let resources = calling(&ca, server.address("in"), Some(&shown), &[]);
        async move {
            let answer = call(&resources).await;
            server.handle.stop();
            answer
        }
    };
    let (status, body) = call(vec![pinned(&[], "a", &[shown.pin()])]).await;
    let hash: String =
        digest(&SHA256, &shown.leaf()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(&format!("By={};Hash={hash};URI={}", id("b"), id("a"))), "{body}");
    // Of another service, which may not call; of none; not told of.
    refused(&call(vec![pinned(&[], "c", &[shown.pin()])]).await, 403, "caller", "not_authorized");
    refused(&call(vec![pinned(&["a"], "", &[shown.pin()])]).await, 403, "caller", "wrong_identity");
    refused(&call(vec![]).await, 403, "caller", "wrong_identity");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_believed_for_its_names_and_its_service_alone() {
    let (ca, application) = (Ca::new(), application().await);
    let (outside, other) = (Authority::new(), Authority::new());
    let call = |shown: &Outside, believed: Value| {
        let server = Proxy::start(&called(&ca, application, Some(shown), &[]));
        let resources = calling(&ca, server.address("in"), None, &[believed]);
        async move {
            let answer = call(&resources).await;
            server.handle.stop();
            answer
        }
    };
    let names = ["b.local", "B2.local"];
    let good = outside.issue(&names, &BOTH);
    let (status, body) = call(&good, chained("b", "a", &outside.pem, &["b.local", "b2.LOCAL"])).await;
    assert_eq!(status, 200, "{body}");
    refused(&call(&good, chained("b", "a", &other.pem, &names)).await, 503, "server", "unknown_ca");
    refused(&call(&good, chained("c", "a", &outside.pem, &names)).await, 503, "server", "wrong_identity");
    let believed = || chained("b", "a", &outside.pem, &names);
    refused(&call(&outside.issue(&["b.local"], &BOTH), believed()).await, 503, "server", "wrong_identity");
    let clients_only = outside.issue(&names, &BOTH[1..]);
    refused(&call(&clients_only, believed()).await, 503, "server", "invalid_chain");

    // On the other side.
    let server = Proxy::start(&called(&ca, application, None, &[believed()]));
    let caller = |shown: &Outside| {
        let resources = calling(&ca, server.address("in"), Some(shown), &[]);
        async move { self::call(&resources).await }
    };
    let (status, body) = caller(&good).await;
    assert!(status == 200 && body.contains(&format!("URI={}", id("a"))), "{status} {body}");
    refused(&caller(&outside.issue(&["x.local"], &BOTH)).await, 403, "caller", "wrong_identity");
    refused(&caller(&other.issue(&names, &BOTH)).await, 403, "caller", "unknown_ca");
    server.handle.stop();
}

/// Shows a certificate that another key is the key of.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesServerCert for Thief {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_key_proves_nothing() {
    let ca = Ca::new();
    let shown = Outside::by_openssl(2048);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let thief = Outside::by_openssl(2048);
    let stolen = PrivateKeyDer::from_pem_file(&thief.key).expect("a key");
    let key = provider.key_provider.load_private_key(stolen).expect("usable");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Thief(Arc::new(CertifiedKey::new(vec![shown.leaf()], key)))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let answer = call(&calling(&ca, address, None, &[pinned(&["b"], "", &[shown.pin()])])).await;
    refused(&answer, 503, "server", "invalid_chain");
    // Of a file, too: the proxy does not take it.
    std::fs::copy(&thief.key, &shown.key).expect("copied");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.json");
    let resources = called(&ca, address, Some(&shown), &[]);
    std::fs::write(&path, json!({"node": "test", "resources": resources}).to_string()).expect("written");
    assert!(bowline_proxy::start_from_file(&path, &bowline_proxy::ProxyOptions::default()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_follows_another_without_a_failed_request() {
    let (ca, application) = (Ca::new(), application().await);
    let (first, second) = (Outside::self_signed((2020, 2090)), Outside::self_signed((2020, 2091)));
    let server = Proxy::start(&called(&ca, application, Some(&first), &[]));
    let address = server.address("in");
    let believed = |pins: &[&Outside]| {
        let pins: Vec<_> = pins.iter().map(|of| of.pin()).collect();
        let mut row = pinned(&["b"], "", &pins);
        row["importedCertificate"]["name"] = "arn".into();
        calling(&ca, address, None, &[row])
    };
    let client = Proxy::start(&believed(&[&first]));
    let out = client.address("out");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(async move {
        let mut count = 0;
        while !*stopped.borrow() {
            let (status, _, body) = get(out, "/headers").await;
            assert_eq!(status, 200, "after {count}: {}", String::from_utf8_lossy(&body));
            count += 1;
        }
        count
    });
    let handshakes = || server.handle.metrics().handshakes(bowline_proxy::Direction::Inbound);
    let settle = |before: u64| async move {
        let deadline = Instant::now() + Duration::from_secs(10);
        while handshakes() == before {
            assert!(Instant::now() < deadline, "no new handshake");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Peers first, then the one that shows it, then the old one is withdrawn.
    let before = handshakes();
    client.write(&believed(&[&first, &second]));
    client.handle.reload().expect("applied");
    settle(before).await;
    server.write(&called(&ca, application, Some(&second), &[]));
    server.handle.reload().expect("applied");
    let before = handshakes();
    client.write(&believed(&[&second]));
    client.handle.reload().expect("applied");
    settle(before).await;
    stop.send_replace(true);
    let count = load.await.expect("no request failed");
    assert!(count >= 2, "{count} requests");
    // The twin: had the server not followed, nobody would be served.
    server.write(&called(&ca, application, Some(&first), &[]));
    server.handle.reload().expect("applied");
    refused(&call(&believed(&[&second])).await, 503, "server", "wrong_identity");
    client.handle.stop();
    server.handle.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_service_has_lost_its_certificate_is_shut_out_though_connected() {
    let (ca, application) = (Ca::new(), application().await);
    let [shown, next] = [Outside::self_signed((2020, 2090)), Outside::self_signed((2020, 2091))];
    let row = |name: &str, client: &str, of: &Outside| {
        let mut row = pinned(&[], client, &[of.pin()]);
        row["importedCertificate"]["name"] = name.into();
        row
    };
    let server = Proxy::start(&called(&ca, application, None, &[row("arn", "a", &shown)]));
    let client = Proxy::start(&calling(&ca, server.address("in"), Some(&shown), &[]));
    let out = client.address("out");
    assert_eq!(get(out, "/headers").await.0, 200);
    let handshakes = || server.handle.metrics().handshakes(bowline_proxy::Direction::Inbound);
    let before = handshakes();
    // Another certificate of the same service's: who is connected stays so.
    server.write(&called(&ca, application, None, &[row("arn", "a", &next)]));
    server.handle.reload().expect("applied");
    assert_eq!(get(out, "/headers").await.0, 200);
    assert_eq!(handshakes(), before);
    // None at all.
    server.write(&called(&ca, application, None, &[row("arn", "", &next)]));
    server.handle.reload().expect("applied");
    let (status, _, body) = get(out, "/headers").await;
    assert_eq!(status, 403, "{}", String::from_utf8_lossy(&body));
    client.handle.stop();
    server.handle.stop();
}
