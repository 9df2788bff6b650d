//! What is wrong with a template, where, and what is allowed instead.

use std::fmt;
use std::sync::Arc;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};

/// The most diagnostics kept for one template; a hopeless input must not fill the memory.
const DIAGNOSTICS_MAX: usize = 100;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The template is refused.
    Error,
    /// The template is read, but probably does not mean what it says.
    Warning,
    /// Something of the template has no effect here.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// A place in one of the template's files, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The file's name as it was given to [`super::Template::parse_many`].
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A place in the tree: cheap to copy, meaningful only together with the list of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) file: u16,
    /// From 1.
    pub(super) line: u32,
    /// In characters, from 1.
    pub(super) column: u32,
    /// Characters to underline, at least 1.
    pub(super) width: u32,
}

/// One file of a template.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) type Sources = Arc<[Source]>;

/// One fault (or warning, or note).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of fault it is, in words that do not change: `unknown-property`.
    pub code: &'static str,
    /// Where it is in the template: `Resources.MyService.Properties.Clustr`; empty for the file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it, or what is allowed.
    pub help: Option<String>,
    pub(super) span: Span,
}

impl Diagnostic {
    pub(super) fn error(
        code: &'static str,
        span: Span,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            path: path.to_string(),
            message: message.into(),
            help: None,
            span,
        }
    }

    pub(super) fn warning(
        code: &'static str,
        span: Span,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, path, message) }
    }

    pub(super) fn note(
        code: &'static str,
        span: Span,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Diagnostic { severity: Severity::Note, ..Diagnostic::error(code, span, path, message) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// "did you mean `x`?", or else the list of what is allowed.
    pub(super) fn suggest<'c>(self, meant: &str, allowed: impl IntoIterator<Item = &'c str>) -> Self {
        let allowed: Vec<&str> = allowed.into_iter().collect();
        match super::suggest::nearest(meant, allowed.iter().copied()) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None if allowed.is_empty() => self,
            None => self.help(format!("allowed: {}", super::suggest::listed(allowed))),
        }
    }

    /// The line of the fault, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.span.line
    }

    /// The column of the fault in characters, from 1.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.span.column
    }
}

/// Collects diagnostics while a template is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    items: Vec<Diagnostic>,
    /// How many errors there were, those that are not kept included.
    errors: usize,
    /// How many are not kept.
    more: usize,
}

impl Report {
    /// Adds one, unless the very same was said of the same place before.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.items.contains(&diagnostic) {
            return;
        }
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.items.len() < DIAGNOSTICS_MAX {
            self.items.push(diagnostic);
            return;
        }
        self.more += 1;
        // Warnings must not hide why a template is refused.
        let warning = self.items.iter().rposition(|item| item.severity != Severity::Error);
        if let (Severity::Error, Some(warning)) = (diagnostic.severity, warning) {
            self.items[warning] = diagnostic;
        }
    }

    pub(super) fn absorb(&mut self, other: Report) {
        let kept = other.items.iter().filter(|item| item.severity == Severity::Error).count();
        self.errors += other.errors - kept;
        self.more += other.more;
        other.items.into_iter().for_each(|item| self.push(item));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(super) fn error_count(&self) -> usize {
        self.errors
    }

    pub(super) fn into_diagnostics(mut self, files: Sources) -> Diagnostics {
        self.items.sort_by_key(|item| (item.span.file, item.span.line, item.span.column, item.severity));
        Diagnostics { files, items: self.items, more: self.more }
    }
}

/// Everything there is to say about a template, in the order of the text.
///
/// `Display` renders it as rustc would, with the source line and a caret; `Serialize` as a JSON
/// list of objects with `severity`, `code`, `file`, `line`, `column`, `path`, `message`, `help`.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    pub(super) files: Sources,
    pub(super) items: Vec<Diagnostic>,
    /// How many more there were.
    pub(super) more: usize,
}

impl Diagnostics {
    /// The diagnostics in the order of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// How many there are, of any severity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether any of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// The file, line and column of one of these diagnostics.
    #[must_use]
    pub fn location(&self, diagnostic: &Diagnostic) -> Location {
        locate(&self.files, diagnostic.span)
    }
}

pub(super) fn locate(files: &Sources, span: Span) -> Location {
    let file = files.get(usize::from(span.file)).map_or_else(String::new, |file| file.name.clone());
    Location { file, line: span.line, column: span.column }
}

impl std::error::Error for Diagnostics {}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            self.render(item, f)?;
        }
        if self.more > 0 {
            writeln!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl Diagnostics {
    fn render(&self, item: &Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer lines are shown from a little before the fault; a minified template is one line.
        const LINE_CHARS_MAX: usize = 160;
        const CONTEXT_CHARS: usize = 60;

        writeln!(f, "{}[{}]: {}", item.severity, item.code, clean(&item.message))?;
        let number = item.span.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{gutter}--> {}", self.location(item))?;
        let source = self.files.get(usize::from(item.span.file));
        let line =
            source.and_then(|source| source.text.lines().nth(item.span.line.saturating_sub(1) as usize));
        if let Some(line) = line {
            let column = item.span.column.saturating_sub(1) as usize;
            let length = line.chars().count();
            let from = if length > LINE_CHARS_MAX { column.saturating_sub(CONTEXT_CHARS) } else { 0 };
            let shown: String = line.chars().skip(from).take(LINE_CHARS_MAX).map(printable).collect();
            let width = (item.span.width.max(1) as usize)
                .min(shown.chars().count().saturating_sub(column - from.min(column)).max(1));
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{number} | {}", shown.trim_end())?;
            writeln!(
                f,
                "{gutter} | {}{}",
                " ".repeat(column.saturating_sub(from).min(LINE_CHARS_MAX)),
                "^".repeat(width)
            )?;
        }
        if !item.path.is_empty() {
            writeln!(f, "{gutter} = at: {}", clean(&item.path))?;
        }
        if let Some(help) = &item.help {
            writeln!(f, "{gutter} = help: {}", clean(help))?;
        }
        Ok(())
    }
}

fn clean(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// A template is untrusted: control characters (terminal escapes among them) are not echoed.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Item<'d>(&'d Diagnostics, &'d Diagnostic);
        impl Serialize for Item<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let location = self.0.location(self.1);
                let mut item = serializer.serialize_struct("Diagnostic", 8)?;
                item.serialize_field("severity", &self.1.severity)?;
                item.serialize_field("code", self.1.code)?;
                item.serialize_field("file", &location.file)?;
                item.serialize_field("line", &location.line)?;
                item.serialize_field("column", &location.column)?;
                item.serialize_field("path", &self.1.path)?;
                item.serialize_field("message", &self.1.message)?;
                item.serialize_field("help", &self.1.help)?;
                item.end()
            }
        }
        let mut list = serializer.serialize_seq(Some(self.items.len()))?;
        for item in &self.items {
            list.serialize_element(&Item(self, item))?;
        }
        list.end()
    }
}
