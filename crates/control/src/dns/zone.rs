//! What the DNS server answers from: names, their record sets, and the zones
//! that they are in.
//!
//! A namespace of Cloud Map is a zone; a service in it is a name, and each
//! registered instance adds one value to each of the name's record sets
//! (<https://docs.aws.amazon.com/cloud-map/latest/dg/services-route53.html>).

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use hickory_proto::rr;

use super::random;

/// Most values in one answer to a MULTIVALUE name
/// (<https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/routing-policy-multivalue.html>).
pub const MULTIVALUE_MAX: usize = 8;

/// Where the server finds its answers. Names are lower-case and have no
/// trailing dot. Asked for every query: it has to be quick and must not block.
pub trait Zones: Send + Sync + 'static {
    /// The zone that `name` falls in, the longest where several do. The apex
    /// itself is in its zone.
    fn zone_of(&self, name: &str) -> Option<Zone>;

    /// What stands at `name`; `None` where it does not exist. A name that has
    /// names below it exists, with no records.
    fn lookup(&self, name: &str) -> Option<Arc<Name>>;
}

/// A zone: one private namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The namespace's name.
    pub apex: DnsName,
    /// The SOA's serial number; grows with every change, wrapping.
    pub serial: u32,
    /// How long "there is no such name" and "there is no such record" may be
    /// kept, in seconds; also the SOA's own TTL (RFC 2308 section 5).
    pub negative_ttl: u32,
}

/// All records of a name. Empty where it only has names below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// IPv4 addresses.
    pub a: Option<RecordSet<Ipv4Addr>>,
    /// IPv6 addresses.
    pub aaaa: Option<RecordSet<Ipv6Addr>>,
    /// Ports and the names of their hosts.
    pub srv: Option<RecordSet<Srv>>,
    /// The name that this one stands for. One is answered whatever the routing
    /// policy, because a name has at most one (RFC 2181 section 10.1), and with
    /// it the other sets are not answered.
    pub cname: Option<RecordSet<DnsName>>,
}

/// The records of one type at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet<T> {
    /// How long they may be kept, in seconds.
    pub ttl: u32,
    /// Which of them an answer has.
    pub routing: RoutingPolicy,
    /// One for each registered instance.
    pub instances: Vec<Instance<T>>,
}

/// The record of one registered instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance<T> {
    /// What the record says.
    pub value: T,
    /// Whether it passes its health check; true where it has none.
    pub healthy: bool,
}

/// How instances are chosen for an answer: Cloud Map's `RoutingPolicy`
/// (<https://docs.aws.amazon.com/cloud-map/latest/api/API_DnsConfig.html>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutingPolicy {
    /// Up to [`MULTIVALUE_MAX`] healthy instances, in random order.
    #[default]
    Multivalue,
    /// One healthy instance at random; all have the same weight.
    Weighted,
}

/// The data of an SRV record (RFC 2782). Cloud Map sets priority and weight to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// Share of the calls among those of equal priority.
    pub weight: u16,
    /// The instance's port.
    pub port: u16,
    /// The instance's own name, which has its addresses.
    pub target: DnsName,
}

impl<T> RecordSet<T> {
    /// The values of one answer. Where no instance is healthy all count as
    /// healthy, as in Route 53.
    #[must_use]
    pub fn choose(&self) -> Vec<&T> {
        let mut chosen: Vec<&T> = self
            .instances
            .iter()
            .filter(|instance| instance.healthy)
            .map(|instance| &instance.value)
            .collect();
        if chosen.is_empty() {
            chosen = self.instances.iter().map(|instance| &instance.value).collect();
        }
        let count = match self.routing {
            RoutingPolicy::Multivalue => MULTIVALUE_MAX,
            RoutingPolicy::Weighted => 1,
        };
        random::sample(&mut chosen, count);
        chosen
    }
}

/// A domain name that is known to fit: at most 253 characters, labels of 1 to
/// 63, lower-case, without a trailing dot; printable ASCII other than `\` and
/// `"`, which is what Cloud Map lets a name have, without what would need
/// escaping.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Arc<str>);

/// A text is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no domain name: {reason}")]
pub struct DnsNameError {
    /// What was given, at most its first 253 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl DnsName {
    /// The name, lower-case and without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn to_wire(&self) -> rr::Name {
        rr::Name::from_labels(self.0.split('.').map(str::as_bytes)).expect("its lengths were checked")
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let reason = if name.len() > 253 {
            "it is longer than 253 characters"
        } else if name.split('.').any(|label| !(1..=63).contains(&label.len())) {
            "a label is empty or longer than 63 characters"
        } else if !name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"')) {
            "a character is not allowed"
        } else {
            return Ok(Self(name.to_ascii_lowercase().into()));
        };
        Err(DnsNameError { name: text.chars().take(253).collect(), reason })
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A name from the wire as [`Zones`] takes it. Bytes that no [`DnsName`] has
/// are escaped, so that they equal no name, and none of them makes a label end.
pub(crate) fn from_wire(name: &rr::Name) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' | b'"' => text.push_str(&format!("\\{byte:03}")),
                byte if byte.is_ascii_graphic() => text.push(char::from(byte.to_ascii_lowercase())),
                byte => text.push_str(&format!("\\{byte:03}")),
            }
        }
    }
    text
}

/// `name` and each name above it, nearest first.
fn and_above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above))
}

/// Zones in memory. Immutable; an `ArcSwap` of it is [`Zones`] whose contents
/// are swapped whole.
#[derive(Debug, Default)]
pub struct ZoneTable {
    zones: HashMap<Arc<str>, Zone>,
    names: HashMap<Arc<str>, Arc<Name>>,
}

impl ZoneTable {
    /// A table of `zones` and what stands in them. Names outside every zone
    /// are never answered. Of equal apexes and names the last counts.
    pub fn new(
        zones: impl IntoIterator<Item = Zone>,
        names: impl IntoIterator<Item = (DnsName, impl Into<Arc<Name>>)>,
    ) -> Self {
        let zones: HashMap<_, _> = zones.into_iter().map(|zone| (zone.apex.0.clone(), zone)).collect();
        let mut names: HashMap<_, Arc<Name>> =
            names.into_iter().map(|(name, records)| (name.0, records.into())).collect();
        // What is above a name, up to the highest zone that holds it, exists
        // too (RFC 8020); so does what is between two nested zones.
        let empty = Arc::new(Name::default());
        let mut above = Vec::new();
        // Thousands of names stand below few.
        let parents: HashSet<&str> = names.keys().filter_map(|name| and_above(name).nth(1)).collect();
        for name in parents.into_iter().chain(zones.keys().map(|apex| &**apex)) {
            let Some(height) =
                and_above(name).collect::<Vec<_>>().iter().rposition(|name| zones.contains_key(*name))
            else {
                continue;
            };
            // Most names' zones stand already: nothing is copied for them.
            let missing = and_above(name).take(height + 1).filter(|name| !names.contains_key(*name));
            above.extend(missing.map(Arc::<str>::from));
        }
        for name in above {
            names.entry(name).or_insert_with(|| Arc::clone(&empty));
        }
        Self { zones, names }
    }
}

impl Zones for ZoneTable {
    fn zone_of(&self, name: &str) -> Option<Zone> {
        and_above(name).find_map(|name| self.zones.get(name)).cloned()
    }

    fn lookup(&self, name: &str) -> Option<Arc<Name>> {
        self.names.get(name).cloned()
    }
}

impl Zones for ArcSwap<ZoneTable> {
    fn zone_of(&self, name: &str) -> Option<Zone> {
        self.load().zone_of(name)
    }

    fn lookup(&self, name: &str) -> Option<Arc<Name>> {
        self.load().lookup(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    fn set(routing: RoutingPolicy, instances: impl IntoIterator<Item = (u8, bool)>) -> RecordSet<u8> {
        let instances = instances.into_iter().map(|(value, healthy)| Instance { value, healthy }).collect();
        RecordSet { ttl: 1, routing, instances }
    }

    #[test]
    fn multivalue_is_up_to_eight_healthy_ones_in_random_order() {
        let many = set(RoutingPolicy::Multivalue, (0..20).map(|n| (n, n % 2 == 0)));
        let answers: BTreeSet<Vec<u8>> =
            (0..50).map(|_| many.choose().into_iter().copied().collect()).collect();
        assert!(answers.len() > 1, "the order is random");
        for answer in &answers {
            assert_eq!(answer.len(), 8);
            assert_eq!(answer.iter().collect::<BTreeSet<_>>().len(), 8);
            assert!(answer.iter().all(|n| n % 2 == 0));
        }
        assert_eq!(set(RoutingPolicy::Multivalue, [(1, false), (2, true)]).choose(), [&2]);
        // None is healthy: as if all were.
        assert_eq!(set(RoutingPolicy::Multivalue, (0..5).map(|n| (n, false))).choose().len(), 5);
        assert_eq!(set(RoutingPolicy::Multivalue, (0..9).map(|n| (n, false))).choose().len(), 8);
        assert!(set(RoutingPolicy::Multivalue, []).choose().is_empty());
    }

    #[test]
    fn weighted_is_one_and_all_are_as_likely() {
        let three = set(RoutingPolicy::Weighted, [(0, true), (1, true), (2, false), (3, true)]);
        let mut counts = [0_u32; 4];
        for _ in 0..3_000 {
            let [one] = three.choose()[..] else { panic!("not one") };
            counts[usize::from(*one)] += 1;
        }
        assert_eq!(counts[2], 0);
        // 1,000 each, standard deviation 26: eight of them away is no accident.
        assert!([0, 1, 3].iter().all(|n| counts[*n].abs_diff(1_000) < 208), "{counts:?}");
        assert_eq!(set(RoutingPolicy::Weighted, [(7, false)]).choose(), [&7]);
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(name("Api.NS.").as_str(), "api.ns");
        assert_eq!(name("_x._tcp.ns").as_str(), "_x._tcp.ns");
        for bad in ["", ".", "a..b", ".a", "a b", "a\\.b", "ä.ns", &"a".repeat(64), &"a.".repeat(128)] {
            assert!(bad.parse::<DnsName>().is_err(), "{bad:?}");
        }
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert_eq!(from_wire(&name(&longest).to_wire()), longest);
    }

    #[test]
    fn a_dot_within_a_label_ends_no_label() {
        let odd = rr::Name::from_labels([&b"a.b"[..], b"NS"]).unwrap();
        assert_eq!(from_wire(&odd), "a\\046b.ns");
        assert_eq!(from_wire(&rr::Name::root()), "");
    }

    #[test]
    fn the_longest_zone_counts_and_names_between_exist() {
        let zone = |apex| Zone { apex: name(apex), serial: 1, negative_ttl: 1 };
        let table = ZoneTable::new(
            [zone("corp"), zone("a.b.corp")],
            [(name("x.y.corp"), Name::default()), (name("elsewhere.org"), Name::default())],
        );
        let apex = |text| table.zone_of(text).map(|zone| zone.apex.to_string());
        assert_eq!(apex("x.a.b.corp").as_deref(), Some("a.b.corp"));
        assert_eq!(apex("xa.b.corp").as_deref(), Some("corp"));
        assert_eq!(apex("corp").as_deref(), Some("corp"));
        assert_eq!(apex("notcorp"), None);
        assert_eq!(apex("org"), None);
        for exists in ["x.y.corp", "y.corp", "corp", "b.corp", "a.b.corp"] {
            assert!(table.lookup(exists).is_some(), "{exists}");
        }
        for none in ["z.corp", "x.corp", "org", ""] {
            assert!(table.lookup(none).is_none(), "{none}");
        }
    }
}
