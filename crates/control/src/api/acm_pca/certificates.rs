//! Certificates that authorities issue.

use bowline_aws::{
    acmpca::{
        CertificateResponse, Empty, GetCertificateRequest, IssueCertificateRequest, IssueCertificateResponse,
        RevokeCertificateRequest,
    },
    protocol::Fault,
};

use super::{authorities::chain_text, invalid};
use crate::{
    api::{call::Call, constraint},
    private_ca::{
        PrivateCaError,
        commands::{self, not_deleted},
        find, issue as issuing,
    },
    x509::pem,
};

pub(super) fn issue(
    call: &Call<'_>,
    request: IssueCertificateRequest,
) -> Result<IssueCertificateResponse, Fault> {
    let token = request.idempotency_token.as_deref();
    constraint::length("idempotencyToken", token.unwrap_or("x"), 1..=36).map_err(invalid)?;
    let registry = call.registry();
    let (record, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    if let Some(before) = issuing::issued_before(&registry, record, token, call.now) {
        return Ok(IssueCertificateResponse { certificate_arn: before.arn.to_string() });
    }
    let master_key = call.core.authorities().master_key();
    let issued = issuing::issue(master_key, &registry, record, private, &request, call.now)?;
    let certificate_arn = issued.arn.to_string();
    call.change(|registry| {
        // It may have been disabled while the certificate was being signed.
        let (_, present) = find(registry, &request.certificate_authority_arn, call.now)?;
        if present.status != private.status {
            return Err(PrivateCaError::State("The certificate authority is not ACTIVE.".into()).into());
        }
        Ok(commands::keep(registry, issued, call.now)?)
    })?;
    Ok(IssueCertificateResponse { certificate_arn })
}

pub(super) fn get(call: &Call<'_>, request: GetCertificateRequest) -> Result<CertificateResponse, Fault> {
    let registry = call.registry();
    let (record, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    not_deleted(private)?;
    let given = &request.certificate_arn;
    if !given.starts_with("arn:") || !given.contains(":acm-pca:") || !given.contains("/certificate/") {
        return Err(PrivateCaError::Arn(given.chars().take(200).collect()).into());
    }
    let found = registry.private_certificates.get(given).filter(|found| found.authority == record.arn);
    let found = found.ok_or_else(|| {
        PrivateCaError::NotFound("The certificate authority issued no such certificate.".into())
    })?;
    // A root's own certificate stands alone.
    let own = found.certificate_der == record.certificate_der || record.certificate_der.is_empty();
    let above: Vec<&[u8]> = match own {
        true => private.chain.iter().map(Vec::as_slice).collect(),
        false => std::iter::once(record.certificate_der.as_slice())
            .chain(private.chain.iter().map(Vec::as_slice))
            .collect(),
    };
    Ok(CertificateResponse {
        certificate: pem::write("CERTIFICATE", &found.certificate_der),
        certificate_chain: chain_text(&above),
    })
}

pub(super) fn revoke(call: &Call<'_>, request: RevokeCertificateRequest) -> Result<Empty, Fault> {
    constraint::length("certificateSerial", &request.certificate_serial, 0..=128).map_err(invalid)?;
    call.change(|registry| {
        commands::revoke(
            registry,
            &request.certificate_authority_arn,
            &request.certificate_serial,
            request.revocation_reason,
            call.now,
        )?;
        Ok(Empty {})
    })
}
