//! Managed renewal: certificates that are issued here are issued again before they end, as long as
//! something uses them. When, is decided without I/O.

use std::time::Duration;

use aws_lc_rs::digest;
use bowline_aws::acm::{CertificateStatus, CertificateType};
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};

use super::{AcmCertificate, AcmError, find, in_use_by, issue, rollover};
use crate::{authorities::Authorities, private_ca, private_ca::PrivateCertificate, registry::Registry};

/// AWS begins so long before the end. A short-lived certificate is renewed at about two thirds of
/// its life.
const LEAD_MAX: Duration = Duration::from_secs(60 * 24 * 3600);
/// The part of the lead that certificates are spread over, so that not all are renewed at once.
const SPREAD: f64 = 0.1;
/// First and longest wait after a failure.
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// A renewal that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRenewal {
    /// How often, one after the other.
    pub failures: u32,
    /// When last.
    pub at: Timestamp,
}

/// Whether it is renewed by itself: issued here, and exported or in use (AWS: `ELIGIBLE`).
pub(crate) fn is_eligible(registry: &Registry, certificate: &AcmCertificate) -> bool {
    let used = || certificate.exported || !in_use_by(registry, &certificate.arn).is_empty();
    certificate.kind != CertificateType::Imported
        && certificate.status == CertificateStatus::Issued
        && !certificate.certificate_der.is_empty()
        && used()
}

/// When it is to be renewed; `None` where there is nothing that could end.
pub(crate) fn due_at(certificate: &AcmCertificate) -> Option<Timestamp> {
    let (from, until) = certificate.validity?;
    let lead = (until.since(from) / 3).min(LEAD_MAX);
    // The same at each look, and another for each certificate.
    let hash = digest::digest(&digest::SHA256, &certificate.certificate_der);
    let fraction = f64::from(hash.as_ref().first().copied().unwrap_or_default()) / 256.0;
    Some(until - lead.mul_f64(1.0 - SPREAD * fraction))
}

/// When the next attempt is due, failures considered.
pub(crate) fn next_attempt(certificate: &AcmCertificate) -> Option<Timestamp> {
    let due = due_at(certificate)?;
    let Some(failed) = certificate.failed_renewal else { return Some(due) };
    let (from, until) = certificate.validity?;
    let doubled = RETRY_FIRST.saturating_mul(1 << failed.failures.saturating_sub(1).min(16));
    // Of a short life there have to be tries left.
    let most = RETRY_MAX.min(until.since(from) / 24).max(Duration::from_secs(1));
    Some(due.max(failed.at + doubled.min(most)))
}

/// The certificates that are due, and when the next one of all will be.
pub(crate) fn plan(registry: &Registry, now: Timestamp) -> (Vec<Arn>, Option<Timestamp>) {
    let (mut due, mut next) = (Vec::new(), None::<Timestamp>);
    for row in registry.acm_certificates.values().filter(|row| is_eligible(registry, row)) {
        let Some(at) = next_attempt(row) else { continue };
        if at <= now {
            due.push(row.arn.clone());
        } else {
            next = Some(next.map_or(at, |next| next.min(at)));
        }
    }
    (due, next)
}

/// A certificate that was signed anew, and what its private authority keeps of it. Slow for RSA:
/// outside of any change.
///
/// # Errors
/// A key could not be made or sealed. That the authority refuses is none: the certificate says so.
pub(crate) fn signed_again(
    authorities: &Authorities,
    registry: &Registry,
    certificate: &AcmCertificate,
    now: Timestamp,
) -> Result<(AcmCertificate, Option<PrivateCertificate>), AcmError> {
    let mut renewed = certificate.clone();
    let issued = match &certificate.authority {
        Some(_) => issue::sign(authorities.master_key(), registry, &mut renewed, now)?,
        None => {
            issue::sign_publicly(authorities, &mut renewed, now)?;
            None
        }
    };
    Ok((renewed, issued))
}

/// Puts it in place of the one before, or notes that there is none. What else was changed of the
/// row meanwhile stays.
///
/// # Errors
/// The certificate is gone, or its authority keeps no more.
pub(crate) fn install(
    registry: &mut Registry,
    (renewed, issued): (AcmCertificate, Option<PrivateCertificate>),
    now: Timestamp,
) -> Result<(), AcmError> {
    let present = find(registry, renewed.arn.as_str())?;
    let mut after = present.clone();
    after.failure = renewed.failure;
    if renewed.failure.is_some() {
        after.failed_renewal = Some(one_more(present, now));
    } else {
        after.status = renewed.status;
        after.certificate_der = renewed.certificate_der;
        after.chain = renewed.chain;
        after.sealed_key = renewed.sealed_key;
        after.validity = renewed.validity;
        after.issued_at = renewed.issued_at;
        after.renewed_at = Some(now);
        after.failed_renewal = None;
        rollover::begin(present, &mut after, now);
    }
    if let Some(issued) = issued {
        private_ca::commands::keep(registry, issued, now)
            .map_err(|error| AcmError::State(error.to_string()))?;
    }
    registry.acm_certificates.put(after.arn.to_string(), after);
    Ok(())
}

fn one_more(certificate: &AcmCertificate, now: Timestamp) -> FailedRenewal {
    let failures = certificate.failed_renewal.map_or(0, |failed| failed.failures);
    FailedRenewal { failures: failures.saturating_add(1), at: now }
}

/// Notes that an attempt came to nothing before the authority had a say.
pub(crate) fn note_failure(registry: &mut Registry, arn: &Arn, now: Timestamp) {
    registry.acm_certificates.update(arn.as_str(), |row| row.failed_renewal = Some(one_more(row, now)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acm::testing;

    fn certificate(life: Duration, number: u8, failures: Option<(u32, u64)>) -> AcmCertificate {
        let from = Timestamp::from_secs(1_000_000);
        AcmCertificate {
            certificate_der: vec![number],
            validity: Some((from, from + life)),
            failed_renewal: failures
                .map(|(failures, after)| FailedRenewal { failures, at: from + Duration::from_secs(after) }),
            ..testing::certificate()
        }
    }

    #[test]
    fn a_year_ends_sixty_days_early_and_a_week_at_two_thirds() {
        let day = Duration::from_secs(24 * 3600);
        let before_end = |days: u32| {
            let row = certificate(day * days, 7, None);
            row.validity.unwrap().1.since(due_at(&row).unwrap())
        };
        for (days, lead) in [(395, 60.0), (181, 60.0), (90, 30.0), (6, 2.0)] {
            let share = before_end(days).as_secs_f64() / (day.as_secs_f64() * lead);
            assert!((0.9..=1.0).contains(&share), "{days} days: {share} of the lead");
        }
        assert_ne!(
            due_at(&certificate(day * 395, 7, None)),
            due_at(&certificate(day * 395, 8, None)),
            "not all at once"
        );
    }

    proptest! {
        #[test]
        fn renewal_is_in_time_and_keeps_trying(
            life in 60_u64..200_000_000, number: u8, failures in 1_u32..u32::MAX, after in 0_u64..200_000_000,
        ) {
            let life = Duration::from_secs(life);
            let row = certificate(life, number, None);
            let (from, until) = row.validity.unwrap();
            let due = due_at(&row).unwrap();
            prop_assert!(due < until && due.since(from).as_secs_f64() >= life.as_secs_f64() * 2.0 / 3.0 - 1.0);
            prop_assert_eq!(next_attempt(&row), Some(due));
            // A failure is followed by another try, later, and not much.
            let failed = certificate(life, number, Some((failures, after)));
            let (at, next) = (failed.failed_renewal.unwrap().at, next_attempt(&failed).unwrap());
            prop_assert!(next >= due && next > at.min(due));
            prop_assert!(next <= due.max(at + RETRY_MAX));
            // Before the end there are several.
            if at == due {
                prop_assert!(next < until);
            }
            let more = certificate(life, number, Some((failures.saturating_add(1), after)));
            prop_assert!(next_attempt(&more).unwrap() >= next, "waits do not get shorter");
        }
    }
}
