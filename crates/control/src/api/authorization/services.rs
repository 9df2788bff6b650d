//! The resources of requests to the other services.

use super::demand::Asked;

/// The ARNs that a request to `service` is about; `*` where its action knows no resources.
pub(super) fn resources(service: &str, asked: &Asked<'_>) -> Vec<String> {
    let found = match service {
        "servicediscovery" => cloud_map(asked),
        "cloudformation" => stack(asked),
        "cloudtrail" => trail(asked),
        _ => None,
    };
    vec![found.unwrap_or_else(|| "*".to_owned())]
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
        "GetNamespace" | "DeleteNamespace" | "UpdateHttpNamespace" | "UpdatePrivateDnsNamespace"
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
