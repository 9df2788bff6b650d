//! `--dns-listen`, `--dns-forward` and `--dns-allow`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use anyhow::{Context, bail};
use bowline_control::dns::{DnsConfig, Network, Upstream};

/// Where this machine says whom it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// `--dns-listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DnsListen {
    /// Nowhere.
    Off,
    /// Here; port 0 is any.
    At(SocketAddr),
}

impl FromStr for DnsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address: SocketAddr =
            text.parse().map_err(|_| "`off`, or an IP address and a port".to_owned())?;
        if address.ip().is_unspecified() {
            return Err("one of this machine's addresses, as replies have to come from it".into());
        }
        Ok(Self::At(address))
    }
}

/// `--dns-forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DnsForward {
    /// Names of others are refused.
    None,
    /// The resolvers of this machine.
    System,
    /// These.
    To(Vec<SocketAddr>),
}

impl FromStr for DnsForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "system" => Ok(Self::System),
            servers => servers.split(',').map(server).collect::<Result<_, _>>().map(Self::To),
        }
    }
}

/// An address with a port, or with DNS's own.
fn server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)));
    with_port.map_err(|_| format!("{text:?} is no IP address, with or without a port"))
}

/// The DNS server's configuration; `None` where it is off.
///
/// # Errors
/// `off` stands beside addresses, or this machine has no resolvers.
pub(crate) fn config(
    listen: &[DnsListen],
    forward: &DnsForward,
    allow: &[Network],
) -> anyhow::Result<Option<DnsConfig>> {
    let addresses: Vec<SocketAddr> = listen
        .iter()
        .filter_map(|listen| match listen {
            DnsListen::At(address) => Some(*address),
            DnsListen::Off => None,
        })
        .collect();
    let Some(first) = addresses.first() else { return Ok(None) };
    if addresses.len() < listen.len() {
        bail!("--dns-listen: `off` and an address exclude each other");
    }
    let mut config = DnsConfig::new(*first);
    // This machine's own clients come from the address that they go to.
    for address in &addresses {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        config.allow.push(Network::new(address.ip(), bits)?);
    }
    config.allow.extend_from_slice(allow);
    // A private zone is answered to its network only, as in Route 53.
    config.zones_for_allowed_only = true;
    config.upstream = match forward {
        DnsForward::None => Upstream::Refuse,
        DnsForward::System => Upstream::Forward(system_resolvers()?),
        DnsForward::To(servers) => Upstream::Forward(servers.clone()),
    };
    config.listen = addresses;
    Ok(Some(config))
}

fn system_resolvers() -> anyhow::Result<Vec<SocketAddr>> {
    let text = std::fs::read_to_string(RESOLV_CONF)
        .with_context(|| format!("--dns-forward system: {RESOLV_CONF} cannot be read"))?;
    let found = resolvers(&text);
    if found.is_empty() {
        bail!("--dns-forward system: {RESOLV_CONF} names no server");
    }
    Ok(found)
}

/// The servers of a resolv.conf(5).
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok())?
    });
    // "0.0.0.0" is this machine to the C library.
    let meant = named.map(|ip| if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip });
    meant.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        assert_eq!("off".parse(), Ok(DnsListen::Off));
        assert_eq!("10.0.0.1:53".parse(), Ok(DnsListen::At(([10, 0, 0, 1], 53).into())));
        assert!("0.0.0.0:53".parse::<DnsListen>().is_err());
        assert!("10.0.0.1".parse::<DnsListen>().is_err());
        let two = vec![([10, 0, 0, 1], 53).into(), "[fd00::1]:5353".parse().unwrap()];
        assert_eq!("10.0.0.1,[fd00::1]:5353".parse(), Ok(DnsForward::To(two)));
        assert_eq!("system".parse(), Ok(DnsForward::System));
        assert!("".parse::<DnsForward>().is_err());
        let text = "# nameserver 192.0.2.9\nnameserver 192.0.2.1\nnameserver 0.0.0.0\n";
        assert_eq!(resolvers(text), [([192, 0, 2, 1], 53).into(), ([127, 0, 0, 1], 53).into()]);
    }

    #[test]
    fn this_machine_may_ask_where_it_listens_and_others_may_not() {
        let at = "10.0.0.1:0".parse().unwrap();
        let config = config(&[at], &DnsForward::None, &["10.1.0.0/16".parse().unwrap()]).unwrap().unwrap();
        let allowed = |ip: &str| config.allow.iter().any(|network| network.contains(ip.parse().unwrap()));
        assert!(allowed("127.0.0.1") && allowed("10.0.0.1") && allowed("10.1.2.3"));
        assert!(!allowed("10.0.0.2") && config.zones_for_allowed_only);
        assert!(super::config(&[DnsListen::Off, at], &DnsForward::None, &[]).is_err());
        assert!(super::config(&[DnsListen::Off], &DnsForward::None, &[]).unwrap().is_none());
    }
}
