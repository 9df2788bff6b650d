//! Moments, bytes and maps, which each protocol writes in its own way.

use std::fmt;

use base64::Engine;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::calendar::{civil, days_from_civil};

/// The name by which codecs know a [`Timestamp`] among newtype structs.
pub const TIMESTAMP: &str = "$aws::Timestamp";

/// The name by which codecs know a [`Blob`] among newtype structs.
pub const BLOB: &str = "$aws::Blob";

/// The name by which codecs know [`Entries`] among newtype structs.
pub(super) const ENTRIES: &str = "$aws::Entries";

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    milliseconds: i64,
}

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Self { milliseconds }
    }

    /// From seconds since the epoch, as JSON and CBOR have them. What is no number is the epoch.
    pub fn from_seconds(seconds: f64) -> Self {
        // Saturates, and makes 0 of NaN.
        Self { milliseconds: (seconds * 1000.0).round() as i64 }
    }

    /// Milliseconds since the epoch.
    pub const fn milliseconds(self) -> i64 {
        self.milliseconds
    }

    /// Seconds since the epoch.
    pub fn seconds(self) -> f64 {
        self.milliseconds as f64 / 1000.0
    }

    /// `2026-11-21T07:01:19.250Z`: ISO 8601 as the query protocol has it.
    pub fn iso8601(self) -> String {
        let days = self.milliseconds.div_euclid(86_400_000);
        let within = self.milliseconds.rem_euclid(86_400_000);
        let (year, month, day) = civil(days);
        let (seconds, milliseconds) = (within / 1000, within % 1000);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milliseconds:03}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// Reads ISO 8601 with a `Z` or a numeric offset, whole or fractional seconds, or a date alone.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let (date, rest) = match text.split_once(['T', ' ']) {
            Some((date, rest)) => (date, rest),
            None => (text, "00:00:00Z"),
        };
        let mut parts = date.splitn(3, '-');
        let mut number = |length: usize| -> Option<i64> {
            let part = parts.next()?;
            (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "Z"),
        };
        let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut parts = whole.splitn(3, ':').map(|part| {
            (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse::<i64>().ok())?
        });
        let hours = parts.next()??;
        let minutes = parts.next()??;
        let seconds = parts.next().unwrap_or(Some(0))?;
        if hours > 23 || minutes > 59 || seconds > 60 {
            return None;
        }
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        let offset_minutes = match offset {
            "Z" | "z" => 0,
            other => {
                let sign = if other.starts_with('-') { -1 } else { 1 };
                let digits: String = other[1..].chars().filter(|c| *c != ':').collect();
                if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                let value: i64 = digits.parse().ok()?;
                sign * (value / 100 * 60 + value % 100)
            }
        };
        let days = days_from_civil(year, month, day);
        let seconds = days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset_minutes * 60;
        Some(Self { milliseconds: seconds * 1000 + milliseconds })
    }

    /// `Sat, 21 Nov 2026 07:01:19 GMT`: IMF-fixdate (RFC 9110 §5.6.7), as headers have it. What is
    /// less than a second is left out.
    pub fn http_date(self) -> String {
        let days = self.milliseconds.div_euclid(86_400_000);
        let seconds = self.milliseconds.rem_euclid(86_400_000) / 1000;
        let (year, month, day) = civil(days);
        // 1970-01-01 was a Thursday. Both are within their tables.
        let weekday = WEEKDAYS[(days + 3).rem_euclid(7) as usize];
        let month = MONTHS[(month - 1) as usize];
        format!(
            "{weekday}, {day:02} {month} {year:04} {:02}:{:02}:{:02} GMT",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// Reads IMF-fixdate, with or without a fraction of the second (Smithy's `http-date`). The
    /// name of the day is not compared with the date.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let (weekday, rest) = text.split_once(", ")?;
        if !WEEKDAYS.contains(&weekday) {
            return None;
        }
        let mut words = rest.split(' ');
        let [day, month, year, time, zone] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        if zone != "GMT"
            || words.next().is_some()
            || time.matches(':').count() != 2
            || time.contains(['+', '-', 'Z', 'z'])
        {
            return None;
        }
        Self::parse_iso8601(&format!("{year}-{month:02}-{day}T{time}Z"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso8601())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TIMESTAMP, &self.seconds())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Timestamp")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Timestamp, D::Error> {
                f64::deserialize(inner).map(Timestamp::from_seconds)
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Timestamp, E> {
                Ok(Timestamp::from_seconds(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Timestamp, E> {
                Ok(Timestamp::from_milliseconds(seconds.saturating_mul(1000)))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Timestamp, E> {
                Ok(Timestamp::from_milliseconds(
                    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000),
                ))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse_iso8601(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_newtype_struct(TIMESTAMP, Visitor)
    }
}

/// A map of a response, whose keys are data: XML must not take them for members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries<T>(pub T);

impl<T: Serialize> Serialize for Entries<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(ENTRIES, &self.0)
    }
}

/// Bytes; base64 in JSON, query and XML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

pub(crate) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(BLOB, &base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Blob")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Blob, D::Error> {
                inner.deserialize_str(self)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
                from_base64(text)
                    .map(Blob)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Other("text that is no base64"), &self))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_newtype_struct(BLOB, Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_iso_8601() {
        assert_eq!(Timestamp::from_milliseconds(0).iso8601(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_milliseconds(1_795_244_479_250).iso8601(), "2026-11-21T07:01:19.250Z");
        assert_eq!(Timestamp::from_milliseconds(-1).iso8601(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn reads_iso_8601() {
        let read = |text| Timestamp::parse_iso8601(text).map(Timestamp::milliseconds);
        assert_eq!(read("2026-11-21T07:01:19.25Z"), Some(1_795_244_479_250));
        assert_eq!(read("2026-11-21T08:01:19+01:00"), Some(1_795_244_479_000));
        assert_eq!(read("1970-01-02"), Some(86_400_000));
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-21T25:00:00Z",
            "2026-11-21T07:01:19.2x5Z",
            "2026-11-21T1",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_of_headers_are_read_and_written() {
        let at = Timestamp::from_milliseconds(1_795_244_479_000);
        assert_eq!(at.http_date(), "Sat, 21 Nov 2026 07:01:19 GMT");
        assert_eq!(Timestamp::from_milliseconds(-1).http_date(), "Wed, 31 Dec 1969 23:59:59 GMT");
        assert_eq!(Timestamp::parse_http_date("Sat, 21 Nov 2026 07:01:19 GMT"), Some(at));
        let fraction = Timestamp::parse_http_date("Sun, 02 Jan 2000 20:34:56.456 GMT");
        assert_eq!(fraction.map(Timestamp::milliseconds), Some(946_845_296_456));
        for wrong in [
            "",
            "Sat, 21 Nov 2026 07:01:19",
            "Sat, 21 Nov 2026 07:01:19 CET",
            "Sat, 21 nov 2026 07:01:19 GMT",
            "Sat, 1 Nov 2026 07:01:19 GMT",
            "Sat, 21 Nov 26 07:01:19 GMT",
            "Sat, 21 Nov 2026 07:01 GMT",
            "Sat, 21 Nov 2026 07:01:19+01:00 GMT",
            "Sat, 21 Nov 2026 07:01:19 GMT ",
            "Saturday, 21-Nov-26 07:01:19 GMT",
            "2026-11-21T07:01:19Z",
        ] {
            assert_eq!(Timestamp::parse_http_date(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(milliseconds in -60_000_000_000_000i64..250_000_000_000_000) {
            let at = Timestamp::from_milliseconds(milliseconds);
            prop_assert_eq!(Timestamp::parse_iso8601(&at.iso8601()), Some(at));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = (Timestamp::parse_iso8601(&text), Timestamp::parse_http_date(&text));
        }

        #[test]
        fn dates_of_headers_that_are_written_are_read(seconds in -60_000_000_000i64..250_000_000_000) {
            let at = Timestamp::from_milliseconds(seconds * 1000);
            prop_assert_eq!(Timestamp::parse_http_date(&at.http_date()), Some(at));
        }
    }
}
