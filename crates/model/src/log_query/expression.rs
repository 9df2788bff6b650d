//! What a query says of one row.

use regex_lite::Regex;

use super::{Value, moment};

/// Something that has a value for each row.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Field(String),
    Literal(Value),
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Binary(Box<Expression>, Operator, Box<Expression>),
    /// Whether a text is within another.
    Like(Box<Expression>, String),
    Matches(Box<Expression>, Regex),
    In(Box<Expression>, Vec<Expression>),
    Call(Function, Vec<Expression>),
    /// The time, down to a multiple of so many milliseconds.
    Bin(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

macro_rules! functions {
    ($($function:ident => $name:literal, $least:literal..=$most:literal;)*) => {
        /// A function, of one row's values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($function),* }

        impl Function {
            /// By its name, whatever its case, with how many arguments it takes.
            pub(super) fn find(name: &str) -> Option<(Self, std::ops::RangeInclusive<usize>)> {
                $(if name.eq_ignore_ascii_case($name) { return Some((Self::$function, $least..=$most)); })*
                None
            }
        }
    };
}

functions! {
    Absolute => "abs", 1..=1;
    Ceiling => "ceil", 1..=1;
    Floor => "floor", 1..=1;
    SquareRoot => "sqrt", 1..=1;
    Logarithm => "log", 1..=1;
    Greatest => "greatest", 1..=16;
    Least => "least", 1..=16;
    IsPresent => "ispresent", 1..=1;
    IsEmpty => "isempty", 1..=1;
    IsBlank => "isblank", 1..=1;
    Coalesce => "coalesce", 1..=16;
    Concat => "concat", 1..=16;
    Length => "strlen", 1..=1;
    Lower => "tolower", 1..=1;
    Upper => "toupper", 1..=1;
    Trim => "trim", 1..=1;
    Contains => "strcontains", 2..=2;
    Substring => "substr", 2..=3;
    Replace => "replace", 3..=3;
    ToMillis => "tomillis", 1..=1;
    FromMillis => "frommillis", 1..=1;
}

/// Longest text that a function makes, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Where fields are looked up.
pub(super) trait Row {
    fn field(&self, name: &str) -> Value;
}

impl Expression {
    pub(super) fn value(&self, row: &dyn Row) -> Value {
        match self {
            Self::Field(name) => row.field(name),
            Self::Literal(value) => value.clone(),
            Self::Not(of) => Value::Flag(!of.value(row).is_true()),
            Self::Negative(of) => number(of.value(row).number().map(|it| -it)),
            Self::Like(of, part) => {
                Value::Flag(of.value(row).text().is_some_and(|text| text.contains(part.as_str())))
            }
            Self::Matches(of, regex) => {
                Value::Flag(of.value(row).text().is_some_and(|text| regex.is_match(&text)))
            }
            Self::In(of, all) => {
                let value = of.value(row);
                Value::Flag(all.iter().any(|one| equal(&value, &one.value(row))))
            }
            Self::Bin(millis) => match row.field("@timestamp") {
                Value::Time(at) => Value::Time(at - at % (*millis).max(1)),
                _ => Value::Missing,
            },
            Self::Binary(one, operator, other) => operator.apply(one, other, row),
            Self::Call(function, arguments) => {
                let values: Vec<Value> = arguments.iter().map(|argument| argument.value(row)).collect();
                function.call(&values)
            }
        }
    }
}

fn number(number: Option<f64>) -> Value {
    number.filter(|number| number.is_finite()).map_or(Value::Missing, Value::Number)
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Missing, _) | (_, Value::Missing) => false,
        (Value::Time(_), Value::Text(text)) if moment(text).is_some() => {
            one.number() == moment(text).map(|it| it as f64)
        }
        _ => match (one.number(), other.number()) {
            (Some(one), Some(other)) => one == other,
            _ => one.text() == other.text(),
        },
    }
}

impl Operator {
    fn apply(self, one: &Expression, other: &Expression, row: &dyn Row) -> Value {
        let first = one.value(row);
        match self {
            Self::And if !first.is_true() => return Value::Flag(false),
            Self::Or if first.is_true() => return Value::Flag(true),
            _ => {}
        }
        let mut second = other.value(row);
        if let (Value::Time(_), Value::Text(text)) = (&first, &second) {
            second = moment(text).map_or(second, Value::Time);
        }
        let orders = || {
            let is_there = first != Value::Missing && second != Value::Missing;
            is_there.then(|| first.compare(&second))
        };
        let arithmetic = |apply: fn(f64, f64) -> f64| {
            number(first.number().zip(second.number()).map(|(first, second)| apply(first, second)))
        };
        match self {
            Self::And | Self::Or => Value::Flag(second.is_true()),
            Self::Equal => Value::Flag(equal(&first, &second)),
            Self::NotEqual => Value::Flag(!equal(&first, &second)),
            Self::Less => Value::Flag(orders().is_some_and(|order| order.is_lt())),
            Self::LessOrEqual => Value::Flag(orders().is_some_and(|order| order.is_le())),
            Self::Greater => Value::Flag(orders().is_some_and(|order| order.is_gt())),
            Self::GreaterOrEqual => Value::Flag(orders().is_some_and(|order| order.is_ge())),
            Self::Add => arithmetic(|one, other| one + other),
            Self::Subtract => arithmetic(|one, other| one - other),
            Self::Multiply => arithmetic(|one, other| one * other),
            Self::Divide => arithmetic(|one, other| one / other),
            Self::Remainder => arithmetic(|one, other| one % other),
            Self::Power => arithmetic(f64::powf),
        }
    }
}

impl Function {
    fn call(self, values: &[Value]) -> Value {
        let first = values.first().unwrap_or(&Value::Missing);
        let one = |apply: fn(f64) -> f64| number(first.number().map(apply));
        let text = |apply: &dyn Fn(String) -> String| {
            first.text().map_or(Value::Missing, |text| Value::Text(apply(text)))
        };
        let whole =
            |place: usize| values.get(place).and_then(Value::number).map(|number| number.max(0.0) as usize);
        match self {
            Self::Absolute => one(f64::abs),
            Self::Ceiling => one(f64::ceil),
            Self::Floor => one(f64::floor),
            Self::SquareRoot => one(f64::sqrt),
            Self::Logarithm => one(f64::ln),
            Self::Greatest => number(values.iter().filter_map(Value::number).reduce(f64::max)),
            Self::Least => number(values.iter().filter_map(Value::number).reduce(f64::min)),
            Self::IsPresent => Value::Flag(*first != Value::Missing),
            Self::IsEmpty => Value::Flag(first.text().is_none_or(|text| text.is_empty())),
            Self::IsBlank => Value::Flag(first.text().is_none_or(|text| text.trim().is_empty())),
            Self::Coalesce => {
                values.iter().find(|value| **value != Value::Missing).cloned().unwrap_or(Value::Missing)
            }
            Self::Concat => {
                let all: String = values.iter().filter_map(Value::text).collect();
                if all.len() > TEXT_BYTES_MAX { Value::Missing } else { Value::Text(all) }
            }
            Self::Length => number(first.text().map(|text| text.chars().count() as f64)),
            Self::Lower => text(&|text| text.to_lowercase()),
            Self::Upper => text(&|text| text.to_uppercase()),
            Self::Trim => text(&|text| text.trim().to_owned()),
            Self::Contains => {
                let part = values.get(1).and_then(Value::text).unwrap_or_default();
                Value::Flag(first.text().is_some_and(|text| text.contains(&part)))
            }
            Self::Substring => {
                let (from, count) = (whole(1).unwrap_or(0), whole(2).unwrap_or(usize::MAX));
                text(&|text| text.chars().skip(from).take(count).collect())
            }
            Self::Replace => {
                let part = |place: usize| values.get(place).and_then(Value::text).unwrap_or_default();
                let (from, to) = (part(1), part(2));
                text(&|text| match from.is_empty() || to.len() * text.matches(&from).count() > TEXT_BYTES_MAX
                {
                    true => text,
                    false => text.replace(&from, &to),
                })
            }
            Self::ToMillis => one(|millis| millis),
            Self::FromMillis => {
                first.number().filter(|it| *it >= 0.0).map_or(Value::Missing, |it| Value::Time(it as u64))
            }
        }
    }
}
