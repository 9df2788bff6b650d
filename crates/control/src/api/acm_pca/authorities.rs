//! Authorities.

use bowline_aws::{
    acmpca::{
        CertificateAuthorityArnRequest, CertificateAuthorityDetail, CertificateResponse,
        CreateCertificateAuthorityRequest, CreateCertificateAuthorityResponse,
        DeleteCertificateAuthorityRequest, DescribeCertificateAuthorityResponse, Empty,
        GetCertificateAuthorityCsrResponse, ImportCertificateAuthorityCertificateRequest,
        ListCertificateAuthoritiesRequest, ListCertificateAuthoritiesResponse, ResourceOwner,
        UpdateCertificateAuthorityRequest, UsageMode,
    },
    protocol::Fault,
};
use bowline_model::clock::Timestamp;

use super::{invalid, page_of, tags::tags_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    private_ca::{
        PrivateAuthority, PrivateCaError,
        commands::{self, NewAuthority, hex},
        find, import as importing,
    },
    random,
    registry::AuthorityRecord,
    x509::{chain, pem},
};

pub(super) fn create(
    call: &Call<'_>,
    request: CreateCertificateAuthorityRequest,
) -> Result<CreateCertificateAuthorityResponse, Fault> {
    let token = request.idempotency_token;
    constraint::length("idempotencyToken", token.as_deref().unwrap_or("x"), 1..=36).map_err(invalid)?;
    let answer = |arn: String| CreateCertificateAuthorityResponse { certificate_authority_arn: arn };
    {
        let registry = call.registry();
        if let Some(arn) = commands::made_before(&registry, token.as_deref(), call.now) {
            return Ok(answer(arn.to_string()));
        }
        commands::check_room(&registry)?;
    }
    let new = NewAuthority {
        kind: request.certificate_authority_type,
        configuration: request.certificate_authority_configuration,
        revocation: request.revocation_configuration,
        usage_mode: request.usage_mode.unwrap_or(UsageMode::GeneralPurpose),
        key_storage: request.key_storage_security_standard,
        tags: tags_of(request.tags)?,
        token,
    };
    let arn = call.scope.arn("acm-pca", format_args!("certificate-authority/{}", random::uuid()));
    // Before the registry is changed: nobody else can change it meanwhile, and RSA takes seconds.
    let record = commands::make(call.core.authorities().master_key(), arn, new, call.now).map_err(
        |error| match error {
            PrivateCaError::TooManyTags => PrivateCaError::Tag(error.to_string()),
            error => error,
        },
    )?;
    call.change(|registry| {
        commands::check_room(registry)?;
        let token = record.private.as_ref().and_then(|private| private.token.as_deref());
        if let Some(arn) = commands::made_before(registry, token, call.now) {
            return Ok(answer(arn.to_string()));
        }
        let arn = record.arn.to_string();
        registry.authorities.put(arn.clone(), record);
        Ok(answer(arn))
    })
}

fn detail(
    record: &AuthorityRecord,
    private: &PrivateAuthority,
    account: &str,
    now: Timestamp,
) -> CertificateAuthorityDetail {
    // With colons, as AWS tells it.
    let serial = chain::parse(&record.certificate_der).map(|read| {
        let octets = read.raw_serial().iter().map(|octet| hex(&[*octet]));
        octets.collect::<Vec<_>>().join(":")
    });
    CertificateAuthorityDetail {
        arn: record.arn.to_string(),
        owner_account: account.to_owned(),
        created_at: wire(private.created_at),
        last_state_change_at: Some(wire(private.changed_at)),
        r#type: private.kind,
        serial,
        status: private.status_at(now),
        not_before: private.validity.map(|(from, _)| wire(from)),
        not_after: private.validity.map(|(_, until)| wire(until)),
        certificate_authority_configuration: private.configuration.clone(),
        revocation_configuration: private.revocation.clone(),
        restorable_until: private.restorable_until.map(wire),
        key_storage_security_standard: private.key_storage,
        usage_mode: private.usage_mode,
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: CertificateAuthorityArnRequest,
) -> Result<DescribeCertificateAuthorityResponse, Fault> {
    let registry = call.registry();
    let (record, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    Ok(DescribeCertificateAuthorityResponse {
        certificate_authority: detail(record, private, &call.scope.account_id, call.now),
    })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListCertificateAuthoritiesRequest,
) -> Result<ListCertificateAuthoritiesResponse, Fault> {
    let registry = call.registry();
    let own = request.resource_owner != Some(ResourceOwner::OtherAccounts);
    let shown = registry.authorities.values().filter_map(|record| {
        let private = record.private.as_deref().filter(|private| own && !private.is_gone(call.now))?;
        Some((&**record, private))
    });
    let page = page_of(
        "ListCertificateAuthorities",
        shown,
        |(record, private)| format!("{:020} {}", private.created_at.as_millis(), record.arn),
        request.next_token.as_deref(),
        request.max_results,
    )?;
    let details =
        page.items.iter().map(|(record, private)| detail(record, private, &call.scope.account_id, call.now));
    Ok(ListCertificateAuthoritiesResponse {
        certificate_authorities: details.collect(),
        next_token: page.next_token,
    })
}

pub(super) fn update(call: &Call<'_>, request: UpdateCertificateAuthorityRequest) -> Result<Empty, Fault> {
    let UpdateCertificateAuthorityRequest { certificate_authority_arn, revocation_configuration, status } =
        request;
    call.change(|registry| {
        commands::change(registry, &certificate_authority_arn, call.now, |_, private| {
            commands::update(private, status, revocation_configuration, call.now)
        })?;
        Ok(Empty {})
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteCertificateAuthorityRequest) -> Result<Empty, Fault> {
    let days = request.permanent_deletion_time_in_days;
    constraint::range("permanentDeletionTimeInDays", days.unwrap_or(7), 7..=30).map_err(invalid)?;
    call.change(|registry| {
        commands::change(registry, &request.certificate_authority_arn, call.now, |_, private| {
            commands::delete(private, days, call.now)
        })?;
        Ok(Empty {})
    })
}

pub(super) fn restore(call: &Call<'_>, request: CertificateAuthorityArnRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        commands::change(registry, &request.certificate_authority_arn, call.now, |record, private| {
            commands::restore(record, private, call.now)
        })?;
        Ok(Empty {})
    })
}

pub(super) fn csr(
    call: &Call<'_>,
    request: CertificateAuthorityArnRequest,
) -> Result<GetCertificateAuthorityCsrResponse, Fault> {
    let registry = call.registry();
    let (_, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    commands::not_deleted(private)?;
    Ok(GetCertificateAuthorityCsrResponse { csr: private.csr.clone() })
}

pub(super) fn certificate(
    call: &Call<'_>,
    request: CertificateAuthorityArnRequest,
) -> Result<CertificateResponse, Fault> {
    let registry = call.registry();
    let (record, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    commands::not_deleted(private)?;
    if record.certificate_der.is_empty() {
        return Err(PrivateCaError::State("The certificate authority has no certificate yet.".into()).into());
    }
    Ok(CertificateResponse {
        certificate: pem::write("CERTIFICATE", &record.certificate_der),
        certificate_chain: chain_text(&private.chain),
    })
}

/// A chain in PEM; none where there is nothing in it.
pub(in crate::api) fn chain_text<T: AsRef<[u8]>>(chain: &[T]) -> Option<String> {
    let text: String = chain.iter().map(|der| pem::write("CERTIFICATE", der.as_ref())).collect();
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn import(
    call: &Call<'_>,
    request: ImportCertificateAuthorityCertificateRequest,
) -> Result<Empty, Fault> {
    let above = request.certificate_chain.as_ref().map(|above| above.0.as_slice());
    call.change(|registry| {
        commands::change(registry, &request.certificate_authority_arn, call.now, |record, private| {
            importing::import(record, private, &request.certificate.0, above, call.now)
        })?;
        Ok(Empty {})
    })
}
