//! Certificates that a private authority signs, with keys that are made and sealed here.

use bowline_aws::{
    acm::{
        Certificate, CertificateKeyAlgorithm, CertificateOptions, CertificateStatus, CertificateType,
        FailureReason,
    },
    acmpca::{IssueCertificateRequest, UsageMode, Validity, ValidityType},
    protocol::Blob,
};
use bowline_model::{arn::Arn, clock::Timestamp};

use super::{AcmCertificate, AcmError, LIFETIME, commands};
use crate::{
    authorities::{Authorities, LeafOrder},
    ca::CheckedCsr,
    master_key::MasterKey,
    private_ca::{self, PrivateCaError, PrivateCertificate},
    registry::Registry,
    x509::{
        algorithm::{KeyType, SignatureAlgorithm},
        certificate, csr,
        key::PrivateKey,
        name, pem,
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

/// The certificate of a template's `AWS::CertificateManager::Certificate`: signed by the private
/// authority that it names, or by the gateways' own public one.
pub(crate) fn for_template(
    authorities: &Authorities,
    registry: &Registry,
    arn: &Arn,
    body: &Certificate,
    now: Timestamp,
) -> Result<(AcmCertificate, Option<PrivateCertificate>), AcmError> {
    let names = commands::names(&body.domain_name, &body.subject_alternative_names)?;
    let authority = body
        .certificate_authority_arn
        .as_ref()
        .map(|arn| arn.parse::<Arn>().map_err(|_| AcmError::Arn(arn.clone())))
        .transpose()?;
    let key_algorithm = match (body.key_algorithm.as_deref(), &authority) {
        (Some("EC_prime256v1"), _) | (_, None) => CertificateKeyAlgorithm::EcPrime256v1,
        (Some("EC_secp384r1"), _) => CertificateKeyAlgorithm::EcSecp384r1,
        (None | Some("RSA_2048"), _) => CertificateKeyAlgorithm::Rsa2048,
        (Some(other), _) => {
            return Err(AcmError::Parameter(format!("KeyAlgorithm {other} is not here.")));
        }
    };
    let mut certificate = AcmCertificate {
        arn: arn.clone(),
        kind: if authority.is_some() { CertificateType::Private } else { CertificateType::AmazonIssued },
        status: CertificateStatus::Issued,
        failure: None,
        domain: names.first().cloned().unwrap_or_default(),
        names,
        key_algorithm,
        certificate_der: Vec::new(),
        chain: Vec::new(),
        sealed_key: Vec::new(),
        authority,
        validity: None,
        pinned: false,
        validation: None,
        created_at: now,
        issued_at: None,
        renewed_at: None,
        rollover: None,
        failed_renewal: None,
        exported: false,
        options: CertificateOptions {
            certificate_transparency_logging_preference: body.certificate_transparency_logging_preference,
            export: body.certificate_export,
        },
        tags: body.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        token: None,
    };
    commands::check_tags(&certificate.tags)?;
    let master_key = authorities.master_key();
    if certificate.authority.is_some() {
        return match signed(master_key, registry, &mut certificate, now)? {
            Ok(issued) => Ok((certificate, Some(issued))),
            Err(error) => Err(AcmError::State(error.to_string())),
        };
    }
    sign_publicly(authorities, &mut certificate, now)?;
    Ok((certificate, None))
}

/// Has the gateways' own public authority sign a certificate anew, with a new key.
pub(crate) fn sign_publicly(
    authorities: &Authorities,
    certificate: &mut AcmCertificate,
    now: Timestamp,
) -> Result<(), AcmError> {
    let key = PrivateKey::generate(KeyType::P256).map_err(internal)?;
    let subject = name::of_common_name(&certificate.domain);
    let csr = csr::make(&subject, &key, SignatureAlgorithm::EcdsaSha256, &[]).map_err(internal)?;
    let (_, csr) = pem::one(csr.as_bytes(), &["CERTIFICATE REQUEST"]).map_err(|_| internal("its request"))?;
    let order = LeafOrder {
        authority: None,
        spiffe_id: None,
        dns_names: certificate.names.clone(),
        addresses: Vec::new(),
        ttl: LIFETIME,
        public: true,
    };
    let issued =
        authorities.issue(&order, &CheckedCsr::parse(&csr).map_err(internal)?, now).map_err(internal)?;
    certificate.certificate_der = issued.chain_der.into_iter().next().unwrap_or_default();
    certificate.chain =
        pem::certificates(authorities.public_roots_pem().as_bytes()).map_err(|_| internal("its root"))?;
    certificate.sealed_key =
        authorities.master_key().seal(certificate.arn.as_str(), key.pkcs8()).map_err(internal)?;
    certificate.validity = Some((issued.not_before, issued.not_after));
    certificate.issued_at = Some(now);
    certificate.status = CertificateStatus::Issued;
    certificate.failure = None;
    Ok(())
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
    let whole = now + LIFETIME;
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
