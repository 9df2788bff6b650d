//! What listens in a task for applications that log by themselves: a log router's inputs.

use std::{io, time::Duration};

use bowline_plumbing::wall_clock;
use serde_json::{Deserializer, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    fluent_bit::{Input, InputKind},
    forward,
    spool::{RECORD_BYTES_MAX, Record, RecordKind, Source},
};

/// FireLens' own port for the forward protocol.
pub const FORWARD_PORT: u16 = 24224;

/// Connections that an input has at once.
const CONNECTIONS_MAX: usize = 256;

/// An object that is not complete after this is taken for lines.
const COMPLETE_IN: Duration = Duration::from_secs(1);

/// Takes what comes to an input into a source's spool, until it is dropped. A client is read from only as fast as the
/// spool takes records.
pub async fn listen(listener: TcpListener, input: Input, source: Source) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let (input, source) = (input.clone(), source.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &input, &source).await {
                        tracing::debug!(port = input.port, %error, "a client of the log router");
                    }
                });
            }
            // Too many descriptors, as a rule: later there may be fewer.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: tokio::net::TcpStream, input: &Input, source: &Source) -> io::Result<()> {
    match input.kind {
        InputKind::Json | InputKind::Lines => lines(stream, input, source).await,
        InputKind::Forward => {
            forward::serve(stream, |events| async move {
                for event in events {
                    let tag = if input.tag.is_empty() { event.tag.to_string() } else { input.tag.clone() };
                    source
                        .push(Record {
                            at: event.at.unwrap_or_else(wall_clock::now),
                            kind: RecordKind::Object,
                            tag,
                            body: Value::Object(event.record).to_string().into_bytes(),
                        })
                        .await;
                }
                // What is acknowledged is in the spool.
                source.written().await
            })
            .await
        }
    }
}

async fn lines<S: AsyncRead + Unpin>(mut stream: S, input: &Input, source: &Source) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = tokio::time::timeout(COMPLETE_IN, stream.read(&mut chunk)).await;
        let (length, idle) = match read {
            Ok(length) => (length?, false),
            Err(_) => (0, true),
        };
        buffer.extend_from_slice(&chunk[..length]);
        let over = (length == 0 && !idle) || buffer.len() >= RECORD_BYTES_MAX;
        for value in take(&mut buffer, input.kind, over, idle) {
            let body = value.to_string().into_bytes();
            let record =
                Record { at: wall_clock::now(), kind: RecordKind::Object, tag: input.tag.clone(), body };
            source.push(record).await;
        }
        if length == 0 && !idle {
            return Ok(());
        }
    }
}

/// Takes whole records from the buffer's beginning. `over`: no more comes, what is there is a record. `idle`: an object
/// that is not complete is none.
fn take(buffer: &mut Vec<u8>, kind: InputKind, over: bool, idle: bool) -> Vec<Value> {
    let mut values = Vec::new();
    loop {
        let begin = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        buffer.drain(..begin);
        if buffer.is_empty() {
            return values;
        }
        if kind == InputKind::Json && buffer[0] == b'{' {
            let mut objects = Deserializer::from_slice(buffer).into_iter::<Value>();
            match objects.next() {
                Some(Ok(value)) => {
                    let used = objects.byte_offset();
                    values.push(value);
                    buffer.drain(..used);
                    continue;
                }
                Some(Err(error)) if error.is_eof() && !over && !idle => return values,
                _ => {}
            }
        }
        let end = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => end,
            None if over => buffer.len(),
            None => return values,
        };
        let line = String::from_utf8_lossy(&buffer[..end]).trim_end_matches('\r').to_owned();
        buffer.drain(..(end + 1).min(buffer.len()));
        values.push(serde_json::json!({ "log": line }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_lines_and_what_is_between_are_taken() {
        let mut buffer = b"{\"a\":1}{\"a\":\n2}\nplain text\n{broken\n{\"a\"".to_vec();
        let taken = take(&mut buffer, InputKind::Json, false, false);
        assert_eq!(
            taken,
            [json!({"a": 1}), json!({"a": 2}), json!({"log": "plain text"}), json!({"log": "{broken"})]
        );
        assert_eq!(buffer, b"{\"a\"");
        assert_eq!(take(&mut buffer, InputKind::Json, true, false), [json!({"log": "{\"a\""})]);
        let mut buffer = b"{\"a\":1}\nrest".to_vec();
        assert_eq!(take(&mut buffer, InputKind::Lines, false, false), [json!({"log": "{\"a\":1}"})]);
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_is_cut(lines in prop::collection::vec("[a-z ]{1,10}|\\{\"k\":[0-9]{1,3}\\}", 0..10), cut in 1usize..7) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let mut buffer = Vec::new();
            let mut taken = Vec::new();
            for chunk in text.as_bytes().chunks(cut) {
                buffer.extend_from_slice(chunk);
                taken.extend(take(&mut buffer, InputKind::Json, false, false));
            }
            taken.extend(take(&mut buffer, InputKind::Json, true, false));
            let expected: Vec<_> = lines
                .iter()
                .filter(|line| !line.trim().is_empty())
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "log": line.trim_start() })))
                .collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
