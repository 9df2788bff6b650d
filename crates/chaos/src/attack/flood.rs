//! Attackers that want to keep others from being served. All they do is bounded.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use super::{AttackError, Credentials, Reception, TlsVersion, http2, one_request, tls};

/// Most connections that an attacker opens.
const CONNECTIONS_MAX: usize = 2_048;
/// How long requests that are under way when a flood ends may take.
const LATE: Duration = Duration::from_secs(3);
/// Most requests of one connection that are under way at once.
const STREAMS_MAX: usize = 64;

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood {
    /// Connections that send requests, with a certificate that is believed.
    pub connections: usize,
    /// Requests per second, of all connections together.
    pub rate: u32,
    /// Workers that shake hands again and again, without a certificate.
    pub handshakers: usize,
    /// For how long.
    pub lasting: Duration,
}

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floods {
    /// Requests that were sent.
    pub requests: u64,
    /// Those of them that the application answered.
    pub served: u64,
    /// Handshakes that were begun.
    pub handshakes: u64,
    /// Those of them that ended in service, and must not have.
    pub admitted: u64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    served: AtomicU64,
    handshakes: AtomicU64,
    admitted: AtomicU64,
}

/// Sends requests and begins handshakes; returns when its time is over, and what was sent is answered or late.
///
/// # Errors
/// The certificate cannot be used.
pub async fn flood(
    address: SocketAddr,
    credentials: &Credentials,
    path: &str,
    flood: Flood,
) -> Result<Floods, AttackError> {
    let (config, _) = tls::client_config(TlsVersion::Tls13, Some(credentials), true)?;
    let (bare, _) = tls::client_config(TlsVersion::Tls13, None, true)?;
    let counts = Arc::new(Counts::default());
    let end = Instant::now() + flood.lasting;
    let (mut workers, mut handshakers) = (JoinSet::new(), JoinSet::new());
    let connections = flood.connections.clamp(1, CONNECTIONS_MAX);
    let each = f64::from(flood.rate.max(1)) / connections as f64;
    for _ in 0..connections {
        let (config, counts, path) = (Arc::clone(&config), Arc::clone(&counts), path.to_owned());
        workers.spawn(async move {
            let connected = async { http2(tls::connect(address, config).await?).await };
            let Ok(Ok(sender)) = timeout_at(end, connected).await else { return };
            let mut ticks = interval(Duration::from_secs_f64(1.0 / each));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut under_way = JoinSet::new();
            while timeout_at(end, ticks.tick()).await.is_ok() {
                while under_way.try_join_next().is_some() {}
                if under_way.len() >= STREAMS_MAX {
                    under_way.join_next().await;
                }
                let (mut sender, counts, path) = (sender.clone(), Arc::clone(&counts), path.clone());
                under_way.spawn(async move {
                    counts.requests.fetch_add(1, Relaxed);
                    if let Ok(Reception::Served { .. }) = one_request(&mut sender, address, &path).await {
                        counts.served.fetch_add(1, Relaxed);
                    }
                });
            }
            let answers = async { while under_way.join_next().await.is_some() {} };
            // What is not answered by then counts as not answered.
            let _ = timeout(LATE, answers).await;
        });
    }
    for _ in 0..flood.handshakers.min(CONNECTIONS_MAX) {
        let (config, counts) = (Arc::clone(&bare), Arc::clone(&counts));
        handshakers.spawn(async move {
            loop {
                counts.handshakes.fetch_add(1, Relaxed);
                let attempt = async { http2(tls::connect(address, Arc::clone(&config)).await?).await };
                match timeout(super::ATTEMPT_TIMEOUT, attempt).await {
                    Ok(Ok(_)) => drop(counts.admitted.fetch_add(1, Relaxed)),
                    // Somebody else's turn, where there is nobody to connect to.
                    Ok(Err(Reception::Unreachable(_))) => tokio::time::sleep(Duration::from_millis(10)).await,
                    _ => {}
                }
            }
        });
    }
    tokio::time::sleep_until(end).await;
    handshakers.shutdown().await;
    while workers.join_next().await.is_some() {}
    Ok(Floods {
        requests: counts.requests.load(Relaxed),
        served: counts.served.load(Relaxed),
        handshakes: counts.handshakes.load(Relaxed),
        admitted: counts.admitted.load(Relaxed),
    })
}

/// What became of connections whose client begins a handshake and then says nothing more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lingering {
    /// Connections that were made.
    pub opened: usize,
    /// Those of them that the other side closed while the attacker waited.
    pub closed: usize,
    /// When the last of those was closed, from when it was opened.
    pub longest: Duration,
}

/// Opens so many connections, begins a handshake on each, and waits.
pub async fn linger(address: SocketAddr, connections: usize, lasting: Duration) -> Lingering {
    /// A record of a handshake (RFC 8446 §5.1) whose 512 bytes never come.
    const BEGUN: [u8; 7] = [22, 3, 1, 2, 0, 1, 0];
    let mut waiting = JoinSet::new();
    for _ in 0..connections.min(CONNECTIONS_MAX) {
        waiting.spawn(async move {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let opened = Instant::now();
            stream.write_all(&BEGUN).await.ok()?;
            let mut answer = [0; 64];
            let closed = async { while matches!(stream.read(&mut answer).await, Ok(1..)) {} };
            Some(timeout(lasting, closed).await.ok().map(|()| opened.elapsed()))
        });
    }
    let mut found = Lingering::default();
    while let Some(joined) = waiting.join_next().await {
        let Ok(Some(closed_after)) = joined else { continue };
        found.opened += 1;
        if let Some(after) = closed_after {
            found.closed += 1;
            found.longest = found.longest.max(after);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_closes_and_who_waits_are_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            for number in 0..4 {
                let (stream, _) = listener.accept().await.expect("accepts");
                if number % 2 == 0 {
                    kept.push(stream);
                }
            }
            kept
        });
        let found = linger(address, 4, Duration::from_millis(300)).await;
        assert_eq!((found.opened, found.closed), (4, 2));
        drop(accepting.await.expect("accepts"));
    }
}
