//! Reads a pattern from its front.

use regex_lite::{Regex, RegexBuilder};

use super::{FilterPatternError, REGULAR_EXPRESSIONS_MAX};

/// Most bytes that a compiled regular expression takes.
const REGEX_BYTES_MAX: usize = 128 * 1024;

/// Where reading has come to.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    expressions: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, expressions: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    pub(super) fn space(&mut self) {
        self.while_of(char::is_whitespace);
    }

    /// The characters at the front that are such.
    pub(super) fn while_of(&mut self, is_such: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !is_such(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Whether this is next; then it is passed.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is_next = self.rest().starts_with(text);
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// The same of a word, whatever its case, where no other word goes on.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let is_next = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    pub(super) fn want(&mut self, text: &str, wanted: &'static str) -> Result<(), FilterPatternError> {
        match self.take(text) {
            true => Ok(()),
            false => Err(self.wants(wanted)),
        }
    }

    /// That something else is needed here.
    pub(super) fn wants(&self, wanted: &'static str) -> FilterPatternError {
        match self.rest() {
            "" => FilterPatternError::Ends(wanted),
            _ => FilterPatternError::Unexpected { at: self.text[..self.at].chars().count() + 1, wanted },
        }
    }

    pub(super) fn end(&mut self) -> Result<(), FilterPatternError> {
        self.space();
        match self.rest() {
            "" => Ok(()),
            _ => Err(self.wants("the end")),
        }
    }

    /// A text within quotes, which is next; `\"` and `\\` stand for a quote and a backslash.
    pub(super) fn quoted(&mut self) -> Result<String, FilterPatternError> {
        let quote = self.next().unwrap_or('"');
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(FilterPatternError::Ends("a closing quotation mark")),
                Some('\\') => match self.peek() {
                    Some(escaped @ ('"' | '\'' | '\\')) => {
                        text.push(escaped);
                        self.next();
                    }
                    _ => text.push('\\'),
                },
                Some(c) if c == quote => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }

    /// A regular expression between percent signs, which are next.
    pub(super) fn regex(&mut self) -> Result<Regex, FilterPatternError> {
        self.next();
        let rest = self.rest();
        // `\%` is a percent sign.
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '%' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.ok_or(FilterPatternError::Ends("a closing percent sign"))?;
        self.at += end + 1;
        self.expressions += 1;
        if self.expressions > REGULAR_EXPRESSIONS_MAX {
            return Err(FilterPatternError::TooManyRegularExpressions);
        }
        let expression = rest[..end].replace("\\%", "%").replace("\\/", "/");
        RegexBuilder::new(&expression)
            .size_limit(REGEX_BYTES_MAX)
            .nest_limit(32)
            .build()
            .map_err(|error| FilterPatternError::RegularExpression(error.to_string()))
    }
}
