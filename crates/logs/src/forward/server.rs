//! The receiving side: `in_forward`.

use std::{future::Future, io};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    event::{Event, MessageError},
    message::{MESSAGE_BYTES_MAX, read_message},
    msgpack::{self, Scanner},
};

/// Serves one connection: each message's events are given to `take`, and when it is done, the message is acknowledged
/// if the client asked for that. Ends with the connection.
///
/// # Errors
/// The connection failed, or what came is no message.
pub async fn serve<S, F>(mut stream: S, mut take: impl FnMut(Vec<Event>) -> F) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = io::Result<()>>,
{
    let mut buffer: Vec<u8> = Vec::new();
    let mut scanner = Scanner::default();
    let mut chunk = vec![0; 64 * 1024];
    let invalid = |error: MessageError| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        while let Some(length) = scanner.advance(&buffer).map_err(|error| invalid(error.into()))? {
            let (incoming, _) = read_message(&buffer[..length]).map_err(invalid)?;
            buffer.drain(..length);
            scanner = Scanner::default();
            if !incoming.events.is_empty() {
                take(incoming.events).await?;
            }
            if let Some(chunk) = incoming.chunk {
                let mut answer = Vec::new();
                msgpack::write_map(&mut answer, 1);
                msgpack::write_text(&mut answer, "ack");
                msgpack::write_text(&mut answer, &chunk);
                stream.write_all(&answer).await?;
            }
        }
        if buffer.len() >= MESSAGE_BYTES_MAX {
            return Err(invalid(MessageError::Length(MESSAGE_BYTES_MAX)));
        }
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..length]);
    }
}
