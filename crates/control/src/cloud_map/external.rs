//! Hand-registered instances as names that sidecars route to: which services are such names, where
//! they lead, and how the way there is protected ([`settings`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bowline_model::network::{AliasAddresses, is_never_egress};
use rustls_pki_types::DnsName;

use crate::registry::{CustomHealth, DiscoveryService, Instance, Namespace, Registry, SETTINGS, alias_key};

pub(crate) mod settings;

use self::settings::{Security, SettingsError, TransportSettings};

/// Most hand-registered services of a namespace that are names to call. Each is a socket in each
/// of the namespace's tasks.
pub(crate) const NAMES_MAX: usize = 1_000;

/// Most ports of a name.
const PORTS_MAX: usize = 50;

/// Port of an instance that has none, with TLS and without.
const PORT_TLS: u16 = 443;
/// See [`PORT_TLS`].
const PORT_PLAIN: u16 = 80;

/// A hand-registered service as callers see it.
#[derive(Debug)]
pub(crate) struct ExternalName<'a> {
    pub(crate) row: &'a DiscoveryService,
    /// The short one first.
    pub(crate) hostnames: Vec<String>,
    pub(crate) address: Ipv4Addr,
    /// How it is spoken to; where that cannot be done, nothing goes there.
    pub(crate) settings: Result<TransportSettings, SettingsError>,
    /// Where each port leads. No target: none is healthy.
    pub(crate) ports: BTreeMap<u16, Vec<Target<'a>>>,
}

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) instance: &'a str,
    pub(crate) host: Host<'a>,
    /// `AWS_INSTANCE_CNAME`, also of one that has an address.
    pub(crate) cname: Option<&'a str>,
}

/// What is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    Address(IpAddr),
    /// To be resolved by the caller's sidecar.
    Name(&'a str),
}

/// The names that members of a namespace can call beside those of Service Connect.
pub(crate) fn names_in<'a>(registry: &'a Registry, namespace: &str) -> Vec<ExternalName<'a>> {
    let Some(namespace) = registry.namespaces.get(namespace) else { return Vec::new() };
    let taken = names_of_service_connect(registry, &namespace.name);
    let settings = registry.settings();
    let rows = registry.discovery_services.values().filter(|row| row.namespace_id == namespace.id);
    rows.filter_map(|row| {
        let hostnames = hostnames(&namespace.name, &row.name)?;
        let address = settings.aliases.get(&alias_key(&namespace.name, &hostnames))?;
        if hostnames.iter().any(|name| taken.contains(name)) {
            return None;
        }
        let settings = settings::of(registry, row);
        let default_port = match &settings {
            Ok(TransportSettings { security: Security::Plain, .. }) => PORT_PLAIN,
            _ => PORT_TLS,
        };
        let ports = ports(registry, row, default_port);
        (!ports.is_empty()).then_some(ExternalName { row, hostnames, address, settings, ports })
    })
    .collect()
}

fn ports<'a>(
    registry: &'a Registry,
    row: &DiscoveryService,
    default_port: u16,
) -> BTreeMap<u16, Vec<Target<'a>>> {
    let mut ports: BTreeMap<u16, Vec<Target<'a>>> = BTreeMap::new();
    for (_, instance) in registry.instances.under(&Instance::key(&row.id, "")) {
        let Some(target) = target(instance) else { continue };
        let port = instance.attributes.get("AWS_INSTANCE_PORT").and_then(|port| port.parse().ok());
        let port = port.unwrap_or(default_port);
        if ports.len() >= PORTS_MAX && !ports.contains_key(&port) {
            continue;
        }
        // A port whose instances are all unhealthy stays, and answers that there is none.
        let targets = ports.entry(port).or_default();
        if instance.custom_health != Some(CustomHealth::Unhealthy) {
            targets.push(target);
        }
    }
    ports
}

/// Where an instance is, if it is anywhere that can be connected to. Its address stands above its
/// name, and IPv4 above IPv6.
pub(crate) fn target(instance: &Instance) -> Option<Target<'_>> {
    let get = |name: &str| instance.attributes.get(name).map(String::as_str);
    let v4 = get("AWS_INSTANCE_IPV4").and_then(|text| text.parse::<Ipv4Addr>().ok());
    let v6 = get("AWS_INSTANCE_IPV6").and_then(|text| text.parse::<Ipv6Addr>().ok());
    let cname = get("AWS_INSTANCE_CNAME")
        .map(|name| name.strip_suffix('.').unwrap_or(name))
        .filter(|name| is_dns_name(name));
    let address = v4.map(IpAddr::V4).or(v6.map(IpAddr::V6)).filter(|address| can_be_registered(*address));
    let host = match (address, v4.is_some() || v6.is_some(), cname) {
        (Some(address), ..) => Host::Address(address),
        (None, false, Some(name)) => Host::Name(name),
        _ => return None,
    };
    Some(Target { instance: &instance.id, host, cname })
}

/// Whether a name leads to an address that was registered. Loopback is this machine's, where a
/// local Redis runs; a machine's credentials and what is nobody's are never meant.
fn can_be_registered(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || !is_never_egress(v4),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

/// What DNS and TLS take for a name.
pub(crate) fn is_dns_name(text: &str) -> bool {
    DnsName::try_from(text).is_ok() && text.parse::<IpAddr>().is_err()
}

/// What a service is called, `None` where no host can be called so.
fn hostnames(namespace: &str, service: &str) -> Option<Vec<String>> {
    let short = service.to_ascii_lowercase();
    let long = format!("{short}.{namespace}").to_ascii_lowercase();
    let usable = is_dns_name(&short) && is_dns_name(&long);
    usable.then(|| vec![short, long])
}

/// Every host name that Service Connect has in a namespace: it stands above what was registered.
fn names_of_service_connect(registry: &Registry, namespace: &str) -> BTreeSet<String> {
    let services = registry.services.values().filter_map(|service| service.connect.as_ref());
    let connected = services.filter(|connect| connect.namespace == namespace);
    connected
        .flat_map(|connect| &connect.services)
        .filter(|offered| offered.alias.is_some())
        .flat_map(|offered| offered.hostnames(namespace))
        .collect()
}

/// The key of a service's virtual address.
fn key_of(namespace: &Namespace, row: &DiscoveryService) -> Option<String> {
    Some(alias_key(&namespace.name, &hostnames(&namespace.name, &row.name)?))
}

fn has_target(registry: &Registry, row: &DiscoveryService) -> bool {
    registry.instances.under(&Instance::key(&row.id, "")).any(|(_, instance)| target(instance).is_some())
}

fn namespace_of<'a>(registry: &'a Registry, row: &DiscoveryService) -> Option<&'a Namespace> {
    registry.namespaces.values().map(|row| &**row).find(|namespace| namespace.id == row.namespace_id)
}

/// The keys of all hand-registered names that are to have a virtual address: those that have one in
/// `aliases` keep it, and others follow as far as there is room.
pub(crate) fn wanted_aliases(registry: &Registry, aliases: &AliasAddresses) -> BTreeSet<String> {
    let namespaces: HashMap<&str, &Namespace> =
        registry.namespaces.values().map(|namespace| (namespace.id.as_str(), &**namespace)).collect();
    let mut wanted = BTreeSet::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut new = Vec::new();
    for row in registry.discovery_services.values().filter(|row| has_target(registry, row)) {
        let Some(namespace) = namespaces.get(row.namespace_id.as_str()) else { continue };
        let Some(key) = key_of(namespace, row) else { continue };
        match aliases.get(&key) {
            None => new.push((namespace.id.as_str(), key)),
            Some(_) => {
                *counts.entry(namespace.id.as_str()).or_default() += 1;
                wanted.insert(key);
            }
        }
    }
    for (namespace, key) in new {
        let count = counts.entry(namespace).or_default();
        if *count < NAMES_MAX {
            *count += 1;
            wanted.insert(key);
        }
    }
    wanted
}

/// An instance was registered: the service's name gets its address.
pub(super) fn registered(registry: &mut Registry, row: &DiscoveryService) {
    let Some(namespace) = namespace_of(registry, row) else { return };
    let Some(key) = key_of(namespace, row) else { return };
    let settings = registry.settings();
    if settings.aliases.get(&key).is_some() || !has_target(registry, row) {
        return;
    }
    if settings.aliases.count_under(&format!("{}/", namespace.name)) >= NAMES_MAX {
        tracing::warn!(
            service = row.name,
            namespace = namespace.name,
            "tasks cannot call this name: a namespace has at most {NAMES_MAX} names to call"
        );
        return;
    }
    if names_of_service_connect(registry, &namespace.name).contains(&row.name.to_ascii_lowercase()) {
        tracing::warn!(
            service = row.name,
            namespace = namespace.name,
            "tasks reach the Service Connect service of this name, not these instances"
        );
    }
    let mut settings = (*settings).clone();
    // There are more addresses than names can be.
    let _ = settings.aliases.assign(&key);
    registry.settings.put(SETTINGS, settings);
}

/// An instance is gone: with the last one its service's name gives its address back.
pub(super) fn deregistered(registry: &mut Registry, row: &DiscoveryService) {
    let Some(namespace) = namespace_of(registry, row) else { return };
    let Some(key) = key_of(namespace, row) else { return };
    if registry.settings().aliases.get(&key).is_some() && !has_target(registry, row) {
        crate::ecs::service::assign_aliases(registry);
    }
}

/// Says in the log what makes a service with instances unreachable.
pub(crate) fn warn_if_unusable(registry: &Registry, id: &str) {
    let Some(row) = registry.discovery_services.get(id) else { return };
    if let Err(error) = settings::of(registry, row)
        && has_target(registry, row)
    {
        tracing::warn!(service = row.name, %error, "nothing goes to this name until that is mended");
    }
}

#[cfg(test)]
mod tests;
