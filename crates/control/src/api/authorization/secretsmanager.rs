//! What Secrets Manager's operations demand.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS Secrets
//! Manager".

use bowline_aws::protocol::Document;
use bowline_model::{arn::Scope, clock::Timestamp};
use bowline_plumbing::wall_clock;

use super::demand::{Asked, Demand};
use crate::{registry::Registry, secrets};

/// Members of a request that conditions may ask for, with the keys' names.
const KEYS: &[(&str, &str)] = &[
    ("Description", "secretsmanager:Description"),
    ("KmsKeyId", "secretsmanager:KmsKeyId"),
    ("Name", "secretsmanager:Name"),
    ("RecoveryWindowInDays", "secretsmanager:RecoveryWindowInDays"),
    ("RotationLambdaARN", "secretsmanager:RotationLambdaARN"),
    ("VersionId", "secretsmanager:VersionId"),
    ("VersionStage", "secretsmanager:VersionStage"),
    ("ForceDeleteWithoutRecovery", "secretsmanager:ForceDeleteWithoutRecovery"),
    ("BlockPublicPolicy", "secretsmanager:BlockPublicPolicy"),
];

pub(super) fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let mut demand = match (asked.text("SecretId"), asked.operation) {
        (Some(given), operation) => {
            of_secret(asked.registry, asked.scope, operation, given, wall_clock::now())
        }
        (None, "CreateSecret") => {
            let name = asked.text("Name").unwrap_or_default();
            Demand::new("secretsmanager:CreateSecret", unmade(asked.scope, name))
        }
        (None, operation) => Demand::new(format!("secretsmanager:{operation}"), "*"),
    };
    for (member, key) in KEYS {
        let value = match asked.request.get(member) {
            Some(Document::Text(text) | Document::Untyped(text)) => text.clone(),
            Some(Document::Bool(value)) => value.to_string(),
            Some(Document::Integer(value)) => value.to_string(),
            _ => continue,
        };
        demand = demand.with(*key, value);
    }
    let stages = asked.texts("VersionStages");
    if !stages.is_empty() {
        let stages = stages.into_iter().map(str::to_owned).collect();
        demand.keys.push(("secretsmanager:VersionStage".to_owned(), stages));
    } else if asked.operation == "GetSecretValue"
        && asked.request.get("VersionId").is_none()
        && asked.request.get("VersionStage").is_none()
    {
        demand = demand.with("secretsmanager:VersionStage", secrets::CURRENT);
    }
    let mut demands = vec![demand];
    // Tags that come with a secret, and names that a filter yields, are actions of their own.
    let more = match asked.operation {
        "CreateSecret" if asked.request.get("Tags").is_some() => Some("secretsmanager:TagResource"),
        _ => None,
    };
    if let Some(action) = more {
        let tagging = Demand { action: action.to_owned(), ..demands[0].clone() };
        demands.push(tagging);
    }
    if asked.operation == "BatchGetSecretValue" && asked.request.get("Filters").is_some() {
        demands.push(Demand::new("secretsmanager:ListSecrets", "*"));
    }
    demands
}

/// The ARN of a secret that is not there. Its last six characters are nobody's to know: question
/// marks fit where a policy has `*` or question marks itself.
fn unmade(scope: &Scope, name: &str) -> String {
    scope.arn("secretsmanager", format_args!("secret:{name}-??????")).to_string()
}

/// An operation on a secret, with what is known of it: its ARN, tags and resource policy.
pub(crate) fn of_secret(
    registry: &Registry,
    scope: &Scope,
    operation: &str,
    given: &str,
    now: Timestamp,
) -> Demand {
    let action = format!("secretsmanager:{operation}");
    let Ok(secret) = secrets::find(registry, given, now) else {
        let resource = match given.starts_with("arn:") {
            true => given.to_owned(),
            false => unmade(scope, given),
        };
        return Demand::new(action, resource);
    };
    let arn = secret.arn.to_string();
    let mut demand = Demand::new(action, &arn).with("secretsmanager:SecretId", &arn);
    for (key, value) in &secret.tags {
        demand = demand
            .with(format!("aws:ResourceTag/{key}"), value)
            .with(format!("secretsmanager:ResourceTag/{key}"), value);
    }
    demand.resource_policy = secret.policy.clone();
    demand
}
