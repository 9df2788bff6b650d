//! X-Ray's daemon, as the task's application finds it: at 169.254.170.2 of the alias network, by UDP and TCP. What comes
//! is carried to the control plane's on this machine's loopback, which the application does not reach itself.
//!
//! Segments are told once and not waited for, as with AWS's daemon: what finds the control plane away is lost.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use bowline_model::network::{CREDENTIALS_ADDRESS, XRAY_PORT};
use bowline_plumbing::shim_link::{Hello, Place, ShimLink, Transport};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use crate::{options::ProxyError, tcp};

/// Longest datagram: UDP's.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Most connections at once; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 16;
/// How long the control plane's may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last: SDKs ask every ten seconds, each time anew or not.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// Pause after a failed accept: out of file descriptors is not over at once.
const PAUSE: Duration = Duration::from_millis(50);

/// The sockets in the alias network, and where they lead.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    daemon: SocketAddr,
}

impl Sockets {
    /// Asks the shim for them, where there is a daemon.
    ///
    /// # Errors
    /// The shim does not answer, or gives none.
    pub(crate) fn open(link: &ShimLink, hello: &Hello) -> Result<Option<Self>, ProxyError> {
        let Some(daemon) = hello.xray_daemon else { return Ok(None) };
        let address = SocketAddrV4::new(CREDENTIALS_ADDRESS, XRAY_PORT);
        let (udp, _) = link.listen(Place::Aliases, Transport::Udp, address)?;
        let (tcp, _) = link.listen(Place::Aliases, Transport::Tcp, address)?;
        Self::of(udp.into(), tcp.into(), daemon).map(Some).map_err(ProxyError::from)
    }

    fn of(udp: std::net::UdpSocket, tcp: std::net::TcpListener, daemon: SocketAddr) -> std::io::Result<Self> {
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp, daemon })
    }
}

/// Carries until it is aborted.
pub(crate) async fn serve(sockets: Option<Sockets>) {
    let Some(Sockets { udp, tcp, daemon }) = sockets else { return };
    let opened = UdpSocket::from_std(udp).and_then(|udp| Ok((udp, TcpListener::from_std(tcp)?)));
    match opened {
        Ok((udp, tcp)) => {
            tokio::join!(carry_segments(&udp, daemon), carry_connections(&tcp, daemon));
        }
        Err(error) => tracing::error!(%error, "the task has no X-Ray daemon"),
    }
}

async fn carry_segments(from: &UdpSocket, daemon: SocketAddr) {
    let onward = match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await {
        Ok(onward) => onward,
        Err(error) => return tracing::error!(%error, "segments for X-Ray cannot be carried"),
    };
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let mut is_lost = false;
    loop {
        let length = match from.recv(&mut datagram).await {
            Ok(length) => length,
            Err(error) => {
                tracing::debug!(%error, "a segment for X-Ray could not be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let sent = onward.send_to(&datagram[..length], daemon).await;
        // Once until one arrives again: an application sends thousands.
        match (sent, is_lost) {
            (Err(error), false) => {
                is_lost = true;
                tracing::warn!(%error, "segments for X-Ray are lost");
            }
            (Ok(_), true) => is_lost = false,
            _ => {}
        }
    }
}

async fn carry_connections(listener: &TcpListener, daemon: SocketAddr) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    let _slot = slot;
                    let _ = timeout(LIFETIME, carry(stream, daemon)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn carry(mut stream: TcpStream, daemon: SocketAddr) {
    let Ok(Ok(mut upstream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(daemon)).await else {
        // A reset is nearest to a refusal.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        return;
    };
    let _ = (stream.set_nodelay(true), upstream.set_nodelay(true));
    if let Err(error) = tcp::relay(&mut stream, &mut upstream).await {
        tracing::debug!(%error, "a connection to X-Ray's daemon broke");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn segments_and_questions_are_carried() {
        let daemon = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = daemon.local_addr().expect("an address");
        let segments = UdpSocket::bind(address).await.expect("the same port");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let (for_segments, for_questions) =
            (udp.local_addr().expect("an address"), tcp.local_addr().expect("an address"));
        let serving = tokio::spawn(serve(Some(Sockets::of(udp, tcp, address).expect("sockets"))));

        let application = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let segment = vec![b'x'; 60_000];
        application.send_to(&segment, for_segments).await.expect("sends");
        let mut received = vec![0; DATAGRAM_BYTES_MAX];
        let length = segments.recv(&mut received).await.expect("comes");
        assert_eq!(received[..length], segment);

        let mut asking = TcpStream::connect(for_questions).await.expect("connects");
        asking.write_all(b"rules?").await.expect("writes");
        asking.shutdown().await.expect("ends");
        let (mut asked, _) = daemon.accept().await.expect("is asked");
        let mut question = String::new();
        asked.read_to_string(&mut question).await.expect("reads");
        assert_eq!(question, "rules?");
        asked.write_all(b"none").await.expect("writes");
        drop(asked);
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.expect("reads");
        assert_eq!(answer, "none");
        serving.abort();
    }
}
