//! When a scheduled action is due: `at(…)`, `rate(…)`, `cron(…)`, in UTC.
//!
//! Source: Application Auto Scaling user guide, "Schedule recurring scaling actions using cron expressions"; of cron's
//! signs `W` and `#`, and `L` for days of the week, are not read.

use std::{fmt, str::FromStr, time::Duration};

use crate::clock::{Timestamp, days_from_civil};

const DAY_MILLIS: u64 = 86_400_000;

/// Longest expression.
const CHARACTERS_MAX: usize = 256;

/// How far ahead a next time is looked for: leap days come once in eight years at most.
const DAYS_AHEAD: u64 = 9 * 366;

/// When something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once.
    At(Timestamp),
    /// Again and again, counted from its begin.
    Rate(Duration),
    /// At dates.
    Cron(Box<Cron>),
}

/// Minutes, hours, days, months, years: those that are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    /// Bits 1 to 31, and bit 0: the month's last; `None`: any.
    days_of_month: Option<u64>,
    months: u64,
    /// Bits 1 (Sunday) to 7; `None`: any.
    days_of_week: Option<u64>,
    /// From 1970; `None`: any.
    years: Option<Vec<u16>>,
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSchedule(&'static str);

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(fields) is needed", self.0)
    }
}

impl std::error::Error for InvalidSchedule {}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        if text.len() > CHARACTERS_MAX || !text.is_ascii() {
            return Err(InvalidSchedule("the expression is too long"));
        }
        let (kind, rest) = text.split_once('(').ok_or(InvalidSchedule("the expression is none"))?;
        let inner = rest.strip_suffix(')').ok_or(InvalidSchedule("the expression is not closed"))?;
        match kind {
            "at" => at(inner).map(Self::At).ok_or(InvalidSchedule("the date is none")),
            "rate" => rate(inner).map(Self::Rate).ok_or(InvalidSchedule("the rate is none")),
            "cron" => cron(inner).map(|cron| Self::Cron(Box::new(cron))),
            _ => Err(InvalidSchedule("the expression is none")),
        }
    }
}

fn at(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T')?;
    let parts = |text: &str, sign| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text.split(sign).map(number).collect();
        parts?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (parts(date, '-')?, parts(time, ':')?);
    let is_valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_valid {
        return None;
    }
    Some(Timestamp::from_secs(day_number(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second))
}

fn rate(text: &str) -> Option<Duration> {
    let (value, unit) = text.trim().split_once(' ')?;
    let value = number(value).filter(|value| *value > 0)?;
    let seconds = match unit.trim().strip_suffix('s').unwrap_or(unit.trim()) {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(value.checked_mul(seconds)?))
}

fn number(text: &str) -> Option<u64> {
    let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

fn cron(text: &str) -> Result<Cron, InvalidSchedule> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays, years] = fields[..] else {
        return Err(InvalidSchedule("a cron expression has six fields"));
    };
    if (days == "?") == (weekdays == "?") {
        return Err(InvalidSchedule("of the day of the month and that of the week, exactly one must be ?"));
    }
    let invalid = InvalidSchedule("a field is not within its bounds");
    let set = |text: &str, from, to, names: &[&str]| bits(text, from, to, names).ok_or(invalid.clone());
    let days_of_month = match days {
        "?" | "*" => None,
        "L" => Some(1),
        days => Some(set(days, 1, 31, &[])?),
    };
    let days_of_week = match weekdays {
        "?" | "*" => None,
        weekdays => Some(set(weekdays, 1, 7, &DAYS)?),
    };
    let years = match years {
        "*" => None,
        years => Some(self::years(years).ok_or(invalid.clone())?),
    };
    Ok(Cron {
        minutes: set(minutes, 0, 59, &[])?,
        hours: set(hours, 0, 23, &[])?,
        days_of_month,
        months: set(months, 1, 12, &MONTHS)?,
        days_of_week,
        years,
    })
}

/// The numbers of a field, each with its own bit.
fn bits(text: &str, from: u64, to: u64, names: &[&str]) -> Option<u64> {
    let mut bits = 0;
    for number in numbers(text, from, to, names)? {
        bits |= 1 << number;
    }
    (bits != 0).then_some(bits)
}

fn years(text: &str) -> Option<Vec<u16>> {
    let years = numbers(text, 1970, 2199, &[])?;
    years.into_iter().map(|year| u16::try_from(year).ok()).collect()
}

/// `1,5-10,*/15`.
fn numbers(text: &str, from: u64, to: u64, names: &[&str]) -> Option<Vec<u64>> {
    let one = |text: &str| -> Option<u64> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(index) => from + u64::try_from(index).ok()?,
            None => number(text)?,
        };
        (from..=to).contains(&value).then_some(value)
    };
    let mut found = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (from, to),
            Some((first, last)) => (one(first)?, one(last)?),
            None if part.contains('/') => (one(range)?, to),
            None => (one(range)?, one(range)?),
        };
        if first > last {
            return None;
        }
        found.extend((first..=last).step_by(usize::try_from(step).ok()?));
    }
    Some(found)
}

impl Schedule {
    /// The first time after `after` that it is due; rates are counted from `begin`, which itself is the first.
    pub fn next(&self, begin: Timestamp, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(at) => (*at > after).then_some(*at),
            Self::Rate(every) => {
                if after < begin {
                    return Some(begin);
                }
                let every = u64::try_from(every.as_millis()).ok().filter(|every| *every > 0)?;
                let passed = (after.as_millis() - begin.as_millis()) / every + 1;
                begin.as_millis().checked_add(passed.checked_mul(every)?).map(Timestamp::from_millis)
            }
            Self::Cron(cron) => cron.next(after),
        }
    }
}

impl Cron {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // Whole minutes after it.
        let first_minute = after.as_millis() / 60_000 + 1;
        let first_day = first_minute / 1_440;
        for day in first_day..first_day.saturating_add(DAYS_AHEAD) {
            if !self.has_day(day) {
                continue;
            }
            let from = if day == first_day { first_minute % 1_440 } else { 0 };
            let minute = (from..1_440).find(|minute| {
                self.hours >> (minute / 60) & 1 == 1 && self.minutes >> (minute % 60) & 1 == 1
            });
            if let Some(minute) = minute {
                return Some(Timestamp::from_millis(day.checked_mul(DAY_MILLIS)? + minute * 60_000));
            }
        }
        None
    }

    fn has_day(&self, day: u64) -> bool {
        let text = Timestamp::from_millis(day.saturating_mul(DAY_MILLIS)).to_string();
        let mut date = text.split(['-', 'T']).map_while(|part| part.parse::<u64>().ok());
        let (Some(year), Some(month), Some(day_of_month)) = (date.next(), date.next(), date.next()) else {
            return false;
        };
        // The epoch was a Thursday, the fifth day.
        let day_of_week = (day + 4) % 7 + 1;
        let is_last = day_of_month == days_in_month(year, month);
        self.months >> month & 1 == 1
            && self
                .days_of_month
                .is_none_or(|days| days >> day_of_month & 1 == 1 || (is_last && days & 1 == 1))
            && self.days_of_week.is_none_or(|days| days >> day_of_week & 1 == 1)
            && self.years.as_ref().is_none_or(|years| years.iter().any(|of| u64::from(*of) == year))
    }
}

fn day_number(year: u64, month: u64, day: u64) -> Option<u64> {
    let signed = |number: u64| i64::try_from(number).ok();
    u64::try_from(days_from_civil(signed(year)?, signed(month)?, signed(day)?)).ok()
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(text: &str) -> Timestamp {
        at(text).expect("a date")
    }

    fn next(schedule: &str, after: &str) -> String {
        let schedule: Schedule = schedule.parse().expect("a schedule");
        let next = schedule.next(moment("2026-01-01T00:00:00"), moment(after));
        next.map_or("never".into(), |next| next.to_string().replace(".000Z", ""))
    }

    #[test]
    fn each_kind_has_its_next_time() {
        assert_eq!(next("at(2026-11-21T20:30:00)", "2026-11-21T20:29:59"), "2026-11-21T20:30:00");
        assert_eq!(next("at(2026-11-21T20:30:00)", "2026-11-21T20:30:00"), "never");
        assert_eq!(next("rate(2 hours)", "2025-01-01T00:00:00"), "2026-01-01T00:00:00");
        assert_eq!(next("rate(2 hours)", "2026-01-01T03:59:59"), "2026-01-01T04:00:00");
        assert_eq!(next("rate(1 minute)", "2026-01-01T04:00:00"), "2026-01-01T04:01:00");
    }

    #[test]
    fn cron_is_read_as_awss_guide_writes_it() {
        // The examples of the guide.
        assert_eq!(next("cron(0 9 * * ? *)", "2026-11-21T20:00:00"), "2026-11-22T09:00:00");
        assert_eq!(next("cron(15 12 * * ? *)", "2026-11-21T12:14:59"), "2026-11-21T12:15:00");
        assert_eq!(next("cron(0 18 ? * MON-FRI *)", "2026-11-21T20:00:00"), "2026-11-23T18:00:00");
        assert_eq!(next("cron(0 8 1 * ? *)", "2026-11-21T20:00:00"), "2026-12-01T08:00:00");
        assert_eq!(next("cron(0/15 * * * ? *)", "2026-11-21T20:15:00"), "2026-11-21T20:30:00");
        assert_eq!(next("cron(0/10 * ? * MON-FRI *)", "2026-11-20T23:50:00"), "2026-11-23T00:00:00");
        assert_eq!(next("cron(0 0 L * ? *)", "2028-02-01T00:00:00"), "2028-02-29T00:00:00");
        assert_eq!(next("cron(0 0 29 FEB ? *)", "2026-11-21T00:00:00"), "2028-02-29T00:00:00");
        assert_eq!(next("cron(0 0 30 2 ? *)", "2026-11-21T00:00:00"), "never");
        assert_eq!(next("cron(5 4 3 2 ? 2030,2032)", "2030-02-03T04:05:00"), "2032-02-03T04:05:00");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "now",
            "at()",
            "at(2026-02-29T00:00:00)",
            "at(2026-11-21)",
            "rate(0 minutes)",
            "rate(5 seconds)",
            "rate(5 minutes",
            "cron(0 9 * * *)",
            "cron(0 9 * * * *)",
            "cron(0 9 ? * ? *)",
            "cron(60 9 * * ? *)",
            "cron(0 9 0 * ? *)",
            "cron(5-1 9 * * ? *)",
            "cron(0 9 15W * ? *)",
            "cron(*/0 9 * * ? *)",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "(at|rate|cron)\\([-0-9A-Z*?,/ :T]{0,40}\\)", begin in any::<u32>(), after in any::<u32>()) {
            let (begin, after) = (Timestamp::from_secs(begin.into()), Timestamp::from_secs(after.into()));
            if let Some(next) = text.parse::<Schedule>().ok().and_then(|schedule| schedule.next(begin, after)) {
                prop_assert!(next > after);
            }
        }
    }
}
