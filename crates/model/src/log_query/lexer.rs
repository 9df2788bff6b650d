//! The words of a query.

use regex_lite::{Regex, RegexBuilder};

use super::LogQueryError;

/// Most bytes that a compiled regular expression takes.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What a query is made of.
#[derive(Clone, Debug)]
pub(super) enum Token {
    /// A name: of a field, a command, a function.
    Name(String),
    /// A name within backticks, which is a field's.
    Quoted(String),
    Text(String),
    Number(f64),
    /// `5m`: milliseconds.
    Duration(u64),
    Regex(Regex),
    Sign(&'static str),
}

const SIGNS: [&str; 22] = [
    "|", "(", ")", "[", "]", ",", "!=", "<=", ">=", "=~", "==", "=", "<", ">", "+", "-", "*", "/", "%", "^",
    "!", ";",
];

/// The tokens, each with where it begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, LogQueryError> {
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let unexpected = |wanted: &str| LogQueryError::Unexpected {
            at: text[..at].chars().count() + 1,
            wanted: wanted.to_owned(),
        };
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if c == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, length) = match c {
            '"' | '\'' => quoted(rest, c).map(|(text, length)| (Token::Text(text), length)),
            '`' => quoted(rest, c).map(|(text, length)| (Token::Quoted(text), length)),
            '/' if takes_regex(&tokens) => {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let ends = c == '/' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                let end = end.ok_or_else(|| unexpected("a closing /"))?;
                let expression = rest[1..=end].replace("\\/", "/");
                let regex = RegexBuilder::new(&expression)
                    .size_limit(REGEX_BYTES_MAX)
                    .nest_limit(32)
                    .build()
                    .map_err(|error| LogQueryError::RegularExpression(error.to_string()))?;
                Some((Token::Regex(regex), end + 2))
            }
            c if c.is_ascii_digit() => Some(number(rest)),
            c if c.is_alphabetic() || matches!(c, '_' | '@' | '$') => {
                let is_such = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '$' | '.');
                let length = rest.find(|c| !is_such(c)).unwrap_or(rest.len());
                Some((Token::Name(rest[..length].to_owned()), length))
            }
            _ => {
                SIGNS.iter().find(|sign| rest.starts_with(**sign)).map(|sign| (Token::Sign(sign), sign.len()))
            }
        }
        .ok_or_else(|| unexpected("a name, a value or a sign"))?;
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

/// Whether a slash begins a regular expression, and divides nothing.
fn takes_regex(before: &[(usize, Token)]) -> bool {
    match before.last() {
        Some((_, Token::Sign(sign))) => matches!(*sign, "=~" | "=" | "!="),
        // `like /a/`, `parse @message /a/`.
        Some((_, Token::Name(name))) => {
            name.eq_ignore_ascii_case("like")
                || matches!(before.iter().rev().nth(1), Some((_, Token::Name(command))) if command == "parse")
        }
        _ => false,
    }
}

fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => return Some((out, at + 1)),
            '\\' => match characters.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                escaped if escaped == quote || escaped == '\\' => out.push(escaped),
                other => out.extend(['\\', other]),
            },
            c => out.push(c),
        }
    }
    None
}

/// A number or, with a unit right behind it, a duration.
fn number(text: &str) -> (Token, usize) {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..length].parse().unwrap_or(f64::NAN);
    let after = &text[length..];
    let unit = &after[..after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len())];
    let millis = match unit {
        "ms" => 1.0,
        "s" | "sec" | "second" | "seconds" => 1_000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hr" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        "w" | "week" | "weeks" => 604_800_000.0,
        _ => return (Token::Number(number), length),
    };
    (Token::Duration((number * millis) as u64), length + unit.len())
}
