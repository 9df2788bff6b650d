//! Connections to the task's application, in whose network namespace the
//! sockets must be made: the shim makes them, ahead of need.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpStream as StdTcpStream},
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bowline_plumbing::shim_link::{APPLICATION_SOCKETS_MAX, ShimLink};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Notify,
};

/// Sockets held ready.
const RESERVE: usize = APPLICATION_SOCKETS_MAX;
/// The thread refills when fewer are left.
const RESERVE_LOW: usize = RESERVE / 2;
/// Pause after the shim has refused.
const REFILL_PAUSE: Duration = Duration::from_millis(100);

/// Makes connections to the application.
#[derive(Debug)]
pub(crate) enum Dialer {
    /// In the proxy's own network.
    Direct,
    /// With sockets that the shim made.
    Reserve(Arc<Reserve>),
}

impl Dialer {
    /// A dialer over `link`, and the thread that keeps its reserve.
    pub(crate) fn over_shim(link: Arc<ShimLink>) -> io::Result<Self> {
        let reserve = Arc::new(Reserve::default());
        let filled = Arc::downgrade(&reserve);
        std::thread::Builder::new().name("application-sockets".to_owned()).spawn(move || {
            while let Some(reserve) = filled.upgrade() {
                reserve.refill(&link);
            }
        })?;
        Ok(Self::Reserve(reserve))
    }

    /// A connection to `address`. The caller limits the time.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = match self {
            Self::Direct => TcpStream::connect(address).await?,
            Self::Reserve(reserve) => {
                let stream = StdTcpStream::from(reserve.take().await);
                stream.set_nonblocking(true)?;
                TcpSocket::from_std_stream(stream).connect(address).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Unconnected sockets of the application's network namespace.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    sockets: Mutex<VecDeque<OwnedFd>>,
    low: Condvar,
    filled: Notify,
}

impl Reserve {
    async fn take(&self) -> OwnedFd {
        loop {
            let waiting = self.filled.notified();
            {
                let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = sockets.pop_front();
                if sockets.len() < RESERVE_LOW {
                    self.low.notify_one();
                }
                if let Some(socket) = taken {
                    return socket;
                }
            }
            waiting.await;
        }
    }

    /// Waits until sockets are needed and asks for them.
    fn refill(&self, link: &ShimLink) {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let (sockets, _) = self
            .low
            .wait_timeout_while(sockets, Duration::from_secs(5), |sockets| sockets.len() >= RESERVE_LOW)
            .unwrap_or_else(PoisonError::into_inner);
        let missing = RESERVE.saturating_sub(sockets.len());
        drop(sockets);
        if missing == 0 || missing <= RESERVE - RESERVE_LOW {
            return;
        }
        match link.application_sockets(missing) {
            Ok(fresh) => {
                let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
                sockets.extend(fresh);
                drop(sockets);
                self.filled.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(%error, "no sockets towards the application");
                std::thread::sleep(REFILL_PAUSE);
            }
        }
    }
}
