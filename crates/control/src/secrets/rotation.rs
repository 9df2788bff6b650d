//! When a secret is to be rotated.

use std::time::Duration;

use bowline_aws::secretsmanager::RotationRules;
use bowline_model::clock::Timestamp;

use super::SecretRecord;

const HOUR: u64 = 3_600;

/// Refuses rules that AWS does not take; the text is for people.
pub(crate) fn check(rules: &RotationRules) -> Result<(), String> {
    if rules.automatically_after_days.is_some() && rules.schedule_expression.is_some() {
        return Err("You can't specify both AutomaticallyAfterDays and ScheduleExpression.".into());
    }
    if rules.automatically_after_days.is_some_and(|days| !(1..=1_000).contains(&days)) {
        return Err("AutomaticallyAfterDays must be between 1 and 1000.".into());
    }
    if let Some(duration) = &rules.duration {
        let hours = duration.strip_suffix('h').and_then(|hours| hours.parse::<u64>().ok());
        if hours.is_none_or(|hours| !(1..=24).contains(&hours)) {
            return Err("Duration must be a number of hours such as 3h.".into());
        }
    }
    match &rules.schedule_expression {
        Some(expression) if every(expression).is_none() && !is_cron(expression) => Err(
            "ScheduleExpression must be cron(…) with six fields, or rate(…) of 4 hours or more in hours or days."
                .into(),
        ),
        _ => Ok(()),
    }
}

/// The interval of `rate(10 days)`.
fn every(expression: &str) -> Option<Duration> {
    let inner = expression.strip_prefix("rate(")?.strip_suffix(')')?;
    let (count, unit) = inner.trim().split_once(' ')?;
    let count: u64 = count.parse().ok()?;
    let hours = match unit.trim() {
        "hour" | "hours" => count,
        "day" | "days" => count.checked_mul(24)?,
        _ => return None,
    };
    (4..=24_000).contains(&hours).then(|| Duration::from_secs(hours * HOUR))
}

/// `cron(0 8 1 * ? *)`: six fields. Read no further.
fn is_cron(expression: &str) -> bool {
    let inner = expression.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')'));
    inner.is_some_and(|inner| inner.split_whitespace().count() == 6)
}

/// `NextRotationDate`: the end of the present interval. Of `cron(…)` none is told.
pub(crate) fn next(secret: &SecretRecord) -> Option<Timestamp> {
    let rotation = secret.rotation.as_ref().filter(|rotation| rotation.enabled)?;
    let interval = match (&rotation.rules.automatically_after_days, &rotation.rules.schedule_expression) {
        (Some(days), _) => Duration::from_secs(u64::try_from(*days).ok()?.checked_mul(24 * HOUR)?),
        (None, Some(expression)) => every(expression)?,
        (None, None) => return None,
    };
    Some(rotation.since + interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(expression: &str) -> RotationRules {
        RotationRules { schedule_expression: Some(expression.to_owned()), ..RotationRules::default() }
    }

    #[test]
    fn schedules_are_read() {
        assert_eq!(every("rate(10 days)"), Some(Duration::from_secs(10 * 24 * 3600)));
        assert_eq!(check(&schedule("rate(4 hours)")), Ok(()));
        assert_eq!(check(&schedule("cron(0 8 1 * ? *)")), Ok(()));
        for wrong in [
            "rate(3 hours)",
            "rate(x days)",
            "rate(1 weeks)",
            "cron(0 8)",
            "",
            "rate(99999999999999999999 days)",
        ] {
            assert!(check(&schedule(wrong)).is_err(), "{wrong}");
        }
        let both = RotationRules { automatically_after_days: Some(1), ..schedule("rate(1 day)") };
        assert!(check(&both).is_err());
        let duration = |text: &str| RotationRules { duration: Some(text.into()), ..RotationRules::default() };
        assert_eq!(check(&duration("3h")), Ok(()));
        assert!(check(&duration("3d")).is_err() && check(&duration("0h")).is_err());
    }
}
