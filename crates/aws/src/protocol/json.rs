//! The notation of awsJson 1.0 and 1.1 and of restJson: moments are seconds since the epoch.

use serde::{Serialize, Serializer};
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
    serde_json::to_vec(&Json(document))
        .expect("a document has text as its keys, and a vector takes every byte")
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

/// A document in this notation, without a copy of it.
struct Json<'a>(&'a Document);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Document::Null => serializer.serialize_unit(),
            Document::Bool(value) => serializer.serialize_bool(*value),
            Document::Integer(value) => serializer.serialize_i64(*value),
            Document::Double(value) => number(*value).serialize(serializer),
            Document::Text(text) | Document::Untyped(text) => serializer.serialize_str(text),
            Document::Blob(bytes) => serializer.serialize_str(&base64(bytes)),
            Document::Timestamp(at) => number(at.seconds()).serialize(serializer),
            Document::List(items) => serializer.collect_seq(items.iter().map(Json)),
            Document::Map(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, Json(value))))
            }
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
