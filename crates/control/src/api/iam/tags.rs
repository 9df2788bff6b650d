//! Tags of users, roles and policies.

use std::collections::BTreeMap;

use bowline_aws::{
    iam::{
        Empty, ListOfPolicyRequest, ListOfRoleRequest, ListOfUserRequest, ListTagsResponse, Tag,
        TagPolicyRequest, TagRoleRequest, TagUserRequest, UntagPolicyRequest, UntagRoleRequest,
        UntagUserRequest,
    },
    protocol::Fault,
};

use super::{limit, not_found, page_of, policies::check_own, policy_not_found, tags_of, wire_tags};
use crate::{
    api::call::Call,
    iam::{Holder, RoleRecord, UserRecord, aws_managed},
};

/// Most tags of a user, a role or a policy.
pub(super) const TAGS_MAX: usize = 50;

/// Adds a tag, in place of one whose key differs in nothing but its case.
pub(super) fn put(tags: &mut BTreeMap<String, String>, key: String, value: String) {
    tags.retain(|present, _| !present.eq_ignore_ascii_case(&key));
    tags.insert(key, value);
}

/// Adds tags to those there are.
fn add(present: &BTreeMap<String, String>, new: Vec<Tag>) -> Result<BTreeMap<String, String>, Fault> {
    let mut tags = present.clone();
    for (key, value) in tags_of(new)? {
        put(&mut tags, key, value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(limit("TagsPerResource", TAGS_MAX)),
        false => Ok(tags),
    }
}

fn tag<H: Holder>(call: &Call<'_>, name: &str, new: Vec<Tag>) -> Result<Empty, Fault> {
    call.change(|registry| {
        let holder = H::find(registry, name).ok_or_else(|| not_found(H::KIND, name))?;
        let tags = add(holder.tags(), new)?;
        H::update(registry, name, |holder| *holder.tags_mut() = tags);
        Ok(Empty {})
    })
}

fn untag<H: Holder>(call: &Call<'_>, name: &str, keys: &[String]) -> Result<Empty, Fault> {
    call.change(|registry| {
        H::find(registry, name).ok_or_else(|| not_found(H::KIND, name))?;
        H::update(registry, name, |holder| holder.tags_mut().retain(|key, _| !keys.contains(key)));
        Ok(Empty {})
    })
}

fn list<H: Holder>(
    call: &Call<'_>,
    name: &str,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<ListTagsResponse, Fault> {
    let registry = call.registry();
    let holder = H::find(&registry, name).ok_or_else(|| not_found(H::KIND, name))?;
    page(holder.tags(), marker, max_items)
}

fn page(
    tags: &BTreeMap<String, String>,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<ListTagsResponse, Fault> {
    let page = page_of("ListTags", wire_tags(tags), |tag| tag.key.clone(), marker, max_items)?;
    Ok(ListTagsResponse { tags: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

pub(super) fn tag_user(call: &Call<'_>, request: TagUserRequest) -> Result<Empty, Fault> {
    tag::<UserRecord>(call, &request.user_name, request.tags)
}

pub(super) fn tag_role(call: &Call<'_>, request: TagRoleRequest) -> Result<Empty, Fault> {
    tag::<RoleRecord>(call, &request.role_name, request.tags)
}

pub(super) fn untag_user(call: &Call<'_>, request: UntagUserRequest) -> Result<Empty, Fault> {
    untag::<UserRecord>(call, &request.user_name, &request.tag_keys)
}

pub(super) fn untag_role(call: &Call<'_>, request: UntagRoleRequest) -> Result<Empty, Fault> {
    untag::<RoleRecord>(call, &request.role_name, &request.tag_keys)
}

pub(super) fn list_of_user(call: &Call<'_>, request: ListOfUserRequest) -> Result<ListTagsResponse, Fault> {
    list::<UserRecord>(call, &request.user_name, request.marker.as_deref(), request.max_items)
}

pub(super) fn list_of_role(call: &Call<'_>, request: ListOfRoleRequest) -> Result<ListTagsResponse, Fault> {
    list::<RoleRecord>(call, &request.role_name, request.marker.as_deref(), request.max_items)
}

pub(super) fn tag_policy(call: &Call<'_>, request: TagPolicyRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let arn = &request.policy_arn;
        check_own(registry, arn)?;
        let present = registry.iam_policies.get(arn).map(|policy| policy.tags.clone()).unwrap_or_default();
        let tags = add(&present, request.tags)?;
        registry.iam_policies.update(arn, |policy| policy.tags = tags);
        Ok(Empty {})
    })
}

pub(super) fn untag_policy(call: &Call<'_>, request: UntagPolicyRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        check_own(registry, &request.policy_arn)?;
        registry.iam_policies.update(&request.policy_arn, |policy| {
            policy.tags.retain(|key, _| !request.tag_keys.contains(key));
        });
        Ok(Empty {})
    })
}

pub(super) fn list_of_policy(
    call: &Call<'_>,
    request: ListOfPolicyRequest,
) -> Result<ListTagsResponse, Fault> {
    let registry = call.registry();
    let arn = &request.policy_arn;
    let tags = match (registry.iam_policies.get(arn), aws_managed::find(arn)) {
        (Some(policy), _) => policy.tags.clone(),
        (None, Some(_)) => BTreeMap::new(),
        (None, None) => return Err(policy_not_found(arn)),
    };
    page(&tags, request.marker.as_deref(), request.max_items)
}
