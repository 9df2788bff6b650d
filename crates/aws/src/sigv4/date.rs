//! The two notations of a signature's time.

use std::fmt;

use crate::calendar::{self, civil};

/// A moment in whole seconds since 1970-01-01T00:00:00Z, as Signature Version 4 writes it:
/// `20150830T123600Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AmzDate(u64);

/// The last second that four digits of year can say, 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

impl AmzDate {
    /// The moment `seconds` after the epoch. What lies beyond the year 9999 is taken as its end.
    pub fn from_secs(seconds: u64) -> Self {
        Self(seconds.min(LAST_SECOND))
    }

    /// Seconds since the epoch.
    pub fn as_secs(self) -> u64 {
        self.0
    }

    /// The day, `20150830`, as a credential scope has it.
    pub fn day(self) -> String {
        let (year, month, day) = civil_from_days(self.0 / 86_400);
        format!("{year:04}{month:02}{day:02}")
    }

    /// Reads `20150830T123600Z`; `None` for anything else, and for a moment before 1970.
    pub fn parse_iso(text: &[u8]) -> Option<Self> {
        let text: &[u8; 16] = text.try_into().ok()?;
        if text[8] != b'T' || text[15] != b'Z' {
            return None;
        }
        Self::from_parts(
            digits(&text[0..4])?,
            digits(&text[4..6])?,
            digits(&text[6..8])?,
            digits(&text[9..11])?,
            digits(&text[11..13])?,
            digits(&text[13..15])?,
        )
    }

    /// Reads a `Date` header: the preferred form of RFC 9110 §5.6.7
    /// (`Sun, 30 Aug 2015 12:36:00 GMT`, also with the zone written `UTC`, `+0000` or `-0000`
    /// as mail libraries do), or the form of [`AmzDate::parse_iso`].
    pub fn parse_http(text: &[u8]) -> Option<Self> {
        if let Some(date) = Self::parse_iso(text) {
            return Some(date);
        }
        let text = std::str::from_utf8(text).ok()?;
        let (weekday, rest) = text.split_once(", ")?;
        if !["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"].contains(&weekday) {
            return None;
        }
        let mut words = rest.split(' ');
        let (day, month, year) = (words.next()?, words.next()?, words.next()?);
        let (time, zone) = (words.next()?, words.next()?);
        if words.next().is_some() || !["GMT", "UTC", "+0000", "-0000"].contains(&zone) {
            return None;
        }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months.iter().position(|name| *name == month)? + 1;
        let time: &[u8; 8] = time.as_bytes().try_into().ok()?;
        if day.len() != 2 || year.len() != 4 || time[2] != b':' || time[5] != b':' {
            return None;
        }
        Self::from_parts(
            digits(year.as_bytes())?,
            u64::try_from(month).ok()?,
            digits(day.as_bytes())?,
            digits(&time[0..2])?,
            digits(&time[3..5])?,
            digits(&time[6..8])?,
        )
    }

    fn from_parts(year: u64, month: u64, day: u64, hour: u64, minute: u64, second: u64) -> Option<Self> {
        if year < 1970 || !(1..=12).contains(&month) || day == 0 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days_from_civil(year, month, day);
        // A day that its month does not have comes back as another.
        (civil_from_days(days) == (year, month, day))
            .then_some(Self(days * 86_400 + hour * 3600 + minute * 60 + second))
    }
}

impl fmt::Display for AmzDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0 / 86_400);
        let second = self.0 % 86_400;
        write!(
            f,
            "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// The number that at most four ASCII digits write.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// [`civil`] of a day from 1970 on.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let (year, month, day) = civil(i64::try_from(days).unwrap_or(i64::MAX));
    (year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())
}

/// [`calendar::days_from_civil`], for years from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let number = |value| i64::try_from(value).unwrap_or(i64::MAX);
    calendar::days_from_civil(number(year), number(month), number(day)).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_notations() {
        let moment = Some(AmzDate(1_440_938_160));
        assert_eq!(AmzDate::parse_iso(b"20150830T123600Z"), moment);
        for text in [
            "20150830T123600Z",
            "Sun, 30 Aug 2015 12:36:00 GMT",
            "Sun, 30 Aug 2015 12:36:00 -0000",
            "Sun, 30 Aug 2015 12:36:00 +0000",
        ] {
            assert_eq!(AmzDate::parse_http(text.as_bytes()), moment, "{text}");
        }
        assert_eq!(AmzDate(1_440_938_160).day(), "20150830");
        assert_eq!(AmzDate::from_secs(u64::MAX).to_string(), "99991231T235959Z");
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "20150830",
            "20150230T000000Z",
            "20151301T000000Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "19691231T235959Z",
            "00000101T000000Z",
            "20150830t123600z",
            "2015-08-30T12:36:00Z",
            "Sun, 30 Aug 2015 12:36:00 PST",
            "Sun, 30 Aug 2015 12:36:00",
            "Sun, 30 Aug 2015 1é:36:00 GMT",
            "Sun, 3é Aug 2015 12:36:00 GMT",
            "xyz, 30 Aug 2015 12:36:00 GMT",
        ] {
            assert_eq!(AmzDate::parse_http(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0..=LAST_SECOND) {
            let date = AmzDate::from_secs(seconds);
            prop_assert_eq!(AmzDate::parse_iso(date.to_string().as_bytes()), Some(date));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "\\PC{0,40}") {
            let _ = AmzDate::parse_http(&bytes);
            let _ = AmzDate::parse_http(text.as_bytes());
        }
    }
}
