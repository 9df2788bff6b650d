//! One message, sent: by gRPC over HTTP/2, or by HTTP/1.1.
//!
//! Source: OTLP specification, "OTLP/gRPC", "OTLP/HTTP" (which answers may be tried again); gRPC over HTTP/2.

use std::{io::Write, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::config::{OtlpProtocol, OtlpTarget};

/// Certificate authorities that the system believes: Debian's and Red Hat's place.
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Longest time that a receiver may ask to be left alone for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It may be at another time: where the receiver says so, after so long.
    #[error("{why}")]
    Later {
        /// For people.
        why: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// It never will be.
    #[error("{0}")]
    Refused(String),
}

fn later(why: impl ToString) -> SendError {
    SendError::Later { why: why.to_string(), after: None }
}

/// A message in the form that is sent.
pub(super) struct Message {
    /// The method of gRPC: `/package.Service/Export`.
    pub(super) method: &'static str,
    /// Protocol buffers or JSON.
    pub(super) body: Vec<u8>,
}

/// Sends messages of one kind.
pub(super) struct Transport {
    target: OtlpTarget,
    tls: Option<TlsConnector>,
    sender: Option<Sender>,
}

/// A connection.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Transport {
    pub(super) fn new(target: OtlpTarget) -> Self {
        let tls = (target.url.scheme_str() == Some("https")).then(|| connector(&target));
        Self { target, tls, sender: None }
    }

    pub(super) fn protocol(&self) -> OtlpProtocol {
        self.target.protocol
    }

    /// Where it sends, for people: without what may be secret in it.
    pub(super) fn peer(&self) -> String {
        let url = &self.target.url;
        let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default())
    }

    /// Sends a message, and gives the answer's.
    pub(super) async fn send(&mut self, message: &Message) -> Result<Bytes, SendError> {
        let limit = self.target.timeout;
        let sent = tokio::time::timeout(limit, self.exchange(message)).await;
        let sent = sent.unwrap_or_else(|_| Err(later(format!("no answer within {} ms", limit.as_millis()))));
        if sent.is_err() {
            // What is wrong with it may be the connection.
            self.sender = None;
        }
        sent
    }

    async fn exchange(&mut self, message: &Message) -> Result<Bytes, SendError> {
        let request = self.request(message)?;
        let is_grpc = self.target.protocol == OtlpProtocol::Grpc;
        let response = match self.sender().await? {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        let (head, body) = response.map_err(later)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(later)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = body.to_bytes();
        match is_grpc {
            true => grpc_answer(head.status, &head.headers, &trailers, body),
            false => http_answer(head.status, &head.headers, body),
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, SendError> {
        let url = &self.target.url;
        let is_grpc = self.target.protocol == OtlpProtocol::Grpc;
        let mut body = match self.target.gzip {
            true => compressed(&message.body),
            false => message.body.clone(),
        };
        if is_grpc {
            body = framed(&body, self.target.gzip);
        }
        let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        // Credentials in a URL are for whoever reads it, not for the receiver's log.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let request = match is_grpc {
            true => {
                Request::post(format!("{}://{host}{}", url.scheme_str().unwrap_or("http"), message.method))
                    .header(header::TE, "trailers")
            }
            false => Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
                .header(header::HOST, host),
        };
        let content_type = match self.target.protocol {
            OtlpProtocol::Grpc => "application/grpc",
            OtlpProtocol::HttpProtobuf => "application/x-protobuf",
            OtlpProtocol::HttpJson => "application/json",
        };
        let mut request = request
            .header(header::CONTENT_TYPE, content_type)
            .header(header::USER_AGENT, concat!("bowline/", env!("CARGO_PKG_VERSION")));
        if self.target.gzip {
            let name = if is_grpc { "grpc-encoding" } else { "content-encoding" };
            request = request.header(name, "gzip");
        }
        for added in &self.target.headers {
            request = request.header(&added.name, &added.value);
        }
        request.body(Full::new(body.into())).map_err(|error| SendError::Refused(error.to_string()))
    }

    /// The connection, made where there is none that can be used.
    async fn sender(&mut self) -> Result<&mut Sender, SendError> {
        let is_ready = match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_ready {
            self.sender = Some(self.connect().await?);
        }
        self.sender.as_mut().ok_or_else(|| later("there is no connection"))
    }

    async fn connect(&self) -> Result<Sender, SendError> {
        let url = &self.target.url;
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(later)?;
        let _ = stream.set_nodelay(true);
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| SendError::Refused(error.to_string()))?;
                self.handshake(tls.connect(name, stream).await.map_err(later)?).await
            }
            None => self.handshake(stream).await,
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<Sender, SendError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        // A connection's end is seen by whoever sends next.
        Ok(if self.target.protocol == OtlpProtocol::Grpc {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(later)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(later)?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        })
    }
}

fn connector(target: &OtlpTarget) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let bundles: Vec<&std::path::Path> = match &target.certificate {
        Some(path) => vec![path],
        None => SYSTEM_BUNDLES.iter().map(std::path::Path::new).collect(),
    };
    for path in bundles {
        let Ok(certificates) = CertificateDer::pem_file_iter(path) else { continue };
        roots.add_parsable_certificates(certificates.flatten());
        break;
    }
    if roots.is_empty() {
        tracing::warn!("no certificate authority is believed: OTLP's receiver cannot be");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of its own versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match target.protocol {
        OtlpProtocol::Grpc => vec![b"h2".to_vec()],
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => vec![b"http/1.1".to_vec()],
    };
    TlsConnector::from(Arc::new(config))
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// A length-prefixed message of gRPC.
fn framed(bytes: &[u8], is_compressed: bool) -> Vec<u8> {
    let mut framed = BytesMut::with_capacity(bytes.len() + 5);
    framed.put_u8(is_compressed.into());
    framed.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    framed.put_slice(bytes);
    framed.to_vec()
}

fn http_answer(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Result<Bytes, SendError> {
    let why = format!("the answer was {status}");
    match status.as_u16() {
        200..300 => Ok(body),
        429 | 502..=504 => Err(SendError::Later { why, after: retry_after(headers) }),
        _ => Err(SendError::Refused(why)),
    }
}

/// Seconds; a date is taken as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn grpc_answer(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: &HeaderMap,
    body: Bytes,
) -> Result<Bytes, SendError> {
    // An answer without a message has its status in the head.
    let told = |name: &str| trailers.get(name).or_else(|| headers.get(name))?.to_str().ok();
    let Some(code) = told("grpc-status").and_then(|code| code.parse::<u32>().ok()) else {
        return http_answer(status, headers, body)
            .and(Err(SendError::Refused("the receiver does not speak gRPC".to_owned())));
    };
    let message: String = told("grpc-message").unwrap_or_default().chars().take(200).collect();
    let why = format!("the answer was gRPC's status {code} {message:?}");
    match code {
        0 => Ok(if body.len() >= 5 { body.slice(5..) } else { Bytes::new() }),
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        1 | 4 | 10 | 11 | 14 | 15 => Err(SendError::Later { why, after: None }),
        // RESOURCE_EXHAUSTED, only where the receiver says more of it: that is when to come again.
        8 if told("grpc-status-details-bin").is_some() => Err(SendError::Later { why, after: None }),
        _ => Err(SendError::Refused(why)),
    }
}
