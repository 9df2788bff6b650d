//! A relay put in the path between two sidecars, which keeps what crosses.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Most bytes kept of each direction of one connection.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Most connections kept.
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

/// Forwards connections to one address and keeps their bytes. Dropping it
/// closes its socket and its connections.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    captured: Store,
    acceptor: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free loopback port for `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let captured = Store::default();
        let acceptor = tokio::spawn(accept(listener, target, Arc::clone(&captured)));
        Ok(Self { address, captured, acceptor })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has crossed so far, a connection each.
    pub(crate) fn captured(&self) -> Vec<Captured> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, captured: Store) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let index = {
            let mut all = captured.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= CONNECTIONS_MAX {
                continue;
            }
            all.push(Captured::default());
            all.len() - 1
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
            let kept = direction(&mut all[index]);
            let room = KEPT_BYTES_MAX.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&buffer[..room]);
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
        let captured = relay.captured();
        assert_eq!(
            (captured[0].from_client.as_slice(), captured[0].from_server.as_slice()),
            (&b"ping"[..], &b"ping"[..])
        );
    }
}
