//! Attackers, played from the host against a task's inbound address: as somebody who has got into the network, with or
//! without a certificate.

mod flood;
mod tls;

pub use flood::{Flood, Floods, Lingering, flood, linger};
pub use tls::{Credentials, TlsVersion};

use std::{error::Error as StdError, fmt, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

/// One attempt is given up after so long.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);

/// What a sidecar says of why it refuses a call: between sidecars alone.
const REFUSAL: &str = "x-bowline-refusal";

/// Why an attack could not even be tried.
#[derive(Debug, Error)]
pub enum AttackError {
    /// The certificate or the key cannot be used.
    #[error("the attacker's certificate cannot be used: {0}")]
    Credentials(String),
}

/// How an attacker was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reception {
    /// The application answered: the attack succeeded.
    Served {
        /// With this status.
        status: u16,
    },
    /// The sidecar answered that this caller may not call.
    Refused {
        /// With this status.
        status: u16,
        /// Why, in its word.
        cause: String,
    },
    /// The sidecar ended the handshake with this alert (RFC 8446 §6.2).
    Alert(String),
    /// The attacker's own TLS gave up: the two sides have no version, suite or protocol in common.
    Incompatible(String),
    /// The connection was closed or reset without a word.
    Closed,
    /// Nothing came in time.
    Silence,
    /// No connection could be made.
    Unreachable(String),
}

impl Reception {
    /// Whether the attacker got at the application.
    #[must_use]
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Served { .. })
    }

    /// Whether the sidecar ended the handshake and said why. Who is merely cut off may have met anything.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        matches!(self, Self::Alert(_))
    }
}

impl fmt::Display for Reception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served { status } => write!(f, "the application answered {status}"),
            Self::Refused { status, cause } => write!(f, "refused with {status} {cause}"),
            Self::Alert(alert) => write!(f, "refused by the alert {alert}"),
            Self::Incompatible(why) => write!(f, "nothing in common: {why}"),
            Self::Closed => f.write_str("closed without a word"),
            Self::Silence => f.write_str("no answer"),
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
        }
    }
}

/// Sends an HTTP/1.1 request in the clear.
pub async fn plaintext(address: SocketAddr, path: &str) -> Reception {
    let attempt = async {
        let mut stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|_| Reception::Closed)?;
        let mut answer = Vec::new();
        // Its first line is enough.
        while !answer.contains(&b'\n') && answer.len() < 256 {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Err::<(), _>(judge_plaintext(&answer))
    };
    match timeout(ATTEMPT_TIMEOUT, attempt).await {
        Ok(Ok(()) | Err(Reception::Silence)) | Err(_) => Reception::Silence,
        Ok(Err(reception)) => reception,
    }
}

/// What came in answer to plaintext: HTTP, a TLS alert record (RFC 8446 §5.1), or nothing.
fn judge_plaintext(answer: &[u8]) -> Reception {
    const ALERT: u8 = 21;
    let status = std::str::from_utf8(answer).ok().and_then(|text| {
        let rest = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?;
        rest.get(..3)?.parse().ok()
    });
    match (answer, status) {
        (_, Some(status)) => Reception::Served { status },
        ([ALERT, ..], _) => Reception::Alert("of TLS, in answer to plaintext".to_owned()),
        _ => Reception::Closed,
    }
}

/// Makes a request as a sidecar would: TLS with this certificate or none, HTTP/2 within.
///
/// # Errors
/// The certificate cannot be used.
pub async fn request(
    address: SocketAddr,
    version: TlsVersion,
    credentials: Option<&Credentials>,
    path: &str,
) -> Result<Reception, AttackError> {
    let (config, _) = tls::client_config(version, credentials, true)?;
    let attempt = async {
        let stream = tls::connect(address, config).await?;
        let mut sender = http2(stream).await?;
        one_request(&mut sender, address, path).await
    };
    Ok(match timeout(ATTEMPT_TIMEOUT, attempt).await {
        Ok(Ok(reception) | Err(reception)) => reception,
        Err(_) => Reception::Silence,
    })
}

/// The certificate that a sidecar shows, whoever may have signed it: DER, leaf first. `None`: it showed none, or none to
/// this client.
///
/// # Errors
/// The attacker's own certificate cannot be used.
pub async fn shown_certificate(
    address: SocketAddr,
    credentials: Option<&Credentials>,
) -> Result<Option<Vec<Vec<u8>>>, AttackError> {
    let (config, recorder) = tls::client_config(TlsVersion::Tls13, credentials, false)?;
    // Whether the handshake comes to an end is another matter: the server shows its certificate before.
    let _ = timeout(ATTEMPT_TIMEOUT, tls::connect(address, config)).await;
    Ok(recorder.shown())
}

/// A connection that stays open for many requests, as a sidecar keeps it.
#[derive(Debug)]
pub struct LongLived {
    address: SocketAddr,
    sender: Sender,
}

impl LongLived {
    /// Opens it; or how that was received.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub async fn open(
        address: SocketAddr,
        credentials: &Credentials,
    ) -> Result<Result<Self, Reception>, AttackError> {
        let (config, _) = tls::client_config(TlsVersion::Tls13, Some(credentials), true)?;
        let attempt = async {
            let sender = http2(tls::connect(address, config).await?).await?;
            Ok(Self { address, sender })
        };
        Ok(timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or(Err(Reception::Silence)))
    }

    /// Makes a request on it.
    pub async fn request(&mut self, path: &str) -> Reception {
        match timeout(ATTEMPT_TIMEOUT, one_request(&mut self.sender, self.address, path)).await {
            Ok(Ok(reception) | Err(reception)) => reception,
            Err(_) => Reception::Silence,
        }
    }
}

type Sender = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

/// HTTP/2 on a hop. A server judges a TLS 1.3 client's certificate when that believes the handshake done, and an alert can
/// be lost behind what the client writes: nothing is written until the server has spoken.
async fn http2(mut stream: TlsStream<TcpStream>) -> Result<Sender, Reception> {
    let mut first = vec![0; 256];
    let count = match stream.read(&mut first).await {
        Ok(0) => return Err(Reception::Closed),
        Ok(count) => count,
        Err(error) => return Err(reception_of(&error)),
    };
    first.truncate(count);
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(io::Cursor::new(first).chain(read), write);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|_| Reception::Closed)?;
    // Who waits for an answer is told of its errors.
    tokio::spawn(connection);
    Ok(sender)
}

async fn one_request(sender: &mut Sender, address: SocketAddr, path: &str) -> Result<Reception, Reception> {
    let request = Request::get(format!("http://{address}{path}"));
    let request = request.body(Empty::new()).map_err(|error| Reception::Incompatible(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|_| Reception::Closed)?;
    let status = response.status().as_u16();
    Ok(match response.headers().get(REFUSAL) {
        Some(cause) => {
            Reception::Refused { status, cause: String::from_utf8_lossy(cause.as_bytes()).into_owned() }
        }
        None => Reception::Served { status },
    })
}

fn unreachable(error: &io::Error) -> Reception {
    Reception::Unreachable(error.kind().to_string())
}

/// What an I/O error of TLS says.
fn reception_of(error: &io::Error) -> Reception {
    let mut cause: Option<&(dyn StdError + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(this) = cause {
        match this.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::AlertReceived(alert)) => return Reception::Alert(format!("{alert:?}")),
            Some(other) => return Reception::Incompatible(other.to_string()),
            None => cause = this.source(),
        }
    }
    Reception::Closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_plaintext_is_told_apart() {
        assert_eq!(judge_plaintext(b"HTTP/1.1 200 OK\r\n"), Reception::Served { status: 200 });
        assert!(matches!(judge_plaintext(&[21, 3, 3, 0, 2, 2, 50]), Reception::Alert(_)));
        assert_eq!(judge_plaintext(b""), Reception::Closed);
        assert_eq!(judge_plaintext(b"HTTP/1.1 "), Reception::Closed);
    }

    /// A certificate that nobody asks for.
    fn credentials() -> Credentials {
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key);
        let forged = crate::system::Forged {
            chain_der: vec![made.expect("signs").der().to_vec()],
            key: bowline_model::task::Secret::new(key.serialize_pem()),
            roots_pem: String::new(),
            serial: "1".to_owned(),
        };
        Credentials::of(&forged).expect("a key")
    }

    #[tokio::test]
    async fn who_is_cut_off_has_met_no_alert() {
        // handshake_failure, as a record of its own (RFC 8446 §5.1, §6.2).
        const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            for answer in [&ALERT[..], &[]] {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let _ = stream.read(&mut [0; 4_096]).await.expect("reads");
                stream.write_all(answer).await.expect("writes");
            }
        });
        let credentials = credentials();
        let met = async || request(address, TlsVersion::Tls13, Some(&credentials), "/").await.expect("tried");
        let (alert, closed) = (met().await, met().await);
        assert!(alert.is_alert(), "{alert}");
        assert!(closed == Reception::Closed && !closed.is_alert(), "{closed}");
        assert!(!met().await.is_alert(), "nobody is there");
    }

    #[tokio::test]
    async fn a_port_that_serves_plaintext_is_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await.expect("reads");
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.expect("writes");
        });
        assert_eq!(plaintext(address, "/").await, Reception::Served { status: 404 });
        assert!(matches!(plaintext(address, "/").await, Reception::Unreachable(_)));
    }
}
