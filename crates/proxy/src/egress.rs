//! A task's connections to elsewhere, where its egress is allowed: accept →
//! destination → may it be reached → connect → relay → log.
//!
//! The task's networks redirect them to a listener of the shim's; where they
//! were to go, the kernel knows (`SO_ORIGINAL_DST`). The sidecar connects from
//! the host's network in the task's place, so what is reachable is what the
//! host reaches, except the host itself: its services trust who is on it.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bowline_model::network::is_never_egress;
use bowline_plumbing::host_route::{RouteTarget, route_target};
use socket2::SockRef;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    io::Metered,
    metrics::{Direction, Flag},
    tcp::{self, TcpRecord},
    worker::{Connection, Worker},
};

/// Most connections at once, for all workers together; more wait in the
/// listener's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for the destination to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections over which nothing has crossed for so long are closed (Envoy's
/// default for TCP).
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Destinations that the log names, of each worker; counters and the access
/// log know all connections.
const NAMED_MAX: usize = 256;

/// Why a connection to elsewhere is not carried.
#[derive(Debug, Error)]
pub(crate) enum EgressError {
    /// It was not redirected, so it was meant for the listener itself.
    #[error("it was made to the sidecar's own port")]
    NotRedirected(#[source] io::Error),
    /// The address is of a network that no task reaches.
    #[error("no task reaches that network")]
    Never,
    /// The address is this machine's own.
    #[error("the address is this machine's own")]
    Host,
    /// The address is not of one machine.
    #[error("the address is not another machine's")]
    NotUnicast,
    /// The destination does not answer, or there is no way to it.
    #[error("connection failure: {0}")]
    Connect(#[source] io::Error),
    /// The destination does not answer in time.
    #[error("connection timeout")]
    Timeout,
}

impl EgressError {
    /// Whether a rule says no, rather than the network.
    fn is_denial(&self) -> bool {
        !matches!(self, Self::Connect(_) | Self::Timeout)
    }

    fn flag(&self) -> Flag {
        match self.is_denial() {
            true => Flag::UnauthorizedExternalService,
            false => Flag::UpstreamConnectionFailure,
        }
    }
}

/// Accepts connections to elsewhere until the worker ends.
pub(crate) async fn accept(worker: Rc<Worker>, socket: TcpListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX.div_ceil(worker.shared.workers)));
    let (count, name) = (Rc::new(Cell::new(0)), Arc::from("egress"));
    let named = Rc::new(Named::default());
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let phase = worker.phase();
        let connection = Connection::begin(&worker, Direction::Egress, &count, &name, peer, phase);
        let (worker, named) = (Rc::clone(&worker), Rc::clone(&named));
        tokio::task::spawn_local(async move {
            let _slot = slot;
            serve(&worker, stream, &connection, &named).await;
        });
    }
}

async fn serve(worker: &Worker, stream: TcpStream, connection: &Connection, named: &Named) {
    let mut record = TcpRecord::begin(worker, Direction::Egress);
    let connected = match original_destination(&stream) {
        Ok(destination) => {
            record.upstream = Some(destination.into());
            connect(destination).await
        }
        Err(error) => Err(EgressError::NotRedirected(error)),
    };
    let (mut stream, traffic) = Metered::new(stream);
    named.note(record.upstream, connected.as_ref().err());
    match connected {
        Ok(mut upstream) => {
            tokio::select! {
                result = tcp::relay(&mut stream, &mut upstream) => if result.is_err() {
                    record.termination = "connection reset";
                },
                () = traffic.idle(Some(IDLE_TIMEOUT)) => record.termination = "idle timeout",
            }
        }
        Err(error) => {
            record.flag = error.flag();
            record.termination = if error.is_denial() { "denied" } else { "no upstream connection" };
            // The task's side is connected already: a reset is nearest to a refusal.
            let _ = SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
        }
    }
    let metrics = worker.shared.metrics.of(Direction::Egress);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
    record.end(worker, connection, &traffic);
}

/// Where the task's connection was to go before it was redirected.
fn original_destination(stream: &TcpStream) -> io::Result<SocketAddrV4> {
    let address = SockRef::from(stream).original_dst_v4()?;
    address.as_socket_ipv4().ok_or_else(|| io::Error::other("no IPv4 address"))
}

/// Connects to a destination that the task may reach.
async fn connect(destination: SocketAddrV4) -> Result<TcpStream, EgressError> {
    if is_never_egress(*destination.ip()) {
        return Err(EgressError::Never);
    }
    let connecting = async {
        check_route(*destination.ip()).await?;
        let stream = TcpStream::connect(destination).await.map_err(EgressError::Connect)?;
        stream.set_nodelay(true).map_err(EgressError::Connect)?;
        Ok(stream)
    };
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(EgressError::Timeout))
}

/// Asks the kernel, at each connection: addresses come and go.
async fn check_route(address: Ipv4Addr) -> Result<(), EgressError> {
    // The kernel's answer may have to wait for somebody who changes the network.
    let target = tokio::task::spawn_blocking(move || route_target(address))
        .await
        .map_err(|error| EgressError::Connect(io::Error::other(error)))?;
    match target.map_err(EgressError::Connect)? {
        RouteTarget::Remote => Ok(()),
        RouteTarget::Local => Err(EgressError::Host),
        RouteTarget::Other => Err(EgressError::NotUnicast),
    }
}

/// Which destinations the log has named.
#[derive(Debug, Default)]
struct Named {
    seen: RefCell<HashSet<(Option<SocketAddr>, &'static str)>>,
}

impl Named {
    /// Says once what happens to connections to `destination`.
    fn note(&self, destination: Option<SocketAddr>, error: Option<&EgressError>) {
        let verdict = match error {
            None => "allowed",
            Some(error) if error.is_denial() => "denied",
            Some(_) => "failed",
        };
        let mut seen = self.seen.borrow_mut();
        if seen.len() > NAMED_MAX || !seen.insert((destination, verdict)) {
            return;
        }
        if seen.len() > NAMED_MAX {
            return tracing::info!("egress to more than {NAMED_MAX} destinations; no more are named");
        }
        let destination = destination.map_or("-".to_owned(), |address| address.to_string());
        match error {
            None => tracing::info!("egress to {destination} allowed"),
            Some(error) => tracing::warn!("egress to {destination} {verdict}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(address: &str) -> EgressError {
        connect(address.parse().expect("an address")).await.expect_err("refused")
    }

    #[tokio::test]
    async fn the_host_and_its_metadata_are_not_reached() {
        for never in ["127.0.0.1:80", "169.254.169.254:80", "0.0.0.0:80", "198.18.1.1:80", "224.0.0.1:80"] {
            assert!(matches!(refusal(never).await, EgressError::Never), "{never}");
        }
    }

    #[tokio::test]
    async fn an_address_of_this_machine_is_not_reached_whoever_listens() {
        let own = std::net::UdpSocket::bind("0.0.0.0:0").expect("bound");
        // No packet is sent: the kernel chooses the address of the way out.
        if own.connect("192.0.2.1:9").is_err() {
            return assert!(matches!(refusal("192.0.2.1:9").await, EgressError::Connect(_)));
        }
        let own = own.local_addr().expect("an address").ip();
        let listener = std::net::TcpListener::bind((own, 0)).expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        assert!(matches!(refusal(&address).await, EgressError::Host), "{address}");
    }

    #[tokio::test]
    async fn a_connection_made_to_the_listener_itself_has_no_destination_to_reach() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let _client =
            TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        // Without connection tracking there is none; with it, it is the listener.
        if let Ok(destination) = original_destination(&stream) {
            assert!(is_never_egress(*destination.ip()));
        }
    }

    #[test]
    fn a_destination_is_named_once_and_not_without_end() {
        let named = Named::default();
        for port in 0..2_000 {
            named.note(Some(SocketAddr::from(([192, 0, 2, 1], port))), None);
        }
        assert_eq!(named.seen.borrow().len(), NAMED_MAX + 1);
    }
}
