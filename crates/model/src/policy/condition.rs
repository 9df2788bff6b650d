//! Conditions: `{"StringLike": {"aws:PrincipalTag/team": ["a*", "b"]}}`.

use std::{cmp::Ordering, net::IpAddr};

use super::{
    Effect, RequestContext,
    pattern::{ArnPattern, Pattern, Syntax},
    value::date,
};
use crate::cidr::Cidr;

/// One key under one operator, with the values that it is compared with.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    operator: Operator,
    /// In lower case.
    key: String,
    values: Vec<Value>,
}

/// A condition operator, `ForAnyValue:StringNotLikeIfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    quantifier: Option<Quantifier>,
    comparison: Comparison,
    /// A `Not…` operator: the values must not match.
    negated: bool,
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Text,
    TextFolded,
    TextLike,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Address,
    Arn,
    Null,
}

/// How the request's value stands to the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Pattern),
    Number(f64),
    Date(i64),
    Bool(bool),
    Binary(String),
    Network(Cidr),
    Arn(ArnPattern),
}

/// The operators without prefix and suffix, and whether they are negated.
const OPERATORS: &[(&str, Comparison, bool)] = &[
    ("StringEquals", Comparison::Text, false),
    ("StringNotEquals", Comparison::Text, true),
    ("StringEqualsIgnoreCase", Comparison::TextFolded, false),
    ("StringNotEqualsIgnoreCase", Comparison::TextFolded, true),
    ("StringLike", Comparison::TextLike, false),
    ("StringNotLike", Comparison::TextLike, true),
    ("NumericEquals", Comparison::Number(Order::Equal), false),
    ("NumericNotEquals", Comparison::Number(Order::Equal), true),
    ("NumericLessThan", Comparison::Number(Order::Less), false),
    ("NumericLessThanEquals", Comparison::Number(Order::LessOrEqual), false),
    ("NumericGreaterThan", Comparison::Number(Order::Greater), false),
    ("NumericGreaterThanEquals", Comparison::Number(Order::GreaterOrEqual), false),
    ("DateEquals", Comparison::Date(Order::Equal), false),
    ("DateNotEquals", Comparison::Date(Order::Equal), true),
    ("DateLessThan", Comparison::Date(Order::Less), false),
    ("DateLessThanEquals", Comparison::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Comparison::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Comparison::Date(Order::GreaterOrEqual), false),
    ("Bool", Comparison::Bool, false),
    ("BinaryEquals", Comparison::Binary, false),
    ("IpAddress", Comparison::Address, false),
    ("NotIpAddress", Comparison::Address, true),
    ("ArnEquals", Comparison::Arn, false),
    ("ArnLike", Comparison::Arn, false),
    ("ArnNotEquals", Comparison::Arn, true),
    ("ArnNotLike", Comparison::Arn, true),
    ("Null", Comparison::Null, false),
];

impl Operator {
    /// Reads an operator's name; the error says which there are.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("ForAnyValue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            _ => (None, name),
        };
        let (plain, if_exists) = match rest.strip_suffix("IfExists") {
            Some(plain) => (plain, true),
            None => (rest, false),
        };
        let found = OPERATORS.iter().find(|(name, ..)| *name == plain);
        match found {
            Some((_, Comparison::Null, _)) if quantifier.is_some() || if_exists => {
                Err("Null takes neither ForAllValues:, ForAnyValue: nor IfExists".to_owned())
            }
            Some(&(_, comparison, negated)) => Ok(Self { quantifier, comparison, negated, if_exists }),
            None => {
                let names: Vec<&str> = OPERATORS.iter().map(|(name, ..)| *name).collect();
                let names = names.join(", ");
                Err(format!(
                    "is no condition operator; there are {names}, each but Null with ForAllValues: or \
                     ForAnyValue: before it and IfExists after it"
                ))
            }
        }
    }
}

impl Condition {
    /// Compiles a condition; the error says which values there are.
    pub(super) fn parse(
        operator: Operator,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, String> {
        let values = values.iter().map(|text| Value::parse(operator.comparison, text, variables));
        Ok(Self { operator, key: key.to_lowercase(), values: values.collect::<Result<_, _>>()? })
    }

    /// Whether the condition is met. Where a policy variable has no value, a condition of `Deny`
    /// that asks for a difference is met and one of `Allow` is not.
    pub(super) fn holds(&self, effect: Effect, request: &RequestContext) -> bool {
        let Operator { quantifier, comparison, negated, if_exists } = self.operator;
        let present = request.values_folded(&self.key);
        if comparison == Comparison::Null {
            let absent = present.is_none();
            return self.values.iter().any(|value| matches!(value, Value::Bool(null) if *null == absent));
        }
        let Some(present) = present else {
            return match quantifier {
                _ if if_exists => true,
                Some(Quantifier::ForAllValues) => true,
                Some(Quantifier::ForAnyValue) => false,
                None => negated,
            };
        };
        let meets = |text: &String| {
            let mut unknown = false;
            for value in &self.values {
                match value.matches(comparison, text, request) {
                    Some(true) => return !negated,
                    Some(false) => {}
                    None => unknown = true,
                }
            }
            negated && (!unknown || effect == Effect::Deny)
        };
        match quantifier {
            Some(Quantifier::ForAllValues) => present.iter().all(meets),
            Some(Quantifier::ForAnyValue) => present.iter().any(meets),
            // Without a quantifier a key is meant to have one value. Of several, any may be the
            // one that is asked for and none the one that is not.
            None if negated => present.iter().all(meets),
            None => present.iter().any(meets),
        }
    }
}

impl Value {
    fn parse(comparison: Comparison, text: &str, variables: bool) -> Result<Self, String> {
        let syntax = |wildcards| Syntax { wildcards, variables };
        match comparison {
            Comparison::Text | Comparison::TextFolded => Pattern::parse(text, syntax(false)).map(Self::Text),
            Comparison::TextLike => Pattern::parse(text, syntax(true)).map(Self::Text),
            Comparison::Number(_) => {
                number(text).map(Self::Number).ok_or_else(|| format!("{text:?} is no number"))
            }
            Comparison::Date(_) => date(text).map(Self::Date).ok_or_else(|| {
                format!("{text:?} is no date; one is 2026-11-21T07:45:00Z or seconds since 1970")
            }),
            Comparison::Bool | Comparison::Null => {
                boolean(text).map(Self::Bool).ok_or_else(|| format!("{text:?} is neither true nor false"))
            }
            Comparison::Binary => {
                let digits = text.trim_end_matches('=');
                let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
                if text.len().is_multiple_of(4)
                    && text.len() - digits.len() <= 2
                    && digits.bytes().all(is_digit)
                {
                    Ok(Self::Binary(text.to_owned()))
                } else {
                    Err(format!("{text:?} is not base64"))
                }
            }
            Comparison::Address => text
                .parse()
                .map(Self::Network)
                .map_err(|_| format!("{text:?} is no address range; one is 203.0.113.0/24 or 2001:db8::/32")),
            Comparison::Arn => ArnPattern::parse(text, variables).map(Self::Arn),
        }
    }

    /// Whether the request's value matches; `None` if a variable has no value.
    fn matches(&self, comparison: Comparison, text: &str, request: &RequestContext) -> Option<bool> {
        let ordered = |ordering: Option<Ordering>| {
            let (Comparison::Number(order) | Comparison::Date(order)) = comparison else { return false };
            ordering.is_some_and(|ordering| order.holds(ordering))
        };
        Some(match self {
            Self::Text(pattern) => match comparison {
                Comparison::TextLike => pattern.matches(text, request)?,
                Comparison::TextFolded => pattern.literal(request)?.to_lowercase() == text.to_lowercase(),
                _ => pattern.literal(request)? == text,
            },
            Self::Number(value) => ordered(number(text).and_then(|number| number.partial_cmp(value))),
            Self::Date(value) => ordered(date(text).map(|date| date.cmp(value))),
            Self::Bool(value) => boolean(text) == Some(*value),
            Self::Binary(value) => text == value,
            Self::Network(network) => text.parse::<IpAddr>().is_ok_and(|address| network.contains(address)),
            Self::Arn(pattern) => pattern.matches(text, request)?,
        })
    }
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// A decimal number; not `inf`, `NaN` or an exponent.
fn number(text: &str) -> Option<f64> {
    let is_number =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    is_number.then(|| text.parse().ok())?
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}
