//! IAM.
//!
//! Source of names, shapes, quotas and errors: AWS's IAM API reference and "IAM and STS quotas".
//! What differs: there are no groups; names are told apart by their case, and two that differ in
//! nothing else are refused.

mod access_keys;
mod account;
mod instance_profiles;
mod permissions;
mod policies;
mod roles;
mod tags;
mod users;

use std::collections::BTreeMap;

use bowline_aws::{
    iam::{AttachedPermissionsBoundary, Tag},
    protocol::Fault,
};

use super::{
    constraint,
    operation::{Operation, operation},
    pages,
};
use crate::{iam::document::DocumentError, registry::Registry};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Recorded, "AddRoleToInstanceProfile", instance_profiles::add_role),
    operation!(Write, Effective, "AttachRolePolicy", permissions::attach_to_role),
    operation!(Write, Effective, "AttachUserPolicy", permissions::attach_to_user),
    operation!(Write, Effective, "CreateAccessKey", access_keys::create),
    operation!(Write, Recorded, "CreateInstanceProfile", instance_profiles::create),
    operation!(Write, Effective, "CreatePolicy", policies::create),
    operation!(Write, Effective, "CreatePolicyVersion", policies::create_version),
    operation!(Write, Effective, "CreateRole", roles::create),
    operation!(Write, Recorded, "CreateServiceLinkedRole", roles::create_service_linked),
    operation!(Write, Effective, "CreateUser", users::create),
    operation!(Write, Effective, "DeleteAccessKey", access_keys::delete),
    operation!(Write, Recorded, "DeleteInstanceProfile", instance_profiles::delete),
    operation!(Write, Effective, "DeletePolicy", policies::delete),
    operation!(Write, Effective, "DeletePolicyVersion", policies::delete_version),
    operation!(Write, Effective, "DeleteRole", roles::delete),
    operation!(Write, Effective, "DeleteRolePermissionsBoundary", permissions::delete_boundary_of_role),
    operation!(Write, Effective, "DeleteRolePolicy", permissions::delete_of_role),
    operation!(Write, Recorded, "DeleteServiceLinkedRole", roles::delete_service_linked),
    operation!(Write, Effective, "DeleteUser", users::delete),
    operation!(Write, Effective, "DeleteUserPermissionsBoundary", permissions::delete_boundary_of_user),
    operation!(Write, Effective, "DeleteUserPolicy", permissions::delete_of_user),
    operation!(Write, Effective, "DetachRolePolicy", permissions::detach_from_role),
    operation!(Write, Effective, "DetachUserPolicy", permissions::detach_from_user),
    operation!(Read, Effective, "GetAccessKeyLastUsed", access_keys::last_used),
    operation!(Read, Effective, "GetAccountSummary", account::summary),
    operation!(Read, Recorded, "GetInstanceProfile", instance_profiles::get),
    operation!(Read, Effective, "GetPolicy", policies::get),
    operation!(Read, Effective, "GetPolicyVersion", policies::get_version),
    operation!(Read, Effective, "GetRole", roles::get),
    operation!(Read, Effective, "GetRolePolicy", permissions::get_of_role),
    operation!(Read, Recorded, "GetServiceLinkedRoleDeletionStatus", roles::deletion_status),
    operation!(Read, Effective, "GetUser", users::get),
    operation!(Read, Effective, "GetUserPolicy", permissions::get_of_user),
    operation!(Read, Effective, "ListAccessKeys", access_keys::list),
    operation!(Read, Recorded, "ListAccountAliases", account::aliases),
    operation!(Read, Effective, "ListAttachedRolePolicies", permissions::list_attached_to_role),
    operation!(Read, Effective, "ListAttachedUserPolicies", permissions::list_attached_to_user),
    operation!(Read, Effective, "ListEntitiesForPolicy", policies::list_entities),
    operation!(Read, Recorded, "ListInstanceProfiles", instance_profiles::list),
    operation!(Read, Recorded, "ListInstanceProfilesForRole", instance_profiles::list_for_role),
    operation!(Read, Effective, "ListPolicies", policies::list),
    operation!(Read, Effective, "ListPolicyTags", tags::list_of_policy),
    operation!(Read, Effective, "ListPolicyVersions", policies::list_versions),
    operation!(Read, Effective, "ListRolePolicies", permissions::list_of_role),
    operation!(Read, Effective, "ListRoleTags", tags::list_of_role),
    operation!(Read, Effective, "ListRoles", roles::list),
    operation!(Read, Effective, "ListUserPolicies", permissions::list_of_user),
    operation!(Read, Effective, "ListUserTags", tags::list_of_user),
    operation!(Read, Effective, "ListUsers", users::list),
    operation!(Write, Effective, "PutRolePermissionsBoundary", permissions::put_boundary_of_role),
    operation!(Write, Effective, "PutRolePolicy", permissions::put_of_role),
    operation!(Write, Effective, "PutUserPermissionsBoundary", permissions::put_boundary_of_user),
    operation!(Write, Effective, "PutUserPolicy", permissions::put_of_user),
    operation!(Write, Recorded, "RemoveRoleFromInstanceProfile", instance_profiles::remove_role),
    operation!(Write, Effective, "SetDefaultPolicyVersion", policies::set_default_version),
    operation!(Write, Effective, "TagPolicy", tags::tag_policy),
    operation!(Write, Effective, "TagRole", tags::tag_role),
    operation!(Write, Effective, "TagUser", tags::tag_user),
    operation!(Write, Effective, "UntagPolicy", tags::untag_policy),
    operation!(Write, Effective, "UntagRole", tags::untag_role),
    operation!(Write, Effective, "UntagUser", tags::untag_user),
    operation!(Write, Effective, "UpdateAccessKey", access_keys::update),
    operation!(Write, Effective, "UpdateAssumeRolePolicy", roles::update_trust_policy),
    operation!(Write, Effective, "UpdateRole", roles::update),
    operation!(Write, Effective, "UpdateRoleDescription", roles::update_description),
    operation!(Write, Effective, "UpdateUser", users::update),
];

/// `ValidationError`.
pub(super) fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("ValidationError", message)
}

fn no_entity(message: impl Into<String>) -> Fault {
    Fault::new("NoSuchEntity", message).with_status(404)
}

/// `kind`: `user`, `role`.
fn not_found(kind: &str, name: &str) -> Fault {
    no_entity(format!("The {kind} with name {name} cannot be found."))
}

/// What is said of a policy that is not there: `what` begins the sentence. What is no policy's ARN
/// at all has an error of its own.
fn no_policy(member: &str, arn: &str, what: &str) -> Fault {
    if let Err(message) = constraint::length(member, arn, 20..=2048) {
        return invalid(message);
    }
    match is_policy_arn(arn) {
        true => no_entity(format!("{what} {arn} does not exist or is not attachable.")),
        false => Fault::new("InvalidInput", format!("ARN {arn} is not valid.")),
    }
}

fn policy_not_found(arn: &str) -> Fault {
    no_policy("policyArn", arn, "Policy")
}

/// Whether it is the ARN of a managed policy: the account's own (its id) or AWS's (`aws`).
fn is_policy_arn(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let is_arn = next() == "arn" && next().starts_with("aws") && next() == "iam" && next().is_empty();
    let account = next();
    let of_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let name = next().strip_prefix("policy/").unwrap_or_default();
    is_arn && (account == "aws" || of_account) && !name.is_empty() && !name.ends_with('/')
}

fn exists(message: impl Into<String>) -> Fault {
    Fault::new("EntityAlreadyExists", message).with_status(409)
}

fn conflict(message: impl Into<String>) -> Fault {
    Fault::new("DeleteConflict", message).with_status(409)
}

fn limit(what: &str, most: usize) -> Fault {
    Fault::new("LimitExceeded", format!("Cannot exceed quota for {what}: {most}")).with_status(409)
}

impl From<DocumentError> for Fault {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Malformed(error) => Fault::new("MalformedPolicyDocument", error.to_string()),
            DocumentError::TooLong(_) => Fault::new("LimitExceeded", error.to_string()).with_status(409),
        }
    }
}

/// Refuses a name that AWS would.
fn check_name(member: &str, name: &str, length_max: usize) -> Result<(), Fault> {
    constraint::length(member, name, 1..=length_max).map_err(invalid)?;
    constraint::characters(member, name, "[\\w+=,.@-]+", |c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
        .map_err(|_| {
            invalid(format!(
                "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or \
                 the following: +=,.@_-"
            ))
        })
}

/// The path that was given, or `/`.
fn path(given: Option<String>) -> Result<String, Fault> {
    let path = given.unwrap_or_else(|| "/".to_owned());
    constraint::length("path", &path, 1..=512).map_err(invalid)?;
    let well_formed =
        path.starts_with('/') && path.ends_with('/') && path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    match well_formed {
        true => Ok(path),
        false => Err(invalid(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric \
             characters and/or / characters.",
        )),
    }
}

/// What the paths of a list's items begin with: what was given, or `/`.
fn path_prefix(given: Option<String>) -> Result<String, Fault> {
    let prefix = given.unwrap_or_else(|| "/".to_owned());
    constraint::length("pathPrefix", &prefix, 1..=512).map_err(invalid)?;
    match prefix.starts_with('/') && prefix.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        true => Ok(prefix),
        false => Err(invalid(
            "The specified value for pathPrefix is invalid. It must begin with the / character and contain only \
             alphanumeric characters and/or / characters.",
        )),
    }
}

/// Tags as rows hold them. Two keys differ by more than their case.
fn tags_of(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, Fault> {
    let count = tags.len();
    let mut map = BTreeMap::new();
    for Tag { key, value } in tags {
        constraint::length("tags.member.key", &key, 1..=128).map_err(invalid)?;
        constraint::length("tags.member.value", &value, 0..=256).map_err(invalid)?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Fault::new("InvalidInput", "The tag key prefix aws: is reserved for AWS."));
        }
        tags::put(&mut map, key, value);
    }
    match map.len() == count {
        false => Err(Fault::new(
            "InvalidInput",
            "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        )),
        true if count > tags::TAGS_MAX => Err(limit("TagsPerResource", tags::TAGS_MAX)),
        true => Ok(map),
    }
}

fn wire_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}

/// Tags of an entity that is told on its own: absent where there are none.
fn wire_tags_if_any(tags: &BTreeMap<String, String>) -> Option<Vec<Tag>> {
    (!tags.is_empty()).then(|| wire_tags(tags))
}

fn wire_boundary(boundary: Option<&String>) -> Option<AttachedPermissionsBoundary> {
    boundary.map(|arn| AttachedPermissionsBoundary {
        permissions_boundary_type: "Policy",
        permissions_boundary_arn: arn.clone(),
    })
}

/// Refuses a boundary that is no managed policy.
fn check_boundary(registry: &Registry, arn: &str) -> Result<(), Fault> {
    match crate::iam::managed_document(registry, arn) {
        Some(_) => Ok(()),
        None => Err(no_policy("permissionsBoundary", arn, "Scope ARN:")),
    }
}

/// One page of a list, as IAM tells it.
struct Page<T> {
    items: Vec<T>,
    is_truncated: bool,
    marker: Option<String>,
}

fn page_of<T>(
    operation: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<Page<T>, Fault> {
    let size = max_items.unwrap_or(100);
    constraint::range("maxItems", size, 1..=1000).map_err(invalid)?;
    let size = usize::try_from(size).unwrap_or(1);
    let page = pages::page(operation, items, key, marker, size).map_err(|_| invalid("Invalid Marker."))?;
    Ok(Page { items: page.items, is_truncated: page.next_token.is_some(), marker: page.next_token })
}

#[cfg(test)]
mod tests;
