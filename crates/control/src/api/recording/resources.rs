//! What a call was about: the resources whose ARNs its request and its response hold.

use bowline_model::arn::Arn;
use serde_json::Value;

use crate::audit::event::AuditResource;

/// CloudFormation's type by the service and the first part of the ARN's resource.
const TYPES: &[(&str, &str, &str)] = &[
    ("acm", "certificate", "AWS::CertificateManager::Certificate"),
    ("acm-pca", "certificate-authority", "AWS::ACMPCA::CertificateAuthority"),
    ("cloudformation", "changeSet", "AWS::CloudFormation::ChangeSet"),
    ("cloudformation", "stack", "AWS::CloudFormation::Stack"),
    ("cloudtrail", "trail", "AWS::CloudTrail::Trail"),
    ("application-autoscaling", "scalable-target", "AWS::ApplicationAutoScaling::ScalableTarget"),
    ("ecs", "cluster", "AWS::ECS::Cluster"),
    ("ecs", "service", "AWS::ECS::Service"),
    ("ecs", "task", "AWS::ECS::Task"),
    ("ecs", "task-definition", "AWS::ECS::TaskDefinition"),
    ("elasticloadbalancing", "listener", "AWS::ElasticLoadBalancingV2::Listener"),
    ("elasticloadbalancing", "loadbalancer", "AWS::ElasticLoadBalancingV2::LoadBalancer"),
    ("elasticloadbalancing", "targetgroup", "AWS::ElasticLoadBalancingV2::TargetGroup"),
    ("fis", "experiment", "AWS::FIS::Experiment"),
    ("fis", "experiment-template", "AWS::FIS::ExperimentTemplate"),
    ("iam", "group", "AWS::IAM::Group"),
    ("iam", "policy", "AWS::IAM::ManagedPolicy"),
    ("iam", "role", "AWS::IAM::Role"),
    ("iam", "user", "AWS::IAM::User"),
    ("servicediscovery", "namespace", "AWS::ServiceDiscovery::PrivateDnsNamespace"),
    ("servicediscovery", "service", "AWS::ServiceDiscovery::Service"),
    ("xray", "sampling-rule", "AWS::XRay::SamplingRule"),
];

/// Most resources of a record.
const RESOURCES_MAX: usize = 25;
/// Deeper values are not looked through.
const DEPTH_MAX: usize = 12;
/// Lists and maps of applications' own values, which may be secret.
const OPAQUE: &[&str] = &["environment", "secrets", "secretoptions", "parameters", "value"];

/// Adds the resources of a value to those found before, each once.
pub(super) fn collect(value: &Value, found: &mut Vec<AuditResource>) {
    walk(value, 0, found);
}

fn walk(value: &Value, depth: usize, found: &mut Vec<AuditResource>) {
    if depth > DEPTH_MAX || found.len() >= RESOURCES_MAX {
        return;
    }
    match value {
        Value::String(text) => add(text, found),
        Value::Array(items) => items.iter().for_each(|item| walk(item, depth + 1, found)),
        Value::Object(members) => {
            let told = |name: &str| !OPAQUE.contains(&name.to_ascii_lowercase().as_str());
            for (_, member) in members.iter().filter(|(name, _)| told(name)) {
                walk(member, depth + 1, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn add(text: &str, found: &mut Vec<AuditResource>) {
    if !text.starts_with("arn:") || found.iter().any(|resource| resource.arn == text) {
        return;
    }
    let Ok(arn) = text.parse::<Arn>() else { return };
    let kind = arn.resource().split('/').next().unwrap_or_default();
    let Some((_, _, resource_type)) =
        TYPES.iter().find(|(service, first, _)| (*service, *first) == (arn.service(), kind))
    else {
        return;
    };
    found.push(AuditResource {
        account_id: text.split(':').nth(4).unwrap_or_default().to_owned(),
        arn: text.to_owned(),
        resource_type: (*resource_type).to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_each_resource_once_and_none_in_what_is_secret() {
        let arn = "arn:aws:ecs:us-east-1:123456789012:service/demo/web";
        let role = "arn:aws:iam::123456789012:role/x";
        let request = json!({
            "service": arn, "services": [arn, "arn:broken", "web"],
            "containerDefinitions": [{"environment": [{"name": "ROLE", "value": role}]}],
            "other": "arn:aws:sqs:us-east-1:123456789012:queue",
        });
        let mut found = Vec::new();
        collect(&request, &mut found);
        collect(&json!({"service": {"serviceArn": arn}}), &mut found);
        let found: Vec<_> = found.iter().map(|one| (one.arn.as_str(), one.resource_type.as_str())).collect();
        assert_eq!(found, [(arn, "AWS::ECS::Service")]);
        let many: Vec<String> = (0..99).map(|number| format!("{arn}{number}")).collect();
        let mut found = Vec::new();
        collect(&json!(many), &mut found);
        assert_eq!(found.len(), RESOURCES_MAX);
    }
}
