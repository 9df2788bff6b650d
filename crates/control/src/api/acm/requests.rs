//! How certificates come in: requested, or imported.

use bowline_aws::{
    acm::{
        CertificateArnResponse, CertificateKeyAlgorithm, CertificateOptions, CertificateStatus,
        CertificateType, ImportCertificateRequest, RequestCertificateRequest, ValidationMethod,
    },
    protocol::Fault,
};

use super::{invalid, settings::tags_of};
use crate::{
    acm::{
        AcmCertificate, AcmError,
        commands::{self, check_tags},
        find, import as importing, issue, rollover,
    },
    api::{call::Call, constraint},
    private_ca, random,
};

pub(super) fn request(
    call: &Call<'_>,
    request: RequestCertificateRequest,
) -> Result<CertificateArnResponse, Fault> {
    let token = request.idempotency_token;
    constraint::length("idempotencyToken", token.as_deref().unwrap_or("x"), 1..=32)
        .map_err(AcmError::Parameter)?;
    let names = commands::names(&request.domain_name, &request.subject_alternative_names)?;
    let domain = names.first().cloned().unwrap_or_default();
    let tags = tags_of(request.tags)?;
    check_tags(&tags)?;
    let key_algorithm = request.key_algorithm.unwrap_or(CertificateKeyAlgorithm::Rsa2048);
    if issue::key_type(key_algorithm).is_none() {
        return Err(AcmError::Parameter("KeyAlgorithm is not supported for a request.".into()).into());
    }
    for option in &request.domain_validation_options {
        let named = option.domain_name.to_ascii_lowercase();
        if !names.contains(&named) {
            return Err(AcmError::Domains(format!("The certificate is not for {named}.")).into());
        }
        let validated = option.validation_domain.to_ascii_lowercase();
        if named != validated && !named.ends_with(&format!(".{validated}")) {
            return Err(AcmError::Domains(format!("{validated} is not above {named}.")).into());
        }
    }
    let answer = |arn: String| CertificateArnResponse { certificate_arn: arn };
    let registry = call.registry();
    if let Some(arn) = commands::made_before(&registry, &domain, token.as_deref(), call.now) {
        return Ok(answer(arn.to_string()));
    }
    let authority = request
        .certificate_authority_arn
        .map(|arn| match private_ca::find(&registry, &arn, call.now) {
            Err(private_ca::PrivateCaError::Arn(_)) => Err(AcmError::Arn(arn)),
            _ => arn.parse().map_err(|_| AcmError::Arn(arn)),
        })
        .transpose()?;
    if authority.is_some() && request.validation_method.is_some() {
        return Err(AcmError::Parameter(
            "ValidationMethod is not for certificates of a private certificate authority.".into(),
        )
        .into());
    }
    let private = authority.is_some();
    let mut certificate = AcmCertificate {
        arn: call.scope.arn("acm", format_args!("certificate/{}", random::uuid())),
        kind: if private { CertificateType::Private } else { CertificateType::AmazonIssued },
        status: CertificateStatus::PendingValidation,
        failure: None,
        domain,
        names,
        key_algorithm,
        certificate_der: Vec::new(),
        chain: Vec::new(),
        sealed_key: Vec::new(),
        authority,
        validity: None,
        pinned: false,
        validation: (!private).then(|| request.validation_method.unwrap_or(ValidationMethod::Email)),
        created_at: call.now,
        issued_at: None,
        renewed_at: None,
        rollover: None,
        failed_renewal: None,
        exported: false,
        options: request.options.unwrap_or_default(),
        tags,
        token,
    };
    let issued = match private {
        true => issue::sign(call.core.authorities().master_key(), &registry, &mut certificate, call.now)?,
        false => {
            tracing::warn!(
                certificate = %certificate.arn,
                "a public certificate stays PENDING_VALIDATION: nobody validates names for it here"
            );
            None
        }
    };
    let arn = certificate.arn.to_string();
    call.change(|registry| {
        if let Some(issued) = issued {
            private_ca::commands::keep(registry, issued, call.now)?;
        }
        Ok(commands::add(registry, certificate)?)
    })?;
    Ok(answer(arn))
}

pub(super) fn import(
    call: &Call<'_>,
    request: ImportCertificateRequest,
) -> Result<CertificateArnResponse, Fault> {
    let tags = tags_of(request.tags)?;
    check_tags(&tags)?;
    let above = request.certificate_chain.as_ref().map(|above| above.0.as_slice());
    let key = zeroize::Zeroizing::new(request.private_key.0);
    let registry = call.registry();
    let present = match &request.certificate_arn {
        None => None,
        Some(_) if !tags.is_empty() => {
            return Err(invalid("Tags cannot be given when a certificate is imported again."));
        }
        Some(given) => {
            let present = find(&registry, given)?;
            if present.kind != CertificateType::Imported {
                return Err(invalid("Only an imported certificate can be imported again."));
            }
            Some(present)
        }
    };
    let imported = importing::check(&request.certificate.0, &key, above, call.now)?;
    let arn = match present {
        Some(present) => present.arn.clone(),
        None => call.scope.arn("acm", format_args!("certificate/{}", random::uuid())),
    };
    let sealed_key = call
        .core
        .authorities()
        .master_key()
        .seal(arn.as_str(), imported.key.pkcs8())
        .map_err(|error| AcmError::Internal(error.to_string()))?;
    if imported.pinned {
        tracing::warn!(
            certificate = %arn,
            "it has no subject alternative name, or is of X.509 version 1: no chain of it is believed, its key has to \
             be pinned"
        );
    }
    let certificate = AcmCertificate {
        kind: CertificateType::Imported,
        status: CertificateStatus::Issued,
        failure: None,
        domain: imported.names.first().cloned().unwrap_or_default(),
        names: imported.names,
        key_algorithm: imported.key_algorithm,
        certificate_der: imported.certificate_der,
        chain: imported.chain,
        sealed_key,
        authority: None,
        validity: Some(imported.validity),
        pinned: imported.pinned,
        validation: None,
        created_at: present.map_or(call.now, |present| present.created_at),
        issued_at: Some(call.now),
        renewed_at: None,
        rollover: None,
        failed_renewal: None,
        exported: false,
        options: CertificateOptions::default(),
        tags: present.map_or(tags, |present| present.tags.clone()),
        token: None,
        arn,
    };
    let arn = certificate.arn.to_string();
    call.change(|registry| match request.certificate_arn {
        Some(given) => Ok(commands::change(registry, &given, |present| {
            let mut certificate = certificate;
            rollover::begin(present, &mut certificate, call.now);
            *present = certificate;
            Ok(())
        })?),
        None => Ok(commands::add(registry, certificate)?),
    })?;
    Ok(CertificateArnResponse { certificate_arn: arn })
}
