//! `[FILTER]`s: grep and record_modifier.

use bowline_model::log_driver::matches_tag;
use regex_lite::Regex;
use serde_json::{Map, Value};

use super::{
    Fault,
    parse::{Pair, matching, unknown, value},
};

/// A filter with what it is for.
#[derive(Clone, Debug)]
pub struct FilterRule {
    /// `Match`; every tag where it is not said.
    pub matches: String,
    /// What it does.
    pub filter: Filter,
}

/// What a filter does to a record.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Keeps records that match.
    Grep {
        /// `Regex` and `Exclude`.
        rules: Vec<GrepRule>,
        /// `Logical_Op`: `legacy` (and, the default), `and`, `or`.
        any: bool,
    },
    /// Adds and removes keys.
    RecordModifier {
        /// `Record`.
        add: Vec<(String, String)>,
        /// `Remove_key`.
        remove: Vec<String>,
        /// `Allowlist_key`: others go. None: all stay.
        only: Vec<String>,
    },
}

/// A condition of grep's.
#[derive(Clone, Debug)]
pub struct GrepRule {
    key: Vec<String>,
    pattern: Regex,
    excludes: bool,
}

const GREP: [&str; 5] = ["Name", "Match", "Regex", "Exclude", "Logical_Op"];
const MODIFIER: [&str; 6] = ["Name", "Match", "Record", "Remove_key", "Allowlist_key", "Whitelist_key"];

pub(super) fn parse(line: usize, pairs: &[Pair]) -> Result<FilterRule, (usize, Fault)> {
    let name = pairs.iter().find(|(key, ..)| key.eq_ignore_ascii_case("Name"));
    let (name, line) = name.map_or(("", line), |(_, name, line)| (name.as_str(), *line));
    let filter = match name.to_ascii_lowercase().as_str() {
        "grep" => grep(pairs)?,
        "record_modifier" => modifier(pairs)?,
        other => return Err((line, unknown("the filter", other, &["grep", "record_modifier"]))),
    };
    Ok(FilterRule { matches: matching(pairs).unwrap_or_else(|| "*".to_owned()), filter })
}

fn grep(pairs: &[Pair]) -> Result<Filter, (usize, Fault)> {
    let (mut rules, mut any) = (Vec::new(), false);
    for (key, text, line) in pairs {
        match key.to_ascii_lowercase().as_str() {
            "name" | "match" => {}
            option @ ("regex" | "exclude") => {
                let (field, pattern) = text
                    .split_once(char::is_whitespace)
                    .ok_or_else(|| (*line, value(key, "it is a key and a regular expression")))?;
                let pattern = Regex::new(pattern.trim())
                    .map_err(|error| (*line, value(key, format!("it is no regular expression: {error}"))))?;
                rules.push(GrepRule { key: accessor(field), pattern, excludes: option == "exclude" });
            }
            "logical_op" => {
                any = match text.to_ascii_lowercase().as_str() {
                    "legacy" | "and" => false,
                    "or" => true,
                    _ => return Err((*line, value(key, "it is legacy, and or or"))),
                };
            }
            _ => return Err((*line, unknown("the option of the filter grep", key, &GREP))),
        }
    }
    Ok(Filter::Grep { rules, any })
}

fn modifier(pairs: &[Pair]) -> Result<Filter, (usize, Fault)> {
    let (mut add, mut remove, mut only) = (Vec::new(), Vec::new(), Vec::new());
    for (key, text, line) in pairs {
        match key.to_ascii_lowercase().as_str() {
            "name" | "match" => {}
            "record" => {
                let (field, content) = text
                    .split_once(char::is_whitespace)
                    .ok_or_else(|| (*line, value(key, "it is a key and a value")))?;
                add.push((field.to_owned(), content.trim().to_owned()));
            }
            "remove_key" => remove.push(text.clone()),
            "allowlist_key" | "whitelist_key" => only.push(text.clone()),
            _ => return Err((*line, unknown("the option of the filter record_modifier", key, &MODIFIER))),
        }
    }
    Ok(Filter::RecordModifier { add, remove, only })
}

/// `log`, or `$a['b']['c']` (Fluent Bit's record accessor).
fn accessor(text: &str) -> Vec<String> {
    let Some(path) = text.strip_prefix('$') else { return vec![text.to_owned()] };
    path.split('[').map(|part| part.trim_end_matches(']').trim_matches(['\'', '"']).to_owned()).collect()
}

impl FilterRule {
    /// Changes a record; false if it goes no further.
    pub fn apply(&self, tag: &str, record: &mut Map<String, Value>) -> bool {
        if !matches_tag(&self.matches, tag) {
            return true;
        }
        match &self.filter {
            Filter::Grep { rules, any } => {
                let mut kept = rules.iter().map(|rule| rule.keeps(record));
                if *any && !rules.is_empty() { kept.any(|kept| kept) } else { kept.all(|kept| kept) }
            }
            Filter::RecordModifier { add, remove, only } => {
                if !only.is_empty() {
                    record.retain(|key, _| only.contains(key));
                }
                record.retain(|key, _| !remove.contains(key));
                for (key, content) in add {
                    record.insert(key.clone(), Value::String(content.clone()));
                }
                true
            }
        }
    }
}

impl GrepRule {
    fn keeps(&self, record: &Map<String, Value>) -> bool {
        let mut keys = self.key.iter();
        let first = keys.next().and_then(|key| record.get(key));
        let found = keys.fold(first, |value, key| value.and_then(|value| value.get(key)));
        let matches = match found {
            None => false,
            Some(Value::String(text)) => self.pattern.is_match(text),
            Some(other) => self.pattern.is_match(&other.to_string()),
        };
        matches != self.excludes
    }
}
