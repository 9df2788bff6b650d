//! Managed policies and their versions.

use bowline_aws::{
    iam::{
        CreatePolicyRequest, CreatePolicyVersionRequest, Empty, EntityFilter, ListEntitiesForPolicyRequest,
        ListEntitiesForPolicyResponse, ListOfPolicyRequest, ListPoliciesRequest, ListPoliciesResponse,
        ListPolicyVersionsResponse, Policy, PolicyRequest, PolicyResponse, PolicyRole, PolicyScope,
        PolicyUsage, PolicyUser, PolicyVersion, PolicyVersionRequest, PolicyVersionResponse,
    },
    protocol::Fault,
};
use bowline_model::{
    clock::Timestamp,
    policy::{MANAGED_POLICY_CHARACTERS_MAX, PolicyKind},
};

use super::{
    check_name, conflict, exists, invalid, limit, no_entity, page_of, path, path_prefix, policy_not_found,
    tags_of, wire_tags_if_any,
};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    iam::{
        self, Grants, PolicyRecord, PolicyVersionRecord, VERSIONS_MAX,
        aws_managed::{self, AwsManagedPolicy},
        document,
    },
    registry::Registry,
};

/// Most managed policies of an account.
const POLICIES_MAX: usize = 1_500;

/// When the policies that AWS manages were made, as they tell it: the date of IAM's managed
/// policies, 2015-02-06.
const AWS_MANAGED_SINCE: Timestamp = Timestamp::from_secs(1_423_180_800);

pub(super) fn create(call: &Call<'_>, request: CreatePolicyRequest) -> Result<PolicyResponse, Fault> {
    let name = request.policy_name;
    check_name("policyName", &name, 128)?;
    let path = path(request.path)?;
    constraint::length("description", request.description.as_deref().unwrap_or_default(), 0..=1000)
        .map_err(invalid)?;
    document::check(PolicyKind::Identity, &request.policy_document, MANAGED_POLICY_CHARACTERS_MAX)?;
    let tags = tags_of(request.tags)?;
    call.change(|registry| {
        if registry.iam_policies.values().any(|policy| policy.name.eq_ignore_ascii_case(&name)) {
            return Err(exists(format!(
                "A policy called {name} already exists. Duplicate names are not allowed."
            )));
        }
        if registry.iam_policies.len() >= POLICIES_MAX {
            return Err(limit("PoliciesPerAccount", POLICIES_MAX));
        }
        let version = PolicyVersionRecord { document: request.policy_document, created_at: call.now };
        let policy = PolicyRecord {
            id: iam::unique_id("ANPA"),
            arn: iam::arn(&call.scope, "policy", &path, &name),
            name,
            path,
            description: request.description,
            created_at: call.now,
            updated_at: call.now,
            default_version: 1,
            versions: [(1, version)].into(),
            last_version: 1,
            tags,
        };
        let response = PolicyResponse { policy: told(registry, &policy) };
        registry.iam_policies.put(policy.arn.to_string(), policy);
        Ok(response)
    })
}

pub(super) fn get(call: &Call<'_>, request: PolicyRequest) -> Result<PolicyResponse, Fault> {
    let registry = call.registry();
    let arn = &request.policy_arn;
    if let Some(policy) = registry.iam_policies.get(arn) {
        return Ok(PolicyResponse { policy: told(&registry, policy) });
    }
    let policy = aws_managed::find(arn).ok_or_else(|| policy_not_found(arn))?;
    Ok(PolicyResponse { policy: told_aws(&registry, policy) })
}

pub(super) fn list(call: &Call<'_>, request: ListPoliciesRequest) -> Result<ListPoliciesResponse, Fault> {
    let registry = call.registry();
    let own = registry.iam_policies.values().map(|policy| told(&registry, policy));
    let aws = aws_managed::POLICIES.iter().map(|policy| told_aws(&registry, policy));
    let mut policies: Vec<Policy> = match request.scope {
        PolicyScope::All => own.chain(aws).collect(),
        PolicyScope::Aws => aws.collect(),
        PolicyScope::Local => own.collect(),
    };
    let prefix = path_prefix(request.path_prefix)?;
    policies.retain(|policy| {
        let used = match request.policy_usage_filter {
            Some(PolicyUsage::PermissionsPolicy) => policy.attachment_count > 0,
            Some(PolicyUsage::PermissionsBoundary) => policy.permissions_boundary_usage_count > 0,
            None => !request.only_attached || policy.attachment_count > 0,
        };
        used && policy.path.starts_with(&*prefix)
    });
    for policy in &mut policies {
        // Lists tell neither descriptions nor tags.
        (policy.description, policy.tags) = (None, None);
    }
    let key = |policy: &Policy| policy.arn.clone();
    let page = page_of("ListPolicies", policies, key, request.marker.as_deref(), request.max_items)?;
    Ok(ListPoliciesResponse { policies: page.items, is_truncated: page.is_truncated, marker: page.marker })
}

/// Refuses what cannot be changed: a policy that is not there, or AWS's.
pub(super) fn check_own(registry: &Registry, arn: &str) -> Result<(), Fault> {
    if registry.iam_policies.get(arn).is_some() {
        return Ok(());
    }
    Err(match aws_managed::find(arn) {
        Some(_) => {
            Fault::new("AccessDenied", format!("Cannot change the policy {arn}: it is managed by AWS."))
                .with_status(403)
        }
        None => policy_not_found(arn),
    })
}

pub(super) fn delete(call: &Call<'_>, request: PolicyRequest) -> Result<Empty, Fault> {
    call.change(|registry| {
        let arn = &request.policy_arn;
        check_own(registry, arn)?;
        let (attached, boundaries) = iam::uses(registry, arn);
        if attached + boundaries > 0 {
            return Err(conflict("Cannot delete a policy attached to entities."));
        }
        let versions = registry.iam_policies.get(arn).map_or(0, |policy| policy.versions.len());
        if versions > 1 {
            return Err(conflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                 versions. The default version is deleted with the policy.",
            ));
        }
        registry.iam_policies.remove(arn);
        Ok(Empty {})
    })
}

pub(super) fn create_version(
    call: &Call<'_>,
    request: CreatePolicyVersionRequest,
) -> Result<PolicyVersionResponse, Fault> {
    document::check(PolicyKind::Identity, &request.policy_document, MANAGED_POLICY_CHARACTERS_MAX)?;
    change(call, &request.policy_arn, |policy| {
        if policy.versions.len() >= VERSIONS_MAX {
            return Err(Fault::new(
                "LimitExceeded",
                format!(
                    "A managed policy can have up to {VERSIONS_MAX} versions. Before you create a new version, you \
                     must delete an existing version."
                ),
            )
            .with_status(409));
        }
        policy.last_version += 1;
        let number = policy.last_version;
        let version = PolicyVersionRecord { document: request.policy_document, created_at: call.now };
        policy.versions.insert(number, version);
        policy.updated_at = call.now;
        if request.set_as_default {
            policy.default_version = number;
        }
        Ok(PolicyVersionResponse {
            policy_version: PolicyVersion { document: None, ..version_of(policy, number)? },
        })
    })
}

fn change<R>(
    call: &Call<'_>,
    arn: &str,
    change: impl FnOnce(&mut PolicyRecord) -> Result<R, Fault>,
) -> Result<R, Fault> {
    call.change(|registry| {
        check_own(registry, arn)?;
        let mut policy = registry.iam_policies.get(arn).map(|policy| PolicyRecord::clone(policy));
        let policy_found = policy.as_mut().ok_or_else(|| policy_not_found(arn))?;
        let result = change(policy_found)?;
        if let Some(policy) = policy {
            registry.iam_policies.put(arn, policy);
        }
        Ok(result)
    })
}

/// The number of `v12`.
fn number_of(version_id: &str) -> Result<u32, Fault> {
    version_id.strip_prefix('v').and_then(|number| number.parse().ok()).ok_or_else(|| {
        invalid(format!("Value '{version_id}' at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*"))
    })
}

fn no_version(policy: &str, version_id: &str) -> Fault {
    no_entity(format!("Policy {policy} version {version_id} does not exist or is not attachable."))
}

pub(super) fn get_version(
    call: &Call<'_>,
    request: PolicyVersionRequest,
) -> Result<PolicyVersionResponse, Fault> {
    let registry = call.registry();
    let number = number_of(&request.version_id)?;
    if let Some(policy) = registry.iam_policies.get(&request.policy_arn) {
        return Ok(PolicyVersionResponse { policy_version: version_of(policy, number)? });
    }
    let policy =
        aws_managed::find(&request.policy_arn).ok_or_else(|| policy_not_found(&request.policy_arn))?;
    match number {
        1 => Ok(PolicyVersionResponse { policy_version: version_of_aws(policy) }),
        _ => Err(no_version(&request.policy_arn, &request.version_id)),
    }
}

pub(super) fn list_versions(
    call: &Call<'_>,
    request: ListOfPolicyRequest,
) -> Result<ListPolicyVersionsResponse, Fault> {
    let registry = call.registry();
    let arn = &request.policy_arn;
    let mut versions = match registry.iam_policies.get(arn) {
        Some(policy) => {
            policy.versions.keys().map(|number| version_of(policy, *number)).collect::<Result<Vec<_>, _>>()?
        }
        None => vec![version_of_aws(aws_managed::find(arn).ok_or_else(|| policy_not_found(arn))?)],
    };
    for version in &mut versions {
        version.document = None;
    }
    // The newest first: numbers are counted from the top.
    let key = |version: &PolicyVersion| {
        let number = number_of(&version.version_id).unwrap_or_default();
        format!("{:010}", u32::MAX - number)
    };
    let page = page_of("ListPolicyVersions", versions, key, request.marker.as_deref(), request.max_items)?;
    Ok(ListPolicyVersionsResponse {
        versions: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) fn set_default_version(call: &Call<'_>, request: PolicyVersionRequest) -> Result<Empty, Fault> {
    let number = number_of(&request.version_id)?;
    change(call, &request.policy_arn, |policy| {
        version_of(policy, number)?;
        policy.default_version = number;
        policy.updated_at = call.now;
        Ok(Empty {})
    })
}

pub(super) fn delete_version(call: &Call<'_>, request: PolicyVersionRequest) -> Result<Empty, Fault> {
    let number = number_of(&request.version_id)?;
    change(call, &request.policy_arn, |policy| {
        version_of(policy, number)?;
        if policy.default_version == number {
            return Err(conflict("Cannot delete the default version of a policy."));
        }
        policy.versions.remove(&number);
        policy.updated_at = call.now;
        Ok(Empty {})
    })
}

pub(super) fn list_entities(
    call: &Call<'_>,
    request: ListEntitiesForPolicyRequest,
) -> Result<ListEntitiesForPolicyResponse, Fault> {
    let registry = call.registry();
    let arn = &request.policy_arn;
    if iam::managed_document(&registry, arn).is_none() {
        return Err(policy_not_found(arn));
    }
    let uses = |grants: &Grants| {
        let (attached, boundary) =
            (grants.attached.contains(arn), grants.boundary.as_deref() == Some(arn.as_str()));
        match request.policy_usage_filter {
            Some(PolicyUsage::PermissionsPolicy) => attached,
            Some(PolicyUsage::PermissionsBoundary) => boundary,
            None => attached || boundary,
        }
    };
    let wants = |kind| request.entity_filter.is_none_or(|wanted| wanted == kind);
    let prefix = path_prefix(request.path_prefix)?;
    let users = registry
        .iam_users
        .values()
        .filter(|user| wants(EntityFilter::User) && uses(&user.grants) && user.path.starts_with(&*prefix));
    let roles = registry
        .iam_roles
        .values()
        .filter(|role| wants(EntityFilter::Role) && uses(&role.grants) && role.path.starts_with(&*prefix));
    // One list over both, so that one marker pages through it.
    let entities = users
        .map(|user| (EntityFilter::User, user.name.clone(), user.id.clone()))
        .chain(roles.map(|role| (EntityFilter::Role, role.name.clone(), role.id.clone())))
        .collect();
    let key = |(kind, name, _): &(EntityFilter, String, String)| format!("{kind:?}/{name}");
    let page = page_of("ListEntitiesForPolicy", entities, key, request.marker.as_deref(), request.max_items)?;
    let mut response = ListEntitiesForPolicyResponse {
        policy_groups: Vec::new(),
        policy_users: Vec::new(),
        policy_roles: Vec::new(),
        is_truncated: page.is_truncated,
        marker: page.marker,
    };
    for (kind, name, id) in page.items {
        match kind {
            EntityFilter::User => response.policy_users.push(PolicyUser { user_name: name, user_id: id }),
            _ => response.policy_roles.push(PolicyRole { role_name: name, role_id: id }),
        }
    }
    Ok(response)
}

fn version_of(policy: &PolicyRecord, number: u32) -> Result<PolicyVersion, Fault> {
    let version_id = format!("v{number}");
    let version = policy.versions.get(&number).ok_or_else(|| no_version(policy.arn.as_str(), &version_id))?;
    Ok(PolicyVersion {
        document: Some(document::percent_encoded(&version.document)),
        version_id,
        is_default_version: policy.default_version == number,
        create_date: wire(version.created_at),
    })
}

fn version_of_aws(policy: &AwsManagedPolicy) -> PolicyVersion {
    PolicyVersion {
        document: Some(document::percent_encoded(policy.document)),
        version_id: "v1".into(),
        is_default_version: true,
        create_date: wire(AWS_MANAGED_SINCE),
    }
}

fn told(registry: &Registry, policy: &PolicyRecord) -> Policy {
    let (attachment_count, permissions_boundary_usage_count) = iam::uses(registry, policy.arn.as_str());
    Policy {
        policy_name: policy.name.clone(),
        policy_id: policy.id.clone(),
        arn: policy.arn.to_string(),
        path: policy.path.clone(),
        default_version_id: format!("v{}", policy.default_version),
        attachment_count,
        permissions_boundary_usage_count,
        is_attachable: true,
        description: policy.description.clone(),
        create_date: wire(policy.created_at),
        update_date: wire(policy.updated_at),
        tags: wire_tags_if_any(&policy.tags),
    }
}

fn told_aws(registry: &Registry, policy: &AwsManagedPolicy) -> Policy {
    let arn = policy.arn();
    let (attachment_count, permissions_boundary_usage_count) = iam::uses(registry, &arn);
    Policy {
        policy_name: policy.name.into(),
        policy_id: policy.id(),
        arn,
        path: policy.path.into(),
        default_version_id: "v1".into(),
        attachment_count,
        permissions_boundary_usage_count,
        is_attachable: true,
        description: Some(policy.description.into()),
        create_date: wire(AWS_MANAGED_SINCE),
        update_date: wire(AWS_MANAGED_SINCE),
        tags: None,
    }
}
