//! From a document to a typed request, with AWS's words for what does not fit.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use thiserror::Error;

use super::{
    Document,
    timestamp::{BLOB, TIMESTAMP, Timestamp, from_base64},
};

/// What of a request does not fit its shape.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct Violation {
    /// Where: `services.1.clientAliases.1.port`, counted from 1 as AWS does; empty for the whole.
    pub path: String,
    /// What.
    pub kind: ViolationKind,
}

/// How a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// A required member is missing.
    Missing,
    /// A value that is none of those allowed.
    NotOneOf {
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: Vec<String>,
    },
    /// Another type than expected.
    Type {
        /// What was given, in AWS's words: `STRING_VALUE`.
        given: &'static str,
        /// What is expected.
        expected: String,
    },
    /// Anything else.
    Other(String),
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Member must not be null"),
            Self::NotOneOf { allowed, .. } => {
                write!(f, "Member must satisfy enum value set: [{}]", allowed.join(", "))
            }
            Self::Type { given, expected } => write!(f, "{given} can not be converted to {expected}"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

impl Violation {
    fn new(kind: ViolationKind) -> Self {
        Self { path: String::new(), kind }
    }

    fn of_type(document: &Document, expected: &str) -> Self {
        Self::new(ViolationKind::Type { given: document.kind(), expected: expected.to_owned() })
    }

    fn under(mut self, segment: impl fmt::Display) -> Self {
        self.path =
            if self.path.is_empty() { segment.to_string() } else { format!("{segment}.{}", self.path) };
        self
    }

    /// Whether the request was not even of the right types: a `SerializationException`, where
    /// the rest is a validation error.
    pub fn is_of_type(&self) -> bool {
        matches!(self.kind, ViolationKind::Type { .. })
    }

    /// AWS's sentence: `1 validation error detected: Value … failed to satisfy constraint: …`.
    pub fn message(&self) -> String {
        let at = if self.path.is_empty() { String::new() } else { format!(" at '{}'", self.path) };
        match &self.kind {
            ViolationKind::Type { .. } => format!("{}{at}", self.kind),
            ViolationKind::NotOneOf { value, .. } => format!(
                "1 validation error detected: Value '{value}'{at} failed to satisfy constraint: {}",
                self.kind
            ),
            _ => {
                format!("1 validation error detected: Value{at} failed to satisfy constraint: {}", self.kind)
            }
        }
    }
}

impl de::Error for Violation {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(ViolationKind::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(ViolationKind::Type { given: "VALUE", expected: expected.to_string() })
    }

    fn unknown_variant(value: &str, allowed: &'static [&'static str]) -> Self {
        let mut value: String = value.chars().take(100).collect();
        value.retain(|c| !c.is_control());
        let allowed = allowed.iter().map(|&name| name.to_owned()).collect();
        Self::new(ViolationKind::NotOneOf { value, allowed })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(ViolationKind::Missing).under(field)
    }
}

/// Reads a typed value. Members that the type does not know are ignored, as AWS does.
///
/// # Errors
/// The document does not fit the type.
pub fn from_document<T: de::DeserializeOwned>(document: &Document) -> Result<T, Violation> {
    T::deserialize(Node(document))
}

/// Reads a typed value from JSON, as [`from_document`]. Shapes are read by this one way wherever they stand
/// (requests, templates, the registry): the code that a second reader of them all takes is over a megabyte.
///
/// # Errors
/// The JSON does not fit the type.
pub fn from_json<T: de::DeserializeOwned>(json: serde_json::Value) -> Result<T, Violation> {
    from_document(&json.into())
}

#[derive(Clone, Copy)]
struct Node<'a>(&'a Document);

macro_rules! number {
    ($method:ident, $visit:ident, $type:ty, $expected:literal) => {
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
            let fits = |value: i128| {
                <$type>::try_from(value).map_err(|_| {
                    Violation::new(ViolationKind::Other(format!(
                        "Member must have value between {} and {}",
                        <$type>::MIN,
                        <$type>::MAX
                    )))
                })
            };
            match self.0 {
                Document::Integer(value) => visitor.$visit(fits((*value).into())?),
                Document::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                    visitor.$visit(fits(*value as i128)?)
                }
                Document::Untyped(text) => match text.trim().parse::<i128>() {
                    Ok(value) => visitor.$visit(fits(value)?),
                    Err(_) => Err(Violation::of_type(self.0, $expected)),
                },
                _ => Err(Violation::of_type(self.0, $expected)),
            }
        }
    };
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Violation;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0 {
            Document::Null => visitor.visit_unit(),
            Document::Bool(value) => visitor.visit_bool(*value),
            Document::Integer(value) => visitor.visit_i64(*value),
            Document::Double(value) => visitor.visit_f64(*value),
            Document::Text(text) | Document::Untyped(text) => visitor.visit_borrowed_str(text),
            Document::Blob(bytes) => visitor.visit_borrowed_bytes(bytes),
            Document::Timestamp(at) => visitor.visit_f64(at.seconds()),
            Document::List(_) => self.deserialize_seq(visitor),
            Document::Map(_) | Document::Entries(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0 {
            Document::Bool(value) => visitor.visit_bool(*value),
            Document::Untyped(text) => match text.trim() {
                "true" | "True" | "TRUE" | "1" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" | "0" => visitor.visit_bool(false),
                _ => Err(Violation::of_type(self.0, "Boolean")),
            },
            _ => Err(Violation::of_type(self.0, "Boolean")),
        }
    }

    number!(deserialize_i8, visit_i8, i8, "Integer");
    number!(deserialize_i16, visit_i16, i16, "Integer");
    number!(deserialize_i32, visit_i32, i32, "Integer");
    number!(deserialize_i64, visit_i64, i64, "Long");
    number!(deserialize_u8, visit_u8, u8, "Integer");
    number!(deserialize_u16, visit_u16, u16, "Integer");
    number!(deserialize_u32, visit_u32, u32, "Integer");
    number!(deserialize_u64, visit_u64, u64, "Long");

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0 {
            Document::Integer(value) => visitor.visit_f64(*value as f64),
            Document::Double(value) => visitor.visit_f64(*value),
            Document::Timestamp(at) => visitor.visit_f64(at.seconds()),
            Document::Untyped(text) => match text.trim().parse::<f64>() {
                Ok(value) if value.is_finite() => visitor.visit_f64(value),
                _ => Err(Violation::of_type(self.0, "Double")),
            },
            _ => Err(Violation::of_type(self.0, "Double")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0.as_text() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => Err(Violation::of_type(self.0, "String")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0 {
            Document::Blob(bytes) => visitor.visit_borrowed_bytes(bytes),
            Document::Text(text) | Document::Untyped(text) => match from_base64(text) {
                Some(bytes) => visitor.visit_byte_buf(bytes),
                None => Err(Violation::of_type(self.0, "Blob")),
            },
            _ => Err(Violation::of_type(self.0, "Blob")),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0 {
            Document::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Violation> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Violation> {
        match (name, self.0) {
            (TIMESTAMP, Document::Integer(_) | Document::Double(_) | Document::Timestamp(_)) => {
                self.deserialize_f64(visitor)
            }
            (TIMESTAMP, Document::Text(text) | Document::Untyped(text)) => {
                match Timestamp::parse_iso8601(text)
                    .or_else(|| text.parse().ok().map(Timestamp::from_seconds))
                {
                    Some(at) => visitor.visit_f64(at.seconds()),
                    None => Err(Violation::of_type(self.0, "Timestamp")),
                }
            }
            (TIMESTAMP, _) => Err(Violation::of_type(self.0, "Timestamp")),
            (BLOB, _) => self.deserialize_bytes(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        match self.0 {
            Document::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            // Query writes an empty list as an empty parameter.
            Document::Untyped(text) if text.is_empty() => {
                visitor.visit_seq(Items { items: [].iter().enumerate() })
            }
            _ => Err(Violation::of_type(self.0, "a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Violation> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Violation> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        visitor.visit_map(Members::of(self.0)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Violation> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Violation> {
        match self.0 {
            Document::Text(text) | Document::Untyped(text) => {
                visitor.visit_enum(Choice { name: text, content: None })
            }
            // A union: a structure with exactly one member.
            Document::Map(members) => match &members[..] {
                [(name, content)] => visitor.visit_enum(Choice { name, content: Some(content) }),
                _ => Err(Violation::new(ViolationKind::Other("Exactly one member must be given".into()))),
            },
            _ => Err(Violation::of_type(self.0, "String")),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        visitor.visit_unit()
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Document>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Violation;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Violation> {
        match self.items.next() {
            Some((index, item)) => {
                seed.deserialize(Node(item)).map(Some).map_err(|error| error.under(index + 1))
            }
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// What a structure or a map has. One type for all notations: what visits it is there once for every shape.
struct Members<'de> {
    rest: Rest<'de>,
    value: Option<(&'de str, &'de Document)>,
}

/// What was not yet visited.
enum Rest<'de> {
    Members(std::slice::Iter<'de, (String, Document)>),
    /// A query map is a list of entries with a key and a value.
    Entries(std::slice::Iter<'de, Document>),
}

impl<'de> Members<'de> {
    fn of(document: &'de Document) -> Result<Self, Violation> {
        let rest = match document {
            Document::Map(members) | Document::Entries(members) => Rest::Members(members.iter()),
            Document::List(entries) => Rest::Entries(entries.iter()),
            // Query writes an empty map as an empty parameter.
            Document::Untyped(text) if text.is_empty() => Rest::Entries([].iter()),
            _ => return Err(Violation::of_type(document, "a structure")),
        };
        Ok(Self { rest, value: None })
    }

    /// The next member's name; its value is kept.
    fn next_name(&mut self) -> Result<Option<&'de str>, Violation> {
        let next = match &mut self.rest {
            // A null member is an absent one.
            Rest::Members(members) => {
                members.find(|(_, value)| *value != Document::Null).map(|(name, value)| (&**name, value))
            }
            Rest::Entries(entries) => entries.next().map(entry).transpose()?,
        };
        self.value = next;
        Ok(next.map(|(name, _)| name))
    }
}

/// The key and the value of a query map's entry.
fn entry(entry: &Document) -> Result<(&str, &Document), Violation> {
    let member = |names: [&str; 2]| names.into_iter().find_map(|name| entry.get(name));
    match (member(["key", "Key"]).and_then(Document::as_text), member(["value", "Value"])) {
        (Some(key), Some(value)) => Ok((key, value)),
        _ => Err(Violation::of_type(entry, "a key and a value")),
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Violation;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Violation> {
        match self.next_name()? {
            Some(name) => seed.deserialize(Key(name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Violation> {
        match self.value.take() {
            Some((name, value)) => seed.deserialize(Node(value)).map_err(|error| error.under(name)),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// A member's name. Numbers are names of members too, where a map has them for keys.
struct Key<'de>(&'de str);

macro_rules! number_key {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Violation;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Violation> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Violation> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Violation> {
        visitor.visit_enum(Choice { name: self.0, content: None })
    }

    number_key!(deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64);

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Choice<'de> {
    name: &'de str,
    content: Option<&'de Document>,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Violation;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Violation> {
        let name = seed.deserialize(IntoDeserializer::<Violation>::into_deserializer(self.name))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Violation;

    fn unit_variant(self) -> Result<(), Violation> {
        match self.content {
            None => Ok(()),
            Some(content) => Err(Violation::of_type(content, "String")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Violation> {
        match self.content {
            Some(content) => seed.deserialize(Node(content)).map_err(|error| error.under(self.name)),
            None => Err(Violation::new(ViolationKind::Missing).under(self.name)),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Violation> {
        match self.content {
            Some(content) => Node(content).deserialize_seq(visitor).map_err(|error| error.under(self.name)),
            None => Err(Violation::new(ViolationKind::Missing).under(self.name)),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Violation> {
        match self.content {
            Some(content) => Node(content).deserialize_map(visitor).map_err(|error| error.under(self.name)),
            None => Err(Violation::new(ViolationKind::Missing).under(self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Request {
        name: String,
        #[serde(default)]
        count: Option<u16>,
        #[serde(default)]
        tags: BTreeMap<String, String>,
        #[serde(default)]
        colours: Vec<Colour>,
        #[serde(default)]
        at: Option<Timestamp>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum Colour {
        #[serde(rename = "RED")]
        Red,
        #[serde(rename = "BLUE")]
        Blue,
    }

    fn read(json: &str) -> Result<Request, Violation> {
        from_document(&super::super::json::parse(json.as_bytes()).expect("JSON"))
    }

    #[test]
    fn reads_what_fits() {
        let request =
            read(r#"{"name":"a","count":3,"tags":{"k":"v"},"colours":["BLUE"],"at":1.5,"new":[1]}"#);
        let request = request.expect("fits");
        assert_eq!((request.count, &request.colours[..]), (Some(3), &[Colour::Blue][..]));
        assert_eq!(request.at, Some(Timestamp::from_milliseconds(1500)));
        assert_eq!(read(r#"{"name":"a","count":null}"#).expect("null is absent").count, None);
    }

    #[test]
    fn says_what_does_not_fit_in_the_words_of_aws() {
        let message = |json| read(json).expect_err("does not fit").message();
        assert_eq!(
            message("{}"),
            "1 validation error detected: Value at 'name' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            message(r#"{"name":"a","colours":["BLUE","GREEN"]}"#),
            "1 validation error detected: Value 'GREEN' at 'colours.2' failed to satisfy constraint: Member must \
             satisfy enum value set: [RED, BLUE]"
        );
        let wrong = read(r#"{"name":["a"]}"#).expect_err("a list is no text");
        assert!(wrong.is_of_type());
        assert_eq!(wrong.message(), "ARRAY_VALUE can not be converted to String at 'name'");
        assert_eq!(read(r#"{"name":"a","count":70000}"#).expect_err("too large").path, "count");
    }

    #[test]
    fn untyped_text_is_what_is_expected_of_it() {
        let text = |value: &str| Document::Untyped(value.into());
        let entry = Document::Map(vec![("key".into(), text("k")), ("value".into(), text("7"))]);
        let document = Document::Map(vec![
            ("name".into(), text("5")),
            ("count".into(), text("12")),
            ("tags".into(), Document::List(vec![entry])),
            ("colours".into(), text("")),
            ("at".into(), text("1970-01-01T00:00:01Z")),
        ]);
        let request: Request = from_document(&document).expect("fits");
        assert_eq!((request.name.as_str(), request.count), ("5", Some(12)));
        assert_eq!(request.tags.get("k").map(String::as_str), Some("7"));
        assert_eq!(request.at, Some(Timestamp::from_milliseconds(1000)));
    }

    #[test]
    fn json_is_read_as_it_was_written() {
        #[derive(Debug, Deserialize, serde::Serialize, PartialEq)]
        enum Kind {
            Unit,
            Newtype(u64),
            Tuple(u8, String),
            Struct { at: Option<Timestamp> },
        }
        type Row = (BTreeMap<u32, u64>, Vec<Kind>, f64, i64);
        let row: Row = (
            BTreeMap::from([(7, u64::MAX), (40_000, 0)]),
            vec![
                Kind::Unit,
                Kind::Newtype(u64::MAX),
                Kind::Tuple(1, "7".into()),
                Kind::Struct { at: None },
                Kind::Struct { at: Some(Timestamp::from_milliseconds(1500)) },
            ],
            0.1,
            i64::MIN,
        );
        let json = serde_json::to_value(&row).expect("plain data");
        assert_eq!(from_json::<Row>(json).expect("reads"), row);
        assert!(from_json::<BTreeMap<u32, u8>>(serde_json::json!({"x": 1})).is_err());
        assert!(from_json::<u64>(serde_json::json!(-1)).is_err());
    }
}
