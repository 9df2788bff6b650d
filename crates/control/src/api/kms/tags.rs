//! Tags of keys.

use std::collections::BTreeMap;

use bowline_aws::{
    kms::{Empty, KeyPageRequest, ListResourceTagsResponse, Tag, TagResourceRequest, UntagResourceRequest},
    protocol::Fault,
};

use super::{check_key_id, keys, page_of};
use crate::{
    api::call::Call,
    kms::{KmsError, commands, find},
};

/// Tags of a page, where nothing is said. Source: KMS API reference.
const PAGE: i64 = 50;

/// Tags with those that are there already.
pub(super) fn of(
    tags: Vec<Tag>,
    mut present: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, KmsError> {
    let mut seen = std::collections::BTreeSet::new();
    for Tag { tag_key, tag_value } in tags {
        if !seen.insert(tag_key.clone()) {
            return Err(KmsError::Tag(format!("The tag key {tag_key} is given more than once.")));
        }
        present.insert(tag_key, tag_value);
    }
    commands::check_tags(&present)?;
    Ok(present)
}

pub(super) fn tag(call: &Call<'_>, request: TagResourceRequest) -> Result<Empty, Fault> {
    keys::change(call, &request.key_id, |key| {
        key.tags = of(request.tags, std::mem::take(&mut key.tags))?;
        Ok(Empty {})
    })
}

pub(super) fn untag(call: &Call<'_>, request: UntagResourceRequest) -> Result<Empty, Fault> {
    keys::change(call, &request.key_id, |key| {
        if request.tag_keys.iter().any(|tag| tag.starts_with("aws:")) {
            return Err(KmsError::Tag("Tag keys that begin with aws: are AWS's.".into()));
        }
        key.tags.retain(|name, _| !request.tag_keys.contains(name));
        Ok(Empty {})
    })
}

pub(super) fn list(call: &Call<'_>, request: KeyPageRequest) -> Result<ListResourceTagsResponse, Fault> {
    check_key_id(&request.key_id)?;
    let registry = call.registry();
    let key = find(&registry, &request.key_id, call.now)?;
    let page = page_of(
        "ListResourceTags",
        key.tags.iter(),
        |(name, _)| (*name).clone(),
        request.marker.as_deref(),
        request.limit,
        PAGE,
    )?;
    let tags = page
        .items
        .into_iter()
        .map(|(tag_key, tag_value)| Tag { tag_key: tag_key.clone(), tag_value: tag_value.clone() });
    Ok(ListResourceTagsResponse {
        tags: tags.collect(),
        truncated: page.next_token.is_some(),
        next_marker: page.next_token,
    })
}
