//! YAML with positions, from yaml-rust2's events.
//!
//! The parser follows YAML 1.2; CloudFormation reads scalars as YAML 1.1 does (`yes` is a boolean,
//! `0777` octal), so plain scalars are resolved here. Events are pulled one at a time rather than
//! pushed, because the push interface recurses once for every level of an untrusted document.

use std::collections::{HashMap, HashSet};

use serde_json::Number;
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::{Marker, TScalarStyle};

use super::{DEPTH_MAX, Entry, Kind, NODES_MAX, Node};
use crate::cfn::diagnostic::{Diagnostic, Report, Span};

pub(super) fn read(file: u16, text: &str, report: &mut Report) -> Option<Node> {
    let mut builder =
        Builder { file, report, frames: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_token() {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, marker)) => builder.event(event, marker).ok()?,
            Err(error) => {
                let span = span(file, *error.marker(), 1);
                builder.report.push(Diagnostic::error(
                    "syntax",
                    span,
                    "",
                    format!("not YAML: {}", error.info()),
                ));
                return None;
            }
        }
    }
    if builder.root.is_none() {
        let start = Span { file, line: 1, column: 1, width: 1 };
        builder.report.push(Diagnostic::error("empty", start, "", "the template is empty"));
    }
    builder.root
}

fn span(file: u16, marker: Marker, width: usize) -> Span {
    Span {
        file,
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(marker.col()).unwrap_or(u32::MAX - 1) + 1,
        width: u32::try_from(width).unwrap_or(u32::MAX).max(1),
    }
}

/// The fault has been reported and there is no point in reading on.
struct Refused;

struct Frame {
    anchor: usize,
    tag: Option<String>,
    span: Span,
    size: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Span)> },
}

struct Builder<'r> {
    file: u16,
    report: &'r mut Report,
    frames: Vec<Frame>,
    /// What an anchor stands for, and how many nodes that is.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn refuse(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Refused {
        self.report.push(Diagnostic::error(code, span, "", message));
        Refused
    }

    fn event(&mut self, event: Event, marker: Marker) -> Result<(), Refused> {
        let at = span(self.file, marker, 1);
        match event {
            Event::DocumentStart if self.root.is_some() => {
                Err(self.refuse("syntax", at, "a template is one YAML document; here starts a second one"))
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => Ok(()),
            Event::Alias(id) => self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let quotes = if matches!(style, TScalarStyle::SingleQuoted | TScalarStyle::DoubleQuoted) {
                    2
                } else {
                    0
                };
                let block =
                    matches!(style, TScalarStyle::Literal | TScalarStyle::Folded) || text.contains('\n');
                let width = if block { 1 } else { text.chars().count() + quotes };
                self.scalar(text, style, anchor, tag, span(self.file, marker, width))
            }
            Event::SequenceStart(anchor, tag) => self.open(anchor, tag, at, Content::List(Vec::new())),
            Event::MappingStart(anchor, tag) => self.open(
                anchor,
                tag,
                at,
                Content::Map { entries: Vec::new(), seen: HashSet::new(), key: None },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn count(&mut self, nodes: usize, at: Span) -> Result<(), Refused> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(self.refuse(
                "too-large",
                at,
                format!("more than {NODES_MAX} values, aliases expanded"),
            ));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Span) -> Result<(), Refused> {
        let Some((node, size)) = self.anchors.get(&id).cloned() else {
            return Err(self.refuse("syntax", at, "this alias refers to something that is not complete yet"));
        };
        self.count(size, at)?;
        if depth(&node) + self.frames.len() > DEPTH_MAX {
            return Err(self.refuse("too-deep", at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let message = "CloudFormation itself does not accept YAML aliases";
        self.report.push(
            Diagnostic::warning("yaml-alias", at, "", message)
                .help("`aws cloudformation package` writes them out"),
        );
        self.add(node, size, at)
    }

    fn scalar(
        &mut self,
        text: String,
        style: TScalarStyle,
        anchor: usize,
        tag: Option<Tag>,
        at: Span,
    ) -> Result<(), Refused> {
        self.count(1, at)?;
        let is_key =
            matches!(self.frames.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }));
        let tag = self.tag(tag, at)?;
        let kind = match tag.as_deref() {
            _ if is_key => Kind::String(text),
            Some("str") => Kind::String(text),
            // What a short intrinsic takes is a name or a text, never a boolean.
            Some(tag) if !matches!(tag, "int" | "float" | "bool" | "null") => Kind::String(text),
            _ if style == TScalarStyle::Plain => self.plain(text, at),
            _ => Kind::String(text),
        };
        let node = wrap(Node::new(kind, at), tag.as_deref());
        self.finish(node, 1, anchor, at)
    }

    fn open(&mut self, anchor: usize, tag: Option<Tag>, at: Span, content: Content) -> Result<(), Refused> {
        self.count(1, at)?;
        if self.frames.len() >= DEPTH_MAX {
            return Err(self.refuse("too-deep", at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let tag = self.tag(tag, at)?;
        self.frames.push(Frame { anchor, tag, span: at, size: 1, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refused> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let kind = match frame.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        // The parser marks a block mapping at its first colon; people look for its first key.
        let at = match &kind {
            Kind::Map(entries) => entries.first().map_or(frame.span, |entry| entry.key_span),
            _ => frame.span,
        };
        let node = wrap(Node::new(kind, at), frame.tag.as_deref());
        self.finish(node, frame.size, frame.anchor, frame.span)
    }

    fn finish(&mut self, node: Node, size: usize, anchor: usize, at: Span) -> Result<(), Refused> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
            self.count(size, at)?;
        }
        self.add(node, size, at)
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, node: Node, size: usize, at: Span) -> Result<(), Refused> {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.size += size;
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, seen, key } => match key.take() {
                Some((key, key_span)) => {
                    super::insert(entries, seen, Entry { key, key_span, value: node }, self.report);
                }
                None => match node.kind {
                    Kind::String(text) if text == "<<" => {
                        let fault = "CloudFormation does not know YAML's merge key `<<`";
                        return Err(self.refuse("merge-key", at, fault));
                    }
                    Kind::String(text) => *key = Some((text, at)),
                    _ => return Err(self.refuse("syntax", at, "a key must be a plain string")),
                },
            },
        }
        Ok(())
    }

    /// The tag without its handle: `Ref` for `!Ref`, `str` for `!!str`.
    fn tag(&mut self, tag: Option<Tag>, at: Span) -> Result<Option<String>, Refused> {
        let Some(tag) = tag else { return Ok(None) };
        let full = format!("{}{}", tag.handle, tag.suffix);
        if let Some(core) = full.strip_prefix("tag:yaml.org,2002:").or_else(|| full.strip_prefix("!!")) {
            if matches!(core, "str" | "int" | "float" | "bool" | "null" | "map" | "seq") {
                return Ok(Some(core.to_owned()));
            }
            return Err(self.refuse(
                "unknown-tag",
                at,
                format!("CloudFormation does not know the tag `!!{core}`"),
            ));
        }
        match full.strip_prefix('!') {
            Some("") => Ok(Some("str".to_owned())),
            Some(name) if SHORT_FORMS.contains(&name) => Ok(Some(name.to_owned())),
            _ => {
                let fault = Diagnostic::error(
                    "unknown-tag",
                    at,
                    "",
                    format!("no intrinsic function is written `{full}`"),
                );
                self.report.push(fault.suggest(full.trim_start_matches('!'), SHORT_FORMS.iter().copied()));
                // The rest of the document can still be read: the value stands for itself.
                Ok(None)
            }
        }
    }

    /// A plain scalar as YAML 1.1 reads it.
    fn plain(&mut self, text: String, at: Span) -> Kind {
        match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
                return Kind::Bool(true, text);
            }
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
                return Kind::Bool(false, text);
            }
            _ => {}
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
        let negative = text.starts_with('-');
        let all = |part: &str, radix: u32| !part.is_empty() && part.chars().all(|c| c.is_digit(radix));
        let signed = |part: &str, radix: u32| {
            let number = i64::from_str_radix(part, radix).ok()?;
            Some(Number::from(if negative { -number } else { number }))
        };
        let number = if digits == "0" {
            signed(digits, 10)
        } else if let Some(hex) = digits.strip_prefix("0x").filter(|hex| all(hex, 16)) {
            signed(hex, 16)
        } else if digits.starts_with('0') && all(digits, 8) {
            let octal = signed(digits, 8);
            // A 12-digit account id with a leading zero is the usual victim.
            if octal.is_some() {
                let message = format!("YAML 1.1 takes `{text}` for an octal number");
                let warning = Diagnostic::warning("octal", at, "", message);
                self.report.push(warning.help(format!("quote it to be sure: '{text}'")));
            }
            octal
        } else if !digits.starts_with('0') && all(digits, 10) {
            signed(digits, 10)
        } else {
            float(digits).and_then(|number| Number::from_f64(if negative { -number } else { number }))
        };
        match number {
            Some(number) => Kind::Number(number, text),
            None => Kind::String(text),
        }
    }
}

/// YAML 1.1 wants a dot in a float, so that `12e4567`, part of a commit's hash, is text.
fn float(digits: &str) -> Option<f64> {
    let (whole, rest) = digits.split_once('.')?;
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let numeric = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && numeric(e)
    });
    if !numeric(whole) || !numeric(fraction) || whole.len() + fraction.len() == 0 || !exponent_ok {
        return None;
    }
    digits.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The intrinsic functions that have a short form.
const SHORT_FORMS: &[&str] = &[
    "And",
    "Base64",
    "Cidr",
    "Condition",
    "Equals",
    "FindInMap",
    "GetAZs",
    "GetAtt",
    "If",
    "ImportValue",
    "Join",
    "Length",
    "Not",
    "Or",
    "Ref",
    "Select",
    "Split",
    "Sub",
    "ToJsonString",
    "Transform",
];

/// `!Tag value` as the long form has it.
fn wrap(node: Node, tag: Option<&str>) -> Node {
    let key = match tag {
        None | Some("str" | "int" | "float" | "bool" | "null" | "map" | "seq") => return node,
        Some(name @ ("Ref" | "Condition")) => name.to_owned(),
        Some(name) => format!("Fn::{name}"),
    };
    let span = node.span;
    Node::new(Kind::Map(vec![Entry { key, key_span: span, value: node }]), span)
}

fn depth(node: &Node) -> usize {
    match &node.kind {
        Kind::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Kind::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
        _ => 0,
    }
}
