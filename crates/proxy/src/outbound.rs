//! From a client towards the mesh: accept → listener → route → pick → connect
//! → relay → log. The clients are the task's application (a client alias), or
//! anyone (a gateway's public port); only the edges differ.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_discovery::v1::Protocol;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use rustls::server::Acceptor;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    application_tls, balance,
    body::{Received, Replay, ResponseBody},
    caller,
    config::{Action, Bind, Listener, PublicBind, PublicTls},
    deadline,
    dial::{DialError, classify},
    exchange::{Exchange, FORWARDED_FOR, REQUEST_ID},
    fault,
    forward::forward,
    headers::{append_forwarded_for, is_authority, is_known_coding, is_upgrade},
    health::Busy,
    io::{Metered, ReadAhead, Spoken, sniff},
    metrics::{Direction, Flag, HandshakeFailure},
    refusal::{Refusal, RefusedParty},
    reply::{self, Failure},
    route,
    server::{self, Reset, Terms},
    tcp::{self, TcpRecord},
    tls::ALPN_H2,
    trace::{EventKind, Timeline},
    upgrade,
    worker::{Connection, Worker},
};

static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Time for a client to finish its handshake, or to say its first word.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one accepted connection.
///
/// What few connections come to is boxed: each would have room for it.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    connection: Connection,
) {
    match &listener.bind {
        Bind::Public(bind) => match &bind.tls {
            PublicTls::Off if listener.protocol == Protocol::Tcp => {
                Box::pin(serve_tcp(worker, listener, stream, connection, Direction::Public)).await;
            }
            PublicTls::Off => serve_http(worker, listener, stream, connection, Direction::Public).await,
            PublicTls::Waiting => {
                worker.shared.metrics.of(Direction::Public).handshake_failed(HandshakeFailure::NotReady);
            }
            PublicTls::On(_) => Box::pin(serve_public_tls(worker, listener, stream, connection)).await,
        },
        _ if listener.protocol == Protocol::Tcp => {
            Box::pin(serve_tcp(worker, listener, stream, connection, Direction::Outbound)).await;
        }
        _ => serve_http(worker, listener, stream, connection, Direction::Outbound).await,
    }
}

async fn serve_public_tls(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    connection: Connection,
) {
    let metrics = worker.shared.metrics.of(Direction::Public);
    // Boxed: what it needs to shake hands is gone when it carries requests.
    let handshake = Box::pin(public_handshake(&worker, &listener.name, stream));
    let stream = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return metrics.handshake_failed(HandshakeFailure::NotReady),
        Ok(Err(error)) => {
            let (cause, text) = classify(&error);
            metrics.handshake_failed(cause);
            tracing::debug!(listener = &*listener.name, peer = %connection.peer, cause = cause.as_str(), text, "handshake failed");
            return;
        }
        Err(_) => return metrics.handshake_failed(HandshakeFailure::Timeout),
    };
    metrics.handshakes.increment();
    let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let edge = Edge { direction: Direction::Public, https: true };
    let (stream, traffic) = Metered::new(stream);
    let terms = Terms { http2, public: true, mesh: false, idle_timeout: listener.idle_timeout };
    let handler = handler(&worker, &connection, edge);
    server::serve(stream, Arc::clone(&traffic), terms, connection, handler).await;
    let metrics = worker.shared.metrics.of(Direction::Public);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
}

/// Shows what is to be shown when the client has spoken: browsers connect seconds before they do, and the certificate may
/// be another by then. `None`: there is nothing to show any more.
async fn public_handshake(
    worker: &Worker,
    listener: &str,
    stream: TcpStream,
) -> io::Result<Option<TlsStream<ReadAhead<TcpStream>>>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), ReadAhead::new(stream)).await?;
    let Some(listener) = worker.listener(listener) else { return Ok(None) };
    let Bind::Public(PublicBind { tls: PublicTls::On(config), .. }) = &listener.bind else { return Ok(None) };
    start.into_stream(Arc::clone(config)).await.map(Some)
}

async fn serve_http(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    mut connection: Connection,
    direction: Direction,
) {
    let (stream, traffic) = Metered::new(stream);
    let sniffed = tokio::select! {
        sniffed = sniff(stream) => sniffed,
        () = traffic.idle(listener.idle_timeout.or(Some(HANDSHAKE_TIMEOUT * 6))) => return,
        () = connection.closing() => return,
    };
    let Ok(Some((spoken, stream))) = sniffed else { return };
    if let (Spoken::Tls, Bind::Outbound(bind)) = (spoken, &listener.bind)
        && worker.shared.application_authority.is_some()
    {
        return Box::pin(application_tls::serve(&worker, &listener, bind, stream, connection)).await;
    }
    if spoken == Spoken::Tls {
        worker.shared.metrics.of(direction).handshake_failed(HandshakeFailure::Protocol);
        tracing::warn!(
            listener = &*listener.name,
            "a client speaks TLS to a port that serves http: call it as http://, the mesh encrypts"
        );
        return;
    }
    let public = direction == Direction::Public;
    let terms =
        Terms { http2: spoken == Spoken::Http2, public, mesh: false, idle_timeout: listener.idle_timeout };
    let handler = handler(&worker, &connection, Edge { direction, https: false });
    server::serve(stream, Arc::clone(&traffic), terms, connection, handler).await;
    let metrics = worker.shared.metrics.of(direction);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
}

/// What the client's side of the proxy is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) direction: Direction,
    pub(crate) https: bool,
}

/// Answers the requests of one connection.
pub(crate) fn handler(
    worker: &Rc<Worker>,
    connection: &Connection,
    edge: Edge,
) -> impl Fn(Request<Received>) -> HandlerFuture + 'static {
    let (worker, name, client) = (Rc::clone(worker), Arc::clone(&connection.listener), connection.peer.ip());
    move |mut request| {
        let (worker, name) = (Rc::clone(&worker), Arc::clone(&name));
        let on_upgrade = is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        // Only here, and lent to all that need it: an async function has room for what it is given twice.
        let (mut parts, body) = request.into_parts();
        let body = Replay::new(body);
        Box::pin(async move { Ok(handle(&worker, &name, client, edge, &mut parts, &body, on_upgrade).await) })
    }
}

pub(crate) type HandlerFuture =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Reset>> + 'static>>;

/// One request, from its head to its response's head.
async fn handle(
    worker: &Rc<Worker>,
    listener: &str,
    client: std::net::IpAddr,
    edge: Edge,
    parts: &mut Parts,
    body: &Replay,
    on_upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Response<ResponseBody> {
    // Such a client sends its body only when it is asked to: it has nothing to lose.
    let waits = parts.headers.contains_key(header::EXPECT);
    let response = respond(worker, listener, client, edge, parts, body, on_upgrade).await;
    if response.body().is_own() && !waits {
        body.discard().await;
    }
    response
}

async fn respond(
    worker: &Rc<Worker>,
    listener: &str,
    client: std::net::IpAddr,
    edge: Edge,
    parts: &mut Parts,
    body: &Replay,
    on_upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Response<ResponseBody> {
    let own_request_id = !parts.headers.contains_key(&REQUEST_ID);
    if own_request_id {
        parts.headers.insert(REQUEST_ID.clone(), request_id(worker));
    }
    let mut exchange = Exchange::begin(worker, edge.direction, parts);
    exchange.own_request_id = own_request_id;
    exchange.counts(body);
    exchange.client = Some(client);
    let Some(listener) = worker.listener(listener) else {
        return reply::failure(&Failure::NO_ROUTE, exchange);
    };
    if worker.shared.overload.sheds_requests() {
        return reply::failure(&Failure::OVERLOADED, exchange);
    }
    if let Err(failure) = check(parts) {
        return reply::failure(&failure, exchange);
    }
    if let Bind::Public(bind) = &listener.bind {
        parts.headers.remove(&deadline::EXPECTED);
        set_forwarded(parts, client, edge.https, bind.address.port());
        if !exchange.is_traced() {
            set_trace_id(worker, parts);
        }
    }
    // Only the mesh may say who called.
    caller::strip(&mut parts.headers);
    let Some(route) = &listener.route else { return reply::failure(&Failure::NO_ROUTE, exchange) };
    match route::action(route, parts) {
        None => reply::failure(&Failure::NO_ROUTE, exchange),
        Some(Action::Fixed(fixed)) => {
            reply::own(fixed.status, fixed.content_type.clone(), fixed.body.clone(), exchange)
        }
        Some(Action::Redirect(redirect)) => {
            let port = match &listener.bind {
                Bind::Public(bind) => bind.address.port(),
                _ => 80,
            };
            route::redirect(redirect, parts, edge.https, port, exchange)
        }
        Some(Action::Forward(rule)) => {
            let (delayed, aborted) = fault::inject(worker, &rule.faults, parts).await;
            exchange.delayed = delayed;
            if !delayed.is_zero() || aborted.is_some() {
                note_fault(&mut exchange.timeline, delayed, aborted.as_ref());
            }
            if let Some(failure) = aborted {
                // It is counted as a call of whom it was for.
                if let Some((cluster, _)) = rule.clusters.first() {
                    exchange.goes_to(cluster);
                }
                return reply::failure(&failure, exchange);
            }
            let sticky = balance::stickiness(&rule.sticky, &parts.headers, Some(client), worker.random());
            let Some(cluster) = route::choose(rule, sticky.hash) else {
                return reply::failure(&Failure::NO_CLUSTER, exchange);
            };
            exchange.carries_context(worker, cluster, parts);
            let outcome = match on_upgrade {
                Some(on_upgrade) => {
                    Box::pin(upgrade::forward(worker, cluster, &rule.policy, parts, on_upgrade, exchange))
                        .await
                }
                None => forward(worker, cluster, rule, parts, body, exchange).await,
            };
            let mut response =
                outcome.unwrap_or_else(|(failure, exchange)| reply::failure(&failure, exchange));
            if let Some(cookie) = sticky.cookie {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
    }
}

fn note_fault(timeline: &mut Timeline, delayed: Duration, aborted: Option<&Failure>) {
    let delay = (!delayed.is_zero()).then_some(delayed);
    let abort = aborted.map(|failure| failure.status.as_u16());
    let began = || Instant::now().checked_sub(delayed).unwrap_or_else(Instant::now);
    timeline.note_at(began, || EventKind::Fault { delay, abort });
}

/// What no client may send.
pub(crate) fn check(parts: &Parts) -> Result<(), Failure> {
    if parts.version < Version::HTTP_11 {
        // As Envoy answers HTTP/1.0, which Service Connect does not carry.
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(Failure::new(status, Flag::DownstreamProtocolError, "HTTP/1.0 is not supported"));
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = authority.or(host.map(HeaderValue::as_bytes));
    let fits = named.is_some_and(is_authority) && host.is_none_or(|host| is_authority(host.as_bytes()));
    if hosts.next().is_some() || !fits {
        return Err(Failure::BAD_REQUEST);
    }
    if !is_known_coding(&parts.headers) {
        return Err(Failure::BAD_REQUEST);
    }
    if parts.method == http::Method::CONNECT {
        return Err(Failure::BAD_REQUEST);
    }
    Ok(())
}

/// What an ALB says of its client.
fn set_forwarded(parts: &mut Parts, client: std::net::IpAddr, https: bool, port: u16) {
    append_forwarded_for(&mut parts.headers, &FORWARDED_FOR, client);
    let headers = &mut parts.headers;
    headers.insert(FORWARDED_PROTO.clone(), HeaderValue::from_static(if https { "https" } else { "http" }));
    headers.insert(FORWARDED_PORT.clone(), HeaderValue::from(port));
}

/// An ALB names each request; where there are traces, the name is the trace's.
fn set_trace_id(worker: &Worker, parts: &mut Parts) {
    let headers = &mut parts.headers;
    if !headers.contains_key(&TRACE_ID) {
        let seconds = bowline_plumbing::wall_clock::now().as_secs();
        let (high, low) = (worker.random(), worker.random() as u32);
        if let Ok(value) = HeaderValue::from_str(&format!("Root=1-{seconds:08x}-{high:016x}{low:08x}")) {
            headers.insert(TRACE_ID.clone(), value);
        }
    }
}

/// A random UUID (version 4 in form; for correlation, not for secrets).
fn request_id(worker: &Worker) -> HeaderValue {
    let text = uuid(u128::from(worker.random()) << 64 | u128::from(worker.random()));
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// RFC 9562 §5.4, as text.
fn uuid(random: u128) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = random & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
    let mut text = [b'-'; 36];
    let mut rest = &mut text[..];
    // Groups of so many bytes stand between the dashes.
    let mut bytes = bits.to_be_bytes().into_iter();
    for group in [4, 2, 2, 2, 6] {
        let (digits, after) = rest.split_at_mut(2 * group);
        for (pair, byte) in digits.chunks_exact_mut(2).zip(&mut bytes) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        rest = after.get_mut(1..).unwrap_or_default();
    }
    text
}

async fn serve_tcp(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    connection: Connection,
    direction: Direction,
) {
    let (mut stream, traffic) = Metered::new(stream);
    let mut record = TcpRecord::begin(&worker, direction);
    if let Some(cluster) = &listener.cluster {
        cluster.metrics.requests.increment();
        record.discovery_name = Some(Arc::clone(&cluster.discovery_name));
        record.upstream_identity = cluster.upstream.expected().cloned();
        record.counts_in(cluster.series.row());
        match tcp::connect(&worker, cluster, &mut record.timeline).await {
            Ok(tcp::Connected { stream: mut upstream, endpoint, counted: _counted }) => {
                record.upstream = Some(endpoint.address);
                let _busy = Busy::with(&endpoint.health);
                tokio::select! {
                    result = tcp::relay(&mut stream, &mut upstream) => if let Err(error) = result {
                        tracing::debug!(listener = &*listener.name, %error, "a TCP connection broke");
                        record.termination = "connection reset";
                    },
                    () = traffic.idle(listener.idle_timeout) => record.termination = "idle timeout",
                    () = record.keep_counting(&traffic) => {}
                }
            }
            Err(error) => {
                record.refusal = error.refusal();
                (record.flag, record.termination) = match (&error, record.refusal) {
                    (_, Some(Refusal { party: RefusedParty::Caller, .. })) => {
                        (Flag::UnauthorizedExternalService, "the server refuses this caller")
                    }
                    (_, Some(_)) => (Flag::UpstreamConnectionFailure, "the server is not trusted"),
                    (DialError::Overflow | DialError::Full, _) => {
                        (Flag::UpstreamOverflow, "no upstream connection")
                    }
                    (DialError::Limited, _) => (Flag::RateLimited, "too many new connections"),
                    _ => (Flag::UpstreamConnectionFailure, "no upstream connection"),
                };
                tracing::warn!(listener = &*listener.name, %error, "no upstream takes this connection");
            }
        }
    } else {
        record.flag = Flag::NoClusterFound;
    }
    let metrics = worker.shared.metrics.of(direction);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
    record.end(&worker, &connection, &traffic);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_of_version_4() {
        assert_eq!(&uuid(0), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&uuid(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        let counted = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert_eq!(&uuid(counted), b"01234567-89ab-4def-8123-456789abcdef");
    }
}
