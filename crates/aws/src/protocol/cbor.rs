//! The notation of Smithy's RPC v2 CBOR: moments are tag 1, bytes are bytes.

use ciborium::Value;

use super::{Document, Timestamp};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

pub(crate) fn parse(bytes: &[u8]) -> Result<Document, String> {
    if bytes.is_empty() {
        return Ok(Document::empty());
    }
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
        .map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("there are bytes after the value".into());
    }
    from_value(value)
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
        Document::Map(members) => Value::Map(
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

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
