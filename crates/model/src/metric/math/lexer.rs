//! The words of an expression.

use super::{Operator, ParseError};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Number(f64),
    Text(&'a str),
    /// An id, a function or a word.
    Name(&'a str),
    Operator(Operator),
    Open,
    Close,
    OpenArray,
    CloseArray,
    Comma,
}

/// A token, what it is made of, and where it stands, counted from 1.
pub(super) type Placed<'a> = (Token<'a>, &'a str, usize);

pub(super) fn tokens(text: &str) -> Result<Vec<Placed<'_>>, ParseError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(tokens);
        }
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        let (token, length) = first(rest).ok_or_else(|| {
            let found = rest.chars().next().map_or_else(String::new, |first| format!("\"{first}\""));
            ParseError::Unexpected { found, at }
        })?;
        tokens.push((token, &rest[..length], at));
        rest = &rest[length..];
    }
}

/// The first token of a text that does not begin with space, and its length.
fn first(text: &str) -> Option<(Token<'_>, usize)> {
    const SIGNS: &[(&str, Token<'static>)] = &[
        ("==", Token::Operator(Operator::Equal)),
        ("!=", Token::Operator(Operator::NotEqual)),
        ("<=", Token::Operator(Operator::LessOrEqual)),
        (">=", Token::Operator(Operator::GreaterOrEqual)),
        ("&&", Token::Operator(Operator::And)),
        ("||", Token::Operator(Operator::Or)),
        ("<", Token::Operator(Operator::Less)),
        (">", Token::Operator(Operator::Greater)),
        ("+", Token::Operator(Operator::Add)),
        ("-", Token::Operator(Operator::Subtract)),
        ("*", Token::Operator(Operator::Multiply)),
        ("/", Token::Operator(Operator::Divide)),
        ("^", Token::Operator(Operator::Power)),
        ("(", Token::Open),
        (")", Token::Close),
        ("[", Token::OpenArray),
        ("]", Token::CloseArray),
        (",", Token::Comma),
    ];
    if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| text.starts_with(sign)) {
        return Some((token.clone(), sign.len()));
    }
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''));
    if let Some(quote) = quote {
        let inner = text[1..].split_once(quote)?.0;
        return Some((Token::Text(inner), inner.len() + 2));
    }
    let length = |is_part: fn(u8) -> bool| text.bytes().take_while(|byte| is_part(*byte)).count();
    if text.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        let length = length(|byte| byte.is_ascii_digit() || byte == b'.');
        let number: f64 = text[..length].parse().ok()?;
        return Some((Token::Number(number), length));
    }
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        let length = length(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let token = match &text[..length] {
            "AND" => Token::Operator(Operator::And),
            "OR" => Token::Operator(Operator::Or),
            name => Token::Name(name),
        };
        return Some((token, length));
    }
    None
}
