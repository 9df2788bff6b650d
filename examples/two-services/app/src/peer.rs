//! The call to the other service: a plain HTTP client that knows a name and nothing of encryption.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long the whole call may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024;
/// Headers that tie the two requests together in traces and logs; an application carries them on.
const CARRIED_ON: [&str; 4] = ["traceparent", "tracestate", "x-amzn-trace-id", "x-request-id"];

/// Why the other service gave no answer that can be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No answer within [`TIMEOUT`].
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The name did not resolve or nobody accepted the connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection failed or did not speak HTTP.
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    /// The answer was not a success.
    #[error("answered {0}")]
    Status(StatusCode),
    /// The body broke off or was larger than [`LARGEST_ANSWER`].
    #[error("cannot read the answer: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body was not JSON.
    #[error("the answer is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Gets `url`, which is an `http` URL with a host, and returns the JSON that it answers.
pub(crate) async fn get(url: &Uri, incoming: &HeaderMap) -> Result<Value, PeerError> {
    tokio::time::timeout(TIMEOUT, request(url, incoming)).await.map_err(|_| PeerError::Timeout)?
}

async fn request(url: &Uri, incoming: &HeaderMap) -> Result<Value, PeerError> {
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().unwrap_or(80);
    // An IPv6 address stands in brackets in a URL, but not in a socket address.
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, port)).await.map_err(PeerError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection carries this one request, and ends when `sender` and the body are dropped. Its
    // errors reach the request itself.
    tokio::spawn(connection);

    let authority = url.authority().map_or(host, |authority| authority.as_str());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("two-services/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .expect("an authority and a path of a parsed URL are valid in a request");
    for name in CARRIED_ON {
        if let Some(value) = incoming.get(name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(PeerError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(PeerError::Body)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}
