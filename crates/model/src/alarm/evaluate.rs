//! Which state an alarm should be in, by the values that there are.
//!
//! Source: CloudWatch User Guide, "Configuring how CloudWatch alarms treat missing data" (its tables are this
//! module's tests) and "How alarm state is evaluated when data is missing".

use std::time::Duration;

use super::{Alarm, AlarmRule, AlarmState, MissingData};
use crate::clock::Timestamp;

/// Periods that are looked at beyond the evaluation periods, for values in place of missing ones. AWS says only that
/// there are some; its examples have two.
pub const EXTRA_PERIODS: u32 = 2;

/// The time whose values an alarm is judged by: whole periods, the last of which is over at `now`.
pub fn range(rule: &AlarmRule, period: Duration, now: Timestamp) -> (Timestamp, Timestamp) {
    let period_millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    let until = Timestamp::from_millis(now.as_millis() / period_millis * period_millis);
    let periods = rule.evaluation_periods.saturating_add(EXTRA_PERIODS);
    (until - period.saturating_mul(periods), until)
}

/// What is made of the values that there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Which state; `None`: the one it is in.
    pub state: Option<AlarmState>,
    /// The values that were looked at, the latest first.
    pub values: Vec<(Timestamp, f64)>,
    /// How many of them are breaching.
    pub breaching: u32,
    /// How many were missing.
    pub missing: u32,
}

/// An alarm comes to another state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// From which.
    pub from: AlarmState,
    /// To which.
    pub to: AlarmState,
    /// When.
    pub at: Timestamp,
    /// By what.
    pub by: Judgement,
}

/// Judges an alarm at `now` by the values of the periods that are over, each with the period's begin; the order does
/// not matter, and what is outside [`range`] is not looked at. `None`: it stays in its state.
pub fn evaluate(alarm: &Alarm, datapoints: &[(Timestamp, f64)], now: Timestamp) -> Option<Transition> {
    let by = judge(&alarm.rule, alarm.source.period(), datapoints, now);
    let from = alarm.state.state;
    let to = by.state.filter(|to| *to != from)?;
    Some(Transition { from, to, at: now, by })
}

/// Which state the values make.
pub fn judge(
    rule: &AlarmRule,
    period: Duration,
    datapoints: &[(Timestamp, f64)],
    now: Timestamp,
) -> Judgement {
    let (from, until) = range(rule, period, now);
    let mut values: Vec<_> = datapoints
        .iter()
        .copied()
        .filter(|(at, value)| (from..until).contains(at) && value.is_finite())
        .collect();
    values.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    values.truncate(usize::try_from(rule.evaluation_periods).unwrap_or(usize::MAX));

    let present = count(values.len());
    let missing = rule.evaluation_periods.saturating_sub(present);
    let is_breaching = |value: f64| rule.comparison.is_breaching(value, rule.threshold);
    let breaching = count(values.iter().filter(|(_, value)| is_breaching(*value)).count());
    let needed = rule.needed();
    let by_count = |breaching| if breaching >= needed { AlarmState::Alarm } else { AlarmState::Ok };

    let state = if breaching >= needed || missing == 0 {
        Some(by_count(breaching))
    } else {
        match rule.missing_data {
            MissingData::Breaching => Some(by_count(breaching.saturating_add(missing))),
            MissingData::NotBreaching => Some(AlarmState::Ok),
            MissingData::Ignore if breaching == present => None,
            MissingData::Missing if present == 0 => Some(AlarmState::InsufficientData),
            // All that is known is breaching, and too few are known. Where that began long enough ago that the
            // missing ones could have been the rest, it is one; else the next value is waited for.
            MissingData::Missing if breaching == present => {
                let oldest = values.last().map(|(at, _)| age_in_periods(*at, until, period));
                oldest.is_some_and(|age| age >= needed).then_some(AlarmState::Alarm)
            }
            MissingData::Ignore | MissingData::Missing => Some(AlarmState::Ok),
        }
    };
    Judgement { state, values, breaching, missing }
}

/// The latest period that is over has age 1.
fn age_in_periods(begin: Timestamp, until: Timestamp, period: Duration) -> u32 {
    let age = until.since(begin).as_millis() / period.as_millis().max(1);
    u32::try_from(age).unwrap_or(u32::MAX)
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
