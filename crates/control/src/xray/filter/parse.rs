//! Reads filter expressions.

use super::{
    Comparison, Filter, FilterError, Flag, LENGTH_MAX, NumberKey, Operand, ServiceName, TextComparison,
    TextKey,
};

/// How deep parentheses and braces may go.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A word: a keyword, an operator, a number or a boolean.
    Word(String),
    /// Between quotes.
    Quoted(String),
    /// One of `( ) { } [ ] , ! = != < <= > >= :`.
    Sign(&'static str),
}

const SIGNS: [&str; 15] = ["!=", "<=", ">=", "(", ")", "{", "}", "[", "]", ",", "!", "=", "<", ">", ":"];

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    if text.chars().count() > LENGTH_MAX {
        return Err(FilterError {
            what: format!("it is longer than {LENGTH_MAX} characters"),
            at: LENGTH_MAX,
        });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.chars().count() + 1, depth: 0 };
    let filter = parser.or()?;
    match parser.peek() {
        None => Ok(filter),
        Some(_) => Err(parser.unexpected("AND or OR")),
    }
}

/// Tokens, each with the number of its first character.
fn tokens(text: &str) -> Result<Vec<(Token, usize)>, FilterError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut at = 1;
    while let Some(first) = rest.chars().next() {
        let bytes = if first.is_whitespace() {
            first.len_utf8()
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push((Token::Sign(sign), at));
            sign.len()
        } else if first == '"' || first == '\'' {
            let (quoted, bytes) = quoted(&rest[1..], first)
                .ok_or_else(|| FilterError { what: "a quote is not closed".to_owned(), at })?;
            tokens.push((Token::Quoted(quoted), at));
            bytes + 1
        } else {
            let is_word = |c: char| c.is_alphanumeric() || "._-+/*@".contains(c);
            let bytes = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if bytes == 0 {
                return Err(FilterError { what: format!("unexpected {first:?}"), at });
            }
            tokens.push((Token::Word(rest[..bytes].to_owned()), at));
            bytes
        };
        at += rest[..bytes].chars().count();
        rest = &rest[bytes..];
    }
    Ok(tokens)
}

/// The text up to the closing quote, and how many bytes it took with it.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            _ if character == quote => return Some((value, at + 1)),
            _ => value.push(character),
        }
    }
    None
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn unexpected(&self, wanted: &str) -> FilterError {
        let (found, at) = match self.tokens.get(self.next) {
            Some((Token::Word(word), at)) => (format!("{word:?}"), *at),
            Some((Token::Quoted(text), at)) => (format!("{text:?}"), *at),
            Some((Token::Sign(sign), at)) => (format!("{sign:?}"), *at),
            None => ("the end".to_owned(), self.end),
        };
        FilterError { what: format!("expected {wanted}, found {found}"), at }
    }

    fn sign(&mut self, wanted: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Sign(sign)) if *sign == wanted);
        self.next += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, wanted: &str) -> Result<(), FilterError> {
        if self.sign(wanted) { Ok(()) } else { Err(self.unexpected(&format!("{wanted:?}"))) }
    }

    fn word(&mut self, wanted: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.next += usize::from(is_there);
        is_there
    }

    fn or(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.and()?;
        while self.word("OR") {
            left = Filter::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.not()?;
        while self.word("AND") {
            left = Filter::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Filter, FilterError> {
        let mut is_negated = false;
        while self.sign("!") || self.word("NOT") {
            is_negated = !is_negated;
        }
        let inner = match self.sign("(") {
            true => self.nested(")")?,
            false => self.term()?,
        };
        Ok(if is_negated { Filter::Not(Box::new(inner)) } else { inner })
    }

    /// What stands between braces or parentheses, of which the first was read.
    fn nested(&mut self, closing: &str) -> Result<Filter, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.unexpected("fewer parentheses within each other"));
        }
        let inner = self.or()?;
        self.depth -= 1;
        self.expect(closing)?;
        Ok(inner)
    }

    fn term(&mut self) -> Result<Filter, FilterError> {
        let Some(Token::Word(word)) = self.peek().cloned() else {
            return Err(self.unexpected("a keyword"));
        };
        if let Some(key) = word.strip_prefix("annotation.").filter(|key| !key.is_empty()) {
            self.next += 1;
            return self.annotation(key.to_owned());
        }
        let lower = word.to_ascii_lowercase();
        if let Some(flag) = flag(&lower) {
            self.next += 1;
            return self.flag(flag);
        }
        if let Some(key) = number_key(&lower) {
            self.next += 1;
            let comparison = self.comparison()?;
            return Ok(Filter::Number(key, comparison, self.number()?));
        }
        if let Some(key) = text_key(&lower) {
            self.next += 1;
            let comparison = self.text_comparison()?;
            return Ok(Filter::Text(key, comparison, self.text()?));
        }
        match &*lower {
            "annotation" => {
                self.next += 1;
                self.expect("[")?;
                let key = self.text()?;
                self.expect("]")?;
                self.annotation(key)
            }
            "service" => {
                self.next += 1;
                self.expect("(")?;
                if self.sign(")") {
                    return Ok(Filter::Service(ServiceName::default(), self.braces()?));
                }
                let name = self.service_name()?;
                self.expect(")")?;
                Ok(Filter::Service(name, self.braces()?))
            }
            "edge" => {
                self.next += 1;
                self.expect("(")?;
                if self.sign(")") {
                    return Ok(Filter::Edge(ServiceName::default(), ServiceName::default(), self.braces()?));
                }
                let from = self.service_name()?;
                self.expect(",")?;
                let to = self.service_name()?;
                self.expect(")")?;
                Ok(Filter::Edge(from, to, self.braces()?))
            }
            _ => Err(self.unexpected("a keyword")),
        }
    }

    fn braces(&mut self) -> Result<Option<Box<Filter>>, FilterError> {
        if !self.sign("{") {
            return Ok(None);
        }
        if self.sign("}") {
            return Ok(None);
        }
        Ok(Some(Box::new(self.nested("}")?)))
    }

    /// `"name"`, or `id(name: "name", type: "AWS::…")`.
    fn service_name(&mut self) -> Result<ServiceName, FilterError> {
        if !self.word("id") {
            return Ok(ServiceName { name: Some(self.text()?), kind: None });
        }
        self.expect("(")?;
        let mut service = ServiceName::default();
        loop {
            let part = if self.word("name") {
                &mut service.name
            } else if self.word("type") {
                &mut service.kind
            } else if self.word("account.id") {
                // There is one account.
                self.expect(":")?;
                self.text()?;
                if self.sign(",") {
                    continue;
                }
                break;
            } else {
                return Err(self.unexpected("name, type or account.id"));
            };
            let at = self.next;
            if !matches!(self.tokens.get(at), Some((Token::Sign(":"), _))) {
                return Err(self.unexpected("\":\""));
            }
            self.next += 1;
            let Some((Token::Quoted(text), _)) = self.tokens.get(self.next) else {
                return Err(self.unexpected("a text in quotes"));
            };
            *part = Some(text.clone());
            self.next += 1;
            if !self.sign(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(service)
    }

    fn flag(&mut self, flag: Flag) -> Result<Filter, FilterError> {
        let filter = Filter::Flag(flag);
        let is_equal = self.sign("=");
        if !is_equal && !self.sign("!=") {
            return Ok(filter);
        }
        let wanted = if self.word("true") {
            true
        } else if self.word("false") {
            false
        } else {
            return Err(self.unexpected("true or false"));
        };
        Ok(if wanted == is_equal { filter } else { Filter::Not(Box::new(filter)) })
    }

    fn annotation(&mut self, key: String) -> Result<Filter, FilterError> {
        let is_compared = match self.peek() {
            Some(Token::Sign(sign)) => ["=", "!=", "<", "<=", ">", ">="].contains(sign),
            Some(Token::Word(word)) => text_operator(word).is_some(),
            _ => false,
        };
        if !is_compared {
            return Ok(Filter::Annotation(key, None, None));
        }
        let is_text = matches!(self.tokens.get(self.next + 1), Some((Token::Quoted(_), _)));
        if is_text {
            let comparison = self.text_comparison()?;
            return Ok(Filter::Annotation(key, None, Some((comparison, self.text()?))));
        }
        let comparison = self.comparison()?;
        let operand = if self.word("true") {
            Operand::Bool(true)
        } else if self.word("false") {
            Operand::Bool(false)
        } else {
            Operand::Number(self.number()?)
        };
        let orders = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if orders && matches!(operand, Operand::Bool(_)) {
            return Err(self.unexpected("a number before this"));
        }
        Ok(Filter::Annotation(key, Some((comparison, operand)), None))
    }

    fn comparison(&mut self) -> Result<Comparison, FilterError> {
        for (sign, comparison) in [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
        ] {
            if self.sign(sign) {
                return Ok(comparison);
            }
        }
        Err(self.unexpected("a comparison"))
    }

    fn text_comparison(&mut self) -> Result<TextComparison, FilterError> {
        if self.sign("=") {
            return Ok(TextComparison::Equal);
        }
        if self.sign("!=") {
            return Ok(TextComparison::NotEqual);
        }
        let operator = match self.peek() {
            Some(Token::Word(word)) => text_operator(word),
            _ => None,
        };
        let operator = operator.ok_or_else(|| self.unexpected("=, !=, CONTAINS, BEGINSWITH or ENDSWITH"))?;
        self.next += 1;
        Ok(operator)
    }

    fn number(&mut self) -> Result<f64, FilterError> {
        let number = match self.peek() {
            Some(Token::Word(word)) => word.parse::<f64>().ok().filter(|number| number.is_finite()),
            _ => None,
        };
        let number = number.ok_or_else(|| self.unexpected("a number"))?;
        self.next += 1;
        Ok(number)
    }

    fn text(&mut self) -> Result<String, FilterError> {
        match self.peek().cloned() {
            Some(Token::Quoted(text)) => {
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("a text in quotes")),
        }
    }
}

fn flag(word: &str) -> Option<Flag> {
    Some(match word {
        "ok" => Flag::Ok,
        "error" => Flag::Error,
        "throttle" => Flag::Throttle,
        "fault" => Flag::Fault,
        "partial" => Flag::Partial,
        "inferred" => Flag::Inferred,
        "remote" => Flag::Remote,
        "root" => Flag::Root,
        _ => return None,
    })
}

fn number_key(word: &str) -> Option<NumberKey> {
    Some(match word {
        "responsetime" => NumberKey::ResponseTime,
        "duration" => NumberKey::Duration,
        "http.status" => NumberKey::HttpStatus,
        _ => return None,
    })
}

fn text_key(word: &str) -> Option<TextKey> {
    Some(match word {
        "http.url" => TextKey::HttpUrl,
        "http.method" => TextKey::HttpMethod,
        "http.useragent" => TextKey::HttpUserAgent,
        "http.clientip" => TextKey::HttpClientIp,
        "user" => TextKey::User,
        "name" => TextKey::Name,
        "type" => TextKey::Type,
        "message" => TextKey::Message,
        _ => return None,
    })
}

fn text_operator(word: &str) -> Option<TextComparison> {
    let is = |wanted: &str| word.eq_ignore_ascii_case(wanted);
    match () {
        () if is("CONTAINS") => Some(TextComparison::Contains),
        () if is("BEGINSWITH") => Some(TextComparison::BeginsWith),
        () if is("ENDSWITH") => Some(TextComparison::EndsWith),
        () => None,
    }
}
