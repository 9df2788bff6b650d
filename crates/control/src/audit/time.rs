//! Times as a record writes them: RFC 3339, UTC, whole seconds. Their text
//! sorts as the times do.

use bowline_model::clock::{Timestamp, days_from_civil};

/// 9999-12-31T23:59:59Z: past it, years have five digits and no longer sort.
const LAST: Timestamp = Timestamp::from_secs(253_402_300_799);

/// `2026-11-21T07:12:23Z`; a time past the year 9999 reads as its end.
pub(super) fn format(time: Timestamp) -> String {
    let mut text = time.min(LAST).to_string();
    text.truncate("2026-11-21T07:12:23".len());
    text.push('Z');
    text
}

/// Reads what [`format`] wrote.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() != "2026-11-21T07:12:23Z".len() {
        return None;
    }
    for (at, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')] {
        if bytes[at] != separator {
            return None;
        }
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        bytes[from..to]
            .iter()
            .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds).ok().map(Timestamp::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026-11-21T07:12:23",
            "2026-11-21T07:12:23.000Z",
            "2026-13-21T07:12:23Z",
            "20é6-1-21T07:12:2Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(format(Timestamp::from_millis(u64::MAX)), "9999-12-31T23:59:59Z");
    }

    proptest! {
        #[test]
        fn reads_what_it_writes_and_sorts(one in 0_u64..253_402_300_800, two in 0_u64..253_402_300_800) {
            let text = |seconds| format(Timestamp::from_secs(seconds));
            prop_assert_eq!(parse(&text(one)), Some(Timestamp::from_secs(one)));
            prop_assert_eq!(one.cmp(&two), text(one).cmp(&text(two)));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
