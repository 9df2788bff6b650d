//! From words to commands.

use super::{
    Command, LogQueryError, Parsing, ROWS_MAX, Value,
    aggregate::Aggregate,
    expression::{Expression, Function, Operator},
    lexer::{Token, tokens},
};

/// Most expressions within expressions.
const DEPTH_MAX: usize = 48;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

/// Operators by how they bind, the loosest first.
const LEVELS: [&[(&str, Operator)]; 6] = [
    &[("or", Operator::Or)],
    &[("and", Operator::And)],
    &[
        ("=", Operator::Equal),
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)],
    &[("^", Operator::Power)],
];
const COMPARISONS: usize = 2;

/// The commands of a query.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, LogQueryError> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, depth: 0 };
    let mut commands = Vec::new();
    while parser.take("|") {}
    while parser.peek().is_some() {
        commands.push(parser.command()?);
        if parser.peek().is_some() && !parser.take("|") {
            return Err(parser.wants("| or the end"));
        }
    }
    check_order(&commands)?;
    Ok(commands)
}

fn check_order(commands: &[Command]) -> Result<(), LogQueryError> {
    let stats = commands.iter().position(|command| matches!(command, Command::Stats { .. }));
    if let Some(stats) = stats {
        let early = commands[..stats].iter().any(|command| {
            matches!(command, Command::Sort(_) | Command::Limit(_) | Command::Dedup(_) | Command::Display(_))
        });
        if early {
            return Err(LogQueryError::Order("sort, limit, dedup and display come after stats"));
        }
        if commands[stats + 1..].iter().any(|command| matches!(command, Command::Stats { .. })) {
            return Err(LogQueryError::Order("there can be one stats"));
        }
        return Ok(());
    }
    let last = |of: fn(&Command) -> bool| commands.iter().rposition(of);
    let first = |of: fn(&Command) -> bool| commands.iter().position(of);
    let row = last(|it| {
        matches!(it, Command::Filter(_) | Command::Parse { .. } | Command::Sort(_) | Command::Dedup(_))
    });
    match (first(|it| matches!(it, Command::Limit(_))), row) {
        (Some(limit), Some(row)) if row > limit => {
            Err(LogQueryError::Order("filter, parse, sort and dedup come before limit"))
        }
        _ => Ok(()),
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn wants(&self, wanted: &str) -> LogQueryError {
        let at = self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at);
        LogQueryError::Unexpected { at: self.text[..at].chars().count() + 1, wanted: wanted.to_owned() }
    }

    /// Whether this sign or word is next; then it is passed.
    fn take(&mut self, wanted: &str) -> bool {
        let is_next = match self.peek() {
            Some(Token::Sign(sign)) => *sign == wanted,
            Some(Token::Name(name)) => name.eq_ignore_ascii_case(wanted),
            _ => false,
        };
        self.next += usize::from(is_next);
        is_next
    }

    fn want(&mut self, wanted: &str) -> Result<(), LogQueryError> {
        if self.take(wanted) { Ok(()) } else { Err(self.wants(wanted)) }
    }

    fn name(&mut self) -> Result<String, LogQueryError> {
        match self.peek().cloned() {
            Some(Token::Name(name) | Token::Quoted(name)) => {
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.wants("a name")),
        }
    }

    fn command(&mut self) -> Result<Command, LogQueryError> {
        match () {
            () if self.take("fields") => Ok(Command::Fields(self.named()?)),
            () if self.take("display") => Ok(Command::Display(self.named()?)),
            () if self.take("filter") || self.take("where") => Ok(Command::Filter(self.expression()?)),
            () if self.take("parse") => self.parse(),
            () if self.take("stats") => self.stats(),
            () if self.take("sort") || self.take("order") => {
                self.take("by");
                let mut by = Vec::new();
                loop {
                    let expression = self.expression()?;
                    let descending = self.take("desc");
                    if !descending {
                        self.take("asc");
                    }
                    by.push((expression, descending));
                    if !self.take(",") {
                        return Ok(Command::Sort(by));
                    }
                }
            }
            () if self.take("limit") || self.take("head") => match self.peek() {
                Some(Token::Number(number)) if *number >= 1.0 && number.fract() == 0.0 => {
                    let limit = (*number as usize).min(ROWS_MAX);
                    self.next += 1;
                    Ok(Command::Limit(limit))
                }
                _ => Err(self.wants("a number from 1 to 10000")),
            },
            () if self.take("dedup") => {
                let mut by = vec![self.expression()?];
                while self.take(",") {
                    by.push(self.expression()?);
                }
                Ok(Command::Dedup(by))
            }
            () => Err(self.wants("fields, filter, parse, stats, sort, limit, dedup or display")),
        }
    }

    fn named(&mut self) -> Result<Vec<(String, Expression)>, LogQueryError> {
        let mut all = Vec::new();
        loop {
            all.push(self.one_named()?);
            if !self.take(",") {
                return Ok(all);
            }
        }
    }

    fn one_named(&mut self) -> Result<(String, Expression), LogQueryError> {
        let begins = self.next;
        let expression = self.expression()?;
        let name = match (self.take("as"), &expression) {
            (true, _) => self.name()?,
            (false, Expression::Field(name)) => name.clone(),
            (false, _) => self.source(begins),
        };
        Ok((name, expression))
    }

    /// What was read since a token, as it was written.
    fn source(&self, begins: usize) -> String {
        let from = self.tokens.get(begins).map_or(0, |(at, _)| *at);
        let until = self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at);
        self.text[from..until].trim().to_owned()
    }

    fn parse(&mut self) -> Result<Command, LogQueryError> {
        let of = match self.peek() {
            Some(Token::Text(_) | Token::Regex(_)) => Expression::Field("@message".into()),
            _ => Expression::Field(self.name()?),
        };
        match self.peek().cloned() {
            Some(Token::Regex(regex)) => {
                self.next += 1;
                Ok(Command::Parse { of, by: Parsing::Regex(regex) })
            }
            Some(Token::Text(glob)) => {
                self.next += 1;
                self.want("as")?;
                let mut names = vec![self.name()?];
                while self.take(",") {
                    names.push(self.name()?);
                }
                let texts: Vec<String> = glob.split('*').map(str::to_owned).collect();
                match texts.len() == names.len() + 1 {
                    true => Ok(Command::Parse { of, by: Parsing::Glob { texts, names } }),
                    false => Err(self.wants("as many names as there are *")),
                }
            }
            _ => Err(self.wants("a text with * in it, or a regular expression")),
        }
    }

    fn stats(&mut self) -> Result<Command, LogQueryError> {
        let mut aggregates = Vec::new();
        loop {
            let begins = self.next;
            let aggregate = self.aggregate()?;
            let source = self.source(begins);
            let name = if self.take("as") { self.name()? } else { source };
            aggregates.push((name, aggregate));
            if !self.take(",") {
                break;
            }
        }
        let by = if self.take("by") { self.named()? } else { Vec::new() };
        Ok(Command::Stats { aggregates, by })
    }

    fn aggregate(&mut self) -> Result<Aggregate, LogQueryError> {
        let name = self.name()?.to_ascii_lowercase();
        self.want("(")?;
        if name == "count" && (self.take("*") || matches!(self.peek(), Some(Token::Sign(")")))) {
            self.want(")")?;
            return Ok(Aggregate::Count(None));
        }
        let of = self.expression()?;
        let aggregate = match name.as_str() {
            "count" => Aggregate::Count(Some(of)),
            "count_distinct" => Aggregate::CountDistinct(of),
            "sum" => Aggregate::Sum(of),
            "avg" => Aggregate::Average(of),
            "min" => Aggregate::Minimum(of),
            "max" => Aggregate::Maximum(of),
            "stddev" => Aggregate::Deviation(of),
            "earliest" => Aggregate::Earliest(of),
            "latest" => Aggregate::Latest(of),
            "median" => Aggregate::Percentile(of, 50.0),
            "pct" | "percentile" => {
                self.want(",")?;
                match self.peek() {
                    Some(Token::Number(percent)) if *percent > 0.0 && *percent <= 100.0 => {
                        let percent = *percent;
                        self.next += 1;
                        Aggregate::Percentile(of, percent)
                    }
                    _ => return Err(self.wants("a percentage")),
                }
            }
            _ => {
                self.next = self.next.saturating_sub(1);
                return Err(self.wants(
                    "count, count_distinct, sum, avg, min, max, pct, median, stddev, earliest or latest",
                ));
            }
        };
        self.want(")")?;
        Ok(aggregate)
    }

    fn expression(&mut self) -> Result<Expression, LogQueryError> {
        self.level(0)
    }

    fn level(&mut self, level: usize) -> Result<Expression, LogQueryError> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = if level == 2 && self.take("not") {
            Expression::Not(Box::new(self.nested(|parser| parser.level(2))?))
        } else {
            self.level(level + 1)?
        };
        let mut count = 0;
        loop {
            if level == COMPARISONS
                && let Some(condition) = self.condition(&left)?
            {
                left = condition;
                continue;
            }
            let Some((_, operator)) = operators.iter().find(|(sign, _)| self.take(sign)) else {
                return Ok(left);
            };
            // A chain is as deep as it is long.
            count += 1;
            if count > DEPTH_MAX * 4 {
                return Err(LogQueryError::TooDeep);
            }
            let right = if level == COMPARISONS && self.peek_regex() {
                let regex = self.regex()?;
                let matches = Expression::Matches(Box::new(left), regex);
                left = if *operator == Operator::NotEqual {
                    Expression::Not(Box::new(matches))
                } else {
                    matches
                };
                continue;
            } else {
                self.level(level + 1)?
            };
            left = Expression::Binary(Box::new(left), *operator, Box::new(right));
        }
    }

    fn peek_regex(&self) -> bool {
        matches!(self.peek(), Some(Token::Regex(_)))
    }

    fn regex(&mut self) -> Result<regex_lite::Regex, LogQueryError> {
        match self.peek().cloned() {
            Some(Token::Regex(regex)) => {
                self.next += 1;
                Ok(regex)
            }
            _ => Err(self.wants("a regular expression")),
        }
    }

    /// `like`, `=~`, `in`, with `not` before them.
    fn condition(&mut self, left: &Expression) -> Result<Option<Expression>, LogQueryError> {
        let begins = self.next;
        let is_not = self.take("not");
        let condition = if self.take("like") || self.take("=~") {
            match self.peek().cloned() {
                Some(Token::Text(text)) => {
                    self.next += 1;
                    Expression::Like(Box::new(left.clone()), text)
                }
                _ => Expression::Matches(Box::new(left.clone()), self.regex()?),
            }
        } else if self.take("in") {
            self.want("[")?;
            let mut all = Vec::new();
            while !self.take("]") {
                all.push(self.expression()?);
                if !self.take(",") {
                    self.want("]")?;
                    break;
                }
            }
            Expression::In(Box::new(left.clone()), all)
        } else {
            self.next = begins;
            return Ok(None);
        };
        Ok(Some(if is_not { Expression::Not(Box::new(condition)) } else { condition }))
    }

    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, LogQueryError>,
    ) -> Result<T, LogQueryError> {
        if self.depth == DEPTH_MAX {
            return Err(LogQueryError::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn unary(&mut self) -> Result<Expression, LogQueryError> {
        if self.take("-") {
            return Ok(Expression::Negative(Box::new(self.nested(Self::unary)?)));
        }
        if self.take("!") {
            return Ok(Expression::Not(Box::new(self.nested(Self::unary)?)));
        }
        if self.take("(") {
            let inner = self.nested(Self::expression)?;
            self.want(")")?;
            return Ok(inner);
        }
        let token = self.peek().cloned();
        self.next += 1;
        match token {
            Some(Token::Number(number)) => Ok(Expression::Literal(Value::Number(number))),
            Some(Token::Text(text)) => Ok(Expression::Literal(Value::Text(text))),
            Some(Token::Quoted(name)) => Ok(Expression::Field(name)),
            Some(Token::Name(name)) if self.take("(") => self.nested(|parser| parser.call(&name)),
            Some(Token::Name(name)) if !is_reserved(&name) => Ok(Expression::Field(name)),
            _ => {
                self.next -= 1;
                Err(self.wants("a field, a value or a function"))
            }
        }
    }

    fn call(&mut self, name: &str) -> Result<Expression, LogQueryError> {
        if name.eq_ignore_ascii_case("bin") {
            let Some(Token::Duration(millis)) = self.peek() else {
                return Err(self.wants("a period, as 5m"));
            };
            let millis = (*millis).max(1);
            self.next += 1;
            self.want(")")?;
            return Ok(Expression::Bin(millis));
        }
        let Some((function, allowed)) = Function::find(name) else {
            self.next -= 2;
            return Err(self.wants("a function that there is"));
        };
        let mut arguments = Vec::new();
        while !self.take(")") {
            arguments.push(self.expression()?);
            if !self.take(",") {
                self.want(")")?;
                break;
            }
        }
        match allowed.contains(&arguments.len()) {
            true => Ok(Expression::Call(function, arguments)),
            false => Err(self.wants("another number of arguments")),
        }
    }
}

fn is_reserved(name: &str) -> bool {
    ["and", "or", "not", "like", "in", "as", "by"].iter().any(|word| name.eq_ignore_ascii_case(word))
}
