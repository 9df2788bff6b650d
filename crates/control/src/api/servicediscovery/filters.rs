//! Filters of lists.

use bowline_aws::{
    protocol::Fault,
    servicediscovery::api::{Filter, FilterCondition},
};

use super::invalid;

/// Longest value of a filter.
const VALUE_CHARACTERS_MAX: usize = 255;

/// Most values of a filter.
const VALUES_MAX: usize = 100;

/// Refuses a filter whose condition is not for it, or whose values are not for its condition.
pub(super) fn check<N: std::fmt::Debug>(
    filter: &Filter<N>,
    allowed: &[FilterCondition],
) -> Result<(), Fault> {
    let condition = filter.condition.unwrap_or_default();
    if !allowed.contains(&condition) {
        return Err(invalid(format!(
            "the filter {:?} does not support the condition {condition:?}",
            filter.name
        )));
    }
    let fits = match condition {
        FilterCondition::Eq | FilterCondition::BeginsWith => filter.values.len() == 1,
        FilterCondition::Between => filter.values.len() == 2,
        FilterCondition::In => (1..=VALUES_MAX).contains(&filter.values.len()),
    };
    if !fits {
        let count = filter.values.len();
        return Err(invalid(format!(
            "the condition {condition:?} of the filter {:?} does not take {count} value(s)",
            filter.name
        )));
    }
    if filter.values.iter().any(|value| !(1..=VALUE_CHARACTERS_MAX).contains(&value.chars().count())) {
        return Err(invalid(format!(
            "values of the filter {:?} can have 1 to {VALUE_CHARACTERS_MAX} characters",
            filter.name
        )));
    }
    Ok(())
}

/// Whether a text passes a filter that was checked.
pub(super) fn passes<N>(filter: &Filter<N>, text: &str) -> bool {
    match filter.condition.unwrap_or_default() {
        FilterCondition::Eq | FilterCondition::In => filter.values.iter().any(|value| value == text),
        FilterCondition::BeginsWith => filter.values.iter().any(|value| text.starts_with(value.as_str())),
        // No text is between others.
        FilterCondition::Between => false,
    }
}

/// Whether the filter `RESOURCE_OWNER` lets the account's own resources pass: there are no others.
pub(super) fn is_own<N>(filter: &Filter<N>, account: &str) -> bool {
    filter.values.iter().any(|value| value == "SELF" || value == account)
}
