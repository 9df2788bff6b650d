//! The relay's own life: its orders, listeners, deadline and end.

use std::{
    io::{self, BufRead, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
    sync::Arc,
    time::Duration,
};

use bowline_model::fault::{LASTING_MAX, PathHarm};
use bowline_plumbing::{machine, wall_clock};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    connection::{Shared, Target, carry, pass},
    counts::{Counts, add},
    delay::BUDGET_BYTES,
    link::Link,
    order::{AFTERWARDS, ENDPOINTS_MAX, FromRelay, LINE_BYTES_MAX, LINGERS, RelayOrder, ToRelay},
    rogue::Rogue,
};

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 4096;
/// Descriptors that a connection takes at most: over a link there are two sockets more.
const DESCRIPTORS_EACH: u64 = 4;
/// Descriptors besides those of connections.
const DESCRIPTORS_ELSE: u64 = 64 + 2 * ENDPOINTS_MAX as u64;
/// Connections that are not accepted for want of descriptors are tried again after so long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Runs until the fault is over and no connection is left.
pub(super) fn run() -> io::Result<()> {
    let socket = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (order, link) = match begin(&socket) {
        Ok(begun) => begun,
        Err(error) => return Err(fail(&socket, error)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let relay = match Relay::open(order, link).await {
            Ok(relay) => relay,
            Err(error) => return Err(fail(&socket, error)),
        };
        socket.set_nonblocking(true)?;
        relay.run(UnixStream::from_std(socket)?).await;
        Ok(())
    })
}

/// What must be done before there is a second thread.
fn begin(socket: &StdUnixStream) -> io::Result<(RelayOrder, Option<Link>)> {
    let mut line = String::new();
    // Nothing else is sent before it has been answered: nothing is read ahead.
    io::BufReader::new(socket).take(LINE_BYTES_MAX).read_line(&mut line)?;
    let order: RelayOrder = serde_json::from_str(&line)?;
    if order.endpoints.len() > ENDPOINTS_MAX {
        return Err(io::Error::other(format!("a relay stands before at most {ENDPOINTS_MAX} endpoints")));
    }
    let link = match order.harm {
        PathHarm::Loss { percent } => Some(Link::make(percent)?),
        _ => None,
    };
    Ok((order, link))
}

/// Says why it cannot begin.
fn fail(socket: &StdUnixStream, error: io::Error) -> io::Error {
    let mut line = serde_json::to_vec(&FromRelay::Failed { reason: error.to_string() }).unwrap_or_default();
    line.push(b'\n');
    let _ = (&*socket).write_all(&line);
    error
}

/// As many connections as there can be, by the descriptors that there may be.
fn connections_max() -> usize {
    let connections = machine::raise_open_files().saturating_sub(DESCRIPTORS_ELSE) / DESCRIPTORS_EACH;
    usize::try_from(connections).unwrap_or(usize::MAX).clamp(16, CONNECTIONS_MAX)
}

struct Relay {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Arc<Target>)>,
    /// At the far end of the link, for each endpoint.
    far_listeners: Vec<(TcpListener, SocketAddr)>,
    over: watch::Sender<bool>,
    deadline: Instant,
}

impl Relay {
    async fn open(order: RelayOrder, link: Option<Link>) -> io::Result<Self> {
        let left = order.until.since(wall_clock::now()).min(LASTING_MAX);
        let deadline = Instant::now() + left;
        let (over, is_over) = watch::channel(false);
        let mut listeners = Vec::new();
        let mut far_listeners = Vec::new();
        for endpoint in order.endpoints {
            let over_link = match &link {
                Some(link) => {
                    let listener = link.listen().await?;
                    let address = listener.local_addr()?;
                    far_listeners.push((listener, endpoint.address));
                    Some(address)
                }
                None => None,
            };
            let rogue = match order.harm {
                PathHarm::Rogue(kind) => Some(Rogue::new(kind, endpoint.shows)?),
                _ => None,
            };
            let loopback = match endpoint.address.ip() {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
            };
            let listener = TcpListener::bind((loopback, 0)).await?;
            listeners.push((listener, Arc::new(Target { address: endpoint.address, over_link, rogue })));
        }
        let shared = Arc::new(Shared {
            harm: order.harm,
            per_million: order.per_million,
            over: is_over,
            counts: Arc::new(Counts::default()),
            budget: Arc::new(Semaphore::new(BUDGET_BYTES)),
            link,
            begun: Instant::now(),
        });
        Ok(Self { shared, listeners, far_listeners, over, deadline })
    }

    async fn run(self, socket: UnixStream) {
        let Self { shared, listeners, far_listeners, over, deadline } = self;
        let (reader, mut writer) = socket.into_split();
        let addresses: io::Result<Vec<_>> =
            listeners.iter().map(|(listener, _)| listener.local_addr()).collect();
        let Ok(addresses) = addresses else { return };
        let connections_max = connections_max();
        let room = Arc::new(Semaphore::new(connections_max));
        let mut accepting = JoinSet::new();
        for (listener, target) in listeners {
            accepting.spawn(accept(listener, target, Arc::clone(&shared), Arc::clone(&room)));
        }
        let mut far = JoinSet::new();
        for (listener, address) in far_listeners {
            far.spawn(accept_far(listener, address));
        }
        if tell(&mut writer, &FromRelay::Ready { listeners: addresses }).await.is_err() {
            return;
        }
        let mut orders = Orders { lines: BufReader::new(reader), line: Vec::new(), is_open: true };
        let (mut stops_accepting, mut ends) = (deadline + AFTERWARDS, deadline + LINGERS);
        let mut is_over = false;
        loop {
            let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
            tokio::select! {
                order = orders.next() => match order {
                    // It may have nobody any more who could read it.
                    ToRelay::Count => { let _ = tell(&mut writer, &counted(&shared).await).await; }
                    ToRelay::Finish => {
                        is_over = end_harm(&shared, &over).await;
                        stops_accepting = Instant::now();
                        ends = ends.min(stops_accepting + LINGERS);
                    }
                },
                () = sleep_until(deadline), if !is_over => {
                    is_over = end_harm(&shared, &over).await;
                }
                () = sleep_until(stops_accepting), if !accepting.is_empty() => {
                    // Connections go on.
                    accepting.shutdown().await;
                }
                _ = room.acquire_many(all), if accepting.is_empty() => break,
                () = sleep_until(ends) => break,
            }
        }
        let _ = tell(&mut writer, &counted(&shared).await).await;
    }
}

/// Ends the harm, if it is not over; `true`.
async fn end_harm(shared: &Shared, over: &watch::Sender<bool>) -> bool {
    if over.send_replace(true) {
        return true;
    }
    if let Some(link) = &shared.link {
        // If it fails, connections over the link go on losing packets until they end.
        let _ = link.heal().await;
    }
    true
}

async fn accept(listener: TcpListener, target: Arc<Target>, shared: Arc<Shared>, room: Arc<Semaphore>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            add(&shared.counts.turned_away, 1);
            continue;
        };
        let (target, shared) = (Arc::clone(&target), Arc::clone(&shared));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            carry(stream, &target, &shared).await;
            drop(place);
        });
    }
}

/// What has come over the link goes on to the called side. It was counted, and is bounded, at the near end.
async fn accept_far(listener: TcpListener, address: SocketAddr) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let _ = pass(stream, address, &Counts::default()).await;
        });
    }
}

async fn counted(shared: &Shared) -> FromRelay {
    let dropped = match &shared.link {
        Some(link) => link.dropped().await.unwrap_or_default(),
        None => 0,
    };
    FromRelay::Counted(shared.counts.evidence(dropped))
}

async fn tell(writer: &mut OwnedWriteHalf, message: &FromRelay) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// Orders from the engine, for as long as there is one.
struct Orders {
    lines: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
    is_open: bool,
}

impl Orders {
    /// The next one; never once the engine is gone. Where it is cancelled nothing is lost.
    async fn next(&mut self) -> ToRelay {
        while self.is_open {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len() as u64);
            match (&mut self.lines).take(room).read_until(b'\n', &mut self.line).await {
                Ok(count) if count > 0 => {
                    if let Ok(order) = serde_json::from_slice(&std::mem::take(&mut self.line)) {
                        return order;
                    }
                }
                _ => self.is_open = false,
            }
        }
        std::future::pending().await
    }
}
