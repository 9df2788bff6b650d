//! Certificates and their keys, given out, renewed and removed.

use bowline_aws::{
    acm::{
        CertificateArnRequest, CertificateStatus, CertificateType, Empty, ExportCertificateRequest,
        ExportCertificateResponse, GetCertificateResponse,
    },
    protocol::Fault,
};
use zeroize::Zeroizing;

use super::invalid;
use crate::{
    acm::{AcmCertificate, AcmError, commands, export as exporting, find, renewal},
    api::{acm_pca::authorities::chain_text, call::Call},
    x509::pem,
};

/// One that was issued has something to give.
fn issued(certificate: &AcmCertificate) -> Result<(), AcmError> {
    match certificate.certificate_der.is_empty() {
        true => Err(AcmError::InProgress(certificate.arn.to_string())),
        false => Ok(()),
    }
}

pub(super) fn get(call: &Call<'_>, request: CertificateArnRequest) -> Result<GetCertificateResponse, Fault> {
    let registry = call.registry();
    let certificate = find(&registry, &request.certificate_arn)?;
    issued(certificate)?;
    Ok(GetCertificateResponse {
        certificate: pem::write("CERTIFICATE", &certificate.certificate_der),
        certificate_chain: chain_text(&certificate.chain),
    })
}

pub(super) fn export(
    call: &Call<'_>,
    request: ExportCertificateRequest,
) -> Result<ExportCertificateResponse, Fault> {
    let passphrase = Zeroizing::new(request.passphrase.0);
    if !(4..=128).contains(&passphrase.len()) {
        return Err(invalid("Passphrase must have 4-128 bytes."));
    }
    let registry = call.registry();
    let certificate = find(&registry, &request.certificate_arn)?;
    if certificate.kind != CertificateType::Private {
        return Err(invalid("Only certificates of a private certificate authority can be exported."));
    }
    issued(certificate)?;
    let key = call
        .core
        .authorities()
        .master_key()
        .open(certificate.arn.as_str(), &certificate.sealed_key)
        .map_err(|error| AcmError::Internal(error.to_string()))?;
    let private_key = exporting::encrypt(&key, &passphrase)?;
    let answer = ExportCertificateResponse {
        certificate: pem::write("CERTIFICATE", &certificate.certificate_der),
        certificate_chain: chain_text(&certificate.chain),
        private_key,
    };
    call.change(|registry| {
        Ok(commands::change(registry, &request.certificate_arn, |certificate| {
            certificate.exported = true;
            Ok(())
        })?)
    })?;
    Ok(answer)
}

pub(super) fn delete(call: &Call<'_>, request: CertificateArnRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        commands::delete(registry, &request.certificate_arn)?;
        Ok(Empty {})
    })
}

pub(super) fn renew(call: &Call<'_>, request: CertificateArnRequest) -> Result<Empty, Fault> {
    let registry = call.registry();
    let certificate = find(&registry, &request.certificate_arn)?;
    if certificate.status == CertificateStatus::PendingValidation {
        return Err(AcmError::InProgress(certificate.arn.to_string()).into());
    }
    if certificate.kind != CertificateType::Private || !renewal::is_eligible(&registry, certificate) {
        return Err(invalid(
            "Only a certificate of a private certificate authority that was exported, or is in use, can be renewed.",
        ));
    }
    let renewed = renewal::signed_again(call.core.authorities(), &registry, certificate, call.now)?;
    call.change(|registry| {
        // It may have been deleted while the new one was signed.
        renewal::install(registry, renewed, call.now)?;
        Ok(Empty {})
    })
}
