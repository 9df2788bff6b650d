use std::time::Duration;

use proptest::prelude::*;

use super::{
    query::{MetricStat, Plan, PlanError, Query, Source},
    *,
};
use crate::{
    clock::Timestamp,
    metric::{MetricId, Statistic},
};

/// From here on, for ten minutes.
const FROM: u64 = 1_800_000_000 / 60 * 60;

fn series(points: &[(u64, f64)]) -> Value {
    let points = points.iter().map(|(minute, value)| (FROM + 60 * minute, *value)).collect();
    Value::Series(Series { label: "m".into(), period: 60, points })
}

/// What an expression comes to over m1 = 1, 2, -, 4, m2 = 10, 20, 30, - and m3, which is empty.
fn worked_out(text: &str) -> Result<Value, EvaluateError> {
    let values = [
        ("m1", series(&[(0, 1.0), (1, 2.0), (3, 4.0)])),
        ("m2", series(&[(0, 10.0), (1, 20.0), (2, 30.0)])),
        ("errors", series(&[])),
        ("e1", series(&[(0, 100.0)])),
    ];
    let named: Vec<Named<'_>> =
        values.iter().map(|(id, value)| Named { id, value, is_metric: *id != "e1" }).collect();
    let until = Timestamp::from_secs(FROM + 300);
    let scope = Scope { named: &named, from: Timestamp::from_secs(FROM), until, period: 60 };
    Expression::parse(text).expect(text).evaluate(&scope)
}

#[track_caller]
fn points(text: &str) -> Vec<(u64, f64)> {
    match worked_out(text) {
        Ok(Value::Series(series)) => {
            series.points.iter().map(|(at, value)| ((at - FROM) / 60, *value)).collect()
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
fn arrays(text: &str) -> Vec<Vec<f64>> {
    match worked_out(text) {
        Ok(Value::Array(all)) => all.iter().map(|series| series.values().collect()).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn arithmetic_is_done_at_the_moments_that_both_have() {
    assert_eq!(points("m1 + m2 * 2"), [(0, 21.0), (1, 42.0)]);
    assert_eq!(points("(m1 + m2) * 2"), [(0, 22.0), (1, 44.0)]);
    assert_eq!(points("m1 - 1 - 1"), [(0, -1.0), (1, 0.0), (3, 2.0)]);
    assert_eq!(points("100 / m1"), [(0, 100.0), (1, 50.0), (3, 25.0)]);
    assert_eq!(points("m1 / (m1 - 1)"), [(1, 2.0), (3, 4.0 / 3.0)], "nothing where it is divided by zero");
    assert_eq!(points("m1 * 2 ^ 3 ^ 0"), [(0, 2.0), (1, 4.0), (3, 8.0)]);
    assert_eq!(points("-m1 ^ 2"), [(0, -1.0), (1, -4.0), (3, -16.0)]);
    assert_eq!(points("m1 * .5 + -1"), [(0, -0.5), (1, 0.0), (3, 1.0)]);
    assert_eq!(points("m1 + errors"), []);
}

#[test]
fn comparisons_are_one_or_zero_and_choose() {
    assert_eq!(points("m1 >= 2"), [(0, 0.0), (1, 1.0), (3, 1.0)]);
    assert_eq!(points("m1 > 1 && m1 < 4 || m1 == 1"), [(0, 1.0), (1, 1.0), (3, 0.0)]);
    assert_eq!(points("m1 > 1 AND m1 != 4 OR 0"), [(0, 0.0), (1, 1.0), (3, 0.0)]);
    assert_eq!(points("IF(m1 > 1, m2, 7)"), [(0, 7.0), (1, 20.0)], "m2 has nothing in the fourth minute");
    assert_eq!(points("IF(m1 > 1, 7)"), [(1, 7.0), (3, 7.0)]);
    assert_eq!(points("IF(AVG(m2) > 15, m2, m1)"), [(0, 10.0), (1, 20.0), (2, 30.0)]);
    assert_eq!(points("IF(AVG(errors) > 0, m2, m1)"), [(0, 1.0), (1, 2.0), (3, 4.0)]);
}

#[test]
fn functions_of_a_series_make_numbers_and_of_an_array_a_series() {
    assert_eq!(points("m1 * 0 + SUM(m2)"), [(0, 60.0), (1, 60.0), (3, 60.0)]);
    assert_eq!(points("SUM(METRICS())"), [(0, 11.0), (1, 22.0), (2, 30.0), (3, 4.0)], "without e1");
    assert_eq!(points("SUM([m1, e1])"), [(0, 101.0), (1, 2.0), (3, 4.0)]);
    assert_eq!(points("MAX([m1, m2])"), [(0, 10.0), (1, 20.0), (2, 30.0), (3, 4.0)]);
    assert_eq!(points("MIN([m1, m2])"), [(0, 1.0), (1, 2.0), (2, 30.0), (3, 4.0)]);
    assert_eq!(points("AVG([m1, m2])"), [(0, 5.5), (1, 11.0), (2, 30.0), (3, 4.0)]);
    assert_eq!(points("STDDEV([m1, m2])"), [(0, 4.5), (1, 9.0), (2, 0.0), (3, 0.0)]);
    assert_eq!(points("DATAPOINT_COUNT([m1, m2])"), [(0, 2.0), (1, 2.0), (2, 1.0), (3, 1.0)]);
    assert_eq!(points("TIME_SERIES(MIN(m2)) / PERIOD(m2) * 6"), [0, 1, 2, 3, 4].map(|minute| (minute, 1.0)));
    assert_eq!(points("TIME_SERIES(METRIC_COUNT(METRICS()))")[0], (0, 3.0));
    assert_eq!(points("TIME_SERIES(DATAPOINT_COUNT(errors))")[0], (0, 0.0));
    assert_eq!(arrays("METRICS('m') * 2"), [vec![2.0, 4.0, 8.0], vec![20.0, 40.0, 60.0]]);
    assert_eq!(arrays("REMOVE_EMPTY(METRICS())").len(), 2);
    assert_eq!(arrays("SORT(METRICS(), MAX, DESC, 1)"), [vec![10.0, 20.0, 30.0]]);
    assert_eq!(arrays("SLICE(SORT([m2, m1], SUM, ASC), 0, 1)"), [vec![1.0, 2.0, 4.0]]);
    assert_eq!(points("SLICE([m1, m2], 1)"), points("LAST([m1, m2])"));
    assert_eq!(points("FIRST(METRICS())"), points("m1"));
}

#[test]
fn functions_along_a_series() {
    assert_eq!(points("DIFF(m1)"), [(1, 1.0), (3, 2.0)]);
    assert_eq!(points("DIFF_TIME(m1)"), [(1, 60.0), (3, 120.0)]);
    assert_eq!(points("RATE(m1) * 60"), [(1, 1.0), (3, 1.0)]);
    assert_eq!(points("RUNNING_SUM(m1)"), [(0, 1.0), (1, 3.0), (3, 7.0)]);
    assert_eq!(points("ABS(1.5 - m1)"), [(0, 0.5), (1, 0.5), (3, 2.5)]);
    assert_eq!(points("CEIL(m1 / 3)"), [(0, 1.0), (1, 1.0), (3, 2.0)]);
    assert_eq!(points("FLOOR(m1 / 3) + LOG10(100)"), [(0, 2.0), (1, 2.0), (3, 3.0)]);
    assert_eq!(points("LOG(m1 - 1)"), [(1, 0.0), (3, 3.0_f64.ln())], "no logarithm of zero");
    // 2027-01-15T08:00:00Z, a Friday.
    for (function, told) in
        [("YEAR", 2027.0), ("MONTH", 1.0), ("DATE", 15.0), ("DAY", 5.0), ("HOUR", 8.0), ("MINUTE", 0.0)]
    {
        assert_eq!(points(&format!("{function}(m1)"))[0], (0, told), "{function}");
    }
    assert_eq!(points("EPOCH(m1)")[0].1, FROM as f64);
}

#[test]
fn what_is_missing_is_filled() {
    assert_eq!(points("FILL(m1, 0)"), [(0, 1.0), (1, 2.0), (2, 0.0), (3, 4.0), (4, 0.0)]);
    assert_eq!(points("FILL(m1, m2)"), [(0, 1.0), (1, 2.0), (2, 30.0), (3, 4.0)]);
    assert_eq!(points("FILL(m1, REPEAT)"), [(0, 1.0), (1, 2.0), (2, 2.0), (3, 4.0), (4, 4.0)]);
    assert_eq!(points("FILL(m1, LINEAR)"), [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]);
    assert_eq!(points("FILL(errors, 5)").len(), 5);
    assert_eq!(arrays("m2 + FILL(METRICS('errors'), 1) * 0"), [vec![10.0, 20.0, 30.0]]);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (text, expected) in [
        ("", "the end cannot stand at character 1"),
        ("m1 +", "the end cannot stand at character 5"),
        ("m1 m2", "\"m2\" cannot stand at character 4"),
        ("(m1", "the end cannot stand at character 4"),
        ("m1 ? 2", "\"?\" cannot stand at character 4"),
        ("1..2", "\"1\" cannot stand at character 1"),
        ("'m1", "\"'\" cannot stand at character 1"),
        ("M1", "\"M1\" cannot stand at character 1"),
        ("SUM(m1,)", "\")\" cannot stand at character 8"),
        ("NOTHING(m1)", "there is no function NOTHING"),
        ("SEARCH('{A}', 'Sum', 60)", "the function SEARCH is not there: it needs what only AWS has"),
    ] {
        assert_eq!(
            Expression::parse(text).map_err(|error| error.to_string()),
            Err(expected.to_owned()),
            "{text}"
        );
    }
    for (text, expected) in [
        ("m9", "there is no metric or expression with the id m9"),
        ("5", "it comes to a number, and not to a time series"),
        ("SUM(m1)", "it comes to a number, and not to a time series"),
        ("'text'", "it comes to text, and not to a time series"),
        ("m1 + 'text'", "there is no operation between a time series and text"),
        ("[m1, 2]", "there is no operation between an array and a number"),
        ("SUM(m1, m2)", "SUM does not take what it is given"),
        ("ABS()", "ABS does not take what it is given"),
        ("FILL(m1, ASC)", "FILL does not take what it is given"),
        ("IF(METRICS(), 1, 2)", "IF does not take what it is given"),
    ] {
        assert_eq!(worked_out(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn depth_length_and_work_are_bounded() {
    let nested = |count: usize| format!("{}m1{}", "(".repeat(count), ")".repeat(count));
    assert!(Expression::parse(&nested(DEPTH_MAX - 1)).is_ok());
    assert_eq!(Expression::parse(&nested(DEPTH_MAX)), Err(ParseError::TooDeep));
    assert_eq!(Expression::parse(&"-".repeat(1_000)), Err(ParseError::TooDeep));
    assert_eq!(Expression::parse(&"^2".repeat(1_000).replacen('^', "1+2", 1)), Err(ParseError::TooDeep));
    assert_eq!(Expression::parse(&" ".repeat(EXPRESSION_BYTES_MAX + 1)), Err(ParseError::TooLong));
    let long = format!("m1{}", "+1".repeat(1_000));
    assert_eq!(points(&long)[0], (0, 1_001.0), "a long one is not a deep one");
    let many: Vec<(u64, f64)> = (0..10_000).map(|minute| (minute, 1.0)).collect();
    let value = series(&many);
    let named = [Named { id: "m1", value: &value, is_metric: true }];
    let scope = Scope {
        named: &named,
        from: Timestamp::from_secs(0),
        until: Timestamp::from_secs(u64::MAX),
        period: 1,
    };
    let much = format!("SUM([{}m1])", "METRICS(),".repeat(200));
    let expression = Expression::parse(&much).expect("reads");
    assert_eq!(expression.evaluate(&scope), Err(EvaluateError::TooMuch));
    let Ok(Value::Series(grid)) = Expression::parse("TIME_SERIES(1)").expect("reads").evaluate(&scope) else {
        panic!("a grid");
    };
    assert_eq!(grid.points.len(), 100_800);
}

fn expression(id: &str, text: &str) -> Query {
    let expression = Expression::parse(text).expect(text);
    Query { id: id.into(), source: Source::Expression { expression, period: None } }
}

fn metric(id: &str) -> Query {
    let metric = MetricId::new("Test", id, []);
    let period = Duration::from_secs(60);
    Query {
        id: id.into(),
        source: Source::Metric(MetricStat { metric, statistic: Statistic::Sum, period, unit: None }),
    }
}

#[test]
fn expressions_are_worked_out_after_those_that_they_name() {
    let plan =
        Plan::new(vec![expression("e2", "e1 * 2"), expression("e1", "m1 + SUM(METRICS())"), metric("m1")]);
    let fetched = |_, stat: &MetricStat| vec![(Timestamp::from_secs(FROM), stat.metric.name.len() as f64)];
    let (from, until) = (Timestamp::from_secs(FROM), Timestamp::from_secs(FROM + 60));
    let told = plan.expect("is in order").run(from, until, fetched).expect("comes to something");
    let values: Vec<f64> = told
        .iter()
        .map(|value| match value {
            Value::Series(series) => series.points[0].1,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, [8.0, 4.0, 2.0]);
    let refused = |queries| Plan::new(queries).expect_err("is refused");
    assert_eq!(refused(vec![metric("M")]), PlanError::NoId("M".into()));
    assert_eq!(refused(vec![metric("m"), metric("m")]), PlanError::Twice("m".into()));
    assert_eq!(refused(vec![expression("a", "b"), expression("b", "a + a")]), PlanError::Circle("a".into()));
    let unknown = PlanError::UnknownId { expression: "a".into(), id: "m1".into() };
    assert_eq!(refused(vec![expression("a", "m1")]), unknown);
}

/// Texts that are often expressions.
fn texts() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "m1",
        "m2",
        "e1",
        "1",
        "0.5",
        "+",
        "-",
        "*",
        "/",
        "^",
        "<",
        "==",
        "&&",
        "(",
        ")",
        "[",
        "]",
        ",",
        "SUM(",
        "IF(",
        "FILL(",
        "METRICS()",
        "RATE(",
        "SORT(",
        "REPEAT",
        "LINEAR",
        "AVG",
        "DESC",
        "'m'",
        " ",
        "TIME_SERIES(",
        "PERIOD(",
    ]);
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_survived(text in prop_oneof![texts(), ".{0,60}"]) {
        if Expression::parse(&text).is_ok() {
            // What it comes to has its moments in order, each once, and no value that is no number.
            let told = match worked_out(&text) {
                Ok(Value::Series(one)) => vec![one],
                Ok(Value::Array(all)) => all,
                _ => Vec::new(),
            };
            for series in told {
                prop_assert!(series.points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{text}");
                prop_assert!(series.points.iter().all(|point| point.1.is_finite()), "{text}");
            }
        }
    }

    #[test]
    fn numbers_are_worked_out_as_others_do(a in -9i32..9, b in 1i32..9, c in -9i32..9, d in 1i32..9) {
        let (x, y, z, w) = (f64::from(a), f64::from(b), f64::from(c), f64::from(d));
        let text = format!("TIME_SERIES({a} + {b} * ({c} - {d}) / {b} - {c} ^ {d})");
        let expected = x + y * (z - w) / y - z.powf(w) * if c < 0 { sign_of_power(z, w) } else { 1.0 };
        let told = points(&text)[0].1;
        prop_assert!((told - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{text}: {told}, {expected}");
    }
}

/// A sign binds less strongly than a power: `-2 ^ 2` is `-4`.
fn sign_of_power(base: f64, exponent: f64) -> f64 {
    -(base.abs().powf(exponent)) / base.powf(exponent)
}

/// All expressions of a request have their room together: their values are kept to its end.
#[test]
fn many_expressions_are_bounded_as_one_is() {
    let (from, until) = (Timestamp::from_secs(0), Timestamp::from_secs(90_000));
    let plan = |count: usize| {
        let all = (0..count).map(|number| expression(&format!("e{number}"), "TIME_SERIES(1)"));
        Plan::new(all.chain([metric("m1")]).collect()).expect("they can be ordered")
    };
    let run = |count: usize| plan(count).run(from, until, |_, _| vec![(from, 1.0)]);
    assert!(run(10).is_ok());
    // The period is the metric's: 1,500 values each.
    assert!(run(1_400).is_err_and(|error| error.cause == EvaluateError::TooMuch));
}
