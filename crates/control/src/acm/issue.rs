//! Certificates that a private authority signs, with keys that are made and sealed here.

use bowline_aws::{
    acm::{CertificateKeyAlgorithm, CertificateStatus, FailureReason},
    acmpca::{IssueCertificateRequest, UsageMode, Validity, ValidityType},
    protocol::Blob,
};
use bowline_model::clock::Timestamp;

use super::{AcmCertificate, AcmError, LIFETIME_DAYS};
use crate::{
    master_key::MasterKey,
    private_ca::{self, PrivateCaError, PrivateCertificate},
    registry::Registry,
    x509::{
        algorithm::{KeyType, SignatureAlgorithm},
        certificate, csr,
        key::PrivateKey,
        name,
    },
};

fn internal(error: impl std::fmt::Display) -> AcmError {
    AcmError::Internal(error.to_string())
}

/// The kind of key that Certificate Manager makes; `None` of what it only imports.
pub(crate) fn key_type(algorithm: CertificateKeyAlgorithm) -> Option<KeyType> {
    Some(match algorithm {
        CertificateKeyAlgorithm::Rsa2048 => KeyType::Rsa2048,
        CertificateKeyAlgorithm::Rsa3072 => KeyType::Rsa3072,
        CertificateKeyAlgorithm::Rsa4096 => KeyType::Rsa4096,
        CertificateKeyAlgorithm::EcPrime256v1 => KeyType::P256,
        CertificateKeyAlgorithm::EcSecp384r1 => KeyType::P384,
        CertificateKeyAlgorithm::Rsa1024 | CertificateKeyAlgorithm::EcSecp521r1 => return None,
    })
}

/// Has the authority of a certificate sign it anew, with a new key. What the authority refuses
/// becomes the certificate's failure, as on AWS. Slow for RSA: outside of any change.
pub(crate) fn sign(
    master_key: &MasterKey,
    registry: &Registry,
    certificate: &mut AcmCertificate,
    now: Timestamp,
) -> Result<Option<PrivateCertificate>, AcmError> {
    match signed(master_key, registry, certificate, now)? {
        Ok(issued) => {
            certificate.status = CertificateStatus::Issued;
            certificate.failure = None;
            Ok(Some(issued))
        }
        Err(error) => {
            tracing::warn!(certificate = %certificate.arn, %error, "the private authority did not sign");
            certificate.failure = Some(match error {
                PrivateCaError::NotFound(_) | PrivateCaError::Arn(_) => FailureReason::PcaResourceNotFound,
                PrivateCaError::State(_) => FailureReason::PcaInvalidState,
                PrivateCaError::Limit(_) => FailureReason::PcaLimitExceeded,
                PrivateCaError::Args(_) => FailureReason::PcaInvalidArgs,
                _ => FailureReason::PcaRequestFailed,
            });
            // What was issued before stays as good as it was.
            if certificate.certificate_der.is_empty() {
                certificate.status = CertificateStatus::Failed;
            }
            Ok(None)
        }
    }
}

fn signed(
    master_key: &MasterKey,
    registry: &Registry,
    certificate: &mut AcmCertificate,
    now: Timestamp,
) -> Result<Result<PrivateCertificate, PrivateCaError>, AcmError> {
    let authority =
        certificate.authority.as_ref().ok_or_else(|| internal("it has no authority"))?.to_string();
    let (record, private) = match private_ca::find(registry, &authority, now) {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    if private.usage_mode == UsageMode::ShortLivedCertificate {
        return Ok(Err(PrivateCaError::Args(
            "An authority in the SHORT_LIVED_CERTIFICATE mode does not issue for Certificate Manager.".into(),
        )));
    }
    let kind =
        key_type(certificate.key_algorithm).ok_or_else(|| internal("its key's algorithm is not here"))?;
    let key = PrivateKey::generate(kind).map_err(internal)?;
    let names = certificate::dns_names(certificate.names.iter().map(String::as_str));
    let subject = name::of_common_name(&certificate.domain);
    let csr = csr::make(&subject, &key, SignatureAlgorithm::usual(kind), &[names]).map_err(internal)?;
    // No longer than the authority itself.
    let whole = now + std::time::Duration::from_secs(u64::try_from(LIFETIME_DAYS).unwrap_or(1) * 86_400);
    let until = private.validity.map_or(whole, |(_, until)| until.min(whole));
    let request = IssueCertificateRequest {
        api_passthrough: None,
        certificate_authority_arn: authority,
        csr: Blob(csr.into_bytes()),
        signing_algorithm: private.configuration.signing_algorithm,
        template_arn: None,
        validity: Validity {
            r#type: ValidityType::Absolute,
            value: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
        },
        validity_not_before: None,
        idempotency_token: None,
    };
    let issued = match private_ca::issue::issue(master_key, registry, record, private, &request, now) {
        Ok(issued) => issued,
        Err(error) => return Ok(Err(error)),
    };
    let read = crate::x509::chain::parse(&issued.certificate_der)
        .ok_or_else(|| internal("what was signed cannot be read"))?;
    certificate.validity = Some(crate::x509::chain::validity(&read));
    certificate.sealed_key = master_key.seal(certificate.arn.as_str(), key.pkcs8()).map_err(internal)?;
    certificate.certificate_der.clone_from(&issued.certificate_der);
    certificate.chain =
        std::iter::once(record.certificate_der.clone()).chain(private.chain.iter().cloned()).collect();
    certificate.issued_at = Some(now);
    Ok(Ok(issued))
}
