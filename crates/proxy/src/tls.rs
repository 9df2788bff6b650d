//! TLS as the proxy speaks it: between proxies TLS 1.3 only, both sides proved
//! by exactly one SPIFFE id; towards outside clients TLS 1.2 or 1.3.
//!
//! Sessions are never resumed: a resumed session would bring its old peer
//! certificate back without asking the verifier, past a revocation.

pub(crate) mod application;
pub(crate) mod imported;
pub(crate) mod origination;
pub(crate) mod staged;
pub(crate) mod trust;
mod verified;
pub(crate) mod verify;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bowline_model::sabotage::{Defence, sabotaged};
use bowline_plumbing::wall_clock;
use rustls::{
    CipherSuite, ClientConfig, InconsistentKeys, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use thiserror::Error;

use self::{
    staged::Shown,
    trust::TrustStore,
    verify::{ExpectedServers, SpiffeVerifier},
};

/// ALPN of a hop that carries HTTP.
pub(crate) const ALPN_H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1: what clients outside the mesh, and servers there, may speak.
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";
/// ALPN of a hop that carries one upgraded (WebSocket) connection: HTTP/1.1 after the server's
/// verdict of one byte.
pub(crate) const ALPN_UPGRADE: &[u8] = b"bowline-http1";
/// ALPN of a hop that carries one TCP connection.
pub(crate) const ALPN_TCP: &[u8] = b"bowline-tcp";

/// The one cryptography provider of the proxy.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The same towards other proxies, which prefer AES-128-GCM: decision 11.
static HOP_PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = CryptoProvider::clone(&PROVIDER);
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
});

/// The clock that certificates are judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The process', which is wrong at times on purpose.
    Process,
    /// The machine's: towards the control plane, which ends what is wrong on purpose.
    Machine,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = match self {
            Self::Process => wall_clock::now(),
            Self::Machine => wall_clock::machine(),
        };
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis())))
    }
}

/// Why a certificate or a key cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificates are not PEM, or there is none.
    #[error("no certificate can be read from the PEM text")]
    Certificates,
    /// The key is not PEM, or of no known kind.
    #[error("no private key can be read from the PEM text")]
    Key,
    /// rustls refuses the certificate or the key.
    #[error("the certificate or the key cannot be used")]
    Unusable(#[from] rustls::Error),
    /// The task's CA or its key cannot be used.
    #[error("the task's CA issues nothing")]
    Issue(#[from] rcgen::Error),
    /// The task's CA is over.
    #[error("the task's CA has expired")]
    AuthorityExpired,
    /// The certificate has not exactly one SPIFFE id.
    #[error("the certificate carries no usable identity: {0}")]
    Identity(String),
}

/// A certificate with its key, ready for handshakes.
pub(crate) fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    if chain.is_empty() {
        return Err(TlsError::Certificates);
    }
    let key = PROVIDER.key_provider.load_private_key(key)?;
    // `CertifiedKey::keys_match` would read the certificate by webpki, which takes no version 1.
    let of_leaf = imported::public_key_of(&chain[0]).ok_or(TlsError::Certificates)?;
    if key.public_key().is_some_and(|own| own.as_ref() != of_leaf) {
        return Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch).into());
    }
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Reads a chain and a key from PEM.
pub(crate) fn certified_key_from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    certified_key(chain, key)
}

/// Shows `key` to peers that ask, whatever they say of their roots.
fn resolver(key: &Arc<CertifiedKey>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(CertifiedKey::clone(key)))
}

/// Shows a client the certificate that has the name which it asks for (SNI), else the first.
#[derive(Debug)]
struct ByName {
    /// Each with its DNS names in lower case, the first one first.
    keys: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ByName {
    fn new(first: &Arc<CertifiedKey>, more: &[Arc<CertifiedKey>]) -> Self {
        let named = |key: &Arc<CertifiedKey>| {
            let names = key.cert.first().map(|leaf| imported::dns_names(leaf)).unwrap_or_default();
            (names, Arc::clone(key))
        };
        Self { keys: std::iter::once(first).chain(more).map(named).collect() }
    }

    /// An exact name goes before a wildcard, which stands for one label (RFC 6125 §6.4.3).
    fn find(&self, asked: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let asked = asked.map(str::to_ascii_lowercase);
        let named = |wanted: &str| {
            let mut keys = self.keys.iter();
            keys.find(|(names, _)| names.iter().any(|name| name == wanted)).map(|(_, key)| key)
        };
        let exact = asked.as_deref().and_then(named);
        let wild = || named(&format!("*.{}", asked.as_deref()?.split_once('.')?.1));
        exact.or_else(wild).or_else(|| self.keys.first().map(|(_, key)| key))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).cloned()
    }
}

/// The server's side of the hop. `trust: None` asks for no client certificate.
pub(crate) fn inbound_config(
    shown: &Shown,
    trust: Option<&Arc<TrustStore>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let old = sabotaged(Defence::TlsVersion);
    let versions: &[&SupportedProtocolVersion] = if old { &[&TLS13, &TLS12] } else { &[&TLS13] };
    let builder = ServerConfig::builder_with_details(Arc::clone(&HOP_PROVIDER), Arc::new(Clock::Process))
        .with_protocol_versions(versions)?;
    let builder = match trust {
        Some(trust) => builder.with_client_cert_verifier(Arc::new(SpiffeVerifier::of_clients(trust))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown.clone()));
    config.ignore_client_order = true;
    forbid_resumption(&mut config);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The gateway's side towards clients outside the mesh, and the sidecar's
/// towards its own application.
pub(crate) fn public_config(
    key: &Arc<CertifiedKey>,
    more: &[Arc<CertifiedKey>],
    tls12: bool,
) -> Result<Arc<ServerConfig>, TlsError> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    let versions = if tls12 { &BOTH[..] } else { &BOTH[..1] };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(match more {
            [] => resolver(key) as Arc<dyn ResolvesServerCert>,
            _ => Arc::new(ByName::new(key, more)),
        });
    forbid_resumption(&mut config);
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

fn forbid_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

/// The client's side of the hop. `shown: None` shows no certificate.
pub(crate) fn hop_config(
    shown: Option<&Shown>,
    trust: &Arc<TrustStore>,
    servers: ExpectedServers,
    alpn: &[u8],
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_details(Arc::clone(&HOP_PROVIDER), Arc::new(clock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(SpiffeVerifier::of_servers(trust, servers)));
    let mut config = match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(shown.clone())),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    // The verifier goes by the SPIFFE id; there is no host name to show.
    config.enable_sni = false;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use bowline_model::identity::SpiffeId;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    };
    use rustls::{ClientConnection, ServerConnection};
    use rustls_pki_types::ServerName;

    use super::{trust::Roots, *};

    /// Who is believed, and a server that is.
    fn server() -> (Arc<TrustStore>, ExpectedServers, Shown) {
        let id = SpiffeId::of_service("d", "n", "c", "s");
        let (root_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut root = CertificateParams::new(vec![]).expect("parameters");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).expect("a root").pem();
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().expect("ASCII"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &Issuer::new(root, root_key)).expect("signed").pem();
        let key = certified_key_from_pem(leaf.as_bytes(), key.serialize_pem().as_bytes()).expect("a key");
        let roots = [("d".to_owned(), Arc::new(Roots::from_pem(&root_pem).expect("a root")))].into();
        let trust = Arc::new(TrustStore { roots, ..TrustStore::default() });
        (trust, ExpectedServers::new([id]), Shown::own(&key))
    }

    /// What both agree on.
    fn agreed(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> CipherSuite {
        let name = ServerName::try_from("s").expect("a name");
        let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
        let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
        let mut bytes = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            client.write_tls(&mut bytes).expect("written");
            server.read_tls(&mut &bytes[..]).expect("read");
            server.process_new_packets().expect("understood");
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).expect("written");
            }
            client.read_tls(&mut &bytes[..]).expect("read");
            client.process_new_packets().expect("understood");
            bytes.clear();
        }
        client.negotiated_cipher_suite().expect("agreed").suite()
    }

    #[test]
    fn sidecars_prefer_aes_128_and_take_all_suites_of_tls_13() {
        use CipherSuite::{
            TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
            TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20,
        };
        let (trust, servers, shown) = server();
        let inbound = inbound_config(&shown, None, &[ALPN_H2]).expect("a configuration");
        let who_offers = |suites: &[CipherSuite]| {
            let offered = suites.iter().map(|suite| {
                *PROVIDER.cipher_suites.iter().find(|known| known.suite() == *suite).expect("it is known")
            });
            let provider =
                CryptoProvider { cipher_suites: offered.collect(), ..CryptoProvider::clone(&PROVIDER) };
            let verifier = SpiffeVerifier::of_servers(&trust, servers.clone());
            let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&TLS13])
                .expect("TLS 1.3")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            config.alpn_protocols = vec![ALPN_H2.to_vec()];
            Arc::new(config)
        };
        // As OpenSSL's clients offer them.
        assert_eq!(agreed(&who_offers(&[AES_256, CHACHA20, AES_128]), &inbound), AES_128);
        assert_eq!(agreed(&who_offers(&[CHACHA20, AES_256]), &inbound), AES_256);
        assert_eq!(agreed(&who_offers(&[CHACHA20]), &inbound), CHACHA20);
        let hop =
            hop_config(None, &trust, servers.clone(), ALPN_H2, Clock::Process).expect("a configuration");
        assert_eq!(agreed(&hop, &inbound), AES_128);
        let suites: Vec<_> = HOP_PROVIDER.cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(suites[..3], [AES_128, AES_256, CHACHA20]);
        // Another server chooses by what is offered first.
        let mut other = ServerConfig::clone(&inbound);
        other.ignore_client_order = false;
        assert_eq!(agreed(&hop, &Arc::new(other)), AES_128);
    }
}
