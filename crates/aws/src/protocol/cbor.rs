//! The notation of Smithy's RPC v2 CBOR: moments are tag 1, bytes are bytes.

use ciborium::Value;

use super::{Document, Timestamp, json::VALUES_MAX};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

pub(crate) fn parse(bytes: &[u8]) -> Result<Document, String> {
    if bytes.is_empty() {
        return Ok(Document::empty());
    }
    if values(bytes) > VALUES_MAX {
        return Err("there are too many values".into());
    }
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
        .map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("there are bytes after the value".into());
    }
    from_value(value)
}

/// How many values there are, or a few more: RFC 8949 §3 has them one after the other, each with a
/// head that says how long it is. Counting ends where it is clear that they are too many, or that
/// the bytes are none of CBOR.
fn values(bytes: &[u8]) -> usize {
    let (mut rest, mut count) = (bytes, 0);
    while let [head, tail @ ..] = rest {
        count += 1;
        if count > VALUES_MAX {
            break;
        }
        let (kind, info) = (head >> 5, head & 0x1f);
        let argument_length = match info {
            24..=27 => 1 << (info - 24),
            _ => 0,
        };
        let Some((argument, tail)) = tail.split_at_checked(argument_length) else { break };
        let argument = match argument_length {
            0 => u64::from(info),
            _ => argument.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        };
        // Strings have their bytes after the head; those of no definite length have further values.
        let skipped = match (kind, info) {
            (2 | 3, 0..=27) => usize::try_from(argument).unwrap_or(usize::MAX),
            _ => 0,
        };
        let Some((_, after)) = tail.split_at_checked(skipped) else { break };
        rest = after;
    }
    count
}

fn from_value(value: Value) -> Result<Document, String> {
    Ok(match value {
        Value::Null => Document::Null,
        Value::Bool(value) => Document::Bool(value),
        Value::Integer(value) => {
            let value = i128::from(value);
            i64::try_from(value).map_or(Document::Double(value as f64), Document::Integer)
        }
        Value::Float(value) => Document::Double(value),
        Value::Bytes(bytes) => Document::Blob(bytes),
        Value::Text(text) => Document::Text(text),
        Value::Tag(1, inner) => match from_value(*inner)? {
            Document::Integer(seconds) => {
                Document::Timestamp(Timestamp::from_milliseconds(seconds.saturating_mul(1000)))
            }
            Document::Double(seconds) => Document::Timestamp(Timestamp::from_seconds(seconds)),
            _ => return Err("a moment is no number".into()),
        },
        Value::Tag(_, inner) => from_value(*inner)?,
        Value::Array(items) => Document::List(items.into_iter().map(from_value).collect::<Result<_, _>>()?),
        Value::Map(members) => Document::Map(
            members
                .into_iter()
                .map(|(key, value)| match key {
                    Value::Text(key) => Ok((key, from_value(value)?)),
                    _ => Err("a key is no text".to_owned()),
                })
                .collect::<Result<_, _>>()?,
        ),
        _ => return Err("a value is of no type that AWS has".into()),
    })
}

pub(crate) fn write(document: &Document) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(&to_value(document), &mut out).expect("writing into memory does not fail");
    out
}

fn to_value(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(value) => Value::Bool(*value),
        Document::Integer(value) => Value::Integer((*value).into()),
        Document::Double(value) => Value::Float(*value),
        Document::Text(text) | Document::Untyped(text) => Value::Text(text.clone()),
        Document::Blob(bytes) => Value::Bytes(bytes.clone()),
        Document::Timestamp(at) => Value::Tag(1, Box::new(Value::Float(at.seconds()))),
        Document::List(items) => Value::Array(items.iter().map(to_value).collect()),
        Document::Map(members) | Document::Entries(members) => Value::Map(
            members.iter().map(|(name, value)| (Value::Text(name.clone()), to_value(value))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let document = Document::Map(vec![
            ("at".into(), Document::Timestamp(Timestamp::from_milliseconds(1500))),
            ("bytes".into(), Document::Blob(vec![1, 2])),
            (
                "list".into(),
                Document::List(vec![Document::Integer(-1), Document::Double(0.5), Document::Null]),
            ),
        ]);
        assert_eq!(parse(&write(&document)), Ok(document));
    }

    #[test]
    fn nesting_is_limited() {
        assert!(parse(&[0x81].repeat(100_000)).is_err());
    }

    #[test]
    fn values_are_bounded() {
        let list = |count: usize| {
            let mut bytes = vec![0x9f];
            bytes.extend(vec![0x80; count]);
            bytes.push(0xff);
            bytes
        };
        assert!(parse(&list(VALUES_MAX - 2)).is_ok());
        assert_eq!(parse(&list(VALUES_MAX)), Err("there are too many values".to_owned()));
    }

    #[test]
    fn the_bytes_of_texts_are_no_values() {
        let document = Document::Map(vec![
            ("text".into(), Document::Text("\u{80}".repeat(VALUES_MAX))),
            ("bytes".into(), Document::Blob(vec![0x80; VALUES_MAX])),
            ("numbers".into(), Document::List(vec![Document::Integer(i64::MAX), Document::Double(0.1)])),
        ]);
        let written = write(&document);
        assert_eq!(values(&written), 9);
        assert_eq!(parse(&written), Ok(document));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
