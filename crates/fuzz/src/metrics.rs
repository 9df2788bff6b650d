//! Metric math: expressions of whoever may read metrics.

use bowline_model::{
    clock::Timestamp,
    metric::math::{Expression, Named, ParseError, Scope, Series, Value},
};

/// An expression, worked out over three small series.
///
/// Brackets around it change nothing; what it comes to has its moments in order, each once, and no value that is no
/// number.
pub fn metric_math(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(expression) = Expression::parse(text) else { return };
    match Expression::parse(&format!("({text})")) {
        Err(ParseError::TooDeep | ParseError::TooLong) => {}
        bracketed => assert_eq!(bracketed.as_ref(), Ok(&expression)),
    }
    let series = |points: &[(u64, f64)]| {
        let points = points.iter().map(|(minute, value)| (minute * 60, *value)).collect();
        Value::Series(Series { label: String::new(), period: 60, points })
    };
    let values = [
        ("m1", series(&[(1, 1.0), (2, -2.5), (4, 1e300)])),
        ("m2", series(&[(0, 0.0), (2, 7.0), (3, 1e-300)])),
        ("errors", series(&[])),
    ];
    let named: Vec<Named<'_>> =
        values.iter().map(|(id, value)| Named { id, value, is_metric: true }).collect();
    let scope =
        Scope { named: &named, from: Timestamp::from_secs(0), until: Timestamp::from_secs(600), period: 60 };
    let told = match expression.evaluate(&scope) {
        Ok(Value::Series(one)) => vec![one],
        Ok(Value::Array(all)) => all,
        Ok(other) => panic!("{other:?} is no series"),
        Err(_) => return,
    };
    for series in told {
        assert!(series.points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{series:?}");
        assert!(series.points.iter().all(|(_, value)| value.is_finite()), "{series:?}");
    }
}
