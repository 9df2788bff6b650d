//! The sending side: `out_forward`, and Docker's `fluentd` driver.

use std::{io, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_model::{clock::Timestamp, log_driver::TlsSettings};
use flate2::{Compression, write::GzEncoder};
use serde_json::Map;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::msgpack::{self, Scanner};
use crate::tls::{Connection, Connector};

/// Longest acknowledgement.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// How long a server may take to take a chunk.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server that chunks are sent to. The connection is made when there is something to send, and kept.
#[derive(Debug)]
pub(crate) struct ForwardClient {
    connector: Connector,
    acknowledged: bool,
    whole_seconds: bool,
    gzip: bool,
    connection: Option<Connection>,
    chunks: u64,
}

impl ForwardClient {
    pub(crate) fn new(
        host: &str,
        port: u16,
        tls: Option<&TlsSettings>,
        acknowledged: bool,
        whole_seconds: bool,
        gzip: bool,
    ) -> io::Result<Self> {
        let connector = Connector::new(host, port, tls)?;
        Ok(Self { connector, acknowledged, whole_seconds, gzip, connection: None, chunks: 0 })
    }

    /// Sends events of one tag; with acknowledgements, returns when the server has them.
    pub(crate) async fn send(
        &mut self,
        tag: &str,
        events: &[(Timestamp, &Map<String, serde_json::Value>)],
    ) -> io::Result<()> {
        // After an error nobody knows what the server has read: a new connection.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        self.chunks += 1;
        let chunk = self.acknowledged.then(|| self.chunk_id(events));
        let message = self.message(tag, events, chunk.as_deref());
        let exchange = async {
            connection.write_all(&message).await?;
            connection.flush().await?;
            match &chunk {
                Some(chunk) => acknowledgement(&mut connection, chunk).await,
                None => Ok(()),
            }
        };
        let timed_out =
            |_| io::Error::new(io::ErrorKind::TimedOut, "the server did not take a chunk in time");
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(timed_out)??;
        self.connection = Some(connection);
        Ok(())
    }

    /// Base64 of 128 bits, as the protocol asks for; the same only by chance.
    fn chunk_id(&self, events: &[(Timestamp, &Map<String, serde_json::Value>)]) -> String {
        let first = events.first().map(|(at, _)| at.as_millis()).unwrap_or_default();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&first.to_be_bytes());
        id[8..].copy_from_slice(&self.chunks.to_be_bytes());
        STANDARD.encode(id)
    }

    fn message(
        &self,
        tag: &str,
        events: &[(Timestamp, &Map<String, serde_json::Value>)],
        chunk: Option<&str>,
    ) -> Vec<u8> {
        let mut packed = Vec::new();
        for (at, record) in events {
            msgpack::write_array(&mut packed, 2);
            let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
            if self.whole_seconds {
                msgpack::write_unsigned(&mut packed, seconds.into());
            } else {
                msgpack::write_event_time(&mut packed, seconds, (at.as_millis() % 1_000 * 1_000_000) as u32);
            }
            msgpack::write_object(&mut packed, record);
        }
        let mut message = Vec::new();
        msgpack::write_array(&mut message, 3);
        msgpack::write_text(&mut message, tag);
        if self.gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let compressed = io::Write::write_all(&mut encoder, &packed).and_then(|()| encoder.finish());
            msgpack::write_bytes(&mut message, &compressed.unwrap_or_default());
        } else {
            // The Forward mode: what every server and library of the protocol reads.
            msgpack::write_array(&mut message, events.len());
            message.extend_from_slice(&packed);
        }
        msgpack::write_map(&mut message, 1 + usize::from(chunk.is_some()) + usize::from(self.gzip));
        msgpack::write_text(&mut message, "size");
        msgpack::write_unsigned(&mut message, events.len() as u64);
        if let Some(chunk) = chunk {
            msgpack::write_text(&mut message, "chunk");
            msgpack::write_text(&mut message, chunk);
        }
        if self.gzip {
            msgpack::write_text(&mut message, "compressed");
            msgpack::write_text(&mut message, "gzip");
        }
        message
    }
}

async fn acknowledgement(connection: &mut Connection, chunk: &str) -> io::Result<()> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut buffer = Vec::new();
    let mut scanner = Scanner::default();
    loop {
        let mut part = [0; 512];
        let length = connection.read(&mut part).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&part[..length]);
        if scanner.advance(&buffer).map_err(|error| invalid(error.to_string()))?.is_some() {
            break;
        }
        if buffer.len() > ANSWER_BYTES_MAX {
            return Err(invalid("the acknowledgement is too long".into()));
        }
    }
    let (answer, _) = msgpack::decode(&buffer).map_err(|error| invalid(error.to_string()))?;
    match answer.get("ack").and_then(|ack| ack.text()) {
        Some(ack) if ack == chunk => Ok(()),
        _ => Err(invalid("the server acknowledged something else".into())),
    }
}
