//! For tests: a certificate's row.

use bowline_aws::acm::{CertificateKeyAlgorithm, CertificateOptions, CertificateStatus, CertificateType};
use bowline_model::clock::Timestamp;

use super::AcmCertificate;

/// An imported certificate of no content.
pub(crate) fn certificate() -> AcmCertificate {
    AcmCertificate {
        arn: "arn:aws:acm:us-east-1:000000000000:certificate/a".parse().expect("an ARN"),
        kind: CertificateType::Imported,
        status: CertificateStatus::Issued,
        failure: None,
        domain: "a".into(),
        names: vec!["a".into()],
        key_algorithm: CertificateKeyAlgorithm::EcPrime256v1,
        certificate_der: Vec::new(),
        chain: Vec::new(),
        sealed_key: vec![0],
        authority: None,
        validity: None,
        pinned: true,
        validation: None,
        created_at: Timestamp::from_secs(0),
        issued_at: None,
        renewed_at: None,
        rollover: None,
        failed_renewal: None,
        exported: false,
        options: CertificateOptions::default(),
        tags: Default::default(),
        token: None,
    }
}
