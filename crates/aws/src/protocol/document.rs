//! What every protocol carries, without its notation.

use super::Timestamp;

/// A value of a request or a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Document {
    /// Absent.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Double(f64),
    /// Text.
    Text(String),
    /// Text of a protocol without types (query): what is expected of it decides what it is.
    Untyped(String),
    /// Bytes; base64 where the protocol has none.
    Blob(Vec<u8>),
    /// A moment; each protocol has its own notation.
    Timestamp(Timestamp),
    /// A list.
    List(Vec<Document>),
    /// A structure or a map, in the order of the wire.
    Map(Vec<(String, Document)>),
    /// A map whose keys may be what members are called: XML must not take it for a structure. Nothing is read as one.
    Entries(Vec<(String, Document)>),
}

impl Document {
    /// The member of a structure or map with this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Untyped(text) => Some(text),
            _ => None,
        }
    }

    /// An empty structure.
    pub fn empty() -> Self {
        Self::Map(Vec::new())
    }

    /// What it is, for messages: AWS's words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL_VALUE",
            Self::Bool(true) => "TRUE_VALUE",
            Self::Bool(false) => "FALSE_VALUE",
            Self::Integer(_) => "NUMBER_VALUE",
            Self::Double(_) => "DECIMAL_VALUE",
            Self::Text(_) | Self::Untyped(_) | Self::Timestamp(_) => "STRING_VALUE",
            Self::Blob(_) => "BLOB_VALUE",
            Self::List(_) => "ARRAY_VALUE",
            Self::Map(_) | Self::Entries(_) => "OBJECT_VALUE",
        }
    }
}

/// From JSON that was already read, for shapes that stand in templates and in the registry.
impl From<serde_json::Value> for Document {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Integer(value),
                // Beyond an i64: what is expected of the digits decides.
                (None, _) if number.is_u64() => Self::Untyped(number.to_string()),
                (None, value) => Self::Double(value.unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(members) => {
                Self::Map(members.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

/// As JSON, for records of what was asked (the audit trail).
impl From<&Document> for serde_json::Value {
    fn from(document: &Document) -> Self {
        match document {
            Document::Null => Self::Null,
            Document::Bool(value) => (*value).into(),
            Document::Integer(value) => (*value).into(),
            Document::Double(value) => (*value).into(),
            Document::Text(text) | Document::Untyped(text) => text.clone().into(),
            Document::Blob(bytes) => super::timestamp::base64(bytes).into(),
            Document::Timestamp(at) => at.seconds().into(),
            Document::List(items) => items.iter().map(Self::from).collect(),
            Document::Map(members) | Document::Entries(members) => {
                Self::Object(members.iter().map(|(name, value)| (name.clone(), value.into())).collect())
            }
        }
    }
}
