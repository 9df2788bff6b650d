//! Certificates and the authorities that issue them: ARNs with a UUID.

use super::{Facts, HEX, Identity};

/// What a certificate authority is asked for after its creation, as a dynamic reference.
fn later(arn: &str, attribute: &str) -> String {
    format!("{{{{resolve:acm-pca:{arn}:{attribute}}}}}")
}

pub(in crate::cfn) fn certificate_authority(facts: &Facts<'_>) -> Identity {
    let arn = facts.arn("acm-pca", &format!("certificate-authority/{}", facts.uuid()));
    Identity::new(arn.clone())
        .with("CertificateSigningRequest", later(&arn, "CertificateSigningRequest"))
        .with("Arn", arn)
}

pub(in crate::cfn) fn private_certificate(facts: &Facts<'_>) -> Identity {
    let authority = facts.text("CertificateAuthorityArn").unwrap_or_default();
    // A serial number of 16 octets, positive and without a leading zero.
    let arn = format!("{authority}/certificate/4{}", facts.random("certificate", HEX, 31));
    Identity::new(arn.clone()).with("Certificate", later(&arn, "Certificate")).with("Arn", arn)
}

pub(in crate::cfn) fn certificate_authority_activation(facts: &Facts<'_>) -> Identity {
    let authority = facts.text("CertificateAuthorityArn").unwrap_or_default();
    Identity::new(authority).with("CompleteCertificateChain", later(authority, "CompleteCertificateChain"))
}

pub(in crate::cfn) fn acm_certificate(facts: &Facts<'_>) -> Identity {
    let arn = facts.arn("acm", &format!("certificate/{}", facts.uuid()));
    Identity::new(arn.clone()).with("CertificateArn", arn)
}
