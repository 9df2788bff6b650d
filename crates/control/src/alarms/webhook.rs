//! Delivers events to URLs.
//!
//! Whoever may put an alarm may have the control plane send to a URL of theirs: no redirect is followed, and nothing
//! of the answer but its status is looked at.

use std::{io, sync::Arc, time::Duration};

use bowline_plumbing::backoff::Backoff;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How often one event is tried to be delivered to one URL.
const ATTEMPTS: u32 = 4;

/// How long one try may take, from the connection to the answer's head.
const LIMIT: Duration = Duration::from_secs(5);

/// The delay before the second try, and the longest.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Certificate authorities that the system believes: Debian's and Red Hat's place.
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Whether an action is a URL that events can be delivered to.
pub(crate) fn is_url(action: &str) -> bool {
    url(action).is_ok()
}

/// Why an event was not delivered.
#[derive(Debug, Error)]
pub(super) enum DeliveryError {
    /// It cannot be delivered there.
    #[error("the URL is not http:// or https:// with a host")]
    Url,
    /// There is no connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The host is none that a certificate can be for.
    #[error("the host is none that a certificate can be for")]
    Host(#[from] InvalidDnsNameError),
    /// The exchange failed.
    #[error("the exchange failed: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// It was not taken.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// It took too long.
    #[error("no answer within {} s", LIMIT.as_secs())]
    Timeout,
}

/// Delivers.
#[derive(Clone)]
pub(super) struct Webhooks {
    tls: TlsConnector,
}

impl Webhooks {
    /// Which believes what the system believes.
    pub(super) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        for path in SYSTEM_BUNDLES {
            let Ok(certificates) = CertificateDer::pem_file_iter(path) else { continue };
            roots.add_parsable_certificates(certificates.flatten());
            break;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of its own versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Delivers, trying again a few times.
    pub(super) async fn deliver(&self, to: &str, body: Bytes) -> Result<(), DeliveryError> {
        let mut delays = Backoff::new(DELAYS.0, DELAYS.1);
        let mut attempt = 1;
        loop {
            let tried = tokio::time::timeout(LIMIT, self.try_once(to, body.clone())).await;
            let error = match tried.unwrap_or(Err(DeliveryError::Timeout)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // What the receiver says that it will never take is not sent again.
            let is_final = match &error {
                DeliveryError::Url | DeliveryError::Host(_) | DeliveryError::Request(_) => true,
                DeliveryError::Status(status) => {
                    !(status.is_server_error()
                        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status))
                }
                _ => false,
            };
            if is_final || attempt == ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    async fn try_once(&self, to: &str, body: Bytes) -> Result<(), DeliveryError> {
        let (uri, host, port, is_tls) = url(to)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await?;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            // Credentials in a URL are for whoever reads it, not for the receiver's log.
            .header(header::HOST, authority.rsplit('@').next().unwrap_or_default())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "bowline")
            .body(Full::new(body))?;
        let status = if is_tls {
            let name = ServerName::try_from(bare.to_owned())?;
            exchange(self.tls.connect(name, stream).await?, request).await?
        } else {
            exchange(stream, request).await?
        };
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Status(status)) }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, DeliveryError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answered = sender.send_request(request);
    tokio::pin!(answered, connection);
    let answer = tokio::select! {
        biased;
        answer = &mut answered => answer?,
        // It may have brought the answer as it ended, however it did; else this fails at once.
        _ = &mut connection => answered.await?,
    };
    Ok(answer.status())
}

/// URL, host, port, and whether it is spoken to by TLS.
fn url(text: &str) -> Result<(Uri, String, u16, bool), DeliveryError> {
    let uri: Uri = text.parse().map_err(|_| DeliveryError::Url)?;
    let is_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(DeliveryError::Url),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(DeliveryError::Url)?.to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    Ok((uri, host, port, is_tls))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Answers one connection after the other with these statuses; returns what it was sent.
    async fn receiver(listener: TcpListener, statuses: &[u16]) -> Vec<String> {
        let mut received = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.ends_with("{}") {
                let read = stream.read(&mut buffer).await.expect("it reads");
                text.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
            }
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("it writes");
            received.push(text);
        }
        received
    }

    #[tokio::test]
    async fn an_event_is_tried_again_until_it_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = format!("http://{}/alarms?x=1", listener.local_addr().expect("an address"));
        let webhooks = Webhooks::new();
        let (delivered, received) =
            tokio::join!(webhooks.deliver(&to, Bytes::from_static(b"{}")), receiver(listener, &[503, 200]));
        delivered.expect("it is delivered");
        assert_eq!(received.len(), 2);
        assert!(received[1].starts_with("POST /alarms?x=1 HTTP/1.1\r\n"), "{}", received[1]);
        assert!(received[1].contains("content-type: application/json"), "{}", received[1]);
    }

    #[tokio::test]
    async fn what_is_refused_for_good_is_not_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = format!("http://{}/", listener.local_addr().expect("an address"));
        let webhooks = Webhooks::new();
        let (delivered, _) =
            tokio::join!(webhooks.deliver(&to, Bytes::from_static(b"{}")), receiver(listener, &[404]));
        assert!(matches!(delivered, Err(DeliveryError::Status(StatusCode::NOT_FOUND))), "{delivered:?}");
    }

    #[test]
    fn only_urls_with_hosts_are_delivered_to() {
        assert!(is_url("https://example.test/hook") && is_url("http://[::1]:80"));
        assert!(!is_url("arn:aws:sns:us-east-1:000000000000:x") && !is_url("ftp://x/") && !is_url("/x"));
    }
}
