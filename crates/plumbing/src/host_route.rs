//! What this network namespace does with packets for an address.

use std::{io, net::Ipv4Addr};

use crate::netlink::{Family, Message, NetlinkSocket};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const AF_INET: u8 = 2;
const RTA_DST: u16 = 1;
/// Where `struct rtmsg` has the route's type.
const TYPE_AT: usize = 7;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

/// Where a packet would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// To this machine itself: the address is one of its own, or routed to it
    /// like one.
    Local,
    /// To another machine.
    Remote,
    /// To several, or to none: broadcast, multicast, blackhole.
    Other,
}

/// Asks the kernel where a packet for `address` would go, by the very tables
/// that a connection would take (secondary addresses and policy routing
/// included). Blocks, for microseconds as a rule; for as long as somebody
/// changes the machine's network, at worst.
///
/// # Errors
/// There is no route (`NetworkUnreachable`), or no netlink socket.
pub fn route_target(address: Ipv4Addr) -> io::Result<RouteTarget> {
    let mut message = Message::new(RTM_GETROUTE, 0);
    message.bytes(&[AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.attribute(RTA_DST, &address.octets());
    let answer = NetlinkSocket::open(Family::Route)?.ask(message, RTM_NEWROUTE)?;
    match answer.get(TYPE_AT) {
        Some(&RTN_UNICAST) => Ok(RouteTarget::Remote),
        Some(&RTN_LOCAL) => Ok(RouteTarget::Local),
        Some(_) => Ok(RouteTarget::Other),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "a route cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_this_machine_is_local() {
        assert_eq!(route_target(Ipv4Addr::new(127, 3, 2, 1)).expect("lo is up"), RouteTarget::Local);
        for interface in nix::ifaddrs::getifaddrs().expect("interfaces") {
            if let Some(address) = interface.address.as_ref().and_then(|address| address.as_sockaddr_in()) {
                assert_eq!(route_target(address.ip()).expect("a route"), RouteTarget::Local, "{interface:?}");
            }
        }
    }

    #[test]
    fn other_addresses_are_not() {
        // Without a default route there is none.
        if let Ok(target) = route_target(Ipv4Addr::new(192, 0, 2, 1)) {
            assert_ne!(target, RouteTarget::Local);
        }
    }
}
