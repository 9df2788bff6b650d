//! Load balancing: everything goes by ARN, and the ARN of a listener or rule holds its parent's.

use serde_json::Value;

use super::{Facts, HEX, Identity, UPPER};

/// Where gateways are reached: `localhost` and all below it are loopback by RFC 6761.
const DNS_SUFFIX: &str = "elb.localhost";

/// CloudFormation cuts stack name and logical id short here: a load balancer's name has at most
/// 32 characters.
fn short_name(facts: &Facts<'_>) -> String {
    facts.text("Name").map_or_else(
        || {
            let part =
                |text: &str| text.chars().filter(char::is_ascii_alphanumeric).take(5).collect::<String>();
            let (stack, logical) = (part(&facts.inputs.stack_name), part(facts.logical_id));
            format!("{stack}-{logical}-{}", facts.random("name", UPPER, 12))
        },
        str::to_owned,
    )
}

pub(in crate::cfn) fn load_balancer(facts: &Facts<'_>) -> Identity {
    let name = short_name(facts);
    let kind = match facts.text("Type") {
        Some("network") => "net",
        Some("gateway") => "gwy",
        _ => "app",
    };
    let full_name = format!("{kind}/{name}/{}", facts.random("id", HEX, 16));
    let arn = facts.arn("elasticloadbalancing", &format!("loadbalancer/{full_name}"));
    let groups: Vec<Value> = facts
        .properties
        .get("SecurityGroups")
        .and_then(|groups| groups.list())
        .unwrap_or_default()
        .iter()
        .filter_map(|group| group.text().map(Value::from))
        .collect();
    Identity::new(arn.clone())
        .with("LoadBalancerArn", arn)
        .with("LoadBalancerFullName", full_name)
        .with("DNSName", format!("{}.{DNS_SUFFIX}", name.to_lowercase()))
        .with("CanonicalHostedZoneID", format!("Z{}", facts.random("zone", UPPER, 13)))
        .with("SecurityGroups", groups)
        .with("LoadBalancerName", name.clone())
        .default_property("Name", name)
}

pub(in crate::cfn) fn target_group(facts: &Facts<'_>) -> Identity {
    let name = short_name(facts);
    let full_name = format!("targetgroup/{name}/{}", facts.random("id", HEX, 16));
    let arn = facts.arn("elasticloadbalancing", &full_name);
    Identity::new(arn.clone())
        .with("TargetGroupArn", arn)
        .with("TargetGroupFullName", full_name)
        .with("TargetGroupName", name.clone())
        .default_property("Name", name)
}

pub(in crate::cfn) fn listener(facts: &Facts<'_>) -> Identity {
    let balancer = facts.text("LoadBalancerArn").unwrap_or_default();
    let arn =
        format!("{}/{}", balancer.replacen(":loadbalancer/", ":listener/", 1), facts.random("id", HEX, 16));
    Identity::new(arn.clone()).with("ListenerArn", arn)
}

pub(in crate::cfn) fn listener_rule(facts: &Facts<'_>) -> Identity {
    let listener = facts.text("ListenerArn").unwrap_or_default();
    let arn =
        format!("{}/{}", listener.replacen(":listener/", ":listener-rule/", 1), facts.random("id", HEX, 16));
    Identity::new(arn.clone()).with("RuleArn", arn).with("IsDefault", false)
}

pub(in crate::cfn) fn listener_certificate(facts: &Facts<'_>) -> Identity {
    let id = facts.generated_name(255);
    Identity::new(id.clone()).with("Id", id)
}
