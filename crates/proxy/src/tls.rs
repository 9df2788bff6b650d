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
    ClientConfig, InconsistentKeys, ServerConfig, SupportedProtocolVersion,
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
    let builder = ServerConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(Clock::Process))
        .with_protocol_versions(versions)?;
    let builder = match trust {
        Some(trust) => builder.with_client_cert_verifier(Arc::new(SpiffeVerifier::of_clients(trust))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown.clone()));
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
    let builder = ClientConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::new(clock))
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
