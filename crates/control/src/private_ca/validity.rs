//! When a certificate is to be valid.

use std::time::Duration;

use bowline_aws::acmpca::{Validity, ValidityType};
use bowline_model::clock::{Timestamp, days_from_civil};

use super::PrivateCaError;

/// How long before the request a certificate begins. Source: AWS Private CA user guide, "Issue
/// private end-entity certificates".
pub(crate) const BACKDATE: Duration = Duration::from_secs(3600);

/// 9999-12-31T23:59:59Z, the last second that X.509 can write (RFC 5280 §4.1.2.5.2).
const LAST_SECOND: u64 = 253_402_300_799;

/// The first and last second of what is asked for.
pub(crate) fn of(
    validity: &Validity,
    from: Option<&Validity>,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), PrivateCaError> {
    let refuse = |message: &str| PrivateCaError::Args(message.to_owned());
    let not_before = match from {
        None => Timestamp::from_secs((now - BACKDATE).as_secs()),
        Some(from) if from.r#type == ValidityType::Absolute => absolute(from.value)
            .ok_or_else(|| refuse("ValidityNotBefore is no moment that a certificate can have."))?,
        Some(_) => return Err(refuse("ValidityNotBefore must be of type ABSOLUTE.")),
    };
    if validity.value < 1 {
        return Err(PrivateCaError::Args(format!(
            "1 validation error detected: Value '{}' at 'validity.value' failed to satisfy constraint: Member must \
             have value greater than or equal to 1",
            validity.value
        )));
    }
    let not_after = match validity.r#type {
        ValidityType::Absolute => absolute(validity.value),
        ValidityType::EndDate => end_date(validity.value),
        ValidityType::Days => validity
            .value
            .checked_mul(86_400)
            .and_then(|seconds| seconds.checked_add(i64::try_from(now.as_secs()).ok()?))
            .and_then(absolute),
        ValidityType::Months => months_after(now, validity.value),
        ValidityType::Years => validity.value.checked_mul(12).and_then(|months| months_after(now, months)),
    };
    let not_after = not_after.ok_or_else(|| refuse("Validity is no moment that a certificate can have."))?;
    if not_after.as_secs() <= now.as_secs() || not_after <= not_before {
        return Err(refuse("Validity: the certificate would have expired already, or never be valid."));
    }
    Ok((not_before, not_after))
}

fn absolute(seconds: i64) -> Option<Timestamp> {
    u64::try_from(seconds).ok().filter(|seconds| *seconds <= LAST_SECOND).map(Timestamp::from_secs)
}

/// `YYMMDDHHMMSS` or `YYYYMMDDHHMMSS`, as UTCTime and GeneralizedTime have them.
fn end_date(digits: i64) -> Option<Timestamp> {
    let digits = match digits {
        0..1_000_000_000_000 => {
            // RFC 5280 §4.1.2.5.1: 50 to 99 are of the last century.
            let century = if digits / 10_000_000_000 >= 50 { 19 } else { 20 };
            century * 1_000_000_000_000 + digits
        }
        1_000_000_000_000..100_000_000_000_000 => digits,
        _ => return None,
    };
    let part = |at: i64, most: i64| digits / at % most;
    let (year, month, day) = (digits / 10_000_000_000, part(100_000_000, 100), part(1_000_000, 100));
    let (hour, minute, second) = (part(10_000, 100), part(100, 100), part(1, 100));
    let exists = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    exists
        .then(|| days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
        .and_then(absolute)
}

fn days_of(year: i64, month: i64) -> i64 {
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next.0, next.1, 1) - days_from_civil(year, month, 1)
}

/// The same day and time so many months later; of a shorter month, its last day.
fn months_after(now: Timestamp, months: i64) -> Option<Timestamp> {
    // `2026-11-21T03:47:48.000Z`
    let text = now.to_string();
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let count = year.checked_mul(12)?.checked_add(month - 1)?.checked_add(months)?;
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    if year > 9999 {
        return None;
    }
    let day = day.min(days_of(year, month));
    let seconds_of_day = i64::try_from(now.as_secs() % 86_400).ok()?;
    absolute(days_from_civil(year, month, day) * 86_400 + seconds_of_day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn until(kind: ValidityType, value: i64, now: Timestamp) -> Option<String> {
        of(&Validity { r#type: kind, value }, None, now).ok().map(|(_, until)| until.to_string())
    }

    #[test]
    fn every_type_is_read() {
        use ValidityType::{Absolute, Days, EndDate, Months, Years};
        // 2028-01-31T10:00:00Z
        let now = Timestamp::from_secs(1_832_925_600);
        let told = |kind, value| until(kind, value, now);
        assert_eq!(told(Days, 7).as_deref(), Some("2028-02-07T10:00:00.000Z"));
        assert_eq!(told(Months, 1).as_deref(), Some("2028-02-29T10:00:00.000Z"));
        assert_eq!(told(Months, 13).as_deref(), Some("2029-02-28T10:00:00.000Z"));
        assert_eq!(told(Years, 10).as_deref(), Some("2038-01-31T10:00:00.000Z"));
        assert_eq!(told(EndDate, 301_231_235_959).as_deref(), Some("2030-12-31T23:59:59.000Z"));
        assert_eq!(told(EndDate, 20_601_231_235_959).as_deref(), Some("2060-12-31T23:59:59.000Z"));
        assert_eq!(told(EndDate, 300_231_000_000), None);
        assert_eq!(told(EndDate, 601_231_235_959), None, "it is of 1960");
        assert_eq!(told(Absolute, 1_832_925_601).as_deref(), Some("2028-01-31T10:00:01.000Z"));
        for (kind, wrong) in [(Absolute, 1), (Days, 0), (Days, -1), (Years, 8_000), (Absolute, i64::MAX)] {
            assert_eq!(told(kind, wrong), None, "{kind:?} {wrong}");
        }
        let later = Validity { r#type: Absolute, value: 1_832_930_000 };
        let days = Validity { r#type: Days, value: 1 };
        let (from, _) = of(&days, Some(&later), now).unwrap();
        assert_eq!(from.as_secs(), 1_832_930_000);
        assert!(of(&days, Some(&days), now).is_err());
    }

    proptest! {
        #[test]
        fn no_number_panics(kind in 0..5_usize, value: i64, now in 0_u64..253_402_300_799) {
            use ValidityType::{Absolute, Days, EndDate, Months, Years};
            let now = Timestamp::from_secs(now);
            if let Ok((from, until)) = of(&Validity { r#type: [Absolute, Days, EndDate, Months, Years][kind], value }, None, now) {
                prop_assert!(from < until && until.as_secs() <= LAST_SECOND);
            }
        }
    }
}
