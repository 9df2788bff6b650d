//! One connection to an endpoint: TCP, then the hop's TLS.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use rustls::{AlertDescription, CertificateError, ClientConfig, PeerIncompatible};
use rustls_pki_types::ServerName;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    config::{
        Cluster, Endpoint, HopConfigs, MeshUpstream, Upstream, UpstreamTls, external::ExternalSecurity,
    },
    hops::{Hop, HopCut},
    io::{ClientTransport, ReadAhead, Rewound, Transport},
    metrics::HandshakeFailure,
    refusal::{Refusal, RefusalCause, RefusedParty},
    shared::Shared,
    tls::{
        ALPN_H2,
        verify::{IdentityFault, identity_fault, peer_identity},
    },
    trace::{Phase, Timings},
};

/// Why there is no connection. Nothing has been sent to the application.
#[derive(Clone, Debug)]
pub(crate) enum DialError {
    /// TCP could not connect.
    Connect(io::ErrorKind),
    /// TCP or TLS took too long.
    Timeout,
    /// TLS failed.
    Handshake(HandshakeFailure, String),
    /// One of the two sides does not accept who the other one is.
    Identity { refusal: Refusal, failure: HandshakeFailure, text: String },
    /// The far side's application cannot be reached (its proxy says).
    ApplicationUnreachable,
    /// The far side's authorization denies this proxy.
    Denied,
    /// The endpoint's connections and waiting requests are at their limit.
    Overflow,
    /// The far side has as many connections as it may (its proxy says).
    Full,
    /// The far side takes no more connections at this rate (its proxy says).
    Limited,
    /// Nothing may go there: what was asked for cannot be done.
    Refused(Arc<str>),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(kind) => write!(f, "connection failure: {kind}"),
            Self::Timeout => f.write_str("connection timeout"),
            Self::Handshake(cause, text) => write!(f, "TLS ({}): {text}", cause.as_str()),
            Self::Identity { refusal, text, .. } => {
                write!(f, "identity refused ({}): {text}", refusal.text())
            }
            Self::ApplicationUnreachable => f.write_str("the application does not accept connections"),
            Self::Denied => f.write_str("access denied"),
            Self::Overflow => f.write_str("overflow"),
            Self::Full => f.write_str("the server has as many connections as it may"),
            Self::Limited => f.write_str("the server's limit of new connections"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

impl Error for DialError {}

impl DialError {
    /// Whether outlier detection should hold it against the endpoint. A refused identity is
    /// refused by every endpoint, or for a reason that an operator has to see.
    pub(crate) fn blames_endpoint(&self) -> bool {
        !matches!(
            self,
            Self::Overflow
                | Self::Full
                | Self::Limited
                | Self::Refused(_)
                | Self::Identity { .. }
                | Self::Denied
                | Self::Handshake(HandshakeFailure::NotReady, _)
        )
    }

    /// Whose identity was refused, if that is what happened. Such a call is not tried again.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Identity { refusal, .. } => Some(*refusal),
            Self::Denied => Some(Refusal::of_caller(RefusalCause::NotAuthorized)),
            _ => None,
        }
    }
}

/// What is connected to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Another proxy, or a server outside the mesh.
    Endpoint(Arc<Endpoint>),
    /// The task's own application.
    Application(SocketAddr),
}

impl Target {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Endpoint(endpoint) => endpoint.address,
            Self::Application(address) => *address,
        }
    }

    /// What is connected to at this moment: another address where that is led elsewhere on purpose.
    pub(crate) fn way(&self) -> SocketAddr {
        match self {
            Self::Endpoint(endpoint) => endpoint.way(),
            Self::Application(address) => *address,
        }
    }
}

/// Which of the hop's configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HopKind {
    Main,
    Upgrade,
}

/// Connects to `target` of `cluster`, and says how long that took.
pub(crate) async fn dial(
    shared: &Shared,
    cluster: &Cluster,
    target: &Target,
    kind: HopKind,
    timings: &mut Timings,
) -> Result<ClientTransport, DialError> {
    cluster.metrics.connections.increment();
    let result = match (target, &cluster.upstream) {
        (Target::Endpoint(endpoint), Upstream::Mesh(mesh)) => {
            let config = match &mesh.tls {
                UpstreamTls::Plaintext => None,
                UpstreamTls::On(configs) => {
                    // The verifier goes by the SPIFFE id; a name is there because rustls wants one.
                    let name = ServerName::IpAddress(endpoint.address.ip().into());
                    Some(Terms { config: config_of(configs, kind), name, alpn: Alpn::Needed })
                }
                UpstreamTls::Waiting => {
                    return Err(DialError::Handshake(
                        HandshakeFailure::NotReady,
                        "this proxy has no certificate yet".to_owned(),
                    ));
                }
            };
            dial_endpoint(shared, cluster, endpoint.way(), config, timings).await
        }
        (Target::Endpoint(endpoint), Upstream::External(external)) => match &external.security {
            ExternalSecurity::Plain => dial_endpoint(shared, cluster, endpoint.way(), None, timings).await,
            ExternalSecurity::Refused(reason) => Err(DialError::Refused(Arc::clone(reason))),
            ExternalSecurity::Tls(tls) => {
                let name = endpoint.server_name.as_ref().unwrap_or(&tls.server_name).clone();
                let config = config_of(&tls.configs, kind);
                // A server that speaks HTTP/1.1 alone may know nothing of ALPN (RFC 7301).
                let http2 = config.alpn_protocols.iter().any(|protocol| protocol == ALPN_H2);
                let alpn = if http2 { Alpn::Needed } else { Alpn::Optional };
                let terms = Some(Terms { config, name, alpn });
                dial_endpoint(shared, cluster, endpoint.way(), terms, timings).await
            }
        },
        _ => {
            let began = Instant::now();
            let connected = timeout(cluster.connect_timeout, shared.dialer.connect(target.address())).await;
            timings.connect = Some(Phase::since(began, !matches!(connected, Ok(Ok(_)))));
            match connected {
                Ok(Ok(stream)) => Ok(Transport::Plain(stream)),
                Ok(Err(error)) => Err(DialError::Connect(error.kind())),
                Err(_) => Err(DialError::Timeout),
            }
        }
    };
    let result = result.map_err(|error| match (error, &cluster.upstream) {
        // Outside the mesh there are no identities, only certificates.
        (DialError::Identity { failure, text, .. }, Upstream::External(_)) => {
            DialError::Handshake(failure, text)
        }
        (error, _) => error,
    });
    if let Err(error) = &result {
        cluster.metrics.connect_failures.increment();
        cluster.series.row().connection_errors.increment();
        tell(cluster, target, error);
    }
    result
}

/// Counts and logs a failed handshake.
fn tell(cluster: &Cluster, target: &Target, error: &DialError) {
    let (upstream, cluster_name) = (target.address(), &*cluster.name);
    match error {
        DialError::Handshake(cause, text) => {
            cluster.metrics.handshake_failed(*cause);
            cluster.series.row().handshake_failures.increment();
            tracing::warn!(cluster = cluster_name, %upstream, cause = cause.as_str(), text, "handshake failed");
        }
        DialError::Identity { refusal, failure, text } => {
            cluster.metrics.handshake_failed(*failure);
            cluster.series.row().handshake_failures.increment();
            let (party, cause) = (refusal.party.as_str(), refusal.cause.as_str());
            tracing::warn!(cluster = cluster_name, %upstream, party, cause, text, "an identity was refused");
        }
        _ => {}
    }
}

/// Whether the other proxy has to speak first on a connection to this cluster.
fn is_judged_late(cluster: &Cluster) -> bool {
    matches!(&cluster.upstream, Upstream::Mesh(mesh) if !matches!(mesh.tls, UpstreamTls::Plaintext))
}

/// Waits on a fresh connection for the other proxy's first bytes.
///
/// Under TLS 1.3 a client has finished its handshake before the server has judged its
/// certificate, and an alert can be lost behind what the client has written since. So it writes
/// nothing until the server, which is satisfied then, has spoken: HTTP/2's SETTINGS.
pub(crate) async fn accepted(
    cluster: &Cluster,
    target: &Target,
    mut stream: ClientTransport,
) -> Result<Rewound<ClientTransport>, DialError> {
    /// SETTINGS and WINDOW_UPDATE are shorter.
    const FIRST_BYTES: usize = 256;
    if !is_judged_late(cluster) {
        return Ok(Rewound::new(Bytes::new(), stream));
    }
    let mut first = [0; FIRST_BYTES];
    let read = timeout(cluster.connect_timeout, stream.read(&mut first)).await;
    judged(cluster, target, read).map(|count| Rewound::new(Bytes::copy_from_slice(&first[..count]), stream))
}

/// Waits on a fresh connection for the other proxy's verdict, one byte; see [`crate::tcp`].
pub(crate) async fn verdict(
    cluster: &Cluster,
    target: &Target,
    mut stream: ClientTransport,
) -> Result<ClientTransport, DialError> {
    if !is_judged_late(cluster) {
        return Ok(stream);
    }
    let mut byte = [0];
    let read = timeout(cluster.connect_timeout, stream.read(&mut byte)).await;
    judged(cluster, target, read)?;
    match byte {
        [crate::tcp::ACCEPTED] => Ok(stream),
        [crate::tcp::DENIED] => Err(DialError::Denied),
        [crate::tcp::FULL] => Err(DialError::Full),
        [crate::tcp::LIMITED] => Err(DialError::Limited),
        _ => Err(DialError::ApplicationUnreachable),
    }
}

/// What the first read of a connection says; counts and logs a refusal.
fn judged(
    cluster: &Cluster,
    target: &Target,
    read: Result<io::Result<usize>, tokio::time::error::Elapsed>,
) -> Result<usize, DialError> {
    let error = match read {
        Ok(Ok(count @ 1..)) => return Ok(count),
        Ok(Ok(_)) => DialError::Connect(io::ErrorKind::UnexpectedEof),
        Ok(Err(error)) => handshake_error(&error),
        Err(_) => {
            DialError::Handshake(HandshakeFailure::Timeout, "no word from the server in time".to_owned())
        }
    };
    cluster.metrics.connect_failures.increment();
    cluster.series.row().connection_errors.increment();
    tell(cluster, target, &error);
    Err(error)
}

fn config_of(configs: &HopConfigs, kind: HopKind) -> &Arc<ClientConfig> {
    match kind {
        HopKind::Main => &configs.main,
        HopKind::Upgrade => &configs.upgrade,
    }
}

/// What a handshake is made with.
struct Terms<'a> {
    config: &'a Arc<ClientConfig>,
    name: ServerName<'static>,
    alpn: Alpn,
}

/// Whether the server has to choose what was offered by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpn {
    Needed,
    /// It may as well choose nothing.
    Optional,
}

async fn dial_endpoint(
    shared: &Shared,
    cluster: &Cluster,
    address: SocketAddr,
    terms: Option<Terms<'_>>,
    timings: &mut Timings,
) -> Result<ClientTransport, DialError> {
    let began = Instant::now();
    let connected = timeout(cluster.connect_timeout, TcpStream::connect(address)).await;
    timings.connect = Some(Phase::since(began, !matches!(connected, Ok(Ok(_)))));
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(DialError::Connect(error.kind())),
        Err(_) => return Err(DialError::Timeout),
    };
    stream.set_nodelay(true).map_err(|error| DialError::Connect(error.kind()))?;
    let Some(terms) = terms else { return Ok(Transport::Plain(stream)) };
    let connector = TlsConnector::from(Arc::clone(terms.config));
    let began = Instant::now();
    let handshake = connector.connect(terms.name, ReadAhead::new(stream));
    let shaken = timeout(cluster.connect_timeout, handshake).await;
    timings.handshake = Some(Phase::since(began, !matches!(shaken, Ok(Ok(_)))));
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(handshake_error(&error)),
        Err(_) => {
            return Err(DialError::Handshake(HandshakeFailure::Timeout, "handshake timeout".to_owned()));
        }
    };
    cluster.series.row().shook_hands(began.elapsed());
    let agreed = stream.get_ref().1.alpn_protocol();
    let unspoken = agreed.is_none() && terms.alpn == Alpn::Optional;
    if !unspoken && agreed != terms.config.alpn_protocols.first().map(Vec::as_slice) {
        let text = "the other side does not speak this hop's protocol".to_owned();
        return Err(DialError::Handshake(HandshakeFailure::Protocol, text));
    }
    let hop = match &cluster.upstream {
        Upstream::Mesh(mesh) => held(shared, mesh, stream)?,
        Upstream::External(_) | Upstream::Application { .. } => Hop::free(stream),
    };
    Ok(Transport::Tls(Box::new(hop)))
}

/// Keeps a hop among those that a revocation ends.
fn held(
    shared: &Shared,
    mesh: &MeshUpstream,
    stream: TlsStream<ReadAhead<TcpStream>>,
) -> Result<Hop<TlsStream<ReadAhead<TcpStream>>>, DialError> {
    let expected = match &mesh.tls {
        UpstreamTls::On(configs) => configs.expected.as_ref(),
        UpstreamTls::Plaintext | UpstreamTls::Waiting => None,
    };
    let trust = Arc::clone(&shared.snapshot.load().trust);
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = leaf.and_then(|leaf| match expected.and_then(|it| trust.imported.server(leaf, &it.0)) {
        Some(peer) => Some(peer),
        None => peer_identity(leaf).ok(),
    });
    // The verifier has read the same certificate: there is one, and it has an identity.
    let Some(peer) = peer else { return Ok(Hop::free(stream)) };
    let hop = shared.hops.hold(peer.clone(), stream);
    // After it is held: a revocation that the handshake has not seen cuts it, or is seen here.
    if shared.snapshot.load().trust.refuses(&peer) {
        let refusal = Refusal { party: RefusedParty::Server, cause: RefusalCause::Revoked };
        let text = HopCut.to_string();
        return Err(DialError::Identity { refusal, failure: HandshakeFailure::Revoked, text });
    }
    Ok(hop)
}

/// A handshake's I/O error, by what was wrong.
pub(crate) fn handshake_error(error: &io::Error) -> DialError {
    let (failure, text) = classify(error);
    match refusal_of(error, failure, RefusedParty::Caller) {
        Some(refusal) => DialError::Identity { refusal, failure, text },
        None => DialError::Handshake(failure, text),
    }
}

/// Whose identity a handshake's error refuses; `own` is which side this proxy is.
pub(crate) fn refusal_of(error: &io::Error, failure: HandshakeFailure, own: RefusedParty) -> Option<Refusal> {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())?;
    Refusal::of_tls(tls, failure, own)
}

/// What an I/O error of a TLS stream says, for counters and people.
pub(crate) fn classify(error: &io::Error) -> (HandshakeFailure, String) {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return (HandshakeFailure::Io, error.to_string());
    };
    (classify_tls(tls), explain(tls))
}

/// A TLS error in one short line. What rustls carries for others it would print as Rust writes it.
fn explain(error: &rustls::Error) -> String {
    use webpki::Error as W;
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return error.to_string();
    };
    let text = match other.0.downcast_ref::<W>() {
        None => other.0.to_string(),
        Some(W::PathLenConstraintViolated) => "its chain is longer than its authority allows".to_owned(),
        Some(W::EndEntityUsedAsCa) => "it is signed by a certificate that is no authority's".to_owned(),
        Some(W::NameConstraintViolation) => "it has a name that its authority may not give".to_owned(),
        Some(W::UnsupportedSignatureAlgorithmContext(_)) => {
            "it is signed with an algorithm that is not accepted".to_owned()
        }
        Some(W::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {
            "it is signed with an algorithm that its authority's key is not for".to_owned()
        }
        Some(other) => other.to_string(),
    };
    format!("invalid peer certificate: {text}")
}

fn classify_tls(error: &rustls::Error) -> HandshakeFailure {
    use HandshakeFailure as F;
    use rustls::Error as E;
    if let Some(fault) = identity_fault(error) {
        return match fault {
            IdentityFault::Unreadable => F::BadCertificate,
            IdentityFault::NotOneUri(_)
            | IdentityFault::NotSpiffe
            | IdentityFault::Unexpected(_)
            | IdentityFault::StandsForNobody => F::WrongIdentity,
        };
    }
    match error {
        E::InvalidMessage(_) | E::InappropriateMessage { .. } => F::Plaintext,
        E::NoCertificatesPresented => F::NoClientCertificate,
        E::NoApplicationProtocol => F::Protocol,
        E::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => F::TlsVersion,
        E::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => F::UnknownCa,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => F::Expired,
            CertificateError::Revoked => F::Revoked,
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::ApplicationVerificationFailure => F::WrongIdentity,
            _ => F::BadCertificate,
        },
        E::AlertReceived(AlertDescription::NoApplicationProtocol) => F::Protocol,
        E::AlertReceived(AlertDescription::ProtocolVersion) => F::TlsVersion,
        E::AlertReceived(_) => F::RefusedByPeer,
        _ => F::BadCertificate,
    }
}
