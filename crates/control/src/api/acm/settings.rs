//! Tags, options, and the account's configuration.

use std::collections::BTreeMap;

use bowline_aws::{
    acm::{
        CertificateArnRequest, CertificateStatus, CertificateTag, CertificateTagsRequest, CertificateType,
        Empty, ExpiryEventsConfiguration, GetAccountConfigurationResponse, ListTagsForCertificateResponse,
        PutAccountConfigurationRequest, UpdateCertificateOptionsRequest,
    },
    protocol::Fault,
};

use super::invalid;
use crate::{
    acm::{
        AcmError, DAYS_BEFORE_EXPIRY_DEFAULT,
        commands::{self, check_tags},
        find,
    },
    api::{call::Call, constraint},
    registry::SETTINGS,
};

/// The name that the account's configuration has among its settings.
const DAYS_BEFORE_EXPIRY: &str = "acm:DaysBeforeExpiry";

/// Tags by key; one that is given twice is refused.
pub(super) fn tags_of(tags: Vec<CertificateTag>) -> Result<BTreeMap<String, String>, AcmError> {
    let mut all = BTreeMap::new();
    for CertificateTag { key, value } in tags {
        if all.insert(key, value.unwrap_or_default()).is_some() {
            return Err(AcmError::Parameter("A tag key is given more than once.".into()));
        }
    }
    Ok(all)
}

pub(super) fn add_tags(call: &Call<'_>, request: CertificateTagsRequest) -> Result<Empty, Fault> {
    constraint::items("tags", request.tags.len(), 1..=50).map_err(invalid)?;
    let tags = tags_of(request.tags)?;
    check_tags(&tags)?;
    call.change(|registry| {
        commands::change(registry, &request.certificate_arn, |certificate| {
            certificate.tags.extend(tags);
            check_tags(&certificate.tags)
        })?;
        Ok(Empty {})
    })
}

pub(super) fn remove_tags(call: &Call<'_>, request: CertificateTagsRequest) -> Result<Empty, Fault> {
    constraint::items("tags", request.tags.len(), 1..=50).map_err(invalid)?;
    let given =
        tags_of(request.tags.iter().map(|tag| CertificateTag { value: None, ..tag.clone() }).collect())?;
    check_tags(&given)?;
    call.change(|registry| {
        commands::change(registry, &request.certificate_arn, |certificate| {
            for CertificateTag { key, value } in request.tags {
                // With a value, only the tag that has it.
                if value.as_ref().is_none_or(|value| certificate.tags.get(&key) == Some(value)) {
                    certificate.tags.remove(&key);
                }
            }
            Ok(())
        })?;
        Ok(Empty {})
    })
}

pub(super) fn list_tags(
    call: &Call<'_>,
    request: CertificateArnRequest,
) -> Result<ListTagsForCertificateResponse, Fault> {
    let registry = call.registry();
    let certificate = find(&registry, &request.certificate_arn)?;
    let tags = certificate
        .tags
        .iter()
        .map(|(key, value)| CertificateTag { key: key.clone(), value: Some(value.clone()) });
    Ok(ListTagsForCertificateResponse { tags: tags.collect() })
}

pub(super) fn update_options(
    call: &Call<'_>,
    request: UpdateCertificateOptionsRequest,
) -> Result<Empty, Fault> {
    call.change(|registry| {
        commands::change(registry, &request.certificate_arn, |certificate| {
            if certificate.kind == CertificateType::Imported {
                return Err(AcmError::Validation("An imported certificate has no options.".into()));
            }
            if certificate.status == CertificateStatus::Failed {
                return Err(AcmError::State("The certificate is in the FAILED state.".into()));
            }
            let options = request.options;
            if let Some(preference) = options.certificate_transparency_logging_preference {
                certificate.options.certificate_transparency_logging_preference = Some(preference);
            }
            if let Some(export) = options.export {
                certificate.options.export = Some(export);
            }
            Ok(())
        })?;
        Ok(Empty {})
    })
}

pub(super) fn get_account(call: &Call<'_>, _: Empty) -> Result<GetAccountConfigurationResponse, Fault> {
    let settings = call.registry().settings();
    let days = settings.account_settings.get(DAYS_BEFORE_EXPIRY).and_then(|days| days.parse().ok());
    let days_before_expiry = Some(days.unwrap_or(DAYS_BEFORE_EXPIRY_DEFAULT));
    Ok(GetAccountConfigurationResponse { expiry_events: ExpiryEventsConfiguration { days_before_expiry } })
}

pub(super) fn put_account(call: &Call<'_>, request: PutAccountConfigurationRequest) -> Result<Empty, Fault> {
    constraint::length("idempotencyToken", &request.idempotency_token, 1..=32).map_err(invalid)?;
    let days = request.expiry_events.and_then(|events| events.days_before_expiry);
    let days = days.unwrap_or(DAYS_BEFORE_EXPIRY_DEFAULT);
    constraint::range("expiryEvents.daysBeforeExpiry", days, 1..=45).map_err(invalid)?;
    call.change(|registry| {
        let mut settings = (*registry.settings()).clone();
        settings.account_settings.insert(DAYS_BEFORE_EXPIRY.to_owned(), days.to_string());
        registry.settings.put(SETTINGS, settings);
        Ok(Empty {})
    })
}
