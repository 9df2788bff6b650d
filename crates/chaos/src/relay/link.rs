//! A link on which the kernel loses packets: two network namespaces of the relay's own, joined by a pair of devices, with
//! a packet filter at either end that drops some of what arrives. The kernel retransmits; nothing of it is simulated.
//!
//! ```text
//! caller → relay → socket in A →(packets are lost)→ listener in B → relay → called side
//! ```
//!
//! Sockets of both namespaces are made by a thread that enters them, and used by the others. The namespaces and all in
//! them are gone when the process is.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener as StdTcpListener},
    os::fd::{AsFd, OwnedFd},
    sync::mpsc,
    thread,
};

use bowline_plumbing::{
    nftables,
    rtnetlink::{Netlink, RouteKind},
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};

/// The addresses of the link's ends; nobody else can see them (RFC 5737, TEST-NET-1).
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PREFIX: u8 = 30;
const DEVICE: &str = "lossy";
/// Connections that may wait at the far end.
const BACKLOG: i32 = 1024;

/// The link.
#[derive(Debug)]
pub(super) struct Link {
    asks: mpsc::Sender<Ask>,
}

#[derive(Debug)]
enum Ask {
    Connector(oneshot::Sender<io::Result<OwnedFd>>),
    Listener(oneshot::Sender<io::Result<OwnedFd>>),
    Heal(oneshot::Sender<io::Result<()>>),
    Dropped(oneshot::Sender<io::Result<u64>>),
}

/// The two namespaces.
struct Ends {
    near: File,
    far: File,
    percent: u8,
    /// How many packets were lost, once none is any more.
    lost: Option<u64>,
}

impl Link {
    /// Makes one that loses so many of a hundred packets in each direction. This process must have no other thread.
    ///
    /// # Errors
    /// The system allows no namespaces, or its kernel has no nf_tables with random numbers; says what to do.
    pub(super) fn make(percent: u8) -> io::Result<Self> {
        // For its privileges over the network namespaces that are made below. Without one they need root's.
        let own_users = unshare(CloneFlags::CLONE_NEWUSER);
        let (asks, asked) = mpsc::channel();
        let (made, result) = mpsc::channel();
        thread::Builder::new().name("link".to_owned()).spawn(move || {
            match Ends::make(percent) {
                Ok(mut ends) => {
                    let _ = made.send(Ok(()));
                    ends.answer(&asked);
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                }
            };
        })?;
        let result = result.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")));
        result.map_err(|error| {
            let users = match own_users {
                Ok(()) => String::new(),
                Err(error) => format!(" (user namespaces: {error})"),
            };
            io::Error::new(
                error.kind(),
                format!(
                    "packets can be lost only where network namespaces and nf_tables' numgen are allowed, as for \
                     `--network isolated`: {error}{users}"
                ),
            )
        })?;
        Ok(Self { asks })
    }

    /// Connects over the link to an address of [`listen`](Self::listen).
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.ask(Ask::Connector).await?;
        let socket = TcpSocket::from_std_stream(socket.into());
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }

    /// A listener at the far end.
    pub(super) async fn listen(&self) -> io::Result<TcpListener> {
        let listener = StdTcpListener::from(self.ask(Ask::Listener).await?);
        TcpListener::from_std(listener)
    }

    /// From now on no packet is lost.
    pub(super) async fn heal(&self) -> io::Result<()> {
        self.ask(Ask::Heal).await
    }

    /// How many packets were lost.
    pub(super) async fn dropped(&self) -> io::Result<u64> {
        self.ask(Ask::Dropped).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Ask) -> io::Result<T> {
        let ended = || io::Error::other("the link's thread has ended");
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl Ends {
    /// Makes them; this thread is in one of them from then on.
    fn make(percent: u8) -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let near = File::open("/proc/thread-self/ns/net")?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let far = File::open("/proc/thread-self/ns/net")?;
        let mut netlink = Netlink::open()?;
        netlink.add_veth(DEVICE, DEVICE, near.as_fd())?;
        let ends = Self { near, far, percent, lost: None };
        ends.set_up(&ends.far, FAR)?;
        ends.set_up(&ends.near, NEAR)?;
        Ok(ends)
    }

    fn set_up(&self, end: &File, address: Ipv4Addr) -> io::Result<()> {
        setns(end, CloneFlags::CLONE_NEWNET)?;
        let mut netlink = Netlink::open()?;
        let device = if_nametoindex(DEVICE)?;
        netlink.set_up(if_nametoindex("lo")?)?;
        netlink.add_address(device, address, PREFIX)?;
        // What would be one packet of 64 KiB for the filter is as many as on a wire.
        netlink.set_segments_max(device, 1)?;
        netlink.set_up(device)?;
        // Nothing else is reached from here.
        netlink.add_route(device, Ipv4Addr::UNSPECIFIED, 0, RouteKind::Gateway(address))?;
        nftables::lossy::begin(self.percent)
    }

    fn answer(&mut self, asked: &mpsc::Receiver<Ask>) {
        while let Ok(ask) = asked.recv() {
            // Who has asked may be gone.
            match ask {
                Ask::Connector(answer) => {
                    let _ = answer.send(self.within(&self.near, connector));
                }
                Ask::Listener(answer) => {
                    let _ = answer.send(self.within(&self.far, listener));
                }
                Ask::Heal(answer) => {
                    let _ = answer.send(self.heal());
                }
                Ask::Dropped(answer) => {
                    let _ = answer.send(self.dropped());
                }
            }
        }
    }

    fn heal(&mut self) -> io::Result<()> {
        // The counter goes with the rule.
        let lost = self.dropped();
        let ended = [&self.near, &self.far].map(|end| self.within(end, nftables::lossy::end));
        self.lost = Some(lost.unwrap_or_default());
        ended.into_iter().collect()
    }

    fn dropped(&self) -> io::Result<u64> {
        match self.lost {
            Some(lost) => Ok(lost),
            None => [&self.near, &self.far]
                .into_iter()
                .map(|end| self.within(end, nftables::lossy::dropped))
                .sum(),
        }
    }

    fn within<T>(&self, end: &File, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        setns(end, CloneFlags::CLONE_NEWNET)?;
        work()
    }
}

fn connector() -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn listener() -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(SocketAddrV4::new(FAR, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
