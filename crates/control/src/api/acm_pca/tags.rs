//! Tags of authorities.

use std::collections::BTreeMap;

use bowline_aws::{
    acmpca::{Empty, ListOfAuthorityRequest, ListTagsResponse, Tag, TagsRequest},
    protocol::Fault,
};

use super::{invalid, page_of};
use crate::{
    api::{call::Call, constraint},
    private_ca::{
        PrivateCaError,
        commands::{self, check_tags, not_deleted},
        find,
    },
};

/// Tags by key; one that is given twice is refused.
pub(super) fn tags_of(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, PrivateCaError> {
    let mut all = BTreeMap::new();
    for Tag { key, value } in tags {
        if all.insert(key, value.unwrap_or_default()).is_some() {
            return Err(PrivateCaError::Tag("A tag key is given more than once.".into()));
        }
    }
    Ok(all)
}

pub(super) fn add(call: &Call<'_>, request: TagsRequest) -> Result<Empty, Fault> {
    constraint::items("tags", request.tags.len(), 1..=50).map_err(invalid)?;
    let tags = tags_of(request.tags)?;
    check_tags(&tags)?;
    call.change(|registry| {
        commands::change(registry, &request.certificate_authority_arn, call.now, |_, private| {
            not_deleted(private)?;
            private.tags.extend(tags);
            check_tags(&private.tags)
        })?;
        Ok(Empty {})
    })
}

pub(super) fn remove(call: &Call<'_>, request: TagsRequest) -> Result<Empty, Fault> {
    constraint::items("tags", request.tags.len(), 1..=50).map_err(invalid)?;
    let keys = request.tags.iter().map(|tag| (tag.key.clone(), String::new())).collect();
    check_tags(&keys)?;
    call.change(|registry| {
        commands::change(registry, &request.certificate_authority_arn, call.now, |_, private| {
            not_deleted(private)?;
            for Tag { key, value } in request.tags {
                // With a value, only the tag that has it.
                if value.as_ref().is_none_or(|value| private.tags.get(&key) == Some(value)) {
                    private.tags.remove(&key);
                }
            }
            Ok(())
        })?;
        Ok(Empty {})
    })
}

pub(super) fn list(call: &Call<'_>, request: ListOfAuthorityRequest) -> Result<ListTagsResponse, Fault> {
    let registry = call.registry();
    let (_, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    not_deleted(private)?;
    let operation = format!("ListTags {}", request.certificate_authority_arn);
    let token = request.next_token.as_deref();
    let page = page_of(&operation, &private.tags, |(key, _)| (*key).clone(), token, request.max_results)
        // The operation has no error for a wrong token.
        .map_err(|fault| invalid(fault.message))?;
    let tags =
        page.items.iter().map(|(key, value)| Tag { key: (*key).clone(), value: Some((*value).clone()) });
    Ok(ListTagsResponse { tags: tags.collect(), next_token: page.next_token })
}
