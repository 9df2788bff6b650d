//! What changes certificates: each checks, then changes the registry it is given, or refuses.

use std::collections::BTreeMap;

use bowline_model::{arn::Arn, clock::Timestamp};

use super::{
    AcmCertificate, AcmError, CERTIFICATES_MAX, IDEMPOTENT_FOR, NAMES_MAX, TAGS_MAX, find, in_use_by,
};
use crate::registry::Registry;

/// Changes a certificate that is there.
pub(crate) fn change<R>(
    registry: &mut Registry,
    given: &str,
    change: impl FnOnce(&mut AcmCertificate) -> Result<R, AcmError>,
) -> Result<R, AcmError> {
    let mut certificate = find(registry, given)?.clone();
    let result = change(&mut certificate)?;
    registry.acm_certificates.put(certificate.arn.to_string(), certificate);
    Ok(result)
}

/// Adds a certificate, if there is room.
pub(crate) fn add(registry: &mut Registry, certificate: AcmCertificate) -> Result<(), AcmError> {
    if registry.acm_certificates.len() >= CERTIFICATES_MAX {
        return Err(AcmError::Limit(format!("There can be at most {CERTIFICATES_MAX} certificates.")));
    }
    registry.acm_certificates.put(certificate.arn.to_string(), certificate);
    Ok(())
}

/// Removes a certificate that nothing uses.
pub(crate) fn delete(registry: &mut Registry, given: &str) -> Result<(), AcmError> {
    let arn = find(registry, given)?.arn.clone();
    if let Some(user) = in_use_by(registry, &arn).into_iter().next() {
        return Err(AcmError::InUse(arn.to_string(), user));
    }
    registry.acm_certificates.remove(arn.as_str());
    Ok(())
}

/// The certificate that the same request made a little while ago.
pub(crate) fn made_before(
    registry: &Registry,
    domain: &str,
    token: Option<&str>,
    now: Timestamp,
) -> Option<Arn> {
    let token = token?;
    let mut rows = registry.acm_certificates.values();
    let same = rows.find(|row| {
        row.token.as_deref() == Some(token) && row.domain == domain && row.created_at + IDEMPOTENT_FOR > now
    });
    same.map(|row| row.arn.clone())
}

/// The first name and the others, in lower case, each once.
pub(crate) fn names(domain: &str, others: &[String]) -> Result<Vec<String>, AcmError> {
    let mut names: Vec<String> = Vec::new();
    for name in std::iter::once(domain).chain(others.iter().map(String::as_str)) {
        let name = name.to_ascii_lowercase();
        let below = name.strip_prefix("*.").unwrap_or(&name);
        let labels: Vec<&str> = below.split('.').collect();
        let label = |label: &&str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > 253 || labels.len() < 2 || !labels.iter().all(label) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
            return Err(AcmError::Parameter(format!(
                "{shown:?} is no domain name that a certificate can have."
            )));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.len() <= NAMES_MAX {
        true => Ok(names),
        false => Err(AcmError::Limit(format!("A certificate can have at most {NAMES_MAX} names."))),
    }
}

/// Refuses tags that AWS does not take.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), AcmError> {
    if tags.len() > TAGS_MAX {
        return Err(AcmError::TooManyTags);
    }
    let allowed =
        |text: &str| text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count())
            || value.chars().count() > 256
            || !allowed(key)
            || !allowed(value)
        {
            return Err(AcmError::Tag(
                "A tag's key must have 1-128 characters and its value at most 256, of letters, digits, spaces and \
                 _.:/=+-@."
                    .into(),
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(AcmError::Tag("Tag keys that begin with aws: are AWS's own.".into()));
        }
    }
    Ok(())
}
