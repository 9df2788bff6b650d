//! A proxy without a data plane: its certificate and its stream, as `crates/proxy` has them
//! (`control_plane.rs`, `certificates.rs`, `stream.rs`), and of resources their versions.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use bowline_discovery::{
    identity::{IssueRequest, identity_client::IdentityClient},
    resource::ResourceType,
    xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node},
};
use bowline_model::task::TaskId;
use bowline_plumbing::backoff::Backoff;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{ClientConfig, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    call::Call,
    names::Names,
    tls::Trust,
    world::{SERVICES_PER_NAMESPACE, World},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ISSUE_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of a silent connection, between two signs of life, and until one is missed.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What all proxies share.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) names: Names,
    pub(crate) trust: Trust,
    pub(crate) address: std::net::SocketAddr,
    /// How many may ask for a certificate at a time, so that what is measured is the server's rate.
    pub(crate) asking: Semaphore,
}

/// One proxy.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    task: TaskId,
    own: Option<Arc<CertifiedKey>>,
    /// Versions by type (its place in [`ResourceType::ALL`]) and name.
    held: BTreeMap<(u8, Arc<str>), Arc<str>>,
    had: [u16; SERVICES_PER_NAMESPACE],
}

impl Proxy {
    pub(crate) fn new(shared: Arc<Shared>, task: TaskId) -> Self {
        Self { shared, task, own: None, held: BTreeMap::new(), had: [0; SERVICES_PER_NAMESPACE] }
    }

    /// Gets a certificate by `token` and follows the stream until `rounds` is closed. Whenever that
    /// changes, the certificate is renewed, and the stream opened anew with the later one.
    pub(crate) async fn run(mut self, token: String, mut rounds: watch::Receiver<u64>) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        if let Err(error) = self.certify(&token).await {
            return self.shared.world.failed(format!("{error:#}"));
        }
        loop {
            let opened = self.shared.world.opened.load(Ordering::Relaxed);
            if let Err(error) = self.follow(&mut backoff, &mut rounds).await {
                self.shared.world.failed(format!("after {opened} streams: {error:#}"));
            }
            match rounds.has_changed() {
                Ok(false) => {}
                Ok(true) => {
                    rounds.mark_unchanged();
                    while let Err(error) = self.certify("").await {
                        self.shared.world.failed(format!("renewal: {error:#}"));
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    backoff.reset();
                }
                Err(_) => return,
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    fn channel(&self, own: Option<&Arc<CertifiedKey>>) -> anyhow::Result<Channel> {
        let (config, address) = (self.shared.trust.client_config(own)?, self.shared.address);
        let connector = tower::service_fn(move |_: Uri| {
            let connecting = connect(address, Arc::clone(&config));
            async { connecting.await.map(TokioIo::new) }
        });
        Ok(Endpoint::from_static("http://control-plane")
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector))
    }

    /// Asks for a certificate: with a token, or (empty) in the name of the one at hand.
    async fn certify(&mut self, token: &str) -> anyhow::Result<()> {
        let _asking = self.shared.asking.acquire().await?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let csr = CertificateParams::new(Vec::new())?.serialize_request(&key)?;
        let own = self.own.as_ref().filter(|_| token.is_empty());
        let mut client = IdentityClient::new(self.channel(own)?);
        let mut request = tonic::Request::new(IssueRequest {
            token: token.to_owned(),
            csr_der: csr.der().to_vec(),
            name: String::new(),
        });
        request.set_timeout(ISSUE_TIMEOUT);
        let answer =
            timeout(ISSUE_TIMEOUT, client.issue(request)).await.context("no certificate in time")??;
        let chain = answer.into_inner().chain_der.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = self.shared.trust.provider.key_provider.load_private_key(key)?;
        self.own = Some(Arc::new(CertifiedKey::new(chain, key)));
        self.shared.world.certificates.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Until the stream ends, or another certificate is wanted.
    async fn follow(
        &mut self,
        backoff: &mut Backoff,
        rounds: &mut watch::Receiver<u64>,
    ) -> anyhow::Result<()> {
        let config = self.shared.trust.client_config(self.own.as_ref())?;
        let stream = connect(self.shared.address, config).await?;
        let mut call = Call::open(stream, self.first_requests()).await?;
        let mut step = InStep::new(&self.shared);
        let mut unanswered: Vec<_> = ResourceType::ALL.to_vec();
        loop {
            let response = tokio::select! {
                response = call.next() => response?,
                _ = rounds.changed() => {
                    rounds.mark_changed();
                    return Ok(());
                }
            };
            backoff.reset();
            let kind = ResourceType::from_type_url(&response.type_url);
            let answer = DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            };
            let taken = kind.map(|kind| self.take(kind, response));
            call.send(&answer)?;
            if let Some(endpoints) = taken {
                for (name, version, encoded) in endpoints {
                    let took = self.shared.world.took(&name, &version, &encoded, &mut self.had);
                    took.map_err(anyhow::Error::msg)?;
                }
            }
            unanswered.retain(|waiting| Some(*waiting) != kind);
            if unanswered.is_empty() {
                step.reached();
            }
        }
    }

    /// For each type, what it has of it.
    fn first_requests(&self) -> Vec<DeltaDiscoveryRequest> {
        let request = |(place, kind): (u8, ResourceType)| {
            let held = self.held.iter().filter(|((of, _), _)| *of == place);
            DeltaDiscoveryRequest {
                node: Some(Node { id: self.task.as_str().to_owned(), cluster: String::new() }),
                type_url: kind.type_url(),
                initial_resource_versions: held
                    .map(|((_, name), version)| (String::from(&**name), String::from(&**version)))
                    .collect(),
                ..DeltaDiscoveryRequest::default()
            }
        };
        (0..).zip(ResourceType::ALL).map(request).collect()
    }

    /// Notes versions; what it returns are Endpoints, whose changes are counted when they are answered.
    fn take(
        &mut self,
        kind: ResourceType,
        response: DeltaDiscoveryResponse,
    ) -> Vec<(Arc<str>, Arc<str>, Vec<u8>)> {
        let Shared { world, names, .. } = &*self.shared;
        world.responses.fetch_add(1, Ordering::Relaxed);
        world.resources.fetch_add(response.resources.len(), Ordering::Relaxed);
        let place =
            ResourceType::ALL.iter().position(|other| *other == kind).and_then(|at| u8::try_from(at).ok());
        let place = place.unwrap_or_default();
        for name in response.removed_resources {
            self.held.remove(&(place, names.get(&name)));
        }
        let mut endpoints = Vec::new();
        for resource in response.resources {
            let (name, version) = (names.get(&resource.name), names.get(&resource.version));
            self.held.insert((place, Arc::clone(&name)), Arc::clone(&version));
            if let (ResourceType::Endpoints, Some(any)) = (kind, resource.resource) {
                endpoints.push((name, version, any.value));
            }
        }
        endpoints
    }
}

/// A stream's place among those that are in step.
struct InStep {
    shared: Arc<Shared>,
    reached: bool,
}

impl InStep {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.world.opened.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), reached: false }
    }

    fn reached(&mut self) {
        if !std::mem::replace(&mut self.reached, true) {
            self.shared.world.in_step.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InStep {
    fn drop(&mut self) {
        if self.reached {
            self.shared.world.in_step.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

async fn connect(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(ServerName::IpAddress(address.ip().into()), stream).await
    };
    timeout(CONNECT_TIMEOUT, connecting).await?
}
