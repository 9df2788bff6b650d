//! Connections to the endpoint: accepted, within limits, and ended where nothing comes.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_plumbing::drain::DrainWatch;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    body::Lasting,
    limits::client_of,
    server::{Api, answer},
    tls::EndpointTls,
};

/// Most connections at once.
const CONNECTIONS_MAX: usize = 1_024;

/// Most connections of one address at once, where others can reach the endpoint.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 128;

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take for the head of a request, the first one included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be without a request under way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection has to end once it is told to.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The AWS endpoint, as it listens.
pub(crate) struct ApiServer;

impl ApiServer {
    /// Serves until `drain` says to end, by TLS if there is any.
    pub(crate) async fn serve(
        listener: TcpListener,
        api: Arc<Api>,
        tls: Option<Arc<EndpointTls>>,
        mut drain: DrainWatch,
    ) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let of_addresses = Arc::new(OfAddresses::default());
        let most = if tls.is_some() { CONNECTIONS_OF_ADDRESS_MAX } else { CONNECTIONS_MAX };
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.signaled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(counted) = of_addresses.one_more(peer.ip(), most) else {
                        tracing::debug!(%peer, "too many connections to the AWS endpoint");
                        continue;
                    };
                    // Answers are small: the peer should not wait for more to come.
                    let _ = stream.set_nodelay(true);
                    let (api, tls, drain) = (Arc::clone(&api), tls.clone(), drain.clone());
                    tokio::spawn(async move {
                        let _held = (slot, counted);
                        match tls {
                            None => {
                                serve_connection(stream, Peer { address: peer, tls: false }, api, drain)
                                    .await;
                            }
                            Some(tls) => serve_tls(stream, peer, api, &tls, drain).await,
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the AWS endpoint was not accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Whether it came by TLS.
    pub(crate) tls: bool,
}

async fn serve_tls(
    stream: TcpStream,
    address: SocketAddr,
    api: Arc<Api>,
    tls: &EndpointTls,
    drain: DrainWatch,
) {
    let acceptor = TlsAcceptor::from(tls.current());
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(stream, Peer { address, tls: true }, api, drain).await,
        Ok(Err(error)) => {
            tracing::debug!(peer = %address, %error, "a handshake with the AWS endpoint failed");
        }
        Err(_) => tracing::debug!(peer = %address, "a handshake with the AWS endpoint took too long"),
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: Peer,
    api: Arc<Api>,
    mut drain: DrainWatch,
) {
    let activity = Arc::new(Activity::default());
    let counted = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request| {
        let under_way = Activity::begin(&counted);
        let api = Arc::clone(&api);
        async move {
            let answered = answer(&api, peer, request).await;
            let answered = match answered.extensions().get::<Lasting>() {
                Some(Lasting) => answered.map(|body| {
                    body.map_frame(move |frame| {
                        let _held = &under_way;
                        frame
                    })
                    .boxed_unsync()
                }),
                None => answered,
            };
            Ok::<_, std::convert::Infallible>(answered)
        }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.signaled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = activity.over(HEAD_TIMEOUT, IDLE_TIMEOUT) => {
            connection.as_mut().graceful_shutdown();
            timeout(END_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.address, error, "a connection to the AWS endpoint ended");
    }
}

/// Whether requests are under way on a connection. HTTP's own timeouts do not cover a client that
/// never says which version it speaks, nor one of HTTP/2 that asks nothing.
#[derive(Default)]
struct Activity {
    under_way: AtomicUsize,
    /// Requests that have begun.
    begun: AtomicUsize,
    /// Told at the end of the last request under way.
    idle: Notify,
}

/// A request under way; it is over when this is dropped.
struct UnderWay(Arc<Activity>);

impl Activity {
    fn begin(activity: &Arc<Self>) -> UnderWay {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(activity))
    }

    /// Returns when no request came in the time `first`, or later none in the time `idle`.
    async fn over(&self, first: Duration, idle: Duration) {
        let mut seen = 0;
        let mut until = Instant::now() + first;
        loop {
            tokio::time::sleep_until(until).await;
            if self.under_way.load(Ordering::Relaxed) > 0 {
                self.idle.notified().await;
            } else if self.begun.load(Ordering::Relaxed) == seen {
                return;
            }
            seen = self.begun.load(Ordering::Relaxed);
            until = Instant::now() + idle;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_one();
        }
    }
}

/// How many connections each address has.
#[derive(Default)]
struct OfAddresses {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts; it does no more when this is dropped.
struct Counted {
    of: Arc<OfAddresses>,
    client: IpAddr,
}

impl OfAddresses {
    /// One more of an address, unless it has `most` already.
    fn one_more(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Counted> {
        let client = client_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { of: Arc::clone(self), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let of = Arc::new(OfAddresses::default());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = of.one_more(one, 2).expect("is the first");
        let _second = of.one_more(one, 2).expect("is the second");
        assert!(of.one_more(one, 2).is_none());
        assert!(of.one_more(other, 2).is_some());
        drop(first);
        assert!(of.one_more(one, 2).is_some());
        assert_eq!(of.counts.lock().expect("whole").len(), 1, "who has none is forgotten");
    }

    #[tokio::test]
    async fn a_connection_is_over_when_nothing_comes() {
        let (first, idle) = (Duration::from_millis(10), Duration::from_millis(30));
        let begin = Instant::now();
        Activity::default().over(first, idle).await;
        assert!(begin.elapsed() >= first, "nothing ever came");

        let activity = Arc::new(Activity::default());
        let request = Activity::begin(&activity);
        let over = activity.over(first, idle);
        tokio::pin!(over);
        assert!(timeout(10 * first, over.as_mut()).await.is_err(), "a request under way holds it");
        let ended = Instant::now();
        drop(request);
        over.await;
        assert!(ended.elapsed() >= idle, "{:?}", ended.elapsed());
    }
}
