//! Roles.

use bowline_aws::{
    iam::{
        CreateRoleRequest, CreateServiceLinkedRoleRequest, DeleteServiceLinkedRoleResponse, Empty,
        GetServiceLinkedRoleDeletionStatusRequest, GetServiceLinkedRoleDeletionStatusResponse, ListRequest,
        ListRolesResponse, Role, RoleLastUsed, RoleRequest, RoleResponse, UpdateAssumeRolePolicyRequest,
        UpdateRoleDescriptionRequest, UpdateRoleRequest,
    },
    protocol::Fault,
};
use bowline_model::policy::{PolicyKind, TRUST_POLICY_CHARACTERS_MAX};
use serde_json::json;

use super::{
    check_boundary, check_name, conflict, exists, invalid, limit, no_entity, not_found, page_of, path,
    path_prefix, tags_of, wire_boundary, wire_tags_if_any,
};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    iam::{self, Grants, RoleRecord, SESSION_SECONDS_DEFAULT, document},
    random,
    registry::Registry,
};

/// Most roles of an account.
const ROLES_MAX: usize = 1_000;

/// Where the roles are that only a service may use.
const SERVICE_LINKED_PATH: &str = "/aws-service-role/";

/// Whether only a service may use, and change, the role at this path.
pub(super) fn is_service_linked(path: &str) -> bool {
    path.starts_with(SERVICE_LINKED_PATH)
}

pub(super) fn unmodifiable(name: &str) -> Fault {
    Fault::new(
        "UnmodifiableEntity",
        format!(
            "Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
        ),
    )
}

fn check_description(description: Option<&str>) -> Result<(), Fault> {
    constraint::length("description", description.unwrap_or_default(), 0..=1000).map_err(invalid)
}

fn session_seconds(given: Option<i64>) -> Result<Option<u32>, Fault> {
    let Some(seconds) = given else { return Ok(None) };
    constraint::range("maxSessionDuration", seconds, 3600..=43_200).map_err(invalid)?;
    Ok(u32::try_from(seconds).ok())
}

pub(super) fn create(call: &Call<'_>, request: CreateRoleRequest) -> Result<RoleResponse, Fault> {
    check_name("roleName", &request.role_name, 64)?;
    let path = path(request.path)?;
    if is_service_linked(&path) {
        return Err(Fault::new("InvalidInput", "The path /aws-service-role/ is AWS's own."));
    }
    check_description(request.description.as_deref())?;
    let trust_policy = request.assume_role_policy_document;
    document::check(PolicyKind::Trust, &trust_policy, TRUST_POLICY_CHARACTERS_MAX)?;
    let max_session_seconds =
        session_seconds(request.max_session_duration)?.unwrap_or(SESSION_SECONDS_DEFAULT);
    let tags = tags_of(request.tags)?;
    let role = RoleRecord {
        id: iam::unique_id("AROA"),
        arn: iam::arn(&call.scope, "role", &path, &request.role_name),
        name: request.role_name,
        path,
        created_at: call.now,
        description: request.description,
        trust_policy,
        max_session_seconds,
        grants: Grants { boundary: request.permissions_boundary, ..Grants::default() },
        tags,
    };
    add(call, role)
}

fn add(call: &Call<'_>, role: RoleRecord) -> Result<RoleResponse, Fault> {
    call.change(|registry| {
        if registry.iam_roles.values().any(|other| other.name.eq_ignore_ascii_case(&role.name)) {
            return Err(exists(format!("Role with name {} already exists.", role.name)));
        }
        if registry.iam_roles.len() >= ROLES_MAX {
            return Err(limit("RolesPerAccount", ROLES_MAX));
        }
        if let Some(boundary) = &role.grants.boundary {
            check_boundary(registry, boundary)?;
        }
        let response = RoleResponse { role: told(&role) };
        registry.iam_roles.put(role.name.clone(), role);
        Ok(response)
    })
}

pub(super) fn create_service_linked(
    call: &Call<'_>,
    request: CreateServiceLinkedRoleRequest,
) -> Result<RoleResponse, Fault> {
    let service = &request.aws_service_name;
    constraint::length("AWSServiceName", service, 1..=128).map_err(invalid)?;
    let label = service.strip_suffix(".amazonaws.com").filter(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    });
    let label = label.ok_or_else(|| {
        Fault::new(
            "InvalidInput",
            format!("Service role {service} does not exist: NAME.amazonaws.com is needed"),
        )
    })?;
    check_description(request.description.as_deref())?;
    let suffix = match &request.custom_suffix {
        Some(suffix) => {
            check_name("customSuffix", suffix, 64)?;
            format!("_{suffix}")
        }
        None => String::new(),
    };
    let name = format!("AWSServiceRoleFor{}{suffix}", service_label(label));
    check_name("roleName", &name, 64)?;
    let path = format!("{SERVICE_LINKED_PATH}{service}/");
    let trust_policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    });
    let role = RoleRecord {
        id: iam::unique_id("AROA"),
        arn: iam::arn(&call.scope, "role", &path, &name),
        name,
        path,
        created_at: call.now,
        description: request.description,
        trust_policy: trust_policy.to_string(),
        max_session_seconds: SESSION_SECONDS_DEFAULT,
        grants: Grants::default(),
        tags: Default::default(),
    };
    let name = role.name.clone();
    // AWS has another code here.
    add(call, role).map_err(|fault| match fault.code.as_str() {
        "EntityAlreadyExists" => {
            Fault::new("InvalidInput", format!("Service role name {name} has been taken in this account."))
        }
        _ => fault,
    })
}

/// The service in the names of its roles.
fn service_label(service: &str) -> String {
    match service {
        "ecs" => "ECS".to_owned(),
        "elasticloadbalancing" => "ElasticLoadBalancing".to_owned(),
        "ecs.application-autoscaling" => "ApplicationAutoScaling_ECSService".to_owned(),
        "autoscaling" => "AutoScaling".to_owned(),
        other => other
            .split(['-', '.'])
            .map(|part| {
                let mut letters = part.chars();
                letters
                    .next()
                    .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + letters.as_str())
            })
            .collect(),
    }
}

fn find<'a>(registry: &'a Registry, name: &str) -> Result<&'a std::sync::Arc<RoleRecord>, Fault> {
    registry.iam_roles.get(name).ok_or_else(|| not_found("role", name))
}

pub(super) fn get(call: &Call<'_>, request: RoleRequest) -> Result<RoleResponse, Fault> {
    let role = told(find(&call.registry(), &request.role_name)?);
    // When it was last used is not kept: AWS says the same of what lies before its own record.
    Ok(RoleResponse { role: Role { role_last_used: Some(RoleLastUsed {}), ..role } })
}

pub(super) fn list(call: &Call<'_>, request: ListRequest) -> Result<ListRolesResponse, Fault> {
    let registry = call.registry();
    let prefix = path_prefix(request.path_prefix)?;
    let roles = registry.iam_roles.values().filter(|role| role.path.starts_with(&*prefix));
    // Lists tell neither tags nor boundaries.
    let roles = roles.map(|role| Role { permissions_boundary: None, tags: None, ..told(role) }).collect();
    let key = |role: &Role| role.role_name.clone();
    let page = page_of("ListRoles", roles, key, request.marker.as_deref(), request.max_items)?;
    Ok(ListRolesResponse { roles: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

fn change(call: &Call<'_>, name: &str, change: impl FnOnce(&mut RoleRecord)) -> Result<RoleResponse, Fault> {
    call.change(|registry| {
        if is_service_linked(&find(registry, name)?.path) {
            return Err(unmodifiable(name));
        }
        registry.iam_roles.update(name, change);
        Ok(RoleResponse { role: told(find(registry, name)?) })
    })
}

pub(super) fn update(call: &Call<'_>, request: UpdateRoleRequest) -> Result<Empty, Fault> {
    check_description(request.description.as_deref())?;
    let seconds = session_seconds(request.max_session_duration)?;
    change(call, &request.role_name, |role| {
        if request.description.is_some() {
            role.description = request.description;
        }
        role.max_session_seconds = seconds.unwrap_or(role.max_session_seconds);
    })?;
    Ok(Empty {})
}

pub(super) fn update_description(
    call: &Call<'_>,
    request: UpdateRoleDescriptionRequest,
) -> Result<RoleResponse, Fault> {
    check_description(Some(&request.description))?;
    call.change(|registry| {
        // The one thing of a service-linked role that is not its service's.
        find(registry, &request.role_name)?;
        registry.iam_roles.update(&request.role_name, |role| role.description = Some(request.description));
        Ok(RoleResponse { role: told(find(registry, &request.role_name)?) })
    })
}

pub(super) fn update_trust_policy(
    call: &Call<'_>,
    request: UpdateAssumeRolePolicyRequest,
) -> Result<Empty, Fault> {
    document::check(PolicyKind::Trust, &request.policy_document, TRUST_POLICY_CHARACTERS_MAX)?;
    change(call, &request.role_name, |role| role.trust_policy = request.policy_document)?;
    Ok(Empty {})
}

pub(super) fn delete(call: &Call<'_>, request: RoleRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let role = find(registry, &request.role_name)?;
        if is_service_linked(&role.path) {
            return Err(unmodifiable(&request.role_name));
        }
        super::permissions::check_none(&role.grants)?;
        let profiles = registry.iam_instance_profiles.values();
        if profiles.into_iter().any(|profile| profile.role.as_deref() == Some(&*role.name)) {
            return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
        }
        registry.iam_roles.remove(&request.role_name);
        Ok(Empty {})
    })
}

pub(super) fn delete_service_linked(
    call: &Call<'_>,
    request: RoleRequest,
) -> Result<DeleteServiceLinkedRoleResponse, Fault> {
    call.change(|registry| {
        let role = find(registry, &request.role_name)?;
        if !is_service_linked(&role.path) {
            return Err(no_entity(format!("{} is no service-linked role.", request.role_name)));
        }
        let service = role.path.trim_start_matches(SERVICE_LINKED_PATH).trim_end_matches('/').to_owned();
        registry.iam_roles.remove(&request.role_name);
        let deletion_task_id =
            format!("task/aws-service-role/{service}/{}/{}", request.role_name, random::uuid());
        Ok(DeleteServiceLinkedRoleResponse { deletion_task_id })
    })
}

/// Deletions are done when they are answered: that of a role which is there was never asked for.
pub(super) fn deletion_status(
    call: &Call<'_>,
    request: GetServiceLinkedRoleDeletionStatusRequest,
) -> Result<GetServiceLinkedRoleDeletionStatusResponse, Fault> {
    let id = &request.deletion_task_id;
    constraint::length("deletionTaskId", id, 1..=1000).map_err(invalid)?;
    let parts: Vec<_> = id.split('/').collect();
    let &["task", "aws-service-role", _, role, _] = parts.as_slice() else {
        return Err(Fault::new(
            "InvalidInput",
            "The deletion task id is none that DeleteServiceLinkedRole gives out.",
        ));
    };
    match call.registry().iam_roles.get(role) {
        Some(_) => Err(no_entity(format!("There is no deletion task {id}."))),
        None => Ok(GetServiceLinkedRoleDeletionStatusResponse { status: "SUCCEEDED" }),
    }
}

pub(super) fn told(role: &RoleRecord) -> Role {
    Role {
        path: role.path.clone(),
        role_name: role.name.clone(),
        role_id: role.id.clone(),
        arn: role.arn.to_string(),
        create_date: wire(role.created_at),
        assume_role_policy_document: document::percent_encoded(&role.trust_policy),
        description: role.description.clone(),
        max_session_duration: role.max_session_seconds,
        permissions_boundary: wire_boundary(role.grants.boundary.as_ref()),
        tags: wire_tags_if_any(&role.tags),
        role_last_used: None,
    }
}
