//! The notation of awsJson 1.0 and 1.1 and of restJson: moments are seconds since the epoch.

use std::{cell::Cell, collections::HashMap, fmt};

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};

use super::{Document, timestamp::base64};

/// Most values of one request, lists and structures among them: a body of commas and brackets would
/// take a hundred times its own room.
pub(super) const VALUES_MAX: usize = 100_000;

/// Up to how many members of a structure are looked through one by one.
const MEMBERS_UNINDEXED: usize = 16;

/// Reads JSON; no bytes at all are an empty structure. Nesting is limited to 128 by the parser.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Document::empty());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(VALUES_MAX);
    let document = Bounded { left: &left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(document)
}

pub(crate) fn write(document: &Document) -> Vec<u8> {
    serde_json::to_vec(&Json(document))
        .expect("a document has text as its keys, and a vector takes every byte")
}

/// A value that is read straight into a document, as long as there are few enough.
struct Bounded<'a> {
    /// How many more values there may be.
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom("there are too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Document;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(i64::try_from(value).map_or(Document::Double(value as f64), Document::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Double(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Document, E> {
        Ok(Document::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Document, E> {
        Ok(Document::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Document, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Bounded { left: self.left })? {
            items.push(item);
        }
        Ok(Document::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Document, A::Error> {
        let mut members: Vec<(String, Document)> = Vec::new();
        // Of two with the same name the last counts. Looking through a few is faster than an index.
        let mut index: HashMap<String, usize> = HashMap::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(Bounded { left: self.left })?;
            let before = match members.len() {
                0..MEMBERS_UNINDEXED => members.iter().position(|(other, _)| *other == name),
                _ => {
                    if index.is_empty() {
                        index =
                            members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
                    }
                    index.get(&name).copied()
                }
            };
            match before {
                Some(at) => members[at].1 = value,
                None => {
                    if !index.is_empty() {
                        index.insert(name.clone(), members.len());
                    }
                    members.push((name, value));
                }
            }
        }
        Ok(Document::Map(members))
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
            Document::Map(members) | Document::Entries(members) => {
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

    #[test]
    fn values_are_bounded() {
        let body = |count: usize| format!("[{}[]]", "[],".repeat(count));
        assert!(parse(body(VALUES_MAX - 2).as_bytes()).is_ok());
        let error = parse(body(VALUES_MAX - 1).as_bytes()).expect_err("too many");
        assert!(error.to_string().contains("too many values"), "{error}");
    }

    #[test]
    fn of_members_with_the_same_name_the_last_counts() {
        for others in [1, 40] {
            let many: String = (0..others).map(|number| format!("\"m{number}\":{number},")).collect();
            let body = format!("{{\"a\":1,{many}\"a\":2,\"m0\":\"x\"}}");
            let Document::Map(members) = parse(body.as_bytes()).expect("reads") else { panic!("{body}") };
            assert_eq!(members.len(), others + 1);
            assert_eq!(members[0], ("a".to_owned(), Document::Integer(2)));
            assert_eq!(members[1], ("m0".to_owned(), Document::Text("x".to_owned())));
        }
        assert_eq!(parse(b"18446744073709551615").expect("reads"), Document::Double(u64::MAX as f64));
        assert!(parse(b"{} {}").is_err());
    }

    proptest! {
        #[test]
        fn json_is_read_as_serde_reads_it(bytes in "[\\[\\]{}:,\"a1. -]{0,12}") {
            prop_assert_eq!(parse(bytes.as_bytes()).is_ok(), bytes.trim_ascii().is_empty()
                || serde_json::from_str::<Value>(&bytes).is_ok());
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(document) = parse(&bytes) {
                prop_assert!(parse(&write(&document)).is_ok());
            }
        }
    }
}
