//! Times as numbers of milliseconds, to the microsecond.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes a time.
///
/// # Errors
/// The format's.
pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_micros() as f64 / 1000.0)
}

/// Reads a time.
///
/// # Errors
/// It is no number, or no time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read(f64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("no time in milliseconds"))
}

fn read(millis: f64) -> Option<Duration> {
    let seconds = (millis * 1000.0).round() / 1e6;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    // Of what cannot be written exactly in binary, the nearest microsecond is meant.
    Some(Duration::from_micros(u64::try_from((time.as_nanos() + 500) / 1000).ok()?))
}

/// Times that may never have come.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes a time, or nothing.
    ///
    /// # Errors
    /// The format's.
    pub fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time, or nothing.
    ///
    /// # Errors
    /// It is no number, or no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            Some(millis) => {
                super::read(millis).map(Some).ok_or_else(|| D::Error::custom("no time in milliseconds"))
            }
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_written() {
        for micros in [0, 1, 18_467, 4_140_949_631, 123_456_789_012] {
            let time = Duration::from_micros(micros);
            assert_eq!(read(time.as_micros() as f64 / 1000.0), Some(time));
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(read(wrong), None);
        }
    }
}
