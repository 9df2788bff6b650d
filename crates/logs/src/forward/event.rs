//! An event: a tag, a time and a record.

use std::sync::Arc;

use bowline_model::clock::Timestamp;
use serde_json::Map;
use thiserror::Error;

use super::msgpack::{self, DecodeError, Value};

/// An event as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The tag: one for all of a message.
    pub tag: Arc<str>,
    /// When it happened; `None` where it was not said.
    pub at: Option<Timestamp>,
    /// What happened.
    pub record: Map<String, serde_json::Value>,
}

/// Why a message is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// It is no MessagePack.
    #[error("it is no MessagePack: {0}")]
    Encoding(#[from] DecodeError),
    /// It has another shape.
    #[error("a message is [tag, time, record] or [tag, entries], not {0}")]
    Shape(&'static str),
    /// It is longer than allowed, or becomes so when it is decompressed.
    #[error("a message has at most {0} bytes")]
    Length(usize),
    /// It is no gzip.
    #[error("the entries do not decompress")]
    Compression,
}

/// An `EventTime` (extension 0), or seconds.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Unsigned(seconds) if *seconds > 0 => Some(Timestamp::from_secs(*seconds)),
        Value::Float(seconds) if *seconds > 0.0 && *seconds < 1e13 => {
            Some(Timestamp::from_millis((seconds * 1e3) as u64))
        }
        Value::Extension(0, bytes) => {
            let seconds = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
            let nanoseconds = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
            let millis = u64::from(seconds) * 1_000 + u64::from(nanoseconds.min(999_999_999) / 1_000_000);
            Some(Timestamp::from_millis(millis))
        }
        // Fluent Bit from 2.1 on: the time, and metadata beside it.
        Value::Array(parts) => match parts.first() {
            Some(Value::Array(_)) | None => None,
            Some(first) => time(first),
        },
        _ => None,
    }
}

/// One entry, `[time, record]`.
pub(super) fn entry(tag: &Arc<str>, entry: Value) -> Result<Event, MessageError> {
    let Value::Array(parts) = entry else { return Err(MessageError::Shape("an entry that is no array")) };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(at), Some(Value::Map(record))) => {
            Ok(Event { tag: Arc::clone(tag), at: time(&at), record: msgpack::into_object(record) })
        }
        _ => Err(MessageError::Shape("an entry without a time and a record")),
    }
}
