//! Instance profiles: kept and told. There are no instances here.

use bowline_aws::{
    iam::{
        CreateInstanceProfileRequest, Empty, InstanceProfile, InstanceProfileRequest,
        InstanceProfileResponse, InstanceProfileRoleRequest, ListInstanceProfilesResponse, ListOfRoleRequest,
        ListRequest,
    },
    protocol::Fault,
};

use super::{
    check_name, conflict, exists, limit, no_entity, not_found, page_of, path, path_prefix, roles, tags_of,
    wire_tags,
};
use crate::{
    api::call::{Call, wire},
    iam::{self, InstanceProfileRecord},
    registry::Registry,
};

/// Most instance profiles of an account.
const PROFILES_MAX: usize = 1_000;

pub(super) fn create(
    call: &Call<'_>,
    request: CreateInstanceProfileRequest,
) -> Result<InstanceProfileResponse, Fault> {
    let name = request.instance_profile_name;
    check_name("instanceProfileName", &name, 128)?;
    let path = path(request.path)?;
    let tags = tags_of(request.tags)?;
    call.change(|registry| {
        if registry.iam_instance_profiles.values().any(|other| other.name.eq_ignore_ascii_case(&name)) {
            return Err(exists(format!("Instance Profile {name} already exists.")));
        }
        if registry.iam_instance_profiles.len() >= PROFILES_MAX {
            return Err(limit("InstanceProfilesPerAccount", PROFILES_MAX));
        }
        let profile = InstanceProfileRecord {
            id: iam::unique_id("AIPA"),
            arn: iam::arn(&call.scope, "instance-profile", &path, &name),
            name: name.clone(),
            path,
            created_at: call.now,
            role: None,
            tags,
        };
        let response = InstanceProfileResponse { instance_profile: told(registry, &profile) };
        registry.iam_instance_profiles.put(name, profile);
        Ok(response)
    })
}

fn find<'a>(registry: &'a Registry, name: &str) -> Result<&'a InstanceProfileRecord, Fault> {
    let profile = registry.iam_instance_profiles.get(name).map(|profile| &**profile);
    profile.ok_or_else(|| no_entity(format!("Instance Profile {name} cannot be found.")))
}

pub(super) fn get(
    call: &Call<'_>,
    request: InstanceProfileRequest,
) -> Result<InstanceProfileResponse, Fault> {
    let registry = call.registry();
    let profile = find(&registry, &request.instance_profile_name)?;
    Ok(InstanceProfileResponse { instance_profile: told(&registry, profile) })
}

pub(super) fn delete(call: &Call<'_>, request: InstanceProfileRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let name = request.instance_profile_name;
        if find(registry, &name)?.role.is_some() {
            return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
        }
        registry.iam_instance_profiles.remove(&name);
        Ok(Empty {})
    })
}

/// Refuses a role that only a service may use.
fn check_modifiable(registry: &Registry, role: &str) -> Result<(), Fault> {
    match registry.iam_roles.get(role).is_some_and(|role| roles::is_service_linked(&role.path)) {
        true => Err(roles::unmodifiable(role)),
        false => Ok(()),
    }
}

pub(super) fn add_role(call: &Call<'_>, request: InstanceProfileRoleRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let profile = find(registry, &request.instance_profile_name)?;
        check_modifiable(registry, &request.role_name)?;
        if profile.role.is_some() {
            return Err(limit("InstanceSessionsPerInstanceProfile", 1));
        }
        if registry.iam_roles.get(&request.role_name).is_none() {
            return Err(not_found("role", &request.role_name));
        }
        registry
            .iam_instance_profiles
            .update(&request.instance_profile_name, |profile| profile.role = Some(request.role_name));
        Ok(Empty {})
    })
}

pub(super) fn remove_role(call: &Call<'_>, request: InstanceProfileRoleRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let profile = find(registry, &request.instance_profile_name)?;
        check_modifiable(registry, &request.role_name)?;
        if profile.role.as_deref() != Some(&*request.role_name) {
            return Err(no_entity(format!(
                "Role {} in Instance Profile {} cannot be found.",
                request.role_name, profile.name
            )));
        }
        registry.iam_instance_profiles.update(&request.instance_profile_name, |profile| profile.role = None);
        Ok(Empty {})
    })
}

pub(super) fn list(call: &Call<'_>, request: ListRequest) -> Result<ListInstanceProfilesResponse, Fault> {
    let prefix = path_prefix(request.path_prefix)?;
    page(call, |profile| profile.path.starts_with(&prefix), request.marker.as_deref(), request.max_items)
}

pub(super) fn list_for_role(
    call: &Call<'_>,
    request: ListOfRoleRequest,
) -> Result<ListInstanceProfilesResponse, Fault> {
    if call.registry().iam_roles.get(&request.role_name).is_none() {
        return Err(not_found("role", &request.role_name));
    }
    let has = |profile: &InstanceProfileRecord| profile.role.as_deref() == Some(&*request.role_name);
    page(call, has, request.marker.as_deref(), request.max_items)
}

fn page(
    call: &Call<'_>,
    wanted: impl Fn(&InstanceProfileRecord) -> bool,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<ListInstanceProfilesResponse, Fault> {
    let registry = call.registry();
    let profiles = registry.iam_instance_profiles.values().filter(|profile| wanted(profile));
    let profiles = profiles.map(|profile| told(&registry, profile)).collect();
    let key = |profile: &InstanceProfile| profile.instance_profile_name.clone();
    let page = page_of("ListInstanceProfiles", profiles, key, marker, max_items)?;
    Ok(ListInstanceProfilesResponse {
        instance_profiles: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

fn told(registry: &Registry, profile: &InstanceProfileRecord) -> InstanceProfile {
    let role = profile.role.as_ref().and_then(|name| registry.iam_roles.get(name));
    InstanceProfile {
        path: profile.path.clone(),
        instance_profile_name: profile.name.clone(),
        instance_profile_id: profile.id.clone(),
        arn: profile.arn.to_string(),
        create_date: wire(profile.created_at),
        roles: role.map(|role| roles::told(role)).into_iter().collect(),
        tags: wire_tags(&profile.tags),
    }
}
