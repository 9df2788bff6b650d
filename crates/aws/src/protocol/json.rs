//! The notation of awsJson 1.0 and 1.1 and of restJson: moments are seconds since the epoch.

use serde_json::{Number, Value};

use super::{Document, timestamp::base64};

/// Reads JSON; no bytes at all are an empty structure. Nesting is limited to 128 by the parser.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Document::empty());
    }
    serde_json::from_slice(bytes).map(from_value)
}

pub(crate) fn write(document: &Document) -> Vec<u8> {
    to_value(document).to_string().into_bytes()
}

fn from_value(value: Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(value) => Document::Bool(value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Document::Integer(value),
            None => Document::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Document::Text(text),
        Value::Array(items) => Document::List(items.into_iter().map(from_value).collect()),
        Value::Object(members) => {
            Document::Map(members.into_iter().map(|(name, value)| (name, from_value(value))).collect())
        }
    }
}

fn to_value(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(value) => Value::Bool(*value),
        Document::Integer(value) => Value::Number((*value).into()),
        Document::Double(value) => number(*value),
        Document::Text(text) | Document::Untyped(text) => Value::String(text.clone()),
        Document::Blob(bytes) => Value::String(base64(bytes)),
        Document::Timestamp(at) => number(at.seconds()),
        Document::List(items) => Value::Array(items.iter().map(to_value).collect()),
        Document::Map(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), to_value(value))).collect())
        }
    }
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_body_is_an_empty_structure() {
        assert_eq!(parse(b"").expect("reads"), Document::empty());
        assert!(parse(b"{").is_err());
        assert!(parse(&b"[".repeat(100_000)).is_err(), "nesting is limited");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(document) = parse(&bytes) {
                prop_assert!(parse(&write(&document)).is_ok());
            }
        }
    }
}
