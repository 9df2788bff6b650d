//! Resource policies, and the permissions of AWS's own services.

use bowline_aws::{
    acmpca::{
        CreatePermissionRequest, DeletePermissionRequest, Empty, GetPolicyResponse, ListOfAuthorityRequest,
        ListPermissionsResponse, Permission, PutPolicyRequest, ResourceArnRequest,
    },
    protocol::Fault,
};
use bowline_model::policy::{POLICY_BYTES_MAX, Policy, PolicyKind};

use super::{invalid, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    private_ca::{
        PERMISSIONS_MAX, PermissionRecord, PrivateCaError,
        commands::{self, not_deleted},
        find,
    },
};

/// The only service that AWS lets use an authority so.
const ACM: &str = "acm.amazonaws.com";

pub(super) fn put(call: &Call<'_>, request: PutPolicyRequest) -> Result<Empty, Fault> {
    let PutPolicyRequest { resource_arn, policy } = request;
    constraint::length("policy", &policy, 1..=20_480)
        .map_err(|message| Fault::from(PrivateCaError::Policy(message)))?;
    Policy::parse(PolicyKind::Resource, &policy, POLICY_BYTES_MAX)
        .map_err(|error| Fault::from(PrivateCaError::Policy(error.to_string())))?;
    call.change(|registry| {
        commands::change(registry, &resource_arn, call.now, |_, private| {
            not_deleted(private)?;
            private.policy = Some(policy);
            Ok(())
        })?;
        Ok(Empty {})
    })
}

pub(super) fn get(call: &Call<'_>, request: ResourceArnRequest) -> Result<GetPolicyResponse, Fault> {
    let registry = call.registry();
    let (_, private) = find(&registry, &request.resource_arn, call.now)?;
    not_deleted(private)?;
    match &private.policy {
        Some(policy) => Ok(GetPolicyResponse { policy: policy.clone() }),
        None => Err(PrivateCaError::NotFound("The certificate authority has no policy.".into()).into()),
    }
}

pub(super) fn delete(call: &Call<'_>, request: ResourceArnRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        commands::change(registry, &request.resource_arn, call.now, |_, private| {
            not_deleted(private)?;
            private.policy = None;
            Ok(())
        })?;
        Ok(Empty {})
    })
}

fn key(principal: &str, account: &str) -> String {
    format!("{principal} {account}")
}

pub(super) fn create_permission(call: &Call<'_>, request: CreatePermissionRequest) -> Result<Empty, Fault> {
    let CreatePermissionRequest { certificate_authority_arn, principal, source_account, mut actions } =
        request;
    constraint::items("actions", actions.len(), 1..=3).map_err(invalid)?;
    if principal != ACM {
        return Err(invalid(format!("Principal must be {ACM}.")));
    }
    actions.sort();
    actions.dedup();
    let source_account = source_account.unwrap_or_else(|| call.scope.account_id.clone());
    call.change(|registry| {
        commands::change(registry, &certificate_authority_arn, call.now, |_, private| {
            not_deleted(private)?;
            let key = key(&principal, &source_account);
            if private.permissions.contains_key(&key) {
                return Err(PrivateCaError::PermissionExists);
            }
            if private.permissions.len() >= PERMISSIONS_MAX {
                return Err(PrivateCaError::Limit(format!(
                    "A certificate authority can have at most {PERMISSIONS_MAX} permissions."
                )));
            }
            let record = PermissionRecord { created_at: call.now, principal, source_account, actions };
            private.permissions.insert(key, record);
            Ok(())
        })?;
        Ok(Empty {})
    })
}

pub(super) fn delete_permission(call: &Call<'_>, request: DeletePermissionRequest) -> Result<Empty, Fault> {
    let account = request.source_account.unwrap_or_else(|| call.scope.account_id.clone());
    call.change(|registry| {
        commands::change(registry, &request.certificate_authority_arn, call.now, |_, private| {
            not_deleted(private)?;
            private.permissions.remove(&key(&request.principal, &account)).map(|_| ()).ok_or_else(|| {
                PrivateCaError::NotFound(
                    "The principal has no permission for this certificate authority.".into(),
                )
            })
        })?;
        Ok(Empty {})
    })
}

pub(super) fn list_permissions(
    call: &Call<'_>,
    request: ListOfAuthorityRequest,
) -> Result<ListPermissionsResponse, Fault> {
    let registry = call.registry();
    let (record, private) = find(&registry, &request.certificate_authority_arn, call.now)?;
    not_deleted(private)?;
    let operation = format!("ListPermissions {}", record.arn);
    let token = request.next_token.as_deref();
    let page =
        page_of(&operation, &private.permissions, |(key, _)| (*key).clone(), token, request.max_results)?;
    let permissions = page.items.iter().map(|(_, permission)| Permission {
        certificate_authority_arn: record.arn.to_string(),
        created_at: wire(permission.created_at),
        principal: permission.principal.clone(),
        source_account: permission.source_account.clone(),
        actions: permission.actions.clone(),
    });
    Ok(ListPermissionsResponse { permissions: permissions.collect(), next_token: page.next_token })
}
