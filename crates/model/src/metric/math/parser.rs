//! From words to steps: precedence climbing, with a bound for how deep it goes.

use super::{
    DEPTH_MAX, EXPRESSION_BYTES_MAX, Expression, Function, Operator, ParseError, Step, Word, is_id,
    lexer::{Placed, Token, tokens},
};

/// How strongly the sign of a number binds: `-2^2` is `-(2^2)`.
const SIGN: u8 = 6;

/// How strongly an operator binds, and whether of two the right one is worked out first.
fn strength(operator: Operator) -> (u8, bool) {
    match operator {
        Operator::Or => (1, false),
        Operator::And => (2, false),
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessOrEqual
        | Operator::Greater
        | Operator::GreaterOrEqual => (3, false),
        Operator::Add | Operator::Subtract => (4, false),
        Operator::Multiply | Operator::Divide => (5, false),
        Operator::Power => (7, true),
    }
}

pub(super) fn parse(text: &str) -> Result<Expression, ParseError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(ParseError::TooLong);
    }
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: tokens(text)?, at: 0, end, steps: Vec::new(), depth: 0 };
    parser.expression(0)?;
    match parser.next() {
        None => Ok(Expression { steps: parser.steps }),
        Some(_) => Err(parser.before_was_unexpected()),
    }
}

struct Parser<'a> {
    tokens: Vec<Placed<'a>>,
    at: usize,
    /// Where the end stands.
    end: usize,
    steps: Vec<Step>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at).map(|(token, ..)| token)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// The token that was taken last cannot stand where it does.
    fn before_was_unexpected(&self) -> ParseError {
        match self.tokens.get(self.at - 1) {
            Some((_, text, at)) => {
                let found = format!("\"{}\"", text.chars().take(64).collect::<String>());
                ParseError::Unexpected { found, at: *at }
            }
            None => ParseError::Unexpected { found: "the end".into(), at: self.end },
        }
    }

    fn expect(&mut self, wanted: &Token<'_>) -> Result<(), ParseError> {
        match self.next() {
            Some(token) if token == *wanted => Ok(()),
            _ => Err(self.before_was_unexpected()),
        }
    }

    /// An operand, and the operators after it that bind at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        self.operand()?;
        while let Some(Token::Operator(operator)) = self.peek() {
            let operator = *operator;
            let (strength, from_right) = strength(operator);
            if strength < least {
                break;
            }
            self.at += 1;
            self.expression(if from_right { strength } else { strength + 1 })?;
            self.steps.push(Step::Binary(operator));
        }
        self.depth -= 1;
        Ok(())
    }

    fn operand(&mut self) -> Result<(), ParseError> {
        match self.next() {
            Some(Token::Number(number)) => self.steps.push(Step::Number(number)),
            Some(Token::Text(text)) => self.steps.push(Step::Text(text.to_owned())),
            Some(Token::Operator(Operator::Subtract)) => {
                self.expression(SIGN)?;
                self.steps.push(Step::Negate);
            }
            Some(Token::Open) => {
                self.expression(0)?;
                self.expect(&Token::Close)?;
            }
            Some(Token::OpenArray) => {
                let count = self.list(&Token::CloseArray)?;
                self.steps.push(Step::Array(count));
            }
            Some(Token::Name(name)) if self.peek() == Some(&Token::Open) => {
                self.at += 1;
                let function = Function::named(name)?;
                let count = self.list(&Token::Close)?;
                self.steps.push(Step::Call(function, count));
            }
            Some(Token::Name(name)) if is_id(name) => self.steps.push(Step::Id(name.to_owned())),
            Some(Token::Name(name)) => match Word::named(name) {
                Some(word) => self.steps.push(Step::Word(word)),
                None => return Err(self.before_was_unexpected()),
            },
            _ => return Err(self.before_was_unexpected()),
        }
        Ok(())
    }

    /// Values with commas between them, until `end`. How many.
    fn list(&mut self, end: &Token<'_>) -> Result<usize, ParseError> {
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(0);
        }
        let mut count = 0;
        loop {
            self.expression(0)?;
            count += 1;
            match self.next() {
                Some(Token::Comma) => {}
                Some(token) if token == *end => return Ok(count),
                _ => return Err(self.before_was_unexpected()),
            }
        }
    }
}

impl Word {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "REPEAT" => Self::Repeat,
            "LINEAR" => Self::Linear,
            "ASC" => Self::Ascending,
            "DESC" => Self::Descending,
            "AVG" | "MIN" | "MAX" | "SUM" => Self::By(Function::named(name).ok()?),
            _ => return None,
        })
    }
}
