//! Proxies that only follow the stream: a certificate, a connection of TLS 1.3 each, every type
//! subscribed to, each response answered. What they refuse is noted with its moment.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use bowline_discovery::{
    identity::{
        FETCH_PURPOSE, FetchRequest, IssueRequest, ShowsOutsideRequest, ShowsRequest,
        identity_client::IdentityClient,
    },
    resource::{Resource, ResourceType},
    v1::{self, identity::Source},
    xds::{DeltaDiscoveryRequest, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient},
};
use bowline_model::task::{Secret, TaskId};
use bowline_plumbing::hpke::{Recipient, Sealed};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// The control plane's certificate names no host: all but that is checked.
#[derive(Debug)]
struct NoName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for NoName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) chain: Vec<Vec<u8>>,
    key: Vec<u8>,
    /// PEM of the roots that came with it.
    pub(crate) roots_pem: String,
}

impl Credentials {
    /// What somebody else made.
    pub(crate) fn of(chain: Vec<Vec<u8>>, key: &[u8]) -> Self {
        Self { chain, key: key.to_vec(), roots_pem: String::new() }
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.chain.iter().cloned().map(CertificateDer::from).collect();
        (chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())))
    }

    /// The leaf, PEM.
    pub(crate) fn pem(&self) -> String {
        super::pem(&self.chain[0])
    }
}

fn root_store(roots_pem: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        roots.add(root.expect("PEM")).expect("a root");
    }
    Arc::new(roots)
}

fn client_config(roots_pem: &str, credentials: Option<&Credentials>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = root_store(roots_pem);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .expect("a verifier");
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NoName(verifier)));
    match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => {
            let (chain, key) = credentials.parts();
            builder.with_client_auth_cert(chain, key).expect("a good key")
        }
    }
}

/// A handshake of both sides, as between two proxies, each with what it shows and trusts.
pub(crate) fn shake_hands(
    (client, client_roots): (&Credentials, &str),
    (server, server_roots): (&Credentials, &str),
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = root_store(server_roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let (chain, key) = server.parts();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(chain, key)
        .expect("a good key");
    let mut server = rustls::ServerConnection::new(Arc::new(server))?;
    let client = client_config(client_roots, Some(client));
    let name = ServerName::try_from("proxy.invalid").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        client.read_tls(&mut bytes.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    Ok(())
}

/// Where the stream is, and the roots to believe.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) roots_pem: String,
}

impl Place {
    /// A connection, made when first used.
    pub(crate) fn channel(&self, credentials: Option<&Credentials>) -> Channel {
        let mut config = client_config(&self.roots_pem, credentials);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let address = self.address;
        Endpoint::from_static("http://control").connect_with_connector_lazy(tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                connector.connect(ServerName::IpAddress(address.ip().into()), socket).await.map(TokioIo::new)
            }
        }))
    }

    /// A first certificate, for a token.
    pub(crate) async fn first(&self, token: &Secret) -> Result<Credentials, Status> {
        self.issue(None, token.expose(), "").await
    }

    /// Another certificate, in the name of one.
    pub(crate) async fn renewed(&self, present: &Credentials) -> Result<Credentials, Status> {
        self.issue(Some(present), "", "").await
    }

    /// A certificate to show clients outside the mesh, by the name of its resource.
    pub(crate) async fn public(&self, present: &Credentials, name: &str) -> Result<Credentials, Status> {
        self.issue(Some(present), "", name).await
    }

    /// Tells which certificates clients outside the mesh are shown.
    pub(crate) async fn shows_outside(
        &self,
        present: &Credentials,
        shown: &[&Credentials],
    ) -> Result<(), Status> {
        let serials = shown.iter().map(|shown| serial_of(&shown.chain[0])).collect();
        let mut client = IdentityClient::new(self.channel(Some(present)));
        client.shows_outside(ShowsOutsideRequest { serials }).await.map(|_| ())
    }

    async fn issue(
        &self,
        present: Option<&Credentials>,
        token: &str,
        name: &str,
    ) -> Result<Credentials, Status> {
        let key = KeyPair::generate().expect("a key");
        let csr = CertificateParams::default().serialize_request(&key).expect("a request");
        let request = IssueRequest { token: token.into(), csr_der: csr.der().to_vec(), name: name.into() };
        let issued = IdentityClient::new(self.channel(present)).issue(request).await?.into_inner();
        Ok(Credentials { chain: issued.chain_der, key: key.serialize_der(), roots_pem: issued.roots_pem })
    }
}

/// What a proxy was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// Whom it trusts, PEM.
    pub(crate) roots_pem: String,
    /// By which key its certificate should be signed.
    pub(crate) signing_key: String,
    /// The names of its identities.
    pub(crate) identities: BTreeSet<String>,
    pub(crate) serials: HashSet<String>,
    /// When it was told the last time.
    pub(crate) since: Option<Instant>,
    /// Why its stream is over.
    pub(crate) ended: Option<Code>,
    /// Version of the faulty certificate that it was given to show, and its leaf.
    pub(crate) staged: Option<(String, Vec<u8>)>,
    /// What is wrong with it on purpose.
    pub(crate) disturbance: Option<v1::Disturbance>,
    /// Where it was told to go in place of endpoints' addresses, by cluster.
    pub(crate) led: BTreeMap<String, Vec<String>>,
}

/// A proxy that follows the stream.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) task: TaskId,
    pub(crate) credentials: Credentials,
    refused: watch::Receiver<Refused>,
    following: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Proxy {
    /// Connects, and returns when it was first told what to refuse.
    pub(crate) async fn start(place: &Place, task: TaskId, credentials: Credentials) -> Self {
        let (tell, refused) = watch::channel(Refused::default());
        let channel = place.channel(Some(&credentials));
        let serial = serial_of(&credentials.chain[0]);
        let following = tokio::spawn(async move {
            let status = follow(channel, &tell, serial).await;
            tell.send_modify(|refused| refused.ended = Some(status.code()));
        });
        let mut proxy = Self { task, credentials, refused, following };
        proxy.until(|refused| refused.since.is_some() || refused.ended.is_some()).await;
        assert_eq!(proxy.now().ended, None, "the stream is open");
        proxy
    }

    /// What it refuses now.
    pub(crate) fn now(&self) -> Refused {
        self.refused.borrow().clone()
    }

    pub(crate) async fn until(&mut self, test: impl FnMut(&Refused) -> bool) -> Refused {
        let waiting = self.refused.wait_for(test);
        let found = tokio::time::timeout(super::LIMIT, waiting).await.expect("in time");
        found.expect("it is followed").clone()
    }
}

/// So many requests came to each proxy while something was wrong with it, as it says.
pub(crate) const ARRIVED: u64 = 21;

/// Does what is asked for on purpose, as a sidecar does, and tells of it: shows a faulty certificate, or a new one.
async fn obey(
    mut client: IdentityClient<Channel>,
    tell: &watch::Sender<Refused>,
    identity: &v1::Identity,
    serial: &mut String,
) -> Result<(), Status> {
    let present = tell.borrow().staged.clone();
    let staged = match &identity.staged {
        Some(staged) if present.as_ref().is_some_and(|(version, _)| *version == staged.version) => {
            present.clone()
        }
        Some(staged) => {
            let recipient = Recipient::generate().expect("a key");
            let name = format!("staged:{}", staged.version);
            let request = FetchRequest { name, recipient: recipient.public_key().to_vec() };
            let fetched = client.fetch(request).await?.into_inner();
            let sealed = Sealed { encapsulated: fetched.encapsulated, ciphertext: fetched.sealed_key };
            recipient.open(&sealed, FETCH_PURPOSE, &fetched.chain_der[0]).expect("it is for this proxy");
            Some((staged.version.clone(), fetched.chain_der[0].clone()))
        }
        None => None,
    };
    let asked = match &identity.source {
        Some(Source::Issued(issued)) => !issued.renewal.is_empty(),
        _ => false,
    };
    if asked {
        let key = KeyPair::generate().expect("a key");
        let csr = CertificateParams::default().serialize_request(&key).expect("a request");
        let request = IssueRequest { csr_der: csr.der().to_vec(), ..IssueRequest::default() };
        // Who is refused goes on with what it has.
        if let Ok(issued) = client.issue(request).await {
            *serial = serial_of(&issued.into_inner().chain_der[0]);
        }
    }
    let version = staged.as_ref().map(|(version, _)| version.clone()).unwrap_or_default();
    let was_disturbed = tell.borrow().disturbance.clone();
    if asked || staged != present || identity.disturbance != was_disturbed {
        tell.send_modify(|told| {
            told.staged = staged;
            told.disturbance.clone_from(&identity.disturbance);
        });
        let disturbance = identity.disturbance.as_ref().map(|it| it.version.clone()).unwrap_or_default();
        let arrived = if disturbance.is_empty() && was_disturbed.is_some() { ARRIVED } else { 0 };
        client.shows(ShowsRequest { serial: serial.clone(), staged: version, disturbance, arrived }).await?;
    }
    Ok(())
}

/// Without zeros before it, as sidecars write it.
fn serial_of(leaf: &[u8]) -> String {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(leaf).expect("a certificate");
    let text: String = parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    text.trim_start_matches('0').to_owned()
}

async fn follow(channel: Channel, tell: &watch::Sender<Refused>, mut serial: String) -> Status {
    let identity_client = IdentityClient::new(channel.clone());
    let (requests, outgoing) = mpsc::channel(2 * ResourceType::ALL.len());
    for kind in ResourceType::ALL {
        let request = DeltaDiscoveryRequest { type_url: kind.type_url(), ..Default::default() };
        requests.send(request).await.expect("there is room");
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let mut responses = match client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await {
        Ok(responses) => responses.into_inner(),
        Err(status) => return status,
    };
    loop {
        let response = match responses.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Status::ok("the end"),
            Err(status) => return status,
        };
        let kind = ResourceType::from_type_url(&response.type_url).expect("a known type");
        for held in &response.resources {
            // As a proxy does, for all of them.
            let any = held.resource.as_ref().expect("a message");
            let resource = Resource::decode(kind, &any.value).expect("it can be read");
            if let Resource::Identity(identity) = &resource
                && identity.name == "mesh"
                && let Err(status) = obey(identity_client.clone(), tell, identity, &mut serial).await
            {
                return status;
            }
            tell.send_if_modified(|told| match resource {
                Resource::Revocation(revocation) => {
                    told.serials = revocation.serials.into_iter().collect();
                    told.since = Some(Instant::now());
                    true
                }
                Resource::Trust(trust) => {
                    told.roots_pem = trust.roots_pem;
                    true
                }
                Resource::Identity(identity) => {
                    if let Some(Source::Issued(issued)) = identity.source
                        && identity.name == "mesh"
                    {
                        told.signing_key = issued.authority_key_id;
                    }
                    told.identities.insert(identity.name);
                    true
                }
                Resource::Endpoints(endpoints) => {
                    let led = endpoints.endpoints.iter().map(|endpoint| endpoint.diverted_to.clone());
                    told.led.insert(endpoints.name, led.filter(|led| !led.is_empty()).collect());
                    true
                }
                _ => false,
            });
        }
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..Default::default()
        };
        if requests.send(answer).await.is_err() {
            return Status::ok("the end");
        }
    }
}
