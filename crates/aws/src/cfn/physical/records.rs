//! The types that are kept as records, EC2's apart.

use super::{Facts, Identity, UPPER};

/// IAM is global: its ARNs have no region.
fn iam_arn(facts: &Facts<'_>, kind: &str, name: &str) -> String {
    let path = facts.text("Path").unwrap_or("/");
    format!("arn:{}:iam::{}:{kind}{path}{name}", facts.partition(), facts.inputs.account_id)
}

pub(in crate::cfn) fn role(facts: &Facts<'_>) -> Identity {
    let name = facts.name("RoleName", 64);
    Identity::new(name.clone())
        .with("Arn", iam_arn(facts, "role", &name))
        .with("RoleId", format!("AROA{}", facts.random("id", UPPER, 17)))
        .default_property("RoleName", name)
}

pub(in crate::cfn) fn user(facts: &Facts<'_>) -> Identity {
    let name = facts.name("UserName", 64);
    Identity::new(name.clone()).with("Arn", iam_arn(facts, "user", &name)).default_property("UserName", name)
}

pub(in crate::cfn) fn policy(facts: &Facts<'_>) -> Identity {
    let name = facts.generated_name(128);
    Identity::new(name.clone()).with("Id", name)
}

pub(in crate::cfn) fn managed_policy(facts: &Facts<'_>) -> Identity {
    let name = facts.name("ManagedPolicyName", 128);
    let arn = iam_arn(facts, "policy", &name);
    Identity::new(arn.clone())
        .with("PolicyArn", arn)
        .with("PolicyId", format!("ANPA{}", facts.random("id", UPPER, 17)))
        .default_property("ManagedPolicyName", name)
}

pub(in crate::cfn) fn instance_profile(facts: &Facts<'_>) -> Identity {
    let name = facts.name("InstanceProfileName", 128);
    Identity::new(name.clone())
        .with("Arn", iam_arn(facts, "instance-profile", &name))
        .default_property("InstanceProfileName", name)
}

pub(in crate::cfn) fn log_group(facts: &Facts<'_>) -> Identity {
    let name = facts.name("LogGroupName", 512);
    Identity::new(name.clone())
        .with("Arn", facts.arn("logs", &format!("log-group:{name}:*")))
        .default_property("LogGroupName", name)
}

pub(in crate::cfn) fn metric_filter(facts: &Facts<'_>) -> Identity {
    let name = facts.name("FilterName", 512);
    Identity::new(name.clone()).default_property("FilterName", name)
}

pub(in crate::cfn) fn secret(facts: &Facts<'_>) -> Identity {
    let name = facts.name("Name", 256);
    let suffix = facts.random("secret", UPPER, 6);
    let arn = facts.arn("secretsmanager", &format!("secret:{name}-{suffix}"));
    Identity::new(arn.clone()).with("Id", arn).default_property("Name", name)
}

/// A secret's policy and its schedule: `Ref` is the secret's ARN.
pub(in crate::cfn) fn of_secret(facts: &Facts<'_>) -> Identity {
    let secret = facts.text("SecretId").unwrap_or_default().to_owned();
    Identity::new(secret.clone()).with("Id", secret)
}

pub(in crate::cfn) fn kms_key(facts: &Facts<'_>) -> Identity {
    let id = facts.uuid();
    Identity::new(id.clone()).with("Arn", facts.arn("kms", &format!("key/{id}"))).with("KeyId", id)
}

pub(in crate::cfn) fn kms_alias(facts: &Facts<'_>) -> Identity {
    Identity::new(facts.text("AliasName").unwrap_or_default())
}

pub(in crate::cfn) fn ssm_parameter(facts: &Facts<'_>) -> Identity {
    let name = facts.name("Name", 1011);
    Identity::new(name.clone())
        .with("Type", facts.text("Type").unwrap_or_default())
        .with("Value", facts.text("Value").unwrap_or_default())
        .default_property("Name", name)
}

pub(in crate::cfn) fn scalable_target(facts: &Facts<'_>) -> Identity {
    let part = |property| facts.text(property).unwrap_or_default();
    let id = format!("{}|{}|{}", part("ResourceId"), part("ScalableDimension"), part("ServiceNamespace"));
    Identity::new(id.clone()).with("Id", id)
}

pub(in crate::cfn) fn scaling_policy(facts: &Facts<'_>) -> Identity {
    let name = facts.text("PolicyName").unwrap_or_default();
    // By itself, or as the first part of a scalable target's reference.
    let target = || Some(facts.text("ScalingTargetId")?.split('|').next().unwrap_or_default());
    let resource = facts.text("ResourceId").or_else(target).unwrap_or_default();
    let resource = format!("scalingPolicy:{}:resource/ecs/{resource}:policyName/{name}", facts.uuid());
    let arn = facts.arn("autoscaling", &resource);
    Identity::new(arn.clone()).with("Arn", arn)
}

pub(in crate::cfn) fn alarm(facts: &Facts<'_>) -> Identity {
    let name = facts.name("AlarmName", 255);
    Identity::new(name.clone())
        .with("Arn", facts.arn("cloudwatch", &format!("alarm:{name}")))
        .default_property("AlarmName", name)
}

pub(in crate::cfn) fn sampling_rule(facts: &Facts<'_>) -> Identity {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        rule_name: Option<String>,
        sampling_rule: Option<Rule>,
    }
    #[derive(serde::Deserialize)]
    struct Rule {
        #[serde(rename = "RuleName")]
        name: Option<String>,
    }
    let named = facts.typed::<Named>(&[]);
    let given = named.and_then(|named| named.sampling_rule.and_then(|rule| rule.name).or(named.rule_name));
    let name = given.unwrap_or_else(|| facts.generated_name(32));
    let arn = facts.arn("xray", &format!("sampling-rule/{name}"));
    Identity::new(arn.clone()).with("RuleARN", arn)
}

pub(in crate::cfn) fn experiment_template(facts: &Facts<'_>) -> Identity {
    let id = format!("EXT{}", facts.random("id", UPPER, 14));
    Identity::new(id.clone()).with("Id", id)
}

pub(in crate::cfn) fn lambda_function(facts: &Facts<'_>) -> Identity {
    let name = facts.name("FunctionName", 64);
    Identity::new(name.clone())
        .with("Arn", facts.arn("lambda", &format!("function:{name}")))
        .default_property("FunctionName", name)
}
