//! The stream's TLS: certificates and roots that can be exchanged under way.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use bowline_model::identity::SpiffeId;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    server::{
        NoServerSessionStorage, ServerConfig,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor, UnixTime, pem, pem::PemObject,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

/// Longest chain that a peer may present, leaf included.
const CHAIN_LENGTH_MAX: usize = 8;

/// What the server shows, and whom it believes.
#[derive(Clone)]
pub struct TlsMaterial {
    /// DER, leaf first.
    pub chain_der: Vec<Vec<u8>>,
    /// The leaf's private key, PKCS#8.
    pub key_pkcs8_der: Zeroizing<Vec<u8>>,
    /// PEM of the roots of proxies' certificates.
    pub roots_pem: String,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("TlsMaterial").field("chain_length", &self.chain_der.len()).finish_non_exhaustive()
    }
}

/// Why material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The roots are no PEM.
    #[error("the roots are no PEM")]
    RootsPem(#[source] pem::Error),
    /// A root cannot be read.
    #[error("a root certificate is malformed")]
    Root(#[source] webpki::Error),
    /// There is no root.
    #[error("there is no root certificate")]
    NoRoots,
    /// The certificate and the key do not go together, or cannot be read.
    #[error("the server's certificate or key is unusable")]
    Certificate(#[source] Error),
}

/// The TLS configuration in use. Clones share it.
#[derive(Clone)]
pub struct TlsHandle {
    current: Arc<ArcSwap<ServerConfig>>,
}

impl fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandle").finish_non_exhaustive()
    }
}

impl TlsHandle {
    /// A handle that begins with `material`.
    ///
    /// # Errors
    /// The material cannot be used.
    pub fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(server_config(material)?)) })
    }

    /// Takes `material` for every handshake from now on. Connections that
    /// stand are left as they are.
    ///
    /// # Errors
    /// The material cannot be used; the earlier one stays.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        self.current.store(Arc::new(server_config(material)?));
        Ok(())
    }

    /// What the next handshake uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn server_config(material: &TlsMaterial) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(PeerVerifier::new(&material.roots_pem, &provider)?);
    let chain = material.chain_der.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(material.key_pkcs8_der.to_vec()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive the certificate that it was made with.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Believes a peer whose chain leads to a root and whose leaf has exactly one
/// URI, a SPIFFE id. A peer without a certificate gets as far as the services,
/// which know what it may do.
#[derive(Debug)]
struct PeerVerifier {
    roots: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn new(roots_pem: &str, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
            let certificate = certificate.map_err(TlsError::RootsPem)?;
            roots.push(anchor_from_trusted_cert(&certificate).map_err(TlsError::Root)?.to_owned());
        }
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        Ok(Self { roots, algorithms: provider.signature_verification_algorithms })
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let malformed = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        if intermediates.len() >= CHAIN_LENGTH_MAX {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let certificate = EndEntityCert::try_from(leaf).map_err(malformed)?;
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.roots,
                intermediates,
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|error| Error::InvalidCertificate(blame(&error)))?;
        let mut uris = certificate.valid_uri_names();
        match (uris.next(), uris.next()) {
            (Some(uri), None) if uri.parse::<SpiffeId>().is_ok() => Ok(ClientCertVerified::assertion()),
            _ => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The alert that tells a peer what is wrong with its certificate.
fn blame(error: &webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        _ => CertificateError::ApplicationVerificationFailure,
    }
}
