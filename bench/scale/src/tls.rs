//! TLS to the control plane as proxies speak it: 1.3, its certificate checked against its SPIFFE id.

use std::sync::Arc;

use anyhow::Context;
use bowline_model::task::ControlPlaneAddress;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// What all proxies of a control plane share.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
}

/// Believes the control plane alone.
#[derive(Debug)]
struct Verifier {
    roots: Vec<TrustAnchor<'static>>,
    id: String,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Of what a sidecar is told.
    pub(crate) fn new(told: &ControlPlaneAddress) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(told.roots_pem.as_bytes()) {
            let certificate = certificate.context("the roots are no PEM")?;
            roots.push(anchor_from_trusted_cert(&certificate)?.to_owned());
        }
        let id = format!("spiffe://{}/control-plane", told.trust_domain);
        let verifier = Arc::new(Verifier { roots, id, provider: Arc::clone(&provider) });
        Ok(Self { provider, verifier })
    }

    /// The configuration of a connection, which shows `own` where there is one.
    pub(crate) fn client_config(&self, own: Option<&Arc<CertifiedKey>>) -> anyhow::Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _);
        let mut config = match own {
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(own))))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = |_| Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let certificate = EndEntityCert::try_from(leaf).map_err(unknown)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        certificate
            .verify_for_usage(
                algorithms,
                &self.roots,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(unknown)?;
        let mut names = certificate.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(id), None) if id == self.id => Ok(ServerCertVerified::assertion()),
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
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
