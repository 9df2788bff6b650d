//! Cloud Map: `ns-…` and `srv-…`.

use super::{Facts, Identity, LOWER, UPPER};

fn namespace(facts: &Facts<'_>) -> Identity {
    let id = format!("ns-{}", facts.random("id", LOWER, 16));
    Identity::new(id.clone())
        .with("Arn", facts.arn("servicediscovery", &format!("namespace/{id}")))
        .with("Id", id)
}

pub(in crate::cfn) fn private_dns_namespace(facts: &Facts<'_>) -> Identity {
    namespace(facts).with("HostedZoneId", format!("Z{}", facts.random("zone", UPPER, 20)))
}

pub(in crate::cfn) fn http_namespace(facts: &Facts<'_>) -> Identity {
    namespace(facts)
}

pub(in crate::cfn) fn discovery_service(facts: &Facts<'_>) -> Identity {
    let id = format!("srv-{}", facts.random("id", LOWER, 16));
    let name = facts.name("Name", 64);
    Identity::new(id.clone())
        .with("Arn", facts.arn("servicediscovery", &format!("service/{id}")))
        .with("Id", id)
        .with("Name", name.clone())
        .default_property("Name", name)
}
