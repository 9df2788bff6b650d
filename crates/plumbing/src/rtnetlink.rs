//! The few rtnetlink requests that networks of tasks and of relays need (rtnetlink(7)).

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

use crate::netlink::{Family, Message, NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_GSO_MAX_SEGS: u16 = 40;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// A connection to the network namespace that the thread was in when it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: NetlinkSocket,
}

/// What kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// In the main table, through a gateway.
    Gateway(Ipv4Addr),
    /// In the local table: all of it is this namespace's own.
    Local,
    /// In the local table: a neighbour, excepted from a wider [`RouteKind::Local`].
    Neighbour,
}

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: NetlinkSocket::open(Family::Route)? })
    }

    /// A pair of joined devices: `name` here, `peer` in the namespace `peer_namespace`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_veth(&mut self, name: &str, peer: &str, peer_namespace: BorrowedFd<'_>) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        link_header(&mut message, 0, 0, 0);
        message.text(IFLA_IFNAME, name);
        message.nested(IFLA_LINKINFO, |message| {
            message.text(IFLA_INFO_KIND, "veth");
            message.nested(IFLA_INFO_DATA, |message| {
                message.nested(VETH_INFO_PEER, |message| {
                    link_header(message, 0, 0, 0);
                    message.text(IFLA_IFNAME, peer);
                    message.attribute(IFLA_NET_NS_FD, &peer_namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.socket.call(message)
    }

    /// Takes the device up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        link_header(&mut message, index, IFF_UP, IFF_UP);
        self.socket.call(message)
    }

    /// Has no packet leave over the device that is more than so many segments of TCP, as packets between devices of one
    /// machine otherwise are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_segments_max(&mut self, index: u32, segments: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        link_header(&mut message, index, 0, 0);
        message.attribute(IFLA_GSO_MAX_SEGS, &segments.to_ne_bytes());
        self.socket.call(message)
    }

    /// Gives the device an address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        message.bytes(&[AF_INET, prefix, 0, 0]);
        message.bytes(&index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &address.octets());
        message.attribute(IFA_ADDRESS, &address.octets());
        self.socket.call(message)
    }

    /// Adds a route for `destination/prefix` over the device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_route(
        &mut self,
        index: u32,
        destination: Ipv4Addr,
        prefix: u8,
        kind: RouteKind,
    ) -> io::Result<()> {
        const TABLE_MAIN: u8 = 254;
        const TABLE_LOCAL: u8 = 255;
        const PROTOCOL_BOOT: u8 = 3;
        const SCOPE_UNIVERSE: u8 = 0;
        const SCOPE_LINK: u8 = 253;
        const SCOPE_HOST: u8 = 254;
        const UNICAST: u8 = 1;
        const LOCAL: u8 = 2;
        let (table, scope, route_type) = match kind {
            RouteKind::Gateway(_) => (TABLE_MAIN, SCOPE_UNIVERSE, UNICAST),
            RouteKind::Local => (TABLE_LOCAL, SCOPE_HOST, LOCAL),
            RouteKind::Neighbour => (TABLE_LOCAL, SCOPE_LINK, UNICAST),
        };
        let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        message.bytes(&[AF_INET, prefix, 0, 0, table, PROTOCOL_BOOT, scope, route_type, 0, 0, 0, 0]);
        if prefix > 0 {
            message.attribute(RTA_DST, &destination.octets());
        }
        if let RouteKind::Gateway(gateway) = kind {
            message.attribute(RTA_GATEWAY, &gateway.octets());
        }
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        self.socket.call(message)
    }
}

/// `struct ifinfomsg`.
fn link_header(message: &mut Message, index: u32, flags: u32, change: u32) {
    message.bytes(&[0; 4]);
    message.bytes(&index.to_ne_bytes());
    message.bytes(&flags.to_ne_bytes());
    message.bytes(&change.to_ne_bytes());
}
