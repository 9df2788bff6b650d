//! From other proxies to the task's application: accept → handshake →
//! identity → authorize → relay → log.

use std::{
    net::IpAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_discovery::v1::{Protocol, TlsMode};
use bowline_model::{
    authorization::{Call, HttpCall},
    identity::SpiffeId,
    sabotage::{Defence, sabotaged},
};
use http::{Method, Request, Response, Uri, request::Parts};
use hyper::upgrade::OnUpgrade;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::{Received, Replay, ResponseBody},
    caller::Caller,
    config::{Action, Bind, Cluster, Listener, Upstream},
    connections::{Kind, Subject},
    dial::{DialError, HopKind, Target, classify, dial, refusal_of},
    disturbance,
    exchange::Exchange,
    forward::forward,
    headers::is_upgrade,
    io::{Metered, ReadAhead, Spoken, sniff},
    load::Counted,
    metrics::{
        Direction, Flag, HandshakeFailure,
        series::{NOWHERE, OpenConnection, Security, Series, SeriesKey, Side},
    },
    outbound::check,
    refusal::{Refusal, RefusalCause, RefusedParty},
    reply::{self, Failure},
    route,
    seldom::Seldom,
    server::{self, Reset, Terms},
    tcp::{self, TcpRecord},
    tls::{ALPN_H2, ALPN_UPGRADE},
    trace::Timings,
    upgrade,
    worker::{Connection, Worker},
};

/// Time for the caller's handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one accepted connection.
///
/// Each part of its life is boxed: what it needs to shake hands is gone when it carries requests.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    connection: Connection,
) {
    let Bind::Inbound(bind) = &listener.bind else { return };
    if bind.tls == TlsMode::Plaintext || (sabotaged(Defence::InboundTls) && !begins_tls(&stream).await) {
        let caller = Rc::new(Caller::unproved());
        let (stream, traffic) = Metered::new(stream);
        if listener.protocol == Protocol::Tcp {
            return Box::pin(relay_tcp(worker, &listener, stream, traffic, connection, caller, false)).await;
        }
        let Ok(Ok(Some((spoken, stream)))) = timeout(HANDSHAKE_TIMEOUT * 12, sniff(stream)).await else {
            return;
        };
        let http2 = spoken == Spoken::Http2;
        return Box::pin(relay_http(worker, &listener, stream, traffic, http2, connection, caller)).await;
    }
    let metrics = worker.shared.metrics.of(Direction::Inbound);
    let failed = |cause: HandshakeFailure| {
        metrics.handshake_failed(cause);
        row(&worker, &listener, &Caller::unproved()).handshake_failures.increment();
    };
    let Some(config) = &bind.server else { return failed(HandshakeFailure::NotReady) };
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let began = Instant::now();
    let patience =
        if sabotaged(Defence::HandshakeTime) { HANDSHAKE_TIMEOUT * 1_000 } else { HANDSHAKE_TIMEOUT };
    let accepting = Box::pin(acceptor.accept(ReadAhead::new(stream)).into_fallible());
    let stream = match timeout(patience, accepting).await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err((error, stream))) => {
            let (cause, text) = classify(&error);
            failed(cause);
            let refusal = refusal_of(&error, cause, RefusedParty::Server);
            if let Some(refusal) = refusal {
                metrics.refused(refusal);
            }
            let party = refusal.map_or("-", |refusal| refusal.party.as_str());
            tracing::info!(listener = &*listener.name, peer = %connection.peer, party, cause = cause.as_str(), text, "refused a connection");
            return Box::pin(linger(stream)).await;
        }
        Err(_) => return failed(HandshakeFailure::Timeout),
    };
    let session = stream.get_ref().1;
    let leaf = session.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
    let snapshot = worker.shared.snapshot.load_full();
    let own = snapshot.own_id.as_ref();
    let identified = |leaf: &CertificateDer<'_>| match snapshot.trust.imported.caller(leaf) {
        Some(identity) => Ok(Rc::new(Caller::proved(identity, leaf, own))),
        None => worker.callers.of(leaf, own),
    };
    let caller = match (bind.tls, leaf.map(identified)) {
        (TlsMode::Mutual, Some(Ok(caller))) => caller,
        // The verifier has seen the same certificate. An imported one may stand for nobody since.
        (TlsMode::Mutual, _) => return failed(HandshakeFailure::WrongIdentity),
        _ => Rc::new(Caller::unproved()),
    };
    drop(snapshot);
    metrics.handshakes.increment();
    row(&worker, &listener, &caller).shook_hands(began.elapsed());
    let (http2, awaits_verdict) =
        (session.alpn_protocol() == Some(ALPN_H2), session.alpn_protocol() == Some(ALPN_UPGRADE));
    let (mut stream, traffic) = Metered::new(stream);
    if awaits_verdict && announce(&mut stream, tcp::ACCEPTED).await.is_err() {
        return;
    }
    if listener.protocol == Protocol::Tcp {
        Box::pin(relay_tcp(worker, &listener, stream, traffic, connection, caller, true)).await;
    } else {
        Box::pin(relay_http(worker, &listener, stream, traffic, http2, connection, caller)).await;
    }
}

/// Whether a client that has sent something begins a TLS handshake (RFC 8446 §5.1).
async fn begins_tls(stream: &TcpStream) -> bool {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    matches!(timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await, Ok(Ok(1)) if first[0] == HANDSHAKE)
}

/// Lets the refused side read why. Closed at once, with bytes unread, the
/// connection would be reset and the alert lost on its way.
async fn linger(mut stream: ReadAhead<TcpStream>) {
    const LONGEST: Duration = Duration::from_secs(1);
    const BYTES_MAX: usize = 64 * 1024;
    let reading = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let (mut buffer, mut left) = (vec![0; 4_096], BYTES_MAX);
        while let Ok(count @ 1..) = stream.read(&mut buffer).await
            && count < left
        {
            left -= count;
        }
    };
    // The other side has had its time.
    let _ = timeout(LONGEST, reading).await;
}

async fn relay_http<S>(
    worker: Rc<Worker>,
    listener: &Listener,
    stream: S,
    traffic: Arc<crate::io::Traffic>,
    http2: bool,
    connection: Connection,
    caller: Rc<Caller>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let terms = Terms { http2, public: false, mesh: true, idle_timeout: listener.idle_timeout };
    let (name, source, peer) = (Arc::clone(&connection.listener), connection.peer.ip(), connection.peer);
    let held = worker.open.hold(Subject {
        caller: Rc::clone(&caller),
        source,
        listener: Arc::clone(&name),
        kind: Kind::Http,
    });
    let series = row(&worker, listener, &caller);
    let _open = OpenConnection::new(Arc::clone(&series));
    let handler = {
        let worker = Rc::clone(&worker);
        move |mut request: Request<Received>| {
            let (listener, caller, series) = (Arc::clone(&name), Rc::clone(&caller), Arc::clone(&series));
            let (worker, from) = (Rc::clone(&worker), From { listener, caller, series, source, http2 });
            let on_upgrade =
                (!http2 && is_upgrade(request.headers())).then(|| hyper::upgrade::on(&mut request));
            // Only here, and lent to all that need it: an async function has room for what it is given twice.
            let (mut parts, body) = request.into_parts();
            let body = Replay::new(body);
            // Boxed: hyper moves what a stream's task is made of several times.
            Box::pin(async move { handle(&worker, &from, &mut parts, &body, on_upgrade).await })
        }
    };
    let ended = pin!(held.ended());
    tokio::select! {
        biased;
        () = server::serve(stream, Arc::clone(&traffic), terms, connection, handler) => {}
        cause = Seldom::new(ended) => {
            tracing::info!(listener = &*listener.name, %peer, cause = cause.as_str(), "closed a connection");
        }
    }
    let metrics = worker.shared.metrics.of(Direction::Inbound);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
}

/// Where a request comes from.
struct From {
    listener: Arc<str>,
    caller: Rc<Caller>,
    /// What is counted of the caller.
    series: Arc<Series>,
    source: IpAddr,
    http2: bool,
}

/// One request, from its head to its response's head.
async fn handle(
    worker: &Rc<Worker>,
    from: &From,
    parts: &mut Parts,
    body: &Replay,
    on_upgrade: Option<OnUpgrade>,
) -> Result<Response<ResponseBody>, Reset> {
    let From { listener, caller, series, source, http2 } = from;
    let (source, http2) = (*source, *http2);
    let mut exchange = Exchange::begin(worker, Direction::Inbound, parts);
    exchange.counts(body);
    exchange.counts_in(series);
    exchange.comes_from(caller);
    let Some(listener) = worker.listener(listener) else {
        return Ok(reply::failure(&Failure::NO_ROUTE, exchange));
    };
    if worker.shared.overload.sheds_requests() {
        return refuse(Failure::OVERLOADED, exchange, http2);
    }
    if let Err(failure) = check(parts) {
        return Ok(reply::failure(&failure, exchange));
    }
    let request = Some((&parts.method, &parts.uri));
    if let Some(cause) = refused(worker, &listener, caller, source, request, true) {
        exchange.discovery_name = own_name(&listener);
        return Ok(reply::failure(&Failure::refused(Refusal::of_caller(cause), ""), exchange));
    }
    let limits = listener.limiter.as_ref().map(|limiter| (limiter, limiter.judge(parts, caller.id())));
    if let Some((limiter, judgement)) = limits.as_ref().filter(|(_, judgement)| judgement.denied) {
        exchange.discovery_name = own_name(&listener);
        let mut response = reply::failure(&Failure::LIMITED, exchange);
        limiter.tell(judgement, response.headers_mut());
        return Ok(response);
    }
    caller.tell(&mut parts.headers);
    let held = worker.open.hold(Subject {
        caller: Rc::clone(caller),
        source,
        listener: Arc::clone(&listener.name),
        kind: Kind::Request { method: parts.method.clone(), uri: parts.uri.clone() },
    });
    let ended = held.watch();
    exchange.ends_with(held);
    let action = listener.route.as_ref().and_then(|route| route::action(route, parts));
    let outcome = match action {
        None => return Ok(reply::failure(&Failure::NO_ROUTE, exchange)),
        Some(Action::Fixed(fixed)) => {
            let (content_type, body) = (fixed.content_type.clone(), fixed.body.clone());
            return Ok(reply::own(fixed.status, content_type, body, exchange));
        }
        Some(Action::Redirect(redirect)) => {
            return Ok(route::redirect(redirect, parts, false, 80, exchange));
        }
        Some(Action::Forward(rule)) => match (route::choose(rule, None), on_upgrade) {
            (None, _) => return Ok(reply::failure(&Failure::NO_CLUSTER, exchange)),
            (Some(cluster), on_upgrade) => {
                exchange.carries_context(worker, cluster, parts);
                if let Some(failure) = disturbance::meet(worker).await {
                    return Ok(reply::failure(&failure, exchange));
                }
                let forwarding = pin!(async {
                    match on_upgrade {
                        Some(on_upgrade) => {
                            let policy = &rule.policy;
                            Box::pin(upgrade::forward(worker, cluster, policy, parts, on_upgrade, exchange))
                                .await
                        }
                        None => forward(worker, cluster, rule, parts, body, exchange).await,
                    }
                });
                tokio::select! {
                    biased;
                    // The exchange knows that, and has ended.
                    cause = ended => {
                        let service = own_name(&listener);
                        return Ok(reply::cut_off(Refusal::of_caller(cause), service.as_deref()));
                    }
                    outcome = forwarding => outcome,
                }
            }
        },
    };
    let mut response = outcome.or_else(|(failure, exchange)| refuse(failure, exchange, http2))?;
    if let Some((limiter, judgement)) = &limits {
        limiter.tell(judgement, response.headers_mut());
    }
    Ok(response)
}

/// The answer for a failure; over HTTP/2 the calling proxy learns how far it got, and repeats what is
/// safe.
fn refuse(
    failure: Failure,
    mut exchange: Box<Exchange>,
    http2: bool,
) -> Result<Response<ResponseBody>, Reset> {
    match failure.reset {
        Some(reason) if http2 => {
            exchange.flag = failure.flag;
            exchange.status = failure.status.as_u16();
            Err(h2::Error::from(reason))
        }
        _ => Ok(reply::failure(&failure, exchange)),
    }
}

/// Why a call may not be made; `None`: it may.
///
/// Rules that only audit are told of if `tells`: once a call, not each time it is judged anew.
fn refused(
    worker: &Worker,
    listener: &Listener,
    caller: &Caller,
    source: IpAddr,
    request: Option<(&Method, &Uri)>,
    tells: bool,
) -> Option<RefusalCause> {
    let no = Some(RefusalCause::NotAuthorized);
    let Bind::Inbound(bind) = &listener.bind else { return no };
    if sabotaged(Defence::Identity) || (sabotaged(Defence::InboundTls) && caller.identity.is_none()) {
        return None;
    }
    if is_revoked(worker, caller) {
        return Some(RefusalCause::Revoked);
    }
    // A hop that has to prove its caller has one.
    if caller.identity.is_none() && bind.tls == TlsMode::Mutual {
        return no;
    }
    let Some(rules) = &bind.authorization else { return no };
    let request = request.map(|(method, uri)| HttpCall { method: method.as_str(), path: uri.path() });
    let decision = rules.decide(&Call { caller: caller.id(), source, request });
    if tells {
        let shown = caller.id().map_or("-", SpiffeId::as_str);
        for rule in &decision.audits {
            worker.shared.metrics.of(Direction::Inbound).audited.increment();
            let allowed = decision.allowed;
            tracing::info!(listener = &*listener.name, rule = rule.name, caller = shown, %source, allowed, "audit: a rule matches");
        }
        if !decision.allowed {
            let rule = decision.rule.map_or("no rule allows it", |rule| &rule.name);
            tracing::info!(listener = &*listener.name, rule, caller = shown, %source, "refused a call");
        }
    }
    if decision.allowed { None } else { no }
}

fn is_revoked(worker: &Worker, caller: &Caller) -> bool {
    caller.identity.as_ref().is_some_and(|identity| worker.shared.snapshot.load().trust.refuses(identity))
}

/// Why what is open may not go on; `None`: it may.
pub(crate) fn judge(worker: &Worker, subject: &Subject) -> Option<RefusalCause> {
    let request = match &subject.kind {
        // Its requests are refused one by one, in words. Only who has lost the identity is cut off.
        Kind::Http => return is_revoked(worker, &subject.caller).then_some(RefusalCause::Revoked),
        Kind::Tcp => None,
        Kind::Request { method, uri } => Some((method, uri)),
    };
    // Of a listener that is gone, what is there may finish.
    let listener = worker.listener(&subject.listener)?;
    refused(worker, &listener, &subject.caller, subject.source, request, false)
}

async fn relay_tcp<S>(
    worker: Rc<Worker>,
    listener: &Listener,
    mut stream: S,
    traffic: Arc<crate::io::Traffic>,
    connection: Connection,
    caller: Rc<Caller>,
    announced: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut record = TcpRecord::begin(&worker, Direction::Inbound);
    let series = row(&worker, listener, &caller);
    record.counts_in(&series);
    record.downstream_identity = caller.shown_id().cloned();
    let _open = OpenConnection::new(series);
    let source = connection.peer.ip();
    let outcome = connect_application(&worker, listener, &caller, source, &mut record).await;
    let verdict = match &outcome {
        Ok(_) => tcp::ACCEPTED,
        Err(verdict) => *verdict,
    };
    let announced = match announced {
        true => announce(&mut stream, verdict).await,
        false => Ok(()),
    };
    if let (Ok((mut application, _counted)), Ok(())) = (outcome, announced) {
        // A relay outlives changes of the rules; each is judged anew.
        let kind = Kind::Tcp;
        let subject = Subject { caller, source, listener: Arc::clone(&listener.name), kind };
        // The rules may have changed while the application was connected to.
        let late = judge(&worker, &subject);
        let held = worker.open.hold(subject);
        let ended = async {
            match late {
                Some(cause) => cause,
                None => held.ended().await,
            }
        };
        tokio::select! {
            biased;
            cause = ended => {
                record.termination = "no longer authorized";
                record.flag = Flag::UnauthorizedExternalService;
                record.refusal = Some(Refusal::of_caller(cause));
            }
            result = tcp::relay(&mut stream, &mut application) => if let Err(error) = result {
                tracing::debug!(listener = &*listener.name, %error, "a TCP connection broke");
                record.termination = "connection reset";
            },
            () = traffic.idle(listener.idle_timeout) => record.termination = "idle timeout",
            () = record.keep_counting(&traffic) => {}
        }
    }
    let metrics = worker.shared.metrics.of(Direction::Inbound);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
    record.end(&worker, &connection, &traffic);
}

/// Where calls of the caller to the listener's service are counted. For a connection, not for each request.
fn row(worker: &Worker, listener: &Listener, caller: &Caller) -> Arc<Series> {
    let mutual = caller.id().is_some();
    let security = match &listener.bind {
        _ if mutual => Security::MutualTls,
        Bind::Inbound(bind) if bind.tls != TlsMode::Plaintext => Security::Tls,
        _ => Security::Plaintext,
    };
    let cluster = own_cluster(listener);
    worker.shared.metrics.series.of(SeriesKey {
        side: Side::Inbound,
        discovery_name: cluster
            .map_or_else(|| Arc::from(NOWHERE), |cluster| Arc::clone(&cluster.discovery_name)),
        cluster: cluster.map_or_else(|| Arc::from(""), |cluster| Arc::clone(&cluster.name)),
        peer: Arc::from(caller.id().map_or("", SpiffeId::as_str)),
        security,
    })
}

/// What the service behind a listener is called.
fn own_name(listener: &Listener) -> Option<Arc<str>> {
    own_cluster(listener).map(|cluster| Arc::clone(&cluster.discovery_name))
}

/// The cluster of the application behind a listener.
fn own_cluster(listener: &Listener) -> Option<&Arc<Cluster>> {
    let routed = listener.route.iter().flat_map(|route| &route.rules).find_map(|rule| match &rule.action {
        Action::Forward(rule) => rule.clusters.first().map(|(cluster, _)| cluster),
        Action::Redirect(_) | Action::Fixed(_) => None,
    });
    routed.or(listener.cluster.as_ref())
}

/// Tells the calling proxy what the server decided.
async fn announce<S: AsyncWrite + Unpin>(stream: &mut S, verdict: u8) -> std::io::Result<()> {
    stream.write_all(&[verdict]).await?;
    stream.flush().await?;
    if verdict != tcp::ACCEPTED {
        stream.shutdown().await?;
    }
    Ok(())
}

async fn connect_application(
    worker: &Rc<Worker>,
    listener: &Listener,
    caller: &Caller,
    source: IpAddr,
    record: &mut TcpRecord,
) -> Result<(crate::io::ClientTransport, Counted), u8> {
    if let Some(cause) = refused(worker, listener, caller, source, None, true) {
        record.flag = Flag::UnauthorizedExternalService;
        record.termination = "not authorized";
        record.refusal = Some(Refusal::of_caller(cause));
        return Err(tcp::DENIED);
    }
    let Some(cluster) = &listener.cluster else {
        record.flag = Flag::NoClusterFound;
        return Err(tcp::UNREACHABLE);
    };
    record.discovery_name = Some(Arc::clone(&cluster.discovery_name));
    if listener.limiter.as_ref().is_some_and(|limiter| !limiter.admits(caller.id())) {
        record.flag = Flag::RateLimited;
        record.termination = "too many new connections";
        return Err(tcp::LIMITED);
    }
    let connected = match &cluster.upstream {
        Upstream::Application { address, port } => {
            let address =
                std::net::SocketAddr::new(address.unwrap_or(worker.shared.application_address), *port);
            record.upstream = Some(address);
            match cluster.load.connection(&cluster.breakers, false) {
                Some(counted) => {
                    let (target, mut timings) = (Target::Application(address), Timings::default());
                    let dialled = dial(&worker.shared, cluster, &target, HopKind::Main, &mut timings).await;
                    record.timeline.dialled(address, &timings);
                    dialled.map(|stream| (stream, counted))
                }
                None => {
                    cluster.metrics.overflows.increment();
                    Err(DialError::Overflow)
                }
            }
        }
        Upstream::Mesh(_) | Upstream::External(_) => {
            let connected = tcp::connect(worker, cluster, &mut record.timeline).await;
            connected.map(|connected| {
                record.upstream = Some(connected.endpoint.address);
                (connected.stream, connected.counted)
            })
        }
    };
    connected.map_err(|error| {
        tracing::warn!(listener = &*listener.name, %error, "the application does not accept a connection");
        let (flag, verdict) = match error {
            DialError::Overflow => (Flag::UpstreamOverflow, tcp::FULL),
            _ => (Flag::UpstreamConnectionFailure, tcp::UNREACHABLE),
        };
        record.flag = flag;
        record.termination = "no connection to the application";
        verdict
    })
}
