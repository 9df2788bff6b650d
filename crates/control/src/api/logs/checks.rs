//! What members must be.

use std::collections::BTreeMap;

use bowline_aws::protocol::Fault;
use bowline_model::{arn::Arn, clock::Timestamp, log_filter::FilterPattern};
use bowline_observe::logs::GroupClass;

use super::invalid;
use crate::api::{call::Call, constraint};

/// Most tags of a group.
const TAGS_MAX: usize = 50;

/// The retentions that there are, in days. Source: `PutRetentionPolicy`.
const RETENTIONS: [i64; 23] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
    36500,
];

/// A group's name.
pub(super) fn group_name(name: &str) -> Result<(), Fault> {
    constraint::length("logGroupName", name, 1..=512)
        .and_then(|()| {
            constraint::characters("logGroupName", name, r"[\.\-_/#A-Za-z0-9]+", |c| {
                c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '#')
            })
        })
        .map_err(invalid)
}

/// A stream's name, or the beginning of one.
pub(super) fn stream_name(member: &str, name: &str) -> Result<(), Fault> {
    constraint::length(member, name, 1..=512)
        .and_then(|()| constraint::characters(member, name, "[^:*]*", |c| !matches!(c, ':' | '*')))
        .map_err(invalid)
}

/// A metric filter's name, or the beginning of one.
pub(super) fn filter_name(member: &str, name: &str) -> Result<(), Fault> {
    stream_name(member, name)
}

/// The group that a request names, by its name or by an identifier: that or an ARN.
pub(super) fn group(
    call: &Call<'_>,
    name: Option<String>,
    identifier: Option<String>,
) -> Result<String, Fault> {
    let name = match (name, identifier) {
        (Some(_), Some(_)) => {
            return Err(invalid("LogGroupName and LogGroupIdentifier cannot be specified together."));
        }
        (None, None) => {
            return Err(invalid("Either LogGroupName or LogGroupIdentifier must be specified."));
        }
        (Some(name), None) => name,
        (None, Some(identifier)) => identified(call, &identifier)?,
    };
    group_name(&name)?;
    Ok(name)
}

/// The group's name of an identifier.
pub(super) fn identified(call: &Call<'_>, identifier: &str) -> Result<String, Fault> {
    match identifier.starts_with("arn:") {
        true => of_arn(call, identifier),
        false => Ok(identifier.to_owned()),
    }
}

/// The group's name of its ARN, with or without `:*`.
pub(super) fn of_arn(call: &Call<'_>, arn: &str) -> Result<String, Fault> {
    let parsed: Arn = arn.parse().map_err(|_| invalid(format!("The ARN {arn} is not valid.")))?;
    let name = parsed.resource().strip_prefix("log-group:").filter(|_| parsed.service() == "logs");
    let name = name.ok_or_else(|| invalid(format!("The ARN {arn} is none of a log group.")))?;
    let name = name.strip_suffix(":*").unwrap_or(name);
    match call.scope.arn("logs", format_args!("log-group:{name}")).as_str()
        == arn.strip_suffix(":*").unwrap_or(arn)
    {
        true => Ok(name.to_owned()),
        false => Err(Fault::new("ResourceNotFoundException", "The specified log group does not exist.")),
    }
}

/// A time in milliseconds.
pub(super) fn moment(member: &str, millis: i64) -> Result<Timestamp, Fault> {
    constraint::range(member, millis, 0..=i64::MAX).map_err(invalid)?;
    Ok(Timestamp::from_millis(millis.unsigned_abs()))
}

/// Days that events are kept.
pub(super) fn retention(days: i64) -> Result<u32, Fault> {
    match u32::try_from(days).ok().filter(|_| RETENTIONS.contains(&days)) {
        Some(days) => Ok(days),
        None => Err(invalid(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member \
             must satisfy enum value set: [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, \
             2192, 2557, 2922, 3288, 3653]"
        ))),
    }
}

/// A group's class.
pub(super) fn class(name: Option<&str>) -> Result<GroupClass, Fault> {
    match name {
        None | Some("STANDARD") => Ok(GroupClass::Standard),
        Some("INFREQUENT_ACCESS") => Ok(GroupClass::InfrequentAccess),
        Some("DELIVERY") => Ok(GroupClass::Delivery),
        Some(other) => Err(invalid(format!(
            "1 validation error detected: Value '{other}' at 'logGroupClass' failed to satisfy constraint: Member must \
             satisfy enum value set: [STANDARD, INFREQUENT_ACCESS, DELIVERY]"
        ))),
    }
}

pub(super) fn class_name(class: GroupClass) -> &'static str {
    match class {
        GroupClass::Standard => "STANDARD",
        GroupClass::InfrequentAccess => "INFREQUENT_ACCESS",
        GroupClass::Delivery => "DELIVERY",
    }
}

/// Further tags, and how many there are with those present.
pub(super) fn tags(
    present: &BTreeMap<String, String>,
    more: &BTreeMap<String, String>,
    too_many: &'static str,
) -> Result<(), Fault> {
    let is_such = |c: char| {
        c.is_alphanumeric() || c.is_whitespace() || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
    };
    for (key, value) in more {
        constraint::length("tags.key", key, 1..=128)
            .and_then(|()| {
                constraint::characters("tags.key", key, r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$", is_such)
            })
            .and_then(|()| constraint::length("tags.value", value, 0..=256))
            .and_then(|()| {
                constraint::characters("tags.value", value, r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", is_such)
            })
            .map_err(invalid)?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys that begin with aws: are reserved."));
        }
    }
    let added = more.keys().filter(|key| !present.contains_key(*key)).count();
    match present.len() + added > TAGS_MAX {
        true => Err(Fault::new(too_many, format!("A resource can have {TAGS_MAX} tags at most."))),
        false => Ok(()),
    }
}

/// A filter pattern.
pub(super) fn pattern(text: &str) -> Result<FilterPattern, Fault> {
    constraint::length("filterPattern", text, 0..=1024).map_err(invalid)?;
    FilterPattern::parse(text).map_err(|error| invalid(format!("Invalid filter pattern: {error}")))
}
