//! What the DNS server answers from, made of Cloud Map's private DNS namespaces.
//!
//! Names that only Service Connect knows have no records, as in AWS: they exist in the sidecars.
//! The services that `serviceRegistries` of ECS names have their tasks as instances.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use bowline_aws::servicediscovery::{self as cloud_map, DnsRecordType, api::HealthStatus};

use super::zone::{DnsName, Instance, Name, RecordSet, RoutingPolicy, Srv, Zone, ZoneTable};
use crate::{
    cloud_map::{
        index::{Discoverable, Discovered, DiscoveryIndex},
        namespaces::SOA_TTL_DEFAULT,
    },
    registry::Registry,
};

/// The TTL of an address that `AWS_ALIAS_DNS_NAME` stands for, in seconds: a load balancer's
/// (<https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html>).
const ALIAS_TTL: u32 = 60;

/// Addresses of load balancers, by DNS name in lower case.
type LoadBalancers = BTreeMap<String, IpAddr>;

/// Makes tables, each from what the one before left unchanged.
#[derive(Default)]
pub(crate) struct Feed {
    /// Namespace name to its zone's negative TTL.
    zones: BTreeMap<DnsName, u32>,
    load_balancers: LoadBalancers,
    /// By the Cloud Map service's id.
    services: HashMap<String, Records>,
    serial: u32,
}

/// What a service brings, and what it was made from.
struct Records {
    from: Arc<Discoverable>,
    names: Vec<(DnsName, Arc<Name>)>,
}

impl Feed {
    /// The table of this moment; `None` where it is the one before. Its serial is `now`, in seconds,
    /// or one more than the last.
    pub(crate) fn table(
        &mut self,
        registry: &Registry,
        index: &DiscoveryIndex,
        now: u64,
    ) -> Option<ZoneTable> {
        let mut apexes = HashMap::new();
        let mut zones = BTreeMap::new();
        for namespace in registry.namespaces.values().filter(|namespace| namespace.private_dns) {
            // What is no domain name could not be asked for.
            let Ok(apex) = namespace.name.parse::<DnsName>() else { continue };
            zones.insert(apex.clone(), ttl(namespace.soa_ttl.unwrap_or(SOA_TTL_DEFAULT)));
            apexes.insert(namespace.id.as_str(), apex);
        }
        let load_balancers = load_balancers(registry);
        let same_aliases = self.load_balancers == load_balancers;
        let same_zones = self.zones == zones;
        let (mut kept, mut changed) = (0, false);
        for service in index.all() {
            let Some(apex) = apexes.get(service.row.namespace_id.as_str()) else { continue };
            if service.row.dns_config.is_none() {
                continue;
            }
            kept += 1;
            let before = self.services.get(&service.row.id);
            // A service stays in its namespace, whose name stays.
            if !before.is_some_and(|before| same_aliases && Arc::ptr_eq(&before.from, service)) {
                changed = true;
                let records =
                    Records { from: Arc::clone(service), names: names(apex, service, &load_balancers) };
                self.services.insert(service.row.id.clone(), records);
            }
        }
        if kept < self.services.len() {
            changed = true;
            self.services.retain(|id, records| {
                let stays = index.with_id(id).filter(|service| Arc::ptr_eq(service, &records.from));
                stays.is_some_and(|service| {
                    service.row.dns_config.is_some() && apexes.contains_key(service.row.namespace_id.as_str())
                })
            });
        }
        let first = self.serial == 0;
        self.load_balancers = load_balancers;
        self.zones = zones;
        if !first && same_zones && !changed {
            return None;
        }
        // Serials wrap (RFC 1982); the truncated seconds do so in 2106.
        self.serial = (now as u32).max(self.serial.wrapping_add(1)).max(1);
        let zones = self.zones.iter().map(|(apex, negative_ttl)| Zone {
            apex: apex.clone(),
            serial: self.serial,
            negative_ttl: *negative_ttl,
        });
        let names = self.services.values().flat_map(|records| records.names.iter().cloned());
        Some(ZoneTable::new(zones, names))
    }
}

/// AWS allows 0 to 2,147,483,647 seconds (RFC 2181 section 8).
fn ttl(seconds: i64) -> u32 {
    u32::try_from(seconds.clamp(0, i64::from(i32::MAX))).unwrap_or(0)
}

/// Gateways that listen, by their load balancers' names.
fn load_balancers(registry: &Registry) -> LoadBalancers {
    let settings = registry.settings();
    let mut found = LoadBalancers::new();
    for listener in registry.listeners.values() {
        let balancer = registry.load_balancers.get(listener.load_balancer.as_str());
        let address = settings.gateway_addresses.get(listener.arn.as_str());
        if let (Some(balancer), Some(address)) = (balancer, address) {
            found.insert(balancer.dns_name.to_ascii_lowercase(), address.ip());
        }
    }
    found
}

/// The record set of `values`, if there are any.
fn set<T>(ttl: u32, routing: RoutingPolicy, instances: Vec<Instance<T>>) -> Option<RecordSet<T>> {
    (!instances.is_empty()).then_some(RecordSet { ttl, routing, instances })
}

/// What a service brings to its zone: its own name, and for SRV the names of its instances.
fn names(apex: &DnsName, service: &Discoverable, balancers: &LoadBalancers) -> Vec<(DnsName, Arc<Name>)> {
    let Some(config) = &service.row.dns_config else { return Vec::new() };
    let Ok(own) = format!("{}.{apex}", service.row.name).parse::<DnsName>() else {
        tracing::debug!(service = service.row.name, "a service's name is no domain name");
        return Vec::new();
    };
    let routing = match config.routing_policy {
        Some(cloud_map::RoutingPolicy::Weighted) => RoutingPolicy::Weighted,
        Some(cloud_map::RoutingPolicy::Multivalue) | None => RoutingPolicy::Multivalue,
    };
    let mut name = Name::default();
    let mut all = Vec::new();
    let time_of = |seconds| match service.instances.iter().any(|one| alias(one, balancers).is_some()) {
        true => ttl(seconds).min(ALIAS_TTL),
        false => ttl(seconds),
    };
    for record in &config.dns_records {
        let time = ttl(record.ttl);
        match record.r#type {
            DnsRecordType::A => {
                let found = addresses(service, balancers, "AWS_INSTANCE_IPV4", |address| match address {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                });
                name.a = set(time_of(record.ttl), routing, found);
            }
            DnsRecordType::Aaaa => {
                let found = addresses(service, balancers, "AWS_INSTANCE_IPV6", |address| match address {
                    IpAddr::V6(address) => Some(address),
                    IpAddr::V4(_) => None,
                });
                name.aaaa = set(time_of(record.ttl), routing, found);
            }
            DnsRecordType::Cname => {
                let found = service.instances.iter().filter_map(|instance| {
                    let value = attribute_of(instance, "AWS_INSTANCE_CNAME")?;
                    Some(Instance { value, healthy: is_healthy(instance) })
                });
                name.cname = set(time, routing, found.collect());
            }
            DnsRecordType::Srv => {
                let mut found = Vec::new();
                for instance in &service.instances {
                    let Some((target, addresses)) = host(&own, instance, time) else { continue };
                    let Some(port) = attribute_of(instance, "AWS_INSTANCE_PORT") else { continue };
                    let value = Srv { priority: 1, weight: 1, port, target: target.clone() };
                    found.push(Instance { value, healthy: is_healthy(instance) });
                    all.push((target, Arc::new(addresses)));
                }
                name.srv = set(time, routing, found);
            }
        }
    }
    // Without instances there are no records, and so no name, as in Route 53.
    if !service.instances.is_empty() {
        all.push((own, Arc::new(name)));
    }
    all
}

/// The instances' addresses of one family: their own, or those that their aliases stand for.
fn addresses<T>(
    service: &Discoverable,
    balancers: &LoadBalancers,
    attribute: &str,
    of_family: fn(IpAddr) -> Option<T>,
) -> Vec<Instance<T>> {
    let found = service.instances.iter().filter_map(|instance| {
        let address = attribute_of(instance, attribute).or_else(|| alias(instance, balancers))?;
        Some(Instance { value: of_family(address)?, healthy: is_healthy(instance) })
    });
    found.collect()
}

/// The name that an SRV record leads to, `INSTANCE.SERVICE.NAMESPACE`, and its addresses.
fn host(service: &DnsName, instance: &Discovered, ttl: u32) -> Option<(DnsName, Name)> {
    let Ok(name) = format!("{}.{service}", instance.id()).parse::<DnsName>() else {
        tracing::debug!(instance = instance.id(), "an instance's id is no domain name");
        return None;
    };
    let healthy = true;
    let simple = RoutingPolicy::Multivalue;
    let v4 = attribute_of(instance, "AWS_INSTANCE_IPV4").map(|value| Instance { value, healthy });
    let v6 = attribute_of(instance, "AWS_INSTANCE_IPV6").map(|value| Instance { value, healthy });
    let records = Name {
        a: set(ttl, simple, v4.into_iter().collect()),
        aaaa: set(ttl, simple, v6.into_iter().collect()),
        ..Name::default()
    };
    Some((name, records))
}

/// An attribute, where it is what it should be.
fn attribute_of<T: std::str::FromStr>(instance: &Discovered, attribute: &str) -> Option<T> {
    instance.summary.attributes.get(attribute)?.parse().ok()
}

/// The address that `AWS_ALIAS_DNS_NAME` stands for: of a load balancer of this control plane.
/// Others have none here, so that their names have no data.
fn alias(instance: &Discovered, balancers: &LoadBalancers) -> Option<IpAddr> {
    let target = instance.summary.attributes.get("AWS_ALIAS_DNS_NAME")?;
    let target = target.strip_suffix('.').unwrap_or(target).to_ascii_lowercase();
    // AWS's console gives an ALB's name with this in front.
    balancers.get(&target).or_else(|| balancers.get(target.strip_prefix("dualstack.")?)).copied()
}

/// Where nobody says how healthy an instance is, it is.
fn is_healthy(instance: &Discovered) -> bool {
    instance.summary.health_status != HealthStatus::Unhealthy
}
