//! Connections to the control plane: gRPC over TLS 1.3, its certificate
//! checked against its SPIFFE id, ours shown once there is one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bowline_discovery::{
    identity::{
        FETCH_PURPOSE, FetchRequest, IssueRequest, IssueResponse, ShowsOutsideRequest, ShowsRequest,
        TaskCredentialsRequest, TaskCredentialsResponse, identity_client::IdentityClient,
    },
    tonic::{
        self,
        transport::{Channel, Endpoint, Uri},
    },
};
use bowline_model::identity::SpiffeId;
use bowline_plumbing::hpke::{HpkeError, Recipient, Sealed};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

use crate::{
    config::store::MESH_IDENTITY,
    run::Control,
    tls::{self, ALPN_H2, Clock, TlsError, staged::Shown, verify::ExpectedServers},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer of the Identity service.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the control plane could not be asked.
#[derive(Debug, Error)]
pub(crate) enum ControlPlaneError {
    #[error("the proxy's TLS configuration")]
    Tls(#[from] TlsError),
    #[error("the key that the control plane sent")]
    Sealed(#[from] HpkeError),
    /// The control plane, or the way to it, said no.
    #[error("the control plane answered {:?}: {}", .0.code(), .0.message())]
    Status(Box<tonic::Status>),
}

impl From<tonic::Status> for ControlPlaneError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// A certificate with the key that came with it.
pub(crate) struct FetchedCertificate {
    /// DER, leaf first.
    pub(crate) chain_der: Vec<Vec<u8>>,
    /// PKCS#8.
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Where the control plane is and who it must be.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    pub(crate) id: SpiffeId,
    pub(crate) control: Control,
}

impl ControlPlane {
    /// A channel of its own, made when first used. `with_certificate` shows
    /// ours; without, only the one-time token can speak for the proxy.
    pub(crate) fn channel(&self, with_certificate: bool) -> Result<Channel, ControlPlaneError> {
        let config = {
            let data_plane = self.control.lock();
            let own = data_plane.store.identity(MESH_IDENTITY).map(|held| Arc::clone(&held.key));
            let servers = ExpectedServers::new([self.id.clone()]);
            let key = own.as_ref().filter(|_| with_certificate);
            // Whatever is staged: that is for other proxies.
            let shown = key.map(Shown::own);
            tls::hop_config(shown.as_ref(), data_plane.store.trust(), servers, ALPN_H2, Clock::Machine)?
        };
        let address = self.address;
        let connector = tower::service_fn(move |_: Uri| connect(address, Arc::clone(&config)));
        Ok(Endpoint::from_static("http://control-plane")
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector))
    }

    /// Asks for a certificate: with a token, or (without) in the name of the
    /// certificate at hand.
    pub(crate) async fn issue(
        &self,
        token: Option<&str>,
        csr_der: Vec<u8>,
        name: &str,
    ) -> Result<IssueResponse, ControlPlaneError> {
        let mut client = self.identity(token.is_none())?;
        let request = IssueRequest {
            token: token.unwrap_or_default().to_owned(),
            csr_der,
            name: if name == MESH_IDENTITY { String::new() } else { name.to_owned() },
        };
        in_time(client.issue(timed(request))).await
    }

    /// Asks for a certificate whose key was not made here, in the name of the certificate at hand.
    pub(crate) async fn fetch(&self, name: &str) -> Result<FetchedCertificate, ControlPlaneError> {
        let recipient = Recipient::generate()?;
        let mut client = self.identity(true)?;
        let request = FetchRequest { name: name.to_owned(), recipient: recipient.public_key().to_vec() };
        let answer = in_time(client.fetch(timed(request))).await?;
        let sealed = Sealed { encapsulated: answer.encapsulated, ciphertext: answer.sealed_key };
        let leaf = answer.chain_der.first().map(Vec::as_slice).unwrap_or_default();
        let key = recipient.open(&sealed, FETCH_PURPOSE, leaf)?;
        Ok(FetchedCertificate { chain_der: answer.chain_der, key })
    }

    /// Tells what is shown to other proxies, and what is in force here on purpose.
    pub(crate) async fn shows(&self, shown: ShowsRequest) -> Result<(), ControlPlaneError> {
        in_time(self.identity(true)?.shows(timed(shown))).await.map(|_| ())
    }

    /// Tells the serial numbers of all certificates that clients outside the mesh are shown.
    pub(crate) async fn shows_outside(&self, serials: Vec<String>) -> Result<(), ControlPlaneError> {
        let request = ShowsOutsideRequest { serials };
        in_time(self.identity(true)?.shows_outside(timed(request))).await.map(|_| ())
    }

    /// Asks for credentials of the task's role, in the name of the certificate at hand.
    pub(crate) async fn task_credentials(&self) -> Result<TaskCredentialsResponse, ControlPlaneError> {
        let mut client = self.identity(true)?;
        in_time(client.task_credentials(timed(TaskCredentialsRequest {}))).await
    }

    fn identity(&self, with_certificate: bool) -> Result<IdentityClient<Channel>, ControlPlaneError> {
        Ok(IdentityClient::new(self.channel(with_certificate)?))
    }
}

/// The control plane is told how long it has.
fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// And is not waited for any longer, whatever it does.
async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, ControlPlaneError> {
    let answer = timeout(ANSWER_TIMEOUT, call)
        .await
        .map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))?;
    Ok(answer?.into_inner())
}

async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config).connect(ServerName::IpAddress(address.ip().into()), stream).await
    };
    let stream = timeout(CONNECT_TIMEOUT, connecting).await??;
    Ok(TokioIo::new(stream))
}
