//! Fluent Bit's `http` output.

use std::{fmt::Write as _, io, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_model::{
    clock::Timestamp,
    log_driver::{BodyFormat, DateFormat, HttpOutput},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Number, Value};
use tokio::task::JoinHandle;

use super::DeliveryError;
use crate::{shape::Entry, tls::Connector};

/// From the request's beginning to the answer's end. A receiver that is longer silent has, for all that one knows, not
/// taken anything.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest part of an answer that is read: it is for people.
const ANSWER_BYTES_MAX: usize = 200;

/// A receiver, and the connection to it.
#[derive(Debug)]
pub(crate) struct HttpSink {
    output: HttpOutput,
    connector: Connector,
    connection: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl HttpSink {
    pub(crate) fn new(output: HttpOutput) -> io::Result<Self> {
        let connector = Connector::new(&output.host, output.port, output.tls.as_ref())?;
        Ok(Self { output, connector, connection: None })
    }

    /// Delivers: once this returned, the receiver said that it has them all.
    pub(crate) async fn deliver(&mut self, entries: &[Entry]) -> Result<(), DeliveryError> {
        if self.output.header_tag.is_some() {
            // The header is for one tag.
            for run in entries.chunk_by(|one, other| one.tag == other.tag) {
                self.send(run).await?;
            }
            return Ok(());
        }
        self.send(entries).await
    }

    async fn send(&mut self, entries: &[Entry]) -> Result<(), DeliveryError> {
        let request = self.request(entries)?;
        // After an error nobody knows in which state it is: a new one.
        let kept = self.connection.take().filter(|kept| kept.sender.is_ready());
        let exchange = async {
            let mut kept = match kept {
                Some(kept) => kept,
                None => self.connect().await?,
            };
            let later = |error: hyper::Error| DeliveryError::Later(error.to_string());
            kept.sender.ready().await.map_err(later)?;
            let answer = kept.sender.send_request(request).await.map_err(later)?;
            let status = answer.status();
            let mut words = Vec::new();
            let mut body = answer.into_body();
            // To its end, or the connection cannot be used again; but no endless one.
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(later)?;
                let Some(data) = frame.data_ref() else { continue };
                read += data.len();
                words.extend(data.iter().take(ANSWER_BYTES_MAX - words.len().min(ANSWER_BYTES_MAX)));
                if read > 1024 * 1024 {
                    return Ok((status, words, None));
                }
            }
            Ok::<_, DeliveryError>((status, words, Some(kept)))
        };
        let late = || DeliveryError::Later(format!("no answer within {} s", TIMEOUT.as_secs()));
        let (status, words, kept) = tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| late())??;
        self.connection = kept;
        judge(status, &words)
    }

    async fn connect(&self) -> Result<Kept, DeliveryError> {
        let stream = self.connector.connect().await?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| DeliveryError::Later(error.to_string()))?;
        let driver = tokio::spawn(async move {
            // What went wrong is told to who sends.
            let _ = connection.await;
        });
        Ok(Kept { sender, driver })
    }

    fn request(&self, entries: &[Entry]) -> Result<Request<Full<Bytes>>, DeliveryError> {
        let output = &self.output;
        let mut body = self.body(entries);
        let mut builder = Request::builder()
            .method(if output.is_put { Method::PUT } else { Method::POST })
            .uri(&output.uri)
            .header(header::HOST, self.authority())
            .header(header::USER_AGENT, "bowline")
            .header(
                header::CONTENT_TYPE,
                match output.format {
                    BodyFormat::JsonLines => "application/x-ndjson",
                    BodyFormat::Json | BodyFormat::JsonStream => "application/json",
                },
            );
        if output.gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            body = io::Write::write_all(&mut encoder, &body).and_then(|()| encoder.finish())?;
            builder = builder.header(header::CONTENT_ENCODING, "gzip");
        }
        if let Some((user, password)) = &output.basic {
            let credentials = STANDARD.encode(format!("{user}:{password}"));
            builder = builder.header(header::AUTHORIZATION, format!("Basic {credentials}"));
        }
        if let (Some(name), Some(entry)) = (&output.header_tag, entries.first()) {
            builder = builder.header(name.as_str(), entry.tag.as_str());
        }
        for (name, value) in &output.headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        builder
            .body(Full::new(body.into()))
            .map_err(|error| DeliveryError::Never(format!("the request cannot be written: {error}")))
    }

    fn authority(&self) -> String {
        let host = &self.output.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match (self.output.port, self.output.tls.is_some()) {
            (80, false) | (443, true) => host,
            (port, _) => format!("{host}:{port}"),
        }
    }

    fn body(&self, entries: &[Entry]) -> Vec<u8> {
        let objects = entries.iter().map(|entry| Value::Object(self.object(entry)).to_string());
        match self.output.format {
            BodyFormat::Json => format!("[{}]", objects.collect::<Vec<_>>().join(",")),
            BodyFormat::JsonLines => objects.fold(String::new(), |text, object| text + &object + "\n"),
            BodyFormat::JsonStream => objects.collect(),
        }
        .into_bytes()
    }

    /// The record with its date before it.
    fn object(&self, entry: &Entry) -> Map<String, Value> {
        let Some(key) = &self.output.date_key else { return entry.record.clone() };
        let mut object = Map::new();
        object.insert(key.clone(), date(entry.at, self.output.date_format));
        object.extend(entry.record.iter().map(|(key, value)| (key.clone(), value.clone())));
        object
    }
}

fn date(at: Timestamp, format: DateFormat) -> Value {
    match format {
        DateFormat::Double => Number::from_f64(at.as_secs_f64()).map_or(Value::Null, Value::Number),
        DateFormat::Epoch => at.as_secs().into(),
        DateFormat::EpochMs => at.as_millis().into(),
        DateFormat::Iso8601 => at.to_string().into(),
        DateFormat::JavaSqlTimestamp => at.to_string().replace('T', " ").trim_end_matches('Z').into(),
    }
}

fn judge(status: StatusCode, words: &[u8]) -> Result<(), DeliveryError> {
    if status.is_success() {
        return Ok(());
    }
    let mut text = format!("the receiver answered {status}");
    let words = String::from_utf8_lossy(words);
    if !words.trim().is_empty() {
        let _ = write!(text, ": {}", words.trim().escape_debug());
    }
    Err(match status {
        StatusCode::PAYLOAD_TOO_LARGE => DeliveryError::TooLong,
        // It is the records that it does not like, and not who sends them, or where.
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            DeliveryError::Refused(text)
        }
        _ => DeliveryError::Later(text),
    })
}
