//! Words and phrases that an event has, or has not.

use regex_lite::Regex;

use super::{FilterPatternError, scanner::Scanner};

/// Terms: an event must have all that stand alone, none with `-` before it, and, where no term stands alone, one of
/// those with `?`. Which letters are capitals matters.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    all: Vec<Term>,
    any: Vec<Term>,
    none: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(message),
        }
    }
}

impl Terms {
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Self, FilterPatternError> {
        let mut terms = Self::default();
        loop {
            scanner.space();
            let kind = match scanner.peek() {
                None => return Ok(terms),
                Some('-') => {
                    scanner.next();
                    &mut terms.none
                }
                Some('?') => {
                    scanner.next();
                    &mut terms.any
                }
                Some(_) => &mut terms.all,
            };
            kind.push(match scanner.peek() {
                Some('"') => Term::Text(scanner.quoted()?),
                Some('%') => Term::Regex(scanner.regex()?),
                _ => match scanner.while_of(|c| !c.is_whitespace() && c != '"') {
                    "" => return Err(scanner.wants("a term")),
                    word => Term::Text(word.to_owned()),
                },
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty() && self.none.is_empty()
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        let has = |term: &Term| term.is_in(message);
        self.all.iter().all(has)
            && !self.none.iter().any(has)
            && (self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has))
    }
}
