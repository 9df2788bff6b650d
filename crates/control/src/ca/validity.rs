//! When a certificate is valid, to the second as X.509 writes it.

use std::time::Duration;

use bowline_model::{
    clock::Timestamp,
    sabotage::{Defence, sabotaged},
};
use rcgen::CertificateParams;

use super::CaError;

/// How far before the moment of signing a certificate begins, so that a reader
/// whose clock is a little slow does not refuse it.
pub(super) const BACKDATE: Duration = Duration::from_secs(60);

/// 9999-12-31T23:59:59Z, the last second that X.509 can write (RFC 5280 §4.1.2.5.2).
const LAST_SECOND: u64 = 253_402_300_799;

/// A certificate's first and last second, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Validity {
    /// From a little before `now` to `lifetime` after it.
    pub(super) fn starting(now: Timestamp, lifetime: Duration) -> Result<Self, CaError> {
        let last = now.as_secs().saturating_add(lifetime.as_secs());
        if lifetime.as_secs() == 0 || last > LAST_SECOND {
            return Err(CaError::Validity { from: now, seconds: lifetime.as_secs() });
        }
        let backdate = if sabotaged(Defence::Backdating) { Duration::ZERO } else { BACKDATE };
        let first = (now - backdate).as_secs();
        Ok(Self { not_before: Timestamp::from_secs(first), not_after: Timestamp::from_secs(last) })
    }

    /// The part of `self` within `outer`.
    pub(super) fn within(self, outer: Self) -> Self {
        Self {
            not_before: self.not_before.max(outer.not_before),
            not_after: self.not_after.min(outer.not_after),
        }
    }

    pub(super) fn of(validity: &x509_parser::certificate::Validity) -> Self {
        // A time before 1970 reads as 1970: Bowline's clock knows none earlier.
        let read = |time: &x509_parser::time::ASN1Time| {
            Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
        };
        Self { not_before: read(&validity.not_before), not_after: read(&validity.not_after) }
    }

    pub(super) fn contains(&self, now: Timestamp) -> bool {
        (self.not_before.as_secs()..=self.not_after.as_secs()).contains(&now.as_secs())
    }

    pub(super) fn write_to(&self, params: &mut CertificateParams) {
        // Cannot overflow: `starting` bounds both by the year 9999.
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(self.not_before.as_secs());
        params.not_after = epoch + Duration::from_secs(self.not_after.as_secs());
    }
}
