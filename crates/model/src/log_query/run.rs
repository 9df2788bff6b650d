//! A query at work: events in, rows out.

use std::{
    cell::OnceCell,
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
};

use serde_json::Value as Json;
use thiserror::Error;

use super::{
    Command, LogQuery, Parsing, ROWS_DEFAULT, ROWS_MAX, Value,
    aggregate::{Aggregate, Tally},
    expression::{Expression, Row},
};
use crate::clock::Timestamp;

/// Most groups of a `stats`.
const GROUPS_MAX: usize = 100_000;

/// Most bytes of an answer while it is worked out.
const BYTES_MAX: usize = 128 * 1024 * 1024;

/// Most different values that `dedup` tells apart.
const DEDUP_MAX: usize = 100_000;

/// An event as a query sees it.
pub struct QueryEvent<'a> {
    /// `@timestamp`.
    pub at: Timestamp,
    /// `@ingestionTime`.
    pub ingested_at: Timestamp,
    /// `@log`: `ACCOUNT:GROUP`.
    pub log: &'a str,
    /// `@logStream`.
    pub stream: &'a str,
    /// `@message`.
    pub message: &'a str,
    /// Makes `@ptr`.
    pub pointer: &'a dyn Fn() -> String,
}

/// Why a query has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueryFailure {
    /// There are too many groups.
    #[error("stats has more than {GROUPS_MAX} groups")]
    Groups,
    /// The answer is too large.
    #[error("the answer is larger than {} MiB", BYTES_MAX / 1024 / 1024)]
    Bytes,
    /// There are too many different values.
    #[error("dedup finds more than {DEDUP_MAX} different values")]
    Dedup,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRows {
    /// Rows of names with values; what a row lacks is not in it.
    pub rows: Vec<Vec<(String, String)>>,
    /// Events that the filters took.
    pub matched: u64,
}

/// An event with what was worked out of it.
struct EventRow<'a> {
    event: &'a QueryEvent<'a>,
    json: OnceCell<Option<Json>>,
    named: Vec<(String, Value)>,
}

impl Row for EventRow<'_> {
    fn field(&self, name: &str) -> Value {
        if let Some((_, value)) = self.named.iter().rev().find(|(known, _)| known == name) {
            return value.clone();
        }
        let event = self.event;
        match name {
            "@timestamp" => return Value::Time(event.at.as_millis()),
            "@ingestionTime" => return Value::Time(event.ingested_at.as_millis()),
            "@message" => return Value::Text(event.message.to_owned()),
            "@log" => return Value::Text(event.log.to_owned()),
            "@logStream" => return Value::Text(event.stream.to_owned()),
            "@ptr" => return Value::Text((event.pointer)()),
            _ => {}
        }
        let json = self.json.get_or_init(|| {
            let is_object = event.message.trim_start().starts_with('{');
            is_object.then(|| serde_json::from_str(event.message).ok()).flatten()
        });
        json.as_ref().map_or(Value::Missing, |json| member(json, name))
    }
}

/// A member by its path; a member whose own name has dots in it is found too.
fn member(json: &Json, path: &str) -> Value {
    if let Some(found) = json.get(path) {
        return of_json(found);
    }
    let step = |json: &'_ Json, name: &str| -> Option<Json> {
        match json {
            Json::Array(items) => items.get(name.parse::<usize>().ok()?).cloned(),
            _ => json.get(name).cloned(),
        }
    };
    let mut names = path.split('.');
    let first = names.next().and_then(|name| step(json, name));
    names.fold(first, |found, name| step(&found?, name)).map_or(Value::Missing, |found| of_json(&found))
}

fn of_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Missing,
        Json::Bool(flag) => Value::Flag(*flag),
        Json::Number(number) => number.as_f64().map_or(Value::Missing, Value::Number),
        Json::String(text) => Value::Text(text.clone()),
        other => Value::Text(other.to_string()),
    }
}

/// A row of `stats`.
struct StatsRow(Vec<(String, Value)>);

impl Row for StatsRow {
    fn field(&self, name: &str) -> Value {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map_or(Value::Missing, |(_, value)| value.clone())
    }
}

/// A row that may be in the answer.
struct Candidate {
    keys: Vec<Value>,
    number: u64,
    at: u64,
    fields: Vec<(String, String)>,
}

/// What rows of a group have in common, as texts.
type Key = Vec<Option<String>>;

/// The same as values, and what the group's rows have come to.
type Group = (Vec<Value>, Vec<Tally>);

/// A query that takes events in.
pub struct QueryRun<'q> {
    query: &'q LogQuery,
    /// The `stats`, with where it is among the commands.
    stats: Option<usize>,
    groups: HashMap<Key, Group>,
    candidates: Vec<Candidate>,
    bytes: usize,
    limit: usize,
    seen: HashSet<Key>,
    numbered: u64,
    matched: u64,
}

impl LogQuery {
    /// Begins to answer the query, with at most `limit` rows where it does not say how many.
    pub fn run(&self, limit: Option<usize>) -> QueryRun<'_> {
        let own = self.commands.iter().rev().find_map(|command| match command {
            Command::Limit(limit) => Some(*limit),
            _ => None,
        });
        QueryRun {
            query: self,
            stats: self.commands.iter().position(|command| matches!(command, Command::Stats { .. })),
            groups: HashMap::new(),
            candidates: Vec::new(),
            bytes: 0,
            limit: own.or(limit).unwrap_or(ROWS_DEFAULT).min(ROWS_MAX),
            seen: HashSet::new(),
            numbered: 0,
            matched: 0,
        }
    }
}

/// Names the parts of a text; whether it has them.
fn parse(text: &str, by: &Parsing, into: &mut Vec<(String, Value)>) {
    match by {
        Parsing::Regex(regex) => {
            let Some(captures) = regex.captures(text) else { return };
            for name in regex.capture_names().flatten() {
                if let Some(part) = captures.name(name) {
                    into.push((name.to_owned(), Value::Text(part.as_str().to_owned())));
                }
            }
        }
        Parsing::Glob { texts, names } => {
            let Some((first, others)) = texts.split_first() else { return };
            let Some(at) = text.find(first.as_str()) else { return };
            let mut rest = &text[at + first.len()..];
            let mut found = Vec::new();
            for (place, (name, after)) in names.iter().zip(others).enumerate() {
                // What is last goes to the end.
                let end = match after.is_empty() && place + 1 == names.len() {
                    true => Some(rest.len()),
                    false => rest.find(after.as_str()),
                };
                let Some(end) = end else { return };
                found.push((name.clone(), Value::Text(rest[..end].to_owned())));
                rest = &rest[end + after.len()..];
            }
            into.extend(found);
        }
    }
}

impl QueryRun<'_> {
    /// Takes an event in.
    ///
    /// # Errors
    /// See [`QueryFailure`]: the query has no answer.
    pub fn see(&mut self, event: &QueryEvent<'_>) -> Result<(), QueryFailure> {
        let query = self.query;
        let mut row = EventRow { event, json: OnceCell::new(), named: Vec::new() };
        let mut dedup = None;
        for command in &query.commands[..self.stats.unwrap_or(query.commands.len())] {
            match command {
                Command::Fields(fields) | Command::Display(fields) => {
                    for (name, expression) in fields {
                        if !matches!(expression, Expression::Field(field) if field == name) {
                            let value = expression.value(&row);
                            row.named.push((name.clone(), value));
                        }
                    }
                }
                Command::Filter(condition) => {
                    if !condition.value(&row).is_true() {
                        return Ok(());
                    }
                }
                Command::Parse { of, by } => {
                    if let Some(text) = of.value(&row).text() {
                        parse(&text, by, &mut row.named);
                    }
                }
                Command::Dedup(by) => dedup = Some(by),
                Command::Stats { .. } | Command::Sort(_) | Command::Limit(_) => {}
            }
        }
        self.matched += 1;
        match self.stats.map(|stats| &query.commands[stats]) {
            Some(Command::Stats { aggregates, by }) => self.group(&row, aggregates, by),
            _ => self.candidate(&row, dedup),
        }
    }

    fn group(
        &mut self,
        row: &EventRow<'_>,
        aggregates: &[(String, Aggregate)],
        by: &[(String, Expression)],
    ) -> Result<(), QueryFailure> {
        let values: Vec<Value> = by.iter().map(|(_, expression)| expression.value(row)).collect();
        let key: Key = values.iter().map(Value::text).collect();
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            return Err(QueryFailure::Groups);
        }
        let begin = || (values, aggregates.iter().map(|(_, aggregate)| aggregate.begin()).collect());
        let (_, tallies): &mut Group = self.groups.entry(key).or_insert_with(begin);
        let at = Some(row.event.at.as_millis());
        for ((_, aggregate), tally) in aggregates.iter().zip(tallies) {
            aggregate.add(tally, &|expression| expression.value(row), at);
        }
        Ok(())
    }

    /// What is sorted by: descending where the flag is set.
    fn order(&self) -> &[(Expression, bool)] {
        let sort = self.query.commands.iter().rev().find_map(|command| match command {
            Command::Sort(by) => Some(&by[..]),
            _ => None,
        });
        sort.unwrap_or_default()
    }

    fn candidate(&mut self, row: &EventRow<'_>, dedup: Option<&Vec<Expression>>) -> Result<(), QueryFailure> {
        // Which of the same are told is not said before they are sorted: the first that comes.
        if let Some(by) = dedup {
            let key: Vec<_> = by.iter().map(|expression| expression.value(row).text()).collect();
            if self.seen.len() >= DEDUP_MAX {
                return Err(QueryFailure::Dedup);
            }
            if !self.seen.insert(key) {
                return Ok(());
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for command in &self.query.commands {
            match command {
                Command::Fields(fields) => names.extend(fields.iter().map(|(name, _)| name.as_str())),
                Command::Display(fields) => names = fields.iter().map(|(name, _)| name.as_str()).collect(),
                _ => {}
            }
        }
        if names.is_empty() {
            names = vec!["@timestamp", "@message"];
        }
        names.retain(|name| *name != "@ptr");
        let mut fields = Vec::with_capacity(names.len() + 1);
        for name in names {
            if let Some(text) =
                row.field(name).text().filter(|_| !fields.iter().any(|(known, _)| known == name))
            {
                fields.push((name.to_owned(), text));
            }
        }
        fields.push(("@ptr".to_owned(), (row.event.pointer)()));
        let candidate = Candidate {
            keys: self.order().iter().map(|(expression, _)| expression.value(row)).collect(),
            number: self.numbered,
            at: row.event.at.as_millis(),
            fields,
        };
        self.numbered += 1;
        self.bytes += size(&candidate);
        self.candidates.push(candidate);
        if self.candidates.len() >= 2 * self.limit || self.bytes > BYTES_MAX {
            self.cut();
        }
        if self.bytes > BYTES_MAX { Err(QueryFailure::Bytes) } else { Ok(()) }
    }

    /// Sorts what there is, and gives up what cannot be in the answer.
    fn cut(&mut self) {
        let mut candidates = std::mem::take(&mut self.candidates);
        let order = self.order();
        // Without an order the latest are first.
        candidates.sort_by(|one, other| {
            let by_keys = compare(&one.keys, &other.keys, order);
            by_keys.then(other.at.cmp(&one.at)).then(one.number.cmp(&other.number))
        });
        candidates.truncate(self.limit);
        self.bytes = candidates.iter().map(size).sum();
        self.candidates = candidates;
    }

    /// The answer.
    pub fn finish(mut self) -> QueryRows {
        let matched = self.matched;
        let Some(place) = self.stats else {
            self.cut();
            return QueryRows { rows: self.candidates.into_iter().map(|it| it.fields).collect(), matched };
        };
        let Command::Stats { aggregates, by } = &self.query.commands[place] else {
            return QueryRows { rows: Vec::new(), matched };
        };
        if by.is_empty() && self.groups.is_empty() {
            let none = aggregates.iter().map(|(_, aggregate)| aggregate.begin()).collect();
            self.groups.insert(Vec::new(), (Vec::new(), none));
        }
        // In an order that is the same each time.
        let groups: BTreeMap<_, _> = self.groups.into_iter().collect();
        let mut rows: Vec<StatsRow> = groups
            .into_values()
            .map(|(values, tallies)| {
                let by = by.iter().map(|(name, _)| name.clone()).zip(values);
                let aggregates = aggregates.iter().zip(tallies);
                let aggregates =
                    aggregates.map(|((name, aggregate), tally)| (name.clone(), aggregate.end(tally)));
                StatsRow(by.chain(aggregates).collect())
            })
            .collect();
        let mut shown: Option<Vec<String>> = None;
        for command in &self.query.commands[place + 1..] {
            match command {
                Command::Fields(fields) | Command::Display(fields) => {
                    for row in &mut rows {
                        for (name, expression) in fields {
                            let value = expression.value(row);
                            row.0.push((name.clone(), value));
                        }
                    }
                    if matches!(command, Command::Display(_)) {
                        shown = Some(fields.iter().map(|(name, _)| name.clone()).collect());
                    }
                }
                Command::Filter(condition) => rows.retain(|row| condition.value(row).is_true()),
                Command::Parse { of, by } => {
                    for row in &mut rows {
                        if let Some(text) = of.value(row).text() {
                            parse(&text, by, &mut row.0);
                        }
                    }
                }
                Command::Sort(order) => {
                    let keys = |row: &StatsRow| -> Vec<Value> {
                        order.iter().map(|(expression, _)| expression.value(row)).collect()
                    };
                    let mut keyed: Vec<_> = rows.into_iter().map(|row| (keys(&row), row)).collect();
                    keyed.sort_by(|one, other| compare(&one.0, &other.0, order));
                    rows = keyed.into_iter().map(|(_, row)| row).collect();
                }
                Command::Limit(limit) => rows.truncate(*limit),
                Command::Dedup(by) => {
                    let mut seen = HashSet::new();
                    rows.retain(|row| {
                        seen.insert(
                            by.iter().map(|expression| expression.value(row).text()).collect::<Vec<_>>(),
                        )
                    });
                }
                Command::Stats { .. } => {}
            }
        }
        rows.truncate(self.limit);
        let row = |row: StatsRow| {
            let mut told: Vec<(String, String)> = Vec::new();
            let names = shown.clone().unwrap_or_else(|| row.0.iter().map(|(name, _)| name.clone()).collect());
            for name in names {
                if let Some(text) =
                    row.field(&name).text().filter(|_| !told.iter().any(|(known, _)| *known == name))
                {
                    told.push((name, text));
                }
            }
            told
        };
        QueryRows { rows: rows.into_iter().map(row).collect(), matched }
    }
}

fn size(candidate: &Candidate) -> usize {
    candidate.fields.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>() + 64
}

fn compare(one: &[Value], other: &[Value], order: &[(Expression, bool)]) -> Ordering {
    let pairs = one.iter().zip(other).zip(order);
    let compared = pairs.map(|((one, other), (_, descending))| match descending {
        true => other.compare(one),
        false => one.compare(other),
    });
    compared.fold(Ordering::Equal, Ordering::then)
}
