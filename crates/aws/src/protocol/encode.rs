//! From a typed response to a document.

use std::fmt;

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use thiserror::Error;

use super::{
    Document,
    timestamp::{BLOB, ENTRIES, TIMESTAMP, Timestamp, from_base64},
};

/// A response is of a type that no shape of AWS has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a response cannot be written: {0}")]
pub struct EncodeError(String);

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Writes a typed value. Absent members (`None`) are left out.
///
/// # Errors
/// The type is none that AWS's shapes have: a map whose keys are no text.
pub fn to_document<T: Serialize + ?Sized>(value: &T) -> Result<Document, EncodeError> {
    value.serialize(Writer)
}

struct Writer;

/// Collects what is in a list, structure or map.
struct Collected<T> {
    items: Vec<T>,
    key: Option<String>,
    /// The only member of the union that this is the content of.
    variant: Option<&'static str>,
}

impl<T> Collected<T> {
    fn new(variant: Option<&'static str>) -> Self {
        Self { items: Vec::new(), key: None, variant }
    }
}

fn named(variant: Option<&'static str>, content: Document) -> Document {
    match variant {
        Some(name) => Document::Map(vec![(name.to_owned(), content)]),
        None => content,
    }
}

impl Serializer for Writer {
    type Ok = Document;
    type Error = EncodeError;
    type SerializeSeq = Collected<Document>;
    type SerializeTuple = Collected<Document>;
    type SerializeTupleStruct = Collected<Document>;
    type SerializeTupleVariant = Collected<Document>;
    type SerializeMap = Collected<(String, Document)>;
    type SerializeStruct = Collected<(String, Document)>;
    type SerializeStructVariant = Collected<(String, Document)>;

    fn serialize_bool(self, value: bool) -> Result<Document, EncodeError> {
        Ok(Document::Bool(value))
    }
    fn serialize_i8(self, value: i8) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value.into()))
    }
    fn serialize_i16(self, value: i16) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value.into()))
    }
    fn serialize_i32(self, value: i32) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value.into()))
    }
    fn serialize_i64(self, value: i64) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value))
    }
    fn serialize_u8(self, value: u8) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value.into()))
    }
    fn serialize_u16(self, value: u16) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value.into()))
    }
    fn serialize_u32(self, value: u32) -> Result<Document, EncodeError> {
        Ok(Document::Integer(value.into()))
    }
    fn serialize_u64(self, value: u64) -> Result<Document, EncodeError> {
        Ok(i64::try_from(value).map_or(Document::Double(value as f64), Document::Integer))
    }
    fn serialize_f32(self, value: f32) -> Result<Document, EncodeError> {
        Ok(Document::Double(value.into()))
    }
    fn serialize_f64(self, value: f64) -> Result<Document, EncodeError> {
        Ok(Document::Double(value))
    }
    fn serialize_char(self, value: char) -> Result<Document, EncodeError> {
        Ok(Document::Text(value.into()))
    }
    fn serialize_str(self, value: &str) -> Result<Document, EncodeError> {
        Ok(Document::Text(value.to_owned()))
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<Document, EncodeError> {
        Ok(Document::Blob(value.to_vec()))
    }
    fn serialize_none(self) -> Result<Document, EncodeError> {
        Ok(Document::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Document, EncodeError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Document, EncodeError> {
        Ok(Document::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Document, EncodeError> {
        Ok(Document::empty())
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Document, EncodeError> {
        Ok(Document::Text(variant.to_owned()))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Document, EncodeError> {
        let inner = value.serialize(self)?;
        Ok(match (name, inner) {
            (TIMESTAMP, Document::Double(seconds)) => Document::Timestamp(Timestamp::from_seconds(seconds)),
            (ENTRIES, Document::Map(entries)) => Document::Entries(entries),
            (BLOB, Document::Text(text)) => Document::Blob(from_base64(&text).unwrap_or_default()),
            (_, inner) => inner,
        })
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Document, EncodeError> {
        Ok(named(Some(variant), value.serialize(self)?))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, EncodeError> {
        Ok(Collected::new(None))
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, EncodeError> {
        Ok(Collected::new(None))
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, EncodeError> {
        Ok(Collected::new(None))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, EncodeError> {
        Ok(Collected::new(Some(variant)))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, EncodeError> {
        Ok(Collected::new(None))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, EncodeError> {
        Ok(Collected::new(None))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, EncodeError> {
        Ok(Collected::new(Some(variant)))
    }
}

impl Collected<Document> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.items.push(value.serialize(Writer)?);
        Ok(())
    }

    fn list(self) -> Document {
        named(self.variant, Document::List(self.items))
    }
}

impl Collected<(String, Document)> {
    fn member<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), EncodeError> {
        let value = value.serialize(Writer)?;
        if value != Document::Null {
            self.items.push((name.to_owned(), value));
        }
        Ok(())
    }

    fn map(self) -> Document {
        named(self.variant, Document::Map(self.items))
    }
}

macro_rules! collects_a_list {
    ($trait:ident, $method:ident) => {
        impl $trait for Collected<Document> {
            type Ok = Document;
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.push(value)
            }

            fn end(self) -> Result<Document, EncodeError> {
                Ok(self.list())
            }
        }
    };
}

collects_a_list!(SerializeSeq, serialize_element);
collects_a_list!(SerializeTuple, serialize_element);
collects_a_list!(SerializeTupleStruct, serialize_field);
collects_a_list!(SerializeTupleVariant, serialize_field);

macro_rules! collects_members {
    ($trait:ident) => {
        impl $trait for Collected<(String, Document)> {
            type Ok = Document;
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.member(name, value)
            }

            fn end(self) -> Result<Document, EncodeError> {
                Ok(self.map())
            }
        }
    };
}

collects_members!(SerializeStruct);
collects_members!(SerializeStructVariant);

impl SerializeMap for Collected<(String, Document)> {
    type Ok = Document;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        match key.serialize(Writer)? {
            Document::Text(key) => {
                self.key = Some(key);
                Ok(())
            }
            other => Err(EncodeError(format!("{} is no key of a map", other.kind()))),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let key = self.key.take().ok_or_else(|| EncodeError("a value came before its key".into()))?;
        let value = value.serialize(Writer)?;
        // A structure with a flattened member is written as a map, and no response of AWS has a null.
        if value != Document::Null {
            self.items.push((key, value));
        }
        Ok(())
    }

    fn end(self) -> Result<Document, EncodeError> {
        Ok(self.map())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::{super::Blob, *};

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        created_at: Timestamp,
        absent: Option<u8>,
        content: Blob,
        names: Vec<&'static str>,
    }

    #[derive(Serialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
        absent: Option<u8>,
    }

    #[derive(Serialize)]
    struct Inner {
        present: bool,
        missing: Option<u8>,
    }

    #[test]
    fn what_is_absent_is_left_out_of_flattened_structures_too() {
        let outer = Outer { inner: Inner { present: true, missing: None }, absent: None };
        let document = to_document(&outer).expect("is written");
        assert_eq!(document, Document::Map(vec![("present".into(), Document::Bool(true))]));
    }

    #[test]
    fn keeps_moments_and_bytes_apart_from_numbers_and_text() {
        let response = Response {
            created_at: Timestamp::from_milliseconds(1500),
            absent: None,
            content: Blob(vec![1, 2]),
            names: vec!["a"],
        };
        let document = to_document(&response).expect("is written");
        assert_eq!(document.get("createdAt"), Some(&Document::Timestamp(Timestamp::from_milliseconds(1500))));
        assert_eq!(document.get("absent"), None);
        assert_eq!(document.get("content"), Some(&Document::Blob(vec![1, 2])));
        assert_eq!(document.get("names"), Some(&Document::List(vec![Document::Text("a".into())])));
    }
}
