//! The vocabulary of the tables: what a property may hold, how that is checked, and what it
//! becomes in JSON.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use regex_lite::Regex;
use serde_json::{Map, Number, Value};

use crate::cfn::diagnostic::{Diagnostic, Report, Span};
use crate::cfn::intrinsic;
use crate::cfn::suggest::listed;
use crate::cfn::tree::{Kind, Node, Path};

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub(in crate::cfn) struct Shape {
    kind: ShapeKind,
    one_of: &'static [&'static str],
    pattern: Option<&'static str>,
    /// Characters of a string, items of a list.
    length: Option<(u32, u32)>,
    range: Option<(f64, f64)>,
}

#[derive(Clone, Copy, Debug)]
enum ShapeKind {
    String,
    Integer,
    Number,
    Boolean,
    /// Anything, for documents that have a language of their own (policies).
    Json,
    /// A list of strings; one string stands for a shell command line.
    Command,
    List(&'static Shape),
    Map(&'static Shape),
    Object(&'static [Property]),
}

/// One property of an object.
#[derive(Clone, Copy, Debug)]
pub(in crate::cfn) struct Property {
    pub(in crate::cfn) name: &'static str,
    pub(in crate::cfn) required: bool,
    shape: Shape,
    /// The name in the service's JSON API, where it is not the name with a small first letter.
    api: Option<&'static str>,
}

const fn shape(kind: ShapeKind) -> Shape {
    Shape { kind, one_of: &[], pattern: None, length: None, range: None }
}

/// A string; numbers and booleans are taken for one, as CloudFormation does.
pub(super) const STR: Shape = shape(ShapeKind::String);
/// A whole number, possibly written as a string.
pub(super) const INT: Shape = shape(ShapeKind::Integer);
/// A number, possibly written as a string.
pub(super) const NUM: Shape = shape(ShapeKind::Number);
/// A boolean, possibly written as a string.
pub(super) const BOOL: Shape = shape(ShapeKind::Boolean);
/// Anything.
pub(super) const JSON: Shape = shape(ShapeKind::Json);
/// A command: a list of strings, or one string for `/bin/sh -c`.
pub(super) const COMMAND: Shape = shape(ShapeKind::Command);
/// A tag as most services have it.
pub(super) const TAG: Shape = object(&[required("Key", STR.len(1, 128)), optional("Value", STR.len(0, 256))]);

pub(super) const fn list(item: &'static Shape) -> Shape {
    shape(ShapeKind::List(item))
}

pub(super) const fn map(value: &'static Shape) -> Shape {
    shape(ShapeKind::Map(value))
}

pub(super) const fn object(properties: &'static [Property]) -> Shape {
    shape(ShapeKind::Object(properties))
}

pub(super) const fn required(name: &'static str, shape: Shape) -> Property {
    Property { name, required: true, shape, api: None }
}

pub(super) const fn optional(name: &'static str, shape: Shape) -> Property {
    Property { name, required: false, shape, api: None }
}

impl Property {
    pub(super) const fn api(self, name: &'static str) -> Self {
        Property { api: Some(name), ..self }
    }
}

impl Shape {
    pub(super) const fn one_of(self, values: &'static [&'static str]) -> Self {
        Shape { one_of: values, ..self }
    }

    pub(super) const fn pattern(self, pattern: &'static str) -> Self {
        Shape { pattern: Some(pattern), ..self }
    }

    pub(super) const fn len(self, min: u32, max: u32) -> Self {
        Shape { length: Some((min, max)), ..self }
    }

    pub(super) const fn items(self, min: u32, max: u32) -> Self {
        self.len(min, max)
    }

    pub(super) const fn range(self, min: f64, max: f64) -> Self {
        Shape { range: Some((min, max)), ..self }
    }

    /// The properties, if this is an object.
    pub(in crate::cfn) fn properties(&self) -> &'static [Property] {
        match self.kind {
            ShapeKind::Object(properties) => properties,
            _ => &[],
        }
    }

    fn wanted(&self) -> &'static str {
        match self.kind {
            ShapeKind::String => "a string",
            ShapeKind::Integer => "a whole number",
            ShapeKind::Number => "a number",
            ShapeKind::Boolean => "a boolean",
            ShapeKind::Json => "a value",
            ShapeKind::Command => "a list of strings or one string",
            ShapeKind::List(_) => "a list",
            ShapeKind::Map(_) | ShapeKind::Object(_) => "a map",
        }
    }
}

/// Property names as CloudFormation has them, or as the service's JSON API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cfn) enum Case {
    Pascal,
    Camel,
}

/// Checks a value. Intrinsic functions that are not evaluated yet are passed over (the branches
/// of `Fn::If` are not), so this serves before and after evaluation.
pub(in crate::cfn) fn check(shape: &Shape, node: &Node, owner: &str, path: &Path<'_>, report: &mut Report) {
    if matches!(node.kind, Kind::Unknown) {
        return;
    }
    if intrinsic::is_call(node) {
        for branch in intrinsic::branches(node) {
            check(shape, branch, owner, path, report);
        }
        return;
    }
    let mut checker = Checker { owner, path, report };
    match shape.kind {
        ShapeKind::Json if matches!(node.kind, Kind::Null) => checker.wrong_type(shape, node),
        ShapeKind::Json => {}
        ShapeKind::String => match node.text() {
            Some(text) => checker.text(shape, node, text),
            None => checker.wrong_type(shape, node),
        },
        ShapeKind::Integer | ShapeKind::Number => match number(node) {
            Some(value) if matches!(shape.kind, ShapeKind::Number) || value.fract() == 0.0 => {
                checker.number(shape, node, value);
            }
            _ => checker.wrong_type(shape, node),
        },
        ShapeKind::Boolean if boolean(node).is_none() => checker.wrong_type(shape, node),
        ShapeKind::Boolean => {}
        ShapeKind::Command if node.text().is_some() => {}
        ShapeKind::Command => checker.items(shape, node, &STR),
        ShapeKind::List(item) => checker.items(shape, node, item),
        ShapeKind::Map(value) => match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    check(value, &entry.value, owner, &path.key(&entry.key), report);
                }
            }
            _ => checker.wrong_type(shape, node),
        },
        ShapeKind::Object(properties) => checker.object(shape, node, properties),
    }
}

struct Checker<'c, 'r> {
    owner: &'c str,
    path: &'c Path<'c>,
    report: &'r mut Report,
}

impl Checker<'_, '_> {
    fn error(&mut self, code: &'static str, span: Span, message: String) -> Diagnostic {
        Diagnostic::error(code, span, self.path, message)
    }

    fn wrong_type(&mut self, shape: &Shape, node: &Node) {
        let given = match node.text() {
            Some(text) if !node.secret && text.len() < 100 => format!("{} (`{text}`)", node.kind_name()),
            _ => node.kind_name().to_owned(),
        };
        let fault =
            self.error("wrong-type", node.span, format!("expected {}, found {given}", shape.wanted()));
        let fault = match (&node.kind, shape.kind) {
            (Kind::Null, _) => fault.help(
                "CloudFormation refuses null values; leave the property out, or use `!Ref AWS::NoValue`",
            ),
            (Kind::String(_) | Kind::Number(..), ShapeKind::List(_)) => {
                fault.help("begin the line with `- ` to make it a list of one")
            }
            _ => fault,
        };
        self.report.push(fault);
    }

    fn text(&mut self, shape: &Shape, node: &Node, text: &str) {
        // Where a string holds a number (`Cpu`), it is a string all the same.
        let shown =
            if node.secret || text.len() > 100 { "the value".to_owned() } else { format!("`{text}`") };
        if !shape.one_of.is_empty() && !shape.one_of.contains(&text) {
            let fault = self.error("not-allowed", node.span, format!("{shown} is not allowed here"));
            self.report.push(fault.suggest(text, shape.one_of.iter().copied()));
            return;
        }
        let length = text.chars().count();
        if let Some((min, max)) = shape.length
            && (length < min as usize || length > max as usize)
        {
            let bounds = bounds(min, max, "character");
            let fault = self.error(
                "length",
                node.span,
                format!("{shown} has {length} characters; expected {bounds}"),
            );
            self.report.push(fault);
            return;
        }
        if let Some(pattern) = shape.pattern
            && !matches(pattern, text)
        {
            let fault = self.error(
                "pattern",
                node.span,
                format!("{shown} does not have the form this property wants"),
            );
            self.report.push(fault.help(format!("the pattern is {pattern}")));
        }
    }

    fn number(&mut self, shape: &Shape, node: &Node, value: f64) {
        let shown = if node.secret { "the value".to_owned() } else { format!("{value}") };
        if let Some((min, max)) = shape.range
            && !(min..=max).contains(&value)
        {
            let bounds = match (min == f64::MIN, max == f64::MAX) {
                (true, _) => format!("at most {max}"),
                (_, true) => format!("at least {min}"),
                _ => format!("from {min} to {max}"),
            };
            let fault =
                self.error("range", node.span, format!("{shown} is out of range: {bounds} is allowed"));
            self.report.push(fault);
        } else if !shape.one_of.is_empty() && !shape.one_of.contains(&shown.as_str()) && !node.secret {
            let allowed = listed(shape.one_of.iter().copied());
            let fault = self.error("not-allowed", node.span, format!("{shown} is not allowed here"));
            self.report.push(fault.help(format!("allowed: {allowed}")));
        }
    }

    fn items(&mut self, shape: &Shape, node: &Node, item: &Shape) {
        let Kind::List(items) = &node.kind else { return self.wrong_type(shape, node) };
        // What intrinsics yield is counted once it is known.
        let known = !items.iter().any(intrinsic::is_call);
        if let Some((min, max)) = shape.length
            && known
            && (items.len() < min as usize || items.len() > max as usize)
        {
            let bounds = bounds(min, max, "item");
            let fault = self.error(
                "length",
                node.span,
                format!("the list has {} items; expected {bounds}", items.len()),
            );
            self.report.push(fault);
        }
        for (index, value) in items.iter().enumerate() {
            check(item, value, self.owner, &self.path.index(index), self.report);
        }
    }

    fn object(&mut self, shape: &Shape, node: &Node, properties: &'static [Property]) {
        let Kind::Map(entries) = &node.kind else { return self.wrong_type(shape, node) };
        for entry in entries {
            match properties.iter().find(|property| property.name == entry.key) {
                Some(property) => {
                    check(&property.shape, &entry.value, self.owner, &self.path.key(&entry.key), self.report);
                }
                None => {
                    let owner = match self.path {
                        Path::Key(_, "Properties") => self.owner.to_owned(),
                        path => format!("`{}` of {}", last(path), self.owner),
                    };
                    let message = format!("`{}` is no property of {owner}", entry.key);
                    let path = self.path.key(&entry.key);
                    let fault = Diagnostic::error("unknown-property", entry.key_span, path, message);
                    self.report
                        .push(fault.suggest(&entry.key, properties.iter().map(|property| property.name)));
                }
            }
        }
        for property in properties.iter().filter(|property| property.required) {
            if !entries.iter().any(|entry| entry.key == property.name) {
                let message = format!("the property `{}` is missing", property.name);
                let fault = self.error("missing-property", node.span, message);
                self.report.push(fault.help(format!("{} needs it: {}", self.owner, property.shape.wanted())));
            }
        }
    }
}

fn bounds(min: u32, max: u32, unit: &str) -> String {
    match (min, max) {
        (min, u32::MAX) => format!("at least {min} {unit}{}", if min == 1 { "" } else { "s" }),
        (0, max) => format!("at most {max} {unit}s"),
        (min, max) => format!("{min} to {max} {unit}s"),
    }
}

/// The last name of a path, indices left off.
fn last<'p>(path: &Path<'p>) -> &'p str {
    match path {
        Path::Root => "the template",
        Path::Key(_, key) => key,
        Path::Index(parent, _) => last(parent),
    }
}

/// The number that a value is or spells.
pub(in crate::cfn) fn number(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Number(number, _) => number.as_f64(),
        Kind::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn boolean(node: &Node) -> Option<bool> {
    match &node.kind {
        Kind::Bool(value, _) => Some(*value),
        Kind::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Kind::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Whether `text` matches one of the tables' patterns; each is compiled once.
fn matches(pattern: &'static str, text: &str) -> bool {
    static COMPILED: OnceLock<Mutex<HashMap<&'static str, Regex>>> = OnceLock::new();
    let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    compiled
        .entry(pattern)
        .or_insert_with(|| {
            Regex::new(pattern).expect("the tables' patterns compile; a test compiles them all")
        })
        .is_match(text)
}

/// A checked value as JSON, in the types that its shape wants.
pub(in crate::cfn) fn to_json(shape: &Shape, node: &Node, case: Case) -> Value {
    match (shape.kind, &node.kind) {
        (ShapeKind::String, _) => node.text().map_or(Value::Null, |text| Value::String(text.to_owned())),
        (ShapeKind::Integer, _) => integer(node).map_or(Value::Null, Value::Number),
        (ShapeKind::Number, _) => number(node).and_then(Number::from_f64).map_or(Value::Null, Value::Number),
        (ShapeKind::Boolean, _) => boolean(node).map_or(Value::Null, Value::Bool),
        (ShapeKind::Command, Kind::List(items)) => {
            items.iter().map(|item| to_json(&STR, item, case)).collect()
        }
        (ShapeKind::Command, _) => Value::from(vec!["/bin/sh", "-c", node.text().unwrap_or_default()]),
        (ShapeKind::List(item), Kind::List(items)) => {
            items.iter().map(|value| to_json(item, value, case)).collect()
        }
        (ShapeKind::Map(value), Kind::Map(entries)) => entries
            .iter()
            .map(|entry| (entry.key.clone(), to_json(value, &entry.value, case)))
            .collect::<Map<_, _>>()
            .into(),
        (ShapeKind::Object(properties), Kind::Map(entries)) => entries
            .iter()
            .filter_map(|entry| {
                let property = properties.iter().find(|property| property.name == entry.key)?;
                Some((property.wire_name(case), to_json(&property.shape, &entry.value, case)))
            })
            .collect::<Map<_, _>>()
            .into(),
        _ => free_json(node),
    }
}

impl Property {
    fn wire_name(&self, case: Case) -> String {
        match (case, self.api) {
            (Case::Pascal, _) => self.name.to_owned(),
            (Case::Camel, Some(api)) => api.to_owned(),
            (Case::Camel, None) => {
                let mut chars = self.name.chars();
                chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
            }
        }
    }
}

fn integer(node: &Node) -> Option<Number> {
    match &node.kind {
        Kind::Number(number, _) if number.is_i64() || number.is_u64() => Some(number.clone()),
        _ => {
            let value = number(node)?;
            // Beyond 2^53 a float is no longer exact, and no property of AWS's is that large.
            (value.fract() == 0.0 && value.abs() < 9e15).then(|| Number::from(value as i64))
        }
    }
}

/// A value of no particular shape as JSON.
pub(in crate::cfn) fn free_json(node: &Node) -> Value {
    match &node.kind {
        Kind::Unknown | Kind::Null => Value::Null,
        Kind::Bool(value, _) => Value::Bool(*value),
        Kind::Number(number, _) => Value::Number(number.clone()),
        Kind::String(text) => Value::String(text.clone()),
        Kind::List(items) => items.iter().map(free_json).collect(),
        Kind::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), free_json(&entry.value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// Every pattern in a shape, for the test that compiles them.
#[cfg(test)]
pub(super) fn patterns(shape: &Shape, found: &mut Vec<&'static str>) {
    found.extend(shape.pattern);
    match shape.kind {
        ShapeKind::List(inner) | ShapeKind::Map(inner) => patterns(inner, found),
        ShapeKind::Object(properties) => {
            properties.iter().for_each(|property| patterns(&property.shape, found));
        }
        _ => {}
    }
}

/// A value of that shape with every property there is, or only the required ones; `pick` chooses
/// among the values allowed.
#[cfg(test)]
pub(super) fn sample(shape: &Shape, pick: usize, whole: bool) -> Node {
    use crate::cfn::tree::Entry;

    let span = Span::default();
    let kind = match shape.kind {
        ShapeKind::String | ShapeKind::Json | ShapeKind::Command => {
            let text = if shape.one_of.is_empty() { "x" } else { shape.one_of[pick % shape.one_of.len()] };
            Kind::String(text.to_owned())
        }
        ShapeKind::Integer | ShapeKind::Number => {
            let least = shape.range.map_or(1.0, |(min, max)| if min > f64::MIN { min.ceil() } else { max });
            let number = least as i64;
            Kind::Number(number.into(), number.to_string())
        }
        ShapeKind::Boolean => Kind::Bool(pick.is_multiple_of(2), String::new()),
        ShapeKind::List(item) => Kind::List(vec![sample(item, pick, whole)]),
        ShapeKind::Map(value) => Kind::Map(vec![Entry {
            key: "Key.of-map".into(),
            key_span: span,
            value: sample(value, pick, whole),
        }]),
        ShapeKind::Object(properties) => Kind::Map(
            properties
                .iter()
                .filter(|property| whole || property.required)
                .map(|property| Entry {
                    key: property.name.to_owned(),
                    key_span: span,
                    value: sample(&property.shape, pick, whole),
                })
                .collect(),
        ),
    };
    Node::new(kind, span)
}
