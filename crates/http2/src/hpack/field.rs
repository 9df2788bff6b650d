//! What a header block is made of.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    uri::{Authority, PathAndQuery, Scheme},
};

/// A field line (RFC 9113, section 8.2) or pseudo-header field (section 8.3), parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `:method`.
    Method(Method),
    /// `:scheme`.
    Scheme(Scheme),
    /// `:authority`; it is not empty.
    Authority(Authority),
    /// `:path`; it begins with a slash or is `*`.
    Path(PathAndQuery),
    /// `:status`.
    Status(StatusCode),
    /// `:protocol` (RFC 8441), as it came.
    Protocol(Bytes),
    /// A field line. Its value is marked as sensitive if the peer forbids to index it.
    Header(HeaderName, HeaderValue),
    /// What must not be in a message: the message is malformed (RFC 9113, section 8.1.1).
    Malformed(Malformed),
}

/// A field that no message may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// A dynamic table's entry can be referred to by its name alone, which may be sound.
    pub(super) name: Name,
    pub(super) reason: &'static str,
}

impl Malformed {
    /// What is wrong with it, in words for a log; no bytes of the field.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason)
    }
}

/// Names of pseudo-header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    Protocol,
}

impl Pseudo {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Status => ":status",
            Self::Protocol => ":protocol",
        }
    }
}

/// A field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Pseudo(Pseudo),
    Header(HeaderName),
    /// Entries are counted with what cannot be a name, too.
    Invalid {
        len: usize,
    },
}

impl Name {
    pub(super) fn parse(name: &[u8]) -> Self {
        if name.first() != Some(&b':') {
            // Refuses upper case too.
            return HeaderName::from_lowercase(name).map_or(Self::Invalid { len: name.len() }, Self::Header);
        }
        match name {
            b":method" => Self::Pseudo(Pseudo::Method),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":status" => Self::Pseudo(Pseudo::Status),
            b":protocol" => Self::Pseudo(Pseudo::Protocol),
            _ => Self::Invalid { len: name.len() },
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Pseudo(name) => name.as_str().len(),
            Self::Header(name) => name.as_str().len(),
            Self::Invalid { len } => *len,
        }
    }
}

impl Field {
    /// Of a name and a value, which `own` makes shareable bytes of where they are to be kept.
    pub(super) fn new(name: Name, value: &[u8], own: impl FnOnce(&[u8]) -> Bytes) -> Self {
        let pseudo = match name {
            Name::Pseudo(pseudo) => pseudo,
            Name::Header(name) => {
                return match HeaderValue::from_maybe_shared(own(value)) {
                    Ok(value) => Self::Header(name, value),
                    Err(_) => Self::malformed(Name::Header(name), "a value has control characters"),
                };
            }
            Name::Invalid { .. } => return Self::malformed(name, "a name is not lower case, or none at all"),
        };
        let parsed = match pseudo {
            Pseudo::Method => Method::from_bytes(value).ok().map(Self::Method),
            Pseudo::Scheme => Scheme::try_from(value).ok().map(Self::Scheme),
            Pseudo::Authority => Authority::from_maybe_shared(own(value)).ok().map(Self::Authority),
            Pseudo::Path => path(value, own).map(Self::Path),
            Pseudo::Status => StatusCode::from_bytes(value).ok().map(Self::Status),
            Pseudo::Protocol => Some(Self::Protocol(own(value))),
        };
        parsed.unwrap_or_else(|| {
            Self::malformed(
                name,
                match pseudo {
                    Pseudo::Method => "its :method is none",
                    Pseudo::Scheme => "its :scheme is none",
                    Pseudo::Authority => "its :authority is none",
                    Pseudo::Path => "its :path is none",
                    Pseudo::Status => "its :status is none",
                    Pseudo::Protocol => "its :protocol is none",
                },
            )
        })
    }

    pub(super) const fn malformed(name: Name, reason: &'static str) -> Self {
        Self::Malformed(Malformed { name, reason })
    }

    pub(super) fn name(&self) -> Name {
        Name::Pseudo(match self {
            Self::Method(_) => Pseudo::Method,
            Self::Scheme(_) => Pseudo::Scheme,
            Self::Authority(_) => Pseudo::Authority,
            Self::Path(_) => Pseudo::Path,
            Self::Status(_) => Pseudo::Status,
            Self::Protocol(_) => Pseudo::Protocol,
            Self::Header(name, _) => return Name::Header(name.clone()),
            Self::Malformed(malformed) => return malformed.name.clone(),
        })
    }
}

fn path(value: &[u8], own: impl FnOnce(&[u8]) -> Bytes) -> Option<PathAndQuery> {
    if value.first() != Some(&b'/') && value != b"*" {
        return None;
    }
    let path = PathAndQuery::from_maybe_shared(own(value)).ok()?;
    // A fragment would be cut off, and what is checked were not what was said.
    (path.as_str().len() == value.len()).then_some(path)
}
