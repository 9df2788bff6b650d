//! JSON with positions. The text has been bounded by the caller.

use std::collections::HashSet;

use super::{DEPTH_MAX, Entry, Kind, Node};
use crate::cfn::diagnostic::{Diagnostic, Report, Span};

pub(super) fn read(file: u16, text: &str, report: &mut Report) -> Option<Node> {
    let mut reader = Reader { chars: text.chars().peekable(), file, line: 1, column: 1, report };
    let result = reader.value(0).and_then(|node| {
        reader.space();
        match reader.chars.peek() {
            None => Ok(node),
            Some(_) => Err(reader.fault("there is text after the end of the document")),
        }
    });
    match result {
        Ok(node) => Some(node),
        Err(fault) => {
            reader.report.push(*fault);
            None
        }
    }
}

type Fault = Box<Diagnostic>;

struct Reader<'t, 'r> {
    chars: std::iter::Peekable<std::str::Chars<'t>>,
    file: u16,
    line: u32,
    column: u32,
    report: &'r mut Report,
}

impl Reader<'_, '_> {
    fn here(&self) -> Span {
        Span { file: self.file, line: self.line, column: self.column, width: 1 }
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Box::new(Diagnostic::error("syntax", self.here(), "", message))
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn space(&mut self) {
        while matches!(self.chars.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.next();
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), Fault> {
        self.space();
        match self.chars.peek().copied() {
            Some(c) if c == wanted => {
                self.next();
                Ok(())
            }
            Some(c) => Err(self.fault(format!("expected `{wanted}`, found `{c}`"))),
            None => Err(self.fault(format!("expected `{wanted}`, found the end of the file"))),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.space();
        let mut span = self.here();
        if depth > DEPTH_MAX {
            return Err(self.fault(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let kind = match self.chars.peek().copied() {
            Some('{') => Kind::Map(self.map(depth)?),
            Some('[') => Kind::List(self.list(depth)?),
            Some('"') => Kind::String(self.string()?),
            Some(c) if c == '-' || c.is_ascii_digit() || c.is_ascii_alphabetic() => self.word()?,
            Some(c) => return Err(self.fault(format!("expected a value, found `{c}`"))),
            None => return Err(self.fault("expected a value, found the end of the file")),
        };
        if self.line == span.line && !matches!(kind, Kind::Map(_) | Kind::List(_)) {
            span.width = self.column - span.column;
        }
        Ok(Node::new(kind, span))
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Fault> {
        self.expect('{')?;
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        self.space();
        if self.chars.peek() == Some(&'}') {
            self.next();
            return Ok(entries);
        }
        loop {
            self.space();
            let mut key_span = self.here();
            let key = self.string()?;
            key_span.width = self.column.saturating_sub(key_span.column).max(1);
            self.expect(':')?;
            let value = self.value(depth + 1)?;
            super::insert(&mut entries, &mut seen, Entry { key, key_span, value }, self.report);
            self.space();
            match self.chars.peek() {
                Some(',') => {
                    self.next();
                }
                _ => {
                    self.expect('}')?;
                    return Ok(entries);
                }
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        self.expect('[')?;
        let mut items = Vec::new();
        self.space();
        if self.chars.peek() == Some(&']') {
            self.next();
            return Ok(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.chars.peek() {
                Some(',') => {
                    self.next();
                }
                _ => {
                    self.expect(']')?;
                    return Ok(items);
                }
            }
        }
    }

    /// The raw token, escapes and all, goes to serde_json: one implementation of JSON's escapes.
    fn string(&mut self) -> Result<String, Fault> {
        let start = self.here();
        self.expect('"')?;
        let mut raw = String::from("\"");
        loop {
            match self.next() {
                None => return Err(self.fault("the string has no end")),
                Some('"') => break,
                Some('\\') => {
                    raw.push('\\');
                    raw.extend(self.next());
                }
                Some(c) => raw.push(c),
            }
        }
        raw.push('"');
        serde_json::from_str(&raw).map_err(|error| {
            Box::new(Diagnostic::error("syntax", start, "", format!("not a JSON string: {error}")))
        })
    }

    fn word(&mut self) -> Result<Kind, Fault> {
        let start = self.here();
        let mut word = String::new();
        while let Some(c) = self.chars.peek() {
            if !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) {
                break;
            }
            word.extend(self.next());
        }
        match word.as_str() {
            "true" => Ok(Kind::Bool(true, word)),
            "false" => Ok(Kind::Bool(false, word)),
            "null" => Ok(Kind::Null),
            _ => match serde_json::from_str(&word) {
                Ok(number) => Ok(Kind::Number(number, word)),
                Err(_) => Err(Box::new(Diagnostic::error(
                    "syntax",
                    start,
                    "",
                    format!("`{word}` is no JSON value"),
                ))),
            },
        }
    }
}
