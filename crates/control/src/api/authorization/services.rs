//! The resources of requests to the other services.

use bowline_aws::protocol::Document;

use super::demand::{Asked, Demand};

/// The ARNs that a request to `service` is about; `*` where its action knows no resources.
pub(super) fn resources(service: &str, asked: &Asked<'_>) -> Vec<String> {
    let found = match service {
        "servicediscovery" => cloud_map(asked),
        "cloudformation" => stack(asked),
        "cloudtrail" => trail(asked),
        "cloudwatch" => return alarms(asked),
        "xray" => sampling_rule(asked),
        "logs" => return logs(asked),
        "application-autoscaling" => asked.text("ResourceARN").map(str::to_owned),
        _ => None,
    };
    vec![found.unwrap_or_else(|| "*".to_owned())]
}

/// The alarms of a request; of what is asked about metrics there are no resources.
fn alarms(asked: &Asked<'_>) -> Vec<String> {
    let arn = |name: &str| asked.arn("cloudwatch", format_args!("alarm:{name}"));
    let named = match asked.operation {
        "DeleteAlarms" | "DisableAlarmActions" | "EnableAlarmActions" => asked.texts("AlarmNames"),
        "DescribeAlarmHistory" | "PutMetricAlarm" | "SetAlarmState" => {
            asked.text("AlarmName").into_iter().collect()
        }
        _ => Vec::new(),
    };
    if !named.is_empty() {
        return named.into_iter().map(arn).collect();
    }
    let all = || match asked.operation {
        // Of all that there are.
        "DescribeAlarmHistory" | "DescribeAlarms" => arn("*"),
        _ => "*".to_owned(),
    };
    vec![asked.text("ResourceARN").map_or_else(all, str::to_owned)]
}

/// The rule that a request names in one of its ways; of what is asked about traces there are no resources.
fn sampling_rule(asked: &Asked<'_>) -> Option<String> {
    let rule = match asked.operation {
        "CreateSamplingRule" => asked.request.get("SamplingRule")?,
        "UpdateSamplingRule" => asked.request.get("SamplingRuleUpdate")?,
        "DeleteSamplingRule" => asked.request,
        _ => return asked.text("ResourceARN").map(str::to_owned),
    };
    let told = |member| rule.get(member).and_then(Document::as_text);
    let of_name = |name| asked.arn("xray", format_args!("sampling-rule/{name}"));
    told("RuleName").map(of_name).or_else(|| told("RuleARN").map(str::to_owned))
}

/// The groups or streams of a request, as AWS names them to policies: a group with all that is in it.
fn logs(asked: &Asked<'_>) -> Vec<String> {
    if matches!(asked.operation, "TagResource" | "UntagResource" | "ListTagsForResource") {
        return vec![asked.text("resourceArn").unwrap_or("*").to_owned()];
    }
    let arn =
        |group: &str, stream: &str| asked.arn("logs", format_args!("log-group:{group}:log-stream:{stream}"));
    let of_stream = matches!(asked.operation, "DeleteLogStream" | "GetLogEvents" | "PutLogEvents");
    let stream = asked.text("logStreamName").filter(|_| of_stream).unwrap_or_default();
    // An identifier is a name or an ARN.
    let named = |identifier: &str| match identifier.split_once(":log-group:") {
        Some((_, name)) => arn(name.strip_suffix(":*").unwrap_or(name), stream),
        None => arn(identifier, stream),
    };
    let groups = ["logGroupName", "logGroupIdentifier"].into_iter().filter_map(|member| asked.text(member));
    let several = ["logGroupNames", "logGroupIdentifiers"].into_iter().flat_map(|member| asked.texts(member));
    let resources: Vec<String> = groups.chain(several).map(named).collect();
    match asked.operation {
        "DescribeLogGroups" => vec![arn("", "")],
        "DescribeMetricFilters" if resources.is_empty() => vec![arn("", "")],
        _ if resources.is_empty() => vec!["*".to_owned()],
        _ => resources,
    }
}

fn cloud_map(asked: &Asked<'_>) -> Option<String> {
    if let Some(arn) = asked.text("ResourceARN") {
        return Some(arn.to_owned());
    }
    let of = |kind: &str, id: &str| match id.starts_with("arn:") {
        true => id.to_owned(),
        false => asked.arn("servicediscovery", format_args!("{kind}/{id}")),
    };
    match asked.operation {
        "GetNamespace"
        | "DeleteNamespace"
        | "UpdateHttpNamespace"
        | "UpdatePrivateDnsNamespace"
        | "UpdatePublicDnsNamespace" => asked.text("Id").map(|id| of("namespace", id)),
        "GetService" | "DeleteService" | "UpdateService" => asked.text("Id").map(|id| of("service", id)),
        "CreateService" => asked.text("NamespaceId").map(|id| of("namespace", id)),
        "RegisterInstance"
        | "DeregisterInstance"
        | "UpdateInstanceCustomHealthStatus"
        | "GetServiceAttributes"
        | "UpdateServiceAttributes"
        | "DeleteServiceAttributes" => asked.text("ServiceId").map(|id| of("service", id)),
        _ => None,
    }
}

fn stack(asked: &Asked<'_>) -> Option<String> {
    let name = asked.text("StackName")?;
    Some(match name.starts_with("arn:") {
        true => name.to_owned(),
        // The id at its end is not the caller's to know.
        false => asked.arn("cloudformation", format_args!("stack/{name}/*")),
    })
}

fn trail(asked: &Asked<'_>) -> Option<String> {
    let name = asked.text("Name").or_else(|| asked.text("TrailName"))?;
    Some(match name.starts_with("arn:") {
        true => name.to_owned(),
        false => asked.arn("cloudtrail", format_args!("trail/{name}")),
    })
}

/// What making IAM's resources demands. Whoever may make stacks could otherwise make itself a role
/// that may everything.
const ACCESS_MANAGEMENT: &[&str] = &[
    "iam:AttachRolePolicy",
    "iam:AttachUserPolicy",
    "iam:CreatePolicy",
    "iam:CreateRole",
    "iam:CreateUser",
    "iam:DeleteRole",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "iam:PutUserPolicy",
];

/// What a template demands besides the stack's own action: of one with IAM's resources, the actions
/// that make them. CloudFormation refuses such a template without the capability, which is
/// therefore what tells it. Other resources are made on the stack's behalf without asking.
pub(super) fn of_template(asked: &Asked<'_>) -> Vec<Demand> {
    let makes_access = match asked.operation {
        "CreateStack" | "UpdateStack" => is_access(asked.texts("Capabilities")),
        "ExecuteChangeSet" => {
            let given = asked.text("ChangeSetName").unwrap_or_default();
            let named = asked
                .registry
                .change_sets
                .values()
                .filter(|set| set.id == given || set.name == given)
                .flat_map(|set| set.capabilities.iter().map(String::as_str));
            is_access(named.collect())
        }
        _ => false,
    };
    let actions = if makes_access { ACCESS_MANAGEMENT } else { &[] };
    actions.iter().map(|action| Demand::new(*action, "*")).collect()
}

fn is_access(capabilities: Vec<&str>) -> bool {
    capabilities.iter().any(|name| matches!(*name, "CAPABILITY_IAM" | "CAPABILITY_NAMED_IAM"))
}
