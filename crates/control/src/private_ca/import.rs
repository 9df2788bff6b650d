//! An authority's own certificate, from outside or signed by itself.

use bowline_aws::acmpca::{CertificateAuthorityStatus, CertificateAuthorityType};
use bowline_model::clock::Timestamp;

use super::{PrivateAuthority, PrivateCaError, commands::not_deleted};
use crate::{
    registry::AuthorityRecord,
    x509::{
        chain::{self, ChainError},
        csr::SigningRequest,
        pem,
    },
};

/// Longest certificate that is read. Source: `CertificateBodyBlob`.
const CERTIFICATE_BYTES_MAX: usize = 32_768;
/// Longest chain. AWS takes 2 MB; [`chain::CHAIN_MAX`] certificates have no use for them.
const CHAIN_BYTES_MAX: usize = CERTIFICATE_BYTES_MAX * chain::CHAIN_MAX;

/// Takes in the certificate and makes the authority active.
pub(crate) fn import(
    record: &mut AuthorityRecord,
    private: &mut PrivateAuthority,
    certificate: &[u8],
    above: Option<&[u8]>,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    not_deleted(private)?;
    let malformed = |message: &str| PrivateCaError::Certificate(message.to_owned());
    if certificate.len() > CERTIFICATE_BYTES_MAX || above.is_some_and(|above| above.len() > CHAIN_BYTES_MAX) {
        return Err(malformed("The certificate or its chain is too long."));
    }
    let mut certificates =
        pem::certificates(certificate).map_err(|_| malformed("The certificate is not in PEM."))?;
    let (Some(der), true) = (certificates.pop(), certificates.is_empty()) else {
        return Err(malformed("Certificate must be one certificate: those above it are CertificateChain."));
    };
    let above = match above.filter(|above| !above.is_empty()) {
        Some(above) => {
            pem::certificates(above).map_err(|_| malformed("The certificate chain is not in PEM."))?
        }
        None => Vec::new(),
    };
    let read = chain::parse(&der).ok_or_else(|| malformed("The certificate is not an X.509 certificate."))?;
    let request = SigningRequest::parse(private.csr.as_bytes())
        .map_err(|error| PrivateCaError::Internal(error.to_string()))?;
    if read.public_key().raw != request.public_key_info {
        return Err(PrivateCaError::Mismatch(
            "The certificate is not for the public key of the certificate authority.".into(),
        ));
    }
    // Its name is what the certificates that it signs call their issuer: what it is encoded in may
    // have been changed by whoever signed, but not what it says.
    let wanted = chain::name_text(&request.subject);
    if wanted.is_none() || chain::name_text(read.subject().as_raw()) != wanted {
        return Err(PrivateCaError::Mismatch(
            "The certificate does not have the subject of the certificate signing request.".into(),
        ));
    }
    if !chain::is_authority(&read) || !chain::may_sign(&read) {
        return Err(malformed("The certificate is not one of a certificate authority."));
    }
    match (private.kind, above.is_empty()) {
        (CertificateAuthorityType::Root, false) => {
            return Err(PrivateCaError::Request(
                "A root certificate authority has no certificate chain.".into(),
            ));
        }
        (CertificateAuthorityType::Subordinate, true) => {
            return Err(malformed("A subordinate certificate authority needs a certificate chain."));
        }
        _ => {}
    }
    chain::check(&der, &above, now).map_err(|error| match error {
        ChainError::Incomplete if private.kind == CertificateAuthorityType::Root => {
            malformed("The certificate of a root must be signed by its own key.")
        }
        error => PrivateCaError::Certificate(error.to_string()),
    })?;
    activate(record, private, der, above, now)
}

/// The certificate and its chain become the authority's.
pub(crate) fn activate(
    record: &mut AuthorityRecord,
    private: &mut PrivateAuthority,
    certificate_der: Vec<u8>,
    above: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<(), PrivateCaError> {
    let read = chain::parse(&certificate_der)
        .ok_or_else(|| PrivateCaError::Internal("its certificate cannot be read".into()))?;
    private.validity = Some(chain::validity(&read));
    private.chain = above;
    // One that was disabled stays so: a new certificate is no permission.
    if private.status != CertificateAuthorityStatus::Disabled {
        private.status = CertificateAuthorityStatus::Active;
    }
    private.changed_at = now;
    record.certificate_der = certificate_der;
    Ok(())
}
