//! The values that conditions compare: moments.

use crate::clock::days_from_civil;

/// Milliseconds since the epoch of a moment in one of the W3C's ISO 8601 formats
/// (`2026`, `2026-11`, `2026-11-21`, `2026-11-21T07:45Z`, with seconds, with a fraction, with
/// `+01:00` for `Z`), or in seconds since the epoch.
pub(super) fn date(text: &str) -> Option<i64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    if time.is_none() && (text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit())) {
        return text.parse::<i64>().ok()?.checked_mul(1000);
    }
    let mut parts = day.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |text| number(text, 2))?;
    let day = parts.next().map_or(Some(1), |text| number(text, 2))?;
    if parts.next().is_some() || year < 1 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > last_day {
        return None;
    }
    let millis = days_from_civil(year, month, day) * 86_400_000;
    Some(millis + time.map_or(Some(0), time_of_day)?)
}

/// Milliseconds of `07:45Z`, `07:45:01.5+01:00`, ….
fn time_of_day(text: &str) -> Option<i64> {
    let (clock, offset_minutes) = match text.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let at = text.rfind(['+', '-'])?;
            let (hours, minutes) = text[at + 1..].split_once(':')?;
            let offset = number(hours, 2)? * 60 + number(minutes, 2)?;
            (&text[..at], if text[at..].starts_with('-') { -offset } else { offset })
        }
    };
    let mut parts = clock.split(':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (seconds, millis) = match parts.next() {
        None => (0, 0),
        Some(text) => {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
            if fraction.is_empty()
                || fraction.len() > 9
                || !fraction.bytes().all(|byte| byte.is_ascii_digit())
            {
                return None;
            }
            let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
            (number(seconds, 2)?, number(&millis, 3)?)
        }
    };
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 || offset_minutes.abs() > 18 * 60
    {
        return None;
    }
    Some(((hours * 60 + minutes - offset_minutes) * 60 + seconds) * 1000 + millis)
}

/// A number of exactly `digits` ASCII digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_each_format() {
        for (text, millis) in [
            ("1970", 0),
            ("1970-02", 2_678_400_000),
            ("1970-01-02", 86_400_000),
            ("2015-08-30T12:36Z", 1_440_938_160_000),
            ("2015-08-30T12:36:00Z", 1_440_938_160_000),
            ("2015-08-30T12:36:00.25Z", 1_440_938_160_250),
            ("2015-08-30T14:36:00+02:00", 1_440_938_160_000),
            ("2015-08-30T11:06:00-01:30", 1_440_938_160_000),
            ("1440938160", 1_440_938_160_000),
            ("2000-02-29", 951_782_400_000),
            ("1969-12-31", -86_400_000),
        ] {
            assert_eq!(date(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "x",
            "19",
            "2015-13",
            "2015-02-29",
            "2015-08-30T",
            "2015-08-30T12",
            "2015-08-30T12:36",
            "2015-08-30T24:00Z",
            "2015-08-30T12:36:00.Z",
            "2015-08-30T12:36:00+0200",
            "2015-8-30",
            "+015",
            "99999999999999999999",
            "2015-08-30T12:36é",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9TZ:.+é/-]{0,30}") {
            let _ = date(&text);
        }
    }
}
