//! The DNS server's sockets: who is answered, over what, and within which
//! limits.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{
    DnsConfig, Upstream,
    answer::authoritative,
    counters::{Counters, DnsCounters},
    forward::Forwarder,
    limit::{Network, RateLimiter, client_of},
    message::{Received, Reply, Request, Transport, receive},
    zone::Zones,
};

/// Largest query read, in bytes; a question with EDNS options is far smaller.
const QUERY_BYTES_MAX: usize = 4_096;
/// Most UDP queries that wait for an upstream server at once.
const WAITING_MAX: usize = 1_024;
/// Most TCP connections at once; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 128;
/// Most TCP connections of one client.
const CONNECTIONS_PER_CLIENT_MAX: usize = 16;
/// Ports of services that answer whatever they get (echo, daytime, quote,
/// chargen, time) and of other DNS servers; 0 is nobody's. A reply there could
/// start a loop.
const LOOP_PORTS: [u16; 7] = [0, 7, 13, 17, 19, 37, 53];
/// Pause after a failed read or accept: out of file descriptors is not over at
/// once.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a port is drawn that has to be free for both UDP and TCP.
const PORT_TRIES: usize = 16;

/// A running DNS server. Stops when it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    addresses: Vec<SocketAddr>,
    counters: Arc<Counters>,
    tasks: Vec<JoinHandle<()>>,
}

impl DnsServer {
    /// Binds the configured addresses and serves `zones` on them. Has to be
    /// called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// An address cannot be bound; `InvalidInput` where there is none, or an
    /// upstream server is missing or is this server itself.
    pub fn start(config: DnsConfig, zones: Arc<dyn Zones>) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        if config.listen.is_empty() {
            return Err(invalid("a DNS server needs an address to listen on"));
        }
        let sockets: Vec<_> =
            config.listen.iter().map(|address| bind(*address)).collect::<io::Result<_>>()?;
        let addresses: Vec<_> = sockets.iter().map(|(udp, _)| udp.local_addr()).collect::<io::Result<_>>()?;
        let counters = Arc::new(Counters::default());
        let forwarder = match config.upstream {
            Upstream::Refuse => None,
            Upstream::Forward(servers) => {
                if servers.is_empty() {
                    return Err(invalid("there is no upstream DNS server to forward to"));
                }
                if servers.iter().any(|server| addresses.contains(server)) {
                    return Err(invalid("an upstream DNS server is this server itself"));
                }
                let (zones, counters) = (Arc::clone(&zones), Arc::clone(&counters));
                Some(Forwarder::new(servers, config.upstream_timeout, zones, counters))
            }
        };
        let service = Arc::new(Service {
            zones,
            forwarder,
            allow: config.allow,
            zones_for_allowed_only: config.zones_for_allowed_only,
            limiter: RateLimiter::new(config.rate, config.burst, Instant::now()),
            counters: Arc::clone(&counters),
            tcp_idle: config.tcp_idle,
            addresses: addresses.clone(),
        });
        let mut tasks = Vec::new();
        for (udp, tcp) in sockets {
            tasks.push(tokio::spawn(serve_udp(Arc::clone(&service), udp)));
            tasks.push(tokio::spawn(serve_tcp(Arc::clone(&service), tcp)));
        }
        Ok(Self { addresses, counters, tasks })
    }

    /// The bound addresses, UDP and TCP alike, in the configuration's order.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first bound address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        *self.addresses.first().expect("it does not start without one")
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> DnsCounters {
        self.counters.read()
    }

    /// Stops it; its addresses are free afterwards.
    pub async fn stop(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            // It was cancelled, which is what was wanted.
            let _ = task.await;
        }
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The UDP and the TCP socket of an address, with one port for both.
fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        let udp = std::net::UdpSocket::bind(address)?;
        tries -= 1;
        let tcp = match std::net::TcpListener::bind(udp.local_addr()?) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => continue,
            tcp => tcp?,
        };
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        return Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?));
    }
}

struct Service {
    zones: Arc<dyn Zones>,
    forwarder: Option<Forwarder>,
    allow: Vec<Network>,
    zones_for_allowed_only: bool,
    limiter: RateLimiter,
    counters: Arc<Counters>,
    tcp_idle: Duration,
    addresses: Vec<SocketAddr>,
}

/// What is to be done with a message.
enum Decision {
    Drop,
    Reply(Vec<u8>),
    /// An upstream server knows.
    Forward(Request),
}

impl Service {
    fn decide(&self, bytes: &[u8], from: SocketAddr, transport: Transport) -> Decision {
        self.counters.count(|counters| &counters.queries);
        let may_loop = transport == Transport::Udp
            && (LOOP_PORTS.contains(&from.port()) || self.addresses.contains(&from));
        let received = if !may_loop && self.limiter.admit(from.ip(), Instant::now()) {
            receive(bytes, transport)
        } else {
            Received::Nothing
        };
        match received {
            Received::Nothing => {
                self.counters.count(|counters| &counters.dropped);
                Decision::Drop
            }
            Received::Rejected(code, bytes) => {
                self.counters.replied(code);
                Decision::Reply(bytes)
            }
            Received::Request(request) => self.answer(request, from.ip()),
        }
    }

    fn answer(&self, request: Request, client: IpAddr) -> Decision {
        let allowed = self.allow.iter().any(|network| network.contains(client));
        let recursion_available = allowed && self.forwarder.is_some();
        let reply = if allowed || !self.zones_for_allowed_only {
            authoritative(&*self.zones, &request.query)
        } else {
            None
        };
        let reply = match reply {
            Some(reply) => Reply { recursion_available, ..reply },
            // Who does not want recursion is shown nothing of what others asked.
            None if recursion_available && request.recursion_desired => return Decision::Forward(request),
            None => Reply { recursion_available, ..Reply::of(ResponseCode::Refused) },
        };
        Decision::Reply(self.encode(&request, reply))
    }

    async fn forward(&self, request: &Request) -> Vec<u8> {
        let answer = match &self.forwarder {
            Some(forwarder) => forwarder.resolve(&request.query).await,
            None => None,
        };
        let reply = match answer {
            None => Reply::of(ResponseCode::ServFail),
            Some(mut answer) => {
                for record in &mut answer.answers {
                    if record.name == *request.query.name() {
                        record.name = request.query.name().clone();
                    }
                }
                Reply {
                    answers: answer.answers,
                    authorities: answer.soa.into_iter().collect(),
                    ..Reply::of(answer.code)
                }
            }
        };
        self.encode(request, Reply { recursion_available: true, ..reply })
    }

    fn encode(&self, request: &Request, reply: Reply) -> Vec<u8> {
        self.counters.replied(reply.code);
        request.encode(reply)
    }
}

async fn serve_udp(service: Arc<Service>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; QUERY_BYTES_MAX];
    loop {
        while waiting.try_join_next().is_some() {}
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a DNS datagram could not be read");
                sleep(PAUSE).await;
                continue;
            }
        };
        // What does not go out is asked again.
        match service.decide(buffer.get(..length).unwrap_or_default(), from, Transport::Udp) {
            Decision::Drop => {}
            Decision::Reply(reply) => {
                let _ = socket.send_to(&reply, from).await;
            }
            Decision::Forward(request) if waiting.len() >= WAITING_MAX => {
                let reply = service.encode(&request, Reply::of(ResponseCode::ServFail));
                let _ = socket.send_to(&reply, from).await;
            }
            Decision::Forward(request) => {
                let (service, socket) = (Arc::clone(&service), Arc::clone(&socket));
                waiting.spawn(async move {
                    let reply = service.forward(&request).await;
                    let _ = socket.send_to(&reply, from).await;
                });
            }
        }
    }
}

async fn serve_tcp(service: Arc<Service>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let clients = Arc::new(Clients::default());
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = clients.enter(from.ip()) else { continue };
                let service = Arc::clone(&service);
                connections.spawn(async move {
                    let _held = (slot, place);
                    // Whatever ends it ends only this connection.
                    let _ = serve_stream(&service, stream, from).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a DNS connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the queries of a connection, one after another (RFC 7766).
async fn serve_stream(service: &Service, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    loop {
        let query = timeout(service.tcp_idle, read_message(&mut stream)).await??;
        let reply = match service.decide(&query, from, Transport::Tcp) {
            Decision::Drop => return Ok(()),
            Decision::Reply(reply) => reply,
            Decision::Forward(request) => service.forward(&request).await,
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes()[..], &reply].concat();
        timeout(service.tcp_idle, stream.write_all(&message)).await??;
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > QUERY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// How many connections each client has.
#[derive(Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

struct Place {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let client = client_of(client);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        (*count < CONNECTIONS_PER_CLIENT_MAX).then(|| {
            *count += 1;
            Place { clients: Arc::clone(self), client }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests;
