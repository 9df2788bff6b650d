//! What a field or a member is compared with.

use regex_lite::Regex;

use super::{FilterPatternError, scanner::Scanner};

/// A text in which `*` stands for any characters, and nothing else for anything but itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Vec<String>);

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Whether the whole text fits.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.0.split_first() else { return text.is_empty() };
        let Some((last, between)) = others.split_last() else { return text == first };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for part in between {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

/// How two things compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Option<Self> {
        // The longer ones first.
        let all = [
            ("!=", Self::NotEqual),
            (">=", Self::GreaterOrEqual),
            ("<=", Self::LessOrEqual),
            ("==", Self::Equal),
            ("=", Self::Equal),
            (">", Self::Greater),
            ("<", Self::Less),
        ];
        all.into_iter().find(|(text, _)| scanner.take(text)).map(|(_, comparison)| comparison)
    }

    fn holds(self, there: f64, wanted: f64) -> bool {
        match self {
            Self::Equal => there == wanted,
            Self::NotEqual => there != wanted,
            Self::Greater => there > wanted,
            Self::GreaterOrEqual => there >= wanted,
            Self::Less => there < wanted,
            Self::LessOrEqual => there <= wanted,
        }
    }

    fn is_order(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

/// A comparison with a value.
#[derive(Clone, Debug)]
pub(super) struct Test {
    comparison: Comparison,
    operand: Operand,
}

#[derive(Clone, Debug)]
enum Operand {
    Number(f64),
    Text(Glob),
    Regex(Regex),
}

impl Test {
    /// What follows a comparison: a number, a text with or without quotes, or a regular expression. `ends` tells what
    /// ends a text without quotes.
    pub(super) fn read(
        scanner: &mut Scanner<'_>,
        comparison: Comparison,
        ends: impl Fn(char) -> bool,
    ) -> Result<Self, FilterPatternError> {
        scanner.space();
        let operand = match scanner.peek() {
            Some('"' | '\'') => Operand::Text(Glob::new(&scanner.quoted()?)),
            Some('%') => Operand::Regex(scanner.regex()?),
            _ => {
                let word = scanner.while_of(|c| !c.is_whitespace() && !ends(c));
                match word.parse::<f64>() {
                    _ if word.is_empty() => return Err(scanner.wants("a value")),
                    // `nan` and `inf` are words.
                    Ok(number) if number.is_finite() => Operand::Number(number),
                    _ => Operand::Text(Glob::new(word)),
                }
            }
        };
        if comparison.is_order() && !matches!(operand, Operand::Number(_)) {
            return Err(scanner.wants("a number after <, <=, > or >="));
        }
        Ok(Self { comparison, operand })
    }

    /// Whether it holds for a text, which is a number where it can be read as one.
    pub(super) fn of_text(&self, text: &str) -> bool {
        match &self.operand {
            Operand::Number(wanted) => match text.parse::<f64>() {
                Ok(there) => self.comparison.holds(there, *wanted),
                Err(_) => self.comparison == Comparison::NotEqual,
            },
            operand => self.of_word(operand, text),
        }
    }

    /// Whether it holds for a text that is no number, whatever it looks like.
    pub(super) fn of_string(&self, text: &str) -> bool {
        match &self.operand {
            Operand::Number(_) => self.comparison == Comparison::NotEqual,
            operand => self.of_word(operand, text),
        }
    }

    /// Whether it holds for a number, `text` being how it is written.
    pub(super) fn of_number(&self, number: f64, text: &str) -> bool {
        match &self.operand {
            Operand::Number(wanted) => self.comparison.holds(number, *wanted),
            operand => self.of_word(operand, text),
        }
    }

    fn of_word(&self, operand: &Operand, text: &str) -> bool {
        let fits = match operand {
            Operand::Text(glob) => glob.matches(text),
            Operand::Regex(regex) => regex.is_match(text),
            Operand::Number(_) => false,
        };
        fits == (self.comparison == Comparison::Equal)
    }
}
