//! HTTP/2 towards an upstream: many requests on one connection.

use std::{cell::RefCell, error::Error as StdError, future::Future, rc::Rc, time::Duration};

use bowline_http2::KeepAlive;
use bowline_model::sabotage::{Defence, sabotaged};
use futures::{TryFutureExt, future::Either};
use http::{Request, Response};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{CONNECTION_WINDOW, HEADERS_MAX, STREAM_WINDOW, STREAMS_PER_CONNECTION, SendError};
use crate::{
    body::{Received, RequestBody},
    config::{Cluster, Upstream},
    dial::{DialError, HopKind, Target, accepted, dial, handshake_error},
    io::{Coalesced, FirstRead, Turns},
    load::Counted,
    metrics::HandshakeFailure,
    shared::Shared,
    trace::Timings,
};

/// How long another proxy may be quiet while requests are under way before it is asked for a sign of life. It answers at
/// once, whatever its application does.
const HOP_SILENCE: Duration = Duration::from_secs(3);
/// How long it has to give one.
const HOP_PATIENCE: Duration = Duration::from_secs(3);
/// The same, of servers that are no proxies of the mesh: they may take many questions amiss.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long those have.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests on one connection.
#[derive(Debug)]
pub(super) enum Multiplexed {
    /// Of a connection that hyper runs.
    Hyper(http2::SendRequest<RequestBody>),
    /// Of a connection to another proxy.
    Mesh(bowline_http2::client::SendRequest<RequestBody>),
}

impl Multiplexed {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Hyper(sender) => sender.is_closed(),
            Self::Mesh(sender) => sender.is_closed(),
        }
    }

    /// Sends a request; what this returns waits for its response's head.
    pub(super) fn send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Received>, SendError>> + use<> {
        match self {
            Self::Hyper(sender) => {
                let answer = sender.clone().try_send_request(request).err_into();
                Either::Left(answer.map_ok(|response| response.map(Received::from)))
            }
            Self::Mesh(sender) => {
                let answer = sender.try_send_request(request).err_into();
                Either::Right(answer.map_ok(|response| response.map(Received::from)))
            }
        }
    }
}

/// What a connection to another proxy, or from one, allows.
pub(crate) fn mesh_terms() -> bowline_http2::Config {
    bowline_http2::Config {
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        header_list_max: HEADERS_MAX,
        reason_of,
        ..bowline_http2::Config::default()
    }
}

/// What a body that fails says of why, whoever received it.
fn reason_of(error: &(dyn StdError + 'static)) -> Option<bowline_http2::Reason> {
    let reason = error.downcast_ref::<h2::Error>()?.reason()?;
    Some(bowline_http2::Reason::from(u32::from(reason)))
}

/// Runs hyper's tasks on the worker's own thread; the first one, which is the connection itself, by
/// turns. (Were another one the first, writes would only not be coalesced.)
struct TurningExec<S>(Rc<RefCell<Option<Turns<S>>>>);

impl<S> TurningExec<S> {
    fn new(turns: Turns<S>) -> Self {
        Self(Rc::new(RefCell::new(Some(turns))))
    }
}

impl<S> Clone for TurningExec<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S, F> hyper::rt::Executor<F> for TurningExec<S>
where
    S: AsyncWrite + Unpin + 'static,
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        match self.0.borrow_mut().take() {
            Some(turns) => drop(tokio::task::spawn_local(turns.run(future))),
            None => drop(tokio::task::spawn_local(future)),
        }
    }
}

/// Makes a connection, and waits for the server to take it.
pub(super) async fn connect(
    shared: &Shared,
    cluster: &Cluster,
    target: &Target,
    counted: Counted,
    timings: &mut Timings,
) -> Result<Multiplexed, DialError> {
    let stream = dial(shared, cluster, target, HopKind::Main, timings).await?;
    let stream = accepted(cluster, target, stream).await?;
    let (stream, first_read) = FirstRead::new(stream);
    let sender = match &cluster.upstream {
        Upstream::Mesh(_) => run_mesh(stream, cluster, counted),
        _ => run_hyper(stream, cluster, counted).await?,
    };
    // The server's SETTINGS. Outside the mesh only now: a server may wait for the client's.
    match timeout(cluster.connect_timeout, first_read).await {
        Ok(Ok(Ok(()))) => Ok(sender),
        Ok(Ok(Err(error))) => Err(match handshake_error(&error) {
            // In the mesh `accepted` has seen to identities already.
            DialError::Identity { failure, text, .. } | DialError::Handshake(failure, text) => {
                cluster.metrics.handshake_failed(failure);
                cluster.series.row().handshake_failures.increment();
                DialError::Handshake(failure, text)
            }
            other => other,
        }),
        Ok(Err(_)) => Err(DialError::Connect(std::io::ErrorKind::UnexpectedEof)),
        Err(_) => Err(DialError::Handshake(HandshakeFailure::Timeout, "no SETTINGS in time".to_owned())),
    }
}

/// How connections to other proxies that have gone silent are found.
fn liveness() -> Option<KeepAlive> {
    // What came is looked at once in an interval: a silence is noticed within two.
    let terms = KeepAlive { interval: HOP_SILENCE / 2, timeout: HOP_PATIENCE, while_idle: false };
    (!sabotaged(Defence::Liveness)).then_some(terms)
}

/// Runs a connection to another proxy.
fn run_mesh<S>(stream: S, cluster: &Cluster, mut counted: Counted) -> Multiplexed
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let terms = bowline_http2::Config {
        waiting_max: STREAMS_PER_CONNECTION.saturating_add(cluster.breakers.pending),
        keep_alive: liveness(),
        ..mesh_terms()
    };
    let (sender, connection) = bowline_http2::client::handshake(stream, terms);
    counted.opened(cluster.series.row());
    tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Multiplexed::Mesh(sender)
}

/// Runs a connection to a server outside the mesh, or to the application.
async fn run_hyper<S>(stream: S, cluster: &Cluster, mut counted: Counted) -> Result<Multiplexed, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, turns) = Coalesced::new(stream);
    let (sender, connection) = http2::Builder::new(TurningExec::new(turns))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_MAX as u32)
        .max_concurrent_reset_streams(64)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake::<_, RequestBody>(TokioIo::new(stream))
        .await
        .map_err(|_| DialError::Connect(std::io::ErrorKind::ConnectionReset))?;
    counted.opened(cluster.series.row());
    tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Multiplexed::Hyper(sender))
}
