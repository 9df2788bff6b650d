use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn rule(m: u32, n: u32, missing_data: MissingData) -> AlarmRule {
    AlarmRule {
        evaluation_periods: n,
        datapoints_to_alarm: (m != n).then_some(m),
        threshold: 0.5,
        comparison: Comparison::GreaterThanThreshold,
        missing_data,
        ignores_few_samples: false,
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000 * 60 + 7);

/// `0 - X - X` as in AWS's tables, the latest last.
fn datapoints(text: &str) -> Vec<(Timestamp, f64)> {
    let marks: Vec<_> = text.split_whitespace().collect();
    let end = Timestamp::from_secs(1_000_000 * 60);
    let at = |index: usize| end - MINUTE * u32::try_from(marks.len() - index).expect("few");
    let marked = marks.iter().enumerate();
    marked
        .filter_map(|(index, mark)| match *mark {
            "0" => Some((at(index), 0.0)),
            "X" => Some((at(index), 1.0)),
            _ => None,
        })
        .collect()
}

fn state(text: &str, m: u32, n: u32, missing_data: MissingData) -> &'static str {
    match judge(&rule(m, n, missing_data), MINUTE, &datapoints(text), NOW).state {
        None => "retain",
        Some(AlarmState::InsufficientData) => "insufficient",
        Some(state) => state.as_str(),
    }
}

fn row(text: &str, m: u32, n: u32) -> [&'static str; 4] {
    [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching]
        .map(|missing| state(text, m, n, missing))
}

/// The first table of "How alarm state is evaluated when data is missing": 3 out of 3.
#[test]
fn awss_table_of_three_of_three() {
    assert_eq!(row("0 - X - X", 3, 3), ["OK", "OK", "OK", "OK"]);
    assert_eq!(row("0 - - - -", 3, 3), ["OK", "OK", "OK", "OK"]);
    assert_eq!(row("- - - - -", 3, 3), ["insufficient", "retain", "ALARM", "OK"]);
    assert_eq!(row("0 X X - X", 3, 3), ["ALARM", "ALARM", "ALARM", "ALARM"]);
    assert_eq!(row("- - X - -", 3, 3), ["ALARM", "retain", "ALARM", "OK"]);
}

/// The second: 2 out of 3.
#[test]
fn awss_table_of_two_of_three() {
    assert_eq!(row("0 - X - X", 2, 3), ["ALARM", "ALARM", "ALARM", "ALARM"]);
    assert_eq!(row("0 0 X 0 X", 2, 3), ["ALARM", "ALARM", "ALARM", "ALARM"]);
    assert_eq!(row("0 - X - -", 2, 3), ["OK", "OK", "ALARM", "OK"]);
    assert_eq!(row("- - - - 0", 2, 3), ["OK", "OK", "ALARM", "OK"]);
    assert_eq!(row("- - - X -", 2, 3), ["ALARM", "retain", "ALARM", "OK"]);
}

/// "Avoiding premature transitions to alarm state".
#[test]
fn a_first_breaching_value_waits_for_the_next() {
    assert_eq!(state("- - - - X", 3, 3, MissingData::Missing), "retain");
    assert_eq!(state("- - - X -", 3, 3, MissingData::Missing), "retain");
    assert_eq!(state("- - X - -", 3, 3, MissingData::Missing), "ALARM");
    assert_eq!(state("- - - X 0", 3, 3, MissingData::Missing), "OK");
    assert_eq!(state("- - - - X", 2, 3, MissingData::Missing), "retain");
    assert_eq!(state("- - - - X", 1, 1, MissingData::Missing), "ALARM");
}

#[test]
fn a_period_that_is_not_over_is_not_looked_at() {
    let open = [(Timestamp::from_secs(1_000_000 * 60), 1.0)];
    let judged = judge(&rule(1, 1, MissingData::Missing), MINUTE, &open, NOW);
    assert_eq!((judged.state, judged.missing), (Some(AlarmState::InsufficientData), 1));
    let minute_later = judge(&rule(1, 1, MissingData::Missing), MINUTE, &open, NOW + MINUTE);
    assert_eq!((minute_later.state, minute_later.breaching), (Some(AlarmState::Alarm), 1));
}

#[test]
fn comparisons_are_as_they_are_called() {
    for (comparison, breaching) in [
        (Comparison::GreaterThanOrEqualToThreshold, [false, true, true]),
        (Comparison::GreaterThanThreshold, [false, false, true]),
        (Comparison::LessThanThreshold, [true, false, false]),
        (Comparison::LessThanOrEqualToThreshold, [true, true, false]),
    ] {
        assert_eq!([1.0, 2.0, 3.0].map(|value| comparison.is_breaching(value, 2.0)), breaching);
        assert!(!comparison.is_breaching(f64::NAN, 2.0));
        assert_eq!(comparison.as_str().parse(), Ok(comparison));
    }
    assert!("LessThanLowerThreshold".parse::<Comparison>().is_err());
}

fn alarm(rule: AlarmRule, state: AlarmState) -> Alarm {
    let arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:errors".parse().expect("an ARN");
    let metric = MetricId::new("Shop", "Errors", [("Service", "web")]);
    let stat = MetricStat { metric, statistic: Statistic::Percentile(99.9), period: MINUTE, unit: None };
    Alarm {
        arn,
        name: "errors".into(),
        description: None,
        source: AlarmSource::Metric(stat),
        rule,
        actions_enabled: true,
        actions: AlarmActions::default(),
        tags: BTreeMap::new(),
        configured_at: NOW,
        state: StateRecord { state, ..StateRecord::initial(NOW) },
    }
}

#[test]
fn only_another_state_is_a_transition() {
    let data = datapoints("X X X");
    let ok = alarm(rule(2, 3, MissingData::Missing), AlarmState::Ok);
    let transition = evaluate(&ok, &data, NOW).expect("it comes to ALARM");
    assert_eq!(
        (transition.from, transition.to, transition.by.breaching),
        (AlarmState::Ok, AlarmState::Alarm, 3)
    );
    let already = alarm(rule(2, 3, MissingData::Missing), AlarmState::Alarm);
    assert_eq!(evaluate(&already, &data, NOW), None);
}

#[test]
fn an_alarm_is_read_as_it_was_written() {
    let alarm = alarm(rule(2, 3, MissingData::Ignore), AlarmState::InsufficientData);
    let text = serde_json::to_string(&alarm).expect("it is written");
    assert_eq!(serde_json::from_str::<Alarm>(&text).expect("it is read"), alarm);
}

#[test]
fn a_history_is_bounded() {
    let mut history = History::default();
    let item =
        |at| HistoryItem { at, kind: HistoryItemType::Action, summary: String::new(), data: "{}".into() };
    for second in 0..250 {
        history.push(item(Timestamp::from_secs(second)));
    }
    assert_eq!(history.items.len(), HISTORY_ITEMS_MAX);
    assert_eq!(history.items.front().map(|oldest| oldest.at), Some(Timestamp::from_secs(150)));
    history.push(item(Timestamp::from_secs(200) + HISTORY_KEPT));
    assert_eq!(history.items.front().map(|oldest| oldest.at), Some(Timestamp::from_secs(201)));
}

proptest! {
    /// With a value in every period there is nothing to fill: M of the last N decide, whatever is made of missing ones.
    #[test]
    fn nothing_missing_is_decided_by_count(
        values in prop::collection::vec(any::<bool>(), 1..12),
        m in 1u32..12,
        missing in prop::sample::select(MissingData::ALL),
    ) {
        let n = u32::try_from(values.len()).expect("few");
        let m = m.min(n);
        let text: Vec<_> = values.iter().map(|breaching| if *breaching { "X" } else { "0" }).collect();
        let breaching = u32::try_from(values.iter().filter(|breaching| **breaching).count()).expect("few");
        let expected = if breaching >= m { "ALARM" } else { "OK" };
        prop_assert_eq!(state(&text.join(" "), m, n, missing), expected);
    }

    /// What is taken for breaching is never better than what is taken for anything else, and the other way round.
    #[test]
    fn treatments_are_ordered(marks in prop::collection::vec(prop::sample::select(vec!["0", "X", "-"]), 8), m in 1u32..6, n in 1u32..6) {
        let (text, m) = (marks.join(" "), m.min(n));
        let [missing, ignore, breaching, not_breaching] = row(&text, m, n);
        if breaching == "OK" {
            prop_assert!([missing, ignore, not_breaching].iter().all(|state| *state == "OK"));
        }
        if not_breaching == "ALARM" {
            prop_assert!([missing, ignore, breaching].iter().all(|state| *state == "ALARM"));
        }
        // The order in which values come does not matter.
        let mut data = datapoints(&text);
        let rule = rule(m, n, MissingData::Missing);
        let forwards = judge(&rule, MINUTE, &data, NOW);
        data.reverse();
        prop_assert_eq!(judge(&rule, MINUTE, &data, NOW), forwards);
    }

    /// Whatever is given, nothing panics.
    #[test]
    fn any_rule_can_be_judged(n in any::<u32>(), m in any::<Option<u32>>(), period in any::<u64>(), now in any::<u64>(), value in any::<f64>()) {
        let rule = AlarmRule { evaluation_periods: n, datapoints_to_alarm: m, ..rule(1, 1, MissingData::Breaching) };
        let now = Timestamp::from_millis(now);
        judge(&rule, Duration::from_millis(period), &[(now, value)], now);
    }
}
