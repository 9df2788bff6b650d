//! Addresses inside a task: where aliases live, and who gets which.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The network of the client aliases' virtual addresses, 198.18.0.0/15
/// (RFC 2544's benchmarking range: nobody routes it).
pub const ALIAS_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// The task's own end of the link to its alias network.
pub const TASK_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The alias network's end of that link; the task's DNS server listens here.
pub const ALIAS_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Port of [`ALIAS_GATEWAY`] to which a task's connections to elsewhere are
/// redirected where [`Egress::Allow`](crate::task::Egress) is given. Envoy and
/// Istio capture outbound traffic on the same.
pub const EGRESS_PORT: u16 = 15_001;

/// Where a task that has a role finds its credentials, as in ECS: SDKs know the address by heart.
/// It is in the task's own networks; the sidecar answers.
pub const CREDENTIALS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// Port of [`CREDENTIALS_ADDRESS`] for the credentials, by HTTP.
pub const CREDENTIALS_PORT: u16 = 80;

/// Port of [`CREDENTIALS_ADDRESS`] that leads to the control plane's AWS endpoint.
pub const AWS_ENDPOINT_PORT: u16 = 4_566;

/// Port of [`CREDENTIALS_ADDRESS`] that leads to the control plane's X-Ray daemon, by UDP and TCP: the daemon's own.
pub const XRAY_PORT: u16 = 2_000;

/// Networks that no task reaches, whatever its egress: what is this machine's
/// own, what is nobody's, and where clouds keep a machine's credentials.
pub const NEVER_EGRESS: [(Ipv4Addr, u8); 9] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),          // "this host"
    (Ipv4Addr::new(127, 0, 0, 0), 8),        // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),     // link-local; metadata of AWS, Azure and Google
    (Ipv4Addr::new(192, 0, 0, 0), 24),       // protocol assignments; metadata of Oracle
    (Ipv4Addr::new(100, 100, 100, 200), 32), // metadata of Alibaba
    (Ipv4Addr::new(168, 63, 129, 16), 32),   // Azure's host
    ALIAS_NETWORK,
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved; broadcast
];

/// Whether `address` is in one of [`NEVER_EGRESS`].
pub fn is_never_egress(address: Ipv4Addr) -> bool {
    NEVER_EGRESS.iter().any(|network| is_within(address, *network))
}

/// Whether `address` is in a network, given by its first address and its prefix's length.
pub fn is_within(address: Ipv4Addr, (network, prefix): (Ipv4Addr, u8)) -> bool {
    let host_bits = 32 - u32::from(prefix.min(32));
    u32::from(address).checked_shr(host_bits) == u32::from(network).checked_shr(host_bits)
}

/// First address given to an alias.
const FIRST_ALIAS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

/// Most names that can have a virtual address at once.
pub const ALIASES_MAX: usize = 100_000;

/// Which virtual address each alias name has. A name keeps its address for as
/// long as it exists, in every task alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasAddresses {
    by_name: BTreeMap<String, Ipv4Addr>,
}

/// No virtual address is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("all {ALIASES_MAX} virtual addresses are taken")]
pub struct AliasesExhausted;

impl AliasAddresses {
    /// The address of `name`, of which the key is chosen by the caller
    /// (namespace and alias): a known one, or the next that is free.
    ///
    /// # Errors
    /// All addresses are taken.
    pub fn assign(&mut self, name: &str) -> Result<Ipv4Addr, AliasesExhausted> {
        if let Some(address) = self.by_name.get(name) {
            return Ok(*address);
        }
        if self.by_name.len() >= ALIASES_MAX {
            return Err(AliasesExhausted);
        }
        let taken: std::collections::BTreeSet<_> = self.by_name.values().copied().collect();
        let first = u32::from(FIRST_ALIAS);
        let free = (first..)
            .map(Ipv4Addr::from)
            .find(|address| !taken.contains(address) && !matches!(address.octets()[3], 0 | 255))
            .ok_or(AliasesExhausted)?;
        self.by_name.insert(name.to_owned(), free);
        Ok(free)
    }

    /// The address of `name`, if it has one.
    pub fn get(&self, name: &str) -> Option<Ipv4Addr> {
        self.by_name.get(name).copied()
    }

    /// How many names that begin with `prefix` have an address.
    pub fn count_under(&self, prefix: &str) -> usize {
        let from = self.by_name.range(prefix.to_owned()..);
        from.take_while(|(name, _)| name.starts_with(prefix)).count()
    }

    /// Gives back the addresses of names for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| keep(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_s_own_and_its_metadata_are_never_reached() {
        for never in
            ["0.0.0.0", "127.0.0.1", "169.254.169.254", "198.19.255.255", "224.0.0.1", "255.255.255.255"]
        {
            assert!(is_never_egress(never.parse().expect("an address")), "{never}");
        }
        for allowed in
            ["1.1.1.1", "10.0.0.1", "100.100.100.201", "169.253.255.255", "198.17.0.1", "223.0.0.1"]
        {
            assert!(!is_never_egress(allowed.parse().expect("an address")), "{allowed}");
        }
    }

    #[test]
    fn a_name_keeps_its_address_and_no_two_share_one() {
        let mut addresses = AliasAddresses::default();
        let a = addresses.assign("ns/a").expect("free");
        let b = addresses.assign("ns/b").expect("free");
        assert_ne!(a, b);
        assert_eq!(addresses.assign("ns/a"), Ok(a));
        addresses.retain(|name| name != "ns/a");
        assert_eq!(addresses.get("ns/a"), None);
        assert_eq!(addresses.assign("ns/b"), Ok(b));
    }
}
