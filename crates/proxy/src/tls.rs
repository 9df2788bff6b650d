//! TLS as the proxy speaks it: between proxies TLS 1.3 only, both sides proved
//! by exactly one SPIFFE id; towards outside clients TLS 1.2 or 1.3.
//!
//! Sessions are never resumed: a resumed session would bring its old peer
//! certificate back without asking the verifier, past a revocation.

pub(crate) mod application;
pub(crate) mod origination;
pub(crate) mod trust;
pub(crate) mod verify;

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use thiserror::Error;

use self::{
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
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &PROVIDER)?))
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

/// The server's side of the hop. `trust: None` asks for no client certificate.
pub(crate) fn inbound_config(
    key: &Arc<CertifiedKey>,
    trust: Option<&Arc<TrustStore>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_protocol_versions(&[&TLS13])?;
    let builder = match trust {
        Some(trust) => builder.with_client_cert_verifier(Arc::new(SpiffeVerifier::of_clients(trust))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver(key));
    forbid_resumption(&mut config);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The gateway's side towards clients outside the mesh, and the sidecar's
/// towards its own application.
pub(crate) fn public_config(key: &Arc<CertifiedKey>, tls12: bool) -> Result<Arc<ServerConfig>, TlsError> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    let versions = if tls12 { &BOTH[..] } else { &BOTH[..1] };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver(key) as Arc<dyn ResolvesServerCert>);
    forbid_resumption(&mut config);
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

fn forbid_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

/// The client's side of the hop. `key: None` shows no certificate.
pub(crate) fn hop_config(
    key: Option<&Arc<CertifiedKey>>,
    trust: &Arc<TrustStore>,
    servers: ExpectedServers,
    alpn: &[u8],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(SpiffeVerifier::of_servers(trust, servers)));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(resolver(key)),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    // The verifier goes by the SPIFFE id; there is no host name to show.
    config.enable_sni = false;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}
