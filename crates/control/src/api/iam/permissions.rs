//! What users and roles may do: inline policies, attached policies, boundaries.

use bowline_aws::{
    iam::{
        AttachRolePolicyRequest, AttachUserPolicyRequest, AttachedPolicy, Empty, InlinePolicyResponse,
        ListAttachedPoliciesResponse, ListInlinePoliciesResponse, ListOfRoleRequest, ListOfUserRequest,
        PutRolePermissionsBoundaryRequest, PutRolePolicyRequest, PutUserPermissionsBoundaryRequest,
        PutUserPolicyRequest, RolePolicyRequest, RoleRequest, UserPolicyRequest, UserRequest,
    },
    protocol::Fault,
};
use bowline_model::policy::PolicyKind;

use super::{
    check_boundary, check_name, conflict, is_policy_arn, limit, no_entity, not_found, page_of, path_prefix,
    policy_not_found, roles,
};
use crate::{
    api::call::Call,
    iam::{self, Grants, Holder, RoleRecord, UserRecord, document},
    registry::Registry,
};

/// Most managed policies attached to a user or a role.
const ATTACHED_MAX: usize = 10;

/// Refuses the deletion of whoever still has policies.
pub(super) fn check_none(grants: &Grants) -> Result<(), Fault> {
    if !grants.inline.is_empty() {
        return Err(conflict("Cannot delete entity, must delete policies first."));
    }
    if !grants.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    Ok(())
}

fn find<'a, H: Holder>(registry: &'a Registry, name: &str) -> Result<&'a H, Fault> {
    H::find(registry, name).ok_or_else(|| not_found(H::KIND, name))
}

/// The one that is to be changed: a role that only a service may use is not.
fn find_to_change<'a, H: Holder>(registry: &'a Registry, name: &str) -> Result<&'a H, Fault> {
    let holder = find::<H>(registry, name)?;
    match roles::is_service_linked(holder.path()) {
        true => Err(roles::unmodifiable(name)),
        false => Ok(holder),
    }
}

fn put<H: Holder>(call: &Call<'_>, name: &str, policy: String, document: String) -> Result<Empty, Fault> {
    check_name("policyName", &policy, 128)?;
    document::check(PolicyKind::Identity, &document, H::INLINE_CHARACTERS_MAX)?;
    call.change(|registry| {
        let grants = find_to_change::<H>(registry, name)?.grants();
        let others = grants.inline.iter().filter(|(other, _)| **other != policy);
        let characters: usize = others.map(|(_, document)| document::characters(document)).sum();
        if characters + document::characters(&document) > H::INLINE_CHARACTERS_MAX {
            return Err(limit(&format!("{} inline policy size", H::KIND), H::INLINE_CHARACTERS_MAX));
        }
        H::update(registry, name, |holder| {
            holder.grants_mut().inline.insert(policy, document);
        });
        Ok(Empty {})
    })
}

fn no_inline(kind: &str, policy: &str) -> Fault {
    no_entity(format!("The {kind} policy with name {policy} cannot be found."))
}

fn get<H: Holder>(call: &Call<'_>, name: &str, policy: &str) -> Result<String, Fault> {
    let registry = call.registry();
    let document = find::<H>(&registry, name)?.grants().inline.get(policy);
    Ok(document::percent_encoded(document.ok_or_else(|| no_inline(H::KIND, policy))?))
}

fn delete<H: Holder>(call: &Call<'_>, name: &str, policy: &str) -> Result<Empty, Fault> {
    call.change(|registry| {
        if !find_to_change::<H>(registry, name)?.grants().inline.contains_key(policy) {
            return Err(no_inline(H::KIND, policy));
        }
        H::update(registry, name, |holder| {
            holder.grants_mut().inline.remove(policy);
        });
        Ok(Empty {})
    })
}

fn list<H: Holder>(
    call: &Call<'_>,
    name: &str,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<ListInlinePoliciesResponse, Fault> {
    let registry = call.registry();
    let names = find::<H>(&registry, name)?.grants().inline.keys().cloned().collect();
    let page = page_of("ListInlinePolicies", names, Clone::clone, marker, max_items)?;
    Ok(ListInlinePoliciesResponse {
        policy_names: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn attach<H: Holder>(call: &Call<'_>, name: &str, arn: String) -> Result<Empty, Fault> {
    call.change(|registry| {
        let attached = &find_to_change::<H>(registry, name)?.grants().attached;
        if iam::managed_document(registry, &arn).is_none() {
            return Err(policy_not_found(&arn));
        }
        if !attached.contains(&arn) && attached.len() >= ATTACHED_MAX {
            return Err(limit("PoliciesPerIdentity", ATTACHED_MAX));
        }
        H::update(registry, name, |holder| {
            holder.grants_mut().attached.insert(arn);
        });
        Ok(Empty {})
    })
}

fn detach<H: Holder>(call: &Call<'_>, name: &str, arn: &str) -> Result<Empty, Fault> {
    call.change(|registry| {
        if !find_to_change::<H>(registry, name)?.grants().attached.contains(arn) {
            return Err(match is_policy_arn(arn) {
                true => no_entity(format!("Policy {arn} was not found.")),
                false => policy_not_found(arn),
            });
        }
        H::update(registry, name, |holder| {
            holder.grants_mut().attached.remove(arn);
        });
        Ok(Empty {})
    })
}

fn list_attached<H: Holder>(
    call: &Call<'_>,
    name: &str,
    prefix: Option<String>,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<ListAttachedPoliciesResponse, Fault> {
    let registry = call.registry();
    let prefix = format!("policy{}", path_prefix(prefix)?);
    let attached = find::<H>(&registry, name)?.grants().attached.iter();
    let attached = attached
        .filter(|arn| arn.splitn(6, ':').nth(5).is_some_and(|resource| resource.starts_with(&prefix)))
        .map(|arn| AttachedPolicy {
            policy_name: arn.rsplit('/').next().unwrap_or_default().to_owned(),
            policy_arn: arn.clone(),
        });
    let key = |policy: &AttachedPolicy| policy.policy_arn.clone();
    let page = page_of("ListAttachedPolicies", attached.collect(), key, marker, max_items)?;
    Ok(ListAttachedPoliciesResponse {
        attached_policies: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn set_boundary<H: Holder>(call: &Call<'_>, name: &str, boundary: Option<String>) -> Result<Empty, Fault> {
    call.change(|registry| {
        find_to_change::<H>(registry, name)?;
        if let Some(arn) = &boundary {
            check_boundary(registry, arn)?;
        }
        H::update(registry, name, |holder| holder.grants_mut().boundary = boundary);
        Ok(Empty {})
    })
}

pub(super) fn put_of_user(call: &Call<'_>, request: PutUserPolicyRequest) -> Result<Empty, Fault> {
    put::<UserRecord>(call, &request.user_name, request.policy_name, request.policy_document)
}

pub(super) fn put_of_role(call: &Call<'_>, request: PutRolePolicyRequest) -> Result<Empty, Fault> {
    put::<RoleRecord>(call, &request.role_name, request.policy_name, request.policy_document)
}

pub(super) fn get_of_user(
    call: &Call<'_>,
    request: UserPolicyRequest,
) -> Result<InlinePolicyResponse, Fault> {
    let policy_document = get::<UserRecord>(call, &request.user_name, &request.policy_name)?;
    let (user_name, policy_name) = (Some(request.user_name), request.policy_name);
    Ok(InlinePolicyResponse { user_name, role_name: None, policy_name, policy_document })
}

pub(super) fn get_of_role(
    call: &Call<'_>,
    request: RolePolicyRequest,
) -> Result<InlinePolicyResponse, Fault> {
    let policy_document = get::<RoleRecord>(call, &request.role_name, &request.policy_name)?;
    let (role_name, policy_name) = (Some(request.role_name), request.policy_name);
    Ok(InlinePolicyResponse { user_name: None, role_name, policy_name, policy_document })
}

pub(super) fn delete_of_user(call: &Call<'_>, request: UserPolicyRequest) -> Result<Empty, Fault> {
    delete::<UserRecord>(call, &request.user_name, &request.policy_name)
}

pub(super) fn delete_of_role(call: &Call<'_>, request: RolePolicyRequest) -> Result<Empty, Fault> {
    delete::<RoleRecord>(call, &request.role_name, &request.policy_name)
}

pub(super) fn list_of_user(
    call: &Call<'_>,
    request: ListOfUserRequest,
) -> Result<ListInlinePoliciesResponse, Fault> {
    list::<UserRecord>(call, &request.user_name, request.marker.as_deref(), request.max_items)
}

pub(super) fn list_of_role(
    call: &Call<'_>,
    request: ListOfRoleRequest,
) -> Result<ListInlinePoliciesResponse, Fault> {
    list::<RoleRecord>(call, &request.role_name, request.marker.as_deref(), request.max_items)
}

pub(super) fn attach_to_user(call: &Call<'_>, request: AttachUserPolicyRequest) -> Result<Empty, Fault> {
    attach::<UserRecord>(call, &request.user_name, request.policy_arn)
}

pub(super) fn attach_to_role(call: &Call<'_>, request: AttachRolePolicyRequest) -> Result<Empty, Fault> {
    attach::<RoleRecord>(call, &request.role_name, request.policy_arn)
}

pub(super) fn detach_from_user(call: &Call<'_>, request: AttachUserPolicyRequest) -> Result<Empty, Fault> {
    detach::<UserRecord>(call, &request.user_name, &request.policy_arn)
}

pub(super) fn detach_from_role(call: &Call<'_>, request: AttachRolePolicyRequest) -> Result<Empty, Fault> {
    detach::<RoleRecord>(call, &request.role_name, &request.policy_arn)
}

pub(super) fn list_attached_to_user(
    call: &Call<'_>,
    request: ListOfUserRequest,
) -> Result<ListAttachedPoliciesResponse, Fault> {
    let ListOfUserRequest { user_name, path_prefix, marker, max_items } = request;
    list_attached::<UserRecord>(call, &user_name, path_prefix, marker.as_deref(), max_items)
}

pub(super) fn list_attached_to_role(
    call: &Call<'_>,
    request: ListOfRoleRequest,
) -> Result<ListAttachedPoliciesResponse, Fault> {
    let ListOfRoleRequest { role_name, path_prefix, marker, max_items } = request;
    list_attached::<RoleRecord>(call, &role_name, path_prefix, marker.as_deref(), max_items)
}

pub(super) fn put_boundary_of_user(
    call: &Call<'_>,
    request: PutUserPermissionsBoundaryRequest,
) -> Result<Empty, Fault> {
    set_boundary::<UserRecord>(call, &request.user_name, Some(request.permissions_boundary))
}

pub(super) fn put_boundary_of_role(
    call: &Call<'_>,
    request: PutRolePermissionsBoundaryRequest,
) -> Result<Empty, Fault> {
    set_boundary::<RoleRecord>(call, &request.role_name, Some(request.permissions_boundary))
}

pub(super) fn delete_boundary_of_user(call: &Call<'_>, request: UserRequest) -> Result<Empty, Fault> {
    set_boundary::<UserRecord>(call, &request.user_name, None)
}

pub(super) fn delete_boundary_of_role(call: &Call<'_>, request: RoleRequest) -> Result<Empty, Fault> {
    set_boundary::<RoleRecord>(call, &request.role_name, None)
}
