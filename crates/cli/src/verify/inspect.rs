//! Tries an inbound port from outside: as a member, without a certificate,
//! and without TLS.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow};
use bowline_model::clock::Timestamp;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::evidence::PortAnswer;
use crate::topology::CertificateView;

/// One attempt is over after so long.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The verifier's own certificate and key.
#[derive(Debug)]
pub(crate) struct VerifierIdentity {
    /// DER, leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Connects as a member and returns the certificate that the port shows. `imported`: SHA-256 of
/// certificates that stand for the service though they name no SPIFFE id, and that id.
pub(crate) async fn shown_certificate(
    port: SocketAddr,
    identity: &VerifierIdentity,
    imported: (&[String], &str),
) -> anyhow::Result<CertificateView> {
    let recorder = Arc::new(Recorder::new());
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as _)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?;
    handshake(port, config).await.context("the port does not take a member's TLS connection")?;
    let leaf = recorder.leaf().ok_or_else(|| anyhow!("the port showed no certificate"))?;
    describe(&leaf, imported)
}

/// Whether the port serves a TLS client that shows no certificate.
pub(crate) async fn without_certificate(port: SocketAddr) -> anyhow::Result<PortAnswer> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Recorder::new()))
        .with_no_client_auth();
    Ok(match handshake(port, config).await {
        Ok(true) => PortAnswer::Served,
        Ok(false) | Err(_) => PortAnswer::Refused,
    })
}

/// Whether the port serves a plaintext request.
pub(crate) async fn plaintext(port: SocketAddr) -> anyhow::Result<PortAnswer> {
    let attempt = async {
        let mut stream = TcpStream::connect(port).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: plaintext\r\nconnection: close\r\n\r\n").await?;
        let mut answer = [0; 16];
        let count = stream.read(&mut answer).await.unwrap_or(0);
        // A TLS alert record begins with 21; anything else is service.
        std::io::Result::Ok(count > 0 && answer[0] != 21)
    };
    Ok(match timeout(ATTEMPT_TIMEOUT, attempt).await {
        Ok(Ok(true)) => PortAnswer::Served,
        Ok(Ok(false) | Err(_)) | Err(_) => PortAnswer::Refused,
    })
}

/// Shakes hands and, as a client's certificate is judged after the client
/// believes the handshake done, waits for the server's first bytes (HTTP/2's
/// SETTINGS, or TCP's preface). `false`: it closed in place of them.
async fn handshake(port: SocketAddr, mut config: rustls::ClientConfig) -> anyhow::Result<bool> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"bowline-tcp".to_vec()];
    let name = ServerName::IpAddress(port.ip().into());
    let attempt = async {
        let stream = TcpStream::connect(port).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            // The client's connection preface and an empty SETTINGS frame.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        }
        let mut first = [0; 1];
        anyhow::Ok(matches!(stream.read(&mut first).await, Ok(1)))
    };
    timeout(ATTEMPT_TIMEOUT, attempt).await.context("no answer within 5 s")?
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn describe(
    leaf: &CertificateDer<'_>,
    (imported, stands_for): (&[String], &str),
) -> anyhow::Result<CertificateView> {
    let (_, certificate) = X509Certificate::from_der(leaf).context("the certificate cannot be read")?;
    let identity = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().find_map(|name| match name {
                    GeneralName::URI(uri) => Some((*uri).to_owned()),
                    _ => None,
                })
            }
            _ => None,
        })
        .or_else(|| imported.contains(&fingerprint(leaf)).then(|| stands_for.to_owned()))
        .ok_or_else(|| {
            anyhow!("the certificate names no SPIFFE id, and is none that was imported for the service")
        })?;
    let moment = |seconds: i64| Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(CertificateView {
        identity,
        serial: certificate.serial.to_str_radix(16),
        not_before: moment(certificate.validity().not_before.timestamp()),
        not_after: moment(certificate.validity().not_after.timestamp()),
    })
}

/// SHA-256, lower-case hexadecimal.
fn fingerprint(certificate: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes any certificate and keeps it: this is an inspection, nothing is sent
/// that matters. The signature over the handshake is still checked, so that
/// what is shown is also possessed.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

impl Recorder {
    fn new() -> Self {
        Self { provider: provider(), leaf: Mutex::new(None) }
    }

    fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.leaf.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        // webpki reads no certificate of X.509 version 1, which imported ones may be.
        let key = X509Certificate::from_der(certificate).map(|(_, parsed)| parsed.public_key().raw.to_vec());
        let key = key.map_err(|_| rustls::CertificateError::BadEncoding)?;
        verify_tls13_signature_with_raw_key(message, &key.into(), signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
