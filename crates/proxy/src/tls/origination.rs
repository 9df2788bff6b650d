//! TLS that the proxy begins towards servers outside the mesh: ordinary names, ordinary roots, and
//! never the mesh's certificate.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;

use super::{PROVIDER, TlsError};

/// Where distributions keep their bundle: Debian, Fedora and its kin, openSUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Names another bundle, as for OpenSSL's programs.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";
/// Most bytes of a bundle; Mozilla's has under 300,000.
const BUNDLE_MAX: u64 = 8 * 1024 * 1024;

/// Why there are no roots of the machine.
#[derive(Debug, Error)]
pub(crate) enum SystemRootsError {
    #[error("this machine has no bundle of root certificates; SSL_CERT_FILE names one")]
    NoBundle,
    #[error("the root certificates in {path} cannot be read")]
    Read { path: String, source: io::Error },
    #[error("{path} has more than {BUNDLE_MAX} bytes")]
    TooLarge { path: String },
    #[error("{path} holds no usable root certificate")]
    Unusable { path: String },
}

/// The roots that this machine believes.
pub(crate) fn system_roots() -> Result<RootCertStore, SystemRootsError> {
    let named = std::env::var(BUNDLE_VARIABLE).ok();
    let found = BUNDLES.into_iter().map(str::to_owned).find(|path| Path::new(path).exists());
    let path = named.or(found).ok_or(SystemRootsError::NoBundle)?;
    let read = |source| SystemRootsError::Read { path: path.clone(), source };
    if std::fs::metadata(&path).map_err(read)?.len() > BUNDLE_MAX {
        return Err(SystemRootsError::TooLarge { path });
    }
    let pem = std::fs::read(&path).map_err(read)?;
    let mut roots = RootCertStore::empty();
    // A bundle of a distribution may hold certificates that webpki does not take.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    match roots.is_empty() {
        true => Err(SystemRootsError::Unusable { path }),
        false => Ok(roots),
    }
}

/// Exactly these roots: one that cannot be used spoils them all.
pub(crate) fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| TlsError::Certificates)?)?;
    }
    match roots.is_empty() {
        true => Err(TlsError::Certificates),
        false => Ok(roots),
    }
}

/// The client's side towards a server outside the mesh. No `alpn` offers none.
pub(crate) fn config(
    roots: &Arc<RootCertStore>,
    tls12: bool,
    alpn: Option<&[u8]>,
) -> Result<Arc<ClientConfig>, TlsError> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    let versions = if tls12 { &BOTH[..] } else { &BOTH[..1] };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)?
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}
