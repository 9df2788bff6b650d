//! HTTP towards a client: one connection from its first request to its end.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::TryFutureExt;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    apart::apart,
    body::{Received, ResponseBody},
    guard::Guarded,
    io::{Coalesced, Traffic},
    pool::{CONNECTION_WINDOW, HEADERS_MAX, STREAM_WINDOW, mesh_terms},
    seldom::Seldom,
    worker::{Connection, LocalExec},
};

/// Requests that one client may have open on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1_024;
/// Time for a client outside the mesh to send a request's headers (an ALB's
/// idle time); idle connections are closed after it, too.
const PUBLIC_HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to finish after an idle connection was told to.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Which HTTP, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) http2: bool,
    /// The client is outside the mesh.
    pub(crate) public: bool,
    /// The client is another proxy.
    pub(crate) mesh: bool,
    pub(crate) idle_timeout: Option<Duration>,
}

/// A stream reset instead of a response.
pub(crate) type Reset = h2::Error;

/// Serves `stream` until it ends, is idle for too long or has to close.
pub(crate) async fn serve<S, H, F>(
    stream: S,
    traffic: Arc<Traffic>,
    terms: Terms,
    mut connection: Connection,
    handle: H,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Received>) -> F + 'static,
    F: Future<Output = Result<Response<ResponseBody>, Reset>> + 'static,
{
    let late = connection.is_late();
    let result = if terms.http2 && terms.mesh {
        let handle = move |request: Request<bowline_http2::Body>| {
            let answer = handle(request.map(Received::from));
            answer.map_err(|reset| bowline_http2::server::Reset(reason_of(&reset)))
        };
        let (serving, shutdown) = bowline_http2::server::serve(stream, mesh_terms(), handle);
        let serving = pin!(serving);
        let turn = |serving: Pin<&mut _>, cx: &mut Context<'_>| Future::poll(serving, cx);
        let shut_down = |_: Pin<&mut _>| shutdown.begin();
        let result = drive(serving, turn, shut_down, &traffic, terms.idle_timeout, &mut connection).await;
        result.map_err(|error| error.to_string())
    } else if terms.http2 {
        let handle = move |request: Request<Incoming>| handle(request.map(Received::from));
        let mut builder = http2::Builder::new(LocalExec);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(if terms.public { 128 } else { STREAMS_MAX })
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADERS_MAX as u32)
            .max_send_buf_size(256 * 1024)
            // CVE-2023-44487 and CVE-2025-8671: resets by the client, and
            // resets that it provokes.
            .max_pending_accept_reset_streams(64)
            .max_local_error_reset_streams(256);
        if terms.public {
            builder.keep_alive_interval(Duration::from_secs(60)).keep_alive_timeout(Duration::from_secs(20));
        }
        let (stream, turns) = Coalesced::new(stream);
        // Boxed: connections that speak HTTP/1.1 are many, and would have room for it.
        let mut serving = Box::pin(builder.serve_connection(TokioIo::new(stream), service_fn(handle)));
        let serving = serving.as_mut();
        let turn = |serving: Pin<&mut _>, cx: &mut Context<'_>| turns.poll(serving, cx);
        let shut_down = |serving: Pin<&mut http2::Connection<_, _, _>>| serving.graceful_shutdown();
        let result = drive(serving, turn, shut_down, &traffic, terms.idle_timeout, &mut connection).await;
        result.map_err(|error| error.to_string())
    } else {
        let handle = move |request: Request<Incoming>| handle(apart(request).map(Received::from));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(terms.public.then_some(PUBLIC_HEADER_TIMEOUT))
            .max_buf_size(HEADERS_MAX)
            .keep_alive(!late);
        let stream = TokioIo::new(Guarded::new(stream, connection.on_ambiguity()));
        let serving = pin!(builder.serve_connection(stream, service_fn(handle)).with_upgrades());
        let turn =
            |serving: Pin<&mut http1::UpgradeableConnection<_, _>>, cx: &mut Context<'_>| serving.poll(cx);
        let shut_down = |serving: Pin<&mut http1::UpgradeableConnection<_, _>>| serving.graceful_shutdown();
        let result = drive(serving, turn, shut_down, &traffic, terms.idle_timeout, &mut connection).await;
        result.map_err(|error| error.to_string())
    };
    if let Err(error) = result {
        tracing::debug!(listener = &*connection.listener, peer = %connection.peer, %error, "a connection ended");
    }
}

/// What the other proxy's stream is reset for.
fn reason_of(reset: &Reset) -> bowline_http2::Reason {
    let reason = reset.reason().unwrap_or(h2::Reason::INTERNAL_ERROR);
    bowline_http2::Reason::from(u32::from(reason))
}

/// Runs a connection, a `turn` at a time.
async fn drive<C: Future<Output = Result<(), E>>, E>(
    mut serving: Pin<&mut C>,
    turn: impl Fn(Pin<&mut C>, &mut Context<'_>) -> Poll<Result<(), E>>,
    shut_down: impl Fn(Pin<&mut C>),
    traffic: &Traffic,
    idle_timeout: Option<Duration>,
    connection: &mut Connection,
) -> Result<(), E> {
    let nudge = {
        let nudges = pin!(async {
            tokio::select! {
                () = traffic.idle(idle_timeout) => Nudge::Idle,
                () = connection.closing() => Nudge::Close,
            }
        });
        tokio::select! {
            biased;
            result = poll_fn(|cx| turn(serving.as_mut(), cx)) => return result,
            nudge = Seldom::new(nudges) => nudge,
        }
    };
    shut_down(serving.as_mut());
    let ending = poll_fn(|cx| turn(serving.as_mut(), cx));
    match nudge {
        Nudge::Idle => tokio::time::timeout(IDLE_GRACE, ending).await.unwrap_or(Ok(())),
        Nudge::Close => {
            let quiet = pin!(traffic.idle(idle_timeout));
            tokio::select! {
                biased;
                result = ending => result,
                () = Seldom::new(quiet) => Ok(()),
            }
        }
    }
}

/// Why a connection is told to end.
enum Nudge {
    /// Nothing has crossed it for long.
    Idle,
    /// Its listener has gone, or it would be shown something else.
    Close,
}
