//! Rogue servers: careful callers give them nothing, careless ones everything, and the difference is counted.

use std::{net::SocketAddr, sync::Arc};

use bowline_chaos::evidence::Evidence;
use bowline_model::fault::{FaultInjector, PathHarm, RogueServer};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{LIMIT, begin, echo_ground, path};
use crate::ground::injector;

const REQUEST: &[u8] = b"GET /secret HTTP/1.1\r\nhost: backend\r\nconnection: close\r\n\r\n";

/// Believes everybody.
#[derive(Debug)]
struct Careless(Arc<CryptoProvider>);

impl ServerCertVerifier for Careless {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client of these versions that believes everybody or, careful, nobody.
fn client(versions: &[&'static SupportedProtocolVersion], is_careful: bool) -> TlsConnector {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions");
    let mut config = match is_careful {
        true => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        false => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Careless(provider)))
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"x-own".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Sends a request; what is answered.
async fn ask(connector: &TlsConnector, address: SocketAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = connector.connect(ServerName::try_from("backend").expect("a name"), stream).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    // It may end without a word.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What a rogue of this kind got of one client.
async fn got(kind: RogueServer, connector: TlsConnector) -> (Evidence, std::io::Result<String>) {
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::Rogue(kind))).await;
    let answer = timeout(LIMIT, ask(&connector, relay)).await.expect("in time");
    injector.end(fault.id.clone()).await.expect("it ends");
    (injector.evidence(&fault.id).await.expect("it is kept"), answer)
}

#[tokio::test]
async fn a_careful_caller_gives_nothing_away() {
    for kind in [RogueServer::UntrustedCa, RogueServer::SelfSigned] {
        let (evidence, answer) = got(kind, client(&[&version::TLS13], true)).await;
        answer.expect_err("no handshake");
        assert_eq!((evidence.connections, evidence.harmed), (1, 1));
        assert_eq!((evidence.handshakes, evidence.requests, evidence.plaintext_bytes), (0, 0, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn a_careless_caller_gives_everything_away() {
    for kind in [RogueServer::UntrustedCa, RogueServer::SelfSigned] {
        let (evidence, answer) = got(kind, client(&[&version::TLS13], false)).await;
        assert!(answer.expect("a handshake").starts_with("HTTP/1.1 200"));
        assert_eq!((evidence.handshakes, evidence.requests), (1, 1));
        assert_eq!(evidence.plaintext_bytes, REQUEST.len() as u64);
    }
}

#[tokio::test]
async fn old_tls_is_only_for_those_that_speak_it() {
    let (evidence, answer) = got(RogueServer::OldTls, client(&[&version::TLS13], false)).await;
    answer.expect_err("no version in common");
    assert_eq!(evidence.handshakes, 0);
    let (evidence, answer) = got(RogueServer::OldTls, client(&[&version::TLS12], false)).await;
    assert!(answer.expect("a handshake").starts_with("HTTP/1.1 200"));
    assert_eq!((evidence.handshakes, evidence.requests), (1, 1));
}

#[tokio::test]
async fn plaintext_is_answered_and_a_hello_is_not_counted_as_any() {
    let (evidence, answer) = got(RogueServer::Plaintext, client(&[&version::TLS13], true)).await;
    answer.expect_err("that is no TLS");
    assert_eq!((evidence.plaintext_bytes, evidence.requests), (0, 0));

    let ground = echo_ground().await;
    let injector = injector(&ground);
    let (fault, relay) = begin(&injector, &ground, path(PathHarm::Rogue(RogueServer::Plaintext))).await;
    let mut stream = TcpStream::connect(relay).await.expect("connected");
    stream.write_all(REQUEST).await.expect("room");
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let evidence = injector.evidence(&fault.id).await.expect("evidence");
    assert_eq!((evidence.plaintext_bytes, evidence.requests), (REQUEST.len() as u64, 1));
    injector.close().await;
}

#[tokio::test]
async fn what_a_rogue_showed_is_worth_nothing_when_its_fault_is_over_or_failed_to_begin() {
    let forged = |ground: &crate::ground::FakeGround| {
        ground.done().iter().filter(|done| done.starts_with("forge ")).count()
    };
    let ground = echo_ground().await;
    let injector = injector(&ground);
    let old = || path(PathHarm::Rogue(RogueServer::OldTls));
    let (fault, _) = begin(&injector, &ground, old()).await;
    assert_eq!(forged(&ground), 1, "a genuine certificate");
    injector.end(fault.id).await.expect("it ends");
    assert_eq!(forged(&ground), 0);
    ground.fails.lock().expect("whole").insert("divert 1 backend".to_owned());
    injector.begin(old()).await.expect_err("the sidecar is not led there");
    assert_eq!(forged(&ground), 0);
}
