//! A relay put in the path between two sidecars, which keeps what crosses.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// Most bytes kept of each direction of one connection.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Most connections whose bytes are kept; more are forwarded all the same.
const CONNECTIONS_MAX: usize = 64;

/// The bytes of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    /// From the calling sidecar.
    pub(crate) from_client: Vec<u8>,
    /// From the called sidecar.
    pub(crate) from_server: Vec<u8>,
}

type Store = Arc<Mutex<Vec<Captured>>>;

/// How long connections may take to end by themselves: requests of applications are under way on them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Forwards connections to one address and keeps their bytes. Dropping it
/// closes its socket and its connections.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    captured: Store,
    ending: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free loopback port for `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let captured = Store::default();
        let (ending, ends) = watch::channel(false);
        let acceptor = tokio::spawn(accept(listener, target, Arc::clone(&captured), ends));
        Ok(Self { address, captured, ending, acceptor })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it once its connections have ended, or 5 s have passed: whoever was led here has turned away, and ends
    /// each connection after the last request on it. What has crossed, a connection each.
    pub(crate) async fn end(mut self) -> Vec<Captured> {
        let _ = self.ending.send(true);
        // What lasts longer is cut when this is dropped.
        let _ = timeout(PATIENCE, &mut self.acceptor).await;
        self.captured()
    }

    fn captured(&self) -> Vec<Captured> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, captured: Store, mut ends: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // Who was on the way here when it was told to end is served as well.
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // The sender lives as long as this task.
            _ = ends.wait_for(|ends| *ends), if connections.is_empty() => return,
        };
        let Ok((client, _)) = accepted else { return };
        let index = {
            let mut all = captured.lock().unwrap_or_else(PoisonError::into_inner);
            let index = all.len();
            if index < CONNECTIONS_MAX {
                all.push(Captured::default());
            }
            index
        };
        connections.spawn(forward(client, target, Arc::clone(&captured), index));
    }
}

async fn forward(client: TcpStream, target: SocketAddr, captured: Store, index: usize) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let upstream =
        copy(client_read, server_write, Arc::clone(&captured), index, |kept| &mut kept.from_client);
    let downstream = copy(server_read, client_write, captured, index, |kept| &mut kept.from_server);
    tokio::join!(upstream, downstream);
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    captured: Store,
    index: usize,
    direction: impl Fn(&mut Captured) -> &mut Vec<u8>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        {
            let mut all = captured.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(connection) = all.get_mut(index) {
                let kept = direction(connection);
                let room = KEPT_BYTES_MAX.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    // The other direction may still be open; an error means that it is not.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_after_its_connections() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let relay = Relay::start(server.local_addr().expect("bound")).await.expect("starts");
        let mut client = TcpStream::connect(relay.address()).await.expect("connects");
        let (mut called, _) = server.accept().await.expect("accepts");
        client.write_all(b"question").await.expect("writes");
        let end = tokio::spawn(relay.end());
        // Told to end, it carries what is under way to its end.
        called.read_exact(&mut [0; 8]).await.expect("reads");
        called.write_all(b"answer").await.expect("writes");
        client.read_exact(&mut [0; 6]).await.expect("reads");
        assert!(!end.is_finished());
        drop((client, called));
        let captured = end.await.expect("ends");
        assert_eq!((captured.len(), captured[0].from_server.as_slice()), (1, &b"answer"[..]));
    }

    #[tokio::test]
    async fn keeps_both_directions() {
        let echo = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let target = echo.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.expect("accepts");
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.expect("echoes");
        });
        let relay = Relay::start(target).await.expect("starts");
        let mut client = TcpStream::connect(relay.address()).await.expect("connects");
        client.write_all(b"ping").await.expect("writes");
        client.shutdown().await.expect("closes");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("reads");
        assert_eq!(answer, b"ping");
        let captured = relay.end().await;
        assert_eq!(
            (captured[0].from_client.as_slice(), captured[0].from_server.as_slice()),
            (&b"ping"[..], &b"ping"[..])
        );
    }
}
