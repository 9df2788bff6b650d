//! The few rtnetlink requests that a task's networks need (rtnetlink(7)).

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;
const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const HEADER_BYTES: usize = 16;

/// A connection to the network namespace that the thread was in when it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// What kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    /// In the main table, through a gateway.
    Gateway(Ipv4Addr),
    /// In the local table: all of it is this namespace's own.
    Local,
    /// In the local table: a neighbour, excepted from a wider [`RouteKind::Local`].
    Neighbour,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(SockProtocol::NetlinkRoute),
        )?;
        Ok(Self { socket, sequence: 0 })
    }

    /// A pair of joined devices: `name` here, `peer` in the namespace `peer_namespace`.
    pub(crate) fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        request.link_header(0, 0, 0);
        request.text(IFLA_IFNAME, name);
        request.nested(IFLA_LINKINFO, |request| {
            request.text(IFLA_INFO_KIND, "veth");
            request.nested(IFLA_INFO_DATA, |request| {
                request.nested(VETH_INFO_PEER, |request| {
                    request.link_header(0, 0, 0);
                    request.text(IFLA_IFNAME, peer);
                    request.attribute(IFLA_NET_NS_FD, &peer_namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.call(request)
    }

    /// Takes the device up.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut request = Request::new(RTM_NEWLINK, 0);
        request.link_header(index, IFF_UP, IFF_UP);
        self.call(request)
    }

    /// Gives the device an address.
    pub(crate) fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        request.bytes(&[AF_INET, prefix, 0, 0]);
        request.bytes(&index.to_ne_bytes());
        request.attribute(IFA_LOCAL, &address.octets());
        request.attribute(IFA_ADDRESS, &address.octets());
        self.call(request)
    }

    /// Adds a route for `destination/prefix` over the device.
    pub(crate) fn add_route(
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
        let mut request = Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        request.bytes(&[AF_INET, prefix, 0, 0, table, PROTOCOL_BOOT, scope, route_type, 0, 0, 0, 0]);
        if prefix > 0 {
            request.attribute(RTA_DST, &destination.octets());
        }
        if let RouteKind::Gateway(gateway) = kind {
            request.attribute(RTA_GATEWAY, &gateway.octets());
        }
        request.attribute(RTA_OIF, &index.to_ne_bytes());
        self.call(request)
    }

    fn call(&mut self, request: Request) -> io::Result<()> {
        self.sequence += 1;
        let bytes = request.finish(self.sequence);
        sendto(self.socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = [0u8; 4096];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        acknowledged(&answer[..length])
    }
}

/// Reads the kernel's answer to a request with `NLM_F_ACK`.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let field = |from: usize, to: usize| answer.get(from..to);
    let kind = field(4, 6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = field(HEADER_BYTES, HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind, error.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an unexpected answer over netlink")),
    }
}

/// A request as it is being written.
struct Request {
    buffer: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let mut buffer = vec![0; HEADER_BYTES];
        buffer[4..6].copy_from_slice(&kind.to_ne_bytes());
        buffer[6..8].copy_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        Self { buffer }
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.buffer[..4].copy_from_slice(&length.to_ne_bytes());
        self.buffer[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.buffer
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// `struct ifinfomsg`.
    fn link_header(&mut self, index: u32, flags: u32, change: u32) {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&change.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes(value);
        self.close(start);
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NLA_F_NESTED);
        fill(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.buffer.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        start
    }

    /// Writes the attribute's length, and pads it to four bytes.
    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.buffer.len() - start).unwrap_or(u16::MAX);
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut request = Request::new(RTM_NEWLINK, 0);
        request.nested(5, |request| request.text(3, "ab"));
        let bytes = request.finish(7);
        assert_eq!(bytes.len(), HEADER_BYTES + 4 + 8);
        assert_eq!(bytes[..4], 28u32.to_ne_bytes());
        assert_eq!(bytes[HEADER_BYTES..HEADER_BYTES + 2], 12u16.to_ne_bytes());
        assert_eq!(bytes[HEADER_BYTES + 4..HEADER_BYTES + 6], 7u16.to_ne_bytes());
        assert_eq!(&bytes[HEADER_BYTES + 8..], b"ab\0\0");
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        for length in 0..HEADER_BYTES + 4 {
            assert!(acknowledged(&vec![0; length]).is_err());
        }
    }
}
