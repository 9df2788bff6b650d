//! A message of the forward protocol: Message, Forward, PackedForward or CompressedPackedForward mode.

use std::{io::Read, sync::Arc};

use flate2::read::MultiGzDecoder;

use super::{
    event::{Event, MessageError, entry, time},
    msgpack::{self, DecodeError, Value, decode},
};

/// Longest message, compressed or not.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest tag.
const TAG_BYTES_MAX: usize = 1_024;

/// Most entries of a message.
const EVENTS_MAX: usize = 100_000;

/// What a client sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incoming {
    /// Its events, in order.
    pub events: Vec<Event>,
    /// `chunk`: it waits for an acknowledgement of this.
    pub chunk: Option<String>,
}

/// Reads the message that `bytes` begin with; and how many bytes it takes.
///
/// # Errors
/// See [`MessageError`]; [`DecodeError::Incomplete`] where more bytes are needed.
pub fn read_message(bytes: &[u8]) -> Result<(Incoming, usize), MessageError> {
    let (value, length) = match decode(bytes) {
        Err(DecodeError::Incomplete(missing)) if bytes.len().saturating_add(missing) > MESSAGE_BYTES_MAX => {
            return Err(MessageError::Length(MESSAGE_BYTES_MAX));
        }
        decoded => decoded?,
    };
    let parts = match value {
        Value::Array(parts) => parts,
        // A heartbeat.
        Value::Nil => return Ok((Incoming::default(), length)),
        _ => return Err(MessageError::Shape("no array")),
    };
    let mut parts = parts.into_iter();
    let tag = parts.next().and_then(|tag| tag.text()).ok_or(MessageError::Shape("one without a tag"))?;
    if tag.len() > TAG_BYTES_MAX {
        return Err(MessageError::Shape("one with a tag of over a thousand bytes"));
    }
    let tag: Arc<str> = tag.into();
    let second = parts.next().ok_or(MessageError::Shape("a tag alone"))?;
    let mut options = None;
    let events = match second {
        Value::Array(entries) if !is_time(&entries) => {
            options = parts.next();
            if entries.len() > EVENTS_MAX {
                return Err(MessageError::Shape("one with over a hundred thousand entries"));
            }
            entries.into_iter().map(|one| entry(&tag, one)).collect::<Result<_, _>>()?
        }
        Value::Bytes(packed) => {
            options = parts.next();
            let compressed = options.as_ref().and_then(|options| options.get("compressed")?.text());
            match compressed.as_deref() {
                None | Some("text") => unpack(&tag, &packed)?,
                Some("gzip") => unpack(&tag, &gunzip(&packed)?)?,
                Some(_) => return Err(MessageError::Compression),
            }
        }
        at => {
            let Some(Value::Map(record)) = parts.next() else {
                return Err(MessageError::Shape("one without a record"));
            };
            options = parts.next().or(options);
            vec![Event { at: time(&at), record: msgpack::into_object(record), tag }]
        }
    };
    let chunk = options.and_then(|options| options.get("chunk")?.text());
    Ok((Incoming { events, chunk }, length))
}

/// A time with metadata beside it, `[time, {}]`, in place of entries.
fn is_time(parts: &[Value]) -> bool {
    matches!(parts, [Value::Unsigned(_) | Value::Extension(..) | Value::Float(_), Value::Map(_)])
}

fn unpack(tag: &Arc<str>, packed: &[u8]) -> Result<Vec<Event>, MessageError> {
    let mut events = Vec::new();
    let mut rest = packed;
    while !rest.is_empty() {
        let (value, length) = decode(rest).map_err(|error| match error {
            // All of it is there: more bytes do not come.
            DecodeError::Incomplete(_) => MessageError::Shape("entries that are cut short"),
            other => other.into(),
        })?;
        if events.len() >= EVENTS_MAX {
            return Err(MessageError::Shape("one with over a hundred thousand entries"));
        }
        events.push(entry(tag, value)?);
        rest = &rest[length..];
    }
    Ok(events)
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut unpacked = Vec::new();
    let limit = MESSAGE_BYTES_MAX as u64 + 1;
    MultiGzDecoder::new(packed)
        .take(limit)
        .read_to_end(&mut unpacked)
        .map_err(|_| MessageError::Compression)?;
    match unpacked.len() > MESSAGE_BYTES_MAX {
        true => Err(MessageError::Length(MESSAGE_BYTES_MAX)),
        false => Ok(unpacked),
    }
}
