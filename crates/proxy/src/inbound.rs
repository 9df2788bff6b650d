//! From other proxies to the task's application: accept → handshake →
//! identity → authorize → relay → log.

use std::{rc::Rc, sync::Arc, time::Duration};

use bowline_discovery::v1::{AuthorizationEffect, Protocol, TlsMode};
use bowline_model::identity::SpiffeId;
use http::{HeaderValue, Request, Response, request::Parts};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::{Replay, ResponseBody},
    config::{Action, Authorization, Bind, InboundBind, Listener, Upstream},
    dial::{HopKind, Target, classify, dial},
    exchange::Exchange,
    forward::forward,
    headers::{CLIENT_CERT, is_upgrade},
    io::{Metered, Spoken, sniff},
    metrics::{Direction, Flag, HandshakeFailure},
    outbound::check,
    reply::{self, Failure},
    route,
    server::{self, Reset, Terms},
    tcp::{self, TcpRecord},
    tls::{
        ALPN_H2,
        verify::{PeerIdentity, peer_identity},
    },
    upgrade,
    worker::{Connection, Worker},
};

/// Time for the caller's handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who calls, as the hop proves it.
#[derive(Debug)]
struct Caller {
    /// `None` where the operator chose a hop without client certificates.
    identity: Option<PeerIdentity>,
    /// The value of `x-forwarded-client-cert`.
    certificate: Option<HeaderValue>,
}

/// Serves one accepted connection.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    connection: Connection,
) {
    let Bind::Inbound(bind) = &listener.bind else { return };
    if bind.tls == TlsMode::Plaintext {
        let caller = Caller { identity: None, certificate: None };
        let (stream, traffic) = Metered::new(stream);
        if listener.protocol == Protocol::Tcp {
            return relay_tcp(worker, &listener, stream, traffic, connection, caller, false).await;
        }
        let Ok(Ok(Some((spoken, stream)))) = timeout(HANDSHAKE_TIMEOUT * 12, sniff(stream)).await else {
            return;
        };
        let http2 = spoken == Spoken::Http2;
        return relay_http(worker, &listener, stream, traffic, http2, connection, caller).await;
    }
    let metrics = worker.shared.metrics.of(Direction::Inbound);
    let Some(config) = &bind.server else { return metrics.handshake_failed(HandshakeFailure::NotReady) };
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, stream))) => {
            let (cause, text) = classify(&error);
            metrics.handshake_failed(cause);
            linger(stream).await;
            tracing::info!(listener = &*listener.name, peer = %connection.peer, cause = cause.as_str(), text, "refused a connection");
            return;
        }
        Err(_) => return metrics.handshake_failed(HandshakeFailure::Timeout),
    };
    let session = stream.get_ref().1;
    let leaf = session.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
    let caller = match (bind.tls, leaf.map(|leaf| (leaf, peer_identity(leaf)))) {
        (TlsMode::Mutual, Some((leaf, Ok(identity)))) => {
            Caller { certificate: client_cert_header(&worker, leaf, &identity.id), identity: Some(identity) }
        }
        // The verifier has seen the same certificate: this cannot be.
        (TlsMode::Mutual, _) => return metrics.handshake_failed(HandshakeFailure::WrongIdentity),
        _ => Caller { identity: None, certificate: None },
    };
    metrics.handshakes.increment();
    let http2 = session.alpn_protocol() == Some(ALPN_H2);
    let (stream, traffic) = Metered::new(stream);
    if listener.protocol == Protocol::Tcp {
        relay_tcp(worker, &listener, stream, traffic, connection, caller, true).await;
    } else {
        relay_http(worker, &listener, stream, traffic, http2, connection, caller).await;
    }
}

/// Lets the refused side read why. Closed at once, with bytes unread, the
/// connection would be reset and the alert lost on its way.
async fn linger(mut stream: TcpStream) {
    const LONGEST: Duration = Duration::from_secs(1);
    const BYTES_MAX: usize = 64 * 1024;
    let reading = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let (mut buffer, mut left) = ([0; 4_096], BYTES_MAX);
        while let Ok(count @ 1..) = stream.read(&mut buffer).await
            && count < left
        {
            left -= count;
        }
    };
    // The other side has had its time.
    let _ = timeout(LONGEST, reading).await;
}

/// `By=…;Hash=…;URI=…` as Envoy writes it.
fn client_cert_header(worker: &Worker, leaf: &CertificateDer<'_>, caller: &SpiffeId) -> Option<HeaderValue> {
    use std::fmt::Write;
    let mut text = String::with_capacity(256);
    if let Some(own) = &worker.shared.snapshot.load().own_id {
        // Writing to a String cannot fail.
        let _ = write!(text, "By={own};");
    }
    text.push_str("Hash=");
    for byte in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    let _ = write!(text, ";URI={caller}");
    HeaderValue::from_str(&text).ok()
}

async fn relay_http<S>(
    worker: Rc<Worker>,
    listener: &Listener,
    stream: S,
    traffic: Arc<crate::io::Traffic>,
    http2: bool,
    connection: Connection,
    caller: Caller,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let terms = Terms { http2, public: false, idle_timeout: listener.idle_timeout };
    let (name, caller) = (Arc::clone(&connection.listener), Rc::new(caller));
    let handler = {
        let worker = Rc::clone(&worker);
        move |request| handle(Rc::clone(&worker), Arc::clone(&name), Rc::clone(&caller), request, http2)
    };
    server::serve(stream, Arc::clone(&traffic), terms, connection, handler).await;
    let metrics = worker.shared.metrics.of(Direction::Inbound);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
}

/// One request, from its head to its response's head.
async fn handle(
    worker: Rc<Worker>,
    listener: Arc<str>,
    caller: Rc<Caller>,
    mut request: Request<Incoming>,
    http2: bool,
) -> Result<Response<ResponseBody>, Reset> {
    let on_upgrade = (!http2 && is_upgrade(request.headers())).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let mut exchange = Exchange::begin(&worker.shared, Direction::Inbound, &parts);
    let body = Replay::new(body);
    exchange.counts(&body);
    let Some(listener) = worker.listener(&listener) else {
        return Ok(reply::failure(&Failure::NO_ROUTE, exchange));
    };
    let Bind::Inbound(bind) = &listener.bind else {
        return Ok(reply::failure(&Failure::NO_ROUTE, exchange));
    };
    if let Err(failure) = check(&parts) {
        return Ok(reply::failure(&failure, exchange));
    }
    if !is_allowed(&worker, bind, &caller, Some(&parts)) {
        return Ok(reply::failure(&Failure::DENIED, exchange));
    }
    parts.headers.remove(&CLIENT_CERT);
    if let Some(certificate) = &caller.certificate {
        parts.headers.insert(CLIENT_CERT.clone(), certificate.clone());
    }
    let action = listener.route.as_ref().and_then(|route| route::action(route, &parts));
    let outcome = match action {
        None => return Ok(reply::failure(&Failure::NO_ROUTE, exchange)),
        Some(Action::Fixed(fixed)) => {
            let (content_type, body) = (fixed.content_type.clone(), fixed.body.clone());
            return Ok(reply::own(fixed.status, content_type, body, exchange));
        }
        Some(Action::Redirect(redirect)) => {
            return Ok(route::redirect(redirect, &parts, false, 80, exchange));
        }
        Some(Action::Forward(rule)) => match (route::choose(rule, worker.random()), on_upgrade) {
            (None, _) => return Ok(reply::failure(&Failure::NO_CLUSTER, exchange)),
            (Some(cluster), Some(on_upgrade)) => {
                upgrade::forward(&worker, cluster, &rule.policy, parts, on_upgrade, exchange).await
            }
            (Some(cluster), None) => forward(&worker, cluster, &rule.policy, parts, body, exchange).await,
        },
    };
    match outcome {
        Ok(response) => Ok(response),
        // The calling proxy learns how far it got, and repeats what is safe.
        Err((Failure { reset: Some(reason), flag, status, .. }, mut exchange)) if http2 => {
            exchange.flag = flag;
            exchange.status = status.as_u16();
            Err(h2::Error::from(reason))
        }
        Err((failure, exchange)) => Ok(reply::failure(&failure, exchange)),
    }
}

/// Deny is the default, and wins over every allow.
///
/// A hop that the operator chose to have without client certificates has no
/// caller to judge; its `tls` mode is the decision.
fn is_allowed(worker: &Worker, bind: &InboundBind, caller: &Caller, request: Option<&Parts>) -> bool {
    let Some(identity) = &caller.identity else { return bind.tls != TlsMode::Mutual };
    if worker.shared.snapshot.load().revoked.contains(identity.id.trust_domain(), &identity.serial) {
        tracing::info!(caller = %identity.id, serial = identity.serial, "refused a revoked certificate");
        return false;
    }
    let Some(authorization) = &bind.authorization else { return false };
    decide(authorization, &identity.id, request)
}

fn decide(authorization: &Authorization, caller: &SpiffeId, request: Option<&Parts>) -> bool {
    let mut allowed = false;
    for rule in &authorization.rules {
        // A TCP connection has no method and no path: a denial that asks for
        // one holds all the same, a permission does not (as Istio has it).
        let covers = rule.identities.iter().any(|pattern| pattern.matches(caller))
            && match request {
                None => {
                    rule.effect == AuthorizationEffect::Deny
                        || (rule.methods.is_empty() && rule.paths.is_empty())
                }
                Some(parts) => {
                    let path = parts.uri.path();
                    (rule.methods.is_empty() || rule.methods.contains(&parts.method))
                        && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.matches(path)))
                }
            };
        if !covers {
            continue;
        }
        match rule.effect {
            AuthorizationEffect::Deny => {
                tracing::debug!(rule = rule.name, %caller, "denied by rule");
                return false;
            }
            AuthorizationEffect::Allow => allowed = true,
            AuthorizationEffect::Audit => {
                tracing::info!(rule = rule.name, %caller, "audit: the rule matches");
            }
        }
    }
    allowed
}

async fn relay_tcp<S>(
    worker: Rc<Worker>,
    listener: &Listener,
    mut stream: S,
    traffic: Arc<crate::io::Traffic>,
    connection: Connection,
    caller: Caller,
    announced: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut record = TcpRecord::begin(Direction::Inbound);
    let outcome = connect_application(&worker, listener, &caller, &mut record).await;
    let verdict = match &outcome {
        Ok(_) => tcp::ACCEPTED,
        Err(verdict) => *verdict,
    };
    let announced = match announced {
        true => announce(&mut stream, verdict).await,
        false => Ok(()),
    };
    if let (Ok(mut application), Ok(())) = (outcome, announced) {
        let mut refreshed = worker.refreshed.subscribe();
        let still_allowed = async {
            // A relay outlives changes of the rules; each is judged anew.
            while refreshed.changed().await.is_ok() {
                let now = worker.listener(&connection.listener);
                let allowed = now.as_deref().is_none_or(|listener| match &listener.bind {
                    Bind::Inbound(bind) => is_allowed(&worker, bind, &caller, None),
                    _ => false,
                });
                if !allowed {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = tcp::relay(&mut stream, &mut application) => if let Err(error) = result {
                tracing::debug!(listener = &*listener.name, %error, "a TCP connection broke");
                record.termination = "connection reset";
            },
            () = traffic.idle(listener.idle_timeout) => record.termination = "idle timeout",
            () = still_allowed => {
                record.termination = "no longer authorized";
                record.flag = Flag::UnauthorizedExternalService;
            }
        }
    }
    let metrics = worker.shared.metrics.of(Direction::Inbound);
    metrics.bytes_received.add(traffic.received());
    metrics.bytes_sent.add(traffic.sent());
    record.end(&worker, &connection, &traffic);
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
    record: &mut TcpRecord,
) -> Result<crate::io::ClientTransport, u8> {
    let allowed = match &listener.bind {
        Bind::Inbound(bind) => is_allowed(worker, bind, caller, None),
        _ => false,
    };
    if !allowed {
        record.flag = Flag::UnauthorizedExternalService;
        record.termination = "not authorized";
        return Err(tcp::DENIED);
    }
    let Some(cluster) = &listener.cluster else {
        record.flag = Flag::NoClusterFound;
        return Err(tcp::UNREACHABLE);
    };
    record.discovery_name = Some(Arc::clone(&cluster.discovery_name));
    let connected = match &cluster.upstream {
        Upstream::Application { address, port } => {
            let address =
                std::net::SocketAddr::new(address.unwrap_or(worker.shared.application_address), *port);
            record.upstream = Some(address);
            dial(&worker.shared, cluster, &Target::Application(address), HopKind::Main).await
        }
        Upstream::Mesh(_) | Upstream::External(_) => {
            tcp::connect(worker, cluster).await.map(|(stream, target)| {
                record.upstream = Some(target.address());
                stream
            })
        }
    };
    connected.map_err(|error| {
        tracing::warn!(listener = &*listener.name, %error, "the application does not accept a connection");
        record.flag = Flag::UpstreamConnectionFailure;
        record.termination = "no connection to the application";
        tcp::UNREACHABLE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::convert;
    use bowline_discovery::v1;

    fn authorization(rules: &[(i32, &str, &[&str], &[&str])]) -> Authorization {
        let rules = rules
            .iter()
            .map(|(effect, identity, methods, paths)| v1::AuthorizationRule {
                name: "rule".to_owned(),
                effect: *effect,
                identities: vec![(*identity).to_owned()],
                methods: methods.iter().map(|method| (*method).to_owned()).collect(),
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            })
            .collect();
        convert::authorization(&v1::Authorization { name: "a".to_owned(), rules }).expect("valid")
    }

    #[test]
    fn deny_is_the_default_and_wins() {
        let caller: SpiffeId = "spiffe://d/ns/a/cluster/c/svc/s".parse().expect("an id");
        let parts = |method: &str, path: &str| {
            Request::builder().method(method).uri(path).body(()).expect("a request").into_parts().0
        };
        let (allow, deny, audit) = (0, 1, 2);
        let get = parts("GET", "/x");
        assert!(!decide(&authorization(&[]), &caller, Some(&get)));
        assert!(!decide(&authorization(&[(audit, "spiffe://d/ns/a/*", &[], &[])]), &caller, Some(&get)));
        assert!(!decide(&authorization(&[(allow, "spiffe://d/ns/b/*", &[], &[])]), &caller, Some(&get)));
        let rules = authorization(&[
            (allow, "spiffe://d/ns/a/*", &[], &[]),
            (deny, "spiffe://d/ns/a/*", &["DELETE"], &["/admin*"]),
        ]);
        assert!(decide(&rules, &caller, Some(&get)));
        assert!(decide(&rules, &caller, Some(&parts("DELETE", "/x"))));
        assert!(!decide(&rules, &caller, Some(&parts("DELETE", "/admin/1"))));
        // A TCP connection: the denial holds, a permission of methods does not.
        assert!(!decide(&rules, &caller, None));
        assert!(decide(&authorization(&[(allow, "spiffe://d/ns/a/*", &[], &[])]), &caller, None));
        assert!(!decide(&authorization(&[(allow, "spiffe://d/ns/a/*", &["GET"], &[])]), &caller, None));
    }
}
