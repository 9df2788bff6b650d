//! YAML into JSON's values, with bounds that hold while it is read.
//!
//! yaml-rust2's own loader recurses once a level and writes aliases out as it goes, so that a few
//! lines exhaust stack or memory before anybody can look at the result. Events are pulled here
//! instead; a plain scalar is what that loader makes of it.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use yaml_rust2::{
    Yaml,
    parser::{Event, Parser},
    scanner::TScalarStyle,
};

/// Deepest nesting, aliases written out.
const DEPTH_MAX: usize = 32;
/// Most values, aliases written out.
const VALUES_MAX: usize = 500_000;

/// Why a text is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Syntax(String),
    Large(&'static str),
    Form(String),
}

const TOO_MANY: Unreadable = Unreadable::Large("500,000 values");
const TOO_DEEP: Unreadable = Unreadable::Large("nested 32 deep");

/// A value with what it costs to write it out.
#[derive(Clone)]
struct Node {
    value: Value,
    values: usize,
    depth: usize,
}

enum Content {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

struct Frame {
    anchor: usize,
    content: Content,
    values: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    /// Made so far, those kept for aliases included.
    values: usize,
    documents: Vec<Value>,
}

/// The documents of a text.
pub(super) fn read(text: &str) -> Result<Vec<Value>, Unreadable> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    loop {
        match parser.next_token() {
            Ok((Event::StreamEnd, _)) => return Ok(builder.documents),
            Ok((event, _)) => builder.event(event)?,
            Err(error) => return Err(Unreadable::Syntax(error.to_string())),
        }
    }
}

impl Builder {
    fn event(&mut self, event: Event) -> Result<(), Unreadable> {
        match event {
            Event::SequenceStart(anchor, _) => self.open(anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(anchor, Content::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != TScalarStyle::Plain || tag.is_some();
                let value = if is_text { Value::String(text) } else { plain(&text)? };
                self.count(1)?;
                self.keep(anchor, Node { value, values: 1, depth: 0 })
            }
            Event::Alias(anchor) => {
                let undefined = || Unreadable::Form("an alias of what is not complete".to_owned());
                let (values, depth) =
                    self.anchors.get(&anchor).map(|node| (node.values, node.depth)).ok_or_else(undefined)?;
                self.count(values)?;
                if self.frames.len() + depth > DEPTH_MAX {
                    return Err(TOO_DEEP);
                }
                let node = self.anchors.get(&anchor).cloned().ok_or_else(undefined)?;
                self.add(node)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, values: usize) -> Result<(), Unreadable> {
        self.values += values;
        if self.values > VALUES_MAX { Err(TOO_MANY) } else { Ok(()) }
    }

    fn open(&mut self, anchor: usize, content: Content) -> Result<(), Unreadable> {
        self.count(1)?;
        if self.frames.len() >= DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        self.frames.push(Frame { anchor, content, values: 1, depth: 0 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.content {
            Content::List(items) => Value::Array(items),
            Content::Map(members, _) => Value::Object(members),
        };
        self.keep(frame.anchor, Node { value, values: frame.values, depth: frame.depth + 1 })
    }

    fn keep(&mut self, anchor: usize, node: Node) -> Result<(), Unreadable> {
        if anchor != 0 {
            self.count(node.values)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node)
    }

    fn add(&mut self, node: Node) -> Result<(), Unreadable> {
        let Some(frame) = self.frames.last_mut() else {
            self.documents.push(node.value);
            return Ok(());
        };
        frame.values += node.values;
        frame.depth = frame.depth.max(node.depth);
        match &mut frame.content {
            Content::List(items) => items.push(node.value),
            Content::Map(members, key) => match (key.take(), node.value) {
                (Some(key), value) => {
                    if members.contains_key(&key) {
                        return Err(Unreadable::Form(format!("the key {key:?} is given twice")));
                    }
                    members.insert(key, value);
                }
                (None, Value::String(text)) => *key = Some(text),
                (None, other) => {
                    // A value may be long; what kind it is says enough.
                    let kind = match other {
                        Value::Null => "null",
                        Value::Bool(_) => "a boolean",
                        Value::Number(_) => "a number",
                        _ => "a list or an object",
                    };
                    return Err(Unreadable::Form(format!("a key must be a text, not {kind}")));
                }
            },
        }
        Ok(())
    }
}

fn plain(text: &str) -> Result<Value, Unreadable> {
    Ok(match Yaml::from_str(text) {
        Yaml::Integer(number) => number.into(),
        Yaml::Boolean(value) => value.into(),
        Yaml::Null => Value::Null,
        Yaml::Real(text) => text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| Unreadable::Form(format!("{text} is no finite number")))?,
        _ => Value::String(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn aliases_stand_for_their_value() {
        let text = "a: &x {b: [1, 0.5, true, ~, '1']}\nc: *x\n";
        let inner = json!({"b": [1, 0.5, true, null, "1"]});
        assert_eq!(read(text), Ok(vec![json!({"a": inner, "c": inner})]));
    }

    /// Nine of nine of nine…: a few hundred bytes that say hundreds of millions of values.
    #[test]
    fn aliases_of_aliases_are_counted() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (before, name) in ('a'..='h').zip('b'..='i') {
            text.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(",")));
        }
        assert_eq!(read(&text), Err(TOO_MANY));
    }

    #[test]
    fn nesting_is_bounded_while_reading() {
        // The parser has a limit of its own for these.
        assert!(read(&"[".repeat(100_000)).is_err());
        assert_eq!(read(&"- ".repeat(100_000)), Err(TOO_DEEP));
        let mut text = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert_eq!(read(&text), Err(TOO_DEEP));
    }

    #[test]
    fn a_key_is_a_text_and_given_once() {
        assert!(matches!(read("1: a"), Err(Unreadable::Form(_))));
        assert!(matches!(read("a: 1\na: 2"), Err(Unreadable::Form(_))));
        assert!(matches!(read("a: &x [*x]"), Err(Unreadable::Form(_))));
    }
}
