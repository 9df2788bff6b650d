//! Connections to receivers, with TLS or without.

use std::{fmt, io, pin::Pin, sync::Arc, time::Duration};

use bowline_model::log_driver::TlsSettings;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Certificate authorities that the system believes: Debian's and Red Hat's place.
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What a connection is used as.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> Stream for T {}

/// A connection.
pub(crate) type Connection = Pin<Box<dyn Stream>>;

/// Where to connect to, and how.
#[derive(Clone)]
pub(crate) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Connector {
    pub(crate) fn new(host: &str, port: u16, tls: Option<&TlsSettings>) -> io::Result<Self> {
        let tls = match tls {
            None => None,
            Some(settings) => {
                let name = settings.name.as_deref().unwrap_or(host).to_owned();
                let name = ServerName::try_from(name).map_err(io::Error::other)?;
                Some((TlsConnector::from(Arc::new(config(settings)?)), name))
            }
        };
        Ok(Self { host: host.to_owned(), port, tls })
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Box::pin(stream) as Connection),
                Some((connector, name)) => {
                    Ok(Box::pin(connector.connect(name.clone(), stream).await?) as Connection)
                }
            }
        };
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)?
    }
}

fn config(settings: &TlsSettings) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    if !settings.verify {
        let verifier = Arc::new(AnyCertificate(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
            roots.add_parsable_certificates(read.flatten());
        }
        None => {
            for path in SYSTEM_BUNDLES {
                let Ok(read) = CertificateDer::pem_file_iter(path) else { continue };
                roots.add_parsable_certificates(read.flatten());
                break;
            }
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `tls.verify off`: whoever answers is believed to be the receiver; only eavesdroppers are kept out.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
