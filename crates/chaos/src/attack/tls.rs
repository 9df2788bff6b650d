//! An attacker's TLS: it believes every server, and keeps what that shows.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{AttackError, Reception, reception_of, unreachable};
use crate::system::Forged;

/// Which TLS an attacker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// At most 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// A certificate with its key, stolen or forged.
pub struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of a certificate that the system has forged.
    ///
    /// # Errors
    /// Its key cannot be read.
    pub fn of(forged: &Forged) -> Result<Self, AttackError> {
        let key = PrivateKeyDer::from_pem_slice(forged.key.expose().as_bytes());
        let key = key.map_err(|error| AttackError::Credentials(error.to_string()))?;
        let chain = forged.chain_der.iter().map(|der| CertificateDer::from(der.clone())).collect();
        Ok(Self { chain, key })
    }
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// What an attacker's handshakes are made with, and what will have been shown to it.
pub(super) fn client_config(
    version: TlsVersion,
    credentials: Option<&Credentials>,
    http2_only: bool,
) -> Result<(Arc<ClientConfig>, Arc<Recorder>), AttackError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let recorder = Arc::new(Recorder { provider: Arc::clone(&provider), shown: Mutex::default() });
    let signer = provider.key_provider;
    let wrong = |error: rustls::Error| AttackError::Credentials(error.to_string());
    let versions = match version {
        TlsVersion::Tls12 => [&TLS12],
        TlsVersion::Tls13 => [&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as _);
    let mut config = match credentials {
        // Whether the key is the certificate's is for the server to find out.
        Some(Credentials { chain, key }) => {
            let key = signer.load_private_key(key.clone_key()).map_err(wrong)?;
            let shown = CertifiedKey::new(chain.clone(), key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = match http2_only {
        true => vec![b"h2".to_vec()],
        false => vec![b"h2".to_vec(), b"bowline-tcp".to_vec()],
    };
    Ok((Arc::new(config), recorder))
}

/// Connects and shakes hands.
pub(super) async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Reception> {
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    stream.set_nodelay(true).map_err(|_| Reception::Closed)?;
    let name = ServerName::IpAddress(address.ip().into());
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| reception_of(&error))
}

/// Believes everything.
#[derive(Debug)]
pub(super) struct Recorder {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// What the server has shown: DER, leaf first.
    pub(super) fn shown(&self) -> Option<Vec<Vec<u8>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|der| der.to_vec()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
