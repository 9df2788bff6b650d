//! What requests to IAM demand.

use super::demand::{Asked, Demand};

pub(super) fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let operation = asked.operation;
    let demand = Demand::new(format!("iam:{operation}"), resource(asked));
    let demand = [
        ("PolicyArn", "iam:PolicyARN"),
        ("PermissionsBoundary", "iam:PermissionsBoundary"),
        ("AWSServiceName", "iam:AWSServiceName"),
    ]
    .into_iter()
    .fold(demand, |demand, (member, key)| match asked.text(member) {
        Some(value) if takes(operation, key) => demand.with(key, value),
        _ => demand,
    });
    let mut demands = vec![with_boundary(asked, demand)];
    if operation == "AddRoleToInstanceProfile" {
        let role = role_arn(asked, asked.text("RoleName").unwrap_or_default());
        demands.push(Demand::new("iam:PassRole", role).with("iam:PassedToService", "ec2.amazonaws.com"));
    }
    demands
}

/// Whether an action has a condition key.
fn takes(operation: &str, key: &str) -> bool {
    match key {
        "iam:PolicyARN" => operation.starts_with("Attach") || operation.starts_with("Detach"),
        _ => true,
    }
}

/// Actions that change what somebody may do have the present boundary as a condition key.
fn with_boundary(asked: &Asked<'_>, demand: Demand) -> Demand {
    if asked.text("PermissionsBoundary").is_some() {
        return demand;
    }
    let user = asked.text("UserName").and_then(|name| asked.registry.iam_users.get(name));
    let role = asked.text("RoleName").and_then(|name| asked.registry.iam_roles.get(name));
    let boundary = user
        .and_then(|user| user.grants.boundary.clone())
        .or_else(|| role.and_then(|role| role.grants.boundary.clone()));
    match boundary {
        Some(boundary) => demand.with("iam:PermissionsBoundary", boundary),
        None => demand,
    }
}

fn resource(asked: &Asked<'_>) -> String {
    let operation = asked.operation;
    if let Some(arn) = asked.text("PolicyArn")
        && !operation.starts_with("Attach")
        && !operation.starts_with("Detach")
    {
        return arn.to_owned();
    }
    if let Some(name) = asked.text("InstanceProfileName") {
        let path = asked.text("Path").unwrap_or("/");
        return match asked.registry.iam_instance_profiles.get(name) {
            Some(profile) => profile.arn.to_string(),
            None => iam_arn(asked, "instance-profile", path, name),
        };
    }
    if let Some(name) = asked.text("RoleName") {
        return role_arn(asked, name);
    }
    if let Some(name) = asked.text("UserName") {
        return match asked.registry.iam_users.get(name) {
            Some(user) => user.arn.to_string(),
            None => iam_arn(asked, "user", asked.text("Path").unwrap_or("/"), name),
        };
    }
    if let Some(name) = asked.text("PolicyName") {
        return iam_arn(asked, "policy", asked.text("Path").unwrap_or("/"), name);
    }
    match operation {
        "CreateServiceLinkedRole" => {
            let service = asked.text("AWSServiceName").unwrap_or_default();
            iam_arn(asked, "role", &format!("/aws-service-role/{service}/"), "*")
        }
        "ListUsers" => iam_arn(asked, "user", asked.text("PathPrefix").unwrap_or("/"), ""),
        "ListRoles" => iam_arn(asked, "role", asked.text("PathPrefix").unwrap_or("/"), ""),
        "ListPolicies" => iam_arn(asked, "policy", asked.text("PathPrefix").unwrap_or("/"), ""),
        "ListInstanceProfiles" => {
            iam_arn(asked, "instance-profile", asked.text("PathPrefix").unwrap_or("/"), "")
        }
        // Without a name the caller itself is meant.
        "GetUser" | "CreateAccessKey" | "ListAccessKeys" | "UpdateAccessKey" | "DeleteAccessKey" => {
            asked.caller.arn.clone()
        }
        "GetAccessKeyLastUsed" => {
            let key = asked.text("AccessKeyId").and_then(|id| asked.registry.access_keys.get(id));
            let owner = key.and_then(|key| asked.registry.iam_users.get(key.owner.user_name()));
            owner.map_or_else(|| "*".to_owned(), |user| user.arn.to_string())
        }
        _ => "*".to_owned(),
    }
}

/// The ARN of the role of this name, or that it would have.
pub(super) fn role_arn(asked: &Asked<'_>, name: &str) -> String {
    match asked.registry.iam_roles.get(name) {
        Some(role) => role.arn.to_string(),
        None => iam_arn(asked, "role", asked.text("Path").unwrap_or("/"), name),
    }
}

fn iam_arn(asked: &Asked<'_>, kind: &str, path: &str, name: &str) -> String {
    let scope = asked.scope;
    format!("arn:{}:iam::{}:{kind}{path}{name}", scope.partition, scope.account_id)
}
