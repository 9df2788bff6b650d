//! `Filters` of lists.
//!
//! Source: Secrets Manager API reference, `Filter`: a name, description or tag that begins with a
//! value (`all`: that holds a word that begins with it), `!` before it for those that do not. All
//! filters must hold, and of each any value.

use bowline_aws::{
    protocol::Fault,
    secretsmanager::{Filter, FilterName},
};

use super::invalid;
use crate::{api::constraint, secrets::SecretRecord};

/// Refuses filters that AWS does not take.
pub(super) fn check(filters: &[Filter]) -> Result<(), Fault> {
    constraint::items("filters", filters.len(), 0..=10).map_err(invalid)?;
    for filter in filters {
        if filter.key.is_none() {
            return Err(invalid("Invalid filter: Key is missing."));
        }
        constraint::items("filters.values", filter.values.len(), 1..=10).map_err(invalid)?;
        for value in &filter.values {
            constraint::length("filters.values", value, 0..=512).map_err(invalid)?;
            let pattern = "^\\!?[a-zA-Z0-9 :_@\\/\\+\\=\\.\\-\\!]*$";
            let allowed = |c: char| c.is_ascii_alphanumeric() || " :_@/+=.-!".contains(c);
            constraint::characters("filters.values", value, pattern, allowed).map_err(invalid)?;
        }
    }
    Ok(())
}

/// Whether a secret is among what is asked for.
pub(super) fn all_match(filters: &[Filter], secret: &SecretRecord, region: &str) -> bool {
    filters.iter().all(|filter| {
        let (denied, wanted): (Vec<&str>, Vec<&str>) =
            filter.values.iter().map(String::as_str).partition(|value| value.starts_with('!'));
        let has = |value: &&str| matches(filter.key, secret, region, value);
        (wanted.is_empty() || wanted.iter().any(has))
            && !denied.iter().any(|value| has(&value.trim_start_matches('!')))
    })
}

fn matches(key: Option<FilterName>, secret: &SecretRecord, region: &str, value: &str) -> bool {
    let folded = value.to_lowercase();
    let begins = |text: &str| text.starts_with(value);
    let begins_folded = |text: &str| text.to_lowercase().starts_with(&folded);
    let has_word = |text: &str| {
        begins_folded(text)
            || text.split(|c: char| !c.is_alphanumeric()).any(|word| !word.is_empty() && begins_folded(word))
    };
    let description = secret.description.as_deref().unwrap_or_default();
    match key {
        Some(FilterName::Name) => begins(&secret.name),
        Some(FilterName::Description) => has_word(description),
        Some(FilterName::TagKey) => secret.tags.keys().any(|key| begins(key)),
        Some(FilterName::TagValue) => secret.tags.values().any(|value| begins(value)),
        Some(FilterName::PrimaryRegion) => begins(region),
        Some(FilterName::OwningService) => false,
        Some(FilterName::All) | None => {
            let tags = secret.tags.iter().flat_map(|(key, value)| [key, value]);
            let mut texts = tags.map(String::as_str).chain([secret.name.as_str(), description]);
            texts.any(has_word)
        }
    }
}
