//! What is known of a certificate.

use aws_lc_rs::digest;
use bowline_aws::{
    acm::{
        CertificateArnRequest, CertificateDetail, CertificateStatus, CertificateType,
        DescribeCertificateResponse, DomainValidation, ExtendedUsage, NamedUsage, RenewalSummary,
        ResourceRecord, ValidationMethod,
    },
    protocol::Fault,
};
use bowline_model::clock::Timestamp;
use x509_parser::certificate::X509Certificate;

use crate::{
    acm::{AcmCertificate, find, in_use_by, renewal},
    api::call::{Call, wire},
    private_ca::commands::hex,
    registry::Registry,
    x509::{algorithm, chain},
};

pub(super) fn describe(
    call: &Call<'_>,
    request: CertificateArnRequest,
) -> Result<DescribeCertificateResponse, Fault> {
    let registry = call.registry();
    let certificate = find(&registry, &request.certificate_arn)?;
    Ok(DescribeCertificateResponse { certificate: detail(&registry, certificate, call.now) })
}

/// `ELIGIBLE` where it will be renewed by itself.
pub(super) fn eligibility(registry: &Registry, certificate: &AcmCertificate) -> String {
    if renewal::is_eligible(registry, certificate) { "ELIGIBLE" } else { "INELIGIBLE" }.to_owned()
}

fn detail(registry: &Registry, certificate: &AcmCertificate, now: Timestamp) -> CertificateDetail {
    let read = chain::parse(&certificate.certificate_der);
    let read = read.as_ref();
    let imported = certificate.kind == CertificateType::Imported;
    let when = |at: Option<Timestamp>, told: bool| at.filter(|_| told).map(wire);
    CertificateDetail {
        certificate_arn: certificate.arn.to_string(),
        domain_name: certificate.domain.clone(),
        subject_alternative_names: certificate.names.clone(),
        domain_validation_options: validations(certificate),
        serial: read
            .map(|read| read.raw_serial().iter().map(|octet| hex(&[*octet])).collect::<Vec<_>>().join(":")),
        subject: read.map(|read| read.subject().to_string()),
        issuer: read.map(|read| {
            let name = read.issuer().iter_organization().chain(read.issuer().iter_common_name()).next();
            name.and_then(|name| name.as_str().ok()).map_or_else(|| read.issuer().to_string(), str::to_owned)
        }),
        created_at: when(Some(certificate.created_at), !imported),
        issued_at: when(certificate.issued_at, !imported),
        imported_at: when(certificate.issued_at, imported),
        status: certificate.status_at(now),
        not_before: certificate.validity.map(|(from, _)| wire(from)),
        not_after: certificate.validity.map(|(_, until)| wire(until)),
        key_algorithm: certificate.key_algorithm,
        signature_algorithm: read.map(|read| algorithm::signature_name(&read.signature_algorithm).to_owned()),
        in_use_by: in_use_by(registry, &certificate.arn),
        failure_reason: certificate.failure.filter(|_| certificate.status == CertificateStatus::Failed),
        r#type: certificate.kind,
        renewal_summary: renewal_summary(registry, certificate, now),
        key_usages: read.map(usages).unwrap_or_default(),
        extended_key_usages: read.map(purposes).unwrap_or_default(),
        certificate_authority_arn: certificate.authority.as_ref().map(ToString::to_string),
        renewal_eligibility: eligibility(registry, certificate),
        options: certificate.options,
    }
}

/// How its renewal goes; nothing of one that was never due.
fn renewal_summary(
    registry: &Registry,
    certificate: &AcmCertificate,
    now: Timestamp,
) -> Option<RenewalSummary> {
    let eligible = renewal::is_eligible(registry, certificate);
    let due = renewal::due_at(certificate).filter(|due| eligible && *due <= now);
    let (renewal_status, at) = match (certificate.failed_renewal, due, certificate.renewed_at) {
        (Some(failed), ..) => ("FAILED", failed.at),
        (None, Some(due), _) => ("PENDING_AUTO_RENEWAL", due),
        (None, None, Some(renewed)) => ("SUCCESS", renewed),
        (None, None, None) => return None,
    };
    Some(RenewalSummary {
        renewal_status: renewal_status.to_owned(),
        renewal_status_reason: certificate.failure.filter(|_| certificate.failed_renewal.is_some()),
        domain_validation_options: Vec::new(),
        updated_at: wire(at),
    })
}

/// How each name of a public certificate was to be validated.
fn validations(certificate: &AcmCertificate) -> Vec<DomainValidation> {
    let Some(method) = certificate.validation else { return Vec::new() };
    let of = |name: &String| DomainValidation {
        domain_name: name.clone(),
        validation_domain: Some(name.clone()),
        validation_status: CertificateStatus::PendingValidation,
        // Its target says that nobody looks for it.
        resource_record: (method == ValidationMethod::Dns).then(|| {
            let hash = digest::digest(&digest::SHA256, format!("{} {name}", certificate.arn).as_bytes());
            let (left, right) = hash.as_ref().split_at(16);
            ResourceRecord {
                name: format!("_{}.{}.", hex(left), name.strip_prefix("*.").unwrap_or(name)),
                r#type: "CNAME".to_owned(),
                value: format!("_{}.acm-validations.invalid.", hex(right)),
            }
        }),
        validation_method: method,
    };
    certificate.names.iter().map(of).collect()
}

/// ACM's names of a key's usages.
pub(super) fn usages(certificate: &X509Certificate<'_>) -> Vec<NamedUsage> {
    let Some(usage) = certificate.key_usage().ok().flatten() else { return Vec::new() };
    let usage = usage.value;
    let named = [
        (usage.digital_signature(), "DIGITAL_SIGNATURE"),
        (usage.non_repudiation(), "NON_REPUDIATION"),
        (usage.key_encipherment(), "KEY_ENCIPHERMENT"),
        (usage.data_encipherment(), "DATA_ENCIPHERMENT"),
        (usage.key_agreement(), "KEY_AGREEMENT"),
        (usage.key_cert_sign(), "CERTIFICATE_SIGNING"),
        (usage.crl_sign(), "CRL_SIGNING"),
        (usage.encipher_only(), "ENCIPHER_ONLY"),
        (usage.decipher_only(), "DECIPHER_ONLY"),
    ];
    named.into_iter().filter(|(set, _)| *set).map(|(_, name)| NamedUsage { name: name.to_owned() }).collect()
}

/// ACM's names of a key's purposes.
pub(super) fn purposes(certificate: &X509Certificate<'_>) -> Vec<ExtendedUsage> {
    let Some(usage) = certificate.extended_key_usage().ok().flatten() else { return Vec::new() };
    let usage = usage.value;
    let named = [
        (usage.server_auth, "TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "CODE_SIGNING", "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "EMAIL_PROTECTION", "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "TIME_STAMPING", "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "OCSP_SIGNING", "1.3.6.1.5.5.7.3.9"),
        (usage.any, "ANY", "2.5.29.37.0"),
    ];
    let known = named
        .into_iter()
        .filter(|(set, ..)| *set)
        .map(|(_, name, oid)| ExtendedUsage { name: name.to_owned(), oid: oid.to_owned() });
    let custom =
        usage.other.iter().map(|oid| ExtendedUsage { name: "CUSTOM".to_owned(), oid: oid.to_id_string() });
    known.chain(custom).collect()
}
