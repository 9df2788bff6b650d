//! Lists of certificates.

use bowline_aws::{
    acm::{
        CertificateKeyAlgorithm, CertificateSummary, CertificateType, ListCertificatesRequest,
        ListCertificatesResponse, SortOrder,
    },
    protocol::Fault,
};

use super::{
    describe::{eligibility, purposes, usages},
    invalid,
};
use crate::{
    acm::{AcmCertificate, in_use_by},
    api::{
        call::{Call, wire},
        constraint, pages,
    },
    registry::Registry,
    x509::chain,
};

/// Most names of a summary. Source: `SubjectAlternativeNameSummaries`.
const SUMMARY_NAMES_MAX: usize = 100;
/// The keys that are listed where no others are asked for. Source: `Filters.keyTypes`.
const KEYS_DEFAULT: [CertificateKeyAlgorithm; 2] =
    [CertificateKeyAlgorithm::Rsa1024, CertificateKeyAlgorithm::Rsa2048];

pub(super) fn list(
    call: &Call<'_>,
    request: ListCertificatesRequest,
) -> Result<ListCertificatesResponse, Fault> {
    if request.sort_by.is_some() != request.sort_order.is_some() {
        return Err(invalid("SortBy and SortOrder go together."));
    }
    let size = request.max_items.unwrap_or(100);
    constraint::range("maxItems", size, 1..=1_000).map_err(invalid)?;
    let registry = call.registry();
    let filters = request.includes.unwrap_or_default();
    let keys = match filters.key_types.is_empty() {
        true => &KEYS_DEFAULT[..],
        false => &filters.key_types,
    };
    let summaries = registry
        .acm_certificates
        .values()
        .filter(|certificate| {
            let status = certificate.status_at(call.now);
            (request.certificate_statuses.is_empty() || request.certificate_statuses.contains(&status))
                && keys.contains(&certificate.key_algorithm)
                && filters.managed_by.is_none()
                && filters.export_option.is_none_or(|wanted| certificate.options.export == Some(wanted))
        })
        .map(|certificate| summary(&registry, certificate, call))
        .filter(|summary| {
            filters.key_usage.iter().all(|wanted| wanted == "ANY" || summary.key_usages.contains(wanted))
                && filters
                    .extended_key_usage
                    .iter()
                    .all(|wanted| wanted == "ANY" || summary.extended_key_usages.contains(wanted))
        });
    let descending = request.sort_order == Some(SortOrder::Descending);
    let key = |summary: &CertificateSummary| {
        let key = format!("{:020} {}", summary.created_at.milliseconds(), summary.certificate_arn);
        if descending { pages::reversed(&key) } else { key }
    };
    let operation = if descending { "ListCertificates descending" } else { "ListCertificates" };
    let size = usize::try_from(size).unwrap_or(1);
    let page = pages::page(operation, summaries, key, request.next_token.as_deref(), size)
        .map_err(|_| Fault::new("InvalidArgsException", "The NextToken value is invalid."))?;
    Ok(ListCertificatesResponse { certificate_summary_list: page.items, next_token: page.next_token })
}

fn summary(registry: &Registry, certificate: &AcmCertificate, call: &Call<'_>) -> CertificateSummary {
    let read = chain::parse(&certificate.certificate_der);
    let imported = certificate.kind == CertificateType::Imported;
    CertificateSummary {
        certificate_arn: certificate.arn.to_string(),
        domain_name: certificate.domain.clone(),
        subject_alternative_name_summaries: certificate
            .names
            .iter()
            .take(SUMMARY_NAMES_MAX)
            .cloned()
            .collect(),
        has_additional_subject_alternative_names: certificate.names.len() > SUMMARY_NAMES_MAX,
        status: certificate.status_at(call.now),
        r#type: certificate.kind,
        key_algorithm: certificate.key_algorithm,
        key_usages: read
            .as_ref()
            .map(|read| usages(read).into_iter().map(|usage| usage.name).collect())
            .unwrap_or_default(),
        extended_key_usages: read
            .as_ref()
            .map(|read| purposes(read).into_iter().map(|usage| usage.name).collect())
            .unwrap_or_default(),
        in_use: !in_use_by(registry, &certificate.arn).is_empty(),
        exported: (certificate.kind == CertificateType::Private).then_some(certificate.exported),
        renewal_eligibility: eligibility(registry, certificate),
        not_before: certificate.validity.map(|(from, _)| wire(from)),
        not_after: certificate.validity.map(|(_, until)| wire(until)),
        created_at: wire(certificate.created_at),
        issued_at: certificate.issued_at.filter(|_| !imported).map(wire),
        imported_at: certificate.issued_at.filter(|_| imported).map(wire),
    }
}
