//! How another certificate comes into use under the same ARN without a failed handshake: peers
//! believe it before sidecars show it, and believe the one before until all of them do.

use std::time::Duration;

use aws_lc_rs::digest;
use bowline_model::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::AcmCertificate;
use crate::{private_ca::commands::hex, registry::Registry};

/// How long peers have for learning of a certificate before it is shown.
pub(crate) const ANNOUNCED_FOR: Duration = Duration::from_secs(3);
/// How long the one before is believed once the next is shown: for sidecars that fetch it late.
pub(crate) const OVERLAP: Duration = Duration::from_secs(60);
/// Most certificates before the present one that are believed at the same time.
const EARLIER_MAX: usize = 4;

/// A certificate under way into use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    /// What sidecars may still show.
    pub earlier: Vec<EarlierCertificate>,
    /// Version of the certificate that sidecars are told to show.
    pub shown: String,
    /// When the present one came, or since when it is shown.
    pub since: Timestamp,
}

/// A certificate that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierCertificate {
    /// DER.
    pub certificate_der: Vec<u8>,
    /// The certificates above it, DER.
    pub chain: Vec<Vec<u8>>,
    /// As [`AcmCertificate::pinned`].
    pub pinned: bool,
}

/// What tells one certificate from another: its SHA-256 in hexadecimal.
pub(crate) fn version_of(certificate_der: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, certificate_der).as_ref())
}

/// Version of the certificate that sidecars are to show.
pub(crate) fn shown_version(certificate: &AcmCertificate) -> String {
    match &certificate.rollover {
        Some(rollover) => rollover.shown.clone(),
        None => version_of(&certificate.certificate_der),
    }
}

/// Begins to bring `after` into use in the place of `before`.
pub(crate) fn begin(before: &AcmCertificate, after: &mut AcmCertificate, now: Timestamp) {
    if before.certificate_der.is_empty() || before.certificate_der == after.certificate_der {
        after.rollover.clone_from(&before.rollover);
        return;
    }
    let mut earlier = before.rollover.as_ref().map(|rollover| rollover.earlier.clone()).unwrap_or_default();
    earlier.push(EarlierCertificate {
        certificate_der: before.certificate_der.clone(),
        chain: before.chain.clone(),
        pinned: before.pinned,
    });
    let excess = earlier.len().saturating_sub(EARLIER_MAX);
    earlier.drain(..excess);
    after.rollover = Some(Rollover { earlier, shown: shown_version(before), since: now });
}

/// The next step, if it is time.
fn step(certificate: &AcmCertificate, now: Timestamp) -> Option<Option<Rollover>> {
    let rollover = certificate.rollover.as_ref()?;
    let present = version_of(&certificate.certificate_der);
    // A clock that was set back ends nothing early, and holds nothing up for ever.
    let waited = if now < rollover.since { OVERLAP } else { now.since(rollover.since) };
    if rollover.shown != present {
        let shown = || Rollover { shown: present, since: now, ..rollover.clone() };
        return (waited >= ANNOUNCED_FOR).then(|| Some(shown()));
    }
    (waited >= OVERLAP).then_some(None)
}

/// Takes every step whose time has come.
pub(crate) fn sweep(registry: &mut Registry, now: Timestamp) {
    let due: Vec<_> = registry
        .acm_certificates
        .iter()
        .filter_map(|(arn, certificate)| Some((arn.to_owned(), step(certificate, now)?)))
        .collect();
    for (arn, rollover) in due {
        registry.acm_certificates.update(&arn, |certificate| certificate.rollover = rollover);
    }
}

/// How long until the next step of any.
pub(crate) fn again_in(registry: &Registry, now: Timestamp) -> Option<Duration> {
    let waits = registry.acm_certificates.values().filter_map(|certificate| {
        let rollover = certificate.rollover.as_ref()?;
        let present = version_of(&certificate.certificate_der);
        let wait = if rollover.shown == present { OVERLAP } else { ANNOUNCED_FOR };
        Some(wait.saturating_sub(now.since(rollover.since)))
    });
    waits.min()
}
