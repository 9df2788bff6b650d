//! The check of a peer's certificate: chain, dates, purpose, exactly one
//! SPIFFE id (X.509-SVID §4, §5), revocation, and for servers whether the id
//! is one that the cluster expects. Clients are judged later, by the
//! listener's Authorization.

use std::{collections::HashSet, fmt, sync::Arc};

use bowline_model::{
    identity::SpiffeId,
    sabotage::{Defence, sabotaged},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature, verify_tls13_signature_with_raw_key},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{
    PROVIDER,
    imported::{Side, public_key_of},
    trust::{TrustStore, serial_text},
    verified::{self, VerifiedChains},
};

/// Which ids a server may prove.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedServers(pub(crate) Arc<HashSet<SpiffeId>>);

impl ExpectedServers {
    pub(crate) fn new(ids: impl IntoIterator<Item = SpiffeId>) -> Self {
        Self(Arc::new(ids.into_iter().collect()))
    }
}

/// Who a peer has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity {
    pub(crate) id: SpiffeId,
    /// As [`serial_text`] writes it; of an imported certificate its key's hash.
    pub(crate) serial: String,
    /// The control plane says whom the certificate stands for; it names no SPIFFE id itself.
    pub(crate) imported: bool,
}

/// What is wrong with a certificate beyond its chain. Travels through rustls
/// as [`CertificateError::Other`] and is found again by [`refusal_of`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum IdentityFault {
    #[error("the certificate cannot be parsed")]
    Unreadable,
    #[error("the certificate has {0} URI names, not one")]
    NotOneUri(usize),
    #[error("the certificate's URI name is no SPIFFE id")]
    NotSpiffe,
    #[error("{0} is none of the identities that this cluster may have")]
    Unexpected(SpiffeId),
    #[error("the certificate stands for no service on this side")]
    StandsForNobody,
}

impl From<IdentityFault> for rustls::Error {
    fn from(fault: IdentityFault) -> Self {
        CertificateError::Other(OtherError(Arc::new(fault))).into()
    }
}

/// The fault that this crate's verifier put into a rustls error.
pub(crate) fn identity_fault(error: &rustls::Error) -> Option<&IdentityFault> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// A certificate's serial number as [`serial_text`] writes it; `None` where it cannot be read.
pub(crate) fn serial_of(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(serial_text(parsed.raw_serial()))
}

/// The one SPIFFE id of a certificate, and its serial number.
pub(crate) fn peer_identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, IdentityFault> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityFault::Unreadable)?;
    let names = parsed.subject_alternative_name().map_err(|_| IdentityFault::Unreadable)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else {
        if sabotaged(Defence::Identity) {
            let (id, serial) =
                (SpiffeId::of_service("any", "any", "any", "any"), serial_text(parsed.raw_serial()));
            return Ok(PeerIdentity { id, serial, imported: false });
        }
        return Err(IdentityFault::NotOneUri(uris.len()));
    };
    let id = uri.parse().map_err(|_| IdentityFault::NotSpiffe)?;
    Ok(PeerIdentity { id, serial: serial_text(parsed.raw_serial()), imported: false })
}

/// Verifies peers of either side.
pub(crate) struct SpiffeVerifier {
    trust: Arc<TrustStore>,
    expected: Option<ExpectedServers>,
    algorithms: WebPkiSupportedAlgorithms,
    /// By this verifier: for its one usage, and by what it trusts.
    verified: VerifiedChains,
}

impl fmt::Debug for SpiffeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpiffeVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl SpiffeVerifier {
    pub(crate) fn of_clients(trust: &Arc<TrustStore>) -> Self {
        Self {
            trust: Arc::clone(trust),
            expected: None,
            algorithms: PROVIDER.signature_verification_algorithms,
            verified: VerifiedChains::default(),
        }
    }

    pub(crate) fn of_servers(trust: &Arc<TrustStore>, expected: ExpectedServers) -> Self {
        Self { expected: Some(expected), ..Self::of_clients(trust) }
    }

    /// How many chains it need not verify again.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.verified.len()
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<PeerIdentity, rustls::Error> {
        let side = self.expected.as_ref().map_or(Side::Client, |expected| Side::Server(&expected.0));
        if let Some(result) = self.trust.imported.verify(end_entity, intermediates, now, side) {
            return result;
        }
        let key = verified::key(end_entity, intermediates);
        let peer = match self.verified.find(&key, now) {
            Some(peer) => peer,
            None => {
                let peer = self.verify_chain(end_entity, intermediates, now, usage)?;
                self.verified.keep(key, end_entity, intermediates, &peer, now);
                peer
            }
        };
        if self.trust.revoked.contains(peer.id.trust_domain(), &peer.serial)
            && !sabotaged(Defence::Revocation)
        {
            return Err(CertificateError::Revoked.into());
        }
        Ok(peer)
    }

    /// The chain alone: who it is of, if a root of its trust domain vouches for it now.
    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<PeerIdentity, rustls::Error> {
        let peer = peer_identity(end_entity)?;
        // Only the roots of its own trust domain can vouch for an id.
        let domain = peer.id.trust_domain();
        let any = || self.trust.roots.values().next().filter(|_| sabotaged(Defence::Identity));
        let Some(roots) = self.trust.roots.get(domain).or_else(any) else {
            tracing::info!(
                trust_domain = domain,
                "a certificate is of a trust domain that has no roots here"
            );
            return Err(CertificateError::UnknownIssuer.into());
        };
        if sabotaged(Defence::Certificate) {
            return Ok(peer);
        }
        let certificate = EndEntityCert::try_from(end_entity).map_err(certificate_error)?;
        certificate
            .verify_for_usage(self.algorithms.all, &roots.anchors, intermediates, now, usage, None, None)
            .map_err(certificate_error)?;
        Ok(peer)
    }
}

/// webpki's causes as rustls names them, so that alerts say what is wrong.
pub(super) fn certificate_error(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let error = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        // A signature that does not fit: another CA of the same name.
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => CertificateError::UnknownIssuer,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::CertRevoked => CertificateError::Revoked,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}

/// The handshake's signature. webpki reads no certificate of X.509 version 1; whether one is
/// believed was decided before this, and possession is a matter of its key alone.
fn verify_possession(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if sabotaged(Defence::Possession) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    if EndEntityCert::try_from(certificate).is_ok() {
        return verify_tls13_signature(message, certificate, dss, algorithms);
    }
    let key = public_key_of(certificate).ok_or(CertificateError::BadEncoding)?;
    verify_tls13_signature_with_raw_key(message, &key.into(), dss, algorithms)
}

impl ServerCertVerifier for SpiffeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let peer = self.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        match &self.expected {
            Some(expected) if expected.0.contains(&peer.id) || sabotaged(Defence::Identity) => {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(IdentityFault::Unexpected(peer.id).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_possession(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for SpiffeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.verify(end_entity, intermediates, now, KeyUsage::client_auth()) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(error) => match identity_fault(&error) {
                // The one error whose alert, access_denied, tells the caller what is wrong.
                Some(fault) if !matches!(fault, IdentityFault::Unreadable) => {
                    tracing::info!(%fault, "a caller's certificate names no usable identity");
                    Err(CertificateError::ApplicationVerificationFailure.into())
                }
                _ => Err(error),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if sabotaged(Defence::TlsVersion) {
            return rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms);
        }
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_possession(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
