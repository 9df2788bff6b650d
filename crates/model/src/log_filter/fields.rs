//! Patterns over events that are fields with spaces between them: `[ip, user, ..., status = 4*]`.

use std::collections::BTreeMap;

use super::{
    FilterPatternError,
    operand::{Comparison, Test},
    scanner::Scanner,
};

/// The fields of an event, in order.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    before: Vec<Field>,
    /// Those after `...`, which stands for any number of fields.
    after: Option<Vec<Field>>,
}

/// A field, with what must hold of it: all of one of the groups.
#[derive(Clone, Debug)]
struct Field {
    name: Option<String>,
    groups: Vec<Vec<Test>>,
}

impl Field {
    fn takes(&self, text: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|all| all.iter().all(|test| test.of_text(text)))
    }
}

fn ends_value(c: char) -> bool {
    matches!(c, ',' | ']' | '&' | '|')
}

impl Fields {
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Self, FilterPatternError> {
        scanner.want("[", "[")?;
        let mut fields = Self { before: Vec::new(), after: None };
        scanner.space();
        if scanner.take("]") {
            return Ok(fields);
        }
        loop {
            scanner.space();
            if scanner.take("...") {
                if fields.after.replace(Vec::new()).is_some() {
                    return Err(scanner.wants("no second ellipsis"));
                }
            } else {
                let field = field(scanner)?;
                fields.after.as_mut().unwrap_or(&mut fields.before).push(field);
            }
            scanner.space();
            if scanner.take("]") {
                return Ok(fields);
            }
            scanner.want(",", ", or ]")?;
        }
    }

    /// The event's fields with those of the pattern, where there are as many as there must be.
    fn pairs<'a>(&'a self, message: &'a str) -> Option<Vec<(&'a Field, &'a str)>> {
        let there = split(message);
        let after = self.after.as_deref().unwrap_or_default();
        let wanted = self.before.len() + after.len();
        let fits = match self.after {
            Some(_) => there.len() >= wanted,
            None => there.len() == wanted,
        };
        let from_end = there.len().saturating_sub(after.len());
        fits.then(|| {
            let before = self.before.iter().zip(there.iter().copied());
            before.chain(after.iter().zip(there[from_end..].iter().copied())).collect()
        })
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        self.pairs(message).is_some_and(|pairs| pairs.iter().all(|(field, text)| field.takes(text)))
    }

    /// What the named fields are, each with `$` before its name.
    pub(super) fn named(&self, message: &str) -> BTreeMap<String, String> {
        let pairs = self.pairs(message).unwrap_or_default();
        let named =
            |(field, text): (&Field, &str)| Some((format!("${}", field.name.as_ref()?), text.to_owned()));
        pairs.into_iter().filter_map(named).collect()
    }
}

fn name<'a>(scanner: &mut Scanner<'a>) -> &'a str {
    scanner.space();
    let name = scanner.while_of(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'));
    scanner.space();
    name
}

fn field(scanner: &mut Scanner<'_>) -> Result<Field, FilterPatternError> {
    let parenthesised = scanner.take("(");
    let first = name(scanner);
    let mut field = Field { name: (!first.is_empty()).then(|| first.to_owned()), groups: Vec::new() };
    let Some(comparison) = Comparison::read(scanner) else {
        return match parenthesised {
            true => Err(scanner.wants("a comparison")),
            false => Ok(field),
        };
    };
    let ends = |c: char| ends_value(c) || (parenthesised && c == ')');
    let mut group = vec![Test::read(scanner, comparison, ends)?];
    loop {
        scanner.space();
        let is_or = scanner.take("||");
        if !is_or && !scanner.take("&&") {
            break;
        }
        if is_or {
            field.groups.push(std::mem::take(&mut group));
        }
        // The name again, or what it is compared with at once.
        let again = name(scanner);
        if !again.is_empty() && again != first {
            return Err(scanner.wants("a comparison of the same field"));
        }
        let comparison = Comparison::read(scanner).ok_or_else(|| scanner.wants("a comparison"))?;
        group.push(Test::read(scanner, comparison, ends)?);
    }
    field.groups.push(group);
    if parenthesised {
        scanner.want(")", ")")?;
    }
    Ok(field)
}

/// What stands between spaces, and what stands within quotes or brackets as one field, without them.
fn split(message: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = message.trim();
    while !rest.is_empty() {
        let closing = match rest.as_bytes()[0] {
            b'"' => Some('"'),
            b'[' => Some(']'),
            _ => None,
        };
        let closed = closing.and_then(|closing| rest[1..].find(closing));
        let (field, after) = match closed {
            Some(end) => (&rest[1..=end], &rest[end + 2..]),
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        fields.push(field);
        rest = after.trim_start();
    }
    fields
}
