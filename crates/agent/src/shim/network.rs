//! A task's two networks, made from inside its user namespace: A, the
//! application's own, with a loopback; and B, where aliases live, so that an
//! application on 0.0.0.0:P and an alias on port P do not meet. A veth pair
//! joins them. Neither has a way to the host: where a task may reach beyond its
//! aliases, B hands its connections to the sidecar, which is of the host.

use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
};

use bowline_model::network::{ALIAS_GATEWAY, ALIAS_NETWORK, EGRESS_PORT, NEVER_EGRESS, TASK_ADDRESS};
use bowline_plumbing::{
    netlink::{Family, NetlinkSocket},
    rtnetlink::{Netlink, RouteKind},
    shim_link::Transport,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::nftables;

/// The alias network's device of the link between the two.
const ALIAS_DEVICE: &str = "aliases";

/// Prefix of the link between the two networks.
const LINK_PREFIX: u8 = 30;

/// Connections that may wait for a proxy that is being restarted.
const BACKLOG: i32 = 1024;

/// Both networks. The thread is in the application's, but for instants.
#[derive(Debug)]
pub(crate) struct Networks {
    application: File,
    aliases: File,
}

impl Networks {
    /// Makes the alias network and joins it to the one that this thread is in,
    /// a new and empty one.
    pub(crate) fn set_up() -> io::Result<Self> {
        let application = File::open("/proc/thread-self/ns/net")?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let aliases = File::open("/proc/thread-self/ns/net")?;
        let mut netlink = Netlink::open()?;
        netlink.add_veth(ALIAS_DEVICE, "eth0", application.as_fd())?;
        let loopback = if_nametoindex("lo")?;
        let link = if_nametoindex(ALIAS_DEVICE)?;
        netlink.set_up(loopback)?;
        netlink.add_address(link, ALIAS_GATEWAY, LINK_PREFIX)?;
        netlink.set_up(link)?;
        // Every address there is belongs to B, the task's own excepted: an alias can be bound at any
        // address of its network, and what the task sends anywhere else is refused by B at once
        // (no listener: RST or ICMP unreachable) where it is seen, instead of timing out.
        netlink.add_route(link, TASK_ADDRESS, 32, RouteKind::Neighbour)?;
        netlink.add_route(loopback, ALIAS_NETWORK.0, ALIAS_NETWORK.1, RouteKind::Local)?;
        netlink.add_route(loopback, Ipv4Addr::UNSPECIFIED, 0, RouteKind::Local)?;

        setns(&application, CloneFlags::CLONE_NEWNET)?;
        let mut netlink = Netlink::open()?;
        let link = if_nametoindex("eth0")?;
        netlink.set_up(if_nametoindex("lo")?)?;
        netlink.add_address(link, TASK_ADDRESS, LINK_PREFIX)?;
        netlink.set_up(link)?;
        netlink.add_route(link, Ipv4Addr::UNSPECIFIED, 0, RouteKind::Gateway(ALIAS_GATEWAY))?;
        // As Docker has it: a port below 1024 needs no privilege in a network of one's own.
        let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        Ok(Self { application, aliases })
    }

    /// A listening socket in the alias network.
    pub(crate) fn listen(
        &self,
        transport: Transport,
        address: std::net::SocketAddrV4,
    ) -> io::Result<OwnedFd> {
        self.in_aliases(|| super::sockets::open(transport, address))
    }

    /// An unconnected TCP socket in the application's network.
    pub(crate) fn application_socket() -> io::Result<OwnedFd> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    /// Redirects the application's TCP connections to elsewhere to
    /// [`EGRESS_PORT`] of the alias network.
    pub(crate) fn redirect_egress(&self) -> io::Result<()> {
        self.in_aliases(|| nftables::redirect_tcp(ALIAS_DEVICE, &NEVER_EGRESS, EGRESS_PORT))
    }

    /// A packet socket in the alias network that sees the first packet of each
    /// attempt to reach something else.
    pub(crate) fn egress_tap(&self) -> io::Result<OwnedFd> {
        const ETH_P_IP: u16 = 0x0800;
        self.in_aliases(|| {
            let protocol = Protocol::from(i32::from(ETH_P_IP.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
            socket.attach_filter(&egress_filter())?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
    }

    /// Sockets to the packet filters of the application's network and of the alias network. Who may use them is whose
    /// user namespace made the task's: its shim.
    pub(crate) fn packet_filters(&self) -> io::Result<Vec<OwnedFd>> {
        let open = || NetlinkSocket::open(Family::Netfilter).map(OwnedFd::from);
        Ok(vec![open()?, self.in_aliases(open)?])
    }

    fn in_aliases<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        setns(&self.aliases, CloneFlags::CLONE_NEWNET)?;
        let result = work();
        setns(&self.application, CloneFlags::CLONE_NEWNET)?;
        result
    }
}

/// Classic BPF over an IPv4 packet: keeps UDP, and TCP with SYN but not ACK,
/// to addresses outside of the alias network; of it the first 64 bytes.
fn egress_filter() -> [SockFilter; 10] {
    const LD_WORD: u16 = 0x20;
    const LD_BYTE: u16 = 0x30;
    const LDX_HEADER_LENGTH: u16 = 0xb1;
    const LD_BYTE_INDEXED: u16 = 0x50;
    const AND: u16 = 0x54;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let mask = u32::MAX << (32 - u32::from(ALIAS_NETWORK.1));
    [
        SockFilter::new(LD_WORD, 0, 0, 16), // 0: destination address
        SockFilter::new(AND, 0, 0, mask),
        SockFilter::new(JUMP_EQUAL, 6, 0, u32::from(ALIAS_NETWORK.0)), // 2: to 9, drop
        SockFilter::new(LD_BYTE, 0, 0, 9),                             // 3: protocol
        SockFilter::new(JUMP_EQUAL, 3, 0, 17),                         // 4: UDP: to 8, keep
        SockFilter::new(LDX_HEADER_LENGTH, 0, 0, 0),
        SockFilter::new(LD_BYTE_INDEXED, 0, 0, 13), // 6: flags of TCP
        SockFilter::new(JUMP_EQUAL, 0, 1, 0x02),    // 7: SYN alone: to 8, else to 9
        SockFilter::new(RETURN, 0, 0, 64),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Connections that may wait in a listener's queue.
pub(crate) const fn backlog() -> i32 {
    BACKLOG
}
