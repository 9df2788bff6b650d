//! Namespaces.

use std::sync::Arc;

use bowline_aws::servicediscovery::Tag;
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
};

use super::{CloudMapError, id_of, managed};
use crate::{
    random,
    registry::{Namespace, Registry},
};

/// Seconds that AWS puts into the SOA record where nothing else is asked for.
pub(crate) const SOA_TTL_DEFAULT: i64 = 15;

/// A namespace as it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceSpec {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<Tag>,
    /// What only a private DNS namespace has; `None` for an HTTP one.
    pub(crate) private_dns: Option<PrivateDns>,
    pub(crate) creator_request_id: Option<String>,
}

/// What only a private DNS namespace has.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrivateDns {
    pub(crate) vpc: Option<String>,
    /// Seconds.
    pub(crate) soa_ttl: Option<i64>,
    /// `None`: one is made up.
    pub(crate) hosted_zone_id: Option<String>,
}

/// The ARN of a new namespace.
pub(crate) fn new_arn(scope: &Scope) -> Arn {
    scope.arn("servicediscovery", format_args!("namespace/ns-{}", random::alphanumeric(16)))
}

/// Creates the namespace, or makes the one with this ARN what `spec` says.
///
/// # Errors
/// Another one has the name.
pub(crate) fn put(
    registry: &mut Registry,
    arn: Arn,
    spec: NamespaceSpec,
    now: Timestamp,
) -> Result<Arc<Namespace>, CloudMapError> {
    let before = registry.namespaces.get(&spec.name).cloned();
    if let Some(other) = before.as_ref().filter(|before| before.arn != arn) {
        return Err(CloudMapError::NamespaceAlreadyExists {
            name: other.name.clone(),
            id: other.id.clone(),
            creator_request_id: other.creator_request_id.clone(),
        });
    }
    let zone_before = before.as_ref().and_then(|before| before.hosted_zone_id.clone());
    let made_up = || format!("Z{}", random::alphanumeric(20).to_ascii_uppercase());
    let hosted_zone_id = spec
        .private_dns
        .as_ref()
        .map(|dns| dns.hosted_zone_id.clone().or(zone_before).unwrap_or_else(made_up));
    let private_dns = spec.private_dns.is_some();
    let PrivateDns { vpc, soa_ttl, .. } = spec.private_dns.unwrap_or_default();
    let namespace = Namespace {
        id: arn.resource_name().to_owned(),
        arn,
        name: spec.name.clone(),
        private_dns,
        description: spec.description,
        tags: spec.tags,
        created_at: before.map_or(now, |before| before.created_at),
        vpc,
        hosted_zone_id,
        soa_ttl,
        creator_request_id: spec.creator_request_id,
    };
    registry.namespaces.put(spec.name.clone(), namespace);
    registry.namespaces.get(&spec.name).cloned().ok_or(CloudMapError::NamespaceNotFound(spec.name))
}

/// A namespace by id or ARN.
///
/// # Errors
/// There is none.
pub(crate) fn find<'a>(registry: &'a Registry, given: &str) -> Result<&'a Arc<Namespace>, CloudMapError> {
    let id = id_of(given);
    let found = registry.namespaces.values().find(|namespace| namespace.id == id);
    found.ok_or_else(|| CloudMapError::NamespaceNotFound(given.to_owned()))
}

/// Removes an empty namespace.
///
/// # Errors
/// It still has services, or there is none.
pub(crate) fn delete(registry: &mut Registry, given: &str) -> Result<Arc<Namespace>, CloudMapError> {
    let namespace = Arc::clone(find(registry, given)?);
    let stored = registry.discovery_services.values().filter(|row| row.namespace_id == namespace.id).count();
    let services = stored + managed::services_in(registry, &namespace).count();
    if services > 0 {
        return Err(CloudMapError::NamespaceInUse { id: namespace.id.clone(), services });
    }
    // A service that only calls others is a member too.
    let members = registry.services.values();
    let members = members.filter(|service| {
        service.connect.as_ref().is_some_and(|connect| connect.namespace == namespace.name)
    });
    let services = members.count();
    if services > 0 {
        return Err(CloudMapError::NamespaceInUse { id: namespace.id.clone(), services });
    }
    registry.namespaces.remove(&namespace.name);
    Ok(namespace)
}

/// Removes a namespace with everything that is in it.
pub(crate) fn remove(registry: &mut Registry, name: &str) {
    let Some(namespace) = registry.namespaces.get(name).cloned() else { return };
    let services = registry.discovery_services.values().filter(|row| row.namespace_id == namespace.id);
    let ids: Vec<_> = services.map(|row| row.id.clone()).collect();
    for id in ids {
        super::services::remove(registry, &id);
    }
    registry.namespaces.remove(name);
}
