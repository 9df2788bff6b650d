//! Patterns over events that are JSON: `{ $.status = 5* && $.user NOT EXISTS }`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    FilterPatternError,
    operand::{Comparison, Test},
    scanner::Scanner,
};

/// Most parentheses within parentheses.
const DEPTH_MAX: usize = 32;

/// A condition on the members of an object.
#[derive(Clone, Debug)]
pub(super) struct JsonPattern(Condition);

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Member(Selector, Is),
}

#[derive(Clone, Debug)]
enum Is {
    Such(Test),
    Null,
    Flag(bool),
    There,
    NotThere,
}

/// `$.a.b[0]`, with how it was written.
#[derive(Clone, Debug)]
struct Selector {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Member(String),
    Item(usize),
    /// Every member or item.
    Each,
}

impl Selector {
    fn read(scanner: &mut Scanner<'_>) -> Result<Self, FilterPatternError> {
        let before = scanner.rest();
        scanner.want("$", "a selector, as $.name")?;
        let mut steps = Vec::new();
        loop {
            if scanner.take(".[") || scanner.take("[") {
                scanner.space();
                steps.push(match scanner.peek() {
                    Some('\'' | '"') => Step::Member(scanner.quoted()?),
                    Some('*') => {
                        scanner.next();
                        Step::Each
                    }
                    _ => {
                        let digits = scanner.while_of(|c| c.is_ascii_digit());
                        Step::Item(digits.parse().map_err(|_| scanner.wants("an index or a quoted name"))?)
                    }
                });
                scanner.space();
                scanner.want("]", "]")?;
            } else if scanner.take(".") {
                if scanner.take("*") {
                    steps.push(Step::Each);
                    continue;
                }
                let is_name =
                    |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '@' | '/' | '#' | '+');
                match scanner.while_of(is_name) {
                    "" => return Err(scanner.wants("a member's name")),
                    name => steps.push(Step::Member(name.to_owned())),
                }
            } else {
                break;
            }
        }
        let length = before.len() - scanner.rest().len();
        match steps.is_empty() {
            true => Err(scanner.wants("a member's name")),
            false => Ok(Self { text: before[..length].to_owned(), steps }),
        }
    }

    /// What it selects: one value, or several where it selects each of some.
    fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut selected = vec![value];
        for step in &self.steps {
            let of = |value: &'a Value| -> Vec<&'a Value> {
                match (step, value) {
                    (Step::Member(name), Value::Object(members)) => members.get(name).into_iter().collect(),
                    (Step::Item(index), Value::Array(items)) => items.get(*index).into_iter().collect(),
                    (Step::Each, Value::Object(members)) => members.values().collect(),
                    (Step::Each, Value::Array(items)) => items.iter().collect(),
                    _ => Vec::new(),
                }
            };
            selected = selected.into_iter().flat_map(of).collect();
        }
        selected
    }
}

impl JsonPattern {
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Self, FilterPatternError> {
        scanner.want("{", "{")?;
        let condition = any(scanner, 0)?;
        scanner.space();
        scanner.want("}", "}, && or ||")?;
        Ok(Self(condition))
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        read(message).is_some_and(|value| self.0.holds(&value))
    }

    pub(super) fn extracted(&self, message: &str) -> BTreeMap<String, String> {
        let mut extracted = BTreeMap::new();
        if let Some(value) = read(message) {
            self.0.extract(&value, &mut extracted);
        }
        extracted
    }
}

/// An event that is an object, or an array.
fn read(message: &str) -> Option<Value> {
    // Most lines that are none are seen to be none at once.
    let is_json = message.trim_start().starts_with(['{', '[']);
    is_json.then(|| serde_json::from_str(message).ok()).flatten()
}

/// What a selector means in a message.
pub(super) fn value(message: &str, selector: &str) -> Option<String> {
    let mut scanner = Scanner::new(selector);
    let selector = Selector::read(&mut scanner).ok()?;
    scanner.end().ok()?;
    selector.select(&read(message)?).first().map(|value| text(value))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn any(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, FilterPatternError> {
    let mut conditions = vec![all(scanner, depth)?];
    loop {
        scanner.space();
        if !scanner.take("||") {
            break;
        }
        conditions.push(all(scanner, depth)?);
    }
    Ok(Condition::Any(conditions))
}

fn all(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, FilterPatternError> {
    let mut conditions = vec![one(scanner, depth)?];
    loop {
        scanner.space();
        if !scanner.take("&&") {
            break;
        }
        conditions.push(one(scanner, depth)?);
    }
    Ok(Condition::All(conditions))
}

fn one(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, FilterPatternError> {
    scanner.space();
    if scanner.take("(") {
        if depth == DEPTH_MAX {
            return Err(FilterPatternError::TooDeep);
        }
        let condition = any(scanner, depth + 1)?;
        scanner.space();
        scanner.want(")", ")")?;
        return Ok(condition);
    }
    let selector = Selector::read(scanner)?;
    scanner.space();
    let is = if let Some(comparison) = Comparison::read(scanner) {
        Is::Such(Test::read(scanner, comparison, |c| matches!(c, '}' | ')' | '&' | '|'))?)
    } else if scanner.take_word("IS") {
        scanner.space();
        match () {
            () if scanner.take_word("NULL") => Is::Null,
            () if scanner.take_word("TRUE") => Is::Flag(true),
            () if scanner.take_word("FALSE") => Is::Flag(false),
            () => return Err(scanner.wants("NULL, TRUE or FALSE")),
        }
    } else if scanner.take_word("NOT") {
        scanner.space();
        match scanner.take_word("EXISTS") {
            true => Is::NotThere,
            false => return Err(scanner.wants("EXISTS")),
        }
    } else if scanner.take_word("EXISTS") {
        Is::There
    } else {
        return Err(scanner.wants("a comparison, IS, EXISTS or NOT EXISTS"));
    };
    Ok(Condition::Member(selector, is))
}

impl Condition {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(value)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(value)),
            Self::Member(selector, is) => {
                let selected = selector.select(value);
                match is {
                    Is::NotThere => selected.is_empty(),
                    is => selected.into_iter().any(|value| is.holds(value)),
                }
            }
        }
    }

    fn extract(&self, value: &Value, into: &mut BTreeMap<String, String>) {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().for_each(|condition| condition.extract(value, into));
            }
            Self::Member(selector, _) => {
                if let Some(first) = selector.select(value).first() {
                    into.insert(selector.text.clone(), text(first));
                }
            }
        }
    }
}

impl Is {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::There, _) | (Self::Null, Value::Null) => true,
            (Self::Flag(wanted), Value::Bool(there)) => wanted == there,
            (Self::Such(test), Value::String(there)) => test.of_string(there),
            (Self::Such(test), Value::Number(there)) => {
                test.of_number(there.as_f64().unwrap_or(f64::NAN), &there.to_string())
            }
            (Self::Such(test), Value::Bool(there)) => test.of_string(if *there { "true" } else { "false" }),
            _ => false,
        }
    }
}
