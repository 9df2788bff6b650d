//! CloudWatch's sentences, and the JSON beside them.

use bowline_model::{
    alarm::{Alarm, AlarmRule, AlarmSource, AlarmState, Comparison, Judgement, MissingData, StateRecord},
    clock::Timestamp,
};
use serde_json::{Value, json};

/// Longest reason (CloudWatch's bound).
pub(crate) const REASON_CHARACTERS_MAX: usize = 1_023;

/// Longest data of a reason (CloudWatch's bound).
pub(crate) const REASON_DATA_CHARACTERS_MAX: usize = 4_000;

/// Most values that a reason names.
const VALUES_TOLD_MAX: usize = 10;

/// Why an alarm comes to a state.
pub(crate) fn reason(rule: &AlarmRule, from: AlarmState, to: AlarmState, by: &Judgement) -> String {
    if to == AlarmState::InsufficientData {
        let (were, s) = if by.missing == 1 { ("was", "") } else { ("were", "s") };
        return format!("Insufficient Data: {} datapoint{s} {were} unknown.", by.missing);
    }
    if by.values.is_empty() {
        let treated = if rule.missing_data == MissingData::Breaching { "Breaching" } else { "NonBreaching" };
        let s = if by.missing == 1 { "" } else { "s" };
        return format!(
            "Threshold Crossed: no datapoints were received for {0} period{s} and {0} missing datapoint{s} were treated \
             as [{treated}].",
            by.missing
        );
    }
    let is_breaching = |value: f64| rule.comparison.is_breaching(value, rule.threshold);
    let wanted = to == AlarmState::Alarm;
    let told: Vec<_> = by.values.iter().filter(|(_, value)| is_breaching(*value) == wanted).collect();
    let (s, were) = if told.len() == 1 { ("", "was") } else { ("s", "were") };
    let listed: Vec<_> = told
        .iter()
        .take(VALUES_TOLD_MAX)
        .map(|(at, value)| format!("{} ({})", number(*value), day_and_time(*at)))
        .collect();
    let more = if told.len() > VALUES_TOLD_MAX { ", ..." } else { "" };
    let not = if wanted { "" } else { "not " };
    let missing = match by.missing {
        0 => String::new(),
        missing => format!(" and {missing} missing datapoint{}", if missing == 1 { "" } else { "s" }),
    };
    let enough = if wanted {
        rule.needed()
    } else {
        rule.evaluation_periods - rule.needed().min(rule.evaluation_periods) + 1
    };
    format!(
        "Threshold Crossed: {} out of the last {} datapoint{} [{}{more}] {were} {not}{} the threshold ({}){missing} \
         (minimum {enough} datapoint{} for {from} -> {to} transition).",
        told.len(),
        rule.evaluation_periods,
        if told.len() == 1 && rule.evaluation_periods == 1 { s } else { "s" },
        listed.join(", "),
        compared(rule.comparison),
        number(rule.threshold),
        if enough == 1 { "" } else { "s" },
    )
}

fn compared(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::GreaterThanOrEqualToThreshold => "greater than or equal to",
        Comparison::GreaterThanThreshold => "greater than",
        Comparison::LessThanThreshold => "less than",
        Comparison::LessThanOrEqualToThreshold => "less than or equal to",
    }
}

/// With a decimal point always, as CloudWatch writes it.
fn number(value: f64) -> String {
    format!("{value:?}")
}

/// `21/11/26 20:15:00`.
fn day_and_time(at: Timestamp) -> String {
    let text = at.to_string();
    let part = |range| text.get(range).unwrap_or_default();
    format!("{}/{}/{} {}", part(8..10), part(5..7), part(2..4), part(11..19))
}

/// `2026-11-21T20:15:00.000+0000`, as CloudWatch's JSON has it.
pub(crate) fn zoned(at: Timestamp) -> String {
    at.to_string().replace('Z', "+0000")
}

/// `StateReasonData`: what programs read of a reason.
pub(crate) fn reason_data(alarm: &Alarm, by: &Judgement, now: Timestamp) -> String {
    let values: Vec<_> = by.values.iter().take(VALUES_TOLD_MAX).collect();
    let recent: Vec<f64> = values.iter().rev().map(|(_, value)| *value).collect();
    let evaluated: Vec<Value> =
        values.iter().map(|(at, value)| json!({"timestamp": zoned(*at), "value": value})).collect();
    let mut data = json!({
        "version": "1.0",
        "queryDate": zoned(now),
    });
    if let Some((oldest, _)) = by.values.last() {
        data["startDate"] = zoned(*oldest).into();
    }
    if let AlarmSource::Metric(stat) = &alarm.source {
        data["statistic"] = stat.statistic.to_string().into();
        if let Some(unit) = stat.unit {
            data["unit"] = unit.as_str().into();
        }
    }
    data["period"] = alarm.source.period().as_secs().into();
    data["recentDatapoints"] = recent.into();
    data["threshold"] = alarm.rule.threshold.into();
    data["evaluatedDatapoints"] = evaluated.into();
    data.to_string()
}

/// A state as histories and events have it.
pub(crate) fn state_json(state: &StateRecord) -> Value {
    let mut told = json!({"stateValue": state.state.as_str(), "stateReason": state.reason});
    // What is no JSON any more is told as a text.
    if let Some(data) = &state.reason_data {
        told["stateReasonData"] = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.clone()));
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowline_model::alarm::judge;

    use super::*;

    fn rule() -> AlarmRule {
        AlarmRule {
            evaluation_periods: 3,
            datapoints_to_alarm: Some(2),
            threshold: 5.0,
            comparison: Comparison::GreaterThanThreshold,
            missing_data: MissingData::Breaching,
            ignores_few_samples: false,
        }
    }

    fn judged(values: &[f64]) -> Judgement {
        let minute = Duration::from_secs(60);
        let now = Timestamp::from_secs(1_800_000_000);
        let ages = (1..=values.len()).rev();
        let data: Vec<_> = ages
            .zip(values)
            .map(|(age, value)| (now - minute * u32::try_from(age).expect("few"), *value))
            .collect();
        judge(&rule(), minute, &data, now)
    }

    #[test]
    fn reasons_are_in_cloudwatchs_words() {
        let up = judged(&[1.0, 6.0, 7.5]);
        assert_eq!(
            reason(&rule(), AlarmState::Ok, AlarmState::Alarm, &up),
            "Threshold Crossed: 2 out of the last 3 datapoints [7.5 (15/01/27 07:59:00), 6.0 (15/01/27 07:58:00)] were \
             greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."
        );
        let down = judged(&[1.0, 2.0, 7.5]);
        assert_eq!(
            reason(&rule(), AlarmState::Alarm, AlarmState::Ok, &down),
            "Threshold Crossed: 2 out of the last 3 datapoints [2.0 (15/01/27 07:58:00), 1.0 (15/01/27 07:57:00)] were \
             not greater than the threshold (5.0) (minimum 2 datapoints for ALARM -> OK transition)."
        );
        let nothing = judged(&[]);
        assert_eq!(
            reason(&rule(), AlarmState::Ok, AlarmState::Alarm, &nothing),
            "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as \
             [Breaching]."
        );
        assert_eq!(
            reason(&rule(), AlarmState::Ok, AlarmState::InsufficientData, &nothing),
            "Insufficient Data: 3 datapoints were unknown."
        );
    }
}
