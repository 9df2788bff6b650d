//! The template as a tree in which every key and value knows its place.
//!
//! Short intrinsics (`!Ref X`) become the long form (`{"Ref": "X"}`) while the tree is built, so
//! that everything after it knows one form only.

mod json;
mod yaml;

use std::fmt;

use serde_json::Number;

use super::diagnostic::{Diagnostic, Report, Span};

/// Deeper nesting is refused; the functions that walk the tree may therefore recurse.
pub(super) const DEPTH_MAX: usize = 64;

/// The most nodes of a tree, aliases expanded.
const NODES_MAX: usize = 200_000;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// Holds, or was made from, the value of a `NoEcho` parameter: never quoted.
    pub(super) secret: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A value that could not be found out; what is wrong has been reported.
    Unknown,
    Null,
    /// The boolean, and how the template writes it: `Yes` may also be the name of a condition.
    Bool(bool, String),
    /// The number, and how the template writes it: where text is wanted, `1.10` stays `1.10`.
    Number(Number, String),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(kind: Kind, span: Span) -> Self {
        Node { kind, span, secret: false }
    }

    pub(super) fn string(text: impl Into<String>, span: Span) -> Self {
        Node::new(Kind::String(text.into()), span)
    }

    pub(super) fn map(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a string, and of nothing else.
    pub(super) fn str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text where CloudFormation wants a string: numbers and booleans are taken for one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) | Kind::Number(_, text) => Some(text),
            Kind::Bool(true, _) => Some("true"),
            Kind::Bool(false, _) => Some("false"),
            _ => None,
        }
    }

    /// The text of a scalar as the template writes it, where a name is wanted.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) | Kind::Number(_, text) | Kind::Bool(_, text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Unknown => "an unknown value",
            Kind::Null => "nothing",
            Kind::Bool(..) => "a boolean",
            Kind::Number(..) => "a number",
            Kind::String(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Where in the template a node stands: `Resources.A.Properties.List[2]`.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(super) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path::Key(self, key)
    }

    pub(super) fn index(&'p self, index: usize) -> Path<'p> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads one file. `None` if there is no tree to go on with; `report` then says why.
pub(super) fn read(file: u16, text: &str, report: &mut Report) -> Option<Node> {
    let start = Span { file, line: 1, column: 1, width: 1 };
    if text.len() > super::TEMPLATE_BYTES_MAX {
        let message =
            format!("the template has {} bytes; at most {} are read", text.len(), super::TEMPLATE_BYTES_MAX);
        report.push(Diagnostic::error("too-large", start, "", message));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // JSON has a reader of its own: YAML lacks its surrogate pairs and tabs, and reads other
    // scalars as numbers. A YAML flow mapping starts with `{` too, hence the second attempt.
    if text.trim_start().starts_with('{') {
        let mut attempt = Report::default();
        if let Some(node) = json::read(file, text, &mut attempt) {
            report.absorb(attempt);
            return Some(node);
        }
        let mut second = Report::default();
        return match yaml::read(file, text, &mut second) {
            Some(node) if !second.has_errors() => {
                report.absorb(second);
                Some(node)
            }
            _ => {
                report.absorb(attempt);
                None
            }
        };
    }
    yaml::read(file, text, report)
}

/// Adds an entry to a map under construction, unless its key is there already.
fn insert(
    entries: &mut Vec<Entry>,
    seen: &mut std::collections::HashSet<String>,
    entry: Entry,
    report: &mut Report,
) {
    if seen.insert(entry.key.clone()) {
        entries.push(entry);
    } else {
        let message = format!("the key `{}` stands here for the second time", entry.key);
        report.push(Diagnostic::error("duplicate-key", entry.key_span, "", message));
    }
}
